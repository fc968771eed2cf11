//! What runs an image. What differs between engines is in here, and nothing else is.

pub mod load;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// An engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Docker, with its daemon.
    Docker,
    /// Podman, without one.
    Podman,
}

impl Kind {
    /// The name of its program, of its choice on the command line, and in what people read.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Docker => "docker",
            Kind::Podman => "podman",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [Kind::Docker, Kind::Podman].into_iter().find(|k| k.name() == text).ok_or_else(|| {
            Error::usage(format!("there is no engine '{}'", text.escape_debug()))
                .remedy("choose docker or podman")
        })
    }
}
