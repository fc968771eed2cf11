//! Reading a bundle: signature first, then the index, then whatever is asked for, each proven.
//!
//! Nothing is unpacked to disk and nothing is trusted twice: a pack is hashed and unpacked from
//! the same buffer, so a medium that changes between two reads changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read, Take, Write};
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::copylist::{self, Instruction};
use super::index::{self, Class, Index};
use super::member::{self, BLOCK};
use super::packs::{Packs, with_packs};
use super::{SIGNATURE_LIMIT, SIGNATURES_LIMIT, SUMS_LIMIT, TEXT_LIMIT, WINDOW_LOG_LIMIT};
use crate::digest::{Digest, Hashing};
use crate::error::{Error, Kind, Result};
use crate::manifest::{ImageEntry, Manifest};
use crate::progress::Progress;
use crate::trust::{self, Key, Signer, Sums};

/// The member that everything hangs from.
pub const SUMS: &str = "SHA256SUMS";

/// The remedy for a bundle that is not what was signed.
const COPY_AGAIN: &str = "copy the bundle to the medium again, or use another medium";

/// The remedy for what does not begin like a bundle.
const NOT_A_BUNDLE: &str =
    "name the file that ends in .ldms; if this is it, copy it to the medium again";

/// A bundle whose signature was checked with a trusted key, and whose index and manifest are
/// what was signed. Its other members are proven when they are read.
pub struct Bundle {
    file: Medium,
    sums: Sums,
    index: Index,
    offsets: Vec<u64>,
    manifest: Manifest,
}

/// Which part of a bundle.
#[derive(Clone, Copy, Debug)]
pub enum Share<'a> {
    /// All of it, to the last byte of padding.
    All,
    /// The texts, and what these images need.
    Images(&'a [&'a ImageEntry]),
}

/// What [`Bundle::verify`] has proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Verified {
    /// Members whose digest is the signed one.
    pub members: usize,
    /// Bytes of them, headers and padding included.
    pub bytes: u64,
}

/// The file a bundle lies in, read by position.
struct Medium {
    file: File,
    length: u64,
    place: PathBuf,
}

impl Medium {
    fn open(path: &Path) -> Result<Self> {
        let file = crate::named::open(path)?;
        let length = file
            .metadata()
            .map_err(|e| Error::failed("cannot read its size").at(path.display()).because(e))?
            .len();
        Ok(Medium { file, length, place: path.to_owned() })
    }

    /// Fills `buffer` from `at` on; `what` is being read.
    fn read(&self, buffer: &mut [u8], at: u64, what: &str) -> Result<()> {
        let end = at.saturating_add(buffer.len() as u64);
        if end > self.length {
            return Err(Error::refused(format!(
                "the bundle is truncated: it ends at byte {}, {what} goes to byte {end}",
                self.length
            ))
            .at(self.place.display())
            .remedy(COPY_AGAIN));
        }
        self.file.read_exact_at(buffer, at).map_err(|e| {
            Error::failed(format!("cannot read {what} at byte {at}"))
                .at(self.place.display())
                .because(e)
                .remedy("the medium may be failing or was pulled out: try again, or another one")
        })
    }

    /// The header at `at`, which must be canonical; gives name and size.
    fn header(&self, at: u64) -> Result<(String, u64)> {
        let mut block = [0; BLOCK as usize];
        if at == 0 && self.length < BLOCK {
            let short = Error::refused(format!("it has only {} bytes", self.length));
            return Err(self.not_a_bundle(at, short));
        }
        self.read(&mut block, at, "a tar header")?;
        member::parse(&block).map_err(|e| self.not_a_bundle(at, e))
    }

    fn not_a_bundle(&self, at: u64, reason: Error) -> Error {
        let what = if at == 0 {
            "this is not a bundle".to_owned()
        } else {
            format!("the bundle is damaged at byte {at}")
        };
        let remedy = if at == 0 { NOT_A_BUNDLE } else { COPY_AGAIN };
        Error::refused(what).at(self.place.display()).because(reason).remedy(remedy)
    }

    /// The whole member at `at`: its header must be the one of `name` and `size`, its padding
    /// zeros. What is between them is *not* proven yet.
    fn member(&self, at: u64, name: &str, size: u64) -> Result<Vec<u8>> {
        let mut buffer = vec![0; member::span(size) as usize];
        self.read(&mut buffer, at, name)?;
        let data_end = (BLOCK + size) as usize;
        if buffer[..BLOCK as usize] != member::header(name, size)[..] {
            return Err(Error::refused(format!("the tar header of {name} is not the signed one"))
                .at(self.place.display())
                .remedy(COPY_AGAIN));
        }
        if buffer[data_end..].iter().any(|&b| b != 0) {
            return Err(Error::refused(format!("the padding after {name} is damaged"))
                .at(self.place.display())
                .remedy(COPY_AGAIN));
        }
        buffer.truncate(data_end);
        buffer.drain(..BLOCK as usize);
        Ok(buffer)
    }

    /// The member at `at` if its name passes `wanted` and its size is at most `limit`.
    fn early(&self, at: u64, wanted: impl Fn(&str) -> bool, limit: u64) -> Result<Option<Early>> {
        let (name, size) = self.header(at)?;
        if !wanted(&name) {
            return Ok(None);
        }
        if size > limit {
            return Err(Error::refused(format!("{name} is too large: {size} bytes"))
                .at(self.place.display()));
        }
        let bytes = self.member(at, &name, size)?;
        Ok(Some(Early { next: at + member::span(size), name, bytes }))
    }
}

/// A member read before anything was proven.
struct Early {
    name: String,
    bytes: Vec<u8>,
    next: u64,
}

/// `SHA256SUMS.minisig`, the first signature, or `SHA256SUMS.LABEL.minisig`, a further one.
fn is_signature(name: &str, first: bool) -> bool {
    let label = name.strip_prefix("SHA256SUMS.").and_then(|rest| rest.strip_suffix("minisig"));
    match label {
        None => false,
        Some("") => first,
        Some(label) => label.strip_suffix('.').is_some_and(|label| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
            !first && !label.is_empty() && label.bytes().all(plain)
        }),
    }
}

fn text(name: &str, bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|_| Error::refused(format!("{name} is not text")))
}

impl Bundle {
    /// Opens the bundle at `path`: its checksums must be signed by one of `keys`.
    ///
    /// # Errors
    /// `Refused` where signature, digest or form are not right; `Failed` where reading fails.
    pub fn open(path: &Path, keys: &[Key]) -> Result<(Self, Signer)> {
        let file = Medium::open(path)?;
        let place = path.display().to_string();
        let trusted = || {
            let (front, at, signatures) = Self::front(&file)?;
            let (sums, signer) = Sums::verified(&front.bytes, &signatures, keys)?;
            Ok((sums, signer, at))
        };
        let refused = |e: Error| match e.kind() {
            Kind::Refused => e.within(&place).remedy(COPY_AGAIN),
            _ => e.within(&place),
        };
        let (sums, signer, at) = trusted().map_err(refused)?;
        Ok((Self::after_trust(file, sums, at).map_err(refused)?, signer))
    }

    /// The packer's look at what it is about to sign: everything but the signature.
    #[cfg(feature = "pack")]
    pub(crate) fn open_own(path: &Path) -> Result<Self> {
        let file = Medium::open(path)?;
        let (front, at, _) = Self::front(&file)?;
        let sums = Sums::of_own(&front.bytes)?;
        Self::after_trust(file, sums, at)
    }

    /// The checksums and signatures in front, not proven, and where the index stands.
    fn front(file: &Medium) -> Result<(Early, u64, Vec<trust::File>)> {
        let not_first = || {
            Error::refused("this is not a bundle: it does not begin with SHA256SUMS")
                .at(file.place.display())
        };
        let front = file.early(0, |name| name == SUMS, SUMS_LIMIT)?.ok_or_else(not_first)?;
        let mut at = front.next;
        let mut signatures = Vec::new();
        loop {
            let first = signatures.is_empty();
            let wanted = |name: &str| is_signature(name, first);
            let Some(early) = file.early(at, wanted, SIGNATURE_LIMIT)? else { break };
            if signatures.len() == SIGNATURES_LIMIT {
                return Err(
                    Error::refused("the bundle has too many signatures").at(file.place.display())
                );
            }
            if signatures.iter().any(|known: &trust::File| known.name == early.name) {
                return Err(Error::refused(format!("{} is there twice", early.name))
                    .at(file.place.display()));
            }
            signatures.push(trust::File { name: early.name, bytes: early.bytes });
            at = early.next;
        }
        Ok((front, at, signatures))
    }

    fn after_trust(file: Medium, sums: Sums, at: u64) -> Result<Self> {
        let early = file.early(at, |name| name == index::NAME, TEXT_LIMIT)?.ok_or_else(|| {
            Error::refused("index.toml does not follow the signatures").at(file.place.display())
        })?;
        let bytes = sums.prove(index::NAME, early.bytes)?;
        let index = Index::parse(&text(index::NAME, bytes)?)?;
        let mut listed = index.members.iter().map(|(name, _)| name.as_str());
        let mut signed = sums.entries().iter().map(|(name, _)| name.as_str());
        if signed.next() != Some(index::NAME) || !listed.by_ref().eq(signed) {
            return Err(Error::refused("the signed checksums and the index list other members")
                .at(index::NAME));
        }
        let offsets = index.offsets(early.next);
        let end = offsets.last().copied().unwrap_or(early.next) + index::END;
        let bundle_end =
            Error::refused(format!("the bundle is {} bytes long and should be {end}", file.length))
                .at(file.place.display())
                .remedy(COPY_AGAIN);
        if file.length != end {
            return Err(bundle_end);
        }
        let name = "manifest.toml";
        let (_, size) = index
            .members
            .first()
            .filter(|(first, _)| first == name)
            .ok_or_else(|| Error::refused("the bundle has no manifest").at(index::NAME))?;
        let manifest = sums.prove(name, file.member(early.next, name, *size)?)?;
        let manifest = Manifest::parse(&text(name, manifest)?)?;
        let bundle = Bundle { file, sums, index, offsets, manifest };
        bundle.check_manifest()?;
        Ok(bundle)
    }

    /// Every image of the manifest has its configuration and layers.
    fn check_manifest(&self) -> Result<()> {
        for image in &self.manifest.image {
            self.sums.digest(&image.config_member())?;
            for diff_id in &image.layers {
                self.index.layer(diff_id)?;
            }
        }
        Ok(())
    }

    /// What is in it.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where everything is.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Its file.
    pub fn place(&self) -> &Path {
        &self.file.place
    }

    /// Its length, bytes.
    pub fn length(&self) -> u64 {
        self.file.length
    }

    /// Number of the member called `name`.
    fn number(&self, name: &str) -> Result<usize> {
        self.index.members.iter().position(|(member, _)| member == name).ok_or_else(|| {
            Error::refused(format!("{name} is not in the bundle")).at(self.file.place.display())
        })
    }

    /// A member's bytes, proven.
    fn read_number(&self, number: usize) -> Result<Vec<u8>> {
        let (name, size) = &self.index.members[number];
        let bytes = self.file.member(self.offsets[number], name, *size)?;
        self.sums.prove(name, bytes).map_err(|_| self.damage(number))
    }

    /// A member's bytes by its name, proven.
    fn read(&self, name: &str) -> Result<Vec<u8>> {
        self.read_number(self.number(name)?)
    }

    /// Says where the damage is and which images it concerns.
    fn damage(&self, number: usize) -> Error {
        let (name, _) = &self.index.members[number];
        let concerned: BTreeSet<&str> = self
            .manifest
            .image
            .iter()
            .filter(|image| self.numbers_of(image).is_ok_and(|set| set.contains(&number)))
            .map(ImageEntry::short_name)
            .collect();
        let used_by = if concerned.is_empty() {
            String::new()
        } else {
            format!(" (used by {})", concerned.into_iter().collect::<Vec<_>>().join(", "))
        };
        let place =
            format!("{} at byte {}", self.file.place.display(), self.offsets[number] + BLOCK);
        trust::damaged(&format!("{name}{used_by}")).at(place)
    }

    /// The texts of a folder, `profiles`, `units` or `config`, by member name, proven.
    pub fn texts(&self, folder: &str) -> Result<BTreeMap<String, String>> {
        let mut texts = BTreeMap::new();
        for (number, (name, _)) in self.index.members.iter().enumerate() {
            if name.split_once('/').is_some_and(|(first, _)| first == folder) {
                texts.insert(name.clone(), text(name, self.read_number(number)?)?);
            }
        }
        Ok(texts)
    }

    /// An image's configuration, byte for byte: its digest is the image ID.
    pub fn config(&self, image: &ImageEntry) -> Result<Vec<u8>> {
        let bytes = self.read(&image.config_member())?;
        if Digest::of(&bytes) != image.id {
            return Err(Error::refused(format!(
                "the configuration of {} has not its ID",
                image.name
            )));
        }
        Ok(bytes)
    }

    /// The numbers of the members that an image needs.
    fn numbers_of(&self, image: &ImageEntry) -> Result<BTreeSet<usize>> {
        let first_pack = self.index.members.len() - self.index.packs.len();
        let mut numbers = BTreeSet::from([self.number(&image.config_member())?]);
        for diff_id in &image.layers {
            numbers.insert(self.number(&index::layer_name(diff_id))?);
            let packs = &self.index.layer(diff_id)?.packs;
            numbers.extend(packs.iter().map(|&pack| first_pack + pack as usize));
        }
        Ok(numbers)
    }

    /// The numbers of a share's members, and their bytes with headers and padding.
    fn share(&self, share: Share<'_>) -> Result<(Vec<usize>, u64)> {
        let numbers: BTreeSet<usize> = match share {
            Share::All => (0..self.index.members.len()).collect(),
            Share::Images(images) => {
                let members = self.index.members.iter().enumerate();
                let mut numbers: BTreeSet<usize> = members
                    .filter(|(_, (name, _))| Class::of(name).is_some_and(|c| c <= Class::Text))
                    .map(|(number, _)| number)
                    .collect();
                for image in images {
                    numbers.extend(self.numbers_of(image)?);
                }
                numbers
            }
        };
        let bytes = numbers.iter().map(|&n| member::span(self.index.members[n].1)).sum();
        Ok((numbers.into_iter().collect(), bytes))
    }

    /// Bytes on the medium that a share takes.
    pub fn share_bytes(&self, share: Share<'_>) -> Result<u64> {
        Ok(self.share(share)?.1)
    }

    /// Proves every member of a share, on all cores; of the whole bundle also that nothing else
    /// is in it.
    /// `check` is called before every member; its error ends it.
    pub fn verify(
        &self,
        share: Share<'_>,
        check: &(dyn Fn() -> Result<()> + Sync),
        progress: &dyn Progress,
    ) -> Result<Verified> {
        const TASK: &str = "verify";
        let (numbers, bytes) = self.share(share)?;
        progress.begin(TASK, bytes);
        let next = AtomicUsize::new(0);
        let failure: Mutex<Option<(usize, Error)>> = Mutex::new(None);
        let threads = thread::available_parallelism().map_or(1, NonZero::get);
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Some(&number) = numbers.get(next.fetch_add(1, Ordering::Relaxed)) {
                        match check().and_then(|()| self.read_number(number)) {
                            Ok(_) => {
                                let size = self.index.members[number].1;
                                progress.advance(TASK, member::span(size));
                            }
                            Err(error) => {
                                next.store(numbers.len(), Ordering::Relaxed);
                                let mut first = failure
                                    .lock()
                                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                                // The lowest damage is told, whichever thread met its own first.
                                if first.as_ref().is_none_or(|(n, _)| number < *n) {
                                    *first = Some((number, error));
                                }
                            }
                        }
                    }
                });
            }
        });
        if let Some((_, error)) =
            failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
        {
            return Err(error);
        }
        if matches!(share, Share::All) {
            let mut end = [0; index::END as usize];
            self.file.read(&mut end, self.file.length - index::END, "the end")?;
            if end.iter().any(|&b| b != 0) {
                return Err(Error::refused("the end of the bundle is damaged")
                    .at(self.file.place.display())
                    .remedy(COPY_AGAIN));
            }
        }
        progress.end(TASK);
        Ok(Verified { members: numbers.len(), bytes })
    }

    /// Rebuilds `diff_ids` in turn, writing each layer's tar to `out`, with `before` and `after`
    /// called around it.
    ///
    /// # Errors
    /// As soon as a layer turns out not to have its diffID: what was written of it is worthless.
    pub fn layers<W: Write + ?Sized>(
        &self,
        diff_ids: &[Digest],
        out: &mut W,
        mut before: impl FnMut(&mut W, &index::Layer) -> Result<()>,
        mut after: impl FnMut(&mut W, &index::Layer) -> Result<()>,
        advance: &dyn Fn(u64),
    ) -> Result<()> {
        let layers = diff_ids.iter().map(|id| self.index.layer(id)).collect::<Result<Vec<_>>>()?;
        let sequence: Vec<u32> =
            layers.iter().flat_map(|layer| layer.packs.iter().copied()).collect();
        with_packs(
            &sequence,
            |pack| self.pack(pack),
            |packs| {
                for layer in &layers {
                    before(out, layer)?;
                    let mut tar = Hashing::new(&mut *out);
                    self.layer(layer, packs, &mut tar, advance)
                        .map_err(|e| e.at(index::layer_name(&layer.diff_id)))?;
                    packs.end_of_list(layer.packs.len())?;
                    let (digest, _, _) = tar.finish();
                    if digest != layer.diff_id {
                        return Err(Error::refused(format!(
                            "layer {} was rebuilt as {digest}",
                            layer.diff_id
                        ))
                        .at(self.file.place.display())
                        .remedy("pack the bundle again: its packer made a mistake"));
                    }
                    after(out, layer)?;
                }
                packs.finish()
            },
        )
    }

    /// Reads, proves and unpacks one pack.
    fn pack(&self, pack: u32) -> Result<Vec<u8>> {
        let first = self.index.members.len() - self.index.packs.len();
        let number = first + pack as usize;
        let packed = self.read_number(number)?;
        let name = &self.index.members[number].0;
        unpack(&packed, self.index.packs[pack as usize]).map_err(|e| e.at(name))
    }

    /// Follows one copy list.
    fn layer(
        &self,
        layer: &index::Layer,
        packs: &mut Packs<'_>,
        out: &mut impl Write,
        advance: &dyn Fn(u64),
    ) -> Result<()> {
        let broken = |e| Error::from_io(e, "cannot hand on the layer");
        let packed = self.read(&index::layer_name(&layer.diff_id))?;
        let mut list = list_reader(&packed, layer.list)?;
        let mut rest = layer.size;
        let mut current = None;
        let mut literal = vec![0; copylist::LITERAL_LIMIT as usize];
        while rest > 0 {
            let bytes = match copylist::get(&mut list)? {
                Instruction::Literal(bytes) => {
                    let literal = &mut literal[..bytes as usize];
                    list.read_exact(literal)
                        .map_err(|e| Error::from_io(e, "the copy list ends"))?;
                    if u64::from(bytes) <= rest {
                        out.write_all(literal).map_err(broken)?;
                    }
                    bytes
                }
                Instruction::Copy { bytes, pack, offset } => {
                    if current != Some(pack) {
                        packs.advance(pack)?;
                        current = Some(pack);
                    }
                    if u64::from(bytes) <= rest {
                        out.write_all(packs.slice(pack, offset, bytes)?).map_err(broken)?;
                    }
                    bytes
                }
            };
            rest = rest
                .checked_sub(u64::from(bytes))
                .ok_or_else(|| copylist::malformed("it makes more than the layer"))?;
            advance(u64::from(bytes));
        }
        let mut byte = [0];
        match list.read(&mut byte) {
            Ok(0) if list.get_ref().limit() == 1 => Ok(()),
            Ok(0) => Err(copylist::malformed("its size is not the signed one")),
            Ok(_) => Err(copylist::malformed("it goes on after the layer's end")),
            Err(e) => Err(Error::from_io(e, "cannot read the copy list")),
        }
    }
}

/// A pack's bytes: one zstd frame that says its size, with nothing after it.
fn unpack(packed: &[u8], size: u32) -> Result<Vec<u8>> {
    use zstd::zstd_safe;
    let refuse = |why: &str| Error::refused(format!("the pack is malformed: {why}"));
    let frame =
        zstd_safe::find_frame_compressed_size(packed).map_err(|_| refuse("no zstd frame"))?;
    if frame != packed.len() {
        return Err(refuse("something follows its frame"));
    }
    if zstd_safe::get_frame_content_size(packed).ok().flatten() != Some(u64::from(size)) {
        return Err(refuse("its frame does not say the size that the index says"));
    }
    let bytes = zstd::bulk::decompress(packed, size as usize)
        .map_err(|e| refuse("it cannot be unpacked").because(e))?;
    if bytes.len() == size as usize {
        Ok(bytes)
    } else {
        Err(refuse("its size is not the signed one"))
    }
}

type ListDecoder<'a> = zstd::stream::read::Decoder<'static, &'a [u8]>;

/// A copy list as a stream: one zstd frame of `size` bytes, with a small window.
fn list_reader(packed: &[u8], size: u64) -> Result<BufReader<Take<ListDecoder<'_>>>> {
    let broken = |e| Error::refused("the copy list cannot be unpacked").because(e);
    let frame = zstd::zstd_safe::find_frame_compressed_size(packed);
    if frame.ok() != Some(packed.len()) {
        return Err(copylist::malformed("it is not one zstd frame alone"));
    }
    let mut decoder = zstd::stream::read::Decoder::with_buffer(packed).map_err(broken)?;
    decoder.window_log_max(WINDOW_LOG_LIMIT).map_err(broken)?;
    // One byte more than signed shows a list that is too long.
    Ok(BufReader::with_capacity(64 << 10, decoder.take(size + 1)))
}
