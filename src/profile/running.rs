//! `[[companion]]` and `[[check]]`: what else runs in a service's container, and how it is seen
//! that the service works.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use toml::Spanned;

use super::check::Names;
use super::{Profile, SERVICE_NAME_RULE, Template, Type, is_service_name};
use crate::error::Result;

/// `[[companion]]`: a second program in the running container, with a unit of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompanionRule {
    /// Its name beside the service's: `helper` in `ldms-agg1-helper.service`.
    pub name: Spanned<String>,
    /// One line for its unit's description.
    pub summary: Spanned<String>,
    /// What `sh` runs in the container. No template: values reach it by `env`. It ends by
    /// becoming the program, so that the process can be told by its id.
    pub script: Spanned<String>,
    /// Environment of the script
    #[serde(default)]
    pub env: BTreeMap<Spanned<String>, Template>,
    /// Units of the host that it starts after, where they start at all.
    #[serde(default)]
    pub after: Vec<Spanned<String>>,
    /// Only one service of a host may have it.
    #[serde(default)]
    pub one_per_host: bool,
    /// Only where this holds.
    pub when: Option<Spanned<String>>,
}

/// `[[check]]`: exactly one of the three.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckRule {
    /// A port of the host on which somebody answers
    pub tcp: Option<Template>,
    /// A URL of this host which answers with a status below 500
    pub http: Option<Template>,
    /// A command in the container that ends with exit code 0
    pub exec: Option<Spanned<Vec<Template>>>,
    /// Only where this holds.
    pub when: Option<Spanned<String>>,
}

impl Profile {
    /// Refuses companions and checks that cannot work anywhere.
    pub(super) fn check_running(&self, names: &Names<'_>) -> Result<()> {
        let mut known = BTreeSet::new();
        for rule in &self.companions {
            if !known.insert(rule.name.get_ref()) {
                let what = format!("there are two companions {}", rule.name.get_ref());
                return Err(names.source.error(rule.name.span().start, what));
            }
            rule.check(names)?;
        }
        self.checks.iter().try_for_each(|rule| rule.get_ref().check(names, rule.span().start))
    }
}

impl CompanionRule {
    fn check(&self, names: &Names<'_>) -> Result<()> {
        let refuse =
            |text: &Spanned<String>, what: String| Err(names.source.error(text.span().start, what));
        if !is_service_name(self.name.get_ref()) {
            let what = format!("'{}' cannot be a companion", self.name.get_ref().escape_debug());
            return refuse(&self.name, what).map_err(|e| e.remedy(SERVICE_NAME_RULE));
        }
        if let Err(why) = Type::Text.read(self.summary.get_ref()) {
            return refuse(&self.summary, format!("summary: {why}"));
        }
        let script = self.script.get_ref();
        let last = script.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        if !last.trim_start().starts_with("exec ") {
            let what = "the script's last line must be `exec PROGRAM`: it is by its process id \
                        that the program is stopped";
            return refuse(&self.script, what.into());
        }
        if script.contains(|c: char| c.is_control() && c != '\n' && c != '\t') {
            return refuse(&self.script, "the script holds control characters".into());
        }
        for (variable, value) in &self.env {
            names.variable(variable)?;
            names.template(value)?;
        }
        for unit in &self.after {
            if !is_unit(unit.get_ref()) {
                let what = format!("'{}' is not the name of a unit", unit.get_ref().escape_debug());
                return refuse(unit, what);
            }
        }
        names.condition(self.when.as_ref())
    }
}

impl CheckRule {
    fn check(&self, names: &Names<'_>, place: usize) -> Result<()> {
        let CheckRule { tcp, http, exec, when } = self;
        names.condition(when.as_ref())?;
        match (tcp, http, exec) {
            (Some(text), None, None) | (None, Some(text), None) => names.template(text),
            (None, None, Some(words)) if words.get_ref().is_empty() => {
                Err(names.source.error(words.span().start, "there is no command to execute"))
            }
            (None, None, Some(words)) => {
                words.get_ref().iter().try_for_each(|word| names.template(word))
            }
            _ => Err(names.source.error(place, "a check is exactly one of tcp, http and exec")),
        }
    }
}

/// Whether this can be the name of a unit of the host.
fn is_unit(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b":_.@-".contains(&b);
    let known = [".service", ".socket", ".target", ".mount", ".path", ".timer"];
    name.len() <= 255
        && name.bytes().all(plain)
        && known.iter().any(|kind| name.strip_suffix(kind).is_some_and(|stem| !stem.is_empty()))
}
