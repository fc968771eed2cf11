//! The test bed itself: that the hosts are real, alone, quiet, and leave nothing behind.
//! What the other tests prove rests on this.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::machine::{Machine, TRIXIE_PODMAN, leftovers};
use crate::state::{assert_unchanged, differences, listing};

/// A directory on the build machine that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn boot_id(host: &Machine) -> String {
    host.ok("cat /proc/sys/kernel/random/boot_id")
}

#[test]
fn a_host_is_a_booted_debian_with_munge_and_without_a_network() {
    let host = TRIXIE_PODMAN.host().hostname("nid00100").boot();
    assert_eq!(host.ok("systemctl is-system-running"), "running\n");
    assert_eq!(host.ok("cat /proc/1/comm"), "systemd\n");
    assert_eq!(host.ok("hostname"), "nid00100\n");
    assert_eq!(host.ok(". /etc/os-release; echo $VERSION_CODENAME"), "trixie\n");
    assert!(host.ok("munge -n | unmunge").contains("Success (0)"));
    // munge in the images is 101; a host where it is another shows who confuses them.
    assert_ne!(host.ok("id -u munge"), "101\n");

    assert_eq!(host.ok("ls /sys/class/net"), "lo\n");
    assert_eq!(host.ok("ip route; ip -6 route | grep -v ' dev lo ' || true"), "");
    assert_ne!(host.run("ip route get 192.0.2.1").status, 0);
}

#[test]
fn commands_run_as_on_a_login() {
    let host = TRIXIE_PODMAN.host().boot();
    let failed = host.run("echo out; echo err >&2; exit 42");
    assert_eq!(
        (failed.status, failed.stdout.as_str(), failed.stderr.as_str()),
        (42, "out\n", "err\n")
    );
    assert_eq!(host.run_with("wc -c", &vec![b'x'; 300_000]).stdout, "300000\n");
    assert_eq!(
        host.ok("id -u; pwd; echo $HOME; umask; echo $PATH"),
        "0\n/root\n/root\n0022\n/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"
    );
    assert!(host.ok("cat /proc/self/cgroup").contains("0::/user.slice/"));
}

#[test]
fn podman_runs_a_privileged_container_in_the_hosts_namespaces_under_a_unit() {
    let host = TRIXIE_PODMAN.host().hostname("nid00007").boot();
    host.ok("podman info >/dev/null");
    // An image of what the host has: a shell, a sleep and their libraries.
    host.ok("cd / && tar -c --dereference $(ldd usr/bin/bash usr/bin/sleep usr/bin/cat |
             grep -o '/lib[^ ]*' | sort -u | cut -c2-) usr/bin/bash usr/bin/sleep usr/bin/cat |
             podman import - docker.io/bed/bash:1");
    host.ok("podman save docker.io/bed/bash:1 -o /tmp/bash.tar &&
             podman rmi docker.io/bed/bash:1 && podman load -i /tmp/bash.tar");
    host.write(
        "/etc/systemd/system/bed.service",
        b"[Service]
Type=notify
NotifyAccess=all
Delegate=yes
ExecStart=/usr/bin/podman run -d --rm --replace --name bed --pull=never --sdnotify=conmon \
--cgroups=split --network=host --pid=host --privileged docker.io/bed/bash:1 \
/usr/bin/bash -c 'echo process 1 is $$(/usr/bin/cat /proc/1/comm); exec /usr/bin/sleep 1000'
ExecStop=/usr/bin/podman stop --ignore -t 1 bed
[Install]
WantedBy=multi-user.target
",
    );
    host.ok("systemctl daemon-reload && systemctl enable --now bed");
    let says = "until journalctl -b -u bed -o cat | grep -x 'process 1 is systemd'; do
                sleep 0.1; done";
    host.ok(&format!("timeout 20 bash -c \"{says}\""));
    assert!(host.ok("cat /proc/$(pidof sleep | cut -d' ' -f1)/cgroup").contains("bed.service"));

    host.reboot();
    assert_eq!(host.ok("systemctl is-active bed"), "active\n");
    host.ok(&format!("timeout 20 bash -c \"{says}\""));
    host.ok("systemctl stop bed");
    assert_eq!(host.ok("podman ps -aq"), "");
}

#[test]
fn a_reboot_and_a_power_cut_keep_what_is_on_disk() {
    let host = TRIXIE_PODMAN.host().boot();
    let first = boot_id(&host);
    host.ok("echo kept > /etc/kept; echo gone > /run/gone");
    host.reboot();
    let second = boot_id(&host);
    assert_ne!(first, second);
    assert_eq!(host.ok("cat /etc/kept; ls /run/gone 2>/dev/null || true"), "kept\n");
    host.cut_power();
    assert_ne!(second, boot_id(&host));
    assert_eq!(host.ok("cat /etc/kept"), "kept\n");
}

#[test]
fn a_host_left_alone_stays_as_it_is_and_any_change_is_seen() {
    let host = TRIXIE_PODMAN.host().boot();
    let before = listing(&host);
    assert!(before.len() > 3000, "{} paths", before.len());
    assert!(before["/etc/munge/munge.key"].digest.len() == 64);
    host.ok("podman info; munge -n | unmunge; systemctl restart munge");
    host.reboot();
    assert_unchanged(&host, &before);

    host.ok("mkdir /etc/new; chmod 600 /etc/hosts; cp /etc/passwd /etc/p; cat /etc/p > /etc/passwd
             rm /etc/p /etc/shells; chown 1 /etc/group; ln -sfn elsewhere /etc/os-release");
    let seen = differences(&before, &listing(&host));
    let paths: Vec<&str> =
        seen.iter().map(|line| line.split(": ").next().unwrap_or(line)).collect();
    assert_eq!(
        paths,
        [
            "~ /etc/group",
            "~ /etc/hosts",
            "~ /etc/os-release",
            "~ /etc/passwd",
            "- /etc/shells",
            "+ /etc/new"
        ]
    );
}

#[test]
fn media_are_read_only() {
    let contents = Scratch::new("medium");
    fs::write(contents.0.join("file"), "on the medium").unwrap();
    let host = TRIXIE_PODMAN.host().bind_ro(&contents.0, "/media/directory").boot();
    let read_only = |place: &str| {
        assert_eq!(host.ok(&format!("cat {place}/file")), "on the medium");
        assert_ne!(host.run(&format!("touch {place}/file {place}/new")).status, 0);
    };
    read_only("/media/directory");
    for filesystem in ["vfat", "ext4"] {
        host.plug(filesystem, &contents.0);
        assert!(host.ok("findmnt -no FSTYPE /media/stick").contains(match filesystem {
            "vfat" => "fat",
            other => other,
        }));
        read_only("/media/stick");
        host.unplug();
        assert_ne!(host.run("mountpoint /media/stick").status, 0);
    }
    // Left plugged in: the end of the machine must free it.
    host.plug("ext4", &contents.0);
    let state = host.state().to_owned();
    drop(host);
    assert_eq!(leftovers(&state), "");
}

#[test]
fn nothing_is_left_of_a_host_and_two_do_not_meet() {
    let one = TRIXIE_PODMAN.host().hostname("one").boot();
    let two = TRIXIE_PODMAN.host().hostname("two").boot();
    one.ok("touch /etc/mine; setsid sleep 1000 >/dev/null 2>&1 &");
    assert_ne!(two.run("ls /etc/mine").status, 0);
    assert_eq!(two.ok("pgrep -x sleep || true"), "");
    assert_eq!(two.ok("hostname"), "two\n");
    assert_ne!(leftovers(one.state()), "", "a running host is seen");

    let state = one.state().to_owned();
    drop(one);
    assert_eq!(leftovers(&state), "");
    assert!(!state.exists());
    two.ok("systemctl is-system-running");
}

#[test]
fn a_host_ends_with_the_process_that_wanted_it() {
    let host = TRIXIE_PODMAN.host().boot();
    let state = host.state().to_owned();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/host/machine.sh");
    let run = |args: &[&str]| {
        let status = Command::new(script).arg(args[0]).arg(&state).args(&args[1..]).status();
        assert!(status.unwrap().success(), "{args:?}");
    };
    let mut wanting = Command::new("sleep").arg("1000").spawn().unwrap();
    run(&["stop"]);
    run(&["boot", "--while", &wanting.id().to_string()]);
    assert_ne!(leftovers(&state), "");
    wanting.kill().unwrap();
    wanting.wait().unwrap();
    let patience = Instant::now() + Duration::from_secs(20);
    while !leftovers(&state).is_empty() {
        assert!(Instant::now() < patience, "{}", leftovers(&state));
        sleep(Duration::from_millis(200));
    }
}
