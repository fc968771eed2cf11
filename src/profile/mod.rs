//! A role as data: `profiles/ROLE.toml`, read and checked.
//!
//! A [`Profile`] that exists is consistent: every template and condition in it is well formed and
//! uses only names that exist. Which answers a host gives is the business of `answers`, what
//! becomes of them that of `service`.

mod check;
mod files;
pub(crate) mod hostlist;
mod question;
pub mod rule;
mod running;
pub mod template;
mod value;

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use crate::error::{Error, Result};

pub use files::{ConfigRule, DataRule, Format, Owned, SecretRule};
pub use question::{Choice, Question};
pub use rule::Rule;
pub use running::{CheckRule, CompanionRule};
pub use value::{Type, Value, host_path, octal};

/// A text with `{{ key }}` in it, and its place in the file.
pub type Template = Spanned<String>;

/// Everything about a role.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The role, from the file's name.
    #[serde(skip)]
    pub role: String,
    /// One line for the list of roles and for the units' descriptions.
    pub summary: Spanned<String>,
    /// Image without registry and tag: `ovishpc/ldms-samp`.
    pub image: Spanned<String>,
    /// Services with smaller numbers start first and stop last.
    #[serde(default = "middle")]
    pub order: u32,
    /// How its container is run.
    pub container: Container,
    /// It is no service: people run it, at a terminal.
    pub command: Option<CommandTable>,
    /// Whether and how munge reaches the container; without it, not at all.
    pub munge: Option<MungeTable>,
    /// What the administrator is asked, or may say; the common questions stand at the end.
    #[serde(default, rename = "question")]
    pub questions: Vec<Question>,
    /// Files and directories of the host that the container sees.
    #[serde(default, rename = "mount")]
    pub mounts: Vec<MountRule>,
    /// Configuration files, the site's once they are there.
    #[serde(default, rename = "config")]
    pub configs: Vec<ConfigRule>,
    /// Files with a password or another secret, made on the host.
    #[serde(default, rename = "secret")]
    pub secrets: Vec<SecretRule>,
    /// Directories of the host that outlive the container.
    #[serde(default)]
    pub data: Vec<DataRule>,
    /// What the administrator reads after an installation: an address, a next step.
    pub notice: Option<Template>,
    /// How it is seen that a service works, beyond that its unit is active.
    #[serde(default, rename = "check")]
    pub checks: Vec<Spanned<CheckRule>>,
    /// Further programs in the running container.
    #[serde(default, rename = "companion")]
    pub companions: Vec<CompanionRule>,
    /// Ports of the host that a service takes.
    #[serde(default, rename = "port")]
    pub ports: Vec<PortRule>,
}

/// `[container]`: the engine's flags, the image's arguments.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Container {
    /// `host`, or the engine's name for another network.
    #[serde(default = "host_network")]
    pub network: Template,
    /// `host` to see the host's processes; `private` otherwise.
    #[serde(default = "private_pid")]
    pub pid: Template,
    /// All privileges.
    #[serde(default = "off")]
    pub privileged: Spanned<Flag>,
    /// A small init as process 1, for images whose own ignores SIGTERM.
    #[serde(default = "off")]
    pub init: Spanned<Flag>,
    /// Environment of the container; what questions add comes after it.
    #[serde(default)]
    pub env: BTreeMap<Spanned<String>, Template>,
    /// Arguments after the image's name.
    #[serde(default)]
    pub args: Vec<Spanned<Argument>>,
    /// The entrypoint splits its arguments anew, so that none may hold a space or a glob.
    #[serde(default)]
    pub flattens_args: bool,
    /// Options that another question decides, with its key: they may not be among further words.
    #[serde(default)]
    pub reserved: BTreeMap<String, String>,
    /// Limit of open files.
    pub nofile: Option<u64>,
    /// No limit of locked memory.
    #[serde(default = "off")]
    pub unlimited_memlock: Spanned<Flag>,
    /// Exit codes after which trying again is useless.
    #[serde(default)]
    pub no_restart_on: Vec<u8>,
    /// Seconds between SIGTERM and SIGKILL.
    #[serde(default = "ten")]
    pub stop_timeout: u16,
    /// Seconds after which a service that does not work yet counts as failed.
    #[serde(default = "sixty")]
    pub start_timeout: u16,
}

/// Yes or no, fixed or by a template that gives `true` or `false`.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "true, false or a template that gives one of them")]
pub enum Flag {
    /// Always so.
    Fixed(bool),
    /// As the answers say.
    Template(String),
}

/// One word for the image, or some under a condition. `{{ key }}` alone stands for all the words
/// of a question of type `words`.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "a text, or a table with a condition `when` and a list `args`"
)]
pub enum Argument {
    /// Always given.
    Word(String),
    /// Given where the condition holds.
    When {
        /// Condition
        when: String,
        /// Words
        args: Vec<String>,
    },
}

/// `[munge]`: its questions are asked, its mount is made.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MungeTable {
    /// The modes that this role can use; all, if none is named.
    #[serde(default)]
    pub modes: Vec<Spanned<String>>,
    /// What is to be known of this role without munge (`munge=none`), in place of the usual
    /// warning.
    pub none_note: Option<Spanned<String>>,
}

/// `[command]`: a command `ldms-SERVICE` is installed in place of a unit. It runs a container of
/// its own in the current directory, with what is typed behind `args`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CommandTable {}

/// `[[mount]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MountRule {
    /// Absolute path on the host.
    pub source: Template,
    /// Absolute path in the container.
    pub target: Template,
    /// Whether the container may write there.
    #[serde(default)]
    pub writable: bool,
    /// Only where this holds.
    pub when: Option<Spanned<String>>,
}

/// `[[port]]`: a TCP port of the host.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortRule {
    /// A template that gives the port.
    pub tcp: Template,
    /// Only where this holds.
    pub when: Option<Spanned<String>>,
}

fn middle() -> u32 {
    50
}
fn ten() -> u16 {
    10
}
fn sixty() -> u16 {
    60
}
fn host_network() -> Template {
    Spanned::new(0..0, "host".into())
}
fn private_pid() -> Template {
    Spanned::new(0..0, "private".into())
}
fn off() -> Spanned<Flag> {
    Spanned::new(0..0, Flag::Fixed(false))
}

/// `common.toml`: the questions that profiles need not repeat.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Common {
    question: Vec<Question>,
    /// Those that a `[munge]` table brings.
    munge: Vec<Question>,
    /// The one that a question for a number from the host's name brings.
    moment: Question,
}

impl Common {
    fn read() -> Result<Self> {
        let text = include_str!("common.toml");
        Source { name: "the common questions".into(), text }.read()
    }
}

/// The key of the question for the container's name.
const CONTAINER: &str = "container";

impl Profile {
    /// Reads the profile of a role; `text` is `profiles/ROLE.toml`, out of the signed bundle.
    /// Errors name the line.
    pub fn parse(role: &str, text: &str) -> Result<Self> {
        Self::parse_file(role, &format!("profiles/{role}.toml"), text)
    }

    /// Reads the profile of a role from a file that errors name.
    pub fn parse_file(role: &str, file: &str, text: &str) -> Result<Self> {
        let source = Source { name: file.to_owned(), text };
        if !is_service_name(role) {
            return Err(Error::refused(format!("'{}' cannot be a role", role.escape_debug()))
                .at(source.name)
                .remedy(SERVICE_NAME_RULE));
        }
        let mut profile: Profile = source.read()?;
        role.clone_into(&mut profile.role);
        profile.add_moments()?;
        let common = profile.common_questions()?;
        let of_files = profile.file_questions();
        profile.check(&source, &common, &of_files)?;
        profile.questions.extend(common);
        profile.questions.extend(of_files);
        Ok(profile)
    }

    /// The question with this key.
    pub fn question(&self, key: &str) -> Option<&Question> {
        self.questions.iter().find(|question| question.key.get_ref() == key)
    }

    /// Whether templates may use this name.
    pub fn knows(&self, name: &str) -> bool {
        check::FIXED.contains(&name) || self.question(name).is_some()
    }

    /// The questions that come with files: their conditions may use all others.
    fn file_questions(&self) -> Vec<Question> {
        let configs = self.configs.iter().map(ConfigRule::question);
        configs.chain(self.secrets.iter().map(SecretRule::question)).collect()
    }

    /// The key and the path on the host of each secret of a service: paths that depend on more
    /// than its name are left out.
    pub fn secret_files(&self, service: &str) -> Vec<(String, String)> {
        let scope = template::Scope::from([("service".into(), service.into())]);
        let path = |rule: &SecretRule| {
            let path = template::render(rule.file.get_ref(), &scope).ok()?;
            Some((rule.key.get_ref().clone(), path))
        };
        self.secrets.iter().filter_map(path).collect()
    }

    /// Puts before each question for a number from the host's name the one that says when.
    fn add_moments(&mut self) -> Result<()> {
        for question in std::mem::take(&mut self.questions) {
            if question.kind == Type::HostNumber {
                let key = Spanned::new(question.key.span(), question.moment_key());
                let moment = Common::read()?.moment;
                let when = question.when.clone();
                self.questions.push(Question { key, when, is_moment: true, ..moment });
            }
            self.questions.push(question);
        }
        Ok(())
    }

    /// The common questions as far as this role has them.
    fn common_questions(&self) -> Result<Vec<Question>> {
        let Common { mut question, mut munge, moment: _ } = Common::read()?;
        if self.command.is_some() {
            // Each run has a container of its own.
            question.retain(|question| question.key.get_ref() != CONTAINER);
        }
        let Some(MungeTable { modes, .. }) = &self.munge else { return Ok(question) };
        if !modes.is_empty() {
            for question in munge.iter_mut().filter(|q| !q.choices.is_empty()) {
                question
                    .choices
                    .retain(|choice| modes.iter().any(|m| *m.get_ref() == choice.value));
            }
        }
        question.append(&mut munge);
        Ok(question)
    }
}

/// A text being read, to say where in it something is wrong.
struct Source<'a> {
    name: String,
    text: &'a str,
}

impl Source<'_> {
    fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        toml::from_str(self.text).map_err(|error| {
            self.error(error.span().map_or(0, |span| span.start), error.message().to_owned())
        })
    }

    /// An error at a byte of the text: `profiles/ROLE.toml:12:5: …`.
    fn error(&self, offset: usize, what: impl Into<String>) -> Error {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        Error::refused(what).at(format!("{}:{line}:{column}", self.name))
    }
}

/// What a service, and so a role, may be called.
pub const SERVICE_NAME_RULE: &str = "use 1 to 32 of a-z 0-9 and -, beginning with a letter or digit and not ending with -; 'munge' is taken";

/// Whether this can name a service: its unit, its container and its table of answers.
pub fn is_service_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && !name.starts_with('-')
        && !name.ends_with('-')
        // /etc/ldms/munge holds the private copy of the key.
        && name != "munge"
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Whether this can be the key of a question.
pub(crate) fn is_key(name: &str) -> bool {
    (1..=40).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}
