//! The compacted log of one root: each changed path once, under its newest epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included, Unbounded};

use crate::data::change::{Epoch, Move};
use crate::data::limits::{COARSEN_CHILDREN_MIN, MOVES_MAX};
use crate::data::moment::Moment;
use crate::data::need::Need;
use crate::data::path::RelPath;
use crate::root::epoch::{Sealed, beyond_attributes, is_doubted, remove_below};
use crate::root::renames::Renames;

/// Sealed epochs. A path that changes again moves to the newest.
#[derive(Clone, Debug)]
pub struct ChangeLog {
    head: Epoch,
    entries: BTreeMap<RelPath, Entry>,
    epochs: BTreeMap<Epoch, Record>,
    /// Those of them without paths.
    empty: BTreeSet<Epoch>,
    renames: Renames,
    paths_max: usize,
}

/// A changed path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The oldest epoch in which it, or what it has absorbed, changed that not every mirror has passed.
    pub first: Epoch,
    /// When the first change of that epoch came.
    pub first_change: Moment,
    /// The newest epoch in which it changed.
    pub newest: Epoch,
    /// What a mirror needs that lacks it.
    pub need: Need,
    /// How many entries the source lost at or below it, as far as events told.
    pub lost: u64,
}

/// A sealed epoch. It stays, empty, while some mirror's lag is measured from its first change.
#[derive(Clone, Debug)]
struct Record {
    first_change: Moment,
    paths: BTreeSet<RelPath>,
}

impl ChangeLog {
    /// An empty log of at most `paths_max` distinct paths.
    pub fn new(paths_max: usize) -> Self {
        Self {
            head: Epoch::default(),
            entries: BTreeMap::new(),
            epochs: BTreeMap::new(),
            empty: BTreeSet::new(),
            renames: Renames::default(),
            paths_max,
        }
    }

    /// The newest sealed epoch.
    pub fn head(&self) -> Epoch {
        self.head
    }

    /// Distinct paths.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no path is in it.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Epochs that are kept, with or without paths.
    pub fn epochs_len(&self) -> usize {
        self.epochs.len()
    }

    /// Seals changes as a new epoch. Paths that changed before move into it. A subtree absorbs what is below it, in this
    /// epoch and in older ones, with its requirement of contents. The root absorbs nothing: that everything is in doubt
    /// is no reason to send the contents of everything.
    ///
    /// What is newer than `settled` makes the renames among the changes inexact: it may have been missed by a run that
    /// has just ended well. Every mirror has passed `passed`.
    pub fn seal(&mut self, sealed: Sealed, settled: Epoch, passed: Epoch) -> Epoch {
        self.head = self.head.next();
        let epoch = self.head;
        let Sealed { first_change, mut changes, moves, mut lost } = sealed;
        self.note_moves(settled, &changes, moves);
        let subtrees: Vec<RelPath> = changes
            .iter()
            .filter(|(path, need)| need.is_within() && !path.is_root())
            .map(|(path, _)| path.clone())
            .collect();
        self.epochs.insert(epoch, Record { first_change, paths: BTreeSet::new() });
        self.empty.insert(epoch);
        let mut firsts: BTreeMap<RelPath, (Epoch, Moment)> = BTreeMap::new();
        for directory in subtrees {
            // An outer subtree may have absorbed it already.
            let Some(mut need) = changes.get(&directory).copied() else { continue };
            for (_, below) in remove_below(&mut changes, &directory) {
                need |= below & Need::CONTENTS;
            }
            let absorbed = self.absorb(&directory);
            let below = remove_below(&mut lost, &directory).into_iter().map(|(_, count)| count);
            let below: u64 = below.chain(absorbed.iter().map(|entry| entry.lost)).sum();
            if below > 0 {
                *lost.entry(directory.clone()).or_default() += below;
            }
            for entry in absorbed {
                need |= entry.need & Need::CONTENTS;
                if entry.newest > passed {
                    let first = (entry.first, entry.first_change);
                    let oldest = firsts.entry(directory.clone()).or_insert(first);
                    *oldest = first.min(*oldest);
                }
            }
            changes.insert(directory, need);
        }
        for (path, need) in changes {
            let old = self.forget(&path);
            let own = old.filter(|old| old.newest > passed);
            let own = own.map_or((epoch, first_change), |old| (old.first, old.first_change));
            let (first, first_change) = firsts.remove(&path).map_or(own, |below| below.min(own));
            let need = need | old.map(|old| old.need).unwrap_or_default();
            let lost = lost.remove(&path).unwrap_or_default() + old.map_or(0, |old| old.lost);
            self.put(path, Entry { first, first_change, newest: epoch, need, lost });
        }
        epoch
    }

    /// Paths whose newest epoch is above `after` and not above `up_to`, by epoch.
    pub fn range(&self, after: Epoch, up_to: Epoch) -> impl Iterator<Item = (&RelPath, &Entry)> {
        let is_empty = after >= up_to;
        let records = (!is_empty).then(|| self.epochs.range((Excluded(after), Included(up_to))));
        let paths = records.into_iter().flatten().flat_map(|(_, record)| &record.paths);
        paths.map(|path| (path, &self.entries[path]))
    }

    /// How many paths stand above this epoch. The cost is the number of epochs above or below it, whichever are fewer.
    pub fn count_above(&self, cursor: Epoch) -> usize {
        let mut above = self.epochs.range((Excluded(cursor), Unbounded));
        let mut below = self.epochs.range(..=cursor);
        let (mut paths_above, mut paths_below) = (0, 0);
        loop {
            match above.next() {
                Some((_, record)) => paths_above += record.paths.len(),
                None => return paths_above,
            }
            match below.next() {
                Some((_, record)) => paths_below += record.paths.len(),
                None => return self.entries.len() - paths_below,
            }
        }
    }

    /// Whether [`Self::range`] would give any.
    pub fn has_any(&self, after: Epoch, up_to: Epoch) -> bool {
        self.range(after, up_to).next().is_some()
    }

    /// When the first change above this epoch came.
    pub fn first_change_above(&self, cursor: Epoch) -> Option<Moment> {
        let mut above = self.epochs.range((Excluded(cursor), Unbounded));
        above.next().map(|(_, record)| record.first_change)
    }

    /// The entry of exactly this path.
    pub fn entry(&self, path: &RelPath) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// Whether this path, or something above it, changed after an epoch, as far as the log remembers.
    pub fn changed_since(&self, epoch: Epoch, path: &RelPath) -> bool {
        let mut names = std::iter::once(path.clone()).chain(path.ancestors());
        names.any(|path| self.entries.get(&path).is_some_and(|entry| entry.newest > epoch))
    }

    /// The epoch in which this path, or a whole directory around it, changed, as far as the log remembers; and when
    /// the first change of that epoch came.
    pub fn last_change(&self, path: &RelPath) -> Option<(Epoch, Moment)> {
        let own = self.entries.get(path).map(|entry| entry.newest);
        let around = path.ancestors().filter_map(|above| self.entries.get(&above));
        let around = around.filter(|entry| entry.need.is_within());
        let epoch = around.map(|entry| entry.newest).chain(own).max()?;
        Some((epoch, self.epochs.get(&epoch)?.first_change))
    }

    /// Renames above a cursor, composed for it.
    pub fn renames_above(&self, cursor: Epoch) -> Vec<Move> {
        if self.renames.is_empty_above(cursor) { Vec::new() } else { self.renames.above(cursor) }
    }

    /// Forgets the entries that are not newer than `floor`, the renames that are not newer than any cursor, and empty
    /// epochs that no lag is measured from.
    pub fn trim(&mut self, floor: Epoch, cursors: impl Iterator<Item = Epoch> + Clone) {
        while let Some(oldest) = self.epochs.first_entry().filter(|e| *e.key() <= floor) {
            self.empty.remove(oldest.key());
            for path in oldest.remove().paths {
                self.entries.remove(&path);
            }
        }
        if let Some(lowest) = cursors.clone().min() {
            self.renames.trim(lowest);
        }
        // A cursor only ever comes to stand where it, or work under way, stands now, or above all epochs that exist: no
        // other empty one is ever the first above a cursor.
        let needed: BTreeSet<Epoch> = cursors
            .filter_map(|at| self.epochs.range((Excluded(at), Unbounded)).next())
            .map(|(epoch, _)| *epoch)
            .collect();
        for epoch in self.empty.difference(&needed) {
            self.epochs.remove(epoch);
        }
        self.empty.retain(|epoch| needed.contains(epoch));
    }

    /// Whether there are more paths than there is room for.
    pub fn is_full(&self) -> bool {
        self.entries.len() > self.paths_max
    }

    /// Turns directories with many changed children into subtrees.
    pub fn coarsen(&mut self) {
        self.coarsen_from(COARSEN_CHILDREN_MIN);
    }

    /// The same with few, until there is room.
    pub fn coarsen_all(&mut self) {
        while self.is_full() {
            self.coarsen_from(1);
        }
    }

    /// Those with most changed children first, until half is free.
    fn coarsen_from(&mut self, children_min: usize) {
        let mut children: BTreeMap<RelPath, usize> = BTreeMap::new();
        for parent in self.entries.keys().filter_map(RelPath::parent) {
            *children.entry(parent).or_default() += 1;
        }
        let mut directories: Vec<(usize, RelPath)> = children
            .into_iter()
            .filter(|(_, count)| *count >= children_min)
            .map(|(path, count)| (count, path))
            .collect();
        directories.sort_by(|a, b| b.cmp(a));
        for (_, directory) in directories {
            if self.entries.len() <= self.paths_max / 2 {
                return;
            }
            self.make_subtree(directory);
        }
    }

    /// The subtree stands in the newest epoch of what it absorbs, so that whoever lacks any of it lacks the subtree.
    fn make_subtree(&mut self, directory: RelPath) {
        let below = self.absorb(&directory);
        let own = self.forget(&directory);
        let all = || below.iter().chain(&own);
        let Some(newest) = all().map(|entry| entry.newest).max() else { return };
        let oldest = all().min_by_key(|entry| entry.first);
        let (first, first_change) =
            oldest.map(|it| (it.first, it.first_change)).unwrap_or_default();
        let absorbed: Need = below.iter().map(|entry| entry.need & Need::CONTENTS).collect();
        let need = own.map(|own| own.need).unwrap_or_default() | absorbed | Need::TREE;
        let lost = all().map(|entry| entry.lost).sum();
        self.renames.doubt_below(&directory);
        self.put(directory, Entry { first, first_change, newest, need, lost });
    }

    fn put(&mut self, path: RelPath, entry: Entry) {
        self.empty.remove(&entry.newest);
        self.epochs
            .entry(entry.newest)
            .or_insert(Record { first_change: Moment::default(), paths: BTreeSet::new() })
            .paths
            .insert(path.clone());
        self.entries.insert(path, entry);
    }

    fn forget(&mut self, path: &RelPath) -> Option<Entry> {
        let entry = self.entries.remove(path)?;
        self.leave_epoch(path, entry.newest);
        Some(entry)
    }

    /// The path is not in this epoch any more.
    fn leave_epoch(&mut self, path: &RelPath, epoch: Epoch) {
        let Some(record) = self.epochs.get_mut(&epoch) else { return };
        record.paths.remove(path);
        if record.paths.is_empty() {
            self.empty.insert(epoch);
        }
    }

    /// Removes everything below a directory from the log.
    fn absorb(&mut self, directory: &RelPath) -> Vec<Entry> {
        let below = remove_below(&mut self.entries, directory);
        for (path, entry) in &below {
            self.leave_epoch(path, entry.newest);
        }
        below.into_iter().map(|(_, entry)| entry).collect()
    }

    /// Changes are about to be sealed, these renames among them.
    fn note_moves(&mut self, settled: Epoch, changes: &BTreeMap<RelPath, Need>, moves: Vec<Move>) {
        for (path, need) in changes.iter().filter(|(_, need)| beyond_attributes(**need)) {
            self.renames.doubt(path);
            if need.is_within() {
                self.renames.doubt_below(path);
            }
        }
        let need = |entry: &Entry| if entry.newest > settled { entry.need } else { Need::empty() };
        let is_doubted = |path: &RelPath| is_doubted(&self.entries, need, path);
        let moves = moves.into_iter().map(|it| {
            let is_exact = it.is_exact && !is_doubted(&it.from) && !is_doubted(&it.to);
            Move { is_exact, ..it }
        });
        let moves: Vec<Move> = moves.take(MOVES_MAX).collect();
        self.renames.note(self.head, moves);
    }
}
