//! Text of configuration files, from the bundle's templates in `config/`, and how far a file of
//! the site's own can be checked.
//!
//! A `{{ value }}` in a template is written as a literal of the file's format: a text comes out
//! quoted for YAML, JSON and Python, and where a format has no quotes, what could end the line or
//! begin something else is refused. So an answer cannot leave its place.

use std::collections::BTreeMap;

use minijinja::value::ValueKind;
use minijinja::{Environment, Value};

use crate::error::{Error, Kind, Result};
use crate::profile::template::{self, Scope, unfit, url_host};
use crate::profile::{Format, hostlist};

/// Most bytes of a configuration file.
pub const SIZE_LIMIT: u64 = 1 << 20;

/// The text of the template `config/NAME`; `templates` are the bundle's, by path.
pub fn render(
    name: &str,
    format: Format,
    scope: &Scope,
    templates: &BTreeMap<String, String>,
) -> Result<String> {
    let path = format!("config/{name}");
    let Some(text) = templates.get(&path) else {
        return Err(Error::refused("the bundle has no such configuration template").at(path));
    };
    let text = environment(format)
        .and_then(|environment| environment.render_named_str(&path, text, scope))
        .map_err(|e| {
            template::fault(Kind::Usage, "the configuration cannot be written", &path, &e)
        })?;
    check(format, text.as_bytes()).map_err(|why| {
        Error::failed(format!("what the template gives here is wrong: {why}")).at(&path)
    })?;
    Ok(text)
}

/// Checks a template before anything fills it: its form, and that it uses only names in `known`.
pub fn check_template(
    path: &str,
    format: Format,
    text: &str,
    known: &dyn Fn(&str) -> bool,
) -> Result<()> {
    let names = environment(format).and_then(|environment| {
        environment.template_from_named_str(path, text).map(|t| t.undeclared_variables(false))
    });
    let names = names.map_err(|e| template::fault(Kind::Usage, "this is no template", path, &e))?;
    match names.iter().find(|name| !known(name)) {
        None => Ok(()),
        Some(name) => {
            Err(Error::usage(format!("it uses the name {name}, which its profile does not know"))
                .at(path))
        }
    }
}

/// Checks a file's content as far as its format tells; the error is the reason alone.
pub fn check(format: Format, bytes: &[u8]) -> Result<(), String> {
    if bytes.len() as u64 > SIZE_LIMIT {
        return Err(format!("it is longer than {SIZE_LIMIT} bytes"));
    }
    let text = std::str::from_utf8(bytes).map_err(|e| format!("it is not UTF-8: {e}"))?;
    if let Some(line) = text.lines().position(|line| line.contains('\0')) {
        return Err(format!("line {} holds a zero byte", line + 1));
    }
    match format {
        Format::Json => serde_json::from_str::<serde::de::IgnoredAny>(text)
            .map(drop)
            .map_err(|e| format!("it is not JSON: {e}")),
        Format::Yaml => check_yaml(text),
        Format::Ini => check_ini(text),
        // Only the program itself can tell.
        Format::Python | Format::Text => Ok(()),
    }
}

/// YAML with a mapping at its top: events alone are read, so that no alias can grow.
fn check_yaml(text: &str) -> Result<(), String> {
    use saphyr_parser::{Event, Parser};
    let mut top = None;
    for event in Parser::new_from_str(text) {
        let (event, _) = event.map_err(|e| format!("it is not YAML: {e}"))?;
        match event {
            Event::MappingStart(..) => top = top.or(Some(true)),
            Event::SequenceStart(..) | Event::Scalar(..) | Event::Alias(..) => {
                top = top.or(Some(false));
            }
            _ => {}
        }
    }
    match top {
        Some(true) => Ok(()),
        Some(false) => Err("there is no mapping (KEY: VALUE) at its top".into()),
        None => Err("it is empty".into()),
    }
}

/// Sections, keys, comments and nothing else.
fn check_ini(text: &str) -> Result<(), String> {
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        let section = line.starts_with('[') && line.ends_with(']');
        let comment = line.is_empty() || line.starts_with(['#', ';']);
        if !section && !comment && !line.contains('=') {
            return Err(format!("line {} is neither [section], key = value nor comment", i + 1));
        }
    }
    Ok(())
}

fn environment(format: Format) -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = template::environment(move |value| literal(format, value))?;
    environment.add_filter("url_host", url_host);
    environment
        .add_filter("each_host", |lists: Vec<String>| hostlist::expand(&lists).map_err(unfit));
    environment.add_filter("without_commas", |lists: Vec<String>| {
        hostlist::without_commas(&lists).map_err(unfit)
    });
    Ok(environment)
}

/// A value as this format writes it.
fn literal(format: Format, value: &Value) -> Result<String, String> {
    match value.kind() {
        ValueKind::Bool => {
            let word = if value.is_true() { "true" } else { "false" };
            Ok(match (format, value.is_true()) {
                (Format::Python, true) => "True".into(),
                (Format::Python, false) => "False".into(),
                _ => word.into(),
            })
        }
        ValueKind::Number => Ok(value.to_string()),
        ValueKind::String => text(format, value.as_str().unwrap_or_default()),
        ValueKind::Seq | ValueKind::Iterable
            if matches!(format, Format::Yaml | Format::Json | Format::Python) =>
        {
            let items = value.try_iter().map_err(|e| e.to_string())?;
            let items: Vec<String> =
                items.map(|item| literal(format, &item)).collect::<Result<_, _>>()?;
            Ok(format!("[{}]", items.join(", ")))
        }
        ValueKind::None => Err("it has no answer here".into()),
        kind => Err(format!("a {kind} cannot be written into this sort of file")),
    }
}

fn text(format: Format, text: &str) -> Result<String, String> {
    // Beyond what answers may hold anyway: host names come from the host.
    if text.contains(char::is_control) {
        return Err("a text with a control character cannot be written".into());
    }
    match format {
        // A JSON string is one of YAML's and Python's, too.
        Format::Yaml | Format::Json | Format::Python => {
            serde_json::to_string(text).map_err(|e| e.to_string())
        }
        // Comments, variables, quotes and further settings all need something else.
        Format::Ini | Format::Text => {
            let more = if format == Format::Ini { " " } else { "[]" };
            let plain = |c: char| c.is_alphanumeric() || "._:/@+-,".contains(c) || more.contains(c);
            match text.chars().find(|c| !plain(*c)) {
                None => Ok(text.into()),
                Some(c) => Err(format!("'{}' cannot be written here", c.escape_debug())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(format: Format, template: &str) -> Result<String> {
        let scope: Scope = [
            ("port", Value::from(411)),
            ("on", Value::from(true)),
            ("nasty", Value::from("a\": [x]\\ # {{ port }}")),
            ("list", Value::from(vec!["a b", "c"])),
            ("off", Value::from(())),
            ("line", Value::from("a\nb")),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        let templates = [("config/t".to_owned(), template.to_owned())].into();
        render("t", format, &scope, &templates)
    }

    #[test]
    fn answers_stay_in_their_place() {
        let text = rendered(Format::Yaml, "a: {{ nasty }}\nb: {{ list }}\nc: {{ on }}\n").unwrap();
        assert_eq!(text, "a: \"a\\\": [x]\\\\ # {{ port }}\"\nb: [\"a b\", \"c\"]\nc: true\n");
        let text = rendered(Format::Python, "A = {{ nasty }}\nB = {{ on }}\n").unwrap();
        assert_eq!(text, "A = \"a\\\": [x]\\\\ # {{ port }}\"\nB = True\n");
        let text = rendered(Format::Json, r#"{"a": {{ list }}, "p": {{ port }}}"#).unwrap();
        assert_eq!(text, r#"{"a": ["a b", "c"], "p": 411}"#);
    }

    #[test]
    fn what_a_format_cannot_hold_is_refused() {
        for (format, template, why) in [
            (Format::Ini, "a = {{ nasty }}", "cannot be written here"),
            (Format::Ini, "a = {{ list }}", "cannot be written"),
            (Format::Text, "{{ line }}", "control character"),
            (Format::Text, "load name={{ nasty }}", "cannot be written here"),
            (Format::Yaml, "a: {{ off }}", "no answer"),
            (Format::Yaml, "a: {{ unknown }}", "undefined"),
            (Format::Yaml, "- {{ port }}", "no mapping"),
            (Format::Json, "{", "not JSON"),
        ] {
            let error = rendered(format, template).unwrap_err().to_string();
            assert!(error.contains(why), "{template}: {error}");
        }
    }

    #[test]
    fn a_file_of_the_sites_own_is_checked() {
        for (format, good) in [
            (Format::Yaml, "daemons:\n  - names: &a x\n    b: *a\n"),
            (Format::Json, "{\"a\": []}"),
            (Format::Ini, "; c\n[log]\nmode = console\n"),
            (Format::Python, "A = 1\n"),
        ] {
            assert_eq!(check(format, good.as_bytes()), Ok(()));
        }
        for (format, bad) in [
            (Format::Yaml, ""),
            (Format::Yaml, "# nothing\n"),
            (Format::Yaml, "a: [1\n"),
            (Format::Yaml, "a: b: c\n"),
            (Format::Json, "{'a': 1}"),
            (Format::Ini, "[log\nmode\n"),
            (Format::Text, "a\0b"),
        ] {
            assert!(check(format, bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(check(Format::Text, b"\xff").is_err());
    }
}
