//! Doing it twice, and undoing it: a second run changes nothing, and nothing is left behind.

use crate::machine::{Machine, TRIXIE_PODMAN};
use crate::medium::Copy;
use crate::node::{
    INSTALL, UNIT, ask, assert_nothing_there, ends, host, host_with, run_of_it, wait,
};
use crate::state::{assert_unchanged, differences, listing};

fn container(host: &Machine) -> String {
    host.ok("podman inspect ldms-sampler --format '{{.Id}} {{.State.StartedAt}}'")
}

#[test]
fn a_second_run_changes_nothing_and_reads_no_pack() {
    let medium = Copy::new();
    let host = host_with(TRIXIE_PODMAN, "nid00100", medium.dir()).boot();
    host.ok(INSTALL);
    ask(&host, 411);
    let (files, run, id) = (listing(&host), run_of_it(&host), container(&host));
    let assert_same = |host: &Machine| {
        assert_unchanged(host, &files);
        assert_eq!(run_of_it(host), run);
        assert_eq!(container(host), id);
    };

    // What is not read may be damaged.
    let (needed, others) = medium.packs("ovishpc/ldms-samp");
    for pack in needed.iter().chain(&others) {
        medium.flip(pack.data + pack.size / 2);
    }
    let second = host.run(INSTALL);
    assert_eq!((second.status, second.stderr.as_str()), (0, ""));
    assert_eq!(second.stdout, "ldms-4.4.4-1 is installed already; nothing to do\n");
    assert_same(&host);
    let json = host.ok(&format!("{INSTALL} --json"));
    assert!(json.contains(r#""changed": false"#) && json.contains(r#""steps": []"#), "{json}");
    assert_same(&host);
    // The same without a role, with the installer and the key that were laid down, and as a plan.
    for arguments in ["--yes", "--yes --dry-run"] {
        let output = host.ok(&format!("cd /media/ldms && ldms-install {arguments}"));
        assert!(output.contains("nothing to do"), "{output}");
        assert_same(&host);
    }
    // All is there, as the engine confirms: nothing to load.
    let load = host.ok("cd /media/ldms && ldms-install load");
    assert_eq!(load, "all images are there already\n");
    assert_same(&host);
    host.ok("ldms-install status && ldms-install recover");
    assert_same(&host);

    // An image that somebody has removed is loaded again, from a medium that is whole.
    for pack in needed.iter().chain(&others) {
        medium.flip(pack.data + pack.size / 2);
    }
    host.ok("systemctl stop ldms-sampler && podman image rm --all --force");
    host.ok("cd /media/ldms && ldms-install --yes");
    assert_eq!(ask(&host, 411)["compid"], "100");
    let record = "~ /var/lib/ldms-install/record.json: "; // names the run that has written it
    let other = differences(&files, &listing(&host));
    assert!(other.iter().all(|line| line.starts_with(record)), "{other:?}");
}

#[test]
fn a_dry_run_shows_the_steps_and_takes_none() {
    let host = host(TRIXIE_PODMAN, "nid00100").boot();
    let before = listing(&host);
    let plan = host.ok(&format!("{INSTALL} --dry-run"));
    for step in ["load ", "write    /etc/systemd/system/ldms-sampler.service", "start ", "await "] {
        assert!(plan.contains(step), "{step}: {plan}");
    }
    assert_unchanged(&host, &before);
    assert_nothing_there(&host, "podman");
}

#[test]
fn uninstalling_leaves_nothing_behind() {
    let host = host(TRIXIE_PODMAN, "nid00100").boot();
    host.ok("podman info");
    let before = listing(&host);
    for munge in ["host", "key"] {
        host.ok(&format!("{INSTALL} --set munge={munge}"));
        assert!(differences(&before, &listing(&host)).len() > 10);
        ask(&host, 411);
        let shown = host.ok("ldms-install uninstall --dry-run");
        assert!(shown.contains("/etc/systemd/system/ldms-sampler.service"), "{shown}");
        host.ok("ldms-install uninstall --yes");
        assert_unchanged(&host, &before);
        assert_nothing_there(&host, "podman");
        assert!(!host.ok("ss -ltn").contains(":411 "));
        ends(&host, 127, "ldms-install status");
        assert_eq!(host.ok("/media/ldms/ldms-install status"), "nothing is installed\n");
    }
    host.reboot();
    assert_unchanged(&host, &before);
    // And again from the beginning.
    host.ok(INSTALL);
    assert_eq!(ask(&host, 411)["compid"], "100");
}

#[test]
fn what_the_site_has_edited_is_kept_and_named() {
    let host = host(TRIXIE_PODMAN, "nid00100").boot();
    let before = listing(&host);
    host.ok(INSTALL);
    let unit = format!("/etc/systemd/system/{UNIT}");
    host.ok(&format!("sed -i 's/^RestartSec=5$/RestartSec=1/' {unit} && systemctl daemon-reload"));
    let edited = host.ok(&format!("cat {unit}"));

    // A change that concerns the unit is laid beside it.
    let changed = host.run("cd /media/ldms && ldms-install --yes --set port=10411");
    assert_eq!(changed.status, 0, "{}", changed.stderr);
    assert!(
        changed.stderr.contains(&format!("{unit} was edited here and is kept")),
        "{}",
        changed.stderr
    );
    assert_eq!(host.ok(&format!("cat {unit}")), edited);
    assert!(host.ok(&format!("cat {unit}.new")).contains("sock:10411"));
    let again = host.ok("cd /media/ldms && ldms-install --yes --json");
    assert!(again.contains(r#""changed": false"#), "{again}");

    let removed = host.run("ldms-install uninstall --yes");
    assert_eq!(removed.status, 0);
    assert!(removed.stderr.contains(&unit), "{}", removed.stderr);
    wait(&host, 10, "! ss -ltn | grep ':411 '");
    assert_eq!(differences(&before, &listing(&host)), [format!("+ {unit}")]);
    assert_eq!(host.ok(&format!("cat {unit}")), edited);
    assert_eq!(host.ok("podman image ls --all --quiet; podman ps --all --quiet"), "");
}
