//! Munge, which vouches for who speaks: whether a key can be used, and whether a container that
//! has it (or the host's munged) can really make a credential and read it.
//!
//! Both are found out before a service is enabled: a key with a wrong owner shows only in the
//! log of a container that ends after a second, and a wrong key only at the far end.

pub mod key;
pub mod proof;
mod words;

pub use proof::Proof;
