//! Large files: a push leaves them to one of their own, which runs beside it in the Walks' place, so that nothing
//! small waits for them.

use std::collections::{BTreeMap, BTreeSet};

use super::ChangeLog;
use crate::data::batch::Dirty;
use crate::data::change::{Kinds, Ticket};
use crate::data::ids::MirrorId;
use crate::data::limits::LARGE_FILES_MAX;
use crate::data::moment::Moment;
use crate::data::outcome::Outcome;
use crate::data::path::RelPath;
use crate::root::debts::{Debts, Large, Running};

impl Debts {
    /// Whether large files may be left to a push of their own: not while their place is taken, or will be. What
    /// failed waits on its own backoff, and is tried by whoever tries it.
    pub(super) fn may_set_aside(&self, tried: &BTreeSet<RelPath>) -> bool {
        let is_free = !self.is_walked() && self.walk_owed.is_none() && self.check_owed.is_none();
        let has_room = self.large_files().count() < LARGE_FILES_MAX;
        is_free && has_room && !tried.iter().any(|path| self.stuck.contains_key(path))
    }

    /// Whether large files wait, and nothing is in their way.
    pub(super) fn wants_large(&self) -> bool {
        !self.large.is_empty()
            && self.walk.is_none()
            && self.walk_owed.is_none()
            && self.check_owed.is_none()
    }
}

impl ChangeLog {
    /// The push under way leaves these files to one of their own.
    pub fn set_aside(&mut self, now: Moment, id: &MirrorId, ticket: Ticket, large: &[Dirty]) {
        let Some(running) = self.running(id, ticket) else { return };
        let first = self.epochs_above(running.from).next().map(|(_, record)| record.first_change);
        let since = first.unwrap_or(now);
        let Some(debts) = self.mirrors.get_mut(id) else { return };
        for (path, _) in large {
            debts.rewritten.remove(path);
            // Its end is no word about them.
            if let Some(fresh) = &mut debts.fresh {
                fresh.tried.remove(path);
            }
        }
        let large =
            large.iter().map(|(path, kinds)| (path.clone(), Large { kinds: *kinds, since }));
        debts.set_aside(large);
    }

    /// A push of large files has ended.
    pub(super) fn apply_large(&mut self, now: Moment, id: &MirrorId, outcome: &Outcome) {
        let Some(debts) = self.mirrors.get_mut(id) else { return };
        let Some(running) = debts.walk.take() else { return };
        match outcome {
            Outcome::Done | Outcome::Partly(_) | Outcome::DeletionsSkipped(_) => {
                debts.settle_stuck(now, &running, outcome.failed());
            }
            Outcome::Unattributed(_)
            | Outcome::Halt(_)
            | Outcome::Full(_)
            | Outcome::Incapable(..)
            | Outcome::Again { .. } => debts.set_aside(running.large.clone()),
        }
        let related = self.repeat_related(id, &running);
        if matches!(outcome, Outcome::Again { cut_off: true, .. })
            && let Some(debts) = self.mirrors.get_mut(id)
        {
            let large = running.large.iter().map(|(path, large)| (path.clone(), large.kinds));
            let entries: Vec<Dirty> = large.chain(related).collect();
            debts.echo(now, debts.walk_owed.is_some(), &entries);
        }
    }

    /// What was pushed at, above or below these files since their push began may have been undone by it; so may the
    /// times of directories around both.
    pub(super) fn repeat_related(&mut self, id: &MirrorId, running: &Running) -> Vec<Dirty> {
        let around: BTreeSet<RelPath> = running.large.keys().flat_map(RelPath::ancestors).collect();
        let is_large = |path: &RelPath| running.large.contains_key(path);
        let is_related = |path: &RelPath| {
            around.contains(path)
                || is_large(path)
                || path.ancestors().any(|above| is_large(&above))
        };
        let mut related: Vec<Dirty> = Vec::new();
        for path in self.epochs_above(running.to).flat_map(|(_, record)| &record.paths) {
            if is_related(path) {
                related.push((path.clone(), self.entries[path].kinds));
            }
            let shared = path.ancestors().filter(|above| around.contains(above));
            related.extend(shared.map(|above| (above, Kinds::ATTRS)));
        }
        if let Some(debts) = self.mirrors.get_mut(id)
            && !related.is_empty()
        {
            debts.rewrite(related.iter().cloned());
            if let Some(fresh) = &mut debts.fresh {
                fresh.overtaken = true;
            }
        }
        related
    }

    /// A Walk takes their place: it brings them, but for what only their content tells.
    pub(super) fn give_up_large(&mut self, id: &MirrorId) {
        if let Some(debts) = self.mirrors.get_mut(id) {
            let large: BTreeMap<RelPath, Large> = std::mem::take(&mut debts.large);
            debts.rewrite(large.into_iter().map(|(path, large)| (path, large.kinds)));
        }
    }
}
