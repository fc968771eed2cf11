//! Sources of every shape, through the one door `gather`.
#![expect(clippy::disallowed_methods, reason = "tests work in folders of their own")]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::slice::from_ref;

use serde_json::json;
use tempfile::TempDir;

use super::decode::Packing;
use super::fixtures::*;
use super::*;
use crate::error::Kind;
use crate::manifest::Platform;
use crate::progress::Quiet;

/// A directory with sources in it and one for scratch files.
pub(super) struct Bench {
    directory: TempDir,
    scratch: TempDir,
    tag: Option<String>,
    platform: Option<Platform>,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let scratch = tempfile::tempdir().unwrap();
        Bench { directory, scratch, tag: None, platform: None }
    }

    pub(super) fn with(name: &str, bytes: &[u8]) -> Self {
        let bench = Self::new();
        std::fs::write(bench.path(name), bytes).unwrap();
        bench
    }

    pub(super) fn layout(files: &Files) -> Self {
        let bench = Self::new();
        to_directory(files, bench.directory.path());
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn tag(mut self, tag: &str) -> Self {
        self.tag = Some(tag.to_owned());
        self
    }

    fn platform(mut self, platform: &str) -> Self {
        self.platform = Some(platform.parse().unwrap());
        self
    }

    fn gather_from(&self, sources: &[Source], wanted: &[&str]) -> Result<Vec<Image>> {
        let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        let options = Options {
            tag: self.tag.clone(),
            pull: false,
            platform: self.platform.clone(),
            scratch: self.scratch.path().to_owned(),
        };
        let images = gather(sources, &wanted, &options, &Quiet);
        let left = std::fs::read_dir(self.scratch.path()).unwrap().count();
        assert_eq!(left, 0, "scratch files have no names");
        images
    }

    /// From the file `name`, or from the directory itself.
    pub(super) fn gather(&self, name: &str, wanted: &[&str]) -> Result<Vec<Image>> {
        let path = if name.is_empty() { self.directory.path().to_owned() } else { self.path(name) };
        self.gather_from(&[Source::Path { path, name: None }], wanted)
    }

    pub(super) fn refusal(&self, name: &str, wanted: &[&str]) -> Error {
        self.gather(name, wanted).unwrap_err()
    }
}

/// Reads every layer with its proof.
pub(super) fn prove(image: &Image) -> Result<Vec<Vec<u8>>> {
    image
        .layers
        .iter()
        .map(|layer| {
            let mut bytes = Vec::new();
            layer
                .prove(layer.open()?)
                .read_to_end(&mut bytes)
                .map_err(|e| Error::from_io(e, "unnamed"))?;
            Ok(bytes)
        })
        .collect()
}

fn assert_is(image: &Image, sample: &Sample) {
    assert_eq!(image.config, sample.config);
    assert_eq!(image.id, sample.id());
    assert_eq!(image.platform.to_string(), "linux/amd64");
    assert_eq!(image.origin.created.as_deref(), Some("2026-01-02T03:04:05Z"));
    assert_eq!(prove(image).unwrap(), sample.layers);
    let diff_ids: Vec<Digest> = image.layers.iter().map(Layer::diff_id).collect();
    assert_eq!(diff_ids, image.diff_ids);
}

pub(super) const PACKINGS: [Packing; 3] = [Packing::Plain, Packing::Gzip, Packing::Zstd];

pub(super) fn pair() -> [Sample; 2] {
    [Sample::new("ovishpc/ldms-samp:latest", "s"), Sample::new("ovishpc/ldms-agg:latest", "a")]
}

#[test]
fn docker_archives_of_every_shape_and_packing() {
    let images = pair();
    for (shape, tar) in [
        ("legacy", legacy(&images)),
        ("podman", podman(&images)),
        ("docker25", docker25(&images, Packing::Plain)),
        ("containerd", docker25(&images, Packing::Gzip)),
        ("zstd", docker25(&images, Packing::Zstd)),
    ] {
        for packing in PACKINGS {
            let stored = pack(packing, &tar);
            let bench = Bench::with("images.tar", &stored);
            let found = bench.gather("images.tar", &[AGG, SAMP]).unwrap();
            assert_eq!(found.len(), 2, "{shape} {packing:?}");
            assert_is(&found[0], &images[1]);
            assert_is(&found[1], &images[0]);
            let origin = &found[1].origin;
            assert_eq!(origin.source, "images.tar");
            assert_eq!(origin.reference.as_deref(), Some("ovishpc/ldms-samp:latest"));
            assert_eq!(origin.archive, Some(Digest::of(&stored)));
        }
    }
}

#[test]
fn layouts_with_every_packing_and_spelling() {
    let sample = Sample::new("", "s");
    for packing in PACKINGS {
        for annotations in [
            named("docker.io/ovishpc/ldms-samp:4.4.4"),
            named("ovishpc/ldms-samp"),
            named("ldms-samp:4.4.4"),
            named("ldms-samp"),
            json!({"io.containerd.image.name": "docker.io/ovishpc/ldms-samp:4.4.4",
                   "org.opencontainers.image.ref.name": "4.4.4"}),
        ] {
            let mut layout = Layout::default();
            let descriptor = layout.image(&sample, packing);
            layout.top(descriptor.clone(), &annotations);
            let files = layout.finish();
            let bench = Bench::layout(&files);
            let image = &bench.gather("", &[SAMP]).unwrap()[0];
            assert_is(image, &sample);
            assert_eq!(json!(image.origin.manifest), descriptor["digest"]);
            assert_eq!(image.origin.archive, None);
            let stored = pack(packing, &to_tar(&files));
            let bench = Bench::with("layout.tar", &stored);
            let image = &bench.gather("layout.tar", &[SAMP]).unwrap()[0];
            assert_is(image, &sample);
            assert_eq!(image.origin.archive, Some(Digest::of(&stored)));
        }
    }
}

#[test]
fn names_match_under_any_registry_and_no_other_way() {
    for tag in [
        "docker.io/ovishpc/ldms-samp:latest",
        "localhost/ovishpc/ldms-samp:latest",
        "registry.site.example:5000/mirror/ovishpc/ldms-samp:4.4.4",
    ] {
        let bench = Bench::with("a.tar", &podman(&[Sample::new(tag, "s")]));
        let image = &bench.gather("a.tar", &[SAMP]).unwrap()[0];
        assert_eq!(image.name, SAMP);
        assert_eq!(image.origin.reference.as_deref(), Some(tag));
    }
    for tag in ["ldms-samp:latest", "ovishpc/ldms-samp2:latest", "other/ldms-samp:latest"] {
        let bench = Bench::with("a.tar", &podman(&[Sample::new(tag, "s")]));
        let error = bench.refusal("a.tar", &[SAMP]);
        assert!(error.to_string().contains(&format!("what is there: {tag}")), "{error}");
    }
}

#[test]
fn the_user_can_name_what_has_no_name() {
    let mut sample = Sample::new("", "s");
    sample.tags.clear();
    let bench = Bench::with("a.tar", &podman(from_ref(&sample)));
    assert!(bench.refusal("a.tar", &[SAMP]).to_string().contains("an image without a name"));
    let source = Source::Path { path: bench.path("a.tar"), name: Some(SAMP.to_owned()) };
    let bench = bench.tag("4.4.4");
    assert_is(&bench.gather_from(&[source], &[SAMP]).unwrap()[0], &sample);
}

#[test]
fn a_directory_of_archives_may_hold_other_files() {
    let [samp, agg] = pair();
    let bench = Bench::with("1.tar.gz", &pack(Packing::Gzip, &legacy(from_ref(&samp))));
    std::fs::write(bench.path("2.tar"), podman(from_ref(&agg))).unwrap();
    std::fs::write(bench.path("SHA256SUMS"), "sums").unwrap();
    std::fs::write(bench.path("notes.gz"), pack(Packing::Gzip, b"notes")).unwrap();
    std::fs::create_dir(bench.path("sub")).unwrap();
    let found = bench.gather("", &[SAMP, AGG]).unwrap();
    assert_is(&found[0], &samp);
    assert_is(&found[1], &agg);
    std::fs::write(bench.path("3.tar"), b"not a tar").unwrap();
    assert!(bench.refusal("", &[SAMP, AGG]).place().unwrap().ends_with("3.tar"));
    let error = Bench::with("notes.txt", b"notes").refusal("", &[SAMP]);
    assert!(error.to_string().contains("neither image archives nor"), "{error}");
}

#[test]
fn everything_missing_is_in_one_error_that_says_how_to_get_it() {
    let bench = Bench::with("a.tar", &legacy(&pair()));
    let error = bench.refusal("a.tar", &[SAMP, "ovishpc/ldms-dev", "ovishpc/ldms-ui"]);
    assert!(error.what().starts_with("no ovishpc/ldms-dev, ovishpc/ldms-ui in "), "{error}");
    let remedy = error.next_step().unwrap();
    assert!(remedy.contains("docker pull docker.io/ovishpc/ldms-dev"), "{remedy}");
    assert!(remedy.contains("docker save -o ldms-dev.tar"), "{remedy}");
    let error = bench.tag("4.4.4").refusal("a.tar", &[SAMP]);
    assert!(error.what().contains("with the tag '4.4.4'"), "{error}");
    assert!(error.what().contains("ovishpc/ldms-samp:latest"), "{error}");
    let error = Bench::new().refusal("none.tar", &[SAMP]);
    assert!(error.place().unwrap().ends_with("none.tar"));
    assert_eq!(Bench::new().refusal("", &["ldms-samp"]).kind(), Kind::Usage);
}

#[test]
fn several_images_of_one_name_are_told_apart_by_tag() {
    let old = Sample::new("ovishpc/ldms-samp:4.4.3", "old");
    let new = Sample::new("ovishpc/ldms-samp:4.4.4", "new");
    let bench = Bench::with("old.tar", &legacy(from_ref(&old)));
    std::fs::write(bench.path("new.tar"), docker25(from_ref(&new), Packing::Gzip)).unwrap();
    let error = bench.refusal("", &[SAMP]);
    assert_eq!(error.kind(), Kind::Usage);
    for part in ["4.4.3", "4.4.4", "old.tar", "new.tar", &old.id().short(12)] {
        assert!(error.what().contains(part), "{error}");
    }
    assert!(error.next_step().unwrap().contains("--tag"));
    assert_is(&bench.tag("4.4.3").gather("", &[SAMP]).unwrap()[0], &old);
}

#[test]
fn one_image_may_have_several_tags() {
    let mut image = Sample::new("ovishpc/ldms-samp:latest", "s");
    image.tags.push("docker.io/ovishpc/ldms-samp:4.4.4".to_owned());
    let bench = Bench::with("a.tar", &docker25(&[image.clone()], Packing::Plain));
    std::fs::write(bench.path("b.tar"), podman(&[image])).unwrap();
    let found = &bench.gather("", &[SAMP]).unwrap()[0];
    assert_eq!(found.origin.reference.as_deref(), Some("docker.io/ovishpc/ldms-samp:4.4.4"));
    let found = &bench.tag("latest").gather("", &[SAMP]).unwrap()[0];
    assert_eq!(found.origin.reference.as_deref(), Some("ovishpc/ldms-samp:latest"));
}

#[test]
fn two_descriptions_in_one_archive_must_agree() {
    let [samp, _] = pair();
    let other = Sample::new("ovishpc/ldms-samp:latest", "other");
    let mut layout = Layout::default();
    let descriptor = layout.image(&samp, Packing::Plain);
    layout.top(descriptor, &named("ovishpc/ldms-samp:latest"));
    let mut files = layout.finish();
    files.insert("c".into(), other.config.clone());
    for (n, layer) in other.layers.iter().enumerate() {
        files.insert(format!("{n}"), layer.clone());
    }
    let manifest = json!([{"Config": "c", "RepoTags": other.tags, "Layers": ["0", "1"]}]);
    files.insert("manifest.json".into(), serde_json::to_vec(&manifest).unwrap());
    let error = Bench::with("a.tar", &to_tar(&files)).refusal("a.tar", &[SAMP]);
    assert!(error.what().contains("different images of one name"), "{error}");
}

/// A layout with one image for two platforms and a statement about it.
pub(super) fn multi_platform() -> (Layout, [Sample; 2]) {
    let samples = [Sample::new("", "s"), Sample::on("arm64", "", "s")];
    let mut layout = Layout::default();
    let mut children: Vec<_> =
        samples.iter().map(|sample| layout.image(sample, Packing::Gzip)).collect();
    let mut statement = layout.blob("application/vnd.oci.image.manifest.v1+json", b"{}");
    statement["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    children.push(statement);
    let index = layout.index(&children);
    // buildx and containerd put one more around it.
    let index = layout.index(&[index]);
    layout.top(index, &named("ovishpc/ldms-samp:latest"));
    (layout, samples)
}

#[test]
fn a_platform_is_picked_out_of_an_index() {
    let (layout, [amd64, arm64]) = multi_platform();
    let bench = Bench::layout(&layout.finish());
    let error = bench.refusal("", &[SAMP]);
    assert_eq!(error.kind(), Kind::Usage);
    assert!(error.what().contains("linux/amd64, linux/arm64"), "{error}");
    let bench = bench.platform("linux/arm64");
    assert_eq!(bench.gather("", &[SAMP]).unwrap()[0].id, arm64.id());
    let bench = bench.platform("linux/amd64");
    assert_is(&bench.gather("", &[SAMP]).unwrap()[0], &amd64);
    let error = bench.platform("linux/s390x").refusal("", &[SAMP]);
    assert!(error.what().contains("only linux/amd64, linux/arm64"), "{error}");
    // Another image that is there for one platform decides.
    let (layout, _) = multi_platform();
    let bench = Bench::layout(&layout.finish());
    let agg = Bench::with("a.tar", &legacy(&[Sample::new("ovishpc/ldms-agg:latest", "a")]));
    let source = |path: &Path| Source::Path { path: path.to_owned(), name: None };
    let sources = [source(bench.directory.path()), source(&agg.path("a.tar"))];
    assert_is(&bench.gather_from(&sources, &[SAMP, AGG]).unwrap()[0], &amd64);
}

#[test]
fn platforms_that_were_not_copied_are_passed_over() {
    let (mut layout, [amd64, arm64]) = multi_platform();
    layout.files.remove(&format!("blobs/sha256/{}", arm64.id().hex()));
    let mut files = layout.finish();
    let bench = Bench::layout(&files);
    assert_is(&bench.gather("", &[SAMP]).unwrap()[0], &amd64);
    let error = bench.platform("linux/arm64").refusal("", &[SAMP]);
    assert!(error.what().contains("lists it for linux/arm64 without its part"), "{error}");
    files.remove(&format!("blobs/sha256/{}", amd64.id().hex()));
    let error = Bench::layout(&files).refusal("", &[SAMP]);
    assert!(error.what().contains(&amd64.id().hex()), "{error}");
}

#[test]
fn one_platform_is_packed() {
    let images =
        [Sample::new("ovishpc/ldms-samp:1", "s"), Sample::on("arm64", "ovishpc/ldms-agg:1", "a")];
    let bench = Bench::with("a.tar", &legacy(&images));
    let error = bench.refusal("a.tar", &[SAMP, AGG]);
    assert_eq!(error.kind(), Kind::Refused);
    assert!(error.what().contains("ovishpc/ldms-agg is for linux/arm64"), "{error}");
    let error = bench.platform("linux/amd64").refusal("a.tar", &[SAMP, AGG]);
    assert!(error.what().contains("ovishpc/ldms-agg (only linux/arm64)"), "{error}");
}

#[test]
fn layers_are_read_by_several_threads_at_once_and_report_what_was_stored() {
    let [samp, _] = pair();
    let bench =
        Bench::with("a.tar.gz", &pack(Packing::Gzip, &docker25(from_ref(&samp), Packing::Zstd)));
    let image = &bench.gather("a.tar.gz", &[SAMP]).unwrap()[0];
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..20 {
                    assert_eq!(prove(image).unwrap(), samp.layers);
                }
            });
        }
    });
    for layer in &image.layers {
        let mut stored = 0;
        let mut tar = layer.open_reporting(|bytes| stored += bytes).unwrap();
        std::io::copy(&mut tar, &mut std::io::sink()).unwrap();
        drop(tar);
        assert_eq!(stored, layer.packed_size());
    }
}

#[test]
fn sources_are_read_as_written() {
    let parse = |text: &str| Source::parse(text.as_ref());
    let path = |path: &str, name: Option<&str>| Source::Path {
        path: path.into(),
        name: name.map(str::to_owned),
    };
    let engine = |engine, registry: Option<&str>| Source::Engine {
        engine,
        registry: registry.map(str::to_owned),
    };
    for (text, source) in [
        ("a/b.tar", path("a/b.tar", None)),
        ("ovishpc/ldms-samp=x=y.tar", path("x=y.tar", Some(SAMP))),
        ("./a/b=c.tar", path("./a/b=c.tar", None)),
        ("a=b.tar", path("a=b.tar", None)),
        ("docker:", engine(Engine::Docker, None)),
        ("podman:registry:5000/mirror/", engine(Engine::Podman, Some("registry:5000/mirror"))),
    ] {
        assert_eq!(parse(text).unwrap(), source);
    }
    for text in ["", "docker:-x", "docker:a b", "docker:a@b", "podman:--root"] {
        assert_eq!(parse(text).unwrap_err().kind(), Kind::Usage, "{text}");
    }
}
