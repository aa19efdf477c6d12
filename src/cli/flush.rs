//! `flush`: a barrier. It returns when everything that changed before the call is on the mirrors.

use std::time::Duration;

use clap::Args;

use crate::cli::client::Client;
use crate::cli::exit_code::ExitCode;
use crate::cli::{DaemonArg, say_error};
use crate::control::api::{Flush, Flushed};

/// Arguments of `flush`.
#[derive(Args, Debug)]
pub struct FlushArgs {
    #[command(flatten)]
    daemon: DaemonArg,
    /// root, @host or root@host, any number; all mirrors without
    selectors: Vec<String>,
    /// Give up after this long, and name the mirrors that lag
    #[arg(long, default_value = "30s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// So many of the selected mirrors suffice, such as 95%; the others may lag or be halted
    #[arg(long, default_value = "100%", value_parser = percent)]
    quorum: f64,
    /// Wait, as it always does; for scripts that say so
    #[arg(long, hide = true)]
    wait: bool,
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|number| number.parse().ok());
    let number = number.filter(|number| *number > 0.0 && *number <= 100.0);
    number.ok_or_else(|| "expected a percentage above 0, such as 95%".into())
}

/// Exits with 1 if a mirror still lags.
pub fn flush(args: &FlushArgs) -> anyhow::Result<ExitCode> {
    let request = Flush {
        selectors: args.selectors.clone(),
        quorum_percent: args.quorum,
        timeout_ms: u64::try_from(args.timeout.as_millis()).unwrap_or(u64::MAX),
    };
    let answer = Client::find(&args.daemon)?.post("/flush", &request)?;
    let flushed: Flushed = serde_json::from_slice(&answer)?;
    for laggard in &flushed.laggards {
        say_error(laggard);
    }
    Ok(if flushed.done { ExitCode::Ok } else { ExitCode::Failed })
}
