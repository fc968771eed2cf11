//! What a path holds, as far as somebody else's change to it must be noticed.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Look, Root};
use crate::digest::Digest;
use crate::error::{Error, Result};

/// What a path for a file or link holds, whoever owns it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Held {
    /// Nothing
    Absent,
    /// A regular file with this content
    File(Digest),
    /// A symbolic link to this
    Link(PathBuf),
    /// Something that is never written to: a directory, a device
    Other,
}

impl From<&Look> for Held {
    fn from(look: &Look) -> Self {
        match look {
            Look::Absent => Held::Absent,
            Look::File { digest, .. } => Held::File(*digest),
            Look::Link { target, .. } => Held::Link(target.clone()),
            Look::Directory { .. } | Look::Other => Held::Other,
        }
    }
}

impl Held {
    /// Nothing is there.
    pub fn is_absent(&self) -> bool {
        *self == Held::Absent
    }

    /// An error if this, at `place`, is not what was `seen` there.
    pub fn must_be(&self, seen: &Held, place: &Path) -> Result<()> {
        if self == seen {
            return Ok(());
        }
        Err(Error::failed("has changed while this was running")
            .at(place.display())
            .remedy("run it again"))
    }
}

impl Root {
    /// What `path` holds.
    pub fn held(&self, path: &Path) -> Result<Held> {
        self.look(path).map(|look| Held::from(&look))
    }
}
