//! Text of the scripts that run a command's container for people, from the bundle's templates
//! `units/ENGINE.command`. Every `{{ value }}` is written as words of a POSIX shell, so that none
//! can leave its place.

use std::collections::BTreeMap;

use minijinja::{Value, context};

use super::Target;
use crate::error::{Error, Kind, Result};
use crate::profile::template;
use crate::service::Service;

/// Where commands are installed.
const COMMANDS: &str = "/usr/local/bin";

/// A script to be installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// `/usr/local/bin/ldms-NAME`
    pub path: String,
    /// The file's content
    pub text: String,
}

/// The script of a command. `templates` are the bundle's, by path: `units/docker.command`.
pub fn script(
    command: &Service,
    target: &Target,
    templates: &BTreeMap<String, String>,
) -> Result<Script> {
    let path = format!("units/{}.command", target.engine);
    let source = templates
        .get(&path)
        .ok_or_else(|| Error::refused("the bundle has no template for commands").at(&path))?;
    let name = format!("ldms-{}", command.name);
    let values = context! {
        name => &name,
        program => &target.program,
        flags => target.engine.command_flags(command),
        image => &command.image_reference,
        args => &command.args,
    };
    let text = template::environment(quoted)
        .and_then(|environment| environment.render_named_str(&path, source, values))
        .map_err(|e| template::fault(Kind::Failed, &format!("cannot write {name}"), &path, &e))?;
    Ok(Script { path: format!("{COMMANDS}/{name}"), text })
}

/// A text as one word, a list as several on lines of their own.
fn quoted(value: &Value) -> Result<String, String> {
    if let Some(text) = value.as_str() {
        return word(text);
    }
    let refuse = || format!("a {} cannot be written into a script", value.kind());
    let items = value.try_iter().map_err(|_| refuse())?;
    let words: Result<Vec<String>, String> =
        items.map(|item| item.as_str().ok_or_else(refuse).and_then(word)).collect();
    Ok(words?.join(" \\\n    "))
}

fn word(text: &str) -> Result<String, String> {
    if text.contains('\0') {
        return Err("a zero byte cannot be part of it".into());
    }
    Ok(shell_words::quote(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_words() {
        for (value, want) in [
            (Value::from("a-b"), "a-b"),
            (Value::from("a b"), "'a b'"),
            (Value::from("$(reboot)"), "'$(reboot)'"),
            (Value::from("it's;"), "'it'\\''s;'"),
            (Value::from(vec!["--a", "b c"]), "--a \\\n    'b c'"),
        ] {
            assert_eq!(quoted(&value).unwrap(), want);
        }
        assert!(quoted(&Value::from(1)).is_err());
        assert!(quoted(&Value::from("a\0")).is_err());
    }
}
