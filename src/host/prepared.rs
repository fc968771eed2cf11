//! What is told of a root that does not run: from its files alone. None of its programs is
//! started: they are somebody else's, maybe for another processor, and would run with our rights.

use std::path::Path;

use super::facts::{EngineFacts, find};
use crate::engine::Kind;
use crate::error::Result;
use crate::root::Root;

/// The version of systemd beneath `root`, from the name of its library:
/// `libsystemd-shared-257.so`, `libsystemd-shared-252-18.el9.so`.
pub fn systemd(root: &Root) -> Result<Option<u32>> {
    let mut folders: Vec<_> = ["/usr/lib/systemd", "/usr/lib64/systemd", "/lib/systemd"]
        .map(|f| Path::new(f).to_owned())
        .into();
    // Debian's multiarch: /usr/lib/x86_64-linux-gnu/systemd
    for name in root.list(Path::new("/usr/lib"))? {
        folders.push(Path::new("/usr/lib").join(name).join("systemd"));
    }
    for folder in folders {
        if !root.is_directory(&folder)? {
            continue;
        }
        let names = root.list(&folder)?;
        let found = names.iter().filter_map(|name| version_in_name(name.to_str()?)).max();
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn version_in_name(name: &str) -> Option<u32> {
    let rest = name.strip_prefix("libsystemd-shared-")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Whether a host booted from it has control groups version 2 alone: distributions changed with
/// systemd 247 or so.
pub fn cgroup_v2(systemd: Option<u32>) -> bool {
    systemd.is_none_or(|version| version >= 247)
}

/// An engine whose command is there.
pub fn engine(root: &Root, kind: Kind, init_program: bool) -> Result<EngineFacts> {
    let usable = match kind {
        Kind::Docker if find(root, "dockerd")?.is_none() => Err(
            "its `docker` has no daemon, so it may be podman under another name: use podman, or \
             install docker's daemon"
                .to_owned(),
        ),
        Kind::Docker | Kind::Podman => Ok(()),
    };
    Ok(EngineFacts { kind, version: (0, 0), init_program, usable })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests work in folders of their own")]

    use std::fs;

    use super::*;

    #[test]
    fn told_from_files() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "#!/bin/sh\ntouch /tmp/this-must-never-run\n").unwrap();
        };
        put("usr/bin/docker");
        put("usr/bin/podman");
        put("usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-257.so");
        let root = Root::open(dir.path()).unwrap();
        assert_eq!(systemd(&root).unwrap(), Some(257));
        assert!(engine(&root, Kind::Docker, false).unwrap().usable.is_err());
        assert!(engine(&root, Kind::Podman, false).unwrap().usable.is_ok());
        put("usr/sbin/dockerd");
        assert!(engine(&root, Kind::Docker, false).unwrap().usable.is_ok());
    }

    #[test]
    fn names_of_libraries() {
        assert_eq!(version_in_name("libsystemd-shared-252-18.el9.so"), Some(252));
        assert_eq!(version_in_name("libsystemd-core-257.so"), None);
    }
}
