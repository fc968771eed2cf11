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
    key::check(root, &source, &service.name, *owner)?;
    if let Some(folder) = copy.parent() {
        wanted.dirs.push(WantedDir { path: folder.into(), attr: Attr::root(0o700) });
    }
    if !wanted.files.iter().any(|file| file.path == copy) {
        wanted.files.push(WantedFile {
            path: copy.clone(),
            content: Content::CopyOf(source),
            attr: Attr { mode: 0o600, uid: owner.uid, gid: owner.gid },
            kind: FileKind::Secret,
        });
    }
    Ok(vec![copy])
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
