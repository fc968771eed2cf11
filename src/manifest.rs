//! `manifest.toml`: what a bundle is and what is in it, written to be read by people.
//!
//! The installer takes names, versions and images from here; sizes and places of
//! members are the business of `index.toml`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Error, Kind, Result};

/// What an image runs on, in OCI's words; as text `linux/amd64`, `linux/arm/v7`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Platform {
    /// The operating system: `linux`.
    pub os: String,
    /// The processor: `amd64`, `arm64`, …
    pub architecture: String,
    /// A flavour of it where that matters (`v7` of `arm`); never the usual one of `amd64` and `arm64`.
    pub variant: Option<String>,
}

impl Platform {
    /// From the words that an image's configuration or a person uses. `x86_64` and `aarch64` become
    /// OCI's words and the variants that are the rule anyhow are left out, so that equal platforms
    /// compare equal.
    pub fn new(os: &str, architecture: &str, variant: Option<&str>) -> Result<Self> {
        let sound = |word: &str| {
            (1..=32).contains(&word.len())
                && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        let architecture = match architecture {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let variant = match (architecture, variant) {
            (_, None | Some("")) | ("amd64", Some("v1")) | ("arm64", Some("v8")) => None,
            (_, some) => some,
        };
        if !sound(os) || !sound(architecture) || !variant.is_none_or(sound) {
            let text = [Some(os), Some(architecture), variant];
            let text: Vec<&str> = text.into_iter().flatten().collect();
            return Err(Error::refused(format!(
                "'{}' is not a platform",
                text.join("/").escape_debug()
            )));
        }
        Ok(Platform {
            os: os.to_owned(),
            architecture: architecture.to_owned(),
            variant: variant.map(str::to_owned),
        })
    }

    /// The platform this program was built for.
    pub fn of_this_program() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Platform { os: "linux".into(), architecture: architecture.into(), variant: None }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

impl FromStr for Platform {
    type Err = Error;

    /// Reads `OS/ARCHITECTURE` or `OS/ARCHITECTURE/VARIANT`.
    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        match parts[..] {
            [os, architecture] => Platform::new(os, architecture, None),
            [os, architecture, variant] if !variant.is_empty() => {
                Platform::new(os, architecture, Some(variant))
            }
            _ => Err(Error::usage(format!("'{}' is not a platform", text.escape_debug()))),
        }
        .map_err(|e| e.with_kind(Kind::Usage).remedy("write it like linux/amd64 or linux/arm64"))
    }
}

impl TryFrom<String> for Platform {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Platform> for String {
    fn from(platform: Platform) -> Self {
        platform.to_string()
    }
}

/// Numeric owner of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    /// user
    pub uid: u32,
    /// group
    pub gid: u32,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}

/// Where an image came from, as far as is known. To be read by people: nothing depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The archive's or layout's own name without its directory, or `docker:` or `podman:`.
    pub source: String,
    /// How the source calls the image: registry, name, tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The digest of the whole archive file, as `sha256sum` tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<Digest>,
    /// The digest of the image's OCI manifest in the layout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Digest>,
    /// `NAME@DIGEST` of each registry that an engine had the image from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub registry: Vec<String>,
    /// When the image was made, in the words of its configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
}

/// One image of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageEntry {
    /// Repository without registry and tag: `ovishpc/ldms-samp`.
    pub name: String,
    /// Image ID: the digest of its configuration.
    pub id: Digest,
    /// Bytes of its layers as plain tars together.
    pub size: u64,
    /// Owner of the user `munge` in the image's own `/etc/passwd`, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub munge: Option<Owner>,
    /// diffIDs, lowest layer first.
    pub layers: Vec<Digest>,
    /// Where it came from.
    pub origin: Origin,
}

impl ImageEntry {
    /// The name under which engines know the image. Its tag is made from the image ID, so that
    /// it never moves to other content and never takes a name the site uses itself. The registry
    /// is written out because podman would put `localhost/` in front otherwise.
    pub fn reference(&self) -> String {
        format!("docker.io/{}:ldms-{}", self.name, self.id.short(24))
    }

    /// The last component of its name: `ldms-samp`.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }

    /// Its configuration's member name in a bundle.
    pub fn config_member(&self) -> String {
        format!("images/{}/config.json", self.name)
    }
}

/// The whole of `manifest.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What the bundle is called: `ldms`. Releases count per name.
    pub name: String,
    /// Version of what is in it, for people: `4.4.4`.
    pub version: String,
    /// Counts up with every bundle of this name; what is newer is decided by it alone.
    pub release: u64,
    /// The one platform of all its images.
    pub platform: Platform,
    /// The program that wrote it and its version.
    pub packer: String,
    /// Its texts that the packing site brought itself, by their members' names. To be read by
    /// people: nothing depends on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub site: Vec<String>,
    /// Its images, in the order in which they were packed.
    pub image: Vec<ImageEntry>,
}

/// Longest name and version of a bundle, bytes: they become file names.
const NAME_LIMIT: usize = 40;

impl Manifest {
    /// Reads `manifest.toml` and checks that names are fit for file names and references.
    pub fn parse(text: &str) -> Result<Self> {
        let manifest: Manifest = toml::from_str(text)
            .map_err(|e| Error::refused("manifest.toml is malformed").because(e))?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The text of `manifest.toml`.
    pub fn to_toml(&self) -> Result<String> {
        self.check()?;
        toml::to_string(self).map_err(|e| Error::failed("cannot write manifest.toml").because(e))
    }

    /// The image of this name.
    pub fn image(&self, name: &str) -> Option<&ImageEntry> {
        self.image.iter().find(|image| image.name == name)
    }

    /// `NAME-VERSION-RELEASE`, the bundle's file name without `.ldms`.
    pub fn title(&self) -> String {
        format!("{}-{}-{}", self.name, self.version, self.release)
    }

    /// Whether its names are such as a bundle may have; who reads one checks that anyway.
    pub fn check(&self) -> Result<()> {
        let refuse = |what: String| Err(Error::refused(what).at("manifest.toml"));
        for (field, value) in [("name", &self.name), ("version", &self.version)] {
            if !is_plain_name(value) {
                return refuse(format!(
                    "{field} '{}' must be 1 to {NAME_LIMIT} of a-z A-Z 0-9 . _ -, not leading with . or -",
                    value.escape_debug()
                ));
            }
        }
        for image in &self.image {
            if !is_repository(&image.name) {
                return refuse(format!("'{}' is no image name", image.name.escape_debug()));
            }
            if self.image.iter().filter(|other| other.name == image.name).count() > 1 {
                return refuse(format!("image {} is listed twice", image.name));
            }
        }
        Ok(())
    }
}

/// Fit for a file name, a unit's description and a table without escaping.
pub fn is_plain_name(text: &str) -> bool {
    (1..=NAME_LIMIT).contains(&text.len())
        && !text.starts_with(['.', '-'])
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// A repository as OCI spells it, without registry and tag: lower case, `a/b`.
pub fn is_repository(text: &str) -> bool {
    text.len() <= 60
        && text.split('/').all(|part| {
            part.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        Manifest {
            name: "ldms".into(),
            version: "4.4.4".into(),
            release: 3,
            platform: "linux/amd64".parse().unwrap(),
            packer: "ldms-pack 0.1.0".into(),
            site: Vec::new(),
            image: vec![ImageEntry {
                name: "ovishpc/ldms-samp".into(),
                id: Digest::of(b"config"),
                size: 276,
                munge: Some(Owner { uid: 101, gid: 101 }),
                layers: vec![Digest::of(b"layer")],
                origin: Origin { source: "ovishpc-ldms-samp.tar".into(), ..Origin::default() },
            }],
        }
    }

    #[test]
    fn text_goes_both_ways() {
        let manifest = sample();
        assert_eq!(Manifest::parse(&manifest.to_toml().unwrap()).unwrap(), manifest);
        assert_eq!(manifest.title(), "ldms-4.4.4-3");
        assert!(manifest.image[0].reference().starts_with("docker.io/ovishpc/ldms-samp:ldms-"));
    }

    #[test]
    fn names_that_would_escape_are_refused() {
        for (field, bad) in [("name", "../x"), ("name", ""), ("version", "a b"), ("version", "-1")]
        {
            let mut manifest = sample();
            let slot = if field == "name" { &mut manifest.name } else { &mut manifest.version };
            *slot = bad.into();
            assert!(manifest.to_toml().is_err(), "{field} {bad}");
        }
        let mut manifest = sample();
        manifest.image[0].name = "ovishpc/../../etc".into();
        assert!(manifest.to_toml().is_err());
        manifest.image[0].name = "Ovishpc/x".into();
        assert!(manifest.to_toml().is_err());
    }

    #[test]
    fn platforms() {
        let p: Platform = "linux/arm/v7".parse().unwrap();
        assert_eq!(p.to_string(), "linux/arm/v7");
        for bad in ["", "linux", "linux/", "a/b/c/d", "linux/am d64"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }
}
