//! The process is stopped, without destructors, at every point at which power may fail; then
//! somebody recovers. The host must be in the old state or in the new one, in every part.
//!
//! Run with `cargo test --features crash-points --test apply`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::os::unix::process::ExitStatusExt;

use crate::host::Host;

type Listing = BTreeMap<String, String>;

/// Stops `verb` at every point, checks what recovering makes of it, and tells their number.
fn every_point(verb: &str, start: &Host) -> u64 {
    let old = start.listing();
    let finished = start.copy();
    finished.must(verb);
    let new = finished.listing();
    assert_ne!(old, new);
    let mut seen = [0, 0];
    for point in 1.. {
        let host = start.copy();
        if !crashes(&host, verb, point) {
            assert_eq!(host.listing(), new);
            assert!(seen[0] > 0 && seen[1] > 0, "both ways must have been gone: {seen:?}");
            return point - 1;
        }
        host.must("recover");
        let now = host.listing();
        let side = usize::from(now == new);
        assert!(
            now == old || now == new,
            "{verb}, point {point}: {}",
            difference(&now, &old, &new)
        );
        seen[side] += 1;
        host.must("recover");
        assert_eq!(host.listing(), now, "recovering again changes nothing");
        host.must(verb);
        assert_eq!(host.listing(), new, "{verb} after point {point}");
    }
    unreachable!()
}

/// Runs a verb that stops at `point`; false if it ended before.
fn crashes(host: &Host, verb: &str, point: u64) -> bool {
    let output = host.run(verb, &[("LDMS_INSTALL_CRASH_AT", &point.to_string())]);
    if output.status.success() {
        return false;
    }
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.signal(), Some(6), "{verb} failed at point {point}: {text}");
    true
}

fn difference(now: &Listing, old: &Listing, new: &Listing) -> String {
    let mut text = String::from("a mixture\n");
    for path in now.keys().chain(old.keys()).chain(new.keys()) {
        let [n, o, w] = [now, old, new].map(|l| l.get(path).map_or("nothing", |t| t));
        if n != o || n != w {
            writeln!(text, "{path}: {n:?}\n  old {o:?}\n  new {w:?}").unwrap();
        }
    }
    text
}

#[test]
fn installing() {
    println!("install: {} points", every_point("install 1", &Host::bare()));
}

#[test]
fn upgrading() {
    let host = Host::bare();
    host.must("install 1");
    println!("upgrade: {} points", every_point("install 2", &host));
}

#[test]
fn uninstalling() {
    let host = Host::bare();
    host.must("install 1");
    println!("uninstall: {} points", every_point("uninstall", &host));
}

/// Whoever recovers may be stopped too.
#[test]
fn recovering() {
    let start = Host::bare();
    start.must("install 1");
    let old = start.listing();
    let finished = start.copy();
    finished.must("install 2");
    let new = finished.listing();
    let mut points = 0;
    for first in (1..).step_by(9) {
        let crashed = start.copy();
        if !crashes(&crashed, "install 2", first) {
            break;
        }
        for second in 1.. {
            let host = crashed.copy();
            if !crashes(&host, "recover", second) {
                break;
            }
            points += 1;
            host.must("recover");
            let now = host.listing();
            let both = format!("points {first} and {second}");
            assert!(now == old || now == new, "{both}: {}", difference(&now, &old, &new));
        }
    }
    assert!(points > 0);
    println!("recover: {points} points");
}
