//! A Walk that begins while the Root is still being scanned (hard case 19).

use super::{Collator, Phase};
use crate::data::ids::MirrorId;
use crate::data::moment::Moment;
use crate::root::change_log::Taken;

impl Collator {
    /// The scan that sets the watches begins, and will tell of everything that is no older than this moment: Walks may
    /// begin.
    pub fn handle_begun(&mut self, now: Moment) {
        if let Phase::Opening { since, .. } = self.phase {
            self.phase = Phase::Opening { since, hands_out: true };
            self.nudge_all(now);
        }
    }

    /// The scan could not tell of everything: what was walked meanwhile is in doubt.
    pub fn handle_unsure(&mut self, now: Moment) {
        if !self.early.is_empty() {
            self.log.owe_walks(now);
        }
    }

    pub(super) fn hands_out(&self) -> bool {
        matches!(self.phase, Phase::Watching | Phase::Opening { hands_out: true, .. })
    }

    pub(super) fn note_early(&mut self, id: &MirrorId, taken: &Taken) {
        if taken.walk && !matches!(self.phase, Phase::Watching) {
            self.early.insert(id.clone());
        }
    }

    /// What was held before the Root had been counted is judged once more.
    pub(super) fn judge_early(&mut self, now: Moment) {
        if self.early.is_empty() || !matches!(self.phase, Phase::Watching) {
            return;
        }
        let is_over = |id: &MirrorId| !self.log.is_walked(id);
        let over: Vec<MirrorId> = self.early.iter().filter(|id| is_over(id)).cloned().collect();
        for id in over {
            self.early.remove(&id);
            if self.held_deletions(&id) > 0 {
                self.log.owe_walk(now, &id);
                self.nudge(now, &id);
            }
        }
    }
}
