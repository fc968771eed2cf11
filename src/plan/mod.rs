//! The plan: from what is installed to what is wanted, as steps. A pure function; a dry run
//! prints the very value that the real run carries out.
//!
//! Whose a file is decides what happens to it. One that still holds what we recorded is ours and
//! is replaced. One that the site has edited, or had before us, is kept, and a new version is
//! laid beside it once. What only the program itself writes (its answers, its own copy) it
//! rewrites even if it was edited, but removes only as it wrote it. A link or a service that the
//! record and the wish both name is made to be so again: whoever runs the installation asks for
//! that.

mod files;
mod prove;
mod services;
mod state;
mod step;
#[cfg(test)]
mod tests;
mod wanted;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, Result};
use crate::record::{FileKind, Record};
use crate::root::Held;

pub use state::{Node, State};
pub use step::Step;
pub use wanted::{
    Content, UNITS, Wanted, WantedDir, WantedFile, WantedImage, WantedLink, WantedService,
};

/// What will be done, in order.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The host will be different afterwards. If not, nothing at all is touched.
    pub changed: bool,
    /// Steps that are undone if one of them fails.
    pub steps: Vec<Step>,
    /// Steps after the new record is in place, which can only go forward.
    pub after: Vec<Step>,
    /// What somebody should know: files kept, directories left.
    pub notes: Vec<Note>,
    /// The record as it will be; none if nothing stays installed.
    #[serde(skip)]
    pub record: Option<Record>,
}

/// Something that somebody should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Note {
    /// About which path or image
    pub about: String,
    /// What about it
    pub what: String,
}

impl Note {
    fn on(path: &Path, what: impl Into<String>) -> Self {
        Note { about: path.display().to_string(), what: what.into() }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.about, self.what)
    }
}

impl fmt::Display for Plan {
    /// One line a step, then the notes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.changed {
            writeln!(f, "nothing to do")?;
        }
        self.steps.iter().chain(&self.after).try_for_each(|step| writeln!(f, "{step}"))?;
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}

/// The plan that brings a host in `state` with `record` to what is `wanted`.
pub fn plan(wanted: &Wanted, record: Option<&Record>, state: &State) -> Result<Plan> {
    let mut planner = Planner::new(wanted, record, state);
    planner.images();
    planner.stop_unwanted();
    planner.directories();
    planner.wanted_files()?;
    planner.proofs();
    planner.wanted_links();
    planner.unwanted(&[]);
    planner.finish_services();
    planner.unwanted_images();
    planner.in_the_way()?;
    Ok(planner.plan(true))
}

/// The plan that removes all that `record` lists, except files of the kinds in `keep` and what
/// the site has edited.
pub fn removal(record: &Record, keep: &[FileKind], state: &State) -> Plan {
    let nothing = Wanted::new(record.bundle.clone(), record.engine);
    let mut planner = Planner::new(&nothing, Some(record), state);
    planner.stop_unwanted();
    planner.unwanted(keep);
    planner.finish_services();
    planner.unwanted_images();
    planner.plan(false)
}

/// The plan that takes the images of `record` into the engine and starts what has waited for them:
/// for a host that was booted from a prepared root.
pub fn loading(record: &Record, state: &State) -> Plan {
    let mut new = record.clone();
    let mut steps = Vec::new();
    if let Some(engine) = record.engine.filter(|_| state.has_engine) {
        for image in &mut new.images {
            image.loaded = true;
            if !state.images.contains(&image.reference) {
                steps.push(Step::LoadImage {
                    engine,
                    name: image.name.clone(),
                    reference: image.reference.clone(),
                    layers: image.layers.clone(),
                    size: image.size,
                });
            }
        }
    }
    // What systemd has tried in vain since the boot need not wait for its next try; what somebody
    // has stopped stays so.
    for service in &record.services {
        let loads = |step: &Step| matches!(step, Step::LoadImage { reference, .. } if *reference == service.image);
        let state = state.unit(&service.unit);
        if steps.iter().any(loads) && !state.is_down() && state.active != "active" {
            steps.push(Step::Start { unit: service.unit.clone() });
        }
    }
    let changed = !steps.is_empty() || !new.same_as(record);
    Plan { changed, steps, after: Vec::new(), notes: Vec::new(), record: Some(new) }
}

/// A plan in the making.
struct Planner<'a> {
    wanted: &'a Wanted,
    old: Option<&'a Record>,
    state: &'a State,
    steps: Vec<Step>,
    after: Vec<Step>,
    notes: Vec<Note>,
    conflicts: Vec<String>,
    record: Record,
    /// Directories that will be there because of us or are needed by what we write.
    needed: BTreeSet<PathBuf>,
    /// Paths whose content changes.
    written: BTreeSet<PathBuf>,
    /// systemd has to read its files again.
    reload: bool,
}

impl<'a> Planner<'a> {
    fn new(wanted: &'a Wanted, old: Option<&'a Record>, state: &'a State) -> Self {
        let mut record = Record::new(wanted.bundle.clone(), wanted.engine);
        record.commands.clone_from(&wanted.commands);
        Planner {
            wanted,
            old,
            state,
            steps: Vec::new(),
            after: Vec::new(),
            notes: Vec::new(),
            conflicts: Vec::new(),
            record,
            needed: BTreeSet::new(),
            written: BTreeSet::new(),
            reload: false,
        }
    }

    fn held(&self, path: &Path) -> Held {
        Held::from(self.state.at(path))
    }

    /// Services are started and restarted.
    fn starts(&self) -> bool {
        self.wanted.start && self.state.units.is_some()
    }

    fn in_the_way(&self) -> Result<()> {
        if self.conflicts.is_empty() {
            return Ok(());
        }
        Err(Error::host(format!("something is in the way: {}", self.conflicts.join("; ")))
            .remedy("move it away and run it again"))
    }

    fn plan(self, stays: bool) -> Plan {
        let Planner { wanted, steps, after, mut notes, record, old, .. } = self;
        let record = stays.then_some(record);
        let same = match (&record, old) {
            (Some(new), Some(old)) => new.same_as(old),
            (None, None) => true,
            _ => false,
        };
        let changed = !steps.is_empty() || !after.is_empty() || !same;
        if changed {
            notes.splice(0..0, wanted.notes.iter().cloned());
        }
        Plan { changed, steps, after, notes, record }
    }
}
