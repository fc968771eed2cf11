//! Brings container images to sites without internet: one signed bundle, installed under systemd.
//!
//! The modules, lowest first; a module uses only lower ones.

#[cfg(not(target_pointer_width = "64"))]
compile_error!("sizes of bundles do not fit into this machine's usize");

pub mod bundle;
pub mod cli;
pub mod digest;
pub mod error;
#[cfg(feature = "pack")]
pub mod images;
pub mod input;
#[cfg(feature = "pack")]
pub mod inspect;
pub mod manifest;
#[cfg(feature = "pack")]
pub mod medium;
#[cfg(feature = "pack")]
pub mod pack;
pub mod progress;
#[cfg(feature = "pack")]
pub mod signing;
pub mod trust;
