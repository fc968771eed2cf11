//! What differs between engines, and nothing else.

pub mod docker;
pub mod init;
pub mod load;
pub mod once;
pub mod podman;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::service::{Mount, Service};

/// A program that runs images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// docker with its daemon
    Docker,
    /// podman, run by root
    Podman,
}

impl Kind {
    /// The command's name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Docker => "docker",
            Kind::Podman => "podman",
        }
    }

    /// Where distributions put the command; a unit needs the whole path.
    pub fn usual_program(self) -> &'static str {
        match self {
            Kind::Docker => "/usr/bin/docker",
            Kind::Podman => "/usr/bin/podman",
        }
    }

    /// One line for the list of engines.
    pub fn meaning(self) -> &'static str {
        match self {
            Kind::Docker => "containers belong to the docker daemon",
            Kind::Podman => "containers belong to their systemd units, no daemon",
        }
    }

    /// Flags of `run` that this engine needs for a service, without what the unit's template says.
    pub fn flags(self, service: &Service) -> Vec<String> {
        match self {
            Kind::Docker => docker::flags(service),
            Kind::Podman => podman::flags(service),
        }
    }

    /// Flags of `run` for a command, whose container has no name and ends with it.
    pub fn command_flags(self, command: &Service) -> Vec<String> {
        let mut flags = container_flags(command);
        if let Some(files) = command.nofile {
            flags.push(format!("--ulimit=nofile={files}:{files}"));
        }
        if command.unlimited_memlock {
            flags.push("--ulimit=memlock=-1:-1".into());
        }
        flags
    }

    /// Everything after `run` that belongs to the service: flags, image, arguments.
    pub fn run_arguments(self, service: &Service) -> Vec<String> {
        let mut arguments = self.flags(service);
        arguments.push(service.image_reference.clone());
        arguments.extend(service.args.iter().cloned());
        arguments
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "docker" => Ok(Kind::Docker),
            "podman" => Ok(Kind::Podman),
            _ => Err(Error::usage(format!("there is no engine '{}'", text.escape_debug()))
                .remedy("the engines are docker and podman")),
        }
    }
}

/// The documented flags, which docker and podman spell alike.
fn common_flags(service: &Service) -> Vec<String> {
    let mut flags = vec![format!("--name={}", service.container)];
    flags.append(&mut container_flags(service));
    flags.push(format!("--stop-timeout={}", service.stop_timeout.as_secs()));
    flags
}

/// Those that say what a container sees and may do.
fn container_flags(service: &Service) -> Vec<String> {
    let mut flags = vec![format!("--network={}", service.network)];
    if service.pid_host {
        flags.push("--pid=host".into());
    }
    if service.privileged {
        flags.push("--privileged".into());
    }
    if service.init {
        flags.push("--init".into());
    }
    flags.extend(service.env.iter().map(|(name, value)| format!("--env={name}={value}")));
    flags.extend(service.numbers_file().map(|file| format!("--env-file={file}")));
    flags.extend(service.mounts.iter().map(mount));
    flags
}

/// `--mount` fails where `--volume` would make a missing source as a directory. Service paths
/// hold neither comma nor quote ([`crate::profile::host_path`]), so nothing needs CSV's quoting.
fn mount(mount: &Mount) -> String {
    let Mount { source, target, read_only } = mount;
    let suffix = if *read_only { ",readonly" } else { "" };
    format!("--mount=type=bind,source={source},target={target}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for kind in [Kind::Docker, Kind::Podman] {
            assert_eq!(kind.to_string().parse::<Kind>().unwrap(), kind);
        }
        assert!("Docker".parse::<Kind>().is_err());
    }
}
