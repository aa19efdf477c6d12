//! The requirement of an obligation: which properties of a path a mirror still has to be given.

use crate::data::change::Kinds;

bitflags::bitflags! {
    /// A set of properties that a mirror has to have at one path. Merging is union, discharge is [`Need::less`].
    ///
    /// `ANEW` implies `CONTENTS` implies `EQUAL` implies `ATTRIBUTES`; `GONE` and `LEFTOVERS` stand beside.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
    pub struct Need: u8 {
        /// Mode, owner and times as in the source.
        const ATTRIBUTES = 1;
        /// Besides, the same type and size: what rsync's quick check compares.
        const EQUAL = 1 << 1 | Self::ATTRIBUTES.bits();
        /// Besides, the same contents, compared or sent.
        const CONTENTS = 1 << 2 | Self::EQUAL.bits();
        /// Besides, sent into a new file, so that no other name shares it.
        const ANEW = 1 << 3 | Self::CONTENTS.bits();
        /// Nothing that is not in the source: the name itself or, with `WITHIN`, anything below it.
        const GONE = 1 << 4;
        /// No temporary files that a receiver left directly in this directory.
        const LEFTOVERS = 1 << 5;
        /// All this for what is below the path, too.
        const WITHIN = 1 << 6;
    }
}

/// The properties that imply one another, the least first.
const LEVELS: [Need; 4] = [Need::ATTRIBUTES, Need::EQUAL, Need::CONTENTS, Need::ANEW];

impl Need {
    /// A whole tree: equal by size and time, and nothing else in it.
    pub const TREE: Self = Self::WITHIN.union(Self::EQUAL).union(Self::GONE);

    /// What a change of these kinds requires.
    pub fn of(kinds: Kinds) -> Self {
        let pairs = [
            (Kinds::ATTRS, Self::ATTRIBUTES),
            (Kinds::CONTENT, Self::CONTENTS),
            (Kinds::CAME, Self::EQUAL),
            (Kinds::WENT, Self::EQUAL | Self::GONE),
            (Kinds::SUBTREE, Self::TREE),
        ];
        pairs.into_iter().filter(|(kind, _)| kinds.contains(*kind)).map(|(_, need)| need).collect()
    }

    /// The part about equality, without the deletions.
    pub fn level(self) -> Self {
        LEVELS.into_iter().rev().find(|level| self.contains(*level)).unwrap_or_default()
    }

    /// Whether contents are required whatever size and time say.
    pub fn wants_contents(self) -> bool {
        self.contains(Self::CONTENTS)
    }

    /// Whether it is about what is below the path, too.
    pub fn is_within(self) -> bool {
        self.contains(Self::WITHIN)
    }

    /// The requirement that remains once `proved` holds. An empty result means that nothing remains.
    ///
    /// A proof for the path alone is no proof for the entries below it.
    #[must_use]
    pub fn less(self, proved: Self) -> Self {
        let leftovers = (self - proved) & Self::LEFTOVERS;
        if self.is_within() && !proved.is_within() {
            let rest = self - Self::LEFTOVERS;
            return if rest == Self::WITHIN { leftovers } else { rest | leftovers };
        }
        let (wanted, level) = (self.level(), proved.level());
        let level = if level.contains(wanted) { Self::empty() } else { wanted };
        let gone = (self - proved) & Self::GONE;
        let rest = level | gone;
        let within = if rest.is_empty() { Self::empty() } else { self & Self::WITHIN };
        rest | within | leftovers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stronger_proof_discharges_a_weaker_requirement_and_never_the_reverse() {
        for (index, wanted) in LEVELS.into_iter().enumerate() {
            for (proved_index, proved) in LEVELS.into_iter().enumerate() {
                let rest = wanted.less(proved);
                assert_eq!(rest.is_empty(), proved_index >= index, "{wanted:?} less {proved:?}");
                assert!(rest.is_empty() || rest == wanted);
            }
        }
    }

    #[test]
    fn contents_discharge_no_deletions_and_deletions_no_contents() {
        let both = Need::CONTENTS | Need::GONE | Need::WITHIN;
        assert_eq!(both.less(Need::ANEW | Need::WITHIN), Need::GONE | Need::WITHIN);
        assert_eq!(both.less(Need::GONE | Need::WITHIN), Need::CONTENTS | Need::WITHIN);
        assert_eq!(both.less(both), Need::empty());
    }

    #[test]
    fn compared_contents_are_not_sent_contents() {
        assert_eq!(Need::ANEW.less(Need::CONTENTS), Need::ANEW);
    }

    #[test]
    fn a_proof_about_a_directory_says_nothing_of_what_is_in_it() {
        assert_eq!(Need::TREE.less(Need::ANEW | Need::GONE), Need::TREE);
        assert_eq!(Need::EQUAL.less(Need::TREE), Need::empty());
    }

    #[test]
    fn leftovers_are_discharged_by_themselves_alone() {
        let both = Need::LEFTOVERS | Need::CONTENTS;
        assert_eq!(both.less(Need::ANEW), Need::LEFTOVERS);
        assert_eq!(both.less(Need::LEFTOVERS), Need::CONTENTS);
    }
}
