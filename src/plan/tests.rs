//! Plans as a person reads them, for each state a host can be in.

mod companions;
mod needed;

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::digest::Digest;
use crate::engine::Kind as Engine;
use crate::health::Check;
use crate::host::UnitState;
use crate::munge::Proof;
use crate::record::tests::bundle;
use crate::root::{Attr, Look};

const UNIT: &str = "/etc/systemd/system/ldms-watcher.service";
const CONFIG: &str = "/etc/ldms/watcher.conf";

fn wanted(config: &str) -> Wanted {
    let mut wanted = Wanted::new(bundle(), Some(Engine::Podman));
    wanted.add_unit("ldms-watcher.service", "[Service]\n".into(), &["ldms.target"]);
    wanted.add_unit("ldms.target", "[Unit]\n".into(), &["multi-user.target"]);
    wanted.files.push(WantedFile {
        path: CONFIG.into(),
        content: Content::Text(config.into()),
        attr: Attr::root(0o644),
        kind: FileKind::Config,
    });
    wanted.files.push(WantedFile {
        path: "/etc/ldms/munge/munge.key".into(),
        content: Content::CopyOf("/etc/munge/munge.key".into()),
        attr: Attr { mode: 0o600, uid: 101, gid: 101 },
        kind: FileKind::Key,
    });
    wanted.dirs.push(WantedDir { path: "/etc/ldms/munge".into(), attr: Attr::root(0o700) });
    wanted.images.push(WantedImage {
        name: "ovishpc/ldms-samp".into(),
        reference: "docker.io/ovishpc/ldms-samp:ldms-0123".into(),
        id: Digest::of(b"image"),
        layers: vec![Digest::of(b"layer")],
        size: 276_000_000,
    });
    wanted.services.push(WantedService {
        companion_of: None,
        name: "watcher".into(),
        role: "watcher".into(),
        unit: "ldms-watcher.service".into(),
        image: "docker.io/ovishpc/ldms-samp:ldms-0123".into(),
        container: "ldms-watcher".into(),
        needs: Vec::new(),
        uses: vec![CONFIG.into(), "/etc/ldms/munge/munge.key".into()],
        writes: Vec::new(),
        ports: vec![411],
        checks: vec![Check::Running, Check::Tcp(411)],
        start_timeout: Duration::from_secs(60),
        proof: None,
    });
    wanted.groups.push("ldms.target".into());
    wanted
}

fn directory() -> Look {
    Look::Directory { attr: Attr::root(0o755) }
}

fn file(content: &[u8], attr: Attr) -> Look {
    Look::File { digest: Digest::of(content), size: content.len() as u64, attr }
}

fn unit(active: &str) -> UnitState {
    UnitState { active: active.into(), ..UnitState::default() }
}

/// A host on which nothing of ours is, with a running systemd and an engine.
fn bare() -> State {
    let mut state = State { has_engine: true, units: Some(BTreeMap::new()), ..State::default() };
    for dir in ["/etc", "/etc/systemd", "/etc/systemd/system"] {
        state.files.insert(dir.into(), directory());
    }
    state.sources.insert("/etc/munge/munge.key".into(), (Digest::of(b"key"), 3));
    state
}

/// The host after `plan` has been carried out, without looking at a real one.
fn after(mut state: State, plan: &Plan) -> State {
    for step in plan.steps.iter().chain(&plan.after) {
        match step {
            Step::MakeDir { path, attr } => {
                state.files.insert(path.clone(), Look::Directory { attr: *attr });
            }
            Step::WriteFile { path, digest, size, attr, .. } => {
                let look = Look::File { digest: *digest, size: *size, attr: *attr };
                state.files.insert(path.clone(), look);
            }
            Step::Link { path, target, .. } => {
                let look = Look::Link { target: target.clone(), to_directory: false };
                state.files.insert(path.clone(), look);
            }
            Step::RemoveFile { path, .. }
            | Step::Unlink { path, .. }
            | Step::RemoveDir { path } => {
                state.files.remove(path);
            }
            Step::LoadImage { reference, .. } => drop(state.images.insert(reference.clone())),
            Step::RemoveImage { reference, .. } => drop(state.images.remove(reference)),
            Step::Start { unit: name } | Step::Restart { unit: name } => {
                let units = state.units.as_mut().unwrap();
                units.insert(name.clone(), unit("active"));
            }
            Step::Stop { unit } => drop(state.units.as_mut().unwrap().remove(unit)),
            Step::Reload | Step::Await { .. } | Step::Prove(_) => {}
        }
    }
    state.entries.clear();
    let dirs: Vec<_> =
        state.files.iter().filter(|(_, l)| matches!(l, Look::Directory { .. })).collect();
    for (dir, _) in dirs {
        let inside = state.files.keys().filter(|p| p.parent() == Some(dir));
        let names = inside.filter_map(|p| Some(p.file_name()?.to_owned())).collect();
        state.entries.insert(dir.clone(), names);
    }
    state
}

/// A host with version one installed, and its record.
fn installed() -> (State, Record) {
    let plan = plan(&wanted("one"), None, &bare()).unwrap();
    (after(bare(), &plan), plan.record.unwrap())
}

#[test]
fn a_first_installation() {
    let plan = plan(&wanted("one"), None, &bare()).unwrap();
    insta::assert_snapshot!(plan.to_string(), @r"
    load     docker.io/ovishpc/ldms-samp:ldms-0123 into podman (276.0 MB)
    mkdir    /etc/ldms (0:0 0755)
    mkdir    /etc/ldms/munge (0:0 0700)
    mkdir    /etc/systemd/system/ldms.target.wants (0:0 0755)
    mkdir    /etc/systemd/system/multi-user.target.wants (0:0 0755)
    write    /etc/systemd/system/ldms-watcher.service (0:0 0644, 10 bytes)
    write    /etc/systemd/system/ldms.target (0:0 0644, 7 bytes)
    write    /etc/ldms/watcher.conf (0:0 0644, 3 bytes)
    write    /etc/ldms/munge/munge.key (101:101 0600, 3 bytes, copy of /etc/munge/munge.key)
    link     /etc/systemd/system/ldms.target.wants/ldms-watcher.service -> /etc/systemd/system/ldms-watcher.service
    link     /etc/systemd/system/multi-user.target.wants/ldms.target -> /etc/systemd/system/ldms.target
    reload   systemd
    start    ldms-watcher.service
    start    ldms.target
    await    watcher: running, answering on port 411 (at most 60 s)
    ");
    assert!(plan.changed);
    let json = serde_json::to_string(&plan).unwrap();
    assert!(json.contains(r#""step":"load-image""#) && !json.contains("[Service]"), "{json}");
    assert!(json.contains(r#""replaces":false"#), "{json}");
    // Neither of what is written nor of what is replaced or removed.
    let key = Digest::of(b"key").hex();
    assert!(!json.contains(&key), "{json}");
    let (state, record) = installed();
    let json = serde_json::to_string(&removal(&record, &[], &state)).unwrap();
    assert!(json.contains("munge.key") && !json.contains(&key), "{json}");
}

#[test]
fn the_second_time_there_is_nothing_to_do() {
    let (state, record) = installed();
    let plan = plan(&wanted("one"), Some(&record), &state).unwrap();
    assert_eq!((plan.to_string().as_str(), plan.changed), ("nothing to do\n", false));
    assert!(plan.record.unwrap().same_as(&record));
}

#[test]
fn an_untouched_file_is_replaced_and_its_service_restarted() {
    let (state, record) = installed();
    let plan = plan(&wanted("two!"), Some(&record), &state).unwrap();
    insta::assert_snapshot!(plan.to_string(), @r"
    replace  /etc/ldms/watcher.conf (0:0 0644, 4 bytes)
    restart  ldms-watcher.service
    await    watcher: running, answering on port 411 (at most 60 s)
    ");
}

#[test]
fn an_edited_file_is_kept_and_the_new_one_offered_once() {
    let (mut state, record) = installed();
    state.files.insert(CONFIG.into(), file(b"mine", Attr::root(0o640)));
    let same = plan(&wanted("one"), Some(&record), &state).unwrap();
    assert_eq!(
        same.to_string(),
        format!("nothing to do\nnote: {CONFIG} was edited here and is kept\n")
    );

    let two = plan(&wanted("two!"), Some(&record), &state).unwrap();
    insta::assert_snapshot!(two.to_string(), @r"
    write    /etc/ldms/watcher.conf.new (0:0 0644, 4 bytes)
    note: /etc/ldms/watcher.conf was edited here and is kept; the new version is /etc/ldms/watcher.conf.new
    ");
    let state = after(state, &two);
    let record = two.record.unwrap();
    let again = plan(&wanted("two!"), Some(&record), &state).unwrap();
    assert!(!again.changed, "{again}");
    assert_eq!(again.notes.len(), 1, "but it is still told of");

    // Looked at and thrown away: it does not come back.
    let mut dropped = state.clone();
    dropped.files.remove(&PathBuf::from(format!("{CONFIG}.new")));
    let third = plan(&wanted("two!"), Some(&record), &dropped).unwrap();
    assert!(third.steps.is_empty() && third.notes.is_empty(), "{third}");

    // Taken over: the offer goes, and the file is ours again.
    let mut merged = state;
    merged.files.insert(CONFIG.into(), file(b"two!", Attr::root(0o644)));
    let fourth = plan(&wanted("two!"), Some(&record), &merged).unwrap();
    assert_eq!(fourth.to_string(), format!("remove   {CONFIG}.new\n"));
    let record = fourth.record.unwrap();
    assert_eq!(record.files[Path::new(CONFIG)].digest, Some(Digest::of(b"two!")));
}

#[test]
fn what_the_site_had_before_us_is_never_ours() {
    let mut state = bare();
    state.files.insert("/etc/ldms".into(), directory());
    state.files.insert(CONFIG.into(), file(b"theirs", Attr::root(0o644)));
    let first = plan(&wanted("one"), None, &state).unwrap();
    assert!(!first.to_string().contains(&format!("replace  {CONFIG}")), "{first}");
    assert!(first.to_string().contains(&format!("write    {CONFIG}.new")), "{first}");
    let record = first.record.as_ref().unwrap();
    assert_eq!(record.files[Path::new(CONFIG)].digest, None);
    assert!(!record.dirs.contains(Path::new("/etc/ldms")));

    let state = after(state, &first);
    let gone = after(state.clone(), &removal(record, &[], &state));
    assert_eq!(*gone.at(Path::new(CONFIG)), file(b"theirs", Attr::root(0o644)));
    assert_eq!(*gone.at(Path::new("/etc/ldms")), directory());
    assert_eq!(gone.files.len(), bare().files.len() + 2);

    // Even if it holds what we would have written.
    let mut state = bare();
    state.files.insert(CONFIG.into(), file(b"one", Attr::root(0o644)));
    let same = plan(&wanted("one"), None, &state).unwrap();
    assert_eq!(same.record.unwrap().files[Path::new(CONFIG)].digest, None);
}

#[test]
fn everything_goes_in_the_order_in_which_nothing_breaks() {
    let (state, record) = installed();
    let plan = removal(&record, &[], &state);
    insta::assert_snapshot!(plan.to_string(), @r"
    stop     ldms-watcher.service
    stop     ldms.target
    unlink   /etc/systemd/system/ldms.target.wants/ldms-watcher.service
    unlink   /etc/systemd/system/multi-user.target.wants/ldms.target
    remove   /etc/ldms/munge/munge.key
    remove   /etc/ldms/watcher.conf
    remove   /etc/systemd/system/ldms-watcher.service
    remove   /etc/systemd/system/ldms.target
    rmdir    /etc/systemd/system/multi-user.target.wants
    rmdir    /etc/systemd/system/ldms.target.wants
    rmdir    /etc/ldms/munge
    rmdir    /etc/ldms
    reload   systemd
    unload   docker.io/ovishpc/ldms-samp:ldms-0123 from podman, unless a container uses it
    ");
    assert!(plan.record.is_none());
    assert_eq!(after(state, &plan).files, bare().files);
}

#[test]
fn what_is_kept_keeps_its_directory() {
    let (mut state, record) = installed();
    state.files.insert("/etc/ldms/munge/notes".into(), file(b"x", Attr::root(0o644)));
    state.entries.insert("/etc/ldms/munge".into(), vec!["munge.key".into(), "notes".into()]);
    let plan = removal(&record, &[FileKind::Config], &state);
    let text = plan.to_string();
    assert!(
        !text.contains(&format!("remove   {CONFIG}")) && !text.contains("rmdir    /etc/ldms\n"),
        "{text}"
    );
    assert!(text.contains("remove   /etc/ldms/munge/munge.key\n"), "{text}");
    assert!(text.contains("note: /etc/ldms/munge is not empty, so it stays\n"), "{text}");
}

const PROGRAM: &str = "/usr/local/sbin/ldms-install";
const ANSWERS: &str = "/etc/ldms/install.toml";

/// With the program's own files, and the host it is for.
fn with_own_files(config: &str) -> (Wanted, State) {
    let mut wanted = wanted(config);
    let mut file = |path: &str, content: Content, mode: u32, kind: FileKind| {
        let attr = Attr::root(mode);
        wanted.files.push(WantedFile { path: path.into(), content, attr, kind });
    };
    file(PROGRAM, Content::Input("/media/ldms-install".into()), 0o755, FileKind::Program);
    file(ANSWERS, Content::Text(config.into()), 0o600, FileKind::Answers);
    let mut state = bare();
    for dir in ["/usr", "/usr/local", "/usr/local/sbin"] {
        state.files.insert(dir.into(), directory());
    }
    state.sources.insert("/media/ldms-install".into(), (Digest::of(config.as_bytes()), 3));
    (wanted, state)
}

#[test]
fn the_program_and_its_answers_are_renewed_and_the_program_goes_last() {
    let (one, state) = with_own_files("one");
    let first = plan(&one, None, &state).unwrap();
    let (mut state, record) = (after(state, &first), first.record.unwrap());
    state.files.insert(ANSWERS.into(), file(b"edited", Attr::root(0o600)));
    state.files.insert(PROGRAM.into(), file(b"another", Attr::root(0o755)));
    let (two, newer) = with_own_files("two");
    state.sources = newer.sources;
    let second = plan(&two, Some(&record), &state).unwrap();
    let text = second.to_string();
    for path in [PROGRAM, ANSWERS] {
        assert!(text.contains(&format!("replace  {path} (")), "{text}");
    }
    let (mut state, record) = (after(state, &second), second.record.unwrap());
    let gone = removal(&record, &[], &state);
    let Some(Step::RemoveFile { path, .. }) = gone.after.last() else { panic!("{gone}") };
    assert_eq!(path, Path::new(PROGRAM));
    assert!(gone.to_string().contains(&format!("remove   {ANSWERS}\n")), "{gone}");

    // Edited since, they stay like anything else that was.
    for path in [PROGRAM, ANSWERS] {
        state.files.insert(path.into(), file(b"edited", Attr::root(0o755)));
    }
    let text = removal(&record, &[], &state).to_string();
    for path in [PROGRAM, ANSWERS] {
        assert!(text.contains(&format!("note: {path} is not as we wrote it")), "{text}");
        assert!(!text.contains(&format!("remove   {path}")), "{text}");
    }
}

#[test]
fn a_program_and_answers_that_the_site_had_before_us_stay() {
    let theirs = [
        (PROGRAM, Look::Link { target: "/opt/ldms-install".into(), to_directory: false }),
        (PROGRAM, file(b"theirs", Attr::root(0o755))),
        (PROGRAM, file(b"one", Attr::root(0o755))),
        (ANSWERS, file(b"theirs", Attr::root(0o644))),
        (ANSWERS, file(b"one", Attr::root(0o600))),
    ];
    for (path, look) in theirs {
        let (one, mut state) = with_own_files("one");
        state.files.insert("/etc/ldms".into(), directory());
        state.files.insert(path.into(), look.clone());
        let first = plan(&one, None, &state).unwrap();
        let same =
            look == file(b"one", Attr::root(0o755)) || look == file(b"one", Attr::root(0o600));
        let note = format!("note: {path} is the site's own and is kept");
        assert_eq!(first.to_string().contains(&note), !same, "{first}");
        let (state, record) = (after(state, &first), first.record.unwrap());
        let gone = after(state.clone(), &removal(&record, &[], &state));
        // The very program, copied there by hand as the medium's README says, is ours from now on.
        let adopted = path == PROGRAM && look == file(b"one", Attr::root(0o755));
        assert_eq!(*gone.at(Path::new(path)), if adopted { Look::Absent } else { look });
        assert!(!gone.files.keys().any(|path| path.extension().is_some_and(|e| e == "new")));
    }
}

#[test]
fn a_prepared_root_gets_files_and_links_and_no_more() {
    let state = State { has_engine: false, units: None, ..bare() };
    let plan = plan(&wanted("one"), None, &state).unwrap();
    let text = plan.to_string();
    for word in ["load", "reload", "start", "await"] {
        assert!(!text.lines().any(|l| l.split_whitespace().next() == Some(word)), "{text}");
    }
    assert!(text.contains("link     /etc/systemd/system/ldms.target.wants/ldms-watcher.service"));
    let record = plan.record.unwrap();
    assert!(!record.images[0].loaded);

    // Booted: only its images are missing.
    let loading = loading(&record, &bare());
    assert_eq!(
        loading.to_string(),
        "load     docker.io/ovishpc/ldms-samp:ldms-0123 into podman (276.0 MB)\n"
    );
    assert!(loading.record.unwrap().images[0].loaded);

    // systemd has tried to start it meanwhile.
    let mut tried = bare();
    let units = tried.units.get_or_insert_default();
    units.insert("ldms-watcher.service".into(), unit("activating"));
    let text = super::loading(&record, &tried).to_string();
    assert!(text.ends_with("start    ldms-watcher.service\n"), "{text}");
}

#[test]
fn services_start_only_if_asked_and_only_if_they_must() {
    let (state, record) = installed();
    let mut quiet = wanted("two!");
    quiet.start = false;
    let text = plan(&quiet, Some(&record), &state).unwrap().to_string();
    assert!(!text.contains("restart") && text.contains("replace"), "{text}");

    let mut down = state.clone();
    down.units.as_mut().unwrap().insert("ldms-watcher.service".into(), unit("failed"));
    let text = plan(&wanted("one"), Some(&record), &down).unwrap().to_string();
    assert!(text.starts_with("start    ldms-watcher.service\nawait"), "{text}");

    // A key that was renewed on the host is copied anew.
    let mut renewed = state;
    renewed.sources.insert("/etc/munge/munge.key".into(), (Digest::of(b"newer"), 5));
    let text = plan(&wanted("one"), Some(&record), &renewed).unwrap().to_string();
    assert!(text.contains("replace  /etc/ldms/munge/munge.key (101:101 0600, 5 bytes, copy of"));
    assert!(text.contains("restart  ldms-watcher.service"), "{text}");
}

#[test]
fn what_was_changed_without_a_restart_is_restarted_by_the_next_run() {
    let (state, record) = installed();
    let mut quiet = wanted("two!");
    quiet.start = false;
    let changed = plan(&quiet, Some(&record), &state).unwrap();
    let (state, record) = (after(state, &changed), changed.record.unwrap());
    let again = plan(&quiet, Some(&record), &state).unwrap();
    assert!(!again.changed, "{again}");
    let started = plan(&wanted("two!"), Some(&record), &state).unwrap();
    assert!(started.to_string().starts_with("restart  ldms-watcher.service\nawait"), "{started}");
    let (state, record) = (after(state, &started), started.record.unwrap());
    assert!(!plan(&wanted("two!"), Some(&record), &state).unwrap().changed);
}

#[test]
fn another_engine_takes_over_and_the_old_one_is_cleared() {
    let (mut state, record) = installed();
    state.images.clear();
    let mut wanted = wanted("one");
    wanted.engine = Some(Engine::Docker);
    wanted.files[0].content = Content::Text("[Service]\nExecStart=docker\n".into());
    let plan = plan(&wanted, Some(&record), &state).unwrap();
    insta::assert_snapshot!(plan.to_string(), @r"
    load     docker.io/ovishpc/ldms-samp:ldms-0123 into docker (276.0 MB)
    stop     ldms-watcher.service
    replace  /etc/systemd/system/ldms-watcher.service (0:0 0644, 27 bytes)
    reload   systemd
    start    ldms-watcher.service
    await    watcher: running, answering on port 411 (at most 60 s)
    unload   docker.io/ovishpc/ldms-samp:ldms-0123 from podman, unless a container uses it
    ");
}

#[test]
fn a_service_that_goes_is_stopped_before_its_files_go() {
    let (state, record) = installed();
    let mut less = wanted("one");
    less.services.clear();
    less.images.clear();
    less.files.retain(|f| f.path.ends_with("ldms.target"));
    less.links.retain(|l| l.path.ends_with("ldms.target"));
    less.dirs.clear();
    let plan = plan(&less, Some(&record), &state).unwrap();
    insta::assert_snapshot!(plan.to_string(), @r"
    stop     ldms-watcher.service
    unlink   /etc/systemd/system/ldms.target.wants/ldms-watcher.service
    remove   /etc/ldms/munge/munge.key
    remove   /etc/ldms/watcher.conf
    remove   /etc/systemd/system/ldms-watcher.service
    rmdir    /etc/systemd/system/ldms.target.wants
    rmdir    /etc/ldms/munge
    rmdir    /etc/ldms
    reload   systemd
    unload   docker.io/ovishpc/ldms-samp:ldms-0123 from podman, unless a container uses it
    ");
}

#[test]
fn everything_in_the_way_is_told_at_once() {
    let mut state = bare();
    state.files.insert(CONFIG.into(), directory());
    state.files.insert("/etc/ldms".into(), directory());
    state.files.insert("/etc/ldms/munge".into(), Look::Other);
    let error = plan(&wanted("one"), None, &state).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("/etc/ldms/munge is no directory") && text.contains(CONFIG), "{text}");
    assert_eq!(error.kind(), crate::error::Kind::Host);
}

#[test]
fn a_link_in_place_of_a_unit_is_the_sites_decision() {
    let mut state = bare();
    let masked = Look::Link { target: "/dev/null".into(), to_directory: false };
    state.files.insert(UNIT.into(), masked.clone());
    let plan = plan(&wanted("one"), None, &state).unwrap();
    assert_eq!(*after(state, &plan).at(Path::new(UNIT)), masked);
    assert!(plan.notes.iter().any(|n| n.about == UNIT));
}

#[test]
fn munge_is_proven_for_what_is_about_to_start_and_for_nothing_else() {
    let proven = |config: &str| {
        let mut wanted = wanted(config);
        wanted.services[0].proof = Some(Proof {
            service: "watcher".into(),
            image: wanted.images[0].reference.clone(),
            flags: vec!["--network=host".into()],
            own_munged: true,
            across: true,
            key: Some("/etc/munge/munge.key".into()),
            owner: None,
        });
        wanted
    };
    let words = |plan: &Plan| -> Vec<String> {
        plan.to_string().lines().filter_map(|l| Some(l.split_once(' ')?.0.to_owned())).collect()
    };
    let first = plan(&proven("one"), None, &bare()).unwrap();
    let at = |step: &str| words(&first).iter().rposition(|word| word == step).unwrap();
    assert!(at("load") < at("prove") && at("write") < at("prove"), "{first}");
    assert!(at("prove") < at("link") && at("prove") < at("start"), "{first}");

    let (state, record) = (after(bare(), &first), first.record.clone().unwrap());
    assert!(!plan(&proven("one"), Some(&record), &state).unwrap().changed);
    let other = plan(&proven("two!"), Some(&record), &state).unwrap();
    assert_eq!(words(&other), ["replace", "prove", "restart", "await"], "{other}");
    let mut down = state.clone();
    down.units.as_mut().unwrap().insert("ldms-watcher.service".into(), unit("failed"));
    let again = plan(&proven("one"), Some(&record), &down).unwrap();
    assert_eq!(words(&again), ["prove", "start", "await"], "{again}");

    let quiet = Wanted { start: false, ..proven("one") };
    let prepared = State { has_engine: false, units: None, ..bare() };
    for plan in [plan(&quiet, None, &bare()), plan(&proven("one"), None, &prepared)] {
        let plan = plan.unwrap();
        assert!(!words(&plan).contains(&"prove".to_owned()), "{plan}");
    }
}
