//! Walks and checks in pieces: the source is counted once for all mirrors that begin at about the same time.

use super::{Collator, Effect};
use crate::data::batch::Depth;
use crate::data::change::{Epoch, Lane};
use crate::data::ids::MirrorId;
use crate::data::limits::{DIFFERENCES_MAX, PIECES_AGE_MAX};
use crate::data::moment::Moment;
use crate::data::outcome::AssignmentEnd;
use crate::data::path::RelPath;
use crate::data::piece::Piece;
use crate::data::step::Differences;
use crate::root::ledger::{Assignment, Work};

/// The last cut of the source, and the mirrors that wait for the next one.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    last: Option<Cut>,
    waiting: Vec<(MirrorId, Assignment)>,
}

#[derive(Debug)]
struct Cut {
    at: Moment,
    /// The volumes that did not answer.
    apart: Vec<RelPath>,
    pieces: Vec<Piece>,
}

impl Collator {
    /// The volumes that lie in no piece: a run that meets one does not end.
    fn apart(&self) -> &[RelPath] {
        self.absent.as_ref().map_or(&[], |(_, absent)| &absent.unresponsive)
    }

    fn last_cut(&self, now: Moment) -> Option<&[Piece]> {
        let last = self.pieces.last.as_ref();
        let last = last.filter(|it| now < it.at + PIECES_AGE_MAX && it.apart == self.apart());
        last.map(|it| &*it.pieces)
    }

    /// Whether the comparison of an assignment must be cut into pieces first.
    pub(super) fn cuts(&self, now: Moment, id: &MirrorId, assignment: &Assignment) -> bool {
        let Work::Compare(compare) = &assignment.work else { return false };
        self.ledger.is_to_be_cut(id, compare, self.entries(), !self.apart().is_empty())
            && self.last_cut(now).is_none_or(|pieces| pieces.len() > 1)
    }

    /// Cuts the comparison of an assignment that has not begun, and hands out the first piece.
    pub(super) fn cut(&mut self, now: Moment, id: &MirrorId, assignment: Assignment) {
        let Some(pieces) = self.last_cut(now).map(<[Piece]>::to_vec) else {
            if self.pieces.waiting.is_empty() {
                self.effects.push_back(Effect::Measure(self.apart().to_vec()));
            }
            return self.pieces.waiting.push((id.clone(), assignment));
        };
        if matches!(&assignment.work, Work::Compare(it) if it.depth == Depth::Contents) {
            self.drift.remove(id);
        }
        self.ledger.cut(now, id, assignment.id, &pieces);
        self.handle_take(now, id, Lane::Slow);
    }

    /// The source was counted and cut into these pieces. An empty list means that it could not be counted; it is then
    /// compared in one run.
    pub fn handle_measured(&mut self, now: Moment, pieces: Vec<Piece>) {
        self.pieces.last = Some(Cut { at: now, apart: self.apart().to_vec(), pieces });
        for (id, assignment) in std::mem::take(&mut self.pieces.waiting) {
            let lane = self.ledger.mirror(&id).and_then(|it| it.lane_of(assignment.id));
            if lane.is_none() {
                continue;
            }
            if self.cuts(now, &id, &assignment) {
                self.cut(now, &id, assignment);
            } else {
                self.effects.push_back(Effect::Make(id, assignment));
            }
        }
    }

    /// A count that was under way is lost with whoever made it. The mirrors that wait for it are compared in one run.
    pub fn handle_not_measured(&mut self, now: Moment) {
        if !self.pieces.waiting.is_empty() {
            self.handle_measured(now, Vec::new());
        }
    }

    /// A comparison of contents that began at this epoch has ended. The differences are reported after the last piece.
    pub(super) fn note_checked(
        &mut self,
        id: &MirrorId,
        start: Epoch,
        is_whole: bool,
        end: &AssignmentEnd,
    ) {
        // One that was never begun found nothing either.
        let found = end.drift.as_ref().filter(|_| end.outcome.is_settled());
        let found = found.map(|found| self.without_fresh(start, found));
        if is_whole {
            return self.effects.push_back(Effect::Checked(id.clone(), found));
        }
        let Some(found) = found else { return };
        let drift = self.drift.entry(id.clone()).or_default();
        add(drift, found);
        let is_over = self.ledger.mirror(id).is_none_or(|it| !it.owes_comparison(Depth::Contents));
        if is_over {
            let drift = self.drift.remove(id);
            self.effects.push_back(Effect::Checked(id.clone(), drift));
        }
    }
}

fn add(all: &mut Differences, found: Differences) {
    all.total += found.total;
    all.created += found.created;
    all.deleted += found.deleted;
    let room = DIFFERENCES_MAX.saturating_sub(all.first.len());
    all.first.extend(found.first.into_iter().take(room));
}
