//! `check`: everything that is wrong with a configuration, at once.

use std::path::PathBuf;

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
    /// The configuration file, in place of `--config`
    #[arg(conflicts_with = "config")]
    file: Option<PathBuf>,
    /// Treat warnings as faults
    #[arg(long)]
    deny_warnings: bool,
}

/// Exits with 78 if anything is wrong.
pub fn check(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let file = args.file.as_ref().unwrap_or(&args.config.config);
    let (plan, mut report) = config::load(file)?;
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
        file.display(),
        count(plan.roots.len() as u64, "root", "roots"),
        count(plan.hosts.len() as u64, "host", "hosts"),
        count(mirrors as u64, "mirror", "mirrors"),
    ));
    Ok(ExitCode::Ok)
}
