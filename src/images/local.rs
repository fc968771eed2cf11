//! Images in a container engine on this machine: found with `image ls`, taken with `save`.
//!
//! They are saved one at a time, so that what the scratch directory must hold is one archive
//! after another and an interrupted `save` names its image.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde::Deserialize;

use super::choose::preferred;
use super::found::{Answer, Question};
use super::names::Reference;
use super::provenance::Provenance;
use super::store::Store;
use super::{Options, path, scratch};
use crate::error::{Error, Result};
use crate::progress::Progress;

/// A container engine that images can be taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// `docker:`
    Docker,
    /// `podman:`
    Podman,
}

impl Engine {
    fn program(self) -> &'static str {
        match self {
            Engine::Docker => "docker",
            Engine::Podman => "podman",
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.program())
    }
}

/// What an engine calls one image, and its identity there (not always the configuration's digest).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    reference: Reference,
    id: String,
}

/// All named images of `engine`.
pub(super) fn list(engine: Engine) -> Result<Vec<Listed>> {
    let format = "{{.Repository}}:{{.Tag}} {{.ID}}";
    let out =
        run(engine, &["image", "ls", "--no-trunc", "--format", format], None).map_err(|e| {
            e.remedy(format!(
                "see that {engine} runs and that you may use it ('{engine} info'), \
             or take the images from archives: --from PATH"
            ))
        })?;
    Ok(String::from_utf8_lossy(&out).lines().filter_map(parse_line).collect())
}

fn parse_line(line: &str) -> Option<Listed> {
    let (name, id) = line.trim().rsplit_once(' ')?;
    // Images without a name or tag say `<none>`, which is no reference.
    Some(Listed { reference: Reference::parse(name)?, id: id.to_owned() })
}

/// The reference to save for the image `name`, out of what the engine has; `None` if it has none.
pub(super) fn pick(
    engine: Engine,
    listed: &[Listed],
    registry: Option<&str>,
    name: &str,
    tag: Option<&str>,
) -> Result<Option<Reference>> {
    let fits = |l: &&Listed| {
        l.reference.is_from(registry, name)
            && tag.is_none_or(|tag| l.reference.tag.as_deref() == Some(tag))
    };
    let fitting: Vec<&Listed> = listed.iter().filter(fits).collect();
    if fitting.windows(2).any(|two| two[0].id != two[1].id) {
        let mut names: Vec<String> = fitting.iter().map(|l| l.reference.to_string()).collect();
        names.sort();
        return Err(Error::usage(format!(
            "{engine} has different images that may be meant by {name}: {}",
            names.join(", ")
        ))
        .remedy(format!("choose with --tag, or with --from {engine}:REGISTRY")));
    }
    let references: Vec<Reference> = fitting.iter().map(|l| l.reference.clone()).collect();
    Ok(preferred(&references).cloned())
}

/// How an engine calls the image `name` under whatever registry and tag.
pub(super) fn similar(listed: &[Listed], name: &str) -> Vec<String> {
    let of_name = listed.iter().filter(|l| l.reference.is(name));
    of_name.map(|l| l.reference.to_string()).collect()
}

/// Lets `engine` fetch the image `name` and returns the reference it then has it under.
pub(super) fn pull(
    engine: Engine,
    registry: Option<&str>,
    name: &str,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Reference> {
    let tag = options.tag.as_deref().unwrap_or("latest");
    let text = format!("{}/{name}:{tag}", registry.unwrap_or("docker.io"));
    let reference = Reference::parse(&text)
        .ok_or_else(|| Error::usage(format!("'{}' is not an image name", text.escape_debug())))?;
    progress.note(&format!("{engine} fetches {text}"));
    let platform = options.platform.as_ref().map(|p| format!("--platform={p}"));
    let mut arguments = vec!["pull", "--quiet"];
    arguments.extend(platform.as_deref());
    arguments.push(&text);
    run(engine, &arguments, None).map_err(|e| {
        e.remedy(format!(
            "see that {engine} runs ('{engine} info') and reaches the registry; \
             or leave --pull out"
        ))
    })?;
    Ok(reference)
}

/// Has `engine` write the image `name` into a scratch file and adds it to `answer`.
pub(super) fn save(
    engine: Engine,
    reference: &Reference,
    name: &str,
    scratch: &Path,
    progress: &dyn Progress,
    answer: &mut Answer,
) -> Result<()> {
    let text = reference.to_string();
    let inspected = run(engine, &["image", "inspect", &text], None)?;
    let (size, mut registry) =
        parse_inspect(&inspected).map_err(|e| e.at(format!("{engine} image inspect {text}")))?;
    // An engine tells of every registry that it knows the image by; this came by one name.
    registry
        .retain(|text| Reference::parse(text).is_some_and(|r| r.is_in_repository_of(reference)));
    scratch::room(scratch, size)?;
    let file = scratch::file(scratch)?;
    progress.note(&format!("{engine} saves {text} into {}", scratch.display()));
    let out = file
        .try_clone()
        .map_err(|e| Error::failed("cannot be written").at(scratch.display()).because(e))?;
    run(engine, &["save", &text], Some(out)).map_err(|e| {
        e.remedy(format!("see that {} has room; try: {engine} save {text}", scratch.display()))
    })?;
    let place = format!("{engine} save {text}");
    let store = Store::tar(Arc::new(file), &place)?;
    let from = Arc::new(Provenance::new(format!("{engine}:"), registry));
    let before = answer.found.len();
    let wanted = [name.to_owned()];
    path::list_store(&store, Question { wanted: &wanted, named: None }, &from, answer)?;
    if answer.found.len() == before {
        return Err(Error::refused(format!("does not hold {name}")).at(place));
    }
    Ok(())
}

/// The size and the registries' digests of the one image that `image inspect` tells of.
fn parse_inspect(json: &[u8]) -> Result<(u64, Vec<String>)> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Image {
        #[serde(default)]
        size: u64,
        #[serde(default)]
        repo_digests: Option<Vec<String>>,
    }
    let images: Vec<Image> = serde_json::from_slice(json)
        .map_err(|e| Error::failed("told nothing that can be understood").because(e))?;
    let Some(image) = images.into_iter().next() else {
        return Err(Error::failed("told of no image"));
    };
    let mut registry = image.repo_digests.unwrap_or_default();
    // They only pass through, into a text that people read.
    registry.retain(|text| Reference::parse(text).is_some() && text.contains("@sha256:"));
    registry.sort();
    registry.dedup();
    Ok((image.size, registry))
}

/// Runs one command of an engine, its output returned or written to `out`.
#[expect(
    clippy::disallowed_methods,
    reason = "a laptop's engine is found through the user's own environment, which host::Cmd drops"
)]
fn run(engine: Engine, arguments: &[&str], out: Option<File>) -> Result<Vec<u8>> {
    let program = engine.program();
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(out.map_or_else(Stdio::piped, Stdio::from))
        .stderr(Stdio::piped())
        .output()
        .map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Error::host(format!("{program} is not on this machine"))
                .remedy("take the images from archives instead: --from PATH"),
            _ => Error::host(format!("cannot run {program}")).because(e),
        })?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> =
        said.lines().rev().filter(|line| !line.trim().is_empty()).take(3).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    Err(Error::host(format!("'{program} {}' failed ({})", arguments.join(" "), output.status))
        .because(io::Error::other(last.join(" / "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "ovishpc/ldms-samp";

    fn listed(text: &str) -> Vec<Listed> {
        text.lines().filter_map(parse_line).collect()
    }

    fn picked(text: &str, registry: Option<&str>, tag: Option<&str>) -> Result<Option<String>> {
        let found = pick(Engine::Docker, &listed(text), registry, NAME, tag)?;
        Ok(found.map(|reference| reference.to_string()))
    }

    #[test]
    fn an_engine_s_list_is_searched_by_name_tag_and_registry() {
        let text = "ovishpc/ldms-samp:latest sha256:1\n\
                    ovishpc/ldms-samp:4.4.4 sha256:1\n\
                    registry:5000/m/ovishpc/ldms-samp:latest sha256:2\n\
                    ovishpc/ldms-agg:latest sha256:3\n\
                    <none>:<none> sha256:4\n\
                    ovishpc/ldms-samp:<none> sha256:5\n";
        let error = picked(text, None, None).unwrap_err();
        assert!(error.what().contains("registry:5000/m/ovishpc/ldms-samp:latest"), "{error}");
        assert!(picked(text, None, Some("latest")).is_err());
        let reference = "ovishpc/ldms-samp:4.4.4".to_owned();
        assert_eq!(picked(text, None, Some("4.4.4")).unwrap(), Some(reference));
        let reference = "registry:5000/m/ovishpc/ldms-samp:latest".to_owned();
        assert_eq!(picked(text, Some("registry:5000/m"), None).unwrap(), Some(reference));
        assert_eq!(picked(text, None, Some("1")).unwrap(), None);
        let same = text.lines().take(2).collect::<Vec<_>>().join("\n");
        assert_eq!(picked(&same, None, None).unwrap().unwrap(), "ovishpc/ldms-samp:4.4.4");
    }

    #[test]
    fn the_registries_digests_are_kept() {
        let digest = "ovishpc/ldms-samp@sha256:aa";
        let json = format!(r#"[{{"Id": "x", "Size": 7, "RepoDigests": ["{digest}", "a\nb"]}}]"#);
        assert_eq!(parse_inspect(json.as_bytes()).unwrap(), (7, vec![digest.to_owned()]));
        for json in ["", "[]", "{}", r#"[{"Size": -1}]"#] {
            assert!(parse_inspect(json.as_bytes()).is_err(), "{json}");
        }
    }
}
