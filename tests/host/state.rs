//! A host's file system as a value that can be compared: for tests that say 'the host is as
//! it was'.
//!
//! Recorded are, for every path, kind, mode, owner and link target, and for files size,
//! SHA-256 and time of change, so that rewriting a file with what it held is seen too. Not
//! recorded are directories' times: making and removing a file leaves no other trace.

use std::collections::BTreeMap;

use crate::machine::Machine;

/// Paths that are left out, each with what is below it. Found by comparing idle hosts with
/// themselves, later and after a reboot.
const LEFT_OUT: [&str; 14] = [
    // not on disk
    "/proc",
    "/sys",
    "/dev",
    "/run",
    "/tmp",
    "/media",
    // systemd's and munged's own: journals, a directory per boot, logs, entropy
    "/var/log/journal",
    "/var/tmp/systemd-private-*",
    "/var/log/munge",
    "/var/lib/munge",
    // the engines' stores: engines answer for what is in them
    "/var/lib/containers",
    "/var/lib/containerd",
    "/var/lib/docker",
    // docker's networks and engine id
    "/etc/docker/key.json",
];

/// What is at one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// As `find -printf %y` has it: `f`, `d`, `l`, …
    pub kind: String,
    /// Octal.
    pub mode: String,
    /// `uid:gid`, in numbers.
    pub owner: String,
    /// A link's target.
    pub target: String,
    /// A file's size in bytes; empty otherwise.
    pub size: String,
    /// A file's time of change, in seconds; empty otherwise.
    pub time: String,
    /// A file's SHA-256; empty otherwise.
    pub digest: String,
}

/// Everything on a host's disk, by path.
pub type Listing = BTreeMap<String, Entry>;

/// Lists the host's file system.
///
/// Takes half a second. Panics with the host's transcript if it cannot be read.
#[track_caller]
pub fn listing(host: &Machine) -> Listing {
    let prune = LEFT_OUT.map(|path| format!("-path '{path}'")).join(" -o ");
    let find = format!(r"find / -xdev \( {prune} \) -prune -o");
    let entries = host.ok(&format!(r"{find} -printf '%p\0%y\0%m\0%U:%G\0%l\0%s\0%T@\0'"));
    // `read` stops at a closing `-`, so that a name is never taken for an option.
    let digests = host.ok(&format!("{find} -type f -print0 | xargs -0 -r sha256sum --zero --"));
    let digests: BTreeMap<&str, &str> = digests
        .split_terminator('\0')
        .map(|line| {
            let (digest, path) = line.split_once("  ").expect("sha256sum's own format");
            (path, digest)
        })
        .collect();
    let fields: Vec<&str> = entries.split_terminator('\0').collect();
    let (entries, rest) = fields.as_chunks::<7>();
    assert!(rest.is_empty(), "seven fields an entry");
    entries
        .iter()
        .map(|&[path, kind, mode, owner, target, size, time]| {
            let of_file = |value: &str| if kind == "f" { value } else { "" }.to_owned();
            let entry = Entry {
                kind: kind.to_owned(),
                mode: mode.to_owned(),
                owner: owner.to_owned(),
                target: target.to_owned(),
                size: of_file(size),
                time: of_file(time),
                digest: of_file(digests.get(path).unwrap_or(&"")),
            };
            (path.to_owned(), entry)
        })
        .collect()
}

/// What differs, a line a path: `+ path`, `- path`, or `~ path: what → what`.
pub fn differences(before: &Listing, after: &Listing) -> Vec<String> {
    let mut found = Vec::new();
    for (path, old) in before {
        match after.get(path) {
            None => found.push(format!("- {path}")),
            Some(new) if new != old => found.push(format!("~ {path}: {old:?} → {new:?}")),
            Some(_) => {}
        }
    }
    let added = after.keys().filter(|path| !before.contains_key(*path));
    found.extend(added.map(|path| format!("+ {path}")));
    found
}

/// Panics with the host's transcript unless its file system is as it was.
#[track_caller]
pub fn assert_unchanged(host: &Machine, before: &Listing) {
    let found = differences(before, &listing(host));
    if !found.is_empty() {
        host.fail(&format!("the host has changed:\n{}\n", found.join("\n")));
    }
}
