//! The collator, driven by hand.

use std::time::Duration;

use super::*;
use crate::data::outcome::Extra;
use crate::data::plan::RetryPlan;
use crate::data::status::RootState;
use crate::root::deletions::DeletionTerms;
use crate::root::epoch::tests::{WAITS, at};
use crate::root::ledger::Work;
use crate::source::entry_count::{Unit, UnitChange};

const TERMS: Terms = Terms {
    retry: RetryPlan { first: Duration::from_secs(1), max: Duration::from_secs(60) },
    receiver_life: Duration::from_secs(120),
    is_durable: false,
    piece_entries: None,
};

fn mirror() -> MirrorId {
    MirrorId::new(&"site".into(), &"web".into())
}

fn account() -> DeletionAccount {
    let terms = DeletionTerms {
        max_delete: None,
        window: Duration::from_secs(3600),
        may_be_empty: false,
        free_to_delete: Vec::new(),
    };
    DeletionAccount::new(terms, at(0))
}

fn collator() -> Collator {
    let mut collator = Collator::new(at(0), 1, WAITS, account(), [(mirror(), TERMS)]);
    collator.handle_watching(at(0));
    collator
}

fn change(path: &str) -> Vec<Change> {
    vec![Change::new(path.into(), Kinds::CONTENT)]
}

fn drain(collator: &mut Collator) -> Vec<Effect> {
    let effects = std::iter::from_fn(|| collator.poll_effect());
    effects.filter(|e| !matches!(e, Effect::Report | Effect::Remember(..))).collect()
}

fn take(collator: &mut Collator, ms: u64, lane: Lane) -> Option<Assignment> {
    drain(collator);
    collator.handle_take(at(ms), &mirror(), lane);
    match drain(collator).pop() {
        Some(Effect::Make(_, assignment)) => Some(assignment),
        _ => None,
    }
}

fn end(outcome: Outcome) -> AssignmentEnd {
    AssignmentEnd::new(outcome)
}

fn settled(collator: &Collator) -> bool {
    collator.report().mirrors[0].2
}

fn walk(collator: &mut Collator, ms: u64) {
    let assignment = take(collator, ms, Lane::Slow).expect("a walk is owed");
    collator.handle_ended(at(ms), &mirror(), assignment.id, &end(Outcome::Done));
}

#[test]
fn a_mirror_is_settled_only_when_nothing_is_open_sealed_or_owed() {
    let mut collator = collator();
    assert!(!settled(&collator), "it owes its first walk");
    walk(&mut collator, 1);
    assert!(settled(&collator));
    collator.handle_changed(at(10), change("a"), false);
    assert!(!settled(&collator), "a change is open");
    collator.handle_timeout(at(60));
    assert!(!settled(&collator), "an epoch is sealed");
    let assignment = take(&mut collator, 61, Lane::Fresh).expect("there is a change");
    assert!(!settled(&collator), "a push is under way");
    collator.handle_ended(at(70), &mirror(), assignment.id, &end(Outcome::Done));
    assert!(settled(&collator));
    collator.handle_changed(at(80), vec![], true);
    assert!(!settled(&collator), "a new directory is being watched");
}

#[test]
fn hard_case_6_an_open_file_is_pending_and_a_mark_releases_it() {
    let mut collator = collator();
    walk(&mut collator, 1);
    let open = Change::new("log".into(), Kinds::OPEN | Kinds::CONTENT);
    collator.handle_changed(at(1000), vec![open], false);
    let (_, standing, settled) = &collator.report().mirrors[0];
    assert!(!settled);
    assert_eq!((standing.pending, standing.behind_since), (1, Some(at(1000))));
    let epoch = collator.handle_mark(at(1500));
    let assignment = take(&mut collator, 1500, Lane::Fresh).expect("the mark released it");
    assert_eq!(assignment.to, epoch);
    assert!(matches!(assignment.work, Work::Push(entries) if entries.len() == 1));
}

#[test]
fn hard_case_15_a_directory_that_should_have_been_there_means_a_walk() {
    let mut collator = collator();
    walk(&mut collator, 1);
    collator.handle_changed(at(10), change("a/b/c"), false);
    collator.handle_timeout(at(60));
    let assignment = take(&mut collator, 61, Lane::Fresh).expect("there is a change");
    let surprised = AssignmentEnd { surprises: vec!["a/b".into()], ..end(Outcome::Done) };
    collator.handle_ended(at(70), &mirror(), assignment.id, &surprised);
    assert!(drain(&mut collator).contains(&Effect::Nudge(mirror(), Lane::Slow)));
}

#[test]
fn a_directory_that_is_dirty_anyway_surprises_nobody() {
    let mut collator = collator();
    walk(&mut collator, 1);
    collator.handle_changed(at(10), change("a/b/c"), false);
    collator.handle_timeout(at(60));
    let assignment = take(&mut collator, 61, Lane::Fresh).expect("there is a change");
    let came = Change::new("a".into(), Kinds::CAME | Kinds::SUBTREE);
    collator.handle_changed(at(65), vec![came], false);
    let surprised = AssignmentEnd { surprises: vec!["a/b".into()], ..end(Outcome::Done) };
    collator.handle_ended(at(70), &mirror(), assignment.id, &surprised);
    assert!(!drain(&mut collator).contains(&Effect::Nudge(mirror(), Lane::Slow)));
}

#[test]
fn hard_case_4_lost_events_mean_a_walk_that_starts_when_everything_is_watched_again() {
    let mut collator = collator();
    walk(&mut collator, 1);
    collator.handle_watch_lost(at(2));
    assert_eq!(take(&mut collator, 3, Lane::Fresh), None, "not before it is watched again");
    collator.handle_watching(at(4));
    assert_eq!(take(&mut collator, 5, Lane::Fresh), None, "it is nothing for the fresh lane");
    assert!(!settled(&collator));
    walk(&mut collator, 6);
    assert!(settled(&collator));
}

#[test]
fn what_came_while_a_walk_was_under_way_is_deleted_when_it_goes() {
    let mut collator = collator();
    let assignment = take(&mut collator, 1, Lane::Slow).expect("the first walk");
    let created = Change::new("t".into(), Kinds::CAME | Kinds::OPEN | Kinds::CONTENT);
    collator.handle_changed(at(2), vec![created], false);
    collator.handle_ended(at(3), &mirror(), assignment.id, &end(Outcome::Done));
    collator.handle_changed(at(4), vec![Change::new("t".into(), Kinds::WENT)], false);
    collator.handle_timeout(at(60));
    let assignment = take(&mut collator, 61, Lane::Fresh).expect("the walk may have sent it");
    let Work::Push(entries) = assignment.work else { panic!("it is a push") };
    assert!(entries.iter().any(|(path, _)| *path == "t".into()));
}

#[test]
fn a_halted_root_hands_out_nothing() {
    let mut collator = collator();
    collator.handle_halt(at(1), "gone".into());
    assert_eq!(take(&mut collator, 2, Lane::Slow), None);
    assert_eq!(collator.report().state, RootState::Halted);
}

/// A directory of a hundred entries is lost and made anew; then a run compares it with what the mirror has there.
fn remade(collator: &mut Collator, found: u64) -> Option<Assignment> {
    walk(collator, 1);
    let unit = Unit::Directory("d".into());
    collator.handle_levels(at(2), vec![UnitChange { unit, now: Some(200), moved: 0 }]);
    let mut changes: Vec<Change> =
        (0..100).map(|it| Change::new(format!("d/{it:03}").as_str().into(), Kinds::WENT)).collect();
    changes.push(Change::new("d".into(), Kinds::WENT | Kinds::SUBTREE));
    changes.push(Change::new("d".into(), Kinds::CAME | Kinds::SUBTREE));
    collator.handle_changed(at(10), changes, false);
    collator.handle_timeout(at(100));
    let assignment = take(collator, 101, Lane::Fresh).expect("there is a change");
    let extras = vec![Extra { path: "d/old".into(), entries: found }];
    let end = AssignmentEnd { extras, ..end(Outcome::Done) };
    collator.handle_ended(at(110), &mirror(), assignment.id, &end);
    take(collator, 111, Lane::Fresh)
}

/// What is left of the extras of an assignment when those that wait are taken out.
fn extras_handed_out(collator: &mut Collator, assignment: &Assignment) -> usize {
    let extras = assignment.found_extra.clone();
    let made = Made { batch: Arc::new(Batch { extras, ..Batch::default() }), left_out: vec![] };
    let batch = collator.handle_made(at(112), &mirror(), assignment.id, &made);
    batch.map_or(0, |batch| batch.extras.len())
}

#[test]
fn what_the_source_lost_is_no_extra_when_a_comparison_finds_it() {
    let terms = DeletionTerms { max_delete: Some(5), ..account().terms().clone() };
    let start = || {
        let mut collator = collator();
        collator.set_deletion_terms(at(0), terms.clone());
        collator
    };
    let mut collator = start();
    let assignment = remade(&mut collator, 101).expect("it was found");
    assert_eq!(extras_handed_out(&mut collator, &assignment), 1);
    let mut collator = start();
    let assignment = remade(&mut collator, 107).expect("it was found");
    assert_eq!(extras_handed_out(&mut collator, &assignment), 0, "six are more than may go");
}

#[test]
fn changes_become_one_epoch_while_no_mirror_can_take_them() {
    let mut collator = collator();
    walk(&mut collator, 1);
    collator.handle_changed(at(10), change("a"), false);
    collator.handle_timeout(at(60));
    let assignment = take(&mut collator, 61, Lane::Fresh).expect("there is a change");
    for ms in (100..900).step_by(100) {
        collator.handle_changed(at(ms), change(&format!("f{ms}")), false);
        collator.handle_timeout(at(ms + 60));
    }
    assert_eq!(collator.report().head, assignment.to, "its only mirror is busy");
    assert_eq!(collator.poll_timeout(at(870)), Some(at(1100)), "`max_age` holds all the same");
    collator.handle_ended(at(900), &mirror(), assignment.id, &end(Outcome::Done));
    assert!(drain(&mut collator).contains(&Effect::Nudge(mirror(), Lane::Fresh)));
    let next = take(&mut collator, 900, Lane::Fresh).expect("the mirror can take it");
    assert!(matches!(next.work, Work::Push(entries) if entries.len() == 8));
    assert_eq!(next.to, assignment.to.next());
    collator.handle_changed(at(1000), change("b"), false);
    assert_eq!(collator.handle_mark(at(1001)), next.to.next(), "a flush does not wait");
    collator.handle_changed(at(1010), change("c"), false);
    collator.handle_timeout(at(2010));
    assert_eq!(collator.report().head, next.to.next().next());
}

#[test]
fn a_mirror_that_was_told_of_work_takes_what_has_settled_since() {
    let mut collator = collator();
    walk(&mut collator, 1);
    for ms in [10, 100] {
        collator.handle_changed(at(ms), change(&format!("f{ms}")), false);
        collator.handle_timeout(at(ms + 60));
    }
    assert_eq!(collator.report().head, Epoch(1), "its host has not come for the first yet");
    let assignment = take(&mut collator, 200, Lane::Fresh).expect("there are changes");
    assert!(matches!(assignment.work, Work::Push(entries) if entries.len() == 2));
}

/// So many entries are in the only directory of the root.
fn level(collator: &mut Collator, ms: u64, entries: u64) {
    let unit = Unit::Directory("d".into());
    collator.handle_levels(at(ms), vec![UnitChange { unit, now: Some(entries), moved: 0 }]);
}

/// The batch that is handed out of an assignment that names lost files.
fn handed_out(collator: &mut Collator, ms: u64, assignment: &Assignment) -> Option<Arc<Batch>> {
    let Work::Push(entries) = &assignment.work else { panic!("it is a push") };
    let is_file = |path: &&RelPath| path.parent().is_some_and(|it| !it.is_root());
    let missing: Vec<RelPath> = entries.iter().map(|(it, _)| it).filter(is_file).cloned().collect();
    let made = Made { batch: Arc::new(Batch { missing, ..Batch::default() }), left_out: vec![] };
    collator.handle_made(at(ms), &mirror(), assignment.id, &made)
}

#[test]
fn hard_case_38_a_run_that_deletes_is_withdrawn_when_its_deletions_begin_to_wait() {
    let mut collator = collator();
    let terms = DeletionTerms { max_delete: Some(5), ..account().terms().clone() };
    collator.set_deletion_terms(at(0), terms);
    level(&mut collator, 0, 100);
    walk(&mut collator, 1);
    let lose = |collator: &mut Collator, ms, file: &str, entries| {
        let went = Change::new(file.into(), Kinds::WENT);
        level(collator, ms, entries);
        collator.handle_changed(at(ms), vec![went], false);
        collator.handle_timeout(at(ms + 60));
    };
    lose(&mut collator, 10, "d/a", 99);
    let assignment = take(&mut collator, 80, Lane::Fresh).expect("a file went");
    assert!(handed_out(&mut collator, 80, &assignment).is_some());
    drain(&mut collator);
    lose(&mut collator, 100, "d/b", 98);
    let is_withdrawal = |it: &Effect| matches!(it, Effect::Withdraw(..));
    assert!(!drain(&mut collator).iter().any(is_withdrawal), "two may go");
    lose(&mut collator, 200, "d/c", 50);
    assert!(drain(&mut collator).contains(&Effect::Withdraw(mirror(), assignment.id)));
    let cut_off = end(Outcome::Withdrawn { cut_off: true });
    collator.handle_ended(at(300), &mirror(), assignment.id, &cut_off);
    let again = take(&mut collator, 301, Lane::Fresh).expect("it is owed");
    assert_eq!(handed_out(&mut collator, 301, &again), None, "all of it waits");
}

#[test]
fn an_approval_is_forgotten_when_all_mirrors_hold_everything() {
    let mut collator = collator();
    let terms = DeletionTerms { max_delete: Some(5), ..account().terms().clone() };
    collator.set_deletion_terms(at(0), terms);
    level(&mut collator, 0, 100);
    walk(&mut collator, 1);
    level(&mut collator, 10, 50);
    let went = Change::new("d/a".into(), Kinds::WENT);
    collator.handle_changed(at(10), vec![went], false);
    collator.handle_timeout(at(80));
    let assignment = take(&mut collator, 80, Lane::Fresh).expect("a file went");
    assert_eq!(handed_out(&mut collator, 80, &assignment), None, "it waits");
    let number = collator.waiting_deletions().expect("it is listed").shown.number;
    collator.approve_deletions(at(90), number).expect("it was shown just now");
    let assignment = take(&mut collator, 91, Lane::Fresh).expect("it was approved");
    assert!(handed_out(&mut collator, 91, &assignment).is_some());
    assert!(collator.account.has_approvals());
    collator.handle_ended(at(100), &mirror(), assignment.id, &end(Outcome::Done));
    assert!(settled(&collator));
    // The host may lose a deletion of just now, which is then made again.
    collator.handle_changed(at(3_600_000), change("x"), false);
    collator.handle_timeout(at(3_600_060));
    let assignment = take(&mut collator, 3_600_060, Lane::Fresh).expect("a file changed");
    collator.handle_ended(at(3_600_070), &mirror(), assignment.id, &end(Outcome::Done));
    assert!(!collator.account.has_approvals());
}
