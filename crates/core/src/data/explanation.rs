//! Why one path is, or is not, on the mirrors.

use serde::{Deserialize, Serialize};

use crate::data::change::Epoch;
use crate::data::ids::{MirrorId, RootId};

/// The answer to `explain`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Explanation {
    /// The Root that it lies in.
    pub root: RootId,
    /// Relative to the Root, escaped.
    pub path: String,
    /// What is there: `file`, `directory`, or nothing.
    pub found: Option<String>,
    /// Whether the rules keep it out.
    pub excluded: bool,
    /// The rule that decides; none if no rule speaks of it.
    pub rule: Option<DecidingRule>,
    /// What is known of its last change.
    pub change: LastChange,
    /// Each mirror of the Root.
    pub mirrors: Vec<MirrorExplanation>,
}

/// The first rule that matches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct DecidingRule {
    /// As rsync writes it, escaped.
    pub rule: String,
    /// What it matches: the path, or a directory above it; relative to the Root, escaped.
    pub matches: String,
}

/// What is known of a path's last change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum LastChange {
    /// Somebody writes to it; it is pushed when it is closed, or quiet for long enough.
    BeingWritten,
    /// It changed just now, and is about to be sealed into an Epoch.
    Open,
    /// It, or a directory around it, changed in this Epoch, and not all mirrors have that.
    Epoch {
        /// Which.
        epoch: Epoch,
        /// When the first change of this Epoch came.
        seconds_ago: f64,
    },
    /// Not since all mirrors have it, as far as is known.
    Settled,
}

/// How a path stands on one mirror.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MirrorExplanation {
    /// Which mirror.
    pub id: MirrorId,
    /// How it stands there.
    pub whereabouts: Whereabouts,
    /// What the mirror is doing, and why not more.
    pub note: Option<String>,
}

/// How a path stands on one mirror.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Whereabouts {
    /// The mirror has it as it is.
    There,
    /// It is being sent.
    UnderWay,
    /// It is about to be sent.
    Pending,
    /// It is sent once more, since something older may have gone over it.
    Repeated,
    /// It fails, for this reason, and is tried again.
    Stuck(String),
    /// Its deletion waits for a person.
    Held,
    /// The whole mirror is to be compared, or is being compared.
    Walk,
}

impl Whereabouts {
    /// For people.
    pub fn describe(&self, is_found: bool) -> String {
        match self {
            Self::There if is_found => "has it, as far as is known; `verify` looks".into(),
            Self::There => "does not have it either, as far as is known".into(),
            Self::UnderWay => "is being sent it".into(),
            Self::Pending => "is about to be sent it".into(),
            Self::Repeated => "is sent it once more".into(),
            Self::Stuck(why) => format!("fails: {why}"),
            Self::Held => "its deletion waits for a person: mirrorball approve --list".into(),
            Self::Walk => "is to be compared whole".into(),
        }
    }
}
