//! What of a mirror's standing outlives the daemon, and how it goes on from there.

use std::collections::BTreeMap;

use super::Ledger;
use crate::data::batch::Dirty;
use crate::data::change::Epoch;
use crate::data::ids::MirrorId;
use crate::data::moment::Moment;
use crate::data::need::Need;
use crate::data::path::RelPath;
use crate::root::backlog::{Cause, Obligation, ObligationId};
use crate::root::checkpoint::Holders;
use crate::root::epoch::Sealed;
use crate::root::mirror::Mirror;

impl Ledger {
    /// These mirrors hold the snapshot of the last run, but for what each lacks and what changed since.
    ///
    /// After an end that was not clean there is a writer with start 0 of the journal: so the journal is owed to each of
    /// them once more when nothing of the last run can be alive. Returns the epoch of all that changed.
    pub fn resume(
        &mut self,
        now: Moment,
        changes: BTreeMap<RelPath, Need>,
        holders: &Holders,
        is_clean: bool,
    ) -> Epoch {
        for (id, lacks) in holders {
            let Some(mirror) = self.mirrors.get_mut(id) else { continue };
            let walks: Vec<ObligationId> = mirror
                .backlog
                .iter()
                .filter(|(_, it)| matches!(it.cause, Cause::Walk))
                .map(|(id, _)| id)
                .collect();
            walks.into_iter().for_each(|id| drop(mirror.backlog.remove(id)));
            mirror.cursor = self.log.head();
            if is_clean {
                mirror.writers = Default::default();
            }
            // What may be alive of the last run was given nothing but the journal, which is sealed below.
            mirror.writers.begin_at(mirror.cursor);
            let mark = self.log.head().next();
            for (path, need) in lacks {
                let is_piece = need.is_within() && !need.wants_contents();
                let cause = if is_piece && path.is_root() { Cause::Walk } else { Cause::Resumed };
                let owed = self.mirrors[id].owed(now, path.clone(), *need, cause, mark);
                self.owe(id, owed);
            }
        }
        // Where all go on, nobody is owed the doubt about the whole root.
        self.trim(now);
        self.seal(now, Sealed { first_change: now, changes, ..Sealed::default() })
    }

    /// What a mirror lacks; none if that is more than `max` paths, or if nobody can say it path by path.
    pub fn lacks(&self, id: &MirrorId, max: usize) -> Option<Vec<Dirty>> {
        let mirror = self.mirrors.get(id)?;
        if self.lacks_count(id)? > max {
            return None;
        }
        let range = self.log.range(mirror.cursor, self.log.head());
        let mut lacks: BTreeMap<RelPath, Need> =
            range.map(|(path, entry)| (path.clone(), entry.need)).collect();
        for (_, it) in mirror.backlog.iter().filter(|(_, it)| !it.cause.is_scheduled()) {
            for (path, need) in it.items() {
                *lacks.entry(path.clone()).or_default() |= need;
            }
        }
        Some(lacks.into_iter().collect())
    }

    /// About how many paths a mirror lacks; none if nobody can say it path by path.
    pub fn lacks_count(&self, id: &MirrorId) -> Option<usize> {
        let mirror = self.mirrors.get(id)?;
        if Self::is_whole_in_doubt(mirror) || mirror.writers.has_cut_off() {
            return None;
        }
        let owed = mirror.backlog.iter().filter(|(_, it)| !it.cause.is_scheduled()).count();
        Some(self.log.count_above(mirror.cursor) + owed)
    }

    /// Whether all of the root is to be compared on a mirror.
    fn is_whole_in_doubt(mirror: &Mirror) -> bool {
        let is_whole =
            |it: &Obligation| !it.cause.is_scheduled() && it.path.is_root() && it.need.is_within();
        mirror.backlog.iter().any(|(_, it)| is_whole(it))
    }

    /// Whether more may differ on a mirror than was ever handed out for it.
    pub fn is_in_doubt(&self, id: &MirrorId) -> bool {
        self.mirrors.get(id).is_none_or(Self::is_whole_in_doubt)
    }
}
