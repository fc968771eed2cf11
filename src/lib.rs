//! Brings container images to sites without internet: one signed bundle, installed under systemd.
//!
//! The modules, lowest first; a module uses only lower ones.

pub mod crash;
pub mod digest;
pub mod engine;
pub mod error;
pub mod host;
pub mod progress;
pub mod root;
