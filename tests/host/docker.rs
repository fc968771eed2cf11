//! The same road with docker, which has a daemon of its own to live with.

use crate::machine::TRIXIE_DOCKER;
use crate::node::{
    INSTALL, UNIT, ask, ask_inside, assert_nothing_there, host, property, run_of_it, wait,
};
use crate::state::{assert_unchanged, listing};

#[test]
fn a_sampler_in_docker_lives_with_its_daemon() {
    let host = host(TRIXIE_DOCKER, "nid00100").boot();
    host.ok("docker info");
    let before = listing(&host);
    host.ok(INSTALL);
    let check = || {
        let answer = ask(&host, 411);
        assert_eq!((answer["compid"].as_str(), answer["init"].as_str()), ("100", "systemd"));
        assert_eq!((answer["hostname"].as_str(), answer["auth"].as_str()), ("nid00100", "munge"));
        answer["pid"].clone()
    };
    check();
    assert_eq!(ask_inside(&host, "docker", "-p 411 -a munge")["compid"], "100");
    let format = "{{.HostConfig.NetworkMode}} {{.HostConfig.PidMode}} {{.HostConfig.Privileged}} \
                  {{.HostConfig.AutoRemove}} {{.HostConfig.CgroupParent}} \
                  {{range .Mounts}}{{.Source}} {{.RW}}{{end}}";
    assert_eq!(
        host.ok(&format!("docker inspect ldms-sampler --format '{format}'")),
        "host host true true ldms.slice /run/munge false\n"
    );
    assert!(host.ok("cat /proc/$(pidof ldmsd)/cgroup").contains("/ldms.slice/"));

    // Twice is once.
    let (files, run) = (listing(&host), run_of_it(&host));
    let again = host.ok(&format!("{INSTALL} --json"));
    assert!(again.contains(r#""changed": false"#), "{again}");
    assert_unchanged(&host, &files);
    assert_eq!(run_of_it(&host), run);

    host.ok("systemctl stop ldms-sampler");
    assert_eq!(
        (property(&host, "ActiveState"), property(&host, "Result")),
        ("inactive".into(), "success".into())
    );
    assert_eq!(host.ok("docker ps --all --quiet"), "");
    host.ok("systemctl start ldms-sampler");
    let first = check();
    host.ok("systemctl restart ldms-sampler");
    assert_ne!(check(), first);

    // The daemon goes and comes: so does the sampler.
    let before_restart = run_of_it(&host);
    host.ok("systemctl restart docker");
    wait(&host, 30, &format!("systemctl is-active {UNIT}"));
    check();
    assert_ne!(run_of_it(&host), before_restart);
    host.ok("systemctl stop docker.socket docker.service");
    wait(&host, 30, &format!("! systemctl is-active {UNIT}; ! pidof ldmsd"));
    host.ok("systemctl start docker");
    wait(&host, 30, &format!("systemctl is-active {UNIT}"));
    check();

    // A killed client leaves its container: the next start clears it away.
    host.ok(&format!("kill -9 $(systemctl show -P MainPID {UNIT})"));
    wait(
        &host,
        30,
        &format!("[ \"$(systemctl show -P NRestarts {UNIT})\" -ge 1 ]; systemctl is-active {UNIT}"),
    );
    check();
    assert_eq!(host.ok("docker ps --quiet | wc -l"), "1\n");

    host.reboot();
    check();
    assert_unchanged(&host, &files);
    host.ok("ldms-install uninstall --yes");
    assert_unchanged(&host, &before);
    assert_nothing_there(&host, "docker");
}
