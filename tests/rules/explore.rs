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

const FILES: &[Kind] = &[Kind::New, Kind::EqualStamp];

const NOTHING: Budget = Budget {
    changes: 0,
    losses: 0,
    cuts: 0,
    fails: 0,
    crashes: 0,
    checks: 0,
    marks: 0,
    large: 0,
};

fn setting(budget: Budget) -> Setting {
    let paths = ["p", "q"];
    Setting { paths, mirrors: 1, budget, kinds: FILES, pushes_max: None, has_ceiling: false }
}

fn explore(name: &str, depth: usize, setting: &Setting) {
    let depth = std::env::var("EXPLORE").map_or(depth, |text| text.parse().expect("a depth"));
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
    explore("fail", 19, &setting(budget));
}

#[test]
fn a_run_that_is_cut_off_beside_a_check() {
    let budget = Budget { changes: 2, cuts: 1, checks: 1, ..NOTHING };
    explore("cut", 18, &setting(budget));
}

#[test]
fn an_unclean_stop() {
    let budget = Budget { changes: 2, crashes: 1, cuts: 1, ..NOTHING };
    explore("crash", 17, &setting(budget));
}

#[test]
fn an_unclean_stop_during_a_check() {
    let budget = Budget { changes: 1, crashes: 1, cuts: 1, checks: 1, ..NOTHING };
    explore("crash and check", 18, &setting(budget));
}

#[test]
fn a_lost_event_beside_a_run_that_is_cut_off() {
    let budget = Budget { changes: 1, losses: 1, cuts: 1, ..NOTHING };
    explore("lost event, cut", 18, &setting(budget));
}

#[test]
fn a_lost_event_beside_a_run_that_fails() {
    let budget = Budget { changes: 1, losses: 1, fails: 1, checks: 1, ..NOTHING };
    explore("lost event, fail", 18, &setting(budget));
}

#[test]
fn a_lost_event_before_an_unclean_stop() {
    let budget = Budget { changes: 1, losses: 1, crashes: 1, ..NOTHING };
    explore("lost event, crash", 18, &setting(budget));
}

#[test]
fn a_flush_beside_a_check_and_a_failure() {
    let budget = Budget { changes: 2, fails: 1, checks: 1, marks: 1, ..NOTHING };
    explore("flush, fail", 16, &setting(budget));
}

#[test]
fn a_flush_beside_a_check_and_a_cut() {
    let budget = Budget { changes: 2, cuts: 1, checks: 1, marks: 1, ..NOTHING };
    explore("flush, cut", 15, &setting(budget));
}

#[test]
fn scheduled_checks_without_end_repeat_nothing_without_end() {
    let budget = Budget { changes: 1, ..NOTHING };
    let setting = Setting { pushes_max: Some(2), ..setting(budget) };
    explore("checks without end", 60, &setting);
}

#[test]
fn files_that_are_deleted() {
    let kinds = &[Kind::New, Kind::Deleted];
    let budget = Budget { changes: 2, cuts: 1, checks: 1, ..NOTHING };
    explore("deletions", 16, &Setting { kinds, ..setting(budget) });
}

#[test]
fn files_in_a_directory() {
    let budget = Budget { changes: 2, fails: 1, cuts: 1, ..NOTHING };
    explore("directory", 16, &Setting { paths: ["d/p", "d/q"], ..setting(budget) });
}

#[test]
fn a_large_file() {
    let budget = Budget { changes: 2, cuts: 1, large: 1, ..NOTHING };
    explore("large", 18, &setting(budget));
}

#[test]
fn two_mirrors() {
    let budget = Budget { changes: 2, cuts: 1, ..NOTHING };
    explore("two mirrors", 13, &Setting { mirrors: 2, kinds: &[Kind::EqualStamp], ..setting(budget) });
}

#[test]
fn a_ceiling() {
    let budget = Budget { changes: 2, marks: 1, cuts: 1, ..NOTHING };
    let kinds = &[Kind::EqualStamp];
    explore("ceiling", 18, &Setting { has_ceiling: true, kinds, ..setting(budget) });
}
