//! What the installer is made of. A new crate in it is a decision: the snapshot shows it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::kit::run;

#[test]
fn the_installers_crates() {
    let line = "tree --locked --offline --no-default-features -e normal --prefix none --format {p}";
    let mut tree = Command::new(env!("CARGO"));
    let tree =
        run(tree.args(line.split(' ')).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))).fine();
    let crates: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(crates.contains("minisign-verify") && crates.contains("ldms-bundle"), "{tree}");
    for packing in ["minisign", "fastcdc", "flate2", "include_dir", "elf"] {
        assert!(!crates.contains(packing), "{packing} belongs to the packer alone");
    }
    for network in [
        "tokio",
        "async-std",
        "smol",
        "mio",
        "socket2",
        "hyper",
        "reqwest",
        "ureq",
        "rustls",
        "openssl",
        "curl",
    ] {
        assert!(!crates.contains(network), "the installer opens no connection: {network}");
    }
    let names: Vec<&str> = crates.into_iter().collect();
    insta::assert_snapshot!("installer-crates", names.join("\n"));
}
