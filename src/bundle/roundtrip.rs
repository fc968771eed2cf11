//! Both directions of the format against each other, and against every changed byte.
#![expect(clippy::disallowed_methods, reason = "tests work in folders of their own")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use super::reader::{Bundle, Share};
use super::recipe::learn;
use super::writer::{self, Contents, Source};
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};
use crate::manifest::{ImageEntry, Manifest, Origin};
use crate::progress::Quiet;
use crate::signing::{BundleSigner, SecretKey, generate};
use crate::trust::Key;

/// Bytes that do not compress, the same for the same seed.
fn noise(n: usize, seed: u64) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..n)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 32) as u8
        })
        .collect()
}

fn layer(files: &[(&str, &[u8])], time: u64) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(time);
        header.set_cksum();
        tar.append_data(&mut header, name, *bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

/// Images by name, each of some layers' tars; layers may recur.
type Images = Vec<(&'static str, Vec<Vec<u8>>)>;

fn two_images(scale: usize) -> Images {
    let base = layer(&[("etc/passwd", b"root:x:0:0\n"), ("bin/sh", &noise(700 * scale, 1))], 1);
    let shared = noise(500 * scale, 2);
    let a = layer(&[("opt/ovis/lib", &shared), ("a", &noise(90 * scale, 3))], 2);
    let b = layer(&[("opt/ovis/lib", &shared), ("b", &noise(40 * scale, 4))], 3);
    vec![
        ("ovishpc/a", vec![base.clone(), a, Vec::new()]),
        ("ovishpc/b", vec![base.clone(), b, base]),
    ]
}

struct Made {
    path: PathBuf,
    key: Key,
    _folder: tempfile::TempDir,
}

fn make(images: &Images, threads: usize) -> Made {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.ldms");
    let mut users: BTreeMap<Digest, u64> = BTreeMap::new();
    let mut order: Vec<(Digest, &[u8])> = Vec::new();
    for (number, (_, layers)) in images.iter().enumerate() {
        for tar in layers {
            let id = Digest::of(tar);
            let set = users.entry(id).or_insert_with(|| {
                order.push((id, tar));
                0
            });
            *set |= 1 << number;
        }
    }
    let layers: Vec<Source<'_>> = order
        .iter()
        .map(|&(id, tar)| Source {
            recipe: learn(tar, folder.path(), &|_| ()).unwrap(),
            images: users[&id],
            open: Box::new(move || Ok(Box::new(tar) as Box<dyn Read + Send + '_>)),
        })
        .collect();
    let mut manifest = Manifest {
        name: "test".into(),
        version: "1".into(),
        release: 1,
        platform: "linux/amd64".parse().unwrap(),
        packer: "test".into(),
        site: Vec::new(),
        image: Vec::new(),
    };
    let mut members = vec![("profiles/x.toml".to_owned(), b"summary = \"x\"\n".to_vec())];
    for (name, tars) in images {
        let config = format!("{{\"name\":\"{name}\"}}").into_bytes();
        manifest.image.push(ImageEntry {
            name: (*name).to_owned(),
            id: Digest::of(&config),
            size: tars.iter().map(|tar| tar.len() as u64).sum(),
            munge: None,
            layers: tars.iter().map(|tar| Digest::of(tar)).collect(),
            origin: Origin::default(),
        });
        members.push((format!("images/{name}/config.json"), config));
    }
    members.insert(0, ("manifest.toml".to_owned(), manifest.to_toml().unwrap().into_bytes()));
    let pair = generate(None).unwrap();
    let secret = SecretKey::parse(&pair.secret, "k", || unreachable!()).unwrap();
    writer::write(
        fs::File::create_new(&path).unwrap(),
        &path,
        &Contents { members, layers: &layers, level: 3, threads },
        &BundleSigner { key: &secret, comment: "test".into() },
        &AtomicBool::new(false),
        &Quiet,
    )
    .unwrap();
    Made { path, key: Key::parse(&pair.public, "k.pub").unwrap(), _folder: folder }
}

fn open(path: &Path, key: &Key) -> Result<Bundle> {
    Bundle::open(path, std::slice::from_ref(key)).map(|(bundle, _)| bundle)
}

/// The files of a docker archive.
fn archive(bundle: &Bundle, image: &ImageEntry) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut out = Vec::new();
    bundle.export(image, "docker.io/ovishpc/x:y", &mut out, &Quiet)?;
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(&out[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        assert!(files.insert(name, bytes).is_none(), "no member twice");
    }
    Ok(files)
}

#[test]
fn every_layer_comes_out_as_it_went_in() {
    // large enough for several packs
    let images = two_images(20_000);
    let made = make(&images, 2);
    let bundle = open(&made.path, &made.key).unwrap();
    assert!(bundle.index().packs.len() > 2);
    let verified = bundle.verify(Share::All, &|| Ok(()), &Quiet).unwrap();
    assert_eq!(verified.members, bundle.index().members.len());
    for (image, (name, tars)) in bundle.manifest().image.iter().zip(&images) {
        assert_eq!(image.name, *name);
        let files = archive(&bundle, image).unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        assert_eq!(manifest[0]["RepoTags"][0], "docker.io/ovishpc/x:y");
        assert_eq!(Digest::of(&files[manifest[0]["Config"].as_str().unwrap()]), image.id);
        let layers = manifest[0]["Layers"].as_array().unwrap();
        assert_eq!(layers.len(), tars.len());
        for (layer, tar) in layers.iter().zip(tars) {
            assert!(files[layer.as_str().unwrap()] == *tar);
        }
    }
    assert_eq!(bundle.texts("profiles").unwrap()["profiles/x.toml"], "summary = \"x\"\n");
}

#[test]
fn contents_are_stored_once() {
    let images = two_images(20_000);
    let made = make(&images, 2);
    let distinct: u64 =
        open(&made.path, &made.key).unwrap().index().packs.iter().map(|&n| u64::from(n)).sum();
    // base 14 MB, shared 10 MB, own 1.8 and 0.8 MB
    assert!((26_000_000..27_000_000).contains(&distinct), "{distinct}");
}

#[test]
fn the_same_input_gives_the_same_bytes_on_any_number_of_cores() {
    let images = two_images(5_000);
    let bundles: Vec<Vec<u8>> =
        [1, 2, 7].iter().map(|&n| fs::read(make(&images, n).path).unwrap()).collect();
    // The signature is the one member that minisign makes with fresh randomness.
    let without_signature = |bytes: &[u8]| {
        let sums = 512
            + usize::from_str_radix(std::str::from_utf8(&bytes[124..135]).unwrap(), 8)
                .unwrap()
                .next_multiple_of(512);
        [&bytes[..sums], &bytes[sums + 1024..]].concat()
    };
    for other in &bundles[1..] {
        assert!(without_signature(&bundles[0]) == without_signature(other));
    }
}

#[test]
fn a_changed_byte_anywhere_is_refused() {
    use std::os::unix::fs::FileExt;
    let made = make(&two_images(3), 1);
    let file = fs::File::options().read(true).write(true).open(&made.path).unwrap();
    let bytes = fs::read(&made.path).unwrap();
    let check = || {
        let bundle = open(&made.path, &made.key)?;
        bundle.verify(Share::All, &|| Ok(()), &Quiet)
    };
    check().unwrap();
    for (at, &byte) in bytes.iter().enumerate() {
        file.write_all_at(&[byte ^ 1 << (at % 8)], at as u64).unwrap();
        let result = check();
        file.write_all_at(&[byte], at as u64).unwrap();
        // The one thing not signed by design is minisign's untrusted comment.
        if let Err(error) = result {
            assert_eq!(error.kind(), Kind::Refused, "byte {at}: {error}");
            assert!(error.next_step().is_some(), "byte {at}: {error} says what to do");
        } else {
            let line = bytes[..at].iter().rposition(|&b| b == 0).unwrap() + 1;
            let comment = bytes[line..at].starts_with(b"untrusted comment")
                || b"untrusted comment: signature by ldms-pack\n".len() > at - line;
            assert!(comment, "byte {at} is not covered");
        }
    }
    check().unwrap();
}

#[test]
fn cut_and_lengthened_bundles_are_refused() {
    let made = make(&two_images(3), 1);
    let bytes = fs::read(&made.path).unwrap();
    for length in (0..bytes.len()).step_by(97).chain([bytes.len() - 1]) {
        fs::write(&made.path, &bytes[..length]).unwrap();
        let error = open(&made.path, &made.key).err().unwrap();
        assert_eq!(error.kind(), Kind::Refused, "{length}: {error}");
    }
    fs::write(&made.path, [&bytes[..], &[0; 512]].concat()).unwrap();
    assert!(open(&made.path, &made.key).err().unwrap().to_string().contains("bytes long"));
}

#[test]
fn damage_after_opening_stops_an_export_before_its_end() {
    use std::os::unix::fs::FileExt;
    let made = make(&two_images(3), 1);
    let bundle = open(&made.path, &made.key).unwrap();
    let offset = bundle.length() - 1024 - 600;
    let file = fs::File::options().read(true).write(true).open(&made.path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
    let mut out = Vec::new();
    let error: Error =
        bundle.export(&bundle.manifest().image[0], "r", &mut out, &Quiet).unwrap_err();
    assert!(error.to_string().contains("packs/0000.zst (used by a, b) is damaged"), "{error}");
    assert!(!out.windows(13).any(|w| w == b"manifest.json"));
}
