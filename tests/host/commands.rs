//! What people call: a shell in a service, roles that are commands and no services, roles of a
//! site's own.

use std::fs;
use std::path::Path;
use std::process::Command;

use rexpect::session::spawn_command;

use crate::machine::{Kind, TRIXIE_DOCKER, TRIXIE_PODMAN};
use crate::medium::Medium;
use crate::node::{INSTALL, ask, ends, host, host_with};
use crate::state::{assert_unchanged, listing};

const DEV: &str = "/media/ldms/ldms-install --pubkey /media/keys/ldms.pub --role dev --yes";

fn reaches_into_a_service(kind: Kind) {
    let host = host(kind, "nid00100").boot();
    let nothing = ends(&host, 2, "/media/ldms/ldms-install shell sampler");
    assert!(nothing.stderr.contains("nothing is installed"), "{}", nothing.stderr);
    host.ok(&format!("{INSTALL} --set container=other"));
    let set = host.ok("ldms-install shell sampler -- ldms_ls -x sock -p 411 -h localhost -a munge");
    assert!(!set.is_empty());
    ends(&host, 42, "ldms-install shell sampler -- sh -c 'exit 42'");
    // Standard input goes in, and a shell is what runs where nothing is said.
    assert_eq!(host.run_with("ldms-install shell sampler", b"echo $((6 * 7))\n").stdout, "42\n");
    let command = host.terminal("ldms-install shell sampler; echo code $?");
    let mut screen = spawn_command(command, Some(30_000)).unwrap();
    screen.send_line("test -t 0 && test -t 1 && echo on a $((1 + 1))nd terminal; exit 7").unwrap();
    screen.exp_string("on a 2nd terminal").unwrap();
    screen.exp_string("code 7").unwrap();

    let unknown = ends(&host, 2, "ldms-install shell agg");
    assert!(unknown.stderr.contains("the services are sampler"), "{}", unknown.stderr);
    host.ok("systemctl stop ldms-sampler");
    let stopped = ends(&host, 4, "ldms-install shell sampler -- true");
    assert!(stopped.stderr.contains("does not run"), "{}", stopped.stderr);
    assert!(stopped.stderr.contains("systemctl start ldms-sampler.service"), "{}", stopped.stderr);
    let nobody = ends(&host, 2, "setpriv --reuid=65534 ldms-install shell sampler");
    assert!(nobody.stderr.contains("root's rights"), "{}", nobody.stderr);
}

#[test]
fn a_shell_opens_in_a_service_of_podman() {
    reaches_into_a_service(TRIXIE_PODMAN);
}

#[test]
fn a_shell_opens_in_a_service_of_docker() {
    reaches_into_a_service(TRIXIE_DOCKER);
}

fn runs_in_the_current_directory(kind: Kind) {
    let host = host(kind, "nid00100").boot();
    host.ok(&format!(
        "mkdir -p '/srv/my work'; echo kept > '/srv/my work/file'; {} info",
        kind.engine
    ));
    let before = listing(&host);
    let told = host.ok(DEV);
    assert!(told.contains("dev  command /usr/local/bin/ldms-dev"), "{told}");
    assert_eq!(host.ok("ls /etc/systemd/system | grep ldms || true"), "");
    let inside =
        "cd '/srv/my work'; ldms-dev -c 'pwd; ls; echo \"$0 $1\"; echo new > made' 'a  b' c";
    assert_eq!(host.ok(inside), "/srv/my work\nfile\na  b c\n");
    assert_eq!(host.ok("cat '/srv/my work/made'; rm '/srv/my work/made'"), "new\n");
    ends(&host, 9, "cd /srv; ldms-dev -c 'exit 9'");
    let root = ends(&host, 125, "cd /; ldms-dev");
    assert!(root.stderr.contains("change into another directory"), "{}", root.stderr);
    let command = host.terminal("cd '/srv/my work' && ldms-dev; echo code $?");
    let mut screen = spawn_command(command, Some(30_000)).unwrap();
    screen.send_line("test -t 0 && test -t 1 && echo at $PWD a $((1 + 1))nd time; exit 7").unwrap();
    screen.exp_string("at /srv/my work a 2nd time").unwrap();
    screen.exp_string("code 7").unwrap();
    assert_eq!(host.ok(&format!("{} ps --all --quiet", kind.engine)), "");
    if kind.engine == "podman" {
        let nobody = ends(&host, 125, "cd /srv; setpriv --reuid=65534 ldms-dev");
        assert!(nobody.stderr.contains("root's podman"), "{}", nobody.stderr);
    }

    // It stays with the next role, is shown, and is no service.
    let again = host.ok(&format!("{DEV} --json"));
    assert!(again.contains(r#""changed": false"#), "{again}");
    host.ok(INSTALL);
    let status = host.ok("ldms-install status");
    assert!(status.contains("dev  command /usr/local/bin/ldms-dev"), "{status}");
    assert!(status.contains("sampler  active (running)"), "{status}");
    let shell = ends(&host, 2, "ldms-install shell dev");
    assert!(shell.stderr.contains("run it: /usr/local/bin/ldms-dev"), "{}", shell.stderr);
    host.ok("ldms-install uninstall --yes");
    assert_unchanged(&host, &before);
}

#[test]
fn a_command_runs_in_the_current_directory_with_podman() {
    runs_in_the_current_directory(TRIXIE_PODMAN);
}

#[test]
fn a_command_runs_in_the_current_directory_with_docker() {
    runs_in_the_current_directory(TRIXIE_DOCKER);
}

#[test]
fn a_further_mount_is_there_or_refused() {
    let host = host(TRIXIE_PODMAN, "nid00100").boot();
    let set = "--set mounts='/srv/ram:/ram /etc/hostname:/host/name:ro'";
    let before = listing(&host);
    let refused = ends(&host, 4, &format!("{INSTALL} {set}"));
    assert!(refused.stderr.contains("/srv/ram, which is not there"), "{}", refused.stderr);
    assert_unchanged(&host, &before);
    host.ok(&format!("mkdir /srv/ram && {INSTALL} {set}"));
    host.ok("ldms-install shell sampler -- sh -c 'echo here > /ram/file'");
    assert_eq!(host.ok("cat /srv/ram/file"), "here\n");
    assert_eq!(host.ok("ldms-install shell sampler -- cat /host/name"), "nid00100\n");
    ends(&host, 2, "ldms-install shell sampler -- sh -c ': > /host/name || exit 2' 2>/dev/null");
}

/// A role that a site has changed and one that it has added, packed by one and installed by another.
#[test]
fn a_sites_own_roles_are_installed() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let profiles = folder.path().join("profiles");
    fs::create_dir_all(profiles.join("config")).unwrap();
    let sampler = fs::read_to_string(repository.join("profiles/sampler.toml")).unwrap();
    let changed = sampler.replacen("default = 411", "default = 10411", 1);
    assert_ne!(sampler, changed);
    fs::write(profiles.join("sampler.toml"), changed).unwrap();
    fs::write(profiles.join("config/note.txt"), "I am {{ service }} on {{ host.name }}\n").unwrap();
    let added = r#"
        summary = "Shows a note"
        image = "ovishpc/ldms-dev"
        [command]
        [container]
        args = ["cat", "/note"]
        [[config]]
        key = "note"
        template = "note.txt"
        file = "/etc/ldms/{{ service }}/note"
        target = "/note"
    "#;
    fs::write(profiles.join("note.toml"), added).unwrap();
    let medium = folder.path().join("medium");
    let keys = &Medium::get().keys;
    let output = Command::new(repository.join("target/dist/ldms-pack"))
        .args(["build", "--only", "ldms-samp,ldms-dev", "--version", "4.4.4", "--from"])
        .arg(repository.join("target/images/small"))
        .arg("--key")
        .arg(keys.join("ldms.key"))
        .arg("--profiles")
        .arg(&profiles)
        .arg("--output")
        .arg(&medium)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let host = host_with(TRIXIE_PODMAN, "nid00100", &medium).boot();
    host.ok(&INSTALL.replace("sampler", "sampler,note"));
    assert_eq!(ask(&host, 10411)["compid"], "100");
    assert_eq!(host.ok("cd /srv; ldms-note"), "I am note on nid00100\n");
    let absent = ends(&host, 2, &INSTALL.replace("sampler", "maestro"));
    assert!(absent.stderr.contains("needs the image ovishpc/ldms-maestro"), "{}", absent.stderr);
}
