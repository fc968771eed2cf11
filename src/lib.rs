//! Brings container images to sites without internet: one signed bundle, installed under systemd.
//!
//! The modules, lowest first; a module uses only lower ones.

pub mod digest;
pub mod error;
pub mod manifest;
pub mod progress;
