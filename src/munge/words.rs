//! What munge's programs mean by their exit codes and words.
//!
//! `munge` and `unmunge` exit with the codes of libmunge, which have not changed since 2004.
//! munged says why it does not start in words; they are looked for in parts, since they have
//! been reworded between versions.

/// What is wrong, as far as it decides what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The key: it cannot be used, or the two sides hold different ones.
    Key,
    /// The clock: what was just made counts as expired or as from the future.
    Clock,
    /// The user or the rights: whose a file is, or who asks.
    Owner,
    /// Nobody answers at munged's socket.
    Socket,
    /// The programs are not there.
    Missing,
    /// Something else; its words are all there is.
    Other,
}

/// The fault behind an exit code of `munge` or `unmunge`.
pub fn of_exit(status: i32) -> Fault {
    match status {
        // libmunge: EMUNGE_SOCKET, EMUNGE_TIMEOUT
        6 | 7 => Fault::Socket,
        // EMUNGE_CRED_INVALID: its message authentication code does not fit
        14 => Fault::Key,
        // EMUNGE_CRED_EXPIRED, EMUNGE_CRED_REWOUND
        15 | 16 => Fault::Clock,
        // EMUNGE_CRED_UNAUTHORIZED
        18 => Fault::Owner,
        // the shell's own
        126 | 127 => Fault::Missing,
        _ => Fault::Other,
    }
}

/// The fault behind the words of a munged that did not start with this exit code.
pub fn of_munged(status: i32, words: &str) -> Fault {
    let words = words.to_ascii_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
    if matches!(status, 126 | 127) {
        return Fault::Missing;
    }
    let rights = ["owned by uid", "invalid ownership", "readable or writable", "writable perm"];
    if says(&rights) || says(&["permission denied", "should not be writable"]) {
        return Fault::Owner;
    }
    if says(&["keyfile", "key file"]) {
        return Fault::Key;
    }
    Fault::Other
}

/// The uid that `unmunge` says a credential was made by: `UID:              root (0)`.
pub fn uid_of(words: &str) -> Option<u32> {
    let line = words.lines().find_map(|line| line.strip_prefix("UID:"))?;
    let number = line.rsplit_once('(').map_or(line, |(_, number)| number);
    number.trim().trim_end_matches(')').parse().ok()
}

/// The last lines that say something, in one: for an error message.
pub fn last(words: &str, lines: usize) -> String {
    let said: Vec<&str> = words.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    said[said.len().saturating_sub(lines)..].join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_told_apart() {
        for (status, fault) in [
            (6, Fault::Socket),
            (14, Fault::Key),
            (15, Fault::Clock),
            (16, Fault::Clock),
            (17, Fault::Other),
            (18, Fault::Owner),
            (127, Fault::Missing),
        ] {
            assert_eq!(of_exit(status), fault, "{status}");
        }
    }

    /// As munged 0.5.14 to 0.5.16 in Ubuntu and Debian say it.
    #[test]
    fn words_of_munged_are_told_apart() {
        let key = "munged: Error: Keyfile is insecure: \"/etc/munge/munge.key\"";
        for (words, fault) in [
            (format!("{key} should be owned by UID 101 instead of UID 0"), Fault::Owner),
            (
                format!("{key} should not be readable or writable by group (perms=0644)"),
                Fault::Owner,
            ),
            (
                "munged: Error: Keyfile is insecure: group-writable permissions without sticky \
                 bit set on \"/etc/munge\""
                    .into(),
                Fault::Owner,
            ),
            ("Error: Keyfile is insecure: invalid ownership of \"/etc\"".into(), Fault::Owner),
            ("munged: Error: Keyfile must be at least 32 bytes".into(), Fault::Key),
            (format!("{key} must be a regular file (type=0040000)"), Fault::Key),
            ("Error: Failed to find keyfile \"/etc/munge/munge.key\"".into(), Fault::Key),
            (
                "munged: Error: Failed to open \"/etc/munge/munge.key\": Permission denied".into(),
                Fault::Owner,
            ),
            ("munged: Error: Failed to lock memory".into(), Fault::Other),
            (String::new(), Fault::Other),
        ] {
            assert_eq!(of_munged(1, &words), fault, "{words}");
        }
        assert_eq!(of_munged(127, "sh: munged: not found"), Fault::Missing);
    }

    #[test]
    fn who_made_a_credential_is_read() {
        let words = "STATUS:          Success (0)\nENCODE_HOST:     n1 (127.0.0.1)\n\
                     UID:             root (0)\nGID:             root (0)\n";
        assert_eq!(uid_of(words), Some(0));
        assert_eq!(uid_of("UID:             100000\n"), Some(100_000));
        assert_eq!(uid_of("UID:  ? (x)\n"), None);
        assert_eq!(uid_of(""), None);
    }

    #[test]
    fn the_last_words_are_few() {
        assert_eq!(last("a\n\n b \nc\n", 2), "b; c");
        assert_eq!(last("", 3), "");
    }
}
