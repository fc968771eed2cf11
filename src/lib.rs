//! Brings container images to sites without internet: one signed bundle, installed under systemd.
//!
//! The modules, lowest first; a module uses only lower ones.

pub mod digest;
pub mod error;
#[cfg(feature = "pack")]
pub mod images;
pub mod progress;
