//! Back to the state before, or on to the end, from what the journal says: after an error in
//! the same run, or after a kill in the next one. Both go the same way, and going it twice, or
//! being killed on it, does no harm.

use std::collections::BTreeSet;
use std::path::Path;

use crate::crash;
use crate::engine::load::{Client, Removed, SCRATCH};
use crate::error::{Error, Kind, Result};
use crate::host::UnitState;
use crate::journal::{self, Act, Before, Begin};
use crate::plan::{Node, UNITS};
use crate::progress::Progress;
use crate::record::{Record, STATE};
use crate::root::{Lock, Root};

/// What [`recover`] found and did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// No run had been interrupted.
    Nothing,
    /// The interrupted run of this verb was undone: the host is as before it.
    Undone(String),
    /// The interrupted run of this verb had got so far that it was finished.
    Completed(String),
}

/// Brings a host on which a run was interrupted to the state before it, or, if the run had
/// already put its record in place, to the state it was to reach.
pub fn recover(_lock: &Lock, node: &Node<'_>, progress: &dyn Progress) -> Result<Recovered> {
    let Some((begin, acts)) = journal::read(node.root)? else {
        remove_empty_state(node.root)?;
        return Ok(Recovered::Nothing);
    };
    let Some(begin) = begin else {
        clear(node.root)?;
        return Ok(Recovered::Nothing);
    };
    if begin.live && node.systemd.is_none() {
        let what = format!("an earlier run ({}) was interrupted while this host ran", begin.verb);
        return Err(Error::new(Kind::Incomplete, what)
            .at(node.root.dir().display())
            .remedy("boot it and run `ldms-install recover` on that host"));
    }
    if is_committed(node.root, &begin)? {
        finish(node, &begin, progress)?;
        look_at_images(node, &begin, progress)?;
        return Ok(Recovered::Completed(begin.verb));
    }
    undo(node, &begin, &acts, progress)?;
    Ok(Recovered::Undone(begin.verb))
}

/// The run has put its record in place, or removed the one that was there.
fn is_committed(root: &Root, begin: &Begin) -> Result<bool> {
    let record = Record::load(root)?;
    Ok(match record {
        Some(record) => begin.leaves_record && record.transaction == begin.transaction,
        None => !begin.leaves_record,
    })
}

/// Engines do not sync by themselves, so what was loaded before a power cut is looked at again.
fn look_at_images(node: &Node<'_>, begin: &Begin, progress: &dyn Progress) -> Result<()> {
    let (Some(record), Some(engine)) = (Record::load(node.root)?, begin.engine) else {
        return Ok(());
    };
    for image in record.images.iter().filter(|image| image.loaded) {
        let reference = &image.reference;
        match Client::new(engine).present(reference, &image.layers) {
            Ok(Some(_)) => {}
            Ok(None) => {
                progress.note(&format!("{engine} has lost {reference}: run `ldms-install load`"));
            }
            Err(e) => progress.note(&format!("{engine} does not tell of {reference}: {e}")),
        }
    }
    Ok(())
}

/// Finishes a run whose record is in place. What comes back are warnings.
pub(super) fn finish(
    node: &Node<'_>,
    begin: &Begin,
    progress: &dyn Progress,
) -> Result<Vec<String>> {
    crash::point();
    super::go_forward(node.root, &begin.after, progress)
        .and_then(|warnings| clear(node.root).map(|()| warnings))
        .map_err(|e| {
            Error::new(Kind::Incomplete, "it is done, but what it leaves cannot be cleared away")
                .because(e)
                .remedy("put that right and run `ldms-install recover`")
        })
}

/// Undoes `acts`, the last one first, and removes the journal if all of it worked.
///
/// What ran before runs again at the end. In the boot of the run itself that is what was up when
/// it began. After a reboot intents to start and stop are void: systemd has started what is
/// enabled, on files of either state, so all of it is stopped first and started again after.
pub(super) fn undo(
    node: &Node<'_>,
    begin: &Begin,
    acts: &[Act],
    progress: &dyn Progress,
) -> Result<()> {
    let mut failures = Vec::new();
    let mut reload = false;
    let mut restart = touched(acts);
    let rebooted = super::boot()? != begin.boot;
    if let Some(systemd) = node.systemd.filter(|_| rebooted) {
        let record = Record::load(node.root)?;
        restart.extend(record.iter().flat_map(Record::units));
        let states = systemd.states(&restart.iter().collect::<Vec<_>>())?;
        restart.retain(|unit| states.get(unit).is_some_and(UnitState::is_up));
        failures.extend(restart.iter().filter_map(|unit| systemd.stop(unit).err()));
        reload = !restart.is_empty();
    } else {
        // Stopping one unit may have taken others along.
        if !restart.is_empty() {
            restart = begin.up.iter().cloned().collect();
        }
    }
    for act in acts.iter().rev() {
        match undo_one(node, begin, act, progress) {
            Ok(touches_systemd) => reload |= touches_systemd,
            Err(error) => failures.push(error),
        }
        crash::point();
    }
    if let Some(systemd) = node.systemd.filter(|_| reload) {
        failures.extend(systemd.reload().err());
        for unit in &restart {
            let wanted = !rebooted || systemd.is_enabled(unit).unwrap_or(true);
            if wanted {
                failures.extend(systemd.start(unit).err());
            }
        }
    }
    if failures.is_empty() {
        return clear(node.root).map_err(|e| incomplete("its journal cannot be removed", e));
    }
    let others = failures.len() - 1;
    let first = failures.swap_remove(0);
    let what = if others == 0 {
        "not everything could be undone".to_owned()
    } else {
        format!("not everything could be undone ({others} more failures)")
    };
    Err(incomplete(&what, first))
}

/// The units that the run has started, stopped, or changed the files of.
fn touched(acts: &[Act]) -> BTreeSet<String> {
    let unit = |act: &Act| match act {
        Act::Start { unit } | Act::Stop { unit } => Some(unit.clone()),
        Act::Path { path, .. } => unit_of(path).map(str::to_owned),
        _ => None,
    };
    acts.iter().filter_map(unit).collect()
}

/// The unit whose file `path` is; a new version laid beside it is none.
fn unit_of(path: &Path) -> Option<&str> {
    let is_offer = path.extension().is_some_and(|e| e == "new");
    let is_ours = path.parent() == Some(Path::new(UNITS)) && !is_offer;
    is_ours.then(|| path.file_name()?.to_str())?
}

fn incomplete(what: &str, error: Error) -> Error {
    Error::new(Kind::Incomplete, what)
        .because(error)
        .remedy("put that right and run `ldms-install recover`")
}

/// Undoes one act, whether or not it was carried out. True if systemd has to read its files
/// again.
fn undo_one(node: &Node<'_>, begin: &Begin, act: &Act, progress: &dyn Progress) -> Result<bool> {
    let root = node.root;
    match act {
        Act::Path { path, before, after } => {
            root.sweep(path)?;
            let held = root.held(path)?;
            if held != *after && held != before.held() {
                progress.note(&format!("{} has changed since and stays", path.display()));
                return Ok(path.starts_with(UNITS));
            }
            // A slice is started by what is in it, so no intent speaks of it.
            if let (Before::Absent, Some(systemd), Some(unit)) =
                (before, node.systemd, unit_of(path))
            {
                systemd.stop(unit)?;
            }
            let changed = match before {
                Before::Absent => root.remove_file(path)?,
                Before::Link { target } => root.symlink(path, target)?,
                Before::File { saved, attr, .. } => {
                    root.write(path, &journal::saved(root, saved)?, *attr)?
                }
            };
            return Ok(changed && path.starts_with(UNITS));
        }
        Act::MakeDir { path } => {
            if !root.remove_dir(path)? && root.exists(path)? {
                progress.note(&format!("{} is not empty and stays", path.display()));
            }
        }
        Act::RemoveDir { path, attr } => {
            root.mkdir(path, *attr)?;
        }
        Act::LoadImage { reference } => {
            let Some(engine) = begin.engine else { return Ok(false) };
            if Client::new(engine).remove(reference)? == Removed::InUse {
                return Err(Error::failed("a container uses it").at(format!("image {reference}")));
            }
        }
        // Its end removes it, but that may be yet to come if this process was killed.
        Act::Prove { container } => {
            if let Some(engine) = begin.engine {
                Client::new(engine).remove_container(container)?;
            }
        }
        // Stopped now, so that it does not run on files that are being put back.
        Act::Start { unit } => {
            if let Some(systemd) = node.systemd {
                systemd.stop(unit)?;
            }
            return Ok(true);
        }
        // What ran before is started at the end, when its files are there again.
        Act::Stop { .. } | Act::Reload => return Ok(true),
    }
    Ok(false)
}

/// Removes the journal, and our directory if nothing is installed.
pub(super) fn clear(root: &Root) -> Result<()> {
    root.remove_tree(Path::new(SCRATCH))?;
    journal::remove(root)?;
    crash::point();
    remove_empty_state(root)
}

/// Our own directory is removed when there is nothing in it.
pub(super) fn remove_empty_state(root: &Root) -> Result<()> {
    root.sweep(Path::new(crate::record::RECORD))?;
    root.remove_dir(Path::new(STATE)).map(drop)
}
