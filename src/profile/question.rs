//! One question: its proposal for this host, and whether a given answer fits.

use std::collections::BTreeSet;

use serde::Deserialize;
use toml::Spanned;

use super::template::{self, Scope};
use super::{Type, Value};

/// `[[question]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Its name in answers and in templates.
    pub key: Spanned<String>,
    /// The prompt. Without one it is never asked: the default holds unless something else is given.
    pub ask: Option<String>,
    /// A line shown above the prompt: a template, which knows the answers before it.
    pub help: Option<String>,
    /// What the answer may be.
    #[serde(rename = "type")]
    pub kind: Type,
    /// The proposal: a value, or a template that gives one. Where it gives nothing, or what does
    /// not fit, there is none.
    pub default: Option<Spanned<Value>>,
    /// It may stay without an answer: an empty one is none, which is `none` in templates.
    #[serde(default)]
    pub optional: bool,
    /// For numbers and ports: the least that will do.
    pub min: Option<u64>,
    /// For lists: an empty one will not do.
    #[serde(default)]
    pub required: bool,
    /// For `choice`: what can be chosen.
    #[serde(default)]
    pub choices: Vec<Choice>,
    /// Variables of the container's environment that get the answer.
    #[serde(default)]
    pub env: Vec<Spanned<String>>,
    /// Why an answer would be wrong: whoever gives one is told this reason.
    pub refused: Option<String>,
    /// It has a meaning only where this holds.
    pub when: Option<Spanned<String>>,
    /// It says when the number of the question after it is found.
    #[serde(skip)]
    pub is_moment: bool,
}

/// One line of a list to choose from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// The answer.
    pub value: String,
    /// What it means.
    pub label: String,
    /// Shown in the list; otherwise it is accepted by name only.
    #[serde(default = "yes")]
    pub offered: bool,
}

fn yes() -> bool {
    true
}

impl Question {
    /// The key of the question that says when the number of this one is found.
    pub fn moment_key(&self) -> String {
        format!("{}_at", self.key.get_ref())
    }

    /// Whether it has a meaning, given the answers before it.
    pub fn applies(&self, scope: &Scope) -> Result<bool, String> {
        self.when.as_ref().map_or(Ok(true), |when| template::holds(when.get_ref(), scope))
    }

    /// Whether an answer may be given at all. The error is the reason.
    pub fn takes_answers(&self) -> Result<(), String> {
        self.refused.clone().map_or(Ok(()), Err)
    }

    /// An answer as typed after `--set KEY=` or at the prompt. The error is the reason.
    pub fn read(&self, text: &str) -> Result<Value, String> {
        if self.optional && text.trim().is_empty() {
            return Ok(Value::nothing());
        }
        self.kind.read(text).and_then(|value| self.fit(value))
    }

    /// An answer from a file of answers. The error is the reason.
    pub fn accept(&self, value: &Value) -> Result<Value, String> {
        if self.optional && value.is_nothing() {
            return Ok(Value::nothing());
        }
        self.kind.accept(value).and_then(|value| self.fit(value))
    }

    /// What is proposed on this host; the error says why nothing is.
    pub fn proposal(&self, scope: &Scope) -> Result<Value, String> {
        match self.default.as_ref().map(Spanned::get_ref) {
            None if self.optional => Ok(Value::nothing()),
            None => Err("there is no default".into()),
            Some(Value::Text(text)) => {
                let text = template::render(text, scope)?;
                if text.is_empty() && !self.kind.is_list() && !self.optional {
                    return Err("this host suggests none".into());
                }
                self.read(&text)
            }
            Some(value) => self.accept(value),
        }
    }

    /// An answer as messages may show it.
    pub fn shown(&self, text: String) -> String {
        if self.kind == Type::Secret { "…".into() } else { text }
    }

    /// The line above the prompt, given the answers before it. The error is the reason.
    pub fn help(&self, scope: &Scope) -> Result<Option<String>, String> {
        self.help.as_ref().map(|help| template::render(help, scope)).transpose()
    }

    /// What this question demands beyond its type.
    fn fit(&self, value: Value) -> Result<Value, String> {
        match &value {
            Value::Number(number) if self.min.is_some_and(|min| *number < min) => {
                Err(format!("it is a number from {} on", self.min.unwrap_or_default()))
            }
            Value::Words(words) if self.required && words.is_empty() => {
                Err("it needs at least one".into())
            }
            Value::Words(words) if self.required && words.iter().any(String::is_empty) => {
                Err("one of its words is empty".into())
            }
            Value::Words(words) if self.required => {
                let mut seen = BTreeSet::new();
                match words.iter().find(|word| !seen.insert(*word)) {
                    None => Ok(value),
                    Some(word) => Err(format!("'{}' is there twice", word.escape_debug())),
                }
            }
            Value::Text(text) if self.kind == Type::Choice => {
                if self.choices.iter().any(|choice| choice.value == *text) {
                    return Ok(value);
                }
                let offered: Vec<&str> = self
                    .choices
                    .iter()
                    .filter(|choice| choice.offered)
                    .map(|choice| choice.value.as_str())
                    .collect();
                Err(format!("it is one of: {}", offered.join(", ")))
            }
            _ => Ok(value),
        }
    }
}
