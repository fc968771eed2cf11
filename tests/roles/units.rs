//! Units of every role: their text, and systemd's own opinion of it.

use ldms_bundle::engine::Kind;
use ldms_bundle::profile::Profile;
use ldms_bundle::service::{Munge, Service, check_together};
use ldms_bundle::unit::{OLDEST_SYSTEMD, Target};

use crate::kit::{files, host, profile, service, target, unit};
use crate::systemd::{systemd_analyze, systemd_version};

const ENGINES: [Kind; 2] = [Kind::Docker, Kind::Podman];

/// Each way to munge, with the answers that lead there.
fn munge_modes() -> [(&'static str, &'static [&'static str]); 4] {
    [
        ("host", &[]),
        ("key", &["munge=key", "munge_key=/root/site.key"]),
        ("image-key", &["munge=image-key", "accept-insecure-munge-key=true"]),
        ("none", &["munge=none"]),
    ]
}

#[test]
fn text_for_each_engine_and_way_to_munge() {
    let profile = profile("sampler");
    for (mode, sets) in munge_modes() {
        let service = service("sampler", &profile, &host(true), sets).unwrap();
        for engine in ENGINES {
            insta::assert_snapshot!(format!("{engine}-{mode}"), unit(&service, &target(engine)));
        }
    }
}

/// The other roles, with everything that they can have.
#[test]
fn text_for_each_engine_and_role() {
    for (role, sets) in [
        ("aggregator", &["dsosd=yes", "args=-v INFO"][..]),
        ("maestro", &[]),
        ("ui", &["address=10.0.0.5", "port=8080", "args=--processes 4"]),
        ("grafana", &["address=10.0.0.5"]),
    ] {
        let service = service(role, &profile(role), &host(true), sets).unwrap();
        for engine in ENGINES {
            let mut files = files(std::slice::from_ref(&service), &target(engine)).unwrap();
            files.retain(|file| file.name.ends_with(".service"));
            let texts: Vec<String> = files.into_iter().map(|file| file.text).collect();
            insta::assert_snapshot!(format!("{engine}-{role}"), texts.join("\n"));
        }
    }
}

#[test]
fn text_for_old_hosts() {
    let profile = profile("sampler");
    let service = service("sampler", &profile, &host(true), &["args=-v INFO"]).unwrap();
    for engine in ENGINES {
        let old = Target { systemd: OLDEST_SYSTEMD, cgroup_v2: false, ..target(engine) };
        insta::assert_snapshot!(format!("{engine}-old"), unit(&service, &old));
    }
}

#[test]
fn target_and_slice() {
    let profile = profile("sampler");
    let service = service("sampler", &profile, &host(false), &[]).unwrap();
    let files = files(&[service], &target(Kind::Podman)).unwrap();
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["ldms-sampler.service", "ldms.target", "ldms.slice"]);
    insta::assert_snapshot!("target", files[1].text);
    insta::assert_snapshot!("slice", files[2].text);
    assert_eq!(files[1].wanted_by, ["multi-user.target"]);
    assert!(files[2].wanted_by.is_empty());
}

#[test]
fn enabled_for_what_could_stop_it() {
    let profile = profile("sampler");
    let wanted_by = |engine, munge| {
        let service = service("sampler", &profile, &host(munge), &[]).unwrap();
        files(&[service], &target(engine)).unwrap().remove(0).wanted_by
    };
    assert_eq!(wanted_by(Kind::Podman, false), ["ldms.target"]);
    let all = ["ldms.target", "docker.service", "munge.service"];
    assert_eq!(wanted_by(Kind::Docker, true), all);
}

/// The documented command lines of the sampler, flag by flag.
#[test]
fn documented_flags() {
    let profile = profile("sampler");
    let host = host(false);
    let image = crate::kit::image(&profile).reference();
    let arguments = |engine: Kind, sets: &[&str]| {
        let service = service("samp", &profile, &host, sets).unwrap();
        engine.run_arguments(&service).join(" ").replace(&image, "IMAGE")
    };
    let flags = "--name=ldms-samp --network=host --pid=host --privileged \
                 --env=COMPID=100 --env=COMPONENT_ID=100";
    let limits = " --ulimit=nofile=16384:16384";
    assert_eq!(
        arguments(Kind::Docker, &[]),
        format!("{flags} --stop-timeout=10{limits} IMAGE -x sock:411")
    );
    assert_eq!(
        arguments(Kind::Podman, &["munge=host", "args=-v INFO"]),
        format!(
            "{flags} --mount=type=bind,source=/run/munge,target=/run/munge,readonly \
             --stop-timeout=10 IMAGE -x sock:411 -a munge -v INFO"
        )
    );
    assert_eq!(
        arguments(Kind::Docker, &["munge=key", "munge_key=/k", "xprt=rdma", "port=10444"]),
        format!(
            "{flags} --mount=type=bind,source=/etc/ldms/munge/munge.key,\
             target=/etc/munge/munge.key,readonly --stop-timeout=10{limits} \
             --ulimit=memlock=-1:-1 IMAGE -x rdma:10444 -a munge"
        )
    );
    assert_eq!(
        arguments(
            Kind::Podman,
            &["network=bridge", "pid=private", "privileged=no", "compid=7", "samp.container=s7"]
        ),
        "--name=s7 --network=bridge --env=COMPID=7 --env=COMPONENT_ID=7 --stop-timeout=10 \
         IMAGE -x sock:411"
    );
}

/// Every unit passes systemd's own check: as written for this machine's systemd, and for the
/// oldest.
#[test]
fn systemd_accepts_every_unit() {
    let profile = profile("sampler");
    for (mode, sets) in munge_modes() {
        for engine in ENGINES {
            let mut one = service("sampler", &profile, &host(true), sets).unwrap();
            one.args.extend(["a b", ";", "100%", "$HOME", "\"'\\", "ä\n"].map(String::from));
            let mut two = service("second", &profile, &host(true), &["port=412"]).unwrap();
            two.order += 1;
            let services = [one, two];
            let now = Target { systemd: systemd_version(), ..target(engine) };
            accepts(&format!("{engine} {mode}"), &services, &now);
            let old = Target { systemd: OLDEST_SYSTEMD, cgroup_v2: false, ..target(engine) };
            accepts(&format!("{engine} {mode} old"), &services, &old);
        }
    }
}

#[test]
fn systemd_accepts_all_roles_together() {
    let roles = [
        ("sampler", &["configured_by=file"][..]),
        ("aggregator", &["port=412", "dsosd=yes"]),
        ("maestro", &[]),
        ("ui", &[]),
        ("grafana", &[]),
    ];
    let make = |(role, sets): (&str, &[&str])| service(role, &profile(role), &host(true), sets);
    let services: Vec<Service> = roles.into_iter().map(|role| make(role).unwrap()).collect();
    check_together(&services).unwrap();
    for engine in ENGINES {
        accepts(
            &format!("{engine}"),
            &services,
            &Target { systemd: systemd_version(), ..target(engine) },
        );
    }
}

fn accepts(case: &str, services: &[Service], target: &Target) {
    let said = systemd_analyze(services, target, "notice");
    assert_eq!(said, "", "{case}");
}

#[test]
fn start_in_order() {
    let text = |role: &str, order: u32| {
        let toml = format!(
            "summary = \"{role}\"\nimage = \"ovishpc/ldms-{role}\"\norder = {order}\n[container]\n"
        );
        Profile::parse(role, &toml).unwrap()
    };
    let (first, second) = (text("first", 10), text("second", 20));
    let host = host(false);
    let services = [
        service("b", &second, &host, &[]).unwrap(),
        service("a", &first, &host, &[]).unwrap(),
        service("c", &first, &host, &[]).unwrap(),
    ];
    let files = files(&services, &target(Kind::Docker)).unwrap();
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    let want = ["ldms-a.service", "ldms-c.service", "ldms-b.service", "ldms.target", "ldms.slice"];
    assert_eq!(names, want);
    assert!(files[2].text.contains("\nAfter=ldms-a.service ldms-c.service\n"));
    assert!(!files[0].text.contains("After=ldms-"));
}

#[test]
fn services_that_exclude_each_other() {
    let profile = profile("sampler");
    let host = host(false);
    let make = |name: &str, sets: &[&str]| service(name, &profile, &host, sets).unwrap();
    let one = make("one", &[]);
    let errors = [make("two", &[]), make("two", &["port=412", "container=ldms-one"])]
        .map(|two| check_together(&[one.clone(), two]).unwrap_err().to_string());
    assert_eq!(errors[0], "one and two both want port 411");
    assert_eq!(errors[1], "one and two both want the container ldms-one");
    check_together(&[one, make("two", &["port=412"])]).unwrap();

    let key = |name, port, uid| {
        let sets = ["munge=key", "munge_key=/k", port, uid];
        make(name, &sets)
    };
    let one = key("one", "port=1", "munge_uid=101");
    assert!(matches!(&one.munge, Munge::Key { source, .. } if source == "/k"));
    let two = key("two", "port=2", "munge_uid=102");
    let error = check_together(&[one.clone(), two]).unwrap_err().to_string();
    assert!(error.contains("/etc/ldms/munge/munge.key"), "{error}");
    check_together(&[one, key("two", "port=2", "munge_uid=101")]).unwrap();
}
