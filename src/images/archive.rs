//! Docker archives: what `docker save`, `podman save` and skopeo write.
//!
//! All of them have a `manifest.json` that lists the images with their names, configurations and
//! layers; where those lie differs by program and age, and is of no interest here.

use std::sync::Arc;

use serde::Deserialize;

use super::found::{Answer, Facts, Offer, Question, bound_layers};
use super::names::Reference;
use super::provenance::Provenance;
use super::store::Store;
use crate::digest::Digest;
use crate::error::Result;

/// The member that makes a tar a docker archive.
pub(super) const MANIFEST: &str = "manifest.json";
/// More than anybody saves into one archive.
const MAX_IMAGES: usize = 1000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// Adds the images of the docker archive in `store` to `answer`.
pub(super) fn list(
    store: &Store,
    question: Question<'_>,
    from: &Arc<Provenance>,
    answer: &mut Answer,
) -> Result<()> {
    let entries: Vec<Entry> = store.get(MANIFEST)?.parse()?;
    if entries.len() > MAX_IMAGES {
        return Err(store.refuse(format!("lists {} images", entries.len())));
    }
    for entry in entries {
        let tags = entry.repo_tags.unwrap_or_default();
        let references: Vec<_> = tags.iter().filter_map(|tag| Reference::parse(tag)).collect();
        let names = answer.names(question, &references, false, "an image without a name");
        if names.is_empty() {
            continue;
        }
        let layers = entry.layers.unwrap_or_default();
        bound_layers(store, layers.len())?;
        let config = store.get(&entry.config)?;
        let facts = Facts::read(&config, digest_in_name(&entry.config), layers.len())?;
        let layers = layers
            .iter()
            .map(|name| Ok((store.get(name)?, digest_of_blob(name))))
            .collect::<Result<_>>()?;
        let offer = Offer { from: Arc::clone(from), config, facts, layers, manifest: None };
        answer.add(names, &offer);
    }
    Ok(())
}

/// The digest that a configuration's file is named after: `HEX.json`, or a blob.
fn digest_in_name(name: &str) -> Option<Digest> {
    let last = name.rsplit('/').next()?;
    let hex = last.strip_suffix(".json").unwrap_or(last);
    Digest::from_hex(hex.strip_prefix("sha256:").unwrap_or(hex)).ok()
}

/// The digest of a layer's stored bytes, if it is a blob. Elsewhere the digits in a layer's name
/// are its diffID, or an invention of old dockers.
fn digest_of_blob(name: &str) -> Option<Digest> {
    Digest::from_hex(name.trim_start_matches("./").strip_prefix("blobs/sha256/")?).ok()
}
