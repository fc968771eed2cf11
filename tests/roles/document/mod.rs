//! Every `docker run` of the LDMS documentation, and the answers that produce it: what docker and
//! podman are given is the same, flag by flag, except for what is listed here with its reason.

mod command;
mod rows;

use std::collections::BTreeSet;

use ldms_bundle::answers::Host;
use ldms_bundle::engine::Kind;

use self::command::{documented, facts};
use self::rows::ROWS;
use crate::kit::{profile, service};

/// One documented command.
struct Row {
    /// The section, and which of its commands.
    place: &'static str,
    /// As it is written there.
    text: &'static str,
    /// Which of its `[ options ]` are meant.
    chosen: &'static [&'static str],
    /// What stands for its placeholders.
    given: &'static [(&'static str, &'static str)],
    /// Name of the host
    host: &'static str,
    role: &'static str,
    sets: &'static [&'static str],
    /// Where the unit differs, and why: `-` is only in the document, `+` only in the unit.
    differs: &'static [(&'static str, &'static str)],
}

/// What units have in general, by role or for all: the beginning of what is there, and why.
const ALWAYS: [(&str, &str, &str); 14] = [
    ("*", "-d", "the unit's template decides how the client is attached"),
    ("*", "+stop-timeout 10", "the default, said so that the unit's own is longer"),
    ("*", "+ulimit nofile=", "docker would leave 1024; podman takes it from the unit"),
    ("sampler", "+env COMPONENT_ID=", "newer LDMS calls COMPID so"),
    ("aggregator", "+env COMPONENT_ID=", "newer LDMS calls COMPID so"),
    ("maestro", "+init", "the image's process 1 drops SIGTERM"),
    ("ui", "+init", "the image's process 1 drops SIGTERM"),
    ("ui", "+mount /etc/ldms/ui/secret-key -> /run/ldms/secret-key ro", "random, so no template"),
    ("ui", "+mount /var/lib/ldms/ui -> /var/lib/sosgui rw", "the database outlives the container"),
    ("grafana", "+mount /etc/ldms/grafana/admin-password -> ", "a password that is in no unit"),
    ("grafana", "+env GF_SECURITY_ADMIN_PASSWORD__FILE=", "where the password is"),
    ("grafana", "+mount /var/lib/ldms/grafana -> ", "dashboards outlive the container"),
    ("grafana", "+env GF_PATHS_", "where that is, and where the plugins stay"),
    ("grafana", "+env GF_LOG_MODE=console", "for the journal"),
];

#[test]
fn every_documented_command_can_be_had() {
    let mut general = BTreeSet::new();
    let mut wrong = Vec::new();
    for row in &ROWS {
        let profile = profile(row.role);
        let host = Host { name: row.host.into(), ..crate::kit::host(false) };
        let said = facts(&documented(row.text, row.chosen, row.given));
        let service = service(row.role, &profile, &host, row.sets).expect(row.place);
        for engine in [Kind::Docker, Kind::Podman] {
            let made = facts(&engine.run_arguments(&service));
            let mut found: BTreeSet<String> =
                made.difference(&said).map(|fact| format!("+{fact}")).collect();
            found.extend(said.difference(&made).map(|fact| format!("-{fact}")));
            for (role, start, _) in ALWAYS.iter().filter(|(r, ..)| ["*", row.role].contains(r)) {
                let before = found.len();
                found.retain(|difference| !difference.starts_with(start));
                if found.len() < before {
                    general.insert((*role, *start));
                }
            }
            let mut listed: BTreeSet<String> =
                row.differs.iter().map(|(difference, _)| (*difference).to_owned()).collect();
            if engine == Kind::Podman {
                // Its unit has the limits, as LimitNOFILE= and LimitMEMLOCK=.
                listed.retain(|difference| !difference.starts_with("+ulimit"));
            }
            if found != listed {
                let unlisted: Vec<_> = found.difference(&listed).collect();
                let idle: Vec<_> = listed.difference(&found).collect();
                wrong.push(format!(
                    "{} ({engine})\n  differs: {unlisted:?}\n  does not differ: {idle:?}",
                    row.place
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (role, start, why) in ALWAYS {
        assert!(general.contains(&(role, start)), "no unit has '{start}' ({role}: {why}) any more");
    }
}

/// The document has 25 commands: five in its synopsis, ten examples, and in the sections of the
/// five roles a synopsis and an example each.
#[test]
fn no_documented_command_is_left_out() {
    let places = |what: &str| {
        let places = ROWS.iter().map(|row| row.place).filter(|place| place.contains(what));
        places.collect::<BTreeSet<_>>().len()
    };
    let all: BTreeSet<&str> = ROWS.iter().map(|row| row.place).collect();
    assert_eq!(all.len(), ROWS.len(), "a place is named twice");
    assert_eq!(places("EXAMPLES, "), 10);
    for role in ["Sampler", "Aggregator", "Maestro", "UI Back-End", "Grafana"] {
        assert_eq!(places(&format!("{role} Container")), 2, "{role}");
    }
    for role in ["sampler", "aggregator", "maestro", "ui", "grafana"] {
        assert!(places(&format!("SYNOPSIS, {role}")) >= 1, "{role}");
    }
}
