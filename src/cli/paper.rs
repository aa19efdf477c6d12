//! `completions` and `man`: what a package installs beside the program, made from the same text as `--help`.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args as ClapArgs, Command, CommandFactory};
use clap_complete::Shell;
use roff::{Inline, Roff, bold, roman};

use crate::cli::exit_code::ExitCode;
use crate::cli::{Args, DEFAULT_CONFIG, say};
use crate::config::reference::{self, Section};

/// Arguments of `completions`.
#[derive(ClapArgs, Debug)]
pub struct CompletionsArgs {
    /// For which shell
    shell: Shell,
}

/// Arguments of `man`.
#[derive(ClapArgs, Debug)]
pub struct ManArgs {
    /// Write all pages into man1 and man5 of this directory, rather than the first to standard output
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
        None => say(&String::from_utf8_lossy(&page("mirrorball", command)?)),
        Some(directory) => {
            write_pages(&directory.join("man1"), "mirrorball", command)?;
            write(&directory.join("man5"), "mirrorball.ron.5", &config_page())?;
        }
    }
    Ok(ExitCode::Ok)
}

fn write_pages(directory: &Path, name: &str, command: Command) -> anyhow::Result<()> {
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        let name = format!("{name}-{}", verb.get_name());
        write_pages(directory, &name, verb.clone())?;
    }
    write(directory, &format!("{name}.1"), &page(name, command)?)
}

fn write(directory: &Path, name: &str, page: &[u8]) -> anyhow::Result<()> {
    let path = directory.join(name);
    std::fs::create_dir_all(directory)
        .and_then(|()| std::fs::write(&path, page))
        .with_context(|| format!("Cannot write {}", path.display()))
}

/// The page of a command: what `--help` says, and what is the same for all of them.
fn page(name: &str, command: Command) -> anyhow::Result<Vec<u8>> {
    // A page is named as it is looked for.
    let title: &'static str = Box::leak(name.to_string().into_boxed_str());
    let mut page = Vec::new();
    let has_verbs = command.has_subcommands();
    let man = clap_mangen::Man::new(command.name(title));
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if has_verbs {
        man.render_subcommands_section(&mut page)?;
    }
    let mut rest = Roff::new();
    rest.control("SH", ["EXIT STATUS"]);
    for code in ExitCode::ALL {
        item(&mut rest, &(code as u8).to_string(), code.about());
    }
    rest.control("SH", ["FILES"]);
    item(&mut rest, DEFAULT_CONFIG, "The configuration, see mirrorball.ron(5).");
    item(&mut rest, "/run/mirrorball/control.sock", "Where the commands reach the daemon.");
    item(&mut rest, "/var/lib/mirrorball", "What the daemon keeps.");
    see_also(&mut rest, &["mirrorball(1)", "mirrorball.ron(5)", "rsync(1)", "rsyncd.conf(5)"]);
    page.extend(rest.render().into_bytes());
    Ok(page)
}

/// The page of the configuration: what the reference says, and the examples.
fn config_page() -> Vec<u8> {
    let version = concat!("mirrorball ", env!("CARGO_PKG_VERSION"));
    let mut page = Roff::new();
    page.control("TH", ["mirrorball.ron", "5", "", version]);
    page.control("SH", ["NAME"]);
    page.text([roman("mirrorball.ron - what mirrorball(1) mirrors, and where to")]);
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(
        "One file in RON, a notation like Rust's. Unknown fields are faults; mirrorball check says everything that is \
         wrong at once. Fields may be left out where a default is named. Durations are written \"50ms\", \"2s\", \"5m\", \
         sizes \"10MiB\".",
    )]);
    for Section { name, about, fields } in reference::sections() {
        page.control("SH", [name.as_str()]);
        page.text(marked(&about));
        fields.iter().for_each(|(name, about)| item(&mut page, name, about));
    }
    page.control("SH", ["EXAMPLES"]);
    for example in EXAMPLES {
        page.control("nf", []);
        page.text([roman(example)]);
        page.control("fi", []);
        page.control("PP", []);
    }
    see_also(&mut page, &["mirrorball(1)", "crontab(5)", "rsync(1)", "rsyncd.conf(5)"]);
    page.render().into_bytes()
}

const EXAMPLES: [&str; 2] =
    [include_str!("../../config/web-farm.ron"), include_str!("../../config/backup.ron")];

fn item(page: &mut Roff, name: &str, about: &str) {
    page.control("TP", []);
    page.text([bold(name)]);
    page.text(marked(about));
}

fn see_also(page: &mut Roff, names: &[&str]) {
    page.control("SH", ["SEE ALSO"]);
    page.text([roman(names.join(", "))]);
}

/// What stands in backticks is bold.
fn marked(text: &str) -> Vec<Inline> {
    let piece = |(number, piece): (usize, &str)| match number % 2 {
        0 => roman(piece),
        _ => bold(piece),
    };
    text.split('`').enumerate().map(piece).collect()
}
