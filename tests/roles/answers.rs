//! Answers: which place counts, what is kept, what is missing, what is refused.

use std::fmt::Write as _;

use ldms_bundle::answers::{Answers, Host, Never, Settled, Sources, settle};
use ldms_bundle::engine::Kind as Engine;
use ldms_bundle::error::{Kind, Result};
use ldms_bundle::profile::{Profile, Value};

use crate::kit::{host, profile, service, settle_with, wanted};

fn settled(sources: &Sources, profile: &Profile, host: &Host) -> Result<Settled> {
    settle(&[wanted("sampler", profile)], sources, host, &mut Never)
}

fn answers(text: &str) -> Answers {
    Answers::from_toml("answers.toml", text).unwrap()
}

#[test]
fn defaults_of_a_host_with_munge() {
    let settled = settle_with("sampler", &profile("sampler"), &host(true), &[]).unwrap();
    insta::assert_snapshot!("install-toml", settled.answers.to_toml().unwrap());
    let values = &settled.values["sampler"];
    assert_eq!(values["container"], Value::Text("ldms-sampler".into()));
    assert!(!values.contains_key("munge_key"), "without a meaning, not answered");
}

#[test]
fn munge_is_proposed_by_what_is_there() {
    let profile = profile("sampler");
    for (socket, key, want) in
        [(true, true, "host"), (true, false, "host"), (false, true, "key"), (false, false, "none")]
    {
        let munge = Host { munge_socket: socket, munge_key: key, ..Host::default() };
        let host = Host { name: "n1".into(), names: vec!["n1".into()], ..munge };
        let settled = settle_with("s", &profile, &host, &[]).unwrap();
        let values = &settled.values["s"];
        assert_eq!(values["munge"], Value::Text(want.into()));
        if want == "key" {
            assert_eq!(values["munge_key"], Value::Text("/etc/munge/munge.key".into()));
            assert_eq!(values["munge_uid"], Value::Number(101));
        }
    }
}

#[test]
fn later_places_win() {
    let profile = profile("sampler");
    let value = |sources: &Sources| {
        settled(sources, &profile, &host(true)).unwrap().values["sampler"]["port"].clone()
    };
    let sources = Sources::new();
    assert_eq!(value(&sources), Value::Number(411));
    let sources = sources.recorded("r", answers("[service.sampler]\nport = 1\n"));
    assert_eq!(value(&sources), Value::Number(1));
    let all = sources.clone().file("f", answers("[all]\nport = 2\n"));
    assert_eq!(value(&all), Value::Number(2));
    let sources = sources.file("f", answers("[all]\nport = 2\n[service.sampler]\nport = 3\n"));
    assert_eq!(value(&sources), Value::Number(3));
    let sources = sources.set("port=4").unwrap();
    assert_eq!(value(&sources), Value::Number(4));
    assert_eq!(value(&sources.set("sampler.port=5").unwrap()), Value::Number(5));
}

#[test]
fn what_is_recorded_comes_back_as_it_was() {
    let profile = profile("sampler");
    let first = settle_with("sampler", &profile, &host(true), &["args=-v 'INFO'"]).unwrap();
    let text = first.answers.to_toml().unwrap();
    let recorded = Sources::new().recorded("/etc/ldms/install.toml", answers(&text));
    // Another host name and no munge: what was answered stays.
    let second = settled(&recorded, &profile, &host(false)).unwrap();
    assert_eq!(second.answers.to_toml().unwrap(), text);
    assert_eq!(second.values, first.values);
}

#[test]
fn questions_that_are_gone_are_dropped_and_other_services_stay() {
    let profile = profile("sampler");
    let old = "engine = \"podman\"\n[service.sampler]\nrole = \"sampler\"\ncolour = \"red\"\n\
               [service.other]\nrole = \"elsewhere\"\nsize = 3\n";
    let sources = Sources::new().recorded("r", answers(old));
    let text = settled(&sources, &profile, &host(true)).unwrap().answers.to_toml().unwrap();
    assert!(!text.contains("colour"), "{text}");
    assert!(text.contains("engine = \"podman\""), "{text}");
    assert!(text.contains("[service.other]\nrole = \"elsewhere\"\nsize = 3\n"), "{text}");
}

#[test]
fn all_that_is_missing_is_listed_at_once() {
    let profile = profile("sampler");
    let host = Host { name: "x1000c0s0b0n0".into(), ..Host::default() };
    let sources = Sources::new().set("munge=key").unwrap();
    let both = [wanted("one", &profile), wanted("two", &profile)];
    let error = settle(&both, &sources, &host, &mut Never).unwrap_err();
    assert_eq!(error.kind(), Kind::Usage);
    insta::assert_snapshot!("missing", format!("{error}\n{}", error.next_step().unwrap()));
}

#[test]
fn images_without_munge_propose_no_owner() {
    let profile = profile("sampler");
    let mut service = wanted("s", &profile);
    service.munge = None;
    let sources = Sources::new().set("munge=key").unwrap();
    let error = settle(&[service], &sources, &host(true), &mut Never).unwrap_err().to_string();
    assert!(error.contains("s.munge_uid") && error.contains("s.munge_gid"), "{error}");
}

#[test]
fn refusals_name_the_key_the_value_and_what_is_near() {
    let profile = profile("sampler");
    let mut report = String::new();
    for set in [
        "port",
        "prot=1",
        "zzz=1",
        "port=0",
        "port=a\nb",
        "compid=-1",
        "compid=hostname-digits-of",
        "xprt=tcp",
        "samplr.port=1",
        "munge=maybe",
        "munge_key=/k",
        "munge=key\n",
        "container=-rm",
        "args='",
    ] {
        let error = match settle_with("sampler", &profile, &host(true), &[set]) {
            Ok(settled) => format!("accepted: {:?}", settled.values["sampler"].get("munge")),
            Err(error) => {
                assert_eq!(error.kind(), Kind::Usage);
                let remedy = error.next_step().map(|r| format!("\n    {r}")).unwrap_or_default();
                format!("{error}{remedy}")
            }
        };
        writeln!(report, "--set {set:?}\n{error}").unwrap();
    }
    for file in [
        "[all]\nprot = 1\n",
        "[service.sampler]\nprot = 1\n",
        "[service.sampler]\nport = \"x\"\n",
        "[service.sampler]\nargs = 1\n",
        "[service.sampler]\nport = [\"1\"]\n",
        "engine = \"rkt\"\n",
        "\n[services]\n",
        "[service.\"a b\"]\n",
    ] {
        let error = Answers::from_toml("answers.toml", file)
            .and_then(|answers| {
                let sources = Sources::new().file("answers.toml", answers);
                settled(&sources, &profile, &host(true))
            })
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        let remedy = error.next_step().map(|r| format!("\n    {r}")).unwrap_or_default();
        writeln!(report, "{file:?}\n{error}{remedy}").unwrap();
    }
    insta::assert_snapshot!("refusals", report);
}

#[test]
fn keys_may_be_written_with_hyphens() {
    let profile = profile("sampler");
    let sets = ["munge=image-key", "accept-insecure-munge-key=true"];
    let settled = settle_with("s", &profile, &host(true), &sets).unwrap();
    assert_eq!(settled.values["s"]["accept_insecure_munge_key"], Value::Bool(true));
}

/// What an image would ignore, or receive as something else, is refused with that reason.
#[test]
fn what_an_image_cannot_take_is_refused() {
    let deaf = r#"
        summary = "Deaf"
        image = "site/deaf"
        [container]
        [[question]]
        key = "args"
        help = "Nothing"
        type = "words"
        default = []
        refused = "the image ignores its arguments"
    "#;
    let deaf = Profile::parse("deaf", deaf).unwrap();
    let told = |result: Result<Settled>| {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        error.to_string()
    };
    let set = settle_with("d", &deaf, &host(true), &["args=-v"]);
    assert_eq!(told(set), "--set d.args=-v: the image ignores its arguments");
    let given = "[all]\nargs = ['-v']\n";
    let wanted = [wanted("d", &deaf)];
    let file = Sources::new().file("answers.toml", answers(given));
    let file = told(settle(&wanted, &file, &host(true), &mut Never));
    assert!(file.starts_with("answers.toml: d.args = "), "{file}");
    assert!(file.ends_with(": the image ignores its arguments"), "{file}");
    // From a time when another profile took it: the question is answered by nobody now.
    let recorded = Sources::new().recorded("install.toml", answers(given));
    let settled = settle(&wanted, &recorded, &host(true), &mut Never).unwrap();
    assert_eq!(settled.values["d"]["args"], Value::Words(Vec::new()));

    for word in ["'-c /a b'", "'-v*'", "''"] {
        let set = format!("args={word}");
        let error = service("s", &profile("sampler"), &host(true), &[&set]).unwrap_err();
        assert!(error.to_string().contains("splits arguments anew"), "{error}");
    }
}

#[test]
fn further_mounts_are_as_v_would_have_them() {
    let profile = profile("sampler");
    let mounts = |set: &str| service("s", &profile, &host(true), &[set]);
    let flags = |set: &str| Engine::Docker.flags(&mounts(set).unwrap()).join("\n");
    let both = flags("mounts=/dev/shm/ram:/ram '/site/my conf:/conf:ro'");
    assert!(both.contains("--mount=type=bind,source=/dev/shm/ram,target=/ram\n"), "{both}");
    let conf = "--mount=type=bind,source=/site/my conf,target=/conf,readonly\n";
    assert!(both.contains(conf), "{both}");
    for (set, why) in [
        ("mounts=/a:/x /b:/x", "two mounts have the target /x"),
        ("mounts=/a", "mounts: '/a': it is not SOURCE:TARGET"),
        ("mounts=/run:/run", "the answer munge alone"),
    ] {
        let error = mounts(set).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert!(error.to_string().contains(why), "{set}: {error}");
    }
}
