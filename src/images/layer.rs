//! One layer of an image: its plain tar, whichever way it is stored, as often as it is wanted.

use std::io::{self, Read};
use std::sync::Arc;

use super::decode::{Checked, Packing, Reporting};
use super::store::{AGAIN, Blob};
use crate::digest::Digest;
use crate::error::{Error, Result};

/// One layer of an image, not yet read.
#[derive(Clone, Debug)]
pub struct Layer {
    blob: Blob,
    packing: Packing,
    /// What the stored bytes must have, where the source says.
    stored: Option<Digest>,
    diff_id: Digest,
    /// "layer 3 of 9 of ovishpc/ldms-samp"
    label: Arc<str>,
}

impl Layer {
    /// The layer stored in `blob`. `stored` is the digest of the stored bytes where it is known.
    pub(super) fn new(
        blob: Blob,
        stored: Option<Digest>,
        diff_id: Digest,
        label: String,
    ) -> Result<Self> {
        let packing = Packing::of(&blob.head(Packing::HEAD)?)
            .map_err(|e| Error::refused(format!("{label} {}", e.what())).at(blob.place()))?;
        // A plain layer's own digest is the diffID, which whoever packs it proves anyhow.
        let stored = stored.filter(|digest| packing != Packing::Plain || *digest != diff_id);
        Ok(Layer { blob, packing, stored, diff_id, label: label.into() })
    }

    /// The digest that its plain tar must have.
    pub fn diff_id(&self) -> Digest {
        self.diff_id
    }

    /// Bytes as stored: what [`Layer::open_reporting`] reports in all.
    pub fn packed_size(&self) -> u64 {
        self.blob.size()
    }

    /// What messages call it: which layer of which image.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Its plain tar. The digest of the stored bytes is checked when they end, where the source
    /// gives one; the diffID is not: see [`Layer::prove`]. Errors name the layer and its source.
    pub fn open(&self) -> Result<Box<dyn Read + Send + 'static>> {
        self.open_reporting(|_| {})
    }

    /// As [`Layer::open`]; `report` is told how many more stored bytes have been read.
    pub fn open_reporting<'a>(
        &self,
        report: impl FnMut(u64) + Send + 'a,
    ) -> Result<Box<dyn Read + Send + 'a>> {
        let stored = Reporting { inner: self.blob.open()?, report };
        let unpacked = match self.stored {
            Some(expected) => {
                let layer = self.clone();
                self.packing.unpack(Checked::new(stored, expected, move |found| {
                    layer.refuse(format!("is stored as {found} where {expected} is announced"))
                }))
            }
            None => self.packing.unpack(stored),
        };
        let unpacked = unpacked.map_err(|e| self.damaged(e))?;
        Ok(Box::new(Named { layer: self.clone(), inner: unpacked }))
    }

    /// Passes `tar`, which must be this layer's plain tar, on and fails at its end unless it has
    /// the announced diffID.
    pub fn prove<'a>(&self, tar: impl Read + Send + 'a) -> impl Read + Send + 'a {
        let layer = self.clone();
        Checked::new(tar, self.diff_id, move |found| {
            layer.refuse(format!(
                "is not what its image's configuration announces: \
                 it has the digest {found}, not {}",
                layer.diff_id
            ))
        })
    }

    fn refuse(&self, what: impl std::fmt::Display) -> Error {
        Error::refused(format!("{} {what}", self.label)).at(self.blob.place()).remedy(AGAIN)
    }

    fn damaged(&self, error: io::Error) -> Error {
        match error.downcast::<Error>() {
            Ok(named) => named,
            Err(error) => self.refuse("is damaged or cut").because(error),
        }
    }
}

/// Gives an unpacker's errors the layer's name.
struct Named<R> {
    layer: Layer,
    inner: R,
}

impl<R: Read> Read for Named<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|e| match e.kind() {
            io::ErrorKind::Interrupted => e,
            _ => self.layer.damaged(e).into(),
        })
    }
}
