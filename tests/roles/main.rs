//! From a role's profile and the administrator's answers to the text of systemd units.
#![expect(clippy::disallowed_methods, reason = "tests work in folders of their own")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests may fail")]

mod answers;
mod commands;
mod config;
mod document;
mod files;
mod hostile;
mod kit;
mod numbers;
mod profiles;
mod prompts;
mod running;
mod systemd;
mod types;
mod units;
