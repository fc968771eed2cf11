//! The only door to other programs, and what is found out about the host.

mod cmd;
pub mod facts;
mod interrupt;
pub mod ports;
mod prepared;
mod systemd;

pub use cmd::{Cmd, Output};
pub use facts::{EngineFacts, Facts};
pub use interrupt::Interrupt;
pub use systemd::{Systemd, UnitState};
