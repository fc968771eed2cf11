//! `build --profiles`: a site's own profiles and templates travel in the signed bundle.

use std::fs;

use crate::kit::*;

const FORWARDER: &str = "summary = \"Forwards\"\nimage = \"ovishpc/ldms-ui\"\n[container]\n";

#[test]
fn a_sites_profiles_travel_signed() {
    let temp = temp();
    let dir = temp.path();
    let own = fs::read_to_string("profiles/sampler.toml").unwrap();
    let own = own.replace("ovishpc/ldms-samp\"", "ovishpc/ldms-agg\"");
    put(&dir.join("p/sampler.toml"), own.as_bytes());
    put(&dir.join("p/forwarder.toml"), FORWARDER.as_bytes());
    put(&dir.join("p/config/forwarder.ini"), b"[queue]\n");
    build(dir, "--from {bed}/images --profiles {dir}/p").fine();

    let bundle = bundle(&dir.join("m"));
    assert_eq!(member(&bundle, "profiles/sampler.toml"), own);
    assert_eq!(member(&bundle, "profiles/forwarder.toml"), FORWARDER);
    assert_eq!(member(&bundle, "config/forwarder.ini"), "[queue]\n");
    let line = format!("verify {} --pubkey {{bed}}/ldms.pub", bundle.display());
    run(&mut pack(dir, &line)).fine();
    let shown = run(&mut pack(dir, &line.replace("verify", "inspect"))).fine();
    let site = "brought by the packing site: \
                config/forwarder.ini, profiles/forwarder.toml, profiles/sampler.toml\n";
    assert!(shown.contains(site), "{shown}");
    assert!(shown.contains("forwarder") && shown.contains("ovishpc/ldms-agg  "), "{shown}");
    // No profile names it any more.
    assert!(!shown.contains("ovishpc/ldms-samp  "), "{shown}");
    let json = run(&mut pack(dir, &format!("{} --json", line.replace("verify", "inspect"))));
    let json: serde_json::Value = serde_json::from_str(&json.fine()).unwrap();
    assert_eq!(json["manifest"]["site"][1], "profiles/forwarder.toml");
}

#[test]
fn mistakes_in_profiles_are_told_before_the_work() {
    let temp = temp();
    let dir = temp.path();
    put(&dir.join("typo/forwarder.toml"), FORWARDER.replace("image", "imgae").as_bytes());
    put(
        &dir.join("name/forwarder.toml"),
        b"summary = 'F'\nimage = 'a/b'\n[container]\nargs = ['{{ x }}']\n",
    );
    put(&dir.join("other/sampler.toml.orig"), b"");
    put(&dir.join("other/forwarder.toml"), FORWARDER.as_bytes());
    put(&dir.join("other/notes.txt"), b"");
    put(&dir.join("binary/forwarder.toml"), b"\xff");
    put(&dir.join("image/forwarder.toml"), FORWARDER.replace("-ui", "-none").as_bytes());
    let config = "[[config]]\nkey = 'ini'\ntemplate = 'f.ini'\nfile = '/etc/f'\ntarget = '/f'\n";
    let with_config = [FORWARDER, config].concat();
    put(&dir.join("template/forwarder.toml"), with_config.as_bytes());
    put(&dir.join("names/forwarder.toml"), with_config.as_bytes());
    put(&dir.join("names/config/f.ini"), b"a = {{ service }}\nb = {{ ini }}{{ prot }}\n");
    put(&dir.join("form/forwarder.toml"), with_config.as_bytes());
    put(&dir.join("form/config/f.ini"), b"a = 1\nb = {{ service\n");
    fs::create_dir(dir.join("empty")).unwrap();
    let mut told = String::new();
    for folder in [
        "typo",
        "name",
        "other",
        "binary",
        "template",
        "names",
        "form",
        "image",
        "empty",
        "absent",
        "typo/forwarder.toml",
    ] {
        let line = format!("--profiles {{dir}}/{folder}");
        let ran = build(dir, &format!("--from {{bed}}/images {line}"));
        assert_ne!(ran.code, 0, "{line}");
        assert!(!ran.err.contains("ovishpc/ldms-samp: "), "{line}: {}", ran.err);
        told += &transcript(&line, &ran, dir);
        nothing_left(dir);
    }
    // The keys that a profile may have grow with time.
    let lines = told.lines().map(|line| line.split(", expected one of ").next().unwrap());
    insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"));
}
