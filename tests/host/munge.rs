//! Munge in each of its ways: the host's own munged, a private copy of a key, the key that
//! everybody has, and what is refused.

use std::fs;
use std::path::PathBuf;
use std::process::id;

use crate::machine::{Kind, Machine, TRIXIE_DOCKER, TRIXIE_PODMAN};
use crate::node::{
    INSTALL, UNIT, ask, ask_as, ask_inside, assert_nothing_there, ends, host, installed, property,
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
    let stale = "the munge key /etc/munge/munge.key is not what its copy";
    assert!(host.ok("ldms-install status").contains(stale));
    host.ok("cd /media/ldms && ldms-install --yes");
    assert!(!host.ok("ldms-install status").contains(stale));
    wait(&host, 10, &format!("cmp {COPY} /etc/munge/munge.key"));
    assert_eq!(ask(&host, 411)["compid"], "100");
    assert_eq!(host.ok(&attributes), "700 0:0\n600 101:101\n");
}

/// Whatever happens to the host's munge, the sampler is there again and lets people in.
fn follows_the_hosts_munge(kind: Kind) {
    let host = installed(kind, "nid00100", "");
    let works = || {
        wait(&host, 30, &format!("systemctl is-active {UNIT}"));
        assert_eq!(ask(&host, 411)["compid"], "100");
        assert_eq!(ask_inside(&host, kind.engine, "-p 411 -a munge")["compid"], "100");
    };
    works();
    let before = run_of_it(&host);
    host.ok("systemctl restart munge");
    works();
    assert_ne!(run_of_it(&host), before);

    host.ok("systemctl stop munge");
    wait(&host, 30, &format!("systemctl show -P ActiveState {UNIT} | grep -x inactive"));
    host.ok("systemctl start munge");
    works();
}

#[test]
fn the_hosts_munge_takes_a_sampler_in_podman_along() {
    follows_the_hosts_munge(TRIXIE_PODMAN);
}

#[test]
fn the_hosts_munge_takes_a_sampler_in_docker_along() {
    follows_the_hosts_munge(TRIXIE_DOCKER);
}

/// From each way to munge to the next, each proven before the sampler starts.
fn goes_through_all_modes(kind: Kind) {
    let host = host(kind, "nid00100").boot();
    let engine = kind.engine;
    host.ok(&format!("{engine} info"));
    let proves = |answers: &str| {
        let plan = host.ok(&format!("{INSTALL} {answers} --dry-run"));
        let steps: Vec<&str> = plan.lines().map(|line| line.split(' ').next().unwrap()).collect();
        let at = |step: &str| steps.iter().position(|s| *s == step);
        if let Some(proof) = at("prove") {
            assert!(at("load") < Some(proof) && at("write") < Some(proof), "{plan}");
            assert!(["start", "restart"].iter().any(|s| at(s) > Some(proof)), "{plan}");
        }
        plan.lines().find(|line| line.starts_with("prove ")).map(str::to_owned)
    };
    let install = |answers: &str| {
        let proof = proves(answers);
        host.ok(&format!("{INSTALL} {answers}"));
        assert_eq!(proves(answers), None, "what runs is not proven again");
        let names = host.ok(&format!("{engine} ps --all --format '{{{{.Names}}}}'"));
        assert_eq!(names, "ldms-sampler\n");
        proof.unwrap_or_default()
    };
    let with_host = "prove    sampler: munge works in a throwaway container, and with this host";
    let alone = "prove    sampler: munge works in a throwaway container";

    assert_eq!(install(""), with_host);
    assert_eq!(ask(&host, 411)["auth"], "munge");
    assert_eq!(install("--set munge=key"), with_host);
    assert_eq!(ask(&host, 411)["auth"], "munge");
    // Another key than the host's: nobody means them to be one.
    host.ok("head -c 1024 /dev/urandom > /root/site.key; chmod 0400 /root/site.key");
    assert_eq!(install("--set munge_key=/root/site.key"), alone);
    assert!(try_ask(&host, 411, "munge $(munge -n)").is_empty());
    assert_eq!(ask_inside(&host, engine, "-p 411 -a munge")["auth"], "munge");
    assert_eq!(install("--set munge=image-key --set accept-insecure-munge-key=true"), alone);
    assert_eq!(ask_inside(&host, engine, "-p 411 -a munge")["auth"], "munge");
    assert_eq!(install("--set munge=none"), "");
    assert_eq!(ask_as(&host, 411, "none")["auth"], "none");
    assert_eq!(
        host.ok(&format!("{engine} inspect ldms-sampler --format '{{{{len .Mounts}}}}'")),
        "0\n"
    );

    // Without starting anything, nothing is proven; the run that starts it makes up for that.
    assert_eq!(proves("--set munge=host --no-start"), None);
    host.ok(&format!("{INSTALL} --set munge=host --no-start"));
    assert_eq!(install(""), with_host);
    host.ok("ldms-install uninstall --yes");
    assert_nothing_there(&host, engine);
}

#[test]
fn each_way_to_munge_is_proven_in_podman() {
    goes_through_all_modes(TRIXIE_PODMAN);
}

#[test]
fn each_way_to_munge_is_proven_in_docker() {
    goes_through_all_modes(TRIXIE_DOCKER);
}

/// What does not work is undone, with the reason and what to do.
#[track_caller]
fn assert_refused(host: &Machine, engine: &str, answers: &str, words: &[&str]) {
    let before = listing(host);
    let output = ends(host, 4, &format!("{INSTALL} {answers}"));
    for word in words.iter().chain(&["service sampler: munge does not work", "undone"]) {
        assert!(output.stderr.contains(word), "{word}: {}", output.stderr);
    }
    assert_unchanged(host, &before);
    assert_nothing_there(host, engine);
}

/// Each of the few things that go wrong with munge, and after what was said to do it works.
fn is_told_what_is_wrong(kind: Kind) {
    let host = host(kind, "nid00100").boot();
    host.ok(&format!("{0} info", kind.engine));
    let refused = |answers: &str, words: &[&str]| {
        assert_refused(&host, kind.engine, answers, words);
    };
    refused(
        "--set munge=key --set munge_uid=0 --set munge_gid=0",
        &[
            "the owner is why: munged runs as 101:101 in its image",
            "should be owned by UID 101 instead of UID 0",
            "--set sampler.munge-uid=101 --set sampler.munge-gid=101",
        ],
    );
    // The site has changed its key, and its munged does not know yet.
    host.ok("dd if=/dev/urandom of=/etc/munge/munge.key bs=128 count=1 status=none");
    refused(
        "--set munge=key",
        &["the key is why", "Invalid credential", "systemctl restart munge"],
    );
    host.ok("systemctl restart munge");
    // A munged that was killed leaves its socket.
    host.ok("systemctl mask --runtime munge && kill -9 $(pidof munged) &&
             ! systemctl is-active munge && test -S /run/munge/munge.socket.2");
    let before = listing(&host);
    let dead = ends(&host, 4, &format!("{INSTALL} --set munge=host"));
    for word in ["the munge of this host does not work", "systemctl restart munge", "undone"] {
        assert!(dead.stderr.contains(word), "{word}: {}", dead.stderr);
    }
    assert_unchanged(&host, &before);
    host.ok("systemctl unmask --runtime munge && systemctl start munge");
    host.ok(&format!("{INSTALL} --set munge=key"));
    assert_eq!(ask(&host, 411)["auth"], "munge");
}

#[test]
fn why_munge_does_not_work_is_told_with_podman() {
    is_told_what_is_wrong(TRIXIE_PODMAN);
}

#[test]
fn why_munge_does_not_work_is_told_with_docker() {
    is_told_what_is_wrong(TRIXIE_DOCKER);
}

#[test]
fn a_run_killed_during_the_proof_leaves_no_container() {
    for kind in [TRIXIE_PODMAN, TRIXIE_DOCKER] {
        let host = host(kind, "nid00100").boot();
        let engine = kind.engine;
        host.ok(&format!("{engine} info"));
        let before = listing(&host);
        host.ok(&format!(
            "{INSTALL} --set munge=image-key --set accept-insecure-munge-key=true >/root/out 2>&1 &
             installer=$!
             until grep -q '^prove ' /root/out; do sleep 0.01; done
             kill -9 $installer; rm /root/out"
        ));
        // Its engine's client may still be at it, and has the lock.
        wait(&host, 60, "/media/ldms/ldms-install recover");
        wait(&host, 30, &format!("[ -z \"$({engine} ps --all --quiet)\" ]"));
        assert_unchanged(&host, &before);
        assert_nothing_there(&host, engine);
    }
}

#[test]
fn a_key_that_munged_would_not_take_is_told_with_all_its_faults() {
    let host = host(TRIXIE_PODMAN, "nid00100").boot();
    host.ok("umask 077; cd /root
             head -c 128 /dev/urandom | tee open.key owned.key real.key >/dev/null
             head -c 4096 /dev/zero > zero.key
             chmod 0644 open.key; chown 1234 owned.key; ln -s real.key link.key
             mkdir -m 0777 /srv/keys; cp real.key /srv/keys/both.key
             chown 1234:1234 /srv/keys/both.key; chmod 0640 /srv/keys/both.key");
    let before = listing(&host);
    let both = ["(mode 0640)", "it belongs to uid 1234", "/srv/keys above it can be written"];
    for (key, says) in [
        ("/root/open.key", &["(mode 0644): chmod 0400 /root/open.key"][..]),
        ("/root/owned.key", &["it belongs to uid 1234", "chown 0 /root/owned.key"]),
        ("/root/link.key", &["it is a symbolic link", "name the file itself, real.key"]),
        ("/root/zero.key", &["nothing but zero bytes", "--set munge=image-key"]),
        ("/srv/keys/both.key", &both),
    ] {
        let output = ends(&host, 4, &format!("{INSTALL} --set munge=key --set munge_key={key}"));
        for word in says {
            assert!(output.stderr.contains(word), "{word}: {}", output.stderr);
        }
    }
    assert_unchanged(&host, &before);
    assert_nothing_there(&host, "podman");

    // From a stick, where every file has mode 0755 or so: what is said to do is what helps.
    let stick = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("key-{}", id()));
    fs::create_dir_all(&stick).unwrap();
    fs::write(stick.join("site.key"), [7; 64]).unwrap();
    host.plug("vfat", &stick);
    fs::remove_dir_all(&stick).unwrap();
    let key = "--set munge=key --set munge_key=/media/stick/site.key";
    let output = ends(&host, 4, &format!("{INSTALL} {key}"));
    let copy = "install -m 0400 /media/stick/site.key /root/munge.key";
    assert!(output.stderr.contains(copy), "{}", output.stderr);
    host.ok(copy);
    host.unplug();
    host.ok(&format!("{INSTALL} --set munge=key --set sampler.munge-key=/root/munge.key"));
    assert_eq!(ask_inside(&host, "podman", "-p 411 -a munge")["auth"], "munge");
}

#[test]
fn keys_that_are_no_protection_or_no_keys_are_refused_before_anything_is_done() {
    let host = host(TRIXIE_PODMAN, "nid00100").boot();
    host.ok("head -c 31 /dev/urandom > /root/short.key; mkdir /root/directory.key");
    host.ok("systemctl stop munge");
    let before = listing(&host);
    for (status, answers, says) in [
        (2, "--set munge=image-key", "--accept-insecure-munge-key"),
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
    let told =
        ends(&host, 0, &format!("{INSTALL} --set munge=image-key --accept-insecure-munge-key"));
    assert!(told.stderr.contains("which everybody has"), "{}", told.stderr);
    assert_eq!(ask_inside(&host, "podman", "-p 411 -a munge")["auth"], "munge");
    host.ok("systemctl start munge");
    assert!(try_ask(&host, 411, "munge $(munge -n)").is_empty(), "the site's key is another");
}
