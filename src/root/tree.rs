//! Removing a whole directory of ours: what an engine left when it was stopped in its work.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::{READ_DIR, Root};
use crate::error::Result;

impl Root {
    /// Removes `path` and everything below it. Links are removed and never followed. False if
    /// nothing was there.
    pub fn remove_tree(&self, path: &Path) -> Result<bool> {
        let Some((dir, name)) = self.parent(path)? else { return Ok(false) };
        match remove(&dir, name) {
            Ok(()) => {}
            Err(Errno::ENOENT) => return Ok(false),
            Err(e) => return Err(self.fails(path, "cannot remove all of it", e)),
        }
        self.sync(&dir, path)?;
        Ok(true)
    }
}

fn remove(above: &OwnedFd, name: &OsStr) -> nix::Result<()> {
    match unlinkat(above, name, UnlinkatFlags::NoRemoveDir) {
        Err(Errno::EISDIR | Errno::EPERM) => {}
        other => return other,
    }
    let dir = openat(above, name, READ_DIR | OFlag::O_NOFOLLOW, Mode::empty())?;
    for name in names(&dir)? {
        remove(&dir, &name)?;
    }
    unlinkat(above, name, UnlinkatFlags::RemoveDir)
}

/// The names in an open directory, without itself and the one above.
pub(super) fn names(dir: impl AsFd) -> nix::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::openat(dir, ".", READ_DIR, Mode::empty())?.iter() {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}
