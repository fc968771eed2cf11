//! Brings container images to sites without internet: one signed bundle, installed under systemd.
//!
//! The modules, lowest first; a module uses only lower ones.

pub mod answers;
pub mod cli;
pub mod digest;
pub mod engine;
pub mod error;
pub mod manifest;
pub mod profile;
pub mod progress;
pub mod service;
pub mod unit;
