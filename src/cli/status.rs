//! `status`: where each mirror stands.

use std::time::Duration;

use clap::Args;

use crate::cli::client::{BadRequest, Client};
use crate::cli::exit_code::ExitCode;
use crate::cli::table::Naming;
use crate::cli::{DaemonArg, say, table, top};
use crate::control::selector::Selector;
use mirrorball_core::data::ids::MirrorId;
use mirrorball_core::data::status::{MirrorState, Status};

/// Arguments of `status`.
#[derive(Args, Debug)]
pub struct StatusArgs {
    #[command(flatten)]
    daemon: DaemonArg,
    /// root, @host or root@host, any number; all mirrors without
    #[arg(conflicts_with = "watch")]
    selectors: Vec<String>,
    /// Write JSON, as documented in docs/status.md
    #[arg(long)]
    json: bool,
    /// Show it live, with keys to steer it
    #[arg(long, conflicts_with_all = ["json", "max_lag"])]
    watch: bool,
    /// Exit with 1 if any mirror lags more than this, those in a quiet time aside
    #[arg(long, value_parser = humantime::parse_duration)]
    max_lag: Option<Duration>,
}

/// Exits with 1 if a mirror lags more than it may.
pub fn status(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let client = Client::find(&args.daemon)?;
    if args.watch {
        return top::watch(&client);
    }
    let mut status: Status = client.get("/status")?;
    let selectors: Result<Vec<Selector>, String> =
        args.selectors.iter().map(|text| text.parse()).collect();
    let selectors = selectors.map_err(BadRequest::new)?;
    for selector in &selectors {
        if !status.mirrors.iter().any(|mirror| selector.selects(&mirror.id)) {
            let why = format!("No mirror is selected by {selector}; `status` names them all");
            return Err(BadRequest::new(why).into());
        }
    }
    let is_selected = |id: &MirrorId| selectors.iter().any(|selector| selector.selects(id));
    status.mirrors.retain(|mirror| selectors.is_empty() || is_selected(&mirror.id));
    if args.json {
        say(&serde_json::to_string_pretty(&status)?);
    } else {
        say(&table::text(&status, Naming::Mirror, terminal_width()));
    }
    let max_lag = args.max_lag.map(|lag| lag.as_secs_f64());
    let lags = |max: f64| {
        let mut lagging = status.mirrors.iter().filter(|it| it.state != MirrorState::Quiet);
        lagging.any(|mirror| mirror.lag_seconds > max)
    };
    Ok(if max_lag.is_some_and(lags) { ExitCode::Failed } else { ExitCode::Ok })
}

/// Columns of the terminal that reads this; none where none does.
fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_col > 0).then_some(size.ws_col.into())
}
