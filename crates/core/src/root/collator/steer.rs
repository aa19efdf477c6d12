//! What people change while it runs: which Mirrors there are, and that one is to be walked.

use super::{Collator, Effect};
use crate::data::explanation::{LastChange, Whereabouts};
use crate::data::ids::MirrorId;
use crate::data::moment::Moment;
use crate::data::path::RelPath;
use crate::root::deletions::Durability;
use crate::root::mirror::Terms;

impl Collator {
    /// What is known of a path's last change.
    pub fn last_change(&self, now: Moment, path: &RelPath) -> LastChange {
        if self.open.is_held(path) {
            return LastChange::BeingWritten;
        }
        if self.open.covers(path) {
            return LastChange::Open;
        }
        match self.ledger.last_change(path) {
            Some((epoch, at)) => LastChange::Epoch { epoch, seconds_ago: (now - at).as_secs_f64() },
            None => LastChange::Settled,
        }
    }

    /// How a path, which is there or not, stands on each Mirror.
    pub fn whereabouts(&self, path: &RelPath, is_found: bool) -> Vec<(MirrorId, Whereabouts)> {
        let is_open = self.open.is_held(path) || self.open.covers(path);
        let ids = self.ledger.ids();
        let whereabouts = |id: &MirrorId| {
            let known = self.ledger.whereabouts(id, path, is_found)?;
            let is_there = known == Whereabouts::There;
            Some((id.clone(), if is_open && is_there { Whereabouts::Pending } else { known }))
        };
        ids.filter_map(whereabouts).collect()
    }

    /// A Mirror nothing is known of: it owes a Walk. `is_renewed`: one of the same name was given up, and what was
    /// on its way there may still land.
    pub fn add_mirror(&mut self, now: Moment, id: &MirrorId, terms: Terms, is_renewed: bool) {
        self.ledger.add_mirror(now, id, terms);
        if is_renewed {
            self.ledger.handle_renewed(now, id);
        }
        self.nudge(now, id);
        self.effects.push_back(Effect::Report);
    }

    /// A mirror is given up, and what it was handed out with it.
    pub fn remove_mirror(&mut self, now: Moment, id: &MirrorId) {
        self.ledger.remove_mirror(now, id);
        self.drift.remove(id);
        // Its approvals are no approvals for another directory of the same name.
        if self.extras.remove(id).is_some() {
            self.extras_dirty = self.extras_dirty.max(Some(Durability::Written));
        }
        self.effects.push_back(Effect::Report);
    }

    /// Other terms for a mirror that stays.
    pub fn set_terms(&mut self, id: &MirrorId, terms: Terms) {
        self.ledger.set_terms(id, terms);
    }

    /// A person wants this mirror compared whole.
    pub fn handle_walk_wanted(&mut self, now: Moment, id: &MirrorId) {
        self.ledger.owe_walk(now, id);
        self.nudge(now, id);
        self.effects.push_back(Effect::Report);
    }
}
