//! What we ask of a running systemd. Enabling is not among it: that is links, made by `root`.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::Cmd;
use crate::error::{Error, Result};

/// Longer than any stop timeout in a unit of ours.
const JOB: Duration = Duration::from_secs(300);

/// The systemd that runs this host.
#[derive(Clone, Copy, Debug)]
pub struct Systemd;

/// How a unit is, in systemd's own words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitState {
    /// `active`, `activating`, `failed`, `inactive`, …
    pub active: String,
    /// The finer state: `running`, `auto-restart`, `dead`, …
    pub sub: String,
    /// Since when it is active, as a text with its time zone; empty if it is not.
    pub since: String,
    /// When its main program was last started.
    #[serde(skip)]
    pub started: Option<SystemTime>,
    /// How often systemd has restarted it by itself.
    pub restarts: u64,
    /// How it last ended: `success`, `exit-code`, `timeout`, …
    pub result: String,
}

impl UnitState {
    /// Works, or systemd is about to make it work.
    pub fn is_up(&self) -> bool {
        matches!(self.active.as_str(), "active" | "activating" | "reloading" | "refreshing")
    }

    /// There is nothing left to stop or to clear.
    pub fn is_down(&self) -> bool {
        matches!(self.active.as_str(), "inactive" | "")
    }
}

impl Systemd {
    /// How each of `units` is; one that systemd does not know is `inactive`.
    pub fn states<S: AsRef<str>>(self, units: &[S]) -> Result<BTreeMap<String, UnitState>> {
        if units.is_empty() {
            return Ok(BTreeMap::new());
        }
        let properties = "ActiveState,SubState,ActiveEnterTimestamp,ExecMainStartTimestampMonotonic,NRestarts,Result";
        let output = Cmd::new("systemctl")
            .args(["show", "--property", properties, "--"])
            .args(units.iter().map(AsRef::as_ref))
            .run()?;
        let text = output.text();
        // One paragraph a unit, in the order asked for.
        let mut paragraphs = text.split("\n\n");
        Ok(units
            .iter()
            .map(|unit| (unit.as_ref().to_owned(), parse(paragraphs.next().unwrap_or_default())))
            .collect())
    }

    /// How one unit is.
    pub fn state(self, unit: &str) -> Result<UnitState> {
        Ok(self.states(&[unit])?.remove(unit).unwrap_or_default())
    }

    /// Has systemd read all unit files again.
    pub fn reload(self) -> Result<()> {
        Cmd::new("systemctl").arg("daemon-reload").run().map(drop)
    }

    /// Starts a unit. If that fails, the last lines of its journal are the reason.
    pub fn start(self, unit: &str) -> Result<()> {
        self.job("start", unit)
    }

    /// Stops a unit and starts it again.
    pub fn restart(self, unit: &str) -> Result<()> {
        self.job("restart", unit)
    }

    /// Stops a unit and forgets that it ever failed. One that is not there is stopped.
    pub fn stop(self, unit: &str) -> Result<()> {
        if !self.state(unit)?.is_down() {
            Cmd::new("systemctl").args(["stop", "--", unit]).timeout(JOB).run()?;
        }
        // It fails for a unit that systemd has forgotten already.
        Cmd::new("systemctl").args(["reset-failed", "--", unit]).status().map(drop)
    }

    /// A unit starts at the next boot.
    pub fn is_enabled(self, unit: &str) -> Result<bool> {
        Ok(Cmd::new("systemctl").args(["is-enabled", "--quiet", "--", unit]).status()?.status == 0)
    }

    /// The last `lines` lines of a unit's journal, without their time stamps; empty if there is
    /// none that can be read.
    pub fn journal(self, unit: &str, lines: u32) -> String {
        let lines = lines.to_string();
        Cmd::new("journalctl")
            .args(["--no-pager", "--quiet", "--output", "cat", "--lines", &lines, "--unit", unit])
            .run()
            .map(|output| output.text())
            .unwrap_or_default()
    }

    fn job(self, verb: &str, unit: &str) -> Result<()> {
        Cmd::new("systemctl").args([verb, "--", unit]).timeout(JOB).run().map(drop).map_err(|e| {
            let lines = self.journal(unit, 20);
            let what = if lines.is_empty() { e.to_string() } else { lines };
            Error::failed(format!("cannot {verb} {unit}"))
                .because(std::io::Error::other(what))
                .remedy(format!("see `journalctl -u {unit}`"))
        })
    }
}

fn parse(paragraph: &str) -> UnitState {
    let mut state = UnitState::default();
    for (key, value) in paragraph.lines().filter_map(|line| line.split_once('=')) {
        match key {
            "ActiveState" => value.clone_into(&mut state.active),
            "SubState" => value.clone_into(&mut state.sub),
            "ActiveEnterTimestamp" => value.clone_into(&mut state.since),
            "ExecMainStartTimestampMonotonic" => {
                state.started = value.parse().ok().filter(|n| *n != 0).and_then(wall_clock);
            }
            "NRestarts" => state.restarts = value.parse().unwrap_or_default(),
            "Result" => value.clone_into(&mut state.result),
            _ => {}
        }
    }
    if state.active != "active" {
        // systemd tells here when it last was.
        state.since.clear();
    }
    state
}

/// The time of day at `micros` microseconds of the clock that only runs on: what systemd prints
/// as a time of day has whole seconds and comes in the words of the locale.
fn wall_clock(micros: u64) -> Option<SystemTime> {
    let now: Duration = clock_gettime(ClockId::CLOCK_MONOTONIC).ok()?.into();
    SystemTime::now().checked_sub(now.checked_sub(Duration::from_micros(micros))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_read() {
        let up = parse(
            "Result=success\nNRestarts=2\nActiveState=active\nSubState=running\n\
                        ActiveEnterTimestamp=Thu 2026-01-01 10:00:00 UTC",
        );
        assert!(up.is_up() && !up.is_down() && up.restarts == 2);
        assert_eq!(up.since, "Thu 2026-01-01 10:00:00 UTC");
        let again = parse("ActiveState=activating\nSubState=auto-restart\nActiveEnterTimestamp=x");
        assert!(again.is_up() && again.since.is_empty());
        let failed = parse("ActiveState=failed\nResult=exit-code");
        assert!(!failed.is_up() && !failed.is_down(), "a failed unit still is to be cleared");
        assert!(parse("").is_down());
    }
}
