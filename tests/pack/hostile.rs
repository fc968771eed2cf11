//! Sources that are damaged or lie: refused by name, and nothing is left behind.

use std::fs;
use std::path::Path;

use tar::EntryType;

use crate::kit::*;

const SAMP: &str = "--from {dir}/samp.tar --only ovishpc/ldms-samp";

#[track_caller]
fn refused(snapshot: &str, bytes: &[u8], code: i32) {
    let temp = temp();
    let dir = temp.path();
    put(&dir.join("samp.tar"), bytes);
    insta::assert_snapshot!(snapshot, build(dir, SAMP).complaint(code, dir));
    nothing_left(dir);
}

fn sound() -> Vec<u8> {
    fs::read(bed().join("images/ldms-samp.tar")).unwrap()
}

/// An archive whose members are what `change` makes of an image's.
fn archive(change: impl Fn(&mut Image, &mut String, &mut Vec<String>)) -> Vec<u8> {
    let mut image = image("samp", "amd64");
    let mut config = image.config_file();
    let mut names: Vec<String> = (0..image.layers.len()).map(|n| format!("{n}.tar")).collect();
    change(&mut image, &mut config, &mut names);
    let mut tree = Tree::default();
    for (layer, name) in image.layers.iter().zip(&names) {
        tree = tree.file(name, layer);
    }
    tree.file(&config, image.config.as_bytes())
        .file("manifest.json", &manifest(&image, &config, &names))
        .end()
}

#[test]
fn truncated() {
    let sound = sound();
    // Inside a layer, and behind the last entry but before the mark that ends an archive.
    refused("truncated", &sound[..sound.len() / 2], 3);
    refused("truncated-end", &sound[..sound.len() - 1024], 3);
    refused("empty", b"", 3);
}

#[test]
fn truncated_where_packed() {
    let packed = zstd::encode_all(&sound()[..], 1).unwrap();
    refused("truncated-zstd", &packed[..packed.len() / 2], 3);
}

#[test]
fn a_configuration_that_is_not_its_name() {
    refused("config", &archive(|image, _, _| image.config.push(' ')), 3);
}

#[test]
fn a_layer_that_is_not_its_diff_id() {
    refused("layer", &archive(|image, _, _| *image.layers[1].last_mut().unwrap() ^= 1), 3);
}

#[test]
fn a_layer_that_is_not_there() {
    refused("layer-missing", &archive(|_, _, names| names.push("9.tar".into())), 3);
}

#[test]
fn entries_that_lead_out() {
    let tree = |kind, target| {
        Tree::default().entry("../../etc/cron.d/x", kind, target, b"").file("manifest.json", b"[]")
    };
    refused("escape", &tree(EntryType::Regular, "").end(), 3);
    let link = Tree::default()
        .entry("manifest.json", EntryType::Symlink, "../../../etc/passwd", b"")
        .end();
    refused("escape-link", &link, 3);
    refused("escape-name", &archive(|_, config, _| *config = "/etc/passwd".into()), 3);
}

#[test]
fn no_archive_at_all() {
    refused("text", b"six images, honestly", 3);
    refused("tar-of-other", &Tree::default().file("hello", b"world").end(), 3);
}

/// A layer's own entries are never unpacked, so that they may say what they like.
#[test]
fn a_layer_may_say_what_it_likes() {
    let temp = temp();
    let dir = temp.path();
    let layer = Tree::default()
        .entry("../../../../tmp/ldms-escaped", EntryType::Regular, "", b"x")
        .entry("etc/passwd", EntryType::Symlink, "/etc/passwd", b"")
        .end();
    docker_archive(&dir.join("samp.tar"), &Image::new("samp", "amd64", vec![layer.clone()]));
    build(dir, SAMP).fine();
    assert!(!Path::new("/tmp/ldms-escaped").exists());
    let out = run(&mut pack(
        dir,
        &format!("inspect --json --pubkey {{bed}}/ldms.pub {}", bundle(&dir.join("m")).display()),
    ));
    let report: serde_json::Value = serde_json::from_str(&out.fine()).unwrap();
    assert_eq!(report["images"][0]["bytes"], layer.len());
    assert_eq!(report["manifest"]["image"][0]["munge"], serde_json::Value::Null);
}
