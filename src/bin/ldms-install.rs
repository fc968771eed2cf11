//! Installs bundles.

use std::process::ExitCode;

use clap::Parser;
use ldms_bundle::cli;

fn main() -> ExitCode {
    cli::finish("ldms-install", cli::install::run(cli::install::Arguments::parse()))
}
