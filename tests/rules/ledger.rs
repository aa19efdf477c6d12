//! The rules of the ledger as stories. `explore` tries every interleaving of a small world; here are the ones that have a
//! name, and what does not fit into a small world.

pub mod lab;
mod pieces;

use std::collections::BTreeMap;
use std::iter;

use mirrorball_core::data::batch::Depth;
use mirrorball_core::host::target_state::TargetState;
use mirrorball_core::data::change::{Epoch, Lane};
use mirrorball_core::data::ids::MirrorId;
use mirrorball_core::data::limits::BACKLOG_MAX;
use mirrorball_core::data::need::Need;
use mirrorball_core::data::outcome::{AssignmentEnd, Extra, Outcome, Unproved};
use mirrorball_core::root::backlog::Cause;
use mirrorball_core::root::ledger::LeftOutWhy;
use mirrorball_core::root::mirror::Terms;

use self::lab::{LIFE, TERMS, lab, lab_of};

const FRESH: Lane = Lane::Fresh;
const SLOW: Lane = Lane::Slow;

#[test]
fn hard_case_14_a_push_that_is_cut_off_is_repeated_when_its_receiver_must_be_dead() {
    lab()
        .change("a")
        .seal()
        .take_fresh()
        .cut_off(FRESH)
        .change_unseen("a")
        .seal()
        .push()
        .expect_not_in_sync()
        .late_writes_land()
        .wait(LIFE - 1)
        .expect_idle(FRESH)
        .expect_not_in_sync()
        .wait(1)
        .take_fresh()
        .expect_sent(FRESH, &[".", "a"])
        .done_fresh()
        .expect_in_sync();
}

#[test]
fn hard_case_14_a_push_that_is_cut_off_and_did_not_change_since_needs_no_repetition() {
    lab()
        .change("a")
        .seal()
        .take_fresh()
        .cut_off(FRESH)
        .push()
        .expect_in_sync()
        .late_writes_land()
        .expect_in_sync()
        .wait(LIFE)
        .take_fresh()
        .expect_need(FRESH, "", Need::LEFTOVERS)
        .done_fresh()
        .expect_in_sync();
}

#[test]
fn hard_case_20_a_change_that_is_pushed_during_a_walk_is_pushed_again_after_it() {
    lab()
        .change("a")
        .begin_check()
        .change_unseen("a")
        .seal()
        .push()
        .expect_not_in_sync()
        .done_slow()
        .take_fresh()
        .expect_sent(FRESH, &["a"])
        .done_fresh()
        .expect_in_sync();
}

#[test]
fn hard_case_22_recent_pushes_are_repeated_after_a_long_outage() {
    lab()
        .change("long-ago")
        .seal()
        .push()
        .wait(400)
        .change("lately")
        .seal()
        .push()
        .wait(10)
        .change("during")
        .seal()
        .take_fresh()
        .find_host_away(FRESH)
        .wait(100)
        .take_fresh()
        .expect_sent(FRESH, &["during"])
        .done_fresh()
        .take_fresh()
        .expect_need(FRESH, "lately", Need::CONTENTS)
        .expect_sent(FRESH, &["lately"])
        .done_fresh()
        .expect_in_sync();
}

#[test]
fn hard_case_22_a_short_outage_or_a_host_that_syncs_needs_no_repetition() {
    for (is_durable, seconds) in [(false, 5), (true, 100)] {
        lab_of(1000, Terms { is_durable, ..TERMS })
            .change("lately")
            .seal()
            .push()
            .wait(10)
            .change("during")
            .seal()
            .take_fresh()
            .find_host_away(FRESH)
            .wait(seconds)
            .push()
            .expect_idle(FRESH)
            .expect_in_sync();
    }
}

#[test]
fn hard_case_43_a_large_file_waits_for_the_push_that_makes_its_directory() {
    lab()
        .change("d/big")
        .change("d/small")
        .seal()
        .take_fresh()
        .leave_out(&["d/big"], &LeftOutWhy::Large)
        .expect_idle(SLOW)
        .done_fresh()
        .expect_not_in_sync()
        .take_slow()
        .expect_sent(SLOW, &["d/big"])
        .done_slow()
        .take_fresh()
        .expect_sent(FRESH, &["d"])
        .expect_need(FRESH, "d", Need::ATTRIBUTES)
        .done_fresh()
        .expect_in_sync();
}

#[test]
fn a_large_file_that_changes_while_it_is_sent_is_not_sent_twice_at_once() {
    lab()
        .change("big")
        .seal()
        .take_fresh()
        .leave_out(&["big"], &LeftOutWhy::Large)
        .take_slow()
        .change("big")
        .seal()
        .take_nothing_fresh()
        .expect_not_in_sync()
        .done_slow()
        .take_slow()
        .expect_sent(SLOW, &["big"])
        .done_slow()
        .settle()
        .expect_in_sync();
}

#[test]
fn hard_case_62_a_writer_that_fails_after_a_push_of_the_same_path_repeats_that_push() {
    // The comparison reads the second contents, the push brings the third, the comparison puts the second over it.
    let lab = lab()
        .change("p")
        .change("q")
        .begin_check()
        .change_unseen("p")
        .seal()
        .take_fresh()
        .write(FRESH)
        .fail(SLOW, "q")
        .done_fresh()
        .expect_not_in_sync();
    assert!(!lab.is_equal(), "the comparison has written last");
    lab.take_fresh()
        .expect_sent(FRESH, &["p", "q"])
        .done_fresh()
        .wait(10)
        .settle()
        .expect_in_sync();
}

#[test]
fn hard_case_62_a_writer_that_nobody_can_explain_repeats_that_push() {
    lab()
        .change("p")
        .begin_check()
        .change_unseen("p")
        .seal()
        .push()
        .end_unattributed(SLOW)
        .take_fresh()
        .expect_sent(FRESH, &["p"])
        .done_fresh()
        .settle()
        .expect_in_sync();
}

#[test]
fn hard_case_63_scheduled_walks_one_after_another_repeat_nothing_for_ever() {
    let mut lab = lab()
        .begin_check()
        .change("p")
        .seal()
        .push()
        .done_slow();
    for round in 0..3 {
        lab = lab.begin_check();
        if round == 0 {
            lab = lab.take_fresh().expect_sent(FRESH, &["p"]).done_fresh();
        }
        lab = lab.expect_in_sync().done_slow().expect_idle(FRESH).expect_in_sync();
    }
}

#[test]
fn hard_case_64_a_walk_that_is_cut_off_owes_no_contents_but_of_what_changed_since() {
    lab()
        .change("old")
        .seal()
        .push()
        .lose_event("lost")
        .take_nothing_fresh()
        .take_slow()
        .change("new")
        .seal()
        .push()
        .cut_off(SLOW)
        .take_slow()
        .expect_compared(Depth::Times)
        .done_slow()
        .expect_not_in_sync()
        .late_writes_land()
        .wait(LIFE)
        .take_fresh()
        .expect_sent(FRESH, &[".", "new"])
        .expect_need(FRESH, ".", Need::LEFTOVERS)
        .done_fresh()
        .expect_in_sync();
}

#[test]
fn hard_case_65_a_path_that_is_left_out_of_a_run_is_still_owed() {
    let reasons = [
        LeftOutWhy::Large,
        LeftOutWhy::NotProved,
        LeftOutWhy::AwaitsApproval,
        LeftOutWhy::Unmounted("v".into()),
    ];
    for why in reasons {
        let lab = lab().change("v/f").seal().take_fresh().leave_out(&["v/f"], &why);
        let mut lab = lab.expect_owed(&["v/f"]).expect_not_in_sync();
        assert_eq!(lab.state().cursor(), lab.ledger.log().head(), "{why:?}");
        let awaiting =
            lab.ledger.mirror(lab.id()).into_iter().flat_map(|it| it.awaiting_approval());
        let awaiting: Vec<_> = awaiting.map(|(obligation, _)| obligation).collect();
        let id = lab.id().clone();
        awaiting.into_iter().for_each(|obligation| lab.ledger.judge_again(&id, obligation));
        lab.ledger.set_unmounted(&[]);
        lab.settle().expect_in_sync();
    }
}

#[test]
fn hard_case_66_a_walk_that_wakes_up_may_undo_what_was_pushed_since_it_began() {
    let mut lab = lab().lose_event("lost").take_nothing_fresh().take_slow().cut_off(SLOW);
    let names: Vec<String> = (0..40).map(|number| format!("f{number:02}")).collect();
    for name in &names {
        lab = lab.change(name);
    }
    let names: Vec<&str> = iter::once(".").chain(names.iter().map(String::as_str)).collect();
    lab.seal()
        .push()
        .settle()
        .expect_not_in_sync()
        .wait(LIFE)
        .take_fresh()
        .expect_sent(FRESH, &names)
        .expect_need(FRESH, ".", Need::LEFTOVERS)
        .done_fresh()
        .expect_in_sync();
}

#[test]
fn hard_case_66_a_temporary_file_of_a_live_writer_is_not_deleted_as_an_extra() {
    lab()
        .change("f")
        .seal()
        .take_fresh()
        .cut_off(FRESH)
        .begin_check()
        .find_extra(".f.ABCdef")
        .take_fresh()
        .expect_sent(FRESH, &["f"])
        .done_fresh()
        .expect_idle(FRESH)
        .expect_not_in_sync();
}

#[test]
fn a_comparison_that_could_not_name_all_extras_is_repeated_when_those_it_named_are_settled() {
    let extras = vec![Extra { path: "x".into(), entries: 1 }];
    let cut = AssignmentEnd { extras, extras_cut: true, ..AssignmentEnd::new(Outcome::Done) };
    lab()
        .begin_check()
        .end(SLOW, cut)
        .take_fresh()
        .leave_out(&["x"], &LeftOutWhy::ExtraAwaitsApproval)
        .wait(1000)
        .expect_idle(SLOW)
        .approve()
        .take_fresh()
        .expect_sent(FRESH, &["x"])
        .done_fresh()
        .take_slow()
        .expect_compared(Depth::Times)
        .done_slow()
        .expect_in_sync();
}

#[test]
fn hard_case_68_a_receiver_outlives_any_time_for_which_its_host_is_away() {
    lab()
        .change("a")
        .seal()
        .take_fresh()
        .cut_off(FRESH)
        .change_unseen("a")
        .seal()
        .wait(100 * LIFE)
        .take_fresh()
        .find_host_away(FRESH)
        .wait(100 * LIFE)
        .push()
        .late_writes_land()
        .expect_not_in_sync()
        .wait(LIFE - 1)
        .expect_not_in_sync()
        .wait(1)
        .settle()
        .expect_in_sync();
}

#[test]
fn hard_case_69_comparing_contents_does_not_part_two_names_of_one_file() {
    let is_pair = |lab: &lab::Lab| {
        lab.state().backlog().iter().any(|(_, it)| matches!(it.cause, Cause::Renamed { .. }))
    };
    let lab = lab().rename("a", "b").take_fresh().cut_off(FRESH);
    assert!(is_pair(&lab));
    let lab =
        lab.check_due(Depth::Contents).take_slow().expect_compared(Depth::Contents).done_slow();
    assert!(is_pair(&lab), "compared is not sent");
    let lab = lab.take_fresh().expect_sent(FRESH, &["a", "b"]);
    let lab = lab.expect_need(FRESH, "a", Need::TREE | Need::ANEW).done_fresh();
    assert!(!is_pair(&lab));
}

#[test]
fn hard_case_71_a_path_that_changed_again_above_the_ceiling_waits_and_is_not_claimed() {
    let lab = lab().change("p").change("q").seal();
    let first = lab.ledger.log().head();
    let lab = lab.mark().ceiling(first.0).change("p").seal();
    let lab = lab.take_fresh().expect_sent(FRESH, &["q"]).done_fresh().expect_idle(FRESH);
    assert_eq!(lab.state().cursor(), first, "the cursor may pass");
    let since = lab.standing().behind_since;
    assert_eq!(since, Some(lab.now()), "lag counts since the first change");
    lab.expect_flushed(false)
        .expect_not_in_sync()
        .ceiling(first.0 + 1)
        .take_fresh()
        .expect_sent(FRESH, &["p"])
        .done_fresh()
        .expect_flushed(true)
        .expect_in_sync();
}

#[test]
fn hard_case_71_a_retry_does_not_bring_what_changed_above_the_ceiling() {
    let lab = lab().change("p").seal().take_fresh().fail(FRESH, "p");
    let head = lab.ledger.log().head();
    lab.ceiling(head.0)
        .change("p")
        .seal()
        .wait(400)
        .expect_idle(FRESH)
        .expect_not_in_sync()
        .check_due(Depth::Times)
        .expect_idle(SLOW)
        .ceiling(head.0 + 1)
        .settle()
        .expect_in_sync();
}

#[test]
fn a_ceiling_never_falls_below_what_was_handed_out() {
    let lab = lab().change("p").seal().take_fresh().ceiling(0);
    assert_eq!(lab.state().ceiling(), Some(lab.ledger.log().head()));
    lab.done_fresh().expect_in_sync();
}

#[test]
fn hard_case_72_a_file_that_fails_and_changes_all_the_time_delays_nothing_else() {
    let mut lab = lab().change("bad").change("good").seal().take_fresh().fail(FRESH, "bad");
    for _ in 0..5 {
        lab = lab.change("bad").change("good").seal();
        lab = lab.take_fresh().expect_sent(FRESH, &["good"]).done_fresh().expect_owed(&["bad"]);
    }
    assert_eq!(lab.standing().stuck_total, 1);
    lab.change("bad")
        .seal()
        .take_nothing_fresh()
        .wait(10)
        .change("good")
        .seal()
        .take_fresh()
        .expect_sent(FRESH, &["good"])
        .done_fresh()
        .take_fresh()
        .expect_sent(FRESH, &["bad"])
        .done_fresh()
        .expect_in_sync();
}

#[test]
fn doubt_that_the_fresh_lane_passes_on_is_endangered_by_older_writers_too() {
    // The push that was cut off holds contents that are older than the lost event.
    lab()
        .change("p")
        .seal()
        .take_fresh()
        .cut_off(FRESH)
        .push()
        .lose_event("p")
        .take_nothing_fresh()
        .take_slow()
        .done_slow()
        .expect_not_in_sync()
        .expect_in_sync_after_late_writes();
}

#[test]
fn a_change_that_waits_with_a_failed_path_is_endangered_by_older_writers_too() {
    lab()
        .change("p")
        .seal()
        .take_fresh()
        .fail(FRESH, "p")
        .begin_check()
        .cut_off(SLOW)
        .change_unseen("p")
        .seal()
        .take_nothing_fresh()
        .wait(10)
        .take_fresh()
        .expect_sent(FRESH, &["p"])
        .done_fresh()
        .expect_not_in_sync()
        .expect_in_sync_after_late_writes();
}

#[test]
fn a_flush_waits_for_a_large_file_that_changed_before_and_after_it() {
    lab()
        .change("p")
        .seal()
        .mark()
        .change("p")
        .seal()
        .take_fresh()
        .leave_out(&["p"], &LeftOutWhy::Large)
        .expect_flushed(false)
        .take_slow()
        .done_slow()
        .settle()
        .expect_flushed(true);
}

#[test]
fn a_flush_waits_for_what_a_writer_from_before_may_have_undone() {
    let lab = lab()
        .change("p")
        .seal()
        .take_fresh()
        .cut_off(FRESH)
        .change_unseen("p")
        .seal()
        .mark()
        .change_unseen("p")
        .seal()
        .push()
        .expect_flushed(false)
        .late_writes_land()
        .wait(LIFE)
        .expect_flushed(false);
    lab.settle().expect_flushed(true).expect_in_sync();
}

#[test]
fn a_flush_waits_for_what_was_undone_though_it_changed_again_before_the_writer_was_gone() {
    let lab = lab().change("p").seal().take_fresh().cut_off(FRESH)
        .change_unseen("p").seal().mark().take_fresh()
        .change_unseen("p").done_fresh().seal()
        .late_writes_land().wait(LIFE).expect_flushed(false);
    lab.settle().expect_flushed(true).expect_in_sync();
}

#[test]
fn a_flush_waits_while_a_mirror_is_in_doubt_as_a_whole() {
    let mut lab = lab().change("p").seal().mark().push().expect_flushed(true);
    let (now, id) = (lab.now(), lab.id().clone());
    lab.ledger.owe_walk(now, &id);
    lab.change("p").seal().settle().expect_flushed(true);
    let mut lab = lab_of(1000, TERMS).change("p").seal().mark().push();
    lab = lab.change("q").seal();
    lab.ledger.owe_walk(now, &id);
    lab.push().expect_flushed(false).settle().expect_flushed(true);
}

#[test]
fn a_mirror_that_lags_is_given_up_when_the_log_is_full_and_holds_everything_in_the_end() {
    let mut lab = lab_of(100, TERMS);
    for number in 0..300 {
        lab = lab.change(&format!("d{number}/f")).seal();
        assert!(lab.ledger.log().len() <= 100, "{}", lab.ledger.log().len());
    }
    lab.expect_not_in_sync().settle().expect_in_sync();
}

#[test]
fn a_mirror_that_keeps_up_is_not_given_up_for_one_that_lags() {
    let mut lab = lab_of(100, TERMS);
    let lagging = MirrorId::new(&"site".into(), &"away".into());
    lab.ledger.add_mirror(lab.now(), &lagging, TERMS);
    lab.ledger.set_target(&lagging, TargetState::Exists);
    for number in 0..300 {
        lab = lab.change(&format!("d{number}/f")).seal().settle().expect_in_sync().wait(1);
    }
    assert!(lab.ledger.standing(&lagging, 0).expect("it is there").owes_walk);
    assert_eq!(lab.state().cursor(), lab.ledger.log().head());
}

#[test]
fn a_writer_whose_start_the_log_forgets_owes_all_that_it_touches() {
    let mut lab = lab_of(100, TERMS)
        .change("x")
        .seal()
        .take_fresh()
        .cut_off(FRESH)
        .change_unseen("x")
        .seal()
        .push();
    for number in 0..300 {
        lab = lab.change(&format!("d{number}/f")).seal();
    }
    let lab = lab.settle().late_writes_land().expect_not_in_sync();
    lab.wait(LIFE).settle().expect_in_sync();
}

#[test]
fn failures_beyond_the_bound_are_merged_and_none_is_forgotten() {
    let mut lab = lab_of(100_000, TERMS);
    let paths: Vec<String> =
        (0..BACKLOG_MAX + 1).map(|it| format!("d{}/f{it}", it % 100)).collect();
    for path in &paths {
        lab = lab.change(path);
    }
    let failed = |path: &String| Unproved {
        path: path.as_str().into(),
        need: Need::CONTENTS,
        reason: "permission denied".into(),
    };
    let lab = lab.seal().take_fresh();
    let end = AssignmentEnd::new(Outcome::Partly(paths.iter().map(failed).collect()));
    let lab = lab.end_unwritten(FRESH, &end);
    assert!(lab.state().backlog().len() <= BACKLOG_MAX);
    lab.expect_not_in_sync().wait(400).settle().expect_in_sync();
}

#[test]
fn an_end_under_an_old_id_changes_nothing() {
    let mut lab = lab().change("a").seal().take_fresh();
    let old = lab.state().assigned(FRESH).expect("it is under way").id;
    let lab_now = lab.now();
    let id = lab.id().clone();
    lab.ledger.cut_off_all(lab_now, &id);
    assert!(!lab.ledger.ended(lab_now, &id, old, &AssignmentEnd::new(Outcome::Done)));
    assert_eq!(lab.standing().pending, 1);
}

#[test]
fn hard_case_1_the_lag_of_a_hot_file_is_never_younger_than_its_first_change() {
    let mut lab = lab();
    let first = lab.now();
    for _ in 0..100 {
        lab = lab.change("hot").seal().wait(1);
    }
    assert_eq!((lab.standing().behind_since, lab.standing().pending), (Some(first), 1));
    assert!(lab.ledger.log().epochs_len() <= 3, "{}", lab.ledger.log().epochs_len());
    let lab = lab.take_fresh().expect_sent(FRESH, &["hot"]);
    let again = lab.now();
    let lab = lab.change("hot").seal().wait(1).change("hot").seal().done_fresh();
    assert_eq!(lab.standing().behind_since, Some(again), "it changed while it was pushed");
}

#[test]
fn hard_case_2_requirements_are_joined_when_a_path_changes_again() {
    let mut lab = lab().change("a").seal();
    let changes = BTreeMap::from([("a".into(), Need::ATTRIBUTES)]);
    let sealed = mirrorball_core::root::epoch::Sealed {
        first_change: lab.now(),
        changes,
        ..Default::default()
    };
    lab.ledger.seal(lab.now(), sealed);
    lab.take_fresh().expect_need(FRESH, "a", Need::CONTENTS);
}

#[test]
fn a_mirror_that_was_given_nothing_is_walked_and_holds_no_epoch_before() {
    let mut lab = lab();
    let new = MirrorId::new(&"site".into(), &"new".into());
    lab = lab.change("a").seal();
    lab.ledger.add_mirror(lab.now(), &new, TERMS);
    lab.ledger.set_target(&new, TargetState::Exists);
    let standing = lab.ledger.standing(&new, 0).expect("it was added");
    assert_eq!((standing.is_settled, standing.owes_walk), (false, true));
    assert_eq!(standing.epoch, Epoch(0));
}
