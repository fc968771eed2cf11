//! `ldms-pack` from the outside: the real program, real archives, and the stock tools that its
//! users have. Reads like transcripts; `kit` has what they share.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "tests may fail, and look at what the program wrote"
)]

mod build;
mod dependencies;
mod help;
mod hostile;
mod interrupt;
mod keys;
mod kit;
mod look;
mod memory;
mod profiles;
mod sources;
mod stock;
