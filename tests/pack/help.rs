//! Help is part of the product: all of it is in snapshots, and fits a terminal.

use crate::kit::{pack, run, temp};

#[test]
fn help() {
    let temp = temp();
    for verb in ["", "keygen", "build", "inspect", "verify", "export"] {
        let text = run(&mut pack(temp.path(), &format!("{verb} --help"))).fine();
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{verb}: {line}");
        }
        let name = if verb.is_empty() { "help".to_owned() } else { format!("help-{verb}") };
        insta::assert_snapshot!(name, text);
    }
    let version = run(&mut pack(temp.path(), "--version")).fine();
    assert_eq!(version, format!("ldms-pack {}\n", env!("CARGO_PKG_VERSION")));
    // Nothing said is usage, on standard error.
    let nothing = run(&mut pack(temp.path(), ""));
    assert_eq!((nothing.code, &*nothing.out), (2, ""));
    assert!(nothing.err.contains("Usage: ldms-pack"), "{}", nothing.err);
}
