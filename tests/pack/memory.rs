//! Memory does not grow with the images.

use std::process::Command;

use crate::kit::*;

/// The most that a build may take on two cores.
const LIMIT_KIB: u64 = 256 << 10;

/// The peak of resident memory in KiB when an image of these layers is packed.
fn peak(layers: u64) -> u64 {
    let temp = temp();
    let dir = temp.path();
    let layers: Vec<Vec<u8>> =
        (0..layers).map(|n| Tree::default().file("noise", &noise(n, 75 << 20)).end()).collect();
    docker_archive(&dir.join("i/samp.tar"), &Image::new("samp", "amd64", layers));
    let command = pack(dir, &format!("build --json --from {{dir}}/i --only ldms-samp {TO}"));
    let mut timed = Command::new("taskset");
    timed
        .args(["-c", "0,1", "/usr/bin/time", "-f", "%M"])
        .arg(command.get_program())
        .args(command.get_args());
    let ran = run(&mut timed);
    assert_eq!(ran.code, 0, "{}", ran.err);
    ran.err.trim().parse().unwrap()
}

#[test]
fn more_input_than_memory() {
    need(&["/usr/bin/time:time"]);
    // 75 MiB, and 300, which does not fit into the limit.
    let (one, four) = (peak(1), peak(4));
    assert!(one <= LIMIT_KIB && four <= LIMIT_KIB, "{one} KiB, then {four} KiB");
}
