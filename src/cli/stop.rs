//! `stop`: ends the daemon in good order.

use crate::cli::DaemonArg;
use crate::cli::client::Client;
use crate::cli::exit_code::ExitCode;

/// Returns when the daemon has ended.
pub fn stop(daemon: &DaemonArg) -> anyhow::Result<ExitCode> {
    let client = Client::find(daemon)?;
    client.post("/stop", &())?;
    client.wait_for_end()?;
    Ok(ExitCode::Ok)
}
