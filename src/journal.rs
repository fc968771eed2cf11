//! The journal: what is about to be done, on disk before it is done.
//!
//! One frame a line: length, sequence number and checksum of the text that follows, then the
//! text, as JSON. A frame is synced before its act begins. A power cut can tear only the last
//! one; a damaged frame with a sound one behind it is not a torn end but a damaged file, and is
//! told of instead of guessed at. What a file held before its change lies beside the log, synced
//! before the intent to change it.
//!
//! Nothing secret is in the log. The directory is its owner's alone, as are the files in it.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::engine::Kind;
use crate::error::{Error, Kind as Failure, Result};
use crate::root::{Attr, Held, Look, Root};

/// The journal's directory; that it exists means that a run was interrupted.
pub const DIR: &str = "/var/lib/ldms-install/journal";
/// The frames.
const LOG: &str = "/var/lib/ldms-install/journal/log";

/// A line of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entry {
    /// A run begins; the first entry and no other.
    Begin(Begin),
    /// This will be done next.
    Intent(Act),
    /// The last intent has been carried out.
    Done,
}

/// What a run sets out to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begin {
    /// The run; its record carries the same text.
    pub transaction: String,
    /// `install`, `uninstall`, …: for people.
    pub verb: String,
    /// The boot in which it ran: what was started in an earlier one no longer runs.
    pub boot: String,
    /// At its end there is a record; if not, nothing stays installed.
    pub leaves_record: bool,
    /// It worked on a running systemd.
    pub live: bool,
    /// The engine that it loaded images into.
    pub engine: Option<Kind>,
    /// Units that were up before.
    pub up: Vec<String>,
    /// What is done once the record is in place, and can only go forward.
    pub after: Vec<After>,
}

/// An act, with all that is needed to undo it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// A file or link is made, replaced or removed.
    Path {
        /// Where
        path: PathBuf,
        /// What was there
        before: Before,
        /// What is there once it is done: anything else is the site's, and not undone
        after: Held,
    },
    /// A directory is made.
    MakeDir {
        /// Where
        path: PathBuf,
    },
    /// An empty directory is removed.
    RemoveDir {
        /// Where
        path: PathBuf,
        /// Its owner and mode
        attr: Attr,
    },
    /// An image is taken in.
    LoadImage {
        /// The name the engine is to have for it
        reference: String,
    },
    /// Something is found out in a throwaway container.
    Prove {
        /// Its name in the engine
        container: String,
    },
    /// A unit is started or restarted.
    Start {
        /// Which
        unit: String,
    },
    /// A unit is stopped.
    Stop {
        /// Which
        unit: String,
    },
    /// systemd reads its files again.
    Reload,
}

/// What was at a path before it was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Before {
    /// Nothing
    Absent,
    /// A file, its content kept beside the log
    File {
        /// The name of the kept content
        saved: String,
        /// The digest of its content
        digest: Digest,
        /// Its owner and mode
        attr: Attr,
    },
    /// A symbolic link
    Link {
        /// What it pointed to
        target: PathBuf,
    },
}

impl Before {
    /// The same without what is needed to put it back.
    pub fn held(&self) -> Held {
        match self {
            Before::Absent => Held::Absent,
            Before::File { digest, .. } => Held::File(*digest),
            Before::Link { target } => Held::Link(target.clone()),
        }
    }
}

/// Something done after the record is in place. Doing it twice is doing it once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum After {
    /// An image is no longer needed.
    RemoveImage {
        /// Which engine
        engine: Kind,
        /// The name the engine has for it
        reference: String,
    },
    /// A file is no longer needed.
    RemoveFile {
        /// Where
        path: PathBuf,
        /// What it holds; if that is something else by then, it stays
        before: Held,
    },
    /// A directory is no longer needed.
    RemoveDir {
        /// Where
        path: PathBuf,
    },
}

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal<'a> {
    root: &'a Root,
    log: File,
    sequence: u64,
    saved: u32,
}

impl<'a> Journal<'a> {
    /// Begins a journal. There must be none.
    pub fn begin(root: &'a Root, begin: &Begin) -> Result<Self> {
        if !root.mkdir(Path::new(DIR), Attr::own(0o700))? {
            return Err(pending_error(root, None));
        }
        let log = root.append(Path::new(LOG))?;
        let mut journal = Journal { root, log, sequence: 0, saved: 0 };
        journal.put(&Entry::Begin(begin.clone()))?;
        journal.sync()?;
        Ok(journal)
    }

    /// Puts an intent on disk.
    pub fn intent(&mut self, act: &Act) -> Result<()> {
        self.put(&Entry::Intent(act.clone()))?;
        self.sync()
    }

    /// Marks the last intent as carried out. It gets to disk with the next intent: undoing what
    /// was not done is harmless.
    pub fn done(&mut self) -> Result<()> {
        self.put(&Entry::Done)
    }

    /// Keeps what is at `path`, so that it can be put back.
    pub fn save(&mut self, path: &Path) -> Result<Before> {
        match self.root.look(path)? {
            Look::Absent => Ok(Before::Absent),
            Look::Link { target, .. } => Ok(Before::Link { target }),
            Look::File { attr, .. } => {
                let bytes = self.root.read(path)?.unwrap_or_default();
                self.saved += 1;
                let saved = format!("{:04}.before", self.saved);
                self.root.write(&Path::new(DIR).join(&saved), &bytes, Attr::own(0o600))?;
                Ok(Before::File { saved, digest: Digest::of(&bytes), attr })
            }
            Look::Directory { .. } | Look::Other => {
                Err(Error::host("is neither a file nor a link, so it is not replaced")
                    .at(self.root.path(path).display())
                    .remedy("move it away and run it again"))
            }
        }
    }

    fn put(&mut self, entry: &Entry) -> Result<()> {
        let fails = |e: io::Error| {
            Error::failed("cannot write the journal")
                .at(self.root.path(Path::new(LOG)).display())
                .because(e)
        };
        let text = serde_json::to_string(entry).map_err(|e| fails(e.into()))?;
        let frame = frame(self.sequence, &text);
        self.log.write_all(frame.as_bytes()).map_err(fails)?;
        self.sequence += 1;
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        self.log.sync_all().map_err(|e| {
            Error::failed("cannot sync the journal")
                .at(self.root.path(Path::new(LOG)).display())
                .because(e)
        })
    }
}

/// The entries of the journal of an interrupted run; `None` if there is none. Without even a
/// whole [`Begin`], nothing had been done.
pub fn read(root: &Root) -> Result<Option<(Option<Begin>, Vec<Act>)>> {
    if root.look(Path::new(DIR))? == Look::Absent {
        return Ok(None);
    }
    let bytes = root.read(Path::new(LOG))?.unwrap_or_default();
    let entries = parse(&bytes).map_err(|e| e.at(root.path(Path::new(LOG)).display()))?;
    let (mut begin, mut acts) = (None, Vec::new());
    for entry in entries {
        match entry {
            Entry::Begin(b) => begin = Some(b),
            Entry::Intent(act) => acts.push(act),
            Entry::Done => {}
        }
    }
    Ok(Some((begin, acts)))
}

/// The content that was kept under the name `saved`.
pub fn saved(root: &Root, saved: &str) -> Result<Vec<u8>> {
    let path = Path::new(DIR).join(saved);
    root.read(&path)?.ok_or_else(|| {
        Error::new(Failure::Incomplete, "what a file held before is missing from the journal")
            .at(root.path(&path).display())
    })
}

/// Removes the journal: the log first, for without it there is nothing to do.
pub fn remove(root: &Root) -> Result<()> {
    root.remove_file(Path::new(LOG))?;
    crate::crash::point();
    for name in root.list(Path::new(DIR))? {
        root.remove_file(&Path::new(DIR).join(name))?;
    }
    root.remove_dir(Path::new(DIR))?;
    Ok(())
}

/// The error of every verb but `recover` and `install` while a journal is there.
pub fn pending_error(root: &Root, begin: Option<&Begin>) -> Error {
    let what = match begin {
        Some(begin) => format!("an earlier run ({}) was interrupted", begin.verb),
        None => "an earlier run was interrupted".to_owned(),
    };
    Error::new(Failure::Incomplete, what)
        .at(root.dir().display())
        .remedy("run `ldms-install recover`, which completes or undoes it")
}

/// `LENGTH SEQUENCE CHECKSUM TEXT`, the first two in hexadecimal.
fn frame(sequence: u64, text: &str) -> String {
    let check = checksum(sequence, text.as_bytes());
    format!("{:08x} {sequence:08x} {check} {text}\n", text.len())
}

fn checksum(sequence: u64, text: &[u8]) -> String {
    let mut bytes = sequence.to_be_bytes().to_vec();
    bytes.extend_from_slice(text);
    Digest::of(&bytes).short(16)
}

/// Bytes in front of a frame's text.
const HEADER: usize = 8 + 1 + 8 + 1 + 16 + 1;

/// The sound frame that `bytes` begin with, and what follows it.
fn unframe(bytes: &[u8]) -> Option<(u64, Entry, &[u8])> {
    let mut words = std::str::from_utf8(bytes.get(..HEADER)?).ok()?.split(' ');
    let length = usize::from_str_radix(words.next()?, 16).ok()?;
    let sequence = u64::from_str_radix(words.next()?, 16).ok()?;
    let check = words.next()?;
    let (text, rest) = bytes[HEADER..].split_at_checked(length)?;
    let rest = rest.strip_prefix(b"\n")?;
    let sound = check == checksum(sequence, text);
    sound.then(|| serde_json::from_slice(text).ok().map(|entry| (sequence, entry, rest)))?
}

fn parse(mut bytes: &[u8]) -> Result<Vec<Entry>> {
    let damaged = || {
        Error::new(Failure::Incomplete, "the journal is damaged in its middle").remedy(
            "keep a copy of that directory and restore the files it names from `NNNN.before`",
        )
    };
    let mut entries = Vec::new();
    while let Some((sequence, entry, rest)) = unframe(bytes) {
        let first = entries.is_empty();
        if sequence != entries.len() as u64 || matches!(entry, Entry::Begin(_)) != first {
            return Err(damaged());
        }
        entries.push(entry);
        bytes = rest;
    }
    // A torn end has no sound frame behind it.
    if (1..bytes.len()).any(|at| unframe(&bytes[at..]).is_some()) {
        return Err(damaged());
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin() -> Begin {
        Begin {
            transaction: "t".into(),
            verb: "install".into(),
            boot: "b".into(),
            leaves_record: true,
            live: false,
            engine: Some(Kind::Podman),
            up: vec!["a.service".into()],
            after: vec![After::RemoveFile {
                path: "/usr/local/sbin/x".into(),
                before: Held::Absent,
            }],
        }
    }

    fn log() -> (Vec<u8>, Vec<Entry>) {
        let path = "/etc/a\nb".into();
        let entries = vec![
            Entry::Begin(begin()),
            Entry::Intent(Act::Path { path, before: Before::Absent, after: Held::Absent }),
            Entry::Done,
            Entry::Intent(Act::Reload),
        ];
        let frames: String = (0..)
            .zip(&entries)
            .map(|(n, e)| frame(n, &serde_json::to_string(e).unwrap()))
            .collect();
        (frames.into_bytes(), entries)
    }

    #[test]
    fn every_torn_end_leaves_the_frames_before_it() {
        let (bytes, entries) = log();
        assert_eq!(parse(&bytes).unwrap(), entries);
        for cut in 0..bytes.len() {
            let read = parse(&bytes[..cut]).unwrap();
            let whole = bytes[..cut].split(|b| *b == b'\n').count() - 1;
            assert_eq!(read, entries[..whole], "cut at {cut}");
            // Some file systems give back zeros for what was not written.
            let mut zeros = bytes[..cut].to_vec();
            zeros.resize(bytes.len() + 512, 0);
            assert_eq!(parse(&zeros).unwrap(), entries[..whole], "zeros from {cut}");
        }
    }

    #[test]
    fn damage_before_a_sound_frame_is_told() {
        let (bytes, entries) = log();
        let last = bytes[..bytes.len() - 1].iter().rposition(|b| *b == b'\n').unwrap() + 1;
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x11;
            match parse(&damaged) {
                Err(e) => assert_eq!(e.kind(), Failure::Incomplete, "{at}"),
                // Only the last frame may be lost.
                Ok(read) => assert!(at >= last && read == entries[..3], "flip at {at}: {read:?}"),
            }
        }
        let twice = [&bytes[..], &bytes[..]].concat();
        assert!(parse(&twice).is_err(), "sequence numbers do not start again");
    }

    #[test]
    fn what_was_there_is_kept_and_only_its_owner_may_read_it() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        for path in ["/var", "/var/lib", crate::record::STATE] {
            root.mkdir(Path::new(path), Attr::own(0o755)).unwrap();
        }
        assert_eq!(read(&root).unwrap(), None);
        root.write(Path::new("/var/key"), b"secret", Attr::own(0o400)).unwrap();
        root.symlink(Path::new("/var/link"), Path::new("key")).unwrap();

        let mut journal = Journal::begin(&root, &begin()).unwrap();
        assert_eq!(Journal::begin(&root, &begin()).unwrap_err().kind(), Failure::Incomplete);
        let before = journal.save(Path::new("/var/key")).unwrap();
        let act =
            Act::Path { path: "/var/key".into(), before: before.clone(), after: Held::Absent };
        journal.intent(&act).unwrap();
        journal.done().unwrap();
        assert_eq!(journal.save(Path::new("/var/none")).unwrap(), Before::Absent);
        let link = journal.save(Path::new("/var/link")).unwrap();
        assert_eq!(link, Before::Link { target: "key".into() });
        assert!(journal.save(Path::new("/var/lib")).is_err());

        assert_eq!(read(&root).unwrap(), Some((Some(begin()), vec![act])));
        let Before::File { saved: name, attr, .. } = before else { panic!("{before:?}") };
        assert_eq!((saved(&root, &name).unwrap(), attr), (b"secret".to_vec(), Attr::own(0o400)));
        let mode = |path: &str| dir.path().join(path).metadata().unwrap().mode() & 0o777;
        assert_eq!(mode("var/lib/ldms-install/journal"), 0o700);
        assert_eq!(mode(&format!("var/lib/ldms-install/journal/{name}")), 0o600);
        assert_eq!(mode("var/lib/ldms-install/journal/log"), 0o600);
        let log = root.read(Path::new(LOG)).unwrap().unwrap();
        assert!(!String::from_utf8(log).unwrap().contains("secret"));

        remove(&root).unwrap();
        assert_eq!(read(&root).unwrap(), None);
    }
}
