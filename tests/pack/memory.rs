//! Memory does not grow with the images.

use std::process::Command;

use crate::kit::*;

/// What all of a build's threads may have together, on two cores.
const LIMIT: u64 = 256 << 20;

#[test]
fn more_input_than_memory() {
    let temp = temp();
    let dir = temp.path();
    let layers: Vec<Vec<u8>> =
        (0..4).map(|n| Tree::default().file("noise", &noise(n, 80 << 20)).end()).collect();
    assert!(layers.iter().map(Vec::len).sum::<usize>() as u64 > LIMIT);
    docker_archive(&dir.join("i/samp.tar"), &Image::new("samp", "amd64", layers));
    let command = pack(dir, &format!("build --from {{dir}}/i --only ovishpc/ldms-samp {TO}"));
    let mut limited = Command::new("prlimit");
    limited
        .args([&format!("--data={LIMIT}"), "taskset", "-c", "0,1"])
        .arg(command.get_program())
        .args(command.get_args());
    run(&mut limited).fine();
}
