//! What happens to services that run: the order in which they come and go, how fast they stop,
//! and that they are back after whatever ended them. With both engines, on one boot each.
//!
//! The roles are the tests' own (`profiles/`): an aggregator with a companion, and a program that
//! ignores SIGTERM as process 1.

use crate::machine::{Kind, Machine, TRIXIE_DOCKER, TRIXIE_PODMAN};
use crate::medium::Medium;
use crate::node::{ends, wait};

const INSTALL: &str = "/media/ldms/ldms-install --pubkey /media/keys/ldms.pub --yes";
/// The services with their companions.
const UNITS: [&str; 3] = ["ldms-agg", "ldms-agg-dsosd", "ldms-conductor"];

/// Each of them works.
const WORK: &str = "
    exec 3<>/dev/tcp/127.0.0.1/411; echo auth=none >&3; grep -q ^hostname= <&3
    for unit in ldms-agg ldms-agg-dsosd ldms-conductor; do systemctl is-active -q $unit; done
    ENGINE exec ldms-agg rpcinfo -p 127.0.0.1 | grep -q 536871953
    ENGINE exec ldms-conductor /health-check.sh";

struct Node {
    host: Machine,
    engine: &'static str,
}

impl Node {
    fn boot(kind: Kind, engine: &'static str) -> Self {
        let medium = Medium::with_test_profiles();
        let host = kind.host().hostname("nid00100").bind_ro(&medium.dir, "/media/ldms");
        let host = host.bind_ro(&medium.keys, "/media/keys").boot();
        host.write("/etc/dsosd.json", b"{\"nid00100\": {}}\n");
        Node { host, engine }
    }

    fn ok(&self, bash: &str) -> String {
        self.host.ok(&bash.replace("ENGINE", self.engine))
    }

    #[track_caller]
    fn wait_until_all_work(&self) {
        wait(&self.host, 60, &WORK.replace("ENGINE", self.engine));
    }

    /// The process of the container's own, or of the companion's, program.
    fn process(&self, name: &str) -> String {
        self.ok(&format!("pgrep -x {name}")).trim().to_owned()
    }

    /// A property of a unit, as a number: a time in microseconds.
    fn number(&self, unit: &str, property: &str) -> u64 {
        let text = self.ok(&format!("systemctl show --value -p {property} {unit}"));
        text.trim().parse().unwrap()
    }

    /// After this everything works again, in a new container where `ended` was the old one's.
    #[track_caller]
    fn survives(&self, what: &str) {
        let [ldmsd, dsosd] = ["ldmsd", "dsosd"].map(|name| self.process(name));
        self.ok(what);
        wait(&self.host, 60, &format!("! kill -0 {ldmsd}"));
        wait(&self.host, 60, &format!("! kill -0 {dsosd}"));
        self.wait_until_all_work();
        assert_eq!(self.process("dsosd").lines().count(), 1, "{what}");
    }
}

fn come_and_go(node: &Node) {
    let Node { host, .. } = node;
    // One order to start, and the other way round to stop.
    let times = |property: &str| UNITS.map(|unit| node.number(unit, property));
    let [agg, dsosd, conductor] = times("ExecMainStartTimestampMonotonic");
    assert!(agg < dsosd && agg < conductor, "{agg} {dsosd} {conductor}");
    node.ok("systemctl stop ldms.target");
    wait(host, 20, "test $(systemctl show --value -p ActiveState ldms-agg) = inactive");
    let [agg, dsosd, conductor] = times("InactiveEnterTimestampMonotonic");
    assert!(dsosd < agg && conductor < agg, "{agg} {dsosd} {conductor}");
    assert_eq!(host.ok("systemctl --failed --no-legend"), "");
    assert_eq!(host.ok("pgrep -x 'ldmsd|dsosd|etcd|maestro|rpcbind' || true"), "");
    node.ok("systemctl start ldms.target");
    node.wait_until_all_work();

    // A stop takes a moment: with an init also where process 1 would ignore it.
    for unit in ["ldms-agg-dsosd", "ldms-conductor", "ldms-agg"] {
        let begun = std::time::Instant::now();
        node.ok(&format!("systemctl stop {unit}"));
        let took = begun.elapsed().as_secs_f32();
        println!("{unit} stopped in {took:.2} s");
        assert!(took < 2.0, "{unit} took {took} s to stop");
    }
    node.ok("systemctl start ldms.target");
    node.wait_until_all_work();
}

/// A companion is told by its process id, and that by its start time, never by its name.
fn companion(node: &Node) {
    let Node { host, engine } = node;
    // Another dsosd, of the host's own.
    host.ok("cp /bin/sleep /usr/local/bin/dsosd; setsid dsosd 9999 >/dev/null 2>&1 & ");
    wait(host, 5, "test $(pgrep -cx dsosd) = 2");
    let other = host.ok("pgrep -fx 'dsosd 9999'").trim().to_owned();
    let file = "/run/ldms-dsosd.process";
    let ours = || {
        let noted = node.ok(&format!("ENGINE exec ldms-agg cat {file}"));
        noted.split(' ').next().unwrap().to_owned()
    };
    let first = ours();
    assert_eq!(host.ok(&format!("cat /proc/{first}/comm")), "dsosd\n");
    host.ok("systemctl stop ldms-agg-dsosd");
    assert_eq!(node.process("dsosd"), other);
    host.ok("systemctl is-active ldms-agg && systemctl start ldms-agg-dsosd");
    node.wait_until_all_work();
    // rpcbind holds port 111 since the first start, so that none was started again.
    assert_eq!(node.process("rpcbind").lines().count(), 1);

    // Ending the engine's client does not end what it has started: the next start does.
    let second = ours();
    host.ok("systemctl kill -s KILL --kill-whom=main ldms-agg-dsosd");
    wait(host, 20, &format!("! kill -0 {second}"));
    node.wait_until_all_work();
    assert_eq!(node.process("dsosd").lines().count(), 2);

    // The noted id is somebody else's now: nothing is done to them.
    let third = ours();
    let exec = format!("{engine} exec ldms-agg sh -c");
    host.ok(&format!("{exec} 'echo {other} 1 >{file}'; systemctl stop ldms-agg-dsosd"));
    assert!(host.ok("pgrep -x dsosd").lines().any(|process| process == other));
    host.ok(&format!("kill {other}; kill {third} 2>/dev/null || true"));
    host.ok("rm /usr/local/bin/dsosd; systemctl start ldms-agg-dsosd");
    node.wait_until_all_work();
    let log = host.ok("journalctl -b -o cat -u ldms-agg-dsosd");
    assert!(log.contains("registered, directory /etc/dsosd.json"), "{log}");
}

/// What cannot be is refused before anything happens, with who is in the way.
fn refusals(node: &Node) {
    let Node { host, engine } = node;
    let twice = ends(host, 2, &format!("{INSTALL} --role b=store --set b.port=412"));
    assert!(twice.stderr.contains("agg and b both want dsosd"), "{}", twice.stderr);
    let port = format!("{INSTALL} --role b=store --set b.dsosd=no");
    let port = ends(host, 2, &port);
    assert!(port.stderr.contains("agg and b both want port 411"), "{}", port.stderr);

    host.ok("ldms-install uninstall --yes");
    host.ok("setsid systemd-socket-activate --accept -l 127.0.0.1:2380 cat >/dev/null 2>&1 &");
    wait(host, 5, "exec 3<>/dev/tcp/127.0.0.1/2380");
    for dry in ["", "--dry-run"] {
        let taken = ends(host, 4, &format!("{INSTALL} --role conductor {dry}"));
        assert!(taken.stderr.contains("port 2380 of 'conductor' by "), "{}", taken.stderr);
    }

    // Without its init program the engine could not start it: it is run without, and said.
    host.ok(
        "for init in $(find /usr -name docker-init -o -name catatonit); do mv $init /root; done",
    );
    let plan = node.ok("/media/ldms/ldms-install --pubkey /media/keys/ldms.pub --yes --no-start \
                        --role conductor 2>&1");
    assert!(plan.contains(&format!("{engine} has no ")), "{plan}");
    assert!(plan.contains("a stop takes its whole time: conductor 10 s"), "{plan}");
    assert!(!host.ok("cat /etc/systemd/system/ldms-conductor.service").contains("--init"));
}

fn install(node: &Node) {
    let done = node.ok(&format!("{INSTALL} --role agg=store,conductor 2>&1"));
    assert!(done.contains("await    agg-dsosd: running"), "{done}");
    node.wait_until_all_work();
    let status = node.ok("ldms-install status --json");
    assert!(status.contains(r#""companion_of": "agg""#), "{status}");
    // A companion is not wished for by name, so that a second run does not ask for its role.
    let again = node.ok(&format!("{INSTALL} --json"));
    assert!(again.contains(r#""changed": false"#), "{again}");
}

#[test]
fn with_podman_services_come_back_after_whatever_ended_them() {
    let node = Node::boot(TRIXIE_PODMAN, "podman");
    install(&node);
    come_and_go(&node);
    companion(&node);
    node.survives("kill -9 $(pgrep -x ldmsd)");
    node.survives("kill -9 $(podman inspect -f '{{.State.ConmonPid}}' ldms-agg)");
    node.ok("kill -9 $(pgrep -x etcd) $(pgrep -x maestro)");
    node.wait_until_all_work();
    node.survives("systemctl restart ldms-agg");
    node.host.reboot();
    node.wait_until_all_work();
    refusals(&node);
}

#[test]
fn with_docker_services_come_back_after_whatever_ended_them() {
    let node = Node::boot(TRIXIE_DOCKER, "docker");
    install(&node);
    come_and_go(&node);
    companion(&node);
    node.survives("kill -9 $(pgrep -x ldmsd)");
    node.survives("kill -9 $(pgrep -x dockerd)");
    // Debian starts it three times a minute at most: its failure to stay alive is not the matter.
    node.survives(
        "systemctl stop docker.service docker.socket && systemctl reset-failed docker.service &&
         systemctl start docker.service",
    );
    node.survives("systemctl restart ldms-agg");
    node.host.reboot();
    node.wait_until_all_work();
    refusals(&node);
}
