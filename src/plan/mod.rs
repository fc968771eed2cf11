//! The plan: from what is installed to what is wanted, as steps. A pure function; a dry run
//! prints the very value that the real run carries out.
//!
//! Whose a file is decides what happens to it. One that still holds what we recorded is ours and
//! is replaced. One that the site has edited, or had before us, is kept, and a new version is
//! laid beside it once. What only the program itself writes (its answers, its own copy) it
//! rewrites even if it was edited, but removes only as it wrote it. A link or a service that the record and the wish both name is made to be so
//! again: whoever runs the installation asks for that.

mod state;
mod step;
#[cfg(test)]
mod tests;
mod wanted;

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::record::{FileKind, FileRecord, ImageRecord, Leftover, Record, ServiceRecord};
use crate::root::{Attr, Held, Look};

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
        Planner {
            wanted,
            old,
            state,
            steps: Vec::new(),
            after: Vec::new(),
            notes: Vec::new(),
            conflicts: Vec::new(),
            record: Record::new(wanted.bundle.clone(), wanted.engine),
            needed: BTreeSet::new(),
            written: BTreeSet::new(),
            reload: false,
        }
    }

    /// Wanted images come first: services keep running meanwhile.
    fn images(&mut self) {
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
    fn stop_unwanted(&mut self) {
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
        for unit in services.iter().rev().chain(groups.iter().rev()) {
            if !stays(unit) && !self.state.unit(unit).is_down() {
                self.steps.push(Step::Stop { unit: unit.clone() });
            }
        }
    }

    /// Directories, and those above everything that will be written, outermost first.
    fn directories(&mut self) {
        let (uid, gid) = self.state.owner;
        let plain = Attr { mode: 0o755, uid, gid };
        let mut dirs: Vec<(&Path, Attr)> = Vec::new();
        for dir in &self.wanted.dirs {
            dirs.extend(state::above(&dir.path).into_iter().map(|p| (p, plain)));
            dirs.push((&dir.path, dir.attr));
        }
        let files = self.wanted.files.iter().map(|f| &f.path);
        for path in files.chain(self.wanted.links.iter().map(|l| &l.path)) {
            dirs.extend(state::above(path).into_iter().map(|p| (p, plain)));
        }
        for (path, attr) in dirs {
            // A directory asked for with attributes of its own is also above others: those win.
            let attr =
                self.wanted.dirs.iter().find(|d| d.path == path).map_or(attr, |dir| dir.attr);
            if !self.needed.insert(path.to_owned()) {
                continue;
            }
            let ours = self.old.is_some_and(|r| r.dirs.contains(path));
            match self.state.at(path) {
                Look::Absent => {
                    self.steps.push(Step::MakeDir { path: path.to_owned(), attr });
                    self.record.dirs.insert(path.to_owned());
                }
                Look::Directory { .. } | Look::Link { to_directory: true, .. } if ours => {
                    self.record.dirs.insert(path.to_owned());
                }
                Look::Directory { .. } | Look::Link { to_directory: true, .. } => {}
                _ => self.conflicts.push(format!("{} is no directory", path.display())),
            }
        }
    }

    fn wanted_files(&mut self) -> Result<()> {
        let wanted = self.wanted;
        for file in &wanted.files {
            let (digest, size) = match &file.content {
                Content::Text(text) => (Digest::of(text.as_bytes()), text.len() as u64),
                Content::Secret(text) => (Digest::of(text.as_bytes()), 0),
                Content::CopyOf(path) | Content::Input(path) => {
                    *self.state.sources.get(path).ok_or_else(|| {
                        Error::failed("nobody has looked at it").at(path.display())
                    })?
                }
            };
            self.file(file, digest, size);
        }
        Ok(())
    }

    /// One wanted file: written, kept with the new one beside it, or left as it is.
    fn file(&mut self, file: &WantedFile, digest: Digest, size: u64) {
        let known = self.old.and_then(|r| r.files.get(&file.path));
        let recorded = known.and_then(|k| k.digest);
        let (there, attr) = match self.state.at(&file.path) {
            Look::Directory { .. } => {
                let path = file.path.display();
                return self.conflicts.push(format!("{path} is a directory, and should be a file"));
            }
            Look::Absent => (None, None),
            Look::File { digest, attr, .. } => (Some(Some(*digest)), Some(*attr)),
            // A link or a device is somebody's decision: no content of ours.
            Look::Link { .. } | Look::Other => (Some(None), None),
        };
        let offered = known.and_then(|k| k.offered);
        let mut entry =
            FileRecord { kind: file.kind, digest: Some(digest), attr: file.attr, offered };
        match there {
            // Already as wanted; whether it is ours the record says. A unit always is, and so is the
            // very program, which the medium's README has people copy where it cannot run.
            Some(Some(there)) if there == digest => {
                let adopted = matches!(file.kind, FileKind::Unit | FileKind::Program);
                if recorded.is_some() || adopted {
                    if attr != Some(file.attr) {
                        self.write(file, digest, size);
                    }
                    entry.offered = None;
                } else {
                    entry.digest = None;
                }
            }
            None => {
                self.write(file, digest, size);
                entry.offered = None;
            }
            Some(Some(there))
                if recorded == Some(there) || (recorded.is_some() && file.kind.is_rewritten()) =>
            {
                self.write(file, digest, size);
                entry.offered = None;
            }
            // Edited, or the site's own from before us.
            Some(_) => {
                entry.digest = recorded;
                self.offer(file, digest, size, &mut entry);
            }
        }
        self.record.files.insert(file.path.clone(), entry);
    }

    /// Lays the new version beside an edited file, unless it is what was edited or it was
    /// offered before.
    fn offer(&mut self, file: &WantedFile, digest: Digest, size: u64, entry: &mut FileRecord) {
        let path = file.offer();
        let note = |what: String| Note::on(&file.path, what);
        let kept = match entry.digest {
            Some(_) => "was edited here and is kept",
            None => "is the site's own and is kept",
        };
        let again = entry.offered == Some(digest);
        if entry.digest == Some(digest) {
            self.notes.push(note(kept.into()));
            return;
        }
        let there = match self.state.at(&path) {
            Look::Absent => None,
            Look::File { digest, .. } => Some(*digest),
            _ => {
                let path = path.display();
                return self.conflicts.push(format!("{path} is no file"));
            }
        };
        let what = format!("{kept}; the new version is {}", path.display());
        if !again || there == Some(digest) {
            self.notes.push(note(what));
        }
        if !again && there != Some(digest) {
            let offer = WantedFile { path: path.clone(), kind: FileKind::Offer, ..file.clone() };
            self.write(&offer, digest, size);
        }
        if !again || there == Some(digest) {
            let offer =
                FileRecord { kind: FileKind::Offer, digest: Some(digest), offered: None, ..*entry };
            self.record.files.insert(path, offer);
        }
        entry.offered = Some(digest);
    }

    fn write(&mut self, file: &WantedFile, digest: Digest, size: u64) {
        self.written.insert(file.path.clone());
        self.reload |= file.kind == FileKind::Unit;
        // How to stop a service its old unit knows: the new one may name another engine.
        let service = self.wanted.services.iter().find(|s| file.path.ends_with(&s.unit));
        if let Some(service) = service.filter(|s| self.starts() && self.state.unit(&s.unit).is_up())
        {
            self.steps.push(Step::Stop { unit: service.unit.clone() });
        }
        self.steps.push(Step::WriteFile {
            path: file.path.clone(),
            content: file.content.clone(),
            digest,
            size,
            attr: file.attr,
            kind: file.kind,
            before: self.held(&file.path),
        });
    }

    fn wanted_links(&mut self) {
        for link in &self.wanted.links {
            let ours = self.old.is_some_and(|r| r.links.contains_key(&link.path));
            match self.state.at(&link.path) {
                Look::Absent => {}
                Look::Link { target, .. } if *target == link.target => {
                    self.record.links.insert(link.path.clone(), link.target.clone());
                    continue;
                }
                Look::Link { .. } if ours => {}
                _ => {
                    self.notes.push(Note::on(&link.path, "is the site's own and is kept"));
                    continue;
                }
            }
            self.reload = true;
            self.record.links.insert(link.path.clone(), link.target.clone());
            let before = self.held(&link.path);
            let (path, target) = (link.path.clone(), link.target.clone());
            self.steps.push(Step::Link { path, target, before });
        }
    }

    fn held(&self, path: &Path) -> Held {
        Held::from(self.state.at(path))
    }

    /// What the record lists and nobody wants any more: links, files, then directories.
    fn unwanted(&mut self, keep: &[FileKind]) {
        let Some(old) = self.old else { return };
        let mut gone: BTreeSet<&Path> = BTreeSet::new();
        let mut gone_after: BTreeSet<&Path> = BTreeSet::new();
        for (path, target) in &old.links {
            if self.record.links.contains_key(path) {
                continue;
            }
            // Another target is another's link.
            if matches!(self.state.at(path), Look::Link { target: t, .. } if t == target) {
                self.steps.push(Step::Unlink { path: path.clone(), before: self.held(path) });
                self.reload = true;
                gone.insert(path);
            }
        }
        for (path, file) in &old.files {
            if self.record.files.contains_key(path) {
                continue;
            }
            let unedited = matches!(self.state.at(path), Look::File { digest, .. }
                if Some(*digest) == file.digest);
            if keep.contains(&file.kind) {
                self.record.files.insert(path.clone(), file.clone());
            } else if unedited {
                let step = Step::RemoveFile { path: path.clone(), before: self.held(path) };
                // The program goes last of all: until then somebody may need it to recover.
                if file.kind == FileKind::Program {
                    self.after.push(step);
                    gone_after.insert(path);
                } else {
                    self.steps.push(step);
                    gone.insert(path);
                }
                self.reload |= file.kind == FileKind::Unit;
            } else if *self.state.at(path) != Look::Absent {
                let what = "is not as we wrote it, so it stays: it is the site's now";
                self.notes.push(Note::on(path, what));
            }
        }
        // The innermost first, so that a directory of nothing but ours empties step by step.
        for dir in old.dirs.iter().rev() {
            if self.needed.contains(dir) || *self.state.at(dir) == Look::Absent {
                continue;
            }
            let left = self.state.entries.get(dir).map_or(&[][..], |names| names);
            let left: Vec<_> = left.iter().map(|name| dir.join(name)).collect();
            let step = Step::RemoveDir { path: dir.clone() };
            if left.iter().all(|path| gone.contains(&**path)) {
                self.steps.push(step);
                gone.insert(dir);
            } else if left.iter().all(|p| gone.contains(&**p) || gone_after.contains(&**p)) {
                self.after.push(step);
                gone_after.insert(dir);
            } else {
                self.record.dirs.insert(dir.clone());
                self.notes.push(Note::on(dir, "is not empty, so it stays"));
            }
        }
    }

    /// systemd reads what changed; services start in order, restart if what they are made of
    /// changed, and then have to work.
    fn finish_services(&mut self) {
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
                unit: service.unit.clone(),
                image: service.image.clone(),
                ports: service.ports.clone(),
                uses: service.uses.clone(),
                stale: !start && changed && state.is_up(),
            });
            let unit = service.unit.clone();
            let up = state.is_up() && !self.steps.contains(&Step::Stop { unit: unit.clone() });
            match (up, changed) {
                _ if !start => continue,
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

    /// Services are started and restarted.
    fn starts(&self) -> bool {
        self.wanted.start && self.state.units.is_some()
    }

    /// What the service is made of is not what it was started with.
    fn has_changed(&self, service: &WantedService) -> bool {
        let before = self.old.and_then(|old| old.services.iter().find(|o| o.unit == service.unit));
        let loads = self.steps.iter().any(
            |step| matches!(step, Step::LoadImage { reference, .. } if *reference == service.image),
        );
        self.written.iter().any(|p| p.ends_with(&service.unit))
            || service.uses.iter().any(|p| self.written.contains(p))
            || before.is_some_and(|b| b.stale || b.image != service.image)
            || self.state.outdated.contains(&service.unit)
            || loads
    }

    /// Unwanted images go when nothing can need them again. The record lists each until it is
    /// gone. One that an earlier run had to leave is tried again if nobody uses it, or if what
    /// this run does may end that use.
    fn unwanted_images(&mut self) {
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

    fn in_the_way(&self) -> Result<()> {
        if self.conflicts.is_empty() {
            return Ok(());
        }
        Err(Error::host(format!("something is in the way: {}", self.conflicts.join("; ")))
            .remedy("move it away and run it again"))
    }

    fn plan(self, stays: bool) -> Plan {
        let Planner { steps, after, notes, record, old, .. } = self;
        let record = stays.then_some(record);
        let same = match (&record, old) {
            (Some(new), Some(old)) => new.same_as(old),
            (None, None) => true,
            _ => false,
        };
        let changed = !steps.is_empty() || !after.is_empty() || !same;
        Plan { changed, steps, after, notes, record }
    }
}
