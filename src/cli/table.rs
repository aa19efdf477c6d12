//! A Status as a table: pure functions from data to text.

use std::cmp::Ordering;
use std::time::Duration;

use chrono::{DateTime, Local};

use mirrorball_core::data::name::elide;
use mirrorball_core::data::status::{MirrorState, MirrorStatus, RootState, Status};

/// Less room says nothing of what happens.
const ELIDED_MIN: usize = 24;

/// How mirrors are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// `root@host`, as selectors do.
    Mirror,
    /// By the target that a command line gave.
    Target,
}

impl Naming {
    /// The name of a mirror.
    pub fn of(self, mirror: &MirrorStatus) -> String {
        match self {
            Self::Mirror => mirror.id.to_string(),
            Self::Target => mirror.target.clone(),
        }
    }

    /// The columns' heads.
    pub fn head(self) -> [&'static str; 5] {
        let name = match self {
            Self::Mirror => "MIRROR",
            Self::Target => "TARGET",
        };
        [name, "STATE", "LAG", "PENDING", "WHAT HAPPENS"]
    }
}

/// One mirror's cells, in the order of [`Naming::head`].
pub fn cells(mirror: &MirrorStatus, naming: Naming) -> [String; 5] {
    let state = match mirror.compared() {
        Some(progress) if mirror.state == MirrorState::Walking => {
            format!("{} {:.0}%", mirror.state.name(), progress * 100.0)
        }
        _ => mirror.state.name().to_string(),
    };
    let lag = match mirror.state {
        MirrorState::InSync => "-".to_string(),
        _ => short_duration(mirror.lag_seconds),
    };
    [naming.of(mirror), state, lag, mirror.pending_paths.to_string(), what_happens(mirror, naming)]
}

/// Why it is not in sync, and what comes next; how much was sent, if it is.
fn what_happens(mirror: &MirrorStatus, naming: Naming) -> String {
    let mut parts = Vec::new();
    if mirror.held_deletions > 0 {
        let count = count(mirror.held_deletions, "deletion", "deletions");
        parts.push(match naming {
            Naming::Mirror => format!("{count} held: mirrorball approve --list {}", mirror.id),
            // Without a configuration there may be nobody to approve them to.
            Naming::Target => format!("{count} held"),
        });
    }
    if let Some(until) =
        mirror.quiet_until.as_deref().filter(|_| mirror.state == MirrorState::Quiet)
    {
        let local = DateTime::parse_from_rfc3339(until).map(|at| at.with_timezone(&Local));
        let until =
            local.map_or_else(|_| until.to_string(), |at| at.format("%a %H:%M").to_string());
        parts.push(format!("nothing is begun before {until}"));
    }
    if let Some(error) = &mirror.last_error {
        // The log and the JSON have it whole.
        let short = error.strip_prefix("rsync: ").unwrap_or(error);
        parts.push(short.split(" (rsync code ").next().unwrap_or(short).to_string());
    }
    if let Some(stuck) = mirror.stuck.first().filter(|_| mirror.last_error.is_none()) {
        parts.push(format!("{}: {}", stuck.path, stuck.reason));
    }
    if let Some(seconds) = mirror.retry_in_seconds.filter(|_| mirror.last_error.is_some()) {
        parts.push(format!("next try in {}", short_duration(seconds)));
    }
    let repeats =
        mirror.repeats_in_seconds.filter(|_| parts.is_empty() && mirror.pending_paths == 0);
    if let Some(seconds) = repeats {
        let pause = short_duration(seconds);
        parts.push(format!(
            "pushed once more in {pause}, when nothing that was cut off can still land"
        ));
    }
    if let Some(why) = &mirror.hook_error {
        parts.push(format!("a hook failed: {why}"));
    }
    if let Some(walk) = &mirror.walk {
        parts.push(format!(
            "{} of {} pieces compared, {} of {} entries",
            walk.pieces_done, walk.pieces, walk.entries_done, walk.entries
        ));
    }
    if parts.is_empty() && mirror.state == MirrorState::Halted {
        return "its root is halted".into();
    }
    if parts.is_empty() {
        let bytes = bytesize::ByteSize::b(mirror.bytes_sent);
        let (pushes, walks) =
            (count(mirror.pushes, "push", "pushes"), count(mirror.walks, "walk", "walks"));
        parts.push(format!("{walks}, {pushes}, {bytes} sent"));
    }
    parts.join("; ")
}

/// `1 push`, `2 pushes`.
pub fn count(number: u64, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

/// What stands out, first: how many mirrors are in sync, and how far the worst lags.
pub fn headline(status: &Status, naming: Naming) -> String {
    let total = status.mirrors.len();
    let in_sync = status.mirrors.iter().filter(|m| m.state == MirrorState::InSync).count();
    // What waits for its time is as it should be.
    let lagging = status.mirrors.iter().filter(|m| m.state != MirrorState::Quiet);
    let worst = lagging.max_by(|a, b| a.lag_seconds.total_cmp(&b.lag_seconds));
    let mut line = format!("{in_sync} of {total} in sync");
    if let Some(worst) = worst.filter(|worst| worst.state != MirrorState::InSync) {
        let lag = short_duration(worst.lag_seconds);
        line.push_str(&format!(", worst {lag} on {}", naming.of(worst)));
    }
    if let Some(why) = &status.config.refused {
        line.push_str(&format!(
            "\nA newer configuration is refused: {}",
            why.lines().next().unwrap_or(why)
        ));
    }
    for root in status.roots.iter().filter(|root| root.state != RootState::Watching) {
        let reason = root.reason.as_deref().unwrap_or("its directories are being watched");
        let state = match root.state {
            RootState::Halted => "halted",
            RootState::Degraded => "degraded",
            RootState::Opening | RootState::Watching => "opening",
        };
        line.push_str(&format!("\n{} is {state}: {reason}", root.id));
    }
    line
}

/// What a person has to look at comes first, and then what lags most.
pub fn by_attention(a: &MirrorStatus, b: &MirrorStatus) -> Ordering {
    let rank = |mirror: &MirrorStatus| match mirror.state {
        MirrorState::Halted => 0,
        MirrorState::Retrying => 1,
        MirrorState::Waiting => 2,
        MirrorState::Paused => 3,
        MirrorState::Quiet => 4,
        MirrorState::Walking => 5,
        MirrorState::Pushing => 6,
        MirrorState::InSync => 7,
    };
    rank(a).cmp(&rank(b)).then(b.lag_seconds.total_cmp(&a.lag_seconds)).then(a.id.cmp(&b.id))
}

/// The whole status as lines, what needs attention first; where there is a width, none is longer.
pub fn text(status: &Status, naming: Naming, width: Option<usize>) -> String {
    let mut mirrors: Vec<&MirrorStatus> = status.mirrors.iter().collect();
    mirrors.sort_by(|a, b| by_attention(a, b));
    let mut rows: Vec<[String; 5]> = mirrors.into_iter().map(|m| cells(m, naming)).collect();
    let mut widths = naming.head().map(|head| head.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    if let Some(width) = width {
        let before: usize = widths[..4].iter().map(|it| it + 2).sum();
        let room = width.saturating_sub(before).max(ELIDED_MIN);
        rows.iter_mut().for_each(|[.., what]| *what = elide(what, room));
        widths[4] = widths[4].min(room);
    }
    let line = |row: [&str; 5]| {
        let padded = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_string()
    };
    let mut lines = vec![headline(status, naming), line(naming.head())];
    lines.extend(rows.iter().map(|row| line(row.each_ref().map(String::as_str))));
    lines.join("\n")
}

/// `350ms`, `4.2s`, `3m10s`, `2h5m`: short enough for a column.
pub fn short_duration(seconds: f64) -> String {
    let whole = Duration::from_secs_f64(seconds.max(0.0)).as_secs();
    match whole {
        0 => format!("{:.0}ms", seconds * 1000.0),
        1..=59 => format!("{seconds:.1}s"),
        60..=3599 => format!("{}m{}s", whole / 60, whole % 60),
        3600..=86_399 => format!("{}h{}m", whole / 3600, whole % 3600 / 60),
        _ => format!("{}d{}h", whole / 86_400, whole % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirrorball_core::data::ids::MirrorId;

    fn mirror(host: &str, state: MirrorState, lag_seconds: f64) -> MirrorStatus {
        let id = MirrorId::new(&"site".into(), &host.into());
        MirrorStatus {
            root: id.root.clone(),
            host: id.host.clone(),
            target: format!("{host}::site"),
            id,
            state,
            pending_paths: 3,
            lag_seconds,
            epoch: Default::default(),
            head: Default::default(),
            owes_walk: false,
            stuck: vec![],
            stuck_total: 0,
            repeated_paths: 0,
            held_deletions: 0,
            last_check: None,
            last_error: None,
            repeats_in_seconds: None,
            quiet_until: None,
            hook_error: None,
            retry_in_seconds: None,
            last_success: None,
            progress: None,
            walk: None,
            pushes: 2,
            walks: 1,
            failures: 0,
            bytes_sent: 2048,
            restarts: 0,
        }
    }

    #[test]
    fn the_table_says_what_stands_out_first() {
        let failing = MirrorStatus {
            last_error: Some("rsync: Connection refused (rsync code 10)".into()),
            retry_in_seconds: Some(4.0),
            ..mirror("web2", MirrorState::Retrying, 252.0)
        };
        let status = Status {
            mirrors: vec![mirror("web1", MirrorState::InSync, 0.0), failing],
            ..Status::default()
        };
        let expected = "\
1 of 2 in sync, worst 4m12s on site@web2
MIRROR     STATE     LAG    PENDING  WHAT HAPPENS
site@web2  retrying  4m12s  3        Connection refused; next try in 4.0s
site@web1  in-sync   -      3        1 walk, 2 pushes, 2.0 KiB sent";
        assert_eq!(text(&status, Naming::Mirror, None), expected);
        assert!(text(&status, Naming::Target, None).contains("\nweb2::site  retrying"));
        let narrow = text(&status, Naming::Mirror, Some(64));
        assert!(narrow.lines().all(|line| line.chars().count() <= 64), "{narrow}");
    }
}
