//! Tests on real hosts: Debian machines booted with systemd-nspawn, with real container
//! engines, real munge and no internet. See README.md beside this file.
//!
//! They need root (or sudo), a Debian mirror the first time, what `make all images` builds, and
//! two or three at a time is what two cores carry: `make host-test`.

// These rules are the program's: how it reaches files and programs, and that it never panics.
#![allow(clippy::disallowed_methods, clippy::expect_used, clippy::unwrap_used)]

mod again;
mod bed;
mod commands;
mod docker;
mod failing;
mod health;
mod install;
mod machine;
mod medium;
mod munge;
mod node;
mod numbers;
mod prepared;
mod prompts;
mod recovery;
mod refuse;
mod roles;
mod running;
mod sources;
mod state;
