//! Images, archives and layouts for tests, in each shape that the programs write, and in shapes
//! that only somebody with bad intentions would.
#![expect(clippy::disallowed_methods, reason = "tests work in folders of their own")]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};
use tar::{EntryType, Header};

use super::decode::Packing;
use crate::digest::Digest;

pub(super) const SAMP: &str = "ovishpc/ldms-samp";
pub(super) const AGG: &str = "ovishpc/ldms-agg";

/// A tar, entry by entry, without any of a real writer's scruples.
#[derive(Default)]
pub(super) struct Tar(Vec<u8>);

impl Tar {
    pub(super) fn file(self, name: &str, bytes: &[u8]) -> Self {
        self.entry(name, EntryType::Regular, "", bytes)
    }

    pub(super) fn link(self, name: &str, target: &str, kind: EntryType) -> Self {
        self.entry(name, kind, target, b"")
    }

    pub(super) fn entry(mut self, name: &str, kind: EntryType, target: &str, bytes: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name.as_bytes());
        old.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(super) fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

pub(super) fn pack(packing: Packing, bytes: &[u8]) -> Vec<u8> {
    match packing {
        Packing::Plain => bytes.to_vec(),
        Packing::Zstd => zstd::encode_all(bytes, 1).unwrap(),
        Packing::Gzip => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            out.write_all(bytes).unwrap();
            out.finish().unwrap()
        }
    }
}

/// An image: its plain layers and its configuration.
#[derive(Clone)]
pub(super) struct Sample {
    pub(super) tags: Vec<String>,
    pub(super) layers: Vec<Vec<u8>>,
    pub(super) config: Vec<u8>,
}

impl Sample {
    /// Two layers that depend on `seed`, for linux/amd64.
    pub(super) fn new(tag: &str, seed: &str) -> Self {
        Self::on("amd64", tag, seed)
    }

    pub(super) fn on(architecture: &str, tag: &str, seed: &str) -> Self {
        let layers = ["base", seed]
            .map(|text| Tar::default().file("etc/motd", text.repeat(500).as_bytes()).end())
            .to_vec();
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::of(layer)).collect();
        let config = json!({
            "architecture": architecture, "os": "linux", "created": "2026-01-02T03:04:05Z",
            "config": {"Cmd": [seed]}, "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = serde_json::to_vec(&config).unwrap();
        Sample { tags: vec![tag.to_owned()], layers, config }
    }

    pub(super) fn id(&self) -> Digest {
        Digest::of(&self.config)
    }

    /// The same image with its configuration changed.
    pub(super) fn lying(mut self, change: impl Fn(&mut Value)) -> Self {
        let mut config = serde_json::from_slice(&self.config).unwrap();
        change(&mut config);
        self.config = serde_json::to_vec(&config).unwrap();
        self
    }

    fn manifest(&self, config: &str, layers: &[String]) -> Value {
        json!({"Config": config, "RepoTags": self.tags, "Layers": layers})
    }
}

pub(super) fn manifest_json(tar: Tar, entries: &[Value]) -> Vec<u8> {
    tar.file("manifest.json", &serde_json::to_vec(entries).unwrap()).end()
}

/// As docker before version 25 saves: directories named after nothing in particular.
pub(super) fn legacy(images: &[Sample]) -> Vec<u8> {
    let mut tar = Tar::default();
    let mut entries = Vec::new();
    for (number, image) in images.iter().enumerate() {
        let mut names = Vec::new();
        for (n, layer) in image.layers.iter().enumerate() {
            let directory = Digest::of(format!("{number} {n}").as_bytes()).hex();
            tar = tar.entry(&format!("{directory}/"), EntryType::Directory, "", b"");
            tar = tar.file(&format!("{directory}/VERSION"), b"1.0");
            tar = tar.file(&format!("{directory}/json"), b"{}");
            let name = format!("{directory}/layer.tar");
            tar = match (number, n) {
                // A layer that is there already becomes a link.
                (1.., 0) => {
                    let first = Digest::of(b"0 0").hex();
                    tar.link(&name, &format!("../{first}/layer.tar"), EntryType::Symlink)
                }
                _ => tar.file(&name, layer),
            };
            names.push(name);
        }
        let config = format!("{}.json", image.id().hex());
        tar = tar.file(&config, &image.config);
        entries.push(image.manifest(&config, &names));
    }
    manifest_json(tar, &entries)
}

/// As podman saves: layers named after their diffIDs, links where docker has them.
pub(super) fn podman(images: &[Sample]) -> Vec<u8> {
    let mut tar = Tar::default();
    let mut entries = Vec::new();
    for (number, image) in images.iter().enumerate() {
        let mut names = Vec::new();
        for (n, layer) in image.layers.iter().enumerate() {
            let name = format!("{}.tar", Digest::of(layer).hex());
            if number == 0 || n > 0 {
                tar = tar.file(&name, layer);
            }
            let old = format!("{number}{n}/layer.tar");
            tar = tar.link(&old, &format!("../{name}"), EntryType::Symlink);
            names.push(if n == 0 { old } else { name });
        }
        let config = format!("{}.json", image.id().hex());
        tar = tar.file(&config, &image.config);
        entries.push(image.manifest(&config, &names));
    }
    manifest_json(tar, &entries)
}

/// As docker from version 25 on saves: an OCI layout with a `manifest.json` in it.
pub(super) fn docker25(images: &[Sample], packing: Packing) -> Vec<u8> {
    let mut layout = Layout::default();
    let mut entries = Vec::new();
    for image in images {
        let descriptor = layout.image(image, packing);
        for tag in &image.tags {
            layout.top(descriptor.clone(), &json!({"io.containerd.image.name": tag}));
        }
        let blob = |bytes: &[u8]| format!("blobs/sha256/{}", Digest::of(bytes).hex());
        let layers: Vec<_> = image.layers.iter().map(|l| blob(&pack(packing, l))).collect();
        entries.push(image.manifest(&blob(&image.config), &layers));
    }
    let mut files = layout.finish();
    files.insert("manifest.json".into(), serde_json::to_vec(&entries).unwrap());
    to_tar(&files)
}

pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// An OCI layout in the making.
#[derive(Default)]
pub(super) struct Layout {
    pub(super) files: Files,
    top: Vec<Value>,
}

impl Layout {
    pub(super) fn blob(&mut self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        self.files.insert(format!("blobs/sha256/{}", digest.hex()), bytes.to_vec());
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    pub(super) fn image(&mut self, image: &Sample, packing: Packing) -> Value {
        let kind = "application/vnd.oci.image.layer.v1.tar";
        let layers: Vec<_> =
            image.layers.iter().map(|l| self.blob(kind, &pack(packing, l))).collect();
        let config = self.blob("application/vnd.oci.image.config.v1+json", &image.config);
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers});
        let bytes = serde_json::to_vec(&manifest).unwrap();
        let mut descriptor = self.blob("application/vnd.oci.image.manifest.v1+json", &bytes);
        let config: Value = serde_json::from_slice(&image.config).unwrap();
        descriptor["platform"] =
            json!({"os": config["os"], "architecture": config["architecture"]});
        descriptor
    }

    pub(super) fn index(&mut self, children: &[Value]) -> Value {
        let bytes = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": children}));
        self.blob("application/vnd.oci.image.index.v1+json", &bytes.unwrap())
    }

    pub(super) fn top(&mut self, mut descriptor: Value, annotations: &Value) {
        descriptor["annotations"] = annotations.clone();
        self.top.push(descriptor);
    }

    pub(super) fn finish(mut self) -> Files {
        let index = json!({"schemaVersion": 2, "manifests": self.top});
        self.files.insert("index.json".into(), serde_json::to_vec(&index).unwrap());
        self.files.insert("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
        self.files
    }
}

/// The whole name as the format's own annotation.
pub(super) fn named(name: &str) -> Value {
    json!({"org.opencontainers.image.ref.name": name})
}

pub(super) fn to_tar(files: &Files) -> Vec<u8> {
    // As `tar -C DIR -cf FILE .` names them.
    let add = |tar: Tar, (name, bytes): (&String, &Vec<u8>)| tar.file(&format!("./{name}"), bytes);
    files.iter().fold(Tar::default(), add).end()
}

pub(super) fn to_directory(files: &Files, directory: &Path) {
    for (name, bytes) in files {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}
