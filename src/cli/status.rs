//! `status`: where each mirror stands.

use std::time::Duration;

use clap::Args;

use crate::cli::client::Client;
use crate::cli::exit_code::ExitCode;
use crate::cli::table::Naming;
use crate::cli::{DaemonArg, say, table};
use crate::types::status::Status;

/// Arguments of `status`.
#[derive(Args, Debug)]
pub struct StatusArgs {
    #[command(flatten)]
    daemon: DaemonArg,
    /// Write JSON, as documented in docs/status.md
    #[arg(long)]
    json: bool,
    /// Exit with 1 if any mirror lags more than this
    #[arg(long, value_parser = humantime::parse_duration)]
    max_lag: Option<Duration>,
}

/// Exits with 1 if a mirror lags more than it may.
pub fn status(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let status: Status = Client::find(&args.daemon)?.get("/status")?;
    if args.json {
        say(&serde_json::to_string_pretty(&status)?);
    } else {
        say(&table::text(&status, Naming::Mirror));
    }
    let max_lag = args.max_lag.map(|lag| lag.as_secs_f64());
    let lags = |max: f64| status.mirrors.iter().any(|mirror| mirror.lag_seconds > max);
    Ok(if max_lag.is_some_and(lags) { ExitCode::Failed } else { ExitCode::Ok })
}
