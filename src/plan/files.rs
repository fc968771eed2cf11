//! The planner's files: directories, files and links, made or kept, and those that go.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Content, Note, Planner, Step, WantedFile, state};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::record::{FileKind, FileRecord};
use crate::root::{Attr, Look};

impl Planner<'_> {
    /// Directories, and those above everything that will be written, outermost first.
    pub(super) fn directories(&mut self) {
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

    pub(super) fn wanted_files(&mut self) -> Result<()> {
        let wanted = self.wanted;
        for file in &wanted.files {
            let (digest, size) = match &file.content {
                Content::Text(text) => (Digest::of(text.as_bytes()), text.len() as u64),
                Content::Secret(text) => (Digest::of(text.as_bytes()), 0),
                Content::Kept => {
                    self.kept_file(file);
                    continue;
                }
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

    /// A file that is to stay as it is, whoever has written it.
    fn kept_file(&mut self, file: &WantedFile) {
        let known = self.old.and_then(|r| r.files.get(&file.path)).cloned();
        let unknown = FileRecord { kind: file.kind, digest: None, attr: file.attr, offered: None };
        self.record.files.insert(file.path.clone(), known.unwrap_or(unknown));
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
                let adopted =
                    matches!(file.kind, FileKind::Unit | FileKind::Command | FileKind::Program);
                if recorded.is_some() || adopted {
                    // A configuration file's mode is the site's as its content is.
                    let same = file.kind == FileKind::Config
                        && known.is_some_and(|known| known.attr == file.attr);
                    if attr != Some(file.attr) && !same {
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
        let is = |unit: &String| file.path.ends_with(unit);
        let mut services = self.wanted.services.iter();
        if let Some(service) = services.find(|s| is(&s.unit) || s.needs.iter().any(is)) {
            let needed = service.needs.iter().filter(|unit| is(unit));
            for unit in std::iter::once(&service.unit).chain(needed) {
                let stop = Step::Stop { unit: unit.clone() };
                if self.starts() && self.state.unit(unit).is_up() && !self.steps.contains(&stop) {
                    self.steps.push(stop);
                }
            }
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

    pub(super) fn wanted_links(&mut self) {
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

    /// What the record lists and nobody wants any more: links, files, then directories.
    pub(super) fn unwanted(&mut self, keep: &[FileKind]) {
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
                let what = match file.kind {
                    FileKind::Secret => "stays with the data that was made with it",
                    _ => "stays",
                };
                self.notes.push(Note::on(path, what));
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
}
