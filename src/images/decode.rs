//! Small readers: unpack gzip and zstd, check a digest in passing, tell how many bytes passed.

use std::io::{self, Read};

use crate::digest::{Digest, Hashing};
use crate::error::{Error, Result};

/// How bytes are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

impl Packing {
    /// How many first bytes [`Packing::of`] looks at.
    pub(super) const HEAD: u64 = 6;

    /// Told by the first bytes: media types and file names are not to be relied on.
    pub(super) fn of(head: &[u8]) -> Result<Self> {
        let other = |name: &str, again: &str| {
            Err(Error::refused(format!("is packed with {name}, which no engine writes"))
                .remedy(format!("unpack it first: {again}")))
        };
        match head {
            [0x1f, 0x8b, ..] => Ok(Packing::Gzip),
            // A frame, or a skippable one in front, as some writers put there for an index.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Packing::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => other("xz", "xz -d FILE"),
            [b'B', b'Z', b'h', b'1'..=b'9', b'1', ..] => other("bzip2", "bzip2 -d FILE"),
            _ => Ok(Packing::Plain),
        }
    }

    /// Unpacks `inner`. Several gzip members or zstd frames are one stream; anything else behind
    /// them is an error, and so is an end in the middle. `inner` is read to its end.
    pub(super) fn unpack<'a>(
        self,
        inner: impl Read + Send + 'a,
    ) -> io::Result<Box<dyn Read + Send + 'a>> {
        Ok(match self {
            Packing::Plain => Box::new(inner),
            Packing::Gzip => Box::new(flate2::read::MultiGzDecoder::new(inner)),
            Packing::Zstd => Box::new(zstd::Decoder::new(inner)?),
        })
    }
}

/// Passes bytes on and, at their end, fails unless they have the expected digest.
pub(super) struct Checked<R> {
    /// Until the end has been seen.
    inner: Option<Hashing<R>>,
    expected: Digest,
    /// The digest that they had, and the error to make of another one than expected.
    found: Option<Digest>,
    complain: Box<dyn Fn(Digest) -> Error + Send>,
}

impl<R: Read> Checked<R> {
    /// Checks `inner` against `expected`; `complain` gets what was found instead.
    pub(super) fn new(
        inner: R,
        expected: Digest,
        complain: impl Fn(Digest) -> Error + Send + 'static,
    ) -> Self {
        let complain = Box::new(complain);
        Checked { inner: Some(Hashing::new(inner)), expected, found: None, complain }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Some(inner) = &mut self.inner {
            let n = inner.read(buffer)?;
            if n > 0 || buffer.is_empty() {
                return Ok(n);
            }
        }
        if let Some(inner) = self.inner.take() {
            self.found = Some(inner.finish().0);
        }
        match self.found {
            Some(found) if found != self.expected => Err((self.complain)(found).into()),
            _ => Ok(0),
        }
    }
}

/// Tells how many bytes each read brought.
pub(super) struct Reporting<R, F> {
    pub(super) inner: R,
    pub(super) report: F,
}

impl<R: Read, F: FnMut(u64)> Read for Reporting<R, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        (self.report)(n as u64);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    }

    fn unpacked(stored: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        let packing = Packing::of(stored)?;
        let checked = Checked::new(stored, Digest::of(stored), |_| Error::refused("other"));
        packing.unpack(checked)?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn every_packing_in_one_or_several_pieces() {
        let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
        let skippable =
            [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"xyz", &zstd(b"one two")].concat();
        for stored in [
            b"one two".to_vec(),
            gzip(b"one two"),
            [gzip(b"one "), gzip(b"two")].concat(),
            zstd(b"one two"),
            [zstd(b"one "), zstd(b"two")].concat(),
            skippable,
        ] {
            assert_eq!(unpacked(&stored).unwrap(), b"one two");
        }
        assert_eq!(unpacked(b"").unwrap(), b"");
    }

    #[test]
    fn a_cut_or_something_behind_is_an_error() {
        for stored in [gzip(b"one two"), zstd::encode_all(&b"one two"[..], 1).unwrap()] {
            for end in 4..stored.len() {
                assert!(unpacked(&stored[..end]).is_err(), "{end} of {}", stored.len());
            }
            assert!(unpacked(&[&stored[..], b"more"].concat()).is_err());
        }
        assert!(Packing::of(b"\xfd7zXZ\0").is_err());
        assert!(Packing::of(b"BZh91AY&").is_err());
    }

    #[test]
    fn what_lies_below_the_unpacking_is_checked_to_its_end() {
        for stored in [b"plain".to_vec(), gzip(b"x"), zstd::encode_all(&b"x"[..], 1).unwrap()] {
            let checked = Checked::new(&stored[..], Digest::of(b"other"), |found| {
                Error::refused(format!("found {found}"))
            });
            let mut reader = Packing::of(&stored).unwrap().unpack(checked).unwrap();
            for _ in 0..2 {
                let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
                let error = Error::from_io(error, "something else");
                assert_eq!(error.what(), format!("found {}", Digest::of(&stored)));
            }
        }
    }
}
