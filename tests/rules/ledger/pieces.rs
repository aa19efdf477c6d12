//! Walks and checks in pieces.

use mirrorball_core::data::batch::Depth;
use mirrorball_core::data::change::Lane;
use mirrorball_core::data::outcome::{AssignmentEnd, Outcome};
use mirrorball_core::data::piece;
use mirrorball_core::data::status::WalkProgress;
use mirrorball_core::host::target_state::TargetState;
use mirrorball_core::root::ledger::Work;
use mirrorball_core::root::mirror::Terms;

use super::lab::{Lab, TERMS, lab_of};

const SLOW: Lane = Lane::Slow;

/// Three directories of ten entries each.
fn three() -> Vec<piece::Piece> {
    let counts = [("", 3), ("a", 10), ("b", 10), ("c", 10)];
    piece::cut(counts.map(|(path, own)| (path.into(), own)), 10, &[])
}

/// A mirror that was filled and is in doubt.
fn lab() -> Lab {
    let mut lab = lab_of(1000, Terms { piece_entries: Some(10), ..TERMS });
    let (now, id) = (lab.now(), lab.id().clone());
    lab.ledger.set_target(&id, TargetState::Filled);
    lab.ledger.owe_walk(now, &id);
    lab
}

fn cut(lab: Lab) -> Lab {
    let mut lab = lab.take_slow();
    let (now, id) = (lab.now(), lab.id().clone());
    let assigned = lab.state().assigned(SLOW).expect("it was handed out").id;
    lab.ledger.cut(now, &id, assigned, &three());
    lab.forget(SLOW)
}

fn expect_done(lab: Lab, pieces_done: usize, entries_done: u64) -> Lab {
    let progress = WalkProgress { pieces: 4, pieces_done, entries: 33, entries_done };
    assert_eq!(lab.state().walk_progress(), Some(progress));
    lab
}

#[test]
fn what_breaks_off_goes_on_with_the_piece_at_which_it_broke() {
    let mut lab = expect_done(cut(lab()), 0, 0);
    for done in 1..=3 {
        lab = expect_done(lab.take_slow().done_slow(), done, 10 * done as u64);
    }
    let lab = lab.take_slow().cut_off(SLOW);
    let lab = expect_done(lab, 3, 30).expect_not_in_sync();
    let lab = lab.take_slow().done_slow();
    assert_eq!(lab.state().walk_progress(), None);
    lab.settle().wait(super::lab::LIFE).settle().expect_in_sync();
}

#[test]
fn a_doubt_that_comes_meanwhile_means_all_pieces_once_more() {
    let lab = cut(lab()).take_slow().done_slow();
    let mut lab = expect_done(lab, 1, 10);
    let (now, id) = (lab.now(), lab.id().clone());
    lab.ledger.owe_walk(now, &id);
    // It is behind the pieces that are left, and covers them.
    let lab = expect_done(lab.take_slow().done_slow(), 2, 20).take_slow().done_slow();
    let lab = lab.take_slow().done_slow();
    expect_done(cut(lab), 0, 0).expect_not_in_sync().settle().expect_in_sync();
}

#[test]
fn a_failed_path_of_one_piece_does_not_hold_up_the_others() {
    let lab = cut(lab().change("a/x").seal().push());
    let lab = expect_done(lab.take_slow().fail(SLOW, "a/x"), 1, 10);
    expect_done(lab.take_slow().done_slow(), 2, 20).expect_not_in_sync();
}

#[test]
fn a_first_contact_is_one_run_unless_it_breaks_off() {
    let mut lab = lab();
    let id = lab.id().clone();
    lab.ledger.set_target(&id, TargetState::Exists);
    let cuts = |lab: &Lab| {
        let assigned = lab.assignment(SLOW);
        let Work::Compare(compare) = &assigned.work else { panic!("it sends") };
        lab.ledger.is_to_be_cut(lab.id(), compare, 33, false)
    };
    lab = lab.take_slow();
    assert!(!cuts(&lab));
    lab = lab.cut_off(SLOW).take_slow();
    assert!(cuts(&lab));
}

#[test]
fn a_check_in_pieces_leaves_the_mirror_in_sync() {
    let lab = lab().settle().check_due(Depth::Contents);
    let lab = expect_done(cut(lab), 0, 0).expect_in_sync().take_slow();
    let lab = lab.expect_compared(Depth::Contents).end(SLOW, AssignmentEnd::new(Outcome::Done));
    expect_done(lab, 1, 10).expect_in_sync();
}
