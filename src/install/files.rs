//! The files of services on the host: what a service says about them becomes what the host shall
//! have. Secrets that are not there yet are made here; a plan carries them unseen.

use std::path::{Path, PathBuf};

use crate::config;
use crate::error::{Error, Result};
use crate::plan::{Content, Wanted, WantedDir, WantedFile};
use crate::profile::Format;
use crate::record::{FileKind, Record};
use crate::root::{Attr, Look, Root};
use crate::service::{DataDir, HostFile, Service, Source};

/// Characters of a random secret: none that a shell, YAML or a web form would treat in a way of
/// its own.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Adds the files and directories of a service; gives those that it only reads when it starts,
/// and those that it may also write to.
pub fn lay(
    wanted: &mut Wanted,
    service: &Service,
    root: &Root,
) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    for dir in &service.data {
        wanted.dirs.push(WantedDir { path: dir.path.clone().into(), attr: dir.attr });
    }
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    for file in &service.files {
        let path = PathBuf::from(&file.path);
        let content =
            content(file, root).map_err(|e| e.within(&format!("service {}", service.name)))?;
        let kind = if file.format.is_some() { FileKind::Config } else { FileKind::Secret };
        wanted.files.push(WantedFile { path: path.clone(), content, attr: file.attr, kind });
        if file.writable { &mut writes } else { &mut reads }.push(path);
    }
    Ok((reads, writes))
}

/// What a file shall hold. What is there, edited or not, is checked as well: a service is not
/// restarted with a file that it cannot read.
fn content(file: &HostFile, root: &Root) -> Result<Content> {
    let there = Path::new(&file.path);
    let held = root.read(there)?;
    if let (Some(format), Some(bytes)) = (file.format, &held) {
        check(format, bytes, there, root)?;
    }
    Ok(match (&file.source, held) {
        (Source::Text(text), _) => Content::Text(text.clone()),
        (Source::Given(text), Some(held)) if text.as_bytes() == held => Content::Kept,
        (Source::Given(_), Some(_)) if file.once.is_some() => {
            let instead = file.once.clone().unwrap_or_default();
            return Err(Error::usage("it is there already, and another would have no effect")
                .at(root.path(there).display())
                .remedy(format!("change it where it is used: {instead}")));
        }
        (Source::Given(text), _) => Content::Secret(text.clone()),
        (Source::Random(_), Some(_)) => Content::Kept,
        (Source::Random(length), None) => Content::Secret(random(*length)?),
        (Source::Site(path), held) => {
            let own = Path::new(path);
            match (root.read(own)?, held) {
                (Some(bytes), _) => {
                    check(file.format.unwrap_or_default(), &bytes, own, root)?;
                    Content::CopyOf(own.into())
                }
                // Brought on a medium that is gone, perhaps: what was made of it stays.
                (None, Some(_)) => Content::Kept,
                (None, None) => {
                    return Err(Error::host("there is no such file")
                        .at(root.path(own).display())
                        .remedy("name the file with its whole path on this host"));
                }
            }
        }
    })
}

fn check(format: Format, bytes: &[u8], path: &Path, root: &Root) -> Result<()> {
    config::check(format, bytes).map_err(|why| {
        Error::usage(why).at(root.path(path).display()).remedy("mend the file; nothing was changed")
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

/// Data that is there from before: under another owner, whom the container may not be, or made with
/// a secret that is there no more.
pub fn earlier_data(
    service: &Service,
    record: Option<&Record>,
    root: &Root,
) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    let old = service.data.iter().map(|dir| root.list(Path::new(&dir.path)));
    let old = old.collect::<Result<Vec<_>>>()?.iter().any(|names| !names.is_empty());
    for file in service.files.iter().filter(|_| old) {
        if let (Source::Random(_), Some(once)) = (&file.source, &file.once)
            && !root.exists(Path::new(&file.path))?
        {
            warnings.push(format!(
                "{} is new, and the data of {} was made with another; where that is lost: {once}",
                file.path, service.name
            ));
        }
    }
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

    fn file(source: Source, format: Option<Format>, once: Option<&str>) -> HostFile {
        HostFile {
            path: "/there".into(),
            source,
            attr: Attr::own(0o600),
            format,
            writable: false,
            once: once.map(String::from),
        }
    }

    #[test]
    fn what_is_there_stays_and_is_checked() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let put = |path: &str, text: &str| {
            root.write(Path::new(path), text.as_bytes(), Attr::own(0o600)).unwrap();
        };
        let random = file(Source::Random(20), None, None);
        let site = file(Source::Site("/stick".into()), Some(Format::Yaml), None);
        let text = file(Source::Text("a: 1\n".into()), Some(Format::Yaml), None);
        assert!(
            matches!(content(&random, &root).unwrap(), Content::Secret(text) if text.len() == 20)
        );
        assert!(content(&site, &root).unwrap_err().to_string().contains("no such file"));

        put("/there", "b: 2\n");
        assert_eq!(content(&random, &root).unwrap(), Content::Kept);
        // The stick is away; then it is back.
        assert_eq!(content(&site, &root).unwrap(), Content::Kept);
        put("/stick", "c: 3\n");
        assert_eq!(content(&site, &root).unwrap(), Content::CopyOf("/stick".into()));
        put("/stick", "c: [\n");
        assert!(content(&site, &root).unwrap_err().to_string().contains("/stick: it is not YAML"));
        // An edited file is kept, but not where its service could not read it.
        assert_eq!(content(&text, &root).unwrap(), Content::Text("a: 1\n".into()));
        put("/there", "a: [\n");
        assert!(content(&text, &root).unwrap_err().to_string().contains("/there: it is not YAML"));

        let given = |text: &str| file(Source::Given(text.into()), None, Some("do it there"));
        put("/there", "old");
        assert_eq!(content(&given("old"), &root).unwrap(), Content::Kept);
        let error = content(&given("new"), &root).unwrap_err();
        assert!(error.next_step().unwrap().contains("do it there"), "{error}");
    }

    #[test]
    fn random_secrets_are_long_and_differ() {
        let (one, other) = (random(24).unwrap(), random(24).unwrap());
        assert_eq!(one.len(), 24);
        assert_ne!(one, other);
        assert!(one.bytes().all(|byte| ALPHABET.contains(&byte)));
    }
}
