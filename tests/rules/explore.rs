//! Every interleaving in a small world, for the real ledger: two files, one or two mirrors, two lanes, and few events. In
//! each state a mirror that is called in sync holds what the source holds and keeps it, and a flush is neither early nor
//! undone; without further events every way ends, in sync.
//!
//! `EXPLORE=DEPTH cargo test --test rules explore` explores deeper than `make test` does.

mod form;
mod search;
mod world;

use self::search::Explored;
use self::world::{Budget, Kind, Setting};
use crate::number;

const FILES: &[Kind] = &[Kind::New, Kind::EqualStamp];

const NOTHING: Budget =
    Budget { changes: 0, losses: 0, cuts: 0, fails: 0, crashes: 0, checks: 0, marks: 0, large: 0 };

/// No world is so deep.
const ALL: usize = 200;

fn setting(budget: Budget) -> Setting {
    Setting {
        paths: ["p", "q"],
        mirrors: 1,
        budget,
        kinds: FILES,
        changes_one: false,
        pushes_max: None,
        has_ceiling: false,
    }
}

fn explore(name: &str, depth: usize, setting: &Setting) {
    let depth = number("EXPLORE").map_or(depth, |depth| depth as usize);
    let started = std::time::Instant::now();
    let Explored { states, depth, is_complete, wrong } = search::explore(setting, depth);
    let all = if is_complete { "all" } else { "not all" };
    let seconds = started.elapsed().as_secs_f32();
    println!("{name}: {states} states to depth {depth}, {all} of them, {seconds:.1} s");
    if let Some(wrong) = wrong {
        panic!("{name}: {wrong}");
    }
}

#[test]
fn a_run_that_ends_without_proof_beside_a_check() {
    let budget = Budget { changes: 2, fails: 1, checks: 1, ..NOTHING };
    explore("fail", ALL, &setting(budget));
}

#[test]
fn a_run_that_is_cut_off_beside_a_check() {
    let budget = Budget { changes: 2, cuts: 1, checks: 1, ..NOTHING };
    explore("cut", ALL, &setting(budget));
}

#[test]
fn an_unclean_stop() {
    let budget = Budget { changes: 2, crashes: 1, cuts: 1, ..NOTHING };
    explore("crash", 18, &setting(budget));
}

#[test]
fn an_unclean_stop_during_a_check() {
    let budget = Budget { changes: 1, crashes: 1, cuts: 1, checks: 1, ..NOTHING };
    explore("crash and check", ALL, &setting(budget));
}

#[test]
fn a_lost_event_beside_a_run_that_is_cut_off() {
    let budget = Budget { changes: 1, losses: 1, cuts: 1, ..NOTHING };
    explore("lost event, cut", ALL, &setting(budget));
}

#[test]
fn a_lost_event_beside_a_run_that_fails() {
    let budget = Budget { changes: 1, losses: 1, fails: 1, checks: 1, ..NOTHING };
    explore("lost event, fail", ALL, &setting(budget));
}

#[test]
fn a_lost_event_before_an_unclean_stop() {
    let budget = Budget { changes: 1, losses: 1, crashes: 1, ..NOTHING };
    explore("lost event, crash", ALL, &setting(budget));
}

#[test]
fn a_flush_beside_a_check_and_a_failure() {
    let budget = Budget { changes: 2, fails: 1, checks: 1, marks: 1, ..NOTHING };
    explore("flush, fail", ALL, &setting(budget));
}

#[test]
fn a_flush_beside_a_check_and_a_cut() {
    let budget = Budget { changes: 2, cuts: 1, checks: 1, marks: 1, ..NOTHING };
    explore("flush, cut", 14, &setting(budget));
}

#[test]
fn scheduled_checks_without_end_repeat_nothing_without_end() {
    let budget = Budget { changes: 1, ..NOTHING };
    let setting = Setting { pushes_max: Some(2), ..setting(budget) };
    explore("checks without end", ALL, &setting);
}

#[test]
fn files_that_are_deleted() {
    let kinds = &[Kind::New, Kind::Deleted];
    let budget = Budget { changes: 2, cuts: 1, checks: 1, ..NOTHING };
    explore("deletions", ALL, &Setting { kinds, ..setting(budget) });
}

#[test]
fn files_in_a_directory() {
    let budget = Budget { changes: 2, fails: 1, cuts: 1, ..NOTHING };
    explore("directory", ALL, &Setting { paths: ["d/p", "d/q"], ..setting(budget) });
}

#[test]
fn a_large_file() {
    let budget = Budget { changes: 2, cuts: 1, fails: 1, large: 1, marks: 1, ..NOTHING };
    explore("large", ALL, &setting(budget));
}

#[test]
fn a_large_file_beside_a_check() {
    let budget = Budget { changes: 1, cuts: 1, checks: 1, large: 1, ..NOTHING };
    explore("large, check", ALL, &setting(budget));
}

#[test]
fn two_runs_that_are_cut_off() {
    let budget = Budget { changes: 2, cuts: 2, marks: 1, ..NOTHING };
    explore("two cuts", ALL, &setting(budget));
}

#[test]
fn a_lost_event_beside_a_check_and_a_cut() {
    let budget = Budget { changes: 1, losses: 1, cuts: 1, checks: 1, ..NOTHING };
    explore("lost event, check, cut", ALL, &setting(budget));
}

#[test]
fn two_mirrors() {
    let budget = Budget { changes: 2, cuts: 1, fails: 1, ..NOTHING };
    explore("two mirrors", ALL, &Setting { mirrors: 2, ..setting(budget) });
}

#[test]
fn a_ceiling() {
    let budget = Budget { changes: 2, marks: 1, cuts: 1, fails: 1, ..NOTHING };
    let kinds = &[Kind::EqualStamp];
    explore("ceiling", ALL, &Setting { has_ceiling: true, kinds, ..setting(budget) });
}

#[test]
fn a_flush_while_one_file_changes_again_and_again() {
    let budget = Budget { changes: 3, marks: 1, cuts: 1, ..NOTHING };
    let kinds = &[Kind::EqualStamp];
    explore("flush, hot file", ALL, &Setting { changes_one: true, kinds, ..setting(budget) });
}

#[test]
fn a_flush_while_one_file_changes_beside_a_check() {
    let budget = Budget { changes: 3, marks: 1, checks: 1, fails: 1, ..NOTHING };
    explore("flush, hot file, check", 15, &Setting { changes_one: true, ..setting(budget) });
}
