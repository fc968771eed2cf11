//! Every role on one host, with each engine: up with the files that the installer writes, each
//! stopped in a moment, and what they keep outliving their containers.

use crate::machine::{Kind, Machine, TRIXIE_DOCKER, TRIXIE_PODMAN};
use crate::node::{ask, ends, host, wait};
use crate::recovery::{keeps_its_order, survives_kills, survives_the_end_of_munge};

const ROLES: [&str; 5] = ["sampler", "aggregator", "maestro", "ui", "grafana"];

const INSTALL: &str = "/media/ldms/ldms-install --pubkey /media/keys/ldms.pub --yes \
    --role sampler,aggregator,maestro,ui,grafana --set aggregator.port=412 \
    --set maestro.aggregator_port=412 --set dsosd=yes --set admin_password=SESAME";

/// What a server of the host answers: status line, headers, body.
#[track_caller]
fn http(host: &Machine, port: u16, method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: nid00100\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    );
    host.write("/run/request", request.as_bytes());
    host.ok(&format!("exec 3<>/dev/tcp/127.0.0.1/{port}; cat /run/request >&3; timeout 10 cat <&3"))
}

/// The ui reaches what is stored. How often it was asked, which it keeps in its database.
fn queries(host: &Machine) -> u32 {
    let body = r#"{"targets": [{"container": "ldms"}]}"#;
    let answer = http(host, 80, "POST", "/grafana/query", "", body);
    assert!(answer.contains(r#""container": "/storage/ldms""#), "{answer}");
    assert!(answer.contains(r#""hosts": ["nid00100"]"#), "{answer}");
    let (_, count) = answer.split_once(r#""queries": "#).expect(&answer);
    count.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

fn admin(host: &Machine, credentials: &str) -> String {
    http(host, 3000, "GET", "/api/user", &format!("Authorization: Basic {credentials}\r\n"), "")
}

/// Each service does its work, which may take it a while after its start. How often the ui was
/// asked: once each time.
pub fn everything_works(host: &Machine) -> u32 {
    wait(
        host,
        60,
        "for r in sampler aggregator maestro ui grafana aggregator-dsosd; do
             systemctl is-active ldms-$r; done
         for port in 411 412 80 3000; do : </dev/tcp/127.0.0.1/$port; done",
    );
    // What a service has said since it was last started.
    let says = |role: &str, words: &str| {
        let run = format!("$(systemctl show -P InvocationID ldms-{role})");
        wait(host, 20, &format!("journalctl -b _SYSTEMD_INVOCATION_ID={run} | grep -F '{words}'"));
    };
    assert_eq!(ask(host, 411)["compid"], "100");
    let aggregator = ask(host, 412);
    assert_eq!((aggregator["compid"].as_str(), aggregator["init"].as_str()), ("100", "systemd"));
    // maestro has read the file that it was given: it visits both.
    for port in [411, 412] {
        says("maestro", &format!("nid00100:{port} compid=100"));
    }
    wait(host, 20, "systemctl is-active ldms-aggregator-dsosd; pidof dsosd");
    let health = http(host, 3000, "GET", "/api/health", "", "");
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    let plugin = http(host, 3000, "GET", "/api/plugins/dsosds", "", "");
    assert!(plugin.contains(r#""state":"loaded""#), "{plugin}");
    says("grafana", "HTTP Server Listen");
    // admin:SESAME, and the password that everybody knows.
    assert!(admin(host, "YWRtaW46U0VTQU1F").starts_with("HTTP/1.1 200"));
    assert!(admin(host, "YWRtaW46YWRtaW4=").starts_with("HTTP/1.1 401"));
    queries(host)
}

/// What the site edits stays, and the service that has it mounted is restarted by the next run; a
/// file of its own is checked before anything happens.
fn configuration_is_the_sites(host: &Machine) {
    let has = |text: &str, part: &str| assert!(text.contains(part), "no {part:?} in:\n{text}");
    let started = |role: &str| {
        let unit = format!("ldms-{role}");
        host.ok(&format!("systemctl show --value -p ExecMainStartTimestampMonotonic {unit}"))
    };
    let file = "/etc/ldms/maestro/ldms_cfg.yaml";
    let (maestro, sampler) = (started("maestro"), started("sampler"));
    host.ok(&format!("echo '# our own' >>{file}"));
    has(&host.ok("ldms-install status"), &format!("changed {file} since it was started"));
    let run = host.ok("cd /media/ldms && ldms-install --yes 2>&1");
    has(&run, "restart  ldms-maestro.service");
    has(&run, &format!("{file} was edited here and is kept"));
    assert_ne!(started("maestro"), maestro);
    assert_eq!(started("sampler"), sampler);
    host.ok("podman exec ldms-maestro grep -q 'our own' /etc/ldms_cfg.yaml ||
             docker exec ldms-maestro grep -q 'our own' /etc/ldms_cfg.yaml");
    let unchanged = || {
        let again = host.ok("cd /media/ldms && ldms-install --json");
        has(&again, r#""changed": false"#);
    };
    unchanged();
    assert!(!host.ok("ldms-install status").contains("changed"));

    host.write("/root/own.yaml", b"daemons: [\n");
    let broken = "cd /media/ldms && ldms-install --yes --set maestro.ldms_cfg=/root/own.yaml";
    let broken = ends(host, 2, broken);
    has(&broken.stderr, "/root/own.yaml: it is not YAML");
    unchanged();
    // Back to what the installer writes: the edited file is in the way only until it is gone.
    host.ok(&format!("rm {file} && cd /media/ldms && ldms-install --yes"));
}

fn every_role(kind: Kind) {
    let host = host(kind, "nid00100").boot();
    let said = host.ok(&format!("{INSTALL} 2>&1"));
    for line in [
        "http://nid00100:3000/",
        "ssh -L 127.0.0.1:3000:127.0.0.1:3000 LOGIN_NODE",
        "ssh -L 127.0.0.1:3000:127.0.0.1:3000 nid00100",
        "ssh -L 127.0.0.1:8080:127.0.0.1:80 nid00100",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    assert_eq!(everything_works(&host), 1);
    http(&host, 3000, "POST", "/api/dashboards/db", "", r#"{"uid":"kept"}"#);
    host.ok("echo collected > /var/lib/ldms/aggregator/set");

    // Secrets are in their files and nowhere else: not in units, the record, the journals of services.
    let secret = host.ok("cat /etc/ldms/ui/secret-key");
    assert!(secret.trim().len() >= 50, "{secret}");
    for secret in ["SESAME", secret.trim()] {
        let found = host.run(&format!(
            "grep -rlF -e '{secret}' /etc /var/lib/ldms-install; journalctl -b -u 'ldms*' | grep -F '{secret}'"
        ));
        let files: Vec<&str> = found.stdout.lines().collect();
        assert!(
            matches!(files[..], ["/etc/ldms/grafana/admin-password" | "/etc/ldms/ui/secret-key"]),
            "{files:?}"
        );
    }

    configuration_is_the_sites(&host);

    // Each stops in a moment, though the entries of two are deaf to SIGTERM.
    for role in ROLES.iter().rev() {
        let script = format!(
            "t=$(date +%s%N); systemctl stop ldms-{role}; echo $((($(date +%s%N) - t) / 1000000))"
        );
        let took: u64 = host.ok(&script).trim().parse().unwrap();
        assert!(took < 2000, "{role} took {took} ms to stop");
    }
    assert_eq!(host.ok("systemctl list-units --no-legend --state=active 'ldms-*'"), "");
    host.ok("systemctl start ldms.target");
    keeps_its_order(&host);
    survives_kills(&host, kind.engine);
    survives_the_end_of_munge(&host);
    let asked = everything_works(&host);

    // What they keep outlives them.
    let gone = host.ok("ldms-install uninstall --yes 2>&1");
    let stays = "/etc/ldms/grafana/admin-password stays with the data that was made with it";
    assert!(gone.contains(stays), "{gone}");
    host.ok(&INSTALL.replace("--set admin_password=SESAME", ""));
    assert_eq!(everything_works(&host), asked + 1);
    assert!(http(&host, 3000, "GET", "/api/search", "", "").contains("kept"));
    assert_eq!(host.ok("cat /var/lib/ldms/aggregator/set"), "collected\n");
}

#[test]
fn every_role_in_podman() {
    every_role(TRIXIE_PODMAN);
}

#[test]
fn every_role_in_docker() {
    every_role(TRIXIE_DOCKER);
}

fn two_aggregators(kind: Kind) {
    let host = host(kind, "nid00100").boot();
    let install = "/media/ldms/ldms-install --pubkey /media/keys/ldms.pub --yes \
                   --role agg1=aggregator --role agg2=aggregator";
    let refused = host.run(install);
    assert_eq!(refused.status, 2, "{}", refused.stderr);
    assert!(refused.stderr.contains("agg1 and agg2 both want port 411"), "{}", refused.stderr);
    host.ok(&format!(
        "{install} --set agg2.port=412 --set agg2.storage=/srv/second \
         --set agg2.storage_mode=0750 --set agg2.configured_by=file --set agg2.samplers=nid00007"
    ));
    for (port, config) in [(411, "-"), (412, "# What this ldmsd fetches and keeps")] {
        let answer = ask(&host, port);
        assert!(answer["config"].starts_with(config), "{answer:?}");
    }
    let mode = "stat --format '%a %u:%g' /var/lib/ldms/agg1 /srv/second";
    assert_eq!(host.ok(mode), "755 0:0\n750 0:0\n");
    host.ok("grep -q '^prdcr_add name=nid00007 ' /etc/ldms/agg2/ldmsd.conf");
}

#[test]
fn two_aggregators_and_one_with_a_file_in_place_of_maestro_in_podman() {
    two_aggregators(TRIXIE_PODMAN);
}

#[test]
fn two_aggregators_and_one_with_a_file_in_place_of_maestro_in_docker() {
    two_aggregators(TRIXIE_DOCKER);
}
