//! What is in a bundle, for people and for programs.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use serde::Serialize;

use crate::bundle::{Bundle, Share};
use crate::digest::Digest;
use crate::error::Result;
use crate::manifest::{Manifest, Origin};
use crate::trust::Signer;

/// Everything worth knowing about a bundle without unpacking it.
#[derive(Serialize)]
pub struct Report {
    /// `NAME-VERSION-RELEASE`
    pub title: String,
    /// Bytes of the bundle.
    pub bytes: u64,
    /// Name, version and so on.
    pub manifest: Manifest,
    /// Who signed.
    pub signer: Signer,
    /// Each image.
    pub images: Vec<Image>,
    /// Bytes of all layers, each once, unpacked.
    pub layers_bytes: u64,
    /// Bytes of all contents, each once, before compression.
    pub distinct_bytes: u64,
    /// Profiles, by role.
    pub roles: Vec<String>,
    /// Members of the folders `units` and `config`.
    pub texts: Vec<String>,
}

/// An image as a report has it.
#[derive(Serialize)]
pub struct Image {
    /// Its name.
    pub name: String,
    /// Its ID.
    pub id: Digest,
    /// The name under which an engine will know it.
    pub reference: String,
    /// Bytes of its layers, unpacked.
    pub bytes: u64,
    /// Bytes that installing it reads from the medium.
    pub packed_bytes: u64,
    /// Each layer, the lowest first.
    pub layers: Vec<Layer>,
    /// Where it came from.
    pub origin: Origin,
}

/// A layer as a report has it.
#[derive(Serialize)]
pub struct Layer {
    /// Its diffID.
    pub diff_id: Digest,
    /// Bytes unpacked.
    pub bytes: u64,
    /// Images that have it.
    pub images: usize,
}

impl Report {
    /// Looks at an opened bundle.
    pub fn of(bundle: &Bundle, signer: Signer) -> Result<Self> {
        let manifest = bundle.manifest().clone();
        let mut users: HashMap<Digest, usize> = HashMap::new();
        for image in &manifest.image {
            for id in image.layers.iter().collect::<BTreeSet<_>>() {
                *users.entry(*id).or_default() += 1;
            }
        }
        let images = manifest
            .image
            .iter()
            .map(|image| {
                let layer = |id: &Digest| {
                    let bytes = bundle.index().layer(id)?.size;
                    Ok(Layer { diff_id: *id, bytes, images: users[id] })
                };
                Ok(Image {
                    name: image.name.clone(),
                    id: image.id,
                    reference: image.reference(),
                    bytes: image.size,
                    packed_bytes: bundle.share_bytes(Share::Images(&[image]))?,
                    layers: image.layers.iter().map(layer).collect::<Result<_>>()?,
                    origin: image.origin.clone(),
                })
            })
            .collect::<Result<_>>()?;
        let names = |folder: &str| {
            let members = bundle.index().members.iter();
            members
                .filter_map(|(name, _)| name.strip_prefix(folder).map(str::to_owned))
                .collect::<Vec<_>>()
        };
        Ok(Report {
            title: manifest.title(),
            bytes: bundle.length(),
            images,
            layers_bytes: bundle.index().layers.iter().map(|layer| layer.size).sum(),
            distinct_bytes: bundle.index().packs.iter().map(|&n| u64::from(n)).sum(),
            roles: names("profiles/")
                .iter()
                .filter_map(|name| name.strip_suffix(".toml").map(str::to_owned))
                .collect(),
            texts: [names("units/"), names("config/")].concat(),
            manifest,
            signer,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::cli::{bytes, printable};
        writeln!(f, "{} for {}, {}", self.title, self.manifest.platform, bytes(self.bytes))?;
        writeln!(f, "packed by {}", printable(&self.manifest.packer))?;
        writeln!(
            f,
            "signed by key {} ({})\n  as {}",
            self.signer.key_id,
            self.signer.key,
            printable(&self.signer.comment)
        )?;
        let all: u64 = self.images.iter().map(|image| image.bytes).sum();
        writeln!(
            f,
            "images {}; each layer once {}; each content once {}",
            bytes(all),
            bytes(self.layers_bytes),
            bytes(self.distinct_bytes)
        )?;
        writeln!(f, "roles: {}", self.roles.join(", "))?;
        if !self.manifest.site.is_empty() {
            let site = self.manifest.site.join(", ");
            writeln!(f, "brought by the packing site: {}", printable(&site))?;
        }
        writeln!(f)?;
        for image in &self.images {
            writeln!(
                f,
                "{}  {}, reads {} of the medium",
                image.name,
                bytes(image.bytes),
                bytes(image.packed_bytes)
            )?;
            writeln!(f, "  ID     {}", image.id)?;
            let origin = &image.origin;
            let tag = origin.reference.as_deref().unwrap_or("without a tag");
            writeln!(f, "  from   {} ({})", printable(&origin.source), printable(tag))?;
            for layer in &image.layers {
                let shared = match layer.images {
                    1 => String::new(),
                    n => format!("  in {n} images"),
                };
                writeln!(
                    f,
                    "  layer  {}  {:>9}{shared}",
                    layer.diff_id.short(12),
                    bytes(layer.bytes)
                )?;
            }
        }
        Ok(())
    }
}
