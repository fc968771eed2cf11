//! Learning a layer: what is in it, in pieces that other layers may have as well.
//!
//! A small walker over tar headers finds the data of regular files; those are *contents*. All
//! else is literal: headers, padding, and whatever the walker does not understand, which costs
//! bytes in the bundle and never correctness. Large files, and long runs of literals, are cut
//! where their own bytes say so (`FastCDC`), so that two versions of a file share what is the same.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};

use super::copylist::{LITERAL_LIMIT, get_varint, put_varint};
use super::member::BLOCK;
use crate::digest::{Digest, Hashing};
use crate::error::{Error, Result};

/// Files at least this large are cut, bytes; also the size that pieces have on average.
const AVERAGE: u32 = 256 << 10;
/// The smallest piece, bytes.
const SMALLEST: u32 = 64 << 10;
/// The largest piece, bytes: four times the average.
const LARGEST: u32 = 1 << 20;

/// A piece of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Literal bytes.
    Literal(&'a [u8]),
    /// A content, known by its digest.
    Content(Digest, u32),
}

/// What was learned of a layer: its pieces, in a file without a name, and what they come to.
pub struct Recipe {
    spool: File,
    /// Digest of the layer's tar.
    pub diff_id: Digest,
    /// Bytes of the layer's tar.
    pub size: u64,
    /// Every content in order, with its bytes: what the packer decides upon.
    pub contents: Vec<(Digest, u32)>,
    /// `etc/passwd`, as this layer has it.
    pub passwd: Option<Vec<u8>>,
}

/// Reads a layer's tar to its end. The spool lies in `scratch`.
pub fn learn(tar: impl Read, scratch: &Path, advance: &dyn Fn(u64)) -> Result<Recipe> {
    let broken = |e| Error::from_io(e, "cannot read the layer");
    let mut walker = Walker::new(scratch)?;
    let mut tar = Hashing::new(tar);
    let mut block = [0; BLOCK as usize];
    // Once something is not understood, nothing after it can be: the rest is one run.
    let mut understood = true;
    loop {
        let got = fill(&mut tar, &mut block).map_err(broken)?;
        walker.literal(&block[..got])?;
        if got < block.len() {
            break;
        }
        advance(BLOCK);
        let Some((kind, size)) = understood.then(|| file_in(&block)).flatten() else {
            understood &= block.iter().all(|&b| b == 0);
            continue;
        };
        match kind {
            Data::Content => walker.content(&mut tar, size, is_passwd(&block), advance)?,
            Data::Literal => {
                let mut data = (&mut tar).take(size);
                let mut buffer = [0; 8 << 10];
                loop {
                    let n = data.read(&mut buffer).map_err(broken)?;
                    if n == 0 {
                        break;
                    }
                    advance(n as u64);
                    walker.literal(&buffer[..n])?;
                }
            }
        }
        let mut padding = [0; BLOCK as usize];
        let padding = &mut padding[..super::member::padding(size) as usize];
        let got = fill(&mut tar, padding).map_err(broken)?;
        advance(got as u64);
        walker.literal(&padding[..got])?;
    }
    let (diff_id, size, _) = tar.finish();
    walker.finish(diff_id, size)
}

/// Reads until `buffer` is full or the input ends.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut got = 0;
    while got < buffer.len() {
        match input.read(&mut buffer[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}

/// What the data after a header is for us.
enum Data {
    Content,
    Literal,
}

/// The bytes of data that follow a header, if it is one whose checksum holds.
fn file_in(block: &[u8; BLOCK as usize]) -> Option<(Data, u64)> {
    let header = tar::Header::from_byte_slice(block);
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(i, &b)| if (148..156).contains(&i) { 32 } else { u32::from(b) })
        .sum();
    if header.cksum().ok()? != sum {
        return None;
    }
    let size = header.entry_size().ok()?;
    Some(match header.entry_type() {
        tar::EntryType::Regular | tar::EntryType::Continuous => (Data::Content, size),
        // Links, directories and devices have no data, whatever their size field says.
        tar::EntryType::Link
        | tar::EntryType::Symlink
        | tar::EntryType::Char
        | tar::EntryType::Block
        | tar::EntryType::Directory
        | tar::EntryType::Fifo => (Data::Literal, 0),
        _ => (Data::Literal, size),
    })
}

fn is_passwd(block: &[u8; BLOCK as usize]) -> bool {
    let path = tar::Header::from_byte_slice(block).path_bytes().into_owned();
    matches!(&path[..], b"etc/passwd" | b"./etc/passwd" | b"/etc/passwd")
}

/// Cuts what it is given into pieces and spools them.
struct Walker {
    spool: zstd::Encoder<'static, File>,
    /// where it lies, for messages
    scratch: PathBuf,
    contents: Vec<(Digest, u32)>,
    literals: Vec<u8>,
    passwd: Option<Vec<u8>>,
    buffer: Vec<u8>,
}

impl Walker {
    fn new(scratch: &Path) -> Result<Self> {
        let spool =
            zstd::Encoder::new(self::scratch(scratch)?, 1).map_err(|e| unwritable(scratch, e))?;
        Ok(Walker {
            spool,
            scratch: scratch.to_owned(),
            contents: Vec::new(),
            literals: Vec::new(),
            passwd: None,
            buffer: Vec::new(),
        })
    }

    fn literal(&mut self, bytes: &[u8]) -> Result<()> {
        self.literals.extend_from_slice(bytes);
        while self.literals.len() >= LARGEST as usize {
            let cut = cut(&self.literals);
            let rest = self.literals.split_off(cut);
            let content = std::mem::replace(&mut self.literals, rest);
            self.put_content(&content)?;
        }
        Ok(())
    }

    /// Ends a run of literals.
    fn flush(&mut self) -> Result<()> {
        let mut literals = std::mem::take(&mut self.literals);
        if literals.len() > LITERAL_LIMIT as usize {
            let mut rest = &literals[..];
            while rest.len() > LITERAL_LIMIT as usize {
                let (content, after) = rest.split_at(cut(rest));
                self.put_content(content)?;
                rest = after;
            }
            literals = rest.to_vec();
        }
        if !literals.is_empty() {
            let mut head = Vec::new();
            put_varint(&mut head, (literals.len() as u64) << 1);
            self.put(&head)?;
            self.put(&literals)?;
        }
        literals.clear();
        self.literals = literals;
        Ok(())
    }

    /// The data of a file of `size` bytes.
    fn content(
        &mut self,
        tar: &mut impl Read,
        size: u64,
        passwd: bool,
        advance: &dyn Fn(u64),
    ) -> Result<()> {
        if size == 0 {
            return Ok(());
        }
        self.flush()?;
        let mut rest = size;
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        loop {
            let want = rest.min(u64::from(LARGEST) - buffer.len() as u64);
            let got = tar
                .by_ref()
                .take(want)
                .read_to_end(&mut buffer)
                .map_err(|e| Error::from_io(e, "cannot read the layer"))?;
            advance(got as u64);
            rest -= got as u64;
            // A tar that ends inside a file is packed as it is; the diffID decides about it.
            if (got as u64) < want {
                rest = 0;
            }
            if buffer.is_empty() {
                break;
            }
            let cut = if size < u64::from(AVERAGE) { buffer.len() } else { cut(&buffer) };
            if passwd && size < u64::from(AVERAGE) {
                self.passwd = Some(buffer.clone());
            }
            self.put_content(&buffer[..cut])?;
            buffer.drain(..cut);
            if rest == 0 && buffer.is_empty() {
                break;
            }
        }
        self.buffer = buffer;
        Ok(())
    }

    fn put_content(&mut self, bytes: &[u8]) -> Result<()> {
        let digest = Digest::of(bytes);
        let size = bytes.len() as u32;
        let mut head = Vec::new();
        put_varint(&mut head, u64::from(size) << 1 | 1);
        head.extend_from_slice(digest.bytes());
        self.put(&head)?;
        self.contents.push((digest, size));
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.spool.write_all(bytes).map_err(|e| unwritable(&self.scratch, e))
    }

    fn finish(mut self, diff_id: Digest, size: u64) -> Result<Recipe> {
        self.flush()?;
        let spool = self.spool.finish().map_err(|e| unwritable(&self.scratch, e))?;
        Ok(Recipe { spool, diff_id, size, contents: self.contents, passwd: self.passwd })
    }
}

/// Where the first piece of `bytes` ends. Depends on at most [`LARGEST`] bytes.
fn cut(bytes: &[u8]) -> usize {
    let chunker =
        fastcdc::v2020::FastCDC::new(bytes, SMALLEST as usize, AVERAGE as usize, LARGEST as usize);
    chunker.cut(0, bytes.len()).1
}

/// A file in the directory for scratch that is gone when it is closed.
pub fn scratch(directory: &Path) -> Result<File> {
    tempfile::tempfile_in(directory).map_err(|e| unwritable(directory, e))
}

fn unwritable(scratch: &Path, error: io::Error) -> Error {
    Error::host("cannot write a scratch file")
        .at(scratch.display())
        .because(error)
        .remedy("name another directory with --scratch DIR, or make room there")
}

impl Recipe {
    /// Goes through the pieces in order.
    pub fn replay(&self, mut each: impl FnMut(Piece<'_>) -> Result<()>) -> Result<()> {
        let broken = |e| Error::from_io(e, "cannot read scratch");
        let mut spool = &self.spool;
        spool.rewind().map_err(broken)?;
        let decoder = zstd::Decoder::new(spool).map_err(broken)?;
        let mut input = BufReader::new(decoder);
        let mut rest = self.size;
        let mut bytes = vec![0; LITERAL_LIMIT as usize];
        while rest > 0 {
            let head = get_varint(&mut input)?;
            let size = head >> 1;
            rest = rest.saturating_sub(size);
            if head & 1 == 1 {
                let mut digest = [0; 32];
                input.read_exact(&mut digest).map_err(broken)?;
                // Written from a u32 by put_content above.
                each(Piece::Content(Digest::from_bytes(digest), size as u32))?;
            } else {
                let bytes = &mut bytes[..size as usize];
                input.read_exact(bytes).map_err(broken)?;
                each(Piece::Literal(bytes))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a recipe says, put together from the contents of `tar` itself.
    fn rebuilt(tar: &[u8]) -> (Vec<u8>, Recipe) {
        let recipe = learn(tar, &std::env::temp_dir(), &|_| ()).unwrap();
        assert_eq!((recipe.diff_id, recipe.size), (Digest::of(tar), tar.len() as u64));
        let mut out = Vec::new();
        recipe
            .replay(|piece| {
                match piece {
                    Piece::Literal(bytes) => {
                        assert!(bytes.len() <= LITERAL_LIMIT as usize);
                        out.extend_from_slice(bytes);
                    }
                    Piece::Content(digest, size) => {
                        let bytes = &tar[out.len()..out.len() + size as usize];
                        assert_eq!(Digest::of(bytes), digest);
                        out.extend_from_slice(bytes);
                    }
                }
                Ok(())
            })
            .unwrap();
        (out, recipe)
    }

    fn tar_of(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            tar.append_data(&mut header, name, &bytes[..]).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn noise(n: usize, seed: u32) -> Vec<u8> {
        let mut x = seed | 1;
        (0..n)
            .map(|_| {
                x ^= x << 13;
                x ^= x >> 17;
                x ^= x << 5;
                x as u8
            })
            .collect()
    }

    #[test]
    fn files_become_contents() {
        let files = [
            ("a", b"one".to_vec()),
            ("etc/passwd", b"munge:x:101:101::/:/bin/false\n".to_vec()),
            ("empty", Vec::new()),
            ("big", noise(3 << 20, 7)),
            (&"long/".repeat(40), b"name in a longlink entry".to_vec()),
        ];
        let tar = tar_of(&files);
        let (out, recipe) = rebuilt(&tar);
        assert!(out == tar);
        assert_eq!(recipe.passwd.as_deref(), Some(&files[1].1[..]));
        assert_eq!(recipe.contents[0], (Digest::of(b"one"), 3));
        let sizes: Vec<u32> = recipe.contents.iter().map(|&(_, size)| size).collect();
        assert!(sizes.iter().all(|&size| size <= LARGEST));
        assert!(sizes.len() > 6, "the large file is cut: {sizes:?}");
    }

    #[test]
    fn an_insertion_changes_few_pieces() {
        let a = noise(4 << 20, 3);
        let mut b = a.clone();
        b.splice(1_000_000..1_000_000, *b"inserted");
        let (_, a) = rebuilt(&tar_of(&[("f", a)]));
        let (_, b) = rebuilt(&tar_of(&[("f", b)]));
        let new = b.contents.iter().filter(|c| !a.contents.contains(c)).count();
        assert!(new <= 3, "{new} of {}", b.contents.len());
    }

    #[test]
    fn what_is_no_tar_is_packed_all_the_same() {
        for bytes in [
            Vec::new(),
            b"short".to_vec(),
            noise(100_000, 1),
            noise(5 << 20, 2),
            tar_of(&[("cut", noise(300_000, 4))])[..200_000].to_vec(),
            [tar_of(&[("a", noise(10, 4))]), noise(2 << 20, 9)].concat(),
        ] {
            assert!(rebuilt(&bytes).0 == bytes);
        }
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..5000)) {
            prop_assert!(rebuilt(&bytes).0 == bytes);
        }
    }
}
