//! One rsync run, as the rules ask for it, and how it ended.

use std::sync::Arc;

use crate::data::attributes::Attributes;
use crate::data::batch::Rename;
use crate::data::path::RelPath;

/// One part of a Push: one rsync run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What to do.
    pub kind: StepKind,
    /// The paths it is about; empty for those about the whole mirror and the two about the Root itself.
    pub paths: Vec<RelPath>,
    /// Directories that this run must neither fill nor empty, whatever is found in them.
    pub held: Vec<RelPath>,
    /// The listed directories stand for themselves and the entries directly in them.
    pub is_shallow: bool,
    /// Directories whose own attributes this run leaves alone, as it does with those above every listed entry. A listed
    /// one stands for what is directly in it. Empty: the directories above the listed entries get their attributes.
    pub opened: Vec<RelPath>,
    /// Attributes that this run leaves as they are on the mirror.
    pub omitted: Attributes,
    /// The deletions that this run may make on the mirror; it may also only count them.
    pub deletions: Deletions,
    /// Deletes before it sends, on a mirror without room.
    pub delete_first: bool,
    /// For [`StepKind::Renamed`].
    pub renamed: Option<Renamed>,
}

impl Step {
    /// A run of this kind over these paths that deletes nothing.
    pub fn new(kind: StepKind, paths: Vec<RelPath>) -> Self {
        Self {
            kind,
            paths,
            held: Vec::new(),
            is_shallow: kind == StepKind::Leftovers,
            opened: Vec::new(),
            omitted: Attributes::empty(),
            deletions: Deletions::None,
            delete_first: false,
            renamed: None,
        }
    }

    /// Whether it takes entries from the mirror that the deletion account must allow. Leftovers of receivers need no
    /// permission.
    pub fn deletes(&self) -> bool {
        let is_real = !matches!(self.deletions, Deletions::None | Deletions::AtMost(0));
        let kinds = [StepKind::Missing, StepKind::MissingByFilter, StepKind::Replace];
        is_real && kinds.contains(&self.kind)
    }
}

/// How what was renamed is taken from its old name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renamed {
    /// What.
    pub rename: Arc<Rename>,
    /// How.
    pub basis: Basis,
    /// Contents are compared, and not size and time.
    pub by_content: bool,
}

/// What a receiver makes of files that it finds under their old names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Another name of the same file: the old one is deleted by the same Push.
    Linked,
    /// A copy.
    Copied,
    /// Blocks of a file with nearly the same name, or the same size and time; what was sent is compared.
    Similar,
}

/// What a run may delete on the mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletions {
    /// Nothing, and nobody counts.
    None,
    /// So many entries; rsync says how many more there are. With 0 it only counts.
    AtMost(u64),
    /// Whatever has to go.
    All,
}

/// The kinds of rsync runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StepKind {
    /// Makes the mirror's own directory, at first contact; fills nothing.
    FirstContact,
    /// Fills a directory with what the mirror has under old names. Its paths are the new ones.
    Renamed,
    /// Sends the listed entries, no matter whether size and time are equal.
    Written,
    /// Sends those of the listed entries whose size, time or attributes differ.
    Touched,
    /// Makes the listed entries equal with all that is below them, by size and time.
    Subtrees,
    /// The same, no matter whether size and time are equal.
    SubtreesWritten,
    /// Deletes the listed entries, which are not in the source.
    Missing,
    /// The same for an end that can't do it so: compares the directories above the listed entries, with
    /// rules that leave everything else in them alone.
    MissingByFilter,
    /// Deletes what receivers that broke off have left directly in the listed directories.
    Leftovers,
    /// Brings the Root's own times and attributes, and nothing that is in it.
    RootItself,
    /// Looks whether anything is in the mirror's directory; brings nothing.
    Look,
    /// Makes the listed directories, or the whole mirror, equal by size and time. Deletes nothing: it counts.
    Walk,
    /// The same, contents compared.
    Check,
    /// The same, everything sent: contents are in doubt, and the other end can't compare them.
    Resend,
    /// Puts the listed entries in the place of directories that are in their way, whose contents it deletes.
    Replace,
    /// Names what is on the mirror in the listed directories, or anywhere, and not in the source. Changes nothing.
    Extras,
    /// Compares the whole mirror, contents included, and changes nothing.
    Verify,
    /// Says what a Walk would do, and does nothing.
    Plan,
}

impl StepKind {
    /// Whether it compares whatever lies in its directories.
    pub fn is_walk(self) -> bool {
        matches!(self, Self::Walk | Self::Check | Self::Resend)
    }

    /// Whether it brings what is below its paths, too.
    pub fn is_recursive(self) -> bool {
        matches!(self, Self::Subtrees | Self::SubtreesWritten | Self::Replace | Self::Extras)
            || self.is_walk()
    }

    /// Whether it brings the listed entries alone.
    pub fn is_list(self) -> bool {
        matches!(self, Self::Written | Self::Touched)
    }

    /// Whether it sends or compares contents whatever size and time say.
    pub fn sends_contents(self) -> bool {
        let is_walk = matches!(self, Self::Check | Self::Resend);
        is_walk || matches!(self, Self::Written | Self::SubtreesWritten | Self::Replace)
    }

    /// Whether it deletes the listed names.
    pub fn deletes_listed(self) -> bool {
        matches!(self, Self::Missing | Self::MissingByFilter)
    }

    /// One word for logs and errors.
    pub fn name(self) -> &'static str {
        match self {
            Self::FirstContact => "first contact",
            Self::Renamed => "renames",
            Self::RootItself => "the root itself",
            Self::Written | Self::Touched => "files",
            Self::Subtrees | Self::SubtreesWritten => "subtrees",
            Self::Missing | Self::MissingByFilter => "deletions",
            Self::Leftovers => "leftovers",
            Self::Look => "a look at the mirror",
            Self::Walk => "walk",
            Self::Check => "check",
            Self::Resend => "walk that sends everything",
            Self::Replace => "replacements of directories",
            Self::Extras => "names that are only on the mirror",
            Self::Verify => "verification",
            Self::Plan => "plan",
        }
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It ended by itself with this code.
    Code(i32),
    /// It was killed by this signal.
    Signal(i32),
    /// It could not be started.
    NotStarted,
}

/// What differs between a Root and a Mirror.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Differences {
    /// How many entries.
    pub total: u64,
    /// Of these, those that the Mirror does not have.
    #[serde(default)]
    pub created: u64,
    /// Of these, those that the Root does not have.
    #[serde(default)]
    pub deleted: u64,
    /// The first of them, as rsync itemizes changes (rsync(1), `--itemize-changes`), names escaped.
    pub first: Vec<String>,
}

/// How one rsync run ended, before anybody has judged it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepEnd {
    /// Exit code or signal.
    pub exit: Exit,
    /// What it said besides what it did, a line each, or why it could not be started; cut at
    /// [`crate::data::limits::STDERR_BYTES_MAX`].
    pub messages: Vec<u8>,
    /// Whether `messages` were cut, so that something is unread.
    pub messages_cut: bool,
    /// Directories that it created on the mirror.
    pub created_directories: Vec<RelPath>,
    /// What a [`StepKind::Verify`] found different, the first of it, and how much in all.
    pub differences: Differences,
    /// Names that a [`StepKind::Extras`] found, at most [`crate::data::limits::EXTRAS_MAX`].
    pub extras: Vec<RelPath>,
    /// Whether there were more.
    pub extras_cut: bool,
    /// Entries that a [`StepKind::Look`] found directly in the mirror's directory.
    pub entries_found: u64,
    /// Entries that the receiver made out of what it had: links, copies, directories.
    pub taken_over: u64,
    /// Bytes that it says it sent.
    pub bytes_sent: u64,
    /// The protocol that both ends spoke; none if they did not.
    pub protocol: Option<u32>,
    /// Absolute names under which it may speak of the source and of the target, without a slash at the
    /// end; empty for a chroot.
    pub prefixes: Vec<Vec<u8>>,
}

impl StepEnd {
    /// Returns the end of a run that did nothing and said nothing.
    pub fn new(exit: Exit) -> Self {
        Self {
            exit,
            messages: Vec::new(),
            messages_cut: false,
            created_directories: Vec::new(),
            differences: Differences::default(),
            extras: Vec::new(),
            extras_cut: false,
            entries_found: 0,
            taken_over: 0,
            bytes_sent: 0,
            protocol: None,
            prefixes: Vec::new(),
        }
    }
}
