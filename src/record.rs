//! The record: what we have installed on a host, file by file.
//!
//! It is what tells our files from the site's, an edited one from an untouched one, and what
//! an uninstallation removes. Its rename into place is the moment at which an installation has
//! happened.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::engine::Kind;
use crate::error::{Error, Result};
use crate::root::{Attr, Root};

/// The directory of what we remember about a host.
pub const STATE: &str = "/var/lib/ldms-install";
/// The record's own file.
pub const RECORD: &str = "/var/lib/ldms-install/record.json";
/// The form of the record that this program writes.
const FORMAT: u32 = 1;

/// What is installed on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The form of this text.
    format: u32,
    /// The run that wrote it: how an interrupted run knows whether it got that far.
    pub transaction: String,
    /// The bundle that is installed.
    pub bundle: BundleRecord,
    /// What runs the services; `None` if nothing needs an engine.
    pub engine: Option<Kind>,
    /// The services, in the order in which they start.
    pub services: Vec<ServiceRecord>,
    /// The commands for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<CommandRecord>,
    /// The files, by their path on the host.
    pub files: BTreeMap<PathBuf, FileRecord>,
    /// Directories that we made, removed once they are empty.
    pub dirs: BTreeSet<PathBuf>,
    /// Symbolic links that we made (enabled units), with their targets.
    pub links: BTreeMap<PathBuf, PathBuf>,
    /// Images of the services.
    pub images: Vec<ImageRecord>,
    /// Images that nothing of ours needs any more and that could not be removed yet.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub leftover: BTreeSet<Leftover>,
}

/// An image that is still in an engine, perhaps one that runs no services any more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leftover {
    /// Which engine
    pub engine: Kind,
    /// The name the engine has for it
    pub reference: String,
}

/// Which bundle, and who signed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleRecord {
    /// Its name
    pub name: String,
    /// Its version
    pub version: String,
    /// Its release, which only grows
    pub release: u64,
    /// The key that its signature was checked with
    pub signer: String,
}

impl BundleRecord {
    /// `NAME-VERSION-RELEASE`, as its manifest says it, too.
    pub fn title(&self) -> String {
        format!("{}-{}-{}", self.name, self.version, self.release)
    }
}

/// A service on this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceRecord {
    /// Its name on this node
    pub name: String,
    /// Its role
    pub role: String,
    /// The service in whose container it runs: nobody has wished for it by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub companion_of: Option<String>,
    /// Its unit, `ldms-NAME.service`
    pub unit: String,
    /// The name of its image in the engine
    pub image: String,
    /// Its container's name, where it is not `ldms-NAME`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// TCP ports it listens on
    pub ports: Vec<u16>,
    /// Files that it reads at its start
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uses: Vec<PathBuf>,
    /// It runs on what was installed before: it was not restarted when that changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
}

/// A command on this node, in place of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandRecord {
    /// Its name on this node
    pub name: String,
    /// Its role
    pub role: String,
    /// Its script, `/usr/local/bin/ldms-NAME`
    pub path: PathBuf,
    /// The name of its image in the engine
    pub image: String,
}

impl ServiceRecord {
    /// The name of its container.
    pub fn container(&self) -> String {
        self.container.clone().unwrap_or_else(|| usual_container(&self.name))
    }
}

/// The name of a service's container unless another is given.
pub fn usual_container(service: &str) -> String {
    format!("ldms-{service}")
}

/// A file that we wrote, or would have written where the site has its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// What sort of file.
    pub kind: FileKind,
    /// The digest of what we wrote; `None` for a file that the site had there before us.
    pub digest: Option<Digest>,
    /// Its owner and mode.
    pub attr: Attr,
    /// The digest of a newer content that was laid beside an edited file, once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered: Option<Digest>,
}

/// What sort of file: it decides who may change it and whether it outlives an uninstallation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileKind {
    /// A systemd unit.
    Unit,
    /// The script of a command.
    Command,
    /// Configuration: the site's from the first installation on.
    Config,
    /// A password or the like, which the data made with it needs: never shown.
    Secret,
    /// A private copy of a key that the site has, too: never shown.
    Key,
    /// The installer itself: a copy of the program that last installed something.
    Program,
    /// The answers: the program's own notes, rewritten with every run.
    Answers,
    /// A new version of an edited file, beside it.
    Offer,
}

impl FileKind {
    /// Once the program has written it, it may replace it even if it was changed since.
    pub fn is_rewritten(self) -> bool {
        matches!(self, FileKind::Program | FileKind::Answers | FileKind::Offer)
    }
}

/// An image of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageRecord {
    /// `ovishpc/ldms-samp`
    pub name: String,
    /// The name the engine has for it
    pub reference: String,
    /// The digest of its configuration
    pub id: Digest,
    /// The diffIDs of its layers
    pub layers: Vec<Digest>,
    /// Bytes of its layers
    pub size: u64,
    /// It has been taken into the engine; not so in a root that has yet to boot.
    pub loaded: bool,
}

impl Record {
    /// A record of nothing yet.
    pub fn new(bundle: BundleRecord, engine: Option<Kind>) -> Self {
        Record {
            format: FORMAT,
            transaction: String::new(),
            bundle,
            engine,
            services: Vec::new(),
            commands: Vec::new(),
            files: BTreeMap::new(),
            dirs: BTreeSet::new(),
            links: BTreeMap::new(),
            images: Vec::new(),
            leftover: BTreeSet::new(),
        }
    }

    /// The record of the host beneath `root`; `None` if nothing is installed.
    pub fn load(root: &Root) -> Result<Option<Self>> {
        let path = Path::new(RECORD);
        let Some(bytes) = root.read(path)? else { return Ok(None) };
        Self::parse(&bytes).map(Some).map_err(|e| e.at(root.path(path).display()))
    }

    /// Reads a record. Its format is read alone first, so that an older program says what it
    /// lacks instead of what it does not understand.
    fn parse(bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let damaged = |e| {
            Error::host("the record of what is installed is damaged")
                .because(e)
                .remedy("restore the file from a backup of this host")
        };
        let Format { format } = serde_json::from_slice(bytes).map_err(damaged)?;
        if format != FORMAT {
            return Err(Error::host(format!(
                "the record of what is installed has format {format}; this program knows {FORMAT}"
            ))
            .remedy("use the ldms-install that installed it, or a newer one"));
        }
        serde_json::from_slice(bytes).map_err(damaged)
    }

    /// Its text, as it is on the disk.
    pub fn text(&self) -> Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self)
            .map_err(|e| Error::failed("cannot write the record").because(e))?;
        text.push(b'\n');
        Ok(text)
    }

    /// The same record as written by the run `transaction`.
    #[must_use]
    pub fn of_transaction(self, transaction: &str) -> Self {
        Record { transaction: transaction.to_owned(), ..self }
    }

    /// It tells the same, whichever run wrote it.
    pub fn same_as(&self, other: &Self) -> bool {
        self.clone().of_transaction(&other.transaction) == *other
    }

    /// The names of the unit files it lists, services in the order in which they start, then
    /// what groups them.
    pub fn units(&self) -> Vec<String> {
        let mut units: Vec<_> = self.services.iter().map(|s| s.unit.clone()).collect();
        let files = self.files.iter().filter(|(_, f)| f.kind == FileKind::Unit);
        for name in files.filter_map(|(path, _)| path.file_name()?.to_str()) {
            if !units.iter().any(|unit| unit == name) {
                units.push(name.to_owned());
            }
        }
        units
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::error::Kind as ErrorKind;

    pub(crate) fn bundle() -> BundleRecord {
        BundleRecord {
            name: "ldms".into(),
            version: "4.4".into(),
            release: 1,
            signer: "5A3F".into(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut record = Record::new(bundle(), Some(Kind::Podman));
        let file = FileRecord {
            kind: FileKind::Config,
            digest: Some(Digest::of(b"x")),
            attr: Attr::root(0o644),
            offered: None,
        };
        record.files.insert("/etc/ldms/a.yaml".into(), file.clone());
        record.files.insert(
            "/etc/systemd/system/ldms.target".into(),
            FileRecord { kind: FileKind::Unit, ..file },
        );
        record.services.push(ServiceRecord {
            name: "sampler".into(),
            role: "sampler".into(),
            companion_of: None,
            unit: "ldms-sampler.service".into(),
            image: "docker.io/x:y".into(),
            container: None,
            ports: vec![411],
            uses: Vec::new(),
            stale: false,
        });
        assert_eq!(Record::parse(&record.text().unwrap()).unwrap(), record);
        assert_eq!(record.units(), ["ldms-sampler.service", "ldms.target"]);
        assert!(record.same_as(&Record { transaction: "another".into(), ..record.clone() }));
        assert!(!record.same_as(&Record { engine: None, ..record.clone() }));
    }

    #[test]
    fn another_format_is_refused_with_what_to_do() {
        let error = Record::parse(br#"{"format": 7, "news": true}"#).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Host);
        assert!(error.to_string().contains("format 7"));
        assert!(error.next_step().unwrap().contains("newer"));
        for text in ["", "{}", r#"{"format": 1}"#] {
            assert!(Record::parse(text.as_bytes()).unwrap_err().to_string().contains("damaged"));
        }
    }
}
