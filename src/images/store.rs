//! Named files of one source, whether they lie in a directory or in a tar that is read in place.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::names::member_name;
use super::tarfile::{self, Member};
use crate::error::{Error, Result};

/// The largest piece of JSON that is read into memory, in bytes.
pub(super) const MAX_JSON: u64 = 4 << 20;
/// podman's save needs one, a chain of a few is harmless, a circle is not.
const MAX_LINKS: usize = 16;

/// The remedy for what is not as it says it is.
pub(super) const AGAIN: &str = "make the archive again from a source you trust";

/// A source's files by name.
#[derive(Debug)]
pub(super) struct Store {
    place: Arc<str>,
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Directory(PathBuf),
    Tar { file: Arc<File>, members: HashMap<String, Member> },
}

impl Store {
    /// The files below `directory`.
    pub(super) fn directory(directory: &Path) -> Self {
        Store {
            place: directory.display().to_string().into(),
            inner: Inner::Directory(directory.to_owned()),
        }
    }

    /// The members of the tar in `file`; `place` names it in errors.
    pub(super) fn tar(file: Arc<File>, place: &str) -> Result<Self> {
        let members = tarfile::index(&file, place)?;
        Ok(Store { place: place.into(), inner: Inner::Tar { file, members } })
    }

    /// What errors call this source.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// The file of that name if there is one; an error if something else has the name.
    pub(super) fn find(&self, name: &str) -> Result<Option<Blob>> {
        let name = member_name(name).ok_or_else(|| {
            self.refuse(format!("asks for '{}', out of the archive", name.escape_debug()))
        })?;
        let (bytes, size) = match &self.inner {
            Inner::Directory(directory) => {
                let path = directory.join(&name);
                match std::fs::metadata(&path) {
                    Ok(found) if found.is_file() => (Bytes::File(path), found.len()),
                    Ok(_) => return Err(self.not_a_file(&name, "no regular file")),
                    Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
                    Err(e) => {
                        return Err(Error::failed("cannot be read").at(path.display()).because(e));
                    }
                }
            }
            Inner::Tar { file, members } => {
                let mut target = &name;
                let mut hops = 0;
                loop {
                    match members.get(target) {
                        None => return Ok(None),
                        Some(Member::File { offset, size }) => {
                            let file = Arc::clone(file);
                            break (Bytes::Part { file, offset: *offset }, *size);
                        }
                        Some(Member::Other(kind)) => return Err(self.not_a_file(&name, kind)),
                        Some(Member::Link(_)) if hops == MAX_LINKS => {
                            return Err(self.not_a_file(&name, "a link that leads nowhere"));
                        }
                        Some(Member::Link(next)) => target = next,
                    }
                    hops += 1;
                }
            }
        };
        Ok(Some(Blob { place: Arc::clone(&self.place), name: name.into(), bytes, size }))
    }

    /// The file of that name; its absence is an error.
    pub(super) fn get(&self, name: &str) -> Result<Blob> {
        self.find(name)?.ok_or_else(|| {
            Error::refused(format!("lacks its part '{}'", name.escape_debug()))
                .at(&self.place)
                .remedy("make or copy it again; it may have been cut or saved in part")
        })
    }

    /// A refusal that names this source.
    pub(super) fn refuse(&self, what: impl Into<String>) -> Error {
        Error::refused(what).at(&self.place).remedy(AGAIN)
    }

    fn not_a_file(&self, name: &str, kind: &str) -> Error {
        self.refuse(format!("'{}' is {kind} where a file is expected", name.escape_debug()))
    }
}

/// One file of a store: read again and again, from any thread.
#[derive(Clone, Debug)]
pub(super) struct Blob {
    place: Arc<str>,
    name: Arc<str>,
    bytes: Bytes,
    size: u64,
}

#[derive(Clone, Debug)]
enum Bytes {
    /// Part of an open tar.
    Part { file: Arc<File>, offset: u64 },
    /// A file of its own, opened when it is read: a layout may have more of them than a process
    /// may have open.
    File(PathBuf),
}

impl Blob {
    /// All of an open file of `size` bytes.
    pub(super) fn whole(file: Arc<File>, size: u64, place: &str) -> Self {
        Blob {
            place: place.into(),
            name: place.into(),
            bytes: Bytes::Part { file, offset: 0 },
            size,
        }
    }

    /// Bytes as stored.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The store it is in.
    pub(super) fn place(&self) -> &Arc<str> {
        &self.place
    }

    /// A refusal that names the store and this file.
    pub(super) fn refuse(&self, what: impl std::fmt::Display) -> Error {
        Error::refused(format!("its part '{}' {what}", self.name.escape_debug()))
            .at(&self.place)
            .remedy(AGAIN)
    }

    /// Its bytes from the start.
    pub(super) fn open(&self) -> Result<Section> {
        let (file, at) = match &self.bytes {
            Bytes::Part { file, offset } => (Arc::clone(file), *offset),
            Bytes::File(path) => (Arc::new(crate::named::open(path)?), 0),
        };
        Ok(Section { blob: self.clone(), file, at, left: self.size })
    }

    /// All of it, where it is a piece of JSON and must be small.
    pub(super) fn json(&self) -> Result<Vec<u8>> {
        if self.size > MAX_JSON {
            return Err(
                self.refuse(format!("has {} bytes where at most {MAX_JSON} are sound", self.size))
            );
        }
        let mut bytes = Vec::new();
        self.open()?
            .read_to_end(&mut bytes)
            .map_err(|e| Error::from_io(e, "cannot be read").at(&self.place))?;
        Ok(bytes)
    }

    /// Reads it as the JSON of a `T`.
    pub(super) fn parse<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        self.decode(&self.json()?)
    }

    /// Reads `bytes`, which came from here, as the JSON of a `T`.
    pub(super) fn decode<T: serde::de::DeserializeOwned>(&self, bytes: &[u8]) -> Result<T> {
        serde_json::from_slice(bytes).map_err(|e| self.refuse("cannot be understood").because(e))
    }

    /// Its first bytes, fewer than asked for if it is shorter.
    pub(super) fn head(&self, n: u64) -> Result<Vec<u8>> {
        let mut head = Vec::new();
        self.open()?
            .take(n)
            .read_to_end(&mut head)
            .map_err(|e| Error::from_io(e, "cannot be read").at(&self.place))?;
        Ok(head)
    }
}

/// Reads one blob without moving anybody else's position in the file.
pub(super) struct Section {
    blob: Blob,
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // At most the buffer's length.
        let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if n == 0 {
            return Ok(0);
        }
        match self.file.read_at(&mut buffer[..n], self.at) {
            Ok(0) => Err(self.blob.refuse("became shorter while it was read").into()),
            Ok(n) => {
                self.at += n as u64;
                self.left -= n as u64;
                Ok(n)
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Err(e),
            Err(e) => {
                Err(Error::failed(format!("cannot read '{}'", self.blob.name.escape_debug()))
                    .at(&self.blob.place)
                    .because(e)
                    .into())
            }
        }
    }
}
