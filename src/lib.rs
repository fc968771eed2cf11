//! Brings container images to sites without internet: one signed bundle, installed under systemd.
//!
//! The modules, lowest first; a module uses only lower ones.

#[cfg(not(target_pointer_width = "64"))]
compile_error!("sizes of bundles do not fit into this machine's usize");

pub mod bundle;
pub mod digest;
pub mod error;
pub mod input;
pub mod manifest;
pub mod progress;
#[cfg(feature = "pack")]
pub mod signing;
pub mod trust;
