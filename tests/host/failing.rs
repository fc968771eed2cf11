//! What cannot work is noticed before anything is done, or undone; an interrupted run leaves
//! the old state or the new one.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::machine::{Machine, TRIXIE_PODMAN};
use crate::node::{INSTALL, ask, assert_nothing_there, ends, host, installed, wait};
use crate::state::{Listing, assert_unchanged, differences, listing};

#[test]
fn a_port_that_another_program_has_is_noticed_before_anything_is_done() {
    let host = host(TRIXIE_PODMAN, "nid00100").boot();
    let before = listing(&host);
    host.ok("systemd-run --quiet --unit=another perl -MIO::Socket::INET -e \
         'my $s = IO::Socket::INET->new(LocalPort => 411, Listen => 1) or die; sleep 1000'");
    wait(&host, 10, "ss -ltn | grep ':411 '");
    let clash = ends(&host, 4, INSTALL);
    assert!(
        clash.stderr.contains("already listens: port 411 of 'sampler' by perl (process "),
        "{}",
        clash.stderr
    );
    assert_unchanged(&host, &before);
    assert_nothing_there(&host, "podman");
    host.ok(&format!("{INSTALL} --set port=10411"));
    assert_eq!(ask(&host, 10411)["compid"], "100");
}

#[test]
fn a_sampler_that_does_not_come_up_is_undone_and_its_own_words_are_told() {
    let host = host(TRIXIE_PODMAN, "nid00100").boot();
    host.ok("podman info");
    let before = listing(&host);
    // ldmsd reads a file that is no configuration, and ends with 22: that does not mend itself.
    let broken = ends(&host, 1, &format!("{INSTALL} --set args='-c /etc/hostname'"));
    for word in ["undone", "the host is as before", "ldms-sampler.service", "unknown command"] {
        assert!(broken.stderr.contains(word), "{word}: {}", broken.stderr);
    }
    assert_unchanged(&host, &before);
    assert_nothing_there(&host, "podman");

    // The same to one that works: it works again afterwards, with what it had.
    host.ok(&format!("{INSTALL} --set compid=5"));
    ask(&host, 411);
    let before = listing(&host);
    let change =
        "cd /media/ldms && ldms-install --yes --set compid=6 --set args='-c /etc/hostname'";
    ends(&host, 1, change);
    // Files that were put back have what they had, and are younger.
    let timeless = |mut listing: Listing| {
        for entry in listing.values_mut() {
            entry.time.clear();
        }
        listing
    };
    let left = differences(&timeless(before), &timeless(listing(&host)));
    assert!(left.is_empty(), "{left:?}");
    let answer = ask(&host, 411);
    assert_eq!((answer["compid"].as_str(), answer["args"].as_str()), ("5", "-x sock:411 -a munge"));
    assert!(host.ok("cd /media/ldms && ldms-install --yes").contains("nothing to do"));
}

/// The host is as it was before, or as one where the installation has been done.
#[track_caller]
fn assert_old_or_new(host: &Machine, before: &Listing) -> &'static str {
    if host.run("test -e /var/lib/ldms-install/record.json").status == 0 {
        let again = host.ok(&format!("{INSTALL} --json"));
        assert!(again.contains(r#""changed": false"#), "{again}");
        "new"
    } else {
        assert_unchanged(host, before);
        assert_nothing_there(host, "podman");
        "old"
    }
}

#[test]
fn a_killed_run_is_brought_to_an_end_by_the_next() {
    let host = host(TRIXIE_PODMAN, "nid00100").boot();
    host.ok("podman info");
    let before = listing(&host);
    let seed = std::env::var("LDMS_HOST_SEED").ok().and_then(|text| text.parse().ok());
    let mut random: u64 = seed.unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().into()
    });
    println!("LDMS_HOST_SEED={random} cargo test … gives the same moments");
    // Moments seen in what it says, then some at random.
    let mut moments: Vec<String> =
        ["load ", "write ", "await "].map(|step| format!("grep -q '^{step}' /run/said")).into();
    for _ in 0..2 {
        // Knuth's multiplier; the upper bits are the good ones.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        moments.push(format!("sleep 0.{:02}; true", (random >> 33) % 100));
    }
    for (n, moment) in moments.iter().enumerate() {
        host.ok(&format!(
            "{INSTALL} 2>/run/said >/dev/null & installer=$!
             until {moment} || ! kill -0 $installer 2>/dev/null; do sleep 0.005; done
             kill -KILL $installer 2>/dev/null || true; wait $installer || true"
        ));
        // The engine's client ends with what fed it.
        wait(&host, 10, "! pgrep -x podman");
        let pending = host.run("test -e /var/lib/ldms-install/journal").status == 0;
        if n % 2 == 0 {
            let said = host.ok("/media/ldms/ldms-install recover");
            let state = assert_old_or_new(&host, &before);
            println!("{moment}: pending {pending}, {state}, {said}");
        }
        let next = host.run(INSTALL);
        assert_eq!(next.status, 0, "{moment}: {}", next.stderr);
        if n % 2 == 1 && pending {
            assert!(next.stderr.contains("an interrupted 'install' was found"), "{}", next.stderr);
        }
        assert_eq!(ask(&host, 411)["compid"], "100");
        host.ok("ldms-install uninstall --yes");
        let left = differences(&before, &listing(&host));
        assert!(left.is_empty(), "after {moment}: {left:?}");
    }
    assert_nothing_there(&host, "podman");
}

#[test]
fn an_interrupt_during_a_load_is_undone() {
    let host = host(TRIXIE_PODMAN, "nid00100").boot();
    host.ok("podman info");
    let before = listing(&host);
    for signal in ["INT", "TERM", "HUP"] {
        let output = host.run(&format!(
            ": >/run/said; {INSTALL} 2>>/run/said & installer=$!
             until grep -q '^load ' /run/said; do sleep 0.005; done
             kill -{signal} $installer; wait $installer; status=$?; cat /run/said >&2; exit $status"
        ));
        assert_eq!((output.status, output.stdout.as_str()), (1, ""), "{}", output.stderr);
        for word in ["interrupted", "undone", "the host is as before"] {
            assert!(output.stderr.contains(word), "{signal}, {word}: {}", output.stderr);
        }
        assert_unchanged(&host, &before);
        assert_nothing_there(&host, "podman");
    }
}

#[test]
fn a_power_cut_while_it_starts_leaves_a_host_that_the_next_run_completes() {
    let host = host(TRIXIE_PODMAN, "nid00100").boot();
    host.ok(&format!(
        "{INSTALL} >/dev/null 2>/run/said & until grep -q '^start ' /run/said; do sleep 0.005; done"
    ));
    host.cut_power();
    let status = host.run("/media/ldms/ldms-install status");
    let next = host.run(INSTALL);
    assert_eq!(next.status, 0, "{}\n{}", status.stderr, next.stderr);
    assert_eq!(ask(&host, 411)["compid"], "100");
    let again = host.ok(&format!("{INSTALL} --json"));
    assert!(again.contains(r#""changed": false"#), "{again}");
}

#[test]
fn two_at_the_same_time_do_not_meet() {
    let host = installed(TRIXIE_PODMAN, "nid00100", "");
    host.ok("ldms-install uninstall --yes 2>/dev/null");
    let both = host.ok(&format!(
        "{INSTALL} >/run/one 2>&1 & one=$!; {INSTALL} >/run/two 2>&1; b=$?; wait $one; echo $? $b
         cat /run/one /run/two >&2"
    ));
    let codes: Vec<&str> = both.split_whitespace().collect();
    assert!(codes.contains(&"0"), "{both}");
    assert_eq!(ask(&host, 411)["compid"], "100");
}
