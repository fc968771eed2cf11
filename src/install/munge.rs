//! What an installation has to do with munge: the host's munged where it is to be used, the
//! private copy of a key, what is to be proven, and what an administrator should know.

use std::path::{Path, PathBuf};

use crate::answers::{Answers, Wanted as Role};
use crate::engine::Kind;
use crate::error::{Error, Result};
use crate::host::Facts;
use crate::host::facts::{MUNGE_KEY, MUNGE_SOCKET, find};
use crate::munge::{Proof, key};
use crate::plan::{Content, Wanted, WantedDir, WantedFile};
use crate::profile::Value;
use crate::record::FileKind;
use crate::root::{Attr, Look, Root};
use crate::service::{MUNGE_COPY, Munge, Service};

/// Where the host's munged is to be used it must be there; the container would fail later.
pub fn check_socket(services: &[Service], root: &Root, facts: &Facts) -> Result<()> {
    let user = services.iter().find(|service| service.munge == Munge::Host);
    match user.filter(|_| root.is_live() && !facts.munge_socket) {
        None => Ok(()),
        Some(service) => Err(Error::host(format!(
            "{} is to use this host's munge, whose socket is not there",
            service.name
        ))
        .at(MUNGE_SOCKET)
        .remedy(format!(
            "start it (systemctl start munge), or choose another way: --set {}.munge=key or none",
            service.name
        ))),
    }
}

/// What to know of services that nobody is kept from by munge; each service's role is at the
/// same place in `roles`.
pub fn warnings(roles: &[Role], services: &[Service]) -> Vec<String> {
    let warning = |(role, service): (&Role, &Service)| {
        let name = &service.name;
        // A role that knows nothing of munge has ways of its own.
        let table = role.profile.munge.as_ref()?;
        match &service.munge {
            Munge::ImageKey => Some(format!(
                "{name} authenticates with the key in its image, which everybody has: that is no \
                 protection"
            )),
            Munge::None => Some(match &table.none_note {
                Some(note) => format!("{name} (munge=none): {}", note.get_ref()),
                None => format!(
                    "{name} asks nobody who they are: whoever reaches its port can use it \
                     (munge=none)"
                ),
            }),
            Munge::Host | Munge::Key { .. } => None,
        }
    };
    roles.iter().zip(services).filter_map(warning).collect()
}

/// The private copy of a munge key; gives the files that the service reads when it starts.
pub fn copy(wanted: &mut Wanted, service: &Service, root: &Root) -> Result<Vec<PathBuf>> {
    let Munge::Key { source, copy, owner } = &service.munge else { return Ok(Vec::new()) };
    let (source, copy) = (PathBuf::from(source), PathBuf::from(copy));
    // A key that was brought on a medium may be gone with it: its copy serves on.
    let content = if !root.exists(&source)? && root.exists(&copy)? {
        Content::Kept
    } else {
        key::check(root, &source, &service.name, *owner)?;
        Content::CopyOf(source)
    };
    if let Some(folder) = copy.parent() {
        check_folder(root, folder)?;
        wanted.dirs.push(WantedDir { path: folder.into(), attr: Attr::root(0o700) });
    }
    if !wanted.files.iter().any(|file| file.path == copy) {
        wanted.files.push(WantedFile {
            path: copy.clone(),
            content,
            attr: Attr { mode: 0o600, uid: owner.uid, gid: owner.gid },
            kind: FileKind::Key,
        });
    }
    Ok(vec![copy])
}

/// A directory of ours that was there before us, or was changed since: whoever can write to it
/// can put another key in the place of the copy.
fn check_folder(root: &Root, folder: &Path) -> Result<()> {
    let own = nix::unistd::geteuid().as_raw();
    for dir in folder.ancestors().take(2) {
        let private = if dir == folder { 0o077 } else { 0o022 };
        if let Look::Directory { attr } = root.look(dir)?
            && (attr.mode & private != 0 || ![0, own].contains(&attr.uid))
        {
            let mode = 0o777 & !private;
            let shown = root.path(dir).display().to_string();
            return Err(Error::host(format!(
                "others have rights here ({attr}): no key is put there"
            ))
            .at(&shown)
            .remedy(format!("chown root {shown} && chmod {mode:04o} {shown}")));
        }
    }
    Ok(())
}

/// What is to be proven for a service before it starts. A key that is the host's own, or the
/// host's munged itself, has to work between host and container, if the host has the programs
/// to try it.
pub fn proof(service: &Service, engine: Kind, root: &Root, facts: &Facts) -> Result<Option<Proof>> {
    let meant = match &service.munge {
        Munge::Host => true,
        Munge::Key { source, .. } => source == MUNGE_KEY,
        Munge::ImageKey | Munge::None => false,
    };
    let programs = find(root, "munge")?.is_some() && find(root, "unmunge")?.is_some();
    let across = meant && root.is_live() && facts.munge_socket && programs;
    Ok(Proof::of(service, engine, across))
}

/// Keys that were copied and have changed since, by what the answers say: for people.
pub fn stale_copies(root: &Root, answers: &Answers) -> Vec<String> {
    let digest = |path: &Path| match root.look(path) {
        Ok(Look::File { digest, .. }) => Some(digest),
        // What is not there, or not ours to read, is not compared.
        _ => None,
    };
    let Some(copy) = digest(Path::new(MUNGE_COPY)) else { return Vec::new() };
    let mut sources: Vec<&str> = Vec::new();
    for service in answers.service.values() {
        let get = |key: &str| service.values.get(key).or_else(|| answers.all.get(key));
        if let (Some(Value::Text(mode)), Some(Value::Text(source))) =
            (get("munge"), get("munge_key"))
            && mode == "key"
            && !sources.contains(&source.as_str())
        {
            sources.push(source);
        }
    }
    sources.retain(|source| digest(Path::new(source)).is_some_and(|now| now != copy));
    let note = |source: &&str| {
        format!(
            "the munge key {source} is not what its copy {MUNGE_COPY} holds: run ldms-install to \
             renew it"
        )
    };
    sources.iter().map(note).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::answers::{Host, Never, Sources, settle};
    use crate::digest::Digest;
    use crate::manifest::{ImageEntry, Origin, Owner};
    use crate::profile::Profile;

    const NUMBER: &str = "[[question]]\nkey = \"compid\"\nask = \"?\"\ntype = \"host-number\"\n\
                          default = \"hostname-digits\"\nenv = [\"COMPID\"]\n";

    /// Of a role with these lines, what is said and what is proven.
    fn decided(lines: &str, sets: &[&str]) -> (Vec<String>, Option<Proof>) {
        let text = format!(
            "summary = \"T\"\nimage = \"a/b\"\n{lines}\n[container]\nnetwork = \"pasta\"\npid = \"host\"\ninit = true\nenv = {{ TOKEN = \"secret\" }}\nargs = [\"-x\"]\n{NUMBER}"
        );
        let profile = Profile::parse("watcher", &text).unwrap();
        let image = ImageEntry {
            name: "a/b".into(),
            id: Digest::of(b"configuration"),
            size: 1,
            munge: Some(Owner { uid: 101, gid: 101 }),
            layers: vec![Digest::of(b"layer")],
            origin: Origin::default(),
        };
        let host =
            Host { name: "n1".into(), munge_socket: true, munge_key: true, ..Host::default() };
        let roles =
            [Role { name: "w1", profile: &profile, munge: image.munge, kept: Default::default() }];
        let sources = sets.iter().try_fold(Sources::new(), |all, set| all.set(set)).unwrap();
        let settled = settle(&roles, &sources, &host, &mut Never).unwrap();
        let service =
            Service::decide(&roles[0], &settled.values["w1"], &host, &image, &BTreeMap::new())
                .unwrap();
        let proof = Proof::of(&service, Kind::Docker, true);
        (warnings(&roles, &[service]), proof)
    }

    #[test]
    fn each_way_to_munge_is_spoken_of_as_it_deserves() {
        let note = "none_note = \"the container then trusts the public key in its image\"";
        let with_note = format!("munge = {{ {note} }}");
        for (lines, sets, words) in [
            ("munge = {}", &["munge=host"][..], ""),
            ("munge = {}", &["munge=key"], ""),
            ("munge = {}", &["munge=none"], "w1 asks nobody who they are"),
            (&with_note, &["munge=none"], "w1 (munge=none): the container then trusts the public"),
            (&with_note, &["munge=host"], ""),
            (
                "munge = {}",
                &["munge=image-key", "accept-insecure-munge-key=true"],
                "w1 authenticates with the key in its image, which everybody has",
            ),
            // It has nothing to do with munge.
            ("", &[], ""),
        ] {
            let (said, proof) = decided(lines, sets);
            assert_eq!(said.len(), usize::from(!words.is_empty()), "{lines} {sets:?}: {said:?}");
            assert!(said.concat().starts_with(words), "{said:?}");
            let none = lines.is_empty() || sets == ["munge=none"];
            assert_eq!(proof.is_none(), none, "{lines} {sets:?}");
        }
        let text =
            "summary = \"T\"\nimage = \"a/b\"\n[container]\n[munge]\nnone_note = \"two\\nlines\"\n";
        let error = Profile::parse("watcher", text).unwrap_err();
        assert!(error.to_string().starts_with("profiles/watcher.toml:5:"), "{error}");
    }

    #[test]
    fn the_throwaway_container_has_the_services_mounts_and_nothing_that_is_not_there_yet() {
        // A number of the boot is in a file that only the service's start makes.
        let (_, proof) = decided("munge = {}", &["munge=key", "compid-at=boot"]);
        let proof = proof.unwrap();
        assert_eq!(
            proof.flags,
            [
                "--network=pasta",
                "--mount=type=bind,source=/etc/ldms/munge/munge.key,\
                 target=/etc/munge/munge.key,readonly",
                "--stop-timeout=10"
            ]
        );
        let json = serde_json::to_string(&crate::plan::Step::Prove(proof)).unwrap();
        assert!(json.starts_with(r#"{"step":"prove","service":"w1""#), "{json}");
        assert!(!json.contains("secret"), "{json}");
    }

    #[test]
    fn a_copy_of_what_has_changed_is_told_of() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        for path in ["/etc", "/etc/ldms", "/etc/ldms/munge", "/root"] {
            root.mkdir(Path::new(path), Attr::own(0o700)).unwrap();
        }
        let write = |path: &str, text: &[u8]| {
            root.write(Path::new(path), text, Attr::own(0o600)).unwrap();
        };
        let answers = "[service.a]\nmunge = \"key\"\nmunge_key = \"/root/k\"\n\
                       [service.b]\nmunge = \"key\"\nmunge_key = \"/root/k\"\n\
                       [service.c]\nmunge = \"host\"\nmunge_key = \"/root/other\"\n";
        let answers = Answers::from_toml("install.toml", answers).unwrap();
        let stale = || stale_copies(&root, &answers);
        write("/root/other", b"other");
        write("/root/k", b"one");
        assert!(stale().is_empty(), "nothing was copied");
        write(MUNGE_COPY, b"one");
        assert!(stale().is_empty());
        write("/root/k", b"two");
        let said = stale();
        assert!(said.len() == 1 && said[0].contains("/root/k is not what its copy"), "{said:?}");
        root.remove_file(Path::new("/root/k")).unwrap();
        assert!(stale().is_empty(), "what is not there cannot be renewed");
    }
}
