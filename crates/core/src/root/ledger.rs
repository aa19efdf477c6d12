//! The ledger: what each mirror of a root owes, and how that is settled. `docs/ledger.md` is its specification.
//!
//! Rule 1, discharge, is [`Ledger::ended`]. Rule 2, interference, is `Ledger::gone`. Nothing else removes an
//! obligation or makes one because of a run.

mod assign;
mod ceiling;
mod contact;
mod cut;
mod explain;
mod report;
mod resume;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::data::batch::{Batch, Compare, Depth, Dirty};
use crate::data::change::{AssignmentId, Epoch, Lane, Move};
use crate::data::ids::MirrorId;
use crate::data::limits::RENAME_DOUBT;
use crate::data::moment::Moment;
use crate::data::need::Need;
use crate::data::outcome::{AssignmentEnd, Extra, Outcome, Unproved};
use crate::data::path::RelPath;
use crate::host::target_state::TargetState;
use crate::root::backlog::{Cause, CauseKind, Gates, Obligation, ObligationId};
use crate::root::change_log::{ChangeLog, Entry};
use crate::root::epoch::Sealed;
use crate::root::mirror::{Assigned, Mirror, Terms};
use crate::root::writers::Scope;

pub use self::report::Standing;

/// The mark of what concerns every epoch: whatever a mirror held may be gone.
const FIRST_EPOCH: Epoch = Epoch(1);

/// The change log of a root and its mirrors.
#[derive(Clone, Debug)]
pub struct Ledger {
    log: ChangeLog,
    mirrors: BTreeMap<MirrorId, Mirror>,
    /// The last number that was given to an assignment or an obligation.
    last_id: u64,
}

/// Work for a mirror: what is to be looked at on the disk and then brought to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// To be named when it has ended.
    pub id: AssignmentId,
    /// Which lane it belongs to.
    pub lane: Lane,
    /// The cursor.
    pub from: Epoch,
    /// What the cursor will be.
    pub to: Epoch,
    /// What is to be done.
    pub work: Work,
    /// How many entries the source lost at these paths.
    pub lost: BTreeMap<RelPath, u64>,
    /// How many entries a run found at these paths that are on the mirror alone.
    pub found_extra: BTreeMap<RelPath, u64>,
    /// Where the mirror may hold some of what is to be brought to it.
    pub renames: Vec<Move>,
    /// It is the range of the log and nothing else, so that other mirrors at this cursor need exactly this.
    pub is_shared: bool,
    /// Large files may be left to runs of their own.
    pub may_leave_large: bool,
    /// The mirror lacked what it should have held for long: what is directly in it is counted first.
    pub is_suspicious: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// These paths, sorted, each with its requirement.
    Push(Vec<Dirty>),
    /// A directory is compared.
    Compare(Compare),
}

/// Part of an assignment that is not run, and owed instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Where.
    pub path: RelPath,
    /// What is left to do there.
    pub need: Need,
    /// How many entries go with a deletion, as [`Obligation::lost`].
    pub lost: u64,
    /// Why it is not run.
    pub why: LeftOutWhy,
}

/// Why a part of an assignment is not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeftOutWhy {
    /// It is large.
    Large,
    /// It lies in, or holds, a volume that is not mounted here.
    Unmounted(RelPath),
    /// The deletion of what the source lost awaits approval.
    AwaitsApproval,
    /// The deletion of what only the mirror holds awaits approval.
    ExtraAwaitsApproval,
    /// The look at the disk brings no run that proves it.
    NotProved,
}

impl Ledger {
    /// An empty ledger, whose log holds at most `paths_max` distinct paths. `start` is the number of the daemon's start:
    /// no id of another start is ever equal.
    pub fn new(paths_max: usize, start: u32) -> Self {
        let last_id = u64::from(start) << 32;
        Self { log: ChangeLog::new(paths_max), mirrors: BTreeMap::new(), last_id }
    }

    /// A mirror of which nothing is known: it is to be compared.
    pub fn add_mirror(&mut self, now: Moment, id: &MirrorId, terms: Terms) {
        let mirror = Mirror::new(id.clone(), terms, self.log.head());
        self.mirrors.insert(id.clone(), mirror);
        self.owe_walk(now, id);
    }

    /// A mirror is given up, with all that is known of it.
    pub fn remove_mirror(&mut self, now: Moment, id: &MirrorId) {
        self.mirrors.remove(id);
        self.trim(now);
    }

    /// Other terms. A receiver that was started before lives as long as was agreed then.
    pub fn set_terms(&mut self, id: &MirrorId, terms: Terms) {
        if let Some(mirror) = self.mirrors.get_mut(id) {
            let receiver_life = mirror.terms.receiver_life.max(terms.receiver_life);
            mirror.terms = Terms { receiver_life, ..terms };
        }
    }

    /// The log.
    pub fn log(&self) -> &ChangeLog {
        &self.log
    }

    /// The mirrors of this root.
    pub fn ids(&self) -> impl Iterator<Item = &MirrorId> {
        self.mirrors.keys()
    }

    /// A mirror.
    pub fn mirror(&self, id: &MirrorId) -> Option<&Mirror> {
        self.mirrors.get(id)
    }

    /// Seals changes as a new epoch.
    pub fn seal(&mut self, now: Moment, sealed: Sealed) -> Epoch {
        let heard = sealed.first_change;
        let before = heard.before(RENAME_DOUBT);
        let settled = self.mirrors.values().map(|it| it.past.cursor_at(before, it.cursor)).min();
        // A mirror has passed what no writer can undo any more.
        let passed = self.mirrors.values().map(Mirror::passed).min();
        let (settled, passed) = (settled.unwrap_or_default(), passed.unwrap_or_default());
        let mut sealed = sealed;
        for it in sealed.moves.iter_mut().filter(|it| it.is_exact) {
            let is_late = |path: &RelPath| {
                self.mirrors.values().any(|mirror| mirror.past.was_just_discharged(heard, path))
            };
            it.is_exact = !is_late(&it.from) && !is_late(&it.to);
        }
        let epoch = self.log.seal(sealed, settled, passed);
        self.trim(now);
        self.keep_within_bound(now);
        epoch
    }

    /// Part of an assignment under way is not run: it is owed instead, before anything runs. `scope` is what the rest may
    /// write to.
    pub fn made(
        &mut self,
        now: Moment,
        id: &MirrorId,
        assignment: AssignmentId,
        batch: &Arc<Batch>,
        left_out: &[LeftOut],
    ) {
        let Some(mirror) = self.mirrors.get_mut(id) else { return };
        let Some(lane) = mirror.lane_of(assignment) else { return };
        if let Some(assigned) = mirror.assigned_mut(lane) {
            assigned.batch = Some(batch.clone());
        }
        if batch.compares.is_none() {
            mirror.writers.set_scope(assignment, Scope::of_batch(batch));
        }
        let assigned = mirror.assigned(lane).expect("its lane was found");
        let (from, named) = (assigned.from, assigned.named.clone());
        for LeftOut { path, need, lost, why } in left_out {
            let mirror = self.mirrors.get(id).expect("it was there just now");
            let lacks_since = self.log.entry(path).map(|entry| mirror.lacks_since(entry));
            let around = mirror.backlog.around(path).into_iter().filter(|id| named.contains(id));
            let around = around.filter_map(|id| mirror.backlog.get(id));
            let marks = around.filter(|it| it.touches(path)).map(|it| it.mark);
            let mark = marks.chain(lacks_since).min().unwrap_or_else(|| from.next());
            let mirror = self.mirrors.get(id).expect("it was there just now");
            let mut owed = match why {
                LeftOutWhy::Large => mirror.owed(now, path.clone(), *need, Cause::Large, mark),
                LeftOutWhy::Unmounted(volume) => {
                    let owed = mirror.owed(now, path.clone(), *need, Cause::Unmounted, mark);
                    let gates = Gates { volume: Some(volume.clone()), ..Gates::default() };
                    Obligation { gates, ..owed }
                }
                LeftOutWhy::AwaitsApproval | LeftOutWhy::ExtraAwaitsApproval => {
                    let is_extra = matches!(why, LeftOutWhy::ExtraAwaitsApproval);
                    let cause = if is_extra { Cause::Extra } else { Cause::Deletion };
                    let owed = mirror.owed(now, path.clone(), *need, cause, mark);
                    let gates = Gates { awaits_approval: true, ..Gates::default() };
                    Obligation { gates, ..owed }
                }
                LeftOutWhy::NotProved => {
                    mirror.owed(now, path.clone(), *need, Cause::Interference, mark)
                }
            };
            if matches!(why, LeftOutWhy::Large) {
                // The directory that it lies in may be made by the very assignment that leaves it out.
                owed.gates.after = Some(assignment);
            }
            owed.since = self.log.first_change_above(from).unwrap_or(now).min(now);
            owed.lost = *lost;
            self.owe(id, owed);
        }
    }

    /// Rule 1. Work has ended, or can't have begun. What was proved is discharged; what was not becomes an obligation of
    /// its own; then the cursor moves. Where the end cannot say it path by path, nothing is discharged.
    ///
    /// Returns false, and changes nothing but what a late write can do, if this assignment is not under way.
    pub fn ended(
        &mut self,
        now: Moment,
        id: &MirrorId,
        assignment: AssignmentId,
        end: &AssignmentEnd,
    ) -> bool {
        let Some(mirror) = self.mirrors.get_mut(id) else { return false };
        let Some(lane) = mirror.lane_of(assignment) else { return false };
        self.note_contact(now, id, end);
        let mirror = self.mirrors.get_mut(id).expect("it was there just now");
        let assigned = mirror.assigned_mut(lane).take().expect("its lane was found");
        match &end.outcome {
            Outcome::Halt(_) => mirror.is_halted = true,
            outcome if outcome.is_settled() => {
                mirror.is_halted = false;
                mirror.is_suspicious &= assigned.compares.is_none();
            }
            _ => mirror.has_broken_off |= assigned.compares.is_some(),
        }
        if lane == Lane::Fresh {
            let failed_before = mirror.tries_failed;
            let has_failed = mirror
                .due(now, Lane::Fresh)
                .any(|(_, it)| matches!(it.cause, Cause::Failed { .. }));
            // What failed is tried in a run by itself, in turn with everything else.
            mirror.tries_failed = has_failed && !failed_before;
        }
        if let Outcome::Done | Outcome::Partly(_) = &end.outcome {
            self.discharge(now, id, &assigned, end);
        }
        let mirror = self.mirrors.get_mut(id).expect("it was there just now");
        if end.broke_off || end.outcome.is_cut_off() {
            let life = mirror.terms.receiver_life;
            mirror.writers.cut(now, assignment, life);
        } else {
            if !end.has_linked && !end.outcome.is_settled() {
                // Nothing was linked, so there is nothing to put right.
                for rename in &assigned.renames {
                    mirror.backlog.remove(*rename);
                }
            }
            self.gone(now, id, assignment);
        }
        self.open_after(id, assignment);
        self.trim(now);
        true
    }

    fn discharge(&mut self, now: Moment, id: &MirrorId, assigned: &Assigned, end: &AssignmentEnd) {
        let mut mark = assigned.from.next();
        let unproved: &[Unproved] = end.outcome.unproved();
        let mirror = self.mirrors.get_mut(id).expect("whoever calls this has it");
        let mut backoffs = BTreeMap::new();
        let mut since = self.log.first_change_above(assigned.from);
        let mut kept_pairs = Vec::new();
        let mut around: BTreeSet<RelPath> = BTreeSet::new();
        for named in &assigned.named {
            let Some(obligation) = mirror.backlog.remove(*named) else { continue };
            since = Some(since.map_or(obligation.since, |since| since.min(obligation.since)));
            mark = mark.min(obligation.mark);
            if let Cause::Renamed { .. } = obligation.cause
                && unproved.iter().any(|it| it.path.is_related(&obligation.path))
            {
                // The old name was not deleted, or not written anew.
                kept_pairs.push(obligation);
                continue;
            }
            for (path, need) in obligation.items() {
                mirror.past.note_discharged(now, path.clone(), need);
            }
            match obligation.cause {
                Cause::Failed { backoff, .. } => drop(backoffs.insert(obligation.path, backoff)),
                // Its run changed the times of the directory that holds it.
                Cause::Large => around.extend(obligation.path.parent()),
                _ => (),
            }
        }
        if mirror.cursor < assigned.to {
            mirror.past.note_cursor(now, mirror.cursor);
            mirror.cursor = assigned.to;
            let head = mirror.start_of(assigned.id).unwrap_or(assigned.to);
            mirror.has_waiting = assigned.to < head;
        }
        let since = since.unwrap_or(now).min(now);
        let mut owed: Vec<Obligation> = kept_pairs;
        for Unproved { path, need, reason } in unproved {
            let (mut need, mut since) = (*need, since);
            if let Some(known) = mirror.failed_at(path)
                && let Some(known) = mirror.backlog.remove(known)
            {
                need |= known.need;
                since = since.min(known.since);
                if let Cause::Failed { backoff, .. } = known.cause {
                    backoffs.insert(known.path, backoff);
                }
            }
            let mut backoff = backoffs.remove(path).unwrap_or_else(|| mirror.backoff(path));
            let not_before = Some(now + backoff.next_pause());
            let cause = Cause::Failed { reason: reason.clone(), backoff };
            let failed = mirror.owed(now, path.clone(), need, cause, mark);
            let gates = Gates { not_before, ..Gates::default() };
            let lost = lost_around(&assigned.lost, path);
            owed.push(Obligation { gates, since, lost, ..failed });
        }
        for path in around {
            let need = Need::ATTRIBUTES;
            owed.push(mirror.owed(now, path, need, Cause::Interference, mark));
        }
        for Extra { path, entries } in &end.extras {
            let need = Need::GONE | Need::WITHIN;
            let mut extra = mirror.owed(now, path.clone(), need, Cause::Extra, mark);
            extra.lost = *entries;
            // A live writer's temporary file is not for us to delete.
            let is_written = |it: RelPath| mirror.writers.touch(&it, assigned.id);
            if path.without_temporary_name().is_some_and(is_written) {
                extra.gates.not_before = Some(now + mirror.terms.receiver_life);
            }
            owed.push(extra);
        }
        for Extra { path, entries } in &end.obstacles {
            let need = Need::TREE | Need::ANEW;
            let obstacle = mirror.owed(now, path.clone(), need, Cause::Extra, mark);
            owed.push(Obligation { lost: *entries, ..obstacle });
        }
        if end.extras_cut {
            // There are more than could be named at once.
            for path in &assigned.paths {
                let piece = mirror.owed(now, path.clone(), Need::TREE, Cause::Walk, mark);
                let piece = Obligation { part: assigned.part.clone(), ..piece };
                let not_before = Some(now + mirror.terms.retry.first);
                let gates = Gates { not_before, after_extras: true, ..Gates::default() };
                owed.push(Obligation { gates, ..piece });
            }
        }
        owed.into_iter().for_each(|it| self.owe(id, it));
    }

    /// Rule 2. A writer is gone, however it went: every entry of the log that it touches, that is newer than its start
    /// and has been handed out, is owed once more, with the entry's own requirement.
    fn gone(&mut self, now: Moment, id: &MirrorId, assignment: AssignmentId) {
        let Some(mirror) = self.mirrors.get_mut(id) else { return };
        let Some(writer) = mirror.writers.remove(assignment) else { return };
        if writer.owes_all {
            self.owe_scope(now, id, &writer.scope);
        } else if writer.endangers {
            let handed_out = mirror.handed_out();
            // An entry that was handed out may have changed again since: it has moved above that.
            let is_handed_out = |entry: &Entry| entry.first <= handed_out;
            let touched = self
                .log
                .range(writer.start, self.log.head())
                .filter(|(path, entry)| is_handed_out(entry) && writer.scope.touches(path));
            let touched: Vec<(RelPath, Entry)> =
                touched.map(|(path, entry)| (path.clone(), *entry)).collect();
            // It may have undone all that came after its start.
            let mark = writer.start.next();
            for (path, Entry { need, lost, .. }) in touched {
                let owed = self.mirrors[id].owed(now, path, need, Cause::Interference, mark);
                self.owe(id, Obligation { lost, ..owed });
            }
        }
    }

    /// All that a writer may have written to is owed on contents: what it was given was made by other rules, or is not
    /// known any more.
    fn owe_scope(&mut self, now: Moment, id: &MirrorId, scope: &Scope) {
        let paths = match scope {
            Scope::Root => vec![(RelPath::root(), true)],
            Scope::Paths(paths) => paths.iter().map(|(path, all)| (path.clone(), *all)).collect(),
        };
        for (path, is_within) in paths {
            let need = if is_within { Need::TREE | Need::CONTENTS } else { Need::CONTENTS };
            let owed = self.mirrors[id].owed(now, path, need, Cause::Interference, FIRST_EPOCH);
            self.owe(id, owed);
        }
    }

    /// Everything on this mirror is in doubt, by size and time.
    pub fn owe_walk(&mut self, now: Moment, id: &MirrorId) {
        if let Some(mirror) = self.mirrors.get(id) {
            let owed = mirror.owed(now, RelPath::root(), Need::TREE, Cause::Walk, FIRST_EPOCH);
            self.owe(id, owed);
        }
    }

    /// Everything on this mirror is to be compared, though nothing is in doubt.
    pub fn owe_check(&mut self, now: Moment, id: &MirrorId, depth: Depth) {
        let head = self.log.head();
        let Some(mirror) = self.mirrors.get(id) else { return };
        let need = match depth {
            Depth::Times => Need::TREE,
            Depth::Contents => Need::TREE | Need::CONTENTS,
        };
        let owed = mirror.owed(now, RelPath::root(), need, Cause::Check { depth }, head);
        self.owe(id, owed);
    }

    /// Adds an obligation. One that is owed already for the same cause, with the same gates, and is not under way, is
    /// merged with it: the union, under a new id.
    fn owe(&mut self, id: &MirrorId, mut owed: Obligation) {
        let Some(mirror) = self.mirrors.get_mut(id) else { return };
        let same = mirror.backlog.at(&owed.path).find(|(known, it)| {
            it.gates == owed.gates
                && it.lane == owed.lane
                && it.part == owed.part
                && it.cause.is_same(&owed.cause)
                && !mirror.is_assigned(*known)
        });
        if let Some((known, _)) = same {
            let known = mirror.backlog.remove(known).expect("found just now");
            owed.need |= known.need;
            owed.since = owed.since.min(known.since);
            owed.mark = owed.mark.min(known.mark);
            owed.lost = owed.lost.max(known.lost);
            owed.entries = owed.entries.max(known.entries);
        }
        self.last_id += 1;
        mirror.backlog.insert(ObligationId(self.last_id), owed);
        if mirror.backlog.is_full() {
            let last_id = &mut self.last_id;
            mirror.backlog.coarsen(|| {
                *last_id += 1;
                ObligationId(*last_id)
            });
        }
    }

    /// What waited for the end of this assignment, or for what it has settled, does not wait any more.
    fn open_after(&mut self, id: &MirrorId, assignment: AssignmentId) {
        let Some(mirror) = self.mirrors.get_mut(id) else { return };
        let owes_extras = mirror.backlog.count(&[CauseKind::Extra]) > 0;
        mirror.backlog.open_gates(|gates| {
            let opens_after = gates.after == Some(assignment);
            let opens_after_extras = gates.after_extras && !owes_extras;
            if opens_after {
                gates.after = None;
            }
            gates.after_extras &= owes_extras;
            opens_after || opens_after_extras
        });
    }

    /// These volumes are not mounted; whatever waited for another one is due.
    pub fn set_unmounted(&mut self, unmounted: &[RelPath]) {
        for mirror in self.mirrors.values_mut() {
            mirror.backlog.open_gates(|gates| {
                let is_back = gates.volume.as_ref().is_some_and(|it| !unmounted.contains(it));
                if is_back {
                    gates.volume = None;
                }
                is_back
            });
        }
    }

    /// These names changed: the deletions that wait at, above or below one of them are to be judged again.
    pub fn judge_again_around(&mut self, paths: &[RelPath]) {
        let is_waiting = |it: &&mut Mirror| it.awaiting_approval().next().is_some();
        for mirror in self.mirrors.values_mut().filter(is_waiting) {
            for obligation in
                paths.iter().flat_map(|path| mirror.backlog.around(path)).collect::<BTreeSet<_>>()
            {
                mirror.backlog.open_gate_of(obligation, |gates| gates.awaits_approval = false);
            }
        }
    }

    /// The deletion that an obligation is about waits no more: it may go now, or is to be judged again.
    pub fn judge_again(&mut self, id: &MirrorId, obligation: ObligationId) {
        if let Some(mirror) = self.mirrors.get_mut(id) {
            mirror.backlog.open_gate_of(obligation, |gates| gates.awaits_approval = false);
        }
    }

    /// Lets what is due by the clock happen: writers that were cut off expire. Returns whether anything has.
    pub fn handle_timeout(&mut self, now: Moment) -> bool {
        let mut has_expired = false;
        for id in self.mirrors.keys().cloned().collect::<Vec<_>>() {
            loop {
                let mirror = &self.mirrors[&id];
                let Some(expired) = mirror.writers.expired(now, mirror.terms.receiver_life) else {
                    break;
                };
                has_expired = true;
                let scope = mirror.writers.get(expired).and_then(|it| it.scope.directories());
                let head = self.log.head();
                let directories = scope.unwrap_or_else(|| self.directories_since(&id, expired));
                for path in directories {
                    let mirror = &self.mirrors[&id];
                    let owed = mirror.owed(now, path, Need::LEFTOVERS, Cause::Leftovers, head);
                    self.owe(&id, owed);
                }
                self.gone(now, &id, expired);
            }
        }
        if has_expired {
            self.trim(now);
        }
        has_expired
    }

    /// The directories of all that was handed out after a writer of unknown scope started.
    fn directories_since(&self, id: &MirrorId, writer: AssignmentId) -> Vec<RelPath> {
        let mirror = &self.mirrors[id];
        let start = mirror.writers.get(writer).map(|it| it.start).unwrap_or_default();
        let range = self.log.range(start, mirror.handed_out());
        let own = |(path, entry): (&RelPath, &Entry)| {
            let within = entry.need.is_within() && !path.is_root();
            path.parent().into_iter().chain(within.then(|| path.clone()))
        };
        let directories: BTreeSet<RelPath> = range.flat_map(own).collect();
        directories.into_iter().collect()
    }

    /// When [`Self::handle_timeout`], or a new look at what is due, is called for.
    pub fn next_due(&self, now: Moment) -> Option<Moment> {
        let due = self.mirrors.values().flat_map(|mirror| {
            let expiry = mirror.writers.next_expiry(mirror.terms.receiver_life);
            [mirror.backlog.next_due(now), expiry]
        });
        due.flatten().min()
    }

    /// Something else is known of a mirror's directory.
    pub fn set_target(&mut self, id: &MirrorId, target: TargetState) {
        if let Some(mirror) = self.mirrors.get_mut(id) {
            mirror.target = target;
        }
    }

    /// It lacked what it should have held for long: its disk may not be mounted.
    pub fn suspect(&mut self, id: &MirrorId) {
        if let Some(mirror) = self.mirrors.get_mut(id) {
            mirror.is_suspicious = true;
        }
    }

    /// A person takes a mirror's directory for what it is.
    pub fn approve_target(&mut self, now: Moment, id: &MirrorId) {
        let Some(mirror) = self.mirrors.get_mut(id) else { return };
        mirror.is_suspicious = false;
        if std::mem::take(&mut mirror.is_halted) {
            mirror.target = TargetState::Unknown;
            self.owe_walk(now, id);
        }
    }

    /// What is known of a mirror's directory.
    pub fn target(&self, id: &MirrorId) -> TargetState {
        self.mirrors.get(id).map(|mirror| mirror.target).unwrap_or_default()
    }

    /// Whether anybody has work that was handed out.
    pub fn is_working(&self) -> bool {
        self.mirrors.values().any(|mirror| mirror.fresh.is_some() || mirror.slow.is_some())
    }

    /// Forgets what nobody needs any more.
    fn trim(&mut self, now: Moment) {
        let head = self.log.head();
        let floor = self.mirrors.values().map(|mirror| mirror.floor(now)).min().unwrap_or(head);
        let standpoints: Vec<Epoch> = self.mirrors.values().flat_map(Mirror::standpoints).collect();
        self.log.trim(floor, standpoints.iter().copied());
    }

    /// A full log first forgets the last minutes, then becomes coarser. Only then the mirror that lags most is given up:
    /// it is to be compared, contents included, and holds the log no longer.
    fn keep_within_bound(&mut self, now: Moment) {
        if !self.log.is_full() {
            return;
        }
        self.mirrors.values_mut().for_each(|mirror| mirror.past.give_up(now));
        self.trim(now);
        if self.log.is_full() {
            self.log.coarsen();
        }
        while self.log.is_full() {
            let head = self.log.head();
            let lagging = self.mirrors.values().filter(|mirror| mirror.floor(now) < head);
            let Some(id) = lagging.min_by_key(|it| it.floor(now)).map(|it| it.id().clone()) else {
                break;
            };
            self.give_up(now, &id);
            self.trim(now);
        }
        self.log.coarsen_all();
    }

    fn give_up(&mut self, now: Moment, id: &MirrorId) {
        let head = self.log.head();
        let Some(mirror) = self.mirrors.get_mut(id) else { return };
        let lacks = self.log.has_any(mirror.cursor, head);
        let since = self.log.first_change_above(mirror.cursor).unwrap_or(now);
        let mark = mirror.cursor.next();
        mirror.writers.forget_starts(head);
        mirror.past.give_up(now);
        if lacks {
            mirror.cursor = head;
            let need = Need::TREE | Need::CONTENTS;
            let owed = mirror.owed(now, RelPath::root(), need, Cause::Walk, mark);
            self.owe(id, Obligation { since, ..owed });
        }
    }
}

/// What the source lost at, above or below a path.
fn lost_around(lost: &BTreeMap<RelPath, u64>, path: &RelPath) -> u64 {
    let own = path.ancestors().chain([path.clone()]).filter_map(|name| lost.get(&name).copied());
    let below = path.below().map(|(start, end)| lost.range(start..end));
    own.chain(below.into_iter().flatten().map(|(_, count)| *count)).fold(0, u64::saturating_add)
}
