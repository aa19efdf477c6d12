//! The configuration as meant: nothing left out, every path absolute, every number with its unit.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::data::ids::{HostId, MirrorId, RootId};
use crate::data::path::RelPath;
use crate::data::rsync_options::RsyncOptions;
use crate::data::timetable::{Bandwidth, SetTimes, Window};

/// Everything the daemon is to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Where the daemon keeps what is its own: lock, flush cookies, ssh sockets, filter files.
    pub state_dir: PathBuf,
    /// How it can be talked to.
    pub control: ControlPlan,
    /// What it writes to its log.
    pub log: LogPlan,
    /// rsync runs at once, over all hosts; runs that stall don't count.
    pub pushes_max: usize,
    /// Walks at once, over all hosts; walks that stall don't count.
    pub walks_max: usize,
    /// Bytes a second that a check reads here.
    pub verify_rate: u64,
    /// Hosts by name.
    pub hosts: BTreeMap<HostId, HostPlan>,
    /// Roots by name.
    pub roots: BTreeMap<RootId, RootPlan>,
}

/// How the daemon can be talked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlPlan {
    /// The unix socket; none for a foreground mirror that nobody asked to have one.
    pub socket: Option<PathBuf>,
    /// The group, by number, that may use it too; none: only the daemon's own user and root.
    pub group: Option<u32>,
    /// TCP address for reading only.
    pub listen: Option<SocketAddr>,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPlan {
    /// The least severe level that is written.
    pub level: LogLevel,
    /// For people or for machines.
    pub format: LogFormat,
    /// Appended to; none: standard error.
    pub file: Option<PathBuf>,
}

/// Severity, as in slog.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, serde::Serialize,
)]
pub enum LogLevel {
    /// Something is lost or broken until a person acts.
    Error,
    /// Something failed and is tried again.
    Warning,
    /// What an operator wants to see.
    Info,
    /// Each push.
    Debug,
    /// Each event.
    Trace,
}

/// For people or for machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub enum LogFormat {
    /// Lines with colours where a terminal reads them.
    Terminal,
    /// One JSON object a line.
    Json,
}

/// One host.
#[derive(Clone, Debug, PartialEq)]
pub struct HostPlan {
    /// Its name.
    pub id: HostId,
    /// How it is reached.
    pub kind: HostKind,
    /// rsync runs at once on this host.
    pub pushes: usize,
    /// For all its runs together.
    pub bandwidth: Bandwidth,
    /// A peer that is silent for this long is given up.
    pub timeout: Duration,
    /// Pauses between tries.
    pub retry: RetryPlan,
    /// How long connections are kept after the last push.
    pub warm: Duration,
}

/// Pauses between tries: from `first`, doubling, to `max`, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPlan {
    /// Before the second try.
    pub first: Duration,
    /// The longest.
    pub max: Duration,
}

/// How a host is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostKind {
    /// An rsync daemon; mirrors' paths are `module/path`.
    Rsyncd {
        /// Name or address, IPv6 without brackets.
        address: String,
        /// TCP port.
        port: u16,
        /// Whom to log in as.
        user: Option<String>,
        /// File that holds the password.
        password_file: Option<PathBuf>,
    },
    /// An ssh login with rsync on the other side; mirrors' paths are absolute or relative to the home.
    Ssh {
        /// Name or address.
        address: String,
        /// Whom to log in as; none: as ssh decides.
        user: Option<String>,
        /// TCP port; none: as ssh decides.
        port: Option<u16>,
        /// Private key file.
        identity: Option<PathBuf>,
        /// File of known host keys.
        known_hosts: Option<PathBuf>,
    },
    /// This machine.
    Local,
}

impl HostKind {
    /// A path there, told from those of other servers on the same machine.
    pub fn place(&self, path: &str) -> String {
        let target = self.target(path);
        match self {
            Self::Rsyncd { port, .. } => format!("{target} at {port}"),
            Self::Ssh { port: Some(port), .. } => format!("{target} at {port}"),
            Self::Ssh { port: None, .. } | Self::Local => target,
        }
    }

    /// A path there, as rsync writes targets.
    pub fn target(&self, path: &str) -> String {
        let at = |user: &Option<String>| user.as_ref().map(|u| format!("{u}@")).unwrap_or_default();
        let bracketed = |address: &str| {
            if address.contains(':') { format!("[{address}]") } else { address.to_string() }
        };
        match self {
            Self::Rsyncd { address, user, .. } => {
                format!("{}{}::{path}", at(user), bracketed(address))
            }
            Self::Ssh { address, user, .. } => format!("{}{}:{path}", at(user), bracketed(address)),
            Self::Local => path.to_string(),
        }
    }
}

/// One watched tree.
#[derive(Clone, Debug, PartialEq)]
pub struct RootPlan {
    /// Its name.
    pub id: RootId,
    /// Absolute path of the tree.
    pub source: PathBuf,
    /// rsync's filter rules, first match wins.
    pub rules: Vec<Rule>,
    /// Quiet time before an Epoch is sealed.
    pub settle: Duration,
    /// The longest that a change waits for quiet.
    pub max_age: Duration,
    /// A file that stays open is pushed when nobody has written to it for this long.
    pub open_quiet: Duration,
    /// A file that is written all the time is pushed this often.
    pub open_max: Duration,
    /// Entries that it may have lost before deletions wait; none: half of what it held, at least
    /// [`crate::data::limits::MAX_DELETE_MIN`].
    pub max_delete: Option<u64>,
    /// How long a loss of entries counts against `max_delete`.
    pub max_delete_window: Duration,
    /// It may lose all its entries.
    pub may_be_empty: bool,
    /// Trees whose deletions are always free.
    pub free_to_delete: Vec<RelPath>,
    /// A name that must be in the Root, or it is not taken for it.
    pub marker: Option<String>,
    /// How changes are found.
    pub watch: WatchMode,
    /// Whether every start compares everything.
    pub walk: WalkMode,
    /// When each Mirror owes a Walk, besides; none: never.
    pub walk_at: Option<SetTimes>,
    /// How often each Mirror is compared whole, contents included; none: never.
    pub verify_every: Option<Duration>,
    /// Where to.
    pub mirrors: Vec<MirrorPlan>,
}

/// How changes are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WatchMode {
    /// By inotify; where its limit does not suffice, by fanotify, if that is allowed. What neither can watch, or
    /// says nothing of, is looked through again and again.
    #[default]
    Auto,
    /// By inotify also on file systems that other machines may change.
    Inotify,
    /// By one mark on each whole file system, see `fanotify(7)`.
    Fanotify,
    /// Looked through this often, with no watches at all.
    Rescan(Duration),
}

/// When a Mirror is walked at a start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub enum WalkMode {
    /// When it is not known to hold the checkpoint of the last run.
    #[default]
    IfNeeded,
    /// Always; no checkpoint is kept.
    Always,
}

/// One filter rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// What matches is mirrored.
    Include(Vec<u8>),
    /// What matches is neither sent nor deleted.
    Exclude(Vec<u8>),
}

impl Rule {
    /// A rule that keeps out exactly this path, and what is below it.
    pub fn exclude_exactly(path: &RelPath) -> Self {
        Self::Exclude(anchored(path, false))
    }

    /// A rule that lets in exactly this path; about what is below it nothing is said.
    pub fn include_exactly(path: &RelPath) -> Self {
        Self::Include(anchored(path, false))
    }

    /// A rule that keeps out everything directly in this directory.
    pub fn exclude_inside(directory: &RelPath) -> Self {
        let mut pattern = anchored(directory, true);
        if !directory.is_root() {
            pattern.push(b'/');
        }
        pattern.push(b'*');
        Self::Exclude(pattern)
    }

    /// As a rule file has it: the kind, a space, the pattern.
    pub fn line(&self) -> Vec<u8> {
        let (kind, pattern) = match self {
            Self::Include(pattern) => (b"+ ", pattern),
            Self::Exclude(pattern) => (b"- ", pattern),
        };
        [kind.as_slice(), pattern].concat()
    }
}

/// The pattern that matches a path and no other; `wild` says that a wildcard will follow.
fn anchored(path: &RelPath, wild: bool) -> Vec<u8> {
    let mut pattern = vec![b'/'];
    // Without a wildcard rsync takes a backslash literally, so escape only where there is one.
    let wild = wild || path.as_bytes().iter().any(|b| matches!(b, b'*' | b'?' | b'['));
    for byte in path.as_bytes() {
        if wild && matches!(byte, b'*' | b'?' | b'[' | b'\\') {
            pattern.push(b'\\');
        }
        pattern.push(*byte);
    }
    pattern
}

/// One mirror of a Root.
#[derive(Clone, Debug, PartialEq)]
pub struct MirrorPlan {
    /// `root@host`.
    pub id: MirrorId,
    /// Where on the host; without a slash at the end. For an rsync daemon `module/path`.
    pub path: String,
    /// Whether deletions are mirrored.
    pub delete: DeleteMode,
    /// rsync's own options.
    pub rsync: RsyncOptions,
    /// When nothing is begun there.
    pub quiet: Vec<Window>,
    /// What is run after its pushes, those of its Root first.
    pub hooks: Vec<HookPlan>,
}

/// A command that is run after pushes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookPlan {
    /// The program and its arguments. No shell of ours looks at them.
    pub run: Vec<String>,
    /// Where.
    pub on: HookSide,
    /// From one start to the next, at least; what was pushed meanwhile is told at once.
    pub every: Duration,
    /// It is ended then.
    pub timeout: Duration,
}

/// Where a command is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub enum HookSide {
    /// On this machine.
    #[default]
    Here,
    /// On the mirror's host, over its ssh.
    Host,
}

/// Which deletions reach a mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub enum DeleteMode {
    /// All.
    Always,
    /// None.
    Never,
    /// Those that a Walk finds.
    OnWalk,
    /// Those that the kernel reported.
    OnPush,
}

impl DeleteMode {
    /// Whether a Walk may delete.
    pub fn on_walk(self) -> bool {
        matches!(self, Self::Always | Self::OnWalk)
    }

    /// Whether a Push of changes may delete.
    pub fn on_push(self) -> bool {
        matches!(self, Self::Always | Self::OnPush)
    }
}
