//! Brings container images to sites without internet: one signed bundle, installed under systemd.
//!
//! The modules, lowest first; a module uses only lower ones.

#[cfg(not(target_pointer_width = "64"))]
compile_error!("sizes of bundles do not fit into this machine's usize");

pub mod digest;
pub mod error;
pub mod input;
pub mod progress;

pub mod manifest;

pub mod trust;

pub mod bundle;

pub mod engine;

pub mod answers;
pub mod profile;
pub mod service;
pub mod unit;

#[cfg(feature = "pack")]
pub mod images;
#[cfg(feature = "pack")]
pub mod signing;

#[cfg(feature = "pack")]
pub mod inspect;
#[cfg(feature = "pack")]
pub mod medium;
#[cfg(feature = "pack")]
pub mod pack;

pub mod cli;
