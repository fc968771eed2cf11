//! Makes bundles.

use std::process::ExitCode;

use clap::Parser;
use ldms_bundle::cli;

fn main() -> ExitCode {
    let arguments = cli::pack::Arguments::parse();
    let json = arguments.json();
    cli::finish("ldms-pack", json, cli::pack::run(arguments))
}
