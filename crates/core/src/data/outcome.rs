//! How a Push ended.

use std::collections::BTreeSet;

use crate::data::need::Need;
use crate::data::path::RelPath;
use crate::data::runs::RunEnd;
use crate::data::step::Differences;

/// Whose fault a failure is: it decides who waits before the next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// This mirror's, such as a full disk: its other mirrors go on.
    Mirror,
    /// The host's, such as a refused connection: all its mirrors wait.
    Host,
}

/// The part of a requirement that a run left unproved at one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unproved {
    /// Which.
    pub path: RelPath,
    /// The requirement that remains.
    pub need: Need,
    /// What rsync said about it.
    pub reason: String,
}

impl Unproved {
    /// Some of them, for people: the first, and how many.
    pub fn describe(unproved: &[Self]) -> String {
        match unproved {
            [] => "something could not be read".into(),
            [one] => format!("{}: {}", one.path, one.reason),
            [first, rest @ ..] => {
                let count = rest.len() + 1;
                format!("{count} paths fail, the first is {}: {}", first.path, first.reason)
            }
        }
    }
}

/// How a Push, or one Step of it, ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it is on the mirror.
    Done,
    /// All but this is on the mirror.
    Partly(Vec<Unproved>),
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
    /// Its deletions began to wait for a person while it ran, so it was ended: nothing counts. The rest is tried at once.
    Withdrawn {
        /// It was broken off in a run that deletes, as [`Self::Again`] says.
        cut_off: bool,
    },
}

/// Why a run was ended whose deletions began to wait.
const WITHDRAWN: &str = "deletions of this run began to wait for approval, so it was ended";

impl Outcome {
    /// What went wrong, for people; none if nothing did.
    pub fn why(&self) -> Option<String> {
        match self {
            Self::Done => None,
            Self::Partly(unproved) => Some(Unproved::describe(unproved)),
            Self::Unattributed(why)
            | Self::Halt(why)
            | Self::Full(why)
            | Self::Incapable(_, why)
            | Self::Again { why, .. } => Some(why.clone()),
            Self::Withdrawn { .. } => Some(WITHDRAWN.into()),
        }
    }

    /// Whether its end says path by path what was proved.
    pub fn is_settled(&self) -> bool {
        matches!(self, Self::Done | Self::Partly(_))
    }

    /// Whether it broke off in the middle, so that what was on its way may still land.
    pub fn is_cut_off(&self) -> bool {
        matches!(self, Self::Again { cut_off: true, .. } | Self::Withdrawn { cut_off: true })
    }

    /// The unproved paths; empty for an outcome that does not name them.
    pub fn unproved(&self) -> &[Unproved] {
        if let Self::Partly(unproved) = self { unproved } else { &[] }
    }

    /// As it is counted.
    pub fn run_end(&self) -> RunEnd {
        match self {
            Self::Done => RunEnd::Done,
            Self::Partly(_) => RunEnd::Partly,
            Self::Withdrawn { .. } => RunEnd::Withdrawn,
            Self::Again { blame: Blame::Host, .. } => RunEnd::HostFailed,
            Self::Again { blame: Blame::Mirror, .. }
            | Self::Unattributed(_)
            | Self::Halt(_)
            | Self::Full(_)
            | Self::Incapable(..) => RunEnd::MirrorFailed,
        }
    }
}

/// What another end may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// `--delete-missing-args`: refused by rsync 3.4.3 and by versions of distributions that carry its
    /// repairs, and by daemons that refuse it.
    DeleteMissing,
    /// `--compress`, which a daemon may refuse.
    Compress,
    /// `--checksum`, which a daemon may refuse: checks compare by size and time then.
    Checksum,
    /// `--link-dest` and its like, which a daemon or a restricted shell may refuse: renames are sent.
    Renames,
    /// Times to the nanosecond: protocols before 31, so rsync before 3.1 and openrsync, have whole seconds.
    Nanoseconds,
}

impl Capability {
    /// One word, for status and files; [`Self::parse`] reads it back.
    pub fn name(self) -> &'static str {
        match self {
            Self::DeleteMissing => "delete-missing-args",
            Self::Compress => "compress",
            Self::Checksum => "checksum",
            Self::Renames => "renames",
            Self::Nanoseconds => "nanoseconds",
        }
    }

    /// What [`Self::name`] wrote.
    pub fn parse(name: &str) -> Option<Self> {
        let all =
            [Self::DeleteMissing, Self::Compress, Self::Checksum, Self::Renames, Self::Nanoseconds];
        all.into_iter().find(|capability| capability.name() == name)
    }
}

/// What is known of a host's rsync.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteEnd {
    /// The version of the protocol that both ends speak; none before they have spoken.
    pub protocol: Option<u32>,
    /// What it was found not to be able to do.
    pub lacks: BTreeSet<Capability>,
}

/// The first protocol with times to the nanosecond.
const NANOSECONDS_SINCE: u32 = 31;

impl RemoteEnd {
    /// Both ends have agreed on a protocol. Returns whether it is news: another rsync may be able to do
    /// what the old one was not.
    pub fn meet(&mut self, protocol: u32) -> bool {
        if self.protocol == Some(protocol) {
            return false;
        }
        self.lacks.clear();
        self.protocol = Some(protocol);
        if protocol < NANOSECONDS_SINCE {
            self.lacks.insert(Capability::Nanoseconds);
        }
        true
    }

    /// Which program that is, as far as the protocol tells.
    pub fn program(&self) -> Option<&'static str> {
        Some(match self.protocol? {
            32.. => "rsync 3.4 or newer",
            31 => "rsync 3.1 to 3.3",
            30 => "rsync 3.0",
            _ => "openrsync, or an rsync older than 3.0",
        })
    }

    /// What to say of it to whoever runs it; nothing, if it is good.
    pub fn warning(&self) -> Option<&'static str> {
        match self.protocol? {
            32.. => None,
            31 => Some(
                "it is older than 3.4, which closed serious security holes; unless the distribution has \
                 repaired it, install a newer one",
            ),
            _ => Some(
                "it keeps times in whole seconds, so a file that changes twice in a second without a word here \
                 may be taken for equal; install a newer rsync",
            ),
        }
    }
}

/// A name on a mirror that the source does not hold, or not as a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extra {
    /// Which.
    pub path: RelPath,
    /// How many entries lie at and below it, as far as they were named.
    pub entries: u64,
}

/// How an assignment ended, as the root and the host are told.
#[expect(clippy::struct_excessive_bools, reason = "facts that don't depend on each other")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignmentEnd {
    /// How it ended.
    pub outcome: Outcome,
    /// Directories that were created on the mirror although nobody knew them missing there.
    pub surprises: Vec<RelPath>,
    /// Whether the root held anything when the work was made.
    pub holds_anything: bool,
    /// Names on the mirror that the source does not hold.
    pub extras: Vec<Extra>,
    /// Directories on the mirror in whose place something else must be, with what they hold.
    pub obstacles: Vec<Extra>,
    /// Whether there are more of them.
    pub extras_cut: bool,
    /// One of its runs broke off, and others have proved what is claimed: what was on its way may still land.
    pub broke_off: bool,
    /// Whether a run was begun that links new names to old ones.
    pub has_linked: bool,
    /// What a check found different although nothing was known to be; none if this was no check.
    pub drift: Option<Differences>,
    /// Remarks on what was done, such as a directory that is kept for its excluded files.
    pub notes: Vec<String>,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// The protocol that both ends spoke; none if they did not.
    pub protocol: Option<u32>,
}

impl AssignmentEnd {
    /// The end of work that never got anywhere.
    pub fn again(blame: Blame, why: impl Into<String>) -> Self {
        Self::new(Outcome::Again { blame, why: why.into(), cut_off: false })
    }

    /// An end of which nothing else is known.
    pub fn new(outcome: Outcome) -> Self {
        Self {
            outcome,
            surprises: Vec::new(),
            holds_anything: false,
            extras: Vec::new(),
            obstacles: Vec::new(),
            extras_cut: false,
            broke_off: false,
            has_linked: false,
            drift: None,
            notes: Vec::new(),
            bytes_sent: 0,
            protocol: None,
        }
    }
}
