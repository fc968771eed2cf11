//! The table of contents of a tar that is read in place: which member lies where.
//!
//! It is walked here and not by the `tar` crate because an archive from outside needs caps on
//! names, counts and extension headers, because a cut archive must be noticed although nothing
//! but headers is read, and because duplicate names have to be seen. Fields are the crate's.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use tar::{EntryType, Header, PaxExtensions};

use super::names::{beneath, member_name};
use crate::error::{Error, Result};

const BLOCK: u64 = 512;
/// More than a thousand images of thirty layers would need.
const MAX_MEMBERS: usize = 100_000;
/// Longer than any name that engines give.
const MAX_NAME: usize = 512;
/// Extension headers hold a name and some times; they are read into memory.
const MAX_EXTENSION: u64 = 64 << 10;

/// What stands under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Member {
    /// A file's bytes.
    File { offset: u64, size: u64 },
    /// The same as another name.
    Link(String),
    /// Something that has no bytes, by the word to call it.
    Other(&'static str),
}

/// Lists the members of the tar in `file`. `place` names it in errors.
pub(super) fn index(file: &File, place: &str) -> Result<HashMap<String, Member>> {
    let length =
        file.metadata().map_err(|e| Error::failed("cannot be read").at(place).because(e))?.len();
    let mut walk = Walk { file, place, length, at: 0 };
    let mut members = HashMap::new();
    while let Some((name, member)) = walk.next()? {
        if let Some(earlier) = members.get(&name) {
            if !walk.same(earlier, &member)? {
                return Err(
                    walk.refuse(format!("'{}' occurs twice and differs", name.escape_debug()))
                );
            }
        } else if members.len() == MAX_MEMBERS {
            return Err(walk.refuse(format!("has more than {MAX_MEMBERS} members")));
        } else {
            members.insert(name, member);
        }
    }
    Ok(members)
}

struct Walk<'a> {
    file: &'a File,
    place: &'a str,
    length: u64,
    at: u64,
}

impl Walk<'_> {
    fn refuse(&self, what: impl Into<String>) -> Error {
        Error::refused(what).at(self.place).remedy(super::store::AGAIN)
    }

    fn truncated(&self) -> Error {
        Error::refused(format!("is truncated: it ends at byte {} inside an entry", self.length))
            .at(self.place)
            .remedy("make or copy the archive again")
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.file.read_exact_at(buffer, offset).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => self.truncated(),
            _ => Error::failed("cannot be read").at(self.place).because(e),
        })
    }

    /// The next member with its final name, or `None` at the mark that ends the archive.
    fn next(&mut self) -> Result<Option<(String, Member)>> {
        let mut extension = Extension::default();
        loop {
            let start = self.at;
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let kind = header.entry_type();
            let size = match (&extension.size, kind) {
                // Nothing follows these, whatever their headers claim.
                (
                    _,
                    EntryType::Link
                    | EntryType::Symlink
                    | EntryType::Char
                    | EntryType::Block
                    | EntryType::Directory
                    | EntryType::Fifo,
                ) => 0,
                (Some(size), _) => *size,
                (None, _) => header.entry_size().map_err(|e| {
                    self.refuse(format!("has a damaged header at byte {start}")).because(e)
                })?,
            };
            let offset = self.at;
            self.at = size
                .checked_next_multiple_of(BLOCK)
                .and_then(|padded| offset.checked_add(padded))
                .filter(|end| *end <= self.length)
                .ok_or_else(|| self.truncated())?;
            match kind {
                EntryType::XGlobalHeader => {}
                EntryType::XHeader | EntryType::GNULongName | EntryType::GNULongLink => {
                    self.extend(&mut extension, kind, offset, size)?;
                }
                _ => return self.member(&header, extension, offset, size).map(Some),
            }
        }
    }

    /// The header at the current place, which moves behind it; `None` for the end mark.
    fn header(&mut self) -> Result<Option<Header>> {
        let mut header = Header::new_old();
        self.read(header.as_mut_bytes(), self.at)?;
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let mut sum = header.clone();
        sum.set_cksum();
        if header.cksum().ok() != sum.cksum().ok() {
            return Err(self.refuse(format!("has a damaged header at byte {}", self.at)));
        }
        self.at += BLOCK;
        Ok(Some(header))
    }

    /// Takes what an extension header says about the entry after it.
    fn extend(&self, into: &mut Extension, kind: EntryType, at: u64, size: u64) -> Result<()> {
        if size > MAX_EXTENSION {
            return Err(self.refuse(format!("has an oversized extension header at byte {at}")));
        }
        // The cap above makes the length fit.
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        self.read(&mut bytes, at)?;
        match kind {
            EntryType::GNULongName => into.name = Some(until_nul(bytes)),
            EntryType::GNULongLink => into.link = Some(until_nul(bytes)),
            _ => {
                for pair in PaxExtensions::new(&bytes) {
                    let damaged =
                        || self.refuse(format!("has a damaged extension header at byte {at}"));
                    let pair = pair.map_err(|_| damaged())?;
                    match pair.key_bytes() {
                        b"path" => into.name = Some(pair.value_bytes().to_vec()),
                        b"linkpath" => into.link = Some(pair.value_bytes().to_vec()),
                        b"size" => {
                            let size = pair.value().ok().and_then(|text| text.parse().ok());
                            into.size = Some(size.ok_or_else(damaged)?);
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }

    fn member(
        &self,
        header: &Header,
        extension: Extension,
        offset: u64,
        size: u64,
    ) -> Result<(String, Member)> {
        let raw = self.text(extension.name.unwrap_or_else(|| header.path_bytes().into_owned()))?;
        let name = member_name(&raw).ok_or_else(|| self.escapes(&raw))?;
        let kind = header.entry_type();
        let member = match kind {
            EntryType::Link | EntryType::Symlink => {
                let target = extension
                    .link
                    .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned));
                let target = self.text(target.unwrap_or_default())?;
                // A hard link counts from the archive's top, a symbolic one from where it lies.
                let resolved = match name.rsplit_once('/') {
                    Some((directory, _)) if kind == EntryType::Symlink => {
                        beneath(directory, &target)
                    }
                    _ => member_name(&target),
                };
                Member::Link(resolved.ok_or_else(|| self.escapes(&target))?)
            }
            EntryType::Regular | EntryType::Continuous if !raw.ends_with('/') => {
                Member::File { offset, size }
            }
            EntryType::Regular | EntryType::Directory => Member::Other("a directory"),
            EntryType::Char | EntryType::Block => Member::Other("a device"),
            EntryType::Fifo => Member::Other("a pipe"),
            _ => Member::Other("an entry of an unknown kind"),
        };
        Ok((name, member))
    }

    fn text(&self, bytes: Vec<u8>) -> Result<String> {
        if bytes.len() > MAX_NAME {
            return Err(self.refuse(format!("has a name of {} bytes", bytes.len())));
        }
        String::from_utf8(bytes).map_err(|e| {
            let name = String::from_utf8_lossy(e.as_bytes()).into_owned();
            self.refuse(format!("has a name that is not text, '{}'", name.escape_debug()))
        })
    }

    fn escapes(&self, name: &str) -> Error {
        Error::refused(format!("its entry '{}' leads out of the archive", name.escape_debug()))
            .at(self.place)
            .remedy("do not use it: no engine writes such an archive")
    }

    /// Whether two members under one name are the same to whoever reads them.
    fn same(&self, one: &Member, other: &Member) -> Result<bool> {
        let (Member::File { offset: a, size }, Member::File { offset: b, size: other_size }) =
            (one, other)
        else {
            return Ok(one == other);
        };
        if size != other_size {
            return Ok(false);
        }
        let (mut left, mut right) = (vec![0; 64 << 10], vec![0; 64 << 10]);
        let mut done = 0;
        while done < *size {
            // At most the buffer's length.
            let n = usize::try_from(size - done).unwrap_or(usize::MAX).min(left.len());
            self.read(&mut left[..n], a + done)?;
            self.read(&mut right[..n], b + done)?;
            if left[..n] != right[..n] {
                return Ok(false);
            }
            done += n as u64;
        }
        Ok(true)
    }
}

/// What extension headers said about the next entry.
#[derive(Default)]
struct Extension {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
    bytes
}
