//! The files of a service on the host: configuration, secrets, directories of data, and the mounts
//! that bring them into the container.

use std::collections::BTreeMap;

use super::{Decider, Mount};
use crate::answers::Values;
use crate::config;
use crate::error::Result;
use crate::profile::{Format, Owned, Template, host_path, octal};
use crate::root::Attr;

/// A file that the container reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFile {
    /// Absolute path on the host
    pub path: String,
    /// Where its content comes from
    pub source: Source,
    /// Owner and mode
    pub attr: Attr,
    /// What sort of file it must be; none for a secret
    pub format: Option<Format>,
    /// The container may write to it.
    pub writable: bool,
    /// What to do instead of giving another secret where there is one: it would have no effect
    pub once: Option<String>,
}

/// Where a file's content comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// A template of the bundle.
    Text(String),
    /// A file of the site's own at this path of the host.
    Site(String),
    /// What the administrator has just said; never shown.
    Given(String),
    /// What is there already, or else something random of so many characters.
    Random(u8),
}

impl std::fmt::Debug for Source {
    /// Without what may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Text(text) => write!(f, "{} bytes", text.len()),
            Source::Site(path) => f.write_str(path),
            Source::Given(_) => f.write_str("given"),
            Source::Random(length) => write!(f, "{length} random characters"),
        }
    }
}

/// A directory of the host that outlives the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataDir {
    /// Absolute path on the host
    pub path: String,
    /// Owner and mode, if it has to be made
    pub attr: Attr,
}

/// All of them, and their mounts.
#[derive(Default)]
pub(super) struct Files {
    pub(super) host: Vec<HostFile>,
    pub(super) data: Vec<DataDir>,
    pub(super) mounts: Vec<Mount>,
}

impl Decider<'_> {
    /// Everything that the profile says about files, with the bundle's `templates`.
    pub(super) fn files(
        &self,
        values: &Values,
        templates: &BTreeMap<String, String>,
    ) -> Result<Files> {
        let mut files = Files::default();
        for rule in &self.profile.configs {
            if !self.applies(rule.when.as_ref())? {
                continue;
            }
            let name = rule.key.get_ref();
            let (path, target) = self.places(name, &rule.file, &rule.target)?;
            let read_only = !self.flag("writable", rule.writable.get_ref())?;
            let source = if let Some(own) = values.get(name) {
                Source::Site(own.to_string())
            } else {
                let template = rule.template.get_ref();
                config::render(template, rule.format, &self.scope, templates)
                    .map(Source::Text)
                    .map_err(|e| e.within(&format!("service {}", self.service)))?
            };
            files.mounts.push(Mount { source: path.clone(), target, read_only });
            files.host.push(HostFile {
                path,
                source,
                attr: self.attr(name, &rule.owned())?,
                format: Some(rule.format),
                writable: !read_only,
                once: None,
            });
        }
        for rule in &self.profile.secrets {
            if !self.applies(rule.when.as_ref())? {
                continue;
            }
            let name = rule.key.get_ref();
            let (path, target) = self.places(name, &rule.file, &rule.target)?;
            let given = values.get(name).map(|value| Source::Given(value.to_string()));
            let source = given.unwrap_or(Source::Random(rule.length));
            files.mounts.push(Mount { source: path.clone(), target, read_only: true });
            files.host.push(HostFile {
                path,
                source,
                attr: self.attr(name, &rule.owned())?,
                format: None,
                writable: false,
                once: match &rule.once {
                    Some(once) => Some(self.text(name, once.get_ref())?),
                    None => None,
                },
            });
        }
        for rule in &self.profile.data {
            if !self.applies(rule.when.as_ref())? {
                continue;
            }
            let (path, target) = self.places("data", &rule.source, &rule.target)?;
            files.mounts.push(Mount { source: path.clone(), target, read_only: false });
            files.data.push(DataDir { path, attr: self.attr("data", &rule.owned())? });
        }
        Ok(files)
    }

    /// A path on the host and one in the container.
    fn places(&self, what: &str, source: &Template, target: &Template) -> Result<(String, String)> {
        Ok((self.path(what, source)?, self.path(what, target)?))
    }

    /// An absolute path that engines can mount.
    pub(super) fn path(&self, what: &str, template: &Template) -> Result<String> {
        let path = self.text(what, template.get_ref())?;
        let shown = path.escape_debug().to_string();
        host_path(&path).map_err(|why| self.error(format!("{what} '{shown}': {why}")))?;
        Ok(path)
    }

    fn attr(&self, what: &str, owned: &Owned<'_>) -> Result<Attr> {
        let id = |template: &Template| {
            let text = self.text(what, template.get_ref())?;
            let number = text.parse::<u32>().ok().filter(|id| *id != u32::MAX);
            number.ok_or_else(|| {
                let shown = text.escape_debug();
                self.error(format!("{what}: '{shown}' is not the number of a user or group"))
            })
        };
        let mode = self.text(what, owned.mode.get_ref())?;
        let mode = octal(&mode).map_err(|why| {
            self.error(format!("{what}: '{}' cannot be its mode: {why}", mode.escape_debug()))
        })?;
        Ok(Attr { mode, uid: id(owned.uid)?, gid: id(owned.gid)? })
    }
}
