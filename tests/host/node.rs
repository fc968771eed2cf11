//! What the tests of the installer do on a host: boot it with the medium, install, and ask the
//! sampler what it can see.

use std::collections::BTreeMap;
use std::path::Path;

use crate::machine::{Boot, Kind, Machine, Output};
use crate::medium::Medium;

/// Installs a sampler without asking; the tests add what they are about.
pub const INSTALL: &str =
    "/media/ldms/ldms-install --pubkey /media/keys/ldms.pub --role sampler --yes";
/// The sampler's unit.
pub const UNIT: &str = "ldms-sampler.service";

/// A host that will have the medium at `/media/ldms` and the public keys at `/media/keys`.
pub fn host(kind: Kind, name: &str) -> Boot {
    host_with(kind, name, &Medium::get().dir)
}

/// A host that will have `medium` instead.
pub fn host_with(kind: Kind, name: &str, medium: &Path) -> Boot {
    kind.host()
        .hostname(name)
        .bind_ro(medium, "/media/ldms")
        .bind_ro(&Medium::get().keys, "/media/keys")
}

/// Such a host with a sampler, installed with these further arguments.
#[track_caller]
pub fn installed(kind: Kind, name: &str, arguments: &str) -> Machine {
    let host = host(kind, name).boot();
    host.ok(&format!("{INSTALL} {arguments}"));
    host
}

/// Runs something that must end with `status`.
#[track_caller]
pub fn ends(host: &Machine, status: i32, bash: &str) -> Output {
    let output = host.run(bash);
    if output.status != status {
        host.fail(&format!("this ended with {}, not {status}: {bash}", output.status));
    }
    output
}

/// Waits until a bash script succeeds, at most `seconds`.
#[track_caller]
pub fn wait(host: &Machine, seconds: u32, bash: &str) {
    host.write("/run/awaited", bash.as_bytes());
    let script = "until bash -eu /run/awaited >/dev/null 2>&1; do sleep 0.1; done";
    if host.run(&format!("timeout {seconds} bash -c '{script}'")).status != 0 {
        host.run("journalctl -b -n 50 --no-pager");
        host.fail(&format!("this did not come true in {seconds} s: {bash}"));
    }
}

/// What a sampler tells of itself.
pub type Answer = BTreeMap<String, String>;

fn parse(text: &str) -> Answer {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// Asks from the host, authenticated by the host's own munge; waits until somebody listens.
#[track_caller]
pub fn ask(host: &Machine, port: u16) -> Answer {
    ask_as(host, port, "munge $(munge -n)")
}

/// The same with another `auth=`.
#[track_caller]
pub fn ask_as(host: &Machine, port: u16, auth: &str) -> Answer {
    let answer = try_ask(host, port, auth);
    if answer.is_empty() {
        host.run(&format!("journalctl -b -n 50 --no-pager -u {UNIT}; systemctl status {UNIT}"));
        host.fail(&format!("no sampler answers on port {port} to {auth}"));
    }
    answer
}

/// The same; nothing if it is refused.
pub fn try_ask(host: &Machine, port: u16, auth: &str) -> Answer {
    let script = format!(
        r#"for _ in $(seq 100); do
               if exec 3<>/dev/tcp/127.0.0.1/{port}; then
                   echo "auth={auth}" >&3; cat <&3; exit
               fi 2>/dev/null
               sleep 0.1
           done; exit 1"#
    );
    parse(&host.run(&script).stdout)
}

/// Asks with the sampler's own client, inside its container.
#[track_caller]
pub fn ask_inside(host: &Machine, engine: &str, options: &str) -> Answer {
    parse(&host.ok(&format!("{engine} exec ldms-sampler ldms_ls -x sock -h localhost {options}")))
}

/// One property of the sampler's unit.
#[track_caller]
pub fn property(host: &Machine, name: &str) -> String {
    host.ok(&format!("systemctl show --property={name} --value {UNIT}")).trim_end().to_owned()
}

/// What tells one run of the sampler from the next.
#[track_caller]
pub fn run_of_it(host: &Machine) -> String {
    let names = "ActiveState,ActiveEnterTimestampMonotonic,MainPID,InvocationID,NRestarts";
    host.ok(&format!("systemctl show --property={names} {UNIT} ldms.target"))
}

/// Nothing of the product is known to systemd or the engine.
#[track_caller]
pub fn assert_nothing_there(host: &Machine, engine: &str) {
    let everything = format!(
        "systemctl list-units --all --no-legend 'ldms*'; systemctl list-unit-files --no-legend 'ldms*'
         {engine} image ls --all --quiet; {engine} ps --all --quiet"
    );
    assert_eq!(host.ok(&everything), "");
}

/// Text for a snapshot: long numbers, decimal and hexadecimal, which differ with every key and
/// image, are left out.
pub fn stable(text: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    let flush = |word: &mut String, out: &mut String| {
        let hex = word.len() >= 12 && word.chars().all(|c| c.is_ascii_hexdigit());
        let long = word.len() >= 4 && word.chars().all(|c| c.is_ascii_digit());
        out.push_str(if hex {
            "[hex]"
        } else if long {
            "[n]"
        } else {
            word
        });
        word.clear();
    };
    for c in text.chars() {
        if c.is_ascii_alphanumeric() {
            word.push(c);
        } else {
            flush(&mut word, &mut out);
            out.push(c);
        }
    }
    flush(&mut word, &mut out);
    out
}
