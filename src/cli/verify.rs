//! `verify`: compares mirrors with their source, contents included, and changes nothing.

use clap::Args;

use crate::cli::client::Client;
use crate::cli::exit_code::ExitCode;
use crate::cli::table::count;
use crate::cli::{DaemonArg, say, say_error};
use crate::control::api::{Selected, Verified};

/// Arguments of `verify`.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    #[command(flatten)]
    daemon: DaemonArg,
    /// root, @host or root@host, any number; all mirrors without
    selectors: Vec<String>,
    /// Write JSON, as documented in docs/status.md
    #[arg(long)]
    json: bool,
}

/// Exits with 1 if anything differs, or could not be compared.
pub fn verify(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let request = Selected { selectors: args.selectors.clone() };
    let answer = Client::find(&args.daemon)?.post("/verify", &request)?;
    let verified: Vec<Verified> = serde_json::from_slice(&answer)?;
    if args.json {
        say(&serde_json::to_string_pretty(&verified)?);
    } else {
        verified.iter().for_each(tell);
    }
    let is_equal = |one: &Verified| one.differences.as_ref().is_some_and(|found| found.total == 0);
    Ok(if verified.iter().all(is_equal) { ExitCode::Ok } else { ExitCode::Failed })
}

fn tell(verified: &Verified) {
    let mirror = &verified.mirror;
    match (&verified.differences, &verified.error) {
        (Some(found), _) if found.total == 0 => say(&format!("{mirror}: equal")),
        (Some(found), _) => {
            let total = count(found.total, "difference", "differences");
            say(&format!("{mirror}: {total}"));
            found.first.iter().for_each(|line| say(&format!("  {line}")));
            let rest = found.total - found.first.len() as u64;
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
