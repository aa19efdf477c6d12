//! A full log becomes coarser; nothing is ever dropped.

use std::collections::BTreeMap;

use super::{ChangeLog, Entry};
use crate::data::change::{Epoch, Kinds};
use crate::data::limits::COARSEN_CHILDREN_MIN;
use crate::data::moment::Moment;
use crate::data::path::RelPath;

impl ChangeLog {
    /// When the log is full, directories with many dirty children become subtrees; if that is not
    /// enough, the Mirror that lags most owes a Walk; if nobody is left for that, directories with few.
    pub(super) fn keep_within_bound(&mut self, now: Moment) {
        if self.entries.len() <= self.paths_max {
            return;
        }
        self.coarsen(COARSEN_CHILDREN_MIN);
        while self.entries.len() > self.paths_max {
            let laggard = self
                .mirrors
                .iter()
                .filter(|(_, debts)| debts.walk_owed.is_none())
                .min_by_key(|(_, debts)| debts.cursor)
                .map(|(id, _)| id.clone());
            let Some(laggard) = laggard else { break };
            self.owe_walk(now, &laggard);
        }
        while self.entries.len() > self.paths_max {
            self.coarsen(1);
        }
    }

    /// Turns directories into subtrees, those with most dirty children first, until half is free.
    pub(super) fn coarsen(&mut self, children_min: usize) {
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

    /// The subtree stands in the newest Epoch of what it swallows, so that whoever lacks any of it
    /// lacks the subtree.
    pub(super) fn make_subtree(&mut self, directory: RelPath) {
        let below: Option<Epoch> = match directory.below() {
            Some((start, end)) => self.entries.range(start..end).map(|(_, e)| e.epoch).max(),
            None => self.entries.values().map(|e| e.epoch).max(),
        };
        let own = self.entries.get(&directory).map(|entry| entry.epoch);
        let Some(epoch) = below.max(own) else { return };
        let swallowed = self.swallow(&directory) & Kinds::CONTENT;
        let own = self.forget(&directory).unwrap_or_default();
        self.renames.doubt_below(&directory);
        self.put(directory, Entry { epoch, kinds: own | swallowed | Kinds::SUBTREE });
    }
}
