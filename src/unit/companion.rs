//! The names that a companion's template may use, its shell texts among them.

use std::collections::BTreeMap;

use minijinja::{Value, context};

use super::{Quoted, Target, template};
use crate::error::Result;
use crate::service::{Companion, Service};

/// The template of companions: engines do not differ here.
pub const TEMPLATE: &str = "companion.service";

/// The values for the unit of `companion`, which runs in the container of `service`.
pub fn values(
    companion: &Companion,
    service: &Service,
    target: &Target,
    templates: &BTreeMap<String, String>,
) -> Result<Value> {
    let argument = |word: &str| Quoted::Arguments(vec![word.into()]).value();
    let shell = |file: &str| -> Result<Value> { Ok(argument(&code(template(templates, file)?.1))) };
    let flags = companion.env.iter().map(|(name, value)| format!("--env={name}={value}"));
    Ok(context! {
        unit => companion.unit(),
        service_unit => service.unit(),
        full_name => companion.full_name(),
        name => &companion.name,
        description => &companion.description,
        systemd => target.systemd,
        program => Quoted::Program(target.program.clone()).value(),
        container => argument(&service.container),
        after => Quoted::Words(companion.after.clone()).value(),
        flags => Quoted::Arguments(flags.collect()).value(),
        script => argument(companion.script.trim()),
        wait => shell("companion-wait.sh")?,
        start => shell("companion-start.sh")?,
        stop => shell("companion-stop.sh")?,
    })
}

/// A shell text of our own without its comments: in a unit it is one line.
fn code(text: &str) -> String {
    let lines = text.trim().lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.collect::<Vec<_>>().join("\n")
}
