//! What one mirror owes beside the log: obligations, each with a requirement, gates and a cause.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use crate::backoff::Backoff;
use crate::data::batch::Depth;
use crate::data::change::{AssignmentId, Epoch, Lane};
use crate::data::limits::BACKLOG_MAX;
use crate::data::moment::Moment;
use crate::data::need::Need;
use crate::data::path::RelPath;
use crate::data::piece::Part;

/// Names an obligation. To add to one, or to merge it, always makes a new id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObligationId(pub u64);

/// Something that a mirror owes beside the log.
#[derive(Clone, Debug)]
pub struct Obligation {
    /// Where.
    pub path: RelPath,
    /// The part of the directory that a walk or check compares; all for every other cause.
    pub part: Part,
    /// The approximate number of entries in a piece of a walk or check; 0 for every other obligation.
    pub entries: u64,
    /// What has to hold there.
    pub need: Need,
    /// When it may be handed out.
    pub gates: Gates,
    /// Which runs bring it.
    pub lane: Lane,
    /// Why it is owed.
    pub cause: Cause,
    /// When the oldest change came that the mirror lacks for it.
    pub since: Moment,
    /// The oldest epoch that it concerns: a flush to an older one does not wait for it.
    pub mark: Epoch,
    /// The number of entries that may be deleted there: the entries that the source lost, as far as events told, and for
    /// [`Cause::Extra`] the entries that were found on the mirror.
    pub lost: u64,
}

/// A conjunction: an obligation is due when all of its gates are open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gates {
    /// Not before this moment.
    pub not_before: Option<Moment>,
    /// A person has to approve of the deletion.
    pub awaits_approval: bool,
    /// The volume that is mounted here has to be back.
    pub volume: Option<RelPath>,
    /// This assignment has to have ended.
    pub after: Option<AssignmentId>,
    /// The names that were found on the mirror alone have to be settled: a comparison would only find them again.
    pub after_extras: bool,
}

/// Why something is owed.
#[derive(Clone, Debug)]
pub enum Cause {
    /// Nothing is known of the mirror, or something made what is known of it doubtful.
    Walk,
    /// A comparison that is made from time to time although nothing is in doubt. Such a mirror stays in sync.
    Check {
        /// What is compared.
        depth: Depth,
    },
    /// A run that was cut off, or that ran beside another, may have put older content over newer (Rule 2).
    Interference,
    /// A file so large that a run of its own brings it.
    Large,
    /// It failed, and is tried again with growing pauses.
    Failed {
        /// What the run said.
        reason: String,
        /// The pauses.
        backoff: Backoff,
    },
    /// Until the old name is gone, both may be names of one file on the mirror.
    Renamed {
        /// The new name.
        to: RelPath,
    },
    /// Names on the mirror that are not in the source, found by a comparison.
    Extra,
    /// Deletions of what the source lost.
    Deletion,
    /// Its volume is not mounted in the source.
    Unmounted,
    /// A receiver that was cut off may have left temporary files.
    Leftovers,
    /// The host may have lost what it had acknowledged.
    Restarted,
    /// It was owed when the daemon ended, or changed meanwhile.
    Resumed,
}

/// A [`Cause`] without its particulars.
#[expect(missing_docs, reason = "as in Cause")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CauseKind {
    Walk,
    CheckOfTimes,
    CheckOfContents,
    Interference,
    Large,
    Failed,
    Renamed,
    Extra,
    Deletion,
    Unmounted,
    Leftovers,
    Restarted,
    Resumed,
}

impl CauseKind {
    /// Those of [`Cause::is_scheduled`].
    pub const SCHEDULED: [Self; 2] = [Self::CheckOfTimes, Self::CheckOfContents];
}

impl Gates {
    /// Whether all of them are open.
    pub fn are_open(&self, now: Moment) -> bool {
        self.not_before.is_none_or(|moment| moment <= now) && self.is_only_time()
    }

    fn is_only_time(&self) -> bool {
        !self.awaits_approval && self.volume.is_none() && self.after.is_none() && !self.after_extras
    }
}

impl Cause {
    /// Whether obligations of both causes may be merged.
    pub fn is_same(&self, other: &Self) -> bool {
        let is_one = !matches!(self, Self::Renamed { .. } | Self::Failed { .. });
        is_one && self.kind() == other.kind()
    }

    fn kind(&self) -> CauseKind {
        match self {
            Self::Walk => CauseKind::Walk,
            Self::Check { depth: Depth::Times } => CauseKind::CheckOfTimes,
            Self::Check { depth: Depth::Contents } => CauseKind::CheckOfContents,
            Self::Interference => CauseKind::Interference,
            Self::Large => CauseKind::Large,
            Self::Failed { .. } => CauseKind::Failed,
            Self::Renamed { .. } => CauseKind::Renamed,
            Self::Extra => CauseKind::Extra,
            Self::Deletion => CauseKind::Deletion,
            Self::Unmounted => CauseKind::Unmounted,
            Self::Leftovers => CauseKind::Leftovers,
            Self::Restarted => CauseKind::Restarted,
            Self::Resumed => CauseKind::Resumed,
        }
    }

    /// Whether the mirror is called in sync nevertheless.
    pub fn is_scheduled(&self) -> bool {
        matches!(self, Self::Check { .. })
    }
}

impl Obligation {
    /// Each path with its requirement: one, or the two names of a rename, the old one first.
    pub fn items(&self) -> impl Iterator<Item = (&RelPath, Need)> {
        let other = match &self.cause {
            Cause::Renamed { to } => Some((to, Need::TREE)),
            _ => None,
        };
        std::iter::once((&self.path, self.need)).chain(other)
    }

    /// Whether it concerns this path, or anything below it.
    pub fn touches(&self, path: &RelPath) -> bool {
        self.items().any(|(own, need)| {
            own == path || own.is_below(path) || (need.is_within() && path.is_below(own))
        })
    }
}

/// Obligations that may be merged: equal in all this.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    directory: RelPath,
    kind: CauseKind,
    lane: Lane,
    awaits_approval: bool,
    volume: Option<RelPath>,
}

impl Group {
    /// None for one that is never merged.
    fn of(obligation: &Obligation) -> Option<Self> {
        let Obligation { path, gates, lane, cause, .. } = obligation;
        let waits_for_others = gates.after.is_some() || gates.after_extras;
        if matches!(cause, Cause::Renamed { .. }) || waits_for_others {
            return None;
        }
        Some(Self {
            directory: path.parent()?,
            kind: cause.kind(),
            lane: *lane,
            awaits_approval: gates.awaits_approval,
            volume: gates.volume.clone(),
        })
    }
}

/// All obligations of one mirror, at most about [`BACKLOG_MAX`].
#[derive(Clone, Debug, Default)]
pub struct Backlog {
    owed: BTreeMap<ObligationId, Obligation>,
    by_path: BTreeMap<RelPath, BTreeSet<ObligationId>>,
    /// Those that wait for a moment, by that.
    timed: BTreeSet<(Moment, ObligationId)>,
    /// How many there are of each kind of cause.
    counts: [usize; CauseKind::Resumed as usize + 1],
    revision: u64,
}

impl Backlog {
    /// Another number after each change.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Adds one.
    pub fn insert(&mut self, id: ObligationId, obligation: Obligation) {
        self.revision += 1;
        for (path, _) in obligation.items() {
            self.by_path.entry(path.clone()).or_default().insert(id);
        }
        if let Some(moment) = obligation.gates.not_before {
            self.timed.insert((moment, id));
        }
        self.counts[obligation.cause.kind() as usize] += 1;
        self.owed.insert(id, obligation);
    }

    /// Takes one out.
    pub fn remove(&mut self, id: ObligationId) -> Option<Obligation> {
        let obligation = self.owed.remove(&id)?;
        self.revision += 1;
        for (path, _) in obligation.items() {
            if let Some(ids) = self.by_path.get_mut(path) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.by_path.remove(path);
                }
            }
        }
        if let Some(moment) = obligation.gates.not_before {
            self.timed.remove(&(moment, id));
        }
        self.counts[obligation.cause.kind() as usize] -= 1;
        Some(obligation)
    }

    /// The obligation of this id.
    pub fn get(&self, id: ObligationId) -> Option<&Obligation> {
        self.owed.get(&id)
    }

    /// All of them, in the order in which they were owed.
    pub fn iter(&self) -> impl Iterator<Item = (ObligationId, &Obligation)> {
        self.owed.iter().map(|(id, obligation)| (*id, obligation))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.owed.len()
    }

    /// How many there are of these causes.
    pub fn count(&self, kinds: &[CauseKind]) -> usize {
        kinds.iter().map(|kind| self.counts[*kind as usize]).sum()
    }

    /// Whether nothing is owed, scheduled checks aside.
    pub fn is_empty(&self) -> bool {
        self.owed.len() == self.count(&CauseKind::SCHEDULED)
    }

    /// Those at exactly this path.
    pub fn at(&self, path: &RelPath) -> impl Iterator<Item = (ObligationId, &Obligation)> {
        let ids = self.by_path.get(path).into_iter().flatten();
        ids.map(|id| (*id, &self.owed[id]))
    }

    /// Those at, above or below this path.
    pub fn around(&self, path: &RelPath) -> Vec<ObligationId> {
        let mut ids: BTreeSet<ObligationId> = BTreeSet::new();
        for name in path.ancestors().chain([path.clone()]) {
            ids.extend(self.by_path.get(&name).into_iter().flatten());
        }
        match path.below() {
            Some((start, end)) => {
                ids.extend(self.by_path.range(start..end).flat_map(|(_, ids)| ids));
            }
            None => ids.extend(self.owed.keys()),
        }
        ids.into_iter().collect()
    }

    /// When the next one is due that waits for a moment after `now`.
    pub fn next_due(&self, now: Moment) -> Option<Moment> {
        let last = (now, ObligationId(u64::MAX));
        self.timed.range((Excluded(last), Unbounded)).next().map(|(moment, _)| *moment)
    }

    /// Opens gates, none of which waits for the clock: `open` says which it opened. Returns whether there was any.
    pub fn open_gates(&mut self, mut open: impl FnMut(&mut Gates) -> bool) -> bool {
        let mut opened = 0;
        for obligation in self.owed.values_mut() {
            opened += u64::from(open(&mut obligation.gates));
        }
        self.revision += opened;
        opened > 0
    }

    /// Opens a gate of one that does not wait for the clock.
    pub fn open_gate_of(&mut self, id: ObligationId, open: impl FnOnce(&mut Gates)) {
        if let Some(obligation) = self.owed.get_mut(&id) {
            self.revision += 1;
            open(&mut obligation.gates);
        }
    }

    /// Whether there are more than is wanted, so that [`Self::coarsen`] is called for.
    pub fn is_full(&self) -> bool {
        self.owed.len() > BACKLOG_MAX
    }

    /// Merges obligations of equal cause, gates and lane in one directory into one for that directory, the fullest
    /// directories first, until half of the room is free. Each merged obligation gets an id from `next`.
    ///
    /// The requirement of a directory is the union; contents that can no longer be named one by one are compared, by
    /// the slow lane. Two names of a rename are never merged.
    pub fn coarsen(&mut self, mut next: impl FnMut() -> ObligationId) {
        while self.owed.len() > BACKLOG_MAX / 2 {
            let mut groups: BTreeMap<Group, Vec<ObligationId>> = BTreeMap::new();
            for (id, obligation) in &self.owed {
                if let Some(group) = Group::of(obligation) {
                    groups.entry(group).or_default().push(*id);
                }
            }
            let mut groups: Vec<_> = groups.into_iter().collect();
            if groups.is_empty() {
                return;
            }
            // The deepest of equal size first, so that the tree is folded from its leaves.
            groups.sort_by_key(|(group, ids)| {
                (Reverse(ids.len()), Reverse(group.directory.ancestors().count()))
            });
            for (group, ids) in groups {
                if self.owed.len() <= BACKLOG_MAX / 2 {
                    return;
                }
                self.merge(&group.directory, &ids, next());
            }
        }
    }

    fn merge(&mut self, directory: &RelPath, ids: &[ObligationId], id: ObligationId) {
        let mut merged: Option<Obligation> = None;
        for old in ids.iter().filter_map(|id| self.remove(*id)) {
            merged = Some(match merged {
                None => Obligation { path: directory.clone(), part: Part::All, ..old },
                Some(known) => Obligation {
                    need: known.need | old.need,
                    since: known.since.min(old.since),
                    mark: known.mark.min(old.mark),
                    lost: known.lost + old.lost,
                    entries: known.entries + old.entries,
                    gates: Gates {
                        not_before: known.gates.not_before.max(old.gates.not_before),
                        ..known.gates
                    },
                    ..known
                },
            });
        }
        let Some(mut merged) = merged else { return };
        if merged.need != Need::LEFTOVERS {
            merged.need |= Need::WITHIN | Need::EQUAL;
            merged.need &= Need::TREE | Need::CONTENTS | Need::LEFTOVERS;
            if merged.need.wants_contents() {
                merged.lane = Lane::Slow;
            }
        }
        self.insert(id, merged);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owed(path: &str, cause: Cause, need: Need) -> Obligation {
        Obligation {
            path: path.into(),
            part: Part::All,
            entries: 0,
            need,
            gates: Gates::default(),
            lane: Lane::Fresh,
            cause,
            since: Moment::default(),
            mark: Epoch(1),
            lost: 0,
        }
    }

    #[test]
    fn gates_are_a_conjunction() {
        let at = |seconds| Moment::after_start(std::time::Duration::from_secs(seconds));
        let mut gates = Gates { not_before: Some(at(5)), ..Gates::default() };
        assert!(!gates.are_open(at(4)) && gates.are_open(at(5)));
        gates.awaits_approval = true;
        assert!(!gates.are_open(at(9)));
    }

    #[test]
    fn a_full_backlog_becomes_coarser_and_loses_nothing() {
        let mut backlog = Backlog::default();
        for number in 0..=BACKLOG_MAX as u64 {
            let path = format!("d{}/f{number}", number % 10);
            let need = if number % 2 == 0 { Need::CONTENTS } else { Need::GONE };
            backlog.insert(ObligationId(number), owed(&path, Cause::Interference, need));
        }
        assert!(backlog.is_full());
        let mut id = 1_000_000;
        backlog.coarsen(|| {
            id += 1;
            ObligationId(id)
        });
        assert!(backlog.len() <= BACKLOG_MAX / 2);
        for number in 0..=BACKLOG_MAX as u64 {
            let path = RelPath::from(format!("d{}/f{number}", number % 10).as_str());
            let need = if number % 2 == 0 { Need::CONTENTS } else { Need::GONE };
            let above = path.ancestors().chain([path.clone()]);
            let covers = |it: &Obligation| {
                (it.path == path || it.need.is_within()) && it.need.contains(need)
            };
            let mut around = above
                .flat_map(|name| backlog.at(&name).map(|(_, it)| covers(it)).collect::<Vec<_>>());
            assert!(around.any(|it| it), "{path} is not owed any more");
        }
    }

    #[test]
    fn both_names_of_a_rename_are_found() {
        let mut backlog = Backlog::default();
        let cause = Cause::Renamed { to: "b".into() };
        backlog.insert(ObligationId(1), owed("a", cause, Need::ANEW | Need::GONE));
        for path in ["a", "a/x", "b", "b/y"] {
            assert_eq!(backlog.around(&path.into()), [ObligationId(1)], "{path}");
        }
        assert!(backlog.around(&"c".into()).is_empty());
        assert!(
            backlog.remove(ObligationId(1)).is_some() && backlog.around(&"b".into()).is_empty()
        );
    }
}
