//! A Walk that begins while the Root is still being scanned (hard case 19).

use super::{Collator, Phase};
use crate::data::change::Lane;
use crate::data::ids::MirrorId;
use crate::data::moment::Moment;
use crate::root::ledger::Assignment;

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
            let ids: Vec<MirrorId> = self.ledger.ids().cloned().collect();
            ids.iter().for_each(|id| self.ledger.owe_walk(now, id));
        }
    }

    pub(super) fn hands_out(&self) -> bool {
        matches!(self.phase, Phase::Watching | Phase::Opening { hands_out: true, .. })
    }

    pub(super) fn note_early(&mut self, id: &MirrorId, assignment: &Assignment) {
        if assignment.lane == Lane::Slow && !matches!(self.phase, Phase::Watching) {
            self.early.insert(id.clone());
        }
    }
}
