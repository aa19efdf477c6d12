//! Stories for each rule of the account, and a comparison with a model that remembers everything.

use proptest::prelude::*;

use super::*;
use crate::source::entry_count::{EntryCount, Size};

const WINDOW: Duration = Duration::from_secs(64);

fn terms() -> DeletionTerms {
    let free_to_delete = Vec::new();
    DeletionTerms { max_delete: None, window: WINDOW, may_be_empty: false, free_to_delete }
}

/// A root, counted as it would be, and its account.
struct Story {
    count: EntryCount,
    account: DeletionAccount,
    now: Moment,
    epoch: Epoch,
}

impl Story {
    /// Directories, with the number of entries directly in each.
    fn new(terms: DeletionTerms, counts: &[(&str, u64)]) -> Self {
        let account = DeletionAccount::new(terms, Moment::default());
        Self::resumed(account, counts)
    }

    fn resumed(account: DeletionAccount, counts: &[(&str, u64)]) -> Self {
        let mut count = EntryCount::new(account.terms.free_to_delete.clone());
        count.set(counts.iter().map(|(path, entries)| ((*path).into(), *entries)), &[]);
        count.settled();
        let mut story = Self { count, account, now: Moment::default(), epoch: Epoch::default() };
        story.settle();
        story
    }

    fn settle(&mut self) -> bool {
        let changes = self.count.take_changes().expect("it was scanned");
        self.account.apply(self.now, changes)
    }

    /// A directory is deleted, with so many entries below it. Returns whether that may go to the mirrors.
    fn lose(&mut self, path: &str, below: u64) -> Permission {
        self.count.went(&path.into(), Size::Directory(below));
        self.missing(path, below + 1)
    }

    fn lose_file(&mut self, path: &str) -> Permission {
        self.count.went(&path.into(), Size::File);
        self.missing(path, 1)
    }

    fn missing(&mut self, path: &str, entries: u64) -> Permission {
        let path = path.into();
        self.epoch = self.epoch.next();
        self.settle();
        self.account.note_changed(&path, self.epoch);
        self.account.hold(&path, self.epoch, entries);
        self.account.may_delete(&path, self.epoch)
    }

    fn come(&mut self, path: &str, below: u64) {
        let path = path.into();
        self.epoch = self.epoch.next();
        self.count.arrived(&path, Size::Directory(below));
        self.settle();
        self.account.note_changed(&path, self.epoch);
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.account.tick(self.now);
    }

    fn may_delete(&self, path: &str, epoch: u64) -> Permission {
        self.account.may_delete(&path.into(), Epoch(epoch))
    }

    fn approve(&mut self) {
        let number = self.account.list().expect("something waits").number;
        self.account.approve(self.now, number).expect("it is the current list");
    }

    fn is_waiting(&self) -> bool {
        self.account.waiting_since().is_some()
    }
}

#[test]
fn time_opens_nothing() {
    let mut story = Story::new(terms(), &[("", 1), ("data", 99_999)]);
    for slice in 1..=8 {
        let permission = story.lose(&format!("data/{slice}"), 9_999);
        let expected = if slice <= 5 { Permission::Free } else { Permission::Waits };
        assert_eq!(permission, expected, "{slice}0,000 of 100,000");
    }
    for _ in 0..100 {
        story.pass(WINDOW);
        assert_eq!(story.may_delete("data/8", 8), Permission::Waits);
        assert_eq!(story.lose_file("data/9"), Permission::Waits);
        story.come("data/10", 0);
    }
    assert_eq!(story.account.totals().loss, 80_000);
}

#[test]
fn a_loss_within_the_limit_is_forgotten_after_the_window() {
    let mut story = Story::new(terms(), &[("", 1), ("data", 9_999)]);
    assert_eq!(story.lose("data/1", 4_999), Permission::Free);
    story.pass(WINDOW);
    assert_eq!(story.account.totals().loss, 5_000);
    story.pass(WINDOW / WINDOW_STEPS);
    assert_eq!(story.account.totals().loss, 0);
    assert_eq!(story.lose("data/2", 2_499), Permission::Free);
    assert_eq!(story.lose_file("data/3"), Permission::Waits);
}

#[test]
fn a_root_that_is_emptied_waits_as_a_whole() {
    let mut story = Story::new(terms(), &[("", 50)]);
    for file in 0..50 {
        story.count.went(&format!("{file}").as_str().into(), Size::File);
    }
    assert!(story.settle(), "runs that delete are ended");
    assert_eq!(story.may_delete("7", 1), Permission::Waits);
    story.pass(100 * WINDOW);
    assert_eq!(story.may_delete("7", 1), Permission::Waits);
}

#[test]
fn nine_tenths_bound_a_small_root_that_is_emptied_slowly() {
    let mut story = Story::new(terms(), &[("", 50)]);
    let permissions: Vec<_> = (0..50).map(|file| story.lose_file(&file.to_string())).collect();
    assert!(permissions[..45].iter().all(|it| *it == Permission::Free));
    assert!(permissions[45..].iter().all(|it| *it == Permission::Waits));
}

#[test]
fn slices_within_a_budget_each_wait_at_the_limit() {
    let mut story = Story::new(terms(), &[("", 1), ("src", 3_999)]);
    for slice in 1..=30 {
        let permission = story.lose(&format!("src/{slice}"), 99);
        let expected = if slice <= 20 { Permission::Free } else { Permission::Waits };
        assert_eq!(permission, expected);
        story.pass(Duration::from_secs(2));
    }
    // Also what no mirror has deleted yet.
    assert_eq!(story.may_delete("src/1", 1), Permission::Waits);
}

#[test]
fn what_comes_in_one_unit_does_not_pay_for_another() {
    let mut story = Story::new(terms(), &[("", 2), ("data", 9_999), ("cache", 9)]);
    for slice in 0..5 {
        story.come(&format!("cache/{slice}"), 999);
        story.lose(&format!("data/{slice}"), 1_999);
    }
    assert_eq!(story.may_delete("data/4", 10), Permission::Waits);
    assert_eq!(story.may_delete("cache/4", 9), Permission::Free, "a unit without a loss");
    let limit = story.account.limit();
    story.come("cache/much", 1_000_000);
    story.pass(10 * WINDOW);
    assert_eq!(story.account.limit(), limit);
    assert_eq!(story.may_delete("data/4", 10), Permission::Waits, "nor for its limit later");
}

#[test]
fn entries_that_come_back_end_the_waiting() {
    let mut story = Story::new(terms(), &[("", 1), ("node_modules", 29_999)]);
    assert_eq!(story.lose("node_modules/a", 19_999), Permission::Waits);
    story.pass(3 * WINDOW);
    story.come("node_modules/a", 4_999);
    assert_eq!(story.may_delete("node_modules/a/b", 1), Permission::Free);
    assert_eq!(story.account.list(), None);
    // The time for which it waited does not count: the loss goes to the mirrors only now.
    assert_eq!(story.account.totals().loss, 15_000);
}

#[test]
fn a_root_that_was_emptied_ends_at_half_of_its_marks() {
    let terms = DeletionTerms { max_delete: Some(1_000_000), ..terms() };
    let mut story = Story::new(terms, &[("", 2), ("a", 49), ("b", 49)]);
    for unit in ["a", "b"] {
        story.count.went(&unit.into(), Size::Unknown);
    }
    story.settle();
    assert!(story.is_waiting());
    story.come("a", 48);
    assert!(story.is_waiting(), "49 of 100");
    story.come("a/x", 0);
    assert!(!story.is_waiting());
}

#[test]
fn retries_get_no_fresh_budget() {
    let mut story = Story::new(DeletionTerms { max_delete: Some(5), ..terms() }, &[("", 100)]);
    let free = (0..11).filter(|file| story.lose_file(&file.to_string()) == Permission::Free);
    assert_eq!(free.count(), 5);
    for retry in 0..10 {
        story.pass(WINDOW);
        assert_eq!(story.may_delete("7", 8), Permission::Waits, "retry {retry}");
    }
}

#[test]
fn an_approval_covers_no_later_loss() {
    let mut story =
        Story::new(DeletionTerms { max_delete: Some(5), ..terms() }, &[("", 1), ("d", 999)]);
    assert_eq!(story.lose("d/ten", 9), Permission::Waits);
    let shown = story.account.list().cloned().expect("it waits");
    assert_eq!((shown.entries.len(), shown.entries[0].entries), (1, 10));
    assert_eq!(story.lose("d/many", 489), Permission::Waits);
    assert_eq!(story.account.list(), Some(&shown), "it stays as it is");
    story.approve();
    assert_eq!(story.may_delete("d/ten", 1), Permission::Approved);
    assert_eq!(story.may_delete("d/many", 2), Permission::Waits);
    let asked = shown.number;
    assert_eq!(
        story.account.approve(story.now, asked),
        Err(ApproveError::NoneCurrent),
        "it is used once"
    );
    let next = story.account.list().expect("the rest").clone();
    assert_eq!((next.number, next.entries[0].entries), (asked + 1, 490));
    assert_eq!(
        story.account.approve(story.now, asked),
        Err(ApproveError::NotCurrent { current: next.number })
    );
    story.approve();
    assert!(!story.is_waiting());
    assert_eq!(story.account.totals().loss, 0, "later losses are counted from here");
}

#[test]
fn an_approval_is_void_after_the_name_came_back() {
    let mut story =
        Story::new(DeletionTerms { max_delete: Some(5), ..terms() }, &[("", 1), ("d", 999)]);
    story.lose("d/old", 99);
    story.approve();
    story.come("d/old", 99);
    assert_eq!(story.lose("d/old", 99), Permission::Waits);
    // The same between the list and its approval.
    story.account.list();
    story.come("d/old", 99);
    assert!(!story.is_waiting());
    story.lose("d/other", 99);
    story.lose("d/old", 99);
    story.account.list();
    story.come("d/old", 99);
    story.lose("d/old", 99);
    story.approve();
    assert_eq!(story.may_delete("d/other", 5), Permission::Approved);
    assert_eq!(story.may_delete("d/old", story.epoch.0), Permission::Waits);
}

#[test]
fn a_change_below_an_approved_name_makes_the_approval_void_there_alone() {
    let mut story =
        Story::new(DeletionTerms { max_delete: Some(0), ..terms() }, &[("", 1), ("d", 999)]);
    story.lose("d/a", 99);
    story.approve();
    story.lose("d/b", 99);
    story.account.note_changed(&"d/a/x".into(), Epoch(7));
    assert_eq!(story.may_delete("d/a/y", 1), Permission::Approved);
    assert_eq!(story.may_delete("d/a/x", 1), Permission::Waits);
    assert_eq!(story.may_delete("d/a", 1), Permission::Waits, "it would delete d/a/x");
    story.account.note_changed(&"d".into(), Epoch(8));
    assert_eq!(story.may_delete("d/a/y", 1), Permission::Waits);
}

#[test]
fn waiting_and_approvals_survive_a_restart() {
    let mut story =
        Story::new(DeletionTerms { max_delete: Some(5), ..terms() }, &[("", 1), ("d", 999)]);
    assert_eq!(story.account.take_dirty(), Some(Durability::Written));
    story.lose("d/a", 99);
    assert_eq!(story.account.take_dirty(), Some(Durability::Synced));
    story.approve();
    story.lose("d/b", 99);
    assert_eq!(story.account.take_dirty(), Some(Durability::Synced));
    assert_eq!(story.account.take_dirty(), None);
    let number = story.account.list().expect("d/b waits").number;
    assert_eq!(story.account.take_dirty(), Some(Durability::Synced), "its number is given once");

    let kept = story.account.to_kept();
    let account = DeletionAccount::from_kept(story.account.terms.clone(), kept.clone(), story.now);
    let approvals = kept.approvals.clone().of_earlier_start();
    assert_eq!(account.to_kept(), KeptAccount { approvals, ..kept });
    assert_eq!(account.may_delete(&"d/c".into(), Epoch(3)), Permission::Waits, "not yet counted");
    let mut story = Story::resumed(account, &[("", 1), ("d", 799)]);
    story.account.note_resumed(Epoch(1));
    story.pass(3 * WINDOW);
    assert_eq!(story.may_delete("d/a", 1), Permission::Approved);
    assert_eq!(story.may_delete("d/b", 2), Permission::Waits);
    story.account.hold(&"d/b".into(), Epoch(2), 100);
    assert_eq!(story.account.list().map(|shown| shown.number), Some(number + 1));
}

#[test]
fn a_name_that_came_back_after_a_restart_is_not_covered_by_an_approval_of_before() {
    let terms = DeletionTerms { max_delete: Some(5), ..terms() };
    let mut story = Story::new(terms.clone(), &[("", 1), ("d", 999)]);
    // Epochs begin anew with each start.
    story.epoch = Epoch(500);
    story.lose("d/a", 99);
    story.lose("d/b", 99);
    story.lose("d/c", 99);
    story.approve();
    story.account.note_changed(&"d/c/back".into(), Epoch(504));
    let account = DeletionAccount::from_kept(terms, story.account.to_kept(), story.now);
    let mut story = Story::resumed(account, &[("", 1), ("d", 699)]);
    story.epoch = Epoch(1);
    story.account.note_resumed(Epoch(1));
    story.come("d/a", 99);
    assert_eq!(story.lose("d/a", 99), Permission::Waits);
    assert_eq!(story.may_delete("d/b", 1), Permission::Approved);
    assert_eq!(story.may_delete("d/c", 1), Permission::Waits, "part of it came back before");
}

#[test]
fn what_is_lost_while_the_daemon_is_down_is_lost() {
    let story = Story::new(terms(), &[("", 2), ("a", 9_999), ("b", 9_999)]);
    let kept = story.account.to_kept();
    let account = DeletionAccount::from_kept(terms(), kept, Moment::default());
    let story = Story::resumed(account, &[("", 1), ("a", 8_999)]);
    assert_eq!(story.account.totals().loss, 11_000);
    assert_eq!(story.may_delete("b", 1), Permission::Waits);
    assert_eq!(story.may_delete("a/x", 1), Permission::Waits);
}

#[test]
fn free_trees_are_deleted_while_everything_waits() {
    let terms = DeletionTerms { free_to_delete: vec!["cache".into()], ..terms() };
    let mut story = Story::new(terms, &[("", 2), ("cache", 50_000), ("a", 99)]);
    assert_eq!(story.lose("cache/x", 49_999), Permission::Free);
    assert_eq!(story.account.totals().loss, 0);
    story.lose("a", 99);
    assert!(story.is_waiting());
    assert_eq!(story.may_delete("cache", 1), Permission::Free);
    assert_eq!(story.may_delete("cached", 1), Permission::Free, "no unit of that name waits");
    assert_eq!(story.may_delete("", 1), Permission::Waits);
}

#[test]
fn a_spool_may_be_empty() {
    let terms = DeletionTerms { may_be_empty: true, ..terms() };
    let mut story = Story::new(terms, &[("", 50)]);
    assert!((0..50).all(|file| story.lose_file(&file.to_string()) == Permission::Free));
    let terms = DeletionTerms { max_delete: Some(10), ..story.account.terms.clone() };
    let mut story = Story::new(terms, &[("", 50)]);
    let free = (0..50).filter(|file| story.lose_file(&file.to_string()) == Permission::Free);
    assert_eq!(free.count(), 10, "the number counts as ever");
}

#[test]
fn a_rename_between_units_is_no_loss() {
    let mut story = Story::new(terms(), &[("", 2), ("a", 9_999), ("b", 9)]);
    story.count.moved(&"a/x".into(), &"b/x".into(), Size::Directory(8_999));
    story.settle();
    assert_eq!(story.account.totals().loss, 0);
    story.count.moved(&"b".into(), &"c".into(), Size::Unknown);
    story.settle();
    assert_eq!(story.account.totals().loss, 0);
    assert_eq!(story.lose("c", 9_009), Permission::Waits);
    assert_eq!(story.account.totals().loss, 9_010);
}

#[test]
fn a_unit_of_unknown_size_waits_until_it_is_counted() {
    let mut story = Story::new(terms(), &[("", 2), ("a", 9), ("a/b", 99), ("c", 9)]);
    story.count.went(&"a/b".into(), Size::Unknown);
    assert!(story.settle());
    assert_eq!(story.may_delete("a/b", 1), Permission::Waits);
    assert_eq!(story.may_delete("c/x", 1), Permission::Free);
    for unit in story.count.needs_count() {
        story.count.counted(unit, 9);
    }
    story.settle();
    assert_eq!(story.may_delete("a/b", 1), Permission::Free);
    assert_eq!(story.account.totals().loss, 100);
}

#[test]
fn units_that_are_gone_stay_within_bounds_and_their_loss_remains() {
    let mut story = Story::new(DeletionTerms { max_delete: Some(0), ..terms() }, &[("", 9)]);
    story.lose_file("f");
    for directory in 0..3 * UNITS_MAX {
        let path = format!("d{directory}");
        story.count.came(&path.as_str().into(), true);
        story.settle();
        story.count.went(&path.as_str().into(), Size::Directory(0));
        story.settle();
    }
    assert!(story.account.units.len() <= 2 * UNITS_MAX);
    assert_eq!(story.account.totals().loss, 3 * UNITS_MAX as u64 + 1);
    assert_eq!(story.may_delete("d0", 1), Permission::Waits);
}

/// The same rules over the whole history, without any of the account's means.
#[derive(Default)]
struct Model {
    max_delete: Option<u64>,
    /// Seconds that passed while nothing waited.
    clock: u64,
    now: BTreeMap<RelPath, u64>,
    /// Until when each unit held each of its levels.
    past: BTreeMap<RelPath, Vec<(u64, u64)>>,
    limit_exceeded: Option<u64>,
    is_emptied: bool,
    changes: Vec<(RelPath, Epoch)>,
    approved: Vec<(RelPath, Epoch)>,
    shown: Option<(ShownList, BTreeMap<RelPath, u64>)>,
}

impl Model {
    fn set(&mut self, unit: &RelPath, level: u64) {
        let now = self.now.insert(unit.clone(), level).unwrap_or(0);
        self.past.entry(unit.clone()).or_default().push((self.clock, now));
        if let Some((_, most)) = &mut self.shown
            && let Some(most) = most.get_mut(unit)
        {
            *most = level.max(*most);
        }
    }

    fn shift(&mut self, unit: &RelPath, by: i64) {
        let now = self.now.get(unit).copied().unwrap_or(0).saturating_add_signed(by);
        self.now.insert(unit.clone(), now);
        for (_, level) in self.past.entry(unit.clone()).or_default() {
            *level = level.saturating_add_signed(by);
        }
        if let Some((_, most)) = &mut self.shown
            && let Some(most) = most.get_mut(unit)
        {
            *most = most.saturating_add_signed(by).max(now);
        }
    }

    fn mark(&self, unit: &RelPath) -> u64 {
        let past = self.past.get(unit).into_iter().flatten();
        let within = past.filter(|(until, _)| self.clock - until <= WINDOW.as_secs());
        within.map(|(_, level)| *level).max().unwrap_or(0).max(self.now[unit])
    }

    fn loss(&self) -> u64 {
        self.now.iter().map(|(unit, now)| self.mark(unit) - now).sum()
    }

    fn limit(&self) -> u64 {
        let all: u64 = self.now.keys().map(|unit| self.mark(unit)).sum();
        let limit = self.max_delete.unwrap_or(1_000.max(all / 2));
        if all >= 10 { limit.min(all * 9 / 10) } else { limit }
    }

    fn judge(&mut self) {
        let all: u64 = self.now.keys().map(|unit| self.mark(unit)).sum();
        let now: u64 = self.now.values().sum();
        self.is_emptied = (now == 0 && all >= 2) || (self.is_emptied && 2 * now < all);
        let limit = self.limit().min(self.limit_exceeded.unwrap_or(u64::MAX));
        let is_exceeded = self.loss() > limit || self.is_emptied;
        self.limit_exceeded = is_exceeded.then(|| self.limit_exceeded.unwrap_or(limit));
        if !is_exceeded {
            self.shown = None;
        }
    }

    fn permission(&self, path: &RelPath, epoch: Epoch) -> Permission {
        let unit = top_of(path).expect("it is not the root");
        if self.limit_exceeded.is_none() || self.mark(&unit) == self.now[&unit] {
            return Permission::Free;
        }
        let covers = |(approved, until): &&(RelPath, Epoch)| {
            let is_within = path.is_at_or_below(approved);
            let is_void =
                |(changed, newer): &(RelPath, Epoch)| newer > until && changed.is_related(path);
            is_within && epoch <= *until && !self.changes.iter().any(is_void)
        };
        let is_approved = self.approved.iter().any(|it| covers(&it));
        if is_approved { Permission::Approved } else { Permission::Waits }
    }

    fn approve(&mut self, shown: &ShownList) {
        let (known, most) = self.shown.take().expect("it was shown");
        assert_eq!(known, *shown);
        self.approved.extend(shown.entries.iter().map(|it| (it.path.clone(), it.epoch)));
        for (unit, level) in most {
            self.past.insert(unit, vec![(self.clock, level)]);
        }
        self.limit_exceeded = None;
        self.judge();
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A unit holds so many entries now, and this of its names changed.
    Level(usize, usize, u64),
    Move(usize, usize, u64),
    Pass(u64),
    Show,
    Approve,
}

const UNITS: [&str; 3] = ["a", "b", "c"];
const NAMES: [&str; 5] = ["", "/x", "/x/y", "/x/z", "/w"];

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_usize, 0..5_usize, prop_oneof![0..40_u64, 0..3_000_u64])
            .prop_map(|(unit, name, level)| Step::Level(unit, name, level)),
        1 => (0..3_usize, 0..3_usize, 1..40_u64).prop_map(|(from, to, n)| Step::Move(from, to, n)),
        3 => prop_oneof![0..10_u64, 0..200_u64].prop_map(Step::Pass),
        2 => Just(Step::Show),
        2 => Just(Step::Approve),
    ]
}

fn unit(index: usize) -> RelPath {
    UNITS[index].into()
}

fn change(unit: &RelPath, now: u64, moved: i64) -> UnitChange {
    UnitChange { unit: Unit::Directory(unit.clone()), now: Some(now), moved }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_account_is_what_the_whole_history_says(
        max_delete in proptest::option::of(0..60_u64),
        first in proptest::array::uniform3(0..2_000_u64),
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        let mut now = Moment::default();
        let mut account = DeletionAccount::new(DeletionTerms { max_delete, ..terms() }, now);
        let mut model = Model { max_delete, ..Model::default() };
        let mut epoch = Epoch::default();
        let mut newest: BTreeMap<RelPath, Epoch> = BTreeMap::new();
        for (index, level) in first.into_iter().enumerate() {
            model.now.insert(unit(index), level);
        }
        account.apply(now, (0..3).map(|index| change(&unit(index), first[index], 0)));
        model.judge();
        for step in steps {
            let was_waiting = account.waiting_since().is_some();
            match step {
                Step::Level(index, name, level) => {
                    epoch = epoch.next();
                    let path: RelPath = format!("{}{}", UNITS[index], NAMES[name]).as_str().into();
                    newest.insert(path.clone(), epoch);
                    model.changes.push((path.clone(), epoch));
                    model.set(&unit(index), level);
                    account.apply(now, [change(&unit(index), level, 0)]);
                    account.note_changed(&path, epoch);
                    model.judge();
                    account.hold(&path, epoch, 1);
                }
                Step::Move(from, to, entries) if from != to => {
                    let entries = entries.min(model.now[&unit(from)]);
                    let by = i64::try_from(entries).unwrap();
                    model.shift(&unit(from), -by);
                    model.shift(&unit(to), by);
                    let changes = [(from, -by), (to, by)];
                    account.apply(now, changes.map(|(index, by)| {
                        change(&unit(index), model.now[&unit(index)], by)
                    }));
                    model.judge();
                }
                Step::Pass(seconds) => {
                    now = now + Duration::from_secs(seconds);
                    account.tick(now);
                    if model.limit_exceeded.is_none() {
                        model.clock += seconds;
                    }
                    model.judge();
                    prop_assert_eq!(account.waiting_since().is_some(), was_waiting);
                }
                Step::Show => {
                    if let Some(shown) = account.list().cloned()
                        && model.shown.is_none()
                    {
                        for it in &shown.entries {
                            prop_assert_eq!(model.permission(&it.path, it.epoch), Permission::Waits);
                        }
                        let units = shown.entries.iter().filter_map(|it| top_of(&it.path));
                        let most = units.map(|unit| (unit.clone(), model.now[&unit])).collect();
                        model.shown = Some((shown, most));
                    }
                }
                Step::Approve => {
                    let shown = model.shown.as_ref().map(|(shown, _)| shown.number);
                    let approved = account.approve(now, shown.unwrap_or(0));
                    prop_assert_eq!(approved.is_ok(), shown.is_some());
                    if let Ok(approved) = approved {
                        model.approve(&approved);
                    }
                }
                Step::Move(..) => (),
            }
            prop_assert_eq!(account.totals().loss, model.loss());
            prop_assert_eq!(account.totals().now, model.now.values().sum::<u64>());
            prop_assert_eq!(account.waiting_since().is_some(), model.limit_exceeded.is_some());
            for (path, epoch) in &newest {
                let permission = account.may_delete(path, *epoch);
                prop_assert_eq!(permission, model.permission(path, *epoch));
                let is_losing = account.totals().loss > model.limit();
                prop_assert!(permission != Permission::Free || !is_losing
                    || model.mark(&top_of(path).unwrap()) == model.now[&top_of(path).unwrap()]);
            }
        }
        let kept = account.to_kept();
        let again = DeletionAccount::from_kept(account.terms.clone(), kept.clone(), now);
        let approvals = kept.approvals.clone().of_earlier_start();
        prop_assert_eq!(again.to_kept(), KeptAccount { approvals, ..kept });
    }
}
