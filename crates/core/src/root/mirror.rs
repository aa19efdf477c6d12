//! What a root knows of one of its mirrors: cursor, ceiling, obligations, writers, target state. Nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::backoff::{Backoff, seed_of};
use crate::data::batch::{Batch, Depth};
use crate::data::change::{AssignmentId, Epoch, Lane};
use crate::data::ids::MirrorId;
use crate::data::moment::Moment;
use crate::data::need::Need;
use crate::data::path::RelPath;
use crate::data::piece::Part;
use crate::data::plan::RetryPlan;
use crate::host::target_state::TargetState;
use crate::root::backlog::{Backlog, Cause, CauseKind, Gates, Obligation, ObligationId};
use crate::root::change_log::Entry;
use crate::root::past::Past;
use crate::root::writers::Writers;

/// How a mirror is served, from the plan.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Pauses before a failed path is tried again.
    pub retry: RetryPlan,
    /// How long a receiver may live after its run was cut off, while its host is there.
    pub receiver_life: Duration,
    /// What it acknowledges is on its disk.
    pub is_durable: bool,
    /// Walks and checks of more entries are cut into pieces of about so many; none: they are never cut.
    pub piece_entries: Option<u64>,
}

/// One mirror of a root.
#[expect(clippy::struct_excessive_bools, reason = "facts that don't depend on each other")]
#[derive(Clone, Debug)]
pub struct Mirror {
    id: MirrorId,
    pub(super) terms: Terms,
    /// The newest epoch that it holds completely, its backlog aside.
    pub(super) cursor: Epoch,
    /// The newest epoch that it may be given; none: the head.
    pub(super) ceiling: Option<Epoch>,
    /// The cursor last moved to a ceiling: it has passed paths that changed again above that.
    pub(super) has_waiting: bool,
    pub(super) backlog: Backlog,
    pub(super) writers: Writers,
    pub(super) target: TargetState,
    /// Its directory was not what it was, when work was last tried: nothing is sent before a person says so.
    pub(super) is_halted: bool,
    /// It lacked what it should have held for long: its disk may not be mounted.
    pub(super) is_suspicious: bool,
    pub(super) past: Past,
    pub(super) fresh: Option<Assigned>,
    pub(super) slow: Option<Assigned>,
    /// The next assignment of small work tries what failed.
    pub(super) tries_failed: bool,
    /// A walk of all of it has broken off: the next one is cut into pieces, although it was never filled.
    pub(super) has_broken_off: bool,
    /// The number of pieces, and of entries in them, of the walk or check that was cut last.
    pub(super) cut_into: (usize, u64),
}

/// An assignment under way.
#[derive(Clone, Debug)]
pub struct Assigned {
    /// Its name.
    pub id: AssignmentId,
    /// The cursor when it was handed out.
    pub from: Epoch,
    /// What the cursor will be.
    pub to: Epoch,
    /// The obligations that it is meant to discharge.
    pub named: BTreeSet<ObligationId>,
    /// Of these, the renames that it makes use of: there was nothing to put right before.
    pub renames: Vec<ObligationId>,
    /// Paths that it names.
    pub paths: Vec<RelPath>,
    /// The number of entries that the source lost at some of these paths.
    pub lost: BTreeMap<RelPath, u64>,
    /// How it compares, if it compares a piece of the root.
    pub compares: Option<Depth>,
    /// The part of the named directory.
    pub part: Part,
    /// Everything that is run for it; none before it was looked at.
    pub batch: Option<Arc<Batch>>,
}

impl Mirror {
    /// A mirror of which nothing is known, whose log begins at this epoch.
    pub fn new(id: MirrorId, terms: Terms, cursor: Epoch) -> Self {
        Self {
            id,
            terms,
            cursor,
            ceiling: None,
            has_waiting: false,
            backlog: Backlog::default(),
            writers: Writers::default(),
            target: TargetState::default(),
            is_halted: false,
            is_suspicious: false,
            past: Past::default(),
            fresh: None,
            slow: None,
            tries_failed: false,
            has_broken_off: false,
            cut_into: (0, 0),
        }
    }

    /// The newest epoch that it may be given now.
    pub fn limit(&self, head: Epoch) -> Epoch {
        self.ceiling.map_or(head, |ceiling| ceiling.min(head))
    }

    /// Up to which epoch the log was handed out.
    pub fn handed_out(&self) -> Epoch {
        self.fresh.as_ref().map_or(self.cursor, |assigned| assigned.to.max(self.cursor))
    }

    /// The oldest epoch with a change that it lacks, of an entry above its cursor.
    pub fn lacks_since(&self, entry: &Entry) -> Epoch {
        if self.has_waiting { entry.first } else { entry.first.max(self.cursor.next()) }
    }

    /// Up to which epoch it holds everything, and no writer can undo that.
    pub fn passed(&self) -> Epoch {
        self.writers.oldest_start().map_or(self.cursor, |start| start.min(self.cursor))
    }

    /// What the log has to keep for it: everything newer.
    pub fn floor(&self, now: Moment) -> Epoch {
        self.past.floor(now, self.cursor, self.terms.is_durable).min(self.passed())
    }

    /// Where its cursor stands, or may come to stand.
    pub fn standpoints(&self) -> impl Iterator<Item = Epoch> + Clone + use<> {
        std::iter::once(self.cursor).chain(self.fresh.as_ref().map(|assigned| assigned.to))
    }

    /// The lane's assignment under way.
    pub fn assigned(&self, lane: Lane) -> Option<&Assigned> {
        match lane {
            Lane::Fresh => self.fresh.as_ref(),
            Lane::Slow => self.slow.as_ref(),
        }
    }

    /// The assignments under way that were looked at, each with everything that is run for it.
    pub fn running(&self) -> impl Iterator<Item = (AssignmentId, &Batch)> {
        let under_way = [&self.fresh, &self.slow].into_iter().flatten();
        under_way.filter_map(|it| Some((it.id, it.batch.as_deref()?)))
    }

    pub(super) fn assigned_mut(&mut self, lane: Lane) -> &mut Option<Assigned> {
        match lane {
            Lane::Fresh => &mut self.fresh,
            Lane::Slow => &mut self.slow,
        }
    }

    /// The lane of an assignment under way; none if this is not one.
    pub fn lane_of(&self, id: AssignmentId) -> Option<Lane> {
        let is_it = |lane: &Lane| self.assigned(*lane).is_some_and(|assigned| assigned.id == id);
        [Lane::Fresh, Lane::Slow].into_iter().find(is_it)
    }

    /// The head of the log when an assignment was handed out.
    pub fn start_of(&self, id: AssignmentId) -> Option<Epoch> {
        self.writers.get(id).map(|writer| writer.start)
    }

    /// Whether an obligation is named by an assignment under way.
    pub fn is_assigned(&self, id: ObligationId) -> bool {
        [&self.fresh, &self.slow].into_iter().flatten().any(|assigned| assigned.named.contains(&id))
    }

    /// The obligations of a lane that may be handed out now, those that are under way aside.
    pub fn due(
        &self,
        now: Moment,
        lane: Lane,
    ) -> impl Iterator<Item = (ObligationId, &Obligation)> {
        let all = self.backlog.iter();
        let is_due = move |(id, it): &(ObligationId, &Obligation)| {
            it.lane == lane && it.gates.are_open(now) && !self.is_assigned(*id)
        };
        all.filter(is_due)
    }

    /// The failed obligation at exactly this path that is not under way.
    pub fn failed_at(&self, path: &RelPath) -> Option<ObligationId> {
        let mut at = self.backlog.at(path);
        let is_failed =
            |id, it: &Obligation| matches!(it.cause, Cause::Failed { .. }) && !self.is_assigned(id);
        at.find(|(id, it)| is_failed(*id, it)).map(|(id, _)| id)
    }

    /// An obligation that begins now and concerns a change of this epoch.
    pub fn owed(
        &self,
        now: Moment,
        path: RelPath,
        need: Need,
        cause: Cause,
        mark: Epoch,
    ) -> Obligation {
        let lane = match (&cause, path.is_root() && need.is_within()) {
            (Cause::Large | Cause::Walk | Cause::Check { .. }, _) | (_, true) => Lane::Slow,
            _ => Lane::Fresh,
        };
        let gates = Gates::default();
        Obligation {
            path,
            part: Part::All,
            entries: 0,
            need,
            gates,
            lane,
            cause,
            since: now,
            mark,
            lost: 0,
        }
    }

    /// The pauses of a path that fails for the first time.
    pub fn backoff(&self, path: &RelPath) -> Backoff {
        Backoff::new(self.terms.retry, seed_of(&path.to_string()))
    }

    /// The obligations that await a person's approval.
    pub fn awaiting_approval(&self) -> impl Iterator<Item = (ObligationId, &Obligation)> {
        self.backlog.iter().filter(|(_, it)| it.gates.awaits_approval)
    }

    /// The newest epoch that it holds completely, its backlog aside.
    pub fn cursor(&self) -> Epoch {
        self.cursor
    }

    /// The newest epoch that it may be given; none: the head.
    pub fn ceiling(&self) -> Option<Epoch> {
        self.ceiling
    }

    /// What it owes beside the log.
    pub fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    /// The runs that can still change it.
    pub fn writers(&self) -> &Writers {
        &self.writers
    }

    /// Whether the next assignment of small work tries what failed.
    pub fn tries_failed(&self) -> bool {
        self.tries_failed
    }

    /// Its name.
    pub fn id(&self) -> &MirrorId {
        &self.id
    }

    /// Whether the whole root has to be compared, or a piece of it, because something is in doubt.
    pub fn owes_walk(&self) -> bool {
        self.backlog.count(&[CauseKind::Walk]) > 0
    }
}
