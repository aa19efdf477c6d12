//! `explain`: why is this file, or is it not, on that mirror?

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use crate::cli::client::Client;
use crate::cli::exit_code::ExitCode;
use crate::cli::table::short_duration;
use crate::cli::{DaemonArg, say};
use crate::control::explain::ExplainRequest;
use mirrorball_core::data::explanation::{Explanation, LastChange};

/// Arguments of `explain`.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    #[command(flatten)]
    daemon: DaemonArg,
    /// A path in a root; it need not exist
    path: PathBuf,
    /// Write JSON
    #[arg(long)]
    json: bool,
}

/// Says by which rule a path is in or out, when it last changed, and how it stands on each mirror.
pub fn explain(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let path = absolute(&args.path)?;
    let request = ExplainRequest { path: path.as_os_str().as_bytes().to_vec() };
    let answer = Client::find(&args.daemon)?.post("/explain", &request)?;
    let explanations: Vec<Explanation> = serde_json::from_slice(&answer)?;
    if args.json {
        say(&serde_json::to_string_pretty(&explanations)?);
    } else {
        say(&explanations.iter().map(text).collect::<Vec<_>>().join("\n\n"));
    }
    Ok(ExitCode::Ok)
}

/// With the links of the directory around it resolved; the path itself may be a link, or not be there.
fn absolute(path: &std::path::Path) -> anyhow::Result<PathBuf> {
    let path = std::path::absolute(path)
        .with_context(|| format!("Cannot tell where {} is", path.display()))?;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(path) };
    Ok(parent.canonicalize().map_or_else(|_| path.clone(), |parent| parent.join(name)))
}

fn text(explanation: &Explanation) -> String {
    let Explanation { root, path, found, excluded, rule, change, mirrors } = explanation;
    let is_found = found.is_some();
    let found = found.as_ref().map_or_else(|| "nothing".into(), |what| format!("a {what}"));
    let mut lines = vec![format!("{path} in the root {root}: {found}")];
    lines.push(match (excluded, rule) {
        (true, Some(rule)) if rule.matches == *path => {
            format!("kept out by the rule \"{}\"", rule.rule)
        }
        (true, Some(rule)) => {
            format!("kept out with {}, by the rule \"{}\"", rule.matches, rule.rule)
        }
        (false, Some(rule)) => format!("mirrored by the rule \"{}\"", rule.rule),
        (_, None) => "mirrored: no rule speaks of it".into(),
    });
    if *excluded {
        return lines.join("\n");
    }
    lines.push(match change {
        LastChange::BeingWritten => "somebody is writing to it".into(),
        LastChange::Open => "it changed just now".into(),
        LastChange::Epoch { epoch, seconds_ago } => {
            format!("last change: epoch {epoch}, {} ago", short_duration(*seconds_ago))
        }
        LastChange::Settled => "no change of it is still to be sent".into(),
    });
    let width = mirrors.iter().map(|it| it.id.to_string().len()).max().unwrap_or(0);
    lines.extend(mirrors.iter().map(|mirror| {
        let note = mirror.note.as_ref().map(|note| format!(" ({note})")).unwrap_or_default();
        let id = mirror.id.to_string();
        format!("{id:<width$}  {}{note}", mirror.whereabouts.describe(is_found))
    }));
    lines.join("\n")
}
