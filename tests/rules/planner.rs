//! The planner alone: a batch is made and planned for a mirror that lags behind, its steps run on the model of rsync, and
//! what the end claims is checked against the trees. `CASES=N` makes more cases, from seed `FIRST`; `PLAN=SEED` runs one.
//!
//! The oracle is written from `docs/ledger.md`, and shares no code with the planner.

mod case;
mod drive;
mod oracle;

use std::sync::atomic::{AtomicU64, Ordering};

use self::case::Case;
use crate::{number, part_of};

/// As many as two cores check in half a minute.
const CASES: u64 = 250_000;

/// What is wrong with one case, and the whole of it.
fn check(seed: u64) -> Result<(), String> {
    let case = std::panic::catch_unwind(|| Case::new(seed));
    let case = case.map_err(|_| format!("PLAN={seed} can't be made"))?;
    let done = std::panic::catch_unwind(|| {
        let pushed = drive::push(&case);
        let wrong = oracle::judge(&case, &pushed).err();
        wrong.map(|wrong| format!("{wrong}\n{pushed}"))
    });
    match done {
        Ok(None) => Ok(()),
        Ok(Some(wrong)) => Err(format!("PLAN={seed} shows it: {wrong}{case}")),
        Err(_) => Err(format!("PLAN={seed} shows it: a panic\n{case}")),
    }
}

#[test]
fn what_the_end_of_a_push_claims_is_on_the_mirror_and_all_else_is_owed() {
    if let Some(seed) = number("PLAN") {
        let case = Case::new(seed);
        println!("{}{case}", drive::push(&case));
        return check(seed).unwrap_or_else(|wrong| panic!("{wrong}"));
    }
    let first = number("FIRST").unwrap_or(1);
    let end = first + number("CASES").unwrap_or_else(|| part_of(CASES));
    let next = AtomicU64::new(first);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return Ok(());
            }
            if let Err(wrong) = check(seed) {
                next.store(end, Ordering::Relaxed);
                return Err(wrong);
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let results: Vec<Result<(), String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|it| it.join().expect("panics are caught within")).collect()
    });
    if let Some(wrong) = results.into_iter().find_map(Result::err) {
        panic!("{wrong}");
    }
}
