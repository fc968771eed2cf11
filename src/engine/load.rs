//! Images in an engine: taking one in, proving that it is the signed one, removing it.
//!
//! An image is known by a tag made from its config digest and accepted when the engine's own
//! list of layers equals the signed diffIDs; image IDs differ between docker's stores.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::Kind;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::host::facts::engine_cmd;
use crate::host::{Cmd, Interrupt};
use crate::root::{Attr, Root};

/// How long an engine may take nothing of an image, or think about its end: it unpacks gigabytes.
const LOADING: Duration = Duration::from_secs(900);

/// How long a command in a container may take.
const EXEC: Duration = Duration::from_secs(20);
/// Last lines of what it said that are told if it fails.
const EXEC_LINES: usize = 3;

/// Where podman keeps an image while it takes it in. It is ours because a client that is killed
/// leaves the file behind, as large as the image.
pub const SCRATCH: &str = "/var/lib/ldms-install/scratch";

/// An engine's client.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    kind: Kind,
}

/// An image as its engine knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The engine's own name for it; which digest that is differs between stores.
    pub id: String,
    /// The diffIDs of its layers in order.
    pub layers: Vec<Digest>,
}

/// What became of an image that was to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// Our name for it is gone, and the image too unless it has other names.
    Gone,
    /// It was not there.
    Absent,
    /// A container uses it, so it stays.
    InUse,
}

impl Client {
    /// The client of an engine on this host.
    pub fn new(kind: Kind) -> Self {
        Client { kind }
    }

    /// Which engine.
    pub fn kind(self) -> Kind {
        self.kind
    }

    /// The image under the name `reference`; `None` if the engine has no such name.
    pub fn inspect(self, reference: &str) -> Result<Option<Loaded>> {
        if !self.has(reference)? {
            return Ok(None);
        }
        let output = self.cmd(["image", "inspect", reference]).run()?;
        read_inspect(&output.stdout)
            .map(Some)
            .map_err(|e| e.at(format!("image {reference} in {}", self.kind)))
    }

    /// The image is there under `reference` with exactly these layers.
    pub fn present(self, reference: &str, layers: &[Digest]) -> Result<Option<Loaded>> {
        Ok(self.inspect(reference)?.filter(|loaded| loaded.layers == layers))
    }

    /// Takes in the image that `feed` writes as a docker archive, and proves that it now has
    /// exactly `layers` under the name `reference`; otherwise it is removed again. The directory
    /// that holds the record must be there: the engine's scratch is beside it. If `feed`
    /// fails the client is killed, so that a part is never taken for the whole. What the engine
    /// has stored is on disk when this returns.
    pub fn load(
        self,
        root: &Root,
        reference: &str,
        layers: &[Digest],
        interrupt: &Interrupt,
        feed: &mut dyn FnMut(&mut dyn Write) -> Result<()>,
    ) -> Result<Loaded> {
        let place = || format!("image {reference} in {}", self.kind);
        let scratch = Path::new(SCRATCH);
        root.mkdir(scratch, Attr::own(0o700))?;
        let load = self.cmd(["load", "--quiet"]).env("TMPDIR", root.path(scratch));
        let taken = load.timeout(LOADING).feed(interrupt, feed).map_err(|e| e.at(place()));
        let swept = root.remove_tree(scratch);
        taken.and(swept)?;
        let loaded = self.inspect(reference)?.ok_or_else(|| {
            Error::failed("the engine took the image but does not know it by its name").at(place())
        })?;
        if loaded.layers != layers {
            // The refusal is the error to tell; a name that stays is never believed again.
            let _ = self.remove(reference);
            return Err(Error::refused("the engine has other layers than were signed").at(place()));
        }
        root.sync_file_system(&self.store()?)?;
        Ok(loaded)
    }

    /// Takes the name `reference` away, and the image with it if that was its last name.
    pub fn remove(self, reference: &str) -> Result<Removed> {
        if !self.has(reference)? {
            return Ok(Removed::Absent);
        }
        // Asked only once it has failed: an image with other names loses ours all the same.
        let removal = self.cmd(["image", "rm", reference]).timeout(LOADING);
        let Err(failure) = removal.run() else { return Ok(Removed::Gone) };
        if self.is_in_use(reference)? { Ok(Removed::InUse) } else { Err(failure) }
    }

    /// There is a container, running or not, of the image `reference`.
    pub fn is_in_use(self, reference: &str) -> Result<bool> {
        let filter = format!("ancestor={reference}");
        let users = self.cmd(["ps", "--all", "--quiet", "--filter", &filter]).run()?;
        Ok(!users.text().is_empty())
    }

    /// A container of this name is there, running or not.
    pub fn has_container(self, name: &str) -> Result<bool> {
        Ok(self.cmd(["container", "inspect", "--format", "{{.Id}}", name]).status()?.status == 0)
    }

    /// Runs a command in a running container. The error has what it said.
    pub fn exec(self, container: &str, command: &[String]) -> Result<(), String> {
        let cmd = engine_cmd(self.kind).args(["exec", container]).args(command).timeout(EXEC);
        let output = cmd.status().map_err(|error| error.to_string())?;
        if output.status == 0 {
            return Ok(());
        }
        let (said, complained) = (output.text(), output.stderr.trim());
        let text = if complained.is_empty() { said.as_str() } else { complained };
        let lines: Vec<&str> = text.lines().collect();
        let lines = &lines[lines.len().saturating_sub(EXEC_LINES)..];
        let command = shell_words::join(command);
        Err(format!("`{command}` ends with {}: {}", output.status, lines.join("; ")))
    }

    /// The directory in which the engine keeps its images.
    pub fn store(self) -> Result<PathBuf> {
        let format = match self.kind {
            Kind::Docker => "{{.DockerRootDir}}",
            Kind::Podman => "{{.Store.GraphRoot}}",
        };
        let path = PathBuf::from(self.cmd(["info", "--format", format]).run()?.text());
        if path.is_absolute() && path != Path::new("/") {
            return Ok(path);
        }
        Err(Error::failed(format!("{} does not tell where it keeps images", self.kind)))
    }

    /// The engine has an image of this name.
    fn has(self, reference: &str) -> Result<bool> {
        let cmd = match self.kind {
            // Its list knows nothing by a name with the registry in front; inspecting does.
            Kind::Docker => self.cmd(["image", "inspect", "--format", "{{.Id}}", reference]),
            Kind::Podman => self.cmd(["image", "exists", reference]),
        };
        let output = cmd.status()?;
        let absent = match self.kind {
            Kind::Docker => output.stderr.to_ascii_lowercase().contains("no such image"),
            Kind::Podman => output.status == 1,
        };
        match output.status {
            0 => Ok(true),
            _ if absent => Ok(false),
            _ => Err(cmd.failure(&output)),
        }
    }

    fn cmd<const N: usize>(self, args: [&str; N]) -> Cmd {
        engine_cmd(self.kind).args(args).timeout(Duration::from_secs(120))
    }
}

/// Reads what `image inspect` of both engines prints for one image.
fn read_inspect(json: &[u8]) -> Result<Loaded> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Image {
        id: String,
        #[serde(rename = "RootFS")]
        root_fs: RootFs,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct RootFs {
        layers: Vec<Digest>,
    }
    let images: Vec<Image> = serde_json::from_slice(json)
        .map_err(|e| Error::failed("the engine describes it in an unknown way").because(e))?;
    match <[Image; 1]>::try_from(images) {
        Ok([image]) => Ok(Loaded { id: image.id, layers: image.root_fs.layers }),
        Err(images) => {
            Err(Error::failed(format!("the engine describes {} images, not one", images.len())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_engines_descriptions_are_read() {
        let layer = Digest::of(b"layer");
        let json = format!(
            r#"[{{"Id":"sha256:ab","RepoTags":["x"],"Size":3,
                "RootFS":{{"Type":"layers","Layers":["{layer}"]}}}}]"#
        );
        let loaded = read_inspect(json.as_bytes()).unwrap();
        assert_eq!(loaded, Loaded { id: "sha256:ab".into(), layers: vec![layer] });
        assert!(read_inspect(b"[]").is_err());
        assert!(read_inspect(b"Error").is_err());
        assert!(read_inspect(br#"[{"Id":"a","RootFS":{"Layers":["sha256:0"]}}]"#).is_err());
    }
}
