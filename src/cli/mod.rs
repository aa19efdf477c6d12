//! What people type: one file per verb.

pub mod approve;
pub mod check;
pub mod client;
pub mod daemon;
pub mod exit_code;
pub mod explain;
pub mod flush;
pub mod logging;
pub mod mirror;
pub mod paper;
pub mod plan;
pub mod reload;
pub mod run;
pub mod screen;
pub mod select;
pub mod show;
pub mod status;
pub mod stop;
pub mod systemd;
pub mod table;
pub mod target;
pub mod top;
pub mod verify;

use std::path::PathBuf;

use clap::{Args as ClapArgs, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::cli::exit_code::ExitCode;

/// Where the daemon's configuration is unless somebody says otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/mirrorball/mirrorball.ron";

/// Keeps one directory tree equal on many hosts, live, over rsync and ssh
#[derive(Parser, Debug)]
#[command(version, max_term_width = 100)]
pub struct Args {
    /// Say more; twice: say each event
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    verbose: u8,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand, Debug)]
enum Verb {
    /// Mirror SOURCE to each TARGET, live, in the foreground, without a configuration
    Mirror(Box<mirror::MirrorArgs>),
    /// Run the daemon
    Run(ConfigArg),
    /// Say everything that is wrong with a configuration
    Check(check::CheckArgs),
    /// Say where each mirror stands
    Status(status::StatusArgs),
    /// Say everything about one mirror: where it stands, what fails, what was run lately
    Show(show::ShowArgs),
    /// Wait until everything that changed before now is on the mirrors
    Flush(flush::FlushArgs),
    /// Show held deletions and halted roots and mirrors, and approve them
    Approve(approve::ApproveArgs),
    /// Send nothing to mirrors before `resume`, also after the next start; changes collect
    Pause(select::SelectArgs),
    /// Send to paused mirrors again
    Resume(select::SelectArgs),
    /// Compare mirrors whole now, by size and time, and repair what differs
    Walk(select::SelectArgs),
    /// Compare mirrors with their source, contents included, and change nothing
    Verify(verify::VerifyArgs),
    /// Say what a walk would create, change and delete, and do nothing
    Plan(plan::PlanArgs),
    /// Say why a file is, or is not, on the mirrors
    Explain(explain::ExplainArgs),
    /// Read the configuration again; what did not change goes on undisturbed
    Reload(reload::ReloadArgs),
    /// End the daemon in good order
    Stop(DaemonArg),
    /// Write a completion script for a shell
    Completions(paper::CompletionsArgs),
    /// Write manual pages
    Man(paper::ManArgs),
}

/// Which configuration.
#[derive(ClapArgs, Debug, Clone)]
pub struct ConfigArg {
    /// The configuration file
    #[arg(long, default_value = DEFAULT_CONFIG)]
    config: PathBuf,
}

/// Which daemon.
#[derive(ClapArgs, Debug, Clone)]
pub struct DaemonArg {
    /// The daemon's control socket
    #[arg(long, conflicts_with = "config")]
    socket: Option<PathBuf>,
    /// The daemon's configuration file, which names the socket
    #[arg(long)]
    config: Option<PathBuf>,
}

/// Runs the program. Messages are on standard error; the code says how it ended.
pub fn main() -> ExitCode {
    let parsed = Args::command().try_get_matches();
    let (args, matches) = match parsed.and_then(|m| Ok((Args::from_arg_matches(&m)?, m))) {
        Ok(parsed) => parsed,
        Err(error) => {
            let code = if error.use_stderr() { ExitCode::Usage } else { ExitCode::Ok };
            // Where even that can't be written, the code still says it.
            drop(error.print());
            return code;
        }
    };
    let ended = match args.verb {
        Verb::Mirror(mirror) => {
            let matches = matches.subcommand_matches("mirror").expect("the verb was parsed so");
            mirror::mirror(&mirror, matches, args.verbose)
        }
        Verb::Run(config) => run::run(&config, args.verbose),
        Verb::Check(check) => check::check(&check),
        Verb::Status(status) => status::status(&status),
        Verb::Show(show) => show::show(&show),
        Verb::Flush(flush) => flush::flush(&flush),
        Verb::Approve(approve) => approve::approve(&approve),
        Verb::Pause(mirrors) => select::act(&mirrors, "/pause"),
        Verb::Resume(mirrors) => select::act(&mirrors, "/resume"),
        Verb::Walk(mirrors) => select::act(&mirrors, "/walk"),
        Verb::Plan(plan) => plan::plan(&plan),
        Verb::Explain(explain) => explain::explain(&explain),
        Verb::Reload(reload) => reload::reload(&reload),
        Verb::Verify(verify) => verify::verify(&verify),
        Verb::Stop(daemon) => stop::stop(&daemon),
        Verb::Completions(args) => Ok(paper::completions(&args)),
        Verb::Man(args) => paper::man(&args),
    };
    ended.unwrap_or_else(|error| {
        let code = if error.is::<client::Unreachable>() || error.is::<daemon::AlreadyRunning>() {
            ExitCode::Unavailable
        } else if error.is::<client::BadRequest>() {
            ExitCode::Usage
        } else if error.is::<crate::config::fault::Faults>() || error.is::<client::BadConfig>() {
            ExitCode::Config
        } else {
            ExitCode::Failed
        };
        say_error(&format!("{error:#}"));
        code
    })
}

/// Writes a message for people.
#[expect(clippy::print_stderr, reason = "this is where people are told")]
pub fn say_error(message: &str) {
    eprintln!("{}", message.trim_end());
}

/// Writes what was asked for. A reader that has gone is no fault.
pub fn say(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{}", text.trim_end()));
}
