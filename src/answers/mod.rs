//! What the administrator has said, from every place it can be said in.
//!
//! Later places win: a profile's default, `/etc/ldms/install.toml` (what was said before),
//! `--answers FILE`, `--set`, the prompt. [`settle`] puts them together; what it gives is typed
//! and complete.

mod ask;
mod number;
mod settle;
mod wish;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::engine::Kind;
use crate::error::{Error, Result};
use crate::manifest::Owner;
use crate::profile::{Profile, Value, is_service_name};

pub use ask::{Ask, Item, Never, choose_engine, choose_role};
pub(crate) use settle::scope;
pub use settle::{Settled, settle};
pub use wish::Wish;

/// Answers of one service, by key.
pub type Values = BTreeMap<String, Value>;

/// `/etc/ldms/install.toml`, and the form of `--answers FILE`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answers {
    /// The engine that runs the containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<Kind>,
    /// Answers for each service that has such a question; in a file for `--answers`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub all: Values,
    /// Answers by service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub service: BTreeMap<String, ServiceAnswers>,
}

/// `[service.NAME]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceAnswers {
    /// Its role; in a file for `--answers` the service's name where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The rest of the table.
    #[serde(flatten)]
    pub values: Values,
}

impl Answers {
    /// Reads a file of answers; `place` names it in errors.
    pub fn from_toml(place: &str, text: &str) -> Result<Self> {
        let answers: Answers = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            Error::usage(error.message().to_owned())
                .at(format!("{place}:{}", before.matches('\n').count() + 1))
        })?;
        let names =
            answers.service.iter().flat_map(|(name, given)| [Some(name), given.role.as_ref()]);
        let wrong = names.flatten().find(|name| !is_service_name(name)).cloned();
        match wrong {
            None => Ok(answers),
            Some(name) => Err(Error::usage(format!(
                "'{}' cannot name a service or role",
                name.escape_debug()
            ))
            .at(place)
            .remedy(crate::profile::SERVICE_NAME_RULE)),
        }
    }

    /// The text of the file: the same answers give the same bytes.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::failed("cannot write the answers").because(e))
    }

    /// The services in it and their roles.
    pub fn wishes(&self) -> Vec<Wish> {
        let wish = |(name, given): (&String, &ServiceAnswers)| Wish {
            name: name.clone(),
            role: given.role.as_ref().unwrap_or(name).clone(),
        };
        self.service.iter().map(wish).collect()
    }
}

/// What defaults may depend on: a little of this host.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// Its name, short or full.
    pub name: String,
    /// All its names.
    pub names: Vec<String>,
    /// `/run/munge/munge.socket.2` is there.
    pub munge_socket: bool,
    /// `/etc/munge/munge.key` is there.
    pub munge_key: bool,
    /// It does not run yet: these are its files, which may become those of many hosts.
    pub prepared: Option<PathBuf>,
}

/// A service that shall be there.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Its name, `agg1`
    pub name: &'a str,
    /// Its role's profile
    pub profile: &'a Profile,
    /// Owner of munge's files inside its image, if the image has such a user.
    pub munge: Option<Owner>,
    /// Keys of secrets that this host has already: nobody is asked for them.
    pub kept: &'a [String],
}

/// Everything that was said before anybody is asked.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// `/etc/ldms/install.toml`
    recorded: Option<(String, Answers)>,
    /// `--answers FILE`
    file: Option<(String, Answers)>,
    /// `--set`, in their order
    sets: Vec<Set>,
}

/// One `--set`.
#[derive(Clone, Debug)]
struct Set {
    service: Option<String>,
    key: String,
    value: String,
}

impl Sources {
    /// Nothing was said.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was said at earlier runs; `place` names the file in errors.
    #[must_use]
    pub fn recorded(mut self, place: &str, answers: Answers) -> Self {
        self.recorded = Some((place.into(), answers));
        self
    }

    /// The file given as `--answers`.
    #[must_use]
    pub fn file(mut self, place: &str, answers: Answers) -> Self {
        self.file = Some((place.into(), answers));
        self
    }

    /// One `--set`: `KEY=VALUE` for every service that has such a question, `SERVICE.KEY=VALUE`
    /// for one. In keys `-` and `_` are the same.
    pub fn set(mut self, text: &str) -> Result<Self> {
        let (name, value) = text.split_once('=').ok_or_else(|| {
            Error::usage(format!("--set '{}' has no '='", text.escape_debug()))
                .remedy("write --set KEY=VALUE or --set SERVICE.KEY=VALUE")
        })?;
        let (service, key) = match name.split_once('.') {
            Some((service, key)) => (Some(service.to_owned()), key),
            None => (None, name),
        };
        self.sets.push(Set { service, key: key.replace('-', "_"), value: value.to_owned() });
        Ok(self)
    }

    /// The services in the file given as `--answers`.
    pub fn wishes(&self) -> Vec<Wish> {
        self.file.as_ref().map(|(_, answers)| answers.wishes()).unwrap_or_default()
    }

    /// The engine that a file of answers names, or that was used before.
    pub fn engine(&self) -> Option<Kind> {
        let of = |layer: &Option<(String, Answers)>| layer.as_ref().and_then(|(_, a)| a.engine);
        of(&self.file).or_else(|| of(&self.recorded))
    }
}
