//! The configuration files that roles get from the bundle's templates: their text, and that no
//! answer leaves its place in it.

use std::process::Command;

use ldms_bundle::answers::Host;
use ldms_bundle::service::{Service, Source};

use crate::kit::{profile, service};

fn host() -> Host {
    let names = vec!["head".into(), "head.cluster7".into()];
    Host { name: "head".into(), names, ..crate::kit::host(true) }
}

/// The text of a file of a service, by the last part of its path.
fn text(service: &Service, name: &str) -> String {
    let file = service.files.iter().find(|file| file.path.ends_with(&format!("/{name}"))).unwrap();
    match &file.source {
        Source::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    }
}

fn made(role: &str, sets: &[&str], name: &str) -> String {
    text(&service(role, &profile(role), &host(), sets).unwrap(), name)
}

#[test]
fn files_as_templates_give_them() {
    for (snapshot, role, sets, name) in [
        (
            "ldms_cfg",
            "maestro",
            &["samplers=nid[1-4,07] login", "aggregators=agg[1,3]"][..],
            "ldms_cfg.yaml",
        ),
        ("ldms_cfg-plain", "maestro", &["munge=none", "store=none"], "ldms_cfg.yaml"),
        (
            "ldms_cfg-newer",
            "maestro",
            &["dialect=4.5", "samplers=n[1-4,07],login", "aggregators=agg[1,2]", "store=csv"],
            "ldms_cfg.yaml",
        ),
        ("dsosd-json", "aggregator", &["dsosd=yes", "compid=1"], "dsosd.json"),
        (
            "aggregator-conf",
            "aggregator",
            &["configured_by=file", "samplers=nid[09-10],login", "compid=1"],
            "ldmsd.conf",
        ),
        ("sampler-conf", "sampler", &["configured_by=file", "compid=1"], "ldmsd.conf"),
        ("dsosd-conf", "ui", &["dsosd_hosts=agg[1-2] head"], "dsosd.conf"),
        ("settings", "ui", &["address=10.0.0.5"], "settings.py"),
        ("grafana-ini", "grafana", &[], "grafana.ini"),
    ] {
        insta::assert_snapshot!(snapshot, made(role, sets, name));
    }
}

/// What an answer may hold that means something to YAML, JSON or Python comes back as it went in.
#[test]
fn answers_come_back_from_the_formats_own_readers() {
    let nasty = r#"a"b':[c]\#{{x}}%d"#;
    let quoted = shell_words::quote(nasty);
    let json = made(
        "aggregator",
        &["dsosd=yes", "compid=1", &format!("store_container={nasty}")],
        "dsosd.json",
    );
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    for name in ["head", "head.cluster7"] {
        assert_eq!(json[name][nasty], format!("/storage/{nasty}"));
    }

    let settings = made("ui", &[&format!("allowed_hosts={quoted} b")], "settings.py");
    let program = "import ast, sys\n\
                   for line in ast.parse(sys.argv[1]).body:\n    \
                       if getattr(getattr(line, 'targets', [0])[0], 'id', '') == 'ALLOWED_HOSTS':\n        \
                           print(ast.literal_eval(line.value.left)[0])";
    let output = Command::new("python3").args(["-c", program, &settings]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), nasty, "{output:?}");
}

#[test]
fn secrets_are_in_no_file_from_a_template() {
    let service = service("ui", &profile("ui"), &host(), &["secret_key=SESAME"]).unwrap();
    for file in &service.files {
        if let Source::Text(text) = &file.source {
            assert!(!text.contains("SESAME"), "{}", file.path);
        }
    }
    let unit = crate::kit::unit(&service, &crate::kit::target(ldms_bundle::engine::Kind::Podman));
    assert!(!unit.contains("SESAME"));
}
