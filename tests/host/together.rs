//! All roles on one host, with both engines: each works, each keeps its data and its secrets, and
//! its configuration is the site's.

use crate::machine::{Kind, Machine, TRIXIE_DOCKER, TRIXIE_PODMAN};
use crate::node::{ask, ends, host, wait};

const INSTALL: &str = "/media/ldms/ldms-install --pubkey /media/keys/ldms.pub --yes";
const ROLES: &str = "--role sampler,agg1=aggregator,agg2=aggregator --role maestro,ui,grafana \
                     --set agg1.port=412 --set agg1.dsosd=yes --set agg2.port=413 --set ui.port=8080";

/// What came back from an address of the host, with its status in the last line.
fn get(host: &Machine, url: &str, options: &str) -> String {
    host.ok(&format!("curl -s -w '\\n%{{http_code}}' {options} http://127.0.0.1:{url}"))
}

#[track_caller]
fn has(text: &str, part: &str) {
    assert!(text.contains(part), "no {part:?} in:\n{text}");
}

/// Every role does its work.
#[track_caller]
fn all_work(host: &Machine, engine: &str) {
    assert_eq!(ask(host, 411)["compid"], "100");
    for (port, args) in [(412, "-x sock:412 -a munge"), (413, "-x sock:413 -a munge")] {
        assert_eq!(ask(host, port)["args"], args);
    }
    host.ok(&format!("{engine} exec ldms-maestro /health-check.sh"));
    wait(host, 20, "journalctl -b -o cat -u ldms-agg1-dsosd | grep -q registered");
    has(&get(host, "3000/api/plugins/dsosds", ""), r#""state":"loaded""#);
    let query = r#"-d '{"targets": [{"container": "cont"}]}'"#;
    has(&get(host, "8080/grafana/query", query), r#""container": "/storage/cont""#);
    let units = host.ok("systemctl list-units --no-legend --state=active 'ldms-*.service'");
    assert_eq!(units.lines().count(), 7, "{units}");
}

/// The password that was made is grafana's, and stands in its own file and nowhere else.
#[track_caller]
fn password_is_kept(host: &Machine, said: &str) -> String {
    let file = "/etc/ldms/grafana/admin-password";
    assert_eq!(host.ok(&format!("stat -c '%a %u:%g' {file}")), "400 472:0\n");
    let password = host.ok(&format!("cat {file}"));
    assert!(password.len() >= 16 && !said.contains(&password), "{said}");
    has(&get(host, "3000/api/user", &format!("-u admin:{password}")), "\n200");
    has(&get(host, "3000/api/user", "-u admin:admin"), "\n401");
    let elsewhere = format!(
        "journalctl -b | grep -cF -e '{password}'; \
         grep -rlF -e '{password}' /etc /var/lib/ldms-install /run/systemd || true"
    );
    assert_eq!(host.run(&elsewhere).stdout, format!("0\n{file}\n"));
    password
}

/// A file that the site edits is the site's; its service is restarted by the next run.
fn configuration_is_the_sites(host: &Machine) {
    let file = "/etc/ldms/maestro/ldms_cfg.yaml";
    let started = |unit: &str| {
        host.ok(&format!("systemctl show --value -p ExecMainStartTimestampMonotonic {unit}"))
    };
    let (maestro, sampler) = (started("ldms-maestro"), started("ldms-sampler"));
    host.ok(&format!("echo '# our own' >>{file}"));
    has(&host.ok("ldms-install status"), &format!("changed {file} since it was started"));
    has(&host.ok("ldms-install status --json"), &format!(r#""changed_files": ["#));
    let run = host.ok(&format!("{INSTALL} 2>&1"));
    has(&run, "restart  ldms-maestro.service");
    has(&run, &format!("{file} was edited here and is kept"));
    assert_ne!(started("ldms-maestro"), maestro);
    assert_eq!(started("ldms-sampler"), sampler);
    has(&host.ok(&format!("cat {file}")), "# our own");
    assert!(!host.ok("ldms-install status").contains("changed"));
    has(&host.ok(&format!("{INSTALL} --json")), r#""changed": false"#);

    // One's own file is checked before anything happens.
    host.write("/root/own.yaml", b"daemons: [\n");
    let bad = ends(host, 2, &format!("{INSTALL} --set maestro.ldms_cfg=/root/own.yaml"));
    has(&bad.stderr, "/root/own.yaml: it is not YAML");
    has(&host.ok(&format!("{INSTALL} --json")), r#""changed": false"#);
}

fn all_roles(kind: Kind, engine: &str) {
    let host = host(kind, "nid00100").boot();
    let twice = ends(&host, 2, &format!("{INSTALL} {ROLES} --set agg2.port=412"));
    has(&twice.stderr, "agg1 and agg2 both want port 412");
    let done = host.ok(&format!("{INSTALL} {ROLES} 2>&1"));
    // Where it is, and both hops to it.
    has(&done, "http://nid00100:3000");
    has(&done, "ssh -L 127.0.0.1:3000:127.0.0.1:3000 LOGIN_NODE");
    has(&done, "ssh -L 127.0.0.1:3000:127.0.0.1:3000 nid00100");
    all_work(&host, engine);
    let password = password_is_kept(&host, &done);
    configuration_is_the_sites(&host);

    let inside = "ldms-install shell agg1 -- ldms_ls -x sock -p 412 -h localhost -a munge";
    has(&host.ok(inside), "args=-x sock:412 -a munge");
    assert_eq!(host.run("ldms-install shell sampler -- sh -c 'exit 7'").status, 7);

    // Data outlives the services, and a second installation finds it.
    let dashboard = r#"-d '{"dashboard": "ours"}'"#;
    has(&get(&host, "3000/api/dashboards/db", dashboard), "success");
    host.ok("echo kept >/var/lib/ldms/agg1/file");
    host.ok("ldms-install uninstall --yes");
    let left = host.ok("systemctl list-unit-files --no-legend 'ldms*' | wc -l; ls /var/lib/ldms");
    assert_eq!(left, "0\nagg1\ngrafana\nui\n");
    host.write("/root/password", password.as_bytes());
    host.ok(&format!("{INSTALL} {ROLES} 2>&1"));
    all_work(&host, engine);
    has(&get(&host, "3000/api/search", ""), "ours");
    has(&get(&host, "3000/api/user", &format!("-u admin:{password}")), "\n200");
    let query = r#"-d '{"targets": [{"container": "cont"}]}'"#;
    let asked = get(&host, "8080/grafana/query", query);
    assert!(!asked.contains(r#""queries": 1,"#), "{asked}");
    assert_eq!(host.ok(&format!("{engine} exec ldms-agg1 cat /storage/file")), "kept\n");
}

#[test]
fn all_roles_with_podman() {
    all_roles(TRIXIE_PODMAN, "podman");
}

#[test]
fn all_roles_with_docker() {
    all_roles(TRIXIE_DOCKER, "docker");
}
