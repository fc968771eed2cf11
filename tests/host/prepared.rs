//! A root file system that is prepared first and booted later, as images for many nodes are.

use crate::machine::TRIXIE_PODMAN;
use crate::medium::Medium;
use crate::node::{ask, host, wait};

/// The installer on the build machine, at work on the files of a host that does not run.
fn install() -> String {
    let Medium { dir, keys } = Medium::get();
    format!(
        "{}/ldms-install --root \"$ROOT\" --pubkey {}/ldms.pub --role sampler --yes --no-start",
        dir.display(),
        keys.display()
    )
}

#[test]
fn a_prepared_root_boots_loads_and_runs() {
    let install = install();
    let host = host(TRIXIE_PODMAN, "nid00042").prepare(&format!(
        "before=$(podman image ls --quiet 2>/dev/null || true)
         {install}
         [ \"$before\" = \"$(podman image ls --quiet 2>/dev/null || true)\" ]
         {install} --json | grep -q '\"changed\": false'
         ! grep -rq \"$ROOT\" \"$ROOT/etc/ldms\" \"$ROOT\"/etc/systemd/system/ldms* \"$ROOT/var/lib/ldms-install\""
    ));
    assert_eq!(host.ok("systemctl is-enabled ldms-sampler ldms.target"), "enabled\nenabled\n");
    assert_eq!(host.ok("podman image ls --all --quiet"), "");
    assert!(host.ok("ldms-install status").contains("not in the engine: ldms-install load"));
    assert_eq!(host.ok("cd /media/ldms && ldms-install load"), "images loaded\n");
    // systemd has tried since the boot, and need not wait for its next try.
    wait(&host, 10, "systemctl is-active ldms-sampler");
    let answer = ask(&host, 411);
    assert_eq!((answer["compid"].as_str(), answer["init"].as_str()), ("42", "systemd"));
    assert_eq!(host.ok("cd /media/ldms && ldms-install load"), "all images are there already\n");
    let again = host.ok("cd /media/ldms && ldms-install --yes");
    assert!(again.contains("nothing to do"), "{again}");
    host.reboot();
    assert_eq!(ask(&host, 411)["compid"], "42");
}

/// One root for many hosts: each finds its number when it boots.
#[test]
fn a_prepared_root_has_the_number_of_the_host_that_boots_it() {
    let install = install();
    let host = host(TRIXIE_PODMAN, "image").prepare(&format!(
        "{install} --dry-run | grep 'sampler.compid is found at boot (hostname-digits)'
         {install}
         {install} --json | grep -q '\"changed\": false'
         grep -x 'compid = \"hostname-digits\"' \"$ROOT/etc/ldms/install.toml\"
         ! grep -r '^ExecStart=.*--env=' \"$ROOT\"/etc/systemd/system
         echo nid00100 >\"$ROOT/etc/hostname\""
    ));
    assert_eq!(host.ok("uname -n"), "nid00100\n");
    host.ok("cd /media/ldms && ldms-install load");
    let answer = ask(&host, 411);
    assert_eq!((answer["compid"].as_str(), answer["component_id"].as_str()), ("100", "100"));
    assert!(host.ok("cd /media/ldms && ldms-install --yes").contains("nothing to do"));

    host.ok("echo nid00007.cluster7.example >/etc/hostname");
    host.reboot();
    assert_eq!(ask(&host, 411)["compid"], "7");
    assert!(host.ok("cd /media/ldms && ldms-install --yes").contains("nothing to do"));
}

/// A map need not be in the root when it is prepared, but is checked where it is.
#[test]
fn a_prepared_root_takes_a_map_that_comes_later() {
    let install = format!("{} --set compid=map:/etc/ldms-numbers", install());
    let host = host(TRIXIE_PODMAN, "nid00042").prepare(&format!(
        "printf 'a 1\\nb\\n' >\"$ROOT/etc/ldms-numbers\"
         ! {install} 2>\"$ROOT/said\"
         grep -F '/etc/ldms-numbers:2: is not a host name and a whole number' \"$ROOT/said\"
         rm \"$ROOT/etc/ldms-numbers\"
         {install} 2>\"$ROOT/said\"
         grep 'warning: .*/etc/ldms-numbers: is not there, and must be when the host boots' \"$ROOT/said\""
    ));
    let journal = host.ok("journalctl -b -o cat -u ldms-sampler-values");
    assert!(journal.contains("/etc/ldms-numbers: is not there"), "{journal}");
    assert_eq!(host.run("systemctl is-active ldms-sampler").stdout, "inactive\n");
    host.ok("printf 'nid00042.cluster7 0815\\n' >/etc/ldms-numbers");
    host.reboot();
    host.ok("cd /media/ldms && ldms-install load");
    assert_eq!(ask(&host, 411)["compid"], "815");
}
