//! Numbers from the host's name: what becomes of a rule on this host, now or at its boot.

use std::path::Path;

use super::{Host, Values};
use crate::profile::{Question, Rule, Type, Value, rule};
use crate::root::Root;

/// What a rule comes to here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// What the service gets: the number, or the rule to be applied at boot.
    pub value: Value,
    /// The rule and its outcome, for people; none where a number was said.
    pub told: Option<String>,
    /// What must be there when the host boots and is not there now.
    pub lacks: Option<String>,
}

/// The rule that an answer says, if it answers such a question.
fn rule_in(question: &Question, value: &Value) -> Option<Rule> {
    match value {
        Value::Text(text) if question.kind == Type::HostNumber => Rule::parse(text).ok(),
        _ => None,
    }
}

/// What the host makes of an answer; of most nothing else than it is. The error is the reason.
///
/// A host that runs must give a number now even if it finds it at boot: it is going to try at once.
pub(super) fn find(
    question: &Question,
    value: &Value,
    host: &Host,
    at_boot: bool,
) -> Result<Found, String> {
    let Some(rule) = rule_in(question, value) else {
        return Ok(Found { value: value.clone(), told: None, lacks: None });
    };
    let mut lacks = None;
    let told = match (&rule, at_boot && host.prepared.is_some()) {
        (_, false) => {
            let number = rule.number(&host.name, &|path| text(host, path)?.ok_or(absent(path)))?;
            if !at_boot {
                let told = Some(format!("is {number} ({rule})"));
                return Ok(Found { value: Value::Number(number), told, lacks });
            }
            format!("is {number} now and is found again at each boot ({rule})")
        }
        (Rule::Map(path), true) => {
            match text(host, path)? {
                Some(text) => rule::check_map(path, &text)?,
                None => lacks = Some(format!("{}, and must be when the host boots", absent(path))),
            }
            format!("is found at boot ({rule})")
        }
        (_, true) => format!("is found at boot ({rule})"),
    };
    Ok(Found { value: Value::AtBoot(rule), told: Some(told), lacks })
}

/// Whether the number of `question` is found when the host boots, given the answers to the
/// questions that are never asked.
pub(super) fn is_at_boot(question: &Question, given: &Values, host: &Host) -> bool {
    match given.get(&question.moment_key()) {
        Some(moment) => *moment == Value::Text("boot".into()),
        None => host.prepared.is_some(),
    }
}

fn absent(path: &str) -> String {
    format!("{path}: is not there")
}

fn text(host: &Host, path: &str) -> Result<Option<String>, String> {
    let root = host.prepared.as_deref().unwrap_or(Path::new("/"));
    let bytes = Root::open(root)
        .and_then(|root| root.read(Path::new(path)))
        .map_err(|error| error.to_string())?;
    let text = |bytes| String::from_utf8(bytes).map_err(|_| format!("{path}: is not text"));
    bytes.map(text).transpose()
}
