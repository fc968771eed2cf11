//! Installing, upgrading, removing and failing on hosts in temporary directories.
#![allow(clippy::disallowed_methods)] // The host's files are set up and looked at directly.
#![allow(clippy::unwrap_used)] // A test that panics has failed, which is what it is for.

#[cfg(feature = "crash-points")]
mod crash;
mod host;

use std::fs;
use std::path::Path;
use std::process::Stdio;

use host::{Host, code};
use ldms_bundle::answers::Never;
use ldms_bundle::apply::Recovered;
use ldms_bundle::digest::Digest;
use ldms_bundle::engine;
use ldms_bundle::error::Kind;
use ldms_bundle::host::Interrupt;
use ldms_bundle::install::{self, Request, Session, open::Which};
use ldms_bundle::journal::{self, Act, Begin, Journal};
use ldms_bundle::record::RECORD;
use ldms_bundle::root::{Attr, Held, Root};

/// Not a test but what [`Host::run`] starts: it does nothing by itself.
#[test]
fn child() {
    host::child();
}

#[test]
fn what_is_installed_is_there_and_what_is_removed_is_gone() {
    let host = Host::bare();
    let bare = host.listing();
    host.must("install 1");
    let one = host.listing();
    let up = fs::read_to_string(host.path("up/ldms-sampler.service")).unwrap();
    assert_eq!(up, "[Service]\nImage=docker.io/ovishpc/ldms-samp:v1\nversion 1");
    let key = host.path("root/etc/ldms/munge/munge.key");
    assert_eq!(fs::read_to_string(key).unwrap(), "the key");
    let record = fs::read_to_string(host.path("root/var/lib/ldms-install/record.json")).unwrap();
    assert!(!record.contains("the key") && !record.contains("compid"), "{record}");

    host.must("install 2");
    assert!(!host.path("root/etc/ldms/first").exists());
    assert!(!host.path("engine/docker.io_ovishpc_ldms-samp_v1").exists());
    let up = fs::read_to_string(host.path("up/ldms-sampler.service")).unwrap();
    assert!(up.ends_with("version 2"), "{up}");

    host.must("install 1");
    assert_eq!(host.listing(), one, "back again is as it was");
    host.must("uninstall");
    assert_eq!(host.listing(), bare);
}

#[test]
fn the_second_time_nothing_is_touched() {
    let host = Host::bare();
    host.must("install 1");
    let stamps = || {
        let output = std::process::Command::new("find")
            .arg(host.dir.path())
            .args(["-printf", "%p %i %T@ %C@\n"])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let before = stamps();
    let output = host.run("install 1", &[]);
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("changed: false"));
    assert_eq!(stamps(), before);
}

#[test]
fn every_failure_leaves_the_host_as_before() {
    let bare = Host::bare();
    let one = bare.copy();
    one.must("install 1");
    for start in [bare, one] {
        let before = start.listing();
        let fails = |fault: &str| {
            let failure = start.fails("install 2", &[("LDMS_TEST_FAULT", fault)]);
            assert_eq!(start.listing(), before, "{fault}: {}", failure.1);
            assert!(failure.1.contains("this was undone and the host is as before"));
            failure
        };
        let (status, text) = fails("feed");
        assert_eq!(status, code(Kind::Refused), "{text}");
        assert!(text.contains("pack 0007 is damaged"), "{text}");
        let (status, text) = fails("layers");
        assert_eq!(status, code(Kind::Refused), "{text}");
        assert!(text.contains("other layers than were signed"), "{text}");
        let (status, text) = fails("interrupt");
        assert_eq!(status, code(Kind::Failed), "{text}");
        assert!(text.contains("interrupted"), "{text}");
        let (_, text) = fails("health");
        assert!(text.contains("nobody answers on port 1"), "{text}");
        assert!(text.contains("munged: Keyfile is insecure"), "{text}");
        assert!(text.contains("-> see `journalctl -u ldms-sampler.service`"), "{text}");
    }
}

#[test]
fn what_cannot_be_undone_is_told_and_recovered_later() {
    let host = Host::bare();
    host.must("install 1");
    let before = host.listing();
    // Starting fails, the new version and then the old one too.
    fs::write(host.path("break-start"), "").unwrap();
    let (status, text) = host.fails("install 2", &[]);
    assert_eq!(status, code(Kind::Incomplete), "{text}");
    assert!(text.contains("ldms-install recover"), "{text}");
    for verb in ["install 2", "uninstall"] {
        let (status, text) = host.fails(verb, &[]);
        assert_eq!(status, code(Kind::Incomplete), "{text}");
        assert!(text.contains("(install 2) was interrupted"), "{text}");
    }
    fs::remove_file(host.path("break-start")).unwrap();
    let output = host.run("recover", &[]);
    let undone = format!("{:?}", Recovered::Undone("install 2".into()));
    assert!(String::from_utf8_lossy(&output.stdout).contains(&undone), "{output:?}");
    assert_eq!(host.listing(), before);
}

#[test]
fn after_a_reboot_starts_and_stops_are_void() {
    let host = Host::bare();
    host.must("install 1");
    let before = host.listing();

    // An upgrade got as far as a new unit file, then the power failed; at the boot systemd read
    // that file and started what is enabled.
    let root = Root::open(&host.path("root")).unwrap();
    let begin = Begin {
        transaction: "t".into(),
        verb: "install".into(),
        boot: "another boot".into(),
        leaves_record: true,
        live: true,
        engine: Some(engine::Kind::Podman),
        up: vec![],
        after: vec![],
    };
    let mut journal = Journal::begin(&root, &begin).unwrap();
    let unit = Path::new("/etc/systemd/system/ldms-sampler.service");
    let kept = journal.save(unit).unwrap();
    let new = b"[Service]\nImage=new\n";
    let after = Held::File(Digest::of(new));
    journal.intent(&Act::Path { path: unit.into(), before: kept, after }).unwrap();
    root.write(unit, new, Attr::own(0o644)).unwrap();
    for dir in ["loaded", "up"] {
        fs::write(host.path(dir).join("ldms-sampler.service"), "[Service]\nImage=new\n").unwrap();
    }
    drop(journal);
    host.must("recover");
    assert_eq!(host.listing(), before);
}

#[test]
fn who_only_looks_or_has_no_bundle_recovers_nothing() {
    let host = Host::bare();
    let root = Root::open(&host.path("root")).unwrap();
    root.mkdir(Path::new("/var/lib/ldms-install"), Attr::own(0o700)).unwrap();
    let begin = Begin {
        transaction: "t".into(),
        verb: "install".into(),
        boot: "b".into(),
        leaves_record: true,
        live: false,
        engine: None,
        up: vec![],
        after: vec![],
    };
    drop(Journal::begin(&root, &begin).unwrap());
    let mut session = Session {
        ask: &mut Never,
        interrupt: &Interrupt::none(),
        progress: &ldms_bundle::progress::Quiet,
    };
    let request = Request {
        root: host.path("root"),
        which: Which { bundle: Some(host.path("no-bundle")), ..Which::default() },
        roles: vec![],
        engine: None,
        set: vec![],
        answers: None,
        start: true,
        dry_run: false,
    };
    let error = install::install(&request, &mut session).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("no-bundle"), "{error}");
    assert!(journal::read(&root).unwrap().is_some());
    let error = install::uninstall(&request.root, true, &mut session).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), Kind::Incomplete);
    assert!(error.next_step().unwrap().contains("recover"));
}

#[test]
fn a_live_run_is_not_recovered_from_outside() {
    let host = Host::bare();
    let root = Root::open(&host.path("root")).unwrap();
    root.mkdir(Path::new("/var/lib/ldms-install"), Attr::own(0o700)).unwrap();
    let begin = Begin {
        transaction: "t".into(),
        verb: "install".into(),
        boot: "b".into(),
        leaves_record: true,
        live: true,
        engine: None,
        up: vec![],
        after: vec![],
    };
    drop(Journal::begin(&root, &begin).unwrap());
    let node = ldms_bundle::plan::Node::new(&root, None);
    let lock = ldms_bundle::apply::lock(&root).unwrap();
    let quiet = ldms_bundle::progress::Quiet;
    let error = ldms_bundle::apply::recover(&lock, &node, &quiet).unwrap_err();
    assert_eq!(error.kind(), Kind::Incomplete);
    assert!(error.next_step().unwrap().contains("on that host"));
    assert!(journal::read(&root).unwrap().is_some());
    assert!(root.read(Path::new(RECORD)).unwrap().is_none());
}

#[test]
fn what_the_site_has_edited_survives_everything() {
    let host = Host::bare();
    host.must("install 1");
    let conf = host.path("root/etc/ldms/sampler.conf");
    fs::write(&conf, "ours now").unwrap();
    host.must("install 2");
    assert_eq!(fs::read_to_string(&conf).unwrap(), "ours now");
    let offer = host.path("root/etc/ldms/sampler.conf.new");
    assert_eq!(fs::read_to_string(&offer).unwrap(), "version 2");
    host.must("uninstall");
    assert_eq!(fs::read_to_string(&conf).unwrap(), "ours now");
    assert!(!offer.exists());
    let left = fs::read_dir(host.path("root/etc/ldms")).unwrap().count();
    assert_eq!(left, 1);
}

#[test]
fn without_its_engine_a_host_is_told_of_and_cleared() {
    let host = Host::bare();
    let bare = host.listing();
    host.must("install 1");
    fs::write(host.path("engine-down"), "").unwrap();
    let status = host.run("status", &[]);
    assert!(String::from_utf8_lossy(&status.stdout).contains("image_there: None"), "{status:?}");
    host.fails("install 2", &[]);
    let output = host.run("uninstall", &[]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8_lossy(&output.stdout);
    let note = "note: image docker.io/ovishpc/ldms-samp:v1 stays: podman still uses it";
    assert!(text.contains(note), "{text}");
    let mut left = host.listing();
    left.remove("engine/docker.io_ovishpc_ldms-samp_v1").unwrap();
    assert_eq!(left, bare);
}

/// The engine takes its time; meanwhile somebody edits a file that is to be replaced.
#[test]
fn what_the_site_edits_during_a_run_is_kept() {
    let host = Host::bare();
    host.must("install 1");
    fs::write(host.path("slow-load"), "").unwrap();
    let installer = host.command("install 2", &[]).stderr(Stdio::piped()).spawn().unwrap();
    while !host.path("has-all").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let conf = host.path("root/etc/ldms/sampler.conf");
    fs::write(&conf, "ours now").unwrap();
    let output = installer.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("sampler.conf: has changed while this was running"), "{text}");
    assert!(text.contains("this was undone and the host is as before"), "{text}");
    assert_eq!(fs::read_to_string(&conf).unwrap(), "ours now");
    assert!(!host.path("engine/docker.io_ovishpc_ldms-samp_v2").exists());
    host.must("install 2");
    assert_eq!(fs::read_to_string(&conf).unwrap(), "ours now");
}

/// A run has replaced a file and is stopped; the site edits the file before anybody recovers.
#[test]
fn what_the_site_edits_before_a_recovery_is_kept() {
    let host = Host::bare();
    host.must("install 1");
    let root = Root::open(&host.path("root")).unwrap();
    let begin = Begin {
        transaction: "t".into(),
        verb: "install".into(),
        boot: fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim().into(),
        leaves_record: true,
        live: true,
        engine: None,
        up: vec![],
        after: vec![],
    };
    let mut journal = Journal::begin(&root, &begin).unwrap();
    let conf = Path::new("/etc/ldms/sampler.conf");
    let before = journal.save(conf).unwrap();
    let after = Held::File(Digest::of(b"version 2"));
    journal.intent(&Act::Path { path: conf.into(), before, after }).unwrap();
    drop(journal);
    root.write(conf, b"ours now", Attr::own(0o644)).unwrap();
    host.must("recover");
    assert_eq!(root.read(conf).unwrap().unwrap(), b"ours now");
    assert!(journal::read(&root).unwrap().is_none());
}

#[test]
fn an_image_that_could_not_be_removed_is_tried_again() {
    let host = Host::bare();
    host.must("install 1");
    let old = host.path("engine/docker.io_ovishpc_ldms-samp_v1");
    fs::write(host.path("in-use"), "").unwrap();
    host.must("install 2");
    assert!(old.exists());
    let again = String::from_utf8(host.run("install 2", &[]).stdout).unwrap();
    assert!(again.contains("changed: false") && again.contains("podman still uses it"), "{again}");
    fs::remove_file(host.path("in-use")).unwrap();
    host.must("install 2");
    assert!(!old.exists());
    let record = fs::read_to_string(host.path("root/var/lib/ldms-install/record.json")).unwrap();
    assert!(!record.contains("leftover"), "{record}");
    let again = String::from_utf8(host.run("install 2", &[]).stdout).unwrap();
    assert!(again.contains("changed: false"), "{again}");
}

#[test]
fn a_second_run_at_the_same_time_leaves_with_the_first_ones_number() {
    let host = Host::bare();
    let root = Root::open(&host.path("root")).unwrap();
    let _lock = ldms_bundle::apply::lock(&root).unwrap();
    let (status, text) = host.fails("install 1", &[]);
    assert_eq!(status, code(Kind::Failed));
    assert!(text.contains(&format!("(process {})", std::process::id())), "{text}");
}

#[test]
fn nobody_recovers_while_an_engine_is_still_taking_an_image() {
    let host = Host::bare();
    let bare = host.listing();
    fs::write(host.path("slow-load"), "").unwrap();
    let mut installer = host.command("install 1", &[]).stdout(Stdio::null()).spawn().unwrap();
    while !host.path("has-all").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    installer.kill().unwrap();
    installer.wait().unwrap();
    // The engine has the whole image and will know it in a moment.
    let (_, text) = host.fails("recover", &[]);
    assert!(text.contains("another run is in progress"), "{text}");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert!(host.listing().keys().any(|path| path.starts_with("engine/")));
    host.must("recover");
    assert_eq!(host.listing(), bare);
}
