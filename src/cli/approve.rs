//! `approve`: shows what waits for a person, and approves it.

use std::io::{BufRead, IsTerminal, Write};

use clap::Args;

use crate::cli::client::{BadRequest, Client};
use crate::cli::exit_code::ExitCode;
use crate::cli::table::count;
use crate::cli::{DaemonArg, say};
use crate::control::approve::{Approval, ApprovalsWanted};
use mirrorball_core::data::awaiting::{Approved, Awaiting, AwaitingList, AwaitingName};
use mirrorball_core::data::ids::MirrorId;
use mirrorball_core::data::limits::AWAITING_SHOWN_MAX;
use mirrorball_core::data::list_id::ListId;

/// Arguments of `approve`.
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
#[derive(Args, Debug)]
pub struct ApproveArgs {
    #[command(flatten)]
    daemon: DaemonArg,
    /// Numbers of lists as --list shows them, such as site:17; or root, @host or root@host, any number; or --all
    #[arg(required_unless_present_any = ["all", "list"])]
    what: Vec<String>,
    /// All that waits, on all mirrors
    #[arg(long, conflicts_with = "what")]
    all: bool,
    /// Only show what waits, each list with its number
    #[arg(long, conflicts_with = "yes")]
    list: bool,
    /// Approve what waits now without asking, for scripts
    #[arg(long)]
    yes: bool,
    /// With --list, write JSON, as documented in docs/status.md, with all names
    #[arg(long, requires = "list")]
    json: bool,
    /// Show all names of each list, and not only the first 20
    #[arg(long)]
    all_names: bool,
}

/// Approves lists by their numbers, or what waits on the selected mirrors: after it was shown and a person said yes, or at
/// once with `--yes`. Exits with 1 if nothing was approved, or not everything.
pub fn approve(args: &ApproveArgs) -> anyhow::Result<ExitCode> {
    let client = Client::find(&args.daemon)?;
    if args.list {
        return list(&client, args);
    }
    if args.what.iter().any(|what| what.contains(':')) {
        let lists: Result<Vec<ListId>, _> = args.what.iter().map(|what| what.parse()).collect();
        let lists = lists.map_err(|error| BadRequest::new(error.to_string()))?;
        return post(&client, &Approval { lists, ..Approval::default() });
    }
    if args.yes {
        let selectors = Some(args.what.clone());
        return post(&client, &Approval { selectors, ..Approval::default() });
    }
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Err(BadRequest::new(
            "Cannot ask for approval: standard input or output is not a terminal. Approve a list by its number \
             (mirrorball approve --list shows them), or all that waits now with --yes"
                .into(),
        )
        .into());
    }
    let shown = wanted(&client, args)?;
    say(&text(&shown));
    if shown.lists.is_empty() && shown.halted.is_empty() {
        return Ok(ExitCode::Ok);
    }
    if !confirm(&format!("Approve {}? [y/N] ", summary(&shown)))? {
        say("Nothing was approved");
        return Ok(ExitCode::Failed);
    }
    post(&client, &Approval::of(&shown))
}

fn list(client: &Client, args: &ApproveArgs) -> anyhow::Result<ExitCode> {
    let shown = wanted(client, args)?;
    if args.json {
        say(&serde_json::to_string_pretty(&shown)?);
        return Ok(ExitCode::Ok);
    }
    let mut text = text(&shown);
    if let Some(list) = shown.lists.first() {
        text.push_str(&format!("\n\nTo approve a list: mirrorball approve {}", list.id));
    }
    if let Some(place) = shown.halted.first() {
        text.push_str(&format!(
            "\n\nTo take a halted root or mirror as it is now: mirrorball approve {}",
            place.id
        ));
    }
    say(&text);
    Ok(ExitCode::Ok)
}

fn wanted(client: &Client, args: &ApproveArgs) -> anyhow::Result<Awaiting> {
    let is_all = args.json || args.all_names;
    let names_max = (!is_all).then_some(AWAITING_SHOWN_MAX);
    ask(client, &ApprovalsWanted { selectors: args.what.clone(), names_max })
}

/// What waits on one mirror, without names.
pub fn show(client: &Client, mirror: &MirrorId) -> anyhow::Result<Awaiting> {
    ask(client, &ApprovalsWanted { selectors: vec![mirror.to_string()], names_max: Some(0) })
}

fn ask(client: &Client, wanted: &ApprovalsWanted) -> anyhow::Result<Awaiting> {
    Ok(serde_json::from_slice(&client.post("/approvals", wanted)?)?)
}

fn post(client: &Client, approval: &Approval) -> anyhow::Result<ExitCode> {
    let approved: Approved = serde_json::from_slice(&client.post("/approve", approval)?)?;
    let lists = approved
        .lists
        .iter()
        .map(|list| format!("Approved {}: {}", list.id, deletions(list.entries)));
    let halted = approved.halted.iter().map(|id| format!("Approved {id} as it is now"));
    let lines: Vec<String> = lists.chain(halted).collect();
    say(&if lines.is_empty() { NOTHING.into() } else { lines.join("\n") });
    Ok(ExitCode::Ok)
}

const NOTHING: &str = "Nothing waits for approval";

fn confirm(question: &str) -> std::io::Result<bool> {
    let mut out = std::io::stdout().lock();
    out.write_all(question.as_bytes())?;
    out.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// What waits, in a few words: `7 deletions (site:3) and site@web1 as it is now`.
pub fn summary(shown: &Awaiting) -> String {
    let lists = shown.lists.iter().map(|list| format!("{} ({})", deletions(list.entries), list.id));
    let halted = shown.halted.iter().map(|place| format!("{} as it is now", place.id));
    lists.chain(halted).collect::<Vec<_>>().join(", ")
}

fn text(shown: &Awaiting) -> String {
    let Awaiting { lists, halted, counting } = shown;
    let halted = halted.iter().map(|place| format!("{} is halted: {}", place.id, place.why));
    let counting = counting.iter().map(|id| {
        format!("{id}: deletions wait until the source is counted; list them again in a moment")
    });
    let parts: Vec<String> = lists.iter().map(list_text).chain(halted).chain(counting).collect();
    if parts.is_empty() { NOTHING.into() } else { parts.join("\n\n") }
}

fn list_text(list: &AwaitingList) -> String {
    let AwaitingList { id, entries, names, first, later_entries, later_names } = list;
    let deletions = deletions(*entries);
    let mut lines = vec![match id.mirror() {
        Some(mirror) => format!("{id}  {deletions} on {mirror} of what the root does not hold"),
        None => format!("{id}  {deletions} on all mirrors of what the root {} lost", id.root),
    }];
    let width = first.iter().map(|it| it.entries.to_string().len()).max().unwrap_or(0);
    lines.extend(first.iter().map(|it| {
        let AwaitingName { path, entries, names } = it;
        let path = if path.is_empty() { "." } else { path };
        let within = if *names > 1 { format!(" ({names} names in it)") } else { String::new() };
        format!("  {entries:>width$}  {path}{within}")
    }));
    let more = names - first.iter().map(|it| it.names).sum::<u64>().min(*names);
    if more > 0 {
        let more = count(more, "more name", "more names");
        lines.push(format!("  and {more}; --all-names shows them"));
    }
    if *later_names > 0 {
        let names = count(*later_names, "name", "names");
        lines.push(format!(
            "  Since this list was made, {} of {names} came to wait; they are on the next list",
            self::deletions(*later_entries)
        ));
    }
    lines.join("\n")
}

fn deletions(entries: u64) -> String {
    count(entries, "deletion", "deletions")
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirrorball_core::data::awaiting::AwaitingPlace;

    #[test]
    fn lists_are_shown_with_their_numbers_and_what_is_not_on_them() {
        let name = |path: &str, entries, names| AwaitingName { path: path.into(), entries, names };
        let first = vec![name("a\\nb", 1000, 1), name("", 40, 30)];
        let list = AwaitingList {
            id: ListId::of_root(&"site".into(), 17),
            entries: 1047,
            names: 38,
            first,
            later_entries: 3,
            later_names: 1,
        };
        let halted = AwaitingPlace { id: "site@web1".into(), why: "empty".into() };
        let shown = Awaiting { lists: vec![list], halted: vec![halted], counting: Vec::new() };
        assert_eq!(
            text(&shown),
            "site:17  1047 deletions on all mirrors of what the root site lost\n  1000  a\\nb\n    40  . (30 names in \
             it)\n  and 7 more names; --all-names shows them\n  Since this list was made, 3 deletions of 1 name came to \
             wait; they are on the next list\n\nsite@web1 is halted: empty"
        );
        assert_eq!(summary(&shown), "1047 deletions (site:17), site@web1 as it is now");
        assert_eq!(text(&Awaiting::default()), NOTHING);
    }
}
