//! What people change while it runs: which Mirrors there are, and that one is to be walked.

use std::time::Duration;

use super::{Collator, Effect};
use crate::data::explanation::{LastChange, Whereabouts};
use crate::data::ids::MirrorId;
use crate::data::moment::Moment;
use crate::data::path::RelPath;
use crate::data::plan::RetryPlan;

impl Collator {
    /// What is known of a path's last change.
    pub fn last_change(&self, now: Moment, path: &RelPath) -> LastChange {
        if self.open.is_held(path) {
            return LastChange::BeingWritten;
        }
        if self.open.covers(path) {
            return LastChange::Open;
        }
        match self.log.last_change(path) {
            Some((epoch, at)) => LastChange::Epoch { epoch, seconds_ago: (now - at).as_secs_f64() },
            None => LastChange::Settled,
        }
    }

    /// How a path, which is there or not, stands on each Mirror.
    pub fn whereabouts(&self, path: &RelPath, is_found: bool) -> Vec<(MirrorId, Whereabouts)> {
        let is_open = self.open.is_held(path) || self.open.covers(path);
        let ids = self.log.mirrors();
        let whereabouts = |id: &MirrorId| {
            let known = self.log.whereabouts(id, path, is_found)?;
            let is_there = known == Whereabouts::There;
            Some((id.clone(), if is_open && is_there { Whereabouts::Pending } else { known }))
        };
        ids.filter_map(whereabouts).collect()
    }

    /// A Mirror nothing is known of: it owes a Walk. `is_renewed`: one of the same name was given up, and what was
    /// on its way there may still land.
    pub fn add_mirror(
        &mut self,
        now: Moment,
        id: &MirrorId,
        retry: RetryPlan,
        receiver_life: Duration,
        is_renewed: bool,
    ) {
        self.log.add_mirror(now, id.clone(), retry, receiver_life);
        if is_renewed {
            self.log.echo_one(now, id);
        }
        self.nudge(now, id);
        self.effects.push_back(Effect::Report);
    }

    /// A Mirror is given up. What it was handed out is void.
    pub fn remove_mirror(&mut self, id: &MirrorId) {
        self.log.remove_mirror(id);
        self.effects.push_back(Effect::Report);
    }

    /// Another way to try it again, and another time for which what broke off may still land on it.
    pub fn set_terms(&mut self, id: &MirrorId, retry: RetryPlan, receiver_life: Duration) {
        self.log.set_terms(id, retry, receiver_life);
    }

    /// A person wants this Mirror compared whole. One that is being compared is.
    pub fn handle_walk_wanted(&mut self, now: Moment, id: &MirrorId) {
        self.log.owe_walk(now, id);
        self.nudge(now, id);
        self.effects.push_back(Effect::Report);
    }
}
