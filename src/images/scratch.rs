//! Files without a name for what must be unpacked or fetched before it can be read in place.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use super::decode::{Packing, Reporting};
use crate::digest::{Digest, Hashing};
use crate::error::{Error, Result};
use crate::progress::Progress;

/// What is left free for everybody else on the scratch directory's file system, in bytes.
const RESERVE: u64 = 64 << 20;
/// Bytes between two looks at the free space.
const STEP: u64 = 16 << 20;
/// No image shrinks a hundredfold; what claims to is made to fill disks. The constant part lets
/// small archives of nearly empty images be.
const MAX_RATIO: u64 = 100;
const ALWAYS: u64 = 1 << 30;

/// A file that vanishes when it is closed.
pub(super) fn file(scratch: &Path) -> Result<File> {
    tempfile::tempfile_in(scratch).map_err(|e| {
        Error::host("cannot make a file here").at(scratch.display()).because(e).remedy(REMEDY)
    })
}

const REMEDY: &str = "name another directory with --scratch DIR, or make room there";

/// Fails unless `wanted` bytes more fit into the scratch directory.
pub(super) fn room(scratch: &Path, wanted: u64) -> Result<()> {
    let free = nix::sys::statvfs::statvfs(scratch)
        .map_err(|e| Error::host("cannot be looked at").at(scratch.display()).because(e))?;
    // On some systems these are narrower.
    #[allow(clippy::useless_conversion)]
    let free = u64::from(free.blocks_available()).saturating_mul(u64::from(free.fragment_size()));
    if free < wanted.saturating_add(RESERVE) {
        return Err(Error::host(format!(
            "has only {} MiB free where {} MiB more are needed",
            free >> 20,
            wanted.saturating_add(RESERVE) >> 20
        ))
        .at(scratch.display())
        .remedy(REMEDY));
    }
    Ok(())
}

/// Unpacks the archive `packed` of `size` bytes into a scratch file; also gives the digest of the
/// bytes as they were. `place` names it in errors, `task` in the progress.
pub(super) fn unpack(
    packed: File,
    packing: Packing,
    size: u64,
    (place, task): (&str, &str),
    scratch: &Path,
    progress: &dyn Progress,
) -> Result<(File, Digest)> {
    let mut out = file(scratch)?;
    progress.begin(task, size);
    let report = |bytes| progress.advance(task, bytes);
    let mut hashing = Hashing::new(Reporting { inner: packed, report });
    let limit = size.saturating_mul(MAX_RATIO).saturating_add(ALWAYS);
    let copied = copy(packing, &mut hashing, &mut out, limit, place, scratch);
    progress.end(task);
    copied?;
    Ok((out, hashing.finish().0))
}

fn copy(
    packing: Packing,
    packed: impl Read + Send,
    out: &mut File,
    limit: u64,
    place: &str,
    scratch: &Path,
) -> Result<()> {
    let damaged = |e: io::Error| {
        Error::refused("is damaged or cut")
            .at(place)
            .because(e)
            .remedy("make or copy the archive again")
    };
    let unpacked = packing.unpack(packed).map_err(damaged)?;
    let mut unpacked = BufReader::with_capacity(256 << 10, unpacked);
    let (mut written, mut until_look) = (0, 0);
    loop {
        let chunk = unpacked.fill_buf().map_err(damaged)?;
        let n = chunk.len();
        if n == 0 {
            return Ok(());
        }
        if n as u64 > until_look {
            room(scratch, STEP)?;
            until_look = STEP;
        }
        until_look -= n as u64;
        written += n as u64;
        if written > limit {
            return Err(Error::refused(format!(
                "unpacks to more than {} MiB, which no images do",
                limit >> 20
            ))
            .at(place)
            .remedy("if it is sound, unpack it yourself and give the plain archive"));
        }
        out.write_all(chunk).map_err(|e| {
            Error::host(format!("cannot hold the unpacked {place}"))
                .at(scratch.display())
                .because(e)
                .remedy(REMEDY)
        })?;
        unpacked.consume(n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn a_bomb_and_a_full_disk_are_stopped() {
        let scratch = tempfile::tempdir().unwrap();
        let bomb = zstd::encode_all(io::repeat(0).take(64 << 20), 1).unwrap();
        let mut out = file(scratch.path()).unwrap();
        let copied =
            copy(Packing::Zstd, &bomb[..], &mut out, 32 << 20, "bomb.tar.zst", scratch.path());
        let error = copied.unwrap_err();
        assert_eq!(error.kind(), Kind::Refused);
        assert_eq!(error.place(), Some("bomb.tar.zst"));
        assert!(out.metadata().unwrap().len() <= 33 << 20);

        let error = room(scratch.path(), 1 << 60).unwrap_err();
        assert_eq!(error.kind(), Kind::Host);
        assert!(error.to_string().starts_with(&scratch.path().display().to_string()));
    }
}
