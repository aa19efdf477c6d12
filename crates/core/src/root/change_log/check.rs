//! Checks: Walks of Mirrors that are not in doubt. Fresh changes don't wait for them.

use super::ChangeLog;
use crate::data::change::Epoch;
use crate::data::ids::MirrorId;
use crate::data::path::RelPath;
use crate::root::debts::Depth;

impl ChangeLog {
    /// Everything on this Mirror is to be compared, though nothing is in doubt.
    pub fn owe_check(&mut self, id: &MirrorId, depth: Depth) {
        if let Some(debts) = self.mirrors.get_mut(id) {
            debts.check_owed = debts.check_owed.max(Some(depth));
        }
    }

    /// A check of this Mirror had to wait for a push: this once the push waits for it.
    pub(super) fn refused_check(&mut self, id: &MirrorId) -> bool {
        self.mirrors.get_mut(id).is_some_and(|debts| {
            std::mem::take(&mut debts.check_refused)
                && debts.check_owed.is_some()
                && debts.walk.is_none()
        })
    }

    /// Whether a path changed after an Epoch, as far as the log remembers.
    pub fn changed_since(&self, epoch: Epoch, path: &RelPath) -> bool {
        std::iter::once(path.clone())
            .chain(path.ancestors())
            .any(|path| self.entries.get(&path).is_some_and(|entry| entry.epoch > epoch))
    }
}
