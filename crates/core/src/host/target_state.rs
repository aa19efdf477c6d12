//! The target state: what is known of a mirror's directory, so that none is made or filled where its disk is not mounted.

/// The target state: what is known of a mirror's directory. More is known the greater it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TargetState {
    /// Nothing: it may have to be made.
    #[default]
    Unknown,
    /// It exists.
    Exists,
    /// It was made equal as a whole, and holds something.
    Filled,
}

impl TargetState {
    /// Work is done, after which it holds everything (`is_whole`) or not, of a Root that holds anything or nothing.
    #[must_use]
    pub fn after(self, is_whole: bool, holds_anything: bool) -> Self {
        match (is_whole, holds_anything) {
            (true, true) => Self::Filled,
            (false, true) => self.max(Self::Exists),
            // It may be as empty as the Root.
            (_, false) => Self::Exists,
        }
    }

    /// One word, for a file; [`Self::parse`] reads it back.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Exists => "exists",
            Self::Filled => "filled",
        }
    }

    /// What [`Self::name`] wrote; what is none of it means nothing is known.
    pub fn parse(text: &str) -> Self {
        let known = [Self::Exists, Self::Filled];
        known.into_iter().find(|directory| directory.name() == text).unwrap_or_default()
    }
}
