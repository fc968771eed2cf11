//! Makes bundles.

use std::process::ExitCode;

use clap::Parser;
use ldms_bundle::cli;

fn main() -> ExitCode {
    cli::finish("ldms-pack", cli::pack::run(cli::pack::Arguments::parse()))
}
