//! `approve`: a person lets held deletions go, and takes halted roots and mirrors as they are.

use clap::Args;

use crate::cli::DaemonArg;
use crate::cli::client::Client;
use crate::cli::exit_code::ExitCode;
use crate::control::api::Selected;

/// Arguments of `approve`.
#[derive(Args, Debug)]
pub struct ApproveArgs {
    #[command(flatten)]
    daemon: DaemonArg,
    /// root, @host or root@host, any number; or --all
    #[arg(required_unless_present = "all")]
    selectors: Vec<String>,
    /// Everything that waits
    #[arg(long, conflicts_with = "selectors")]
    all: bool,
}

/// Returns when the daemon has taken note.
pub fn approve(args: &ApproveArgs) -> anyhow::Result<ExitCode> {
    let request = Selected { selectors: args.selectors.clone() };
    Client::find(&args.daemon)?.post("/approve", &request)?;
    Ok(ExitCode::Ok)
}
