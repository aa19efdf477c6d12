//! What the daemon says about itself: the only thing that a user interface knows.

use serde::{Deserialize, Serialize};

use crate::data::change::Epoch;
use crate::data::ids::{HostId, MirrorId, RootId};

/// Everything, at one revision.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Status {
    /// Grows with each change of anything below but times.
    pub revision: u64,
    /// The daemon's version.
    pub version: String,
    /// Actors that died and were started anew since the daemon's start.
    pub actor_restarts: u64,
    /// What it was told to do.
    pub config: ConfigStatus,
    /// Hosts, by name.
    pub hosts: Vec<HostStatus>,
    /// Roots, by name.
    pub roots: Vec<RootStatus>,
    /// Mirrors, by name.
    pub mirrors: Vec<MirrorStatus>,
}

/// The configuration that counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ConfigStatus {
    /// When it was read, RFC 3339.
    pub loaded_at: String,
    /// Why a newer one was refused, until one is not.
    pub refused: Option<String>,
}

/// What is known of a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HostStatus {
    /// Its name.
    pub id: HostId,
    /// Which program answers there, as far as the protocol tells; none before it was reached.
    pub rsync: Option<String>,
    /// The version of the protocol that both ends speak.
    pub protocol: Option<u32>,
    /// What its rsync can't do, or its daemon refuses, so that it is done another way:
    /// `delete-missing-args`, `compress`, `nanoseconds`.
    pub lacks: Vec<String>,
}

/// One watched tree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RootStatus {
    /// Its name.
    pub id: RootId,
    /// Where it is, escaped.
    pub source: String,
    /// Where it stands.
    pub state: RootState,
    /// Why it is not `watching`.
    pub reason: Option<String>,
    /// The newest sealed Epoch.
    pub head: Epoch,
    /// Changed paths that are not sealed yet.
    pub open_paths: u64,
    /// Files held back because somebody writes them.
    pub held_files: u64,
    /// Watched directories.
    pub directories: u64,
    /// When all its mirrors are walked next, as set by `walk_at`, RFC 3339.
    pub next_walk: Option<String>,
}

/// Where a Root stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum RootState {
    /// The tree is being watched for the first time, or again.
    Opening,
    /// Every directory is watched.
    Watching,
    /// Some directories raise no events and are looked through now and then, see the reason.
    Degraded,
    /// Not safe to mirror from, see the reason.
    Halted,
}

/// One mirror.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MirrorStatus {
    /// `root@host`.
    pub id: MirrorId,
    /// Its Root.
    pub root: RootId,
    /// Its Host.
    pub host: HostId,
    /// Where it is, as rsync writes targets.
    pub target: String,
    /// Where it stands.
    pub state: MirrorState,
    /// Paths that are not there yet, as far as known.
    pub pending_paths: u64,
    /// Age of the oldest change that is not there yet; 0 when in sync.
    pub lag_seconds: f64,
    /// The newest Epoch that it fully holds; 0 while it owes a Walk.
    pub epoch: Epoch,
    /// The Root's newest Epoch.
    pub head: Epoch,
    /// Everything is to be compared: it was never reached, or something is in doubt.
    pub owes_walk: bool,
    /// Paths that fail, the first of them.
    pub stuck: Vec<StuckPath>,
    /// How many paths fail.
    pub stuck_total: u64,
    /// Paths that are pushed once more whatever a comparison says: written to before a walk, or perhaps one file
    /// under two names. And large files that have a push of their own.
    pub repeated_paths: u64,
    /// Deletions that are held until a person approves, as far as they were counted.
    pub held_deletions: u64,
    /// The last check of its contents since the daemon's start, see `verify_every`.
    pub last_check: Option<CheckStatus>,
    /// What failed last, until something succeeds.
    pub last_error: Option<String>,
    /// When everything, or some of it, is pushed once more, since what was on its way when a push broke off, or the
    /// daemon, may still land: it is not called in sync before.
    pub repeats_in_seconds: Option<f64>,
    /// Until when nothing is begun there, RFC 3339; none: now is no quiet time of it.
    pub quiet_until: Option<String>,
    /// Why the last command after a push failed, until none does.
    pub hook_error: Option<String>,
    /// When it is tried again.
    pub retry_in_seconds: Option<f64>,
    /// When a push last succeeded, RFC 3339.
    pub last_success: Option<String>,
    /// Part of a running Walk, or of its piece that is running, that is done, 0 to 1.
    pub progress: Option<f32>,
    /// The progress of a walk or check that is made in pieces; otherwise none.
    pub walk: Option<WalkProgress>,
    /// Pushes done.
    pub pushes: u64,
    /// Walks done; of one that is made in pieces each piece.
    pub walks: u64,
    /// Tries that failed.
    pub failures: u64,
    /// Bytes that rsync says it sent.
    pub bytes_sent: u64,
    /// How often the actor of its host died and was started anew.
    pub restarts: u64,
}

impl MirrorStatus {
    /// Part of a running Walk that is done, 0 to 1.
    pub fn compared(&self) -> Option<f32> {
        let part = |walk: WalkProgress| walk.entries_done as f32 / walk.entries.max(1) as f32;
        self.walk.map(part).or(self.progress)
    }
}

/// The progress of a comparison that is made in pieces. After an interruption it continues with the same piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct WalkProgress {
    /// Pieces in all.
    pub pieces: usize,
    /// Of these, those that are done.
    pub pieces_done: usize,
    /// Entries in all, as they were counted when it began.
    pub entries: u64,
    /// Of these, those in pieces that are done.
    pub entries_done: u64,
}

/// Everything about one mirror.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MirrorDetails {
    /// As the status has it.
    pub mirror: MirrorStatus,
    /// Paths that fail, the first 1,000 of them.
    pub stuck: Vec<StuckPath>,
    /// What was run lately, the newest first.
    pub recent: Vec<RecentRun>,
}

/// A push or a walk that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RecentRun {
    /// When it ended, RFC 3339.
    pub at: String,
    /// `push` or `walk`.
    pub kind: String,
    /// `done`, `partly`, `mirror-failed`, `host-failed`, or `withdrawn` (its deletions began to wait).
    pub end: String,
    /// How long it took.
    pub seconds: f64,
    /// Paths that it was about; 0 for a walk.
    pub paths: u64,
    /// Bytes that rsync says it sent.
    pub bytes_sent: u64,
    /// What went wrong.
    pub why: Option<String>,
}

/// What a check of a mirror's contents found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct CheckStatus {
    /// When it ended, RFC 3339.
    pub at: String,
    /// Entries that somebody else had changed; they were repaired.
    pub drift_total: u64,
    /// The first of them, as rsync itemizes changes, names escaped.
    pub drift: Vec<String>,
}

/// A path that fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct StuckPath {
    /// Relative to the Root, escaped.
    pub path: String,
    /// What rsync said.
    pub reason: String,
}

/// Where a mirror stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum MirrorState {
    /// Never reached yet.
    Waiting,
    /// The whole tree is being compared.
    Walking,
    /// Changes are on their way, or about to be.
    Pushing,
    /// Everything that is known to have changed is there, and nothing is stuck.
    InSync,
    /// Something failed; it is tried again.
    Retrying,
    /// A person wants nothing sent there for now.
    Paused,
    /// It lacks something, which waits for the end of its quiet time.
    Quiet,
    /// Stopped for safety.
    Halted,
}

impl RootState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Opening, Self::Watching, Self::Degraded, Self::Halted];

    /// As `status` writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Watching => "watching",
            Self::Degraded => "degraded",
            Self::Halted => "halted",
        }
    }
}

impl MirrorState {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Waiting,
        Self::Walking,
        Self::Pushing,
        Self::InSync,
        Self::Retrying,
        Self::Paused,
        Self::Quiet,
        Self::Halted,
    ];

    /// As `status` writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Walking => "walking",
            Self::Pushing => "pushing",
            Self::InSync => "in-sync",
            Self::Retrying => "retrying",
            Self::Paused => "paused",
            Self::Quiet => "quiet",
            Self::Halted => "halted",
        }
    }
}
