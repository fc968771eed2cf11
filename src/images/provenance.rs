//! Where an image came from: what a bundle's manifest tells a reader about each image.

use std::io;
use std::sync::OnceLock;

use super::decode::Reporting;
use super::store::Blob;
use crate::digest::{Digest, Hashing};
use crate::error::{Error, Result};
use crate::progress::Progress;

/// What all images of one source have in common.
#[derive(Debug)]
pub(super) struct Provenance {
    /// See [`crate::manifest::Origin::source`].
    pub(super) source: String,
    /// The bytes of an archive; its digest is computed when an image is really taken from it.
    archive: Option<Blob>,
    digest: OnceLock<Digest>,
    /// See [`crate::manifest::Origin::registry`].
    pub(super) registry: Vec<String>,
}

impl Provenance {
    /// A source that is no file with a digest of its own.
    pub(super) fn new(source: String, registry: Vec<String>) -> Self {
        Provenance { source, archive: None, digest: OnceLock::new(), registry }
    }

    /// A plain archive.
    pub(super) fn archive(source: String, archive: Blob) -> Self {
        Provenance { archive: Some(archive), ..Self::new(source, Vec::new()) }
    }

    /// An archive that had this digest before it was unpacked.
    pub(super) fn unpacked(source: String, digest: Digest) -> Self {
        Provenance { digest: OnceLock::from(digest), ..Self::new(source, Vec::new()) }
    }

    /// The digest of the archive, computed now if need be.
    pub(super) fn digest(&self, progress: &dyn Progress) -> Result<Option<Digest>> {
        if let Some(known) = self.digest.get() {
            return Ok(Some(*known));
        }
        let Some(archive) = &self.archive else {
            return Ok(None);
        };
        let task = &self.source;
        progress.begin(task, archive.size());
        let report = |bytes| progress.advance(task, bytes);
        let mut hashing = Hashing::new(Reporting { inner: archive.open()?, report });
        let copied = io::copy(&mut hashing, &mut io::sink());
        progress.end(task);
        copied.map_err(|e| Error::from_io(e, "cannot be read"))?;
        Ok(Some(*self.digest.get_or_init(|| hashing.finish().0)))
    }
}
