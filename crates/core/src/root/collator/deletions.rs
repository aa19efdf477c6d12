//! Deletions: each is judged when the work that makes it is handed out, and what waits is judged again whenever the
//! account says something else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Collator, Effect};
use crate::data::awaiting::{AwaitingList, AwaitingName};
use crate::data::batch::{Batch, Rename};
use crate::data::change::Epoch;
use crate::data::ids::MirrorId;
use crate::data::list_id::ListId;
use crate::data::moment::Moment;
use crate::data::need::Need;
use crate::data::outcome::{AssignmentEnd, Outcome};
use crate::data::path::RelPath;
use crate::root::backlog::{Cause, Obligation};
use crate::root::change_log::ChangeLog;
use crate::root::deletions::approval_list::{ApproveError, ShownList, Waiting};
use crate::root::deletions::approvals::Approvals;
use crate::root::deletions::{DeletionAccount, DeletionTerms, Durability, KeptAccount, Permission};
use crate::root::epoch::{Sealed, beyond_attributes};
use crate::root::extras::ExtrasAccount;
use crate::root::ledger::{LeftOut, LeftOutWhy};
use crate::root::mirror::Mirror;
use crate::source::entry_count::UnitChange;

impl Collator {
    /// The number of entries of the source changed, unit by unit; the first time they were counted.
    pub fn handle_levels(&mut self, now: Moment, levels: Vec<UnitChange>) {
        if self.account.apply(now, levels) {
            self.withdraw_runs();
        }
        self.judge_deletions(now);
    }

    /// Runs that were begun and may not delete any more are withdrawn.
    fn withdraw_runs(&mut self) {
        let (account, log) = (&self.account, self.ledger.log());
        for mirror in self.ledger.ids().filter_map(|id| self.ledger.mirror(id)) {
            let extras = self.extras.get(mirror.id());
            let waits = |path: &RelPath| {
                account.may_delete(path, lost_in(log, path)) == Permission::Waits
                    && !extras.is_some_and(|it| it.is_approved(path))
            };
            let withdrawn = mirror.running().filter(|(_, batch)| batch.deletions().any(waits));
            let withdrawn = withdrawn.map(|(it, _)| Effect::Withdraw(mirror.id().clone(), it));
            self.effects.extend(withdrawn);
        }
    }

    /// Approvals are forgotten that no mirror can need any more: all hold everything, and nothing that was pushed before is
    /// in doubt.
    pub(super) fn forget_approvals(&mut self, now: Moment) {
        if self.account.has_approvals()
            && let Some(floor) = self.ledger.settled_floor(now)
        {
            self.account.trim(floor);
        }
    }

    /// This was approved of what a mirror holds beyond the source, before the daemon started.
    pub fn handle_kept_extras(&mut self, id: &MirrorId, approvals: Approvals) {
        self.extras.insert(id.clone(), ExtrasAccount::from_kept(approvals));
    }

    /// The account with what is kept of the mirrors, if it must be written now, and how.
    pub(super) fn take_account(&mut self) -> Option<(KeptAccount, Durability)> {
        let durability = self.account.take_dirty().max(self.extras_dirty.take())?;
        let extras = self.extras.iter().filter(|(_, it)| !it.approvals().is_empty());
        let extras = extras.map(|(id, it)| (id.clone(), it.approvals().clone())).collect();
        Some((KeptAccount { extras, ..self.account.to_kept() }, durability))
    }

    /// Other terms of the account, by a reload.
    pub fn set_deletion_terms(&mut self, now: Moment, terms: DeletionTerms) {
        self.account.set_terms(now, terms);
        self.judge_deletions(now);
    }

    /// Paths that are about to be sealed, if an approval or a list may name any of them.
    pub(super) fn account_names(sealed: &Sealed) -> Vec<RelPath> {
        let changes = sealed.changes.iter().filter(|(_, need)| beyond_attributes(**need));
        changes.map(|(path, _)| path.clone()).collect()
    }

    /// They were sealed: what was approved of them before is void, and what waits there is judged again.
    pub(super) fn note_changed(&mut self, paths: &[RelPath], epoch: Epoch) {
        self.ledger.judge_again_around(paths);
        for path in paths {
            self.account.note_changed(path, epoch);
            for extras in self.extras.values_mut() {
                if extras.note_changed(path, epoch) {
                    self.extras_dirty = self.extras_dirty.max(Some(Durability::Written));
                }
            }
        }
    }

    /// The epoch in which the source lost this path.
    fn lost_in(&self, path: &RelPath) -> Epoch {
        lost_in(self.ledger.log(), path)
    }

    /// Takes the deletions that await approval out of a batch.
    pub(super) fn without_waiting_deletions(
        &mut self,
        now: Moment,
        id: &MirrorId,
        batch: Arc<Batch>,
        left_out: &mut Vec<LeftOut>,
    ) -> Arc<Batch> {
        let mut waiting: BTreeMap<RelPath, LeftOut> = BTreeMap::new();
        for path in &batch.missing {
            let epoch = self.lost_in(path);
            if self.account.may_delete(path, epoch) == Permission::Waits {
                let lost = batch.lost.get(path).copied().unwrap_or(1);
                self.account.hold(path, epoch, lost);
                let need = Need::GONE | Need::WITHIN;
                let why = LeftOutWhy::AwaitsApproval;
                waiting.insert(path.clone(), LeftOut { path: path.clone(), need, lost, why });
            }
        }
        let found: Vec<LeftOut> = found_on_mirror(&batch).collect();
        waiting.extend(self.waiting_extras(now, id, found).map(|it| (it.path.clone(), it)));
        // A lost directory with another entry in its place is deleted under the same rule as every other loss.
        let may_go =
            |path: &RelPath| self.account.may_delete(path, self.lost_in(path)) != Permission::Waits;
        let in_the_way: BTreeMap<RelPath, u64> =
            batch.in_the_way.iter().filter(|(path, _)| may_go(path)).map(owned).collect();
        if waiting.is_empty() && in_the_way.len() == batch.in_the_way.len() {
            return batch;
        }
        let mut batch = Batch { in_the_way, ..Arc::unwrap_or_clone(batch) };
        batch.missing.retain(|path| !waiting.contains_key(path));
        batch.extras.retain(|path, _| !waiting.contains_key(path));
        batch.obstacles.retain(|path, _| !waiting.contains_key(path));
        batch.present.retain(|it| !waiting.contains_key(&it.path));
        batch.subtrees.retain(|it| !waiting.contains_key(&it.path));
        batch.lost.retain(|path, _| !waiting.contains_key(path));
        for rename in &mut batch.renames {
            let from = &rename.from;
            let is_around =
                || from.ancestors().chain([from.clone()]).any(|it| waiting.contains_key(&it));
            let below = || from.below().map(|(start, end)| waiting.range(start..end));
            let is_kept = || is_around() || below().is_some_and(|mut it| it.next().is_some());
            if rename.is_gone && is_kept() {
                *rename = Arc::new(Rename { is_gone: false, ..(**rename).clone() });
            }
        }
        left_out.extend(waiting.into_values());
        Arc::new(batch)
    }

    /// Of what was found on a mirror this waits: all of it goes if it fits into the mirror's account, and else what a
    /// person approved. Where the source lost too much, nothing goes without a person either.
    fn waiting_extras(
        &mut self,
        now: Moment,
        id: &MirrorId,
        found: Vec<LeftOut>,
    ) -> impl Iterator<Item = LeftOut> + use<> {
        let (limit, window) = (self.account.extras_limit(), self.account.window());
        let log = self.ledger.log();
        let head = log.head();
        let extras = self.extras.entry(id.clone()).or_default();
        let mut found = found;
        found.retain(|it| !extras.is_approved(&it.path));
        let (mut waiting, rest): (Vec<LeftOut>, Vec<LeftOut>) = found.into_iter().partition(|it| {
            self.account.may_delete(&it.path, lost_in(log, &it.path)) == Permission::Waits
        });
        let names: Vec<_> = rest.iter().map(|it| (&it.path, it.lost)).collect();
        if !extras.spend(now, &names, limit, window) {
            waiting.extend(rest);
        }
        for it in &waiting {
            extras.hold(&it.path, head, it.lost);
        }
        waiting.into_iter()
    }

    /// An assignment has ended. Entries that it found on the mirror, and that the source is known to have lost or a person
    /// approved, are charged to the account of the source alone. A named extra that the end does not mention is settled.
    pub(super) fn note_found(
        &mut self,
        now: Moment,
        id: &MirrorId,
        named: &[RelPath],
        lost: &BTreeMap<RelPath, u64>,
        end: &AssignmentEnd,
    ) {
        if !matches!(end.outcome, Outcome::Done | Outcome::Partly(_)) {
            return;
        }
        let (account, log) = (&self.account, self.ledger.log());
        let extras = self.extras.entry(id.clone()).or_default();
        let failed: BTreeSet<&RelPath> = end.outcome.unproved().iter().map(|it| &it.path).collect();
        let found = || end.extras.iter().chain(&end.obstacles);
        let is_found: BTreeSet<&RelPath> = found().map(|it| &it.path).collect();
        for path in named.iter().filter(|it| !failed.contains(it) && !is_found.contains(it)) {
            if extras.settle(path) {
                self.extras_dirty = self.extras_dirty.max(Some(Durability::Written));
            }
        }
        let mut lost = lost.clone();
        // After a restart nobody knows how much was lost, but what was approved.
        let approved = |path| account.approved_around(path, lost_in(log, path));
        for (name, entries) in found().flat_map(|it| approved(&it.path)) {
            let known = lost.entry(name).or_default();
            *known = entries.max(*known);
        }
        let covered = found().map(|it| (&it.path, take_around(&mut lost, &it.path, it.entries)));
        let covered: Vec<_> = covered.filter(|(_, entries)| *entries > 0).collect();
        extras.note_lost(now, &covered);
    }

    /// What waits is judged again: entries came back, a person approved, or the source was counted.
    pub(super) fn judge_deletions(&mut self, now: Moment) {
        let (limit, window) = (self.account.extras_limit(), self.account.window());
        let (account, log) = (&self.account, self.ledger.log());
        let epoch = |it: &Obligation| log.last_change(&it.path).map_or(it.mark, |(epoch, _)| epoch);
        let mut may_go = Vec::new();
        for mirror in self.ledger.ids().filter_map(|id| self.ledger.mirror(id)) {
            let id = mirror.id();
            if mirror.awaiting_approval().next().is_none() {
                self.judged.remove(id);
                continue;
            }
            let extras = self.extras.entry(id.clone()).or_default();
            extras.expire(now, window);
            let basis = basis(mirror, account, extras);
            let known = self.judged.get(id).filter(|it| it.basis == basis);
            if known.is_some_and(|it| it.extras_fit == extras.has_room(it.extras_price, limit)) {
                continue;
            }
            let is_extra = |it: &Obligation| matches!(it.cause, Cause::Extra);
            let awaiting = mirror.awaiting_approval().filter(|(_, it)| is_extra(it));
            let awaiting = awaiting.map(|(_, it)| (&it.path, it.lost.max(1)));
            let extras_price = extras.price_of(awaiting);
            let extras_fit = extras.has_room(extras_price, limit);
            may_go.extend(mirror.awaiting_approval().filter_map(|(obligation, it)| {
                let is_free = account.may_delete(&it.path, epoch(it)) != Permission::Waits;
                let may = if is_extra(it) {
                    (extras_fit && is_free) || extras.is_approved(&it.path)
                } else {
                    is_free
                };
                may.then(|| (id.clone(), obligation))
            }));
            let entries = held_entries(mirror, account);
            let judged = Judged { basis, extras_price, extras_fit, entries };
            self.judged.insert(id.clone(), judged);
        }
        if may_go.is_empty() {
            return;
        }
        for (id, obligation) in may_go {
            self.ledger.judge_again(&id, obligation);
            self.nudge(now, &id);
        }
        self.effects.push_back(Effect::Report);
    }

    /// Entries whose deletion waits for a person on this mirror.
    pub(super) fn held_entries(&self, id: &MirrorId) -> u64 {
        let Some(mirror) = self.ledger.mirror(id) else { return 0 };
        let is_current = |it: &&Judged| {
            let extras = self.extras.get(id);
            extras.is_some_and(|extras| it.basis == basis(mirror, &self.account, extras))
        };
        let judged = self.judged.get(id).filter(is_current);
        judged.map_or_else(|| held_entries(mirror, &self.account), |it| it.entries)
    }

    /// The deletions of what the source lost that wait for a person, for all mirrors; none if nothing waits.
    pub fn waiting_deletions(&mut self) -> Option<WaitingList> {
        // Some may have begun to wait before they were too many: until the source was counted.
        let mirrors = self.ledger.ids().filter_map(|id| self.ledger.mirror(id));
        let awaiting = mirrors.flat_map(Mirror::awaiting_approval).map(|(_, it)| it);
        let lost = awaiting.filter(|it| !matches!(it.cause, Cause::Extra));
        let lost: Vec<(RelPath, u64)> = lost.map(|it| (it.path.clone(), it.lost)).collect();
        for (path, lost) in lost {
            self.account.hold(&path, self.lost_in(&path), self.account.entries_of(&path, lost));
        }
        let shown = self.account.list()?.clone();
        Some(WaitingList { shown, not_shown: self.account.not_shown() })
    }

    /// The same for what one mirror holds beyond the source.
    pub fn waiting_extras_of(&mut self, id: &MirrorId) -> Option<WaitingList> {
        let awaiting: BTreeSet<RelPath> = self.extras_awaiting(id).cloned().collect();
        let waits = |it: &Waiting| match it.path.below() {
            Some(below) => {
                let mut below = awaiting.range(below.0..below.1);
                awaiting.contains(&it.path) || below.next().is_some()
            }
            None => awaiting.iter().any(|path| it.covers(path)),
        };
        let (account, extras) = (&mut self.account, self.extras.get_mut(id)?);
        let shown = extras.list(waits, || account.next_list_number())?.clone();
        Some(WaitingList { shown, not_shown: extras.not_shown() })
    }

    /// Whether deletions wait on this mirror that are on no list before the source was counted.
    pub fn is_counting(&self, id: &MirrorId) -> bool {
        let mut awaiting = self.ledger.mirror(id).into_iter().flat_map(Mirror::awaiting_approval);
        self.account.waiting_since().is_none()
            && awaiting.any(|(_, it)| !matches!(it.cause, Cause::Extra))
    }

    /// Names on this mirror and not in the source whose deletion waits for a person.
    fn extras_awaiting(&self, id: &MirrorId) -> impl Iterator<Item = &RelPath> {
        let awaiting = self.ledger.mirror(id).into_iter().flat_map(Mirror::awaiting_approval);
        awaiting.filter(|(_, it)| matches!(it.cause, Cause::Extra)).map(|(_, it)| &it.path)
    }

    /// A person approves the list of this number.
    ///
    /// # Errors
    /// The list was used, or ended by itself, or was never shown.
    pub fn approve_deletions(
        &mut self,
        now: Moment,
        number: u64,
    ) -> Result<ShownList, ApproveError> {
        let approved = self.account.approve(now, number)?;
        self.judge_deletions(now);
        Ok(approved)
    }

    /// A person approves a mirror's list of this number.
    ///
    /// # Errors
    /// The list was used, or ended by itself, or was never shown.
    pub fn approve_extras(
        &mut self,
        now: Moment,
        id: &MirrorId,
        number: u64,
    ) -> Result<ShownList, ApproveError> {
        let extras = self.extras.get_mut(id).ok_or(ApproveError::NoneCurrent)?;
        let approved = extras.approve(number)?;
        self.extras_dirty = Some(Durability::Synced);
        self.judge_deletions(now);
        Ok(approved)
    }

    /// A person takes this mirror's directory for what it is.
    pub fn handle_approve(&mut self, now: Moment, id: &MirrorId) {
        let before = self.ledger.target(id);
        self.ledger.approve_target(now, id);
        let after = self.ledger.target(id);
        if before != after {
            self.effects.push_back(Effect::Remember(id.clone(), after));
        }
        self.nudge(now, id);
        self.effects.push_back(Effect::Report);
    }
}

/// The result of the last judgement of a mirror's waiting deletions: they are many, and judged often.
#[derive(Debug)]
pub(super) struct Judged {
    basis: Basis,
    /// The entries that names on the mirror alone would take out of its account.
    extras_price: u64,
    /// Whether that fitted.
    extras_fit: bool,
    /// Entries whose deletion waits.
    entries: u64,
}

/// The revisions of all that a judgement follows from, the room in the account of the extras aside.
#[derive(Debug, PartialEq, Eq)]
struct Basis {
    backlog: u64,
    account: u64,
    extras: u64,
}

fn basis(mirror: &Mirror, account: &DeletionAccount, extras: &ExtrasAccount) -> Basis {
    Basis {
        backlog: mirror.backlog().revision(),
        account: account.revision(),
        extras: extras.revision(),
    }
}

fn held_entries(mirror: &Mirror, account: &DeletionAccount) -> u64 {
    let entries = |it: &Obligation| match it.cause {
        Cause::Extra => it.lost.max(1),
        _ => account.entries_of(&it.path, it.lost),
    };
    mirror.awaiting_approval().map(|(_, it)| entries(it)).sum()
}

/// A list of deletions that waits for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingList {
    /// The list to approve.
    pub shown: ShownList,
    /// Names and entries that began to wait after the list was shown first. They come with the next list.
    pub not_shown: (u64, u64),
}

impl WaitingList {
    /// The list for people, with at most so many of its names.
    pub fn describe(self, id: ListId, names_max: usize) -> AwaitingList {
        let (names, entries) = self.shown.totals();
        let (later_names, later_entries) = self.not_shown;
        let name = |it: Waiting| AwaitingName {
            path: it.path.to_string(),
            entries: it.entries,
            names: it.names,
        };
        let first = self.shown.entries.into_iter().take(names_max).map(name).collect();
        AwaitingList { id, entries, names, first, later_entries, later_names }
    }
}

/// The deletions of entries that a run found on the mirror, by themselves or in the way of something.
fn found_on_mirror(batch: &Batch) -> impl Iterator<Item = LeftOut> {
    let all = |found: &BTreeMap<RelPath, u64>, need: Need| {
        let why = LeftOutWhy::ExtraAwaitsApproval;
        let left_out = |(path, lost): (&RelPath, &u64)| LeftOut {
            path: path.clone(),
            need,
            lost: *lost,
            why: why.clone(),
        };
        found.iter().map(left_out).collect::<Vec<_>>()
    };
    let alone = all(&batch.extras, Need::GONE | Need::WITHIN);
    alone.into_iter().chain(all(&batch.obstacles, Need::TREE | Need::ANEW))
}

/// The newest epoch of a path that is missing; where the log has forgotten it, the newest of all.
fn lost_in(log: &ChangeLog, path: &RelPath) -> Epoch {
    log.last_change(path).map_or_else(|| log.head(), |(epoch, _)| epoch)
}

/// Takes at most so many entries from what was lost at, above or below a path. Returns how many there were.
fn take_around(lost: &mut BTreeMap<RelPath, u64>, path: &RelPath, most: u64) -> u64 {
    let mut taken = 0;
    let mut take = |count: &mut u64| {
        let part = (*count).min(most - taken);
        *count -= part;
        taken += part;
    };
    for name in path.ancestors().chain([path.clone()]) {
        lost.get_mut(&name).into_iter().for_each(&mut take);
    }
    if let Some((start, end)) = path.below() {
        lost.range_mut(start..end).for_each(|(_, count)| take(count));
    }
    taken
}

fn owned((path, entries): (&RelPath, &u64)) -> (RelPath, u64) {
    (path.clone(), *entries)
}
