//! What of a Mirror's standing outlives the daemon, and how it goes on from there.

use std::collections::BTreeMap;

use super::ChangeLog;
use crate::data::batch::Dirty;
use crate::data::change::Kinds;
use crate::data::ids::MirrorId;
use crate::data::moment::Moment;
use crate::data::path::RelPath;
use crate::root::checkpoint::Holders;
use crate::root::debts::Debts;
use crate::root::epoch::Sealed;

impl ChangeLog {
    /// These Mirrors hold what the last run's snapshot says, but for what each lacks and what is dirty.
    /// After an end in the middle of things everything that was handed out is pushed once more, when
    /// nothing can land any more.
    pub fn resume(
        &mut self,
        now: Moment,
        dirty: BTreeMap<RelPath, Kinds>,
        holders: &Holders,
        unclean: Option<&[Dirty]>,
    ) {
        for (id, lacks) in holders {
            let Some(debts) = self.mirrors.get_mut(id) else { continue };
            debts.walk_owed = None;
            debts.cursor = self.head;
            debts.echo = None;
            debts.rewrite(lacks.iter().cloned());
            if let Some(journal) = unclean {
                let handed_out: Vec<Dirty> = journal.iter().chain(lacks).cloned().collect();
                debts.echo(now, false, &handed_out);
            }
        }
        let sealed = Sealed { first_change: now, changes: dirty, moves: Vec::new() };
        self.seal_for(sealed, |id| holders.contains_key(id));
    }

    /// What a Mirror lacks; none if that can't be said path by path, or is more than `max` paths.
    pub fn lacks(&self, id: &MirrorId, max: usize) -> Option<Vec<Dirty>> {
        let debts = self.mirrors.get(id)?;
        if self.lacks_count(id)? > max {
            return None;
        }
        let above = self.epochs_above(debts.cursor).flat_map(|(_, record)| &record.paths);
        let mut lacks: BTreeMap<RelPath, Kinds> =
            above.map(|path| (path.clone(), self.entries[path].kinds)).collect();
        let stuck = debts.stuck.iter().map(|(path, stuck)| (path, &stuck.kinds));
        let lost = debts.absence.iter().flat_map(|absence| &absence.lost).flatten();
        let lost = lost.map(|(path, kinds)| (path, kinds));
        let large = debts.large_files().map(|(path, large)| (path, &large.kinds));
        let others = debts.rewritten.iter().chain(&debts.held).chain(lost).chain(large);
        for (path, kinds) in stuck.chain(others) {
            *lacks.entry(path.clone()).or_default() |= *kinds;
        }
        for path in debts.linked.iter().flat_map(|(from, to)| [from, to]) {
            *lacks.entry(path.clone()).or_default() |= Kinds::SUBTREE | Kinds::CONTENT;
        }
        Some(lacks.into_iter().collect())
    }

    /// About how many paths a Mirror lacks; none if that can't be said path by path.
    pub fn lacks_count(&self, id: &MirrorId) -> Option<usize> {
        let debts = self.mirrors.get(id)?;
        // What broke off is named by nobody but the journal, and what a Walk brings by nobody at all.
        if debts.walk_owed.is_some() || debts.is_walked() || debts.echo.is_some() {
            return None;
        }
        let lost = match &debts.absence {
            Some(absence) => absence.lost.as_ref()?.len(),
            None => 0,
        };
        let dirty: usize = self.epochs_above(debts.cursor).map(|(_, r)| r.paths.len()).sum();
        Some(
            dirty
                + lost
                + debts.stuck.len()
                + debts.rewritten.len()
                + debts.large_files().count()
                + debts.held.len()
                + 2 * debts.linked.len(),
        )
    }

    /// Whether a Walk of this Mirror is under way.
    pub fn is_walked(&self, id: &MirrorId) -> bool {
        self.mirrors.get(id).is_some_and(Debts::is_walked)
    }

    /// Whether more may differ on a Mirror than was ever handed out for it.
    pub fn is_in_doubt(&self, id: &MirrorId) -> bool {
        let whole = |debts: &Debts| debts.echo.as_ref().is_some_and(|echo| echo.whole);
        let is_walked = |debts: &Debts| debts.walk_owed.is_some() || debts.is_walked();
        self.mirrors.get(id).is_none_or(|debts| is_walked(debts) || whole(debts))
    }

    /// Whether what broke off may still land on any Mirror.
    pub fn may_change(&self) -> bool {
        self.mirrors.values().any(|debts| debts.echo.is_some())
    }
}
