//! Deletions that a person approved.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::data::change::Epoch;
use crate::data::limits::APPROVALS_MAX;
use crate::data::path::RelPath;
use crate::root::deletions::approval_list::Waiting;
use crate::source::entry_count::is_top;

/// Names whose deletion was approved, each with everything below it, up to the epoch that was shown. A newer entry
/// of the log at, above or below a name makes the approval void there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approvals {
    approved: BTreeMap<RelPath, Approval>,
    /// All names directly in the root that were missing then, though not what is below them.
    top: Option<Epoch>,
    /// What changed below an approved name, or in the root.
    changed: BTreeMap<RelPath, Epoch>,
}

/// How far the approval of one name goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Approval {
    /// What is newer is not covered.
    epoch: Epoch,
    /// Entries that were shown.
    entries: u64,
}

impl Approval {
    fn max(self, other: Self) -> Self {
        Self { epoch: self.epoch.max(other.epoch), entries: self.entries.max(other.entries) }
    }
}

impl Approvals {
    /// A person approved this entry of a list.
    pub fn add(&mut self, entry: &Waiting) {
        if entry.path.is_root() && entry.names > 1 {
            self.top = self.top.max(Some(entry.epoch));
        } else {
            let known = self.approved.entry(entry.path.clone()).or_default();
            *known = known.max(Approval { epoch: entry.epoch, entries: entry.entries });
        }
        self.bound();
    }

    /// Whether the deletion of this path, which has this epoch, was approved.
    pub fn covers(&self, path: &RelPath, epoch: Epoch) -> bool {
        let above = |path: &RelPath| std::iter::once(path.clone()).chain(path.ancestors());
        let top = self.top.filter(|_| is_top(path));
        let approved = above(path).filter_map(|name| self.approved.get(&name).map(|it| it.epoch));
        let Some(approved) = approved.chain(top).max().filter(|approved| *approved >= epoch) else {
            return false;
        };
        let at_or_above = above(path).filter_map(|name| self.changed.get(&name).copied());
        let below =
            path.below().into_iter().flat_map(|(start, end)| self.changed.range(start..end));
        let mut changed = at_or_above.chain(below.map(|(_, epoch)| *epoch));
        changed.all(|changed| changed <= approved)
    }

    /// The approved names at or above this path, each with the entries that were shown of it, if they cover the path,
    /// which has this epoch.
    pub fn entries_around(&self, path: &RelPath, epoch: Epoch) -> Vec<(RelPath, u64)> {
        let names = std::iter::once(path.clone()).chain(path.ancestors());
        let names = names.filter(|_| self.covers(path, epoch));
        names.filter_map(|it| self.approved.get(&it).map(|known| (it, known.entries))).collect()
    }

    /// The log has an entry of this epoch for the path. Returns whether that made an approval void.
    pub fn note_changed(&mut self, path: &RelPath, epoch: Epoch) -> bool {
        if self.is_empty() {
            return false;
        }
        let below = match path.below() {
            Some((start, end)) => self.approved.range(start..end),
            None => self.approved.range::<RelPath, _>(..),
        };
        let here = below.chain(self.approved.get_key_value(path));
        let void: Vec<RelPath> =
            here.filter(|(_, it)| it.epoch < epoch).map(|(name, _)| name.clone()).collect();
        for name in &void {
            self.approved.remove(name);
        }
        let above = path.ancestors().filter_map(|name| self.approved.get(&name).map(|it| it.epoch));
        let is_inside = above.chain(self.top).any(|approved| approved < epoch);
        if is_inside {
            let known = self.changed.entry(path.clone()).or_default();
            *known = epoch.max(*known);
            self.bound();
        }
        !void.is_empty() || is_inside
    }

    /// What an earlier start of the daemon left, whose epochs mean nothing in this one: names that have not come back
    /// since they were approved. They are covered from [`Self::note_resumed`] on.
    pub fn of_earlier_start(self) -> Self {
        let whole = self.approved.iter().filter(|(path, it)| self.covers(path, it.epoch));
        let of_before = |it: &Approval| Approval { epoch: Epoch::default(), ..*it };
        Self {
            approved: whole.map(|(path, it)| (path.clone(), of_before(it))).collect(),
            top: self.top.filter(|_| self.changed.is_empty()).map(|_| Epoch::default()),
            changed: BTreeMap::new(),
        }
    }

    /// All that was missing at the start of the daemon has this epoch: what was approved before is covered up to it.
    pub fn note_resumed(&mut self, epoch: Epoch) {
        let approved = self.approved.values_mut().map(|it| &mut it.epoch).chain(&mut self.top);
        approved.filter(|it| **it == Epoch::default()).for_each(|it| *it = epoch);
    }

    /// The deletion of this name has ended. Returns whether it was approved by this name.
    pub fn settle(&mut self, path: &RelPath) -> bool {
        self.approved.remove(path).is_some()
    }

    /// Whether nothing is approved.
    pub fn is_empty(&self) -> bool {
        self.approved.is_empty() && self.top.is_none()
    }

    /// These were approved too.
    pub fn join(&mut self, other: Self) {
        for (path, approval) in other.approved {
            let known = self.approved.entry(path).or_default();
            *known = known.max(approval);
        }
        for (path, epoch) in other.changed {
            let known = self.changed.entry(path).or_default();
            *known = epoch.max(*known);
        }
        self.top = self.top.max(other.top);
        self.bound();
    }

    /// No mirror has to delete anything of this epoch or an older one any more. Returns whether that made an approval void.
    pub fn trim(&mut self, floor: Epoch) -> bool {
        let before = (self.approved.len(), self.top);
        self.approved.retain(|_, approved| approved.epoch > floor);
        self.top = self.top.filter(|approved| *approved > floor);
        if self.is_empty() {
            self.changed.clear();
        }
        before != (self.approved.len(), self.top)
    }

    /// Forgets the oldest approvals while there are too many: they are asked for again.
    fn bound(&mut self) {
        while self.approved.len() + self.changed.len() > APPROVALS_MAX {
            let oldest = self.approved.values().map(|it| it.epoch).chain(self.top).min();
            self.trim(oldest.unwrap_or_default());
        }
    }
}
