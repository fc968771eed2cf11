//! What an administrator sees and types, on a terminal of a booted host.

use rexpect::session::{PtySession, spawn_command};

use crate::machine::{Machine, TRIXIE_BOTH, TRIXIE_PODMAN};
use crate::node::{ask, ends, host};
use crate::state::{assert_unchanged, listing};

const UP: &str = "\u{1b}[A";
const DOWN: &str = "\u{1b}[B";

fn terminal(host: &Machine, bash: &str) -> PtySession {
    spawn_command(host.terminal(bash), Some(30_000)).unwrap()
}

/// Waits for what it shows, then types.
#[track_caller]
fn step(terminal: &mut PtySession, shows: &str, keys: &str) {
    if let Err(error) = terminal.exp_string(shows) {
        panic!("'{shows}' was not shown: {error}");
    }
    terminal.send(keys).unwrap();
    terminal.flush().unwrap();
}

#[test]
fn an_installation_is_a_conversation_and_is_not_held_twice() {
    let host = host(TRIXIE_PODMAN, "nid00100").boot();
    let mut screen =
        terminal(&host, "/media/ldms/ldms-install --pubkey /media/keys/ldms.pub; echo code $?");
    step(&mut screen, "What is this node for", "");
    step(&mut screen, "sampler     Collects metrics on a compute node (ldmsd)", "\r");
    step(&mut screen, "Transport that ldmsd listens on", "\r");
    step(&mut screen, "Port that ldmsd listens on", "\u{8}\u{8}\u{8}10411\r");
    step(&mut screen, "compid is 100 (hostname-digits).", "");
    step(&mut screen, "Component ID of this node", "\r");
    // The host's munged is proposed; the copy of a key is the next.
    step(&mut screen, "How does the container reach munge", &format!("{DOWN}\r"));
    step(&mut screen, "Which munge key shall be copied", "\r");
    step(&mut screen, "never the original, will belong to this user", "");
    step(&mut screen, "User (uid) that shall own the copy", "\r");
    step(&mut screen, "Group (gid) that shall own the copy", "\r");
    step(&mut screen, "for media to come, too", "y");
    let rest = screen.exp_string("code 0").unwrap();
    assert!(rest.contains("is installed"), "{rest}");
    screen.exp_eof().unwrap();

    assert_eq!(ask(&host, 10411)["compid"], "100");
    assert_eq!(
        host.ok("stat --format '%a %u:%g' /etc/ldms/install.toml; cat /etc/ldms/install.toml"),
        "600 0:0\nengine = \"podman\"\n\n[service.sampler]\nrole = \"sampler\"\n\
         compid = \"hostname-digits\"\nmunge = \"key\"\nmunge_gid = 101\nmunge_key = \"/etc/munge/munge.key\"\nmunge_uid = 101\n\
         port = 10411\nxprt = \"sock\"\n"
    );
    assert_eq!(host.ok("ls /etc/ldms/trusted.d | wc -l"), "1\n");

    let mut screen = terminal(&host, "cd /media/ldms && ldms-install; echo code $?");
    let all = screen.exp_eof().unwrap();
    assert!(all.contains("nothing to do") && all.contains("code 0") && !all.contains('?'), "{all}");

    let mut screen = terminal(&host, "ldms-install uninstall; echo code $?");
    step(&mut screen, "Remove sampler", "n");
    screen.exp_string("code 1").unwrap();
    assert_eq!(ask(&host, 10411)["compid"], "100");
    let mut screen = terminal(&host, "ldms-install uninstall; echo code $?");
    step(&mut screen, "Remove sampler", "y");
    screen.exp_string("code 0").unwrap();
    screen.exp_eof().unwrap();
}

#[test]
fn whoever_leaves_the_conversation_leaves_the_host_as_it_was() {
    let host = host(TRIXIE_PODMAN, "nid00100").boot();
    let before = listing(&host);
    let mut screen = terminal(
        &host,
        "/media/ldms/ldms-install --pubkey /media/keys/ldms.pub --role sampler; echo code $?",
    );
    step(&mut screen, "Transport that ldmsd listens on", "\u{3}");
    screen.exp_eof().unwrap();
    assert_unchanged(&host, &before);
    // Nobody to ask at all.
    let alone = ends(
        &host,
        2,
        "/media/ldms/ldms-install --pubkey /media/keys/ldms.pub --role sampler </dev/null",
    );
    assert!(alone.stderr.contains("--yes"), "{}", alone.stderr);
    assert_unchanged(&host, &before);
}

#[test]
fn with_two_engines_the_choice_is_asked_and_docker_is_the_default() {
    let host = host(TRIXIE_BOTH, "nid00100").boot();
    let plan = "/media/ldms/ldms-install --pubkey /media/keys/ldms.pub --role sampler --dry-run";
    assert!(host.ok(&format!("{plan} --yes")).contains("into docker"));
    assert!(host.ok(&format!("{plan} --yes --engine podman")).contains("into podman"));
    let mut screen = terminal(&host, &format!("{plan}; echo code $?"));
    step(&mut screen, "Which engine shall run the containers", "");
    step(&mut screen, "podman", &format!("{DOWN}\r"));
    step(&mut screen, "Transport that ldmsd listens on", &format!("{DOWN}{UP}\r"));
    step(&mut screen, "Port that ldmsd listens on", "\r");
    step(&mut screen, "Component ID of this node", "\r");
    step(&mut screen, "How does the container reach munge", "\r");
    step(&mut screen, "for media to come, too", "n");
    let rest = screen.exp_string("code 0").unwrap();
    assert!(rest.contains("into podman") && !rest.contains("trusted.d"), "{rest}");
    // A docker without its daemon is none.
    host.ok("systemctl disable --now docker.socket docker.service 2>/dev/null");
    assert!(host.ok(&format!("{plan} --yes")).contains("into podman"));
    let named = ends(&host, 4, &format!("{plan} --yes --engine docker"));
    assert!(named.stderr.contains("docker cannot run the services"), "{}", named.stderr);
}
