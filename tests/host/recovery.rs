//! What the product's roles, all on one host, come back from: a stop and start of them together,
//! SIGKILL to what runs in each container, the end of the host's munged. `roles.rs` calls it on
//! the hosts that it has booted anyway.

use crate::machine::Machine;
use crate::node::wait;
use crate::roles::everything_works;

/// All units: the services in the order in which they start, and the companion, which follows its
/// own service and is followed by none.
const UNITS: [&str; 6] = ["sampler", "aggregator", "maestro", "ui", "grafana", "aggregator-dsosd"];
/// Those that reach munge through the host's socket.
const WITH_MUNGE: [&str; 3] = ["sampler", "aggregator", "maestro"];

fn property(host: &Machine, unit: &str, name: &str) -> String {
    host.ok(&format!("systemctl show --value -p {name} {unit}")).trim().to_owned()
}

/// A time of each unit, in microseconds: of the services, of the aggregator, of its companion.
fn times(host: &Machine, name: &str) -> ([u64; 5], u64, u64) {
    let time = |unit| property(host, &format!("ldms-{unit}"), name).parse().unwrap();
    let [sampler, aggregator, maestro, ui, grafana, dsosd] = UNITS.map(time);
    ([sampler, aggregator, maestro, ui, grafana], aggregator, dsosd)
}

/// Waits until all of them have ended, not only begun to.
fn wait_until_ended(host: &Machine, units: &[&str]) {
    for unit in units {
        wait(host, 30, &format!("systemctl show -P ActiveState ldms-{unit} | grep -x inactive"));
    }
}

/// They start one after the other and stop the other way round.
pub fn keeps_its_order(host: &Machine) {
    let (started, aggregator, dsosd) = times(host, "ExecMainStartTimestampMonotonic");
    assert!(started.is_sorted_by(|a, b| a < b), "{UNITS:?} were started at {started:?}");
    assert!(dsosd > aggregator, "dsosd was started at {dsosd}, its aggregator at {aggregator}");
    host.ok("systemctl stop ldms.target");
    wait_until_ended(host, &UNITS);
    let (ended, aggregator, dsosd) = times(host, "InactiveEnterTimestampMonotonic");
    assert!(ended.is_sorted_by(|a, b| a > b), "{UNITS:?} have ended at {ended:?}");
    assert!(dsosd < aggregator, "dsosd has ended at {dsosd}, its aggregator at {aggregator}");
    assert_eq!(host.ok("systemctl --failed --no-legend"), "");
    host.ok("systemctl start ldms.target");
    everything_works(host);
}

/// Does something that ends these units, and no others, in whatever way: each is started again
/// and works.
#[track_caller]
fn are_started_again(host: &Machine, units: &[&str], what: &str) {
    let runs = || UNITS.map(|unit| property(host, &format!("ldms-{unit}"), "InvocationID"));
    let before = runs();
    host.ok(what);
    for (unit, run) in UNITS.iter().zip(&before).filter(|(unit, _)| units.contains(unit)) {
        wait(host, 60, &format!("! systemctl show -P InvocationID ldms-{unit} | grep -x {run}"));
    }
    everything_works(host);
    let after = runs();
    for (n, unit) in UNITS.iter().enumerate() {
        assert_eq!(before[n] != after[n], units.contains(unit), "{unit} after {what}");
    }
}

/// SIGKILL to process 1 of each container, and to dsosd.
pub fn survives_kills(host: &Machine, engine: &str) {
    let process = |role: &str| {
        let id = host.ok(&format!("{engine} inspect -f '{{{{.State.Pid}}}}' ldms-{role}"));
        let id = id.trim().to_owned();
        assert!(id.parse::<u32>().is_ok_and(|id| id > 1), "process 1 of ldms-{role}: {id:?}");
        id
    };
    let [sampler, maestro, ui, grafana] = ["sampler", "maestro", "ui", "grafana"].map(process);
    let dsosd = host.ok("pidof dsosd");
    // The aggregator is not among them: it would end dsosd as well.
    let others = ["sampler", "aggregator-dsosd", "maestro", "ui", "grafana"];
    let kill = format!("kill -9 {sampler} {maestro} {ui} {grafana} {dsosd}");
    are_started_again(host, &others, &kill);
    let kill = format!("kill -9 {}", process("aggregator"));
    are_started_again(host, &["aggregator", "aggregator-dsosd"], &kill);
}

/// SIGKILL to the host's munged, which systemd starts again, and a stop and start of it.
pub fn survives_the_end_of_munge(host: &Machine) {
    let users = ["sampler", "aggregator", "aggregator-dsosd", "maestro"];
    let run = property(host, "munge", "InvocationID");
    are_started_again(host, &users, "kill -9 $(cat /run/munge/munged.pid)");
    assert_ne!(property(host, "munge", "InvocationID"), run);

    host.ok("systemctl stop munge");
    wait_until_ended(host, &WITH_MUNGE);
    are_started_again(host, &users, "systemctl start munge");
}
