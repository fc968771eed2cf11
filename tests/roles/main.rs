//! From a role's profile and the administrator's answers to the text of systemd units.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests may fail")]

mod answers;
mod hostile;
mod kit;
mod profiles;
mod prompts;
mod systemd;
mod units;
