//! A host in a temporary directory: real files beneath a real root, and in place of systemd and
//! of an engine two small scripts that keep what they are told as files, so that a test can
//! compare all of a host's state. Booted hosts with the real ones are tested elsewhere.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use std::time::Duration;

use ldms_bundle::apply;
use ldms_bundle::digest::Digest;
use ldms_bundle::engine::{self, load::Client};
use ldms_bundle::error::{Error, Kind, Result};
use ldms_bundle::health::{self, Check};
use ldms_bundle::host::{Interrupt, Systemd};
use ldms_bundle::plan::{
    self, Content, Node, State, Wanted, WantedDir, WantedFile, WantedImage, WantedService,
};
use ldms_bundle::progress::Quiet;
use ldms_bundle::record::{BundleRecord, FileKind, Record};
use ldms_bundle::root::{Attr, Root};
use tempfile::TempDir;

const SYSTEMCTL: &str = r#"#!/bin/sh
set -eu
here=$(dirname "$0")/..
units=$here/root/etc/systemd/system
verb=$1; shift
while [ $# -gt 0 ] && [ "$1" != -- ]; do shift; done
[ $# -eq 0 ] || shift
case $verb in
show)
    for unit; do
        state=inactive
        [ ! -e "$here/up/$unit" ] || state=active
        [ ! -e "$here/failed/$unit" ] || state=failed
        printf 'ActiveState=%s\n\n' "$state"
    done ;;
daemon-reload)
    rm -f "$here"/loaded/*
    for file in "$units"/ldms*; do
        [ ! -f "$file" ] || cp "$file" "$here/loaded/"
    done ;;
start | restart)
    [ -e "$here/loaded/$1" ] || { echo "Unit $1 not found." >&2; exit 5; }
    image=$(sed -n 's/^Image=//p' "$here/loaded/$1" | tr /: __)
    if [ -e "$here/break-start" ] || { [ -n "$image" ] && [ ! -e "$here/engine/$image" ]; }; then
        rm -f "$here/up/$1"
        : > "$here/failed/$1"
        echo "Job for $1 failed." >&2
        exit 1
    fi
    rm -f "$here/failed/$1"
    # What it runs on: its unit and its configuration, as they are at this moment.
    cat "$here/loaded/$1" "$here/root/etc/ldms/sampler.conf" > "$here/up/$1" ;;
stop) rm -f "$here/up/$1" ;;
reset-failed) rm -f "$here/failed/$1" ;;
is-enabled) ls "$units"/*.wants/"$1" > /dev/null ;;
esac
"#;

const PODMAN: &str = r#"#!/bin/sh
set -eu
here=$(dirname "$0")/..
[ ! -e "$here/engine-down" ] || { echo "cannot connect" >&2; exit 125; }
file() { printf '%s/engine/%s' "$here" "$(printf %s "$1" | tr /: __)"; }
case "$1 $2" in
"image exists") [ -e "$(file "$3")" ] ;;
"image inspect")
    layers=$(sed 's/.*/"&"/' "$(file "$3")" | paste -sd,)
    printf '[{"Id":"abc","RootFS":{"Type":"layers","Layers":[%s]}}]\n' "$layers" ;;
"image rm") [ ! -e "$here/in-use" ] && rm "$(file "$3")" ;;
"load --quiet")
    # Left behind if it is killed, as podman does.
    scratch=$(mktemp)
    read -r name
    whole=$(cat)
    [ ! -e "$here/slow-load" ] || { : > "$here/has-all"; sleep 1; }
    [ "${whole##*
}" = END ] || { echo "unexpected EOF" >&2; exit 125; }
    printf '%s\n' "$whole" | sed '$d' > "$(file "$name")"
    rm "$scratch" ;;
"ps --all") [ ! -e "$here/in-use" ] || echo 0123 ;;
"info --format") echo /var/lib/containers/storage ;;
*) echo "unknown: $*" >&2; exit 125 ;;
esac
"#;

/// The journal of the unit that failed, as it would be told.
const JOURNALCTL: &str = "#!/bin/sh\necho 'munged: Keyfile is insecure'\n";

/// A host that tests may do anything to.
pub struct Host {
    pub dir: TempDir,
}

impl Host {
    /// One on which nothing of ours has ever been.
    pub fn bare() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for sub in ["bin", "engine", "up", "failed", "loaded", "root"] {
            fs::create_dir(dir.path().join(sub)).unwrap();
        }
        for sub in ["etc/systemd/system", "etc/munge", "var/lib", "usr"] {
            fs::create_dir_all(dir.path().join("root").join(sub)).unwrap();
        }
        fs::write(dir.path().join("root/etc/munge/munge.key"), "the key").unwrap();
        let scripts = [("systemctl", SYSTEMCTL), ("podman", PODMAN), ("journalctl", JOURNALCTL)];
        for (name, text) in scripts {
            let path = dir.path().join("bin").join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Host { dir }
    }

    /// Another one just like it.
    pub fn copy(&self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let from = self.dir.path().join(".");
        assert!(Command::new("cp").arg("-a").arg(from).arg(dir.path()).status().unwrap().success());
        Host { dir }
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// Runs a verb in a process of its own, which `env` may stop.
    pub fn run(&self, verb: &str, env: &[(&str, &str)]) -> Output {
        self.command(verb, env).output().unwrap()
    }

    /// The process that runs a verb, yet to be started.
    pub fn command(&self, verb: &str, env: &[(&str, &str)]) -> Command {
        // Connections are taken, not only queued: a full queue would not answer.
        static ANSWERS: LazyLock<u16> = LazyLock::new(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            std::thread::spawn(move || listener.incoming().for_each(drop));
            port
        });
        let port = ANSWERS.to_string();
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env("PATH", path)
            .env("LDMS_TEST_HOST", self.dir.path())
            .env("LDMS_TEST_VERB", verb)
            .env("LDMS_TEST_PORT", port)
            .envs(env.iter().copied());
        command
    }

    /// Runs a verb that must succeed.
    pub fn must(&self, verb: &str) {
        let output = self.run(verb, &[]);
        assert!(output.status.success(), "{verb}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs a verb that must fail: its exit code and what it says.
    pub fn fails(&self, verb: &str, env: &[(&str, &str)]) -> (i32, String) {
        let output = self.run(verb, env);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{verb} succeeded: {text}");
        (output.status.code().unwrap_or(-1), text)
    }

    /// Everything: files with owner, mode and content; images; units that are up and what they
    /// run on; what systemd has read.
    pub fn listing(&self) -> BTreeMap<String, String> {
        let mut listing = BTreeMap::new();
        for part in ["root", "engine", "up", "failed", "loaded"] {
            walk(&self.path(part), part, &mut listing);
        }
        listing
    }
}

fn walk(path: &Path, name: &str, listing: &mut BTreeMap<String, String>) {
    let meta = fs::symlink_metadata(path).unwrap();
    let content = if meta.is_symlink() {
        fs::read_link(path).unwrap().display().to_string()
    } else if meta.is_file() {
        let text = fs::read_to_string(path).unwrap();
        // The number of the run is random.
        text.lines().filter(|l| !l.contains("\"transaction\"")).collect::<Vec<_>>().join("\n")
    } else {
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{name}/{}", entry.file_name().to_string_lossy());
            walk(&entry.path(), &name, listing);
        }
        String::new()
    };
    let line = format!("{:o} {}:{} {content}", meta.mode(), meta.uid(), meta.gid());
    listing.insert(name.to_owned(), line);
}

/// What the process started by [`Host::run`] does; returns at once in any other.
pub fn child() {
    let Ok(dir) = std::env::var("LDMS_TEST_HOST") else { return };
    if let Err(error) = act(Path::new(&dir)) {
        eprintln!("{error:?}");
        std::process::exit(error.kind().exit_code().into());
    }
}

fn act(dir: &Path) -> Result<()> {
    let root = Root::open(&dir.join("root"))?;
    let engine = Some(Client::new(engine::Kind::Podman));
    let node = Node { root: &root, systemd: Some(Systemd), engine };
    let lock = apply::lock(&root)?;
    let verb = std::env::var("LDMS_TEST_VERB").unwrap();
    if verb == "recover" {
        let recovered = apply::recover(&lock, &node, &Quiet)?;
        println!("{recovered:?}");
        return Ok(());
    }
    apply::refuse_pending(&root)?;
    let record = Record::load(&root)?;
    if let ("status", Some(record)) = (&*verb, &record) {
        println!("{:?}", health::status(node.root, record, node.systemd, node.engine)?);
        return Ok(());
    }
    let plan = if let Some(version) = verb.strip_prefix("install ") {
        let wanted = wanted(version);
        let state = State::look(&node, Some(&wanted), record.as_ref())?;
        plan::plan(&wanted, record.as_ref(), &state)?
    } else {
        let Some(record) = &record else { return Ok(()) };
        plan::removal(record, &[], &State::look_for_removal(&node, record)?)
    };
    print!("changed: {}\n{plan}", plan.changed);
    let interrupt = Interrupt::none();
    let fault = std::env::var("LDMS_TEST_FAULT").unwrap_or_default();
    let mut feed = |_: &str, reference: &str, out: &mut dyn Write| {
        let layer = if fault == "layers" { Digest::of(b"other") } else { layer(reference) };
        write!(out, "{reference}\n{layer}\n").map_err(|e| Error::from_io(e, "cannot write"))?;
        match fault.as_str() {
            "feed" => return Err(Error::refused("pack 0007 is damaged")),
            "interrupt" => interrupt.raise(),
            _ => {}
        }
        writeln!(out, "END").map_err(|e| Error::from_io(e, "cannot write"))
    };
    apply::apply(&lock, &node, &plan, &verb, &mut feed, &interrupt, &Quiet).map(drop)
}

fn layer(reference: &str) -> Digest {
    Digest::of(reference.as_bytes())
}

/// What version `version` of the bundle wants.
fn wanted(version: &str) -> Wanted {
    let bundle = BundleRecord {
        name: "ldms".into(),
        version: version.into(),
        release: version.parse().unwrap(),
        signer: "5A3F".into(),
    };
    let reference = format!("docker.io/ovishpc/ldms-samp:v{version}");
    let mut wanted = Wanted::new(bundle, Some(engine::Kind::Podman));
    let unit = format!("[Service]\nImage={reference}\n");
    wanted.add_unit("ldms-sampler.service", unit, &["ldms.target"]);
    wanted.add_unit("ldms.target", "[Unit]\n".into(), &["multi-user.target"]);
    let mut file = |path: &str, content: Content, mode: u32, kind: FileKind| {
        let attr = Attr { mode, ..Attr::root(0) };
        wanted.files.push(WantedFile { path: path.into(), content, attr, kind });
    };
    let config = Content::Text(format!("version {version}"));
    file("/etc/ldms/sampler.conf", config, 0o644, FileKind::Config);
    let key = Content::CopyOf("/etc/munge/munge.key".into());
    file("/etc/ldms/munge/munge.key", key, 0o600, FileKind::Key);
    let answers = Content::Text(format!("compid = {version}"));
    file("/etc/ldms/install.toml", answers, 0o600, FileKind::Answers);
    let program = Content::Text(format!("program {version}"));
    file("/usr/local/sbin/ldms-install", program, 0o755, FileKind::Program);
    if version == "1" {
        let dropped = Content::Text("only in the first".into());
        file("/etc/ldms/first/only.conf", dropped, 0o644, FileKind::Config);
    }
    for file in &mut wanted.files {
        file.attr = Attr::own(file.attr.mode);
    }
    let dir = WantedDir { path: "/etc/ldms/munge".into(), attr: Attr::own(0o700) };
    wanted.dirs.push(dir);
    wanted.images.push(WantedImage {
        name: "ovishpc/ldms-samp".into(),
        id: Digest::of(b"config"),
        layers: vec![layer(&reference)],
        size: 1000,
        reference: reference.clone(),
    });
    let check = match std::env::var("LDMS_TEST_FAULT").as_deref() {
        Ok("health") => 1,
        _ => std::env::var("LDMS_TEST_PORT").unwrap().parse().unwrap(),
    };
    wanted.services.push(WantedService {
        companion_of: None,
        name: "sampler".into(),
        role: "sampler".into(),
        unit: "ldms-sampler.service".into(),
        image: reference,
        container: "ldms-sampler".into(),
        needs: Vec::new(),
        uses: vec!["/etc/ldms/sampler.conf".into()],
        writes: Vec::new(),
        ports: vec![411],
        checks: vec![Check::Tcp(check)],
        start_timeout: Duration::from_millis(300),
        proof: None,
    });
    wanted.groups.push("ldms.target".into());
    wanted
}

/// The exit code of a kind of failure.
pub fn code(kind: Kind) -> i32 {
    kind.exit_code().into()
}
