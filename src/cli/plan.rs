//! `plan`: what a walk would create, change and delete, without doing it.

use clap::Args;

use crate::cli::client::Client;
use crate::cli::exit_code::ExitCode;
use crate::cli::{DaemonArg, say, say_error};
use crate::control::api::{Selected, Verified};
use mirrorball_core::data::step::Differences;

/// Arguments of `plan`.
#[derive(Args, Debug)]
pub struct PlanArgs {
    #[command(flatten)]
    daemon: DaemonArg,
    /// root, @host or root@host, any number; all mirrors without
    selectors: Vec<String>,
    /// Write JSON, as documented in docs/status.md
    #[arg(long)]
    json: bool,
}

/// Exits with 1 if a mirror could not be compared.
pub fn plan(args: &PlanArgs) -> anyhow::Result<ExitCode> {
    let request = Selected { selectors: args.selectors.clone() };
    let answer = Client::find(&args.daemon)?.post("/plan", &request)?;
    let planned: Vec<Verified> = serde_json::from_slice(&answer)?;
    if args.json {
        say(&serde_json::to_string_pretty(&planned)?);
    } else {
        planned.iter().for_each(tell);
    }
    let is_compared = |one: &Verified| one.differences.is_some();
    Ok(if planned.iter().all(is_compared) { ExitCode::Ok } else { ExitCode::Failed })
}

fn tell(planned: &Verified) {
    let mirror = &planned.mirror;
    match (&planned.differences, &planned.error) {
        (Some(Differences { total, created, deleted, first }), _) => {
            let changed = total - created - deleted;
            say(&format!(
                "{mirror}: {created} to create, {changed} to change, {deleted} to delete"
            ));
            first.iter().for_each(|line| say(&format!("  {line}")));
            let rest = total - first.len() as u64;
            if rest > 0 {
                say(&format!("  and {rest} more"));
            }
        }
        (None, error) => {
            let why = error.as_deref().unwrap_or("it was not said why");
            say_error(&format!("{mirror}: could not be compared: {why}"));
        }
    }
}
