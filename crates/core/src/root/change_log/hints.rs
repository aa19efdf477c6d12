//! Renames as hints for one Mirror: where it may hold what is to be brought to it.

use std::collections::{BTreeMap, BTreeSet};

use super::ChangeLog;
use crate::data::batch::Dirty;
use crate::data::change::{Epoch, Kinds, Move, Ticket};
use crate::data::ids::MirrorId;
use crate::data::limits::MOVES_MAX;
use crate::data::moment::Moment;
use crate::data::outcome::Held;
use crate::data::path::RelPath;
use crate::root::debts::{Debts, Link};
use crate::root::epoch::{beyond_attributes, is_doubted};

impl ChangeLog {
    /// Changes are about to be sealed, these renames among them.
    pub(super) fn note_moves(
        &mut self,
        epoch: Epoch,
        first_change: Moment,
        changes: &BTreeMap<RelPath, Kinds>,
        mut moves: Vec<Move>,
    ) {
        for (path, kinds) in changes.iter().filter(|(_, kinds)| beyond_attributes(**kinds)) {
            self.renames.doubt(path);
            if kinds.contains(Kinds::SUBTREE) {
                self.renames.doubt_below(path);
            }
        }
        for it in moves.iter_mut().filter(|it| it.is_exact) {
            it.is_exact = !self.was_sent_lately(first_change, [&it.from, &it.to]);
        }
        let is_doubted = |path: &RelPath| is_doubted(&self.entries, |entry| entry.kinds, path);
        let moves = moves.into_iter().map(|it| {
            let is_exact = it.is_exact && !is_doubted(&it.from) && !is_doubted(&it.to);
            Move { is_exact, ..it }
        });
        self.renames.note(epoch, moves.collect::<Vec<_>>());
    }

    /// Renames whose new names are among the entries. What may share files with an old name is not filled from
    /// elsewhere before that is put right.
    pub(super) fn hints(&self, debts: &Debts, entries: &[Dirty]) -> Vec<Move> {
        // Each becomes a pair to be parted, and some are while deletions wait for a person.
        let is_full = debts.linked.len() >= MOVES_MAX;
        if is_full || self.renames.is_empty_above(debts.cursor) {
            return Vec::new();
        }
        let kinds_of = |path: &RelPath| {
            let at = entries.binary_search_by(|(known, _)| known.cmp(path)).ok()?;
            Some(entries[at].1)
        };
        let is_subtree =
            |path: RelPath| kinds_of(&path).is_some_and(|k| k.contains(Kinds::SUBTREE));
        let mut hints = self.renames.above(debts.cursor);
        hints.retain(|it| !debts.linked.iter().any(|(old, _)| old.is_related(&it.to)));
        hints.retain_mut(|it| {
            let is_named = kinds_of(&it.to).is_some_and(|kinds| kinds.contains(Kinds::CONTENT));
            it.is_exact &= is_named;
            is_named || it.to.ancestors().any(is_subtree)
        });
        hints
    }

    /// Whether exact hints are: this Mirror owes nothing else, so that it holds what the log says.
    pub fn trusts_hints(&self, id: &MirrorId) -> bool {
        self.mirrors.get(id).is_some_and(Debts::is_plain)
    }

    /// The renames that work makes use of; none if its ticket is not current.
    pub fn links(&self, id: &MirrorId, ticket: Ticket) -> BTreeSet<Link> {
        self.running(id, ticket).map(|running| running.links.clone()).unwrap_or_default()
    }

    /// Of these, some old names were not deleted.
    pub fn keep_linked(&mut self, id: &MirrorId, links: BTreeSet<Link>, held: &Held) {
        let Some(debts) = self.mirrors.get_mut(id) else { return };
        let is_held =
            |from: &RelPath| held.paths.iter().any(|(path, _)| from == path || from.is_below(path));
        debts.linked.extend(links.into_iter().filter(|(from, _)| is_held(from)));
    }
}
