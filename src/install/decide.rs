//! From bundle, answers and facts to what the host shall have: nothing is changed here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::commands;
use super::files;
use super::open::{Opened, TRUSTED};
use super::{ANSWERS, Request, munge, running};
use crate::answers::{
    Answers, Ask, Host, Settled, Sources, Wanted as WantedRole, Wish, choose_engine, choose_role,
    settle,
};
use crate::bundle::Bundle;
use crate::engine::{Kind, init};
use crate::error::{Error, Result};
use crate::host::Facts;
use crate::manifest::{ImageEntry, Platform};
use crate::named;
use crate::plan::{Content, Note, Wanted, WantedDir, WantedFile, WantedImage};
use crate::profile::Profile;
use crate::record::{BundleRecord, FileKind, Record};
use crate::root::{Attr, Root};
use crate::service::{Service, check_sources, check_together};
use crate::unit::{self, OLDEST_SYSTEMD, Target, UnitFile};

/// Where the program installs itself.
const PROGRAM: &str = "/usr/local/sbin/ldms-install";
/// Our directory of configuration.
const CONFIG: &str = "/etc/ldms";
/// The target that stands for all services.
const TARGET: &str = "ldms.target";
/// Most bytes of a file of answers.
const ANSWERS_LIMIT: u64 = 1 << 20;

/// The decision.
pub struct Decided {
    /// What the host shall have.
    pub wanted: Wanted,
    /// Ports that its services take, by service.
    pub ports: Vec<(String, u16)>,
    /// Names of their containers, by service.
    pub containers: Vec<(String, String)>,
    /// What the administrator should know.
    pub warnings: Vec<String>,
    /// What services say to whoever installed them.
    pub notices: Vec<String>,
}

/// Decides everything, asking what is not known.
pub fn decide(
    request: &Request,
    root: &Root,
    opened: &Opened,
    record: Option<&Record>,
    facts: &Facts,
    ask: &mut dyn Ask,
) -> Result<Decided> {
    let bundle = &opened.bundle;
    check_platform(bundle, root, facts)?;
    let profiles = profiles(bundle)?;
    check_systemd(root, facts)?;
    let sources = sources(request, root)?;
    let wishes = wishes(request, &sources, record, &profiles, ask)?;
    let engine = engine(request, &sources, root, facts, ask)?;

    let host = Host {
        name: facts.hostname.clone(),
        names: facts.names.clone(),
        munge_socket: facts.munge_socket,
        munge_key: facts.munge_key,
        prepared: (!root.is_live()).then(|| root.dir().to_owned()),
    };
    let mut kept = Vec::new();
    for wish in &wishes {
        let profile = profile_of(&profiles, &wish.role)?;
        kept.push(files::kept_secrets(&profile.secret_files(&wish.name), root)?);
    }
    let mut roles = Vec::new();
    let mut images = Vec::new();
    for (wish, kept) in wishes.iter().zip(&kept) {
        let profile = profile_of(&profiles, &wish.role)?;
        let image = image_of(bundle, profile)?;
        roles.push(WantedRole { name: &wish.name, profile, munge: image.munge, kept });
        images.push(image);
    }
    let Settled { mut answers, values, found, mut warnings } =
        settle(&roles, &sources, &host, ask)?;
    answers.engine = Some(engine);
    let mut services = Vec::new();
    let templates = bundle.texts("config")?;
    for (role, image) in roles.iter().zip(&images) {
        let values = values.get(role.name).cloned().unwrap_or_default();
        check_sources(role.name, &values, root)?;
        services.push(Service::decide(role, &values, &host, image, &templates)?);
    }
    check_together(&services)?;
    munge::check_socket(&services, root, facts)?;
    warnings.extend(munge::warnings(&roles, &services));
    // A prepared root may get its engine later, and its init program with it.
    let has_init = facts.engine(engine).map_or(!root.is_live(), |found| found.init_program);
    warnings.extend(init::settle(&mut services, engine, has_init));
    services.sort_by(|a, b| (a.order, &a.name).cmp(&(b.order, &b.name)));
    let notices = services.iter().filter_map(|service| service.notice.clone()).collect();
    let (run, services): (Vec<_>, Vec<_>) = services.into_iter().partition(|s| s.command);

    let target = Target {
        engine,
        program: program(root, engine)?,
        systemd: facts.systemd.unwrap_or(OLDEST_SYSTEMD),
        cgroup_v2: facts.cgroup_v2,
    };
    let manifest = bundle.manifest();
    let mut wanted = Wanted::new(
        BundleRecord {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            release: manifest.release,
            signer: opened.signer.fingerprint.clone(),
        },
        Some(engine),
    );
    wanted.start = request.start;
    wanted.notes = found.into_iter().map(|(about, what)| Note { about, what }).collect();
    let templates = bundle.texts("units")?;
    if !services.is_empty() {
        lay_units(&mut wanted, unit::files(&services, &target, &templates)?);
    }
    commands::lay(&mut wanted, &run, &target, &templates, root)?;
    own_files(&mut wanted, &answers)?;
    keep_keys(&mut wanted, opened, record, root, ask)?;
    add_images(&mut wanted, &images);
    let mut ports = Vec::new();
    for service in &services {
        let mut uses = munge::copy(&mut wanted, service, root)?;
        let proof = munge::proof(service, engine, root, facts)?;
        let (reads, writes) = files::lay(&mut wanted, service, root)?;
        uses.extend(reads);
        warnings.extend(files::earlier_data(service, record, root)?);
        ports.extend(service.ports.iter().map(|port| (service.name.clone(), *port)));
        wanted.services.extend(running::wanted(service, uses, writes, proof));
    }
    let container = |service: &Service| (service.name.clone(), service.container.clone());
    let containers = services.iter().map(container).collect();
    Ok(Decided { wanted, ports, containers, warnings, notices })
}

/// Each image once.
fn add_images(wanted: &mut Wanted, images: &[&ImageEntry]) {
    let mut seen = BTreeSet::new();
    for image in images {
        if seen.insert(&image.name) {
            wanted.images.push(WantedImage {
                name: image.name.clone(),
                reference: image.reference(),
                id: image.id,
                layers: image.layers.clone(),
                size: image.size,
            });
        }
    }
}

fn lay_units(wanted: &mut Wanted, units: Vec<UnitFile>) {
    wanted.groups = vec![TARGET.into()];
    for unit in units {
        wanted.add_unit(&unit.name, unit.text, &unit.wanted_by);
    }
}

/// The bundle's images must run on this processor.
fn check_platform(bundle: &Bundle, root: &Root, facts: &Facts) -> Result<()> {
    let theirs = &bundle.manifest().platform;
    let ours = Platform::new("linux", &facts.architecture, None)?;
    // What is prepared in a root may be for another machine.
    if !root.is_live() || (theirs.os == ours.os && theirs.architecture == ours.architecture) {
        return Ok(());
    }
    Err(Error::host(format!("the bundle is for {theirs}, this host is {ours}"))
        .at(bundle.place().display())
        .remedy(format!("use a bundle for {ours}: ldms-pack build --platform {ours}")))
}

/// Units are written for what systemd 239 and later understand.
fn check_systemd(root: &Root, facts: &Facts) -> Result<()> {
    let found = match facts.systemd {
        None if !root.is_live() => return Ok(()),
        None => "there is no systemd here".to_owned(),
        Some(version) if version < OLDEST_SYSTEMD => format!("this host has systemd {version}"),
        Some(_) => return Ok(()),
    };
    Err(Error::host(found)
        .at(root.dir().display())
        .remedy(format!("services need systemd {OLDEST_SYSTEMD} or newer")))
}

/// The bundle's profiles, by role.
fn profiles(bundle: &Bundle) -> Result<Vec<Profile>> {
    let mut profiles = Vec::new();
    for (member, text) in bundle.texts("profiles")? {
        let role = member.strip_prefix("profiles/").and_then(|name| name.strip_suffix(".toml"));
        let role = role.ok_or_else(|| {
            Error::refused("this is not a profile: they are called ROLE.toml").at(&member)
        })?;
        profiles.push(Profile::parse(role, &text)?);
    }
    profiles.sort_by(|a, b| (a.order, &a.role).cmp(&(b.order, &b.role)));
    Ok(profiles)
}

fn profile_of<'a>(profiles: &'a [Profile], role: &str) -> Result<&'a Profile> {
    profiles.iter().find(|profile| profile.role == role).ok_or_else(|| {
        let known: Vec<&str> = profiles.iter().map(|profile| &*profile.role).collect();
        Error::usage(format!("the bundle has no role '{}'", role.escape_debug()))
            .remedy(format!("it has: {}", known.join(", ")))
    })
}

fn image_of<'a>(bundle: &'a Bundle, profile: &Profile) -> Result<&'a ImageEntry> {
    let name = profile.image.get_ref();
    bundle.manifest().image(name).ok_or_else(|| {
        Error::usage(format!("role {} needs the image {name}, which is not in it", profile.role))
            .at(bundle.place().display())
            .remedy("pack it again with that image, without --only")
    })
}

/// The images that roles need.
pub fn images_of_roles<'a>(bundle: &'a Bundle, roles: &[String]) -> Result<Vec<&'a ImageEntry>> {
    let profiles = profiles(bundle)?;
    let mut images = BTreeMap::new();
    for wish in Wish::parse_all(roles)? {
        let image = image_of(bundle, profile_of(&profiles, &wish.role)?)?;
        images.insert(&image.name, image);
    }
    Ok(images.into_values().collect())
}

/// The answers of earlier runs, and the file they are in.
pub fn answers(root: &Root) -> Result<Option<(String, Answers)>> {
    let Some(bytes) = root.read(Path::new(ANSWERS))? else { return Ok(None) };
    let place = root.path(Path::new(ANSWERS)).display().to_string();
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::usage("the answers are not text").at(&place))?;
    let answers = Answers::from_toml(&place, &text)?;
    Ok(Some((place, answers)))
}

/// Everything said on the command line and at earlier runs.
fn sources(request: &Request, root: &Root) -> Result<Sources> {
    let mut sources = Sources::new();
    if let Some((place, answers)) = answers(root)? {
        sources = sources.recorded(&place, answers);
    }
    if let Some(path) = &request.answers {
        let place = path.display().to_string();
        let text = named::text(path, ANSWERS_LIMIT)?;
        sources = sources.file(&place, Answers::from_toml(&place, &text)?);
    }
    for set in &request.set {
        sources = sources.set(set)?;
    }
    Ok(sources)
}

/// The services that shall be there: those that are, and those asked for.
fn wishes(
    request: &Request,
    sources: &Sources,
    record: Option<&Record>,
    profiles: &[Profile],
    ask: &mut dyn Ask,
) -> Result<Vec<Wish>> {
    let mut wishes: Vec<Wish> = record
        .iter()
        .flat_map(|record| &record.services)
        .filter(|service| service.companion_of.is_none())
        .map(|service| Wish { name: service.name.clone(), role: service.role.clone() })
        .collect();
    wishes.extend(
        record
            .iter()
            .flat_map(|record| &record.commands)
            .map(|command| Wish { name: command.name.clone(), role: command.role.clone() }),
    );
    let mut asked = Wish::parse_all(&request.roles)?;
    let in_file = sources.wishes();
    if asked.is_empty() && wishes.is_empty() {
        asked.clone_from(&in_file);
    }
    for wish in asked {
        if let Some(other) = in_file.iter().find(|w| w.name == wish.name && w.role != wish.role) {
            return Err(Error::usage(format!(
                "--role says that {} is a {}, the file of answers a {}",
                wish.name, wish.role, other.role
            ))
            .remedy("give one of them another name, or mend the file"));
        }
        match wishes.iter().find(|known| known.name == wish.name) {
            Some(known) if known.role == wish.role => {}
            Some(known) => {
                return Err(Error::usage(format!(
                    "service {} is installed as {}, not {}",
                    wish.name, known.role, wish.role
                ))
                .remedy("give the new one another name: --role NAME=ROLE"));
            }
            None => wishes.push(wish),
        }
    }
    if wishes.is_empty() {
        let role = choose_role(profiles, ask)?;
        wishes.push(Wish { name: role.clone(), role });
    }
    Ok(wishes)
}

/// The engine: the one named, the one used before, or the one found.
fn engine(
    request: &Request,
    sources: &Sources,
    root: &Root,
    facts: &Facts,
    ask: &mut dyn Ask,
) -> Result<Kind> {
    let why_not = |kind: Kind| match facts.engine(kind) {
        // A prepared root may get its engine later.
        None if !root.is_live() => None,
        None => Some(format!("{kind} is not installed")),
        Some(found) => found.usable.as_ref().err().map(|why| format!("{kind}: {why}")),
    };
    if let Some(kind) = request.engine.or_else(|| sources.engine()) {
        return match why_not(kind) {
            None => Ok(kind),
            Some(why) => Err(Error::host(format!("{kind} cannot run the services: {why}"))
                .remedy("mend that, or name another engine with --engine")),
        };
    }
    let installed: Vec<Kind> = facts.engines.iter().map(|engine| engine.kind).collect();
    let usable: Vec<Kind> =
        installed.iter().copied().filter(|kind| why_not(*kind).is_none()).collect();
    if usable.is_empty() {
        let reasons: Vec<String> = installed.iter().filter_map(|kind| why_not(*kind)).collect();
        let reasons = if reasons.is_empty() {
            "neither docker nor podman is installed".to_owned()
        } else {
            reasons.join("; ")
        };
        return Err(Error::host(format!("no container engine can run the services: {reasons}"))
            .at(root.dir().display())
            .remedy("install or mend one; in a prepared root, name it with --engine"));
    }
    choose_engine(&usable, ask)
}

/// The absolute path of the engine's command, for units.
fn program(root: &Root, engine: Kind) -> Result<String> {
    let path = crate::host::facts::find(root, engine.name())?;
    Ok(path.map_or_else(|| engine.usual_program().into(), |path| path.display().to_string()))
}

/// The program itself and the answers.
fn own_files(wanted: &mut Wanted, answers: &Answers) -> Result<()> {
    let program = std::env::current_exe().map_err(|e| {
        Error::failed("cannot find this program's own file, which is to be installed").because(e)
    })?;
    wanted.files.push(WantedFile {
        path: PROGRAM.into(),
        content: Content::Input(program),
        attr: Attr::root(0o755),
        kind: FileKind::Program,
    });
    wanted.dirs.push(WantedDir { path: CONFIG.into(), attr: Attr::root(0o755) });
    wanted.files.push(WantedFile {
        path: ANSWERS.into(),
        content: Content::Text(answers.to_toml()?),
        attr: Attr::root(0o600),
        kind: FileKind::Answers,
    });
    Ok(())
}

/// Keeps the trusted keys that an earlier run laid down, and offers to keep the one that was
/// given for this run. One that the site has removed since stays removed.
fn keep_keys(
    wanted: &mut Wanted,
    opened: &Opened,
    record: Option<&Record>,
    root: &Root,
    ask: &mut dyn Ask,
) -> Result<()> {
    let mut keys: BTreeMap<PathBuf, String> = BTreeMap::new();
    for path in record.iter().flat_map(|record| record.files.keys()) {
        if path.starts_with(TRUSTED)
            && let Some(text) = root.read(path)?.and_then(|bytes| String::from_utf8(bytes).ok())
        {
            keys.insert(path.clone(), text);
        }
    }
    if let Some(key) = &opened.new_key {
        let signer = &opened.signer;
        let (first, second) = signer.fingerprint.split_at(signer.fingerprint.len() / 2);
        ask.note(&format!("The bundle is signed by key {}, fingerprint", signer.key_id))?;
        ask.note(&format!("  {}", first.trim()))?;
        ask.note(&format!("  {}", second.trim()))?;
        if ask.confirm("Trust this key for media to come, too", true)? {
            keys.insert(key.path.clone(), key.text.clone());
        }
    }
    if !keys.is_empty() {
        wanted.dirs.push(WantedDir { path: TRUSTED.into(), attr: Attr::root(0o755) });
    }
    wanted.files.extend(keys.into_iter().map(|(path, text)| WantedFile {
        path,
        content: Content::Text(text),
        attr: Attr::root(0o644),
        kind: FileKind::Config,
    }));
    Ok(())
}
