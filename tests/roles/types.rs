//! Answers with which the real programs would fail are refused when they are given, with the
//! reason; and what is accepted reaches the programs in the form they read.

use ldms_bundle::engine::Kind;
use ldms_bundle::error::Kind as Fault;
use ldms_bundle::profile::Profile;

use crate::kit::{host, profile, service, settle_with, target, unit};

#[test]
fn what_the_real_programs_fail_with_is_refused() {
    for (role, sets, why) in [
        ("grafana", &["port=443"][..], "--set grafana.port=443: it is a number from 1024 on"),
        ("grafana", &["address=head"], "it is an IPv4 or IPv6 address"),
        ("grafana", &["address=[::1]"], "it is an IPv4 or IPv6 address"),
        ("ui", &["address=10.0.0.1:80"], "it is an IPv4 or IPv6 address"),
        ("maestro", &["interval=1"], "and a unit (us ms s m h d)"),
        ("maestro", &["plugins="], "--set maestro.plugins=: it needs at least one"),
        ("maestro", &["plugins=vmstat meminfo vmstat"], "'vmstat' is there twice"),
        ("maestro", &["plugins=''"], "one of its words is empty"),
        ("sampler", &["configured_by=file", "interval=1sec"], "and a unit (us ms s m h d)"),
        ("sampler", &["configured_by=file", "plugins="], "it needs at least one"),
        ("aggregator", &["configured_by=file", "samplers=n1", "schemas="], "at least one"),
        ("aggregator", &["configured_by=file"], "aggregator.samplers (Hosts to fetch from"),
        ("maestro", &["samplers="], "it needs at least one"),
        ("maestro", &["samplers=nid[1-"], "'nid[1-': a bracket is opened and not closed"),
        ("maestro", &["aggregators=a b/c"], "'b/c': '/' is not part of a host's name"),
        ("maestro", &["samplers=n[1-3] n2"], "n2 is named twice"),
        ("ui", &["dsosd_hosts=n[1-200000]"], "it stands for more than 100000 hosts"),
    ] {
        let error = settle_with(role, &profile(role), &host(true), sets).unwrap_err();
        assert_eq!(error.kind(), Fault::Usage);
        assert!(error.to_string().contains(why), "{role} {sets:?}: {error}");
    }
    let plain = ["configured_by=file", "samplers=n1", "store=none"];
    settle_with("aggregator", &profile("aggregator"), &host(true), &plain).unwrap();
}

/// An IPv6 address stands in brackets before a port, and alone where it is one of its own.
#[test]
fn addresses_of_both_families() {
    for role in ["ui", "grafana"] {
        for (name, address) in [("v4", "10.0.0.1"), ("v6", "0:0::1")] {
            let set = format!("address={address}");
            let service = service(role, &profile(role), &host(true), &[&set]).unwrap();
            let checks: Vec<String> = service.checks.iter().map(ToString::to_string).collect();
            let text = format!(
                "{}\n{}\n{}",
                unit(&service, &target(Kind::Docker)),
                service.notice.as_deref().unwrap_or_default(),
                checks.join("\n")
            );
            insta::assert_snapshot!(format!("{role}-{name}"), text);
        }
    }
}

/// What is shown with a question speaks of this service, whatever it is called.
#[test]
fn help_knows_the_service() {
    use ldms_bundle::profile::template::Scope;
    for role in ["sampler", "aggregator", "maestro", "ui", "grafana"] {
        let scope = Scope::from([("service".to_owned(), "board".into())]);
        for question in profile(role).questions.iter().filter(|q| q.ask.is_some()) {
            let help = question.help(&scope).unwrap().unwrap_or_default();
            assert!(!help.contains("SERVICE"), "{role}: {help}");
            if question.key.get_ref() == "admin_password" {
                assert!(help.contains("/etc/ldms/board/admin-password"), "{help}");
            }
        }
    }
}

/// No mount may take the place of what the image needs, whoever asks for it.
#[test]
fn no_mount_hides_the_image() {
    for (target, why) in [
        ("/", "it would hide all of the image"),
        ("/usr", "it would hide /usr of the image"),
        ("/opt/ovis", "it would hide /opt/ovis of the image"),
        ("/var", "answer munge alone"),
        ("/run/munge", "answer munge alone"),
        ("/etc/munge/munge.key", "answer munge alone"),
    ] {
        let set = format!("storage_target={target}");
        let aggregator = service("agg", &profile("aggregator"), &host(true), &[&set]);
        let head = "summary = \"T\"\nimage = \"a/b\"\n[container]\n";
        let rule = |table: &str, source: &str, rest: &str| {
            let text =
                format!("{head}[[{table}]]\n{source} = \"/k\"\ntarget = \"{target}\"\n{rest}");
            service("t", &Profile::parse("t", &text).unwrap(), &host(true), &[])
        };
        let key = "key = \"k\"\n";
        let config = format!("{key}template = \"grafana.ini\"\nformat = \"ini\"\n");
        for decided in [
            aggregator,
            rule("mount", "source", ""),
            rule("data", "source", ""),
            rule("secret", "file", key),
            rule("config", "file", &config),
        ] {
            let error = decided.unwrap_err();
            assert_eq!(error.kind(), Fault::Usage);
            assert!(error.to_string().contains(why), "{target}: {error}");
        }
    }
}
