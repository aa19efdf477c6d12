//! The log against a naive model: a list of all changes.

use std::collections::BTreeMap;
use std::time::Duration;

use mirrorball_core::data::change::Epoch;
use mirrorball_core::data::moment::Moment;
use mirrorball_core::data::need::Need;
use mirrorball_core::data::path::RelPath;
use mirrorball_core::root::change_log::ChangeLog;
use mirrorball_core::root::epoch::Sealed;
use proptest::prelude::*;

use crate::part_of;

const PATHS_MAX: usize = 16;
const MIRRORS: usize = 3;

#[derive(Clone, Debug)]
enum Op {
    Change(usize, Need),
    Seal,
    /// A mirror's cursor moves to the head.
    Pass(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let needs = [Need::CONTENTS, Need::ATTRIBUTES, Need::EQUAL | Need::GONE, Need::TREE];
    prop_oneof![
        6 => (0..60_usize, prop::sample::select(needs.to_vec())).prop_map(|(p, n)| Op::Change(p, n)),
        3 => Just(Op::Seal),
        2 => (0..MIRRORS).prop_map(Op::Pass),
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

struct Model {
    log: ChangeLog,
    cursors: [Epoch; MIRRORS],
    open: BTreeMap<RelPath, Need>,
    changes: Vec<(Epoch, RelPath, Need)>,
}

impl Model {
    fn apply(&mut self, op: &Op) {
        match op {
            Op::Change(number, need) => *self.open.entry(path(*number)).or_default() |= *need,
            Op::Seal => self.seal(),
            Op::Pass(mirror) => self.cursors[*mirror] = self.log.head(),
        }
        let floor = self.cursors.into_iter().min().expect("there are some");
        self.log.trim(floor, self.cursors.into_iter());
        if self.log.is_full() {
            self.log.coarsen_all();
        }
        self.judge(floor);
    }

    fn seal(&mut self) {
        let changes = std::mem::take(&mut self.open);
        let first_change = Moment::after_start(Duration::from_secs(self.log.head().0));
        let passed = self.cursors.into_iter().min().expect("there are some");
        let sealed = Sealed { first_change, changes: changes.clone(), ..Sealed::default() };
        let epoch = self.log.seal(sealed, passed, passed);
        self.changes.extend(changes.into_iter().map(|(path, need)| (epoch, path, need)));
    }

    fn judge(&self, floor: Epoch) {
        let head = self.log.head();
        assert!(self.log.len() <= PATHS_MAX, "{} paths", self.log.len());
        assert!(self.log.epochs_len() <= PATHS_MAX + MIRRORS, "{} epochs", self.log.epochs_len());
        for cursor in self.cursors {
            let range: Vec<_> = self.log.range(cursor, head).collect();
            assert_eq!(range.len(), self.log.count_above(cursor));
            assert_eq!(!range.is_empty(), self.log.has_any(cursor, head));
            for (epoch, path, need) in self.changes.iter().filter(|(epoch, ..)| *epoch > cursor) {
                let covers = range.iter().any(|(own, entry)| {
                    let level = need.wants_contents() <= entry.need.wants_contents();
                    let is_same = *own == path && entry.need.contains(*need);
                    let is_above = entry.need.is_within() && path.is_below(own) && level;
                    let is_known = entry.first <= *epoch && *epoch <= entry.newest;
                    is_known && (is_same || is_above)
                });
                assert!(covers, "{path} changed in {epoch}, and a mirror at {cursor} is not told");
                assert!(self.log.changed_since(cursor, path));
                assert!(self.log.first_change_above(cursor).is_some());
            }
        }
        assert!(
            self.log.range(Epoch(0), floor).next().is_none(),
            "what all have passed is forgotten"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(part_of(3000) as u32))]
    #[test]
    fn a_mirror_is_told_of_every_change_above_its_cursor(ops in prop::collection::vec(op(), 1..80)) {
        let mut model = Model {
            log: ChangeLog::new(PATHS_MAX),
            cursors: [Epoch(0); MIRRORS],
            open: BTreeMap::new(),
            changes: Vec::new(),
        };
        ops.iter().for_each(|op| model.apply(op));
    }

    #[test]
    fn a_path_stands_once_and_in_its_newest_epoch(numbers in prop::collection::vec(0..60_usize, 1..40)) {
        let mut log = ChangeLog::new(1000);
        for number in &numbers {
            let changes = BTreeMap::from([(path(*number), Need::CONTENTS)]);
            log.seal(Sealed { changes, ..Sealed::default() }, Epoch(0), Epoch(0));
        }
        for number in &numbers {
            let at = |it: Option<usize>| it.expect("it is one of them") as u64 + 1;
            let entry = log.entry(&path(*number)).expect("it changed");
            let same = |other: &usize| path(*other) == path(*number);
            prop_assert_eq!(entry.newest.0, at(numbers.iter().rposition(same)));
            prop_assert_eq!(entry.first.0, at(numbers.iter().position(same)));
        }
        prop_assert_eq!(log.range(Epoch(0), log.head()).count(), log.len());
    }
}

fn seal(log: &mut ChangeLog, changes: &[(&str, Need)]) {
    let changes = changes.iter().map(|(path, need)| ((*path).into(), *need)).collect();
    log.seal(Sealed { changes, ..Sealed::default() }, Epoch(0), Epoch(0));
}

#[test]
fn hard_case_3_a_subtree_absorbs_older_descendants_and_keeps_newer_ones() {
    let mut log = ChangeLog::new(1000);
    seal(&mut log, &[("d/old", Need::CONTENTS), ("e", Need::CONTENTS)]);
    seal(&mut log, &[("d", Need::TREE)]);
    seal(&mut log, &[("d/new", Need::CONTENTS)]);
    let all: Vec<String> =
        log.range(Epoch(0), log.head()).map(|(path, _)| path.to_string()).collect();
    assert_eq!(all, ["e", "d", "d/new"]);
    let subtree = log.entry(&"d".into()).expect("it is there");
    assert!(subtree.need.wants_contents(), "what it absorbed was written");
}

#[test]
fn doubt_about_the_root_absorbs_nothing() {
    let mut log = ChangeLog::new(1000);
    seal(&mut log, &[("d/old", Need::CONTENTS)]);
    seal(&mut log, &[("", Need::TREE)]);
    assert!(!log.entry(&RelPath::root()).expect("it is there").need.wants_contents());
    assert_eq!(log.len(), 2);
}
