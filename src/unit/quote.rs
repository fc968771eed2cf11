//! Every rule of quoting in systemd's unit files, in one place.
//!
//! systemd reads a value in steps: it joins continued lines, splits words at spaces outside of
//! quotes, resolves C escapes, expands `%` specifiers, and in `Exec` lines expands `$` when it
//! runs the command. Each function here undoes all the steps that its sort of value goes through.
//! What cannot be expressed is refused with a reason.

use std::fmt::Write as _;

/// Longest word: the kernel refuses arguments from 128 KiB on, and systemd lines from 1 MiB on.
const WORD_LIMIT: usize = 64 * 1024;

/// The whole value of a setting that takes plain text, such as `Description=`: neither quotes nor
/// escapes are resolved there, only `%`.
pub fn text(value: &str) -> Result<String, String> {
    check(value)?;
    if value.contains(char::is_control) {
        return Err("a control character cannot be written here".into());
    }
    if value.trim_matches([' ', '\t']) != value {
        return Err("a space at the beginning or end would be lost".into());
    }
    if value.ends_with('\\') {
        return Err("a backslash at the end would join the next line".into());
    }
    Ok(value.replace('%', "%%"))
}

/// One word of a list of names or paths, such as `RequiresMountsFor=`. Some of these settings
/// resolve C escapes and some do not, so that control characters cannot be written.
pub fn word(value: &str) -> Result<String, String> {
    check(value)?;
    if value.contains(char::is_control) {
        return Err("a control character cannot be written here".into());
    }
    Ok(quoted(&value.replace('%', "%%")))
}

/// One argument of a command in an `Exec` line; not its first word, which is a [`program`].
pub fn argument(value: &str) -> Result<String, String> {
    check(value)?;
    Ok(quoted(&value.replace('%', "%%").replace('$', "$$")))
}

/// The program of an `Exec` line. Prefixes such as `-` and `@` stand in front of it, and systemd
/// refuses quotes and escapes in it, so only plain absolute paths are taken.
pub fn program(path: &str) -> Result<String, String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._+-".contains(&b);
    if path.starts_with('/') && path.len() <= 255 && path.bytes().all(plain) {
        Ok(path.into())
    } else {
        Err("a program is an absolute path of a-z A-Z 0-9 / . _ + -".into())
    }
}

/// One assignment of `Environment=`: `$` is not expanded there, `%` is.
pub fn assignment(name: &str, value: &str) -> Result<String, String> {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !plain || !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        return Err("a variable's name is made of a-z A-Z 0-9 _".into());
    }
    check(value)?;
    if value.contains(|c: char| c.is_control() && c != '\n' && c != '\t') {
        return Err("a control character cannot be in a variable".into());
    }
    Ok(quoted(&format!("{name}={}", value.replace('%', "%%"))))
}

/// What no setting can hold.
fn check(value: &str) -> Result<(), String> {
    if value.contains('\0') {
        return Err("a zero byte cannot be part of it".into());
    }
    // systemd drops the whole line then.
    if let Some(c) = value.chars().find(|c| is_noncharacter(*c)) {
        return Err(format!("U+{:04X} is not a character", u32::from(c)));
    }
    if value.len() > WORD_LIMIT {
        return Err(format!("it is longer than {WORD_LIMIT} bytes"));
    }
    Ok(())
}

fn is_noncharacter(c: char) -> bool {
    let c = u32::from(c);
    (0xFDD0..=0xFDEF).contains(&c) || c & 0xFFFE == 0xFFFE
}

/// A word in double quotes with C escapes; without either where nothing needs them. Quotes also
/// keep a lone `;` from separating commands and a `#` from beginning a comment.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._+-=:,@%$".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let mut out = String::with_capacity(word.len() + 2);
    out.push('"');
    for c in word.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            // One byte each: controls beyond ASCII need no escape.
            c if c.is_ascii_control() => {
                // Writing to a String does not fail.
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments() {
        for (value, want) in [
            ("sock:411", "sock:411"),
            ("-x", "-x"),
            ("", r#""""#),
            ("a b", r#""a b""#),
            (";", r#"";""#),
            ("#x", r##""#x""##),
            ("100%", "100%%"),
            ("${HOME} $x", r#""$${HOME} $$x""#),
            ("a\"b\\c'", r#""a\"b\\c'""#),
            ("a\nExecStartPre=/bin/sh", r#""a\nExecStartPre=/bin/sh""#),
            ("a\u{1b}\r\t", r#""a\x1b\r\t""#),
            ("knoten-ä", "\"knoten-ä\""),
        ] {
            assert_eq!(argument(value).unwrap(), want, "{value:?}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        for value in ["a\0b", "a\u{fffe}", "\u{fdd0}"] {
            assert!(argument(value).is_err() && text(value).is_err() && word(value).is_err());
            assert!(assignment("A", value).is_err());
        }
        for value in ["a\nb", " a", "a ", "a\\", "\u{85}"] {
            assert!(text(value).is_err(), "{value:?}");
        }
        assert!(word("a\nb").is_err());
        assert!(argument(&"x".repeat(WORD_LIMIT + 1)).is_err());
        assert!(assignment("A B", "x").is_err());
        assert!(assignment("A", "\u{7}").is_err());
        for bad in ["docker", "-/usr/bin/docker", "/usr/bin/do cker", "/x%i", "/x$y", ""] {
            assert!(program(bad).is_err(), "{bad}");
        }
    }
}
