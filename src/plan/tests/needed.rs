//! What a service needs besides itself: units that have to have run before it, files that stay.

use super::*;

/// A unit that a service needs ends with the service and runs anew before it, by steps that can
/// be undone.
#[test]
fn a_needed_unit_has_changed() {
    let needing = |text: &str| {
        let mut wanted = wanted("one");
        wanted.add_unit::<&str>("ldms-watcher-values.service", text.into(), &[]);
        wanted.services[0].needs.push("ldms-watcher-values.service".into());
        wanted
    };
    let first = plan(&needing("one"), None, &bare()).unwrap();
    let (state, record) = (after(bare(), &first), first.record.unwrap());
    assert!(!plan(&needing("one"), Some(&record), &state).unwrap().changed);
    let mut new = needing("two");
    new.notes.push(Note { about: "watcher.number".into(), what: "is 7".into() });
    let change = plan(&new, Some(&record), &state).unwrap();
    insta::assert_snapshot!(change.to_string(), @r"
    stop     ldms-watcher.service
    stop     ldms-watcher-values.service
    replace  /etc/systemd/system/ldms-watcher-values.service (0:0 0644, 3 bytes)
    reload   systemd
    start    ldms-watcher-values.service
    start    ldms-watcher.service
    await    watcher: running, answering on port 411 (at most 60 s)
    note: watcher.number is 7
    ");
    let state = after(state, &change);
    let again = plan(&new, change.record.as_ref(), &state).unwrap();
    assert!(!again.changed && again.notes.is_empty(), "{again}");
}

/// Keeping a file as it is makes it nobody else's: an edited one is still known to be edited.
#[test]
fn a_file_that_stays_stays_whose_it_was() {
    let first = plan(&wanted("one"), None, &bare()).unwrap();
    let (mut state, record) = (after(bare(), &first), first.record.unwrap());
    state.files.insert(CONFIG.into(), file(b"edited", Attr::root(0o644)));
    let mut kept = wanted("one");
    kept.files[0].content = Content::Kept;
    let still = plan(&kept, Some(&record), &state).unwrap();
    assert!(!still.changed, "{still}");
    assert_eq!(still.record.unwrap().files[Path::new(CONFIG)], record.files[Path::new(CONFIG)]);
}
