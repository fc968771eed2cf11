//! A member's name and its tar header, of which there is exactly one for a name and a size.
//!
//! A reader makes the header it expects and compares, instead of interpreting what it finds:
//! what other tar readers might see in a clever header cannot be there.

use crate::error::{Error, Result};

/// Tar counts in blocks of this many bytes.
pub const BLOCK: u64 = 512;

/// Longest name, bytes: what a ustar header holds without its prefix field.
pub const NAME_LIMIT: usize = 100;

/// A member is smaller than this many bytes: what eleven octal digits hold.
pub const SIZE_LIMIT: u64 = 1 << 33;

/// Refuses a name that is not `[A-Za-z0-9][A-Za-z0-9._/-]*` with every component led by neither
/// a dot nor nothing, or that is longer than 100 bytes.
pub fn check_name(name: &str) -> Result<()> {
    let component = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if first && name.len() <= NAME_LIMIT && name.split('/').all(component) {
        return Ok(());
    }
    let shown: String = name.chars().take(NAME_LIMIT).collect();
    Err(Error::refused(format!("'{}' is no member's name", shown.escape_debug())))
}

/// Bytes of zeros that follow `size` bytes of a member up to the next block.
pub fn padding(size: u64) -> u64 {
    (BLOCK - size % BLOCK) % BLOCK
}

/// Bytes that a member of `size` bytes takes in the tar: header, data, padding.
pub fn span(size: u64) -> u64 {
    BLOCK + size + padding(size)
}

/// The ustar header of a regular file `name` of `size` bytes: mode 0644, owner 0:0, time 0, no
/// user and group names. `name` must have passed [`check_name`]; `size` is below [`SIZE_LIMIT`].
pub fn header(name: &str, size: u64) -> [u8; BLOCK as usize] {
    let mut block = [0; BLOCK as usize];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, &name.as_bytes()[..name.len().min(NAME_LIMIT)]);
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{:011o}\0", size % SIZE_LIMIT).as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// Name and size from a header, if it is the one that [`header`] makes of them.
pub fn parse(block: &[u8; BLOCK as usize]) -> Result<(String, u64)> {
    let refuse = || Error::refused("a tar header is not of the one form that bundles have");
    let end = block[..NAME_LIMIT].iter().position(|&b| b == 0).unwrap_or(NAME_LIMIT);
    let name = std::str::from_utf8(&block[..end]).map_err(|_| refuse())?;
    check_name(name)?;
    let digits = std::str::from_utf8(&block[124..135]).map_err(|_| refuse())?;
    let size = u64::from_str_radix(digits, 8).map_err(|_| refuse())?;
    if header(name, size) == *block { Ok((name.to_owned(), size)) } else { Err(refuse()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names() {
        for good in ["a", "index.toml", "layers/00ff.zst", "images/ovishpc/ldms-samp/config.json"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in
            ["", "/a", "a/", "a//b", "../a", "a/../b", ".a", "a/.b", "a b", "a\n", "-a", "_a", "é"]
        {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
        assert!(check_name(&"a".repeat(100)).is_ok());
        assert!(check_name(&"a".repeat(101)).is_err());
    }

    #[test]
    fn tar_reads_the_header() {
        let block = header("packs/0001.zst", 1234);
        let theirs = tar::Header::from_byte_slice(&block);
        assert_eq!(theirs.path().unwrap().to_str(), Some("packs/0001.zst"));
        assert_eq!(theirs.size().unwrap(), 1234);
        assert_eq!(theirs.mode().unwrap(), 0o644);
        assert_eq!(theirs.entry_type(), tar::EntryType::Regular);
        let sum: u32 = block
            .iter()
            .enumerate()
            .map(|(i, &b)| if (148..156).contains(&i) { 32 } else { u32::from(b) })
            .sum();
        assert_eq!(theirs.cksum().unwrap(), sum);
    }

    proptest! {
        #[test]
        fn one_header_for_a_name_and_size(size in 0..SIZE_LIMIT, flip in 0usize..512, bit in 0u8..8) {
            let block = header("a/b", size);
            prop_assert_eq!(parse(&block).unwrap(), ("a/b".to_owned(), size));
            let mut changed = block;
            changed[flip] ^= 1 << bit;
            // Another header may be canonical too, but never for the same member.
            if let Ok(other) = parse(&changed) {
                prop_assert_ne!(other, ("a/b".to_owned(), size));
            }
        }
    }
}
