//! Images in files: an archive, a directory of archives, an OCI layout as directory or as tar.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;
use std::sync::Arc;

use super::decode::Packing;
use super::found::{Answer, Question};
use super::provenance::Provenance;
use super::store::{Blob, Store};
use super::{Options, archive, oci, scratch};
use crate::error::{Error, Result};
use crate::named;
use crate::progress::Progress;

/// Adds the images in `path` to `answer`.
pub(super) fn list(
    path: &Path,
    question: Question<'_>,
    options: &Options,
    progress: &dyn Progress,
    answer: &mut Answer,
) -> Result<()> {
    let kind = std::fs::metadata(path).map_err(|e| cannot_read(path, e))?;
    if !kind.is_dir() {
        return match open(path, options, progress)? {
            Opened::Images(store, from) => list_store(&store, question, &from, answer),
            Opened::Other(why) => Err(Error::refused(why)
                .at(path.display())
                .remedy("give an archive made by docker save, podman save or skopeo")),
        };
    }
    if path.join(oci::INDEX).exists() {
        let store = Store::directory(path);
        let from = Arc::new(Provenance::new(short_name(path), Vec::new()));
        return list_store(&store, question, &from, answer);
    }
    let mut entries = std::fs::read_dir(path)
        .and_then(Iterator::collect::<io::Result<Vec<_>>>)
        .map_err(|e| cannot_read(path, e))?;
    // The order must not depend on the file system.
    entries.sort_by_key(std::fs::DirEntry::file_name);
    let mut any = false;
    for entry in entries {
        let file = entry.path();
        if !std::fs::metadata(&file).map_err(|e| cannot_read(&file, e))?.is_file() {
            continue;
        }
        match open(&file, options, progress)? {
            Opened::Images(store, from) => {
                any = true;
                list_store(&store, question, &from, answer)?;
            }
            // What is called an archive and is none was meant to be read.
            Opened::Other(why) if called_archive(&file) => {
                return Err(Error::refused(why)
                    .at(file.display())
                    .remedy("make or copy it again, or take it out of the directory"));
            }
            Opened::Other(_) => {}
        }
    }
    if any {
        return Ok(());
    }
    Err(Error::refused("holds neither image archives nor an OCI layout")
        .at(path.display())
        .remedy("put what 'docker save' or 'podman save' wrote there, or name another directory"))
}

/// Adds the images of an opened store to `answer`: a `manifest.json`, an `index.json`, or both,
/// as newer dockers write it; what both tell is told once. If they disagree, that shows later, as
/// two images of one name.
pub(super) fn list_store(
    store: &Store,
    question: Question<'_>,
    from: &Arc<Provenance>,
    answer: &mut Answer,
) -> Result<()> {
    if store.find(oci::INDEX)?.is_some() {
        oci::list(store, question, from, answer)?;
    }
    if store.find(archive::MANIFEST)?.is_some() {
        archive::list(store, question, from, answer)?;
    }
    Ok(())
}

enum Opened {
    Images(Store, Arc<Provenance>),
    /// No image archive, and why.
    Other(String),
}

/// Opens an archive, unpacking it first if need be.
fn open(path: &Path, options: &Options, progress: &dyn Progress) -> Result<Opened> {
    let place = path.display().to_string();
    let file = named::open(path)?;
    let size = file.metadata().map_err(|e| cannot_read(path, e))?.len();
    let head = head_of(&file).map_err(|e| cannot_read(path, e))?;
    let packing = match Packing::of(&head) {
        Ok(packing) => packing,
        Err(e) => return Ok(Opened::Other(e.what().to_owned())),
    };
    let source = short_name(path);
    let (tar, from) = if packing == Packing::Plain {
        if !is_tar(&head) {
            return Ok(Opened::Other("is neither a tar nor one packed with gzip or zstd".into()));
        }
        let file = Arc::new(file);
        let whole = Blob::whole(Arc::clone(&file), size, &place);
        (file, Provenance::archive(source, whole))
    } else {
        progress.note(&format!("unpacking {place} into {}", options.scratch.display()));
        let names = (place.as_str(), source.as_str());
        let (tar, digest) =
            scratch::unpack(file, packing, size, names, &options.scratch, progress)?;
        if !is_tar(&head_of(&tar).map_err(|e| cannot_read(path, e))?) {
            return Ok(Opened::Other("is packed, but what is packed is no tar".into()));
        }
        (Arc::new(tar), Provenance::unpacked(source, digest))
    };
    let store = Store::tar(tar, &place)?;
    if store.find(oci::INDEX)?.is_none() && store.find(archive::MANIFEST)?.is_none() {
        return Ok(Opened::Other("holds no images: no manifest.json and no index.json".into()));
    }
    Ok(Opened::Images(store, Arc::new(from)))
}

/// The first block of a file, which stays at its start.
fn head_of(mut file: &File) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    file.rewind()?;
    file.take(512).read_to_end(&mut head)?;
    file.rewind()?;
    Ok(head)
}

/// Every writer of image archives puts this mark there.
fn is_tar(head: &[u8]) -> bool {
    head.get(257..262) == Some(b"ustar")
}

fn called_archive(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.zstd", ".tzst"]
        .iter()
        .any(|ending| name.ends_with(ending))
}

/// The last component alone: where the packer's user keeps files is not the bundle's business.
fn short_name(path: &Path) -> String {
    let name = path.file_name().map(std::ffi::OsStr::to_owned);
    let name =
        name.or_else(|| path.canonicalize().ok()?.file_name().map(std::ffi::OsStr::to_owned));
    name.unwrap_or_else(|| path.as_os_str().to_owned()).to_string_lossy().into_owned()
}

fn cannot_read(path: &Path, e: io::Error) -> Error {
    let remedy = match e.kind() {
        io::ErrorKind::NotFound => {
            "name an archive, a directory of them, an OCI layout, docker: or podman:"
        }
        io::ErrorKind::PermissionDenied => "run it as somebody who may read it",
        _ => "try again, or another copy of it",
    };
    Error::failed("cannot be read").at(path.display()).because(e).remedy(remedy)
}
