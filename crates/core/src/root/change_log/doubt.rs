//! What is in doubt although it was pushed: work that broke off may still land, and a Walk may take what was
//! written to for equal.

use std::collections::BTreeMap;

use super::ChangeLog;
use crate::backoff::seed_of;
use crate::data::batch::Dirty;
use crate::data::change::{Epoch, Kinds};
use crate::data::ids::MirrorId;
use crate::data::limits::{WALK_JITTER, WALK_JITTER_MAX};
use crate::data::moment::Moment;
use crate::root::debts::{Debts, Running};

impl ChangeLog {
    /// From now on this Mirror is in doubt.
    pub fn owe_walk(&mut self, now: Moment, id: &MirrorId) {
        self.keep_rewritten(id);
        let since = self.doubtful_since(now, id);
        if let Some(debts) = self.mirrors.get_mut(id) {
            debts.owe_walk(since);
        }
        self.trim();
    }

    /// What it lacked before, which the log will forget, is not younger for that.
    fn doubtful_since(&self, now: Moment, id: &MirrorId) -> Moment {
        let behind = self.mirrors.get(id).and_then(|debts| self.behind_since(debts));
        behind.map_or(now, |since| since.min(now))
    }

    /// This Mirror lacked what it should have held for long: its disk may not be mounted.
    pub fn suspect(&mut self, now: Moment, id: &MirrorId) {
        self.owe_walk(now, id);
        if let Some(debts) = self.mirrors.get_mut(id) {
            debts.suspicious = true;
        }
    }

    /// All Mirrors are in doubt: events were lost. Walks under way don't count. So that not all hosts are
    /// walked in the same moment, each waits a little, by its name.
    pub fn owe_walks(&mut self, now: Moment) {
        let ids: Vec<MirrorId> = self.mirrors.keys().cloned().collect();
        let mut since = BTreeMap::new();
        for id in &ids {
            since.insert(id, self.doubtful_since(now, id));
            self.void_walk(id);
            self.keep_rewritten(id);
        }
        let spread =
            (WALK_JITTER * (self.mirrors.len() as u32).saturating_sub(1)).min(WALK_JITTER_MAX);
        for (id, debts) in &mut self.mirrors {
            debts.owe_walk(since[id]);
            let part = (seed_of(id.host.as_str()) % 1000) as u32;
            debts.walk_after = now + spread * part / 1000;
        }
        self.trim();
    }

    /// The Root is not empty any more: what was held because it was is judged again, if it holds at least half as
    /// much. Returns whether there was any.
    pub fn owe_walks_held_from_empty_root(&mut self, now: Moment, entries: u64) -> bool {
        let is_back = |debts: &Debts| {
            debts.held_from_empty_root && debts.held_count <= entries.saturating_mul(2)
        };
        let mut back = Vec::new();
        for (id, debts) in self.mirrors.iter_mut().filter(|(_, debts)| is_back(debts)) {
            debts.held_from_empty_root = false;
            back.push(id.clone());
        }
        back.iter().for_each(|id| self.owe_walk(now, id));
        !back.is_empty()
    }

    /// Something may have broken off on every Mirror, and nobody knows what.
    pub fn echo_all(&mut self, now: Moment) {
        self.mirrors.values_mut().for_each(|debts| debts.echo(now, true, &[]));
    }

    /// The same for one Mirror.
    pub fn echo_one(&mut self, now: Moment, id: &MirrorId) {
        self.mirrors.get_mut(id).into_iter().for_each(|debts| debts.echo(now, true, &[]));
    }

    /// A push broke off: what it was about, and what has changed since, may be overwritten by it.
    pub(super) fn echo_fresh(&mut self, now: Moment, id: &MirrorId, running: &Running) {
        let mut entries = match self.mirrors.get(id) {
            Some(debts) => self.lacking_above(now, debts, running.from.min(debts.cursor)).0,
            None => return,
        };
        let tried = running.tried.iter().map(|path| (path.clone(), Kinds::CONTENT));
        entries.extend(tried);
        if let Some(debts) = self.mirrors.get_mut(id) {
            // For a Mirror that is to be walked the log may have forgotten what it lacks.
            debts.echo(now, debts.walk_owed.is_some(), &entries);
        }
    }

    /// A Walk broke off that began at this Epoch.
    pub(super) fn echo_walk(&mut self, now: Moment, id: &MirrorId, from: Epoch) {
        let mut since: Vec<Dirty> = self.rewritten_above(from);
        if let Some(debts) = self.mirrors.get_mut(id) {
            // It may have brought what was there before they failed.
            let stuck = debts.stuck.iter().filter(|(_, s)| s.kinds.contains(Kinds::CONTENT));
            since.extend(stuck.map(|(path, stuck)| (path.clone(), stuck.kinds)));
            // Nor does a Walk say anything of these but their size and time.
            since.extend(debts.large_files().map(|(path, large)| (path.clone(), large.kinds)));
            debts.echo(now, true, &since);
        }
    }

    pub(super) fn rewritten_above(&self, cursor: Epoch) -> Vec<Dirty> {
        self.epochs_above(cursor)
            .flat_map(|(_, record)| &record.paths)
            .map(|path| (path.clone(), self.entries[path].kinds))
            .filter(|(_, kinds)| kinds.contains(Kinds::CONTENT))
            .collect()
    }

    /// A Walk will cover what this Mirror lacks, but by its quick check.
    pub(super) fn keep_rewritten(&mut self, id: &MirrorId) {
        let Some(cursor) = self.mirrors.get(id).map(|debts| debts.cursor) else { return };
        let rewritten = self.rewritten_above(cursor);
        if let Some(debts) = self.mirrors.get_mut(id) {
            debts.rewrite(rewritten);
        }
    }

    /// Whoever had work for this Mirror is gone. What a lost Walk may have undone is in doubt.
    pub fn void_tickets(&mut self, now: Moment, id: &MirrorId) {
        let fresh = self.mirrors.get_mut(id).and_then(|debts| debts.fresh.take());
        if let Some(running) = fresh {
            self.echo_fresh(now, id, &running);
        }
        // Also work whose ticket had become void before may have been under way, or work of which only a
        // predecessor of ours knew.
        let had_work = self
            .mirrors
            .get_mut(id)
            .is_some_and(|debts| std::mem::take(&mut debts.handed_out) || debts.echo.is_some());
        if had_work {
            self.echo_walk(now, id, Epoch::default());
        }
        self.void_walk(id);
        self.trim();
    }

    pub(super) fn void_walk(&mut self, id: &MirrorId) {
        if let Some(debts) = self.mirrors.get_mut(id)
            && let Some(walk) = debts.walk.take()
        {
            if walk.is_large() {
                debts.set_aside(walk.large.clone());
                self.repeat_related(id, &walk);
                return;
            }
            debts.cursor = debts.cursor.min(walk.to);
            self.keep_rewritten(id);
        }
    }
}
