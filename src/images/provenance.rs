//! Where an image came from: what a bundle's manifest tells a reader about each image.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::OnceLock;

use super::decode::Reporting;
use crate::digest::{Digest, Hashing};
use crate::error::{Error, Result};
use crate::progress::Progress;

/// What all images of one source have in common.
#[derive(Debug)]
pub(super) struct Provenance {
    /// See [`crate::manifest::Origin::source`].
    pub(super) source: String,
    /// An archive given as a file; its digest is computed when an image is really taken from it.
    file: Option<PathBuf>,
    digest: OnceLock<Digest>,
    /// See [`crate::manifest::Origin::registry`].
    pub(super) registry: Vec<String>,
}

impl Provenance {
    /// A source that is no file with a digest of its own.
    pub(super) fn new(source: String, registry: Vec<String>) -> Self {
        Provenance { source, file: None, digest: OnceLock::new(), registry }
    }

    /// An archive; `digest` where it is already known.
    pub(super) fn archive(source: String, file: PathBuf, digest: Option<Digest>) -> Self {
        let known = OnceLock::new();
        if let Some(digest) = digest {
            // Nobody else has seen it yet, so it is empty.
            let _ = known.set(digest);
        }
        Provenance { source, file: Some(file), digest: known, registry: Vec::new() }
    }

    /// The digest of the archive, computed now if need be.
    pub(super) fn digest(&self, progress: &dyn Progress) -> Result<Option<Digest>> {
        let Some(path) = &self.file else {
            return Ok(None);
        };
        if let Some(known) = self.digest.get() {
            return Ok(Some(*known));
        }
        let failed = |e: io::Error| Error::failed("cannot be read").at(path.display()).because(e);
        let file = File::open(path).map_err(failed)?;
        let task = format!("reading {}", self.source);
        progress.begin(&task, file.metadata().map_err(failed)?.len());
        let report = |bytes| progress.advance(&task, bytes);
        let mut hashing = Hashing::new(Reporting { inner: file, report });
        let copied = io::copy(&mut hashing, &mut io::sink());
        progress.end(&task);
        copied.map_err(failed)?;
        Ok(Some(*self.digest.get_or_init(|| hashing.finish().0)))
    }
}
