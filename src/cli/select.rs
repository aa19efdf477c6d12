//! Verbs about mirrors that are done when the daemon has taken note: `pause`, `resume`, `walk`.

use clap::Args;

use crate::cli::DaemonArg;
use crate::cli::client::Client;
use crate::cli::exit_code::ExitCode;
use crate::control::api::Selected;

/// Which mirrors of which daemon.
#[derive(Args, Debug)]
pub struct SelectArgs {
    #[command(flatten)]
    daemon: DaemonArg,
    /// root, @host or root@host, any number; or --all
    #[arg(required_unless_present = "all")]
    selectors: Vec<String>,
    /// All mirrors
    #[arg(long, conflicts_with = "selectors")]
    all: bool,
}

/// Returns when the daemon has taken note of what is asked on this route.
pub fn act(args: &SelectArgs, route: &str) -> anyhow::Result<ExitCode> {
    let request = Selected { selectors: args.selectors.clone() };
    Client::find(&args.daemon)?.post(route, &request)?;
    Ok(ExitCode::Ok)
}
