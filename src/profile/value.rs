//! Values of answers and the types that profiles give them.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize, Serializer};

use super::hostlist;
use super::rule::{self, Rule};

/// One answer, typed. In TOML it is what it looks like.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "true or false, a whole number, a text or a list of texts")]
pub enum Value {
    /// `true`, `false`
    Bool(bool),
    /// A whole number from 0 on.
    Number(u64),
    /// Everything that is neither.
    Text(String),
    /// Separate words, such as further options.
    Words(Vec<String>),
    /// A number that the host finds when it boots.
    #[serde(skip)]
    AtBoot(Rule),
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Bool(value) => serializer.serialize_bool(*value),
            // TOML's numbers end at 2^63: beyond, the digits are kept as a text.
            Value::Number(value) if i64::try_from(*value).is_ok() => {
                serializer.serialize_u64(*value)
            }
            Value::Number(value) => serializer.serialize_str(&value.to_string()),
            Value::Text(value) => serializer.serialize_str(value),
            Value::Words(value) => value.serialize(serializer),
            Value::AtBoot(rule) => serializer.collect_str(rule),
        }
    }
}

impl Value {
    /// The answer to an optional question that says: none.
    pub fn nothing() -> Self {
        Value::Text(String::new())
    }

    /// It is the answer that says: none.
    pub fn is_nothing(&self) -> bool {
        matches!(self, Value::Text(text) if text.is_empty())
    }
}

impl fmt::Display for Value {
    /// As it would be written after `--set KEY=`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(value) => value.fmt(f),
            Value::Number(value) => value.fmt(f),
            Value::Text(value) => f.write_str(value),
            Value::Words(value) => f.write_str(&shell_words::join(value)),
            Value::AtBoot(rule) => rule.fmt(f),
        }
    }
}

impl From<&Value> for minijinja::Value {
    fn from(value: &Value) -> Self {
        match value {
            Value::Bool(value) => (*value).into(),
            Value::Number(value) => (*value).into(),
            nothing if nothing.is_nothing() => ().into(),
            Value::Text(value) => value.as_str().into(),
            Value::Words(value) => value.clone().into(),
            // Nobody knows it when templates are filled in.
            Value::AtBoot(_) => ().into(),
        }
    }
}

/// What an answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Type {
    /// A whole number from 0 to 2^64 - 1.
    U64,
    /// The same, or a [`Rule`] that makes it from the host's name.
    HostNumber,
    /// A port from 1 to 65535.
    Port,
    /// A user's or group's number.
    Id,
    /// `true` or `false`; `yes` and `no` are understood.
    Bool,
    /// One of the question's choices.
    Choice,
    /// Any text on one line, not empty.
    Text,
    /// Printable text without spaces, not empty.
    Word,
    /// A container's name.
    Name,
    /// An absolute path on the host that every engine can mount.
    Path,
    /// A file's mode in octal digits.
    Mode,
    /// An IPv4 or IPv6 address, without brackets.
    Address,
    /// A time other than none, as LDMS writes it: `500ms`.
    Duration,
    /// Words as a shell splits them.
    Words,
    /// Names of hosts and hostlists, such as `nid[00100-00227]`, with spaces or commas between.
    Hosts,
    /// A password or the like: typed unseen, never shown and never recorded.
    Secret,
}

impl Type {
    /// What to write in place of a value, for messages.
    pub fn placeholder(self) -> &'static str {
        match self {
            Type::U64 | Type::Id => "NUMBER",
            Type::HostNumber => rule::FORMS,
            Type::Port => "PORT",
            Type::Bool => "true|false",
            Type::Path => "/PATH",
            Type::Mode => "MODE",
            Type::Name => "NAME",
            Type::Address => "ADDRESS",
            Type::Duration => "TIME",
            Type::Words => "'WORD WORD'",
            Type::Hosts => "'HOST HOST'",
            Type::Choice | Type::Text | Type::Word | Type::Secret => "VALUE",
        }
    }

    /// Its values are several words.
    pub fn is_list(self) -> bool {
        matches!(self, Type::Words | Type::Hosts)
    }

    /// Reads a value of this type; choices are checked by the question. The error is the reason.
    pub fn read(self, text: &str) -> Result<Value, String> {
        let text = if self.is_list() || self == Type::Secret { text } else { text.trim() };
        match self {
            Type::HostNumber => Ok(match Rule::parse(text)? {
                Rule::Fixed(number) => Value::Number(number),
                rule => Value::Text(rule.to_string()),
            }),
            Type::U64 => number(text, u64::MAX).map(Value::Number),
            // The largest means "no user" to the kernel.
            Type::Id => number(text, u64::from(u32::MAX) - 1).map(Value::Number),
            Type::Port => match text.parse::<u16>() {
                Ok(port) if port != 0 && !text.starts_with('+') => Ok(Value::Number(port.into())),
                _ => Err("a port is a number from 1 to 65535".into()),
            },
            Type::Bool => match text {
                "true" | "yes" => Ok(Value::Bool(true)),
                "false" | "no" => Ok(Value::Bool(false)),
                _ => Err("it is either true or false".into()),
            },
            Type::Choice | Type::Text | Type::Secret => {
                not_empty(text).map(|()| Value::Text(text.into()))
            }
            Type::Word => {
                not_empty(text)?;
                if text.contains(char::is_whitespace) {
                    return Err("it may hold no space".into());
                }
                Ok(Value::Text(text.into()))
            }
            Type::Name => container_name(text).map(|()| Value::Text(text.into())),
            Type::Path => host_path(text).map(|()| Value::Text(text.into())),
            Type::Mode => octal(text).map(|_| Value::Text(text.into())),
            Type::Address => text
                .parse::<IpAddr>()
                .map(|address| Value::Text(address.to_string()))
                .map_err(|_| "it is an IPv4 or IPv6 address, such as 10.0.0.1 or ::1".into()),
            Type::Duration => duration(text).map(|()| Value::Text(text.into())),
            Type::Words => shell_words::split(text)
                .map(Value::Words)
                .map_err(|_| "a quote is opened and not closed".into()),
            Type::Hosts => hosts(text.split_whitespace()),
        }
    }

    /// Accepts a value as a file gives it; a number may also be written as a text.
    pub fn accept(self, value: &Value) -> Result<Value, String> {
        match (self, value) {
            (Type::Words, Value::Words(_)) => Ok(value.clone()),
            (Type::Hosts, Value::Words(words)) => hosts(words.iter().map(String::as_str)),
            (kind, Value::Text(text)) if kind.is_list() => self.read(text),
            (kind, other) if kind.is_list() || matches!(other, Value::Words(_)) => {
                Err(if self.is_list() { "it is a list of texts" } else { "it is no list" }.into())
            }
            (Type::Mode, Value::Number(_)) => Err("write a mode as a text: \"0755\"".into()),
            (_, value) => self.read(&value.to_string()),
        }
    }
}

/// A whole number in decimal digits.
pub(super) fn number(text: &str, limit: u64) -> Result<u64, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse::<u64>()
        .ok()
        .filter(|n| digits && *n <= limit)
        .ok_or_else(|| format!("it is a whole number from 0 to {limit}"))
}

/// One list for each word, and for each part of a word between commas.
fn hosts<'a>(words: impl Iterator<Item = &'a str>) -> Result<Value, String> {
    let lists: Vec<Vec<String>> = words.map(hostlist::split).collect::<Result<_, _>>()?;
    let lists = lists.concat();
    let mut seen = BTreeSet::new();
    // Each program refuses a name that it has already.
    match hostlist::expand(&lists)?.into_iter().find(|name| !seen.insert(name.clone())) {
        None => {}
        Some(name) => return Err(format!("{name} is named twice")),
    }
    Ok(Value::Words(lists))
}

/// Digits and a unit, as every LDMS reads them: without a unit some take microseconds.
fn duration(text: &str) -> Result<(), String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let microseconds = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => 0,
    };
    let time = digits.parse::<i64>().ok().and_then(|n| n.checked_mul(microseconds));
    match time {
        Some(1..) => Ok(()),
        _ => Err("it is a whole number from 1 on and a unit (us ms s m h d), such as 500ms".into()),
    }
}

/// A file's mode, at most 7777, from three to five octal digits.
pub fn octal(text: &str) -> Result<u32, String> {
    let digits = (3..=5).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| digits && *mode <= 0o7777)
        .ok_or_else(|| "a mode is three or four octal digits, such as 0755".to_owned())
}

pub(super) fn not_empty(text: &str) -> Result<(), String> {
    if text.is_empty() {
        Err("it is empty".into())
    } else if text.contains(char::is_control) {
        Err("it holds a control character".into())
    } else {
        Ok(())
    }
}

fn container_name(text: &str) -> Result<(), String> {
    let inside = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    if (2..=60).contains(&text.len())
        && text.bytes().all(inside)
        && text.as_bytes()[0].is_ascii_alphanumeric()
    {
        Ok(())
    } else {
        Err("a container's name is 2 to 60 of a-z A-Z 0-9 _ . -, and begins with a letter or digit"
            .into())
    }
}

/// Whether a path on the host, or in a container, is fit for the engines' `--mount`.
pub fn host_path(text: &str) -> Result<(), String> {
    not_empty(text)?;
    if !text.starts_with('/') {
        return Err("it must be an absolute path".into());
    }
    // Versions of docker and podman disagree about quoting inside --mount.
    if text.contains([',', '"']) {
        return Err("docker and podman cannot mount a path with a comma or a double quote".into());
    }
    if text.trim() != text {
        return Err("docker cannot mount a path that begins or ends with a space".into());
    }
    if text != "/" && text[1..].split('/').any(|part| ["", ".", ".."].contains(&part)) {
        return Err("it may hold neither . nor .. nor an empty component".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_keep_their_bounds() {
        let max = u64::MAX.to_string();
        for (kind, good) in [
            (Type::U64, max.as_str()),
            (Type::HostNumber, " hostname-digits "),
            (Type::HostNumber, "map:/etc/ldms/compid.map"),
            (Type::Port, " 65535 "),
            (Type::Id, "4294967294"),
            (Type::Word, "rdma"),
            (Type::Name, "samp"),
            (Type::Path, "/etc/munge/munge key"),
            (Type::Words, "-v 'a b'"),
            (Type::Words, ""),
            (Type::Mode, "0755"),
            (Type::Mode, "2770"),
            (Type::Address, "10.0.0.1"),
            (Type::Address, " ::1 "),
            (Type::Duration, "500ms"),
            (Type::Duration, "1d"),
            (Type::Hosts, "nid[00100-00227,7],login1 login2"),
            (Type::Hosts, ""),
        ] {
            assert!(kind.read(good).is_ok(), "{kind:?} {good}");
        }
        for (kind, bad) in [
            (Type::U64, "18446744073709551616"),
            (Type::U64, "-1"),
            (Type::U64, "+1"),
            (Type::U64, ""),
            (Type::U64, "hostname-digits"),
            (Type::Port, "0"),
            (Type::Port, "65536"),
            (Type::Id, "4294967295"),
            (Type::Bool, "maybe"),
            (Type::Text, "a\nb"),
            (Type::Text, ""),
            (Type::Word, "a b"),
            (Type::Name, "-rm"),
            (Type::Name, "a/b"),
            (Type::Path, "etc"),
            (Type::Path, "/a,b"),
            (Type::Path, "/a/../b"),
            (Type::Path, "/a\"b"),
            (Type::Path, "//run/munge"),
            (Type::Path, "/a/"),
            (Type::Words, "-v 'a"),
            (Type::Mode, "0788"),
            (Type::Mode, "17777"),
            (Type::Mode, "7"),
            (Type::Address, "localhost"),
            (Type::Address, "[::1]"),
            (Type::Address, "10.0.0.1:80"),
            (Type::Address, "fe80::1%eth0"),
            (Type::Hosts, "nid[1-"),
            (Type::Hosts, "'a b'"),
            (Type::Hosts, "a a"),
            (Type::Hosts, "nid[1-3] nid2"),
            (Type::Duration, "1"),
            (Type::Duration, "s"),
            (Type::Duration, "0s"),
            (Type::Duration, "1 s"),
            (Type::Duration, "1.5s"),
            (Type::Duration, "-1s"),
            (Type::Duration, "1sec"),
            (Type::Duration, "9223372036854775807s"),
        ] {
            assert!(kind.read(bad).is_err(), "{kind:?} {bad}");
        }
    }

    #[test]
    fn large_numbers_survive_toml() {
        let table = std::collections::BTreeMap::from([("compid", Value::Number(u64::MAX))]);
        let text = toml::to_string(&table).unwrap();
        let back: std::collections::BTreeMap<String, Value> = toml::from_str(&text).unwrap();
        let value = Type::HostNumber.accept(&back["compid"]).unwrap();
        assert_eq!(value, Value::Number(u64::MAX));
    }
}
