//! Companions in plans: they come and go with the service in whose container they run.

use super::*;

const COMPANION: &str = "ldms-watcher-helper.service";

fn with_companion(config: &str) -> Wanted {
    let mut wanted = wanted(config);
    wanted.add_unit(COMPANION, "[Service]\n".into(), &["ldms-watcher.service"]);
    wanted.services.push(WantedService {
        name: "watcher-helper".into(),
        companion_of: Some("watcher".into()),
        unit: COMPANION.into(),
        uses: Vec::new(),
        writes: Vec::new(),
        ports: Vec::new(),
        checks: vec![Check::Running],
        ..wanted.services[0].clone()
    });
    wanted
}

fn about_units(plan: &Plan) -> String {
    let words = ["start", "restart", "stop", "await", "reload"];
    let text = plan.to_string();
    let lines = text.lines().filter(|line| words.iter().any(|word| line.starts_with(word)));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn it_is_started_once_its_service_works() {
    let first = plan(&with_companion("one"), None, &bare()).unwrap();
    insta::assert_snapshot!(about_units(&first), @r"
    reload   systemd
    start    ldms-watcher.service
    start    ldms.target
    await    watcher: running, answering on port 411 (at most 60 s)
    start    ldms-watcher-helper.service
    await    watcher-helper: running (at most 60 s)
    ");
    let record = first.record.clone().unwrap();
    assert_eq!(record.services[1].companion_of.as_deref(), Some("watcher"));
    assert_eq!(record.units()[..2], ["ldms-watcher.service", COMPANION]);
    let again = plan(&with_companion("one"), Some(&record), &after(bare(), &first)).unwrap();
    assert!(!again.changed, "{again}");
}

#[test]
fn what_restarts_its_service_restarts_it() {
    let first = plan(&with_companion("one"), None, &bare()).unwrap();
    let host = after(bare(), &first);
    let next = plan(&with_companion("two"), first.record.as_ref(), &host).unwrap();
    insta::assert_snapshot!(about_units(&next), @r"
    restart  ldms-watcher.service
    await    watcher: running, answering on port 411 (at most 60 s)
    start    ldms-watcher-helper.service
    await    watcher-helper: running (at most 60 s)
    ");
}

#[test]
fn its_own_change_leaves_the_service_alone() {
    let (host, record) = installed();
    let added = plan(&with_companion("one"), Some(&record), &host).unwrap();
    insta::assert_snapshot!(about_units(&added), @r"
    reload   systemd
    start    ldms-watcher-helper.service
    await    watcher-helper: running (at most 60 s)
    ");
    let host = after(host, &added);
    let gone = plan(&wanted("one"), added.record.as_ref(), &host).unwrap();
    insta::assert_snapshot!(about_units(&gone), @r"
    stop     ldms-watcher-helper.service
    reload   systemd
    ");
    let all = removal(added.record.as_ref().unwrap(), &[], &host);
    insta::assert_snapshot!(about_units(&all), @r"
    stop     ldms-watcher-helper.service
    stop     ldms-watcher.service
    stop     ldms.target
    reload   systemd
    ");
}
