//! Deletions: each is judged when the work that makes it is handed out, and what waits is judged again whenever the
//! account says something else.

use std::sync::Arc;

use super::{Collator, Effect};
use crate::data::batch::{Batch, Rename};
use crate::data::change::Epoch;
use crate::data::ids::MirrorId;
use crate::data::moment::Moment;
use crate::data::need::Need;
use crate::data::path::RelPath;
use crate::root::backlog::{Cause, Obligation};
use crate::root::deletions::approval_list::{ApproveError, ShownList};
use crate::root::deletions::{DeletionTerms, Permission};
use crate::root::epoch::{Sealed, beyond_attributes};
use crate::root::ledger::{LeftOut, LeftOutWhy};
use crate::root::mirror::Mirror;
use crate::source::entry_count::UnitChange;

impl Collator {
    /// The number of entries of the source changed, unit by unit; the first time they were counted.
    pub fn handle_levels(&mut self, now: Moment, levels: Vec<UnitChange>) {
        self.account.apply(now, levels);
        self.judge_deletions(now);
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
        let is_changed = |it: &Obligation| paths.iter().any(|path| path.is_related(&it.path));
        let mut changed = Vec::new();
        for id in self.ledger.ids() {
            let awaiting = self.ledger.mirror(id).into_iter().flat_map(Mirror::awaiting_approval);
            let awaiting = awaiting.filter(|(_, it)| is_changed(it));
            changed.extend(awaiting.map(|(obligation, _)| (id.clone(), obligation)));
        }
        for (id, obligation) in changed {
            self.ledger.judge_again(&id, obligation);
        }
        for path in paths {
            self.account.note_changed(path, epoch);
            for extras in self.extras.values_mut() {
                extras.note_changed(path, epoch);
            }
        }
    }

    /// The epoch in which the source lost this path.
    fn lost_in(&self, path: &RelPath) -> Epoch {
        let log = self.ledger.log();
        log.last_change(path).map_or_else(|| log.head(), |(epoch, _)| epoch)
    }

    /// Takes the deletions that await approval out of a batch.
    pub(super) fn without_waiting_deletions(
        &mut self,
        now: Moment,
        id: &MirrorId,
        batch: Arc<Batch>,
        left_out: &mut Vec<LeftOut>,
    ) -> Arc<Batch> {
        let mut waiting: Vec<(RelPath, LeftOutWhy)> = Vec::new();
        for path in &batch.missing {
            let epoch = self.lost_in(path);
            if self.account.may_delete(path, epoch) == Permission::Waits {
                self.account.hold(path, epoch, batch.lost.get(path).copied().unwrap_or(1));
                waiting.push((path.clone(), LeftOutWhy::AwaitsApproval));
            }
        }
        waiting.extend(self.waiting_extras(now, id, &batch));
        if waiting.is_empty() {
            return batch;
        }
        let mut batch = Arc::unwrap_or_clone(batch);
        let is_waiting = |path: &RelPath| waiting.iter().any(|(it, _)| it == path);
        batch.missing.retain(|path| !is_waiting(path));
        batch.extras.retain(|path| !is_waiting(path));
        for rename in &mut batch.renames {
            let is_kept = waiting.iter().any(|(path, _)| path.is_related(&rename.from));
            if rename.is_gone && is_kept {
                *rename = Arc::new(Rename { is_gone: false, ..(**rename).clone() });
            }
        }
        left_out.extend(waiting.into_iter().map(|(path, why)| LeftOut {
            need: Need::GONE | Need::WITHIN,
            lost: batch.lost.remove(&path).unwrap_or(1),
            path,
            why,
        }));
        Arc::new(batch)
    }

    /// Extras go if all of them fit into the mirror's account, or each that a person approved.
    fn waiting_extras(
        &mut self,
        now: Moment,
        id: &MirrorId,
        batch: &Batch,
    ) -> Vec<(RelPath, LeftOutWhy)> {
        if batch.extras.is_empty() {
            return Vec::new();
        }
        let (limit, window) = (self.account.extras_limit(), self.account.window());
        let epoch = self.ledger.log().head();
        let account = self.extras.entry(id.clone()).or_default();
        let not_approved: Vec<RelPath> = batch
            .extras
            .iter()
            .filter(|path| !account.is_approved(path, Epoch(1)))
            .cloned()
            .collect();
        let lost = |path: &RelPath| batch.lost.get(path).copied().unwrap_or(1);
        let entries = not_approved.iter().map(lost).sum();
        if account.spend(now, entries, limit, window) {
            return Vec::new();
        }
        not_approved
            .into_iter()
            .map(|path| {
                account.hold(&path, epoch, lost(&path));
                (path, LeftOutWhy::ExtraAwaitsApproval)
            })
            .collect()
    }

    /// What waits is judged again: entries came back, a person approved, or the source was counted.
    pub(super) fn judge_deletions(&mut self, now: Moment) {
        let (limit, window) = (self.account.extras_limit(), self.account.window());
        let (account, extras) = (&self.account, &mut self.extras);
        let log = self.ledger.log();
        let epoch = |it: &Obligation| log.last_change(&it.path).map_or(it.mark, |(epoch, _)| epoch);
        let mut may_go = Vec::new();
        for id in self.ledger.ids() {
            let Some(mirror) = self.ledger.mirror(id) else { continue };
            let extras = extras.entry(id.clone()).or_default();
            let is_extra = |it: &Obligation| matches!(it.cause, Cause::Extra);
            let awaiting = mirror.awaiting_approval().filter(|(_, it)| is_extra(it));
            let fit = extras.fits(now, awaiting.map(|(_, it)| it.lost.max(1)).sum(), limit, window);
            may_go.extend(mirror.awaiting_approval().filter_map(|(obligation, it)| {
                let may = if is_extra(it) {
                    fit || extras.is_approved(&it.path, Epoch(1))
                } else {
                    account.may_delete(&it.path, epoch(it)) != Permission::Waits
                };
                may.then(|| (id.clone(), obligation))
            }));
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

    /// The deletions of what the source lost that wait for a person, for all mirrors; none if nothing waits.
    pub fn waiting_deletions(&mut self) -> Option<ShownList> {
        // Some may have begun to wait before they were too many: until the source was counted.
        let mirrors = self.ledger.ids().filter_map(|id| self.ledger.mirror(id));
        let awaiting = mirrors.flat_map(Mirror::awaiting_approval).map(|(_, it)| it);
        let lost = awaiting.filter(|it| !matches!(it.cause, Cause::Extra));
        let lost: Vec<(RelPath, u64)> = lost.map(|it| (it.path.clone(), it.lost.max(1))).collect();
        for (path, entries) in lost {
            self.account.hold(&path, self.lost_in(&path), entries);
        }
        self.account.list().cloned()
    }

    /// The same for what one mirror holds beyond the source.
    pub fn waiting_extras_of(&mut self, id: &MirrorId) -> Option<ShownList> {
        self.extras.get_mut(id)?.list().cloned()
    }

    /// A person approves the list of this number.
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
    pub fn approve_extras(
        &mut self,
        now: Moment,
        id: &MirrorId,
        number: u64,
    ) -> Result<ShownList, ApproveError> {
        let approved = self.extras.entry(id.clone()).or_default().approve(number)?;
        self.judge_deletions(now);
        Ok(approved)
    }

    /// A person approves whatever waits on this mirror now, and takes its directory for what it is.
    pub fn handle_approve(&mut self, now: Moment, id: &MirrorId) {
        let before = self.ledger.target(id);
        self.ledger.approve_target(now, id);
        let after = self.ledger.target(id);
        if before != after {
            self.effects.push_back(Effect::Remember(id.clone(), after));
        }
        if let Some(list) = self.waiting_deletions() {
            let approved = self.approve_deletions(now, list.number);
            debug_assert!(approved.is_ok(), "it was shown just now");
        }
        if let Some(list) = self.waiting_extras_of(id) {
            let approved = self.approve_extras(now, id, list.number);
            debug_assert!(approved.is_ok(), "it was shown just now");
        }
        self.nudge(now, id);
        self.effects.push_back(Effect::Report);
    }
}
