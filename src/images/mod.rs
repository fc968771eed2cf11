//! Where a packer takes images from: archives, layouts, a container engine on this machine.
//!
//! Everything that comes in is taken for hostile: whatever a source says about itself is bounded
//! before it is read and checked against a digest where there is one, and layers are streamed.
//! Nothing is unpacked into directories.

mod archive;
mod choose;
mod decode;
#[cfg(test)]
mod fixtures;
mod found;
#[cfg(test)]
mod hostile;
mod layer;
mod local;
mod names;
mod oci;
mod path;
mod provenance;
mod scratch;
mod store;
mod tarfile;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;

pub use layer::Layer;
pub use local::Engine;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::{Origin, Platform};
use crate::progress::Progress;
use found::{Answer, Found, Question};

/// One image as a packer takes it.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its name as it was asked for, without registry and tag: `ovishpc/ldms-samp`.
    pub name: String,
    /// The bytes of its configuration.
    pub config: Vec<u8>,
    /// The configuration's digest: the image's ID.
    pub id: Digest,
    /// The digest of each layer's plain tar, the lowest first. Announced, not yet proven.
    pub diff_ids: Vec<Digest>,
    /// The layers in the same order, as many as there are `diff_ids`.
    pub layers: Vec<Layer>,
    /// What it runs on.
    pub platform: Platform,
    /// Where it came from.
    pub origin: Origin,
}

/// One place to take images from, as a user writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An archive, a directory of archives, or an OCI layout.
    Path {
        /// Where it is.
        path: PathBuf,
        /// What the one image in it is to be taken for, where it does not say so itself.
        name: Option<String>,
    },
    /// A container engine on this machine.
    Engine {
        /// Which one.
        engine: Engine,
        /// What stands before an image's name there: `registry.site.example:5000/mirror`.
        /// Without it any registry will do, and `docker.io` is fetched from.
        registry: Option<String>,
    },
}

impl Source {
    /// Reads `PATH`, `NAME=PATH`, `docker:`, `podman:` or `docker:REGISTRY`.
    /// A path that looks like one of the others is written with `./` in front.
    pub fn parse(argument: &OsStr) -> Result<Self> {
        let path = |path: &str, name| Source::Path { path: path.into(), name };
        let Some(text) = argument.to_str() else {
            return Ok(Source::Path { path: argument.into(), name: None });
        };
        for engine in [Engine::Docker, Engine::Podman] {
            let Some(registry) = text.strip_prefix(&format!("{engine}:")) else {
                continue;
            };
            let registry = registry.trim_end_matches('/');
            let sound = names::Reference::parse(registry).is_some_and(|r| {
                r.to_string() == registry && registry.starts_with(|c: char| c.is_alphanumeric())
            });
            if !registry.is_empty() && !sound {
                return Err(Error::usage(format!(
                    "'{}' cannot stand before an image's name",
                    registry.escape_debug()
                ))
                .remedy(format!("write {engine}: alone, or {engine}:REGISTRY/PREFIX")));
            }
            let registry = (!registry.is_empty()).then(|| registry.to_owned());
            return Ok(Source::Engine { engine, registry });
        }
        match text.split_once('=') {
            Some((name, rest)) if names::is_image_name(name) && !rest.is_empty() => {
                Ok(path(rest, Some(name.to_owned())))
            }
            _ if text.is_empty() => Err(Error::usage("an empty source")
                .remedy("name an archive, a directory, docker: or podman:")),
            _ => Ok(path(text, None)),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Path { path, .. } => path.display().fmt(f),
            Source::Engine { engine, registry } => {
                write!(f, "{engine}:{}", registry.as_deref().unwrap_or_default())
            }
        }
    }
}

/// What is asked for beside the names.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only images of this tag.
    pub tag: Option<String>,
    /// Let engines fetch the images first.
    pub pull: bool,
    /// The platform to take; by default the one that all images are there for.
    pub platform: Option<Platform>,
    /// A directory for what must be unpacked or saved first. Files there have no names and vanish
    /// with the images that are read from them.
    pub scratch: PathBuf,
}

/// Finds the images `wanted`, in that order, all for one platform.
///
/// Files are asked first, all of them: different images of one name among them are an error.
/// Engines are asked, in turn, for what no file has. What is missing is named in one error.
/// Reads each archive that an image comes from once, for its digest; layers are not read.
pub fn gather(
    sources: &[Source],
    wanted: &[String],
    options: &Options,
    progress: &dyn Progress,
) -> Result<Vec<Image>> {
    for name in wanted {
        if !names::is_image_name(name) {
            return Err(Error::usage(format!("'{}' is not an image name", name.escape_debug()))
                .remedy("write it like ovishpc/ldms-samp, without registry and tag"));
        }
    }
    let mut answer = Answer::default();
    for source in sources {
        if let Source::Path { path, name } = source {
            let question = Question { wanted, named: name.as_deref() };
            path::list(path, question, options, progress, &mut answer)?;
        }
    }
    let before = tags(&answer.found);
    answer.found = choose::with_tag(answer.found, options.tag.as_deref());
    ask_engines(sources, wanted, options, progress, &mut answer, &before)?;
    let chosen = choose::choose(answer.found, wanted, options.platform.as_ref(), &answer.absent)?;
    chosen.into_iter().map(|found| take(found, progress)).collect()
}

/// Adds to `answer` from engines what is not in it yet, or fails naming all that nobody has.
fn ask_engines(
    sources: &[Source],
    wanted: &[String],
    options: &Options,
    progress: &dyn Progress,
    answer: &mut Answer,
    tags: &[String],
) -> Result<()> {
    let mut missing: Vec<&String> =
        wanted.iter().filter(|name| !answer.found.iter().any(|f| f.name == **name)).collect();
    let mut to_save = Vec::new();
    let mut engines = 0;
    for source in sources {
        let Source::Engine { engine, registry } = source else {
            continue;
        };
        engines += 1;
        if missing.is_empty() {
            continue;
        }
        let registry = registry.as_deref();
        if options.pull {
            for name in missing.drain(..) {
                let reference = local::pull(*engine, registry, name, options, progress)?;
                to_save.push((*engine, reference, name));
            }
            continue;
        }
        let listed = local::list(*engine)?;
        let mut still = Vec::new();
        for name in missing {
            let tag = options.tag.as_deref();
            if let Some(reference) = local::pick(*engine, &listed, registry, name, tag)? {
                to_save.push((*engine, reference, name));
            } else {
                answer.others.extend(local::similar(&listed, name));
                still.push(name);
            }
        }
        missing = still;
    }
    if options.pull && engines == 0 {
        return Err(Error::usage("nobody is there to fetch images")
            .remedy("name the engine that is to fetch them: --from docker: or --from podman:"));
    }
    if !missing.is_empty() {
        return Err(absent(&missing, sources, options, answer, tags, engines > 0));
    }
    for (engine, reference, name) in to_save {
        local::save(engine, &reference, name, &options.scratch, progress, answer)?;
    }
    Ok(())
}

/// The error for images that no source has: which, where was looked, what was there instead.
fn absent(
    missing: &[&String],
    sources: &[Source],
    options: &Options,
    answer: &Answer,
    tags: &[String],
    engine: bool,
) -> Error {
    const SHOWN: usize = 12;
    let join = |words: &[String]| words.join(", ");
    let names: Vec<String> = missing.iter().map(|name| (*name).clone()).collect();
    let looked: Vec<String> = sources.iter().map(Source::to_string).collect();
    let tag = options.tag.as_ref().map(|tag| format!(" with the tag '{}'", tag.escape_debug()));
    let tag = tag.unwrap_or_default();
    let mut parts = vec![format!("no {}{tag} in {}", join(&names), join(&looked))];
    let listed = answer.absent.iter().filter(|a| missing.contains(&&a.name));
    parts.extend(listed.take(SHOWN).map(|a| a.what.clone()));
    let mut others: Vec<String> = tags.iter().chain(&answer.others).cloned().collect();
    others.sort();
    others.dedup();
    if !others.is_empty() {
        let more = others.len().saturating_sub(SHOWN);
        others.truncate(SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        parts.push(format!("what is there: {}{more}", join(&others)));
    }
    let name = missing.first().map_or("", |name| name.as_str());
    let reference = match &options.tag {
        Some(tag) => format!("docker.io/{name}:{tag}"),
        None => format!("docker.io/{name}"),
    };
    let file = name.rsplit('/').next().unwrap_or_default();
    let pull = if engine { "let the engine fetch them with --pull, or " } else { "" };
    Error::failed(parts.join("; ")).remedy(format!(
        "{pull}where there is internet, run 'docker pull {reference}' and \
         'docker save -o {file}.tar {reference}', and add --from {file}.tar, and so for each; \
         an image that lacks its name is taken with --from {name}=PATH; \
         leave images out with --only"
    ))
}

/// All names under which wanted images were found.
fn tags(found: &[Found]) -> Vec<String> {
    found.iter().flat_map(|f| &f.references).map(ToString::to_string).collect()
}

/// Makes an image of what was chosen.
fn take(found: Found, progress: &dyn Progress) -> Result<Image> {
    let Found { name, references, offer } = found;
    let config = offer.config.json()?;
    if Digest::of(&config) != offer.facts.id {
        return Err(offer.config.refuse("changed while it was read"));
    }
    let count = offer.layers.len();
    let layers = offer
        .layers
        .into_iter()
        .zip(&offer.facts.diff_ids)
        .enumerate()
        .map(|(n, ((blob, stored), diff_id))| {
            Layer::new(blob, stored, *diff_id, format!("layer {} of {count} of {name}", n + 1))
        })
        .collect::<Result<_>>()?;
    let origin = Origin {
        source: offer.from.source.clone(),
        reference: choose::preferred(&references).map(ToString::to_string),
        archive: offer.from.digest(progress)?,
        manifest: offer.manifest,
        registry: offer.from.registry.clone(),
        created: offer.facts.created,
    };
    Ok(Image {
        name,
        config,
        id: offer.facts.id,
        diff_ids: offer.facts.diff_ids,
        layers,
        platform: offer.facts.platform,
        origin,
    })
}
