//! SHA-256 digests: a value, its text, and readers and writers that compute it in passing.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// A SHA-256 digest: of a member, a layer (diffID), an image's configuration (image ID).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Digest(Sha256::digest(bytes).into())
    }

    /// The 64 lower-case hexadecimal digits, without the `sha256:` that OCI writes in front.
    pub fn hex(&self) -> String {
        use fmt::Write as _;
        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }

    /// The first `n` hexadecimal digits, for names that people read.
    pub fn short(&self, n: usize) -> String {
        let mut hex = self.hex();
        hex.truncate(n);
        hex
    }

    /// The raw 32 bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// From the raw 32 bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Digest(bytes)
    }

    /// Reads exactly 64 lower-case hexadecimal digits, as `sha256sum` writes them.
    pub fn from_hex(text: &str) -> Result<Self> {
        let refuse =
            || Error::refused(format!("'{}' is not a SHA-256 digest", text.escape_debug()));
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(refuse());
        }
        let mut out = [0; 32];
        for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
            let [high, low] = [pair[0], pair[1]].map(|c| match c {
                b'0'..=b'9' => Some(c - b'0'),
                b'a'..=b'f' => Some(c - b'a' + 10),
                _ => None,
            });
            *byte = high.ok_or_else(refuse)? << 4 | low.ok_or_else(refuse)?;
        }
        Ok(Digest(out))
    }
}

impl fmt::Display for Digest {
    /// With its algorithm, as OCI writes it: `sha256:…`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = Error;

    /// Reads `sha256:` and 64 digits.
    fn from_str(text: &str) -> Result<Self> {
        let hex = text.strip_prefix("sha256:").ok_or_else(|| {
            Error::refused(format!("'{}' is not a sha256 digest", text.escape_debug()))
        })?;
        Self::from_hex(hex)
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Computes a digest and counts bytes while they pass through to (or from) `inner`.
pub struct Hashing<T> {
    inner: T,
    state: Sha256,
    bytes: u64,
}

impl<T> Hashing<T> {
    /// Watches what is read from or written to `inner` from now on.
    pub fn new(inner: T) -> Self {
        Hashing { inner, state: Sha256::new(), bytes: 0 }
    }

    /// Bytes that have passed.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The digest of what has passed, its number of bytes, and the inner thing back.
    pub fn finish(self) -> (Digest, u64, T) {
        (Digest(self.state.finalize().into()), self.bytes, self.inner)
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.state.update(&buffer[..n]);
        self.bytes += n as u64;
        Ok(n)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(buffer)?;
        self.state.update(&buffer[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn text_goes_both_ways() {
        let d = Digest::of(b"");
        assert_eq!(d.hex(), EMPTY);
        assert_eq!(Digest::from_hex(EMPTY).unwrap(), d);
        assert_eq!(d.to_string().parse::<Digest>().unwrap(), d);
        assert_eq!(d.short(8), "e3b0c442");
    }

    #[test]
    fn anything_else_is_refused() {
        for text in
            ["", "00", &EMPTY.to_uppercase(), &format!("{EMPTY}0"), &EMPTY.replace('e', "g")]
        {
            assert!(Digest::from_hex(text).is_err(), "{text}");
        }
        assert!(EMPTY.parse::<Digest>().is_err(), "the algorithm is part of the text");
    }

    #[test]
    fn hashing_sees_what_passes() {
        let mut h = Hashing::new(&b"some bytes"[..]);
        let mut out = Vec::new();
        h.read_to_end(&mut out).unwrap();
        let (digest, bytes, _) = h.finish();
        assert_eq!((digest, bytes), (Digest::of(b"some bytes"), 10));
    }
}
