//! `ldms-install` as a stranger meets it: its help, and what it says before it has a bundle.
#![allow(clippy::disallowed_methods)] // Programs are run and folders made directly.
#![allow(clippy::unwrap_used)] // A test that panics has failed.

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    // A place of its own, so that no bundle lies beside the program; a root that is nobody's host.
    // A link and not a copy: a child that another test starts meanwhile would inherit the copy
    // while it is still open for writing, and then it cannot be run (ETXTBSY).
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let program = folder.path().join("ldms-install");
    std::fs::hard_link(env!("CARGO_BIN_EXE_ldms-install"), &program).unwrap();
    let root = folder.path().join("root");
    std::fs::create_dir_all(root.join("var/lib")).unwrap();
    let words: Vec<String> =
        arguments.iter().map(|word| word.replace("ROOT", &root.display().to_string())).collect();
    Command::new(&program).args(words).current_dir(&root).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn help_fits_a_terminal_and_is_as_decided() {
    let mut all = String::new();
    for verb in ["", "verify", "load", "status", "shell", "uninstall", "recover", "export"] {
        let arguments: Vec<&str> =
            [verb, "--help"].into_iter().filter(|word| !word.is_empty()).collect();
        let help = text(&run(&arguments).stdout);
        let wide: Vec<&str> = help.lines().filter(|line| line.chars().count() > 80).collect();
        assert!(wide.is_empty(), "{wide:?}");
        all = [all, format!("$ ldms-install {}\n{help}\n", arguments.join(" "))].concat();
    }
    insta::assert_snapshot!(all);
}

#[test]
fn without_a_bundle_it_says_how_to_name_one() {
    let output = run(&["--root", "ROOT", "--yes"]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(said.contains("there is no bundle in "), "{said}");
    assert!(said.contains("what to do: ") && said.contains("--bundle FILE"), "{said}");
}

#[test]
fn errors_are_json_where_json_is_asked_for() {
    let output = run(&["--root", "ROOT", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["error"]["code"], 2);
    assert!(json["error"]["remedy"].as_str().unwrap().contains("--bundle FILE"));
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_bare_host_has_nothing_to_show_and_nothing_to_remove() {
    let status = run(&["status", "--root", "ROOT"]);
    assert_eq!((status.status.code(), &*text(&status.stdout)), (Some(0), "nothing is installed\n"));
    let uninstall = run(&["uninstall", "--root", "ROOT", "--yes"]);
    assert_eq!(uninstall.status.code(), Some(2));
    assert!(text(&uninstall.stderr).contains("nothing is installed here"));
    let recover = run(&["recover", "--root", "ROOT"]);
    assert_eq!(text(&recover.stdout), "nothing was interrupted\n");
}
