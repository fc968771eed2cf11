//! Progress as people see it: bars with bytes, rate and time left on a terminal, plain lines
//! elsewhere, nothing where silence is asked for.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{bytes, printable};
use crate::progress::Progress;

/// A plain line about a running task at most this often.
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

/// Draws on standard error.
pub enum Bars {
    /// On a terminal.
    Drawn(Mutex<BTreeMap<String, ProgressBar>>, MultiProgress),
    /// In a log.
    Plain(Mutex<BTreeMap<String, Task>>),
    /// With `--quiet` and `--json`.
    Silent,
}

/// A task that is told in plain lines.
pub struct Task {
    total: u64,
    done: u64,
    begun: Instant,
    told: Instant,
}

impl Bars {
    /// Bars if standard error is a terminal, lines if not, nothing if `silent`.
    pub fn new(silent: bool) -> Self {
        if silent {
            Bars::Silent
        } else if std::io::stderr().is_terminal() {
            Bars::Drawn(Mutex::default(), MultiProgress::new())
        } else {
            Bars::Plain(Mutex::default())
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn say(line: &str) {
    // Progress is not worth failing for.
    let _ = writeln!(std::io::stderr(), "{}", printable(line));
}

impl Progress for Bars {
    fn begin(&self, task: &str, total: u64) {
        match self {
            Bars::Drawn(bars, screen) => {
                // Hidden until it has its place among the others: it would leave a line of its own.
                let hidden = ProgressDrawTarget::hidden();
                let bar = ProgressBar::with_draw_target(Some(total), hidden);
                // A line longer than the terminal is wide is never drawn over, only below itself:
                // all but the bar has its width, 15 columns of 80 are left for that.
                let style = ProgressStyle::with_template(
                    "{prefix:24!} {wide_bar} {decimal_bytes:>9} of {decimal_total_bytes:<9} \
                     {decimal_bytes_per_sec:>11} {eta:>4}",
                );
                bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
                bar.set_prefix(printable(task));
                lock(bars).insert(task.to_owned(), screen.add(bar));
            }
            Bars::Plain(tasks) => {
                let now = Instant::now();
                lock(tasks).insert(task.to_owned(), Task { total, done: 0, begun: now, told: now });
            }
            Bars::Silent => {}
        }
    }

    fn advance(&self, task: &str, n: u64) {
        match self {
            Bars::Drawn(bars, _) => {
                if let Some(bar) = lock(bars).get(task) {
                    bar.inc(n);
                }
            }
            Bars::Plain(tasks) => {
                let mut tasks = lock(tasks);
                if let Some(state) = tasks.get_mut(task) {
                    state.done += n;
                    if state.told.elapsed() >= PLAIN_INTERVAL {
                        state.told = Instant::now();
                        say(&format!("{task}: {} of {}", bytes(state.done), bytes(state.total)));
                    }
                }
            }
            Bars::Silent => {}
        }
    }

    fn end(&self, task: &str) {
        match self {
            Bars::Drawn(bars, _) => {
                if let Some(bar) = lock(bars).remove(task) {
                    bar.finish();
                }
            }
            Bars::Plain(tasks) => {
                if let Some(state) = lock(tasks).remove(task) {
                    let seconds = state.begun.elapsed().as_secs_f64();
                    let rate = bytes((state.done as f64 / seconds.max(0.001)) as u64);
                    say(&format!("{task}: {}, {seconds:.1} s, {rate}/s", bytes(state.done)));
                }
            }
            Bars::Silent => {}
        }
    }

    fn note(&self, line: &str) {
        match self {
            Bars::Drawn(_, screen) => {
                // As above.
                let _ = screen.println(printable(line));
            }
            Bars::Plain(_) => say(line),
            Bars::Silent => {}
        }
    }
}
