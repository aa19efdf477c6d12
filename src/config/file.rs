//! The configuration as written: one struct for each RON struct, words and numbers not yet understood.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::types::plan::{DeleteMode, HookSide, LogFormat, LogLevel, WalkMode};
use crate::types::rsync_options::RsyncOptions;

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename = "Config")]
pub struct File {
    /// Where the daemon keeps what is its own; default `/var/lib/mirrorball`.
    pub state_dir: Option<String>,
    /// How the daemon can be talked to.
    pub control: Control,
    /// What is logged.
    pub log: Log,
    /// Bounds over all hosts.
    pub limits: GlobalLimits,
    /// Hosts by name.
    pub hosts: BTreeMap<String, Host>,
    /// Roots by name.
    pub roots: BTreeMap<String, Root>,
}

/// How the daemon can be talked to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Control {
    /// Unix socket; default `/run/mirrorball/control.sock`.
    pub socket: Option<String>,
    /// TCP address and port for reading only; default: none.
    pub listen: Option<String>,
}

/// What is logged.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `Error`, `Warning`, `Info` (default), `Debug` or `Trace`.
    pub level: Option<LogLevel>,
    /// `Terminal` (default) or `Json`.
    pub format: Option<LogFormat>,
    /// Where it is written; default: standard error.
    pub file: Option<String>,
}

/// Bounds over all hosts.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename = "Limits")]
pub struct GlobalLimits {
    /// rsync runs at once; default 32.
    pub pushes_max: Option<i64>,
    /// Walks at once; default 2.
    pub walks_max: Option<i64>,
    /// How fast a check reads, see `verify_every`; default `32MiB/s`.
    pub verify_rate: Option<String>,
}

/// A host, by the way it is reached.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Host {
    /// An rsync daemon.
    Rsyncd {
        /// Name or address.
        #[serde(default)]
        address: Option<String>,
        /// TCP port; default 873.
        #[serde(default)]
        port: Option<i64>,
        /// Whom to log in as.
        #[serde(default)]
        user: Option<String>,
        /// File that holds the password, readable by nobody else.
        #[serde(default)]
        password_file: Option<String>,
        /// Bounds for this host.
        #[serde(default)]
        limits: HostLimits,
        /// Pauses between tries.
        #[serde(default)]
        retry: Retry,
        /// How long connections are kept after the last push; default `60s`.
        #[serde(default)]
        warm: Option<String>,
        /// rsync's own options.
        #[serde(default)]
        rsync: RsyncOptions,
    },
    /// An ssh login.
    Ssh {
        /// `[user@]host`.
        #[serde(default)]
        address: Option<String>,
        /// TCP port; default: as ssh's own configuration says, or 22.
        #[serde(default)]
        port: Option<i64>,
        /// Private key file.
        #[serde(default)]
        identity: Option<String>,
        /// File of known host keys.
        #[serde(default)]
        known_hosts: Option<String>,
        /// Bounds for this host.
        #[serde(default)]
        limits: HostLimits,
        /// Pauses between tries.
        #[serde(default)]
        retry: Retry,
        /// How long connections are kept after the last push; default `60s`.
        #[serde(default)]
        warm: Option<String>,
        /// rsync's own options.
        #[serde(default)]
        rsync: RsyncOptions,
    },
    /// This machine.
    Local {
        /// Bounds for this host.
        #[serde(default)]
        limits: HostLimits,
        /// Pauses between tries.
        #[serde(default)]
        retry: Retry,
        /// How long connections are kept after the last push; default `60s`.
        #[serde(default)]
        warm: Option<String>,
        /// rsync's own options.
        #[serde(default)]
        rsync: RsyncOptions,
    },
}

/// Bounds for one host.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename = "Limits")]
pub struct HostLimits {
    /// rsync runs at once; default 2.
    pub pushes: Option<i64>,
    /// Such as `10MiB/s`, for all runs together; default: unlimited.
    pub bandwidth: Option<String>,
    /// Other bandwidths, or `unlimited`, by time: `{"Mon-Fri 08:00-18:00": "2MiB/s"}`.
    pub timetable: BTreeMap<String, String>,
    /// A peer that is silent for this long is given up; default `60s`.
    pub timeout: Option<String>,
}

/// Pauses between tries.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// Before the second try; default `1s`.
    pub first: Option<String>,
    /// The longest; default `5m`.
    pub max: Option<String>,
}

/// A watched tree.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Root {
    /// Absolute path.
    pub source: Option<String>,
    /// What is mirrored, first match wins.
    pub filters: Vec<Filter>,
    /// Quiet time before an epoch is sealed; default `50ms`.
    pub settle: Option<String>,
    /// The longest that a change waits for quiet; default `1s`.
    pub max_age: Option<String>,
    /// A file that stays open is pushed when quiet for this long; default `2s`.
    pub open_quiet: Option<String>,
    /// A file that is written all the time is pushed this often; default `60s`.
    pub open_max: Option<String>,
    /// Deletions of one push before all of them are held; default: half of what is known, at least 1,000.
    pub max_delete: Option<i64>,
    /// A name that must be in the source, or nothing is mirrored.
    pub marker: Option<String>,
    /// `Auto` (default), `Inotify`, `Fanotify` or `Rescan("30s")`: how changes are found.
    pub watch: Option<Watch>,
    /// How often each mirror is compared whole, contents included, and repaired; default: never.
    pub verify_every: Option<String>,
    /// `IfNeeded` (default) or `Always`: whether each start compares everything.
    pub walk: Option<WalkMode>,
    /// When each mirror is compared whole, by size and time, in cron's notation: `"30 3 * * Sun"`; default: never.
    pub walk_at: Option<String>,
    /// Commands after each push to any of its mirrors.
    pub hooks: Vec<Hook>,
    /// Where to.
    pub mirrors: Vec<Mirror>,
}

/// How changes are found.
#[derive(Clone, Debug, Deserialize)]
pub enum Watch {
    /// By inotify, else by fanotify where that is allowed, else by looking.
    Auto,
    /// By inotify alone.
    Inotify,
    /// By fanotify: one mark for the whole file system. Needs `CAP_SYS_ADMIN` and `CAP_DAC_READ_SEARCH`.
    Fanotify,
    /// By looking through everything, this often.
    Rescan(String),
}

/// A filter rule, in rsync's pattern language.
#[derive(Clone, Debug, Deserialize)]
pub enum Filter {
    /// What matches is mirrored.
    Include(String),
    /// What matches is left alone.
    Exclude(String),
    /// A file of patterns to include, one a line.
    IncludeFrom(String),
    /// A file of patterns to exclude, one a line.
    ExcludeFrom(String),
}

/// One mirror of a root.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mirror {
    /// Name of a host.
    pub host: Option<String>,
    /// Where there: `module/path` for a daemon, else a path.
    pub path: Option<String>,
    /// `Always` (default), `Never`, `OnWalk` or `OnPush`.
    pub delete: Option<DeleteMode>,
    /// rsync's own options, over those of the host.
    pub rsync: RsyncOptions,
    /// When nothing is begun there, such as `["Mon-Fri 08:00-18:00"]`; changes collect until then.
    pub quiet: Vec<String>,
    /// Commands after each of its pushes, besides those of the root.
    pub hooks: Vec<Hook>,
}

/// A command after a push.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hook {
    /// The program and its arguments.
    pub run: Vec<String>,
    /// `Here` (default) or, over the mirror's ssh, `Host`.
    pub on: Option<HookSide>,
    /// Not more often than this; default `1s`.
    pub every: Option<String>,
    /// Ended after this; default `60s`.
    pub timeout: Option<String>,
}
