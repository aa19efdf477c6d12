//! The table, for the terminal and for docs/benchmarks.md.

use std::fmt::Write;
use std::process::Command;

use crate::measure::Figures;

/// One row: each program's figures, by name, the floor last.
pub struct Row {
    pub name: &'static str,
    pub work: &'static str,
    pub columns: Vec<(&'static str, Figures)>,
    pub remark: String,
}

pub fn terminal(row: &Row) -> String {
    let mut text = String::new();
    for (name, figures) in &row.columns {
        writeln!(text, "  {name:<28} {}", cells(figures, row).join("  ")).unwrap();
    }
    if !row.remark.is_empty() {
        writeln!(text, "  {}", row.remark).unwrap();
    }
    text
}

pub fn markdown(rows: &[Row], runs: usize) -> String {
    let mut text = format!(
        "# Benchmarks\n\nWritten by `make bench`: medians of {runs} runs, all programs in one run, on loopback. {}\n\nTime is \
         until every mirror holds what was done; its ratio is to mirrorball's (above 1: slower than mirrorball). CPU is of the program and its \
         children, without servers. Memory is the program's peak.\n",
        machine()
    );
    for row in rows {
        writeln!(text, "\n## {}\n\n{}.\n", row.name, row.work).unwrap();
        writeln!(
            text,
            "| | time | ratio | CPU | memory | sent |\n| --- | --- | --- | --- | --- | --- |"
        )
        .unwrap();
        for (name, figures) in &row.columns {
            writeln!(text, "| {name} | {} |", cells(figures, row).join(" | ")).unwrap();
        }
        if !row.remark.is_empty() {
            writeln!(text, "\n{}", row.remark).unwrap();
        }
        writeln!(text, "\n{}", bound_by(row.name)).unwrap();
    }
    text
}

/// What bounds a row now.
fn bound_by(row: &str) -> &'static str {
    match row {
        "latency" | "latency-ssh" | "latency-local" => {
            "Bound by a connected rsync: list, request, data. What is ours is the way from the kernel's event to that list."
        }
        "bigdir" => "Bound as the row before: nothing looks at the directory.",
        "burst" => {
            "Bound by 50 ms of quiet and one rsync that reads its list byte by byte, two system calls each. That run alone takes too long for a fortieth of \
             lsyncd's time."
        }
        "churn" => {
            "Bound by the processor: four rsyncs and their servers share the cores with the writer."
        }
        "rename-dir" => {
            "Bound by four runs of rsync: real directories, links, comparison, and the deletion, which is counted first."
        }
        "fan-out" => {
            "Bound by thirty rsyncs, each started once for each change: a process costs what it costs, and half of lsyncd's CPU is less than that."
        }
        "hung" => "Bound by the events themselves.",
        "start" => {
            "Bound by the walk, and by the scan that sets the watches beside it: both want the two processors."
        }
        "restart" => "Bound by one scan, and one rsync for each mirror.",
        "million" => {
            "Bound by opening, watching and listing each directory, on a few threads, and by telling afterwards that what was opened is what its name means. The walk begins after it: with so many files both would wait for the same processors."
        }
        "storm" => "Bound by reading events. What was written since the last push is pushed once.",
        "first" => "Bound by rsync; the scan beside it is ours.",
        "frugal" => {
            "The wake-ups are actix-http's clock, twice a second, for the date of answers, and the slow look at who the source is (hard case 26)."
        }
        _ => "",
    }
}

fn cells(figures: &Figures, row: &Row) -> [String; 5] {
    let own = &row.columns[0].1;
    let ratio = figures.seconds / own.seconds;
    [
        time(figures.seconds),
        if own.seconds > 0.0 && figures.seconds > 0.0 {
            format!("{ratio:.2}")
        } else {
            "–".into()
        },
        figures.cpu.map_or("–".into(), time),
        figures.peak_bytes.map_or("–".into(), bytes),
        figures.bytes_sent.map_or("–".into(), bytes),
    ]
}

fn time(seconds: f64) -> String {
    match seconds {
        0.0..1.0 => format!("{:.1} ms", seconds * 1000.0),
        _ => format!("{seconds:.2} s"),
    }
}

fn bytes(bytes: u64) -> String {
    bytesize::ByteSize(bytes).to_string()
}

fn machine() -> String {
    let first = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output().unwrap();
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .next()
            .unwrap_or_default()
            .trim()
            .to_string()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{cores} cores, Linux {}, {}, lsyncd {}.",
        first("uname", "-r").split('.').take(2).collect::<Vec<_>>().join("."),
        first("rsync", "--version").split("  protocol").next().unwrap_or_default(),
        first("lsyncd", "-version").trim_start_matches("Version: ")
    )
}
