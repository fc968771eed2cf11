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
