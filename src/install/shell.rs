//! A shell or a command inside a running service, on the terminal of whoever asks for it.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::Path;

use crate::engine::load::Client;
use crate::error::{Error, Kind, Result};
use crate::record::{Record, ServiceRecord};
use crate::root::Root;

/// What runs where no command is given. Not every image has bash.
const SHELL: [&str; 3] = ["sh", "-c", "command -v bash >/dev/null && exec bash; exec sh"];

/// Becomes the engine's client that runs `command`, or a shell if it is empty, in the container of
/// `service`; the exit code is then that of the command. A terminal is asked for where standard
/// input and output are both one. Returns only if it fails.
pub fn shell(service: &str, command: &[OsString]) -> Error {
    client(service).map_or_else(
        |error| error,
        |(engine, container)| {
            let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
            let shell = SHELL.map(OsString::from);
            let command = if command.is_empty() { &shell } else { command };
            engine.become_exec(&container, terminal, command)
        },
    )
}

/// The engine and the running container of a service.
fn client(service: &str) -> Result<(Client, String)> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::usage("reaching into a service takes root's rights")
            .remedy("run it as root or through sudo"));
    }
    let root = Root::open(Path::new("/"))?;
    let record = super::need_record(&root)?;
    let found = find(&record, service)?;
    let Some(engine) = record.engine.map(Client::new) else {
        return Err(Error::failed("the record names no engine"));
    };
    let container = found.container();
    if engine.runs_container(&container)? {
        return Ok((engine, container));
    }
    let unit = &found.unit;
    Err(Error::new(Kind::Host, format!("the service {service} does not run"))
        .at(format!("container {container} in {}", engine.kind()))
        .remedy(format!("start it with systemctl start {unit}, or see why: journalctl -u {unit}")))
}

fn find<'a>(record: &'a Record, service: &str) -> Result<&'a ServiceRecord> {
    if let Some(command) = record.commands.iter().find(|command| command.name == service) {
        return Err(Error::usage(format!("{service} is a command and no service"))
            .remedy(format!("run it: {}", command.path.display())));
    }
    record.services.iter().find(|known| known.name == service).ok_or_else(|| {
        let names: Vec<&str> = record.services.iter().map(|known| &*known.name).collect();
        let error = Error::usage(format!("there is no service '{}' here", service.escape_debug()));
        match &*names {
            [] => error.remedy("install one: ldms-install --role ROLE"),
            names => error.remedy(format!("the services are {}", names.join(", "))),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Kind as Engine;
    use crate::record::tests::bundle;

    #[test]
    fn services_are_found_by_name_with_their_containers() {
        let mut record = Record::new(bundle(), Some(Engine::Podman));
        let error = find(&record, "a").unwrap_err();
        assert!(error.next_step().unwrap().contains("--role ROLE"));
        for (name, container) in [("a", None), ("b", Some("other".to_owned()))] {
            record.services.push(ServiceRecord {
                name: name.into(),
                role: "r".into(),
                unit: format!("ldms-{name}.service"),
                image: String::new(),
                container,
                companion_of: None,
                ports: Vec::new(),
                uses: Vec::new(),
                stale: false,
            });
        }
        assert_eq!(find(&record, "a").unwrap().container(), "ldms-a");
        assert_eq!(find(&record, "b").unwrap().container(), "other");
        let error = find(&record, "c\u{1b}").unwrap_err();
        assert_eq!(error.to_string(), "there is no service 'c\\u{1b}' here");
        assert_eq!(error.next_step(), Some("the services are a, b"));
    }
}
