//! Whatever form images come in, the same bundle comes out; what is missing is named.

use std::fs;
use std::path::{Path, PathBuf};

use crate::kit::*;

/// SHA256SUMS of what was packed on `{dir}/m`, which is removed.
#[track_caller]
fn sums(dir: &Path, line: &str) -> String {
    build(dir, line).fine();
    let sums = member(&bundle(&dir.join("m")), "SHA256SUMS");
    fs::remove_dir_all(dir.join("m")).unwrap();
    sums
}

/// Sums without the two members that tell where images came from: the manifest, and the index,
/// which tells the manifest's size.
fn but_origin(sums: &str) -> Vec<&str> {
    let told = |line: &&str| !line.ends_with("  index.toml") && !line.ends_with("  manifest.toml");
    let lines: Vec<&str> = sums.lines().filter(told).collect();
    assert_eq!(sums.lines().count(), lines.len() + 2);
    lines
}

/// All six, each under its own name in `dir`, by `write`.
fn all(dir: &Path, write: fn(&Path, &Image)) -> PathBuf {
    fs::create_dir_all(dir).unwrap();
    for image in six() {
        write(&dir.join(format!("{}.tar", image.short())), &image);
    }
    dir.to_owned()
}

#[test]
fn every_form_gives_the_same_members() {
    need(&["skopeo", "zstd", "gzip"]);
    let temp = temp();
    let dir = temp.path();
    let plain = sums(dir, "--from {bed}/images");
    for kind in ["images/ovishpc/ldms-samp/config.json", "layers/", "packs/0000.zst", "units/"] {
        assert!(plain.contains(&format!("  {kind}")), "{plain}");
    }

    let one_by_one: Vec<String> =
        NAMES.iter().rev().map(|name| format!("{{bed}}/images/ldms-{name}.tar")).collect();
    assert_eq!(plain, sums(dir, &format!("--from {}", one_by_one.join(" "))), "one by one");

    // Only where they came from differs.
    all(&dir.join("legacy"), legacy_archive);
    let legacy = sums(dir, "--from {dir}/legacy");
    assert_ne!(plain, legacy, "the digest of an archive is part of the origin");
    assert_eq!(but_origin(&plain), but_origin(&legacy), "legacy");

    let images = bed().join("images");
    for (name, program) in [("gzip", "gzip -1"), ("zstd", "zstd -q -1")] {
        let packed = dir.join(name);
        fs::create_dir(&packed).unwrap();
        let script = format!("for f in *.tar; do {program} <$f >{}/$f.x; done", packed.display());
        bash(&images, &script).fine();
        let packed = sums(dir, &format!("--from {{dir}}/{name}"));
        assert_eq!(but_origin(&plain), but_origin(&packed), "{name}");
    }

    for (layout, options) in [
        ("oci-gzip", ""),
        ("oci-zstd", "--dest-compress-format zstd"),
        ("oci-plain", "--dest-oci-accept-uncompressed-layers"),
    ] {
        let script = format!(
            "for f in *.tar; do
                skopeo --insecure-policy copy -q {options} docker-archive:$f \
                    oci:{}/{layout}:ovishpc/${{f%.tar}}:4.4.4 || exit 1
             done",
            dir.display()
        );
        bash(&images, &script).fine();
        let packed = sums(dir, &format!("--from {{dir}}/{layout}"));
        assert_eq!(but_origin(&plain), but_origin(&packed), "{layout}");
    }
    bash(dir, "tar -C oci-zstd -cf oci.tar .").fine();
    assert_eq!(but_origin(&plain), but_origin(&sums(dir, "--from {dir}/oci.tar")), "oci.tar");
}

#[test]
fn the_same_bytes_on_one_core_and_on_all() {
    let temp = temp();
    let dir = temp.path();
    let line = "--from {bed}/images --version 4.4.4";
    let all = sums(dir, line);
    assert_eq!(all, sums(dir, line), "twice");
    let mut one = std::process::Command::new("taskset");
    let command = pack(dir, &format!("build {line} {TO}"));
    one.args(["-c", "0"]).arg(command.get_program()).args(command.get_args());
    run(&mut one).fine();
    let one = bundle(&dir.join("m"));
    assert_eq!(all, member(&one, "SHA256SUMS"), "one core");
    // The sums cover all but the headers and the signature, and these have fixed sizes.
    let size = |path: &Path| fs::metadata(path).unwrap().len();
    assert_eq!(size(&one), size(&bundle(good())));
}

#[test]
fn what_is_missing_is_named() {
    let temp = temp();
    let dir = temp.path();
    for name in ["ldms-samp", "ldms-agg"] {
        fs::create_dir_all(dir.join("some")).unwrap();
        let name = format!("{name}.tar");
        fs::copy(bed().join("images").join(&name), dir.join("some").join(&name)).unwrap();
    }
    insta::assert_snapshot!(
        "missing",
        build(dir, "--from {dir}/some --only ovishpc/ldms-samp,ovishpc/ldms-ui").complaint(1, dir)
    );
    insta::assert_snapshot!("missing-four", build(dir, "--from {dir}/some").complaint(1, dir));
    insta::assert_snapshot!(
        "missing-tag",
        build(dir, "--from {dir}/some --only ovishpc/ldms-samp --tag 5.0").complaint(1, dir)
    );
    nothing_left(dir);
}

#[test]
fn one_platform_is_packed() {
    let temp = temp();
    let dir = temp.path();
    let [samp, agg] = ["ovishpc/ldms-samp", "ovishpc/ldms-agg"];
    docker_archive(&dir.join("a/samp.tar"), &image("samp", "amd64"));
    docker_archive(&dir.join("a/agg.tar"), &image("agg", "arm64"));
    let mixed = build(dir, &format!("--from {{dir}}/a --only {samp},{agg}"));
    insta::assert_snapshot!("platforms-mixed", mixed.complaint(3, dir));
    let other = build(dir, &format!("--from {{dir}}/a --only {samp} --platform linux/arm64"));
    insta::assert_snapshot!("platforms-other", other.complaint(3, dir));
    docker_archive(&dir.join("a/samp-arm.tar"), &image("samp", "arm64"));
    let both = build(dir, &format!("--from {{dir}}/a --only {samp} --platform linux/amd64"));
    assert!(both.fine().contains("for linux/amd64"));
    fs::remove_dir_all(dir.join("m")).unwrap();
    let both = build(dir, &format!("--from {{dir}}/a --only {samp}"));
    insta::assert_snapshot!("platforms-two", both.complaint(2, dir));
    // The installer at hand is for this machine, not for the one that is packed for.
    let both = build(dir, &format!("--from {{dir}}/a --only {samp} --platform linux/arm64"));
    insta::assert_snapshot!("platforms-installer", both.complaint(2, dir));
    nothing_left(dir);
}
