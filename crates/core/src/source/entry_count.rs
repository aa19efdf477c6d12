//! How many entries a root holds, per unit: the levels that the deletion account is kept of.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::data::limits::{RECOUNT_PART, UNITS_MAX};
use crate::data::path::RelPath;

/// A part of a root that is counted apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Unit {
    /// The files directly in the root, and other entries there that are not directories.
    Files,
    /// A directory directly in the root, and everything in it.
    Directory(RelPath),
    /// All directories directly in the root for which there was no unit left, see [`UNITS_MAX`].
    Rest,
}

/// What a name stood for that was deleted or renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Anything but a directory.
    File,
    /// A directory with this number of included entries below it, itself not counted.
    Directory(u64),
    /// Nobody knows.
    Unknown,
}

/// What became of one unit since the changes were taken last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitChange {
    /// Which unit.
    pub unit: Unit,
    /// Entries that it holds at least. None while that is unknown: the unit must be counted first.
    pub now: Option<u64>,
    /// Entries that came from other units (positive) or went to them (negative) by renames. The mark of the
    /// unit moves by as much.
    pub moved: i64,
}

/// The number of included entries of a root per [`Unit`].
///
/// It is fed with facts about the source. A scan ([`Self::set`]) is the first of them. Counts are lower bounds: a file
/// that is renamed may replace another, and no event says so. Such renames are counted, and the unit is counted again
/// before they make a difference. A count that is found too low raises the level, which is harmless; one that is too
/// high would look like a loss.
///
/// Names come and go while a tree is being counted, and nobody knows whether the count found them. So what is told
/// meanwhile is counted apart: if it is little, it is what the count may be wrong by; if it is much, the count says
/// nothing, and is asked for again.
///
/// Each fact costs O(log units), the length of `free_to_delete` aside. Units are never divided or merged while they
/// hold entries.
#[derive(Debug)]
pub struct EntryCount {
    /// Trees that are not counted.
    free_to_delete: Vec<RelPath>,
    units: BTreeMap<Unit, Counted>,
    /// Units that changed since the changes were taken, and what renames moved into them.
    changed: BTreeMap<Unit, i64>,
    /// Units between which directories of unknown size were renamed, at most [`UNITS_MAX`] pairs, and what the first held
    /// before and the second. Both stay unknown until both are counted.
    moving: BTreeMap<(Unit, Unit), (u64, u64)>,
    /// What is known is from a whole scan, and what was told since.
    is_scanned: bool,
    /// All units are being counted.
    is_scanning: bool,
    /// What is told may have been found by the last scan.
    is_settling: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    now: u64,
    /// Names that may be entries more, such as files that were renamed to a name here: if it replaced none.
    doubtful: u64,
    is_unknown: bool,
    /// A count has been asked for.
    is_counting: bool,
    /// Names that came or went since.
    meanwhile: u64,
}

impl Counted {
    fn is_empty(self) -> bool {
        self.now == 0 && self.doubtful == 0 && !self.is_unknown
    }

    /// A count found so many. It says nothing if too much changed meanwhile.
    fn finish(&mut self, found: u64) {
        let meanwhile = std::mem::take(&mut self.meanwhile);
        self.is_counting = false;
        if meanwhile.saturating_mul(RECOUNT_PART) <= found {
            self.now = found - meanwhile;
            self.doubtful = 2 * meanwhile;
            self.is_unknown = false;
        }
    }
}

impl EntryCount {
    /// Counts nothing in these trees: their deletions are free.
    pub fn new(free_to_delete: Vec<RelPath>) -> Self {
        Self {
            free_to_delete,
            units: BTreeMap::new(),
            changed: BTreeMap::new(),
            moving: BTreeMap::new(),
            is_scanned: false,
            is_scanning: true,
            is_settling: false,
        }
    }

    /// Other trees are not counted from now on. What a unit holds that is touched by this leaves its mark with it, and
    /// the unit must be counted.
    pub fn set_free_to_delete(&mut self, free_to_delete: Vec<RelPath>) {
        let old = std::mem::replace(&mut self.free_to_delete, free_to_delete);
        let is_new = |free: &&RelPath| !old.contains(free);
        let is_gone = |free: &&RelPath| !self.free_to_delete.contains(free);
        let differing = self.free_to_delete.iter().filter(is_new).chain(old.iter().filter(is_gone));
        let mut touched = BTreeSet::new();
        for free in differing {
            touched.insert(self.unit_for(free, true));
            touched.insert(self.unit_for(free, false));
        }
        for unit in touched {
            let now = i64::try_from(self.now(&unit)).unwrap_or(i64::MAX);
            self.shift(unit.clone(), -now);
            self.lose_count(unit.clone());
            self.change(unit, |it| it.now = 0);
        }
    }

    /// A name appeared that was not there. A directory is counted as one entry; what is in it is told by itself.
    pub fn came(&mut self, path: &RelPath, is_directory: bool) {
        if !self.is_free(path) {
            let unit = self.unit_for(path, is_directory);
            let is_sure = !self.is_settling;
            self.change(unit, |it| *if is_sure { &mut it.now } else { &mut it.doubtful } += 1);
        }
    }

    /// So many names were found at or in this directory, some or all of which may have been told.
    pub fn may_have_come(&mut self, directory: &RelPath, names: u64) {
        if !self.is_free(directory) {
            let unit = self.unit_for(directory, true);
            self.disturb(&unit, names);
            self.change(unit, |it| it.doubtful += names);
        }
    }

    /// Something came, went or was renamed at or below this path, and nobody knows what.
    pub fn lose(&mut self, path: &RelPath) {
        if !self.is_free(path) {
            let unit = self.unit_for(path, true);
            self.lose_count(unit);
        }
    }

    /// A name was renamed into the root from elsewhere. A file may have replaced another.
    pub fn arrived(&mut self, path: &RelPath, size: Size) {
        if self.is_free(path) {
            return;
        }
        let unit = self.unit_for(path, size != Size::File);
        match size {
            Size::File => self.change(unit, |it| it.doubtful += 1),
            Size::Directory(below) if !self.is_above_free(path) => {
                self.change(unit, |it| it.now += below + 1);
            }
            Size::Directory(_) | Size::Unknown => self.lose_count(unit),
        }
    }

    /// A name was deleted, or renamed to a place outside the root.
    pub fn went(&mut self, path: &RelPath, size: Size) {
        if self.is_free(path) {
            return;
        }
        let own = Unit::Directory(path.clone());
        if size != Size::File && self.holds_entries(&own) {
            // The whole unit is gone, however large it was.
            self.disturb(&own, u64::MAX);
            return self.change(own, |it| {
                *it = Counted { meanwhile: it.meanwhile, ..Counted::default() };
            });
        }
        match size {
            Size::File => {
                let unit = self.unit_for(path, false);
                self.subtract(unit, 1);
            }
            Size::Directory(below) if !self.is_above_free(path) => {
                let unit = self.unit_for(path, true);
                self.subtract(unit, below + 1);
            }
            Size::Directory(_) => {
                let unit = self.unit_for(path, true);
                self.lose_count(unit);
            }
            Size::Unknown if is_top(path) && !self.holds_entries(&Unit::Rest) => {
                self.subtract(Unit::Files, 1);
            }
            Size::Unknown => {
                let directory = self.unit_for(path, true);
                self.lose_count(directory);
                if is_top(path) {
                    self.lose_count(Unit::Files);
                }
            }
        }
    }

    /// A name was renamed within the root. What a renamed directory holds moves from mark to mark.
    pub fn moved(&mut self, from: &RelPath, to: &RelPath, size: Size) {
        let is_free = self.is_free(from) || self.is_free(to);
        if is_free || size == Size::File {
            let is_within = !is_free && self.unit_for(from, false) == self.unit_for(to, false);
            if !is_free && !is_within {
                let unit = self.unit_for(from, false);
                self.shift(unit, -1);
            }
            self.went(from, size);
            return self.arrived(to, size);
        }
        let (source, target) = (self.unit_for(from, true), self.unit_for(to, true));
        let is_mixed = self.is_above_free(from) || self.is_above_free(to);
        self.disturb(&source, u64::MAX);
        self.disturb(&target, u64::MAX);
        if source == target && !is_mixed {
            return;
        }
        // Two units may be exchanged: the second half of that is told next.
        let is_taken = target == Unit::Directory(to.clone()) && self.holds_entries(&target);
        let entries = match size {
            _ if is_mixed || is_taken => None,
            _ if source == Unit::Directory(from.clone()) && self.is_known(&source) => {
                Some(self.now(&source))
            }
            Size::Directory(below) => Some(below + 1),
            Size::File | Size::Unknown => None,
        };
        if let Some(entries) = entries {
            // The whole unit moves with what may be in it besides.
            let is_whole = source == Unit::Directory(from.clone()) && self.is_known(&source);
            let whole = self.units.get_mut(&source).filter(|_| is_whole);
            let doubtful = whole.map_or(0, |it| std::mem::take(&mut it.doubtful));
            let size = i64::try_from(entries).unwrap_or(i64::MAX);
            self.shift(source.clone(), -size);
            self.shift(target.clone(), size);
            self.subtract(source, entries);
            self.change(target, |it| {
                it.now += entries;
                it.doubtful += doubtful;
            });
        } else {
            if self.is_scanned && self.moving.len() < UNITS_MAX {
                let held = (self.now(&source), self.now(&target));
                self.moving.entry((source.clone(), target.clone())).or_insert(held);
            }
            if is_taken {
                self.lose_count(source);
            } else {
                self.went(from, Size::Unknown);
            }
            self.lose_count(target);
        }
    }

    /// The whole tree is counted from now on, because nobody told what became of it. [`Self::set`] is the answer, and
    /// there is nothing to be told before.
    pub fn begin(&mut self) {
        self.is_scanned = false;
        self.begin_all();
    }

    /// A full scan found this: for each directory, the root included, the number of included entries directly in
    /// it. Units that hold a volume which is not mounted keep what they held, if that was more. What is told afterwards
    /// may have been found, until [`Self::settled`].
    pub fn set(&mut self, counts: impl IntoIterator<Item = (RelPath, u64)>, unmounted: &[RelPath]) {
        let mut files: i64 = 0;
        let mut found: BTreeMap<RelPath, i64> = BTreeMap::new();
        for (directory, entries) in counts {
            let entries = i64::try_from(entries).unwrap_or(i64::MAX);
            let Some(top) = top_of(&directory) else {
                files += entries;
                continue;
            };
            let is_top = top == directory;
            files -= i64::from(is_top);
            if !self.is_free(&directory) {
                *found.entry(top).or_default() += entries + i64::from(is_top);
            } else if !is_top && self.free_to_delete.contains(&directory) {
                // Its parent counted it.
                *found.entry(top).or_default() -= 1;
            }
        }
        let mut sizes: Vec<(u64, RelPath)> =
            found.into_iter().map(|(top, size)| (u64::try_from(size).unwrap_or(0), top)).collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        let old = std::mem::take(&mut self.units);
        let is_divided = old.get(&Unit::Rest).is_some_and(|rest| !rest.is_empty());
        let known = old.keys().filter(|unit| matches!(unit, Unit::Directory(_))).count();
        let mut room = if is_divided { 0 } else { UNITS_MAX.saturating_sub(known) };
        let mut units: BTreeMap<Unit, u64> = old.keys().map(|unit| (unit.clone(), 0)).collect();
        units.insert(Unit::Files, u64::try_from(files).unwrap_or(0));
        for (size, top) in sizes {
            let own = Unit::Directory(top);
            let is_known = units.contains_key(&own);
            let unit = if is_known || room > 0 { own } else { Unit::Rest };
            room = room.saturating_sub(usize::from(!is_known));
            *units.entry(unit).or_default() += size;
        }
        for (unit, mut found) in units {
            let holds = |path: &RelPath| match &unit {
                Unit::Directory(top) => path.is_at_or_below(top),
                Unit::Rest => true,
                Unit::Files => false,
            };
            if unmounted.iter().any(holds) {
                found = found.max(old.get(&unit).map_or(0, |it| it.now));
            }
            let Counted { now, meanwhile, .. } = old.get(&unit).copied().unwrap_or_default();
            let mut it = Counted { now, meanwhile, is_unknown: true, ..Counted::default() };
            it.finish(found);
            self.changed.entry(unit.clone()).or_default();
            self.units.insert(unit, it);
        }
        (self.is_scanned, self.is_scanning, self.is_settling) = (true, false, true);
        self.end_moving();
    }

    /// All that changed before the last scan was over has been told.
    pub fn settled(&mut self) {
        self.is_settling = false;
    }

    /// Units that must be counted, each told once: their size is unknown, or renames made it doubtful.
    /// [`Self::counted`] is the answer; for [`Unit::Rest`], [`Self::set`] is.
    pub fn needs_count(&mut self) -> Vec<Unit> {
        if self.is_scanning {
            return Vec::new();
        }
        let is_doubtful = |it: &Counted| it.doubtful.saturating_mul(RECOUNT_PART) > it.now;
        let needs = |it: &Counted| !it.is_counting && (it.is_unknown || is_doubtful(it));
        let mut needed = Vec::new();
        for (unit, it) in self.units.iter_mut().filter(|(_, it)| needs(it)) {
            (it.is_counting, it.meanwhile) = (true, 0);
            needed.push(unit.clone());
        }
        if needed.contains(&Unit::Rest) {
            self.begin_all();
        }
        needed
    }

    /// These units hold so many entries, [`Self::needs_count`] asked. All that changed before it was counted has been
    /// told. If too much changed meanwhile, or something of unknown size went, the unit is asked for again.
    pub fn counted(&mut self, unit: Unit, entries: u64) {
        if let Some(it) = self.units.get_mut(&unit).filter(|it| it.is_counting) {
            it.finish(entries);
            self.changed.entry(unit).or_default();
            self.end_moving();
        }
    }

    /// What changed since the last call, for [`apply`](crate::root::deletions::DeletionAccount::apply). None
    /// before the first scan.
    pub fn take_changes(&mut self) -> Option<Vec<UnitChange>> {
        if !self.is_scanned {
            return None;
        }
        let units = std::mem::take(&mut self.changed);
        let changes = units.into_iter().map(|(unit, moved)| {
            let is_moving = self.moving.keys().any(|(from, to)| *from == unit || *to == unit);
            let is_told = self.is_known(&unit) && !is_moving;
            let now = is_told.then(|| self.now(&unit));
            let is_over = |it: &Counted| it.is_empty() && !it.is_counting;
            if !self.is_scanning && self.units.get(&unit).is_some_and(is_over) {
                self.units.remove(&unit);
            }
            UnitChange { unit, now, moved }
        });
        Some(changes.collect())
    }

    /// Entries that the unit holds at least.
    pub fn now(&self, unit: &Unit) -> u64 {
        self.units.get(unit).map_or(0, |it| it.now)
    }

    fn is_known(&self, unit: &Unit) -> bool {
        self.units.get(unit).is_none_or(|it| !it.is_unknown)
    }

    fn holds_entries(&self, unit: &Unit) -> bool {
        self.units.get(unit).is_some_and(|it| !it.is_empty())
    }

    /// The unit in which an entry of this name is counted.
    fn unit_for(&self, path: &RelPath, is_directory: bool) -> Unit {
        if is_top(path) && !is_directory {
            return Unit::Files;
        }
        let own = top_of(path).map_or(Unit::Files, Unit::Directory);
        let has_room = self.units.len() < UNITS_MAX && !self.holds_entries(&Unit::Rest);
        if has_room || own == Unit::Files || self.units.contains_key(&own) {
            own
        } else {
            Unit::Rest
        }
    }

    fn is_free(&self, path: &RelPath) -> bool {
        self.free_to_delete.iter().any(|free| path.is_at_or_below(free))
    }

    fn is_above_free(&self, path: &RelPath) -> bool {
        self.free_to_delete.iter().any(|free| free.is_below(path))
    }

    fn change(&mut self, unit: Unit, change: impl FnOnce(&mut Counted)) {
        self.disturb(&unit, 1);
        if self.is_scanned {
            change(self.units.entry(unit.clone()).or_default());
            self.changed.entry(unit).or_default();
        }
    }

    /// If the unit is being counted, the count may be wrong by so much.
    fn disturb(&mut self, unit: &Unit, by: u64) {
        if self.is_scanning {
            let it = self.units.entry(unit.clone()).or_default();
            it.meanwhile = it.meanwhile.saturating_add(by);
        } else if let Some(it) = self.units.get_mut(unit).filter(|it| it.is_counting) {
            it.meanwhile = it.meanwhile.saturating_add(by);
        }
    }

    /// What one unit lacks and the other has more, now that both are counted, was renamed from one to the other.
    fn end_moving(&mut self) {
        let moving = std::mem::take(&mut self.moving);
        for ((from, to), held) in moving {
            if !self.is_known(&from) || !self.is_known(&to) {
                self.moving.insert((from, to), held);
                continue;
            }
            let lacks = held.0.saturating_sub(self.now(&from));
            let has_more = self.now(&to).saturating_sub(held.1);
            let size = i64::try_from(lacks.min(has_more)).unwrap_or(i64::MAX);
            self.shift(from, -size);
            self.shift(to, size);
        }
    }

    fn begin_all(&mut self) {
        self.is_scanning = true;
        for it in self.units.values_mut() {
            (it.is_counting, it.meanwhile) = (false, 0);
        }
    }

    fn lose_count(&mut self, unit: Unit) {
        self.disturb(&unit, u64::MAX);
        self.change(unit, |it| it.is_unknown = true);
    }

    fn subtract(&mut self, unit: Unit, entries: u64) {
        let doubtful = if self.is_settling { entries } else { 0 };
        self.change(unit, |it| match it.now.checked_sub(entries) {
            Some(now) => {
                it.now = now;
                it.doubtful += doubtful;
            }
            // Some had never been counted.
            None => it.is_unknown = true,
        });
    }

    fn shift(&mut self, unit: Unit, by: i64) {
        if self.is_scanned {
            let moved = self.changed.entry(unit).or_default();
            *moved = moved.saturating_add(by);
        }
    }
}

/// The name directly in the root at or above this path; none for the root.
pub(crate) fn top_of(path: &RelPath) -> Option<RelPath> {
    let top = path.as_bytes().split(|byte| *byte == b'/').next().filter(|top| !top.is_empty())?;
    Some(RelPath::root().join(top))
}

/// Whether it lies directly in the root.
pub(crate) fn is_top(path: &RelPath) -> bool {
    !path.is_root() && !path.as_bytes().contains(&b'/')
}

#[cfg(test)]
mod tests;
