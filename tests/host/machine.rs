//! A throwaway host to run commands on, as a value: booted by a builder, gone when dropped.
//!
//! All the work is done by `rootfs.sh`, `machine.sh` and `medium.sh`, which can be used by
//! hand just as well; this is their Rust face, and keeps a transcript that a failing test
//! prints whole.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Where root file systems are kept between runs, and machines while they live.
const CACHE: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/host");
const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host");

/// A kind of host: which Debian, and which container engines it has.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    pub suite: &'static str,
    /// `podman`, `docker`, `podman,docker` or `none`.
    pub engine: &'static str,
}

/// Debian 13: systemd 257, podman 5.4.
pub const TRIXIE_PODMAN: Kind = Kind { suite: "trixie", engine: "podman" };

/// Debian 13 with docker 26.
pub const TRIXIE_DOCKER: Kind = Kind { suite: "trixie", engine: "docker" };
/// Debian 13 with both.
pub const TRIXIE_BOTH: Kind = Kind { suite: "trixie", engine: "podman,docker" };

impl Kind {
    /// The root file system of such a host; made if it is not there or its recipe changed.
    /// Callers at the same time wait for the one that makes it.
    fn rootfs(self) -> PathBuf {
        let path =
            Path::new(CACHE).join(format!("{}-{}", self.suite, self.engine.replace(',', "-")));
        let status = script("rootfs.sh")
            .args(["--suite", self.suite, "--engine", self.engine])
            .arg(&path)
            .status()
            .expect("rootfs.sh starts");
        assert!(status.success(), "rootfs.sh failed for {self:?}");
        path
    }

    /// A host of this kind, to be described further and then booted.
    pub fn host(self) -> Boot {
        Boot { kind: self, hostname: "node1".to_owned(), binds: Vec::new() }
    }
}

/// A host that is not booted yet.
#[derive(Debug)]
pub struct Boot {
    kind: Kind,
    hostname: String,
    binds: Vec<String>,
}

impl Boot {
    pub fn hostname(mut self, name: &str) -> Self {
        self.hostname = name.into();
        self
    }

    /// Shows a directory of the build machine inside, read-only.
    pub fn bind_ro(mut self, source: &Path, target: &str) -> Self {
        self.binds.extend(["--bind-ro".to_owned(), bind(source, target)]);
        self
    }

    /// Boots it and waits until systemd says that it is up. It ends when the value is
    /// dropped, or when this process ends in whatever way.
    #[track_caller]
    pub fn boot(self) -> Machine {
        self.make("boot", &["--while", &std::process::id().to_string()])
    }

    /// Runs a bash script of the build machine on its files, which are at `$ROOT`, and boots
    /// it then.
    #[track_caller]
    pub fn prepare(self, bash: &str) -> Machine {
        let machine = self.make("prepare", &["--", "bash", "-euc", bash]);
        machine.steer("boot", &["--while", &std::process::id().to_string()]);
        machine
    }

    #[track_caller]
    fn make(self, verb: &str, last: &[&str]) -> Machine {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let rootfs = self.kind.rootfs();
        let state = Path::new(CACHE).join("machines").join(format!(
            "{}-{}-{}",
            self.hostname,
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        ));
        let machine = Machine { state, transcript: Mutex::new(String::new()) };
        let output = script("machine.sh")
            .arg(verb)
            .args([&rootfs, &machine.state])
            .args(["--hostname", &self.hostname])
            .args(&self.binds)
            .args(last)
            .output()
            .expect("machine.sh starts");
        assert!(
            output.status.success(),
            "{}: {verb} failed:\n{}{}",
            self.hostname,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        machine
    }
}

fn bind(source: &Path, target: &str) -> String {
    let source = fs::canonicalize(source)
        .unwrap_or_else(|e| panic!("{} cannot be shown to a host: {e}", source.display()));
    format!("{}:{target}", source.display())
}

fn script(name: &str) -> Command {
    let mut command = Command::new(Path::new(HERE).join(name));
    command.stdin(Stdio::null());
    command
}

/// The beginning and the end of a long text: a whole file system would hide the rest of a
/// transcript.
fn short(text: &str) -> String {
    const LONG: usize = 1500;
    let count = text.chars().count();
    if count <= 2 * LONG {
        return text.to_owned();
    }
    let head: String = text.chars().take(LONG).collect();
    let tail: String = text.chars().skip(count - LONG).collect();
    // What was meant for a program is not to end up on a terminal as it is.
    format!("{head}\n... {} more ...\n{tail}", count - 2 * LONG).replace('\0', " ")
}

/// What a command on a host did.
#[derive(Debug)]
pub struct Output {
    /// The exit code; 128 + n after signal n.
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A running host.
#[derive(Debug)]
pub struct Machine {
    state: PathBuf,
    transcript: Mutex<String>,
}

impl Machine {
    /// The directory that holds all that this machine writes. `machine.sh` takes it.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// A command that runs a bash script on the host as root would on a login, for a caller
    /// who gives it streams of its own (a terminal, say). It is not in the transcript.
    pub fn command(&self, bash: &str) -> Command {
        let mut command = script("machine.sh");
        command.arg("exec").arg(&self.state).args(["--", "bash", "-c", bash]);
        command
    }

    /// The same on a terminal of the host's own, for a caller who holds the other end.
    pub fn terminal(&self, bash: &str) -> Command {
        // Its standard input is that other end, and not nothing as elsewhere.
        let mut command = Command::new(Path::new(HERE).join("machine.sh"));
        command.arg("shell").arg(&self.state).args(["--", "bash", "-c", bash]);
        command.env("TERM", "xterm").env("NO_COLOR", "1");
        command
    }

    /// Runs a bash script on the host as root would on a login.
    pub fn run(&self, bash: &str) -> Output {
        self.run_with(bash, b"")
    }

    /// Runs a bash script on the host with this as its standard input.
    pub fn run_with(&self, bash: &str, stdin: &[u8]) -> Output {
        let mut child = self
            .command(bash)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("machine.sh starts");
        let mut pipe = child.stdin.take().expect("it was asked for");
        let output = std::thread::scope(|scope| {
            // In a thread, or a command that answers much before it has read all would hang.
            // A command that reads nothing closes the pipe: no error of ours.
            scope.spawn(move || drop(pipe.write_all(stdin)));
            child.wait_with_output().expect("machine.sh can be awaited")
        });
        let output = Output {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        let (out, err) = (short(&output.stdout), short(&output.stderr));
        let record = format!("# {}\n{out}{err}[{}]\n", short(bash), output.status);
        *self.transcript.lock().expect("no holder panics") += &record;
        output
    }

    /// Runs a bash script that must succeed and returns its standard output. Panics with
    /// everything that was run on this host so far otherwise.
    #[track_caller]
    pub fn ok(&self, bash: &str) -> String {
        let output = self.run(bash);
        if output.status != 0 {
            self.fail(&format!("this failed on the host: {bash}"));
        }
        output.stdout
    }

    /// Writes a file on the host, mode 0644.
    #[track_caller]
    pub fn write(&self, path: &str, content: &[u8]) {
        let output = self.run_with(&format!("umask 022; cat > '{path}'"), content);
        assert_eq!(output.status, 0, "{path}: {}", output.stderr);
    }

    /// Panics with a reason and everything that was run on this host so far.
    #[track_caller]
    pub fn fail(&self, reason: &str) -> ! {
        let transcript = self.transcript.lock().map(|t| t.clone());
        panic!("{reason}\n{}", transcript.unwrap_or_default());
    }

    /// `systemctl reboot`; returns when the host is up again.
    #[track_caller]
    pub fn reboot(&self) {
        self.steer("reboot", &[]);
    }

    /// Pulls the plug, and boots the host again. Files keep what was written to them, synced
    /// or not: processes are cut, the build machine's cache is not.
    #[track_caller]
    pub fn cut_power(&self) {
        self.steer("stop", &[]);
        self.steer("boot", &["--while", &std::process::id().to_string()]);
    }

    #[track_caller]
    fn steer(&self, verb: &str, options: &[&str]) {
        let output = script("machine.sh")
            .arg(verb)
            .arg(&self.state)
            .args(options)
            .output()
            .expect("machine.sh starts");
        if !output.status.success() {
            self.fail(&format!("{verb} failed: {}", String::from_utf8_lossy(&output.stderr)));
        }
    }

    /// Plugs a stick with this directory's contents in, read-only, at `/media/stick`.
    /// `filesystem` is `vfat` or `ext4`.
    #[track_caller]
    pub fn plug(&self, filesystem: &str, contents: &Path) {
        let image = self.state.join("stick.img");
        self.medium(&["make".as_ref(), filesystem.as_ref(), &image, contents]);
        self.medium(&["plug".as_ref(), &self.state, &image]);
    }

    /// Unmounts what [`Machine::plug`] mounted.
    #[track_caller]
    pub fn unplug(&self) {
        self.medium(&["unplug".as_ref(), &self.state]);
    }

    #[track_caller]
    fn medium(&self, args: &[&Path]) {
        let output = script("medium.sh").args(args).output().expect("medium.sh starts");
        if !output.status.success() {
            self.fail(&format!(
                "medium.sh {args:?} failed: {}",
                String::from_utf8_lossy(&output.stderr)
            ));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() && std::env::var_os("LDMS_HOST_KEEP").is_some() {
            // It ends with this process; what it wrote stays, and it can be booted again.
            eprintln!("kept: {HERE}/machine.sh boot {}", self.state.display());
            return;
        }
        let removed = script("machine.sh")
            .arg("remove")
            .arg(&self.state)
            .status()
            .is_ok_and(|status| status.success());
        // A second panic would hide the first.
        assert!(
            removed || std::thread::panicking(),
            "{} could not be removed",
            self.state.display()
        );
    }
}

/// What is left on the build machine of a machine with this state directory: processes,
/// mounts, cgroups, loop devices. Empty after a stop.
pub fn leftovers(state: &Path) -> String {
    let output =
        script("machine.sh").arg("leftovers").arg(state).output().expect("machine.sh starts");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
