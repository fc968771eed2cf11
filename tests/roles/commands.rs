//! Roles that are commands for people: the scripts, for both engines.

use std::process::Command;

use ldms_bundle::engine::Kind;
use ldms_bundle::profile::Profile;
use ldms_bundle::service::check_together;
use ldms_bundle::unit::command::script;

use crate::kit::{host, profile, service, target, texts};

#[test]
fn a_command_runs_its_image_where_it_is_called() {
    let dev = profile("dev");
    let dev =
        service("dev", &dev, &host(true), &["mounts='/scratch/it'\\''s here:/s:ro'"]).unwrap();
    assert!(dev.command);
    let mut all = String::new();
    for engine in [Kind::Docker, Kind::Podman] {
        let script = script(&dev, &target(engine), &texts("units")).unwrap();
        assert_eq!(script.path, "/usr/local/bin/ldms-dev");
        all += &script.text;
        // As dash reads it.
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("script");
        std::fs::write(&file, &script.text).unwrap();
        assert!(Command::new("sh").arg("-n").arg(&file).status().unwrap().success());
    }
    insta::assert_snapshot!(all);
}

#[test]
fn a_directory_that_cannot_be_mounted_is_refused() {
    let dev = service("dev", &profile("dev"), &host(true), &[]).unwrap();
    let mut target = target(Kind::Docker);
    let dir = tempfile::tempdir().unwrap();
    target.program = "/bin/echo".into();
    let script = script(&dev, &target, &texts("units")).unwrap();
    let file = dir.path().join("script");
    std::fs::write(&file, &script.text).unwrap();
    let run = |place: &std::path::Path| {
        std::fs::create_dir_all(place).unwrap();
        let mut command = Command::new("sh");
        let output = command.arg(&file).args(["-c", "a  b"]).current_dir(place).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    for name in ["a,b", "a\"b", "a\nb", "a "] {
        let (code, out, err) = run(&dir.path().join(name));
        assert_eq!((code, &*out), (Some(125), ""), "{name}");
        assert!(err.starts_with("ldms-dev: docker cannot mount a directory"), "{err}");
    }
    let (code, _, err) = run(std::path::Path::new("/usr"));
    assert_eq!(code, Some(125));
    assert!(err.contains("/usr would hide the image's own"), "{err}");
    let good = dir.path().join("it's $HOME");
    let (code, out, err) = run(&good);
    assert_eq!((code, &*err), (Some(0), ""));
    let good = good.display();
    let mount = format!("--mount type=bind,source={good},target={good} --workdir {good} ");
    assert!(out.contains(&mount), "{out}");
    assert!(out.ends_with(" /bin/bash -c a  b\n"), "{out}");
    assert!(!out.contains(" -t "), "there is no terminal: {out}");
}

#[test]
fn a_command_is_no_service() {
    let head = "summary = \"T\"\nimage = \"a/b\"\n[command]\n[container]\n";
    for rest in ["[munge]\n", "[[port]]\ntcp = \"1\"\n", "[[check]]\ntcp = \"1\"\n"] {
        let error = Profile::parse("test", &format!("{head}{rest}")).unwrap_err();
        assert!(error.to_string().contains("a command has no [munge]"), "{error}");
    }
    let command = Profile::parse("test", head).unwrap();
    assert!(command.question("container").is_none());
    let command = service("a", &command, &host(true), &[]).unwrap();
    // The name that its container would have is free for a service.
    let sampler = service("b", &profile("sampler"), &host(true), &["container=ldms-a"]).unwrap();
    check_together(&[command, sampler]).unwrap();
}
