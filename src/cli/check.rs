//! `check`: everything that is wrong with a configuration, at once.

use clap::Args;

use crate::cli::exit_code::ExitCode;
use crate::cli::{ConfigArg, say, say_error};
use crate::config::{self, survey};

/// Arguments of `check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Treat warnings as faults
    #[arg(long)]
    deny_warnings: bool,
}

/// Exits with 78 if anything is wrong.
pub fn check(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let (plan, mut report) = config::load(&args.config.config)?;
    survey::survey(&plan, &mut report);
    for warning in report.warning_lines() {
        say_error(&warning);
    }
    if args.deny_warnings {
        report.deny_warnings()?;
    }
    let mirrors: usize = plan.roots.values().map(|root| root.mirrors.len()).sum();
    say(&format!(
        "{}: good: {} roots, {} hosts, {mirrors} mirrors",
        args.config.config.display(),
        plan.roots.len(),
        plan.hosts.len(),
    ));
    Ok(ExitCode::Ok)
}
