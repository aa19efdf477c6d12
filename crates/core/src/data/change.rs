//! What the kernel told us about a path, and the numbering of what was told.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::data::path::RelPath;

bitflags::bitflags! {
    /// What happened to a path, joined when it happens again before it is pushed.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Kinds: u8 {
        /// Its content may differ although size and time are equal: it was written, or came from elsewhere.
        const CONTENT = 1;
        /// Mode, owner, times or extended attributes changed.
        const ATTRS = 2;
        /// It was created under a name that did not exist.
        const CAME = 4;
        /// The name was deleted or moved away.
        const WENT = 8;
        /// A directory came, went or was replaced at this name: everything below it is in doubt.
        const SUBTREE = 16;
        /// Somebody is still writing; it is pushed when closed, quiet, or long open.
        const OPEN = 32;
    }
}

/// One path that may differ now; after a rename, two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which path.
    pub path: RelPath,
    /// In which ways.
    pub kinds: Kinds,
    /// What it was called before, and is not any more.
    pub moved_from: Option<RelPath>,
    /// That the old name went was told before: something else may have it by now.
    pub is_late: bool,
}

impl Change {
    /// A change of `path` in the ways `kinds`.
    pub fn new(path: RelPath, kinds: Kinds) -> Self {
        Self { path, kinds, moved_from: None, is_late: false }
    }

    /// A rename.
    pub fn moved(from: RelPath, path: RelPath, kinds: Kinds) -> Self {
        Self { path, kinds, moved_from: Some(from), is_late: false }
    }
}

/// A rename, as a hint where a mirror may hold what is to be brought to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The old name.
    pub from: RelPath,
    /// The new name.
    pub to: RelPath,
    /// It is a directory, nothing was at the new name before, and nothing at or below either name is known
    /// to have changed otherwise, but for attributes: equal sizes and times tell equal contents.
    pub is_exact: bool,
}

/// A numbered, sealed group of changes of one Root. Zero is before the first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Hash, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The one after it.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one assignment: work that was handed to a host. It carries the number of the daemon's start in front, so no
/// two are ever equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssignmentId(pub u64);

/// A mirror has two lanes, which run beside each other: one for what changed just now, one for what takes long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// The log above the cursor, and obligations that are small.
    Fresh,
    /// Pieces of walks and checks, and large files.
    Slow,
}
