//! What must hold in a profile beyond its form: names exist, types agree.
//!
//! A mistake is found when a bundle is packed and again when it is read, not on the node where a
//! condition happens to hold for the first time.

use std::collections::BTreeSet;

use toml::Spanned;

use super::template::{names_in_condition, names_in_template, sole_name};
use super::{Argument, Flag, Owned, Profile, Question, Source, Template, Type, Value, is_key};
use crate::error::Result;
use crate::manifest::{is_plain_name, is_repository};

/// Names that every template may use.
pub(super) const FIXED: [&str; 3] = ["service", "host", "image"];

impl Profile {
    /// Refuses a profile that could fail on a host for reasons visible in its text.
    pub(super) fn check(
        &self,
        source: &Source,
        common: &[Question],
        of_files: &[Question],
    ) -> Result<()> {
        let mut names = Names { source, known: FIXED.map(String::from).into(), words: [].into() };
        if let Err(why) = Type::Text.read(self.summary.get_ref()) {
            return Err(source.error(self.summary.span().start, format!("summary: {why}")));
        }
        if !is_repository(self.image.get_ref()) {
            let what = "image must be a name without registry and tag, such as ovishpc/ldms-samp";
            return Err(source.error(self.image.span().start, what));
        }
        for question in &self.questions {
            names.question(question)?;
            if common.iter().any(|other| other.key == question.key) {
                let what =
                    format!("every service has a question {} already", question.key.get_ref());
                return Err(source.error(question.key.span().start, what));
            }
        }
        names.known.extend(common.iter().map(|question| question.key.get_ref().clone()));
        let words = common.iter().filter(|question| question.kind.is_list());
        names.words.extend(words.map(|question| question.key.get_ref().clone()));
        for question in of_files {
            names.question(question)?;
        }
        for key in self.container.reserved.values() {
            if !names.known.contains(key) {
                let what = format!("reserved: there is no question {key}");
                return Err(source.error(0, what));
            }
        }
        names.container(self)?;
        self.check_command(source)?;
        self.check_files(&names)?;
        for mount in &self.mounts {
            names.condition(mount.when.as_ref())?;
            names.template(&mount.source)?;
            names.template(&mount.target)?;
        }
        self.check_running(&names)?;
        for rule in &self.ports {
            names.condition(rule.when.as_ref())?;
            names.template(&rule.tcp)?;
        }
        for mode in self.munge.iter().flat_map(|munge| &munge.modes) {
            if !["host", "key", "image-key", "none"].contains(&mode.get_ref().as_str()) {
                let what = "a munge mode is host, key, image-key or none";
                return Err(source.error(mode.span().start, what));
            }
        }
        if let Some(note) = self.munge.iter().find_map(|munge| munge.none_note.as_ref())
            && let Err(why) = Type::Text.read(note.get_ref())
        {
            return Err(source.error(note.span().start, format!("none_note: {why}")));
        }
        Ok(())
    }
}

impl Profile {
    /// What belongs to services alone.
    fn check_command(&self, source: &Source) -> Result<()> {
        let check = self.checks.first().map(|check| check.span().start);
        let port = self.ports.first().map(|port| port.tcp.span().start);
        let other = self.munge.is_some() || !self.companions.is_empty();
        let odd = check.or(port).or(other.then_some(0));
        match odd.filter(|_| self.command.is_some()) {
            None => Ok(()),
            Some(place) => Err(source
                .error(place, "a command has no [munge], [[check]], [[port]] and [[companion]]")),
        }
    }

    /// `[[config]]`, `[[secret]]`, `[[data]]` and the notice.
    fn check_files(&self, names: &Names) -> Result<()> {
        for rule in &self.configs {
            let name = rule.template.get_ref();
            if !is_plain_name(name) {
                let what = "a template is a file of config/, such as site.yaml";
                return Err(names.source.error(rule.template.span().start, what));
            }
            if let Flag::Template(text) = rule.writable.get_ref() {
                names.text(text, rule.writable.span().start)?;
            }
            names.file(&rule.file, &rule.target, rule.owned(), rule.when.as_ref())?;
        }
        for rule in &self.secrets {
            if let Some(once) = &rule.once {
                names.template(once)?;
            }
            if rule.length < 16 {
                let what = "a random secret has at least 16 characters";
                return Err(names.source.error(rule.key.span().start, what));
            }
            names.file(&rule.file, &rule.target, rule.owned(), rule.when.as_ref())?;
        }
        for rule in &self.data {
            names.file(&rule.source, &rule.target, rule.owned(), rule.when.as_ref())?;
        }
        self.notice.as_ref().map_or(Ok(()), |notice| names.template(notice))
    }
}

/// The names that exist at a place of the profile.
pub(super) struct Names<'a> {
    pub(super) source: &'a Source<'a>,
    known: BTreeSet<String>,
    /// Those of them that stand for several words.
    words: BTreeSet<String>,
}

impl Names<'_> {
    fn question(&mut self, question: &Question) -> Result<()> {
        let Question {
            key,
            ask,
            help,
            kind,
            default,
            optional,
            min,
            required,
            choices,
            env,
            when,
            refused,
            is_moment: _,
        } = question;
        let place = key.span().start;
        let refuse = |what: String| Err(self.source.error(place, what));
        let name = key.get_ref().as_str();
        if !is_key(name) || name == "role" {
            return refuse(format!(
                "'{}' cannot be a key: use a-z 0-9 _, beginning with a letter, and not 'role'",
                name.escape_debug()
            ));
        }
        if self.known.contains(name) {
            return refuse(format!("the key {name} is taken"));
        }
        if (*kind == Type::Choice) == choices.is_empty() {
            return refuse(format!("{name}: choices belong to type 'choice', and to it alone"));
        }
        if ask.is_none() && default.is_none() && !optional {
            return refuse(format!("{name}: what is never asked needs a default"));
        }
        if *optional && matches!(kind, Type::Choice | Type::Bool) {
            return refuse(format!("{name}: give a choice that says none instead of 'optional'"));
        }
        if *kind == Type::Secret && !env.is_empty() {
            return refuse(format!("{name}: a secret belongs into a file, not into a variable"));
        }
        if kind.is_list() && !env.is_empty() {
            return refuse(format!("{name}: several words cannot be one variable"));
        }
        if refused.is_some() && ask.is_some() {
            return refuse(format!("{name}: what is refused cannot be asked"));
        }
        if min.is_some() && !matches!(kind, Type::U64 | Type::Id | Type::Port) {
            return refuse(format!("{name}: 'min' belongs to numbers and ports"));
        }
        if *required && !kind.is_list() {
            return refuse(format!("{name}: 'required' belongs to lists: others always are"));
        }
        for variable in env {
            self.variable(variable)?;
        }
        self.condition(when.as_ref())?;
        if let Some(help) = help {
            self.text(help, place)?;
        }
        if let Some(default) = default {
            self.default(question, default)?;
        }
        self.known.insert(name.to_owned());
        if kind.is_list() {
            self.words.insert(name.to_owned());
        }
        Ok(())
    }

    fn default(&self, question: &Question, default: &Spanned<Value>) -> Result<()> {
        let place = default.span().start;
        if let Value::Text(text) = default.get_ref() {
            let names = names_in_template(text).map_err(|why| self.source.error(place, why))?;
            self.exist(&names, place)?;
            // What depends on the host is tried there.
            if !names.is_empty() {
                return Ok(());
            }
        }
        question.accept(default.get_ref()).map(drop).map_err(|why| {
            self.source.error(
                place,
                format!("the default of {} does not fit: {why}", question.key.get_ref()),
            )
        })
    }

    fn container(&self, profile: &Profile) -> Result<()> {
        let container = &profile.container;
        self.template(&container.network)?;
        self.template(&container.pid)?;
        for flag in [&container.privileged, &container.init, &container.unlimited_memlock] {
            if let Flag::Template(text) = flag.get_ref() {
                self.text(text, flag.span().start)?;
            }
        }
        for (variable, value) in &container.env {
            self.variable(variable)?;
            self.template(value)?;
        }
        for argument in &container.args {
            let place = argument.span().start;
            let words = match argument.get_ref() {
                Argument::Word(word) => std::slice::from_ref(word),
                Argument::When { when, args } => {
                    self.expression(when, place)?;
                    args
                }
            };
            for word in words {
                match sole_name(word) {
                    Some(name) if self.words.contains(name) => {}
                    _ => self.text(word, place)?,
                }
            }
        }
        Ok(())
    }

    fn file(
        &self,
        source: &Template,
        target: &Template,
        owned: Owned<'_>,
        when: Option<&Spanned<String>>,
    ) -> Result<()> {
        for text in [source, target, owned.uid, owned.gid, owned.mode] {
            self.template(text)?;
        }
        self.condition(when)
    }

    pub(super) fn variable(&self, name: &Spanned<String>) -> Result<()> {
        if is_variable(name.get_ref()) {
            return Ok(());
        }
        let what = format!("'{}' cannot be a variable's name", name.get_ref().escape_debug());
        Err(self.source.error(name.span().start, what))
    }

    pub(super) fn template(&self, text: &Spanned<String>) -> Result<()> {
        self.text(text.get_ref(), text.span().start)
    }

    fn text(&self, text: &str, place: usize) -> Result<()> {
        let names = names_in_template(text).map_err(|why| self.source.error(place, why))?;
        self.exist(&names, place)?;
        match names.iter().find(|name| self.words.contains(*name)) {
            None => Ok(()),
            Some(name) => Err(self.source.error(
                place,
                format!("{name} is several words: it can only stand alone, as \"{{{{ {name} }}}}\" in args"),
            )),
        }
    }

    pub(super) fn condition(&self, when: Option<&Spanned<String>>) -> Result<()> {
        when.map_or(Ok(()), |when| self.expression(when.get_ref(), when.span().start))
    }

    fn expression(&self, condition: &str, place: usize) -> Result<()> {
        let names = names_in_condition(condition).map_err(|why| self.source.error(place, why))?;
        self.exist(&names, place)
    }

    /// Only questions that stand before this place count: their answers are known by then.
    fn exist(&self, names: &BTreeSet<String>, place: usize) -> Result<()> {
        match names.iter().find(|name| !self.known.contains(*name)) {
            None => Ok(()),
            Some(name) => Err(self
                .source
                .error(place, format!("there is no question {name} up to here"))
                .remedy(format!("the names known here are {}", list(&self.known)))),
        }
    }
}

fn list(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
