//! The steps of a plan: few kinds, each small enough to be undone.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::Content;
use crate::digest::Digest;
use crate::engine::Kind;
use crate::health::Check;
use crate::munge::Proof;
use crate::record::FileKind;
use crate::root::{Attr, Held};

/// One change to a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub enum Step {
    /// Takes an image into its engine.
    LoadImage {
        /// Which engine
        engine: Kind,
        /// The image's name in the bundle
        name: String,
        /// The name the engine is to have for it
        reference: String,
        /// The signed diffIDs
        layers: Vec<Digest>,
        /// Bytes of its layers
        size: u64,
    },
    /// Takes an image's name away from its engine.
    RemoveImage {
        /// Which engine
        engine: Kind,
        /// The name the engine has for it
        reference: String,
    },
    /// Makes a directory.
    MakeDir {
        /// Where
        path: PathBuf,
        /// Its owner and mode
        attr: Attr,
    },
    /// Removes an empty directory.
    RemoveDir {
        /// Where
        path: PathBuf,
    },
    /// Writes a file.
    WriteFile {
        /// Where
        path: PathBuf,
        /// What
        content: Content,
        /// The digest of the content; never shown: that of a short secret gives it away
        #[serde(skip)]
        digest: Digest,
        /// Bytes; 0 for a secret, whose length is one, too
        size: u64,
        /// Its owner and mode
        attr: Attr,
        /// What sort of file
        kind: FileKind,
        /// What it is to replace; a step on anything else fails
        #[serde(rename = "replaces", serialize_with = "is_there")]
        before: Held,
    },
    /// Removes a file.
    RemoveFile {
        /// Where
        path: PathBuf,
        /// What it is to hold; a step on anything else fails
        #[serde(skip)]
        before: Held,
    },
    /// Makes a symbolic link: enables a unit.
    Link {
        /// Where
        path: PathBuf,
        /// What it points to
        target: PathBuf,
        /// What it is to replace; a step on anything else fails
        #[serde(skip)]
        before: Held,
    },
    /// Removes a symbolic link: disables a unit.
    Unlink {
        /// Where
        path: PathBuf,
        /// What it is to hold; a step on anything else fails
        #[serde(skip)]
        before: Held,
    },
    /// Proves in a throwaway container that munge works for a service. It changes nothing.
    Prove(Proof),
    /// Has systemd read the unit files again.
    Reload,
    /// Starts a unit.
    Start {
        /// Which
        unit: String,
    },
    /// Stops a unit and starts it again.
    Restart {
        /// Which
        unit: String,
    },
    /// Stops a unit.
    Stop {
        /// Which
        unit: String,
    },
    /// Waits until a service works; if it does not, everything is undone.
    Await {
        /// The service
        service: String,
        /// Its unit
        unit: String,
        /// What shows that it works
        checks: Vec<Check>,
        /// How long it may take
        timeout: Duration,
    },
}

impl fmt::Display for Step {
    /// One line of a dry run.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::LoadImage { engine, reference, size, .. } => {
                write!(f, "load     {reference} into {engine} ({})", megabytes(*size))
            }
            Step::RemoveImage { engine, reference } => {
                write!(f, "unload   {reference} from {engine}, unless a container uses it")
            }
            Step::MakeDir { path, attr } => write!(f, "mkdir    {} ({attr})", path.display()),
            Step::RemoveDir { path } => write!(f, "rmdir    {}", path.display()),
            Step::WriteFile { path, content, size, attr, before, .. } => {
                let verb = if before.is_absent() { "write" } else { "replace" };
                write!(f, "{verb:<8} {} ({attr}, ", path.display())?;
                match content {
                    Content::Text(_) => write!(f, "{size} bytes)"),
                    Content::Secret(_) | Content::Kept => write!(f, "{content})"),
                    Content::CopyOf(_) | Content::Input(_) => {
                        write!(f, "{size} bytes, {content})")
                    }
                }
            }
            Step::RemoveFile { path, .. } => write!(f, "remove   {}", path.display()),
            Step::Link { path, target, .. } => {
                write!(f, "link     {} -> {}", path.display(), target.display())
            }
            Step::Unlink { path, .. } => write!(f, "unlink   {}", path.display()),
            Step::Prove(proof) => {
                write!(f, "prove    {}: munge works in a throwaway container", proof.service)?;
                f.write_str(if proof.across { ", and with this host" } else { "" })
            }
            Step::Reload => f.write_str("reload   systemd"),
            Step::Start { unit } => write!(f, "start    {unit}"),
            Step::Restart { unit } => write!(f, "restart  {unit}"),
            Step::Stop { unit } => write!(f, "stop     {unit}"),
            Step::Await { service, checks, timeout, .. } => {
                write!(f, "await    {service}: running")?;
                for check in checks.iter().filter(|check| **check != Check::Running) {
                    write!(f, ", {check}")?;
                }
                write!(f, " (at most {} s)", timeout.as_secs())
            }
        }
    }
}

/// Whether anything is there: what it is, is for our own comparison.
fn is_there<S: Serializer>(held: &Held, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bool(!held.is_absent())
}

/// A number of bytes for people.
fn megabytes(bytes: u64) -> String {
    // Tenths of a megabyte, rounded, without floating point.
    let tenths = bytes.saturating_add(50_000) / 100_000;
    format!("{}.{} MB", tenths / 10, tenths % 10)
}
