//! What the tests of roles share: the repository's own profiles and templates, a host, an image.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ldms_bundle::answers::{Host, Never, Settled, Sources, Wanted, settle};
use ldms_bundle::digest::Digest;
use ldms_bundle::engine::Kind;
use ldms_bundle::error::Result;
use ldms_bundle::manifest::{ImageEntry, Origin, Owner};
use ldms_bundle::profile::Profile;
use ldms_bundle::service::Service;
use ldms_bundle::unit::{self, Target, UnitFile};

pub const MUNGE: Option<Owner> = Some(Owner { uid: 101, gid: 101 });

pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files of a directory of the repository, by their paths in it.
pub fn texts(directory: &str) -> BTreeMap<String, String> {
    let path = repository().join(directory);
    let Ok(files) = fs::read_dir(path) else { return BTreeMap::new() };
    let files: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    files
        .iter()
        .map(|path| (format!("{directory}/{}", name(path)), fs::read_to_string(path).unwrap()))
        .collect()
}

pub fn profile(role: &str) -> Profile {
    Profile::parse(role, &texts("profiles")[&format!("profiles/{role}.toml")]).unwrap()
}

pub fn image(profile: &Profile) -> ImageEntry {
    ImageEntry {
        name: profile.image.get_ref().clone(),
        id: Digest::of(b"configuration"),
        size: 276_000_000,
        munge: MUNGE,
        layers: vec![Digest::of(b"layer")],
        origin: Origin::default(),
    }
}

pub fn host(munge: bool) -> Host {
    let names = vec!["nid00100".into(), "nid00100.cluster7".into()];
    let name = "nid00100.cluster7".into();
    Host { name, names, munge_socket: munge, munge_key: munge, prepared: None }
}

pub fn wanted<'a>(name: &'a str, profile: &'a Profile) -> Wanted<'a> {
    Wanted { name, profile, munge: MUNGE, kept: &[] }
}

pub fn settle_with(name: &str, profile: &Profile, host: &Host, sets: &[&str]) -> Result<Settled> {
    let sources = sets.iter().try_fold(Sources::new(), |sources, set| sources.set(set))?;
    settle(&[wanted(name, profile)], &sources, host, &mut Never)
}

/// A service of this role with these answers, as `--yes --set …` would have it.
pub fn service(name: &str, profile: &Profile, host: &Host, sets: &[&str]) -> Result<Service> {
    let settled = settle_with(name, profile, host, sets)?;
    let templates = texts("bundle/config");
    let templates = templates.into_iter().map(|(path, text)| (path.replace("bundle/", ""), text));
    let values = &settled.values[name];
    Service::decide(&wanted(name, profile), values, host, &image(profile), &templates.collect())
}

pub fn target(engine: Kind) -> Target {
    let program = engine.usual_program().to_owned();
    Target { engine, program, systemd: 257, cgroup_v2: true }
}

pub fn files(services: &[Service], target: &Target) -> Result<Vec<UnitFile>> {
    unit::files(services, target, &texts("units"))
}

/// The text of a service's unit.
pub fn unit(service: &Service, target: &Target) -> String {
    let files = files(std::slice::from_ref(service), target).unwrap();
    files.into_iter().find(|file| file.name == service.unit()).unwrap().text
}
