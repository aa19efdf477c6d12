//! `reload`: the daemon reads its configuration again.

use std::fmt::Display;

use clap::Args;

use crate::cli::client::Client;
use crate::cli::exit_code::ExitCode;
use crate::cli::{DaemonArg, say};
use crate::control::reload::ReloadRequest;
use mirrorball_core::fleet::reload::{Difference, Parts};

/// Arguments of `reload`.
#[derive(Args, Debug)]
pub struct ReloadArgs {
    #[command(flatten)]
    daemon: DaemonArg,
    /// Only say what would start, stop and change
    #[arg(long)]
    dry_run: bool,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// Says what has changed. A bad configuration is refused, and the old one stays.
pub fn reload(args: &ReloadArgs) -> anyhow::Result<ExitCode> {
    let request = ReloadRequest { dry: args.dry_run };
    let answer = Client::find(&args.daemon)?.post("/reload", &request)?;
    let difference: Difference = serde_json::from_slice(&answer)?;
    if args.json {
        say(&serde_json::to_string_pretty(&difference)?);
    } else {
        say(&text(&difference));
    }
    Ok(ExitCode::Ok)
}

fn text(difference: &Difference) -> String {
    let Difference { hosts, roots, mirrors, adjusted, at_next_start } = difference;
    let mut lines = lines("root", roots, "watched anew, its mirrors compared");
    lines.extend(self::lines("host", hosts, "new connections"));
    lines.extend(self::lines("mirror", mirrors, "compared"));
    lines.extend(
        adjusted.iter().map(|what| format!("change {what}: at once, nothing is disturbed")),
    );
    lines.extend(at_next_start.iter().map(|name| format!("at the next start: {name}")));
    if lines.is_empty() {
        lines.push("nothing has changed".into());
    }
    lines.push(format!("{} of {} mirrors go on undisturbed", mirrors.kept.len(), count(mirrors)));
    lines.join("\n")
}

fn lines<T: Display>(what: &str, parts: &Parts<T>, how: &str) -> Vec<String> {
    let started = parts.started.iter().map(|id| format!("start {what} {id}"));
    let stopped = parts.stopped.iter().map(|id| format!("stop {what} {id}"));
    let changed = parts.changed.iter().map(|id| format!("change {what} {id}: {how}"));
    stopped.chain(started).chain(changed).collect()
}

/// Those that there will be.
fn count<T>(parts: &Parts<T>) -> usize {
    parts.kept.len() + parts.changed.len() + parts.started.len()
}
