//! What waits for a person.

use serde::{Deserialize, Serialize};

use crate::data::ids::MirrorId;
use crate::data::list_id::ListId;

/// Everything that waits for approval, of some roots and mirrors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Awaiting {
    /// Lists of deletions: at most one of each root, and one of each mirror.
    pub lists: Vec<AwaitingList>,
    /// Roots and mirrors that are not what they were, so that nothing is sent from or to them.
    pub halted: Vec<AwaitingPlace>,
    /// Mirrors with deletions that are on no list yet, since the source is being counted.
    pub counting: Vec<MirrorId>,
}

/// A list of deletions. It stays as it was shown first until it is approved, or nothing on it waits any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AwaitingList {
    /// Its number: `root:17` of what the root lost, `root@host:18` of what a mirror holds beyond it.
    pub id: ListId,
    /// Files, directories and other entries that would be deleted.
    pub entries: u64,
    /// Topmost names that they lie under.
    pub names: u64,
    /// The names, in order, as many of them as were asked for.
    pub first: Vec<AwaitingName>,
    /// Entries that began to wait after the list was shown first. Its approval does not cover them.
    pub later_entries: u64,
    /// Topmost names that these lie under.
    pub later_names: u64,
}

/// One line of a list of deletions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AwaitingName {
    /// Relative to the root, escaped. With more than one name, the directory that they lie in.
    pub path: String,
    /// Entries that would be deleted, the name itself included.
    pub entries: u64,
    /// How many names this is: more than one where there are too many to list.
    pub names: u64,
}

/// A halted root or mirror.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AwaitingPlace {
    /// `root` or `root@host`.
    pub id: String,
    /// Why.
    pub why: String,
}

/// The result of an approval.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Approved {
    /// Lists of deletions.
    pub lists: Vec<ApprovedList>,
    /// Roots and mirrors that are taken as they are, each `root` or `root@host`.
    pub halted: Vec<String>,
}

/// A list of deletions that was approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ApprovedList {
    /// Its number.
    pub id: ListId,
    /// Entries that are deleted.
    pub entries: u64,
    /// Topmost names that they lie under.
    pub names: u64,
}
