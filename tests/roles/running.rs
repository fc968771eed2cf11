//! Companions and checks: what a profile may say of them, what becomes of it, and the units.

use std::fmt::Write as _;

use ldms_bundle::engine::Kind;
use ldms_bundle::profile::Profile;
use ldms_bundle::service::{Check, Service, check_together};
use ldms_bundle::unit::{OLDEST_SYSTEMD, Target};

use crate::kit::{files, host, service, target};
use crate::systemd::{command, settings, systemd_analyze, systemd_version};

/// A role with all of it.
const PROFILE: &str = r#"
summary = "Stores"
image = "ovishpc/ldms-agg"

[container]
network = "host"
pid = "{{ pid }}"
init = true
stop_timeout = 10

[[question]]
key = "port"
ask = "Port"
type = "port"
default = 411

[[question]]
key = "pid"
type = "choice"
default = "private"
choices = [{ value = "host", label = "a" }, { value = "private", label = "b" }]

[[question]]
key = "serve"
type = "bool"
default = true

[[check]]
tcp = "{{ port }}"

[[check]]
when = "port > 400"
http = "http://127.0.0.1:{{ port }}/login"

[[check]]
exec = ["ldms_ls", "-x", "sock", "-p", "{{ port }}"]

[[companion]]
name = "server"
when = "serve"
summary = "serves what is stored"
script = '''
# Its own comment stays.
[ -n "$DIRECTORY" ] || exit 1
exec server --at "100%"
'''
env = { DIRECTORY = "/etc/{{ service }}.json" }
after = ["rpcbind.socket", "rpcbind.service"]
one_per_host = true
"#;

fn store() -> Profile {
    Profile::parse("store", PROFILE).unwrap()
}

fn made(name: &str, sets: &[&str]) -> Service {
    service(name, &store(), &host(false), sets).unwrap()
}

#[test]
fn what_a_profile_says_is_decided() {
    let one = made("one", &["port=500"]);
    assert_eq!(
        one.checks,
        [
            Check::Running,
            Check::Tcp(500),
            Check::Http("http://127.0.0.1:500/login".into()),
            Check::Exec {
                container: "ldms-one".into(),
                command: ["ldms_ls", "-x", "sock", "-p", "500"].map(String::from).into(),
            },
        ]
    );
    let shown: Vec<String> = one.checks.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown[2..],
        ["answering at http://127.0.0.1:500/login", "`ldms_ls -x sock -p 500` well in it"]
    );
    let [companion] = &one.companions[..] else { panic!("{:?}", one.companions) };
    assert_eq!(companion.unit(), "ldms-one-server.service");
    assert_eq!(companion.env, [("DIRECTORY".to_owned(), "/etc/one.json".to_owned())]);
    assert_eq!(made("one", &["port=400", "serve=no"]).checks.len(), 3);
    assert!(made("one", &["serve=no"]).companions.is_empty());
}

#[test]
fn the_units_of_a_companion() {
    let services = [made("one", &[])];
    for engine in [Kind::Docker, Kind::Podman] {
        let all = files(&services, &target(engine)).unwrap();
        assert_eq!(all[1].name, "ldms-one-server.service");
        assert_eq!(all[1].wanted_by, ["ldms-one.service"]);
        insta::assert_snapshot!(format!("companion-{engine}"), all[1].text);
        // Through every quoting the script is what the profile says.
        let start = settings(&all[1].text).into_iter().find(|s| s.name == "ExecStart").unwrap();
        let (_, words) = command(&start.value, &all[1].name);
        assert_eq!(words.last().unwrap(), services[0].companions[0].script.trim());
        let now = Target { systemd: systemd_version(), ..target(engine) };
        let old = Target { systemd: OLDEST_SYSTEMD, cgroup_v2: false, ..target(engine) };
        for target in [now, old] {
            assert_eq!(systemd_analyze(&services, &target, "notice"), "");
        }
    }
}

#[test]
fn no_init_where_the_hosts_processes_are_seen() {
    assert!(made("one", &[]).init);
    assert!(!made("one", &["pid=host"]).init);
}

#[test]
fn companions_that_exclude_each_other() {
    let together = |services: &[Service]| check_together(services).unwrap_err().to_string();
    let one = made("one", &[]);
    assert_eq!(
        together(&[one.clone(), made("two", &["port=412"])]),
        "one and two both want server, which can be on a host only once"
    );
    check_together(&[one.clone(), made("two", &["port=412", "serve=no"])]).unwrap();
    assert_eq!(
        together(&[one, made("one-server", &["port=412", "serve=no"])]),
        "the service one-server and server of one would both be ldms-one-server.service"
    );
}

#[test]
fn mistakes_are_told_with_their_line() {
    let mistakes = [
        ("name = \"server\"", "name = \"Server\""),
        ("summary = \"serves", "summary = \"ser\\nves"),
        ("exec server --at \"100%\"", "server &"),
        ("exec server --at", "exec ser\\u0007ver --at"),
        ("\"/etc/{{ service }}.json\"", "\"{{ nothing }}\""),
        ("{ DIRECTORY =", "{ \"A-B\" ="),
        ("\"rpcbind.socket\"", "\"rpcbind\""),
        ("when = \"serve\"", "when = \"serv\""),
        ("one_per_host", "one_per_node"),
        ("tcp = \"{{ port }}\"", "tcp = \"{{ prt }}\""),
        ("tcp = \"{{ port }}\"", ""),
        ("tcp = \"{{ port }}\"", "tcp = \"1\"\nhttp = \"http://127.0.0.1:1/\""),
        ("[\"ldms_ls\", \"-x\", \"sock\", \"-p\", \"{{ port }}\"]", "[]"),
    ];
    let mut told = String::new();
    for (right, wrong) in mistakes {
        assert!(PROFILE.contains(right), "{right}");
        let text = PROFILE.replacen(right, wrong, 1).replace("\\u0007", "\u{7}");
        let error = Profile::parse("store", &text).unwrap_err();
        writeln!(told, "{error}").unwrap();
    }
    insta::assert_snapshot!("running-mistakes", told);
    for url in [
        "http://127.0.0.1:80",
        "http://10.0.0.1:80",
        "http://node1:80/",
        "http://127.0.0.1:0/",
        "http://127.0.0.1:80/a b",
    ] {
        let text = PROFILE.replace("http://127.0.0.1:{{ port }}/login", url);
        let profile = Profile::parse("store", &text).unwrap();
        let error = service("one", &profile, &host(false), &[]).unwrap_err();
        assert_eq!(error.what(), format!("the check '{url}' is not http://IPv4-ADDRESS:PORT/PATH"));
    }
}
