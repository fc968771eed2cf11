//! The files of a role on the host, as data: configuration, secrets, directories of data.

use serde::Deserialize;
use toml::Spanned;

use super::question::Question;
use super::{Flag, Template, Type};

/// Owner and mode of what is made on the host, as templates.
#[derive(Clone, Copy, Debug)]
pub struct Owned<'a> {
    /// Number of the user
    pub uid: &'a Template,
    /// Number of the group
    pub gid: &'a Template,
    /// Mode, in octal digits
    pub mode: &'a Template,
}

/// `[[config]]`: a file that is made from a template of the bundle, or is the site's own from the
/// beginning: `--set SERVICE.KEY=PATH` brings one.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigRule {
    /// Its name in answers.
    pub key: Spanned<String>,
    /// The prompt for a file of the site's own; usually nobody is asked.
    pub ask: Option<String>,
    /// A line about it.
    pub help: Option<String>,
    /// Name of the template: `config/NAME` in the bundle.
    pub template: Spanned<String>,
    /// What sort of file it is.
    #[serde(default)]
    pub format: Format,
    /// Absolute path on the host.
    pub file: Template,
    /// Absolute path in the container.
    pub target: Template,
    /// Whether the container may write to it.
    #[serde(default = "super::off")]
    pub writable: Spanned<Flag>,
    /// Number of the user that owns it, root's unless said otherwise.
    #[serde(default = "root")]
    pub uid: Template,
    /// Number of the group.
    #[serde(default = "root")]
    pub gid: Template,
    /// Its mode, in octal digits.
    #[serde(default = "readable")]
    pub mode: Template,
    /// Only where this holds.
    pub when: Option<Spanned<String>>,
}

/// What sort of text a file holds: how values are written into its template, and how far a file
/// of the site's own can be checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// YAML 1.1 or 1.2
    Yaml,
    /// JSON
    Json,
    /// Sections with `key = value`
    Ini,
    /// Python 3
    Python,
    /// Lines of anything
    #[default]
    Text,
}

/// `[[secret]]`: a file with a text that is never shown and never recorded. What is there stays;
/// what is not is typed at a prompt, given with `--set`, or random.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretRule {
    /// Its name in answers.
    pub key: Spanned<String>,
    /// The prompt; without one it is random unless it is given.
    pub ask: Option<String>,
    /// A line about it.
    pub help: Option<String>,
    /// Absolute path on the host.
    pub file: Template,
    /// Absolute path in the container.
    pub target: Template,
    /// It counts for new data only: what to do instead of giving another one later.
    pub once: Option<Template>,
    /// Characters of a random one.
    #[serde(default = "long")]
    pub length: u8,
    /// Number of the user that owns it, root's unless said otherwise.
    #[serde(default = "root")]
    pub uid: Template,
    /// Number of the group.
    #[serde(default = "root")]
    pub gid: Template,
    /// Its mode, in octal digits.
    #[serde(default = "private")]
    pub mode: Template,
    /// Only where this holds.
    pub when: Option<Spanned<String>>,
}

/// `[[data]]`: a directory of the host that the container writes to. One that is there stays as
/// it is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataRule {
    /// Absolute path on the host.
    pub source: Template,
    /// Absolute path in the container.
    pub target: Template,
    /// Number of the user that owns it, root's unless said otherwise.
    #[serde(default = "root")]
    pub uid: Template,
    /// Number of the group.
    #[serde(default = "root")]
    pub gid: Template,
    /// Its mode, in octal digits.
    #[serde(default = "passable")]
    pub mode: Template,
    /// Only where this holds.
    pub when: Option<Spanned<String>>,
}

impl ConfigRule {
    /// Owner and mode
    pub fn owned(&self) -> Owned<'_> {
        Owned { uid: &self.uid, gid: &self.gid, mode: &self.mode }
    }

    /// The question for a file of the site's own.
    pub(super) fn question(&self) -> Question {
        let ConfigRule { key, ask, help, when, .. } = self;
        optional(key, ask.as_ref(), help.as_ref(), when.as_ref(), Type::Path)
    }
}

impl SecretRule {
    /// Owner and mode
    pub fn owned(&self) -> Owned<'_> {
        Owned { uid: &self.uid, gid: &self.gid, mode: &self.mode }
    }

    /// The question for the text.
    pub(super) fn question(&self) -> Question {
        let SecretRule { key, ask, help, when, .. } = self;
        optional(key, ask.as_ref(), help.as_ref(), when.as_ref(), Type::Secret)
    }
}

impl DataRule {
    /// Owner and mode
    pub fn owned(&self) -> Owned<'_> {
        Owned { uid: &self.uid, gid: &self.gid, mode: &self.mode }
    }
}

fn optional(
    key: &Spanned<String>,
    ask: Option<&String>,
    help: Option<&String>,
    when: Option<&Spanned<String>>,
    kind: Type,
) -> Question {
    Question {
        key: key.clone(),
        ask: ask.cloned(),
        help: help.cloned(),
        kind,
        default: None,
        optional: true,
        min: None,
        required: false,
        choices: Vec::new(),
        env: Vec::new(),
        refused: None,
        when: when.cloned(),
        is_moment: false,
    }
}

fn root() -> Template {
    Spanned::new(0..0, "0".into())
}
fn readable() -> Template {
    Spanned::new(0..0, "0644".into())
}
fn private() -> Template {
    Spanned::new(0..0, "0600".into())
}
fn passable() -> Template {
    Spanned::new(0..0, "0755".into())
}
fn long() -> u8 {
    32
}
