//! The configuration as written: one struct for each RON struct, words and numbers not yet understood.
//!
//! What is said here of a field is what the reference and the manual page say, see [`crate::config::reference`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use mirrorball_core::data::plan::{DeleteMode, HookSide, LogFormat, LogLevel, WalkMode};
use mirrorball_core::data::rsync_options::RsyncOptions;

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields, rename = "Config")]
pub struct File {
    /// What the daemon keeps: lock, filter files, ssh sockets, checkpoints. Default `/var/lib/mirrorball`.
    pub state_dir: Option<String>,
    /// How the daemon can be talked to.
    pub control: Control,
    /// What is logged.
    pub log: Log,
    /// Bounds over all hosts.
    pub limits: GlobalLimits,
    /// Hosts by name: `{"web1": Rsyncd(…), "web2": Ssh(…), "disk": Local}`.
    pub hosts: BTreeMap<String, Host>,
    /// Roots by name: `{"site": Root(…)}`.
    pub roots: BTreeMap<String, Root>,
}

/// How the daemon can be talked to.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Control {
    /// The unix socket that the commands use. Default `/run/mirrorball/control.sock`.
    pub socket: Option<String>,
    /// The group that may use the socket, by name or number: it gets mode 0660. Default: only the daemon's own user and
    /// root, mode 0600. The daemon's user must be in it; its members may do everything that there is a command for.
    pub group: Option<String>,
    /// TCP address for reading only, such as `127.0.0.1:8731`: the page, `/metrics`, `/events`, `/status`,
    /// `/mirrors/{id}`, `/healthz` and `/readyz`. Asked for by an address or as localhost, and by no other name. Whoever reaches it sees names and errors;
    /// bind it to loopback, or put something in front that asks who comes. Default: off.
    pub listen: Option<String>,
}

/// What is logged.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `Error`, `Warning`, `Info`, `Debug` or `Trace`; `-v` raises it. Default `Info`.
    #[schema(value_type = Option<String>)]
    pub level: Option<LogLevel>,
    /// `Terminal`, or `Json`: an object a line. Default `Terminal`.
    #[schema(value_type = Option<String>)]
    pub format: Option<LogFormat>,
    /// Appended to. Default: standard error.
    pub file: Option<String>,
}

/// Bounds over all hosts.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields, rename = "Limits")]
pub struct GlobalLimits {
    /// rsync runs at once; a run that moves no byte for two seconds does not count. Default 32.
    pub pushes_max: Option<i64>,
    /// Of these, walks of whole trees. Default 2.
    pub walks_max: Option<i64>,
    /// How fast a check reads here, see `verify_every`. Default `32MiB/s`.
    pub verify_rate: Option<String>,
}

/// A host, by the way it is reached.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub enum Host {
    /// An rsync daemon.
    Rsyncd {
        /// Name or address.
        #[serde(default)]
        address: Option<String>,
        /// TCP port. Default 873.
        #[serde(default)]
        port: Option<i64>,
        /// Whom to log in as.
        #[serde(default)]
        user: Option<String>,
        /// File that holds the password; nobody else may read it.
        #[serde(default)]
        password_file: Option<String>,
        /// Bounds for this host.
        #[serde(default)]
        limits: HostLimits,
        /// Pauses after failures.
        #[serde(default)]
        retry: Retry,
        /// How long the ssh connection, and an rsync that is connected ahead of time, are kept after the last push; `0s`:
        /// neither. Default `60s`.
        #[serde(default)]
        warm: Option<String>,
        /// rsync's own options.
        #[serde(default)]
        rsync: RsyncOptions,
    },
    /// A login with rsync on the other side. Nobody is asked anything: the host's key must be known.
    Ssh {
        /// `[user@]host`.
        #[serde(default)]
        address: Option<String>,
        /// TCP port. Default: as ssh's own configuration says.
        #[serde(default)]
        port: Option<i64>,
        /// Private key file. Default: as ssh's own configuration says.
        #[serde(default)]
        identity: Option<String>,
        /// File of known host keys. Default: as ssh's own configuration says.
        #[serde(default)]
        known_hosts: Option<String>,
        /// Bounds for this host.
        #[serde(default)]
        limits: HostLimits,
        /// Pauses after failures.
        #[serde(default)]
        retry: Retry,
        /// How long the ssh connection, and an rsync that is connected ahead of time, are kept after the last push; `0s`:
        /// neither. Default `60s`.
        #[serde(default)]
        warm: Option<String>,
        /// rsync's own options.
        #[serde(default)]
        rsync: RsyncOptions,
    },
    /// A directory of this machine.
    Local {
        /// Bounds for this host.
        #[serde(default)]
        limits: HostLimits,
        /// Pauses after failures.
        #[serde(default)]
        retry: Retry,
        /// How long the ssh connection, and an rsync that is connected ahead of time, are kept after the last push; `0s`:
        /// neither. Default `60s`.
        #[serde(default)]
        warm: Option<String>,
        /// rsync's own options.
        #[serde(default)]
        rsync: RsyncOptions,
    },
}

/// Bounds for one host.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields, rename = "Limits")]
pub struct HostLimits {
    /// rsync runs at once on this host; one place is kept for fresh changes, so that they pass walks and files of 16 MiB
    /// and more. Default 2.
    pub pushes: Option<i64>,
    /// For all runs on this host together, such as `10MiB/s`. Default: unlimited.
    pub bandwidth: Option<String>,
    /// Other bandwidths, or `unlimited`, by the time of the week where the daemon runs:
    /// `{"Mon-Fri 08:00-18:00": "2MiB/s"}`. Runs that are under way are held back by pauses, none longer than a quarter of
    /// `timeout`: a rate that is less than 4 MiB in such a time is kept to by those that begin afterwards.
    pub timetable: BTreeMap<String, String>,
    /// A peer that is silent for this long is given up. Default `60s`.
    pub timeout: Option<String>,
}

/// Pauses after failures: growing, for ever, with jitter.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// Before the second try. Default `1s`.
    pub first: Option<String>,
    /// The longest. Default `5m`.
    pub max: Option<String>,
}

/// A watched tree.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Root {
    /// Absolute path of the tree.
    pub source: Option<String>,
    /// What is mirrored; the first that matches decides. What is excluded is neither sent nor deleted: files on a mirror
    /// that match stay, with their directory. Excluded directories are not watched.
    pub filters: Vec<Filter>,
    /// Quiet time before changes are pushed. Default `50ms`.
    pub settle: Option<String>,
    /// The longest that a change waits for quiet. Default `1s`.
    pub max_age: Option<String>,
    /// A file that stays open is pushed when nobody has written to it for this long. Default `2s`.
    pub open_quiet: Option<String>,
    /// A file that is written all the time is pushed this often. Default `60s`.
    pub open_max: Option<String>,
    /// How many entries the root may have lost within `max_delete_window` before deletions wait for `approve`, whatever
    /// the mirror and the push. What comes in one directory of the root does not pay for what goes in another. Default: half
    /// of what the root held within that time, at least 1,000; of 10 entries and more never more than nine tenths, also if
    /// this says so. A root that holds nothing any more waits too, see `may_be_empty`.
    pub max_delete: Option<i64>,
    /// How long a lost entry counts against `max_delete`, such as `10m`. While deletions wait, none of this time passes.
    /// Default `1h`.
    pub max_delete_window: Option<String>,
    /// The root may lose all of its entries, as spools do: then only `max_delete` holds deletions. Default `false`.
    pub may_be_empty: bool,
    /// Trees in the root, such as `/cache/`: what is in them is not counted, and is deleted without a question. Default:
    /// none.
    pub free_to_delete: Vec<String>,
    /// A name that must be in the source, or nothing is mirrored.
    pub marker: Option<String>,
    /// How changes are found. Default `Auto`.
    pub watch: Option<Watch>,
    /// `IfNeeded`, or `Always`: each start compares everything, and no checkpoint is kept. Default `IfNeeded`.
    #[schema(value_type = Option<String>)]
    pub walk: Option<WalkMode>,
    /// When each mirror is compared whole, by size and time, and repaired: in cron's notation, such as `30 3 * * Sun`.
    /// Fresh changes don't wait for it. Default: never.
    pub walk_at: Option<String>,
    /// How often each mirror is compared whole, contents included, and repaired, such as `7d`. Default: never.
    pub verify_every: Option<String>,
    /// Commands after each push to any of its mirrors.
    pub hooks: Vec<Hook>,
    /// Where to.
    pub mirrors: Vec<Mirror>,
}

/// How changes are found.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
pub enum Watch {
    /// By inotify; where its limit does not suffice, by fanotify, if that is allowed; else by looking.
    Auto,
    /// By inotify alone, also on file systems that other machines may change.
    Inotify,
    /// By one mark on each whole file system. Needs `CAP_SYS_ADMIN` and `CAP_DAC_READ_SEARCH`.
    Fanotify,
    /// By looking through everything, this often, with no watches at all.
    Rescan(String),
}

/// A filter rule, in rsync's pattern language.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
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
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Mirror {
    /// Name of a host.
    pub host: Option<String>,
    /// Where there: `module/path` for an rsync daemon, else a path; on a host without `*`, `?`, `[` and backslashes.
    pub path: Option<String>,
    /// Which deletions are mirrored: `Always`, `Never`, `OnWalk` (only what a walk finds) or `OnPush` (only what the
    /// kernel told). Default `Always`.
    #[schema(value_type = Option<String>)]
    pub delete: Option<DeleteMode>,
    /// rsync's own options, over those of the host.
    pub rsync: RsyncOptions,
    /// When nothing is begun there, by the time of the week where the daemon runs, such as `["Mon-Fri 08:00-18:00"]`.
    /// Changes collect, and are pushed when it is over. `verify` and `plan`, asked for by a person, are answered.
    pub quiet: Vec<String>,
    /// Commands after each of its pushes, besides those of the root.
    pub hooks: Vec<Hook>,
}

/// A command after a push.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Hook {
    /// The program and its arguments, such as `["nginx", "-s", "reload"]`. No shell of ours looks at them.
    pub run: Vec<String>,
    /// `Here`, or `Host`: over the mirror's ssh. Default `Here`.
    #[schema(value_type = Option<String>)]
    pub on: Option<HookSide>,
    /// From one start to the next, at least. Default `1s`.
    pub every: Option<String>,
    /// It is ended then. Default `60s`.
    pub timeout: Option<String>,
}
