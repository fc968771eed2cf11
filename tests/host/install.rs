//! The main road: a medium, one command, a running sampler that systemd keeps; and every flag
//! of its container by what it effects.

use crate::machine::{Machine, TRIXIE_PODMAN};
use crate::medium::Medium;
use crate::node::{
    INSTALL, UNIT, ask, ask_as, ask_inside, ends, host, installed, property, run_of_it, try_ask,
    wait,
};

/// It was ended as asked, not killed after a timeout.
#[track_caller]
fn assert_stopped_well(host: &Machine) {
    assert_eq!(property(host, "ActiveState"), "inactive");
    assert_eq!(property(host, "Result"), "success");
    let status = property(host, "ExecMainStatus");
    assert!(["0", "143"].contains(&status.as_str()), "ended with {status}");
    let journal = host.ok(&format!("journalctl -b --no-pager -o cat -u {UNIT}"));
    assert!(!journal.contains("SIGKILL") && !journal.contains("timed out"), "{journal}");
}

#[test]
fn a_sampler_is_run_by_systemd_and_comes_back_after_a_reboot() {
    let host = installed(TRIXIE_PODMAN, "nid00100", "");
    assert_eq!(ask(&host, 411)["compid"], "100");
    assert!(host.ok("systemctl status ldms-sampler").contains("Active: active (running)"));
    assert_eq!(host.ok("systemctl is-enabled ldms-sampler ldms.target"), "enabled\nenabled\n");
    assert_eq!(host.ok("systemctl --failed --no-legend"), "");
    // By the systemd that reads them: this one knows settings that the build machine's may not.
    host.ok("systemd-analyze verify --man=no --recursive-errors=yes \
             /etc/systemd/system/ldms-sampler.service /etc/systemd/system/ldms.target");

    host.ok("systemctl stop ldms-sampler");
    assert_stopped_well(&host);
    assert_eq!(host.ok("podman ps --all --quiet"), "");
    assert!(!host.ok("ss -ltn").contains(":411 "));

    host.ok("systemctl start ldms-sampler");
    let first = ask(&host, 411)["pid"].clone();
    host.ok("systemctl restart ldms-sampler");
    assert_ne!(ask(&host, 411)["pid"], first);

    // A target's stop does not wait for that of its services.
    host.ok("systemctl stop ldms.target");
    wait(&host, 5, &format!("systemctl show -P ActiveState {UNIT} | grep -x inactive"));
    assert_stopped_well(&host);
    host.ok("systemctl start ldms.target");
    assert_eq!(ask(&host, 411)["compid"], "100");

    host.reboot();
    assert_eq!(ask(&host, 411)["compid"], "100");
    assert_eq!(host.ok("systemctl is-active ldms-sampler ldms.target"), "active\nactive\n");
    host.cut_power();
    assert_eq!(ask(&host, 411)["compid"], "100");
}

#[test]
fn each_flag_of_the_documentation_takes_effect() {
    let host = installed(TRIXIE_PODMAN, "nid00100", "");
    let inside = ask_inside(&host, "podman", "-p 411 -a munge");
    let outside = ask(&host, 411); // --network=host, and the host's munge: its credential counts
    for answer in [&inside, &outside] {
        assert_eq!(answer["compid"], "100"); // -e COMPID
        assert_eq!(answer["component_id"], "100");
        assert_eq!(answer["hostname"], "nid00100");
        assert_eq!(answer["init"], "systemd"); // --pid=host
        assert_eq!(answer["auth"], "munge");
        assert_eq!(answer["args"], "-x sock:411 -a munge");
        let mine: u32 = host.ok("ls -d /proc/[0-9]* | wc -l").trim().parse().unwrap();
        // Those of counting are gone by now, or not there yet.
        let seen: u32 = answer["processes"].parse().unwrap();
        assert!(seen + 8 > mine && seen > 5, "{seen} of {mine} processes");
    }
    assert_eq!(outside["pid"], host.ok("pidof ldmsd").trim());
    assert!(try_ask(&host, 411, "none").is_empty(), "nobody is let in without a credential");
    ends(&host, 1, "podman exec ldms-sampler ldms_ls -x sock -p 411 -h localhost");

    // --network=host: the host's own namespace, and the same for processes.
    let pid = &outside["pid"];
    for namespace in ["net", "pid"] {
        let link = |pid: &str| host.ok(&format!("readlink /proc/{pid}/ns/{namespace}"));
        assert_eq!(link(pid), link("1"));
    }
    // --privileged: all the capabilities that the host's own init has.
    let capabilities = |pid: &str| host.ok(&format!("grep -E '^Cap(Eff|Bnd)' /proc/{pid}/status"));
    assert_eq!(capabilities(pid), capabilities("1"));
    host.ok("podman exec ldms-sampler test -e /dev/kmsg -o -e /dev/fuse");
    // The host's munge, which it cannot write to.
    let mounts = host.ok(&format!("grep ' /run/munge ' /proc/{pid}/mountinfo"));
    assert!(mounts.split(' ').nth(5).is_some_and(|o| o.starts_with("ro,")), "{mounts}");
    ends(&host, 1, "podman exec ldms-sampler touch /run/munge/x");
    assert!(
        host.ok(&format!("cat /proc/{pid}/limits")).contains("Max open files            16384")
    );

    let format = "{{.HostConfig.NetworkMode}} {{.HostConfig.PidMode}} {{.HostConfig.Privileged}} \
                  {{.HostConfig.AutoRemove}} {{.HostConfig.RestartPolicy.Name}} \
                  {{range .Mounts}}{{.Source}} {{.RW}}{{end}}";
    assert_eq!(
        host.ok(&format!("podman inspect ldms-sampler --format '{format}'")),
        "host host true true no /run/munge false\n"
    );
    assert!(
        host.ok(&format!("cat /proc/{pid}/cgroup")).contains("/ldms.slice/ldms-sampler.service")
    );
}

#[test]
fn answers_given_on_the_command_line_arrive() {
    let host = host(TRIXIE_PODMAN, "login").boot();
    // A host name without a number: what is missing is listed, nothing happens.
    let missing = ends(&host, 2, INSTALL);
    assert!(missing.stderr.contains("sampler.compid"), "{}", missing.stderr);
    assert!(missing.stderr.contains("--set sampler.compid="), "{}", missing.stderr);
    host.ok(&format!(
        "{INSTALL} --set port=10411 --set compid=7 --set args='-v INFO' --set sampler.pid=private"
    ));
    let answer = ask(&host, 10411);
    assert_eq!(answer["compid"], "7");
    assert_eq!(answer["args"], "-x sock:10411 -a munge -v INFO");
    assert_ne!(answer["init"], "systemd");
    assert!(!host.ok("ss -ltn").contains(":411 "));

    // A new answer is a change, and the only one; the rest is remembered.
    let again = host
        .ok("/usr/local/sbin/ldms-install --bundle /media/ldms/*.ldms --set compid=8 --yes --json");
    assert!(again.contains(r#""changed": true"#), "{again}");
    let answer = ask(&host, 10411);
    assert_eq!(
        (answer["compid"].as_str(), answer["args"].as_str()),
        ("8", "-x sock:10411 -a munge -v INFO")
    );
}

#[test]
fn a_stick_is_read_where_it_is_mounted_also_without_the_right_to_run_programs() {
    let host = host(TRIXIE_PODMAN, "nid00007").boot();
    // As sticks are formatted: programs on it can be run.
    host.plug("vfat", &Medium::get().dir);
    host.ok("/media/stick/ldms-install verify --pubkey /media/keys/ldms.pub --role sampler");
    host.unplug();
    // As careful administrators mount it. Not every machine lets a vfat be mounted so.
    host.plug("ext4", &Medium::get().dir);
    host.ok("mount -o remount,ro,noexec /media/stick");
    ends(&host, 126, "/media/stick/ldms-install --version");
    host.ok("cp /media/stick/ldms-install /root/ && chmod 755 /root/ldms-install");
    host.ok(
        "cd /media/stick && /root/ldms-install --pubkey /media/keys/ldms.pub --role sampler --yes",
    );
    host.unplug();
    assert_eq!(ask(&host, 411)["compid"], "7");
    host.ok("cmp /root/ldms-install /usr/local/sbin/ldms-install");
    assert!(host.ok("ldms-install status").contains("active (running)"));
}

#[test]
fn what_is_killed_is_started_again() {
    let host = installed(TRIXIE_PODMAN, "nid00100", "");
    let mut pid = ask(&host, 411)["pid"].clone();
    for victim in ["kill -9 $(pidof ldmsd)", "kill -9 $(pidof conmon)"] {
        let before = run_of_it(&host);
        host.ok(victim);
        wait(
            &host,
            30,
            &format!(
                "[ \"$(systemctl show -P NRestarts {UNIT})\" -ge 1 ]; systemctl is-active {UNIT}"
            ),
        );
        wait(&host, 30, &format!("p=$(pidof ldmsd); [ -n \"$p\" ]; [ \"$p\" != {pid} ]"));
        assert_ne!(run_of_it(&host), before);
        pid = ask(&host, 411)["pid"].clone();
        assert_eq!(host.ok("podman ps --quiet | wc -l"), "1\n");
    }
}

#[test]
fn without_authentication_anybody_is_answered() {
    let host = installed(TRIXIE_PODMAN, "nid00003", "--set munge=none");
    let answer = ask_as(&host, 411, "none");
    assert_eq!((answer["auth"].as_str(), answer["args"].as_str()), ("none", "-x sock:411"));
    assert_eq!(host.ok("podman inspect ldms-sampler --format '{{len .Mounts}}'"), "0\n");
}
