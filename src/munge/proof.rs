//! The proof that munge works for a service, made before the service is enabled: in a throwaway
//! container with exactly its mounts a credential is made and read back. Where host and
//! container are to share a key, each also reads one of the other's.
//!
//! What comes out says which of the few things that go wrong with munge it is: the key, the
//! clock, or whose a file is.

use std::fmt::Write as _;
use std::io;

use serde::Serialize;

use super::words::{Fault, last, of_exit, of_munged, uid_of};
use crate::engine::Kind;
use crate::engine::load::Client;
use crate::engine::once::Once;
use crate::error::{Error, Result};
use crate::host::{Cmd, Interrupt};
use crate::manifest::Owner;
use crate::service::{Munge, Service};

/// What runs in the container, with the host's credential, if any, as its input. It tells each
/// stage in a line `@STAGE EXIT-CODE` and what was said in lines that begin with `|`; it always
/// ends with 0, so that another exit code is the engine's.
const SCRIPT: &str = include_str!("proof.sh");

/// Most bytes of a credential that is taken from a container; they have about two hundred.
const CREDENTIAL_LIMIT: usize = 4096;

/// How it is proven for one service that munge works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Proof {
    /// The service
    pub service: String,
    /// The name of its image in the engine
    pub image: String,
    /// The flags of its container that matter here
    pub flags: Vec<String>,
    /// The container has a munged of its own.
    pub own_munged: bool,
    /// Host and container are to accept each other's credentials.
    pub across: bool,
    /// The key that was copied for it
    pub key: Option<String>,
    /// The owner of the copy
    #[serde(skip)]
    pub owner: Option<Owner>,
}

impl Proof {
    /// What is to be proven for `service`; nothing if it does without munge. `across`: the host
    /// is to accept its credentials, and it the host's.
    pub fn of(service: &Service, engine: Kind, across: bool) -> Option<Self> {
        let (key, owner) = match &service.munge {
            Munge::None => return None,
            Munge::Host | Munge::ImageKey => (None, None),
            Munge::Key { source, owner, .. } => (Some(source.clone()), Some(*owner)),
        };
        // Mounts, network and rights are the service's. Its processes need not be the host's:
        // those of its own namespace end with its first, whatever happens.
        let like = Service {
            pid_host: false,
            init: false,
            env: Vec::new(),
            numbers: Vec::new(),
            args: Vec::new(),
            ..service.clone()
        };
        let mut flags = engine.flags(&like);
        flags.retain(|flag| !flag.starts_with("--name="));
        Some(Proof {
            service: service.name.clone(),
            image: service.image_reference.clone(),
            flags,
            own_munged: service.munge != Munge::Host,
            across,
            key,
            owner,
        })
    }

    /// A name for its container that no service's has: those have no `_` unless somebody gave
    /// them one.
    pub fn container(&self) -> String {
        format!("ldms_proof_{}_{}", self.service, std::process::id())
    }

    /// Makes the proof in a container called `name`.
    ///
    /// # Errors
    /// `Host`: munge does not work, and why; `Failed`: the engine cannot run the container.
    pub fn make(&self, name: &str, engine: Client, interrupt: &Interrupt) -> Result<()> {
        let mut input = format!("{}\n", if self.own_munged { "own" } else { "host" });
        if self.across {
            input += &self.credential()?;
        }
        let once = Once {
            name,
            flags: &self.flags,
            image: &self.image,
            script: SCRIPT,
            input: input.as_bytes(),
        };
        let said = engine.run_once(&once, interrupt).map_err(|e| {
            Error::failed("cannot run a throwaway container to prove that munge works")
                .at(format!("service {}", self.service))
                .because(e)
        })?;
        let stages = Stage::all(&said);
        self.judge(&stages)?;
        let Some(made) = stages.iter().find(|stage| stage.name == "for-host") else {
            return Ok(());
        };
        if self.across && made.said.len() <= CREDENTIAL_LIMIT {
            let read = Cmd::new("unmunge").ask(interrupt, made.said.as_bytes())?;
            let said = String::from_utf8_lossy(&read.stdout) + read.stderr.as_str();
            let said = said.into_owned();
            let name = "on-host".to_owned();
            self.judge(&[Stage { name, status: read.status, said }])?;
        }
        Ok(())
    }

    /// A credential of the host's own munged, which only root can read.
    fn credential(&self) -> Result<String> {
        let munge = Cmd::new("munge").args(["--no-input", "--restrict-uid=0"]).run();
        munge.map(|output| output.text()).map_err(|e| {
            Error::host("the munge of this host does not work")
                .at(format!("service {}", self.service))
                .because(e)
                .remedy("systemctl restart munge; journalctl -u munge")
        })
    }

    /// Finds the first stage that did not come out as it should.
    fn judge(&self, stages: &[Stage]) -> Result<()> {
        for stage in stages {
            let fault = match (stage.name.as_str(), stage.status) {
                ("decode" | "on-host", 0) if uid_of(&stage.said).is_some_and(|uid| uid != 0) => {
                    Fault::Owner
                }
                (_, 0) => continue,
                ("munged", status) => {
                    of_munged(status, &format!("{}\n{}", stage.said, said_at("log", stages)))
                }
                (_, status) => of_exit(status),
            };
            return Err(self.failure(stage, fault, stages));
        }
        // A container that told nothing has proven nothing.
        if stages.iter().any(|stage| matches!(stage.name.as_str(), "decode" | "on-host")) {
            return Ok(());
        }
        Err(Error::failed("the proof that munge works told nothing")
            .at(format!("service {}", self.service)))
    }

    fn failure(&self, stage: &Stage, fault: Fault, stages: &[Stage]) -> Error {
        let across = matches!(stage.name.as_str(), "from-host" | "on-host");
        let set = |key: &str| format!("--set {}.{key}", self.service);
        let (why, remedy) = match fault {
            Fault::Key if across => (
                "and the key is why: the munged of this host and that of the container hold \
                 different ones"
                    .into(),
                format!(
                    "if {} has been changed, have the host's munged read it (systemctl restart \
                     munge); if munged uses another file, name that: {}=FILE",
                    self.key.as_deref().unwrap_or("the key"),
                    set("munge-key")
                ),
            ),
            Fault::Key => (
                "and the key is why".into(),
                format!("name another with {}=FILE", set("munge-key")),
            ),
            Fault::Clock => (
                "and the clock is why: a credential that was just made counts as too old or too \
                 new"
                .into(),
                "set the clock of this host (timedatectl, chronyc tracking) and run it again"
                    .into(),
            ),
            Fault::Owner if stage.name == "munged" => self.wrong_owner(said_at("user", stages)),
            Fault::Owner => (
                "and the uid is why: root in the container is not this host's root for munge"
                    .into(),
                "use the system's own engine, without remapped users".into(),
            ),
            Fault::Socket if self.own_munged => (
                "its munged does not answer".into(),
                format!("use the munge of this host: {}=host", set("munge")),
            ),
            Fault::Socket => (
                "the munge of this host cannot be reached from the container".into(),
                "systemctl restart munge; journalctl -u munge".into(),
            ),
            Fault::Missing => {
                ("its image has no munge".into(), format!("run it without: {}=none", set("munge")))
            }
            Fault::Other => (
                "and only munge's own words say why".into(),
                "try `munge -n | unmunge` on this host".into(),
            ),
        };
        let where_ = match stage.name.as_str() {
            "munged" => "munged in its container does not start",
            "encode" => "no credential can be made in its container",
            "from-host" => "its container does not accept this host's credential",
            "on-host" => "this host does not accept its container's credential",
            _ => "its container does not accept its own credential",
        };
        let mut words = match last(&stage.said, 3) {
            words if words.is_empty() => format!("exit code {}", stage.status),
            words => words,
        };
        let log = last(said_at("log", stages), 3);
        if !log.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(words, "; munged's last words: {log}");
        }
        Error::host(format!("munge does not work for it, {why}; {where_}"))
            .at(format!("service {}", self.service))
            .because(io::Error::other(words))
            .remedy(remedy)
    }

    /// munged refuses a file because of whose it is; `user` is what it runs as, `UID:GID`.
    fn wrong_owner(&self, user: &str) -> (String, String) {
        let user = user.trim();
        let name = &self.service;
        match (&self.owner, user.split_once(':')) {
            (Some(owner), Some((uid, gid))) if owner.to_string() != user => (
                format!(
                    "and the owner is why: munged runs as {user} in its image, the copy of the key \
                     belongs to {owner}"
                ),
                format!("--set {name}.munge-uid={uid} --set {name}.munge-gid={gid}"),
            ),
            _ => (
                "and owners or rights of files in its image are why".into(),
                format!("mend the image, or use the munge of this host: --set {name}.munge=host"),
            ),
        }
    }
}

/// What was said at a stage; nothing if there was no such stage.
fn said_at<'a>(name: &str, stages: &'a [Stage]) -> &'a str {
    stages.iter().find(|stage| stage.name == name).map_or("", |stage| stage.said.as_str())
}

/// What one stage of the script told.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stage {
    name: String,
    status: i32,
    said: String,
}

impl Stage {
    fn all(said: &str) -> Vec<Stage> {
        let mut stages: Vec<Stage> = Vec::new();
        for line in said.lines() {
            if let Some((name, status)) = line.strip_prefix('@').and_then(|l| l.split_once(' ')) {
                let status = status.trim().parse().unwrap_or(1);
                stages.push(Stage { name: name.into(), status, said: String::new() });
            } else if let (Some(stage), Some(words)) = (stages.last_mut(), line.strip_prefix('|')) {
                stage.said += words;
                stage.said.push('\n');
            }
        }
        stages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(key: bool) -> Proof {
        Proof {
            service: "watcher".into(),
            image: "docker.io/a/b:ldms-0".into(),
            flags: Vec::new(),
            own_munged: key,
            across: true,
            key: key.then(|| "/etc/munge/munge.key".into()),
            owner: key.then_some(Owner { uid: 0, gid: 0 }),
        }
    }

    fn told(proof: &Proof, said: &str) -> String {
        match proof.judge(&Stage::all(said)) {
            Ok(()) => "proven".into(),
            Err(e) => format!("{e}\n=> {}", e.next_step().unwrap_or_default()),
        }
    }

    #[test]
    fn what_works_is_proven_and_silence_is_not() {
        let whole = "@munged 0\n|\n@encode 0\n@decode 0\n|STATUS: Success (0)\n|UID: root (0)\n\
                     @from-host 0\n|\n@for-host 0\n|MUNGE:AwQ:\n@log 0\n|notice\n";
        assert_eq!(told(&proof(true), whole), "proven");
        assert_eq!(Stage::all(whole)[4].said, "MUNGE:AwQ:\n");
        assert!(told(&proof(true), "").contains("told nothing"));
        assert!(told(&proof(true), "@munged 0\n").contains("told nothing"));
    }

    #[test]
    fn each_fault_is_told_with_what_to_do() {
        let mine = "@munged 0\n@encode 0\n@decode 0\n|UID: root (0)\n";
        let log = "@log 0\n|2026-01-02 03:04:05 Info:      Invalid credential\n";
        let refused = "munged: Error: Keyfile is insecure: \"/etc/munge/munge.key\" should be \
                       owned by UID 101 instead of UID 0";
        let cases = [
            ("owner", true, format!("@user 0\n|101:101\n@munged 1\n|{refused}\n@encode 6\n|no socket\n")),
            ("key", true, format!("{mine}@from-host 14\n|unmunge: Error: Invalid credential\n{log}")),
            ("clock", true, format!("{mine}@from-host 16\n|STATUS: Rewound credential (16)\n")),
            (
                "short",
                true,
                "@munged 1\n|munged: Error: Keyfile must be at least 32 bytes\n".into(),
            ),
            (
                "socket",
                false,
                "@encode 6\n|munge: Error: Failed to access \"/run/munge/munge.socket.2\": No such \
                 file or directory\n"
                    .into(),
            ),
            ("uid", false, "@encode 0\n@decode 0\n|UID: nobody (65534)\n".into()),
            ("missing", false, "@encode 127\n|/bin/sh: munge: not found\n".into()),
            ("other", false, "@encode 0\n@decode 17\n|Replayed credential\n".into()),
        ];
        let all: Vec<String> = cases
            .iter()
            .map(|(name, key, said)| format!("{name}: {}\n", told(&proof(*key), said)))
            .collect();
        insta::assert_snapshot!(all.concat());
    }
}
