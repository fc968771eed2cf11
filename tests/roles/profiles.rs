//! Profiles: those of this repository, what is refused in others, and that a role is only data.

use std::fmt::Write as _;

use ldms_bundle::engine::Kind;
use ldms_bundle::profile::Profile;
use proptest::prelude::*;

use crate::kit::{host, service, target, texts, unit};

#[test]
fn every_profile_of_this_repository_is_well_formed() {
    for (path, text) in texts("profiles") {
        let role = path.strip_prefix("profiles/").unwrap().strip_suffix(".toml").unwrap();
        let profile = Profile::parse(role, &text).unwrap();
        assert_eq!(profile.role, role);
        service(role, &profile, &host(true), &[]).unwrap();
    }
}

/// Roles are data: what the program does with one follows from its profile alone.
#[test]
fn the_program_knows_no_role_by_name() {
    let roles = ["sampler", "aggregator", "maestro", "grafana", "dsosd"];
    let mut open = vec![crate::kit::repository().join("src")];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        if path.ends_with("tests.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap().to_lowercase();
        let program = text.split("#[cfg(test)]").next().unwrap();
        for word in program.split(|c: char| !c.is_alphanumeric()) {
            assert!(!roles.contains(&word), "{} names the role {word}", path.display());
        }
    }
}

/// A role that this repository does not have needs a text and nothing else.
#[test]
fn a_new_role_is_a_file() {
    let text = r#"
        summary = "Forwards metrics to a message queue"
        image = "site/forwarder"
        order = 70

        [container]
        init = true
        env = { QUEUE = "{{ queue }}", MODE = "quiet" }
        args = ["--listen={{ address }}", { when = "tls", args = ["--cert", "/cert.pem"] }]
        stop_timeout = 3

        [[question]]
        key = "queue"
        ask = "Queue to forward to"
        type = "word"

        [[question]]
        key = "address"
        type = "word"
        default = "{{ host.name }}:7000"

        [[question]]
        key = "tls"
        ask = "Encrypt"
        type = "bool"
        default = true

        [[question]]
        key = "cert"
        ask = "Certificate"
        type = "path"
        when = "tls"
        default = "/etc/pki/{{ service }}.pem"

        [[mount]]
        when = "tls"
        source = "{{ cert }}"
        target = "/cert.pem"

        [[mount]]
        source = "/var/lib/ldms/{{ service }}"
        target = "/data"
        writable = true
    "#;
    let profile = Profile::parse("forwarder", text).unwrap();
    let with = |sets: &[&str]| service("fwd", &profile, &host(true), sets).unwrap();
    let tls = with(&["queue=amqp://q%/a b$c".replace(' ', "_").as_str()]);
    insta::assert_snapshot!("new-role", unit(&tls, &target(Kind::Docker)));
    let plain = with(&["queue=q", "tls=no"]);
    assert_eq!(plain.args, ["--listen=nid00100.cluster7:7000"]);
    assert_eq!(plain.mounts.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// A damaged profile is read or refused; neither way ends in a panic.
    #[test]
    fn damaged_profiles_are_errors(from in 0.0..1.0f64, length in 0usize..40, new in "\\PC{0,12}") {
        let text = &texts("profiles")["profiles/sampler.toml"];
        let characters: Vec<char> = text.chars().collect();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let from = (from * characters.len() as f64) as usize;
        let rest = characters.iter().skip(from + length);
        let text: String = characters[..from].iter().chain(new.chars().collect::<Vec<_>>().iter())
            .chain(rest).collect();
        if let Err(error) = Profile::parse("sampler", &text) {
            prop_assert!(error.to_string().starts_with("profiles/sampler.toml:"), "{}", error);
        }
    }
}

/// Everything that is wrong with a profile is said with its file, line and column.
#[test]
fn mistakes_are_found_with_their_place() {
    let head = "summary = \"Test\"\nimage = \"site/test\"\n[container]\n";
    let question = |rest: &str| format!("{head}[[question]]\nkey = \"a\"\n{rest}");
    let number = "type = \"u64\"\n";
    let cases: &[(&str, String)] = &[
        ("not TOML", "summary = \"Test\nimage".into()),
        ("key missing", "summary = \"Test\"\n[container]\n".into()),
        ("unknown key", format!("{head}netwrok = \"host\"\n")),
        ("unknown table", format!("{head}[mungee]\n")),
        ("unknown key in a question", question("kind = \"u64\"\n")),
        ("unknown type", question("type = \"u65\"\n")),
        ("wrong type of value", format!("{head}stop_timeout = \"ten\"\n")),
        ("odd flag", format!("{head}privileged = 1\n")),
        ("odd argument", format!("{head}args = [\"-x\", {{ if = \"a\" }}]\n")),
        ("image with a tag", head.replace("site/test", "site/test:1")),
        ("summary on two lines", head.replace("Test", "a\\nb")),
        ("unknown name in args", format!("{head}args = [\"{{{{ prot }}}}\"]\n")),
        ("unknown name in a condition", format!("{head}[[check]]\nwhen = \"b\"\ntcp = \"1\"\n")),
        ("broken template", format!("{head}args = [\"{{{{ service\"]\n")),
        ("broken condition", question(&format!("{number}default = 1\nwhen = \"a ==\"\n"))),
        ("name used before its question", {
            let later = "type = \"u64\"\nask = \"A\"\nwhen = \"b == 1\"\n\
                         [[question]]\nkey = \"b\"\ntype = \"u64\"\ndefault = 1\n";
            question(later)
        }),
        ("munge without a munge table", format!("{head}args = [\"{{{{ munge }}}}\"]\n")),
        ("key twice", {
            question(&format!(
                "{number}default = 1\n[[question]]\nkey = \"a\"\n{number}default = 1\n"
            ))
        }),
        ("key of every service", {
            question(&format!("{number}default = 1\n")).replace("\"a\"", "\"container\"")
        }),
        ("key that cannot be one", question(number).replace("\"a\"", "\"a-b\"")),
        ("neither asked nor known", question(number)),
        ("default of another type", question(&format!("{number}default = \"x\"\n"))),
        ("choice without choices", question("type = \"choice\"\nask = \"A\"\n")),
        ("default that is no choice", {
            question(
                "type = \"choice\"\nchoices = [{value = \"x\", label = \"X\"}]\ndefault = \"y\"\n",
            )
        }),
        ("words inside a text", {
            let words = "[[question]]\nkey = \"w\"\ntype = \"words\"\ndefault = []\n";
            format!("{head}args = [\"x{{{{ w }}}}\"]\n{words}")
        }),
        ("bad variable", question(&format!("{number}default = 1\nenv = [\"A B\"]\n"))),
        ("least of what is no number", question("type = \"word\"\nask = \"A\"\nmin = 1\n")),
        ("default below the least", question(&format!("{number}default = 1\nmin = 2\n"))),
        ("required and no list", question(&format!("{number}default = 1\nrequired = true\n"))),
        ("required and empty", { question("type = \"words\"\ndefault = []\nrequired = true\n") }),
        ("unknown name in a help", question("type = \"u64\"\nask = \"A\"\nhelp = \"{{ b }}\"\n")),
        ("unknown way to munge", format!("{head}[munge]\nmodes = [\"host\", \"keys\"]\n")),
    ];
    let mut report = String::new();
    for (case, text) in cases {
        let Err(error) = Profile::parse("test", text) else {
            panic!("{case} was accepted:\n{text}");
        };
        assert!(error.to_string().starts_with("profiles/test.toml:"), "{case}: {error}");
        writeln!(report, "# {case}\n{error}").unwrap();
        if let Some(remedy) = error.next_step() {
            writeln!(report, "    {remedy}").unwrap();
        }
    }
    insta::assert_snapshot!("mistakes", report);
}

/// What depends on answers is refused when a service is decided, before anything is changed.
#[test]
fn answers_that_no_container_can_take() {
    let sampler = crate::kit::profile("sampler");
    let refused = |sets: &[&str]| service("s", &sampler, &host(true), sets).unwrap_err();
    for args in ["'a b'", "x*", "a?", "[a]", "''", "'a\\b'"] {
        let error = refused(&[&format!("args={args}")]);
        assert!(error.to_string().contains("the argument '"), "{args}: {error}");
        assert!(error.to_string().contains("entrypoint"), "{args}");
    }
    let error = refused(&["munge=image-key"]);
    assert!(error.to_string().contains("public"), "{error}");
    assert!(error.next_step().unwrap().contains("accept-insecure-munge-key"));

    let two = "summary = \"T\"\nimage = \"a/b\"\n[container]\n[munge]\n[[mount]]\n\
               source = \"/run/munge/k\"\ntarget = \"/k\"\n";
    let two = Profile::parse("two", two).unwrap();
    let error = service("two", &two, &host(true), &[]).unwrap_err().to_string();
    assert!(error.contains("more than one mount concerns munge"), "{error}");
    service("two", &two, &host(true), &["munge=none"]).unwrap();
}
