//! Writing a bundle: packs go to their place once, compressed on all cores; the front, whose
//! length is known beforehand, follows when their digests are; the signature comes last, after
//! every layer was rebuilt from what stands in the file.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use super::WINDOW_LOG_LIMIT;
use super::copylist::{self, Instruction};
use super::grouping::{self, Grouping, Images};
use super::index::{self, Index, Layer, layer_name, pack_name};
use super::member::{self, BLOCK};
use super::reader::{Bundle, SUMS, Share};
use super::recipe::{Piece, Recipe};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::progress::Progress;

/// A layer to be written: what was learned of it, who uses it, and how to read it again.
pub struct Source<'a> {
    /// What [`super::recipe::learn`] found.
    pub recipe: Recipe,
    /// The images it belongs to.
    pub images: Images,
    /// Opens the layer's tar from its beginning.
    pub open: Box<dyn Fn() -> Result<Box<dyn Read + Send + 'a>> + Sync + 'a>,
}

/// What goes in beside layers, and how.
pub struct Contents<'a, 'b> {
    /// `manifest.toml`, texts and image configurations: member name and bytes, in order.
    pub members: Vec<(String, Vec<u8>)>,
    /// Layers in the order of first use.
    pub layers: &'a [Source<'b>],
    /// zstd level.
    pub level: i32,
    /// Threads that compress.
    pub threads: usize,
}

/// Makes the signature when the checksums are final.
pub trait Signer {
    /// Bytes that the signature will have, whatever it signs.
    fn size(&self) -> u64;
    /// The signature over `message`, in minisign's form.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>>;
}

/// What was written.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Written {
    /// Bytes of the bundle.
    pub bytes: u64,
    /// Bytes of all contents, each once, before compression.
    pub distinct: u64,
    /// Packs.
    pub packs: usize,
    /// The digest of SHA256SUMS: equal input gives equal sums.
    pub sums: Digest,
}

/// Writes the bundle to `file`, which is at `path` and empty. On an error what is in `file` is
/// worthless; the caller removes it. `cancelled` is looked at often.
pub fn write(
    file: File,
    path: &Path,
    contents: &Contents<'_, '_>,
    signer: &dyn Signer,
    cancelled: &AtomicBool,
    progress: &dyn Progress,
) -> Result<Written> {
    let borrowed: Vec<(Images, &[(Digest, u32)])> =
        contents.layers.iter().map(|l| (l.images, &l.recipe.contents[..])).collect();
    let grouping = grouping::group(&borrowed);
    drop(borrowed);

    let mut plan = Layout::new(contents, &grouping)?;
    let mut out = Output { file, path, at: plan.body_at(signer.size()) };
    for (name, bytes) in &plan.texts {
        plan.digests.insert(name.clone(), out.member(name, bytes)?);
    }
    write_packs(&mut out, &mut plan, contents, &grouping, cancelled, progress)?;
    out.put(&[0; index::END as usize])?;
    let bytes = out.at;

    let sums = plan.write_front(&mut out, None, signer.size())?;
    out.sync()?;
    prove(path, contents, cancelled, progress)?;
    let signature = signer.sign(&sums)?;
    if signature.len() as u64 != signer.size() {
        return Err(Error::failed("the signature has not the size it was said to have"));
    }
    plan.write_front(&mut out, Some(&signature), signer.size())?;
    out.sync()?;
    Ok(Written {
        bytes,
        distinct: grouping.packs.iter().map(|&size| u64::from(size)).sum(),
        packs: grouping.packs.len(),
        sums: Digest::of(&sums),
    })
}

/// What the bundle will look like, filled in as it becomes known.
struct Layout {
    /// Members before the packs, with their bytes.
    texts: Vec<(String, Vec<u8>)>,
    index: Index,
    digests: HashMap<String, Digest>,
    first_pack: usize,
}

/// The oldest installer that reads what this packer writes.
const NEEDS_INSTALLER: &str = "0.1.0";

impl Layout {
    fn new(contents: &Contents<'_, '_>, grouping: &Grouping) -> Result<Self> {
        let mut texts = contents.members.clone();
        let mut layers = Vec::new();
        for source in contents.layers {
            let (layer, list) = copy_list(&source.recipe, grouping, contents.level)?;
            texts.push((layer_name(&layer.diff_id), list));
            layers.push(layer);
        }
        let mut members: Vec<(String, u64)> =
            texts.iter().map(|(name, bytes)| (name.clone(), bytes.len() as u64)).collect();
        let first_pack = members.len();
        members.extend((0..grouping.packs.len()).map(|n| (pack_name(n), 0)));
        for (name, _) in &members {
            member::check_name(name)?;
        }
        let index = Index {
            needs_installer: NEEDS_INSTALLER.into(),
            members,
            packs: grouping.packs.clone(),
            layers,
        };
        Ok(Layout { texts, index, digests: HashMap::new(), first_pack })
    }

    /// Bytes of SHA256SUMS: a digest, two blanks, the name and a line's end for every member.
    fn sums_size(&self) -> u64 {
        let line = |name: &str| 64 + 2 + name.len() as u64 + 1;
        line(index::NAME) + self.index.members.iter().map(|(name, _)| line(name)).sum::<u64>()
    }

    /// Where the first member after the index begins.
    fn body_at(&self, signature: u64) -> u64 {
        let index = self.index.to_toml().len() as u64;
        [self.sums_size(), signature, index].into_iter().map(member::span).sum()
    }

    /// Writes checksums, signature (zeros until there is one) and index; gives the checksums.
    fn write_front(
        &self,
        out: &mut Output<'_>,
        signature: Option<&[u8]>,
        size: u64,
    ) -> Result<Vec<u8>> {
        use std::fmt::Write as _;
        let index = self.index.to_toml().into_bytes();
        let mut sums = format!("{}  {}\n", Digest::of(&index).hex(), index::NAME);
        for (name, _) in &self.index.members {
            let digest = self
                .digests
                .get(name)
                .ok_or_else(|| Error::failed(format!("{name} was never written")))?;
            // Writing to a String cannot fail.
            let _ = writeln!(sums, "{}  {name}", digest.hex());
        }
        let sums = sums.into_bytes();
        let end = out.at;
        out.at = 0;
        out.member(SUMS, &sums)?;
        let empty = vec![0; size as usize];
        out.member(&format!("{SUMS}.minisig"), signature.unwrap_or(&empty))?;
        out.member(index::NAME, &index)?;
        out.at = end;
        Ok(sums)
    }
}

/// A layer's copy list, compressed, and its entry in the index.
fn copy_list(recipe: &Recipe, grouping: &Grouping, level: i32) -> Result<(Layer, Vec<u8>)> {
    let broken = |e| Error::from_io(e, "cannot compress a copy list");
    let mut encoder = zstd::Encoder::new(Vec::new(), level).map_err(broken)?;
    encoder.window_log(WINDOW_LOG_LIMIT).map_err(broken)?;
    let mut packs = Vec::new();
    let mut list = 0;
    let mut head = Vec::new();
    recipe.replay(|piece| {
        head.clear();
        let literal = match piece {
            Piece::Literal(bytes) => {
                // Runs are cut at LITERAL_LIMIT by the walker.
                copylist::put(&mut head, Instruction::Literal(bytes.len() as u32));
                bytes
            }
            Piece::Content(digest, bytes) => {
                let place = grouping.places.get(&digest).ok_or_else(|| {
                    Error::failed(format!("content {digest} was learned and has no place"))
                })?;
                if packs.last() != Some(&place.pack) {
                    packs.push(place.pack);
                }
                let (pack, offset) = (place.pack, place.offset);
                copylist::put(&mut head, Instruction::Copy { bytes, pack, offset });
                &[]
            }
        };
        list += (head.len() + literal.len()) as u64;
        encoder.write_all(&head).and_then(|()| encoder.write_all(literal)).map_err(broken)
    })?;
    let compressed = encoder.finish().map_err(broken)?;
    if compressed.len() as u64 > index::LIST_LIMIT {
        return Err(Error::failed(format!("layer {} has too many files", recipe.diff_id)));
    }
    Ok((Layer { diff_id: recipe.diff_id, size: recipe.size, list, packs }, compressed))
}

/// The file being written.
struct Output<'a> {
    file: File,
    path: &'a Path,
    at: u64,
}

impl Output<'_> {
    fn broken(&self, error: io::Error) -> Error {
        let remedy = match error.kind() {
            io::ErrorKind::StorageFull => "make room on the medium, or use a larger one",
            io::ErrorKind::FileTooLarge => crate::medium::TOO_LARGE,
            _ => "the medium may be failing: try another one",
        };
        Error::failed("cannot write the bundle")
            .at(self.path.display())
            .because(error)
            .remedy(remedy)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .seek(SeekFrom::Start(self.at))
            .and_then(|_| self.file.write_all(bytes))
            .map_err(|e| self.broken(e))?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn member(&mut self, name: &str, bytes: &[u8]) -> Result<Digest> {
        let size = bytes.len() as u64;
        self.put(&member::header(name, size))?;
        self.put(bytes)?;
        self.put(&[0; BLOCK as usize][..member::padding(size) as usize])?;
        Ok(Digest::of(bytes))
    }

    fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(|e| self.broken(e))
    }
}

/// Streams the layers once more, fills packs, compresses and writes them in their order.
fn write_packs(
    out: &mut Output<'_>,
    plan: &mut Layout,
    contents: &Contents<'_, '_>,
    grouping: &Grouping,
    cancelled: &AtomicBool,
    progress: &dyn Progress,
) -> Result<()> {
    const TASK: &str = "compress";
    let threads = contents.threads.max(1);
    progress.begin(TASK, grouping.packs.iter().map(|&n| u64::from(n)).sum());
    // A pack is in flight from being full to being written; this bounds the memory.
    let in_flight = threads * 2 + 2;
    let (full, jobs) = mpsc::sync_channel::<(usize, Vec<u8>)>(in_flight);
    let jobs = Mutex::new(jobs);
    let (done, results) = mpsc::channel::<(usize, usize, Result<Vec<u8>>)>();
    let (give, permits) = mpsc::sync_channel::<()>(in_flight);
    for _ in 0..in_flight {
        // Capacity is in_flight and nothing else was sent.
        let _ = give.send(());
    }
    thread::scope(|scope| {
        for _ in 0..threads {
            let done = done.clone();
            let jobs = &jobs;
            scope.spawn(move || {
                loop {
                    let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((number, raw)) = job else { return };
                    // What waits here is minutes of work at the highest levels.
                    let packed = if cancelled.load(Ordering::Relaxed) {
                        Err(interrupted())
                    } else {
                        compress(&raw, contents.level)
                    };
                    if done.send((number, raw.len(), packed)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        let reading = scope.spawn(move || {
            let result = fill_packs(contents, grouping, cancelled, |number, raw| {
                // Either end is gone only when the writer has failed and tells why.
                permits.recv().is_ok() && full.send((number, raw)).is_ok()
            });
            drop(full);
            result
        });
        let mut waiting = BTreeMap::new();
        let mut next = 0;
        let written = results.iter().try_for_each(|(number, raw, packed)| {
            waiting.insert(number, (raw, packed?));
            while let Some((raw, packed)) = waiting.remove(&next) {
                let name = pack_name(next);
                let digest = out.member(&name, &packed)?;
                plan.index.members[plan.first_pack + next].1 = packed.len() as u64;
                plan.digests.insert(name, digest);
                progress.advance(TASK, raw as u64);
                next += 1;
                // The reader may have ended already.
                let _ = give.send(());
            }
            Ok(())
        });
        // Lets the others end where writing failed.
        drop((give, results));
        let read = reading.join().unwrap_or_else(|_| Err(Error::failed("reading layers failed")));
        written.and(read)
    })?;
    progress.end(TASK);
    Ok(())
}

fn compress(raw: &[u8], level: i32) -> Result<Vec<u8>> {
    use zstd::zstd_safe::CParameter;
    zstd::bulk::Compressor::new(level)
        .and_then(|mut compressor| {
            compressor.set_parameter(CParameter::WindowLog(WINDOW_LOG_LIMIT))?;
            compressor.compress(raw)
        })
        .map_err(|e| Error::failed("cannot compress a pack").because(e))
}

/// Reads the layers that have something new in them and hands on every pack as it gets full.
/// Ends where `hand_on` says that nobody wants more: then the writer has failed, and says why.
fn fill_packs(
    contents: &Contents<'_, '_>,
    grouping: &Grouping,
    cancelled: &AtomicBool,
    hand_on: impl Fn(usize, Vec<u8>) -> bool,
) -> Result<()> {
    let mut open: HashMap<u32, Vec<u8>> = HashMap::new();
    let mut taken: HashSet<Digest> = HashSet::new();
    for source in contents.layers {
        if source.recipe.contents.iter().all(|(digest, _)| taken.contains(digest)) {
            continue;
        }
        let mut tar = (source.open)()?;
        let mut buffer = Vec::new();
        source.recipe.replay(|piece| {
            if cancelled.load(Ordering::Relaxed) {
                return Err(interrupted());
            }
            let (size, new) = match piece {
                Piece::Literal(bytes) => (bytes.len(), None),
                Piece::Content(digest, size) => {
                    (size as usize, taken.insert(digest).then_some(digest))
                }
            };
            buffer.resize(size, 0);
            tar.read_exact(&mut buffer).map_err(|e| changed(&source.recipe, e))?;
            let Some(place) = new.and_then(|digest| grouping.places.get(&digest)) else {
                return Ok(());
            };
            let whole = grouping.packs[place.pack as usize] as usize;
            let pack = open.entry(place.pack).or_insert_with(|| Vec::with_capacity(whole));
            pack.extend_from_slice(&buffer);
            if pack.len() == whole {
                let pack = open.remove(&place.pack).unwrap_or_default();
                if !hand_on(place.pack as usize, pack) {
                    return Err(interrupted());
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Reading a layer a second time gave something else.
fn changed(recipe: &Recipe, error: io::Error) -> Error {
    Error::from_io(error, format!("layer {} could not be read a second time", recipe.diff_id))
        .remedy("let nothing change the images while they are packed")
}

/// The user wants to stop.
pub fn interrupted() -> Error {
    Error::failed("interrupted").remedy("nothing was left under the bundle's name; run it again")
}

/// Layers rebuilt at once: each takes up to ten packs of memory, and fetches ahead with threads
/// of its own.
const REBUILDERS: usize = 4;

/// Rebuilds every layer from the file and checks all else in it, as a reader will.
fn prove(
    path: &Path,
    contents: &Contents<'_, '_>,
    cancelled: &AtomicBool,
    progress: &dyn Progress,
) -> Result<()> {
    const TASK: &str = "rebuild";
    let bundle = Bundle::open_own(path)?;
    bundle.verify(Share::Images(&[]), &|| Ok(()), &crate::progress::Quiet)?;
    for image in &bundle.manifest().image {
        bundle.config(image)?;
    }
    progress.begin(TASK, contents.layers.iter().map(|layer| layer.recipe.size).sum());
    let next = AtomicUsize::new(0);
    let threads = contents.threads.clamp(1, REBUILDERS);
    let failures = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    while let Some(layer) =
                        contents.layers.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        if cancelled.load(Ordering::Relaxed) {
                            return Err(interrupted());
                        }
                        bundle.layers(
                            &[layer.recipe.diff_id],
                            &mut io::sink(),
                            |_, _| Ok(()),
                            |_, _| Ok(()),
                            &|bytes| progress.advance(TASK, bytes),
                        )?;
                    }
                    Ok(())
                })
            })
            .collect();
        let join = |worker: thread::ScopedJoinHandle<'_, Result<()>>| {
            worker.join().unwrap_or_else(|_| Err(Error::failed("rebuilding a layer failed")))
        };
        workers.into_iter().map(join).collect::<Vec<_>>()
    });
    failures.into_iter().collect::<Result<Vec<()>>>()?;
    progress.end(TASK);
    Ok(())
}
