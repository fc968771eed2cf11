//! What is found out about a host before anything is decided: a value, gathered once.
//!
//! Of a root that is not the running host, `prepared` tells what its files show.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::{Cmd, prepared};
use crate::engine::Kind;
use crate::error::Result;
use crate::root::Root;

/// Where munged listens.
pub const MUNGE_SOCKET: &str = "/run/munge/munge.socket.2";
/// The host's own munge key, which is only ever read.
pub const MUNGE_KEY: &str = "/etc/munge/munge.key";

/// How long a question to an engine or to systemd may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// What was found on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The processor, in OCI's words: `amd64`, `arm64`.
    pub architecture: String,
    /// The host's name up to the first dot; empty if it has none yet.
    pub hostname: String,
    /// All names it goes by, the short one first: its full one, those in its /etc/hosts.
    pub names: Vec<String>,
    /// The version of systemd, if there is one.
    pub systemd: Option<u32>,
    /// Control groups version 2 alone.
    pub cgroup_v2: bool,
    /// The host's munged listens (in a root that does not run: it is installed).
    pub munge_socket: bool,
    /// The host has a munge key of its own.
    pub munge_key: bool,
    /// The engines that are installed, docker first.
    pub engines: Vec<EngineFacts>,
}

/// What was found of one engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EngineFacts {
    /// Which.
    pub kind: Kind,
    /// Major and minor version; 0.0 if it does not tell.
    pub version: (u32, u32),
    /// It has the small init program that `--init` needs.
    pub init_program: bool,
    /// Whether services can be run with it; if not, why not and what to do.
    pub usable: std::result::Result<(), String>,
}

impl Facts {
    /// Looks at the host whose files are beneath `root`.
    pub fn gather(root: &Root) -> Result<Self> {
        let systemd = if root.is_live() {
            version_of("systemctl").map(|v| v.0)
        } else {
            prepared::systemd(root)?
        };
        let munge = if root.is_live() {
            root.exists(Path::new(MUNGE_SOCKET))?
        } else {
            find(root, "munged")?.is_some()
        };
        let names = names(root)?;
        let mut engines = Vec::new();
        for kind in [Kind::Docker, Kind::Podman] {
            if find(root, kind.name())?.is_some() {
                engines.push(engine(root, kind)?);
            }
        }
        Ok(Facts {
            architecture: architecture()?,
            hostname: names.first().cloned().unwrap_or_default(),
            names,
            systemd,
            cgroup_v2: cgroup_v2(root, systemd)?,
            munge_socket: munge,
            munge_key: root.exists(Path::new(MUNGE_KEY))?,
            engines,
        })
    }

    /// What is known of one engine, if it is installed.
    pub fn engine(&self, kind: Kind) -> Option<&EngineFacts> {
        self.engines.iter().find(|e| e.kind == kind)
    }
}

/// The processor of the running kernel in OCI's words.
pub fn architecture() -> Result<String> {
    let name = nix::sys::utsname::uname().map_err(|e| {
        crate::error::Error::failed("cannot ask the kernel for the processor")
            .because(std::io::Error::from(e))
    })?;
    let machine = name.machine().to_string_lossy();
    Ok(match &*machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "i386" | "i486" | "i586" | "i686" => "386",
        "armv6l" | "armv7l" | "armv8l" => "arm",
        other => other,
    }
    .to_owned())
}

/// No name service is asked: what it knows depends on the network of the moment.
fn names(root: &Root) -> Result<Vec<String>> {
    let full = if root.is_live() {
        nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned()
    } else {
        let text = root.read(Path::new("/etc/hostname"))?.unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        text.lines()
            .map(str::trim)
            .find(|l| !l.is_empty() && !l.starts_with('#'))
            .unwrap_or_default()
            .to_owned()
    };
    let short = full.split('.').next().unwrap_or_default().to_owned();
    let hosts = root.read(Path::new("/etc/hosts"))?.unwrap_or_default();
    let hosts = String::from_utf8_lossy(&hosts);
    let mut names = vec![short, full];
    for line in hosts.lines() {
        let words = line.split('#').next().unwrap_or_default().split_whitespace();
        let listed: Vec<String> = words.skip(1).map(str::to_owned).collect();
        if listed.iter().any(|name| names[..2].contains(name)) {
            names.extend(listed);
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| !name.is_empty() && seen.insert(name.clone()));
    Ok(names)
}

fn cgroup_v2(root: &Root, systemd: Option<u32>) -> Result<bool> {
    if root.is_live() {
        return root.exists(Path::new("/sys/fs/cgroup/cgroup.controllers"));
    }
    Ok(prepared::cgroup_v2(systemd))
}

/// Where a program is beneath the root.
pub fn find(root: &Root, program: &str) -> Result<Option<PathBuf>> {
    for dir in ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"] {
        let path = Path::new(dir).join(program);
        if root.exists(&path)? {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn version_of(name: &str) -> Option<(u32, u32)> {
    // Not there, or it cannot be run: either way its version is not known.
    let output = Cmd::new(name).arg("--version").timeout(PATIENCE).run().ok()?;
    version_in(&output.text())
}

/// The first number with a dot, or after a blank, in the first line: `podman version 5.4.2`,
/// `Docker version 26.1.5+dfsg1, build a72d7cd`, `systemd 257 (257.9-1~deb13u1)`.
fn version_in(text: &str) -> Option<(u32, u32)> {
    let word = text
        .lines()
        .next()?
        .split_whitespace()
        .find(|w| w.starts_with(|c: char| c.is_ascii_digit()))?;
    let mut numbers = word.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse().ok());
    Some((numbers.next()?, numbers.next().unwrap_or(0)))
}

fn engine(root: &Root, kind: Kind) -> Result<EngineFacts> {
    let init_program = has_init_program(root, kind)?;
    if !root.is_live() {
        return prepared::engine(root, kind, init_program);
    }
    let version = version_of(kind.name());
    let usable = match kind {
        Kind::Docker => docker_usable(),
        Kind::Podman => podman_usable(),
    };
    let usable = usable.and_then(|()| new_enough(kind, version));
    Ok(EngineFacts { kind, version: version.unwrap_or_default(), init_program, usable })
}

/// Older ones lack flags that units need: docker `--pull=never`, podman `--sdnotify=conmon` with
/// `--cgroups=split` in the form used.
fn new_enough(kind: Kind, version: Option<(u32, u32)>) -> std::result::Result<(), String> {
    let oldest = match kind {
        Kind::Docker => (20, 10),
        Kind::Podman => (3, 3),
    };
    match version {
        None => Err(format!("{kind} does not tell its version")),
        Some(version) if version < oldest => Err(format!(
            "{kind} {}.{} is too old: install {}.{} or newer",
            version.0, version.1, oldest.0, oldest.1
        )),
        Some(_) => Ok(()),
    }
}

fn has_init_program(root: &Root, kind: Kind) -> Result<bool> {
    let (name, places): (_, &[&str]) = match kind {
        Kind::Docker => ("docker-init", &["/usr/libexec/docker", "/usr/lib/docker"]),
        Kind::Podman => {
            ("catatonit", &["/usr/libexec/podman", "/usr/lib/podman", "/usr/libexec/catatonit"])
        }
    };
    for place in places {
        if root.exists(&Path::new(place).join(name))? {
            return Ok(true);
        }
    }
    Ok(find(root, name)?.is_some())
}

fn docker_usable() -> std::result::Result<(), String> {
    let version =
        Cmd::new("docker").arg("--version").timeout(PATIENCE).run().map_err(|e| e.to_string())?;
    if is_podman(&version.text()) {
        return Err(
            "the `docker` of this host is podman under another name: use the engine podman".into(),
        );
    }
    let ask = ["info", "--format", "{{.ServerVersion}} {{json .SecurityOptions}}"];
    let info =
        engine_cmd(Kind::Docker).args(ask).timeout(PATIENCE).status().map_err(|e| e.to_string())?;
    match daemon_options(&info.text()) {
        Some(options) if info.status == 0 => security_allows(options),
        _ => Err(format!(
            "docker's daemon does not answer ({}): start it with `systemctl enable --now docker`",
            info.last_error_line()
        )),
    }
}

/// The security options of a daemon that told its version. Without a daemon some clients exit
/// with 0 all the same, and print `null` or its absence.
fn daemon_options(info: &str) -> Option<&str> {
    let (version, options) = info.trim_end().split_once(' ')?;
    version.starts_with(|c: char| c.is_ascii_digit()).then_some(options)
}

/// Refuses the two modes in which a container's root is not the host's.
fn security_allows(options: &str) -> std::result::Result<(), String> {
    let options: Option<Vec<String>> = serde_json::from_str(options)
        .map_err(|e| format!("docker tells no security options: {e}"))?;
    let has = |name: &str| options.iter().flatten().any(|o| o.split(',').any(|w| w == name));
    if has("name=rootless") {
        return Err("docker runs rootless here, so a container cannot see the host as LDMS \
                    must: use the system's docker, or podman as root"
            .into());
    }
    if has("name=userns") {
        return Err("docker maps users here (userns-remap), so files for a container would \
                    belong to others: take userns-remap out of /etc/docker/daemon.json, or use \
                    podman"
            .into());
    }
    Ok(())
}

fn podman_usable() -> std::result::Result<(), String> {
    let info = engine_cmd(Kind::Podman)
        .args(["info", "--format", "json"])
        .timeout(PATIENCE)
        .run()
        .map_err(|e| format!("podman does not work here: {e}"))?;
    podman_info_allows(&info.text())
}

fn podman_info_allows(info: &str) -> std::result::Result<(), String> {
    #[derive(serde::Deserialize)]
    struct Info {
        host: Host,
    }
    #[derive(serde::Deserialize)]
    struct Host {
        #[serde(default)]
        rootless: bool, // before podman 3
        #[serde(default, rename = "serviceIsRemote")]
        remote: bool,
        #[serde(default)]
        security: Security,
    }
    #[derive(Default, serde::Deserialize)]
    struct Security {
        #[serde(default)]
        rootless: bool,
    }
    let info: Info = serde_json::from_str(info)
        .map_err(|e| format!("podman tells about itself in an unknown way: {e}"))?;
    if info.host.remote {
        return Err(
            "this podman only speaks to one on another machine: install podman itself".into()
        );
    }
    if info.host.rootless || info.host.security.rootless {
        return Err("podman runs rootless here, so a container cannot see the host as LDMS must: \
                    run the installation as root"
            .into());
    }
    Ok(())
}

fn is_podman(version: &str) -> bool {
    version.to_ascii_lowercase().contains("podman")
}

/// The engine's client, speaking to this host's engine whatever its user has configured.
pub fn engine_cmd(kind: Kind) -> Cmd {
    let cmd = Cmd::new(kind.name());
    match kind {
        // A context chosen by `docker context use` may be another machine.
        Kind::Docker => cmd.env("DOCKER_CONTEXT", "default"),
        Kind::Podman => cmd,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_what_programs_say() {
        assert_eq!(version_in("podman version 5.4.2"), Some((5, 4)));
        assert_eq!(version_in("Docker version 26.1.5+dfsg1, build a72d7cd"), Some((26, 1)));
        assert_eq!(version_in("systemd 257 (257.9-1~deb13u1)\n+PAM"), Some((257, 0)));
        assert_eq!(version_in("podman version 3.4.4-rhel"), Some((3, 4)));
        assert_eq!(version_in(""), None);
    }

    #[test]
    fn old_engines_are_refused() {
        assert!(new_enough(Kind::Podman, Some((3, 3))).is_ok());
        assert!(new_enough(Kind::Podman, Some((3, 2))).unwrap_err().contains("3.3 or newer"));
        assert!(new_enough(Kind::Docker, Some((20, 9))).is_err());
        assert!(new_enough(Kind::Docker, Some((28, 0))).is_ok());
        assert!(new_enough(Kind::Docker, None).is_err());
    }

    #[test]
    fn foreign_modes_are_refused_with_the_reason() {
        assert!(security_allows(r#"["name=apparmor","name=seccomp,profile=builtin"]"#).is_ok());
        assert!(security_allows("null").is_ok());
        let why = security_allows(r#"["name=seccomp,profile=default","name=rootless"]"#);
        assert!(why.unwrap_err().contains("rootless"));
        assert!(security_allows(r#"["name=userns"]"#).unwrap_err().contains("userns-remap"));

        let info =
            |rest: &str| podman_info_allows(&format!(r#"{{"host":{{{rest}}},"store":{{}}}}"#));
        assert!(info(r#""security":{"rootless":false},"serviceIsRemote":false"#).is_ok());
        assert!(info(r#""security":{"rootless":true}"#).unwrap_err().contains("as root"));
        assert!(info(r#""serviceIsRemote":true"#).unwrap_err().contains("another machine"));
        assert!(podman_info_allows("").is_err());
    }

    #[test]
    fn a_docker_without_its_daemon_is_noticed() {
        let options = r#"["name=seccomp,profile=builtin"]"#;
        assert_eq!(daemon_options(&format!("26.1.5+dfsg1 {options}\n")), Some(options));
        for absent in [" null\n", "null", "", "Cannot connect to the Docker daemon"] {
            assert_eq!(daemon_options(absent), None, "{absent}");
        }
    }

    #[test]
    fn a_docker_that_is_podman_is_noticed() {
        // What the stand-in of the package podman-docker prints.
        assert!(is_podman("podman version 4.9.3"));
        assert!(!is_podman("Docker version 26.1.5+dfsg1, build a72d7cd"));
    }

    #[test]
    fn a_root_that_does_not_run_is_told_from_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let mine = crate::root::Attr {
            mode: 0o755,
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
        };
        for path in ["/etc", "/usr", "/usr/sbin", "/usr/bin"] {
            root.mkdir(Path::new(path), mine).unwrap();
        }
        let facts = Facts::gather(&root).unwrap();
        assert_eq!((facts.hostname.as_str(), facts.munge_socket), ("", false));
        assert!(facts.engines.is_empty() && facts.systemd.is_none());

        root.write(Path::new("/etc/hostname"), b"# name\nnid00100.site.example\n", mine).unwrap();
        let hosts = b"127.0.0.1 localhost\n10.0.0.1 nid00100.site.example monitor # nid00100\n";
        root.write(Path::new("/etc/hosts"), hosts, mine).unwrap();
        root.write(Path::new("/usr/sbin/munged"), b"", mine).unwrap();
        root.write(Path::new("/usr/bin/podman"), b"", mine).unwrap();
        let facts = Facts::gather(&root).unwrap();
        assert_eq!((facts.hostname.as_str(), facts.munge_socket), ("nid00100", true));
        assert_eq!(facts.names, ["nid00100", "nid00100.site.example", "monitor"]);
        let podman = facts.engine(Kind::Podman).unwrap();
        assert_eq!(podman.usable, Ok(()), "it is not run to find out");
    }

    #[test]
    fn the_running_host_has_facts() {
        let facts = Facts::gather(&Root::open(Path::new("/")).unwrap()).unwrap();
        assert!(!facts.architecture.is_empty() && !facts.architecture.contains("x86"));
        assert!(!facts.hostname.contains('.'));
    }
}
