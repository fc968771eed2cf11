//! One door to other programs: what is run, for how long, and what is told if it fails.
//!
//! A program gets a small environment of its own (so nobody's `DOCKER_HOST` sends an image to
//! another machine, and messages are not translated), no input unless it is given some, a time
//! limit, and a process group, so that a Ctrl-C reaches us alone and we decide what to undo.
//! Of its output a bounded part is kept.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::Interrupt;
use crate::error::{Error, Result};

/// Bytes of standard output that are kept, from its beginning.
const OUTPUT_LIMIT: usize = 4 << 20;
/// Bytes of standard error that are kept, from its end.
const ERROR_LIMIT: usize = 16 << 10;
/// Lines of standard error that an error message shows.
const ERROR_LINES: usize = 5;
/// How long output may still come from a program's children once it has ended itself.
const LINGER: Duration = Duration::from_millis(500);

/// A program to run, with its arguments.
#[derive(Clone, Debug)]
pub struct Cmd {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    timeout: Duration,
}

/// What a program that has ended left.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its exit code; 128 and the signal's number if a signal ended it.
    pub status: i32,
    /// Its standard output, at most 4 MiB.
    pub stdout: Vec<u8>,
    /// The end of its standard error, at most 16 KiB.
    pub stderr: String,
}

impl Output {
    /// Standard output as text without surrounding white space.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    /// The last line of standard error that says something.
    pub fn last_error_line(&self) -> &str {
        self.stderr.lines().rev().map(str::trim).find(|l| !l.is_empty()).unwrap_or_default()
    }
}

impl Cmd {
    /// The program `program`, found on the path, without arguments, for at most a minute.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Cmd {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            timeout: Duration::from_secs(60),
        }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// One more environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// How long it may run; for [`feed`](Self::feed), how long it may take nothing.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs it; an exit code other than 0 is an error with the end of its standard error.
    pub fn run(&self) -> Result<Output> {
        let output = self.status()?;
        if output.status == 0 { Ok(output) } else { Err(self.failure(&output)) }
    }

    /// Runs it, whatever its exit code means.
    pub fn status(&self) -> Result<Output> {
        Running::start(self, Stdio::null())?.wait(self, self.timeout)
    }

    /// Runs it with `feed` writing to its standard input. If `feed` fails or the run is
    /// interrupted, the program is killed before its input ends: it never takes a part for the
    /// whole. An exit code other than 0 is an error; if `feed` failed because the program had
    /// ended, the program's own words are the reason.
    pub fn feed(
        &self,
        interrupt: &Interrupt,
        feed: &mut dyn FnMut(&mut dyn Write) -> Result<()>,
    ) -> Result<Output> {
        let (output, took_all) = self.fed(interrupt, feed)?;
        if took_all && output.status == 0 { Ok(output) } else { Err(self.failure(&output)) }
    }

    /// Runs it with `input` as its standard input, whatever its exit code means.
    pub fn ask(&self, interrupt: &Interrupt, input: &[u8]) -> Result<Output> {
        let mut feed = |out: &mut dyn Write| {
            out.write_all(input).map_err(|e| Error::from_io(e, "cannot write to it"))
        };
        self.fed(interrupt, &mut feed).map(|(output, _)| output)
    }

    /// What it left, and whether it took all of its input.
    fn fed(
        &self,
        interrupt: &Interrupt,
        feed: &mut dyn FnMut(&mut dyn Write) -> Result<()>,
    ) -> Result<(Output, bool)> {
        let mut running = Running::start(self, Stdio::piped())?;
        let Some(stdin) = running.child.stdin.take() else {
            return Err(self.error("has no standard input"));
        };
        let moved = Arc::new(AtomicU64::new(0));
        let watch = Watch::start(running.group(), Arc::clone(&moved), self.timeout, interrupt);
        let mut pipe = Pipe { stdin, moved, interrupt, broken: false };
        let result = feed(&mut pipe);
        let Pipe { stdin, broken, .. } = pipe;
        let stalled = watch.stop();
        match result {
            Ok(()) if !broken => {
                drop(stdin);
                Ok((running.wait(self, self.timeout)?, true))
            }
            Err(error) if !broken => {
                running.kill();
                drop(stdin);
                Err(error)
            }
            _ if interrupt.is_raised() => {
                running.kill();
                Err(interrupt.error())
            }
            _ if stalled => {
                running.kill();
                Err(self.error(format!("took nothing for {} seconds", self.timeout.as_secs())))
            }
            // It closed its input before the end: it has something to say, or has died.
            _ => {
                drop(stdin);
                Ok((running.wait(self, LINGER * 4)?, false))
            }
        }
    }

    /// Becomes the program, with the streams and the terminal of this process. Returns only if
    /// that fails.
    pub fn exec(&self) -> Error {
        self.not_started(self.command().exec())
    }

    /// The command line, quoted as for a shell.
    pub fn line(&self) -> String {
        let words = std::iter::once(&self.program).chain(&self.args);
        words.map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
    }

    fn not_started(&self, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::NotFound => {
                Error::host(format!("`{}` is not installed", self.program.to_string_lossy()))
            }
            _ => self.error("cannot be started").because(error),
        }
    }

    fn error(&self, what: impl std::fmt::Display) -> Error {
        Error::failed(format!("`{}` {what}", self.line()))
    }

    /// The error for a program that ended with another code than 0.
    pub fn failure(&self, output: &Output) -> Error {
        let how = if output.status > 128 {
            format!("was ended by signal {}", output.status - 128)
        } else {
            format!("failed with exit code {}", output.status)
        };
        let lines: Vec<_> = output.stderr.lines().filter(|l| !l.trim().is_empty()).collect();
        let tail = lines[lines.len().saturating_sub(ERROR_LINES)..].join("\n");
        let error = self.error(how);
        if tail.is_empty() { error } else { error.because(io::Error::other(tail)) }
    }

    #[allow(clippy::disallowed_methods)] // This is the door.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).env_clear();
        let path = std::env::var_os("PATH").unwrap_or_default();
        // `su` without `-` leaves the administrator's own directories out.
        let system = OsStr::new("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        let path = if path.is_empty() { system.to_owned() } else { join(&path, system) };
        command.env("PATH", path).env("LC_ALL", "C");
        for name in ["HOME", "TMPDIR"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.envs(self.env.iter().map(|(n, v)| (n, v)));
        command
    }
}

fn join(path: &OsStr, more: &OsStr) -> OsString {
    let mut joined = path.to_owned();
    joined.push(":");
    joined.push(more);
    joined
}

/// A word as a shell would need it, for people to read and copy.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The parts of a stream that are kept, filled by a thread.
type Kept = Arc<Mutex<Vec<u8>>>;

/// A program that runs. Dropped, it is killed.
struct Running {
    child: Child,
    ended: bool,
    stdout: Kept,
    stderr: Kept,
    done: mpsc::Receiver<()>,
}

impl Running {
    fn start(cmd: &Cmd, stdin: Stdio) -> Result<Self> {
        let mut command = cmd.command();
        command.process_group(0).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|e| cmd.not_started(e))?;
        let (stdout, stderr) = (Kept::default(), Kept::default());
        let (tell, done) = mpsc::channel();
        if let Some(pipe) = child.stdout.take() {
            keep(
                pipe,
                &stdout,
                |kept, new| {
                    let room = OUTPUT_LIMIT.saturating_sub(kept.len());
                    kept.extend_from_slice(&new[..new.len().min(room)]);
                },
                tell.clone(),
            );
        }
        if let Some(pipe) = child.stderr.take() {
            keep(
                pipe,
                &stderr,
                |kept, new| {
                    kept.extend_from_slice(new);
                    let over = kept.len().saturating_sub(ERROR_LIMIT);
                    kept.drain(..over);
                },
                tell,
            );
        }
        Ok(Running { child, ended: false, stdout, stderr, done })
    }

    fn group(&self) -> Pid {
        // A process id fits: the kernel's own type is a positive i32.
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Waits for its end, at most `timeout`, then kills it.
    fn wait(mut self, cmd: &Cmd, timeout: Duration) -> Result<Output> {
        let start = Instant::now();
        let mut nap = Duration::from_millis(1);
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if start.elapsed() >= timeout => {
                    self.kill();
                    let wait = format!("did not end within {} seconds", timeout.as_secs());
                    return Err(cmd.error(wait));
                }
                Ok(None) => thread::sleep(nap),
                Err(e) => return Err(cmd.error("cannot be waited for").because(e)),
            }
            nap = (nap * 2).min(Duration::from_millis(50));
        };
        self.ended = true;
        // Both streams end with it, unless a child of its own still holds them open.
        while self.done.recv_timeout(LINGER).is_ok() {}
        let take =
            |kept: &Kept| std::mem::take(&mut *kept.lock().unwrap_or_else(PoisonError::into_inner));
        let stderr = String::from_utf8_lossy(&take(&self.stderr)).into_owned();
        Ok(Output { status: code(status), stdout: take(&self.stdout), stderr })
    }

    /// Kills it and whatever it has started in its group, and reaps it.
    fn kill(&mut self) {
        if !self.ended {
            // It may have ended this moment, which is as good.
            let _ = killpg(self.group(), Signal::SIGKILL);
            let _ = self.child.wait();
            self.ended = true;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

/// Reads `pipe` to its end on a thread of its own, so that the program never waits for us.
fn keep(
    mut pipe: impl Read + Send + 'static,
    kept: &Kept,
    add: fn(&mut Vec<u8>, &[u8]),
    tell: mpsc::Sender<()>,
) {
    let kept = Arc::clone(kept);
    thread::spawn(move || {
        let mut buffer = [0; 8192];
        loop {
            match pipe.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => {
                    add(&mut kept.lock().unwrap_or_else(PoisonError::into_inner), &buffer[..n]);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        drop(tell);
    });
}

/// A program's standard input as [`Cmd::feed`] hands it out.
struct Pipe<'a> {
    stdin: ChildStdin,
    moved: Arc<AtomicU64>,
    interrupt: &'a Interrupt,
    broken: bool,
}

impl Write for Pipe<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.interrupt.is_raised() {
            self.broken = true;
            return Err(self.interrupt.error().into());
        }
        match self.stdin.write(buffer) {
            Ok(n) => {
                self.moved.fetch_add(1, Ordering::Relaxed);
                Ok(n)
            }
            Err(e) => {
                self.broken |= e.kind() != io::ErrorKind::Interrupted;
                Err(e)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Kills a program that takes no input any more, or is no longer wanted: a write to its full
/// pipe would wait for ever.
struct Watch {
    stop: mpsc::Sender<()>,
    thread: thread::JoinHandle<bool>,
}

impl Watch {
    fn start(group: Pid, moved: Arc<AtomicU64>, limit: Duration, interrupt: &Interrupt) -> Self {
        let (stop, stopped) = mpsc::channel();
        let interrupt = interrupt.clone();
        let thread = thread::spawn(move || {
            let mut last = (moved.load(Ordering::Relaxed), Instant::now());
            loop {
                match stopped.recv_timeout(Duration::from_millis(100)) {
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    _ => return false,
                }
                let now = moved.load(Ordering::Relaxed);
                if now != last.0 {
                    last = (now, Instant::now());
                }
                let stalled = last.1.elapsed() >= limit;
                if stalled || interrupt.is_raised() {
                    // Nobody has waited for the program yet, so the number is still its own.
                    let _ = killpg(group, Signal::SIGKILL);
                    return stalled;
                }
            }
        });
        Watch { stop, thread }
    }

    /// Ends the watch. True if it killed the program for taking nothing.
    fn stop(self) -> bool {
        drop(self.stop);
        self.thread.join().unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Cmd {
        Cmd::new("sh").arg("-c").arg(script)
    }

    #[test]
    fn output_and_failure_are_told() {
        assert_eq!(sh("echo ' a b '").run().unwrap().text(), "a b");
        let error = sh("echo one >&2; echo 'two three' >&2; exit 7").run().unwrap_err().to_string();
        assert_eq!(
            error,
            "`sh -c 'echo one >&2; echo '\\''two three'\\'' >&2; exit 7'` \
             failed with exit code 7: one\ntwo three"
        );
        assert!(sh("kill -9 $$").run().unwrap_err().to_string().contains("signal 9"));
        assert_eq!(sh("exit 3").status().unwrap().status, 3);
        let missing = Cmd::new("no-such-program-anywhere").run().unwrap_err();
        assert_eq!(missing.to_string(), "`no-such-program-anywhere` is not installed");
    }

    #[test]
    fn the_environment_is_ours() {
        let text = sh("cat; env").run().unwrap().text();
        assert!(text.contains("LC_ALL=C"));
        assert!(!text.contains("CARGO"), "{text}");
        assert_eq!(sh("echo $A").env("A", "b").run().unwrap().text(), "b");
    }

    #[test]
    fn time_and_output_are_bounded() {
        let start = Instant::now();
        let error = sh("sleep 60").timeout(Duration::from_millis(100)).run().unwrap_err();
        assert!(error.to_string().contains("did not end within"), "{error}");
        let much = sh("yes | head -c 9000000; yes no | head -c 900000 >&2").run().unwrap();
        assert_eq!((much.stdout.len(), much.stderr.len()), (OUTPUT_LIMIT, ERROR_LIMIT));
        // Something left in the background holds the pipes open: we do not wait for it.
        assert_eq!(sh("sleep 60 & echo done").run().unwrap().text(), "done");
        assert!(start.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn feeding_reaches_the_program() {
        let calm = Interrupt::none();
        let mut feed = |out: &mut dyn Write| {
            (0..1000)
                .try_for_each(|_| out.write_all(&[b'x'; 1000]))
                .map_err(|e| Error::from_io(e, "w"))
        };
        assert_eq!(Cmd::new("wc").arg("-c").feed(&calm, &mut feed).unwrap().text(), "1000000");
        // It ends early: what it said is the reason, not the broken pipe.
        let error = sh("head -c 9 >/dev/null; echo 'no space' >&2; exit 1").feed(&calm, &mut feed);
        assert!(error.unwrap_err().to_string().ends_with("exit code 1: no space"));
    }

    #[test]
    fn a_failed_feed_kills_before_the_input_ends() {
        let dir = tempfile::tempdir().unwrap();
        let cmd = sh("cat >/dev/null; touch took-it-for-whole").env("PWD", dir.path());
        let cmd = Cmd::new("env").arg("-C").arg(dir.path()).arg(cmd.program).args(cmd.args);
        let error = cmd
            .feed(&Interrupt::none(), &mut |out| {
                out.write_all(b"a part").unwrap();
                Err(Error::refused("pack 0007 is damaged"))
            })
            .unwrap_err();
        assert_eq!(error.to_string(), "pack 0007 is damaged");
        thread::sleep(Duration::from_millis(200));
        assert!(!dir.path().join("took-it-for-whole").exists());
    }

    #[test]
    fn a_program_that_takes_nothing_is_given_up() {
        let mut endless = |out: &mut dyn Write| loop {
            out.write_all(&[0; 8192]).map_err(|e| Error::from_io(e, "cannot feed"))?;
        };
        let cmd = sh("sleep 60").timeout(Duration::from_millis(300));
        let error = cmd.feed(&Interrupt::none(), &mut endless).unwrap_err().to_string();
        assert!(error.contains("took nothing"), "{error}");
        let interrupt = Interrupt::none();
        interrupt.raise();
        let error = sh("cat >/dev/null").feed(&interrupt, &mut endless).unwrap_err().to_string();
        assert_eq!(error, "interrupted");
    }
}
