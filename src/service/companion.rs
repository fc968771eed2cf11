//! A second program in a service's container: it comes and goes with the container, and has a
//! unit, a journal and a restart of its own.

use super::{Decider, Service};
use crate::error::{Error, Result};

/// What a companion's unit is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Companion {
    /// Its name beside the service's: `helper`
    pub name: String,
    /// The service in whose container it runs
    pub service: String,
    /// One line for people
    pub description: String,
    /// What `sh` runs in the container; its last command becomes the program.
    pub script: String,
    /// Environment of the script, in order
    pub env: Vec<(String, String)>,
    /// Units of the host that it starts after, where they start at all
    pub after: Vec<String>,
    /// Only one service of a host may have it.
    pub one_per_host: bool,
}

impl Companion {
    /// Its name on this node: `agg1-helper`.
    pub fn full_name(&self) -> String {
        format!("{}-{}", self.service, self.name)
    }

    /// Its unit's name: `ldms-agg1-helper.service`.
    pub fn unit(&self) -> String {
        format!("ldms-{}.service", self.full_name())
    }
}

impl Decider<'_> {
    /// The companions that these answers want.
    pub(super) fn companions(&self) -> Result<Vec<Companion>> {
        let mut companions = Vec::new();
        for rule in &self.profile.companions {
            if !self.applies(rule.when.as_ref())? {
                continue;
            }
            let mut env = Vec::new();
            for (name, template) in &rule.env {
                env.push((name.get_ref().clone(), self.text(name.get_ref(), template.get_ref())?));
            }
            let (name, service) = (rule.name.get_ref().clone(), self.service.to_owned());
            companions.push(Companion {
                description: format!("LDMS {service} {name}: {}", rule.summary.get_ref()),
                name,
                service,
                script: rule.script.get_ref().clone(),
                env,
                after: rule.after.iter().map(|unit| unit.get_ref().clone()).collect(),
                one_per_host: rule.one_per_host,
            });
        }
        Ok(companions)
    }
}

/// Refuses companions that cannot be on one host together, or whose unit is another's.
pub(super) fn check_together(services: &[Service]) -> Result<()> {
    let mut units: Vec<(String, String)> = services
        .iter()
        .map(|service| (service.unit(), format!("the service {}", service.name)))
        .collect();
    let mut alone: Vec<&Companion> = Vec::new();
    for companion in services.iter().flat_map(|service| &service.companions) {
        let Companion { name, service, .. } = companion;
        let other = alone.iter().find(|o| o.name == *name && o.service != *service);
        if let Some(other) = other.filter(|other| companion.one_per_host || other.one_per_host) {
            return Err(Error::usage(format!(
                "{} and {service} both want {name}, which can be on a host only once",
                other.service
            ))
            .remedy(format!("answer for one of them that it has no {name}")));
        }
        alone.push(companion);
        let (unit, owner) = (companion.unit(), format!("{name} of {service}"));
        if let Some((_, other)) = units.iter().find(|(known, _)| *known == unit) {
            return Err(Error::usage(format!("{other} and {owner} would both be {unit}"))
                .remedy("give the service another name: --role NAME=ROLE"));
        }
        units.push((unit, owner));
    }
    Ok(())
}
