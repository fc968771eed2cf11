//! Text of systemd units, from services and the bundle's templates in `units/`.
//!
//! In a template every `{{ value }}` goes through one formatter: a plain text is escaped for a
//! plain setting, a [`Quoted`] knows its own sort of place, and anything else is refused. So text
//! from a person or a profile cannot leave its place, whatever a template does with it.

pub mod command;
mod companion;
pub mod quote;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use minijinja::value::{Object, ObjectRepr};
use minijinja::{Value, context};

use crate::engine::Kind;
use crate::error::{Error, Kind as ErrorKind, Result};
use crate::profile;
use crate::service::{BootNumber, Munge, Service};

/// A unit to be installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitFile {
    /// `ldms-NAME.service`, `ldms.target`, `ldms.slice`
    pub name: String,
    /// The file's content
    pub text: String,
    /// The units that want it once it is enabled: for each, a link in `UNIT.wants`.
    pub wanted_by: Vec<String>,
}

/// What units depend on besides their services.
#[derive(Clone, Debug)]
pub struct Target {
    /// The engine that runs the containers
    pub engine: Kind,
    /// Absolute path of its command
    pub program: String,
    /// Version of systemd; where it is unknown, the oldest that is served: [`OLDEST_SYSTEMD`]
    pub systemd: u32,
    /// cgroups are of version 2 alone.
    pub cgroup_v2: bool,
}

/// RHEL 8's
pub const OLDEST_SYSTEMD: u32 = 239;

/// Largest unit, bytes: systemd reads no line, continued or not, of 1 MiB.
const SIZE_LIMIT: usize = 512 * 1024;

/// All units of these services: theirs in the order in which they start, each followed by its
/// companions', then the common ones.
/// `templates` are the bundle's, by path: `units/docker.service`.
pub fn files(
    services: &[Service],
    target: &Target,
    templates: &BTreeMap<String, String>,
) -> Result<Vec<UnitFile>> {
    let environment = profile::template::environment(escaped)
        .map_err(|e| Error::failed("cannot set up unit templates").because(e))?;
    let render = |file: &str, name: String, values: Value| {
        let (path, source) = template(templates, file)?;
        let text = environment.render_named_str(&path, source, values).map_err(|e| {
            profile::template::fault(ErrorKind::Failed, &format!("cannot write {name}"), &path, &e)
        })?;
        if text.len() > SIZE_LIMIT {
            return Err(Error::usage(format!("{name} would be longer than {SIZE_LIMIT} bytes")));
        }
        Ok(UnitFile { wanted_by: wanted_by(&text), name, text })
    };

    let mut services: Vec<&Service> = services.iter().collect();
    services.sort_by(|a, b| (a.order, &a.name).cmp(&(b.order, &b.name)));
    let of_engine = format!("{}.service", target.engine);
    let mut files = Vec::new();
    for service in &services {
        let earlier = services.iter().filter(|other| other.order < service.order);
        let after: Vec<String> = earlier.map(|other| other.unit()).collect();
        if let Some(name) = service.numbers_unit() {
            files.push(render("values.service", name, numbers(service))?);
        }
        files.push(render(&of_engine, service.unit(), values(service, target, after))?);
        for companion in &service.companions {
            let values = companion::values(companion, service, target, templates)?;
            files.push(render(companion::TEMPLATE, companion.unit(), values)?);
        }
    }
    for name in ["ldms.target", "ldms.slice"] {
        files.push(render(name, name.into(), context! { unit => name })?);
    }
    let mut names = BTreeSet::new();
    match files.iter().find(|file| !names.insert(&file.name)) {
        None => Ok(files),
        Some(file) => Err(Error::usage(format!("two units would be called {}", file.name))
            .remedy("give a service another name: --role NAME=ROLE")),
    }
}

/// A file of the bundle's `units/`: its path and its text.
fn template<'a>(templates: &'a BTreeMap<String, String>, file: &str) -> Result<(String, &'a str)> {
    let path = format!("units/{file}");
    match templates.get(&path) {
        Some(text) => Ok((path, text.as_str())),
        None => Err(Error::refused("the bundle has no such unit template").at(path)),
    }
}

/// The names that a service's template may use.
fn values(service: &Service, target: &Target, after: Vec<String>) -> Value {
    let Service { container, image_reference, args, munge, stop_timeout, .. } = service;
    let argument = |word: &str| Quoted::Arguments(vec![word.into()]).value();
    let paths: Vec<String> = service.mounts.iter().map(|mount| mount.source.clone()).collect();
    let codes: Vec<String> = service.no_restart_on.iter().map(ToString::to_string).collect();
    context! {
        unit => service.unit(),
        service => &service.name,
        description => &service.description,
        systemd => target.systemd,
        cgroup_v2 => target.cgroup_v2,
        program => Quoted::Program(target.program.clone()).value(),
        container => argument(container),
        flags => Quoted::Arguments(target.engine.flags(service)).value(),
        image => argument(image_reference),
        args => Quoted::Arguments(args.clone()).value(),
        after => Quoted::Words(after).value(),
        values_unit => service.numbers_unit(),
        paths => Quoted::Words(paths).value(),
        no_restart_on => Quoted::Words(codes).value(),
        host_munge => *munge == Munge::Host,
        nofile => service.nofile,
        unlimited_memlock => service.unlimited_memlock,
        stop_timeout => stop_timeout.as_secs(),
    }
}

/// The names that the template of the unit that finds numbers may use.
fn numbers(service: &Service) -> Value {
    let maps: Vec<String> = service.numbers.iter().filter_map(|n| n.rule.map()).collect();
    let words = |number: &BootNumber| {
        let words = number.rule.words().into_iter().chain(number.env.iter().cloned());
        Quoted::Arguments(words.collect()).value()
    };
    context! {
        unit => service.numbers_unit(),
        service => &service.name,
        service_unit => service.unit(),
        file => Quoted::Arguments(service.numbers_file().into_iter().collect()).value(),
        numbers => service.numbers.iter().map(words).collect::<Vec<_>>(),
        paths => Quoted::Words(maps).value(),
    }
}

/// A value that is not plain text in a unit.
#[derive(Clone, Debug)]
enum Quoted {
    /// The first word of an `Exec` line
    Program(String),
    /// Further words of an `Exec` line
    Arguments(Vec<String>),
    /// Words of a list of names or paths
    Words(Vec<String>),
}

impl Quoted {
    fn value(self) -> Value {
        Value::from_object(self)
    }

    fn write(&self) -> Result<String, String> {
        match self {
            Quoted::Program(path) => quote::program(path),
            Quoted::Words(words) => {
                let words: Result<Vec<_>, _> = words.iter().map(|word| quote::word(word)).collect();
                Ok(words?.join(" "))
            }
            Quoted::Arguments(words) => {
                let mut out = String::new();
                for (i, word) in words.iter().enumerate() {
                    // A flag begins a line of its own, for the eye.
                    match (i, word.starts_with('-')) {
                        (0, _) => {}
                        (_, true) => out.push_str(" \\\n    "),
                        (_, false) => out.push(' '),
                    }
                    out.push_str(&quote::argument(word)?);
                }
                Ok(out)
            }
        }
    }
}

impl Object for Quoted {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    /// `{% if args %}` asks whether there are any.
    fn is_true(self: &Arc<Self>) -> bool {
        match &**self {
            Quoted::Program(_) => true,
            Quoted::Arguments(words) | Quoted::Words(words) => !words.is_empty(),
        }
    }
}

/// A value as it is written into a unit.
fn escaped(value: &Value) -> Result<String, String> {
    if let Some(quoted) = value.downcast_object_ref::<Quoted>() {
        quoted.write()
    } else if let Some(text) = value.as_str() {
        quote::text(text)
    } else if let Ok(number) = u64::try_from(value.clone()) {
        Ok(number.to_string())
    } else {
        Err(format!("a {} cannot be written into a unit", value.kind()))
    }
}

/// What the unit's `[Install]` section says, so that links and text cannot differ.
fn wanted_by(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("WantedBy="))
        .flat_map(str::split_whitespace)
        .map(String::from)
        .collect()
}
