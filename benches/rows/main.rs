//! Rows of figures: mirrorball beside lsyncd, a loop of inotifywait and rsync, and bare rsync, in one run.
//!
//! `make bench` runs all and writes docs/benchmarks.md; `make bench ROW=latency` runs one; `RUNS=5` repeats.

#![allow(
    clippy::pedantic,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub,
    dead_code
)]

#[path = "../../tests/system/support/mod.rs"]
mod support;

mod frugal;
mod measure;
mod programs;
mod report;
mod rows;
mod world;

fn main() {
    let wanted = std::env::var("ROW").ok().filter(|row| !row.is_empty());
    let runs = std::env::var("RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(3);
    let mut rows = Vec::new();
    for (name, run) in rows::ALL {
        if wanted.as_deref().is_none_or(|wanted| wanted == *name) {
            println!("{name}");
            let row = run(runs);
            print!("{}", report::terminal(&row));
            rows.push(row);
            if wanted.is_none() {
                // After each, so that one that fails costs no other.
                std::fs::write("docs/benchmarks.md", report::markdown(&rows, runs)).unwrap();
            }
        }
    }
    assert!(!rows.is_empty(), "no such row; there are: {}", rows::names());
}
