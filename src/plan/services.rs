//! The planner's services: their images, and which units start, stop and restart.

use std::collections::BTreeSet;

use super::{Note, Planner, Step, WantedService};
use crate::record::{ImageRecord, Leftover, ServiceRecord, usual_container};

impl Planner<'_> {
    /// Wanted images come first: services keep running meanwhile.
    pub(super) fn images(&mut self) {
        let old = self.old.filter(|o| o.engine == self.wanted.engine);
        let old = old.map_or(&[][..], |r| &r.images);
        for image in &self.wanted.images {
            let known = old.iter().find(|o| o.reference == image.reference);
            let there = self.state.images.contains(&image.reference);
            let engine = self.wanted.engine.filter(|_| self.state.has_engine);
            if let (Some(engine), false) = (engine, there) {
                self.steps.push(Step::LoadImage {
                    engine,
                    name: image.name.clone(),
                    reference: image.reference.clone(),
                    layers: image.layers.clone(),
                    size: image.size,
                });
            }
            self.record.images.push(ImageRecord {
                name: image.name.clone(),
                reference: image.reference.clone(),
                id: image.id,
                layers: image.layers.clone(),
                size: image.size,
                loaded: engine.is_some() || known.is_some_and(|k| k.loaded),
            });
        }
    }

    /// Units that go are stopped while their files are still there, the last one first.
    pub(super) fn stop_unwanted(&mut self) {
        if self.state.units.is_none() {
            return;
        }
        let Some(old) = self.old else { return };
        let stays = |unit: &String| {
            let path = self.wanted.files.iter().any(|f| f.path.ends_with(unit));
            path || self.wanted.services.iter().any(|s| s.unit == *unit)
        };
        let units = old.units();
        let (services, groups) = units.split_at(old.services.len());
        // Without a start what such a unit takes along would stay down.
        let groups = if self.starts() { groups } else { &[] };
        for unit in services.iter().rev().chain(groups.iter().rev()) {
            if !stays(unit) && !self.state.unit(unit).is_down() {
                self.steps.push(Step::Stop { unit: unit.clone() });
            }
        }
    }

    /// systemd reads what changed; services start in order, restart if what they are made of
    /// changed, and then have to work.
    pub(super) fn finish_services(&mut self) {
        if self.reload && self.state.units.is_some() {
            self.steps.push(Step::Reload);
        }
        let start = self.starts();
        let mut awaited = Vec::new();
        for service in &self.wanted.services {
            let state = self.state.unit(&service.unit);
            let changed = self.has_changed(service);
            self.record.services.push(ServiceRecord {
                name: service.name.clone(),
                role: service.role.clone(),
                companion_of: service.companion_of.clone(),
                unit: service.unit.clone(),
                image: service.image.clone(),
                container: Some(service.container.clone())
                    .filter(|name| *name != usual_container(&service.name)),
                ports: service.ports.clone(),
                uses: service.uses.clone(),
                stale: !start && changed && state.is_up(),
            });
            let unit = service.unit.clone();
            let up = state.is_up() && !self.steps.contains(&Step::Stop { unit: unit.clone() });
            if start {
                self.start_needed(service);
            }
            match (up, changed) {
                _ if !start => continue,
                // systemd restarts it along; a container that does not come up is told of as such,
                // not as what cannot be run in it.
                _ if self.restarts_with_its_service(service) => awaited.push(Step::Start { unit }),
                (true, true) => self.steps.push(Step::Restart { unit }),
                (true, false) if state.active == "active" => continue,
                _ => self.steps.push(Step::Start { unit }),
            }
            awaited.push(Step::Await {
                service: service.name.clone(),
                unit: service.unit.clone(),
                checks: service.checks.clone(),
                timeout: service.start_timeout,
            });
        }
        if !start {
            return;
        }
        for unit in &self.wanted.groups {
            if self.state.unit(unit).active != "active" {
                self.steps.push(Step::Start { unit: unit.clone() });
            }
        }
        self.steps.append(&mut awaited);
    }

    /// The service in whose container it runs is started in this plan.
    fn restarts_with_its_service(&self, companion: &WantedService) -> bool {
        let Some(name) = &companion.companion_of else { return false };
        let service = self.wanted.services.iter().find(|service| service.name == *name);
        service.is_some_and(|service| {
            self.steps.iter().any(|step| match step {
                Step::Start { unit } | Step::Restart { unit } => *unit == service.unit,
                _ => false,
            })
        })
    }

    /// What has to have run before a service is started by a step of its own, so that undoing
    /// that step ends what the new version of it has done.
    fn start_needed(&mut self, service: &WantedService) {
        for unit in &service.needs {
            let stopped = self.steps.contains(&Step::Stop { unit: unit.clone() });
            if stopped || self.state.unit(unit).active != "active" {
                self.steps.push(Step::Start { unit: unit.clone() });
            }
        }
    }

    /// What the service is made of is not what it was started with.
    pub(super) fn has_changed(&self, service: &WantedService) -> bool {
        let before = self.old.and_then(|old| old.services.iter().find(|o| o.unit == service.unit));
        let loads = self.steps.iter().any(
            |step| matches!(step, Step::LoadImage { reference, .. } if *reference == service.image),
        );
        let units = || std::iter::once(&service.unit).chain(&service.needs);
        self.written.iter().any(|p| units().any(|unit| p.ends_with(unit)))
            || service.uses.iter().chain(&service.writes).any(|p| self.written.contains(p))
            || before.is_some_and(|b| b.stale || b.image != service.image)
            || self.state.outdated.contains(&service.unit)
            || loads
    }

    /// Unwanted images go when nothing can need them again. The record lists each until it is
    /// gone. One that an earlier run had to leave is tried again if nobody uses it, or if what
    /// this run does may end that use.
    pub(super) fn unwanted_images(&mut self) {
        let Some(old) = self.old else { return };
        let loaded = old.images.iter().filter(|image| image.loaded);
        let loaded: BTreeSet<Leftover> = old
            .engine
            .into_iter()
            .flat_map(|engine| {
                loaded.clone().map(move |i| Leftover { engine, reference: i.reference.clone() })
            })
            .collect();
        let mut removals = Vec::new();
        for image in loaded.union(&old.leftover) {
            let Leftover { engine, reference } = image.clone();
            let wanted = self.wanted.images.iter().any(|w| w.reference == reference);
            if wanted && self.wanted.engine == Some(engine) {
                continue;
            }
            let worth_it = loaded.contains(image) || !self.steps.is_empty();
            if self.state.unused.contains(image) || (self.state.has_engine && worth_it) {
                removals.push(Step::RemoveImage { engine, reference });
            } else {
                let what = format!("stays: {engine} still uses it or does not answer here");
                self.notes.push(Note { about: format!("image {reference}"), what });
            }
            self.record.leftover.insert(image.clone());
        }
        self.after.splice(0..0, removals);
    }
}
