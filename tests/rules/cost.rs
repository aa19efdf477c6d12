//! What large changes cost: time in proportion to their size. CPU time of this thread is measured, so that what else runs
//! on this machine counts for little.

use std::collections::BTreeMap;
use std::time::Duration;

use mirrorball_core::data::absent_volumes::AbsentVolumes;
use mirrorball_core::data::change::{Change, Kinds, Lane};
use mirrorball_core::data::ids::MirrorId;
use mirrorball_core::data::moment::Moment;
use mirrorball_core::data::outcome::{AssignmentEnd, Outcome};
use mirrorball_core::data::path::RelPath;
use mirrorball_core::host::target_state::TargetState;
use mirrorball_core::machine::Rule;
use mirrorball_core::root::batch::{self, Looked, Made, Presence};
use mirrorball_core::root::collator::{Collator, Effect};
use mirrorball_core::root::deletions::{DeletionAccount, DeletionTerms};
use mirrorball_core::root::epoch::Waits;
use mirrorball_core::root::ledger::{Assignment, Work};
use mirrorball_core::source::entry_count::{Unit, UnitChange};
use mirrorball_core::source::filter::Filter;

use crate::ledger::lab::TERMS;

const DIRECTORIES: usize = 300;

/// CPU time of this thread, from the first number in `/proc/thread-self/schedstat`, in nanoseconds.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

/// The least of three, against what disturbs one of them.
fn cost(work: impl Fn()) -> Duration {
    let once = || {
        let before = cpu_time();
        work();
        cpu_time() - before
    };
    (0..3).map(|_| once()).min().unwrap()
}

struct World {
    collator: Collator,
    mirror: MirrorId,
    now: Moment,
}

/// A watched root and a mirror in sync, with this many files in [`DIRECTORIES`] directories, and as many beside
/// them that stay.
fn world(files: usize, max_delete: u64) -> World {
    let now = Moment::after_start(Duration::from_secs(1000));
    let terms = DeletionTerms {
        max_delete: Some(max_delete),
        window: Duration::from_secs(3600),
        may_be_empty: false,
        free_to_delete: Vec::new(),
    };
    let waits = Waits {
        settle: Duration::ZERO,
        max_age: Duration::from_secs(1),
        open_quiet: Duration::from_secs(2),
        open_max: Duration::from_secs(60),
    };
    let mirror = MirrorId::new(&"site".into(), &"web".into());
    let account = DeletionAccount::new(terms, now);
    let collator = Collator::new(now, 1, waits, account, [(mirror.clone(), TERMS)]);
    let mut world = World { collator, mirror, now };
    world.collator.handle_target(&world.mirror, TargetState::Exists);
    world.tell_levels(2 * files / DIRECTORIES);
    world.collator.handle_watching(now);
    let walk = world.take(Lane::Slow).expect("it owes its first walk");
    world.end(&walk, Outcome::Done);
    world
}

fn path(number: usize) -> RelPath {
    format!("d{}/f{number}", number % DIRECTORIES).as_str().into()
}

impl World {
    /// Each directory holds so many files, and itself.
    fn tell_levels(&mut self, files: usize) {
        let level = |number| UnitChange {
            unit: Unit::Directory(format!("d{number}").as_str().into()),
            now: Some(files as u64 + 1),
            moved: 0,
        };
        self.collator.handle_levels(self.now, (0..DIRECTORIES).map(level).collect());
    }

    fn take(&mut self, lane: Lane) -> Option<Assignment> {
        let mut effects = std::iter::from_fn(|| self.collator.poll_effect());
        effects.by_ref().for_each(drop);
        self.collator.handle_take(self.now, &self.mirror, lane);
        let mut effects = std::iter::from_fn(|| self.collator.poll_effect());
        effects.find_map(|it| match it {
            Effect::Make(_, assignment) => Some(assignment),
            _ => None,
        })
    }

    fn end(&mut self, assignment: &Assignment, outcome: Outcome) {
        let end = AssignmentEnd::new(outcome);
        self.collator.handle_ended(self.now, &self.mirror, assignment.id, &end);
    }

    /// All files go, event by event.
    fn delete(&mut self, files: usize) {
        let changes = (0..files).map(|number| Change::new(path(number), Kinds::WENT)).collect();
        self.tell_levels(files / DIRECTORIES);
        self.collator.handle_changed(self.now, changes, false);
    }

    /// Everything that is due is looked at, and what may go goes. Returns how many paths were deleted.
    fn push(&mut self) -> usize {
        let mut deleted = 0;
        while let Some(assignment) = self.take(Lane::Fresh) {
            let made = look(&assignment);
            let batch = self.collator.handle_made(self.now, &self.mirror, assignment.id, &made);
            if let Some(batch) = batch {
                deleted += batch.missing.len();
                self.end(&assignment, Outcome::Done);
            }
        }
        deleted
    }

    fn held(&self) -> u64 {
        self.collator.report().mirrors[0].1.held_deletions
    }
}

/// None of the files is there any more; their directories are.
fn look(assignment: &Assignment) -> Made {
    let Work::Push(entries) = &assignment.work else { panic!("it compares") };
    let presence = |path: &RelPath| match path.parent() {
        Some(parent) if !parent.is_root() => Presence::Missing { topmost: path.clone() },
        _ => Presence::Present { is_directory: true },
    };
    let found: Vec<Presence> = entries.iter().map(|(path, _)| presence(path)).collect();
    let looked = Looked {
        entries,
        found: &found,
        bytes: &[],
        lost: &assignment.lost,
        found_extra: &BTreeMap::new(),
        absent: &AbsentVolumes::default(),
    };
    batch::make(assignment.to, looked, &Filter::new(&[]).expect("no rule is wrong"), Vec::new())
}

/// Four times as much may cost ten times as much, not sixteen times.
fn expect_proportion(what: &str, work: impl Fn(usize)) {
    let (small, large) = (cost(|| work(3_000)), cost(|| work(12_000)));
    assert!(large < small * 10 + Duration::from_millis(40), "{what}: {small:?}, then {large:?}");
}

#[test]
fn deletions_cost_in_proportion_to_their_number() {
    expect_proportion("free deletions", |files| {
        let mut world = world(files, u64::MAX);
        world.delete(files);
        assert_eq!(world.push(), files);
    });
}

#[test]
fn held_deletions_cost_in_proportion_to_their_number_also_when_they_are_judged_again() {
    expect_proportion("held deletions", |files| {
        let mut world = world(files, 10);
        world.delete(files);
        assert_eq!((world.push(), world.held()), (0, files as u64));
        // Each is told once more, so each is judged again.
        world.delete(files);
        assert_eq!(world.push(), 0);
        assert!(world.held() >= files as u64);
    });
}

#[test]
fn a_change_costs_little_while_many_deletions_are_held() {
    let hold_and_change = || {
        let mut world = world(12_000, 10);
        let before = cpu_time();
        world.delete(9_900);
        assert_eq!((world.push(), world.held()), (0, 9_900));
        let held = cpu_time();
        for number in 0..100 {
            world.now = world.now + Duration::from_millis(10);
            let change = Change::new(format!("new{number}").as_str().into(), Kinds::CONTENT);
            world.collator.handle_changed(world.now, vec![change], false);
            let assignment = world.take(Lane::Fresh).expect("a file changed");
            world.end(&assignment, Outcome::Done);
            assert_eq!(world.held(), 9_900);
        }
        (held - before, cpu_time() - held)
    };
    let costs: Vec<(Duration, Duration)> = (0..3).map(|_| hold_and_change()).collect();
    let hold = costs.iter().map(|(hold, _)| *hold).max().unwrap();
    let change = costs.iter().map(|(_, change)| *change).min().unwrap();
    assert!(change < hold * 4, "{costs:?}");
}
