//! OCI image layouts: an index that leads over digests to manifests, configurations and layers.
//!
//! Every step is checked against size and digest before it is believed. Indexes nest where an
//! image exists for several platforms; such an index may list platforms that were never copied.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;

use super::found::{Absent, Answer, Facts, Names, Offer, Question, bound_layers};
use super::names::Reference;
use super::provenance::Provenance;
use super::store::{Blob, Store};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::Platform;

/// The file that makes a directory or a tar an OCI layout.
pub(super) const INDEX: &str = "index.json";
/// One index in another is usual, two are seen.
const MAX_DEPTH: usize = 4;
/// Indexes may refer to one another many times over; this is how many references to
/// wanted images are followed.
const MAX_VISITS: usize = 1000;

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    config: Descriptor,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    /// Read as text, so that an unwanted image may use another algorithm.
    digest: String,
    size: u64,
    #[serde(default)]
    platform: Option<Words>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

/// A platform, unchecked: here it only helps a message; the configuration decides.
#[derive(Deserialize)]
struct Words {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

/// Adds the images of the layout in `store` to `answer`.
pub(super) fn list(
    store: &Store,
    question: Question<'_>,
    from: &Arc<Provenance>,
    answer: &mut Answer,
) -> Result<()> {
    let index: Index = store.get(INDEX)?.parse()?;
    let mut walk = Walk { store, question, from, answer, visits: 0 };
    for descriptor in index.manifests.unwrap_or_default() {
        let references = descriptor.references();
        walk.follow(&descriptor, &references, 0)?;
    }
    Ok(())
}

struct Walk<'a> {
    store: &'a Store,
    question: Question<'a>,
    from: &'a Arc<Provenance>,
    answer: &'a mut Answer,
    visits: usize,
}

impl Walk<'_> {
    fn follow(
        &mut self,
        descriptor: &Descriptor,
        references: &[Reference],
        depth: usize,
    ) -> Result<()> {
        let nested = match descriptor.media_type.as_str() {
            "application/vnd.oci.image.index.v1+json"
            | "application/vnd.docker.distribution.manifest.list.v2+json" => true,
            "application/vnd.oci.image.manifest.v1+json"
            | "application/vnd.docker.distribution.manifest.v2+json" => false,
            // Something that is no image.
            _ => return Ok(()),
        };
        if descriptor.is_attestation() {
            return Ok(());
        }
        let names = self.answer.names(self.question, references, true, "an image without a name");
        if names.is_empty() {
            return Ok(());
        }
        self.visits += 1;
        if self.visits > MAX_VISITS || depth > MAX_DEPTH {
            return Err(self.store.refuse("has an index that leads to too many others"));
        }
        let result = if nested {
            self.nested(descriptor, references, depth)
        } else {
            self.image(descriptor, names.clone())
        };
        match result {
            // Of an index in an index only what was copied need be there.
            Err(Stop::Absent(part)) if depth > 0 => {
                let platform = descriptor.platform.as_ref().map(Words::to_string);
                let what = format!(
                    "{} lists it for {} without its part '{part}'",
                    self.store.place(),
                    platform.as_deref().unwrap_or("a platform not named"),
                );
                let absent = |(name, _)| Absent { name, what: what.clone() };
                self.answer.absent.extend(names.into_iter().map(absent));
                Ok(())
            }
            // This fails, and says which part it is.
            Err(Stop::Absent(part)) => self.store.get(&part).map(|_| ()),
            Err(Stop::Failed(error)) => Err(error),
            Ok(()) => Ok(()),
        }
    }

    fn nested(
        &mut self,
        descriptor: &Descriptor,
        references: &[Reference],
        depth: usize,
    ) -> Result<(), Stop> {
        let blob = self.blob(descriptor)?;
        let index: Index = blob.decode(&verified(&blob, descriptor)?)?;
        for child in index.manifests.unwrap_or_default() {
            let own = child.references();
            let names = if own.is_empty() { references } else { &own };
            self.follow(&child, names, depth + 1)?;
        }
        Ok(())
    }

    fn image(&mut self, descriptor: &Descriptor, names: Names) -> Result<(), Stop> {
        let blob = self.blob(descriptor)?;
        let manifest: Manifest = blob.decode(&verified(&blob, descriptor)?)?;
        match manifest.config.media_type.as_str() {
            ""
            | "application/vnd.oci.image.config.v1+json"
            | "application/vnd.docker.container.image.v1+json" => {}
            // A signature, a list of parts or the like, kept beside the images.
            _ => return Ok(()),
        }
        let layers = manifest.layers.unwrap_or_default();
        bound_layers(self.store, layers.len())?;
        let config = self.blob(&manifest.config)?;
        let expected = manifest.config.digest(self.store)?;
        let facts = Facts::read(&config, Some(expected), layers.len())?;
        let layers = layers
            .iter()
            .map(|layer| Ok((self.blob(layer)?, Some(layer.digest(self.store)?))))
            .collect::<Result<_, Stop>>()?;
        let offer = Offer {
            from: Arc::clone(self.from),
            config,
            facts,
            layers,
            manifest: Some(descriptor.digest(self.store)?),
        };
        self.answer.add(names, &offer);
        Ok(())
    }

    /// The blob that `descriptor` speaks of, of the size that it says.
    fn blob(&self, descriptor: &Descriptor) -> Result<Blob, Stop> {
        let name = format!("blobs/sha256/{}", descriptor.digest(self.store)?.hex());
        let Some(blob) = self.store.find(&name)? else {
            return Err(Stop::Absent(name));
        };
        if blob.size() != descriptor.size {
            let announced = descriptor.size;
            let has = blob.size();
            return Err(blob
                .refuse(format!("has {has} bytes where {announced} are announced"))
                .into());
        }
        Ok(blob)
    }
}

/// Why an image cannot be taken.
enum Stop {
    /// This part of it is not in the layout.
    Absent(String),
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Failed(error)
    }
}

/// The bytes of a piece of JSON, of the digest that `descriptor` says.
fn verified(blob: &Blob, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let bytes = blob.json()?;
    let found = Digest::of(&bytes).to_string();
    if found != descriptor.digest {
        return Err(blob.refuse(format!("has the digest {found}")));
    }
    Ok(bytes)
}

impl Descriptor {
    fn digest(&self, store: &Store) -> Result<Digest> {
        self.digest.parse().map_err(|e: Error| e.at(store.place()))
    }

    fn note(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// The names that the annotations give. The format's own is meant to be a tag, but whole names
    /// are common; containerd and docker put the whole name beside it.
    fn references(&self) -> Vec<Reference> {
        let full = self.note("io.containerd.image.name").and_then(Reference::parse);
        let own = self.note("org.opencontainers.image.ref.name");
        let own = own.filter(|text| full.is_none() || text.contains('/'));
        let mut all: Vec<_> = full.into_iter().chain(own.and_then(Reference::parse)).collect();
        all.sort();
        all.dedup();
        all
    }

    /// Whether it is one of the statements that build tools put beside the images.
    fn is_attestation(&self) -> bool {
        self.note("vnd.docker.reference.type").is_some()
            || self
                .platform
                .as_ref()
                .is_some_and(|p| p.os == "unknown" && p.architecture == "unknown")
    }
}

impl std::fmt::Display for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match Platform::new(&self.os, &self.architecture, self.variant.as_deref()) {
            Ok(platform) => platform.fmt(f),
            Err(_) => f.write_str("a platform that is none"),
        }
    }
}
