//! `check`: everything that is wrong with a configuration, at once.

use clap::Args;

use crate::cli::exit_code::ExitCode;
use crate::cli::table::count;
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
    let warnings = report.warning_lines();
    if args.deny_warnings {
        report.deny_warnings()?;
    }
    for warning in warnings {
        say_error(&warning);
    }
    let mirrors: usize = plan.roots.values().map(|root| root.mirrors.len()).sum();
    say(&format!(
        "{}: good: {}, {}, {}",
        args.config.config.display(),
        count(plan.roots.len() as u64, "root", "roots"),
        count(plan.hosts.len() as u64, "host", "hosts"),
        count(mirrors as u64, "mirror", "mirrors"),
    ));
    Ok(ExitCode::Ok)
}
