//! Which services have to show that munge works for them: those that are about to start.

use super::{Planner, Step};

impl Planner<'_> {
    /// A proof for each service that will be started or restarted, once its image and the files
    /// it reads are there and before it is enabled.
    pub(super) fn proofs(&mut self) {
        if !self.starts() {
            return;
        }
        for service in &self.wanted.services {
            let Some(proof) = &service.proof else { continue };
            // As `finish_services` has it: one that runs on what it shall run on stays as it is.
            if self.has_changed(service) || self.state.unit(&service.unit).active != "active" {
                self.steps.push(Step::Prove(proof.clone()));
            }
        }
    }
}
