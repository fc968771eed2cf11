//! Carrying out a plan so that a host is always in the old state or in the new one.
//!
//! Every step's intent is on disk before the step. The one commit point is the rename of the new
//! record (for an uninstallation, the removal of the record). Before it an error, a signal or a
//! kill means that everything is undone, in reverse; after it, that the little that is left
//! (images and a program that nobody needs any more) is finished.

mod undo;

use std::io::Write;
use std::path::Path;

use crate::crash;
use crate::digest::Digest;
use crate::engine::load::{Client, Removed};
use crate::error::{Error, Kind, Result};
use crate::health;
use crate::host::{Interrupt, UnitState};
use crate::journal::{self, Act, After, Begin, Journal};
use crate::named;
use crate::plan::{Node, Plan, Step};
use crate::progress::Progress;
use crate::record::{Leftover, RECORD, Record, STATE};
use crate::root::{Attr, Held, Lock, Root};

pub use undo::{Recovered, recover};

/// Writes the image `name` as a docker archive in which it is called `reference`.
pub type Feed<'a> = dyn FnMut(&str, &str, &mut dyn Write) -> Result<()> + 'a;

/// Locks the host for one run: held from before it is looked at until the last change.
pub fn lock(root: &Root) -> Result<Lock> {
    root.lock(Path::new("/var/lib"))
}

/// The error of every verb but `recover` and `install` if an earlier run was interrupted.
pub fn refuse_pending(root: &Root) -> Result<()> {
    match journal::read(root)? {
        Some((begin, _)) => Err(journal::pending_error(root, begin.as_ref())),
        None => Ok(()),
    }
}

/// Carries out `plan`, which was made from the state of this very `node` under this very lock.
/// `verb` is told if it is interrupted.
///
/// An error means that the host is as it was before, unless it is [`Kind::Incomplete`]. What
/// comes back are warnings: what was not removed, and why.
pub fn apply(
    lock: &Lock,
    node: &Node<'_>,
    plan: &Plan,
    verb: &str,
    feed: &mut Feed<'_>,
    interrupt: &Interrupt,
    progress: &dyn Progress,
) -> Result<Vec<String>> {
    if !plan.changed {
        return Ok(Vec::new());
    }
    interrupt.check()?;
    refuse_pending(node.root)?;
    let begin = Begin {
        transaction: system_text("/proc/sys/kernel/random/uuid")?,
        verb: verb.to_owned(),
        boot: boot()?,
        leaves_record: plan.record.is_some(),
        live: node.systemd.is_some(),
        engine: node.engine.map(Client::kind),
        up: up(node, plan)?,
        after: plan.after.iter().filter_map(after).collect(),
    };
    node.root.mkdir(Path::new(STATE), Attr::own(0o700))?;
    crash::point();
    let mut run = match Journal::begin(node.root, &begin) {
        Ok(journal) => Run { lock, node, journal, feed, interrupt, progress },
        Err(error) => {
            // Nothing has been done; what cannot be cleared away is found by the next run.
            let _ = journal::remove(node.root).and_then(|()| undo::remove_empty_state(node.root));
            return Err(error);
        }
    };
    crash::point();
    let done = run.steps(&plan.steps).and_then(|()| run.commit(plan, &begin));
    drop(run);
    match done {
        Ok(()) => undo::finish(node, &begin, progress),
        Err(error) => Err(undone(node, error, progress)),
    }
}

/// Undoes everything and says what state the host is in.
fn undone(node: &Node<'_>, error: Error, progress: &dyn Progress) -> Error {
    progress.note("undoing what was done");
    let remedy = error.next_step().map(str::to_owned);
    // What is undone is what the journal says, as it would be after a kill.
    match recover_now(node, progress) {
        Ok(()) => {
            let told = Error::new(error.kind(), "this was undone and the host is as before");
            match remedy {
                Some(remedy) => told.because(error).remedy(remedy),
                None => told.because(error),
            }
        }
        Err(second) => Error::new(Kind::Incomplete, format!("it failed ({error}) and"))
            .because(second)
            .remedy("run `ldms-install recover`"),
    }
}

fn recover_now(node: &Node<'_>, progress: &dyn Progress) -> Result<()> {
    match journal::read(node.root)? {
        Some((Some(begin), acts)) => undo::undo(node, &begin, &acts, progress),
        _ => undo::clear(node.root),
    }
}

/// A plan that is being carried out.
struct Run<'a> {
    lock: &'a Lock,
    node: &'a Node<'a>,
    journal: Journal<'a>,
    feed: &'a mut Feed<'a>,
    interrupt: &'a Interrupt,
    progress: &'a dyn Progress,
}

impl Run<'_> {
    fn steps(&mut self, steps: &[Step]) -> Result<()> {
        for step in steps {
            self.interrupt.check()?;
            self.progress.note(&step.to_string());
            self.step(step)?;
        }
        self.interrupt.check()
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        let root = self.node.root;
        match step {
            Step::LoadImage { name, reference, layers, .. } => self.load(name, reference, layers),
            Step::MakeDir { path, attr } => {
                let act = Act::MakeDir { path: path.clone() };
                self.act(&act, || root.mkdir(path, *attr).map(drop))
            }
            Step::RemoveDir { path } => {
                let crate::root::Look::Directory { attr } = root.look(path)? else {
                    return Ok(());
                };
                let act = Act::RemoveDir { path: path.clone(), attr };
                self.act(&act, || root.remove_dir(path).map(drop))
            }
            Step::WriteFile { path, content, digest, attr, before, .. } => {
                let bytes = content.read(root)?;
                if Digest::of(&bytes) != *digest {
                    return Err(Error::failed("has changed while this was running")
                        .at(content)
                        .remedy("run it again"));
                }
                let after = Held::File(*digest);
                self.path(path, Some(before), after, || root.write(path, &bytes, *attr).map(drop))
            }
            Step::RemoveFile { path, before } | Step::Unlink { path, before } => {
                self.path(path, Some(before), Held::Absent, || root.remove_file(path).map(drop))
            }
            Step::Link { path, target, before } => {
                let after = Held::Link(target.clone());
                self.path(path, Some(before), after, || root.symlink(path, target).map(drop))
            }
            Step::Reload | Step::Start { .. } | Step::Restart { .. } | Step::Stop { .. } => {
                self.unit(step)
            }
            Step::Await { unit, checks, timeout, .. } => match self.node.systemd {
                Some(systemd) => {
                    let (engine, interrupt) = (self.node.engine, self.interrupt);
                    health::wait(systemd, engine, unit, checks, *timeout, interrupt)
                }
                None => Ok(()),
            },
            Step::RemoveImage { .. } => {
                Err(Error::failed("an image is removed only after everything else"))
            }
        }
    }

    fn unit(&mut self, step: &Step) -> Result<()> {
        let Some(systemd) = self.node.systemd else { return Ok(()) };
        match step {
            Step::Start { unit } => {
                self.act(&Act::Start { unit: unit.clone() }, || systemd.start(unit))
            }
            Step::Restart { unit } => {
                self.act(&Act::Start { unit: unit.clone() }, || systemd.restart(unit))
            }
            Step::Stop { unit } => {
                self.act(&Act::Stop { unit: unit.clone() }, || systemd.stop(unit))
            }
            _ => self.act(&Act::Reload, || systemd.reload()),
        }
    }

    fn load(&mut self, name: &str, reference: &str, layers: &[Digest]) -> Result<()> {
        let Some(engine) = self.node.engine else {
            return Err(Error::host("no engine can be spoken to").at(name));
        };
        self.journal.intent(&Act::LoadImage { reference: reference.to_owned() })?;
        crash::point();
        let feed = &mut *self.feed;
        let mut write = |out: &mut dyn Write| feed(name, reference, out);
        self.lock
            .lend(|| engine.load(self.node.root, reference, layers, self.interrupt, &mut write))?;
        crash::point();
        self.journal.done()
    }

    /// A change of the file or link at `path`, once what is there has been kept. It must be what
    /// was `seen` when the plan was made.
    fn path(
        &mut self,
        path: &Path,
        seen: Option<&Held>,
        after: Held,
        change: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let before = self.journal.save(path)?;
        if let Some(seen) = seen {
            before.held().must_be(seen, &self.node.root.path(path))?;
        }
        self.act(&Act::Path { path: path.to_owned(), before, after }, change)
    }

    /// Intent, act, done.
    fn act(&mut self, act: &Act, change: impl FnOnce() -> Result<()>) -> Result<()> {
        self.journal.intent(act)?;
        crash::point();
        change()?;
        crash::point();
        self.journal.done()
    }

    /// The one moment from which on the host is in the new state. It has an intent like any
    /// other change, so that a failure of it is undone like any other.
    fn commit(&mut self, plan: &Plan, begin: &Begin) -> Result<()> {
        let root = self.node.root;
        let path = Path::new(RECORD);
        let record = plan.record.clone().map(|r| r.of_transaction(&begin.transaction).text());
        match record.transpose()? {
            Some(text) => {
                let after = Held::File(Digest::of(&text));
                self.path(path, None, after, || root.write(path, &text, Attr::own(0o600)).map(drop))
            }
            None => self.path(path, None, Held::Absent, || root.remove_file(path).map(drop)),
        }
    }
}

/// The units that a plan starts, restarts or stops, and that are up.
fn up(node: &Node<'_>, plan: &Plan) -> Result<Vec<String>> {
    let Some(systemd) = node.systemd else { return Ok(Vec::new()) };
    let units: Vec<_> = plan
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::Start { unit } | Step::Restart { unit } | Step::Stop { unit } => Some(unit),
            _ => None,
        })
        .collect();
    let states = systemd.states(&units)?;
    Ok(units
        .into_iter()
        .filter(|u| states.get(*u).is_some_and(UnitState::is_up))
        .cloned()
        .collect())
}

fn after(step: &Step) -> Option<After> {
    match step {
        Step::RemoveImage { engine, reference } => {
            Some(After::RemoveImage { engine: *engine, reference: reference.clone() })
        }
        Step::RemoveFile { path, before } => {
            Some(After::RemoveFile { path: path.clone(), before: before.clone() })
        }
        Step::RemoveDir { path } => Some(After::RemoveDir { path: path.clone() }),
        _ => None,
    }
}

/// Does what is left once the record is in place; what cannot be done is told, not undone.
/// The record then lists only those images that are still there.
fn go_forward(root: &Root, after: &[After], progress: &dyn Progress) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    let mut record = Record::load(root)?;
    for act in after {
        let warning = match act {
            After::RemoveImage { engine, reference } => {
                match Client::new(*engine).remove(reference) {
                    Ok(Removed::InUse) => {
                        Some(format!("image {reference} stays: a container uses it"))
                    }
                    Ok(Removed::Gone | Removed::Absent) => {
                        let left = Leftover { engine: *engine, reference: reference.clone() };
                        if let Some(record) = &mut record {
                            record.leftover.remove(&left);
                        }
                        None
                    }
                    Err(e) => Some(format!("image {reference} could not be removed: {e}")),
                }
            }
            After::RemoveFile { path, before } => remove_still(root, path, before)
                .err()
                .map(|e| format!("{} stays: {e}", path.display())),
            After::RemoveDir { path } => root.remove_dir(path).err().map(|e| e.to_string()),
        };
        crash::point();
        if let Some(warning) = warning {
            progress.note(&warning);
            warnings.push(warning);
        }
    }
    if let Some(record) = record {
        root.write(Path::new(RECORD), &record.text()?, Attr::own(0o600))?;
    }
    Ok(warnings)
}

/// Removes the file at `path` unless it holds something else by now.
fn remove_still(root: &Root, path: &Path, before: &Held) -> Result<()> {
    let held = root.held(path)?;
    if held.is_absent() {
        return Ok(());
    }
    held.must_be(before, &root.path(path))?;
    root.remove_file(path).map(drop)
}

/// This boot of the machine.
fn boot() -> Result<String> {
    system_text("/proc/sys/kernel/random/boot_id")
}

fn system_text(path: &str) -> Result<String> {
    let bytes = named::bytes(Path::new(path), 64)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}
