//! Packing: images in, one signed bundle out, on its medium.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use serde::Serialize;

use crate::bundle::recipe::{self, Recipe};
use crate::bundle::writer::{self, Contents, Source as LayerSource, Written};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::images::{self, Image, Layer, Source};
use crate::manifest::{ImageEntry, Manifest, Owner, Platform};
use crate::medium::{self, Medium, Partial};
use crate::progress::Progress;
use crate::signing::{BundleSigner, SecretKey};
use crate::texts::Texts;

/// A bundle's name unless another is given.
const NAME: &str = "ldms";

/// The remedy for a manifest that cannot be.
const NAMES: &str = "choose another with --name or --version";

/// What is asked of [`build`].
pub struct Request<'a> {
    /// Where images come from.
    pub sources: Vec<Source>,
    /// Which images, by name; empty: those that the profiles name.
    pub only: Vec<String>,
    /// A directory of profiles of the site's own.
    pub profiles: Option<PathBuf>,
    /// Passed on to the sources: tag, platform, whether to fetch, where scratch is.
    pub options: images::Options,
    /// The bundle's name, if not the default.
    pub name: Option<String>,
    /// Its version, if it is not to be found out.
    pub version: Option<String>,
    /// Its release.
    pub release: u64,
    /// Who signs.
    pub key: &'a SecretKey,
    /// The directory that becomes the medium.
    pub output: PathBuf,
    /// The installer to put beside the bundle.
    pub installer: PathBuf,
    /// zstd level of the packs.
    pub level: i32,
    /// Threads to use; more than [`THREADS_LIMIT`] are not, since each takes memory.
    pub threads: usize,
    /// Set when the user wants to stop.
    pub cancelled: &'a AtomicBool,
}

/// Most threads that work at once. Each compressing one takes some 60 MiB: its own, a pack that
/// it works on, and one that waits.
pub const THREADS_LIMIT: usize = 16;

/// What was packed.
#[derive(Serialize)]
pub struct Outcome {
    /// What is in the bundle.
    pub manifest: Manifest,
    /// Sizes of the bundle.
    #[serde(flatten)]
    pub written: Written,
    /// Bytes of all images' layers, each image for itself, unpacked.
    pub images_bytes: u64,
    /// The same with every layer counted once.
    pub layers_bytes: u64,
    /// What lies beside it.
    pub medium: Medium,
    /// Fingerprint of the public key.
    pub fingerprint: String,
    /// ID of the key.
    pub key_id: String,
}

/// Makes a bundle and its medium.
///
/// # Errors
/// Where anything in the sources is not what it says it is, or anything cannot be read or written.
/// Nothing is left under the bundle's name then.
pub fn build(request: &Request<'_>, progress: &dyn Progress) -> Result<Outcome> {
    let texts = Texts::gather(request.profiles.as_deref())?;
    let wanted = &wanted(&request.only, &texts.images());
    recipe::scratch(&request.options.scratch)?;
    medium::check_installer(&request.installer, None)?;
    let images = images::gather(&request.sources, wanted, &request.options, progress)?;
    if images.len() > 64 {
        return Err(Error::usage("a bundle holds at most 64 images"));
    }
    // All that can be wrong with the rest is told before the long work begins.
    let mut manifest = manifest(request, &texts, &images);
    manifest.check().map_err(|e| Error::usage(e.what()).remedy(NAMES))?;
    medium::check_installer(&request.installer, Some(&manifest.platform))?;
    let name = medium::bundle_name(&manifest);
    medium::prepare(&request.output, &name)?;

    let (layers, users) = distinct_layers(&images);
    let recipes = learn(&layers, request, progress)?;
    add_learned(&mut manifest, &recipes);
    let layers_bytes = recipes.iter().map(|recipe| recipe.size).sum();
    let sources: Vec<LayerSource<'_>> = recipes
        .into_iter()
        .zip(&layers)
        .map(|(recipe, (_, layer))| LayerSource {
            images: users[&recipe.diff_id],
            recipe,
            open: Box::new(|| -> Result<Box<dyn Read + Send>> { layer.open() }),
        })
        .collect();

    let mut members = vec![("manifest.toml".to_owned(), manifest.to_toml()?.into_bytes())];
    members.extend(texts.members());
    members.extend(
        images
            .iter()
            .zip(&manifest.image)
            .map(|(image, e)| (e.config_member(), image.config.clone())),
    );

    let (partial, file) = Partial::create(&request.output.join(&name), 0o644)?;
    let signer = BundleSigner {
        key: request.key,
        comment: format!(
            "{} version {} release {} for {}",
            manifest.name, manifest.version, manifest.release, manifest.platform
        ),
    };
    let contents = Contents {
        members,
        layers: &sources,
        level: request.level,
        threads: request.threads.clamp(1, THREADS_LIMIT),
    };
    let written =
        writer::write(file, partial.path(), &contents, &signer, request.cancelled, progress)?;
    let medium = medium::complete(
        &request.output,
        partial,
        &manifest,
        &request.installer,
        request.key,
        progress,
    )?;
    let public = crate::trust::Key::parse(&request.key.public()?, "the public key")?;
    Ok(Outcome {
        images_bytes: manifest.image.iter().map(|image| image.size).sum(),
        layers_bytes,
        manifest,
        written,
        medium,
        fingerprint: public.fingerprint(),
        key_id: public.id(),
    })
}

/// The images that are asked for, a known one also by the last part of its name.
fn wanted(only: &[String], known: &[String]) -> Vec<String> {
    if only.is_empty() {
        return known.to_vec();
    }
    let whole = |name: &String| {
        let short = |whole: &&String| whole.rsplit('/').next() == Some(name.as_str());
        known.iter().find(short).unwrap_or(name).clone()
    };
    only.iter().map(whole).collect()
}

/// Every layer once, with the first image that has it, and the images that have it as bits.
fn distinct_layers(images: &[Image]) -> (Vec<(&Image, &Layer)>, HashMap<Digest, u64>) {
    let mut users: HashMap<Digest, u64> = HashMap::new();
    let mut layers = Vec::new();
    for (number, image) in images.iter().enumerate() {
        for layer in &image.layers {
            let set = users.entry(layer.diff_id()).or_insert_with(|| {
                layers.push((image, layer));
                0
            });
            *set |= 1 << number;
        }
    }
    (layers, users)
}

/// Reads every layer once, on all cores, and proves its diffID.
fn learn(
    layers: &[(&Image, &Layer)],
    request: &Request<'_>,
    progress: &dyn Progress,
) -> Result<Vec<Recipe>> {
    let mut totals: BTreeMap<&str, (u64, usize)> = BTreeMap::new();
    for (image, layer) in layers {
        let total = totals.entry(&image.name).or_default();
        total.0 += layer.packed_size();
        total.1 += 1;
    }
    let mut begun = BTreeMap::new();
    for (image, _) in layers {
        let (bytes, open) = totals[&*image.name];
        if begun.insert(&*image.name, AtomicUsize::new(open)).is_none() {
            progress.begin(&image.name, bytes);
        }
    }
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let done: Mutex<BTreeMap<usize, Result<Recipe>>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..request.threads.clamp(1, THREADS_LIMIT) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some((image, layer)) = layers.get(number) else { return };
                    if failed.load(Ordering::Relaxed) {
                        return;
                    }
                    let recipe = learn_layer(image, layer, request, progress);
                    failed.fetch_or(recipe.is_err(), Ordering::Relaxed);
                    done.lock().unwrap_or_else(PoisonError::into_inner).insert(number, recipe);
                    if begun[&*image.name].fetch_sub(1, Ordering::Relaxed) == 1 {
                        progress.end(&image.name);
                    }
                }
            });
        }
    });
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.into_values().collect()
}

fn learn_layer(
    image: &Image,
    layer: &Layer,
    request: &Request<'_>,
    progress: &dyn Progress,
) -> Result<Recipe> {
    let tar = layer.open_reporting(|bytes| progress.advance(&image.name, bytes))?;
    let tar = Cancellable { inner: tar, cancelled: request.cancelled };
    let recipe = recipe::learn(tar, &request.options.scratch, &|_| ())?;
    if recipe.diff_id == layer.diff_id() {
        return Ok(recipe);
    }
    Err(Error::refused(format!(
        "{} is not what the image's configuration announces: its diffID is {}, not {}",
        layer.label(),
        recipe.diff_id,
        layer.diff_id()
    ))
    .at(&image.origin.source)
    .remedy("make the archive again from a source you trust"))
}

/// Fails as soon as the user wants to stop.
struct Cancellable<'a, R> {
    inner: R,
    cancelled: &'a AtomicBool,
}

impl<R: Read> Read for Cancellable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(writer::interrupted().into());
        }
        self.inner.read(buffer)
    }
}

/// What is known of the bundle before a layer has been read.
fn manifest(request: &Request<'_>, texts: &Texts, images: &[Image]) -> Manifest {
    let entries = images
        .iter()
        .map(|image| ImageEntry {
            name: image.name.clone(),
            id: image.id,
            size: 0,
            munge: None,
            layers: image.diff_ids.clone(),
            origin: image.origin.clone(),
        })
        .collect::<Vec<_>>();
    let platform = images.first().map_or_else(Platform::of_this_program, |i| i.platform.clone());
    Manifest {
        name: request.name.clone().unwrap_or_else(|| NAME.into()),
        version: request.version.clone().unwrap_or_else(|| version_of(&entries)),
        release: request.release,
        platform,
        packer: concat!("ldms-pack ", env!("CARGO_PKG_VERSION")).into(),
        site: texts.of_site(),
        image: entries,
    }
}

/// Adds what the layers say: their sizes, and who owns munge.
fn add_learned(manifest: &mut Manifest, recipes: &[Recipe]) {
    let by_id: HashMap<Digest, &Recipe> =
        recipes.iter().map(|recipe| (recipe.diff_id, recipe)).collect();
    for image in &mut manifest.image {
        let recipes = || image.layers.iter().filter_map(|id| by_id.get(id));
        image.size = recipes().map(|recipe| recipe.size).sum();
        image.munge =
            recipes().rev().find_map(|recipe| recipe.passwd.as_deref()).and_then(munge_owner);
    }
}

/// The version where nobody gave one: the tag that all images share, unless that is `latest`,
/// which says nothing; else one made from the images themselves, the same for the same images.
fn version_of(images: &[ImageEntry]) -> String {
    let tag = |image: &ImageEntry| {
        let (_, tag) = image.origin.reference.as_deref()?.rsplit_once(':')?;
        (tag != "latest" && crate::manifest::is_plain_name(tag)).then(|| tag.to_owned())
    };
    let tags: Vec<Option<String>> = images.iter().map(tag).collect();
    match tags.first() {
        Some(Some(first)) if tags.iter().all(|tag| tag.as_ref() == Some(first)) => first.clone(),
        _ => {
            let ids: String = images.iter().map(|image| image.id.hex()).collect();
            format!("images.{}", Digest::of(ids.as_bytes()).short(12))
        }
    }
}

/// Owner of the user `munge` in the text of `/etc/passwd`.
fn munge_owner(passwd: &[u8]) -> Option<Owner> {
    let text = String::from_utf8_lossy(passwd);
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == "munge").then_some(())?;
        let mut fields = fields.skip(1);
        Some(Owner { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    })
}

/// Where the installer lies by default: beside this program, or where `make installer` puts it.
pub fn default_installer(program: &Path) -> PathBuf {
    program.with_file_name(medium::INSTALLER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_images_own_munge() {
        let passwd =
            b"root:x:0:0:root:/root:/bin/bash\nmunge:x:101:102::/var/lib/munge:/bin/false\n";
        assert_eq!(munge_owner(passwd), Some(Owner { uid: 101, gid: 102 }));
        assert_eq!(munge_owner(b"munge:x:a:b\n"), None);
        assert_eq!(munge_owner(b"amunge:x:1:1\n\xff\n"), None);
    }
}
