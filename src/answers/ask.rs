//! The door to a person: prompts as a trait, so that nothing below the command line knows a
//! terminal, and the one who never asks.

use crate::engine::Kind;
use crate::error::{Error, Result};
use crate::profile::Profile;

/// One line of a list to choose from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What is chosen, a word.
    pub value: String,
    /// What it means, for people.
    pub label: String,
}

/// Somebody who can be asked.
pub trait Ask {
    /// Whether questions are answered at all; otherwise defaults hold and the rest is missing.
    fn asks(&self) -> bool;
    /// Shows a line before a question.
    fn note(&mut self, text: &str) -> Result<()>;
    /// Lets one of `items` be chosen and gives its index.
    fn choose(&mut self, prompt: &str, items: &[Item], default: Option<usize>) -> Result<usize>;
    /// Asks for a text until `check` is content with it; its error is shown.
    fn text(
        &mut self,
        prompt: &str,
        default: Option<&str>,
        check: &dyn Fn(&str) -> Result<(), String>,
    ) -> Result<String>;
    /// Asks for a text that nobody may see, twice unless it is empty.
    fn secret(&mut self, prompt: &str) -> Result<String>;
    /// Asks for yes or no.
    fn confirm(&mut self, prompt: &str, default: bool) -> Result<bool>;
}

/// `--yes`: never asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Never;

impl Never {
    fn refuse<T>(prompt: &str) -> Result<T> {
        Err(Error::usage(format!("nobody can be asked: {prompt}")))
    }
}

impl Ask for Never {
    fn asks(&self) -> bool {
        false
    }

    fn note(&mut self, _: &str) -> Result<()> {
        Ok(())
    }

    fn choose(&mut self, prompt: &str, _: &[Item], default: Option<usize>) -> Result<usize> {
        default.map_or_else(|| Self::refuse(prompt), Ok)
    }

    fn text(
        &mut self,
        prompt: &str,
        default: Option<&str>,
        check: &dyn Fn(&str) -> Result<(), String>,
    ) -> Result<String> {
        match default {
            Some(default) if check(default).is_ok() => Ok(default.into()),
            _ => Self::refuse(prompt),
        }
    }

    fn secret(&mut self, prompt: &str) -> Result<String> {
        Self::refuse(prompt)
    }

    fn confirm(&mut self, _: &str, default: bool) -> Result<bool> {
        Ok(default)
    }
}

/// Asks what this node is for, a line for each role of the bundle; the role chosen.
pub fn choose_role(profiles: &[Profile], ask: &mut dyn Ask) -> Result<String> {
    let items: Vec<Item> = profiles
        .iter()
        .map(|p| Item { value: p.role.clone(), label: p.summary.get_ref().clone() })
        .collect();
    if !ask.asks() || items.is_empty() {
        let roles: Vec<&str> = items.iter().map(|item| item.value.as_str()).collect();
        return Err(Error::usage("no role is given and none is installed")
            .remedy(format!("give --role ROLE; this bundle has: {}", roles.join(", "))));
    }
    let chosen = ask.choose("What is this node for", &items, Some(0))?;
    items.into_iter().nth(chosen).map(|item| item.value).ok_or_else(out_of_list)
}

/// Asks which of the usable engines, given in order of preference, shall run the containers.
pub fn choose_engine(usable: &[Kind], ask: &mut dyn Ask) -> Result<Kind> {
    let items: Vec<Item> = usable
        .iter()
        .map(|kind| Item { value: kind.to_string(), label: kind.meaning().into() })
        .collect();
    let chosen = match usable {
        [_, _, ..] if ask.asks() => {
            ask.choose("Which engine shall run the containers", &items, Some(0))?
        }
        _ => 0,
    };
    usable.get(chosen).copied().ok_or_else(|| {
        Error::host("no usable container engine was found").remedy("install docker or podman")
    })
}

pub(super) fn out_of_list() -> Error {
    Error::usage("the choice is not in the list")
}
