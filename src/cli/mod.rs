//! The command line: arguments, prompts, bars, tables, exit codes.

pub mod ask;
