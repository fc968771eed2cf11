//! A number from the host's name: the rule that gives it, which is what an answer says and what
//! is recorded, so that one file of answers serves many hosts.
//!
//! `units/values.service` holds the same rules once more in sh, for numbers that are found at
//! boot; a test compares the two.

use std::collections::BTreeMap;
use std::fmt;

use super::value::{host_path, not_empty, number};

/// The rule of the documentation's example: nid00100 is 100.
const DIGITS: &str = "hostname-digits";
const PREFIX: &str = "prefix:";
const MAP: &str = "map:";

/// What can be said where a number is asked for.
pub const FORMS: &str = "NUMBER|hostname-digits|prefix:TEXT|map:/FILE";
/// What can be said where the digits of the name are of no use.
const OTHERS: &str = "give a number, prefix:TEXT or map:/FILE";

/// How a number follows from the host's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// It is this one on every host.
    Fixed(u64),
    /// The one run of digits in the short host name.
    Digits,
    /// What is left of the short host name without this in front of it.
    Prefix(String),
    /// What this file of lines `HOST NUMBER` says.
    Map(String),
}

impl Rule {
    /// Reads a rule. The error is the reason.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == DIGITS {
            return Ok(Rule::Digits);
        }
        if let Some(prefix) = text.strip_prefix(PREFIX) {
            not_empty(prefix)?;
            return Ok(Rule::Prefix(prefix.into()));
        }
        if let Some(path) = text.strip_prefix(MAP) {
            host_path(path)?;
            return Ok(Rule::Map(path.into()));
        }
        number(text, u64::MAX)
            .map(Rule::Fixed)
            .map_err(|why| format!("{why}, hostname-digits, prefix:TEXT or map:/FILE"))
    }

    /// The number of this host; `read` gives the text of a map. The error is the reason.
    pub fn number(
        &self,
        host_name: &str,
        read: &dyn Fn(&str) -> Result<String, String>,
    ) -> Result<u64, String> {
        let host = short(host_name);
        let digits = match self {
            Rule::Fixed(number) => return Ok(*number),
            _ if host.is_empty() => return Err(format!("the host has no name yet: {OTHERS}")),
            Rule::Digits => digits(host)?.to_owned(),
            Rule::Prefix(prefix) => after(prefix, host)?.to_owned(),
            Rule::Map(path) => lookup(path, &read(path)?, host)?,
        };
        number(&digits, u64::MAX).map_err(|_| format!("{digits} is larger than {}", u64::MAX))
    }

    /// The file it goes by.
    pub fn map(&self) -> Option<String> {
        match self {
            Rule::Map(path) => Some(path.clone()),
            Rule::Fixed(_) | Rule::Digits | Rule::Prefix(_) => None,
        }
    }

    /// Its name in the unit that finds numbers at boot, and what it goes by.
    pub fn words(&self) -> [String; 2] {
        match self {
            Rule::Fixed(number) => ["number".into(), number.to_string()],
            Rule::Digits => [DIGITS.into(), String::new()],
            Rule::Prefix(prefix) => ["prefix".into(), prefix.clone()],
            Rule::Map(path) => ["map".into(), path.clone()],
        }
    }
}

impl fmt::Display for Rule {
    /// As it would be written after `--set KEY=`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rule::Fixed(number) => number.fmt(f),
            Rule::Digits => f.write_str(DIGITS),
            Rule::Prefix(prefix) => write!(f, "{PREFIX}{prefix}"),
            Rule::Map(path) => write!(f, "{MAP}{path}"),
        }
    }
}

fn short(name: &str) -> &str {
    name.split('.').next().unwrap_or_default()
}

fn digits(host: &str) -> Result<&str, String> {
    let runs: Vec<&str> =
        host.split(|c: char| !c.is_ascii_digit()).filter(|run| !run.is_empty()).collect();
    let how_many = match runs[..] {
        [run] => return Ok(run),
        [] => "no number",
        _ => "several numbers",
    };
    Err(format!("the host name '{}' holds {how_many}: {OTHERS}", host.escape_debug()))
}

fn after<'a>(prefix: &str, host: &'a str) -> Result<&'a str, String> {
    let refuse = |what: String| Err(format!("the host name '{}' {what}", host.escape_debug()));
    match host.strip_prefix(prefix) {
        None => refuse(format!("does not begin with '{}'", prefix.escape_debug())),
        Some(rest) if is_digits(rest) => Ok(rest),
        Some(_) => refuse(format!("is not '{}' and a number", prefix.escape_debug())),
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// The digits that a map has for a host, which it must name exactly once.
fn lookup(path: &str, text: &str, host: &str) -> Result<String, String> {
    let mut found = None;
    for entry in entries(path, text) {
        let (line, name, digits) = entry?;
        if name == host && found.replace(digits).is_some() {
            return Err(format!("{path}:{line}: names {host} a second time"));
        }
    }
    found
        .map(str::to_owned)
        .ok_or_else(|| format!("{path}: has no line for the host '{}'", host.escape_debug()))
}

/// Refuses a map that no host, or not every host in it, could use. The error is the reason.
pub fn check_map(path: &str, text: &str) -> Result<(), String> {
    let mut seen = BTreeMap::new();
    for entry in entries(path, text) {
        let (line, name, digits) = entry?;
        number(digits, u64::MAX).map_err(|why| format!("{path}:{line}: {why}"))?;
        if let Some(first) = seen.insert(name, line) {
            return Err(format!("{path}:{line}: names {name} a second time, after line {first}"));
        }
    }
    if seen.is_empty() { Err(format!("{path}: names no host")) } else { Ok(()) }
}

/// The lines of a map: their numbers, short host names and digits.
fn entries<'a>(
    path: &str,
    text: &'a str,
) -> impl Iterator<Item = Result<(usize, &'a str, &'a str), String>> {
    text.split('\n').zip(1..).filter_map(move |(line, at)| {
        // As `read` in sh splits words.
        let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
        let name = words.next().filter(|name| !name.starts_with('#'))?;
        let good = |digits: &&str| is_digits(digits);
        let end = |word: Option<&str>| word.is_none_or(|word| word.starts_with('#'));
        Some(match (words.next().filter(good), end(words.next())) {
            (Some(digits), true) => Ok((at, short(name), digits)),
            _ => Err(format!("{path}:{at}: is not a host name and a whole number")),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number_of(rule: &str, host: &str, map: &str) -> Result<u64, String> {
        let rule = Rule::parse(rule)?;
        assert_eq!(Rule::parse(&rule.to_string()).unwrap(), rule);
        rule.number(host, &|path| {
            if map.is_empty() { Err(format!("{path}: is not there")) } else { Ok(map.into()) }
        })
    }

    #[test]
    fn digits_of_the_host_name() {
        for (name, want) in [
            ("nid00100", Ok(100)),
            ("nid10000.cluster7.example", Ok(10000)),
            ("0", Ok(0)),
            ("000", Ok(0)),
            ("node12a", Ok(12)),
            ("n18446744073709551615", Ok(u64::MAX)),
            ("x1000c0s0b0n0", Err("'x1000c0s0b0n0' holds several numbers: give a number, prefix:")),
            ("login", Err("'login' holds no number: give a number, prefix:TEXT or map:/FILE")),
            ("knoten-٣", Err("holds no number")),
            ("", Err("no name yet")),
            (".x1", Err("no name yet")),
            ("n18446744073709551616", Err("18446744073709551616 is larger than")),
        ] {
            agrees(name, number_of("hostname-digits", name, ""), want);
        }
    }

    #[track_caller]
    fn agrees(case: &str, got: Result<u64, String>, want: Result<u64, &str>) {
        match (got, want) {
            (Err(why), Err(part)) => assert!(why.contains(part), "{case}: {why}"),
            (got, want) => assert_eq!(got, want.map_err(String::from), "{case}"),
        }
    }

    #[test]
    fn a_prefix_is_removed() {
        for (rule, name, want) in [
            ("prefix:bitzer", "bitzer7", Ok(7)),
            ("prefix:bitzer", "bitzer007.example", Ok(7)),
            ("prefix:x1000c0s", "x1000c0s5", Ok(5)),
            ("prefix:a b", "a b9", Ok(9)),
            ("prefix:*", "*9", Ok(9)),
            ("prefix:bitzer", "7", Err("'7' does not begin with 'bitzer'")),
            ("prefix:bitzer", "bitzer", Err("is not 'bitzer' and a number")),
            ("prefix:bitzer", "bitzer7a", Err("is not 'bitzer' and a number")),
            ("prefix:b*r", "bitzer7", Err("does not begin with")),
            ("prefix:", "7", Err("it is empty")),
        ] {
            agrees(&format!("{rule} {name}"), number_of(rule, name, ""), want);
        }
    }

    #[test]
    fn maps_name_their_faults() {
        let map = "# rack 1\nnode-a 7\n\n\tnode-b.example \t 0008 # new\nnode-c 9\nnode-c 10";
        for (map, name, want) in [
            (map, "node-a.example", Ok(7)),
            (map, "node-b", Ok(8)),
            (map, "node", Err("/m: has no line for the host 'node'")),
            (map, "node-c", Err("/m:6: names node-c a second time")),
            ("a 1\nb\n", "a", Err("/m:2: is not a host name and a whole number")),
            ("a 1 2\n", "a", Err("/m:1: is not")),
            ("a -1\n", "a", Err("/m:1: is not")),
            ("a 1\r\n", "a", Err("/m:1: is not")),
            ("a 18446744073709551616\n", "a", Err("larger than")),
            ("", "a", Err("/m: is not there")),
        ] {
            agrees(&format!("{map:?} {name}"), number_of("map:/m", name, map), want);
        }
        for (map, why) in [
            (map, "/m:6: names node-c a second time, after line 5"),
            ("# none\n", "/m: names no host"),
            ("a 1\nb 99999999999999999999", "/m:2: it is a whole number"),
            ("a 1\nb x", "/m:2: is not"),
        ] {
            assert!(check_map("/m", map).unwrap_err().contains(why), "{map:?}");
        }
        check_map("/m", "a 1\nb 2\n").unwrap();
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for text in ["", "-1", "+1", "1.5", "hostname", "hostname-digits-of", "map:", "map:etc"] {
            assert!(Rule::parse(text).is_err(), "{text}");
        }
        assert!(Rule::parse("x").unwrap_err().contains("hostname-digits, prefix:TEXT"));
        assert_eq!(Rule::parse("007"), Ok(Rule::Fixed(7)));
    }
}
