//! Installs bundles.

use std::process::ExitCode;

use clap::Parser;
use ldms_bundle::cli;

fn main() -> ExitCode {
    let arguments = cli::install::Arguments::parse();
    let json = arguments.json();
    cli::finish("ldms-install", json, cli::install::run(arguments))
}
