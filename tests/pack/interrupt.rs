//! Stopped in the middle: nothing under the final name, and the next run succeeds.

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::kit::*;

const FROM: &str = "--from {dir}/i --only ovishpc/ldms-samp";

/// Six packs of noise: at the highest levels seconds of work for each.
fn slow_image(dir: &Path) {
    let layer = Tree::default().file("noise", &noise(9, 48 << 20)).end();
    docker_archive(&dir.join("i/samp.tar"), &Image::new("samp", "amd64", vec![layer]));
}

/// A build that has begun to write its bundle, and takes long.
fn begun(dir: &Path) -> Child {
    let line = format!("build {FROM} {TO}").replace("--level 1", "--level 19");
    let mut command = pack(dir, &line);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let begin = Instant::now();
    while !files(&dir.join("m")).iter().any(|name| name.ends_with(".partial")) {
        assert!(child.try_wait().unwrap().is_none(), "it ended too early");
        assert!(begin.elapsed() < Duration::from_secs(60), "it never began");
        sleep(Duration::from_millis(5));
    }
    child
}

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
}

#[test]
fn interrupted_and_killed() {
    let temp = temp();
    let dir = temp.path();
    slow_image(dir);

    for wish in [Signal::SIGINT, Signal::SIGTERM] {
        let child = begun(dir);
        let asked = Instant::now();
        signal(&child, wish);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{wish}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains("ldms-pack: interrupted"), "{told}");
        nothing_left(dir);
        // What is being compressed is finished, and no more than that.
        assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    }

    // The second one does not wait.
    let mut child = begun(dir);
    signal(&child, Signal::SIGINT);
    sleep(Duration::from_millis(100));
    signal(&child, Signal::SIGINT);
    assert!(matches!(child.wait().unwrap().code(), Some(130 | 1)));

    let mut child = begun(dir);
    signal(&child, Signal::SIGKILL);
    assert_eq!(child.wait().unwrap().code(), None);
    let left = files(&dir.join("m"));
    assert_eq!(left, ["ldms-4.4.4-1.ldms.partial"]);
    build(dir, FROM).fine();
    assert!(!files(&dir.join("m")).iter().any(|name| name.ends_with(".partial")));
    let verify = format!("verify --pubkey {{bed}}/ldms.pub {}", bundle(&dir.join("m")).display());
    run(&mut pack(dir, &verify)).fine();
    fs::remove_dir_all(dir.join("m")).unwrap();
}
