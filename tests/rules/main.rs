//! The rules of `mirrorball-core`, without the rest: properties, models, the simulation, and the layering.

#![allow(
    clippy::pedantic,
    clippy::print_stdout,
    clippy::should_implement_trait,
    clippy::too_many_arguments,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub
)]

mod change_log;
mod cost;
mod explore;
// A line of a story holds several steps.
#[rustfmt::skip]
mod ledger;
#[path = "../model/mod.rs"]
mod model;
mod model_runs;
mod planner;
mod simulation;
mod tidy;
mod watch_table;

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// How much of this many random cases or explored states is tried: all of it, or one in `PART`, as `make check` does.
fn part_of(all: u64) -> u64 {
    all.div_ceil(number("PART").unwrap_or(1))
}
