//! How a Push ended.

use crate::types::change::Kinds;
use crate::types::rel_path::RelPath;
use crate::types::step::Differences;

/// Whose fault a failure is: it decides who waits before the next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// This mirror's, such as a full disk: its other mirrors go on.
    Mirror,
    /// The host's, such as a refused connection: all its mirrors wait.
    Host,
}

/// A path that could not be brought to the mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Which.
    pub path: RelPath,
    /// How to try it again.
    pub kinds: Kinds,
    /// What rsync said about it.
    pub reason: String,
}

/// How a Push, or one Step of it, ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it is on the mirror.
    Done,
    /// All but these paths is on the mirror.
    Partly(Vec<Failed>),
    /// These paths failed, and for their sake nothing was deleted: the whole work is still owed.
    DeletionsSkipped(Vec<Failed>),
    /// Something failed and nobody can say which path: still owed, to be tried in smaller pieces.
    Unattributed(String),
    /// The mirror is not where it was, or not what it was: nothing is sent there before it is.
    Halt(String),
    /// There was no room on the mirror: what is to be deleted goes first on the next try.
    Full(String),
    /// The other end can't do what was asked of it: the next try goes another way.
    Incapable(Capability, String),
    /// Nothing counts; try again.
    Again {
        /// Who waits.
        blame: Blame,
        /// What happened, for people.
        why: String,
        /// It broke off in the middle: what was on its way may still land, over something newer.
        cut_off: bool,
    },
}

/// What another end may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// `--delete-missing-args`: refused by rsync 3.4.3 and by versions of distributions that carry its
    /// repairs, and by daemons that refuse it.
    DeleteMissing,
}

/// Deletions that were not made, because they are more than the Root's budget.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// How many entries rsync would have deleted, as far as it counts: directories that it found
    /// non-empty are not in it.
    pub count: u64,
    /// Where, and how to try it again.
    pub paths: Vec<(RelPath, Kinds)>,
    /// The Root was empty: when it no longer is, everything is compared again.
    pub from_empty_root: bool,
}

/// How much a Push may delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// So many entries; more, and all of them are held.
    AtMost(u64),
    /// None, because others are held already.
    Held,
    /// Any number: a person said so.
    Approved,
}

/// A Push's result, as the collator and the host are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushEnd {
    /// How it ended.
    pub outcome: Outcome,
    /// Directories that were created on the mirror although nobody knew them missing there.
    pub surprises: Vec<RelPath>,
    /// Whether the Root held anything when the work was made.
    pub holds_anything: bool,
    /// Deletions that wait for a person.
    pub held: Held,
    /// What a check found different although nothing was known to be; none if this was no check.
    pub drift: Option<Differences>,
    /// Things that are done, with a remark, such as a directory kept for its excluded files.
    pub notes: Vec<String>,
    /// Bytes sent.
    pub bytes_sent: u64,
}

impl PushEnd {
    /// The end of a push that never got anywhere.
    pub fn again(blame: Blame, why: impl Into<String>) -> Self {
        Self::new(Outcome::Again { blame, why: why.into(), cut_off: false })
    }

    /// An end that nothing else is known of.
    pub fn new(outcome: Outcome) -> Self {
        Self {
            outcome,
            surprises: Vec::new(),
            holds_anything: false,
            held: Held::default(),
            drift: None,
            notes: Vec::new(),
            bytes_sent: 0,
        }
    }
}
