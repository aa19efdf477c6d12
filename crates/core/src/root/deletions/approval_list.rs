//! Deletions that wait for a person, as a numbered list.

use std::collections::BTreeMap;

use crate::data::change::Epoch;
use crate::data::limits::APPROVAL_NAMES_MAX;
use crate::data::path::RelPath;
use crate::source::entry_count::{is_top, top_of};

/// One entry of the list: a topmost name that is to be deleted, or many of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The name. With more than one name, the directory directly in the root that they lie in, or the root for
    /// names that lie directly in it.
    pub path: RelPath,
    /// The newest epoch of any of the names.
    pub epoch: Epoch,
    /// Entries that would be deleted, the names included.
    pub entries: u64,
    /// How many names this is. More than one, if there were too many to list.
    pub names: u64,
}

/// A list as a person was shown it. It stays as it is until it is approved, or nothing waits any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownList {
    /// What the approval names.
    pub number: u64,
    /// In order of their paths.
    pub entries: Vec<Waiting>,
}

/// Why a list was not approved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApproveError {
    /// The list was used, or ended by itself, or was never shown. Another one is current.
    #[error("it was approved before, or was never shown; the current list is {current}")]
    NotCurrent {
        /// The number of the list that waits.
        current: u64,
    },
    /// The same, and no list has been shown that still waits.
    #[error("it was approved before, or was never shown, or its deletions wait no more")]
    NoneCurrent,
}

/// The deletions of one root, or the extras of one mirror, that wait for approval. Names that were shown are never
/// joined with names that were not: these come with the next list.
#[derive(Debug, Default)]
pub struct ApprovalList {
    /// Not shown yet. No single name lies below another.
    waiting: BTreeMap<RelPath, Waiting>,
    shown: Option<ShownList>,
}

impl ApprovalList {
    /// The deletion of this name waits, with so many entries, itself included. Told again, it changes nothing.
    pub fn add(&mut self, path: &RelPath, epoch: Epoch, entries: u64) {
        let is_shown = self.shown.iter().flat_map(|shown| &shown.entries);
        if is_shown.into_iter().any(|it| it.epoch >= epoch && it.covers(path)) {
            return;
        }
        let joined = joined_path(path);
        let above = path.ancestors().chain([path.clone(), joined]);
        let known = above.into_iter().find(|above| {
            self.waiting.get(above).is_some_and(|it| it.names == 1 || it.covers(path))
        });
        if let Some(known) = known {
            let it = self.waiting.get_mut(&known).expect("it was just found");
            // A joined entry can't tell which names it counts already: one that is told again has an epoch that
            // is known.
            if it.names > 1 && epoch > it.epoch {
                it.names += 1;
                it.entries = it.entries.saturating_add(entries);
            } else if it.path == *path {
                it.entries = it.entries.max(entries);
            }
            it.epoch = it.epoch.max(epoch);
            return;
        }
        let (mut epoch, below) = (epoch, self.names_below(path));
        for name in below {
            epoch = epoch.max(self.waiting.remove(&name).map_or(epoch, |it| it.epoch));
        }
        self.waiting.insert(path.clone(), Waiting { path: path.clone(), epoch, entries, names: 1 });
        if self.waiting.len() > APPROVAL_NAMES_MAX {
            self.join();
        }
    }

    /// This name changed: what is listed at, above or below it, and was not shown, is asked for anew.
    pub fn note_changed(&mut self, path: &RelPath, epoch: Epoch) {
        let related: Vec<RelPath> =
            path.ancestors().chain([path.clone()]).chain(self.names_below(path)).collect();
        for name in related {
            if self.waiting.get(&name).is_some_and(|it| it.names == 1 && it.epoch < epoch) {
                self.waiting.remove(&name);
            }
        }
    }

    /// Removes entries that do not wait any more from what was not shown.
    pub fn retain(&mut self, mut waits: impl FnMut(&Waiting) -> bool) {
        self.waiting.retain(|_, it| waits(it));
    }

    /// Nothing waits any more.
    pub fn clear(&mut self) {
        self.waiting.clear();
        self.shown = None;
    }

    /// The list as it was shown and not used yet.
    pub fn shown(&self) -> Option<&ShownList> {
        self.shown.as_ref()
    }

    /// Drops the list that was shown, if it was not used. Its names that still wait have to be told again.
    pub fn withdraw(&mut self) {
        self.shown = None;
    }

    /// The list to show: the one that was shown, or else everything that waits, under the next number. None if nothing
    /// waits. No number may be given twice, or an approval could mean another list than the one that was read.
    pub fn show(&mut self, next_number: impl FnOnce() -> u64) -> Option<&ShownList> {
        if self.shown.is_none() && !self.waiting.is_empty() {
            let entries = std::mem::take(&mut self.waiting).into_values().collect();
            self.shown = Some(ShownList { number: next_number(), entries });
        }
        self.shown.as_ref()
    }

    /// Uses the list that was shown under this number. What came since waits for the next.
    pub fn approve(&mut self, number: u64) -> Result<ShownList, ApproveError> {
        match self.shown.take_if(|shown| shown.number == number) {
            Some(shown) => Ok(shown),
            None => Err(match &self.shown {
                Some(shown) => ApproveError::NotCurrent { current: shown.number },
                None => ApproveError::NoneCurrent,
            }),
        }
    }

    /// Names and entries that wait and were not shown yet.
    pub fn not_shown(&self) -> (u64, u64) {
        totals(self.waiting.values())
    }

    /// The single names below this directory.
    fn names_below(&self, path: &RelPath) -> Vec<RelPath> {
        let below = match path.below() {
            Some((start, end)) => self.waiting.range(start..end),
            None => self.waiting.range::<RelPath, _>(..),
        };
        below.filter(|(_, it)| it.names == 1).map(|(name, _)| name.clone()).collect()
    }

    /// Makes one entry of the names of each of the units that have most of them, until half of the room is free.
    fn join(&mut self) {
        // An entry of the root does not cover the names in an entry that was joined before: those come last, and what is in
        // them is asked for anew.
        self.join_those(|it| it.names == 1);
        if self.waiting.len() > APPROVAL_NAMES_MAX {
            self.join_those(|_| true);
        }
    }

    fn join_those(&mut self, is_one: impl Fn(&Waiting) -> bool) {
        let mut sizes: BTreeMap<RelPath, usize> = BTreeMap::new();
        for it in self.waiting.values().filter(|it| is_one(it)) {
            *sizes.entry(joined_path(&it.path)).or_default() += 1;
        }
        let mut largest: Vec<(usize, RelPath)> =
            sizes.into_iter().map(|(path, names)| (names, path)).filter(|it| it.0 > 1).collect();
        largest.sort_unstable_by(|a, b| b.cmp(a));
        let mut left = self.waiting.len();
        let mut joined: BTreeMap<RelPath, Waiting> = BTreeMap::new();
        for (names, path) in largest {
            if left <= APPROVAL_NAMES_MAX / 2 {
                break;
            }
            left -= names - 1;
            let empty =
                Waiting { path: path.clone(), epoch: Epoch::default(), entries: 0, names: 0 };
            joined.insert(path, empty);
        }
        self.waiting.retain(|_, it| {
            let joined = joined.get_mut(&joined_path(&it.path)).filter(|_| is_one(it));
            let Some(joined) = joined else { return true };
            joined.epoch = joined.epoch.max(it.epoch);
            joined.entries = joined.entries.saturating_add(it.entries);
            joined.names += it.names;
            false
        });
        self.waiting.extend(joined);
    }
}

impl ShownList {
    /// How many names are on it, and how many entries would be deleted.
    pub fn totals(&self) -> (u64, u64) {
        totals(&self.entries)
    }
}

/// Names and entries.
fn totals<'a>(waiting: impl IntoIterator<Item = &'a Waiting>) -> (u64, u64) {
    waiting.into_iter().fold((0, 0), |(names, entries), it| {
        (names.saturating_add(it.names), entries.saturating_add(it.entries))
    })
}

impl Waiting {
    /// Whether this entry speaks of the path, epochs aside.
    pub fn covers(&self, path: &RelPath) -> bool {
        if self.path.is_root() && self.names > 1 {
            is_top(path)
        } else {
            is_within(path, &self.path)
        }
    }
}

fn is_within(path: &RelPath, directory: &RelPath) -> bool {
    path.is_at_or_below(directory)
}

/// Under which path too many names become one entry.
fn joined_path(path: &RelPath) -> RelPath {
    if is_top(path) { RelPath::root() } else { top_of(path).unwrap_or_else(RelPath::root) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[(&str, u64, u64)]) -> ApprovalList {
        let mut list = ApprovalList::default();
        for (path, epoch, entries) in names {
            list.add(&(*path).into(), Epoch(*epoch), *entries);
        }
        list
    }

    fn names(list: Option<&ShownList>) -> String {
        let entries = list.iter().flat_map(|list| &list.entries);
        let lines: Vec<_> =
            entries.map(|it| format!("{}@{}:{}", it.path, it.epoch, it.entries)).collect();
        lines.join(" ")
    }

    #[test]
    fn joined_names_stay_covered_when_more_units_are_joined() {
        let mut list = ApprovalList::default();
        let name = |unit: usize, file: usize| RelPath::from(format!("d{unit:05}/f{file}").as_str());
        let units = APPROVAL_NAMES_MAX;
        for unit in 0..units {
            list.add(&name(unit, 0), Epoch(1), 1);
            list.add(&name(unit, 1), Epoch(1), 1);
        }
        let shown = list.show(|| 1).expect("they wait").clone();
        assert!(shown.entries.len() <= APPROVAL_NAMES_MAX, "{}", shown.entries.len());
        for unit in (0..units).step_by(97) {
            assert!(shown.entries.iter().any(|it| it.covers(&name(unit, 1))), "{unit}");
        }
    }

    #[test]
    fn the_topmost_names_are_listed() {
        let mut list =
            list(&[("a/b", 1, 1), ("a/c", 3, 5), ("b", 1, 1), ("a", 2, 9), ("a/d", 4, 1)]);
        assert_eq!(names(list.show(|| 1)), "a@4:9 b@1:1");
    }

    #[test]
    fn a_shown_list_stays_as_it_is_until_used() {
        let mut list = list(&[("a/b", 1, 1)]);
        assert_eq!(list.show(|| 1).map(|shown| shown.number), Some(1));
        list.add(&"a".into(), Epoch(2), 7);
        list.add(&"a/b".into(), Epoch(1), 1);
        list.note_changed(&"a/b".into(), Epoch(3));
        assert_eq!(names(list.show(|| 2)), "a/b@1:1");
        assert_eq!(list.approve(2), Err(ApproveError::NotCurrent { current: 1 }));
        assert_eq!(list.approve(1).map(|shown| shown.entries.len()), Ok(1));
        assert_eq!(list.approve(1), Err(ApproveError::NoneCurrent));
        assert_eq!(
            list.show(|| 2),
            None,
            "the name came back, and is told anew if it is missing again"
        );
        list.add(&"a".into(), Epoch(4), 7);
        assert_eq!(list.show(|| 2).map(|shown| shown.number), Some(2));
    }

    #[test]
    fn too_many_names_become_one_entry_of_their_unit() {
        let mut list = list(&[("b/x", 1, 1), ("f", 1, 1)]);
        for number in 0..=APPROVAL_NAMES_MAX as u64 {
            list.add(&format!("a/{number}").as_str().into(), Epoch(number), 2);
        }
        let all = APPROVAL_NAMES_MAX as u64 + 1;
        assert_eq!(list.not_shown(), (all + 2, 2 * all + 2));
        assert_eq!(names(list.show(|| 1)), format!("a@{}:{} b/x@1:1 f@1:1", all - 1, 2 * all));
    }
}
