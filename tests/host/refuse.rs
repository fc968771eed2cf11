//! A medium that is not what the site's packer made is refused, by the name of what is wrong,
//! before anything has been done.

use std::fmt::Write as _;

use crate::machine::{Machine, TRIXIE_PODMAN};
use crate::medium::Copy;
use crate::node::{INSTALL, ask, assert_nothing_there, ends, host, host_with, stable};
use crate::state::{assert_unchanged, listing};

/// The error of a refused installation.
#[track_caller]
fn refused(host: &Machine, command: &str) -> String {
    let output = ends(host, 3, command);
    assert_eq!(output.stdout, "");
    let lines: Vec<&str> =
        output.stderr.lines().skip_while(|line| !line.starts_with("ldms-install: ")).collect();
    assert!(!lines.is_empty(), "{}", output.stderr);
    lines.join("\n")
}

#[test]
fn one_flipped_bit_anywhere_is_refused_by_name_and_nothing_happens() {
    let medium = Copy::new();
    let host = host_with(TRIXIE_PODMAN, "nid00100", medium.dir()).boot();
    let before = listing(&host);
    let needed = medium.packs("ovishpc/ldms-samp").0;
    let middle = |name: &str| medium.member(name).data + medium.member(name).size / 2;
    let (first, last) = (needed[0], needed[needed.len() - 1]);
    let config = medium.member("images/ovishpc/ldms-samp/config.json");
    let places = [
        ("the name in the first header", 0),
        ("the first header's checksum", 148),
        ("the checksums", middle("SHA256SUMS")),
        ("the signature", middle("SHA256SUMS.minisig")),
        ("the index", middle("index.toml")),
        ("the manifest", middle("manifest.toml")),
        ("a profile", middle("profiles/sampler.toml")),
        ("a unit of the other engine", middle("units/docker.service")),
        ("the image's configuration", config.data + config.size / 2),
        ("padding", config.data + config.size),
        ("a header", medium.member("profiles/sampler.toml").header + 100),
        ("the first byte of a pack", first.data),
        ("the middle of a pack", first.data + first.size / 2),
        ("the last byte of a pack", last.data + last.size - 1),
        ("a pack's padding", last.data + last.size),
        ("a pack's header", last.header + 136),
    ];
    let mut report = String::new();
    for (what, offset) in places {
        medium.flip(offset);
        let why = refused(&host, INSTALL);
        medium.flip(offset);
        writeln!(report, "{what}\n{why}\n").unwrap();
    }
    assert_nothing_there(&host, "podman");
    assert_unchanged(&host, &before);
    // Packs are numbered by what is in them, which changes with the sample images.
    let report =
        report.replace(&first.name, "packs/FIRST.zst").replace(&last.name, "packs/LAST.zst");
    insta::assert_snapshot!(stable(&report));

    // All of it put right: it was only these bits.
    host.ok(INSTALL);
    assert_eq!(ask(&host, 411)["compid"], "100");
}

#[test]
fn a_medium_that_is_cut_or_goes_on_is_refused() {
    let medium = Copy::new();
    let host = host_with(TRIXIE_PODMAN, "nid00100", medium.dir()).boot();
    let before = listing(&host);
    let whole = medium.size();
    let mut report = String::new();
    // Sizes at which a copy might have been cut off.
    let pack = medium.packs("ovishpc/ldms-samp").0[0].clone();
    for (what, size) in [
        ("nothing of it", 0),
        ("a part of the first header", 100),
        ("the front alone", medium.member("index.toml").header),
        ("half a pack", pack.data + pack.size / 2),
        ("all but the end", whole - 1024),
        ("all but the last byte", whole - 1),
        ("a byte more", whole + 1),
    ] {
        let kept = Copy::new();
        kept.resize(size);
        std::fs::copy(
            kept.dir().join(crate::medium::Medium::bundle()),
            medium.dir().join(crate::medium::Medium::bundle()),
        )
        .unwrap();
        writeln!(report, "{what}\n{}\n", refused(&host, INSTALL)).unwrap();
    }
    assert_unchanged(&host, &before);
    assert_nothing_there(&host, "podman");
    insta::assert_snapshot!(stable(&report));
}

#[test]
fn what_only_other_roles_need_may_be_damaged_and_verify_names_it() {
    let medium = Copy::new();
    let host = host_with(TRIXIE_PODMAN, "nid00100", medium.dir()).boot();
    let pack = medium.packs("ovishpc/ldms-samp").1[0].clone();
    medium.flip(pack.data + pack.size / 2);
    host.ok(INSTALL);
    assert_eq!(ask(&host, 411)["compid"], "100");
    host.ok("ldms-install verify --bundle /media/ldms/*.ldms --role sampler");
    let why = refused(&host, "ldms-install verify --bundle /media/ldms/*.ldms");
    assert!(why.contains(&pack.name), "{why}");
    medium.flip(pack.data + pack.size / 2);
    let proof = host.ok("ldms-install verify --bundle /media/ldms/*.ldms");
    assert!(proof.contains("is whole"), "{proof}");
}

#[test]
fn nothing_is_installed_without_a_trusted_key() {
    let host = host(TRIXIE_PODMAN, "nid00100").boot();
    let before = listing(&host);
    let mut report = String::new();
    let alone = "/media/ldms/ldms-install --role sampler --yes";
    for (what, command) in [
        ("no key", alone.to_owned()),
        ("another's key", format!("{alone} --pubkey /media/keys/stranger.pub")),
        ("no key for verify", "/media/ldms/ldms-install verify".to_owned()),
        ("no key for a dry run", format!("{alone} --dry-run")),
    ] {
        writeln!(report, "{what}\n{}\n", refused(&host, &command)).unwrap();
    }
    let nonsense = host.run(&format!("{alone} --pubkey /etc/passwd"));
    assert!(nonsense.status == 3 || nonsense.status == 2, "{nonsense:?}");
    assert_unchanged(&host, &before);
    assert_nothing_there(&host, "podman");
    insta::assert_snapshot!(stable(&report));

    // A key that the site has laid down is enough, and a stranger's beside it does no harm.
    host.ok("mkdir -p /etc/ldms/trusted.d && cp /media/keys/*.pub /etc/ldms/trusted.d/");
    host.ok(alone);
    assert_eq!(ask(&host, 411)["compid"], "100");
    host.ok("ldms-install uninstall --yes");
    assert_eq!(host.ok("ls /etc/ldms/trusted.d"), "ldms.pub\nstranger.pub\n");
}
