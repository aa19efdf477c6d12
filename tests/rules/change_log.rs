//! The log against a naive model: a full list of changes for each mirror.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mirrorball_core::data::change::{Epoch, Kinds, Lane, Move};
use mirrorball_core::data::ids::MirrorId;
use mirrorball_core::data::moment::Moment;
use mirrorball_core::data::outcome::{Blame, Budget, Failed, Held, Outcome};
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::plan::RetryPlan;
use mirrorball_core::root::change_log::{ChangeLog, Standing, Taken};
use mirrorball_core::root::debts::Depth;
use mirrorball_core::root::epoch::Sealed;
use proptest::prelude::*;

/// How long what broke off may still land.
const LIFE: Duration = Duration::from_secs(30);

const RETRY: RetryPlan = RetryPlan { first: Duration::from_secs(1), max: Duration::from_secs(60) };
const PATHS_MAX: usize = 24;
const MIRRORS: usize = 3;

fn sealed(first_change: Moment, changes: BTreeMap<RelPath, Kinds>) -> Sealed {
    Sealed { first_change, changes, moves: Vec::new() }
}

fn at(seconds: u64) -> Moment {
    Moment::after_start(Duration::from_secs(seconds))
}

fn mirror(index: usize) -> MirrorId {
    MirrorId::new(&"site".into(), &format!("host{index}").as_str().into())
}

fn retry_later() -> Outcome {
    Outcome::Again { blame: Blame::Host, why: "no".into(), cut_off: false }
}

fn fail(path: &RelPath) -> Outcome {
    let failed =
        Failed { path: path.clone(), kinds: Kinds::CONTENT, reason: "no permission".into() };
    Outcome::Partly(vec![failed])
}

#[derive(Clone, Debug)]
enum Op {
    Change(usize, bool),
    Seal,
    Take(usize, bool),
    Done(usize, bool),
    Fail(usize, bool),
    FailOnePath(usize),
    OweWalk(usize),
    LoseEvents,
    LoseActor(usize),
    Wait,
}

fn op() -> impl Strategy<Value = Op> {
    let m = 0..MIRRORS;
    prop_oneof![
        8 => (0..60_usize, prop::bool::weighted(0.2)).prop_map(|(p, s)| Op::Change(p, s)),
        4 => Just(Op::Seal),
        5 => (m.clone(), prop::bool::weighted(0.3)).prop_map(|(m, w)| Op::Take(m, w)),
        5 => (m.clone(), prop::bool::weighted(0.3)).prop_map(|(m, w)| Op::Done(m, w)),
        2 => (m.clone(), any::<bool>()).prop_map(|(m, w)| Op::Fail(m, w)),
        1 => m.clone().prop_map(Op::FailOnePath),
        1 => m.clone().prop_map(Op::OweWalk),
        1 => Just(Op::LoseEvents),
        1 => m.prop_map(Op::LoseActor),
        1 => Just(Op::Wait),
    ]
}

/// Paths of a small tree: `d3`, `d3/e1`, `d3/e1/f2`.
fn path(number: usize) -> RelPath {
    let (d, e, f) = (number % 4, number / 4 % 4, number / 16);
    match f {
        0 => format!("d{d}").as_str().into(),
        1 => format!("d{d}/e{e}").as_str().into(),
        _ => format!("d{d}/e{e}/f{f}").as_str().into(),
    }
}

/// A tree as versions of paths. A subtree push makes everything below it equal too.
type Tree = BTreeMap<RelPath, u64>;

/// What a push that was handed out carried: read from the source when it was handed out.
struct Handed {
    taken: Taken,
    carried: Tree,
}

struct Model {
    log: ChangeLog,
    now: u64,
    version: u64,
    source: Tree,
    targets: Vec<Tree>,
    open: BTreeMap<RelPath, Kinds>,
    handed: BTreeMap<(usize, bool), Handed>,
    /// Paths that changed, were coarsened, or failed since a mirror last got them: causes for a push.
    caused: Vec<BTreeSet<RelPath>>,
}

impl Model {
    fn new() -> Self {
        let mut log = ChangeLog::new(PATHS_MAX);
        (0..MIRRORS).for_each(|m| log.add_mirror(at(0), mirror(m), RETRY, LIFE));
        Self {
            log,
            now: 0,
            version: 0,
            source: Tree::new(),
            targets: vec![Tree::new(); MIRRORS],
            open: BTreeMap::new(),
            handed: BTreeMap::new(),
            caused: vec![BTreeSet::new(); MIRRORS],
        }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Change(number, subtree) => self.change(path(*number), *subtree),
            Op::Seal => self.seal(),
            Op::Take(m, walk) => self.take(*m, *walk),
            Op::Done(m, walk) => self.end(*m, *walk, |_| Outcome::Done),
            Op::Fail(m, walk) => self.end(*m, *walk, |_| retry_later()),
            Op::FailOnePath(m) => self.end(*m, false, |taken| fail(&taken.entries[0].0)),
            Op::OweWalk(m) => self.log.owe_walk(at(self.now), &mirror(*m)),
            Op::LoseEvents => {
                // Changes go unseen: to the model they happened, to the log they did not.
                self.version += 1;
                self.source.insert(path(7), self.version);
                self.open.clear();
                self.log.owe_walks(at(self.now));
                // Walks under way don't count any more, but what they carry still lands.
                for m in 0..MIRRORS {
                    if let Some(walk) = self.handed.remove(&(m, true)) {
                        self.targets[m].extend(walk.carried);
                    }
                }
            }
            Op::LoseActor(m) => {
                self.handed.remove(&(*m, false));
                self.handed.remove(&(*m, true));
                self.log.void_tickets(at(self.now), &mirror(*m));
            }
            Op::Wait => self.now += 120,
        }
        assert!(self.log.len() <= PATHS_MAX, "{} paths in the log", self.log.len());
        // Each kept epoch has a path, or a mirror's lag is measured from it.
        assert!(self.log.epochs_len() <= PATHS_MAX + 3 * MIRRORS, "{}", self.log.epochs_len());
    }

    fn change(&mut self, path: RelPath, subtree: bool) {
        self.version += 1;
        let mut kinds = Kinds::CONTENT;
        if subtree {
            kinds |= Kinds::SUBTREE;
            let version = self.version;
            for (below, value) in &mut self.source {
                if below.is_below(&path) {
                    *value = version;
                }
            }
        }
        self.source.insert(path.clone(), self.version);
        *self.open.entry(path.clone()).or_default() |= kinds;
        for caused in &mut self.caused {
            caused.insert(path.clone());
        }
    }

    fn seal(&mut self) {
        if !self.open.is_empty() {
            let changes = std::mem::take(&mut self.open);
            self.log.seal(sealed(at(self.now), changes));
        }
    }

    fn take(&mut self, m: usize, walk: bool) {
        let lane = if walk { Lane::Walk } else { Lane::Fresh };
        self.handed.remove(&(m, walk));
        let Some(taken) = self.log.take(at(self.now), &mirror(m), lane) else { return };
        let carried = if walk { self.source.clone() } else { self.carried(&taken) };
        self.handed.insert((m, walk), Handed { taken, carried });
    }

    fn carried(&self, taken: &Taken) -> Tree {
        let covers = |path: &RelPath| {
            taken.entries.iter().any(|(entry, kinds)| {
                entry == path || (kinds.contains(Kinds::SUBTREE) && path.is_below(entry))
            })
        };
        self.source.iter().filter(|(path, _)| covers(path)).map(|(p, v)| (p.clone(), *v)).collect()
    }

    fn end(&mut self, m: usize, walk: bool, outcome: impl Fn(&Taken) -> Outcome) {
        let Some(Handed { taken, mut carried }) = self.handed.remove(&(m, walk)) else { return };
        let outcome = outcome(&taken);
        if let Outcome::Partly(failed) = &outcome {
            carried.retain(|path, _| failed.iter().all(|f| f.path != *path));
        }
        let counts = matches!(outcome, Outcome::Done | Outcome::Partly(_));
        if counts || walk {
            // A walk that breaks off may have undone what was pushed meanwhile.
            self.targets[m].extend(carried);
        }
        assert!(self.log.applied(at(self.now), &mirror(m), taken.ticket, &outcome), "current");
        assert!(!self.log.applied(at(self.now), &mirror(m), taken.ticket, &outcome), "used up");
    }

    /// Everything that is owed is handed out and done; then each mirror must hold everything.
    fn drain(&mut self) {
        self.handed.clear();
        self.seal();
        // Everybody's turn for a walk has come.
        self.now += 20;
        for m in 0..MIRRORS {
            self.log.void_tickets(at(self.now), &mirror(m));
            self.take(m, true);
            self.end(m, true, |_| Outcome::Done);
            let mut rounds = 0;
            while let Standing { pending: 1.., .. } | Standing { owes_walk: true, .. } =
                self.log.standing(&mirror(m), 9).unwrap()
            {
                self.now += 120;
                // A host that was away for long may have lost what a walk brought it.
                let walk = self.log.owes_walk(&mirror(m));
                self.take(m, walk);
                self.end(m, walk, |_| Outcome::Done);
                rounds += 1;
                assert!(rounds < 5, "mirror {m} never has everything");
            }
            let standing = self.log.standing(&mirror(m), 9).unwrap();
            assert_eq!(standing.epoch, self.log.head());
            assert_eq!(standing.behind_since, None);
            assert_eq!(self.targets[m], self.source, "mirror {m}");
        }
        assert!(
            self.log.is_empty(),
            "nobody needs anything, yet {} paths are kept",
            self.log.len()
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]
    #[test]
    fn whatever_happens_every_mirror_ends_with_everything(ops in prop::collection::vec(op(), 1..120)) {
        let mut model = Model::new();
        for op in &ops {
            model.apply(op);
        }
        model.drain();
    }

    #[test]
    fn what_was_applied_is_needed_again_only_with_cause(
        changes in prop::collection::vec((0..60_usize, prop::bool::weighted(0.2), 0..3_u8), 1..40)
    ) {
        let mut model = Model::new();
        for m in 0..MIRRORS {
            model.take(m, true);
            model.end(m, true, |_| Outcome::Done);
            model.caused[m].clear();
        }
        for (number, subtree, then) in changes {
            model.change(path(number), subtree);
            if then == 0 {
                continue;
            }
            model.seal();
            // One mirror keeps up, the others only sometimes.
            for m in 0..if then == 1 { 1 } else { MIRRORS } {
                let Some(taken) = model.log.take(at(model.now), &mirror(m), Lane::Fresh) else { continue };
                for (entry, kinds) in &taken.entries {
                    let cause = model.caused[m].iter().any(|caused| {
                        caused == entry || (kinds.contains(Kinds::SUBTREE) && caused.is_below(entry))
                    });
                    prop_assert!(cause, "{entry} is pushed to mirror {m} without cause");
                }
                model.log.applied(at(model.now), &mirror(m), taken.ticket, &Outcome::Done);
                model.caused[m].clear();
            }
        }
    }
}

fn walked() -> ChangeLog {
    let mut log = ChangeLog::new(1000);
    log.add_mirror(at(0), mirror(0), RETRY, LIFE);
    let taken = log.take(at(0), &mirror(0), Lane::Walk).unwrap();
    log.applied(at(0), &mirror(0), taken.ticket, &Outcome::Done);
    log
}

fn seal(log: &mut ChangeLog, second: u64, paths: &[&str]) -> Epoch {
    seal_kinds(log, second, paths, Kinds::CONTENT)
}

fn seal_kinds(log: &mut ChangeLog, second: u64, paths: &[&str], kinds: Kinds) -> Epoch {
    log.seal(sealed(at(second), paths.iter().map(|p| (RelPath::from(*p), kinds)).collect()))
}

fn taken_paths(taken: &Taken) -> Vec<String> {
    taken.entries.iter().map(|(path, _)| path.to_string()).collect()
}

#[test]
fn hard_case_1_a_hot_file_is_pulled_each_time_and_its_lag_does_not_get_younger() {
    let mut log = walked();
    for second in 1..100 {
        seal(&mut log, second, &["hot"]);
    }
    let standing = log.standing(&mirror(0), 9).unwrap();
    assert_eq!(standing.behind_since, Some(at(1)), "the first change is what it lacks");
    assert_eq!(standing.pending, 1);
    assert!(log.epochs_len() <= 3, "{}", log.epochs_len());
    let taken = log.take(at(100), &mirror(0), Lane::Fresh).unwrap();
    assert_eq!(taken_paths(&taken), ["hot"]);
    // Dirty again while it is pushed: behind since then, whatever moved out of that epoch later.
    seal(&mut log, 101, &["hot", "other"]);
    seal(&mut log, 102, &["hot", "other"]);
    log.applied(at(103), &mirror(0), taken.ticket, &Outcome::Done);
    assert_eq!(log.standing(&mirror(0), 9).unwrap().behind_since, Some(at(101)));
}

#[test]
fn hard_case_2_kinds_are_joined_when_a_path_is_dirty_again() {
    let mut log = walked();
    seal_kinds(&mut log, 1, &["a"], Kinds::CONTENT);
    seal_kinds(&mut log, 2, &["a"], Kinds::ATTRS);
    let taken = log.take(at(3), &mirror(0), Lane::Fresh).unwrap();
    assert_eq!(taken.entries, [("a".into(), Kinds::CONTENT | Kinds::ATTRS)]);
}

#[test]
fn hard_case_3_a_subtree_swallows_older_descendants_and_keeps_newer_ones() {
    let mut log = walked();
    seal(&mut log, 1, &["d/old", "e"]);
    seal_kinds(&mut log, 2, &["d"], Kinds::SUBTREE);
    let subtree = log.take(at(2), &mirror(0), Lane::Fresh).unwrap();
    assert_eq!(taken_paths(&subtree), ["d", "e"]);
    assert!(subtree.entries[0].1.contains(Kinds::CONTENT), "what it swallowed was written");
    seal(&mut log, 3, &["d/new"]);
    log.applied(at(4), &mirror(0), subtree.ticket, &Outcome::Done);
    let newer = log.take(at(4), &mirror(0), Lane::Fresh).unwrap();
    assert_eq!(taken_paths(&newer), ["d/new"]);
}

#[test]
fn hard_case_4_a_result_under_an_old_ticket_is_ignored() {
    let mut log = walked();
    seal(&mut log, 1, &["a"]);
    let old = log.take(at(1), &mirror(0), Lane::Fresh).unwrap();
    let new = log.take(at(1), &mirror(0), Lane::Fresh).unwrap();
    assert!(!log.applied(at(2), &mirror(0), old.ticket, &Outcome::Done));
    assert_eq!(log.standing(&mirror(0), 9).unwrap().pending, 1);
    assert!(log.applied(at(2), &mirror(0), new.ticket, &Outcome::Done));
    assert_eq!(log.standing(&mirror(0), 9).unwrap().pending, 0);
}

#[test]
fn hard_case_13_a_failing_path_is_stuck_alone_and_tried_again_when_due() {
    let mut log = walked();
    seal(&mut log, 1, &["bad", "good"]);
    let taken = log.take(at(1), &mirror(0), Lane::Fresh).unwrap();
    log.applied(at(1), &mirror(0), taken.ticket, &fail(&"bad".into()));
    let standing = log.standing(&mirror(0), 9).unwrap();
    assert_eq!((standing.epoch, standing.stuck_total), (log.head(), 1));
    assert_eq!(log.take(at(1), &mirror(0), Lane::Fresh), None, "not before its pause is over");
    let due = log.next_due(at(0)).unwrap();
    assert!(due > at(1) && due <= at(2));
    let again = log.take(at(2), &mirror(0), Lane::Fresh).unwrap();
    assert_eq!(taken_paths(&again), ["bad"]);
    log.applied(at(2), &mirror(0), again.ticket, &Outcome::Done);
    assert_eq!(log.standing(&mirror(0), 9).unwrap().stuck_total, 0);
}

#[test]
fn hard_case_14_what_broke_off_is_pushed_once_more_when_its_receiver_must_be_dead() {
    let mut log = walked();
    seal(&mut log, 1, &["a"]);
    let cut = log.take(at(1), &mirror(0), Lane::Fresh).unwrap();
    let why = "the connection broke".into();
    let cut_off = Outcome::Again { blame: Blame::Host, why, cut_off: true };
    log.applied(at(2), &mirror(0), cut.ticket, &cut_off);
    let again = log.take(at(3), &mirror(0), Lane::Fresh).unwrap();
    log.applied(at(4), &mirror(0), again.ticket, &Outcome::Done);
    // All is there, and something older may still go over it.
    assert!(log.standing(&mirror(0), 9).unwrap().may_change);
    assert_eq!(log.take(at(31), &mirror(0), Lane::Fresh), None);
    assert_eq!(log.next_due(at(2)), Some(at(32)));
    let echo = log.take(at(32), &mirror(0), Lane::Fresh).unwrap();
    let expected = [(RelPath::root(), Kinds::LEFTOVER), ("a".into(), Kinds::CONTENT)];
    assert_eq!(echo.entries, expected);
    log.applied(at(33), &mirror(0), echo.ticket, &Outcome::Done);
    assert!(!log.standing(&mirror(0), 9).unwrap().may_change);
    assert_eq!(log.take(at(99), &mirror(0), Lane::Fresh), None);
}

#[test]
fn hard_case_14_what_broke_off_is_pushed_once_more_though_a_walk_is_owed() {
    let mut log = walked();
    seal(&mut log, 1, &["a"]);
    let cut = log.take(at(1), &mirror(0), Lane::Fresh).unwrap();
    // For a mirror that is to be walked the log keeps nothing.
    log.owe_walk(at(2), &mirror(0));
    let why = "the connection broke".into();
    let cut_off = Outcome::Again { blame: Blame::Host, why, cut_off: true };
    log.applied(at(3), &mirror(0), cut.ticket, &cut_off);
    let walk = log.take(at(4), &mirror(0), Lane::Walk).unwrap();
    log.applied(at(5), &mirror(0), walk.ticket, &Outcome::Done);
    let again = log.take(at(5), &mirror(0), Lane::Fresh).unwrap();
    log.applied(at(6), &mirror(0), again.ticket, &Outcome::Done);
    let mut echoed = Vec::new();
    for second in [40, 50] {
        let Some(echo) = log.take(at(second), &mirror(0), Lane::Fresh) else { continue };
        echoed.extend(echo.entries.iter().filter(|it| it.0 == "a".into()).cloned());
        log.applied(at(second), &mirror(0), echo.ticket, &Outcome::Done);
    }
    assert_eq!(echoed, [("a".into(), Kinds::CONTENT)]);
}

#[test]
fn hard_case_14_a_walk_that_broke_off_is_followed_by_a_second_comparison() {
    let mut log = walked();
    log.owe_walk(at(1), &mirror(0));
    log.take(at(1), &mirror(0), Lane::Walk).unwrap();
    // The host's actor died, and its processes with it.
    log.void_tickets(at(2), &mirror(0));
    let walk = log.take(at(3), &mirror(0), Lane::Walk).unwrap();
    log.applied(at(4), &mirror(0), walk.ticket, &Outcome::Done);
    assert!(log.standing(&mirror(0), 9).unwrap().may_change);
    let echo = log.take(at(32), &mirror(0), Lane::Fresh).unwrap();
    assert_eq!(taken_paths(&echo), ["."]);
}

#[test]
fn what_was_written_to_before_a_walk_is_pushed_after_it_whatever_the_walk_thinks() {
    let mut log = walked();
    seal(&mut log, 1, &["before"]);
    log.owe_walks(at(2));
    seal(&mut log, 3, &["while-it-waits"]);
    let walk = log.take(at(4), &mirror(0), Lane::Walk).unwrap();
    log.applied(at(5), &mirror(0), walk.ticket, &Outcome::Done);
    assert_eq!(log.standing(&mirror(0), 9).unwrap().repeated, 2, "a flush waits for them");
    let after = log.take(at(6), &mirror(0), Lane::Fresh).unwrap();
    assert_eq!(taken_paths(&after), ["before", "while-it-waits"]);
    log.applied(at(7), &mirror(0), after.ticket, &Outcome::Done);
    assert_eq!(log.take(at(8), &mirror(0), Lane::Fresh), None);
}

#[test]
fn what_was_written_to_is_not_forgotten_when_a_root_that_stood_empty_is_back_or_too_much_is_stuck()
{
    let after_the_walk = |log: &mut ChangeLog| {
        let walk = log.take(at(5), &mirror(0), Lane::Walk).expect("it is in doubt");
        log.applied(at(6), &mirror(0), walk.ticket, &Outcome::Done);
        log.take(at(7), &mirror(0), Lane::Fresh).expect("a walk does not see it")
    };
    let mut log = walked();
    let paths = vec![(RelPath::root(), Kinds::SUBTREE)];
    log.hold(at(1), &mirror(0), &Held { count: 1, paths, from_empty_root: true });
    seal(&mut log, 2, &["written"]);
    assert!(log.owe_walks_held_from_empty_root(at(3), 100));
    assert_eq!(taken_paths(&after_the_walk(&mut log)), ["written"]);
    let mut log = walked();
    seal(&mut log, 1, &["written"]);
    let taken = log.take(at(2), &mirror(0), Lane::Fresh).unwrap();
    let failed = |number| {
        let path = RelPath::from(format!("f{number}").as_str());
        Failed { path, kinds: Kinds::CONTENT, reason: String::new() }
    };
    let too_many = Outcome::Partly((0..10_001).map(failed).collect());
    log.applied(at(3), &mirror(0), taken.ticket, &too_many);
    let again = after_the_walk(&mut log);
    assert!(again.entries.iter().all(|(_, kinds)| kinds.contains(Kinds::CONTENT)), "{again:?}");
}

fn renamed(log: &mut ChangeLog, second: u64, from: &str, to: &str) {
    let changes = BTreeMap::from([
        (from.into(), Kinds::WENT | Kinds::SUBTREE | Kinds::CONTENT),
        (to.into(), Kinds::SUBTREE | Kinds::CONTENT),
    ]);
    let moves = vec![Move { from: from.into(), to: to.into(), is_exact: true }];
    log.seal(Sealed { first_change: at(second), changes, moves });
}

#[test]
fn hard_case_10_a_rename_is_exact_only_while_nothing_else_is_known_to_have_changed() {
    let hints = |log: &mut ChangeLog| {
        let taken = log.take(at(9), &mirror(0), Lane::Fresh).unwrap();
        let exact = taken.renames.iter().map(|it| it.is_exact).collect::<Vec<_>>();
        (exact, log.trusts_hints(&mirror(0)))
    };
    let mut log = walked();
    renamed(&mut log, 1, "a", "b");
    assert_eq!(hints(&mut log), (vec![true], true));
    let mut log = walked();
    seal(&mut log, 1, &["a/x"]);
    renamed(&mut log, 2, "a", "b");
    assert_eq!(hints(&mut log).0, [false], "written to before");
    let mut log = walked();
    renamed(&mut log, 1, "a", "b");
    seal(&mut log, 2, &["b/x"]);
    assert_eq!(hints(&mut log).0, [false], "and after");
    let mut log = walked();
    renamed(&mut log, 1, "a", "b");
    renamed(&mut log, 2, "b", "c");
    assert_eq!(hints(&mut log).0, [false], "what is composed is compared");
    let mut log = walked();
    seal(&mut log, 1, &["f"]);
    let taken = log.take(at(2), &mirror(0), Lane::Fresh).unwrap();
    let failed = Failed { path: "f".into(), kinds: Kinds::CONTENT, reason: String::new() };
    log.applied(at(3), &mirror(0), taken.ticket, &Outcome::Partly(vec![failed]));
    renamed(&mut log, 4, "a", "b");
    assert_eq!(hints(&mut log), (vec![true], false), "something is stuck");
}

#[test]
fn hard_case_10_a_rename_that_may_have_kept_a_file_from_being_sent_is_not_exact() {
    for (heard, is_exact) in [(1, false), (30, true)] {
        let mut log = walked();
        seal(&mut log, 1, &["d/f"]);
        let taken = log.take(at(1), &mirror(0), Lane::Fresh).unwrap();
        log.applied(at(1), &mirror(0), taken.ticket, &Outcome::Done);
        renamed(&mut log, heard, "d", "e");
        let taken = log.take(at(heard), &mirror(0), Lane::Fresh).unwrap();
        assert_eq!(taken.renames[0].is_exact, is_exact, "heard of at second {heard}");
    }
}

#[test]
fn hard_case_10_a_directory_that_was_just_sent_whole_may_lack_what_was_renamed_out_of_it() {
    let mut log = walked();
    seal_kinds(&mut log, 1, &["d"], Kinds::SUBTREE | Kinds::CONTENT);
    let taken = log.take(at(1), &mirror(0), Lane::Fresh).unwrap();
    log.applied(at(1), &mirror(0), taken.ticket, &Outcome::Done);
    renamed(&mut log, 1, "d/x", "e");
    let taken = log.take(at(1), &mirror(0), Lane::Fresh).unwrap();
    assert!(taken.renames.iter().all(|rename| !rename.is_exact), "{:?}", taken.renames);
}

#[test]
fn hard_case_16_what_is_held_is_counted_once_and_withdrawn_though_a_push_was_repeated() {
    let mut log = walked();
    seal_kinds(&mut log, 1, &["a", "b"], Kinds::WENT);
    let taken = log.take(at(1), &mirror(0), Lane::Fresh).unwrap();
    log.applied(at(1), &mirror(0), taken.ticket, &Outcome::Done);
    let held = |paths: &[&str], kinds| mirrorball_core::data::outcome::Held {
        count: 2,
        paths: paths.iter().map(|path| ((*path).into(), kinds)).collect(),
        from_empty_root: false,
    };
    log.hold(at(1), &mirror(0), &held(&["a", "b"], Kinds::WENT));
    // By the whole root, when nothing that broke off can land any more.
    log.hold(at(9), &mirror(0), &held(&[""], Kinds::SUBTREE));
    let count = |log: &ChangeLog| log.standing(&mirror(0), 9).unwrap().held_deletions;
    assert_eq!(count(&log), 2);
    log.hold(at(9), &mirror(0), &held(&["c", "d"], Kinds::WENT));
    assert_eq!(count(&log), 4, "these came since");
    seal(&mut log, 10, &["a", "b", "c", "d"]);
    let again = log.take(at(10), &mirror(0), Lane::Fresh).unwrap();
    assert_eq!(taken_paths(&again), [".", "a", "b", "c", "d"]);
    log.applied(at(10), &mirror(0), again.ticket, &Outcome::Done);
    assert_eq!(log.standing(&mirror(0), 9).unwrap().held_deletions, 0);
}

#[test]
fn hard_case_10_what_may_share_its_files_after_a_broken_push_is_parted_before_anything_else() {
    let mut log = walked();
    renamed(&mut log, 1, "a", "b");
    let taken = log.take(at(2), &mirror(0), Lane::Fresh).unwrap();
    log.applied(at(3), &mirror(0), taken.ticket, &retry_later());
    // The old name comes back by a rename: that would fill it beside what it shares.
    renamed(&mut log, 4, "z", "a");
    let again = log.take(at(5), &mirror(0), Lane::Fresh).unwrap();
    let kinds = |path: &str| again.entries.iter().find(|(p, _)| *p == path.into()).unwrap().1;
    assert!(kinds("a").contains(Kinds::SUBTREE | Kinds::CONTENT) && again.own);
    assert!(again.renames.iter().all(|it| it.to != "a".into()), "{:?}", again.renames);
    // A Walk compares names, and parts nothing.
    log.applied(at(6), &mirror(0), again.ticket, &retry_later());
    log.owe_walk(at(7), &mirror(0));
    let walk = log.take(at(8), &mirror(0), Lane::Walk).unwrap();
    log.applied(at(9), &mirror(0), walk.ticket, &Outcome::Done);
    let after = log.take(at(10), &mirror(0), Lane::Fresh).unwrap();
    assert!(taken_paths(&after).contains(&"b".into()) && taken_paths(&after).contains(&"a".into()));
    log.applied(at(11), &mirror(0), after.ticket, &Outcome::Done);
    assert_eq!(log.take(at(12), &mirror(0), Lane::Fresh), None);
    assert_eq!(log.standing(&mirror(0), 9).unwrap().pending, 0);
}

#[test]
fn hard_case_20_a_push_that_was_under_way_when_the_walk_ended_is_repeated() {
    let mut log = walked();
    log.owe_walk(at(1), &mirror(0));
    let walk = log.take(at(2), &mirror(0), Lane::Walk).unwrap();
    seal(&mut log, 3, &["during"]);
    let fresh = log.take(at(3), &mirror(0), Lane::Fresh).unwrap();
    log.applied(at(4), &mirror(0), walk.ticket, &Outcome::Done);
    log.applied(at(5), &mirror(0), fresh.ticket, &Outcome::Done);
    let again = log.take(at(6), &mirror(0), Lane::Fresh).unwrap();
    assert_eq!(taken_paths(&again), ["during"]);
}

#[test]
fn hard_case_19_a_walk_covers_the_head_at_its_start() {
    let mut log = walked();
    seal_kinds(&mut log, 1, &["before"], Kinds::ATTRS);
    log.owe_walk(at(1), &mirror(0));
    let walk = log.take(at(2), &mirror(0), Lane::Walk).unwrap();
    seal(&mut log, 3, &["during"]);
    log.applied(at(4), &mirror(0), walk.ticket, &Outcome::Done);
    let fresh = log.take(at(4), &mirror(0), Lane::Fresh).unwrap();
    assert_eq!(taken_paths(&fresh), ["during"]);
}

#[test]
fn hard_case_20_what_was_pushed_during_a_walk_is_pushed_again_after_it() {
    for outcome in [Outcome::Done, retry_later()] {
        let mut log = walked();
        log.owe_walk(at(1), &mirror(0));
        let walk = log.take(at(2), &mirror(0), Lane::Walk).unwrap();
        seal(&mut log, 3, &["during"]);
        let fresh = log.take(at(3), &mirror(0), Lane::Fresh).unwrap();
        log.applied(at(4), &mirror(0), fresh.ticket, &Outcome::Done);
        assert_eq!(log.take(at(4), &mirror(0), Lane::Fresh), None);
        log.applied(at(5), &mirror(0), walk.ticket, &outcome);
        if outcome != Outcome::Done {
            // The next walk brings it; until then the mirror is not called equal.
            assert!(log.wants_walk(at(0), &mirror(0)));
            assert_eq!(log.standing(&mirror(0), 9).unwrap().epoch, Epoch(0));
            continue;
        }
        let again = log.take(at(6), &mirror(0), Lane::Fresh).unwrap();
        assert_eq!(taken_paths(&again), ["during"]);
    }
}

#[test]
fn hard_case_20_a_push_that_outlives_the_walk_does_not_hide_what_is_to_be_pushed_again() {
    let mut log = walked();
    log.owe_walk(at(1), &mirror(0));
    let walk = log.take(at(2), &mirror(0), Lane::Walk).unwrap();
    seal(&mut log, 3, &["during"]);
    let first = log.take(at(3), &mirror(0), Lane::Fresh).unwrap();
    log.applied(at(4), &mirror(0), first.ticket, &Outcome::Done);
    seal(&mut log, 5, &["later"]);
    let second = log.take(at(5), &mirror(0), Lane::Fresh).unwrap();
    log.applied(at(6), &mirror(0), walk.ticket, &Outcome::Done);
    log.applied(at(7), &mirror(0), second.ticket, &Outcome::Done);
    let again = log.take(at(8), &mirror(0), Lane::Fresh).unwrap();
    assert_eq!(taken_paths(&again), ["during", "later"]);
}

#[test]
fn hard_case_5_a_full_log_coarsens_before_anybody_owes_a_walk() {
    let mut log = ChangeLog::new(100);
    log.add_mirror(at(0), mirror(0), RETRY, LIFE);
    let taken = log.take(at(0), &mirror(0), Lane::Walk).unwrap();
    log.applied(at(0), &mirror(0), taken.ticket, &Outcome::Done);
    for number in 0..150 {
        seal(&mut log, number, &[&format!("d{}/f{number}", number % 3)]);
    }
    assert!(log.len() <= 100);
    assert!(!log.standing(&mirror(0), 9).unwrap().owes_walk);
    for number in 0..150 {
        seal(&mut log, number, &[&format!("e{number}/f")]);
    }
    assert!(log.len() <= 100);
    assert!(log.standing(&mirror(0), 9).unwrap().owes_walk, "nothing is left to coarsen");
}

#[test]
fn hard_case_5_a_full_log_does_not_restart_a_walk_under_way() {
    let mut log = ChangeLog::new(100);
    log.add_mirror(at(0), mirror(0), RETRY, LIFE);
    let walk = log.take(at(0), &mirror(0), Lane::Walk).unwrap();
    // Hours of changes that nothing can be made coarser of.
    for number in 0..300 {
        seal(&mut log, number, &[&format!("e{number}/f")]);
    }
    assert!(log.len() <= 100);
    assert!(log.applied(at(400), &mirror(0), walk.ticket, &Outcome::Done), "it still counts");
    assert!(!log.standing(&mirror(0), 9).unwrap().owes_walk);
    let after = log.take(at(401), &mirror(0), Lane::Fresh).unwrap();
    // Whatever it was coarsened to, every change is in it.
    let covers = |path: &str| {
        let path = RelPath::from(path);
        after.entries.iter().any(|(entry, _)| *entry == path || path.is_below(entry))
    };
    assert!((0..300).all(|number| covers(&format!("e{number}/f"))));
}

#[test]
fn hard_case_16_held_paths_are_bounded_and_none_is_forgotten() {
    let mut log = walked();
    let went = Kinds::WENT | Kinds::SUBTREE;
    let paths = (0..20_000).map(|number| (RelPath::from(format!("f{number}").as_str()), went));
    let held = Held { count: 20_000, paths: paths.collect(), from_empty_root: false };
    log.hold(at(1), &mirror(0), &held);
    let standing = log.standing(&mirror(0), 9).unwrap();
    assert_eq!((standing.held_deletions, standing.pending), (20_000, 1));
    assert_eq!(log.take(at(2), &mirror(0), Lane::Fresh), None, "nobody has approved");
    log.approve(at(3), &mirror(0));
    let approved = log.take(at(3), &mirror(0), Lane::Fresh).unwrap();
    assert_eq!(taken_paths(&approved), ["."]);
    assert_eq!(log.budget(&mirror(0), Lane::Fresh), Some(Budget::Approved));
    log.applied(at(4), &mirror(0), approved.ticket, &Outcome::Done);
    assert_eq!(log.standing(&mirror(0), 9).unwrap().held_deletions, 0);
    assert_eq!(log.budget(&mirror(0), Lane::Fresh), None, "an approval counts once");
}

fn away(log: &mut ChangeLog, from: u64, until: u64) {
    for second in [from, until - 1] {
        let taken = log.take(at(second), &mirror(0), Lane::Fresh).unwrap();
        log.applied(at(second), &mirror(0), taken.ticket, &retry_later());
    }
    let taken = log.take(at(until), &mirror(0), Lane::Fresh).unwrap();
    log.applied(at(until), &mirror(0), taken.ticket, &Outcome::Done);
}

fn bring(log: &mut ChangeLog, second: u64, path: &str) {
    seal(log, second, &[path]);
    let taken = log.take(at(second), &mirror(0), Lane::Fresh).unwrap();
    log.applied(at(second), &mirror(0), taken.ticket, &Outcome::Done);
}

#[test]
fn hard_case_22_after_a_long_outage_what_was_acknowledged_lately_is_pushed_again() {
    let mut log = walked();
    bring(&mut log, 100, "long ago");
    bring(&mut log, 500, "lately");
    seal(&mut log, 600, &["during"]);
    away(&mut log, 600, 700);
    let again = log.take(at(701), &mirror(0), Lane::Fresh).unwrap();
    assert!(again.entries.iter().all(|(_, kinds)| kinds.contains(Kinds::CONTENT)));
    assert_eq!(taken_paths(&again), ["lately"]);
    log.applied(at(702), &mirror(0), again.ticket, &Outcome::Done);
    assert_eq!(log.take(at(703), &mirror(0), Lane::Fresh), None);
}

#[test]
fn hard_case_22_a_short_outage_or_a_host_that_syncs_needs_no_second_push() {
    for is_durable in [false, true] {
        let mut log = walked();
        if is_durable {
            log.trust_writes(&mirror(0));
        }
        bring(&mut log, 500, "lately");
        seal(&mut log, 600, &["during"]);
        away(&mut log, 600, if is_durable { 700 } else { 620 });
        assert_eq!(log.take(at(701), &mirror(0), Lane::Fresh), None);
    }
}

#[test]
fn hard_case_22_what_was_pushed_late_counts_and_not_what_changed_late() {
    let mut log = walked();
    seal(&mut log, 1, &["backlog"]);
    let taken = log.take(at(550), &mirror(0), Lane::Fresh).unwrap();
    log.applied(at(550), &mirror(0), taken.ticket, &Outcome::Done);
    seal(&mut log, 600, &["during"]);
    away(&mut log, 600, 700);
    let again = log.take(at(701), &mirror(0), Lane::Fresh).unwrap();
    assert_eq!(taken_paths(&again), ["backlog"]);
}

#[test]
fn hard_case_22_too_much_for_the_memory_or_a_walk_lately_means_a_walk() {
    let mut log = walked();
    for number in 0..101 {
        let paths: Vec<String> = (0..100).map(|file| format!("{number}/{file}")).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        seal(&mut log, 500, &paths);
    }
    let taken = log.take(at(550), &mirror(0), Lane::Fresh).unwrap();
    log.applied(at(550), &mirror(0), taken.ticket, &Outcome::Done);
    seal(&mut log, 600, &["during"]);
    away(&mut log, 600, 700);
    assert!(log.owes_walk(&mirror(0)));
    let mut log = walked();
    seal(&mut log, 10, &["during"]);
    away(&mut log, 10, 100);
    assert!(log.owes_walk(&mirror(0)), "it was walked just before");
}

#[test]
fn hard_case_22_a_second_outage_soon_after_the_first_loses_nothing() {
    let mut log = walked();
    bring(&mut log, 1000, "before");
    seal(&mut log, 1001, &["first"]);
    let taken = log.take(at(1001), &mirror(0), Lane::Fresh).unwrap();
    log.applied(at(1001), &mirror(0), taken.ticket, &retry_later());
    seal(&mut log, 1002, &["during"]);
    let taken = log.take(at(1006), &mirror(0), Lane::Fresh).unwrap();
    log.applied(at(1006), &mirror(0), taken.ticket, &Outcome::Done);
    seal(&mut log, 1030, &["after"]);
    away(&mut log, 1030, 1150);
    let again = log.take(at(1151), &mirror(0), Lane::Fresh).unwrap();
    assert_eq!(taken_paths(&again), ["before", "during", "first"]);
}

#[test]
fn hard_case_22_what_was_brought_out_of_debts_may_be_lost_too() {
    let mut log = walked();
    bring(&mut log, 500, "lately");
    seal(&mut log, 600, &["during"]);
    away(&mut log, 600, 900);
    let again = log.take(at(901), &mirror(0), Lane::Fresh).unwrap();
    assert_eq!(taken_paths(&again), ["lately"]);
    log.applied(at(901), &mirror(0), again.ticket, &Outcome::Done);
    seal(&mut log, 910, &["then"]);
    away(&mut log, 910, 1110);
    let again = log.take(at(1111), &mirror(0), Lane::Fresh).unwrap();
    assert_eq!(taken_paths(&again), ["during", "lately"]);
}

fn set_aside(log: &mut ChangeLog, second: u64, path: &str) {
    seal(log, second, &[path, "small"]);
    let taken = log.take(at(second), &mirror(0), Lane::Fresh).unwrap();
    assert!(taken.may_set_aside);
    log.set_aside(at(second), &mirror(0), taken.ticket, &[(path.into(), Kinds::CONTENT)]);
    log.applied(at(second), &mirror(0), taken.ticket, &Outcome::Done);
}

#[test]
fn a_large_file_has_a_push_of_its_own_and_what_it_may_undo_is_pushed_once_more() {
    let mut log = walked();
    set_aside(&mut log, 1, "d/big");
    let standing = |log: &ChangeLog| log.standing(&mirror(0), 9).unwrap();
    assert_eq!((standing(&log).pending, standing(&log).behind_since), (1, Some(at(1))));
    assert_eq!(log.take(at(2), &mirror(0), Lane::Fresh), None);
    let large = log.take(at(2), &mirror(0), Lane::Walk).unwrap();
    assert_eq!((taken_paths(&large), large.walk), (vec!["d/big".to_string()], false));
    seal(&mut log, 3, &["other"]);
    seal_kinds(&mut log, 3, &["d/big"], Kinds::WENT);
    let taken = log.take(at(3), &mirror(0), Lane::Fresh).unwrap();
    log.applied(at(3), &mirror(0), taken.ticket, &Outcome::Done);
    assert_eq!(standing(&log).pending, 1, "it is still under way");
    log.applied(at(9), &mirror(0), large.ticket, &Outcome::Done);
    let again = log.take(at(9), &mirror(0), Lane::Fresh).unwrap();
    assert_eq!(taken_paths(&again), [".", "d", "d/big"], "and not what is elsewhere");
    log.applied(at(9), &mirror(0), again.ticket, &Outcome::Done);
    assert_eq!(standing(&log).pending, 0);
    assert_eq!(log.take(at(10), &mirror(0), Lane::Walk), None);
}

#[test]
fn a_large_file_that_broke_off_or_failed_is_still_owed() {
    let mut log = walked();
    set_aside(&mut log, 1, "big");
    let large = log.take(at(2), &mirror(0), Lane::Walk).unwrap();
    log.applied(at(3), &mirror(0), large.ticket, &retry_later());
    let large = log.take(at(4), &mirror(0), Lane::Walk).unwrap();
    let denied = Failed { path: "big".into(), kinds: Kinds::CONTENT, reason: "denied".into() };
    log.applied(at(5), &mirror(0), large.ticket, &Outcome::Partly(vec![denied]));
    assert_eq!(log.standing(&mirror(0), 9).unwrap().stuck_total, 1);
    let tried = log.take(at(999), &mirror(0), Lane::Fresh).unwrap();
    assert_eq!(taken_paths(&tried), ["big"]);
    assert!(!tried.may_set_aside, "what failed is tried on its own backoff");
}

#[test]
fn hard_case_14_a_large_file_that_was_under_way_when_its_host_died_is_pushed_once_more() {
    let mut log = walked();
    set_aside(&mut log, 1, "big");
    log.take(at(1), &mirror(0), Lane::Walk).unwrap();
    log.owe_walk(at(2), &mirror(0));
    log.void_tickets(at(3), &mirror(0));
    let walk = log.take(at(4), &mirror(0), Lane::Walk).unwrap();
    log.applied(at(5), &mirror(0), walk.ticket, &Outcome::Done);
    let mut pushed = 0;
    for second in [6, 40, 50] {
        let Some(work) = log.take(at(second), &mirror(0), Lane::Fresh) else { continue };
        pushed += work.entries.iter().filter(|(path, _)| *path == "big".into()).count();
        log.applied(at(second), &mirror(0), work.ticket, &Outcome::Done);
    }
    assert_eq!(pushed, 2, "after the walk, and when nothing older can land any more");
}

#[test]
fn a_large_file_that_failed_is_not_taken_for_brought_by_the_push_that_left_it() {
    let mut log = walked();
    log.owe_walk(at(1), &mirror(0));
    seal(&mut log, 1, &["big", "small"]);
    let walk = log.take(at(2), &mirror(0), Lane::Walk).unwrap();
    log.applied(at(2), &mirror(0), walk.ticket, &Outcome::Done);
    let fresh = log.take(at(3), &mirror(0), Lane::Fresh).unwrap();
    assert_eq!(taken_paths(&fresh), ["big", "small"]);
    log.set_aside(at(3), &mirror(0), fresh.ticket, &[("big".into(), Kinds::CONTENT)]);
    let large = log.take(at(3), &mirror(0), Lane::Walk).unwrap();
    let denied = Failed { path: "big".into(), kinds: Kinds::CONTENT, reason: "denied".into() };
    log.applied(at(4), &mirror(0), large.ticket, &Outcome::Partly(vec![denied]));
    log.applied(at(5), &mirror(0), fresh.ticket, &Outcome::Done);
    assert_eq!(log.standing(&mirror(0), 9).unwrap().stuck_total, 1);
}

#[test]
fn what_failed_is_brought_by_whatever_is_pushed_there_before_its_time() {
    let mut log = walked();
    log.owe_walk(at(1), &mirror(0));
    seal(&mut log, 1, &["big"]);
    let walk = log.take(at(2), &mirror(0), Lane::Walk).unwrap();
    let (path, kinds) = (RelPath::root(), Kinds::SUBTREE);
    let failed = Failed { path, kinds, reason: "something odd".into() };
    log.applied(at(2), &mirror(0), walk.ticket, &Outcome::Partly(vec![failed]));
    let fresh = log.take(at(2), &mirror(0), Lane::Fresh).unwrap();
    log.set_aside(at(2), &mirror(0), fresh.ticket, &[("big".into(), Kinds::CONTENT)]);
    log.applied(at(2), &mirror(0), fresh.ticket, &Outcome::Done);
    let large = log.take(at(2), &mirror(0), Lane::Walk).unwrap();
    seal_kinds(&mut log, 2, &["big"], Kinds::ATTRS);
    // The time of the directory around it is set once more, where much more is owed.
    log.applied(at(2), &mirror(0), large.ticket, &Outcome::Done);
    let again = log.take(at(2), &mirror(0), Lane::Fresh).unwrap();
    let (_, kinds) = again.entries.iter().find(|(path, _)| path.is_root()).unwrap();
    assert!(kinds.contains(Kinds::SUBTREE), "{again:?}");
    // The same for what a person lets go.
    let mut log = walked();
    seal(&mut log, 1, &["bad"]);
    let taken = log.take(at(1), &mirror(0), Lane::Fresh).unwrap();
    log.applied(at(1), &mirror(0), taken.ticket, &fail(&"bad".into()));
    let paths = vec![("bad".into(), Kinds::WENT)];
    log.hold(at(1), &mirror(0), &Held { count: 1, paths, from_empty_root: false });
    log.approve(at(1), &mirror(0));
    let again = log.take(at(1), &mirror(0), Lane::Fresh).unwrap();
    assert_eq!(again.entries, [("bad".into(), Kinds::WENT | Kinds::CONTENT)]);
}

#[test]
fn what_was_written_to_before_a_check_is_pushed_after_it() {
    for depth in [Depth::Times, Depth::Contents] {
        let mut log = walked();
        seal(&mut log, 1, &["f"]);
        log.owe_check(&mirror(0), depth);
        // A host that can't compare contents compares times.
        let walk = log.take(at(2), &mirror(0), Lane::Walk).unwrap();
        assert!(walk.walk);
        log.applied(at(3), &mirror(0), walk.ticket, &Outcome::Done);
        let after = log.take(at(3), &mirror(0), Lane::Fresh).expect("times may not tell");
        assert_eq!(taken_paths(&after), ["f"], "{depth:?}");
    }
}

#[test]
fn a_mirror_that_is_to_be_walked_lags_no_less_for_that() {
    let mut log = walked();
    seal(&mut log, 5, &["f"]);
    let since = |log: &ChangeLog| log.standing(&mirror(0), 0).unwrap().behind_since;
    assert_eq!(since(&log), Some(at(5)));
    log.owe_walk(at(60), &mirror(0));
    assert_eq!(since(&log), Some(at(5)));
    log.owe_walks(at(90));
    assert_eq!(since(&log), Some(at(5)));
}

#[test]
fn what_was_written_to_is_not_forgotten_by_a_walk_that_judges_what_had_failed_there() {
    let mut log = walked();
    seal_kinds(&mut log, 1, &["f"], Kinds::ATTRS);
    let taken = log.take(at(1), &mirror(0), Lane::Fresh).unwrap();
    let denied = Failed { path: "f".into(), kinds: Kinds::ATTRS, reason: "denied".into() };
    log.applied(at(1), &mirror(0), taken.ticket, &Outcome::Partly(vec![denied]));
    log.owe_walk(at(2), &mirror(0));
    seal(&mut log, 2, &["f"]);
    let walk = log.take(at(3), &mirror(0), Lane::Walk).unwrap();
    log.applied(at(4), &mirror(0), walk.ticket, &Outcome::Done);
    let after = log.take(at(4), &mirror(0), Lane::Fresh).expect("a walk does not see it");
    assert_eq!(after.entries, [("f".into(), Kinds::CONTENT)]);
}

#[test]
fn large_files_are_left_to_a_walk_that_is_owed_but_for_their_content() {
    let mut log = walked();
    set_aside(&mut log, 1, "big");
    log.owe_walk(at(2), &mirror(0));
    let walk = log.take(at(2), &mirror(0), Lane::Walk).unwrap();
    assert!(walk.walk);
    log.applied(at(3), &mirror(0), walk.ticket, &Outcome::Done);
    let after = log.take(at(3), &mirror(0), Lane::Fresh).unwrap();
    assert_eq!(taken_paths(&after), ["big"]);
}

#[test]
fn after_lost_events_not_all_hosts_are_walked_in_the_same_moment() {
    let mut log = ChangeLog::new(1000);
    let ids: Vec<MirrorId> =
        (0..20).map(|n| MirrorId::new(&"r".into(), &format!("web{n}").as_str().into())).collect();
    for id in &ids {
        log.add_mirror(at(0), id.clone(), RETRY, Duration::from_secs(20));
    }
    assert!(ids.iter().all(|id| log.wants_walk(at(0), id)), "at first contact nobody waits");
    log.owe_walks(at(10));
    let at_once = ids.iter().filter(|id| log.wants_walk(at(10), id)).count();
    assert!(at_once < 5, "{at_once}");
    assert!(ids.iter().all(|id| log.wants_walk(at(15), id)));
    assert!(log.next_due(at(10)).is_some_and(|due| due <= at(15)));
}

#[test]
fn what_a_recorded_mirror_lacked_is_pushed_once_more_after_a_crash_too() {
    for (journal, lacks, may_change) in [
        (vec![], vec![], false),
        (vec![], vec![("b".into(), Kinds::CONTENT)], true),
        (vec![("a".into(), Kinds::CONTENT)], vec![], true),
    ] {
        let mut log = ChangeLog::new(1000);
        log.add_mirror(at(0), mirror(0), RETRY, LIFE);
        log.echo_all(at(0));
        let holders = [(mirror(0), lacks)].into();
        log.resume(at(0), Default::default(), &holders, Some(&journal));
        let standing = log.standing(&mirror(0), 9).unwrap();
        assert_eq!((standing.owes_walk, standing.may_change), (false, may_change));
    }
}
