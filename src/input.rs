//! Files that a person names on the command line: opened for reading, never written.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::error::{Error, Result};

/// Opens a file for reading.
///
/// # Errors
/// `Failed`, with the reason; a directory is refused, since reading it fails only later.
#[expect(clippy::disallowed_methods, reason = "the one door for files named by a person")]
pub fn open(path: &Path) -> Result<File> {
    let broken = |e: std::io::Error| {
        let remedy = match e.kind() {
            ErrorKind::NotFound => "see that the name is right",
            ErrorKind::PermissionDenied => "run it as somebody who may read it",
            _ => "try again, or another copy of it",
        };
        Error::failed("cannot open it").at(path.display()).because(e).remedy(remedy)
    };
    let file = File::open(path).map_err(broken)?;
    if file.metadata().map_err(broken)?.is_dir() {
        return Err(Error::failed("it is a directory, not a file")
            .at(path.display())
            .remedy("name a file in it"));
    }
    Ok(file)
}

/// Reads a text of at most `limit` bytes.
pub fn text(path: &Path, limit: u64) -> Result<String> {
    let mut text = String::new();
    open(path)?.take(limit + 1).read_to_string(&mut text).map_err(|e| {
        Error::failed("cannot read it as text")
            .at(path.display())
            .because(e)
            .remedy("see that it is the file that is meant")
    })?;
    if text.len() as u64 > limit {
        return Err(Error::failed(format!("it is larger than {limit} bytes"))
            .at(path.display())
            .remedy("see that it is the file that is meant"));
    }
    Ok(text)
}
