//! The prompts, driven through a real pseudo-terminal.
//!
//! This test program starts itself again on the terminal; there the same questions are asked as
//! an installation asks, and the answers are printed.

use std::env;
use std::process::Command;

use ldms_bundle::answers::{Sources, choose_engine, choose_role, settle};
use ldms_bundle::cli::ask::Terminal;
use ldms_bundle::engine::Kind;
use rexpect::session::{PtySession, spawn_command};

use crate::kit::{host, profile, wanted};

const ON_TERMINAL: &str = "LDMS_TEST_ASK_ON_TERMINAL";
/// The roles, in the order in which they are offered.
const ROLES: [&str; 6] = ["sampler", "aggregator", "maestro", "ui", "grafana", "dev"];

/// Does something only where the tests below have started it.
#[test]
fn asks_on_its_terminal() {
    let Ok(munge) = env::var(ON_TERMINAL) else { return };
    let profiles = ROLES.map(profile);
    let mut host = host(munge == "with munge");
    if munge != "with munge" {
        host.name = "login".into();
    }
    let mut ask = Terminal::default();
    let role = choose_role(&profiles, &mut ask).unwrap();
    let engine = choose_engine(&[Kind::Docker, Kind::Podman], &mut ask).unwrap();
    let service = wanted(&role, profiles.iter().find(|profile| profile.role == role).unwrap());
    let settled = settle(&[service], &Sources::new(), &host, &mut ask).unwrap();
    println!("engine {engine}");
    for (key, value) in &settled.answers.service[&role].values {
        println!("answer {key} = {value}");
    }
    println!("the end");
}

fn start(munge: &str) -> PtySession {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "prompts::asks_on_its_terminal", "--nocapture"]);
    command.env(ON_TERMINAL, munge).env("TERM", "xterm").env("NO_COLOR", "1");
    spawn_command(command, Some(30_000)).unwrap()
}

const UP: &str = "\u{1b}[A";
const DOWN: &str = "\u{1b}[B";

#[test]
fn proposals_are_taken_with_enter() {
    let mut terminal = start("with munge");
    for prompt in [
        "What is this node for",
        "Which engine shall run the containers",
        "Transport that ldmsd listens on",
        "Port that ldmsd listens on",
        "Component ID of this node",
        "How does the container reach munge",
    ] {
        if prompt == "Component ID of this node" {
            terminal.exp_string("compid is 100 (hostname-digits).").unwrap();
        }
        terminal.exp_string(prompt).unwrap();
        terminal.send("\r").unwrap();
        terminal.flush().unwrap();
    }
    for line in [
        "engine docker",
        "answer compid = hostname-digits",
        "answer munge = host",
        "answer port = 411",
        "answer xprt = sock",
        "the end",
    ] {
        terminal.exp_string(line).unwrap();
    }
    terminal.exp_eof().unwrap();
}

#[test]
fn other_answers_are_checked_and_taken() {
    let mut terminal = start("without munge");
    let mut step = |prompt: &str, keys: &str| {
        terminal.exp_string(prompt).unwrap();
        terminal.send(keys).unwrap();
        terminal.flush().unwrap();
    };
    step("Collects metrics on a compute node", "\r");
    step("belong to their systemd units", &format!("{DOWN}\r"));
    step("InfiniBand or RoCE verbs", &format!("{DOWN}\r"));
    // A port that is none is refused, and asked for again.
    step("Port that ldmsd listens on", "70000\r");
    step("a port is a number from 1 to 65535", "\u{8}\u{8}\u{8}\u{8}\u{8}10444\r");
    // This host's name holds no number: the reason is shown, and nothing is proposed.
    step("the host name 'login' holds no number", "");
    step("Component ID of this node", "prefix:x\r");
    step("'login' does not begin with 'x'", &format!("{}7\r", "\u{8}".repeat(8)));
    // Without munge on the host, none is proposed: the last of three, as the public key in the
    // image is not offered. The one above it is the private copy.
    step("not at all: no authentication", &format!("{UP}\r"));
    step("Which munge key shall be copied", "/root/munge.key\r");
    step("never the original, will belong to this user", "");
    step("User (uid) that shall own the copy", "\r");
    step("Group (gid) that shall own the copy", "102\r");
    for line in [
        "engine podman",
        "answer compid = 7",
        "answer munge = key",
        "answer munge_gid = 102",
        "answer munge_key = /root/munge.key",
        "answer munge_uid = 101",
        "answer port = 10444",
        "answer xprt = rdma",
        "the end",
    ] {
        terminal.exp_string(line).unwrap();
    }
    terminal.exp_eof().unwrap();
}

#[test]
fn interruption_ends_it() {
    let mut terminal = start("with munge");
    terminal.exp_string("What is this node for").unwrap();
    terminal.send_control('c').unwrap();
    let rest = terminal.exp_eof().unwrap();
    assert!(!rest.contains("the end"), "{rest}");
}

/// Each role: what is asked, what is typed, and what is recorded of it. What is asked after the
/// last prompt here would make the end wait in vain.
#[test]
fn every_role_asks_its_own_questions() {
    let enter = "\r";
    // What may stay empty has its proposal in the line, to be edited.
    let instead = |text: &str| format!("{}{text}\r", "\u{8}".repeat(30));
    for (position, questions, answers) in [
        (
            1,
            &[
                ("Transport that ldmsd listens on", enter),
                ("Port that ldmsd listens on", enter),
                ("Component ID of this node", enter),
                ("Directory of this host for what is collected", &instead("/data/ldms")),
                ("Export the stored SOS data", "y"),
                ("How does the container reach munge", enter),
            ][..],
            &[
                "compid = hostname-digits",
                "dsosd = true",
                "munge = host",
                "port = 411",
                "storage = /data/ldms",
            ][..],
        ),
        (
            1,
            &[
                ("Transport that ldmsd listens on", enter),
                ("Port that ldmsd listens on", enter),
                ("Component ID of this node", enter),
                ("(- for none)", &instead("")),
                ("Export the stored SOS data", "n"),
                ("How does the container reach munge", enter),
            ],
            &["dsosd = false", "munge = host", "port = 411", "storage = \r\n"],
        ),
        (
            2,
            &[
                ("Hosts that run samplers", &instead("nid[1-4] login")),
                ("Hosts that run aggregators", "agg1\r"),
                ("How does the container reach munge", enter),
            ],
            &["aggregators = agg1", "munge = host", "samplers = 'nid[1-4]' login"],
        ),
        (
            3,
            &[("Port that the UI back-end listens on", enter), ("Hosts that run dsosd", enter)],
            &["dsosd_hosts = nid00100.cluster7", "port = 80"],
        ),
        (
            4,
            &[
                ("Port that grafana listens on", enter),
                ("Password of grafana's user admin", "SESAME\r"),
                ("The same again", "SESAME\r"),
            ],
            &["port = 3000"],
        ),
        // Whoever wants a shell is asked nothing further, and nothing is recorded.
        (5, &[], &[]),
    ] {
        let mut terminal = start("with munge");
        let mut step = |prompt: &str, keys: &str| {
            terminal.exp_string(prompt).unwrap();
            terminal.send(keys).unwrap();
            terminal.flush().unwrap();
        };
        step("not a service (ldms-dev)", &format!("{}\r", DOWN.repeat(position)));
        step("belong to their systemd units", enter);
        for (prompt, keys) in questions {
            step(prompt, keys);
        }
        for line in answers {
            let before = terminal.exp_string(&format!("answer {line}")).unwrap();
            assert!(!before.contains("SESAME"), "{before}");
        }
        let rest = terminal.exp_eof().unwrap();
        assert!(rest.contains("the end") && !rest.contains("SESAME"), "{rest}");
        assert!(!answers.is_empty() || !rest.contains("answer "), "{rest}");
    }
}
