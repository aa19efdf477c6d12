//! Renames that were seen, and what they mean for a Mirror at some Cursor.

use std::collections::VecDeque;

use crate::data::change::{Epoch, Move};
use crate::data::limits::MOVES_MAX;
use crate::data::path::RelPath;
use crate::root::epoch::doubt;

/// The renames of one Root, in order, as long as some Mirror may not have seen them. They are hints: of what
/// is not remembered, the data is sent.
#[derive(Clone, Debug, Default)]
pub struct Renames {
    seen: VecDeque<(Epoch, Move)>,
}

impl Renames {
    /// These belong to an Epoch that was just sealed.
    pub fn note(&mut self, epoch: Epoch, moves: impl IntoIterator<Item = Move>) {
        self.seen.extend(moves.into_iter().map(|it| (epoch, it)));
        // The oldest are of use to the Mirror that lags most, and to nobody else.
        self.seen.drain(..self.seen.len().saturating_sub(MOVES_MAX));
    }

    /// More than attributes changed here.
    pub fn doubt(&mut self, path: &RelPath) {
        doubt(self.seen.iter_mut().map(|(_, it)| it), path);
    }

    /// It is not known any more what changed in this directory.
    pub fn doubt_below(&mut self, directory: &RelPath) {
        for (_, it) in &mut self.seen {
            let is_inside = |name: &RelPath| name.is_at_or_below(directory);
            it.is_exact &= !is_inside(&it.from) && !is_inside(&it.to);
        }
    }

    /// Every Mirror has passed this Epoch.
    pub fn trim(&mut self, floor: Epoch) {
        while self.seen.front().is_some_and(|(epoch, _)| *epoch <= floor) {
            self.seen.pop_front();
        }
    }

    /// Whether there are none above this Cursor.
    pub fn is_empty_above(&self, cursor: Epoch) -> bool {
        self.seen.back().is_none_or(|(epoch, _)| *epoch <= cursor)
    }

    /// What a Mirror at this Cursor has under other names: each new name once, with the name that it had
    /// when the Cursor stood at the head.
    pub fn above(&self, cursor: Epoch) -> Vec<Move> {
        let mut composed: Vec<Move> = Vec::new();
        for (_, it) in self.seen.iter().filter(|(epoch, _)| *epoch > cursor) {
            compose(&mut composed, it);
        }
        composed.retain(|it| it.from != it.to);
        composed
    }
}

fn compose(composed: &mut Vec<Move>, next: &Move) {
    let is_inside = |path: &RelPath, directory: &RelPath| path.is_at_or_below(directory);
    // What was there is replaced.
    composed.retain(|known| !is_inside(&known.to, &next.to));
    let origin = match composed.iter().find(|known| known.to == next.from) {
        Some(_) => None,
        None => origin_of(composed, next),
    };
    for known in composed.iter_mut() {
        if let Some(to) = known.to.rebased(&next.from, &next.to) {
            known.to = to;
            known.is_exact &= next.is_exact;
        }
    }
    composed.extend(origin);
}

/// What the Mirror calls that which is renamed now; none if it can't have it.
fn origin_of(composed: &[Move], next: &Move) -> Option<Move> {
    let above = next.from.ancestors().find_map(|above| composed.iter().find(|it| it.to == above));
    if let Some(above) = above {
        let from = next.from.rebased(&above.to, &above.from)?;
        return Some(Move { from, to: next.to.clone(), is_exact: next.is_exact && above.is_exact });
    }
    // Something else had that name, and was renamed itself.
    let is_new = |it: &Move| next.from == it.from || next.from.is_below(&it.from);
    (!composed.iter().any(is_new)).then(|| next.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renames(moves: &[(u64, &str, &str)]) -> Renames {
        let mut renames = Renames::default();
        for (epoch, from, to) in moves {
            let (from, to) = ((*from).into(), (*to).into());
            renames.note(Epoch(*epoch), [Move { from, to, is_exact: true }]);
        }
        renames
    }

    fn seen_from(cursor: u64, moves: &[(u64, &str, &str)]) -> String {
        let lines = renames(moves).above(Epoch(cursor));
        let lines: Vec<String> = lines.iter().map(|it| format!("{}>{}", it.from, it.to)).collect();
        lines.join(" ")
    }

    #[test]
    fn hard_case_10_renames_are_composed_for_each_cursor() {
        let chain = [(1, "a", "b"), (2, "b", "c")];
        assert_eq!(seen_from(0, &chain), "a>c");
        assert_eq!(seen_from(1, &chain), "b>c");
        assert_eq!(seen_from(2, &chain), "");
        assert_eq!(seen_from(0, &[(1, "a", "b"), (2, "b", "a")]), "");
    }

    #[test]
    fn hard_case_10_a_swap_is_two_renames() {
        assert_eq!(seen_from(0, &[(1, "a", "t"), (1, "b", "a"), (1, "t", "b")]), "a>b b>a");
    }

    #[test]
    fn what_moves_inside_or_with_a_directory_is_found_under_its_old_name() {
        assert_eq!(seen_from(0, &[(1, "p", "q"), (2, "q/a", "q/b")]), "p>q p/a>q/b");
        assert_eq!(seen_from(0, &[(1, "p/a", "p/b"), (2, "p", "q")]), "p/a>q/b p>q");
        assert_eq!(seen_from(1, &[(1, "p/a", "p/b"), (2, "p", "q")]), "p>q");
    }

    #[test]
    fn a_name_that_was_left_and_taken_again_is_not_what_the_mirror_has() {
        assert_eq!(seen_from(0, &[(1, "a", "b"), (2, "a", "c")]), "a>b");
        assert_eq!(seen_from(0, &[(1, "a", "b"), (2, "x", "b")]), "x>b", "and replaced");
    }

    #[test]
    fn one_that_is_in_doubt_is_not_exact_any_more() {
        let mut renames = renames(&[(1, "a", "b"), (1, "c", "d")]);
        renames.doubt(&"b/x".into());
        renames.doubt(&"e".into());
        let exact = |renames: &Renames| {
            renames.above(Epoch(0)).iter().map(|it| it.is_exact).collect::<Vec<_>>()
        };
        assert_eq!(exact(&renames), [false, true]);
        renames.doubt_below(&RelPath::root());
        assert_eq!(exact(&renames), [false, false]);
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let mut renames = Renames::default();
        let it = Move { from: "a".into(), to: "b".into(), is_exact: false };
        renames.note(Epoch(1), std::iter::repeat_n(it, 2 * MOVES_MAX));
        assert_eq!(renames.seen.len(), MOVES_MAX);
        renames.trim(Epoch(1));
        assert!(renames.is_empty_above(Epoch(0)));
    }
}
