//! How one path stands.

use super::Ledger;
use crate::data::change::{Epoch, Lane};
use crate::data::explanation::Whereabouts;
use crate::data::ids::MirrorId;
use crate::data::moment::Moment;
use crate::data::path::RelPath;
use crate::root::backlog::{Cause, Obligation};

impl Ledger {
    /// The epoch in which this path, or a whole directory around it, changed, if some mirror may lack that; and when the
    /// first change of that epoch came.
    pub fn last_change(&self, path: &RelPath) -> Option<(Epoch, Moment)> {
        let passed = self.mirrors.values().map(|mirror| mirror.cursor).min();
        self.log.last_change(path).filter(|(epoch, _)| passed.is_none_or(|passed| *epoch > passed))
    }

    /// How a path, which is there or not, stands on a mirror.
    pub fn whereabouts(
        &self,
        id: &MirrorId,
        path: &RelPath,
        is_found: bool,
    ) -> Option<Whereabouts> {
        let mirror = self.mirrors.get(id)?;
        let covers = |it: &Obligation| {
            it.items().any(|(own, need)| own == path || (need.is_within() && path.is_below(own)))
        };
        let around = mirror.backlog.around(path).into_iter();
        let owed: Vec<_> = around
            .filter_map(|id| Some((id, mirror.backlog.get(id)?)))
            .filter(|(_, it)| covers(it))
            .collect();
        let failed = owed.iter().find_map(|(_, it)| match &it.cause {
            Cause::Failed { reason, .. } => Some(reason.clone()),
            _ => None,
        });
        if let Some(reason) = failed {
            return Some(Whereabouts::Stuck(reason));
        }
        // A name that is there is not what is to be deleted around it.
        if !is_found && owed.iter().any(|(_, it)| it.gates.awaits_approval) {
            return Some(Whereabouts::Held);
        }
        if owed.iter().any(|(id, it)| mirror.is_assigned(*id) && !matches!(it.cause, Cause::Walk)) {
            return Some(Whereabouts::UnderWay);
        }
        if let Some((epoch, _)) =
            self.log.last_change(path).filter(|(epoch, _)| *epoch > mirror.cursor)
        {
            let is_taken =
                mirror.assigned(Lane::Fresh).is_some_and(|assigned| assigned.to >= epoch);
            return Some(if is_taken { Whereabouts::UnderWay } else { Whereabouts::Pending });
        }
        let is_repeated = |it: &Obligation| {
            matches!(it.cause, Cause::Interference | Cause::Restarted | Cause::Renamed { .. })
        };
        if owed.iter().any(|(_, it)| matches!(it.cause, Cause::Walk)) {
            return Some(Whereabouts::Walk);
        }
        if owed.iter().any(|(_, it)| is_repeated(it)) {
            return Some(Whereabouts::Repeated);
        }
        if owed.iter().any(|(_, it)| !it.cause.is_scheduled()) {
            return Some(Whereabouts::Pending);
        }
        let endangers =
            |scope: &crate::root::writers::Writer| scope.endangers && scope.scope.touches(path);
        let is_endangered = mirror.writers.iter().any(|(_, it)| endangers(it));
        Some(if is_endangered { Whereabouts::Repeated } else { Whereabouts::There })
    }
}
