//! `inspect`, `verify` and `export`: of a sound bundle, and of damaged ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kit::*;

fn look(verb: &str, bundle: &Path, more: &str) -> Ran {
    let line = format!("{verb} {} --pubkey {{bed}}/ldms.pub {more}", bundle.display());
    run(&mut pack(bundle.parent().unwrap(), &line))
}

fn key_id() -> String {
    let key = fs::read_to_string(bed().join("ldms.pub")).unwrap();
    key.lines().next().unwrap().rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn inspect() {
    let bundle = bundle(good());
    let text = look("inspect", &bundle, "").fine();
    // Sizes depend on this repository's profiles and units, which are in the bundle.
    let text: String = text
        .lines()
        .map(|line| {
            if line.starts_with("roles: ") {
                "roles: ROLES\n".to_owned()
            } else if let Some((head, _)) = line.split_once(", reads ") {
                format!("{head}, reads …\n")
            } else if line.starts_with("ldms-4.4.4-1 ") {
                format!("{} …\n", line.rsplit_once(", ").unwrap().0)
            } else {
                format!("{line}\n")
            }
        })
        .collect();
    insta::assert_snapshot!("inspect", tidy(&text.replace(&key_id(), "KEYID"), good()));

    let json: serde_json::Value =
        serde_json::from_str(&look("inspect", &bundle, "--json").fine()).unwrap();
    assert_eq!(json["title"], "ldms-4.4.4-1");
    assert_eq!(json["bytes"], fs::metadata(&bundle).unwrap().len());
    assert_eq!(json["images"].as_array().unwrap().len(), 6);
    assert_eq!(json["images"][0]["name"], "ovishpc/ldms-samp");
    assert_eq!(json["images"][0]["layers"][0]["images"], 6);
    assert_eq!(json["images"][0]["layers"][1]["images"], 1);
    assert_eq!(json["images"][0]["origin"]["source"], "ldms-samp.tar");
    assert_eq!(json["signer"]["key_id"], key_id());
    assert!(json["roles"].as_array().unwrap().iter().any(|role| role == "sampler"));
}

#[test]
fn inspect_into_a_closed_pipe() {
    let script = format!(
        "{PROGRAM} inspect {} --pubkey {}/ldms.pub | head -n1",
        bundle(good()).display(),
        bed().display()
    );
    let ran = bash(good(), &script);
    assert_eq!((ran.code, &*ran.err), (0, ""));
}

#[test]
fn verify() {
    let bundle = bundle(good());
    let text = look("verify", &bundle, "").fine();
    assert!(text.starts_with("ldms-4.4.4-1 is whole: "), "{text}");
    assert!(text.contains(&key_id()), "{text}");
    let json = look("verify", &bundle, "--json");
    assert_eq!(json.err, "");
    let json: serde_json::Value = serde_json::from_str(&json.fine()).unwrap();
    let members = member(&bundle, "SHA256SUMS").lines().count();
    // The index itself is read and proven before all others.
    assert_eq!(json["members"], members - 1);
}

/// A copy of the good bundle, changed.
fn damaged(dir: &Path, change: impl Fn(&mut Vec<u8>)) -> PathBuf {
    let mut bytes = fs::read(bundle(good())).unwrap();
    change(&mut bytes);
    let path = dir.join("damaged.ldms");
    fs::write(&path, bytes).unwrap();
    path
}

/// Where a member's header is.
fn header_of(bytes: &[u8], name: &str) -> usize {
    let mut wanted = name.as_bytes().to_vec();
    wanted.push(0);
    bytes.chunks(512).position(|block| block.starts_with(&wanted)).unwrap() * 512
}

/// Changes one bit of a member, `at` bytes behind its header's beginning.
fn flip(bytes: &mut [u8], member: &str, at: usize) {
    let at = header_of(bytes, member) + at;
    bytes[at] ^= 1;
}

/// Writes something into the padding behind the manifest.
fn soil_padding(bytes: &mut [u8]) {
    let profile = bytes.windows(9).rposition(|w| w == b"profiles/").unwrap() / 512 * 512;
    let first = (header_of(bytes, "manifest.toml")..profile)
        .step_by(512)
        .find(|&at| bytes[at..].starts_with(b"profiles/"))
        .unwrap_or(profile);
    bytes[first - 1] = 1;
}

type Change = fn(&mut Vec<u8>);

#[test]
fn every_kind_of_damage_is_named() {
    let temp = temp();
    let dir = temp.path();
    let mut told = String::new();
    let damages: [(&str, Change); 14] = [
        ("a pack", |b| flip(b, "packs/0000.zst", 1512)),
        ("a pack's tar header", |b| flip(b, "packs/0000.zst", 110)),
        ("a profile", |b| flip(b, "profiles/sampler.toml", 600)),
        ("the padding of the manifest", |b| soil_padding(b)),
        ("the manifest", |b| flip(b, "manifest.toml", 520)),
        ("the index", |b| flip(b, "index.toml", 520)),
        ("the sums", |b| flip(b, "SHA256SUMS", 600)),
        ("the signature", |b| {
            // Another letter of base64: a flipped bit may make it none at all.
            let at = header_of(b, "SHA256SUMS.minisig") + 612;
            b[at] = if b[at] == b'B' { b'C' } else { b'B' };
        }),
        ("the first header", |b| b[3] ^= 1),
        ("the end's zeros", |b| *b.last_mut().unwrap() = 1),
        ("cut by one byte", |b| b.truncate(b.len() - 1)),
        ("cut in half", |b| b.truncate(b.len() / 2)),
        ("one byte more", |b| b.push(0)),
        ("empty", Vec::clear),
    ];
    for (name, change) in damages {
        let path = damaged(dir, change);
        let ran = look("verify", &path, "");
        told += &[name, ":\n", &ran.complaint(3, dir).replace(&key_id(), "KEYID"), "\n"].concat();
    }
    // Where a byte is and how long the file depends on what profiles and units say.
    let mut words = String::new();
    let mut digits = false;
    for c in told.chars() {
        let digit = c.is_ascii_digit();
        if !(digit && digits) {
            words.push(if digit { 'N' } else { c });
        }
        digits = digit;
    }
    insta::assert_snapshot!("damage", words);
}

#[test]
fn not_a_bundle() {
    let temp = temp();
    let dir = temp.path();
    let mut told = String::new();
    for line in [
        "verify {bed}/ldms.pub --pubkey {bed}/ldms.pub",
        "verify {bed}/images/ldms-samp.tar --pubkey {bed}/ldms.pub",
        "verify {dir} --pubkey {bed}/ldms.pub",
        "verify {dir}/none.ldms --pubkey {bed}/ldms.pub",
        "verify {bed}/good/ldms-4.4.4-1.ldms --pubkey {bed}/ldms.key",
        "verify {bed}/good/ldms-4.4.4-1.ldms --pubkey {bed}/installer",
        "verify {bed}/good/ldms-4.4.4-1.ldms --pubkey {bed}/none.pub",
        "verify {bed}/good/ldms-4.4.4-1.ldms",
        "export {bed}/good/ldms-4.4.4-1.ldms ldms-none --pubkey {bed}/ldms.pub",
    ] {
        good();
        let ran = run(&mut pack(dir, line));
        assert_ne!(ran.code, 0, "{line}");
        told += &transcript(line, &ran, dir);
    }
    insta::assert_snapshot!("not-a-bundle", told);
}

#[test]
fn export_is_a_docker_archive() {
    need(&["skopeo"]);
    let temp = temp();
    let dir = temp.path();
    for (image, name) in [("ovishpc/ldms-samp", "samp"), ("ldms-ui", "ui")] {
        let script = format!(
            "{PROGRAM} export {} {image} --pubkey {}/ldms.pub >{name}.tar",
            bundle(good()).display(),
            bed().display()
        );
        bash(dir, &script).fine();
        let inspect = format!("skopeo inspect --config docker-archive:{name}.tar");
        let ours = bash(dir, &inspect).fine();
        let theirs = bash(&bed().join("images"), &inspect.replace(':', ":ldms-")).fine();
        assert_eq!(ours, theirs);
        // And every layer's own bytes, by name.
        let layers = bash(dir, &format!("tar tf {name}.tar | grep '\\.tar$'")).fine();
        assert_eq!(layers.lines().count(), 2);
        for layer in layers.lines() {
            let sum = bash(dir, &format!("tar xOf {name}.tar {layer} | sha256sum")).fine();
            assert_eq!(sum.split(' ').next(), layer.strip_suffix(".tar"));
        }
    }
    // It can be packed again, to the same image.
    let again = build(dir, "--from {dir}/samp.tar --only ovishpc/ldms-samp --version 4.4.4 --json");
    let again: serde_json::Value = serde_json::from_str(&again.fine()).unwrap();
    let id = ldms_bundle::digest::Digest::of(image("samp", "amd64").config.as_bytes());
    assert_eq!(again["manifest"]["image"][0]["id"], id.to_string());
}

#[test]
fn export_of_a_damaged_bundle_is_no_archive() {
    need(&["skopeo"]);
    let temp = temp();
    let dir = temp.path();
    // The last byte of the last pack: all before it has gone out by then.
    let path = damaged(dir, |b| {
        let last = b.len() - 1024;
        let at = b[..last].iter().rposition(|&byte| byte != 0).unwrap();
        b[at] ^= 1;
    });
    let mut refused = 0;
    for name in NAMES {
        let script = format!(
            "{PROGRAM} export {} ldms-{name} --pubkey {}/ldms.pub >out.tar",
            path.display(),
            bed().display()
        );
        let ran = bash(dir, &script);
        if ran.code != 0 {
            assert!(ran.err.contains("packs/") && ran.err.contains("damaged"), "{}", ran.err);
            assert_ne!(bash(dir, "skopeo inspect docker-archive:out.tar").code, 0);
            refused += 1;
        }
    }
    assert!(refused > 0);
}

#[test]
fn export_to_nobody() {
    let line = format!("export {} ldms-ui --pubkey {{bed}}/ldms.pub", bundle(good()).display());
    let command = pack(good(), &line);
    let words: Vec<&str> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_str().unwrap())
        .collect();
    let line = shell_words::join(words);
    let mut script = Command::new("script");
    let ran = run(script.args(["-qec", &line, "/dev/null"]));
    assert_eq!(ran.code, 2, "{}", ran.out);
    assert!(ran.out.contains("nothing for a terminal"), "{}", ran.out);
    assert!(ran.out.contains("docker load"), "{}", ran.out);

    let ran = bash(good(), &format!("{line} | head -c 1000 | wc -c; exit ${{PIPESTATUS[0]}}"));
    assert_eq!((ran.code, ran.out.trim()), (1, "1000"));
    let start = ran.err.find("ldms-pack: ").unwrap();
    insta::assert_snapshot!("export-closed", tidy(&ran.err[start..], good()));
    let ran = bash(good(), &format!("{line} >/dev/full"));
    assert_eq!(ran.code, 1);
    let start = ran.err.find("ldms-pack: ").unwrap();
    insta::assert_snapshot!("export-full", tidy(&ran.err[start..], good()));
}
