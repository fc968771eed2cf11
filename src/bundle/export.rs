//! An image out of a bundle as a docker archive, which `docker load`, `podman load` and every
//! scanner take.

use std::collections::BTreeSet;
use std::io::Write;

use super::index;
use super::member::{self, BLOCK};
use super::reader::Bundle;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::manifest::ImageEntry;
use crate::progress::Progress;

impl Bundle {
    /// Writes the image as a docker archive that `docker load` and `podman load` take: plain
    /// layers, the configuration, and `manifest.json` only after every diffID is proven, so that
    /// a fault before it registers nothing. `reference` becomes its name.
    pub fn export(
        &self,
        image: &ImageEntry,
        reference: &str,
        out: &mut dyn Write,
        progress: &dyn Progress,
    ) -> Result<()> {
        let task = image.short_name();
        let broken = |e| Error::from_io(e, "cannot write the image's archive");
        progress.begin(task, image.size);
        let config = self.config(image)?;
        let mut seen = BTreeSet::new();
        let mut once = image.layers.clone();
        once.retain(|id| seen.insert(*id));
        self.layers(
            &once,
            out,
            |out, layer| {
                out.write_all(&archive_header(&layer_file(&layer.diff_id), layer.size))
                    .map_err(broken)
            },
            |out, layer| out.write_all(zeros(member::padding(layer.size))).map_err(broken),
            &|bytes| progress.advance(task, bytes),
        )?;
        let config_file = format!("{}.json", image.id.hex());
        let manifest = serde_json::json!([{
            "Config": config_file,
            "RepoTags": [reference],
            "Layers": image.layers.iter().map(layer_file).collect::<Vec<_>>(),
        }]);
        for (name, bytes) in
            [(&*config_file, &*config), ("manifest.json", manifest.to_string().as_bytes())]
        {
            let size = bytes.len() as u64;
            out.write_all(&archive_header(name, size)).map_err(broken)?;
            out.write_all(bytes).map_err(broken)?;
            out.write_all(zeros(member::padding(size))).map_err(broken)?;
        }
        out.write_all(zeros(index::END)).map_err(broken)?;
        out.flush().map_err(broken)?;
        progress.end(task);
        Ok(())
    }
}

/// A layer's file name in a docker archive.
fn layer_file(diff_id: &Digest) -> String {
    format!("{}.tar", diff_id.hex())
}

/// The tar header of a file in a docker archive. Unlike a bundle's own members, layers may be
/// larger than octal digits can say.
fn archive_header(name: &str, size: u64) -> [u8; BLOCK as usize] {
    let mut header = tar::Header::new_gnu();
    // Names here are short and relative: nothing for it to refuse.
    let _ = header.set_path(name);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_cksum();
    *header.as_bytes()
}

/// `n` zeros, at most two blocks.
fn zeros(n: u64) -> &'static [u8] {
    &[0; 2 * BLOCK as usize][..n as usize]
}
