//! The programs' faces: arguments, bars, tables, prompts, exit codes. Nothing below this prints.

pub mod ask;
pub mod bars;
pub mod install;
#[cfg(feature = "pack")]
pub mod pack;

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::bundle::Bundle;
use crate::error::{Error, Kind, Result};
use crate::manifest::ImageEntry;
use crate::named;
use crate::progress::Progress;
use crate::trust::{KEY_FILE_LIMIT, Key};

/// Ends a program: an error goes to standard error with its remedy, its kind becomes the code.
/// Who asked for JSON gets the error as JSON on standard output, too.
pub fn finish(program: &str, json: bool, result: Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    if json {
        // Should standard output be closed, the exit code and standard error still tell.
        let _ = print_json(&serde_json::json!({ "error": {
            "code": error.kind().exit_code(),
            "what": error.to_string(),
            "place": error.place(),
            "remedy": error.next_step(),
        }}));
    }
    complain(program, &error);
    ExitCode::from(error.kind().exit_code())
}

/// An error as people read it.
fn complain(program: &str, error: &Error) {
    let remedy = error.next_step().map(|step| format!("  what to do: {}\n", printable(step)));
    let text =
        format!("{program}: {}\n{}", printable(&error.to_string()), remedy.unwrap_or_default());
    // There is nowhere left to say that standard error is closed.
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Text without control characters: what a bundle or a host says must not drive the terminal.
pub fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let plain = !c.is_control() || c == '\n' || c == '\t';
            plain
                .then_some(c)
                .into_iter()
                .chain((!plain).then(|| c.escape_default()).into_iter().flatten())
        })
        .collect()
}

/// Prints to standard output. A reader that has gone away (`| head`) is no error.
pub fn print(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::failed("cannot write to standard output").because(e))
        }
        _ => Ok(()),
    }
}

/// Prints a value as JSON.
pub fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|e| Error::failed("cannot write JSON").because(e))?;
    print(&format!("{text}\n"))
}

/// A flag that SIGINT, SIGTERM and SIGHUP set; a second signal ends the program at once.
pub fn interruptible() -> Result<Arc<AtomicBool>> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // In this order: the first signal finds the flag unset and sets it.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&flag))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&flag)))
            .map_err(|e| Error::new(Kind::Failed, "cannot watch for signals").because(e))?;
    }
    Ok(flag)
}

/// Reads one public key file.
pub fn public_key(path: &Path) -> Result<Key> {
    Key::parse(&named::text(path, KEY_FILE_LIMIT)?, &path.display().to_string())
}

/// Writes an image of a bundle to standard output, by its name or the last part of it.
pub fn export(bundle: &Bundle, name: &str, progress: &dyn Progress) -> Result<()> {
    let manifest = bundle.manifest();
    let image = manifest
        .image
        .iter()
        .find(|image| image.name == name || image.short_name() == name)
        .ok_or_else(|| {
            let known: Vec<&str> = manifest.image.iter().map(ImageEntry::short_name).collect();
            Error::usage(format!("image {} is not in the bundle", name.escape_debug()))
                .at(bundle.place().display())
                .remedy(format!("it has {}", known.join(", ")))
        })?;
    let out = std::io::stdout().lock();
    if out.is_terminal() {
        return Err(Error::usage("an image's archive is nothing for a terminal")
            .remedy("redirect it: > image.tar, or | docker load"));
    }
    bundle.export(image, &image.reference(), &mut Output(out), progress)
}

/// Standard output, whose failures are not the bundle's.
struct Output<W>(W);

impl<W: Write> Write for Output<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(unwritten)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(unwritten)
    }
}

fn unwritten(error: io::Error) -> io::Error {
    let remedy = match error.kind() {
        // Writers try again by themselves.
        io::ErrorKind::Interrupted => return error,
        io::ErrorKind::BrokenPipe => "see why the program behind the pipe ended before the archive",
        io::ErrorKind::StorageFull => "make room for the archive, or write it elsewhere",
        _ => "write it elsewhere",
    };
    Error::failed("the archive is incomplete")
        .at("standard output")
        .because(error)
        .remedy(remedy)
        .into()
}

/// Bytes for people, in units of a thousand.
pub fn bytes(n: u64) -> String {
    match n {
        0..1_000 => format!("{n} B"),
        1_000..1_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        _ => format!("{:.2} GB", n as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_drives_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc\u{7}é"), "a\\u{1b}[2Jb\nc\\u{7}é");
    }

    #[test]
    fn sizes() {
        let shown = [0, 999, 1_500, 2_000_000, 7_930_000_000].map(bytes);
        assert_eq!(shown, ["0 B", "999 B", "1.5 kB", "2.0 MB", "7.93 GB"]);
    }
}
