//! systemd itself, and a second reader of unit files beside it.
//!
//! The reader does as systemd does: written from systemd.syntax(7) and systemd.service(5), and
//! sharing nothing with the program, so that the two can contradict each other.

use std::fs;
use std::process::Command;

use ldms_bundle::service::Service;
use ldms_bundle::unit::Target;

use crate::kit::files;

/// Version of this machine's systemd.
pub fn systemd_version() -> u32 {
    let output = Command::new("systemd-analyze").arg("--version").output();
    let output = output.expect("systemd-analyze is needed: install systemd").stdout;
    let text = String::from_utf8(output).unwrap();
    text.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Has systemd check the units of these services, in a root where the programs and the units of
/// engines and munge exist. Panics unless it accepts them; gives what it says at this log level.
pub fn systemd_analyze(services: &[Service], target: &Target, level: &str) -> String {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    for directory in ["etc/systemd/system", "usr/lib/systemd/system", "usr/bin", "bin"] {
        fs::create_dir_all(path(directory)).unwrap();
    }
    // It looks whether they exist and can be executed, and runs nothing.
    for program in ["usr/bin/docker", "usr/bin/podman", "bin/rm", "bin/sh"] {
        fs::copy("/bin/true", path(program)).unwrap();
    }
    for unit in ["docker.service", "munge.service"] {
        let text = "[Service]\nType=oneshot\nExecStart=/bin/rm\n";
        fs::write(path("usr/lib/systemd/system").join(unit), text).unwrap();
    }
    for unit in ["basic", "sysinit", "shutdown", "network-online", "multi-user", "local-fs"] {
        let file = path("usr/lib/systemd/system").join(format!("{unit}.target"));
        fs::write(file, "[Unit]\nDefaultDependencies=no\n").unwrap();
    }
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--recursive-errors=yes", "--man=no"]);
    command.arg(format!("--root={}", root.path().display())).env("SYSTEMD_LOG_LEVEL", level);
    for unit in &files(services, target).unwrap() {
        let place = format!("/etc/systemd/system/{}", unit.name);
        fs::write(path(&place[1..]), &unit.text).unwrap();
        command.arg(place);
    }
    let output = command.output().expect("systemd-analyze is needed: install systemd");
    let said = String::from_utf8([output.stderr, output.stdout].concat()).unwrap();
    assert!(output.status.success(), "{}\n{said}", output.status);
    said
}

/// One setting: section, name, value with continued lines joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub section: String,
    pub name: String,
    pub value: String,
}

/// All settings of a unit file, in order. Panics where systemd would complain.
pub fn settings(text: &str) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut section = String::new();
    let mut pending: Option<String> = None;
    // systemd ends lines at any of these.
    for line in text.split(['\n', '\r', '\0']) {
        let bare = line.trim_start_matches([' ', '\t']);
        if bare.starts_with(['#', ';']) {
            // Also between continued lines.
            continue;
        }
        if bare.is_empty() && pending.is_none() {
            continue;
        }
        let mut whole = pending.take().unwrap_or_default();
        whole.push_str(line);
        let mut escaped = false;
        for c in whole.chars() {
            escaped = !escaped && c == '\\';
        }
        if escaped {
            whole.pop();
            whole.push(' ');
            pending = Some(whole);
            continue;
        }
        let whole = whole.trim_matches([' ', '\t']);
        if let Some(name) = whole.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            name.clone_into(&mut section);
            continue;
        }
        let (name, value) = whole.split_once('=').unwrap_or_else(|| panic!("no '=': {whole:?}"));
        settings.push(Setting {
            section: section.clone(),
            name: name.trim_end_matches([' ', '\t']).into(),
            value: value.trim_start_matches([' ', '\t']).into(),
        });
    }
    assert_eq!(pending, None, "the last line is continued");
    settings
}

/// Splits a value into words, resolving quotes and C escapes. A lone unquoted `;` is `None`.
pub fn words(value: &str) -> Vec<Option<Vec<u8>>> {
    let mut words = Vec::new();
    let mut chars = value.chars().peekable();
    loop {
        while chars.next_if(|c| " \t".contains(*c)).is_some() {}
        if chars.peek().is_none() {
            return words;
        }
        let (mut word, mut quote, mut plain) = (Vec::new(), None, true);
        while let Some(c) = chars.next() {
            match (c, quote) {
                ('\\', _) => {
                    plain = false;
                    word.extend(escape(&mut chars));
                }
                (c, Some(q)) if c == q => quote = None,
                ('"' | '\'', None) => {
                    plain = false;
                    quote = Some(c);
                }
                (' ' | '\t', None) => break,
                (c, _) => word.extend(c.to_string().bytes()),
            }
        }
        assert_eq!(quote, None, "an open quote in {value:?}");
        words.push((!plain || word != b";").then_some(word));
    }
}

/// What the characters after a backslash stand for.
fn escape(chars: &mut impl Iterator<Item = char>) -> Vec<u8> {
    let c = chars.next().expect("a backslash at the end");
    let mut number = |first: &str, digits: usize, radix: u32| -> u32 {
        let text: String = first.chars().chain(chars.by_ref().take(digits)).collect();
        u32::from_str_radix(&text, radix).unwrap_or_else(|_| panic!("bad escape {text:?}"))
    };
    let byte = match c {
        'a' => 7,
        'b' => 8,
        't' => b'\t',
        'n' => b'\n',
        'v' => 11,
        'f' => 12,
        'r' => b'\r',
        's' => b' ',
        '\\' | '"' | '\'' => c as u8,
        'x' => number("", 2, 16).try_into().unwrap(),
        '0'..='7' => number(&c.to_string(), 2, 8).try_into().unwrap(),
        'u' => return char::from_u32(number("", 4, 16)).unwrap().to_string().into(),
        'U' => return char::from_u32(number("", 8, 16)).unwrap().to_string().into(),
        _ => panic!("unknown escape \\{c}"),
    };
    assert_ne!(byte, 0, "an escaped zero byte");
    vec![byte]
}

/// Expands `%` specifiers: `%%`, and the few that templates use.
pub fn specifiers(word: &[u8], unit: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = word.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        match bytes.next() {
            Some(b'%') => out.push(b'%'),
            Some(b't') => out.extend(b"/run"),
            Some(b'n') => out.extend(unit.bytes()),
            other => panic!("specifier {other:?} in {:?}", String::from_utf8_lossy(word)),
        }
    }
    out
}

/// Expands `$` as for a command's arguments. Nothing here is meant to use a variable, so that any
/// reference to one is a fault.
pub fn variables(word: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = word.iter().peekable();
    while let Some(byte) = bytes.next() {
        if *byte == b'$' {
            assert_eq!(bytes.next(), Some(&b'$'), "in {:?}", String::from_utf8_lossy(word));
        }
        out.push(*byte);
    }
    out
}

/// The words of a command, its prefix characters apart, as the program receives them.
pub fn command(value: &str, unit: &str) -> (String, Vec<String>) {
    let bare = value.trim_start_matches(['-', '@', ':', '+', '!', '|']);
    let prefix = value[..value.len() - bare.len()].to_owned();
    let words = words(bare)
        .into_iter()
        .map(|word| word.expect("a separator of commands"))
        .map(|word| String::from_utf8(variables(&specifiers(&word, unit))).unwrap())
        .collect();
    (prefix, words)
}

#[test]
fn reads_what_the_manual_describes() {
    let text = "[Service]\nExecStart=-/bin/echo \"a b\" \\\n# no\n  c\\x41 %%d $$e ';'\n";
    let settings = settings(text);
    assert_eq!(settings.len(), 1);
    let (prefix, words) = command(&settings[0].value, "x.service");
    assert_eq!(prefix, "-");
    assert_eq!(words, ["/bin/echo", "a b", "cA", "%d", "$e", ";"]);
    assert_eq!(self::words("a ; b")[1], None);
}
