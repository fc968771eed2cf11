//! What a host shall have: the outcome of bundle, profiles and answers, before looking at it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::Note;
use crate::digest::Digest;
use crate::engine::Kind;
use crate::health::Check;
use crate::munge::Proof;
use crate::record::{BundleRecord, CommandRecord, FileKind};
use crate::root::Attr;

/// Where an administrator's units are, and where enabling makes its links.
pub const UNITS: &str = "/etc/systemd/system";

/// Everything that shall be installed.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The bundle it comes from.
    pub bundle: BundleRecord,
    /// What runs the services.
    pub engine: Option<Kind>,
    /// Files; units among them.
    pub files: Vec<WantedFile>,
    /// Directories with attributes of their own. Those that only lead to something are made as
    /// needed.
    pub dirs: Vec<WantedDir>,
    /// Symbolic links, which enable units.
    pub links: Vec<WantedLink>,
    /// Images of the services.
    pub images: Vec<WantedImage>,
    /// Services in the order in which they start.
    pub services: Vec<WantedService>,
    /// Commands for people, recorded as they are.
    pub commands: Vec<CommandRecord>,
    /// Units to start after the services: the target that stands for all of them.
    pub groups: Vec<String>,
    /// Services shall run when it is done, where there is a systemd that runs.
    pub start: bool,
    /// What somebody should know of how it was decided, if it changes anything.
    pub notes: Vec<Note>,
}

/// A file that shall be there.
#[derive(Clone, Debug)]
pub struct WantedFile {
    /// Where on the host
    pub path: PathBuf,
    /// What it holds
    pub content: Content,
    /// Owner and mode
    pub attr: Attr,
    /// What sort of file
    pub kind: FileKind,
}

/// What a file shall hold.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// This text.
    Text(String),
    /// This text, which nobody may see, nor how long it is.
    Secret(String),
    /// What is there already: such as a password, or a file whose origin was on a medium that is
    /// gone. Whose it is, ours or the site's, stays as it was.
    Kept,
    /// What the host's own file at this path holds, read when it is written: a key.
    CopyOf(PathBuf),
    /// What this file of the machine we run on holds, whatever the root: the program itself.
    Input(PathBuf),
}

/// A directory that shall be there. One that already is stays as it is.
#[derive(Clone, Debug)]
pub struct WantedDir {
    /// Where on the host
    pub path: PathBuf,
    /// Owner and mode
    pub attr: Attr,
}

/// A symbolic link that shall be there.
#[derive(Clone, Debug)]
pub struct WantedLink {
    /// Where on the host
    pub path: PathBuf,
    /// What it points to
    pub target: PathBuf,
}

/// An image that its engine shall have.
#[derive(Clone, Debug)]
pub struct WantedImage {
    /// `ovishpc/ldms-samp`
    pub name: String,
    /// The name the engine is to have for it
    pub reference: String,
    /// The digest of its configuration
    pub id: Digest,
    /// The signed diffIDs in order
    pub layers: Vec<Digest>,
    /// Bytes of its layers
    pub size: u64,
}

/// A service that shall run.
#[derive(Clone, Debug)]
pub struct WantedService {
    /// Its name on this node
    pub name: String,
    /// Its role
    pub role: String,
    /// The service in whose container it runs, which stands before it
    pub companion_of: Option<String>,
    /// Its unit, `ldms-NAME.service`
    pub unit: String,
    /// The name of its image in the engine
    pub image: String,
    /// The name of its container
    pub container: String,
    /// Units of ours that have to have run before it: if one changes it is restarted after that
    pub needs: Vec<String>,
    /// Files and keys that it reads at its start: if one changes it is restarted
    pub uses: Vec<PathBuf>,
    /// Files that it reads at its start and may write to itself: only our own change to one
    /// restarts it
    pub writes: Vec<PathBuf>,
    /// TCP ports it listens on
    pub ports: Vec<u16>,
    /// What shows that it works
    pub checks: Vec<Check>,
    /// How long it may take until it works
    pub start_timeout: Duration,
    /// What shows, before it starts, that munge works for it
    pub proof: Option<Proof>,
}

impl Wanted {
    /// Nothing yet.
    pub fn new(bundle: BundleRecord, engine: Option<Kind>) -> Self {
        Wanted {
            bundle,
            engine,
            files: Vec::new(),
            dirs: Vec::new(),
            links: Vec::new(),
            images: Vec::new(),
            services: Vec::new(),
            commands: Vec::new(),
            groups: Vec::new(),
            start: true,
            notes: Vec::new(),
        }
    }

    /// Adds a unit file, enabled for the units that it says want it.
    pub fn add_unit<S: AsRef<str>>(&mut self, name: &str, text: String, wanted_by: &[S]) {
        let path = Path::new(UNITS).join(name);
        self.links.extend(wanted_by.iter().map(|by| WantedLink {
            path: Path::new(UNITS).join(format!("{}.wants", by.as_ref())).join(name),
            target: path.clone(),
        }));
        let (content, kind) = (Content::Text(text), FileKind::Unit);
        self.files.push(WantedFile { path, content, attr: Attr::root(0o644), kind });
    }
}

impl WantedFile {
    /// The name beside it under which a new version goes when the site has edited the file.
    pub fn offer(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".new");
        name.into()
    }
}

impl fmt::Display for Content {
    /// Where it comes from; never the content itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Content::Text(_) => f.write_str("text"),
            Content::Secret(_) => f.write_str("secret"),
            Content::Kept => f.write_str("as it is"),
            Content::CopyOf(path) | Content::Input(path) => {
                write!(f, "copy of {}", path.display())
            }
        }
    }
}

impl fmt::Debug for Content {
    /// As it is displayed: a text may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Content {
    /// As it is displayed.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
