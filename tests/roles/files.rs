//! Configuration, secrets and data: what a profile says about files, as a service has it.

use ldms_bundle::answers::{Never, Sources, settle};
use ldms_bundle::profile::Profile;
use ldms_bundle::root::Attr;
use ldms_bundle::service::{DataDir, Service, Source};

use crate::kit::{host, image, profile, service, settle_with, wanted};

const PROFILE: &str = r#"
summary = "Keeps things"
image = "site/keeper"
notice = "{{ service }} listens on http://{{ host.name }}:{{ port }}/"

[container]

[[question]]
key = "port"
ask = "Port"
type = "port"
default = 80

[[question]]
key = "where"
ask = "Directory on the host"
type = "path"
optional = true

[[config]]
key = "settings"
template = "keeper.yaml"
format = "yaml"
file = "/etc/ldms/{{ service }}/keeper.yaml"
target = "/etc/keeper.yaml"
writable = "{{ port == 81 }}"

[[secret]]
key = "password"
ask = "Password of the keeper"
file = "/etc/ldms/{{ service }}/password"
target = "/run/ldms/password"
uid = "472"
mode = "0400"

[[data]]
when = "where is not none"
source = "{{ where }}"
target = "/data"
uid = "472"
gid = "0"
mode = "0750"
"#;

fn decided(sets: &[&str]) -> Service {
    let profile = Profile::parse("keeper", PROFILE).unwrap();
    let host = host(false);
    let settled = settle_with("kept", &profile, &host, sets).unwrap();
    let templates = [("config/keeper.yaml".to_owned(), "port: {{ port }}\n".to_owned())].into();
    let wanted = wanted("kept", &profile);
    Service::decide(&wanted, &settled.values["kept"], &host, &image(&profile), &templates).unwrap()
}

fn mounts(service: &Service) -> Vec<String> {
    let mount = |m: &ldms_bundle::service::Mount| {
        format!("{}:{}{}", m.source, m.target, if m.read_only { ":ro" } else { "" })
    };
    service.mounts.iter().map(mount).collect()
}

#[test]
fn files_come_from_templates_and_answers() {
    let service = decided(&["port=8080", "where=/srv/kept"]);
    assert_eq!(service.files[0].path, "/etc/ldms/kept/keeper.yaml");
    assert_eq!(service.files[0].source, Source::Text("port: 8080\n".into()));
    assert_eq!(service.files[0].attr, Attr::root(0o644));
    assert_eq!(service.files[1].source, Source::Random(32));
    assert_eq!(service.files[1].attr, Attr { mode: 0o400, uid: 472, gid: 0 });
    let attr = Attr { mode: 0o750, uid: 472, gid: 0 };
    assert_eq!(service.data, [DataDir { path: "/srv/kept".into(), attr }]);
    assert_eq!(
        mounts(&service),
        [
            "/etc/ldms/kept/keeper.yaml:/etc/keeper.yaml:ro",
            "/etc/ldms/kept/password:/run/ldms/password:ro",
            "/srv/kept:/data",
        ]
    );
    assert_eq!(service.notice.unwrap(), "kept listens on http://nid00100.cluster7:8080/");
}

#[test]
fn what_is_optional_may_stay_away() {
    let service = decided(&["port=81", "settings=/root/mine.yaml"]);
    assert!(service.data.is_empty());
    assert!(matches!(&service.files[0].source, Source::Site(path) if path == "/root/mine.yaml"));
    assert!(mounts(&service).contains(&"/etc/ldms/kept/keeper.yaml:/etc/keeper.yaml".to_owned()));
}

#[test]
fn secrets_are_neither_recorded_nor_shown() {
    let profile = Profile::parse("keeper", PROFILE).unwrap();
    let sources = Sources::new().set("password=hunter2-and-more").unwrap();
    let wanted = [wanted("kept", &profile)];
    let settled = settle(&wanted, &sources, &host(false), &mut Never).unwrap();
    assert!(!settled.answers.to_toml().unwrap().contains("hunter2"));
    let service = decided(&["password=hunter2-and-more"]);
    assert_eq!(service.files[1].source, Source::Given("hunter2-and-more".into()));
    assert!(!format!("{service:?}").contains("hunter2"));
}

#[test]
fn what_an_answer_decides_is_not_among_further_words() {
    let profile = profile("sampler");
    let error = service("samp", &profile, &host(false), &["munge=none", "args=-a munge"]);
    let error = error.unwrap_err();
    assert!(error.to_string().contains("'-a' is for the answer munge to decide"), "{error}");
    assert!(error.next_step().unwrap().contains("--set samp.munge="), "{error}");
    service("samp", &profile, &host(false), &["munge=none", "args=-v INFO"]).unwrap();
}
