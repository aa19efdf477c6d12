//! Handing out work.

use std::collections::{BTreeMap, BTreeSet};

use super::{Assignment, Ledger, Work};
use crate::data::batch::{Batch, Compare, Depth};
use crate::data::change::{AssignmentId, Epoch, Lane, Move};
use crate::data::ids::MirrorId;
use crate::data::limits::MOVES_MAX;
use crate::data::moment::Moment;
use crate::data::need::Need;
use crate::data::path::RelPath;
use crate::data::piece::Part;
use crate::host::target_state::TargetState;
use crate::root::backlog::{Cause, Obligation, ObligationId};
use crate::root::change_log::Entry;
use crate::root::mirror::{Assigned, Mirror};
use crate::root::writers::Scope;

/// What an assignment of small work names.
#[derive(Default)]
struct Gathered {
    to: Epoch,
    items: BTreeMap<RelPath, Need>,
    /// How many entries the source lost there.
    lost: BTreeMap<RelPath, u64>,
    found_extra: BTreeMap<RelPath, u64>,
    named: BTreeSet<ObligationId>,
    /// Owed instead of being run.
    left_out: Vec<Obligation>,
    tries_failed: bool,
}

impl Gathered {
    fn add(&mut self, path: &RelPath, need: Need, lost: u64) {
        *self.items.entry(path.clone()).or_default() |= need;
        if lost > 0 {
            let known = self.lost.entry(path.clone()).or_default();
            *known = lost.max(*known);
        }
    }
}

impl Ledger {
    /// Whether there is work for a mirror in this lane, and none under way.
    pub fn wants(&self, now: Moment, id: &MirrorId, lane: Lane) -> bool {
        let Some(mirror) = self.mirrors.get(id) else { return false };
        // Before its directory exists nothing but the first walk has a place to go to.
        let has_no_place = mirror.target == TargetState::Unknown && lane == Lane::Fresh;
        if mirror.assigned(lane).is_some() || has_no_place {
            return false;
        }
        let limit = mirror.limit(self.log.head());
        let has_range = lane == Lane::Fresh && self.log.has_any(mirror.cursor, limit);
        has_range || mirror.due(now, lane).any(|(_, it)| self.is_below_ceiling(mirror, it))
    }

    /// Whether any mirror would take fresh changes at once, and the log has none for it.
    pub fn awaits_changes(&self, now: Moment) -> bool {
        let is_ready =
            |it: &&Mirror| it.fresh.is_none() && it.target != TargetState::Unknown && !it.is_halted;
        let mut ready = self.mirrors.values().filter(is_ready);
        ready.any(|it| !self.wants(now, it.id(), Lane::Fresh))
    }

    /// Hands a mirror what it lacks in this lane; none if that is nothing. Whoever asks has nothing under way there:
    /// what was handed out before was cut off.
    pub fn assign(&mut self, now: Moment, id: &MirrorId, lane: Lane) -> Option<Assignment> {
        self.cut_off(now, id, lane);
        self.last_id += 1;
        let assignment = AssignmentId(self.last_id);
        match lane {
            Lane::Fresh => self.assign_fresh(now, id, assignment),
            Lane::Slow => self.assign_slow(now, id, assignment),
        }
    }

    /// What the next assignment of small work would name.
    fn gather(&self, now: Moment, mirror: &Mirror) -> Gathered {
        let is_failed = |it: &Obligation| matches!(it.cause, Cause::Failed { .. });
        let (mut failed, mut others) = (BTreeSet::new(), BTreeSet::new());
        let due = mirror.due(now, Lane::Fresh);
        for (id, it) in due.filter(|(_, it)| self.is_below_ceiling(mirror, it)) {
            if is_failed(it) {
                failed.insert(id)
            } else {
                others.insert(id)
            };
        }
        let limit = mirror.limit(self.log.head()).max(mirror.cursor);
        let has_others = !others.is_empty() || self.log.has_any(mirror.cursor, limit);
        let tries_failed = !failed.is_empty() && (mirror.tries_failed || !has_others);
        let mut gathered = Gathered {
            to: if tries_failed { mirror.cursor } else { limit },
            named: if tries_failed { failed } else { others },
            tries_failed,
            ..Gathered::default()
        };
        for (path, entry) in self.log.range(mirror.cursor, gathered.to) {
            if path.is_root() && entry.need.is_within() {
                let mark = mirror.lacks_since(entry);
                let walk = mirror.owed(now, path.clone(), entry.need, Cause::Walk, mark);
                gathered.left_out.push(walk);
            } else if !leave_out(now, mirror, path, entry, &mut gathered.left_out) {
                gathered.add(path, entry.need, entry.lost);
            }
        }
        for it in gathered.named.clone().into_iter().filter_map(|id| mirror.backlog.get(id)) {
            it.items().for_each(|(path, need)| gathered.add(path, need, 0));
            if let Cause::Extra = it.cause {
                let found = gathered.found_extra.entry(it.path.clone()).or_default();
                *found = it.lost.max(*found);
            } else {
                gathered.add(&it.path, it.need, it.lost);
            }
        }
        gathered
    }

    fn assign_fresh(
        &mut self,
        now: Moment,
        id: &MirrorId,
        assignment: AssignmentId,
    ) -> Option<Assignment> {
        let mirror = self.mirrors.get(id)?;
        if mirror.target == TargetState::Unknown {
            return None;
        }
        let (head, from) = (self.log.head(), mirror.cursor);
        let gathered = self.gather(now, mirror);
        let Gathered { to, items, lost, found_extra, mut named, left_out, tries_failed } = gathered;
        let is_shared = !tries_failed && named.is_empty() && left_out.is_empty();
        let since = self.log.first_change_above(from).unwrap_or(now).min(now);
        for it in left_out {
            if let Cause::Failed { .. } = it.cause
                && let Some(known) = self.mirrors[id].failed_at(&it.path)
            {
                self.mirrors.get_mut(id)?.backlog.remove(known);
            }
            let since = it.since.min(since);
            self.owe(id, Obligation { since, ..it });
        }
        let mirror = self.mirrors.get_mut(id)?;
        for (path, entry) in self.log.range(from, to) {
            // What is owed beside the log is handed out, too: the cursor passes it.
            mirror.writers.note_handed_out(path, entry.newest);
        }
        if items.is_empty() {
            // All of the range is owed beside the log now.
            if mirror.cursor < to {
                mirror.past.note_cursor(now, mirror.cursor);
                mirror.cursor = to;
                mirror.has_waiting = to < head;
                self.trim(now);
            }
            return None;
        }
        let renames = self.usable_renames(id, from, &items);
        let pairs = self.owe_pairs(now, id, to, &renames);
        named.extend(&pairs);
        let mirror = self.mirrors.get_mut(id)?;
        let scope = items.iter().map(|(path, need)| (path.clone(), need.is_within()));
        mirror.writers.begin(assignment, head, Scope::of_paths(scope));
        mirror.fresh = Some(Assigned {
            id: assignment,
            from,
            to,
            named,
            renames: pairs,
            paths: items.keys().cloned().collect(),
            lost: lost.clone(),
            compares: None,
            part: Part::All,
            batch: None,
        });
        Some(Assignment {
            id: assignment,
            lane: Lane::Fresh,
            from,
            to,
            work: Work::Push(items.into_iter().collect()),
            lost,
            found_extra,
            renames,
            is_shared,
            may_leave_large: !tries_failed,
            is_suspicious: false,
        })
    }

    /// From the start of the run that may link new names to old ones, each pair is owed until the old name is gone.
    fn owe_pairs(
        &mut self,
        now: Moment,
        id: &MirrorId,
        mark: Epoch,
        renames: &[Move],
    ) -> Vec<ObligationId> {
        let mut pairs = Vec::new();
        for it in renames {
            let Some(mirror) = self.mirrors.get_mut(id) else { break };
            self.last_id += 1;
            let cause = Cause::Renamed { to: it.to.clone() };
            let pair = mirror.owed(now, it.from.clone(), Need::TREE | Need::ANEW, cause, mark);
            mirror.backlog.insert(ObligationId(self.last_id), pair);
            pairs.push(ObligationId(self.last_id));
        }
        pairs
    }

    fn assign_slow(
        &mut self,
        now: Moment,
        id: &MirrorId,
        assignment: AssignmentId,
    ) -> Option<Assignment> {
        let head = self.log.head();
        let mirror = self.mirrors.get(id)?;
        // Large files first: a comparison may take hours.
        let is_large = |it: &Obligation| matches!(it.cause, Cause::Large);
        let order = |it: &Obligation| (!is_large(it), it.cause.is_scheduled());
        let due = mirror.due(now, Lane::Slow).filter(|(_, it)| self.is_below_ceiling(mirror, it));
        let (named, first) = due.min_by_key(|(id, it)| (order(it), *id))?;
        let (path, part, need) = (first.path.clone(), first.part.clone(), first.need);
        let is_doubt = !first.cause.is_scheduled();
        let depth = if need.wants_contents() { Depth::Contents } else { Depth::Times };
        let compares = (!is_large(first)).then_some(depth);
        let work = match compares {
            Some(depth) => {
                let whole = Compare::whole(path.clone(), depth, is_doubt);
                Work::Compare(Compare { part: part.clone(), ..whole })
            }
            None => Work::Push(vec![(path.clone(), need)]),
        };
        let lost = self.lost_above_cursor(mirror, &path);
        let mirror = self.mirrors.get_mut(id)?;
        let from = mirror.cursor;
        let scope = Scope::of_paths([(path.clone(), need.is_within())]);
        mirror.writers.begin(assignment, head, scope);
        mirror.slow = Some(Assigned {
            id: assignment,
            from,
            to: from,
            named: BTreeSet::from([named]),
            renames: Vec::new(),
            paths: vec![path],
            lost: lost.clone(),
            compares,
            part,
            batch: None,
        });
        Some(Assignment {
            id: assignment,
            lane: Lane::Slow,
            from,
            to: from,
            work,
            lost,
            found_extra: BTreeMap::new(),
            renames: Vec::new(),
            is_shared: false,
            may_leave_large: false,
            is_suspicious: mirror.is_suspicious,
        })
    }

    /// What the source lost at or below this path and the mirror was not told yet: a comparison finds that, too.
    fn lost_above_cursor(&self, mirror: &Mirror, path: &RelPath) -> BTreeMap<RelPath, u64> {
        let range = self.log.range(mirror.cursor, self.log.head());
        let is_lost = |(own, entry): &(&RelPath, &Entry)| {
            entry.lost > 0 && (*own == path || own.is_below(path))
        };
        range.filter(is_lost).map(|(own, entry)| (own.clone(), entry.lost)).collect()
    }

    /// Renames whose new names are among the items. What may share a file with an old name is not filled from elsewhere
    /// before that is put right.
    fn usable_renames(
        &self,
        id: &MirrorId,
        cursor: Epoch,
        items: &BTreeMap<RelPath, Need>,
    ) -> Vec<Move> {
        let mirror = &self.mirrors[id];
        let is_pair = |it: &Obligation| matches!(it.cause, Cause::Renamed { .. });
        let pairs: Vec<&Obligation> =
            mirror.backlog.iter().map(|(_, it)| it).filter(|it| is_pair(it)).collect();
        if pairs.len() >= MOVES_MAX {
            return Vec::new();
        }
        let mut renames = self.log.renames_above(cursor);
        renames
            .retain(|it| !pairs.iter().any(|pair| pair.touches(&it.to) || pair.touches(&it.from)));
        renames.retain_mut(|it| {
            let is_named = items.get(&it.to).is_some_and(|need| need.wants_contents());
            let is_within = |above: RelPath| items.get(&above).is_some_and(|need| need.is_within());
            it.is_exact &= is_named;
            is_named || it.to.ancestors().any(is_within)
        });
        renames
    }

    /// The directories above what a batch brings whose attributes alone are a failed obligation.
    pub fn unkept_directories(&self, id: &MirrorId, batch: &Batch) -> Vec<RelPath> {
        let Some(mirror) = self.mirrors.get(id) else { return Vec::new() };
        let is_unkept = |it: &Obligation| {
            matches!(it.cause, Cause::Failed { .. }) && it.need == Need::ATTRIBUTES
        };
        let present = batch.present.iter().chain(&batch.subtrees).map(|it| &it.path);
        let paths = present.chain(&batch.missing).chain(batch.extras.keys());
        let above: BTreeSet<RelPath> = paths.flat_map(RelPath::ancestors).collect();
        let is_unkept = |path: &RelPath| mirror.backlog.at(path).any(|(_, it)| is_unkept(it));
        above.into_iter().filter(is_unkept).collect()
    }

    /// Whether exact renames can be trusted on this mirror: no obligation and no other writer touches either name.
    pub fn trusts_renames<'a>(
        &self,
        id: &MirrorId,
        assignment: AssignmentId,
        mut names: impl Iterator<Item = &'a RelPath>,
    ) -> bool {
        let Some(mirror) = self.mirrors.get(id) else { return false };
        let own = mirror.fresh.as_ref().map(|assigned| assigned.renames.as_slice());
        let own = own.unwrap_or_default();
        let is_touched = |path: &RelPath| {
            mirror.writers.touch(path, assignment)
                || mirror.backlog.around(path).iter().any(|id| {
                    let is_scheduled = |it: &Obligation| it.cause.is_scheduled();
                    !own.contains(id) && !mirror.backlog.get(*id).is_some_and(is_scheduled)
                })
        };
        !names.any(is_touched)
    }
}

/// Whether an entry of the range is not run now. What is owed instead is added to the list.
fn leave_out(
    now: Moment,
    mirror: &Mirror,
    path: &RelPath,
    entry: &Entry,
    left_out: &mut Vec<Obligation>,
) -> bool {
    let (need, epoch) = (entry.need, mirror.lacks_since(entry));
    // It fails, and waits for its next try: that includes this change now, and comes soon.
    let failed = mirror.failed_at(path).and_then(|id| mirror.backlog.get(id));
    if let Some(known) = failed.filter(|it| !it.gates.are_open(now) && !it.need.is_within())
        && let Cause::Failed { reason, backoff } = &known.cause
    {
        let soon = now + mirror.terms.retry.first;
        let mut gates = known.gates.clone();
        gates.not_before = gates.not_before.map(|moment| moment.min(soon));
        let cause = Cause::Failed { reason: reason.clone(), backoff: backoff.clone() };
        let (need, mark) = (known.need | need, known.mark.min(epoch));
        let owed = mirror.owed(now, path.clone(), need, cause, mark);
        left_out.push(Obligation { gates, since: known.since, ..owed });
        return true;
    }
    // A large file that is being sent is not sent a second time meanwhile.
    let is_sent = |it: &&Assigned| it.compares.is_none() && it.paths.contains(path);
    if let Some(large) = mirror.slow.as_ref().filter(is_sent) {
        let mut owed = mirror.owed(now, path.clone(), need, Cause::Large, epoch);
        owed.gates.after = Some(large.id);
        left_out.push(owed);
        return true;
    }
    false
}
