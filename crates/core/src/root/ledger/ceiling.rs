//! Ceilings: a mirror that is not to be given everything yet, such as one of a later wave.

use super::Ledger;
use crate::data::change::Epoch;
use crate::data::ids::MirrorId;
use crate::root::backlog::Obligation;
use crate::root::change_log::Entry;
use crate::root::mirror::Mirror;

impl Ledger {
    /// Sets the newest epoch that a mirror may be given; none: the head. A ceiling never falls below what was handed out.
    pub fn set_ceiling(&mut self, id: &MirrorId, ceiling: Option<Epoch>) {
        if let Some(mirror) = self.mirrors.get_mut(id) {
            let lowest = mirror.handed_out();
            mirror.ceiling = ceiling.map(|epoch| epoch.max(lowest));
        }
    }

    /// Whether nothing that an obligation concerns changed above the ceiling: a run would bring that too, since it reads
    /// the source as it is now.
    pub(super) fn is_below_ceiling(&self, mirror: &Mirror, obligation: &Obligation) -> bool {
        let Some(ceiling) = mirror.ceiling.filter(|it| *it < self.log.head()) else { return true };
        let mut items = obligation.items();
        !items.any(|(path, need)| {
            let mut above = self.log.range(ceiling, self.log.head());
            self.log.changed_since(ceiling, path)
                || (need.is_within() && above.any(|(changed, _)| changed.is_below(path)))
        })
    }

    /// The oldest of the paths that the cursor has passed without them, since they changed again above the ceiling.
    pub(super) fn oldest_waiting(&self, mirror: &Mirror) -> Option<&Entry> {
        let above = mirror.has_waiting.then(|| self.log.range(mirror.cursor, self.log.head()));
        let entries = above.into_iter().flatten().map(|(_, entry)| entry);
        entries.filter(|entry| entry.first <= mirror.cursor).min_by_key(|entry| entry.first)
    }
}
