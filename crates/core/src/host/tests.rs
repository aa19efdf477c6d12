use super::*;
use std::time::Duration;

const RETRY: RetryPlan = RetryPlan { first: Duration::from_secs(1), max: Duration::from_secs(60) };

fn at(seconds: u64) -> Moment {
    Moment::after_start(Duration::from_secs(seconds))
}

fn work(assignment: u64) -> HostWork {
    let assignment = AssignmentId(assignment);
    let target = TargetState::Exists;
    HostWork { assignment, batch: Arc::default(), target, trusts_renames: true }
}

fn id(root: &str) -> MirrorId {
    MirrorId::new(&root.into(), &"web".into())
}

fn host(pushes: usize, roots: &[&str]) -> Host {
    Host::new(&"web".into(), pushes, RETRY, roots.iter().map(|root| id(root)))
}

fn drain(host: &mut Host) -> Vec<Effect> {
    let effects = std::iter::from_fn(|| host.poll_effect());
    effects.filter(|it| !matches!(it, Effect::Report | Effect::Ran(..))).collect()
}

fn takes(host: &mut Host) -> Vec<(String, Lane)> {
    let take = |effect| match effect {
        Effect::Take(id, lane) => Some((id.root.to_string(), lane)),
        _ => None,
    };
    drain(host).into_iter().filter_map(take).collect()
}

/// Hands out the work that was asked for; returns the run's name.
fn start(host: &mut Host, now: Moment, root: &str, lane: Lane) -> PushId {
    host.handle_batch(now, &id(root), lane, work(1));
    let started = drain(host).into_iter().find_map(|effect| match effect {
        Effect::Start(push) => Some(push.id),
        _ => None,
    });
    started.expect("it was asked for")
}

fn ended(host: &mut Host, now: Moment, push: PushId, outcome: Outcome) {
    let end = AssignmentEnd::new(outcome);
    host.handle_ended(now, push, end);
}

fn again(blame: Blame) -> Outcome {
    Outcome::Again { blame, why: "no".into(), cut_off: false }
}

/// A host on which each of the roots has had its first walk.
fn walked(pushes: usize, roots: &[&str]) -> Host {
    let mut host = host(pushes, roots);
    for root in roots {
        host.handle_nudge(at(0), &id(root), Lane::Slow);
        let push = start(&mut host, at(0), root, Lane::Slow);
        ended(&mut host, at(0), push, Outcome::Done);
    }
    drain(&mut host);
    host
}

#[test]
fn a_directory_that_was_made_is_told_at_once() {
    let mut host = host(2, &["a"]);
    host.handle_nudge(at(0), &id("a"), Lane::Slow);
    let walk = start(&mut host, at(0), "a", Lane::Slow);
    host.handle_reached(at(1), walk);
    assert!(drain(&mut host).contains(&Effect::Reached(id("a"))));
}

#[test]
fn a_failure_of_the_host_holds_all_its_mirrors_and_one_of_them_finds_out() {
    let mut host = walked(2, &["a", "b"]);
    host.handle_nudge(at(1), &id("a"), Lane::Fresh);
    let push = start(&mut host, at(1), "a", Lane::Fresh);
    ended(&mut host, at(2), push, again(Blame::Host));
    host.handle_nudge(at(2), &id("b"), Lane::Fresh);
    assert_eq!(takes(&mut host), []);
    let due = host.poll_timeout(at(2)).expect("it is tried again");
    assert!(due > at(2) && due <= at(3));
    host.handle_timeout(due);
    assert_eq!(takes(&mut host).len(), 1, "one finds out");
}

#[test]
fn a_failure_of_a_mirror_holds_that_mirror_alone() {
    let mut host = walked(2, &["a", "b"]);
    host.handle_nudge(at(1), &id("a"), Lane::Fresh);
    let push = start(&mut host, at(1), "a", Lane::Fresh);
    ended(&mut host, at(2), push, again(Blame::Mirror));
    host.handle_nudge(at(2), &id("b"), Lane::Fresh);
    assert_eq!(takes(&mut host), [("b".into(), Lane::Fresh)]);
}

#[test]
fn pauses_grow_and_a_success_resets_them() {
    let mut host = walked(2, &["a"]);
    let mut now = at(1);
    let mut pauses = Vec::new();
    host.handle_nudge(now, &id("a"), Lane::Fresh);
    for _ in 0..4 {
        let push = start(&mut host, now, "a", Lane::Fresh);
        ended(&mut host, now, push, again(Blame::Host));
        let due = host.poll_timeout(now).expect("it is tried again");
        pauses.push(due - now);
        now = due;
        host.handle_timeout(now);
    }
    assert!(pauses.windows(2).all(|p| p[1] > p[0]), "{pauses:?}");
    let push = start(&mut host, now, "a", Lane::Fresh);
    ended(&mut host, now, push, Outcome::Done);
    host.handle_nudge(now, &id("a"), Lane::Fresh);
    let push = start(&mut host, now, "a", Lane::Fresh);
    ended(&mut host, now, push, again(Blame::Host));
    assert!(host.poll_timeout(now).unwrap() - now <= RETRY.first);
}

#[test]
fn equal_failures_are_told_once_and_summed_up() {
    let mut host = walked(2, &["a"]);
    let mut notes = Vec::new();
    let mut now = at(1);
    host.handle_nudge(now, &id("a"), Lane::Fresh);
    for outcome in [again(Blame::Host), again(Blame::Host), again(Blame::Host), Outcome::Done] {
        let push = start(&mut host, now, "a", Lane::Fresh);
        ended(&mut host, now, push, outcome);
        now = host.poll_timeout(now).unwrap_or(now);
        notes.extend(drain(&mut host).into_iter().filter_map(|effect| match effect {
            Effect::Note(note) => Some(note),
            _ => None,
        }));
        host.handle_timeout(now);
    }
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(matches!(notes[0], Note::Failed { .. }));
    assert!(matches!(notes[1], Note::Recovered { failures: 3, .. }));
}

#[test]
fn at_most_so_many_runs_and_walks_leave_one_place_for_fresh_changes() {
    let mut host = walked(2, &["a", "b", "c"]);
    for root in ["a", "b", "c"] {
        host.handle_nudge(at(1), &id(root), Lane::Slow);
    }
    assert_eq!(takes(&mut host).len(), 1);
    host.handle_nudge(at(1), &id("c"), Lane::Fresh);
    assert_eq!(takes(&mut host), [("c".into(), Lane::Fresh)]);
    host.handle_nudge(at(1), &id("b"), Lane::Fresh);
    assert_eq!(takes(&mut host), []);
}

#[test]
fn one_push_at_a_time_for_one_mirror() {
    let mut host = walked(4, &["a"]);
    host.handle_nudge(at(1), &id("a"), Lane::Fresh);
    host.handle_nudge(at(1), &id("a"), Lane::Fresh);
    assert_eq!(takes(&mut host).len(), 1);
    let push = start(&mut host, at(1), "a", Lane::Fresh);
    host.handle_nudge(at(2), &id("a"), Lane::Fresh);
    assert_eq!(takes(&mut host), []);
    ended(&mut host, at(3), push, Outcome::Done);
    assert_eq!(takes(&mut host).len(), 1, "what came meanwhile is pulled at once");
}

#[test]
fn a_restart_wants_again_what_was_under_way() {
    let mut host = walked(2, &["a"]);
    host.handle_nudge(at(1), &id("a"), Lane::Fresh);
    start(&mut host, at(1), "a", Lane::Fresh);
    host.handle_restart(at(2));
    assert_eq!(takes(&mut host), [("a".into(), Lane::Fresh)]);
}

#[test]
fn drained_is_said_when_nothing_runs() {
    let mut host = walked(2, &["a"]);
    host.handle_nudge(at(1), &id("a"), Lane::Fresh);
    let push = start(&mut host, at(1), "a", Lane::Fresh);
    host.handle_drain();
    assert_eq!(drain(&mut host), []);
    ended(&mut host, at(2), push, Outcome::Done);
    assert!(drain(&mut host).contains(&Effect::Drained));
    host.handle_nudge(at(3), &id("a"), Lane::Fresh);
    assert_eq!(takes(&mut host), []);
}

#[test]
fn hard_case_13_failures_nobody_can_attribute_are_tried_in_smaller_pieces() {
    let mut host = walked(2, &["a"]);
    host.handle_nudge(at(1), &id("a"), Lane::Fresh);
    let push = start(&mut host, at(1), "a", Lane::Fresh);
    ended(&mut host, at(1), push, Outcome::Unattributed("code 23".into()));
    host.handle_timeout(host.poll_timeout(at(1)).unwrap());
    host.handle_batch(at(3), &id("a"), Lane::Fresh, work(2));
    let pieces = drain(&mut host).into_iter().find_map(|effect| match effect {
        Effect::Start(push) => Some(push.terms.pieces),
        _ => None,
    });
    assert_eq!(pieces, Some(2));
}

#[test]
fn work_that_nobody_here_asked_for_is_given_back() {
    let mut host = walked(2, &["a"]);
    drain(&mut host);
    host.handle_batch(at(9), &id("a"), Lane::Fresh, work(7));
    let effects = drain(&mut host);
    let given_back = effects.iter().any(|effect| {
        matches!(effect, Effect::Ended(_, AssignmentId(7), end) if end.outcome != Outcome::Done)
    });
    assert!(given_back, "{effects:?}");
}

#[test]
fn in_its_quiet_time_nothing_is_begun_and_afterwards_everything() {
    let mut host = walked(2, &["a", "b"]);
    let quiet = |until| BTreeMap::from([(id("a"), at(until))]);
    host.handle_nudge(at(1), &id("a"), Lane::Fresh);
    let under_way = start(&mut host, at(1), "a", Lane::Fresh);
    host.handle_quiet(at(2), &quiet(600));
    host.handle_nudge(at(3), &id("a"), Lane::Fresh);
    host.handle_nudge(at(3), &id("a"), Lane::Slow);
    host.handle_nudge(at(3), &id("b"), Lane::Fresh);
    assert_eq!(takes(&mut host), [("b".into(), Lane::Fresh)], "others go on");
    ended(&mut host, at(4), under_way, Outcome::Done);
    assert_eq!((takes(&mut host), host.poll_timeout(at(4))), (vec![], None));
    let until = |host: &Host| host.report()[0].1.quiet_until;
    host.handle_quiet(at(61), &quiet(601));
    assert_eq!(until(&host), Some(at(600)), "a minute's rounding is no news");
    host.handle_quiet(at(600), &BTreeMap::new());
    assert_eq!((takes(&mut host).len(), until(&host)), (1, None));
}

#[test]
fn a_failed_push_is_tried_again_when_the_quiet_time_is_over_and_not_before() {
    let mut host = walked(2, &["a"]);
    host.handle_nudge(at(1), &id("a"), Lane::Fresh);
    let push = start(&mut host, at(1), "a", Lane::Fresh);
    host.handle_quiet(at(1), &BTreeMap::from([(id("a"), at(600))]));
    ended(&mut host, at(2), push, again(Blame::Mirror));
    drain(&mut host);
    assert_eq!(host.poll_timeout(at(2)), None);
    host.handle_timeout(at(100));
    assert_eq!(takes(&mut host), []);
    host.handle_quiet(at(600), &BTreeMap::new());
    assert_eq!(takes(&mut host), [("a".into(), Lane::Fresh)]);
}
