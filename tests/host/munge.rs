//! Munge in each of its ways: the host's own munged, a private copy of a key, the key that
//! everybody has, and what is refused.

use crate::machine::TRIXIE_PODMAN;
use crate::node::{
    INSTALL, UNIT, ask, ask_inside, assert_nothing_there, ends, host, installed, property,
    run_of_it, try_ask, wait,
};
use crate::state::{assert_unchanged, listing};

/// Mode, owner and times of the host's own key.
const ORIGINAL: &str = "stat --format '%a %U:%G %Y %Z %i' /etc/munge /etc/munge/munge.key
                        sha256sum /etc/munge/munge.key";
const COPY: &str = "/etc/ldms/munge/munge.key";

#[test]
fn a_private_copy_of_the_key_serves_the_container_and_the_original_is_untouched() {
    let host = host(TRIXIE_PODMAN, "nid00100").boot();
    let original = host.ok(ORIGINAL);
    host.ok(&format!("{INSTALL} --set munge=key"));
    assert_eq!(host.ok(ORIGINAL), original);
    let attributes = format!("stat --format '%a %u:%g' $(dirname {COPY}) {COPY}");
    assert_eq!(host.ok(&attributes), "700 0:0\n600 101:101\n");
    host.ok(&format!("cmp {COPY} /etc/munge/munge.key"));

    // Its own munged, not the host's: the host's credential counts since the key is the same.
    assert_eq!(ask(&host, 411)["auth"], "munge");
    assert_eq!(ask_inside(&host, "podman", "-p 411 -a munge")["compid"], "100");
    let mounts = "podman inspect ldms-sampler --format '{{range .Mounts}}{{.Source}} {{.Destination}} {{.RW}};{{end}}'";
    assert_eq!(host.ok(mounts), format!("{COPY} /etc/munge/munge.key false;\n"));
    host.ok("systemctl stop munge");
    assert_eq!(property(&host, "ActiveState"), "active", "the host's munge is not its affair");
    assert_eq!(ask_inside(&host, "podman", "-p 411 -a munge")["compid"], "100");

    // The site changes its key: the next run brings the copy up to it.
    host.ok("dd if=/dev/urandom of=/etc/munge/munge.key bs=128 count=1 status=none && systemctl start munge");
    assert!(try_ask(&host, 411, "munge $(munge -n)").is_empty());
    host.ok("cd /media/ldms && ldms-install --yes");
    wait(&host, 10, &format!("cmp {COPY} /etc/munge/munge.key"));
    assert_eq!(ask(&host, 411)["compid"], "100");
    assert_eq!(host.ok(&attributes), "700 0:0\n600 101:101\n");
}

#[test]
fn a_restart_of_the_hosts_munge_takes_the_sampler_along() {
    let host = installed(TRIXIE_PODMAN, "nid00100", "");
    ask(&host, 411);
    let before = run_of_it(&host);
    host.ok("systemctl restart munge");
    wait(&host, 30, &format!("systemctl is-active {UNIT}"));
    assert_ne!(run_of_it(&host), before);
    assert_eq!(ask(&host, 411)["compid"], "100");

    host.ok("systemctl stop munge");
    wait(&host, 30, &format!("systemctl show -P ActiveState {UNIT} | grep -x inactive"));
    host.ok("systemctl start munge");
    wait(&host, 30, &format!("systemctl is-active {UNIT}"));
    assert_eq!(ask(&host, 411)["compid"], "100");
}

#[test]
fn keys_that_are_no_protection_or_no_keys_are_refused_before_anything_is_done() {
    let host = host(TRIXIE_PODMAN, "nid00100").boot();
    host.ok("head -c 31 /dev/urandom > /root/short.key; mkdir /root/directory.key");
    host.ok("systemctl stop munge");
    let before = listing(&host);
    for (status, answers, says) in [
        (2, "--set munge=image-key", "--set accept-insecure-munge-key=true"),
        (
            4,
            "--set munge=key --set munge_key=/root/short.key",
            "at least 32 bytes, this one has 31",
        ),
        (4, "--set munge=key --set munge_key=/root/none.key", "/root/none.key"),
        (2, &format!("--set munge=key --set munge_key={COPY}"), "the private copy itself"),
        (4, "--set munge=host", "systemctl start munge"),
        (2, "--set munge=perhaps", "perhaps"),
    ] {
        let output = ends(&host, status, &format!("{INSTALL} {answers}"));
        assert!(output.stderr.contains(says), "{says}: {}", output.stderr);
    }
    let directory =
        host.run(&format!("{INSTALL} --set munge=key --set munge_key=/root/directory.key"));
    assert!(directory.stderr.contains("/root/directory.key"), "{}", directory.stderr);
    assert_ne!(directory.status, 0);
    assert_unchanged(&host, &before);
    assert_nothing_there(&host, "podman");

    // The public key, where somebody insists: told, and no protection at all.
    let told = ends(
        &host,
        0,
        &format!("{INSTALL} --set munge=image-key --set accept-insecure-munge-key=true"),
    );
    assert!(told.stderr.contains("which everybody has"), "{}", told.stderr);
    assert_eq!(ask_inside(&host, "podman", "-p 411 -a munge")["auth"], "munge");
    host.ok("systemctl start munge");
    assert!(try_ask(&host, 411, "munge $(munge -n)").is_empty(), "the site's key is another");
}
