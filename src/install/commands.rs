//! Commands: roles that people run instead of systemd. Each is a script, and its image.

use std::collections::BTreeMap;

use super::files;
use crate::error::{Error, Result};
use crate::plan::{Content, Wanted, WantedFile};
use crate::record::{CommandRecord, FileKind};
use crate::root::{Attr, Root};
use crate::service::Service;
use crate::unit::{Target, command};

/// Names whose script would be taken for a program of ours.
const TAKEN: [&str; 2] = ["install", "pack"];

/// Adds the scripts of `commands`, in their order, and the files that they read.
pub fn lay(
    wanted: &mut Wanted,
    commands: &[Service],
    target: &Target,
    templates: &BTreeMap<String, String>,
    root: &Root,
) -> Result<()> {
    for command in commands {
        if TAKEN.contains(&&*command.name) {
            return Err(Error::usage(format!(
                "a command cannot be called {0}: ldms-{0} is a program already",
                command.name
            ))
            .remedy("give it another name: --role NAME=ROLE"));
        }
        files::lay(wanted, command, root)?;
        let script = command::script(command, target, templates)?;
        wanted.files.push(WantedFile {
            path: script.path.clone().into(),
            content: Content::Text(script.text),
            attr: Attr::root(0o755),
            kind: FileKind::Command,
        });
        wanted.commands.push(CommandRecord {
            name: command.name.clone(),
            role: command.role.clone(),
            path: script.path.into(),
            image: command.image_reference.clone(),
        });
    }
    Ok(())
}
