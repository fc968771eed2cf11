//! Writes man pages and shell completions of both programs into a directory, from the very
//! definitions that the programs parse their arguments with, so that they cannot differ.
#![expect(clippy::disallowed_methods, reason = "writes a package's files, none of a host's")]

use std::fs;
use std::io;
use std::path::PathBuf;

use clap::CommandFactory;
use clap_complete::Shell;
use ldms_bundle::cli;

fn main() -> io::Result<()> {
    let Some(out) = std::env::args_os().nth(1).map(PathBuf::from) else {
        return Err(io::Error::other("usage: manuals DIRECTORY"));
    };
    let (man, completions) = (out.join("man"), out.join("completions"));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;
    for command in [cli::pack::Arguments::command(), cli::install::Arguments::command()] {
        let name = command.get_name().to_owned();
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            clap_complete::generate_to(shell, &mut command.clone(), &name, &completions)?;
        }
        clap_mangen::generate_to(command.disable_help_subcommand(true), &man)?;
    }
    Ok(())
}
