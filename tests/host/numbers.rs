//! Numbers from the host's name: by each rule, now and at boot, and where the name gives none.

use crate::machine::{Kind, Machine, TRIXIE_DOCKER, TRIXIE_PODMAN};
use crate::node::{INSTALL, ask, assert_nothing_there, ends, host, installed, wait};
use crate::state::{assert_unchanged, listing};

const CHANGE: &str = "cd /media/ldms && ldms-install --yes";

/// Boots the same host under another name.
fn reboot_as(host: &Machine, name: &str) {
    host.ok(&format!("echo {name} >/etc/hostname"));
    host.reboot();
    assert_eq!(host.ok("uname -n"), format!("{name}\n"));
}

fn numbers(host: &Machine) -> (String, String) {
    let answer = ask(host, 411);
    (answer["compid"].clone(), answer["component_id"].clone())
}

fn pair(number: &str) -> (String, String) {
    (number.into(), number.into())
}

/// The way of a number at boot, with one engine.
fn at_boot(kind: Kind, engine: &str) {
    let host = host(kind, "nid00100").boot();
    let before = listing(&host);
    host.ok(&format!("{INSTALL} --set compid-at=boot"));
    assert_eq!(numbers(&host), pair("100"));
    assert_eq!(host.ok("cat /run/ldms/sampler.env"), "COMPID=100\nCOMPONENT_ID=100\n");
    host.ok("systemd-analyze verify --man=no --recursive-errors=yes \
             /etc/systemd/system/ldms-sampler-values.service");
    let files = listing(&host);
    assert!(host.ok(CHANGE).contains("nothing to do"));
    host.ok("systemctl restart ldms-sampler");
    assert_eq!(numbers(&host), pair("100"));

    reboot_as(&host, "nid00007");
    assert_eq!(numbers(&host), pair("7"));
    // The sampler that dies is started again, with its number.
    host.ok("kill -9 $(pidof ldmsd)");
    wait(&host, 30, "[ \"$(systemctl show -P NRestarts ldms-sampler)\" -ge 1 ]; pidof ldmsd");
    assert_eq!(numbers(&host), pair("7"));

    // No number: no service, and the journal says why. Nothing else of the boot is disturbed.
    reboot_as(&host, "x1000c0s0b0n0");
    wait(&host, 30, "systemctl is-failed ldms-sampler-values");
    assert_eq!(host.run("systemctl is-active ldms-sampler").stdout, "inactive\n");
    assert_eq!(host.run("pidof ldmsd; ls /run/ldms/sampler.env").stdout, "");
    let journal = host.ok("journalctl -b -o cat -u ldms-sampler-values -u ldms-sampler");
    for line in [
        "the host name x1000c0s0b0n0 holds several numbers: give prefix:TEXT or map:/FILE",
        "Dependency failed for ldms-sampler.service",
    ] {
        assert!(journal.contains(line), "{line}: {journal}");
    }
    // Said at once, and nothing is done.
    let refused = ends(&host, 2, CHANGE);
    assert!(refused.stderr.contains("holds several numbers"), "{}", refused.stderr);
    // Another rule mends it without a boot: a changed rule is applied, and its service restarted.
    host.ok(&format!("{CHANGE} --set compid=prefix:x1000c0s0b0n"));
    assert_eq!(numbers(&host), pair("0"));
    host.ok("printf '# rack\\nx1000c0s0b0n0.example 4711\\n' >'/etc/my map'");
    host.ok(&format!("{CHANGE} --set 'compid=map:/etc/my map'"));
    assert_eq!(numbers(&host), pair("4711"));
    host.reboot();
    assert_eq!(numbers(&host), pair("4711"));

    // Back to a number found once, and to the state before the rule.
    host.ok(&format!("{CHANGE} --set compid-at=install"));
    assert_eq!(numbers(&host), pair("4711"));
    assert_eq!(host.run("ls /etc/systemd/system/ldms-sampler-values.service").status, 2);
    host.ok(&format!("{CHANGE} --set compid-at=boot --set compid=9"));
    assert_eq!(numbers(&host), pair("9"));
    host.ok("rm '/etc/my map'; echo nid00100 >/etc/hostname; hostname nid00100");
    host.ok(&format!("{CHANGE} --set compid=hostname-digits"));
    let now = listing(&host);
    let names: Vec<_> = now.keys().filter(|path| path.contains("ldms")).collect();
    assert_eq!(names, files.keys().filter(|path| path.contains("ldms")).collect::<Vec<_>>());
    // What does not come up is undone, its number, too.
    let broken = "--set compid=prefix:nid001 --set args='-c /etc/hostname'";
    ends(&host, 1, &format!("{CHANGE} {broken}"));
    assert_eq!(numbers(&host), pair("100"));
    assert_eq!(host.ok("cat /run/ldms/sampler.env"), "COMPID=100\nCOMPONENT_ID=100\n");
    host.ok("ldms-install uninstall --yes; rm /etc/hostname; echo nid00100 >/etc/hostname");
    assert_nothing_there(&host, engine);
    let left: Vec<_> =
        listing(&host).into_keys().filter(|path| !before.contains_key(path)).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_number_is_found_at_boot_with_podman() {
    at_boot(TRIXIE_PODMAN, "podman");
}

#[test]
fn a_number_is_found_at_boot_with_docker() {
    at_boot(TRIXIE_DOCKER, "docker");
}

#[test]
fn each_rule_gives_its_number_now() {
    let host = installed(TRIXIE_PODMAN, "nid00100", "--set compid=prefix:nid001");
    assert_eq!(numbers(&host), pair("0"));
    assert!(host.ok("podman inspect ldms-sampler").contains("COMPID=0"));
    assert!(host.ok("cat /etc/ldms/install.toml").contains("compid = \"prefix:nid001\"\n"));

    let files = listing(&host);
    host.ok("printf 'nid00099 1\\nnid00100\\n' >/run/map");
    let bad = ends(&host, 2, &format!("{CHANGE} --set compid=map:/run/map"));
    let why = "/run/map:2: is not a host name and a whole number";
    assert!(bad.stderr.contains(why), "{}", bad.stderr);
    host.ok("printf 'nid00099 1\\n' >/run/map");
    let unknown = ends(&host, 2, &format!("{CHANGE} --set compid=map:/run/map"));
    assert!(unknown.stderr.contains("/run/map: has no line for the host 'nid00100'"));
    assert_unchanged(&host, &files);

    host.ok("printf 'nid00099 1\\nnid00100 0007 # new\\n' >/run/map");
    let plan = host.ok(&format!("{CHANGE} --set compid=map:/run/map --dry-run"));
    assert!(plan.contains("note: sampler.compid is 7 (map:/run/map)\n"), "{plan}");
    assert_unchanged(&host, &files);
    host.ok(&format!("{CHANGE} --set compid=map:/run/map"));
    assert_eq!(numbers(&host), pair("7"));
    // Another host takes the file of answers as it is.
    host.ok("printf 'nid00101 8\\n' >>/run/map; cp /etc/ldms/install.toml /run/answers.toml
             ldms-install uninstall --yes; hostname nid00101");
    host.ok(&format!("{INSTALL} --answers /run/answers.toml"));
    assert_eq!(numbers(&host), pair("8"));
}
