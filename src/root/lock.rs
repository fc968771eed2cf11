//! One installation at a time on a host.
//!
//! The lock is on a directory, so nothing is created for it and nothing is left behind, and a
//! process that dies lets go of it. Who holds it, the kernel knows.

use std::fs::File;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, Flock, FlockArg, fcntl, openat};
use nix::sys::stat::{Mode, fstat};

use super::{READ_DIR, Root};
use crate::error::{Error, Result};

/// Held for as long as it lives.
#[derive(Debug)]
pub struct Lock {
    held: Flock<File>,
}

impl Lock {
    /// Does `work` while programs that are started have the lock too: if this process is killed,
    /// the lock stays until they have ended, and nobody recovers while they still change things.
    pub fn lend<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let fails = |e| Error::failed("cannot share the lock").because(std::io::Error::from(e));
        let set = |flags| fcntl(&*self.held, FcntlArg::F_SETFD(flags)).map_err(fails);
        set(FdFlag::empty())?;
        let result = work();
        set(FdFlag::FD_CLOEXEC)?;
        result
    }
}

impl Root {
    /// Locks this root for one process, on its directory `dir`. If another process has it, the
    /// error tells its number.
    pub fn lock(&self, dir: &Path) -> Result<Lock> {
        let fails = |e| self.fails(dir, "cannot lock the directory", e);
        let handle = self.resolve(dir)?.ok_or_else(|| {
            Error::host("is not there, so this is no host's file system")
                .at(self.path(dir).display())
                .remedy("give the root of a file system with --root")
        })?;
        let file = openat(&handle, ".", READ_DIR, Mode::empty()).map(File::from).map_err(fails)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => Ok(Lock { held }),
            Err((file, Errno::EWOULDBLOCK)) => {
                let who = holder(&file).map_or(String::new(), |pid| format!(" (process {pid})"));
                Err(Error::failed(format!("another run is in progress{who}"))
                    .at(self.dir().display())
                    .remedy("wait until it has ended"))
            }
            Err((_, e)) => Err(fails(e)),
        }
    }
}

/// The process that has locked `file`, as the kernel lists it.
fn holder(file: &File) -> Option<u32> {
    let inode = fstat(file).ok()?.st_ino.to_string();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    // 1: FLOCK  ADVISORY  WRITE 1234 00:2d:5678 0 EOF
    let pids = locks.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (kind, pid, place) = (words.next()?, words.nth(2)?, words.next()?);
        (kind == "FLOCK" && place.rsplit(':').next() == Some(&inode)).then(|| pid.parse().ok())?
    });
    pids.into_iter().find(|pid| *pid != 0)
}
