//! How mirrors stand: computed from log, obligations and writers.

use super::Ledger;
use crate::data::change::{Epoch, Lane};
use crate::data::ids::MirrorId;
use crate::data::moment::Moment;
use crate::data::path::RelPath;
use crate::data::status::WalkProgress;
use crate::root::backlog::{Cause, CauseKind, Obligation};
use crate::root::mirror::Mirror;
use crate::root::writers::Writer;

/// How a mirror stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// The newest epoch to which a flush would find everything here, failed paths and waiting deletions aside.
    pub epoch: Epoch,
    /// Changed paths above the cursor, and obligations.
    pub pending: usize,
    /// When the oldest change came that it lacks.
    pub behind_since: Option<Moment>,
    /// Whether it is compared, or is to be, because something is in doubt.
    pub owes_walk: bool,
    /// How far a walk or check has come that was cut into pieces.
    pub walk: Option<WalkProgress>,
    /// Failed paths with their reasons.
    pub stuck: Vec<(RelPath, String)>,
    /// How many fail.
    pub stuck_total: usize,
    /// Paths that are brought once more, and large files.
    pub repeated: usize,
    /// Entries whose deletion waits for a person; 0 where the ledger alone is asked, which does not count them.
    pub held_deletions: u64,
    /// A writer may change what is there.
    pub may_change: bool,
    /// When what was cut off must be dead.
    pub repeats_at: Option<Moment>,
    /// Nothing is owed, scheduled checks aside, and no writer endangers anything.
    pub is_settled: bool,
}

impl Ledger {
    /// How a mirror stands; names at most `stuck_max` of its failed paths.
    pub fn standing(&self, id: &MirrorId, stuck_max: usize) -> Option<Standing> {
        let mirror = self.mirrors.get(id)?;
        let above = self.log.count_above(mirror.cursor);
        let count = |kinds: &[CauseKind]| mirror.backlog.count(kinds);
        let failed = mirror.backlog.iter().filter_map(|(_, it)| match &it.cause {
            Cause::Failed { reason, .. } => Some((it.path.clone(), reason.clone())),
            _ => None,
        });
        let comparisons = count(&[CauseKind::Walk]) + count(&CauseKind::SCHEDULED);
        let stuck_total = count(&[CauseKind::Failed]);
        Some(Standing {
            epoch: self.flushed_to(mirror),
            pending: above + mirror.backlog.len() - comparisons,
            behind_since: self.behind_since(mirror),
            owes_walk: mirror.owes_walk(),
            walk: mirror.walk_progress(),
            stuck: failed.take(stuck_max.min(stuck_total)).collect(),
            stuck_total,
            repeated: count(&[
                CauseKind::Interference,
                CauseKind::Large,
                CauseKind::Restarted,
                CauseKind::Renamed,
                CauseKind::Leftovers,
            ]),
            held_deletions: 0,
            may_change: mirror.writers.endanger(None),
            repeats_at: mirror.writers.next_expiry(mirror.terms.receiver_life),
            is_settled: self.is_settled(mirror),
        })
    }

    /// The epoch up to which nothing has to be brought to any mirror again, if all of them hold everything.
    pub fn settled_floor(&self, now: Moment) -> Option<Epoch> {
        let mut mirrors = self.mirrors.values();
        let is_settled = mirrors.all(|mirror| self.is_settled(mirror));
        let floor = self.mirrors.values().map(|mirror| mirror.floor(now)).min();
        floor.filter(|_| is_settled)
    }

    /// Whether everything that is known is on this mirror.
    fn is_settled(&self, mirror: &Mirror) -> bool {
        let head = self.log.head();
        let is_harmless = |lane: Lane| {
            mirror.assigned(lane).is_none_or(|assigned| {
                assigned
                    .named
                    .iter()
                    .all(|id| mirror.backlog.get(*id).is_some_and(|it| it.cause.is_scheduled()))
            })
        };
        mirror.cursor == head
            && mirror.backlog.is_empty()
            && mirror.fresh.is_none()
            && is_harmless(Lane::Slow)
            && !mirror.writers.endanger(None)
    }

    /// The newest epoch such that nothing that came up to it is owed, and no writer endangers it. What fails, or waits for a
    /// person or a volume, is named and not waited for.
    fn flushed_to(&self, mirror: &Mirror) -> Epoch {
        let is_awaited = |it: &Obligation| {
            !it.cause.is_scheduled()
                && !matches!(it.cause, Cause::Failed { .. })
                && !it.gates.awaits_approval
                && it.gates.volume.is_none()
        };
        let owed = mirror.backlog.iter().filter(|(_, it)| is_awaited(it)).map(|(_, it)| it.mark);
        let owed = owed.min().map(|mark| Epoch(mark.0.saturating_sub(1)));
        let writers = mirror.writers.iter().filter(|(_, it)| it.endangers);
        // Of one that owes all, it is not known any more when it started.
        let start = |it: &Writer| if it.owes_all { Epoch::default() } else { it.start };
        let writers = writers.map(|(_, it)| start(it));
        let waiting =
            self.oldest_waiting(mirror).map(|entry| Epoch(entry.first.0.saturating_sub(1)));
        [owed, writers.min(), waiting].into_iter().flatten().fold(mirror.cursor, Epoch::min)
    }

    /// When the oldest change came that the mirror lacks; since when it is in doubt, if that was before.
    fn behind_since(&self, mirror: &Mirror) -> Option<Moment> {
        let above = self.log.first_change_above(mirror.cursor);
        let owed = mirror.backlog.iter().filter(|(_, it)| !it.cause.is_scheduled());
        let waiting = self.oldest_waiting(mirror).map(|entry| entry.first_change);
        above.into_iter().chain(waiting).chain(owed.map(|(_, it)| it.since)).min()
    }

    /// Whether anything that was cut off may still change a mirror, so that an end now is not clean.
    pub fn may_change(&self) -> bool {
        self.mirrors.values().any(|mirror| mirror.writers.has_cut_off())
    }

    /// What a check found different is no drift if it changed here since this epoch.
    pub fn changed_since(&self, epoch: Epoch, path: &RelPath) -> bool {
        self.log.changed_since(epoch, path)
    }

    /// Whether a path, or something above it, is on its way to this mirror.
    pub fn covers(&self, id: &MirrorId, path: &RelPath) -> bool {
        self.mirrors.get(id).is_some_and(|mirror| {
            let is_owed = |it: &Obligation| it.touches(path);
            self.log.changed_since(mirror.cursor, path)
                || mirror
                    .backlog
                    .around(path)
                    .iter()
                    .any(|id| mirror.backlog.get(*id).is_some_and(is_owed))
        })
    }
}
