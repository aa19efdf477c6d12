//! `completions` and `man`: what a package installs beside the program, made from the same text as `--help`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args as ClapArgs, Command, CommandFactory};
use clap_complete::Shell;

use crate::cli::exit_code::ExitCode;
use crate::cli::{Args, say};

/// Arguments of `completions`.
#[derive(ClapArgs, Debug)]
pub struct CompletionsArgs {
    /// For which shell
    shell: Shell,
}

/// Arguments of `man`.
#[derive(ClapArgs, Debug)]
pub struct ManArgs {
    /// Write a page for each command into this directory, rather than the first page to standard output
    #[arg(long)]
    directory: Option<PathBuf>,
}

/// Writes a script for a shell.
pub fn completions(args: &CompletionsArgs) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "mirrorball", &mut script);
    say(&String::from_utf8_lossy(&script));
    ExitCode::Ok
}

/// Writes manual pages.
pub fn man(args: &ManArgs) -> anyhow::Result<ExitCode> {
    let mut command = Args::command();
    command.build();
    match &args.directory {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            say(&String::from_utf8_lossy(&page));
        }
        Some(directory) => write_pages(directory, "mirrorball", command)?,
    }
    Ok(ExitCode::Ok)
}

fn write_pages(directory: &Path, name: &str, command: Command) -> anyhow::Result<()> {
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        let name = format!("{name}-{}", verb.get_name());
        write_pages(directory, &name, verb.clone())?;
    }
    // A page is named as it is looked for.
    let title: &'static str = Box::leak(name.to_string().into_boxed_str());
    let mut page = Vec::new();
    clap_mangen::Man::new(command.name(title)).render(&mut page)?;
    let path = directory.join(format!("{name}.1"));
    std::fs::write(&path, page).with_context(|| format!("Cannot write {}", path.display()))
}
