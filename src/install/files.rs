//! The files of services on the host: what a service says about them becomes what the host shall
//! have. Secrets that are not there yet are made here; a plan carries them unseen.

use std::path::{Path, PathBuf};

use crate::config;
use crate::error::{Error, Result};
use crate::plan::{Content, Wanted, WantedDir, WantedFile};
use crate::record::{FileKind, Record};
use crate::root::{Attr, Look, Root};
use crate::service::{DataDir, HostFile, Service, Source};

/// Characters of a random secret: none that a shell, YAML or a web form would treat in a way of
/// its own.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Adds the files and directories of a service; gives the files that it reads when it starts.
pub fn lay(wanted: &mut Wanted, service: &Service, root: &Root) -> Result<Vec<PathBuf>> {
    for dir in &service.data {
        wanted.dirs.push(WantedDir { path: dir.path.clone().into(), attr: dir.attr });
    }
    let mut uses = Vec::new();
    for file in &service.files {
        let path = PathBuf::from(&file.path);
        let (content, kind) = content(service, file, root)?;
        wanted.files.push(WantedFile { path: path.clone(), content, attr: file.attr, kind });
        uses.push(path);
    }
    Ok(uses)
}

fn content(service: &Service, file: &HostFile, root: &Root) -> Result<(Content, FileKind)> {
    let there = Path::new(&file.path);
    Ok(match &file.source {
        Source::Text(text) => (Content::Text(text.clone()), FileKind::Config),
        Source::Given(text) => (Content::Secret(text.clone()), FileKind::Secret),
        Source::Random(_) if root.exists(there)? => {
            (Content::CopyOf(there.into()), FileKind::Secret)
        }
        Source::Random(length) => (Content::Secret(random(*length)?), FileKind::Secret),
        Source::Site { path, format } => {
            let own = Path::new(path);
            let Some(bytes) = root.read(own)? else {
                // Brought on a medium that is gone, perhaps: what was made of it stays.
                if root.exists(there)? {
                    return Ok((Content::CopyOf(there.into()), FileKind::Config));
                }
                return Err(Error::host("there is no such file")
                    .at(root.path(own).display())
                    .within(&format!("service {}", service.name))
                    .remedy("name the file with its whole path on this host"));
            };
            config::check(*format, &bytes).map_err(|why| {
                Error::usage(why)
                    .at(root.path(own).display())
                    .within(&format!("service {}", service.name))
                    .remedy("mend the file; nothing was changed")
            })?;
            (Content::CopyOf(own.into()), FileKind::Config)
        }
    })
}

/// Which of a service's secrets the host has: nobody need be asked for them.
pub fn kept_secrets(files: &[(String, String)], root: &Root) -> Result<Vec<String>> {
    let mut kept = Vec::new();
    for (key, path) in files {
        if root.exists(Path::new(path))? {
            kept.push(key.clone());
        }
    }
    Ok(kept)
}

/// Data that is there under another owner, whom the container may not be.
pub fn foreign_data(
    service: &Service,
    record: Option<&Record>,
    root: &Root,
) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    for DataDir { path, attr } in &service.data {
        let ours = record.is_some_and(|record| record.dirs.contains(Path::new(path)));
        if let Look::Directory { attr: Attr { uid, gid, .. } } = root.look(Path::new(path))?
            && !ours
            && (uid, gid) != (attr.uid, attr.gid)
        {
            warnings.push(format!(
                "{path} belongs to {uid}:{gid} and is left so; {} writes there as {}:{}",
                service.name, attr.uid, attr.gid
            ));
        }
    }
    Ok(warnings)
}

fn random(length: u8) -> Result<String> {
    let mut bytes = vec![0; usize::from(length)];
    getrandom::fill(&mut bytes).map_err(|e| {
        Error::failed("the kernel gives no random numbers")
            .because(std::io::Error::other(e.to_string()))
    })?;
    // 64 characters: each of them from six bits, none more likely than another.
    Ok(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 63)])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_secrets_are_long_and_differ() {
        let (one, other) = (random(24).unwrap(), random(24).unwrap());
        assert_eq!(one.len(), 24);
        assert_ne!(one, other);
        assert!(one.bytes().all(|byte| ALPHABET.contains(&byte)));
    }
}
