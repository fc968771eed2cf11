//! An image that a source offers: known well enough to choose it, its layers not yet touched.

use std::sync::Arc;

use serde::Deserialize;

use super::names::Reference;
use super::provenance::Provenance;
use super::store::{Blob, Store};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::Platform;

/// Docker stops at 127; this is room enough and a bound.
const MAX_LAYERS: usize = 512;

/// Wanted names, each with the references that stand for it.
pub(super) type Names = Vec<(String, Vec<Reference>)>;

/// What is asked of a source.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    /// The images that are wanted, by name.
    pub(super) wanted: &'a [String],
    /// The name that the user says the source's one image has, whatever the source calls it.
    pub(super) named: Option<&'a str>,
}

impl Question<'_> {
    /// The wanted names that an image called `references` answers to, each with the references
    /// that say so. `short`: whether a last component alone is enough.
    fn names(self, references: &[Reference], short: bool) -> Names {
        let wanted = self.wanted.iter();
        if let Some(named) = self.named {
            return wanted
                .filter(|name| *name == named)
                .map(|name| (name.clone(), references.to_vec()))
                .collect();
        }
        wanted
            .filter_map(|name| {
                let is = |r: &&Reference| r.is(name) || (short && r.is_short_for(name));
                let matching: Vec<_> = references.iter().filter(is).cloned().collect();
                (!matching.is_empty()).then(|| (name.clone(), matching))
            })
            .collect()
    }
}

/// What sources answer.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) found: Vec<Found>,
    /// How they call images that were not asked for, to tell when one is missing.
    pub(super) others: Vec<String>,
    /// Images that a multi-platform index lists without their parts being there.
    pub(super) absent: Vec<Absent>,
}

/// See [`Answer::absent`].
#[derive(Debug)]
pub(super) struct Absent {
    pub(super) name: String,
    /// The source, the platform where given, and the part that is not there: for a message.
    pub(super) what: String,
}

impl Answer {
    /// The names that an image called `references` is wanted under. If none, it is noted as
    /// another image, under `words` where it has no name at all.
    pub(super) fn names(
        &mut self,
        question: Question<'_>,
        references: &[Reference],
        short: bool,
        words: &str,
    ) -> Names {
        let names = question.names(references, short);
        if names.is_empty() {
            if references.is_empty() {
                self.others.push(words.to_owned());
            }
            self.others.extend(references.iter().map(Reference::to_string));
        }
        names
    }

    /// Adds one image under each of `names`.
    pub(super) fn add(&mut self, names: Names, offer: &Offer) {
        self.found.extend(names.into_iter().map(|(name, references)| Found {
            name,
            references,
            offer: offer.clone(),
        }));
    }
}

/// An image that answers to a wanted name.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) name: String,
    /// The source's own names for it that led here.
    pub(super) references: Vec<Reference>,
    pub(super) offer: Offer,
}

/// An image in a source.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    pub(super) from: Arc<Provenance>,
    pub(super) config: Blob,
    pub(super) facts: Facts,
    /// Each layer's stored bytes and their digest, where known.
    pub(super) layers: Vec<(Blob, Option<Digest>)>,
    /// The digest of its OCI manifest, where there is one.
    pub(super) manifest: Option<Digest>,
}

/// What an image's configuration says.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// The digest of the configuration.
    pub(super) id: Digest,
    pub(super) platform: Platform,
    pub(super) diff_ids: Vec<Digest>,
    /// A time in the words of RFC 3339, where given.
    pub(super) created: Option<String>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
    #[serde(default)]
    created: Option<String>,
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Option<Vec<Digest>>,
}

impl Facts {
    /// Reads the configuration in `config`, whose digest must be `expected` where the source or
    /// the file's name gives one, and which must speak of `layers` layers.
    pub(super) fn read(config: &Blob, expected: Option<Digest>, layers: usize) -> Result<Self> {
        let bytes = config.json()?;
        let id = Digest::of(&bytes);
        if let Some(expected) = expected.filter(|expected| *expected != id) {
            return Err(config.refuse(format!("has the digest {id} where {expected} is announced")));
        }
        let parsed: Config = config.decode(&bytes)?;
        let diff_ids = parsed.rootfs.diff_ids.unwrap_or_default();
        if diff_ids.len() != layers {
            return Err(config.refuse(format!(
                "speaks of {} layers where its image has {layers}",
                diff_ids.len()
            )));
        }
        let platform = Platform::new(&parsed.os, &parsed.architecture, parsed.variant.as_deref())
            .map_err(|e| config.refuse("does not say its platform").because(e))?;
        // Only passed on to be read; what is no time is left out.
        let time = |text: &String| {
            text.len() <= 40 && text.bytes().all(|b| b.is_ascii_digit() || b"-:.+TZ".contains(&b))
        };
        Ok(Facts { id, platform, diff_ids, created: parsed.created.filter(time) })
    }
}

/// Refuses an image of more layers than any engine would take.
pub(super) fn bound_layers(store: &Store, layers: usize) -> Result<()> {
    if layers > MAX_LAYERS {
        return Err(Error::refused(format!(
            "describes an image of {layers} layers where at most {MAX_LAYERS} are sound"
        ))
        .at(store.place()));
    }
    Ok(())
}
