//! A role on this node, fully decided and independent of the engine.
//!
//! [`Service::decide`] is a pure function of the profile, the answers and the image. Where a value
//! is wrong it says which; nothing has been changed by then.

mod check;
mod companion;
mod files;
mod further;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use toml::Spanned;

use crate::answers::{Host, Values, Wanted, scope};
use crate::error::{Error, Result};
use crate::manifest::{ImageEntry, Owner};
use crate::profile::template::{self, Scope};
use crate::profile::{Argument, Flag, PortRule, Profile, Question, Rule, Value};

pub use check::Check;
pub use companion::Companion;
pub use files::{DataDir, HostFile, Source};
pub use further::check_sources;

/// The directory that holds the socket of the host's munged.
pub const MUNGE_DIRECTORY: &str = "/run/munge";
/// The private copy of a munge key.
pub const MUNGE_COPY: &str = "/etc/ldms/munge/munge.key";
/// Where munged in the images looks for its key.
const MUNGE_KEY_IN_CONTAINER: &str = "/etc/munge/munge.key";

/// Directories whose mounting decides how an image's entrypoint uses munge.
const MUNGE_PLACES: [&str; 3] = [MUNGE_DIRECTORY, "/var/run/munge", "/etc/munge"];

/// What a unit is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the engines' own")]
pub struct Service {
    /// `agg1`; its unit is `ldms-agg1.service`.
    pub name: String,
    /// Its role
    pub role: String,
    /// One line for people.
    pub description: String,
    /// It is no service but a command for people.
    pub command: bool,
    /// Smaller numbers start first.
    pub order: u32,
    /// The name under which the engine knows the image.
    pub image_reference: String,
    /// Name of the container
    pub container: String,
    /// `host`, or another network of the engine
    pub network: String,
    /// Sees the host's processes.
    pub pid_host: bool,
    /// Has all privileges.
    pub privileged: bool,
    /// Gets the engine's small init as process 1. Not where it sees the host's processes: there
    /// its program is not process 1, so that SIGTERM ends it, and podman refuses both together.
    pub init: bool,
    /// Environment, in order
    pub env: Vec<(String, String)>,
    /// Environment that only the booted host can tell
    pub numbers: Vec<BootNumber>,
    /// Bind mounts, munge's among them
    pub mounts: Vec<Mount>,
    /// Files on the host that it reads; their mounts are in `mounts`
    pub files: Vec<HostFile>,
    /// Directories on the host that it writes to; their mounts are in `mounts`
    pub data: Vec<DataDir>,
    /// What the administrator reads after an installation
    pub notice: Option<String>,
    /// Arguments after the image
    pub args: Vec<String>,
    /// How munge reaches it; what it needs mounted is in `mounts`.
    pub munge: Munge,
    /// Limit of open files
    pub nofile: Option<u64>,
    /// No limit of locked memory
    pub unlimited_memlock: bool,
    /// Exit codes after which it is not started again
    pub no_restart_on: Vec<u8>,
    /// From SIGTERM to SIGKILL
    pub stop_timeout: Duration,
    /// Until it must work
    pub start_timeout: Duration,
    /// What must hold for it to work, beyond a running container
    pub checks: Vec<Check>,
    /// Ports of the host that it takes
    pub ports: Vec<u16>,
    /// Further programs in its container
    pub companions: Vec<Companion>,
}

/// A number that is found when the host boots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootNumber {
    /// How
    pub rule: Rule,
    /// The variables that get it
    pub env: Vec<String>,
}

/// A bind mount. Both paths are absolute and fit for `--mount`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// On the host
    pub source: String,
    /// In the container
    pub target: String,
    /// The container cannot write there.
    pub read_only: bool,
}

/// How a container authenticates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Munge {
    /// Through the host's munged.
    Host,
    /// A munged in the container with a copy of a key.
    Key {
        /// The key as the administrator named it; only read.
        source: String,
        /// The copy that is mounted.
        copy: String,
        /// Owner of the copy
        owner: Owner,
    },
    /// A munged in the container with the image's own, public key.
    ImageKey,
    /// Not at all.
    None,
}

impl Service {
    /// Decides a service: `values` are its settled answers, `image` is its image in the bundle,
    /// `templates` are the bundle's configuration templates, by path.
    pub fn decide(
        wanted: &Wanted,
        values: &Values,
        host: &Host,
        image: &ImageEntry,
        templates: &BTreeMap<String, String>,
    ) -> Result<Service> {
        let Wanted { name, profile, .. } = *wanted;
        let decider = Decider { service: name, profile, scope: full_scope(wanted, values, host) };
        let container = &profile.container;
        let munge = decider.munge(values)?;
        let files = decider.files(values, templates)?;
        let pid_host = match decider.text("pid", container.pid.get_ref())?.as_str() {
            "host" => true,
            "private" => false,
            other => return Err(decider.error(format!("pid '{other}' is not host or private"))),
        };
        let service = Service {
            name: name.into(),
            role: profile.role.clone(),
            description: format!("LDMS {name}: {}", profile.summary.get_ref()),
            command: profile.command.is_some(),
            order: profile.order,
            image_reference: image.reference(),
            container: match values.get("container") {
                Some(name) => name.to_string(),
                None => format!("ldms-{name}"),
            },
            network: decider.text("network", container.network.get_ref())?,
            pid_host,
            privileged: decider.flag("privileged", container.privileged.get_ref())?,
            init: decider.flag("init", container.init.get_ref())? && !pid_host,
            env: decider.env(values)?,
            numbers: decider.numbers(values),
            mounts: decider.mounts(&munge, &files.mounts, values)?,
            files: files.host,
            data: files.data,
            notice: match &profile.notice {
                Some(notice) => Some(decider.text("notice", notice.get_ref())?),
                None => None,
            },
            args: decider.args(values)?,
            munge,
            nofile: container.nofile,
            unlimited_memlock: decider
                .flag("unlimited_memlock", container.unlimited_memlock.get_ref())?,
            no_restart_on: container.no_restart_on.clone(),
            stop_timeout: Duration::from_secs(container.stop_timeout.into()),
            start_timeout: Duration::from_secs(container.start_timeout.into()),
            checks: decider.checks()?,
            ports: decider.ports(&profile.ports)?,
            companions: decider.companions()?,
        };
        Ok(service)
    }

    /// The unit's name: `ldms-agg1.service`.
    pub fn unit(&self) -> String {
        format!("ldms-{}.service", self.name)
    }

    /// The unit that finds its numbers at boot, if it has such.
    pub fn numbers_unit(&self) -> Option<String> {
        (!self.numbers.is_empty()).then(|| format!("ldms-{}-values.service", self.name))
    }

    /// The file of the booted host that these numbers are in, for the engine's `--env-file`.
    pub fn numbers_file(&self) -> Option<String> {
        (!self.numbers.is_empty()).then(|| format!("/run/ldms/{}.env", self.name))
    }
}

/// Refuses services that cannot be on one host together.
pub fn check_together(services: &[Service]) -> Result<()> {
    companion::check_together(services)?;
    for (i, one) in services.iter().enumerate() {
        for other in &services[..i] {
            let refuse = |what: String, remedy: &str| {
                Err(Error::usage(format!("{} and {} {what}", other.name, one.name)).remedy(remedy))
            };
            if let Some(port) = one.ports.iter().find(|port| other.ports.contains(port)) {
                let remedy = format!(
                    "give one of them another with --set SERVICE.KEY=PORT (often {}.port); where a \
                     role's port is fixed, the host can have it once",
                    one.name
                );
                return refuse(format!("both want port {port}"), &remedy);
            }
            if one.container == other.container && !one.command && !other.command {
                let remedy = format!("give one another: --set {}.container=NAME", one.name);
                return refuse(format!("both want the container {}", one.container), &remedy);
            }
            if let Some(path) =
                one.data.iter().find(|dir| other.data.iter().any(|o| o.path == dir.path))
            {
                let remedy =
                    "give each a directory of its own, or mount what they share with mounts";
                return refuse(format!("both want to keep their data in {}", path.path), remedy);
            }
            if let Some(file) =
                one.files.iter().find(|f| other.files.iter().any(|o| o.path == f.path))
            {
                let remedy = "a profile must name its files after the service";
                return refuse(format!("both want the file {}", file.path), remedy);
            }
            if let (Munge::Key { copy: a, .. }, Munge::Key { copy: b, .. }) =
                (&one.munge, &other.munge)
                && a == b
                && one.munge != other.munge
            {
                return refuse(
                    format!("want different keys or owners for {a}"),
                    "give both the same munge_key, munge_uid and munge_gid",
                );
            }
        }
    }
    Ok(())
}

fn full_scope(wanted: &Wanted, values: &Values, host: &Host) -> Scope {
    let mut scope = scope(wanted, host);
    for question in &wanted.profile.questions {
        let key = question.key.get_ref();
        let value = values.get(key).map_or(minijinja::Value::from(()), minijinja::Value::from);
        scope.insert(key.clone(), value);
    }
    scope
}

/// A service halfway: its profile and everything that its templates may use.
struct Decider<'a> {
    service: &'a str,
    profile: &'a Profile,
    scope: Scope,
}

impl Decider<'_> {
    fn error(&self, what: impl Into<String>) -> Error {
        Error::usage(what).at(format!("service {}", self.service))
    }

    fn text(&self, what: &str, template: &str) -> Result<String> {
        template::render(template, &self.scope).map_err(|why| self.error(format!("{what}: {why}")))
    }

    fn holds(&self, condition: Option<&str>) -> Result<bool> {
        condition.map_or(Ok(true), |condition| {
            template::holds(condition, &self.scope)
                .map_err(|why| self.error(format!("condition '{condition}': {why}")))
        })
    }

    fn applies(&self, when: Option<&Spanned<String>>) -> Result<bool> {
        self.holds(when.map(|when| when.get_ref().as_str()))
    }

    fn flag(&self, what: &str, flag: &Flag) -> Result<bool> {
        match flag {
            Flag::Fixed(value) => Ok(*value),
            Flag::Template(template) => match self.text(what, template)?.as_str() {
                "true" => Ok(true),
                "false" => Ok(false),
                other => Err(self.error(format!("{what} is '{other}', not true or false"))),
            },
        }
    }

    fn ports(&self, rules: &[PortRule]) -> Result<Vec<u16>> {
        let mut ports = Vec::new();
        for PortRule { tcp, when } in rules {
            if self.applies(when.as_ref())? {
                ports.push(self.port(tcp.get_ref())?);
            }
        }
        Ok(ports)
    }

    fn port(&self, template: &str) -> Result<u16> {
        let text = self.text("port", template)?;
        let port = text.parse().ok().filter(|port| *port != 0);
        port.ok_or_else(|| self.error(format!("'{text}' is not a port")))
    }

    fn env(&self, values: &Values) -> Result<Vec<(String, String)>> {
        let mut env = Vec::new();
        for (name, template) in &self.profile.container.env {
            env.push((name.get_ref().clone(), self.text(name.get_ref(), template.get_ref())?));
        }
        for question in &self.profile.questions {
            let Some(value) = values.get(question.key.get_ref()) else { continue };
            if let Value::AtBoot(_) = value {
                continue;
            }
            for name in &question.env {
                env.push((name.get_ref().clone(), value.to_string()));
            }
        }
        Ok(env)
    }

    fn numbers(&self, values: &Values) -> Vec<BootNumber> {
        let number = |question: &Question| {
            let Some(Value::AtBoot(rule)) = values.get(question.key.get_ref()) else { return None };
            let env: Vec<String> = question.env.iter().map(|name| name.get_ref().clone()).collect();
            (!env.is_empty()).then(|| BootNumber { rule: rule.clone(), env })
        };
        self.profile.questions.iter().filter_map(number).collect()
    }

    /// An option that an answer decides would decide the same a second time, unseen.
    fn refuse_reserved(&self, words: &[String]) -> Result<()> {
        for (option, key) in &self.profile.container.reserved {
            if let Some(word) = words.iter().find(|word| word.starts_with(option.as_str())) {
                let word = word.escape_debug();
                return Err(self
                    .error(format!("the argument '{word}' is for the answer {key} to decide"))
                    .remedy(format!("give --set {}.{key}=… instead", self.service)));
            }
        }
        Ok(())
    }

    fn args(&self, values: &Values) -> Result<Vec<String>> {
        let mut args = Vec::new();
        for argument in &self.profile.container.args {
            let (when, words) = match argument.get_ref() {
                Argument::Word(word) => (None, std::slice::from_ref(word)),
                Argument::When { when, args } => (Some(when.as_str()), args.as_slice()),
            };
            if !self.holds(when)? {
                continue;
            }
            for word in words {
                match template::sole_name(word).and_then(|name| values.get(name)) {
                    Some(Value::Words(words)) => {
                        self.refuse_reserved(words)?;
                        args.extend(words.iter().cloned());
                    }
                    _ => args.push(self.text("an argument", word)?),
                }
            }
        }
        if self.profile.container.flattens_args {
            for arg in &args {
                if let Err(why) = survives_flattening(arg) {
                    let shown = arg.escape_debug();
                    return Err(self
                        .error(format!(
                            "the argument '{shown}' {why}, and the image's entrypoint splits \
                             arguments anew: something else would arrive"
                        ))
                        .remedy("write it otherwise, or say it in a configuration file"));
                }
            }
        }
        Ok(args)
    }

    fn munge(&self, values: &Values) -> Result<Munge> {
        let text = |key: &str| values.get(key).map(ToString::to_string);
        let Some(mode) = text("munge") else { return Ok(Munge::None) };
        let number = |key: &str| match values.get(key) {
            Some(Value::Number(number)) => u32::try_from(*number)
                .map_err(|_| self.error(format!("{key} {number} is too large"))),
            _ => Err(self.error(format!("{key} is not answered"))),
        };
        match mode.as_str() {
            "host" => Ok(Munge::Host),
            "none" => Ok(Munge::None),
            "key" if text("munge_key").as_deref() == Some(MUNGE_COPY) => Err(self
                .error(format!("munge_key is {MUNGE_COPY}, the private copy itself"))
                .remedy("name the key that shall be copied, such as /etc/munge/munge.key")),
            "key" => Ok(Munge::Key {
                source: text("munge_key").ok_or_else(|| self.error("munge_key is not answered"))?,
                copy: MUNGE_COPY.into(),
                owner: Owner { uid: number("munge_uid")?, gid: number("munge_gid")? },
            }),
            "image-key" if values.get("accept_insecure_munge_key") == Some(&Value::Bool(true)) => {
                Ok(Munge::ImageKey)
            }
            "image-key" => Err(self
                .error("the munge key in the image is public: whoever has it can act as anybody")
                .remedy("choose munge=host or munge=key, or add --accept-insecure-munge-key")),
            other => Err(self.error(format!("munge mode '{other}' is unknown"))),
        }
    }

    fn mounts(&self, munge: &Munge, of_files: &[Mount], values: &Values) -> Result<Vec<Mount>> {
        let mut mounts: Vec<Mount> = Vec::new();
        let of_munge = match munge {
            Munge::Host => Some((MUNGE_DIRECTORY, MUNGE_DIRECTORY)),
            Munge::Key { copy, .. } => Some((copy.as_str(), MUNGE_KEY_IN_CONTAINER)),
            Munge::ImageKey | Munge::None => None,
        };
        if let Some((source, target)) = of_munge {
            mounts.push(Mount { source: source.into(), target: target.into(), read_only: true });
        }
        let of_munge = mounts.len();
        mounts.extend_from_slice(of_files);
        for rule in &self.profile.mounts {
            if !self.applies(rule.when.as_ref())? {
                continue;
            }
            let source = self.path("mount source", &rule.source)?;
            let target = self.path("mount target", &rule.target)?;
            mounts.push(Mount { source, target, read_only: !rule.writable });
        }
        for Mount { source, target, .. } in &mounts[of_munge..] {
            further::check_target(target).map_err(|why| {
                let target = target.escape_debug();
                self.error(format!("{source} cannot be {target} in the container: {why}"))
            })?;
        }
        mounts.extend(self.further_mounts(values)?);
        self.check_mounts(&mounts)?;
        Ok(mounts)
    }

    fn check_mounts(&self, mounts: &[Mount]) -> Result<()> {
        for (i, mount) in mounts.iter().enumerate() {
            if mounts[..i].iter().any(|other| other.target == mount.target) {
                return Err(self.error(format!("two mounts have the target {}", mount.target)));
            }
        }
        // The entrypoints take any /run/munge among the mounts for the host's munged and then
        // ignore a key: with two mounts nobody could tell which one counts.
        let about_munge = |mount: &&Mount| {
            [&mount.source, &mount.target]
                .iter()
                .any(|path| MUNGE_PLACES.iter().any(|place| Path::new(path).starts_with(place)))
        };
        let munge: Vec<&str> =
            mounts.iter().filter(about_munge).map(|mount| mount.target.as_str()).collect();
        if munge.len() > 1 {
            return Err(self
                .error(format!("more than one mount concerns munge: {}", munge.join(", ")))
                .remedy("choose how munge reaches the container with the answer munge alone"));
        }
        Ok(())
    }
}

/// Whether a word comes through `"$*"` and a second splitting as it is.
fn survives_flattening(word: &str) -> Result<(), &'static str> {
    if word.is_empty() {
        Err("is empty")
    } else if word.contains(char::is_whitespace) {
        Err("holds a space")
    } else if word.contains(['*', '?', '[']) {
        Err("holds a glob: * ? [")
    } else if word.contains('\\') {
        Err("holds a backslash")
    } else {
        Ok(())
    }
}
