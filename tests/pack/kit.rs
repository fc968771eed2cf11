//! What the tests of `ldms-pack` share: six tiny images, a key, a good medium, and how to run
//! the program.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use ldms_bundle::digest::Digest;
use tar::{EntryType, Header};
use tempfile::TempDir;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_ldms-pack");

pub const NAMES: [&str; 6] = ["samp", "agg", "maestro", "ui", "grafana", "dev"];

/// What a program did.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// Asserts success and gives standard output.
    #[track_caller]
    pub fn fine(self) -> String {
        assert_eq!(self.code, 0, "{}\n{}", self.out, self.err);
        self.out
    }

    /// Asserts failure with `code`, and gives the error alone, without progress, as a snapshot
    /// has it: `dir` is called DIR.
    #[track_caller]
    pub fn complaint(&self, code: i32, dir: &Path) -> String {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        assert_eq!(self.out, "");
        let start = self.err.find("ldms-pack: ").expect("the error names its program");
        tidy(&self.err[start..], dir)
    }
}

/// A text with what differs from run to run taken out.
pub fn tidy(text: &str, dir: &Path) -> String {
    let tidied = text
        .replace(&dir.display().to_string(), "DIR")
        .replace(&bed().display().to_string(), "BED")
        .replace(env!("CARGO_MANIFEST_DIR"), "REPOSITORY");
    let mut out = String::new();
    let mut run = String::new();
    for c in tidied.chars().chain(['\n']) {
        if c.is_ascii_hexdigit() && !c.is_ascii_uppercase() {
            run.push(c);
            continue;
        }
        // Digests and the beginnings of them; large numbers are none.
        let digest = run.len() >= 12 && run.contains(|c: char| c.is_alphabetic());
        out.push_str(if digest { "HEX" } else { &run });
        run.clear();
        out.push(c);
    }
    out.pop();
    out
}

/// What was typed, said and returned, without progress.
pub fn transcript(line: &str, ran: &Ran, dir: &Path) -> String {
    let said: Vec<&str> = ran.err.lines().skip_while(|line| line.ends_with("B/s")).collect();
    format!("$ {line}\n{}\n-> {}\n\n", tidy(&said.join("\n"), dir), ran.code)
}

/// Runs `command` to its end without a terminal.
#[track_caller]
pub fn run(command: &mut Command) -> Ran {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let code = output.status.code().unwrap_or(-1);
    Ran { code, out: text(output.stdout), err: text(output.stderr) }
}

/// Runs bash, in `dir`.
#[track_caller]
pub fn bash(dir: &Path, script: &str) -> Ran {
    run(Command::new("bash").arg("-c").arg(script).current_dir(dir))
}

/// `ldms-pack` with these words, in which `{bed}` and `{dir}` stand for directories.
pub fn pack(dir: &Path, line: &str) -> Command {
    let mut command = Command::new(PROGRAM);
    let (bed, dir) = (bed().display().to_string(), dir.display().to_string());
    command
        .args(line.split_whitespace().map(|w| w.replace("{bed}", &bed).replace("{dir}", &dir)))
        // The texts of the system's errors, and the width of help.
        .env("LC_ALL", "C.UTF-8")
        .env("COLUMNS", "80");
    command
}

/// The words of a build from `{bed}/images` on the medium `{dir}/m`, without `--from`.
pub const TO: &str = "--key {bed}/ldms.key --output {dir}/m --installer {bed}/installer --level 1";

#[track_caller]
pub fn build(dir: &Path, line: &str) -> Ran {
    run(&mut pack(dir, &format!("build {line} {TO}")))
}

pub fn temp() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub fn root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// The names of the files in a directory; none if it is not there.
pub fn files(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Asserts that a failed build has left nothing that looks like a bundle.
#[track_caller]
pub fn nothing_left(dir: &Path) {
    assert_eq!(files(&dir.join("m")), [""; 0]);
}

/// The one bundle on a medium.
#[track_caller]
pub fn bundle(medium: &Path) -> PathBuf {
    let names = files(medium);
    let bundles: Vec<&String> =
        names.iter().filter(|name| name.rsplit('.').next() == Some("ldms")).collect();
    assert_eq!(bundles.len(), 1, "{names:?}");
    medium.join(bundles[0])
}

/// A member of a bundle, as stock tar gives it.
#[track_caller]
pub fn member(bundle: &Path, name: &str) -> String {
    run(Command::new("tar").arg("xOf").arg(bundle).arg(name)).fine()
}

/// A directory that all tests share and none changes: `images/*.tar`, `ldms.key`, `ldms.pub`, the
/// static `installer`, and `good`, a medium of all six.
pub fn bed() -> &'static Path {
    static BED: OnceLock<PathBuf> = OnceLock::new();
    BED.get_or_init(|| {
        let bed = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pack");
        let _ = fs::remove_dir_all(&bed);
        fs::create_dir_all(bed.join("images")).unwrap();
        for image in six() {
            docker_archive(&bed.join(format!("images/{}.tar", image.short())), &image);
        }
        fs::copy(installer(), bed.join("installer")).unwrap();
        let keygen = ["keygen", "--no-password", "--out"];
        run(Command::new(PROGRAM).args(keygen).arg(&bed)).fine();
        bed
    })
}

/// A medium with all six images, made once; copy it before changing it.
pub fn good() -> &'static Path {
    static GOOD: OnceLock<PathBuf> = OnceLock::new();
    GOOD.get_or_init(|| {
        build(bed(), "--from {bed}/images --version 4.4.4").fine();
        fs::rename(bed().join("m"), bed().join("good")).unwrap();
        bed().join("good")
    })
}

/// The static installer, as `make installer` leaves it.
pub fn installer() -> &'static Path {
    static INSTALLER: OnceLock<PathBuf> = OnceLock::new();
    INSTALLER.get_or_init(|| {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        run(Command::new("make").args(["-s", "installer"]).current_dir(repository)).fine();
        repository.join("target/dist/ldms-install")
    })
}

/// Installs Debian packages where their programs are missing.
pub fn need(programs: &[&str]) {
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/need.sh");
    let _held = ONE_AT_A_TIME.lock();
    run(Command::new(script).args(programs)).fine();
}

/// An image: plain layers and a configuration.
#[derive(Clone)]
pub struct Image {
    pub name: String,
    pub layers: Vec<Vec<u8>>,
    pub config: String,
}

impl Image {
    pub fn new(name: &str, architecture: &str, layers: Vec<Vec<u8>>) -> Self {
        let ids: Vec<String> =
            layers.iter().map(|layer| format!("\"{}\"", Digest::of(layer))).collect();
        // In the order in which Go's OCI types are written, so that skopeo, which reads and
        // writes configurations when it converts, keeps every byte and with it the ID.
        let config = format!(
            r#"{{"created":"2026-01-02T03:04:05Z","architecture":"{architecture}","os":"linux","config":{{"Cmd":["/{name}"]}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
            ids.join(",")
        );
        Image { name: format!("ovishpc/ldms-{name}"), layers, config }
    }

    pub fn short(&self) -> &str {
        self.name.rsplit('/').next().unwrap()
    }

    pub fn config_file(&self) -> String {
        format!("{}.json", Digest::of(self.config.as_bytes()).hex())
    }
}

/// The six: a base that all share, the same library in all, and something of each one's own.
pub fn six() -> Vec<Image> {
    NAMES.iter().map(|name| image(name, "amd64")).collect()
}

pub fn image(name: &str, architecture: &str) -> Image {
    const PASSWD: &[u8] = b"root:x:0:0::/root:/bin/sh\nmunge:x:101:101::/:/bin/false\n";
    let base = Tree::default()
        .file("etc/passwd", PASSWD)
        .file("usr/lib/base.so", &noise(1, 700_000))
        .file("bin/sh", &noise(2, 40_000))
        .end();
    let seed = name.bytes().map(u64::from).sum::<u64>();
    // The same library under another time: other layers, the same contents.
    let own = Tree { time: seed, ..Tree::default() }
        .file("opt/ovis/lib/libldms.so", &noise(3, 300_000))
        .file(&format!("opt/ovis/{name}"), &noise(seed, 100_000))
        .end();
    Image::new(name, architecture, vec![base, own])
}

/// A tar, entry by entry, that has whatever names it is told.
#[derive(Default)]
pub struct Tree {
    bytes: Vec<u8>,
    time: u64,
}

impl Tree {
    pub fn file(self, name: &str, bytes: &[u8]) -> Self {
        self.entry(name, EntryType::Regular, "", bytes)
    }

    pub fn entry(mut self, name: &str, kind: EntryType, target: &str, bytes: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        // The crate's own setters refuse what hostile archives have.
        let fields = header.as_old_mut();
        fields.name[..name.len()].copy_from_slice(name.as_bytes());
        fields.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_mtime(self.time);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    pub fn end(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 1024, 0);
        self.bytes
    }
}

/// Bytes that nothing compresses, the same for the same seed.
pub fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// `manifest.json` of one image.
pub fn manifest(image: &Image, config: &str, layers: &[String]) -> Vec<u8> {
    let tag = format!("docker.io/{}:4.4.4", image.name);
    serde_json::json!([{"Config": config, "RepoTags": [tag], "Layers": layers}])
        .to_string()
        .into_bytes()
}

/// As podman and skopeo save an image.
pub fn docker_archive(path: &Path, image: &Image) {
    let mut tree = Tree::default();
    let mut names = Vec::new();
    for layer in &image.layers {
        names.push(format!("{}.tar", Digest::of(layer).hex()));
        tree = tree.file(&names[names.len() - 1], layer);
    }
    let config = image.config_file();
    let manifest = manifest(image, &config, &names);
    put(path, &tree.file(&config, image.config.as_bytes()).file("manifest.json", &manifest).end());
}

/// As docker before version 25 saves one.
pub fn legacy_archive(path: &Path, image: &Image) {
    let mut tree = Tree::default();
    let mut names = Vec::new();
    for (n, layer) in image.layers.iter().enumerate() {
        let id = Digest::of(format!("{} {n}", image.name).as_bytes()).hex();
        tree = tree
            .entry(&format!("{id}/"), EntryType::Directory, "", b"")
            .file(&format!("{id}/VERSION"), b"1.0")
            .file(&format!("{id}/json"), b"{}")
            .file(&format!("{id}/layer.tar"), layer);
        names.push(format!("{id}/layer.tar"));
    }
    let config = image.config_file();
    let manifest = manifest(image, &config, &names);
    tree = tree.file(&config, image.config.as_bytes()).file("manifest.json", &manifest);
    put(path, &tree.file("repositories", b"{}").end());
}

pub fn put(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::File::create(path).unwrap().write_all(bytes).unwrap();
}

/// Makes a directory readable for everybody, as media are.
pub fn open_to_all(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
}
