//! Walks and checks in pieces.

use super::Ledger;
use crate::data::batch::{Compare, Depth};
use crate::data::change::{AssignmentId, Lane};
use crate::data::ids::MirrorId;
use crate::data::moment::Moment;
use crate::data::outcome::{AssignmentEnd, Blame};
use crate::data::piece::{Part, Piece};
use crate::data::status::WalkProgress;
use crate::host::target_state::TargetState;
use crate::root::backlog::{Cause, Obligation, ObligationId};
use crate::root::mirror::Mirror;

impl Ledger {
    /// Whether a comparison of this mirror is to be cut into pieces: one of the whole root, if that holds enough entries,
    /// or if some of it must be left out (`is_holed`). Otherwise first contact is one run, unless that broke off.
    pub fn is_to_be_cut(
        &self,
        id: &MirrorId,
        compare: &Compare,
        entries: u64,
        is_holed: bool,
    ) -> bool {
        let Some(mirror) = self.mirrors.get(id) else { return false };
        let is_whole = compare.path.is_root() && compare.part == Part::All;
        let may = mirror.target == TargetState::Filled || mirror.has_broken_off;
        let is_large = |most| may && entries > most;
        is_whole && mirror.terms.piece_entries.is_some_and(|most| is_holed || is_large(most))
    }

    /// Replaces the comparison that an assignment names, and that has not begun, by pieces. The new pieces cover the
    /// remaining pieces of an earlier comparison of the same cause.
    pub fn cut(&mut self, now: Moment, id: &MirrorId, assignment: AssignmentId, pieces: &[Piece]) {
        let Some(mirror) = self.mirrors.get(id) else { return };
        let Some(assigned) = mirror.assigned(Lane::Slow).filter(|it| it.id == assignment) else {
            return;
        };
        let named = assigned.named.clone();
        let has_broken_off = mirror.has_broken_off;
        let end = AssignmentEnd::again(Blame::Mirror, "it is cut into pieces");
        self.ended(now, id, assignment, &end);
        let Some(mirror) = self.mirrors.get_mut(id) else { return };
        mirror.has_broken_off = has_broken_off;
        let whole: Option<Obligation> =
            named.into_iter().find_map(|named| mirror.backlog.remove(named));
        let Some(mut whole) = whole else { return };
        let is_older = |it: &Obligation| {
            it.cause.is_same(&whole.cause) && it.gates == whole.gates && it.lane == whole.lane
        };
        let older: Vec<ObligationId> =
            mirror.backlog.iter().filter(|(_, it)| is_older(it)).map(|(id, _)| id).collect();
        for older in older.into_iter().filter_map(|older| mirror.backlog.remove(older)) {
            whole.need |= older.need;
            whole.since = whole.since.min(older.since);
            whole.mark = whole.mark.min(older.mark);
        }
        mirror.cut_into = (pieces.len(), pieces.iter().map(|it| it.entries).sum());
        for Piece { directory, part, entries } in pieces {
            let piece = Obligation {
                path: directory.clone(),
                part: part.clone(),
                entries: *entries,
                ..whole.clone()
            };
            self.owe(id, piece);
        }
    }
}

impl Mirror {
    /// Whether the mirror owes a comparison of this depth.
    pub fn owes_comparison(&self, depth: Depth) -> bool {
        let is_it = |it: &Obligation| match &it.cause {
            Cause::Check { depth: own } => *own == depth,
            Cause::Walk => it.need.wants_contents() == (depth == Depth::Contents),
            _ => false,
        };
        self.backlog.iter().any(|(_, it)| is_it(it))
    }

    /// The progress of the comparison that was cut last; none once all of its pieces are done.
    pub fn walk_progress(&self) -> Option<WalkProgress> {
        let (pieces, entries) = self.cut_into;
        let is_piece = |it: &Obligation| it.part != Part::All || it.entries > 0;
        let left = self.backlog.iter().map(|(_, it)| it).filter(|it| is_piece(it));
        let (count, sum) = left.fold((0, 0), |(count, sum), it| (count + 1, sum + it.entries));
        (count > 0).then(|| WalkProgress {
            pieces,
            pieces_done: pieces.saturating_sub(count),
            entries,
            entries_done: entries.saturating_sub(sum),
        })
    }
}
