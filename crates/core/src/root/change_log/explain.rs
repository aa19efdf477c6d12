//! How one path stands.

use super::ChangeLog;
use crate::data::change::{Epoch, Kinds};
use crate::data::explanation::Whereabouts;
use crate::data::ids::MirrorId;
use crate::data::moment::Moment;
use crate::data::path::RelPath;

impl ChangeLog {
    /// The Epoch in which this path, or a whole directory around it, changed, as far as some Mirror may lack that;
    /// and when that Epoch's first change came.
    pub fn last_change(&self, path: &RelPath) -> Option<(Epoch, Moment)> {
        let own = self.entries.get(path).map(|entry| entry.epoch);
        let around = path.ancestors().filter_map(|above| self.entries.get(&above));
        let around = around.filter(|entry| entry.kinds.contains(Kinds::SUBTREE));
        let epoch = around.map(|entry| entry.epoch).chain(own).max()?;
        Some((epoch, self.epochs.get(&epoch)?.first_change))
    }

    /// How a path, which is there or not, stands on a Mirror.
    pub fn whereabouts(
        &self,
        id: &MirrorId,
        path: &RelPath,
        is_found: bool,
    ) -> Option<Whereabouts> {
        let debts = self.mirrors.get(id)?;
        let names = || std::iter::once(path.clone()).chain(path.ancestors());
        // What is said of a directory is said of what is in it, if that is meant as a whole.
        let covers = |name: &RelPath, kinds: Kinds| name == path || kinds.contains(Kinds::SUBTREE);
        let stuck = |name: RelPath| debts.stuck.get(&name).filter(|it| covers(&name, it.kinds));
        if let Some(stuck) = names().find_map(stuck) {
            return Some(Whereabouts::Stuck(stuck.reason.clone()));
        }
        // What is there is not what is to be deleted around it.
        if !is_found && names().any(|name| debts.held.contains_key(&name)) {
            return Some(Whereabouts::Held);
        }
        if debts.walk_owed.is_some() {
            return Some(Whereabouts::Walk);
        }
        let is_large = |large: &std::collections::BTreeMap<RelPath, _>| large.contains_key(path);
        if debts.walk.as_ref().is_some_and(|running| is_large(&running.large)) {
            return Some(Whereabouts::UnderWay);
        }
        if is_large(&debts.large) {
            return Some(Whereabouts::Pending);
        }
        if let Some((epoch, _)) = self.last_change(path).filter(|(epoch, _)| *epoch > debts.cursor)
        {
            let is_taken = debts.fresh.as_ref().is_some_and(|running| running.to >= epoch);
            return Some(if is_taken { Whereabouts::UnderWay } else { Whereabouts::Pending });
        }
        let echo = debts.echo.as_ref();
        let repeats = |name: &RelPath| {
            let echoed = echo.and_then(|echo| echo.entries.get(name));
            let kinds = [debts.rewritten.get(name), echoed].into_iter().flatten();
            kinds.into_iter().any(|kinds| covers(name, *kinds))
        };
        let is_repeated = names().any(|name| repeats(&name)) || echo.is_some_and(|it| it.whole);
        Some(if is_repeated { Whereabouts::Repeated } else { Whereabouts::There })
    }
}
