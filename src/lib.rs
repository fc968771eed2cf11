//! Brings container images to sites without internet: one signed bundle, installed under systemd.
//!
//! The modules, lowest first; a module uses only lower ones.

#[cfg(not(target_pointer_width = "64"))]
compile_error!("sizes of bundles do not fit into this machine's usize");

pub mod digest;
pub mod error;
pub mod named;
pub mod progress;

pub mod host;
pub mod root;

pub mod manifest;
pub mod trust;

pub mod bundle;

pub mod answers;
pub mod config;
pub mod profile;
pub mod service;

pub mod engine;
pub mod munge;
pub mod unit;

pub mod health;
pub mod plan;
pub mod record;

pub mod apply;
pub mod crash;
pub mod journal;

#[cfg(feature = "pack")]
pub mod images;
#[cfg(feature = "pack")]
pub mod medium;
#[cfg(feature = "pack")]
pub mod signing;
#[cfg(feature = "pack")]
pub mod texts;

#[cfg(feature = "pack")]
pub mod inspect;
pub mod install;
#[cfg(feature = "pack")]
pub mod pack;

pub mod cli;
