//! What is on a host now, as far as a plan depends on it: looked at once, then a value.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use nix::unistd::{getegid, geteuid};

use super::{Content, Wanted};
use crate::digest::Digest;
use crate::engine::load::Client;
use crate::error::{Error, Result};
use crate::host::{Systemd, UnitState};
use crate::named;
use crate::record::{Leftover, Record};
use crate::root::{Look, READ_LIMIT, Root};

/// The node that is worked on.
#[derive(Debug)]
pub struct Node<'a> {
    /// Its files.
    pub root: &'a Root,
    /// Its systemd, if it runs.
    pub systemd: Option<Systemd>,
    /// The engine of its services, if it can be spoken to.
    pub engine: Option<Client>,
}

impl<'a> Node<'a> {
    /// The node with the files of `root`; systemd and an engine only where that is `/`.
    pub fn new(root: &'a Root, engine: Option<crate::engine::Kind>) -> Self {
        let live = root.is_live();
        Node {
            root,
            systemd: live.then_some(Systemd),
            engine: engine.filter(|_| live).map(Client::new),
        }
    }
}

/// What a plan needs to know of a host.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Who makes directories that only lead to something: user and group.
    pub owner: (u32, u32),
    /// What stands at each path that matters.
    pub files: BTreeMap<PathBuf, Look>,
    /// The names in each directory that the record lists.
    pub entries: BTreeMap<PathBuf, Vec<OsString>>,
    /// Digest and size of what copies are made of.
    pub sources: BTreeMap<PathBuf, (Digest, u64)>,
    /// The wanted and the recorded images that are there, with exactly the signed layers.
    pub images: BTreeSet<String>,
    /// Images that an earlier run had to leave in their engine and that no container uses now.
    pub unused: BTreeSet<Leftover>,
    /// There is an engine that can be spoken to.
    pub has_engine: bool,
    /// How each unit that matters is; `None` where no systemd runs.
    pub units: Option<BTreeMap<String, UnitState>>,
    /// Units that run on older versions of files that they use: a mounted file keeps its old
    /// inode until the container starts anew.
    pub outdated: BTreeSet<String>,
}

impl State {
    /// Looks at a node; its engine, if it has one, must answer.
    pub fn look(node: &Node<'_>, wanted: Option<&Wanted>, record: Option<&Record>) -> Result<Self> {
        let mut state = Self::without_engine(node, wanted, record)?;
        state.ask_engine(node, wanted, record)?;
        Ok(state)
    }

    /// Looks at a node from which everything is going to be removed. That works without an
    /// engine, too: the site may have removed it before.
    pub fn look_for_removal(node: &Node<'_>, record: &Record) -> Result<Self> {
        let mut state = Self::without_engine(node, None, Some(record))?;
        // Its images then stay, and the plan names them.
        let _ = state.ask_engine(node, None, Some(record));
        Ok(state)
    }

    fn without_engine(
        node: &Node<'_>,
        wanted: Option<&Wanted>,
        record: Option<&Record>,
    ) -> Result<Self> {
        let root = node.root;
        let mut state =
            State { owner: (geteuid().as_raw(), getegid().as_raw()), ..State::default() };
        for path in paths(wanted, record) {
            let look = root.look(&path)?;
            state.files.insert(path, look);
        }
        for dir in record.iter().flat_map(|r| &r.dirs) {
            state.entries.insert(dir.clone(), root.list(dir)?);
        }
        for file in wanted.iter().flat_map(|w| &w.files) {
            let (path, bytes) = match &file.content {
                Content::Text(_) | Content::Secret(_) | Content::Kept => continue,
                content @ (Content::CopyOf(path) | Content::Input(path)) => {
                    (path, content.read(root)?)
                }
            };
            state.sources.insert(path.clone(), (Digest::of(&bytes), bytes.len() as u64));
        }
        if let Some(systemd) = node.systemd {
            let units = units(wanted, record);
            let units = systemd.states(&units.into_iter().collect::<Vec<_>>())?;
            for service in wanted.iter().flat_map(|w| &w.services) {
                let started = units.get(&service.unit).and_then(|state| state.started);
                if !root.changed_since(&service.uses, started)?.is_empty() {
                    state.outdated.insert(service.unit.clone());
                }
            }
            state.units = Some(units);
        }
        Ok(state)
    }

    /// Asks the engine for its images, if the node has one.
    fn ask_engine(
        &mut self,
        node: &Node<'_>,
        wanted: Option<&Wanted>,
        record: Option<&Record>,
    ) -> Result<()> {
        let Some(engine) = node.engine else { return Ok(()) };
        for left in record.iter().flat_map(|r| &r.leftover) {
            // An engine that does not answer, perhaps for good, is not asked to remove anything.
            if Client::new(left.engine).is_in_use(&left.reference).is_ok_and(|used| !used) {
                self.unused.insert(left.clone());
            }
        }
        let wanted = wanted.iter().flat_map(|w| &w.images).map(|i| (&i.reference, &i.layers));
        let known = record.iter().flat_map(|r| &r.images).map(|i| (&i.reference, &i.layers));
        for (reference, layers) in wanted.chain(known) {
            if !self.images.contains(reference) && engine.present(reference, layers)?.is_some() {
                self.images.insert(reference.clone());
            }
        }
        self.has_engine = true;
        Ok(())
    }

    /// What stands at `path`.
    pub fn at(&self, path: &Path) -> &Look {
        self.files.get(path).unwrap_or(&Look::Absent)
    }

    /// How `unit` is.
    pub fn unit(&self, unit: &str) -> UnitState {
        self.units.as_ref().and_then(|units| units.get(unit)).cloned().unwrap_or_default()
    }
}

impl Content {
    /// The bytes themselves.
    pub fn read(&self, root: &Root) -> Result<Vec<u8>> {
        match self {
            Content::Text(text) | Content::Secret(text) => Ok(text.clone().into_bytes()),
            Content::Kept => Err(Error::failed("is to stay as it is, and not to be written")),
            Content::CopyOf(path) => root
                .read(path)?
                .ok_or_else(|| Error::host("is not there").at(root.path(path).display())),
            Content::Input(path) => named::bytes(path, READ_LIMIT),
        }
    }
}

/// All paths a plan has to know about, with the directories above them.
fn paths(wanted: Option<&Wanted>, record: Option<&Record>) -> BTreeSet<PathBuf> {
    let mut paths = BTreeSet::new();
    if let Some(wanted) = wanted {
        paths.extend(wanted.files.iter().flat_map(|f| [f.path.clone(), f.offer()]));
        paths.extend(wanted.dirs.iter().map(|d| d.path.clone()));
        paths.extend(wanted.links.iter().map(|l| l.path.clone()));
    }
    if let Some(record) = record {
        paths.extend(record.files.keys().cloned());
        paths.extend(record.dirs.iter().cloned());
        paths.extend(record.links.keys().cloned());
    }
    let above: Vec<_> = paths.iter().flat_map(|p| above(p)).map(Path::to_owned).collect();
    paths.extend(above);
    paths
}

/// The directories above `path`, outermost first, without the root.
pub(super) fn above(path: &Path) -> Vec<&Path> {
    let mut dirs: Vec<_> = path.ancestors().skip(1).filter(|p| p.parent().is_some()).collect();
    dirs.reverse();
    dirs
}

fn units(wanted: Option<&Wanted>, record: Option<&Record>) -> BTreeSet<String> {
    let mut units: BTreeSet<String> = record.iter().flat_map(|r| r.units()).collect();
    if let Some(wanted) = wanted {
        units.extend(wanted.services.iter().map(|s| s.unit.clone()));
        units.extend(wanted.groups.iter().cloned());
    }
    units
}
