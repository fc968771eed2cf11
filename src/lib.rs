//! Brings container images to sites without internet: one signed bundle, installed under systemd.
//!
//! The modules, lowest first; a module uses only lower ones.

pub mod apply;
pub mod crash;
pub mod digest;
pub mod engine;
pub mod error;
pub mod health;
pub mod host;
pub mod journal;
pub mod plan;
pub mod progress;
pub mod record;
pub mod root;
