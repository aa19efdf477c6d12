//! `show`: everything about one mirror.

use clap::Args;

use crate::cli::client::Client;
use crate::cli::exit_code::ExitCode;
use crate::cli::table::{self, Naming, short_duration};
use crate::cli::{DaemonArg, say};
use mirrorball_core::data::status::{MirrorDetails, RecentRun, Status};

/// Arguments of `show`.
#[derive(Args, Debug)]
pub struct ShowArgs {
    #[command(flatten)]
    daemon: DaemonArg,
    /// root@host
    mirror: String,
    /// Write JSON, as documented in docs/status.md
    #[arg(long)]
    json: bool,
}

/// Says where it stands, what fails, and what was run lately.
pub fn show(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let route = format!("/mirrors/{}", escaped(&args.mirror));
    let details: MirrorDetails = Client::find(&args.daemon)?.get(&route)?;
    say(&if args.json { serde_json::to_string_pretty(&details)? } else { text(details) });
    Ok(ExitCode::Ok)
}

/// As a part of a URL's path.
fn escaped(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.@".contains(&b);
    let byte = |b: u8| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") };
    name.bytes().map(byte).collect()
}

fn text(details: MirrorDetails) -> String {
    let MirrorDetails { mirror, stuck, recent } = details;
    let mut lines = vec![mirror.target.clone()];
    lines.extend(mirror.last_success.as_ref().map(|at| format!("last success: {at}")));
    lines.extend(
        mirror.last_check.as_ref().map(|check| {
            format!("last check: {}, {} entries differed", check.at, check.drift_total)
        }),
    );
    let status = Status { mirrors: vec![mirror], ..Status::default() };
    let table = table::text(&status, Naming::Mirror, None);
    // How many of one are in sync says nothing.
    lines.extend(table.lines().skip(1).map(String::from));
    if !stuck.is_empty() {
        lines.push("\nSTUCK".into());
        lines.extend(stuck.iter().map(|stuck| format!("{}: {}", stuck.path, stuck.reason)));
    }
    lines.push("\nLATELY".into());
    lines.extend(recent.iter().map(line));
    lines.join("\n")
}

fn line(run: &RecentRun) -> String {
    let RecentRun { at, kind, end, seconds, paths, bytes_sent, why } = run;
    let (took, bytes) = (short_duration(*seconds), bytesize::ByteSize::b(*bytes_sent));
    let about = if kind == "walk" {
        String::new()
    } else {
        format!(", {}", table::count(*paths, "path", "paths"))
    };
    let why = why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    format!("{at}  {kind}, {end}{about}, {bytes} in {took}{why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_letters_are_part_of_a_path() {
        assert_eq!(escaped("web-1.x@ü b"), "web-1.x@%C3%BC%20b");
    }
}
