//! A container that runs once, to find something out, and is gone.

use std::time::Duration;

use super::load::Client;
use crate::error::Result;
use crate::host::facts::engine_cmd;
use crate::host::{Cmd, Interrupt};

/// How long it may take: a busy disk takes its time to set a container up.
const PATIENCE: Duration = Duration::from_secs(120);

/// A container to be run once.
#[derive(Clone, Copy, Debug)]
pub struct Once<'a> {
    /// Its name, nobody else's
    pub name: &'a str,
    /// Flags of `run`, without the name
    pub flags: &'a [String],
    /// The name of its image in the engine
    pub image: &'a str,
    /// What its `/bin/sh` runs instead of the image's entrypoint
    pub script: &'a str,
    /// The script's standard input. Secrets go here and never into arguments, which every user
    /// of the host can read.
    pub input: &'a [u8],
}

impl Client {
    /// Runs a container and gives what it wrote to its standard output. It is removed when it
    /// ends; if this process is killed meanwhile, [`remove_container`](Self::remove_container)
    /// removes what may be left.
    pub fn run_once(self, once: &Once<'_>, interrupt: &Interrupt) -> Result<String> {
        let Once { name, flags, image, script, input } = *once;
        let output = self
            .once(["run", "--rm", "--interactive", "--pull=never", "--log-driver=none"])
            .arg(format!("--name={name}"))
            .args(flags)
            .args(["--entrypoint=/bin/sh", image, "-c", script])
            .feed(interrupt, &mut |out| {
                out.write_all(input).map_err(|e| {
                    crate::error::Error::from_io(e, "cannot write to the container").at(name)
                })
            })?;
        Ok(output.text())
    }

    /// Removes the container `name`, whether or not it runs; one that is not there is removed.
    pub fn remove_container(self, name: &str) -> Result<()> {
        if !self.has_container(name)? {
            return Ok(());
        }
        let removal = self.once(["rm", "--force", name]);
        match removal.run() {
            Err(error) if self.has_container(name)? => Err(error),
            // If that failed, it had ended, and so removed itself, this moment.
            _ => Ok(()),
        }
    }

    fn once<const N: usize>(self, args: [&str; N]) -> Cmd {
        engine_cmd(self.kind()).args(args).timeout(PATIENCE)
    }
}
