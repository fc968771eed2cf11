//! A medium as the person holding it sees it: README.txt, stock tools, a static installer.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::kit::*;

/// The commands under the last heading of the medium's own README.txt.
fn commands(medium: &Path) -> String {
    let readme = fs::read_to_string(medium.join("README.txt")).unwrap();
    let (_, tail) = readme.split_once("To check everything with stock tools alone").unwrap();
    let commands: String = tail
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .flat_map(|line| [line, "\n"])
        .collect();
    assert!(commands.contains("minisign") && commands.contains("sha256sum"), "{commands}");
    commands
}

/// Runs a medium's own commands in it, as a user without rights and with `-e`, so that the first
/// that fails ends it.
fn check(medium: &Path) -> Ran {
    let home = temp();
    open_to_all(home.path());
    let key = home.path().join("KEY.pub");
    fs::copy(bed().join("ldms.pub"), &key).unwrap();
    let script = commands(medium).replace("KEY.pub", &key.display().to_string());
    let mut command = if root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "bash"]);
        command
    } else {
        Command::new("bash")
    };
    let work = temp();
    open_to_all(work.path());
    if root() {
        nix::unistd::chown(work.path(), Some(65534.into()), None).unwrap();
    }
    command.args(["-e", "-o", "pipefail", "-c", &script]).current_dir(medium);
    run(command.env("TMPDIR", work.path()))
}

/// A copy that may be damaged, where everybody may read it.
fn copy() -> tempfile::TempDir {
    let temp = temp();
    open_to_all(temp.path());
    for name in files(good()) {
        fs::copy(good().join(&name), temp.path().join(&name)).unwrap();
    }
    temp
}

#[track_caller]
fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn readme_checks_a_medium() {
    need(&["minisign"]);
    let medium = copy();
    let out = check(medium.path()).fine();
    assert!(out.contains("packs/0000.zst: OK") && out.contains("ldms-install: OK"), "{out}");

    for name in files(good()) {
        let damaged = copy();
        let path = damaged.path().join(&name);
        // In the signed text of a signature; in the middle of everything else.
        let size = fs::metadata(&path).unwrap().len() as usize;
        flip(&path, if name.ends_with(".minisig") { 100 } else { size / 2 });
        if name == "README.txt" {
            // Damage to the commands themselves would be another test.
            fs::copy(good().join(&name), &path).unwrap();
            fs::write(&path, fs::read_to_string(&path).unwrap().replacen("site", "sites", 1))
                .unwrap();
        }
        let ran = check(damaged.path());
        assert_ne!(ran.code, 0, "{name}: {}", ran.out);
    }
}

/// The bundle's own sums stand without the medium's.
#[test]
fn readme_checks_the_bundle_itself() {
    need(&["minisign"]);
    let damaged = copy();
    let medium = damaged.path();
    let path = bundle(medium);
    let bytes = fs::read(&path).unwrap();
    // The last pack's data.
    flip(&path, bytes.len() - 4096);
    // Whoever has no key can still write digests: the signature over the members is what counts.
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    let script = commands(medium);
    let bundle_only: String = script
        .lines()
        .filter(|line| !line.contains("MEDIUM.sha256"))
        .flat_map(|line| [line, "\n"])
        .collect();
    assert!(bundle_only.contains(&name));
    let script = bundle_only.replace("KEY.pub", &bed().join("ldms.pub").display().to_string());
    let ran = bash(
        medium,
        &format!("set -e -o pipefail; export TMPDIR={}; {script}", temp().path().display()),
    );
    assert_ne!(ran.code, 0, "{}", ran.out);
}

#[test]
fn readme_has_the_width_of_a_page() {
    let readme = fs::read_to_string(good().join("README.txt")).unwrap();
    for line in readme.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let key = fs::read_to_string(bed().join("ldms.pub")).unwrap();
    let id = key.lines().next().unwrap().rsplit(' ').next().unwrap();
    assert!(readme.contains(id));
    insta::assert_snapshot!("readme", readme.replace(id, "KEYID"));
}

#[test]
fn the_installer_needs_nothing_but_linux() {
    need(&["readelf:binutils"]);
    let medium = good();
    let mode = {
        use std::os::unix::fs::PermissionsExt;
        fs::metadata(medium.join("ldms-install")).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode, 0o755);
    let headers = bash(medium, "readelf --wide --program-headers --dynamic ldms-install").fine();
    assert!(headers.contains("LOAD"), "{headers}");
    assert!(!headers.contains("INTERP"), "{headers}");
    assert!(!headers.contains("(NEEDED)"), "{headers}");
    if !root() {
        eprintln!("not root: the installer is not tried in an empty root directory");
        return;
    }
    let empty = temp();
    // Not a copy, which a child of another test might hold open for writing (ETXTBSY).
    fs::hard_link(medium.join("ldms-install"), empty.path().join("ldms-install")).unwrap();
    run(Command::new("chroot").arg(empty.path()).args(["/ldms-install", "--version"])).fine();
}
