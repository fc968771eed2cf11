//! Hostile text reaches the container as it is, and changes nothing else in the unit.

use ldms_bundle::engine::Kind;
use ldms_bundle::service::{Mount, Service};
use ldms_bundle::unit::{Target, quote};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::kit::{files, host, profile, service, target, unit};
use crate::systemd::{self, Setting};

fn sampler() -> Service {
    service("sampler", &profile("sampler"), &host(true), &[]).unwrap()
}

/// Text made of what unit files, shells and engines treat specially.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("\nExecStartPre=/bin/sh -c id\n"),
        Just("\n[Install]\n"),
        Just("\\\n"),
        Just("\r"),
        Just(" ; "),
        Just(";"),
        Just("#"),
        Just("%n"),
        Just("%"),
        Just("%%"),
        Just("$HOME"),
        Just("${HOME}"),
        Just("$$"),
        Just("\""),
        Just("'"),
        Just("\\"),
        Just("\\x41"),
        Just("{{ image }}"),
        Just("{% if x %}"),
        Just(" "),
        Just("\t"),
        Just("\u{1b}[2J"),
        Just("\u{85}\u{2028}\u{feff}"),
        Just("knoten-äöü-節点"),
        Just("-"),
        Just("="),
        Just(","),
        Just("x"),
    ];
    let pieces = prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat());
    prop_oneof![pieces, "\\PC{0,20}", any::<String>()]
        .prop_map(|text| text.replace('\0', ""))
        .prop_filter("systemd knows no noncharacters", |text| quote::argument(text).is_ok())
}

/// Names of the settings, and the values of those that hold no text of ours.
fn skeleton(settings: &[Setting]) -> Vec<(String, String, String)> {
    let free = ["Description", "ExecStart", "RequiresMountsFor"];
    settings
        .iter()
        .map(|s| {
            let value = if free.contains(&s.name.as_str()) { "" } else { &s.value };
            (s.section.clone(), s.name.clone(), value.to_owned())
        })
        .collect()
}

fn value<'a>(settings: &'a [Setting], name: &str) -> &'a str {
    let mut found = settings.iter().filter(|setting| setting.name == name);
    let setting = found.next().unwrap();
    assert!(found.next().is_none(), "{name} twice");
    &setting.value
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    /// Arguments and variables.
    #[test]
    fn words_come_back(args in prop::collection::vec(hostile(), 0..4), variable in hostile()) {
        let plain = sampler();
        let mut service = plain.clone();
        service.args.extend(args);
        service.env.push(("SITE".into(), variable));
        for engine in [Kind::Docker, Kind::Podman] {
            let target = target(engine);
            let settings = systemd::settings(&unit(&service, &target));
            let expected = systemd::settings(&unit(&plain, &target));
            prop_assert_eq!(skeleton(&settings), skeleton(&expected));

            let (prefix, words) = systemd::command(value(&settings, "ExecStart"), &service.unit());
            prop_assert_eq!(prefix, "");
            let tail = engine.run_arguments(&service);
            prop_assert!(words.ends_with(&tail), "{:?} does not end with {:?}", words, tail);
            // What stands in front is the template's own.
            let (_, all) = systemd::command(value(&expected, "ExecStart"), &service.unit());
            let head = all.len() - engine.run_arguments(&plain).len();
            prop_assert_eq!(&words[..words.len() - tail.len()], &all[..head]);
        }
    }

    /// Paths of mounts, which also become a list in [Unit].
    #[test]
    fn paths_come_back(path in hostile()) {
        let path = format!("/srv/{}", path.replace(|c: char| c.is_control() || c == ',' || c == '"', ""));
        prop_assume!(ldms_bundle::profile::host_path(&path).is_ok());
        let mut service = sampler();
        service.mounts = vec![Mount { source: path.clone(), target: "/x".into(), read_only: true }];
        let unit = unit(&service, &target(Kind::Docker));
        let settings = systemd::settings(&unit);
        let words = systemd::words(value(&settings, "RequiresMountsFor"));
        let words: Vec<_> = words
            .into_iter()
            .map(|word| systemd::specifiers(&word.unwrap(), &service.unit()))
            .collect();
        prop_assert_eq!(words, vec![path.into_bytes()]);
    }

    /// A description is written as it is or refused, and never becomes anything else.
    #[test]
    fn descriptions_stay_in_place(text in hostile()) {
        let mut service = sampler();
        service.description.clone_from(&text);
        let Ok(files) = files(std::slice::from_ref(&service), &target(Kind::Podman)) else {
            prop_assert!(text.contains(char::is_control) || text.ends_with('\\') || text != text.trim());
            return Ok(());
        };
        let settings = systemd::settings(&files[0].text);
        let got = systemd::specifiers(value(&settings, "Description").as_bytes(), "");
        prop_assert_eq!(got, text.into_bytes());
        let plain = systemd::settings(&unit(&sampler(), &target(Kind::Podman)));
        prop_assert_eq!(skeleton(&settings), skeleton(&plain));
    }

    /// `Environment=`: its own rules.
    #[test]
    fn assignments_come_back(text in hostile()) {
        let Ok(quoted) = quote::assignment("SITE", &text) else {
            prop_assert!(text.contains(|c: char| c.is_control() && c != '\n' && c != '\t'));
            return Ok(());
        };
        prop_assert!(!quoted.contains(['\n', '\r']));
        let words = systemd::words(&quoted);
        prop_assert_eq!(words.len(), 1);
        let word = systemd::specifiers(words[0].as_ref().unwrap(), "");
        prop_assert_eq!(word, format!("SITE={text}").into_bytes());
    }

    /// No host name, however odd, makes an answer or a unit of its own accord.
    #[test]
    fn host_names_are_only_read(name in hostile()) {
        let profile = profile("sampler");
        let mut odd = host(true);
        odd.name = name;
        if let Ok(odd) = service("sampler", &profile, &odd, &[]) {
            prop_assert!(odd.env.iter().all(|(_, value)| value.bytes().all(|b| b.is_ascii_digit())));
        }
        let given = service("sampler", &profile, &odd, &["compid=100"]).unwrap();
        prop_assert_eq!(given, sampler());
    }
}

/// The same once more with systemd itself as the reader: what it has understood of `ExecStart=`
/// and `Description=` stands in the dump that it gives at log level debug.
#[test]
fn systemd_reads_the_same() {
    let mut runner = TestRunner::deterministic();
    let mut next = || hostile().new_tree(&mut runner).unwrap().current();
    for _ in 0..6 {
        let mut service = sampler();
        service.args.extend((0..60).map(|_| next()));
        service.env.push(("SITE".into(), next()));
        service.description = std::iter::repeat_with(&mut next)
            .map(|text| format!("a{text}b"))
            .find(|text| quote::text(text).is_ok())
            .unwrap();
        for engine in [Kind::Docker, Kind::Podman] {
            let target = Target { systemd: systemd::systemd_version(), ..target(engine) };
            let said = systemd::systemd_analyze(std::slice::from_ref(&service), &target, "debug");
            let dump = said.split("-> Unit ldms-sampler.service:").nth(1).unwrap();
            let line = |text: &str, from: &str| {
                let rest = &text[text.find(from).expect(from) + from.len()..];
                rest.lines().next().unwrap().to_owned()
            };
            assert_eq!(line(dump, "\tDescription: "), service.description);
            let start = &dump[dump.find("-> ExecStart:").unwrap()..];
            let words: Vec<String> = systemd::words(&without_shell(&line(start, "Command Line: ")))
                .into_iter()
                .map(|word| String::from_utf8(systemd::variables(&word.unwrap())).unwrap())
                .collect();
            let tail = engine.run_arguments(&service);
            assert!(words.ends_with(&tail), "{words:#?}\ndoes not end with\n{tail:#?}");
        }
    }
}

/// The dump quotes for a shell, in which two more characters are escaped than in units.
fn without_shell(line: &str) -> String {
    let mut out = String::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, c == '\\') {
            (_, true) => match chars.next() {
                Some(c @ ('$' | '`')) => out.push(c),
                Some(c) => out.extend(['\\', c]),
                None => out.push('\\'),
            },
            (c, false) => out.push(c),
        }
    }
    out
}

#[test]
fn what_no_unit_can_hold_is_refused_by_name() {
    let mut service = sampler();
    service.args.push("a\0b".into());
    let error = files(&[service], &target(Kind::Docker)).unwrap_err().to_string();
    assert!(error.starts_with("units/docker.service:") && error.contains("zero byte"), "{error}");
}

#[test]
fn programs_are_plain_paths() {
    for program in ["docker", "/usr/bin/docker -H tcp://x", "/x\nUser=nobody", "/%h/docker"] {
        let mut target = target(Kind::Docker);
        target.program = program.into();
        assert!(files(&[sampler()], &target).is_err(), "{program:?}");
    }
}
