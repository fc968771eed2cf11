//! The bundle: its format in both directions. `bundle/FORMAT.md` describes it for everybody else.

pub mod copylist;
mod export;
#[cfg(feature = "pack")]
mod grouping;
pub mod index;
pub mod member;
mod packs;
pub mod reader;
#[cfg(feature = "pack")]
pub mod recipe;
#[cfg(test)]
#[cfg(feature = "pack")]
mod roundtrip;
#[cfg(feature = "pack")]
pub mod writer;

pub use reader::{Bundle, Share, Verified};

/// The format this program writes and the newest that it reads.
pub const FORMAT: u32 = 1;

/// File name ending of a bundle.
pub const EXTENSION: &str = "ldms";

/// The largest pack, bytes before compression, that a reader takes. Packers write 8 MiB.
pub const PACK_LIMIT: u32 = 16 << 20;

/// The largest zstd window a reader allows for, as its base-two logarithm.
pub const WINDOW_LOG_LIMIT: u32 = 23;

/// Most bytes of SHA256SUMS: about 90,000 members.
pub const SUMS_LIMIT: u64 = 8 << 20;

/// Most bytes of one signature file.
pub const SIGNATURE_LIMIT: u64 = 4 << 10;

/// Most signatures looked at.
pub const SIGNATURES_LIMIT: usize = 16;

/// Most bytes of index.toml, and of any text that is held in memory.
pub const TEXT_LIMIT: u64 = 16 << 20;
