//! Numbers from the host's name: rules as answers, and the unit that applies them at boot, whose
//! script must do as the program does.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use ldms_bundle::answers::{Answers, Host, Never, Settled, Sources, settle};
use ldms_bundle::engine::Kind;
use ldms_bundle::error::Result;
use ldms_bundle::profile::{Profile, Rule, Value};
use ldms_bundle::service::{BootNumber, Service};
use ldms_bundle::unit::Target;
use proptest::prelude::*;

use crate::kit::{files, host, profile, service, settle_with, target, unit, wanted};
use crate::systemd::{command, settings, systemd_analyze, systemd_version, words};

/// A root that many hosts may boot from.
fn prepared(root: &Path) -> Host {
    Host { prepared: Some(root.to_owned()), name: "image".into(), ..host(true) }
}

fn at_boot(rule: &str) -> Service {
    service("sampler", &profile("sampler"), &host(true), &["compid_at=boot"])
        .map(|service| Service {
            numbers: vec![BootNumber {
                rule: Rule::parse(rule).unwrap(),
                env: vec!["COMPID".into(), "COMPONENT_ID".into()],
            }],
            ..service
        })
        .unwrap()
}

fn recorded(settled: &Settled) -> String {
    settled.answers.to_toml().unwrap()
}

#[test]
fn a_rule_is_recorded_and_its_number_used() {
    let profile = profile("sampler");
    let map = tempfile::NamedTempFile::new().unwrap();
    fs::write(&map, "# rack 1\nnid00100 7\n").unwrap();
    let mapped = format!("map:{}", map.path().display());
    for (rule, number) in
        [("hostname-digits", 100), ("prefix:nid", 100), ("prefix:nid00", 100), (&mapped, 7)]
    {
        let set = format!("compid={rule}");
        let settled = settle_with("s", &profile, &host(true), &[&set]).unwrap();
        assert!(recorded(&settled).contains(&format!("compid = \"{rule}\"\n")), "{rule}");
        assert_eq!(settled.values["s"]["compid"], Value::Number(number), "{rule}");
        assert_eq!(settled.found["s.compid"], format!("is {number} ({rule})"));
        // One file of answers serves many hosts.
        let other = Host { name: "nid00007".into(), ..host(true) };
        let answers = Answers::from_toml("install.toml", &recorded(&settled)).unwrap();
        let again = settle(
            &[wanted("s", &profile)],
            &Sources::new().file("f", answers),
            &other,
            &mut Never,
        );
        match again {
            Ok(again) => assert_eq!(again.values["s"]["compid"], Value::Number(7), "{rule}"),
            Err(error) => assert!(rule.starts_with("map:"), "{error}"),
        }
    }
}

#[test]
fn numbers_recorded_before_there_were_rules_stay() {
    let profile = profile("sampler");
    let answers = Answers::from_toml("r", "[service.s]\nrole = \"sampler\"\ncompid = 42\n");
    let sources = Sources::new().recorded("r", answers.unwrap());
    for host in [host(true), prepared("/nowhere".as_ref())] {
        let settled = settle(&[wanted("s", &profile)], &sources, &host, &mut Never).unwrap();
        assert_eq!(settled.values["s"]["compid"], Value::Number(42));
        assert!(recorded(&settled).contains("compid = 42\n"));
        assert!(settled.found.is_empty() && settled.warnings.is_empty());
    }
}

#[test]
fn what_gives_no_number_is_said_before_anything_is_done() {
    let profile = profile("sampler");
    let map = tempfile::NamedTempFile::new().unwrap();
    fs::write(&map, "other 1\nagain 2\nodd\n").unwrap();
    let map = map.path().display();
    for (set, why) in [
        ("compid=prefix:node".to_owned(), "'nid00100' does not begin with 'node'".to_owned()),
        ("compid=map:/nowhere".to_owned(), "/nowhere: is not there".to_owned()),
        (format!("compid=map:{map}"), format!("{map}:3: is not a host name and a whole number")),
        ("compid=nid".to_owned(), "hostname-digits, prefix:TEXT or map:/FILE".to_owned()),
    ] {
        // A host that runs tries at once, wherever the number is found.
        for sets in [vec![set.as_str()], vec!["compid-at=boot", &set]] {
            let error = settle_with("s", &profile, &host(true), &sets).unwrap_err().to_string();
            assert!(error.contains(&why) && error.contains("compid"), "{error}");
        }
    }
}

#[test]
fn a_prepared_root_finds_its_number_at_boot() {
    let root = tempfile::tempdir().unwrap();
    let (profile, host) = (profile("sampler"), prepared(root.path()));
    let with = |sets: &[&str]| -> Result<(Settled, Service)> {
        let settled = settle_with("sampler", &profile, &host, sets)?;
        Ok((settled, service("sampler", &profile, &host, sets)?))
    };

    let (settled, service) = with(&[]).unwrap();
    assert_eq!(service.numbers[0].rule, Rule::Digits);
    assert!(service.env.is_empty(), "{:?}", service.env);
    // Otherwise the booted host would decide anew.
    assert!(recorded(&settled).contains("compid_at = \"boot\"\n"));
    assert!(recorded(&settled).contains("compid = \"hostname-digits\"\n"));

    // A number needs no boot.
    assert!(with(&["compid=7"]).unwrap().1.numbers.is_empty());
    // What is to be found now is found in the root.
    let error = with(&["compid_at=install"]).unwrap_err().to_string();
    assert!(error.contains("the host name 'image' holds no number"), "{error}");

    let map = root.path().join("etc/compid.map");
    let rule = "compid=map:/etc/compid.map";
    let (settled, _) = with(&[rule]).unwrap();
    assert_eq!(settled.warnings.len(), 1);
    assert!(settled.warnings[0].contains("must be when the host boots"), "{:?}", settled.warnings);
    fs::create_dir(root.path().join("etc")).unwrap();
    fs::write(&map, "a 1\nb 2\n").unwrap();
    assert!(with(&[rule]).unwrap().0.warnings.is_empty());
    fs::write(&map, "a 1\na.example 2\n").unwrap();
    let error = with(&[rule]).unwrap_err().to_string();
    assert!(error.contains("/etc/compid.map:2: names a a second time"), "{error}");
}

#[test]
fn text_of_the_units() {
    let service = at_boot("map:/etc/ldms/my map");
    for engine in [Kind::Docker, Kind::Podman] {
        let files = files(std::slice::from_ref(&service), &target(engine)).unwrap();
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        let want = ["ldms-sampler-values.service", "ldms-sampler.service"];
        assert_eq!(names[..2], want);
        insta::assert_snapshot!(format!("{engine}-at-boot"), files[1].text);
        insta::assert_snapshot!("values", files[0].text);
        assert!(files[0].wanted_by.is_empty(), "its service wants it");
        let now = Target { systemd: systemd_version(), ..target(engine) };
        assert_eq!(systemd_analyze(std::slice::from_ref(&service), &now, "notice"), "");
    }
}

#[test]
fn two_units_of_one_name_are_refused() {
    let mut other = service("sampler-values", &profile("sampler"), &host(true), &[]).unwrap();
    other.order += 1;
    let error = files(&[at_boot("prefix:nid"), other], &target(Kind::Docker)).unwrap_err();
    assert_eq!(error.to_string(), "two units would be called ldms-sampler-values.service");
}

#[test]
fn what_has_no_variable_is_not_written() {
    let text = "summary = \"T\"\nimage = \"a/b\"\n[container]\n[[question]]\nkey = \"id\"\n\
                type = \"host-number\"\ndefault = \"hostname-digits\"\n";
    let profile = Profile::parse("t", text).unwrap();
    let service = service("t", &profile, &host(true), &["id_at=boot"]).unwrap();
    assert!(service.numbers.is_empty() && service.numbers_unit().is_none());
    let clash = format!("{text}[[question]]\nkey = \"id_at\"\ntype = \"u64\"\ndefault = 1\n");
    let error = Profile::parse("t", &clash).unwrap_err().to_string();
    assert!(error.contains("the key id_at is taken"), "{error}");
}

/// Every shell of this machine that may be a host's `/bin/sh`.
static SHELLS: LazyLock<Vec<Vec<&str>>> = LazyLock::new(|| {
    [vec!["sh"], vec!["dash"], vec!["bash", "--posix"], vec!["busybox", "sh"], vec!["ksh"]]
        .into_iter()
        .filter(|shell| {
            let test = Command::new(shell[0]).args(&shell[1..]).args(["-c", "true"]).output();
            test.is_ok_and(|output| output.status.success())
        })
        .collect()
});

/// Runs the unit's own script, as systemd would read it, on a host of this name; what it writes,
/// or the reason it gives.
fn script(shell: &[&str], rule: &Rule, host: &str, directory: &Path) -> Result<String, String> {
    let mut service = at_boot("hostname-digits");
    service.numbers[0].rule = rule.clone();
    let files = files(&[service], &target(Kind::Docker)).unwrap();
    let settings = settings(&files[0].text);
    let value = &settings.iter().find(|s| s.name == "ExecStart").unwrap().value;
    let (_, mut words) = command(value, &files[0].name);
    assert_eq!(words[..2], ["/bin/sh", "-euc"]);
    let (name, file) = (directory.join("hostname"), directory.join("out.env"));
    assert_eq!(words[4..6], ["/proc/sys/kernel/hostname", "/run/ldms/sampler.env"]);
    fs::write(&name, format!("{host}\n")).unwrap();
    let _ = fs::remove_file(&file);
    words[4] = name.display().to_string();
    words[5] = file.display().to_string();
    let output = Command::new(shell[0])
        .args(&shell[1..])
        .args(&words[1..])
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        assert_eq!(said, "");
        return Ok(fs::read_to_string(file).unwrap());
    }
    assert!(!file.exists(), "a number in spite of: {said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    Err(said)
}

fn agree(rule: &Rule, host: &str, map: &str) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("map");
    fs::write(&path, map).unwrap();
    let rule = match rule {
        Rule::Map(_) => Rule::Map(path.display().to_string()),
        other => other.clone(),
    };
    let ours = rule.number(host, &|_| Ok(map.into()));
    for shell in SHELLS.iter() {
        let theirs = script(shell, &rule, host, directory.path());
        let case = format!("{shell:?} {rule} on {host:?} with {map:?}: {ours:?}, {theirs:?}");
        match (&ours, &theirs) {
            (Ok(number), Ok(text)) => {
                assert_eq!(*text, format!("COMPID={number}\nCOMPONENT_ID={number}\n"), "{case}");
            }
            // Where the program names a line of the map the script names the same.
            (Err(ours), Err(theirs)) => {
                let place = |text: &str| {
                    let rest = text.strip_prefix(&*path.to_string_lossy())?;
                    Some(rest[..rest.find(": ")?].to_owned())
                };
                assert_eq!(place(ours), place(theirs), "{case}");
            }
            _ => panic!("{case}"),
        }
    }
}

/// Host names, from plausible to whatever a kernel would take.
fn names() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("nid"),
        Just("0"),
        Just("00100"),
        Just("18446744073709551615"),
        Just("18446744073709551616"),
        Just("7"),
        Just("-"),
        Just("."),
        Just("x"),
        Just("*"),
        Just("["),
        Just("$(id)"),
        Just("\\"),
        Just("\\060"),
        Just("%s"),
        Just(" "),
        Just("ä"),
        Just("٣"),
        Just("'"),
        Just("\""),
        Just("-n"),
    ];
    let pieces = prop::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat());
    prop_oneof![3 => "[a-z]{0,3}[0-9]{1,6}[a-z]{0,1}", 1 => "[0-9]{18,22}", 3 => pieces]
}

/// Some shells' `echo` would make line ends of these, and the journal would tell two faults.
#[test]
fn backslashes_are_told_as_they_are() {
    agree(&Rule::Prefix("\\c\\n\\0".into()), "nid7", "");
    agree(&Rule::Digits, "n\\nid", "");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn digits_are_the_same_at_boot(host in names()) {
        agree(&Rule::Digits, &host, "");
    }

    #[test]
    fn prefixes_are_the_same_at_boot(prefix in names(), rest in names(), whole in any::<bool>()) {
        let Ok(rule) = Rule::parse(&format!("prefix:{prefix}")) else { return Ok(()) };
        agree(&rule, &if whole { rest } else { format!("{prefix}{rest}") }, "");
    }

    #[test]
    fn maps_are_the_same_at_boot(
        lines in prop::collection::vec((names(), "[ \t]{0,2}", names(), " ?#?x?"), 0..5),
        which in 0usize..5,
        end in "\n?",
    ) {
        let host = lines.get(which).map_or("nid7", |line| line.0.as_str()).to_owned();
        let lines = lines.iter().map(|(name, space, number, rest)| format!("{name} {space}{number}{rest}"));
        let map = lines.collect::<Vec<_>>().join("\n") + &end;
        agree(&Rule::Map(String::new()), &host, &map);
    }

    /// A rule's text reaches the script as it is and changes nothing else in the unit.
    #[test]
    fn rules_stay_in_their_place(prefix in "\\PC{1,12}", path in "/\\PC{1,12}") {
        for rule in [format!("prefix:{prefix}"), format!("map:{path}")] {
            let Ok(rule) = Rule::parse(&rule) else { continue };
            let mut service = at_boot("prefix:x");
            let plain = settings(&files(&[service.clone()], &target(Kind::Podman)).unwrap()[0].text);
            service.numbers[0].rule = rule.clone();
            let Ok(files) = files(&[service], &target(Kind::Podman)) else { continue };
            let found = settings(&files[0].text);
            let names = |settings: &[crate::systemd::Setting]| -> Vec<String> {
                settings.iter().map(|s| s.name.clone()).filter(|n| n != "RequiresMountsFor").collect()
            };
            prop_assert_eq!(names(&found), names(&plain));
            let start = |settings: &[crate::systemd::Setting]| {
                let value = &settings.iter().find(|s| s.name == "ExecStart").unwrap().value;
                command(value, "").1
            };
            let (found, plain) = (start(&found), start(&plain));
            prop_assert_eq!(&found[..6], &plain[..6]);
            prop_assert_eq!(&found[6..8], &rule.words()[..]);
            prop_assert_eq!(&found[8..], &plain[8..]);
        }
    }
}

/// Every rule that a map can have a fault for, with the line it is in.
#[test]
fn faults_of_maps_are_the_same_at_boot() {
    for map in [
        "nid7 1\n",
        "nid7.example 0009 # new",
        "# only this\n\n",
        "nid7 1\nnid7.example 1\n",
        "nid7\n",
        "nid7 1 2\n",
        "other x\nnid7 1",
        "nid7 1\r\n",
        "nid7 18446744073709551616",
        "nid7 18446744073709551615\nother 99999999999999999999\n",
        "",
    ] {
        agree(&Rule::Map(String::new()), "nid7", map);
    }
    agree(&Rule::Map(String::new()), "", "nid7 1\n");
    assert!(SHELLS.len() >= 2, "{SHELLS:?}: there is more than one kind of sh");
}

/// The engine reads what the unit writes.
#[test]
fn the_container_gets_the_file() {
    let service = at_boot("hostname-digits");
    for engine in [Kind::Docker, Kind::Podman] {
        let unit = unit(&service, &target(engine));
        let settings = settings(&unit);
        let start = settings.iter().find(|s| s.name == "ExecStart").unwrap();
        let words: Vec<_> = words(&start.value).into_iter().flatten().collect();
        assert!(words.contains(&b"--env-file=/run/ldms/sampler.env".to_vec()));
        assert!(!unit.contains("--env="), "{unit}");
        for name in ["Requires", "After"] {
            let set = |s: &&crate::systemd::Setting| {
                s.name == name && s.value == "ldms-sampler-values.service"
            };
            assert!(settings.iter().any(|s| set(&s)), "{name}");
        }
    }
}
