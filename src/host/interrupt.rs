//! Somebody wants us to stop: noticed between steps, so that what was begun can be undone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::error::{Error, Result};

/// Raised once by SIGINT, SIGTERM, or SIGHUP (a lost connection to the host), and then for good.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Watches for the signals from now on, for the whole process.
    pub fn watch() -> Result<Self> {
        let interrupt = Self::none();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&interrupt.0))
                .map_err(|e| Error::failed("cannot watch for signals").because(e))?;
        }
        Ok(interrupt)
    }

    /// One that no signal raises.
    pub fn none() -> Self {
        Self::default()
    }

    /// Raises it.
    pub fn raise(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Somebody wants us to stop.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// The error that ends what was interrupted.
    pub fn error(&self) -> Error {
        Error::failed("interrupted")
    }

    /// An error once it is raised.
    pub fn check(&self) -> Result<()> {
        if self.is_raised() { Err(self.error()) } else { Ok(()) }
    }
}
