//! `index.toml`: where everything in a bundle is, and what each layer is put together from.
//!
//! Its numbers stand in columns of fixed width: a packer knows how long the text will be before
//! it knows how well the packs compress, and so can write packs in place, once.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use serde::Deserialize;

use super::member::{self, BLOCK};
use super::{FORMAT, PACK_LIMIT, TEXT_LIMIT};
use crate::digest::Digest;
use crate::error::{Error, Result};

/// The member's own name.
pub const NAME: &str = "index.toml";

/// Most bytes of one compressed copy list: layers of some millions of files.
pub const LIST_LIMIT: u64 = 64 << 20;

/// Most bytes of all layers and copy lists together, so that no sum of them overflows.
const TOTAL_LIMIT: u64 = 1 << 50;

/// The kinds of members, in the order in which they stand in a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// `manifest.toml`
    Manifest,
    /// `profiles/`, `units/`, `config/`: what decides what happens on a host
    Text,
    /// `images/NAME/config.json`
    ImageConfig,
    /// `layers/DIFFID.zst`: a copy list
    Layer,
    /// `packs/NNNN.zst`
    Pack,
}

impl Class {
    /// The class of a member, by its name; nothing for names that bundles do not have.
    pub fn of(name: &str) -> Option<Self> {
        let (folder, rest) = name.split_once('/').unwrap_or(("", name));
        match folder {
            "" if name == "manifest.toml" => Some(Class::Manifest),
            "profiles" | "units" | "config" => Some(Class::Text),
            "images" if rest.ends_with("/config.json") => Some(Class::ImageConfig),
            "layers" => Digest::from_hex(rest.strip_suffix(".zst")?).ok().map(|_| Class::Layer),
            "packs" => (rest.strip_suffix(".zst")?.len() >= 4).then_some(Class::Pack),
            _ => None,
        }
    }

    /// Most bytes that a member of this class may have.
    fn limit(self) -> u64 {
        match self {
            Class::Layer => LIST_LIMIT,
            Class::Pack => u64::from(PACK_LIMIT) + u64::from(PACK_LIMIT) / 128,
            _ => TEXT_LIMIT,
        }
    }
}

/// The member name of pack `number`.
pub fn pack_name(number: usize) -> String {
    format!("packs/{number:04}.zst")
}

/// The member name of a layer's copy list.
pub fn layer_name(diff_id: &Digest) -> String {
    format!("layers/{}.zst", diff_id.hex())
}

/// A layer as the index describes it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Digest of the layer's tar.
    pub diff_id: Digest,
    /// Bytes of the layer's tar.
    pub size: u64,
    /// Bytes of its copy list before compression.
    pub list: u64,
    /// The packs in the sequence in which the copy list changes between them.
    pub packs: Vec<u32>,
}

/// The whole of `index.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Oldest installer that can read this bundle.
    pub needs_installer: String,
    /// Name and bytes of every member that follows the index, in order.
    pub members: Vec<(String, u64)>,
    /// Bytes of each pack before compression.
    pub packs: Vec<u32>,
    /// Every layer of every image, once.
    pub layers: Vec<Layer>,
}

#[derive(Deserialize)]
struct Preamble {
    format: u32,
    needs_installer: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(rename = "format")]
    _format: u32,
    needs_installer: String,
    member: Vec<(String, u64)>,
    #[serde(default)]
    pack: Vec<u32>,
    #[serde(default)]
    layer: Vec<Layer>,
}

impl Index {
    /// The text of `index.toml`. Its length does not depend on the members' sizes.
    pub fn to_toml(&self) -> String {
        let mut out = format!(
            "format = {FORMAT}\nneeds_installer = \"{}\"\n\n\
             # name and bytes of every member below this one, in order\nmember = [\n",
            self.needs_installer
        );
        // Writing to a String cannot fail.
        for (name, size) in &self.members {
            let _ = writeln!(out, "  [\"{name}\", {size:>10}],");
        }
        out.push_str("]\n\n# bytes of each pack before compression, pack 0000 first\npack = [\n");
        for size in &self.packs {
            let _ = writeln!(out, "  {size:>8},");
        }
        out.push_str("]\n");
        for layer in &self.layers {
            let _ = write!(
                out,
                "\n[[layer]]\ndiff_id = \"{}\"\nsize = {}\nlist = {}\npacks = {:?}\n",
                layer.diff_id, layer.size, layer.list, layer.packs
            );
        }
        out
    }

    /// Reads the index and checks that it describes a bundle of this format.
    pub fn parse(text: &str) -> Result<Self> {
        let malformed = |e| Error::refused("the index is malformed").at(NAME).because(e);
        let preamble: Preamble = toml::from_str(text).map_err(malformed)?;
        if preamble.format != FORMAT {
            return Err(Error::refused(format!(
                "the bundle is of format {}, this program ({}) reads format {FORMAT}",
                preamble.format,
                env!("CARGO_PKG_VERSION")
            ))
            .remedy(format!(
                "use ldms-install {} or newer: it lies beside the bundle on its medium",
                preamble.needs_installer.escape_debug()
            )));
        }
        check_needs(&preamble.needs_installer)?;
        let raw: Raw = toml::from_str(text).map_err(malformed)?;
        let index = Index {
            needs_installer: raw.needs_installer,
            members: raw.member,
            packs: raw.pack,
            layers: raw.layer,
        };
        index.check().map_err(|e| e.at(NAME))?;
        Ok(index)
    }

    fn check(&self) -> Result<()> {
        let mut class = Class::Manifest;
        let (mut packs, mut layers) = (0, 0);
        let mut sizes = HashMap::new();
        for (name, size) in &self.members {
            member::check_name(name)?;
            let this = Class::of(name)
                .ok_or_else(|| Error::refused(format!("{name} is no member of this format")))?;
            if this < class {
                return Err(Error::refused(format!("{name} stands in the wrong place")));
            }
            if *size > this.limit() {
                return Err(Error::refused(format!("{name} is too large: {size} bytes")));
            }
            class = this;
            if this == Class::Pack && *name != pack_name(packs) {
                return Err(Error::refused(format!("{name} stands where pack {packs} should")));
            }
            packs += usize::from(this == Class::Pack);
            layers += usize::from(this == Class::Layer);
            if sizes.insert(name.as_str(), *size).is_some() {
                return Err(Error::refused(format!("{name} is listed twice")));
            }
        }
        if packs != self.packs.len() || layers != self.layers.len() {
            return Err(Error::refused(format!(
                "it lists {packs} packs and {layers} layers, but describes {} and {}",
                self.packs.len(),
                self.layers.len()
            )));
        }
        if let Some(number) = self.packs.iter().position(|&n| n == 0 || n > PACK_LIMIT) {
            return Err(Error::refused(format!("the size of pack {number:04} is out of bounds")));
        }
        let mut known = HashSet::new();
        let mut total: u64 = 0;
        for layer in &self.layers {
            total = total.saturating_add(layer.size).saturating_add(layer.list);
            if total > TOTAL_LIMIT {
                return Err(Error::refused("the layers together are larger than any disk"));
            }
            if !known.insert(layer.diff_id) {
                return Err(Error::refused(format!("layer {} is listed twice", layer.diff_id)));
            }
            if !sizes.contains_key(layer_name(&layer.diff_id).as_str()) {
                return Err(Error::refused(format!("layer {} has no copy list", layer.diff_id)));
            }
            if layer.packs.iter().any(|&pack| pack as usize >= self.packs.len()) {
                return Err(Error::refused(format!(
                    "layer {} uses a pack that is not there",
                    layer.diff_id
                )));
            }
        }
        Ok(())
    }

    /// The layer with this diffID.
    pub fn layer(&self, diff_id: &Digest) -> Result<&Layer> {
        self.layers
            .iter()
            .find(|layer| layer.diff_id == *diff_id)
            .ok_or_else(|| Error::refused(format!("layer {diff_id} is not in the bundle")).at(NAME))
    }

    /// Where each member's header stands, given where the first one's does; last, where they end.
    pub fn offsets(&self, first: u64) -> Vec<u64> {
        let mut offsets = vec![first];
        let mut at = first;
        for (_, size) in &self.members {
            at += member::span(*size);
            offsets.push(at);
        }
        offsets
    }
}

/// Refuses a bundle that says it needs a newer installer than this one.
fn check_needs(needed: &str) -> Result<()> {
    let ours = env!("CARGO_PKG_VERSION");
    let numbers = |version: &str| {
        let parts: Option<Vec<u32>> = version.split('.').map(|part| part.parse().ok()).collect();
        parts.filter(|parts| parts.len() == 3)
    };
    match (numbers(needed), numbers(ours)) {
        (Some(needed), Some(ours)) if needed <= ours => Ok(()),
        _ => Err(Error::refused(format!(
            "the bundle needs ldms-install {} or newer, this is {ours}",
            needed.escape_debug()
        ))
        .at(NAME)
        .remedy("use the ldms-install that lies beside the bundle on its medium")),
    }
}

/// Bytes of zeros that end a bundle.
pub const END: u64 = 2 * BLOCK;

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Index {
        let diff_id = Digest::of(b"layer");
        Index {
            needs_installer: "0.1.0".into(),
            members: vec![
                ("manifest.toml".into(), 100),
                ("profiles/a.toml".into(), 10),
                ("images/a/b/config.json".into(), 20),
                (layer_name(&diff_id), 30),
                (pack_name(0), 40),
                (pack_name(1), 50),
            ],
            packs: vec![1000, 2000],
            layers: vec![Layer { diff_id, size: 5000, list: 60, packs: vec![0, 1, 0] }],
        }
    }

    #[test]
    fn text_goes_both_ways_and_has_a_fixed_length() {
        let index = sample();
        let text = index.to_toml();
        assert_eq!(Index::parse(&text).unwrap(), index);
        let mut larger = index.clone();
        larger.members[4].1 = 8_000_000;
        assert_eq!(larger.to_toml().len(), text.len());
    }

    #[test]
    fn offsets_count_headers_and_padding() {
        let offsets = sample().offsets(2048);
        assert_eq!(offsets[..3], [2048, 2048 + 1024, 2048 + 2048]);
        assert_eq!(offsets.len(), 7);
    }

    #[test]
    fn a_newer_format_says_what_it_needs() {
        let text = sample().to_toml().replace("format = 1", "format = 2\nnew = [1]");
        let error = Index::parse(&text.replace("0.1.0", "9.9.9")).unwrap_err();
        assert!(error.to_string().contains("format 2"), "{error}");
        assert!(error.next_step().unwrap().contains("9.9.9"));
    }

    #[test]
    fn a_bundle_for_newer_installers_is_refused() {
        for (needed, taken) in
            [("0.1.0", true), ("0.0.9", true), ("9.9.9", false), ("1", false), ("x", false)]
        {
            let text = sample().to_toml().replace("0.1.0", needed);
            assert_eq!(Index::parse(&text).is_ok(), taken, "{needed}");
        }
    }

    #[test]
    fn inconsistent_ones_are_refused() {
        let broken = |change: fn(&mut Index)| {
            let mut index = sample();
            change(&mut index);
            Index::parse(&index.to_toml()).unwrap_err().to_string()
        };
        assert!(broken(|i| i.members.swap(0, 1)).contains("wrong place"));
        assert!(broken(|i| i.members.swap(4, 5)).contains("stands where"));
        assert!(broken(|i| i.members[1].0 = "other/x".into()).contains("no member"));
        assert!(broken(|i| i.members[1].0 = "profiles/../x".into()).contains("no member's name"));
        assert!(broken(|i| i.members[1].1 = 1 << 30).contains("too large"));
        assert!(broken(|i| i.members.insert(1, i.members[1].clone())).contains("twice"));
        assert!(broken(|i| i.packs[0] = PACK_LIMIT + 1).contains("out of bounds"));
        assert!(broken(|i| i.packs.push(3)).contains("describes"));
        assert!(broken(|i| i.layers[0].packs.push(2)).contains("not there"));
        assert!(broken(|i| i.layers[0].diff_id = Digest::of(b"other")).contains("no copy list"));
        assert!(broken(|i| i.layers[0].size = 1 << 60).contains("larger than any disk"));
        assert!(
            broken(|i| {
                i.members.insert(4, (layer_name(&Digest::of(b"second")), 1));
                i.layers.push(i.layers[0].clone());
            })
            .contains("listed twice")
        );
    }
}
