//! Files that a person names on the command line: bundles, keys, answers, archives.
//!
//! They are on the machine this program runs on, whatever root it works for.
#![expect(clippy::disallowed_methods, reason = "the one door to files named by a person")]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::fcntl::OFlag;

use crate::error::{Error, Result};

fn unopened(path: &Path, error: io::Error) -> Error {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "see that the name is right",
        io::ErrorKind::PermissionDenied => "run it as somebody who may read it",
        _ => "try again, or another copy of it",
    };
    Error::failed("cannot open it").at(path.display()).because(error).remedy(remedy)
}

/// Opens a regular file for reading.
pub fn open(path: &Path) -> Result<File> {
    let broken = |e| unopened(path, e);
    // A pipe must not block us before we see what it is.
    let file = File::options()
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)
        .map_err(broken)?;
    if file.metadata().map_err(broken)?.is_file() {
        return Ok(file);
    }
    Err(Error::usage("it is not a regular file").at(path.display()).remedy("name a file"))
}

/// The whole of a regular file of at most `limit` bytes.
pub fn bytes(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?
        .take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Error::failed("cannot read it").at(path.display()).because(e))?;
    if bytes.len() as u64 > limit {
        return Err(Error::usage(format!("it is larger than {limit} bytes")).at(path.display()));
    }
    Ok(bytes)
}

/// Reads a text of at most `limit` bytes, from a file or a pipe.
pub fn text(path: &Path, limit: u64) -> Result<String> {
    let mut text = String::new();
    let meant = "see that it is the file that is meant";
    let file = File::open(path).map_err(|e| unopened(path, e))?;
    file.take(limit + 1).read_to_string(&mut text).map_err(|e| {
        Error::failed("cannot read it as text").at(path.display()).because(e).remedy(meant)
    })?;
    if text.len() as u64 > limit {
        return Err(Error::usage(format!("it is larger than {limit} bytes"))
            .at(path.display())
            .remedy(meant));
    }
    Ok(text)
}

/// Writes a file that must not be there yet, and syncs it.
pub fn create(path: &Path, mode: u32, text: &str) -> Result<()> {
    File::options()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .map_err(|e| Error::failed("cannot write it").at(path.display()).because(e))
}

/// Makes a directory and those above it, where they are not there.
pub fn create_dir(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path)
        .map_err(|e| Error::failed("cannot make the directory").at(path.display()).because(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [folder.path(), &pipe] {
            assert!(bytes(path, 9).is_err());
            assert!(open(path).unwrap_err().to_string().contains("not a regular file"));
        }
        assert!(open(&folder.path().join("absent")).is_err());
    }

    #[test]
    fn texts_are_bounded_and_new_files_new() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        create(&path, 0o600, "four").unwrap();
        assert_eq!(text(&path, 4).unwrap(), "four");
        assert!(text(&path, 3).is_err());
        assert_eq!(bytes(&path, 4).unwrap(), b"four");
        assert!(bytes(&path, 3).is_err());
        assert!(create(&path, 0o600, "again").is_err());
    }
}
