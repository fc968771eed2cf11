//! Installing, and the other things done to a node. Everything a run needs is verified before
//! its first change; nothing here prints or asks except through what it is given.

mod commands;
mod decide;
mod files;
mod munge;
pub mod open;
mod running;
pub mod shell;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::answers::Ask;
use crate::apply::{self, Recovered};
use crate::bundle::{Bundle, Share, Verified};
use crate::engine::Kind;
use crate::error::{Error, Result};
use crate::health::{self, Status};
use crate::host::{Facts, Interrupt, ports};
use crate::manifest::{ImageEntry, Manifest};
use crate::plan::{self, Node, Plan, State, Step};
use crate::progress::Progress;
use crate::record::{CommandRecord, FileKind, Record};
use crate::root::{Lock, Root};
use crate::trust::Signer;
use open::{Opened, Which};

/// The answers given so far.
pub const ANSWERS: &str = "/etc/ldms/install.toml";

/// What is asked of [`install`].
#[derive(Clone, Debug)]
pub struct Request {
    /// The root of the host's files: `/`, or a prepared root file system.
    pub root: PathBuf,
    /// Which bundle.
    pub which: Which,
    /// `--role`, as typed
    pub roles: Vec<String>,
    /// `--engine`
    pub engine: Option<Kind>,
    /// `--set`, as typed
    pub set: Vec<String>,
    /// `--answers`
    pub answers: Option<PathBuf>,
    /// Services shall run afterwards.
    pub start: bool,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What a run has done, or would do.
#[derive(Serialize)]
pub struct Outcome {
    /// Something is different now (or would be).
    pub changed: bool,
    /// Nothing was done, this only says what would be.
    pub dry_run: bool,
    /// `NAME-VERSION-RELEASE` of the bundle.
    pub bundle: String,
    /// Who signed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer: Option<Signer>,
    /// The steps.
    pub plan: Plan,
    /// What was not done as wished, and why.
    pub warnings: Vec<String>,
    /// What each service says to whoever installed it: its address, a next step.
    pub notices: Vec<String>,
}

/// Who and what a run works with.
pub struct Session<'a> {
    /// Asked what nobody has said.
    pub ask: &'a mut dyn Ask,
    /// Raised when somebody wants to stop.
    pub interrupt: &'a Interrupt,
    /// Told how far it is.
    pub progress: &'a dyn Progress,
}

/// Installs roles, or brings what is installed up to the bundle.
///
/// # Errors
/// `Refused`: the bundle; `Host`: something is missing on the host; `Usage`: answers. The host is
/// as it was unless it is `Incomplete`.
pub fn install(request: &Request, session: &mut Session<'_>) -> Result<Outcome> {
    let root = Root::open(&request.root)?;
    need_rights(&root, request.dry_run)?;
    let (lock, opened) = if request.dry_run {
        apply::refuse_pending(&root)?;
        (None, request.which.open(&root)?)
    } else {
        let (lock, opened) = open_and_lock(&request.which, &root, session)?;
        (Some(lock), opened)
    };
    let record = Record::load(&root)?;
    let facts = Facts::gather(&root)?;
    let decided = decide::decide(request, &root, &opened, record.as_ref(), &facts, session.ask)?;
    let node = Node::new(&root, decided.wanted.engine);
    let state = State::look(&node, Some(&decided.wanted), record.as_ref())?;
    let plan = plan::plan(&decided.wanted, record.as_ref(), &state)?;
    if node.systemd.is_some() && request.start {
        check_ports(&decided.ports, record.as_ref(), &node)?;
        check_containers(&decided.containers, record.as_ref(), &node)?;
    }
    let bundle = &opened.bundle;
    let mut warnings = decided.warnings;
    if let Some(lock) = &lock {
        prove_needed(bundle, &plan, session.interrupt, session.progress)?;
        let mut feed = |name: &str, reference: &str, out: &mut dyn std::io::Write| {
            bundle.export(image_named(bundle, name)?, reference, out, session.progress)
        };
        warnings.extend(apply::apply(
            lock,
            &node,
            &plan,
            "install",
            &mut feed,
            session.interrupt,
            session.progress,
        )?);
    }
    Ok(Outcome {
        changed: plan.changed,
        dry_run: request.dry_run,
        bundle: bundle.manifest().title(),
        signer: Some(opened.signer),
        plan,
        warnings,
        notices: decided.notices,
    })
}

/// Proves every image that the plan is going to load; texts were proven when they were read.
fn prove_needed(
    bundle: &Bundle,
    plan: &Plan,
    interrupt: &Interrupt,
    progress: &dyn Progress,
) -> Result<()> {
    let mut images = Vec::new();
    for step in &plan.steps {
        if let Step::LoadImage { name, .. } = step {
            images.push(image_named(bundle, name)?);
        }
    }
    if !images.is_empty() {
        bundle.verify(Share::Images(&images), &|| interrupt.check(), progress)?;
    }
    Ok(())
}

fn image_named<'a>(bundle: &'a Bundle, name: &str) -> Result<&'a ImageEntry> {
    bundle.manifest().image(name).ok_or_else(|| {
        Error::failed(format!("image {name} is not in this bundle"))
            .at(bundle.place().display())
            .remedy("use the bundle it was installed from, or a newer one")
    })
}

/// Ports that a service is going to take, unless a service of ours holds them now.
fn check_ports(wanted: &[(String, u16)], record: Option<&Record>, node: &Node<'_>) -> Result<()> {
    let mut ours = std::collections::BTreeSet::new();
    if let (Some(record), Some(systemd)) = (record, node.systemd) {
        let states = systemd.states(&record.units())?;
        for service in &record.services {
            if states.get(&service.unit).is_some_and(|state| !state.is_down()) {
                ours.extend(service.ports.iter().copied());
            }
        }
    }
    ports::check(wanted, &ours)
}

/// A container that has the name and is not of a service of ours belongs to somebody: a unit
/// would replace it.
fn check_containers(
    wanted: &[(String, String)],
    record: Option<&Record>,
    node: &Node<'_>,
) -> Result<()> {
    let Some(engine) = node.engine else { return Ok(()) };
    for (service, container) in wanted {
        let ours = record.is_some_and(|record| {
            let same = record.services.iter().any(|known| known.container() == *container);
            same && record.engine == Some(engine.kind())
        });
        if !ours && engine.has_container(container)? {
            return Err(Error::host(format!(
                "there is a container {container} already, which the service {service} would replace"
            ))
            .at(engine.kind())
            .remedy(format!(
                "remove it ({} rm --force {container}), or choose another name: --set \
                 {service}.container=NAME",
                engine.kind()
            )));
        }
    }
    Ok(())
}

/// Changing a running host takes root's rights; a root elsewhere only those of its files.
fn need_rights(root: &Root, dry_run: bool) -> Result<()> {
    if dry_run || !root.is_live() || nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::usage("changing this host takes root's rights")
        .remedy("run it as root or through sudo"))
}

/// Checks the bundle, and only then locks the host and clears away what an interrupted run left:
/// who comes with a wrong bundle changes nothing.
fn open_and_lock(which: &Which, root: &Root, session: &Session<'_>) -> Result<(Lock, Opened)> {
    let opened = which.open(root)?;
    let lock = apply::lock(root)?;
    match recover_before(&lock, root, session)? {
        Recovered::Nothing => Ok((lock, opened)),
        // The keys that the host trusts may be others now.
        Recovered::Undone(_) | Recovered::Completed(_) => Ok((lock, which.open(root)?)),
    }
}

fn recover_before(lock: &Lock, root: &Root, session: &Session<'_>) -> Result<Recovered> {
    let recovered =
        apply::recover(lock, &Node::new(root, engine_of_record(root)?), session.progress)?;
    match &recovered {
        Recovered::Nothing => {}
        Recovered::Undone(verb) => session
            .progress
            .note(&format!("an interrupted '{verb}' was found and undone; beginning anew")),
        Recovered::Completed(verb) => {
            session.progress.note(&format!("an interrupted '{verb}' was found and completed"));
        }
    }
    Ok(recovered)
}

fn engine_of_record(root: &Root) -> Result<Option<Kind>> {
    Ok(Record::load(root)?.and_then(|record| record.engine))
}

/// The record, or an error that says that nothing is installed.
fn need_record(root: &Root) -> Result<Record> {
    Record::load(root)?.ok_or_else(|| {
        Error::usage("nothing is installed here")
            .at(root.dir().display())
            .remedy("install with: ldms-install --role ROLE")
    })
}

/// Takes the images of what is installed into the engine: on a host that was booted from a root
/// prepared with `--root`.
pub fn load(root: &Path, which: &Which, session: &mut Session<'_>) -> Result<Outcome> {
    let root = Root::open(root)?;
    need_rights(&root, false)?;
    if !root.is_live() {
        return Err(Error::usage("images are loaded on the host itself, not into a root")
            .remedy("run 'ldms-install load' on the host that was booted from it"));
    }
    let (lock, opened) = open_and_lock(which, &root, session)?;
    let record = need_record(&root)?;
    let bundle = &opened.bundle;
    check_installed(&record, bundle.manifest())?;
    let node = Node::new(&root, record.engine);
    let plan = plan::loading(&record, &State::look(&node, None, Some(&record))?);
    prove_needed(bundle, &plan, session.interrupt, session.progress)?;
    let mut feed = |name: &str, reference: &str, out: &mut dyn std::io::Write| {
        bundle.export(image_named(bundle, name)?, reference, out, session.progress)
    };
    let warnings =
        apply::apply(&lock, &node, &plan, "load", &mut feed, session.interrupt, session.progress)?;
    Ok(Outcome {
        changed: plan.changed,
        dry_run: false,
        bundle: bundle.manifest().title(),
        signer: Some(opened.signer),
        plan,
        warnings,
        notices: Vec::new(),
    })
}

/// The images of what is installed must be those of the bundle: an engine can only say that what
/// it was fed is something else.
fn check_installed(record: &Record, manifest: &Manifest) -> Result<()> {
    for image in &record.images {
        let same = manifest.image(&image.name);
        if !same.is_some_and(|b| b.id == image.id && b.layers == image.layers) {
            let (installed, given) = (record.bundle.title(), manifest.title());
            return Err(Error::usage(format!(
                "{installed} is installed; {} is another one in {given}",
                image.name
            ))
            .remedy(format!(
                "use the bundle {installed} (--bundle FILE), or bring the host up to {given}: \
                 ldms-install"
            )));
        }
    }
    Ok(())
}

/// Removes what the record lists and nobody has edited.
pub fn uninstall(root: &Path, dry_run: bool, session: &mut Session<'_>) -> Result<Outcome> {
    let root = Root::open(root)?;
    need_rights(&root, dry_run)?;
    let lock = if dry_run { None } else { Some(apply::lock(&root)?) };
    match &lock {
        Some(lock) => drop(recover_before(lock, &root, session)?),
        None => apply::refuse_pending(&root)?,
    }
    let record = need_record(&root)?;
    let node = Node::new(&root, record.engine);
    // Data stays, and with it what opens it.
    let plan =
        plan::removal(&record, &[FileKind::Secret], &State::look_for_removal(&node, &record)?);
    let mut warnings = Vec::new();
    if let Some(lock) = &lock {
        let question = format!("Remove {}", names(&record).join(", "));
        if session.ask.asks() && !session.ask.confirm(&question, false)? {
            return Err(Error::failed("nothing was removed, as you said"));
        }
        let mut feed = |_: &str, _: &str, _: &mut dyn std::io::Write| {
            Err(Error::failed("removing loads no images"))
        };
        warnings = apply::apply(
            lock,
            &node,
            &plan,
            "uninstall",
            &mut feed,
            session.interrupt,
            session.progress,
        )?;
    }
    let bundle = record.bundle.title();
    let notices = Vec::new();
    Ok(Outcome { changed: plan.changed, dry_run, bundle, signer: None, plan, warnings, notices })
}

/// The names of the services and commands.
fn names(record: &Record) -> Vec<String> {
    let services = record.services.iter().map(|service| &service.name);
    services.chain(record.commands.iter().map(|command| &command.name)).cloned().collect()
}

/// What is installed and how it is.
#[derive(Default, Serialize)]
pub struct Report {
    /// `NAME-VERSION-RELEASE` of the bundle; none if nothing is installed.
    pub bundle: Option<String>,
    /// The engine.
    pub engine: Option<Kind>,
    /// Each service.
    pub services: Vec<Status>,
    /// Each command for people.
    pub commands: Vec<CommandRecord>,
    /// What is not as it was installed, and what to do.
    pub notes: Vec<String>,
}

/// Looks at what is installed.
pub fn status(root: &Path) -> Result<Report> {
    let root = Root::open(root)?;
    apply::refuse_pending(&root)?;
    let Some(record) = Record::load(&root)? else {
        return Ok(Report::default());
    };
    let node = Node::new(&root, record.engine);
    let services = health::status(&root, &record, node.systemd, node.engine)?;
    // Answers that somebody has damaged are the next installation's to tell of.
    let answers = decide::answers(&root).ok().flatten();
    let notes = answers.map(|(_, answers)| munge::stale_copies(&root, &answers));
    let bundle = Some(record.bundle.title());
    let (engine, commands) = (record.engine, record.commands);
    Ok(Report { bundle, engine, services, commands, notes: notes.unwrap_or_default() })
}

/// Brings an interrupted run to an end.
pub fn recover(root: &Path, session: &Session<'_>) -> Result<Recovered> {
    let root = Root::open(root)?;
    need_rights(&root, false)?;
    let lock = apply::lock(&root)?;
    let node = Node::new(&root, engine_of_record(&root)?);
    apply::recover(&lock, &node, session.progress)
}

/// What [`verify`] has found.
#[derive(Serialize)]
pub struct Proof {
    /// `NAME-VERSION-RELEASE`
    pub bundle: String,
    /// Who signed.
    pub signer: Signer,
    /// The images that were proven, with their bytes.
    pub images: Vec<(String, u64)>,
    /// Members and bytes.
    #[serde(flatten)]
    pub verified: Verified,
}

/// Proves a bundle, or the share of it that `roles` need.
pub fn verify(
    root: &Path,
    which: &Which,
    roles: &[String],
    interrupt: &Interrupt,
    progress: &dyn Progress,
) -> Result<Proof> {
    let root = Root::open(root)?;
    let Opened { bundle, signer, .. } = which.open(&root)?;
    let manifest = bundle.manifest();
    let images: Vec<&ImageEntry> = if roles.is_empty() {
        manifest.image.iter().collect()
    } else {
        decide::images_of_roles(&bundle, roles)?
    };
    let share = if roles.is_empty() { Share::All } else { Share::Images(&images) };
    let verified = bundle.verify(share, &|| interrupt.check(), progress)?;
    Ok(Proof {
        bundle: manifest.title(),
        images: images.iter().map(|image| (image.name.clone(), image.size)).collect(),
        signer,
        verified,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::manifest::Origin;
    use crate::record::{ImageRecord, tests::bundle};

    #[test]
    fn another_bundle_than_the_installed_one_is_not_loaded() {
        let (id, layers) = (Digest::of(b"image"), vec![Digest::of(b"layer")]);
        let mut record = Record::new(bundle(), Some(Kind::Podman));
        record.images.push(ImageRecord {
            name: "ovishpc/a".into(),
            reference: "docker.io/ovishpc/a:ldms-0".into(),
            id,
            layers: layers.clone(),
            size: 1,
            loaded: false,
        });
        let origin = Origin::default();
        let image =
            ImageEntry { name: "ovishpc/a".into(), id, size: 1, munge: None, layers, origin };
        let mut manifest = Manifest {
            name: "ldms".into(),
            version: "4.5".into(),
            release: 2,
            platform: "linux/amd64".parse().unwrap(),
            packer: String::new(),
            site: Vec::new(),
            image: vec![image],
        };
        check_installed(&record, &manifest).unwrap();
        manifest.image[0].layers.clear();
        let error = check_installed(&record, &manifest).unwrap_err();
        assert_eq!(error.kind(), crate::error::Kind::Usage);
        assert!(error.to_string().contains("ldms-4.4-1 is installed"), "{error}");
        assert!(error.to_string().contains("ldms-4.5-2"), "{error}");
        assert!(error.next_step().unwrap().contains("use the bundle ldms-4.4-1"));
        manifest.image.clear();
        assert!(check_installed(&record, &manifest).is_err());
    }
}
