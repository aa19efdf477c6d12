//! `run`: the daemon.

use slog::{info, warn};

use crate::actors::kit::Mode;
use crate::cli::exit_code::ExitCode;
use crate::cli::{ConfigArg, daemon, logging, screen};
use crate::config;

/// Runs until told to end.
pub fn run(args: &ConfigArg, verbose: u8) -> anyhow::Result<ExitCode> {
    let (plan, report) = config::load_to_run(&args.config)?;
    let log = logging::from_plan(&plan.log, verbose)?;
    for warning in report.warning_lines() {
        warn!(log.logger, "{}", warning);
    }
    info!(log.logger, "mirrorball {}", env!("CARGO_PKG_VERSION");
        "config" => %args.config.display(), "roots" => plan.roots.len(), "hosts" => plan.hosts.len());
    let narrator = log.logger.clone();
    let code =
        daemon::run_plan(plan, Some(args.config.clone()), Mode::Live, &log.logger, |running| {
            screen::narrate(running.board.clone(), narrator)
        })?;
    info!(log.logger, "Ended");
    Ok(screen::code(code))
}
