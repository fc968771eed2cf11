//! Templates and conditions in profiles: one environment, in which an unknown name is an error.
//!
//! A profile's texts hold `{{ key }}`, its conditions are expressions such as `munge == 'key'`.
//! What a template gives is a plain value; each place it goes to (a unit, an engine's flag)
//! escapes for itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::LazyLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value as Jinja};

use crate::error::{Error, Kind};

/// Names and values that a template may use.
pub type Scope = BTreeMap<String, Jinja>;

static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_formatter(|out, _, value| {
        // A list in the middle of a text, or an answer that was not given, is a profile's mistake
        // that would otherwise be printed as `["a"]` or `none`.
        if let Ok(flag) = bool::try_from(value.clone()) {
            // Jinja's own would be Python's True.
            write!(out, "{flag}").map_err(minijinja::Error::from)
        } else if value.as_str().is_some() || value.is_number() {
            write!(out, "{value}").map_err(minijinja::Error::from)
        } else if value.is_none() {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, "it has no answer here"))
        } else {
            let message = format!("a {} cannot be part of a text", value.kind());
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        }
    });
    environment.add_filter("url_host", url_host);
    environment
});

/// A host's name or address as it stands before `:PORT`: IPv6 in brackets.
pub(crate) fn url_host(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// The text of a template. The error is the reason alone.
pub fn render(template: &str, scope: &Scope) -> Result<String, String> {
    ENVIRONMENT.render_str(template, scope).map_err(|e| reason(&e))
}

/// Whether a condition holds. The error is the reason alone.
pub fn holds(condition: &str, scope: &Scope) -> Result<bool, String> {
    let expression = ENVIRONMENT.compile_expression(condition).map_err(|e| reason(&e))?;
    let value = expression.eval(scope).map_err(|e| reason(&e))?;
    bool::try_from(value).map_err(|_| "it is neither true nor false".into())
}

/// The names that a template uses; an error if it is not a template.
pub fn names_in_template(template: &str) -> Result<BTreeSet<String>, String> {
    let template = ENVIRONMENT.template_from_str(template).map_err(|e| reason(&e))?;
    Ok(template.undeclared_variables(false).into_iter().collect())
}

/// The names that a condition uses; an error if it is not an expression.
pub fn names_in_condition(condition: &str) -> Result<BTreeSet<String>, String> {
    let expression = ENVIRONMENT.compile_expression(condition).map_err(|e| reason(&e))?;
    Ok(expression.undeclared_variables(false).into_iter().collect())
}

/// The name in a template that is nothing but `{{ name }}`: there a list stands for its words.
pub fn sole_name(template: &str) -> Option<&str> {
    let name = template.strip_prefix("{{")?.strip_suffix("}}")?.trim();
    super::is_key(name).then_some(name)
}

/// An environment for templates of whole files: unknown names are errors, lines that only hold
/// blocks vanish, and every `{{ value }}` is what `write` makes of it, or its reason to refuse it.
pub fn environment<W>(write: W) -> Result<Environment<'static>, minijinja::Error>
where
    W: Fn(&Jinja) -> Result<String, String> + Send + Sync + 'static,
{
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build()?;
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_syntax(syntax);
    environment.set_formatter(move |out, _, value| {
        out.write_str(&write(value).map_err(unfit)?).map_err(minijinja::Error::from)
    });
    Ok(environment)
}

/// A reason as a template's error.
pub fn unfit(why: String) -> minijinja::Error {
    minijinja::Error::new(ErrorKind::InvalidOperation, why)
}

/// `what`, and what is wrong with the template at `path`, with its line.
pub fn fault(kind: Kind, what: &str, path: &str, error: &minijinja::Error) -> Error {
    let line = error.line().map(|line| format!(":{line}")).unwrap_or_default();
    Error::new(kind, format!("{what}: {}", reason(error))).at(format!("{path}{line}"))
}

/// minijinja's message without the name and line of a template that has neither.
fn reason(error: &minijinja::Error) -> String {
    let mut reason = error.kind().to_string();
    if let Some(detail) = error.detail() {
        // Writing to a String does not fail.
        let _ = write!(reason, ": {detail}");
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        [("port", Jinja::from(411)), ("words", Jinja::from(vec!["a"])), ("off", Jinja::from(()))]
            .map(|(name, value)| (name.to_owned(), value))
            .into()
    }

    #[test]
    fn strict_about_what_it_prints() {
        assert_eq!(render("sock:{{ port }}", &scope()).unwrap(), "sock:411");
        assert_eq!(render("{{ port == 411 }}", &scope()).unwrap(), "true");
        assert_eq!(render("{{ '::1'|url_host }}:1", &scope()).unwrap(), "[::1]:1");
        assert_eq!(render("{{ 'head'|url_host }}:1", &scope()).unwrap(), "head:1");
        for (bad, why) in [
            ("{{ prot }}", "undefined"),
            ("x{{ words }}", "a sequence cannot be part of a text"),
            ("{{ off }}", "it has no answer here"),
            ("{{ port", "syntax error"),
        ] {
            let error = render(bad, &scope()).unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    #[test]
    fn conditions_are_true_or_false() {
        assert!(holds("port > 400", &scope()).unwrap());
        assert!(!holds("off == 'key'", &scope()).unwrap());
        assert!(holds("port", &scope()).is_err());
        assert!(holds("nothing == 1", &scope()).is_err());
    }

    #[test]
    fn finds_names() {
        assert_eq!(sole_name("{{ args }}"), Some("args"));
        assert_eq!(sole_name("x{{ args }}"), None);
        assert_eq!(sole_name("{{ a }} {{ b }}"), None);
        let names = names_in_template("{{ a }}:{% if b %}{{ host.name }}{% endif %}").unwrap();
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["a", "b", "host"]);
    }
}
