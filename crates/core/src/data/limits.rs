//! Every bound in one place, with the reason for its number.

use std::time::Duration;

/// Distinct paths that a Root's log holds before it coarsens. Two paths for each file of a large site,
/// at about 150 bytes each.
pub const LOG_PATHS_MAX: usize = 1_000_000;

/// Paths in the open Epoch before it is sealed without waiting for quiet.
pub const OPEN_EPOCH_PATHS_MAX: usize = 100_000;

/// Files held back because somebody writes them; more are pushed at once, unfinished.
pub const HELD_FILES_MAX: usize = 65_536;

/// Obligations of one mirror before those of one directory are merged. Failures and large files seldom come near.
pub const BACKLOG_MAX: usize = 10_000;

/// Paths that a writer's scope names; with more, it may write to anything.
pub const WRITER_PATHS_MAX: usize = 10_000;

/// Writers that are cut off within the same part of a receiver's life count as one.
pub const WRITER_QUARTERS: u32 = 4;

/// How far apart two points of a mirror's past are at least: a thousand pushes a second need no more of them.
pub const PAST_STEP: Duration = Duration::from_secs(1);

/// Obligations that were discharged lately and are remembered one by one; of more, everything is compared after an outage.
pub const DISCHARGED_MAX: usize = 1_000;

/// Stuck paths that a status names; the rest is counted.
pub const STUCK_SHOWN_MAX: usize = 20;

/// Entries of a piece of a walk. A run costs about 70 ms even where there is nothing to do: with pieces of 5,000 entries a
/// walk takes twice as long as in one run, with pieces of this size a tenth more.
pub const PIECE_ENTRIES: u64 = 50_000;

/// Pieces of one walk: obligations, which are few beside [`BACKLOG_MAX`].
pub const PIECES_MAX: usize = 2_000;

/// For so long a walk is cut as the source was when it was counted: all mirrors begin at about the same time.
pub const PIECES_AGE_MAX: Duration = Duration::from_secs(600);

/// Names on a mirror that are not in the source, named by one run; when they are settled, the rest is named.
pub const EXTRAS_MAX: usize = 100_000;

/// Names of files with several names that are remembered for a Root.
pub const LINK_NAMES_MAX: usize = 1_000_000;

/// A directory becomes a subtree when the log is full and it has at least this many dirty children.
pub const COARSEN_CHILDREN_MIN: usize = 16;

/// How long half of a rename waits for the other half, when the kernel's next read comes late.
pub const MOVE_PAIR_WAIT: Duration = Duration::from_millis(10);

/// Bytes asked from the kernel's event queue at once: about 2,000 events with short names.
pub const EVENT_BUFFER_BYTES: usize = 64 * 1024;

/// Events handled in one turn; what is more waits for the next.
pub const EVENTS_AT_ONCE_MAX: usize = 4096;

/// Directories opened and listed by one blocking task; descriptors held by it are at most twice that.
pub const EXPLORE_CHUNK: usize = 64;

/// Blocking tasks that explore one Root at once. From measuring: more did not help on warm caches.
pub const EXPLORE_TASKS_MAX: usize = 3;

/// Bytes of a child's standard error that are kept for judging; the rest is counted as unread.
pub const STDERR_BYTES_MAX: usize = 256 * 1024;

/// Bytes of one line of rsync's output; a longer one is skipped. The longest of use is an item (12 bytes) with a path
/// of which rsync writes each byte as five, or a message with one.
pub const LINE_BYTES_MAX: usize = 128 + 5 * PATH_BYTES_MAX;

/// Letters of one message of rsync: it is the reason of each path that failed, and there may be 10,000. Enough for
/// names of 255 bytes in some directories.
pub const MESSAGE_CHARS_MAX: usize = 1_000;

/// Differences that a verification names; the rest is counted.
pub const DIFFERENCES_MAX: usize = 1000;

/// Bytes of these names: [`DIFFERENCES_MAX`] of a thousand bytes each.
pub const DIFFERENCES_BYTES_MAX: usize = 1 << 20;

/// Entries of a Root among which a witness is looked for.
pub const WITNESSES_MAX: usize = 256;

/// The largest file that is sent along as a witness.
pub const WITNESS_BYTES_MAX: u64 = 16 * 1024;

/// Directories created on a mirror unexpectedly that a push reports; one is enough for a Walk.
pub const SURPRISES_MAX: usize = 16;

/// How long running pushes may go on after the daemon was told to stop, before their groups are ended.
pub const DRAIN_WAIT: Duration = Duration::from_secs(10);

/// Between a group's SIGTERM and its SIGKILL.
pub const KILL_WAIT: Duration = Duration::from_secs(2);

/// When all Mirrors of a Root are in doubt, their Walks begin within so long for each of the others.
pub const WALK_JITTER: Duration = Duration::from_millis(250);

/// The longest that a Walk waits for its turn so.
pub const WALK_JITTER_MAX: Duration = Duration::from_secs(10);

/// A host that was away for longer may have been started anew, and lost what it had acknowledged.
pub const OUTAGE_MIN: Duration = Duration::from_secs(60);

/// How long before such an outage what was pushed is in doubt: kernels write back after half a minute, disks
/// and their caches a little later.
pub const WRITE_BACK_MAX: Duration = Duration::from_secs(300);

/// Bytes from which a file gets a push of its own, so that smaller ones don't wait behind it: a second and a half at
/// ten megabytes a second.
pub const LARGE_FILE_MIN: u64 = 16 << 20;

/// Large files that one Mirror's push leaves to one of their own; further ones stay with the others. With so many,
/// not one of them is what the small ones wait for.
pub const LARGE_FILES_MAX: usize = 1_000;

/// Listed entries of a directory from which on it is looked whether that is all of it.
pub const FOLD_CHILDREN_MIN: usize = 64;

/// Runs that wait for work on one host: sshd allows ten sessions on a connection.
pub const WARM_PER_HOST_MAX: usize = 6;

/// Renames that one Root's log remembers; of more, the data is sent.
pub const MOVES_MAX: usize = 512;

/// Renames that one push makes use of, the largest first.
pub const RENAMES_PER_PUSH_MAX: usize = 32;

/// What both ends of a slow pair read of renamed files in a second, well within a host's timeout.
pub const COMPARED_BYTES_A_SECOND: u64 = 5 * 1024 * 1024;

/// What is renamed and has fewer bytes is sent: two more runs of rsync cost as much.
pub const RENAME_BYTES_MIN: u64 = 256 * 1024;

/// Distinct paths in a checkpoint's journal before the snapshot is renewed; with twice as many before that has
/// come about, the checkpoint is given up. As many as a walk of a small site compares.
pub const JOURNAL_PATHS_MAX: usize = 50_000;

/// Paths that a Mirror may lack of a snapshot and still be recorded as its holder.
pub const LACKS_MAX: usize = 10_000;

/// Entries that a root may lose without a question, where it sets no budget: see `max_delete`.
pub const MAX_DELETE_MIN: u64 = 1000;

/// Before a scan or a mark that failed is asked for again, for a checkpoint's sake.
pub const CHECKPOINT_RETRY: Duration = Duration::from_secs(60);

/// Before a check that did not come to its end is tried again.
pub const CHECK_RETRY: Duration = Duration::from_secs(3600);

/// How often directories without events are looked through, where no interval is configured.
pub const RESCAN_INTERVAL: Duration = Duration::from_secs(60);

/// How often a root that went away, or a nested volume that is not mounted, is looked for again.
pub const GUARD_INTERVAL: Duration = Duration::from_secs(2);

/// How often a root is looked at while nothing happens: for what raises no event, such as a parent that is
/// renamed.
pub const GUARD_IDLE_INTERVAL: Duration = Duration::from_secs(10);

/// Entries of a Root whose Walk leaves one place under `walks_max` to smaller ones.
pub const LARGE_WALK_ENTRIES_MIN: u64 = 100_000;

/// After so long a look at a source has the volumes in it probed. Looks that take longer are walks through whole trees,
/// which a probe does not slow down.
pub const LOOK_PATIENCE: Duration = Duration::from_secs(2);

/// A volume that has not answered for so long is left out. A disk that must spin up first takes about as long, and is
/// then back at the next look.
pub const PROBE_WAIT: Duration = Duration::from_secs(5);

/// Threads that probe volumes of one root at once. Volumes that don't answer keep one each.
pub const PROBE_THREADS_MAX: usize = 64;

/// Threads that look at one root at once: so many stay behind when a volume stops answering. Few looks go through the
/// whole tree, so that a short one finds a place.
pub const LOOKS_MAX: usize = 32;

/// A run that has moved no byte for this long lends its place under `pushes_max` and `walks_max`.
pub const STALL_AFTER: Duration = Duration::from_secs(2);

/// How long an idle ssh master's health check may take before the master is replaced.
pub const MASTER_CHECK_WAIT: Duration = Duration::from_secs(5);

/// Longest answer that the client reads from the control socket.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// How long an actor may take to answer before it counts as stuck.
pub const PING_WAIT: Duration = Duration::from_secs(10);

/// Between two items of the stream of events: more often nobody can look.
pub const EVENT_PAUSE: Duration = Duration::from_millis(250);

/// A rename that is heard of so shortly after something in it was sent may have come before that: an event takes
/// milliseconds to be heard of, and seconds on a machine that is overloaded.
pub const RENAME_DOUBT: Duration = Duration::from_secs(2);

/// Inodes in use on the Root's file system up to which a first Walk begins while the Root is being scanned: a scan of
/// more takes seconds, in which both would wait for the same processors.
pub const EARLY_WALK_MAX: u64 = 500_000;

/// Paths that a hook is told by name; more are told as everything.
pub const HOOK_PATHS_MAX: usize = 10_000;

/// Stuck paths that are named to whoever asks for one mirror; the rest is counted.
pub const STUCK_LISTED_MAX: usize = 1_000;

/// Runs of a Mirror that are remembered to be looked at.
pub const RECENT_RUNS_MAX: usize = 20;

/// Letters of what one of them says of itself: the log has it whole.
pub const RECENT_WHY_MAX: usize = 1_000;

/// Who waits for the next status at the same time.
pub const LOOKERS_MAX: usize = 1_000;

/// Without an event for so long, the stream of events says that it is still there.
pub const EVENT_HEARTBEAT: Duration = Duration::from_secs(20);

/// Units of a root whose entries are counted apart; the smallest beyond are one. With their marks about 10 MB at
/// the very most, and few directories have as many children.
pub const UNITS_MAX: usize = 10_000;

/// Steps in which `max_delete_window` passes: a mark is kept for the window and at most a 64th of it longer.
pub const WINDOW_STEPS: u32 = 64;

/// A unit is counted again when the files that renames may have replaced there are this part of it: so its count
/// is at most 5 % low, and a rename costs the listing of 20 names.
pub const RECOUNT_PART: u64 = 20;

/// Marks are written again when together they moved by this part of their sum: after an unclean stop a loss is
/// known to 5 % of all entries.
pub const MARKS_WRITE_PART: u64 = 20;

/// Names on a list of deletions that wait for approval; beyond, those of one unit become one entry. More than a
/// person reads.
pub const APPROVAL_NAMES_MAX: usize = 10_000;

/// Approved names that are remembered, and changes that make parts of them void: two full lists. Of more the oldest
/// are forgotten, and asked for again.
pub const APPROVALS_MAX: usize = 20_000;

/// Bytes of a path from which on neither the kernel nor rsync takes it, its end included: `PATH_MAX` of `limits.h`.
/// Anybody who may write to a source can make a longer one, directory by directory.
pub const PATH_BYTES_MAX: usize = 4096;

/// Names that the log has of an approved list: the list was shown to the person who approved it.
pub const APPROVED_LOGGED_MAX: usize = 20;

/// Names of a list of deletions that are shown unless a person asks for all: about a screen.
pub const AWAITING_SHOWN_MAX: usize = 20;

/// Names that one run leaves out by rules because they failed before. 50,000 entries take 0.7 s without rules, 2.9 s with
/// 1,000 and 9.9 s with 5,000.
pub const EXCLUDES_MAX: usize = 200;

/// How often one push is narrowed: as deep as directories are nested whose attributes can't be kept, and some more.
pub const NARROWINGS_MAX: usize = 32;

/// Names that may vanish from the source during one run, and a newer change is on its way for each; of more, the source
/// itself may be going away.
pub const VANISHED_MAX: usize = 1_000;

/// Fewer vanished names than this are no tenth of a list, however short it is: a few temporary files come and go anywhere.
pub const VANISHED_MIN: usize = 10;
