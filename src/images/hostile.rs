//! What must be refused: sources that lie, lead out, were cut, or are no sources at all.

use std::io::Read;
use std::slice::from_ref;

use proptest::prelude::*;
use serde_json::json;
use tar::EntryType;

use super::decode::Packing;
use super::fixtures::*;
use super::tests::{Bench, PACKINGS, multi_platform, pair, prove};
use super::*;
use crate::error::Kind;

/// Writes the image as an archive and as a layout; both must be refused for the same reason,
/// by `gather` or by proving the layers.
fn refused(image: &Sample, reason: &str) {
    let mut layout = Layout::default();
    let descriptor = layout.image(image, Packing::Gzip);
    layout.top(descriptor, &named("ovishpc/ldms-samp"));
    for tar in [legacy(from_ref(image)), to_tar(&layout.finish())] {
        let bench = Bench::with("bad.tar", &tar);
        let error = bench
            .gather("bad.tar", &[SAMP])
            .and_then(|images| prove(&images[0]))
            .expect_err(reason);
        assert!(error.what().contains(reason), "{error} lacks: {reason}");
        assert!(error.place().unwrap().ends_with("bad.tar"), "{error:?}");
        assert_eq!(error.kind(), Kind::Refused);
    }
}

#[test]
fn a_configuration_that_lies_is_refused() {
    let sample = || Sample::new("ovishpc/ldms-samp:latest", "s");
    refused(
        &sample().lying(|c| c["rootfs"]["diff_ids"][1] = json!(Digest::of(b"else"))),
        "layer 2 of 2 of ovishpc/ldms-samp is not what its image's configuration announces",
    );
    refused(
        &sample().lying(|c| c["rootfs"]["diff_ids"] = json!([Digest::of(b"")])),
        "speaks of 1 layers where its image has 2",
    );
    refused(&sample().lying(|c| c["os"] = json!("")), "does not say its platform");
    refused(&sample().lying(|c| c["architecture"] = json!("a\nb")), "does not say its platform");
    refused(&sample().lying(|c| c["rootfs"] = json!(7)), "cannot be understood");
    refused(
        &sample().lying(|c| c["pad"] = json!("x".repeat(5 << 20))),
        "at most 4194304 are sound",
    );
    let mut many = sample();
    many.layers = vec![b"".to_vec(); 600];
    refused(&many, "an image of 600 layers");
}

#[test]
fn a_configuration_that_is_not_named_after_its_digest_is_refused() {
    let sample = Sample::new("ovishpc/ldms-samp:latest", "s");
    let config = format!("{}.json", Digest::of(b"else").hex());
    let entry = json!({"Config": config, "RepoTags": sample.tags, "Layers": ["0", "1"]});
    let tar = Tar::default().file(&config, &sample.config);
    let tar = tar.file("0", &sample.layers[0]).file("1", &sample.layers[1]);
    let bench = Bench::with("a.tar", &manifest_json(tar, &[entry]));
    let error = bench.refusal("a.tar", &[SAMP]);
    assert!(error.what().contains(&format!("has the digest {}", sample.id())), "{error}");
}

#[test]
fn blobs_of_a_layout_are_checked() {
    let sample = Sample::new("", "s");
    for packing in PACKINGS {
        let mut layout = Layout::default();
        let descriptor = layout.image(&sample, packing);
        layout.top(descriptor, &named("ovishpc/ldms-samp"));
        let files = layout.finish();
        for name in files.keys().filter(|name| name.starts_with("blobs/")) {
            let mut changed = files.clone();
            changed.remove(name);
            let error = Bench::layout(&changed).refusal("", &[SAMP]);
            assert!(error.what().contains(&format!("lacks its part '{name}'")), "{error}");

            changed.insert(name.clone(), [&files[name][..], b" "].concat());
            let error = Bench::layout(&changed).refusal("", &[SAMP]);
            assert!(error.what().contains("bytes where"), "{error}");

            for at in [files[name].len() / 2, files[name].len() - 1] {
                let mut bytes = files[name].clone();
                bytes[at] ^= 1;
                changed.insert(name.clone(), bytes);
                let bench = Bench::layout(&changed);
                let error = bench.gather("", &[SAMP]).and_then(|images| prove(&images[0]));
                assert_eq!(error.unwrap_err().kind(), Kind::Refused, "{name} at {at}");
            }
        }
    }
}

#[test]
fn a_blob_is_checked_even_where_what_it_unpacks_to_is_right() {
    let sample = Sample::new("ovishpc/ldms-samp:latest", "s");
    let mut layout = Layout::default();
    let descriptor = layout.image(&sample, Packing::Gzip);
    layout.top(descriptor, &named("ovishpc/ldms-samp"));
    let mut files = layout.finish();
    let stored = pack(Packing::Gzip, &sample.layers[1]);
    let name = format!("blobs/sha256/{}", Digest::of(&stored).hex());
    // The byte in a gzip header that names the operating system.
    files.get_mut(&name).unwrap()[9] ^= 1;
    let bench = Bench::layout(&files);
    let image = &bench.gather("", &[SAMP]).unwrap()[0];
    let mut layer = image.layers[1].open().unwrap();
    let error = Error::from_io(layer.read_to_end(&mut Vec::new()).unwrap_err(), "unnamed");
    assert!(error.what().starts_with("layer 2 of 2 of ovishpc/ldms-samp is stored as"), "{error}");
}

/// An archive whose one image has the layer `layer`, made of `tar` and a manifest.
fn with_layer(tar: Tar, layer: &str) -> Result<Image> {
    let sample = Sample::new("ovishpc/ldms-samp:latest", "s");
    let tar = tar.file("config", &sample.config).file("base", &sample.layers[0]);
    let entry = json!({"Config": "config", "RepoTags": sample.tags, "Layers": ["base", layer]});
    let bench = Bench::with("bad.tar", &manifest_json(tar, &[entry]));
    let image = bench.gather("bad.tar", &[SAMP])?.remove(0);
    prove(&image)?;
    Ok(image)
}

#[test]
fn links_lead_to_members_and_nowhere_else() {
    let layer = || Tar::default().file("a/b/real", &Sample::new("", "s").layers[1]);
    for tar in [
        layer().link("l", "a/b/real", EntryType::Link),
        layer().link("l", "./a/b/real", EntryType::Symlink),
        layer().link("l", "a/m", EntryType::Link).link("a/m", "b/real", EntryType::Symlink),
        layer().link("a/x", "../a/b/real", EntryType::Symlink).link("l", "a/x", EntryType::Link),
        // A later copy that is the same.
        layer().file("a/b/real", &Sample::new("", "s").layers[1]).link(
            "l",
            "a/b/real",
            EntryType::Link,
        ),
    ] {
        with_layer(tar, "l").unwrap();
    }
    with_layer(layer(), "./a//b/real").unwrap();
    for (tar, reason) in [
        (layer().link("l", "/etc/shadow", EntryType::Symlink), "'/etc/shadow' leads out"),
        (layer().link("l", "../etc/shadow", EntryType::Symlink), "'../etc/shadow' leads out"),
        (layer().link("l", "a/../a/b/real", EntryType::Link), "'a/../a/b/real' leads out"),
        (layer().link("l", "m", EntryType::Symlink), "lacks its part 'l'"),
        (layer().link("l", "l", EntryType::Symlink), "'l' is a link that leads nowhere"),
        (layer().entry("l", EntryType::Char, "", b""), "'l' is a device where a file"),
        (layer().entry("l", EntryType::Block, "", b""), "'l' is a device where a file"),
        (layer().entry("l", EntryType::Fifo, "", b""), "'l' is a pipe where a file"),
        (layer().entry("l", EntryType::Directory, "", b""), "'l' is a directory where a file"),
        (layer().file("l", b"x").file("l", b"y"), "'l' occurs twice and differs"),
        (layer().file("l", b"x").file("./l", b"xx"), "'l' occurs twice and differs"),
        (layer().file("../l", b"x"), "entry '../l' leads out"),
        (layer().file("/l", b"x"), "entry '/l' leads out"),
    ] {
        let error = with_layer(tar, "l").unwrap_err();
        assert!(error.what().contains(reason), "{error} lacks: {reason}");
        assert_eq!(error.kind(), Kind::Refused);
    }
    for name in ["../x", "/etc/passwd", "a/../b"] {
        let error = with_layer(layer(), name).unwrap_err();
        assert!(error.what().contains("out of the archive"), "{error}");
    }
}

#[test]
fn long_names_and_large_extension_headers() {
    let layer = Sample::new("", "s").layers[1].clone();
    let long = "d/".repeat(100) + "layer";
    let gnu = Tar::default()
        .entry("././@LongLink", EntryType::GNULongName, "", format!("{long}\0").as_bytes())
        .file("cut", &layer);
    with_layer(gnu, &long).unwrap();
    let record = format!(" path={long}\n");
    let pax = format!("{}{record}", record.len() + 3);
    let pax = Tar::default().entry("x", EntryType::XHeader, "", pax.as_bytes()).file("cut", &layer);
    with_layer(pax, &long).unwrap();
    for (tar, reason) in [
        (
            Tar::default().entry("x", EntryType::XHeader, "", &vec![b'x'; 100_000]),
            "oversized extension header",
        ),
        (Tar::default().entry("x", EntryType::XHeader, "", b"rubbish"), "damaged extension header"),
        (
            Tar::default()
                .entry("x", EntryType::GNULongName, "", &[b'n'; 5000])
                .file("cut", &layer),
            "a name of 5000 bytes",
        ),
        (
            Tar::default().entry("x", EntryType::GNULongName, "", b"\xff\xfe").file("cut", b""),
            "a name that is not text",
        ),
    ] {
        let error = with_layer(tar, "l").unwrap_err();
        assert!(error.what().contains(reason), "{error} lacks: {reason}");
    }
}

#[test]
fn a_cut_archive_is_refused_by_name() {
    let [samp, _] = pair();
    let tars = [legacy(from_ref(&samp)), docker25(&[samp], Packing::Gzip)];
    for packing in PACKINGS {
        for tar in &tars {
            let stored = pack(packing, tar);
            // Of the two blocks that end a tar one may be lacking, as some writers leave it out.
            let sound = if packing == Packing::Plain { stored.len() - 512 } else { stored.len() };
            for end in (0..sound).step_by(97).chain([sound - 1]) {
                let bench = Bench::with("cut.tar", &stored[..end]);
                let error = bench.refusal("cut.tar", &[SAMP]);
                assert_eq!(error.kind(), Kind::Refused, "{packing:?} {end} {error}");
                assert!(error.place().unwrap().ends_with("cut.tar"), "{error:?}");
            }
        }
    }
}

#[test]
fn something_behind_a_packed_archive_is_refused() {
    let tar = legacy(&pair());
    for packing in [Packing::Gzip, Packing::Zstd] {
        let half = tar.len() / 2;
        let pieces = [pack(packing, &tar[..half]), pack(packing, &tar[half..])].concat();
        let bench = Bench::with("a.tar", &pieces);
        assert_eq!(bench.gather("a.tar", &[SAMP, AGG]).unwrap().len(), 2);
        let bench = Bench::with("a.tar", &[&pieces[..], b"more"].concat());
        assert_eq!(bench.refusal("a.tar", &[SAMP]).kind(), Kind::Refused);
    }
    let error = Bench::with("a.tar.xz", b"\xfd7zXZ\0 and more").refusal("a.tar.xz", &[SAMP]);
    assert!(error.what().contains("packed with xz"), "{error}");
}

#[test]
fn an_index_that_leads_round_many_times_is_refused() {
    let mut layout = Layout::default();
    let mut descriptor = layout.image(&Sample::new("", "s"), Packing::Plain);
    for _ in 0..3 {
        descriptor = layout.index(&vec![descriptor; 40]);
    }
    layout.top(descriptor, &named("ovishpc/ldms-samp"));
    let error = Bench::layout(&layout.finish()).refusal("", &[SAMP]);
    assert!(error.what().contains("leads to too many others"), "{error}");
}

/// Whatever comes of it, it is an image or an error.
fn read(bytes: &[u8]) {
    if let Ok(images) = Bench::with("x.tar", bytes).gather("x.tar", &[SAMP]) {
        let _ = prove(&images[0]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..3000), packing in 0..3usize) {
        read(&bytes);
        read(&pack(PACKINGS[packing], &bytes));
    }

    #[test]
    fn no_change_of_an_archive_makes_it_panic(
        shape in 0..4usize, at in any::<prop::sample::Index>(), with in any::<[u8; 4]>(), end in any::<prop::sample::Index>(),
    ) {
        let images = pair();
        let mut bytes = match shape {
            0 => legacy(&images),
            1 => podman(&images),
            2 => docker25(&images, Packing::Gzip),
            _ => { let (layout, _) = multi_platform(); to_tar(&layout.finish()) }
        };
        let at = at.index(bytes.len() - with.len());
        bytes[at..at + with.len()].copy_from_slice(&with);
        read(&bytes);
        // With its checksums put right, so that the change gets further in.
        let header = at / 512 * 512;
        if let Some(block) = bytes.get_mut(header..header + 512) {
            let mut fixed = tar::Header::new_old();
            fixed.as_mut_bytes().copy_from_slice(block);
            fixed.set_cksum();
            block.copy_from_slice(fixed.as_bytes());
        }
        read(&bytes);
        bytes.truncate(end.index(bytes.len()));
        read(&bytes);
    }

    #[test]
    fn no_json_makes_it_panic(text in "[\\[\\]{},:\"a-zA-Z0-9./ ]{0,200}") {
        for name in ["manifest.json", "index.json"] {
            read(&Tar::default().file(name, text.as_bytes()).end());
        }
    }
}
