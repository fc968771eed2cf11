//! The only door to files on a host: every path an installation touches goes through a [`Root`].
//!
//! A `Root` is `/`, or a directory that somebody will boot later (`--root DIR`). Paths given to
//! it are those of the host (`/etc/ldms/install.toml`). Their directories are resolved beneath
//! the root as if it were `/`: an absolute symbolic link stays inside, `..` ends at the root.
//! The last component of a path that is written or removed is never followed.
//!
//! A file is either the old one or the new one, whatever happens: it is written under a
//! temporary name beside its place, gets its owner and mode, is synced, renamed, and its
//! directory is synced. What is already right is not touched.
//!
//! Run by anybody but root, an owner that would have to be changed is an error, never skipped:
//! a munge key with the wrong owner is a service that does not start. What needs no change of
//! owner works for everybody, and so does all reading, which is what a dry run does.

mod changed;
mod held;
mod lock;
#[cfg(test)]
mod tests;
mod tree;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat, stat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, geteuid, symlinkat, unlinkat};
use serde::{Deserialize, Serialize};

use crate::crash;
use crate::digest::{Digest, Hashing};
use crate::error::{Error, Kind, Result};

pub use held::Held;
pub use lock::Lock;

/// No file that is read whole is larger; the largest is the installer itself.
pub const READ_LIMIT: u64 = 64 << 20;

/// Owner and permissions of a file or directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attr {
    /// Permission bits, as `chmod` takes them.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
}

impl Attr {
    /// Owned by root, with these permission bits.
    pub fn root(mode: u32) -> Self {
        Attr { mode, uid: 0, gid: 0 }
    }

    /// Owned by whoever runs this program, with these permission bits.
    pub fn own(mode: u32) -> Self {
        Attr { mode, uid: geteuid().as_raw(), gid: nix::unistd::getegid().as_raw() }
    }
}

impl fmt::Display for Attr {
    /// `0:0 0644`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} {:04o}", self.uid, self.gid, self.mode)
    }
}

/// What stands at a path, without following a symbolic link there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Look {
    /// Nothing, or its directory is not there either.
    Absent,
    /// A regular file.
    File {
        /// The digest of its content.
        digest: Digest,
        /// Bytes.
        size: u64,
        /// Owner and permissions.
        attr: Attr,
    },
    /// A directory.
    Directory {
        /// Owner and permissions.
        attr: Attr,
    },
    /// A symbolic link.
    Link {
        /// What it points to, as it is written in the link.
        target: PathBuf,
        /// A directory stands at the end of it, beneath the root.
        to_directory: bool,
    },
    /// A device, socket or pipe.
    Other,
}

/// A host's files: `/`, or a directory that will be one.
#[derive(Debug)]
pub struct Root {
    dir: PathBuf,
    live: bool,
    inner: pathrs::Root,
}

impl Root {
    /// Opens the root at `dir`, a directory.
    pub fn open(dir: &Path) -> Result<Self> {
        let inner = pathrs::Root::open(dir).map_err(|e| {
            Error::host("cannot open the root directory").at(dir.display()).because(reason(e))
        })?;
        let fails =
            |e| Error::failed("cannot look at the root directory").at(dir.display()).because(e);
        // However it is written: `/tmp/..` is the running host, too.
        let handle = inner.resolve(".").map_err(|e| fails(reason(e)))?;
        let [this, running] = [fstat(OwnedFd::from(handle)), stat("/")];
        let (this, running) =
            (this.map_err(|e| fails(e.into()))?, running.map_err(|e| fails(e.into()))?);
        let live = (this.st_dev, this.st_ino) == (running.st_dev, running.st_ino);
        // The messages name files by this path, so it should not depend on where one stands.
        let dir = if live {
            PathBuf::from("/")
        } else {
            std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned())
        };
        Ok(Root { dir, live, inner })
    }

    /// The root is `/`: the host that is running.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// The directory that is the root.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where a path of the host is for somebody outside: for messages.
    pub fn path(&self, path: &Path) -> PathBuf {
        match path.strip_prefix("/") {
            Ok(below) => self.dir.join(below),
            Err(_) => self.dir.join(path),
        }
    }

    /// What stands at `path`; a regular file is read for its digest.
    pub fn look(&self, path: &Path) -> Result<Look> {
        let Some((dir, name)) = self.parent(path)? else { return Ok(Look::Absent) };
        let stat = match fstatat(&dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::ENOENT) => return Ok(Look::Absent),
            Err(e) => return Err(self.fails(path, "cannot look at it", e)),
        };
        Ok(match file_type(&stat) {
            SFlag::S_IFREG => {
                let file = self.open_plain(&dir, name, path)?;
                let mut hashing = Hashing::new(file);
                io::copy(&mut hashing, &mut io::sink()).map_err(|e| {
                    Error::from_io(e, "cannot read it").at(self.path(path).display())
                })?;
                let (digest, size, _) = hashing.finish();
                Look::File { digest, size, attr: attr_of(&stat) }
            }
            SFlag::S_IFDIR => Look::Directory { attr: attr_of(&stat) },
            SFlag::S_IFLNK => {
                let target = readlinkat(&dir, name)
                    .map_err(|e| self.fails(path, "cannot read the link", e))?
                    .into();
                Look::Link { target, to_directory: self.is_directory(path)? }
            }
            _ => Look::Other,
        })
    }

    /// A directory stands at `path`, or at the end of the links that stand there.
    pub fn is_directory(&self, path: &Path) -> Result<bool> {
        Ok(self.directory(path)?.is_some())
    }

    /// Owner and mode of the directory `path`, links followed beneath the root, which has them
    /// itself; `None` if no directory is there.
    pub fn directory(&self, path: &Path) -> Result<Option<Attr>> {
        let Some(handle) = self.resolve(path)? else { return Ok(None) };
        let stat = fstat(&handle).map_err(|e| self.fails(path, "cannot look at it", e))?;
        Ok((file_type(&stat) == SFlag::S_IFDIR).then(|| attr_of(&stat)))
    }

    /// Something stands at `path`, links followed beneath the root.
    pub fn exists(&self, path: &Path) -> Result<bool> {
        Ok(self.resolve(path)?.is_some())
    }

    /// The content of the regular file at `path`, links followed beneath the root; `None` if
    /// there is nothing. At most 64 MiB.
    pub fn read(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        match self.open_file(path)? {
            Some(file) => read_whole(file, &self.path(path)).map(Some),
            None => Ok(None),
        }
    }

    /// The regular file at `path` for reading, links followed beneath the root.
    pub fn open_file(&self, path: &Path) -> Result<Option<File>> {
        check(path)?;
        // A pipe must not block us before we see what it is.
        let flags = libc_flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC);
        let file = match self.inner.open_subpath(path, flags) {
            Ok(file) => file,
            Err(e) if is_absent(&e) => return Ok(None),
            Err(e) => {
                return Err(self.fails_with(path, "cannot open it", reason(e)));
            }
        };
        self.must_be_plain(&file, path)?;
        Ok(Some(file))
    }

    /// Makes the file at `path` hold `bytes` with owner and mode `attr`. Whatever non-directory
    /// stands there is replaced, a symbolic link too. False if it was so already and nothing was
    /// touched. On disk when it returns.
    pub fn write(&self, path: &Path, bytes: &[u8], attr: Attr) -> Result<bool> {
        let (dir, name) = self.parent_there(path)?;
        if self.holds(&dir, name, path, bytes, attr)? {
            return Ok(false);
        }
        let temp = temporary(name);
        self.put(&dir, &temp, path, |file| {
            file.write_all(bytes)?;
            own(file, attr)?;
            file.sync_all()
        })?;
        self.put_in_place(&dir, &temp, name, path)?;
        Ok(true)
    }

    /// Makes the symbolic link `path` point to `target`, replacing whatever non-directory stands
    /// there. False if it was so already.
    pub fn symlink(&self, path: &Path, target: &Path) -> Result<bool> {
        let (dir, name) = self.parent_there(path)?;
        match readlinkat(&dir, name) {
            Ok(there) if Path::new(&there) == target => return Ok(false),
            Ok(_) | Err(Errno::ENOENT | Errno::EINVAL) => {}
            Err(e) => return Err(self.fails(path, "cannot read the link", e)),
        }
        let temp = temporary(name);
        self.unlink(&dir, &temp, path)?;
        symlinkat(target, &dir, temp.as_os_str())
            .map_err(|e| self.fails(path, "cannot make the link", e))?;
        self.put_in_place(&dir, &temp, name, path)?;
        Ok(true)
    }

    /// Makes the directory `path`; the one above must be there. False if a directory, or a link
    /// to one, was there already: that one stays as it is. On disk when it returns.
    pub fn mkdir(&self, path: &Path, attr: Attr) -> Result<bool> {
        let (dir, name) = self.parent_there(path)?;
        match mkdirat(&dir, name, Mode::from_bits_truncate(0o700)) {
            Ok(()) => {}
            Err(Errno::EEXIST) if self.is_directory(path)? => return Ok(false),
            Err(e) => return Err(self.fails(path, "cannot make the directory", e)),
        }
        let made = openat(&dir, name, READ_DIR | OFlag::O_NOFOLLOW, Mode::empty())
            .map(File::from)
            .map_err(|e| self.fails(path, "cannot open the directory", e))
            .and_then(|made| {
                own(&made, attr)
                    .and_then(|()| made.sync_all())
                    .map_err(|e| self.fails_with(path, "cannot make the directory", e))
            })
            .and_then(|()| self.sync(&dir, path));
        if let Err(error) = made {
            // Half made is not made; the first error is the one worth telling.
            let _ = unlinkat(&dir, name, UnlinkatFlags::RemoveDir);
            return Err(error);
        }
        Ok(true)
    }

    /// Removes the file or symbolic link at `path`. False if nothing was there.
    pub fn remove_file(&self, path: &Path) -> Result<bool> {
        let Some((dir, name)) = self.parent(path)? else { return Ok(false) };
        match unlinkat(&dir, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => {}
            Err(Errno::ENOENT) => return Ok(false),
            Err(e) => return Err(self.fails(path, "cannot remove it", e)),
        }
        self.sync(&dir, path)?;
        Ok(true)
    }

    /// Removes the directory at `path` if it is empty. False if it was not there or still holds
    /// something, which is not ours to remove.
    pub fn remove_dir(&self, path: &Path) -> Result<bool> {
        let Some((dir, name)) = self.parent(path)? else { return Ok(false) };
        match unlinkat(&dir, name, UnlinkatFlags::RemoveDir) {
            Ok(()) => {}
            Err(
                Errno::ENOENT | Errno::ENOTEMPTY | Errno::EEXIST | Errno::ENOTDIR | Errno::EBUSY,
            ) => {
                return Ok(false);
            }
            Err(e) => return Err(self.fails(path, "cannot remove the directory", e)),
        }
        self.sync(&dir, path)?;
        Ok(true)
    }

    /// Removes what an interrupted [`write`](Self::write) or [`symlink`](Self::symlink) to
    /// `path` may have left beside it.
    pub fn sweep(&self, path: &Path) -> Result<()> {
        match self.parent(path)? {
            Some((dir, name)) => self.unlink(&dir, &temporary(name), path),
            None => Ok(()),
        }
    }

    /// The names in the directory `path`, sorted; none if it is not there.
    pub fn list(&self, path: &Path) -> Result<Vec<OsString>> {
        let Some(handle) = self.resolve(path)? else { return Ok(Vec::new()) };
        tree::names(handle).map_err(|e| self.fails(path, "cannot list it", e))
    }

    /// Opens the file at `path` for appending, making it with mode 0600 if it is not there. A
    /// symbolic link there is an error. Its directory is synced.
    pub fn append(&self, path: &Path) -> Result<File> {
        let (dir, name) = self.parent_there(path)?;
        let flags = OFlag::O_WRONLY
            | OFlag::O_APPEND
            | OFlag::O_CREAT
            | OFlag::O_NOFOLLOW
            | OFlag::O_CLOEXEC;
        let file = openat(&dir, name, flags, Mode::from_bits_truncate(0o600))
            .map(File::from)
            .map_err(|e| self.fails(path, "cannot open it for writing", e))?;
        self.sync(&dir, path)?;
        Ok(file)
    }

    /// Waits until everything written on the file system of `path` is on disk.
    pub fn sync_file_system(&self, path: &Path) -> Result<()> {
        let Some(handle) = self.resolve(path)? else { return Ok(()) };
        // A handle for resolving cannot be synced; a directory can be opened from itself.
        let dir = openat(&handle, ".", READ_DIR, Mode::empty())
            .map_err(|e| self.fails(path, "cannot open the directory", e))?;
        nix::unistd::syncfs(&dir).map_err(|e| self.fails(path, "cannot sync its file system", e))
    }

    /// A handle on what `path` leads to, beneath the root; `None` if it leads nowhere.
    fn resolve(&self, path: &Path) -> Result<Option<OwnedFd>> {
        check(path)?;
        match self.inner.resolve(path) {
            Ok(handle) => Ok(Some(handle.into())),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(self.fails_with(path, "cannot resolve the path", reason(e))),
        }
    }

    /// The directory that holds `path`, and the last component; `None` if there is none.
    fn parent<'p>(&self, path: &'p Path) -> Result<Option<(OwnedFd, &'p OsStr)>> {
        check(path)?;
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Error::usage("the root directory itself is no file").at(path.display()));
        };
        Ok(self.resolve(dir)?.map(|dir| (dir, name)))
    }

    fn parent_there<'p>(&self, path: &'p Path) -> Result<(OwnedFd, &'p OsStr)> {
        self.parent(path)?
            .ok_or_else(|| self.fails(path, "its directory is not there", Errno::ENOENT))
    }

    /// `name` in `dir` is a regular file with exactly these bytes, owner and mode.
    fn holds(
        &self,
        dir: &OwnedFd,
        name: &OsStr,
        path: &Path,
        bytes: &[u8],
        attr: Attr,
    ) -> Result<bool> {
        let stat = match fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::ENOENT) => return Ok(false),
            Err(e) => return Err(self.fails(path, "cannot look at it", e)),
        };
        let same_size = u64::try_from(stat.st_size).is_ok_and(|size| size == bytes.len() as u64);
        if file_type(&stat) != SFlag::S_IFREG || !same_size || attr_of(&stat) != attr {
            return Ok(false);
        }
        let there = read_whole(self.open_plain(dir, name, path)?, &self.path(path))?;
        Ok(there == bytes)
    }

    /// Opens the regular file `name` in `dir`, not following a link.
    fn open_plain(&self, dir: &OwnedFd, name: &OsStr, path: &Path) -> Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = openat(dir, name, flags, Mode::empty())
            .map(File::from)
            .map_err(|e| self.fails(path, "cannot open it", e))?;
        self.must_be_plain(&file, path)?;
        Ok(file)
    }

    fn must_be_plain(&self, file: &File, path: &Path) -> Result<()> {
        let stat = fstat(file).map_err(|e| self.fails(path, "cannot look at it", e))?;
        if file_type(&stat) == SFlag::S_IFREG {
            return Ok(());
        }
        Err(Error::host("is not a regular file").at(self.path(path).display()))
    }

    /// Makes the new file `temp` in `dir` and fills it; nothing stays behind on an error.
    fn put(
        &self,
        dir: &OwnedFd,
        temp: &OsStr,
        path: &Path,
        content: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<()> {
        // One left by a process that was killed: nobody else writes under this name.
        self.unlink(dir, temp, path)?;
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mut file = openat(dir, temp, flags, Mode::from_bits_truncate(0o600))
            .map(File::from)
            .map_err(|e| self.fails(path, "cannot write it", e))?;
        crash::point();
        content(&mut file).map_err(|e| {
            let _ = unlinkat(dir, temp, UnlinkatFlags::NoRemoveDir);
            self.fails_with(path, "cannot write it", e)
        })
    }

    /// Renames `temp` to `name` and syncs the directory.
    fn put_in_place(&self, dir: &OwnedFd, temp: &OsStr, name: &OsStr, path: &Path) -> Result<()> {
        crash::point();
        renameat(dir, temp, dir, name).map_err(|e| {
            let _ = unlinkat(dir, temp, UnlinkatFlags::NoRemoveDir);
            self.fails(path, "cannot put it in place", e)
        })?;
        self.sync(dir, path)
    }

    /// Removes `name` from `dir` if it is there, without syncing.
    fn unlink(&self, dir: &OwnedFd, name: &OsStr, path: &Path) -> Result<()> {
        match unlinkat(dir, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(e) => Err(self.fails(path, "cannot remove a temporary file beside it", e)),
        }
    }

    /// Syncs the directory `dir`, in which `path` is. A failure is final: what a failed sync
    /// forgot, a second one would not notice.
    fn sync(&self, dir: &OwnedFd, path: &Path) -> Result<()> {
        openat(dir, ".", READ_DIR, Mode::empty())
            .and_then(nix::unistd::fsync)
            .map_err(|e| self.fails(path, "cannot sync its directory", e))
    }

    fn fails(&self, path: &Path, what: &str, errno: Errno) -> Error {
        self.fails_with(path, what, io::Error::from(errno))
    }

    fn fails_with(&self, path: &Path, what: &str, why: io::Error) -> Error {
        let remedy = match why.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EACCES | Errno::EPERM) if !geteuid().is_root() => "run it as root",
            Some(Errno::ENOSPC | Errno::EDQUOT) => "make room on that file system and run it again",
            Some(Errno::EROFS) => "mount that file system writable and run it again",
            _ => "",
        };
        let kind = if remedy.is_empty() { Kind::Failed } else { Kind::Host };
        let error = Error::new(kind, what).at(self.path(path).display()).because(why);
        if remedy.is_empty() { error } else { error.remedy(remedy) }
    }
}

/// Opening a directory to list or sync it.
const READ_DIR: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

/// Nothing but names between the slashes: `..` in our own paths would be somebody's trick.
fn check(path: &Path) -> Result<()> {
    let plain = path
        .components()
        .all(|c| matches!(c, Component::RootDir | Component::CurDir | Component::Normal(_)));
    if path.is_absolute() && plain {
        return Ok(());
    }
    Err(Error::usage("is not an absolute path without '..'").at(path.display()))
}

/// The name under which `name` is written before it is put in place.
fn temporary(name: &OsStr) -> OsString {
    let mut temp = OsString::from(".");
    temp.push(name);
    temp.push(".ldms-tmp");
    temp
}

/// Gives an open file its owner, then its mode: changing the owner may clear mode bits.
fn own(file: &File, attr: Attr) -> io::Result<()> {
    let stat = fstat(file)?;
    if (stat.st_uid, stat.st_gid) != (attr.uid, attr.gid) {
        fchown(file, Some(Uid::from_raw(attr.uid)), Some(Gid::from_raw(attr.gid)))?;
    }
    fchmod(file.as_fd(), Mode::from_bits_truncate(attr.mode))?;
    Ok(())
}

fn read_whole(file: File, path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(READ_LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Error::failed("cannot read it").at(path.display()).because(e))?;
    if bytes.len() as u64 > READ_LIMIT {
        return Err(Error::failed("is larger than 64 MiB").at(path.display()));
    }
    Ok(bytes)
}

fn file_type(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

fn attr_of(stat: &FileStat) -> Attr {
    Attr { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid }
}

fn libc_flags(flags: OFlag) -> pathrs::flags::OpenFlags {
    pathrs::flags::OpenFlags::from_bits_retain(u64::from(flags.bits().cast_unsigned()))
}

/// The path leads nowhere, as opposed to: it could not be followed.
fn is_absent(error: &pathrs::error::Error) -> bool {
    let errno = os_error(error);
    errno == Some(Errno::ENOENT as i32) || errno == Some(Errno::ENOTDIR as i32)
}

fn os_error(error: &pathrs::error::Error) -> Option<i32> {
    match error.kind() {
        pathrs::error::ErrorKind::OsError(errno) => errno,
        _ => None,
    }
}

/// The system's own words where there are some: the resolver's are about its inner steps.
fn reason(error: pathrs::error::Error) -> io::Error {
    match os_error(&error) {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => io::Error::other(error),
    }
}
