//! The whole vocabulary on one page: who says what to whom, and what happens if it is lost.
//!
//! Commands are verbs, events are what happened, queries are nouns. A message to an actor that died is
//! lost; the overseer then starts the actor anew and introduces it, and what was lost is wanted again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use actix::prelude::*;

use mirrorball_core::data::awaiting::{Approved, Awaiting};
use mirrorball_core::data::batch::Batch;
use mirrorball_core::data::change::{AssignmentId, Change, Epoch, Lane};
use mirrorball_core::data::explanation::Explanation;
use mirrorball_core::data::ids::{HostId, MirrorId, RootId};
use mirrorball_core::data::list_id::ListId;
use mirrorball_core::data::moment::Moment;
use mirrorball_core::data::outcome::{AssignmentEnd, RemoteEnd};
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::plan::Plan;
use mirrorball_core::data::runs::Ran;
use mirrorball_core::data::source_dir::{SourceDir, Volume};
use mirrorball_core::data::status::{RecentRun, Status, StuckPath};
use mirrorball_core::data::step::Differences;
use mirrorball_core::fleet::reload::Difference;
use mirrorball_core::host::mirror::{MirrorReport, PushId};
use mirrorball_core::host::target_state::TargetState;
use mirrorball_core::root::collator::RootReport;
use mirrorball_core::source::entry_count::UnitChange;
use mirrorball_core::source::snapshot::Snapshot;

/// Watcher to collator: one kernel read's changes. `exploring`: some directories are not watched yet.
/// Lost with the collator, whose successor owes a Walk to every Mirror.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Changed {
    /// What changed, in the kernel's order.
    pub changes: Vec<Change>,
    /// Whether new directories are still being watched.
    pub exploring: bool,
    /// What became of the number of entries, unit by unit.
    pub levels: Vec<UnitChange>,
    /// Events that the kernel raised since this was told last.
    pub events: u64,
}

/// Watcher to collator: the scan that sets the watches begins, and will tell of everything that changes from now on,
/// also where nothing is watched yet. No other file system is mounted in the Root. Lost: walks begin later.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Begun {
    /// The Root, held open.
    pub source: SourceDir,
}

/// Watcher to collator: every directory is watched. Lost as [`Changed`].
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Watching {
    /// The Root, held open.
    pub source: SourceDir,
    /// How many directories.
    pub directories: usize,
    /// The Root as it was found; none where nobody wants it.
    pub snapshot: Option<Snapshot>,
    /// How many entries were found, unit by unit.
    pub levels: Vec<UnitChange>,
    /// Some of it raises no events, so that what changed since [`Begun`] is not all known.
    pub unsure: bool,
}

/// Watcher to collator: events were lost, the tree is watched anew. Lost as [`Changed`].
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct WatchLost;

/// Watcher to collator: the source can't be watched. Lost as [`Changed`].
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct SourceGone {
    /// Why.
    pub why: String,
}

/// Watcher to collator: some directories raise no events, for this reason; none: all do. Lost as [`Changed`].
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Degraded {
    /// Why.
    pub why: Option<String>,
}

/// Watcher to collator: a directory lies on a volume of its own. Lost as [`Changed`].
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct VolumeSeen {
    /// Where it is mounted.
    pub path: RelPath,
    /// Which it is.
    pub volume: Volume,
}

/// Collator to watcher: another volume may lie here now. Lost: the next look at the volume says it again.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Explore {
    /// Where.
    pub path: RelPath,
}

/// Collator to watcher: the Root is back; watch it anew. Lost: the next look says it again.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct WatchAnew;

/// Collator to watcher and to its hosts: the Root is halted; keep nothing of it open before it is to be watched anew. Lost: its
/// file system stays busy.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct LetGo {
    /// Which Root.
    pub root: RootId,
}

/// Collator to host: deletions of this assignment wait for a person now. Lost: what was begun goes on.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Withdraw {
    /// Where it runs.
    pub mirror: MirrorId,
    /// Which.
    pub assignment: AssignmentId,
}

/// Collator to its hosts: this volume does not answer, so end the runs that look at it. Lost with the host's actor, whose
/// runs end with it.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct LeaveVolume {
    /// Below which Root.
    pub root: RootId,
    /// Where it is mounted.
    pub volume: RelPath,
}

/// Anybody to watcher: which Epoch holds everything that changed before now, also what is still in the
/// kernel's queue? The error says why that can't be told.
#[derive(Message, Debug)]
#[rtype(result = "Result<Epoch, String>")]
pub struct Mark;

/// Collator to watcher: say [`Told`] when everything that changed before now has been told, also what is still in
/// the kernel's queue. The error says why that can't be.
#[derive(Message, Debug)]
#[rtype(result = "Result<(), String>")]
pub struct Fence;

/// Watcher to collator: everything that changed before [`Fence`] has been told before this. Lost as [`Changed`].
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Told;

/// Watcher to collator: seal what is known. Answered with the head.
#[derive(Message, Debug)]
#[rtype(result = "Epoch")]
pub struct Seal;

/// Collator to transfer: there is work for this Mirror. Lost with the host's actor, whose successor is
/// told by every collator anew.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct WorkWaits {
    /// For whom.
    pub mirror: MirrorId,
    /// Which kind.
    pub lane: Lane,
}

/// Transfer to collator: what does this Mirror lack? Lost with the collator, whose successor tells of
/// work anew.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct TakeBatch {
    /// Who asks.
    pub mirror: MirrorId,
    /// For which kind of work.
    pub lane: Lane,
}

/// Collator to transfer: the answer to [`TakeBatch`]. Lost as [`WorkWaits`].
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct BatchReady {
    /// Who asked.
    pub mirror: MirrorId,
    /// For which kind of work.
    pub lane: Lane,
    /// The work; none if there is nothing.
    pub work: Option<Work>,
}

/// Work that is handed out.
#[derive(Debug, Clone)]
pub struct Work {
    /// To be named in [`Ended`].
    pub assignment: AssignmentId,
    /// What to push.
    pub batch: Arc<Batch>,
    /// What is known of the mirror's directory.
    pub target: TargetState,
    /// Exact renames can be trusted.
    pub trusts_renames: bool,
    /// Where from.
    pub source: SourceDir,
}

/// Transfer to collator: the mirror's directory was made, or was there. Lost with the collator, whose successor is told
/// at the next first contact.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Reached {
    /// Whose.
    pub mirror: MirrorId,
}

/// Transfer to collator: an assignment has ended. Lost with the collator, whose successor counts it as cut off.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Ended {
    /// Whose.
    pub mirror: MirrorId,
    /// Which work.
    pub assignment: AssignmentId,
    /// How.
    pub end: AssignmentEnd,
}

/// A transfer to itself: how far a Walk has come. Lost: the next one says more.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Progressed {
    /// Which run.
    pub push: PushId,
    /// 0 to 1.
    pub progress: f32,
}

/// Collator to board. Lost: the next one says more.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct RootReported {
    /// Which Root.
    pub root: RootId,
    /// How it stands.
    pub report: RootReport,
    /// Watched directories.
    pub directories: usize,
    /// The last check of each Mirror, in this run.
    pub checks: BTreeMap<MirrorId, Checked>,
    /// Events that the kernel raised, as far as this collator heard.
    pub events: u64,
    /// How often events were lost, so that everything had to be compared.
    pub losses: u64,
}

/// What a check of a Mirror found.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// When.
    pub at: Moment,
    /// What somebody else had changed; repaired since.
    pub drift: Differences,
}

/// Transfer to board. Lost: the next one says more.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct HostReported {
    /// Which host.
    pub host: HostId,
    /// What is known of its rsync.
    pub end: RemoteEnd,
    /// How its Mirrors stand.
    pub mirrors: Vec<(MirrorId, MirrorReport)>,
}

/// Transfer to board: a run has ended. Lost: it is not looked at.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct RunEnded {
    /// Where.
    pub mirror: MirrorId,
    /// When.
    pub at: Moment,
    /// How.
    pub ran: Ran,
}

/// Anybody to board: the last runs of this Mirror, the newest first.
#[derive(Message, Debug)]
#[rtype(result = "Vec<RecentRun>")]
pub struct RecentRuns {
    /// Which.
    pub mirror: MirrorId,
}

/// Anybody to overseer, and overseer to collators: all paths of this Mirror that fail. The error says why that can't be
/// told.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<Vec<StuckPath>, String>")]
pub struct StuckPaths {
    /// Which.
    pub mirror: MirrorId,
}

/// Overseer to board: an actor died. What it reported is void until [`ActorRestarted`]. Never lost.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct ActorDied {
    /// Which.
    pub who: Who,
    /// When it is started again.
    pub restart_at: Moment,
}

/// Overseer to board: an actor that had died was started again. Never lost.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct ActorRestarted {
    /// Which.
    pub who: Who,
}

/// Anybody to overseer: which actors died and wait for their restart?
#[derive(Message, Debug)]
#[rtype(result = "Vec<Who>")]
pub struct Waiting;

/// Anybody to board: the status once its revision differs from this one; at once for 0.
#[derive(Message, Debug)]
#[rtype(result = "Arc<Status>")]
pub struct StatusSince {
    /// The revision that the asker has.
    pub revision: u64,
}

/// Anybody to board: everything that is counted.
#[derive(Message, Debug)]
#[rtype(result = "Facts")]
pub struct Counted;

/// What the board knows, for metrics.
#[derive(Debug)]
pub struct Facts {
    /// What everybody sees.
    pub status: Status,
    /// Events and losses of each Root.
    pub roots: Vec<(RootId, u64, u64)>,
    /// Each Mirror as its Host knows it.
    pub mirrors: Vec<(MirrorId, MirrorReport)>,
}

/// Anybody to any actor: are you there? Of the overseer: is everybody there who does not wait for a restart? The error
/// names who is not.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "Result<(), String>")]
pub struct Ping;

/// An actor that the overseer has started.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The watcher and the collator of a Root, which live and die together.
    Root(RootId),
    /// The transfer actor of a Host.
    Host(HostId),
}

impl Who {
    /// The name of the Root or the Host.
    pub fn name(&self) -> &str {
        match self {
            Self::Root(id) => id.as_str(),
            Self::Host(id) => id.as_str(),
        }
    }

    /// What people are told while it waits for its restart.
    pub fn death_notice(&self) -> String {
        format!("An internal error ended the actors of the {self}; they are restarted soon")
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(id) => write!(f, "root {id}"),
            Self::Host(id) => write!(f, "host {id}"),
        }
    }
}

/// A dying actor's last word to the overseer. Not sent when the whole system ends.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct ActorGone {
    /// Which.
    pub who: Who,
    /// Which of its lives, so that an old one's death does not end a new one.
    pub life: u64,
}

/// Overseer to collators: this is the host's actor from now on. Never lost: sent to living actors.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub struct MeetHost {
    /// Which host.
    pub host: HostId,
    /// The way to it.
    pub link: crate::actors::links::HostLink,
}

/// Overseer to transfers: these are the Root's actors from now on. Never lost: sent to living actors.
#[derive(Message, Clone)]
#[rtype(result = "()")]
pub struct MeetRoot {
    /// Which Root.
    pub root: RootId,
    /// The way to it.
    pub link: crate::actors::links::RootLink,
}

/// Anybody to overseer, and overseer to collators: what waits for a person, of this Root and of these Mirrors of it? The
/// error says why that can't be told. Whether mirrors are halted is not for collators to say.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<Awaiting, String>")]
pub struct ListAwaiting {
    /// Which Root.
    pub root: RootId,
    /// Which of its Mirrors.
    pub mirrors: Vec<MirrorId>,
    /// So many names of each list are told.
    pub names_max: usize,
}

/// Anybody to overseer, and overseer to collators: a person approves of this. Answered when it is kept for the next start.
/// The error says why it was not approved, or not kept.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<Approved, String>")]
pub struct Approve {
    /// Of what.
    pub what: Approvable,
    /// The person's user id, if it is known.
    pub by: Option<u32>,
}

/// What one approval is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Approvable {
    /// A list of deletions.
    List(ListId),
    /// The source of a Root, and the volumes in it, as they are now.
    Source(RootId),
    /// The directory of a Mirror as it is now.
    Target(MirrorId),
}

impl Approvable {
    /// The Root that it belongs to.
    pub fn root(&self) -> &RootId {
        match self {
            Self::List(id) => &id.root,
            Self::Source(root) => root,
            Self::Target(mirror) => &mirror.root,
        }
    }
}

/// Overseer to transfers: a person takes the directory of this Mirror as it is. Lost: asked again.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct TakeTarget {
    /// Which.
    pub mirror: MirrorId,
}

/// Anybody to overseer, and overseer to transfers: compare this Mirror with its Root, by contents or as a Walk would, and
/// change nothing. The error says why it could not be compared.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<Differences, String>")]
pub struct Verify {
    /// Which.
    pub mirror: MirrorId,
    /// Whether contents are compared.
    pub contents: bool,
}

/// Anybody to overseer: let this Plan count from now on, or, if it is `dry`, only say what that would change. The
/// error says why the old one stays.
#[derive(Message, Debug)]
#[rtype(result = "Result<Difference, String>")]
pub struct Reload {
    /// The new Plan.
    pub plan: Arc<Plan>,
    /// Change nothing.
    pub dry: bool,
}

/// Overseer to collators, transfers and the board, which go on: this is the Plan from now on. Never lost: sent to
/// living actors.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct NewPlan {
    /// The Plan.
    pub plan: Arc<Plan>,
    /// Mirrors that are no longer what they were under the same name.
    pub renewed: BTreeSet<MirrorId>,
    /// The files of the Roots' rules.
    pub rules: BTreeMap<RootId, PathBuf>,
}

/// Anybody to board: a new configuration is refused, for this reason. Lost: nobody sees it in the status.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct ConfigRefused {
    /// Why.
    pub why: String,
}

/// Anybody to overseer, and overseer to collators: how does this path stand, and why? The error says why that can't be
/// told.
#[derive(Message, Debug, Clone)]
#[rtype(result = "Result<Explanation, String>")]
pub struct Explain {
    /// Which Root.
    pub root: RootId,
    /// Relative to it.
    pub path: RelPath,
}

/// Overseer to an actor that the Plan does not know any more: let everything go, and end.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Leave;

/// Anybody to overseer: send nothing to these Mirrors before a person says so, or something again; also after the
/// next start. The error says why that can't be kept.
#[derive(Message, Debug)]
#[rtype(result = "Result<(), String>")]
pub struct PauseAll {
    /// Which.
    pub mirrors: Vec<MirrorId>,
    /// Whether they are to be paused.
    pub paused: bool,
}

/// Overseer to transfers: see [`PauseAll`]. Lost with the actor, whose successor is told.
#[derive(Message, Debug, Clone)]
#[rtype(result = "()")]
pub struct Pause {
    /// Which.
    pub mirror: MirrorId,
    /// Whether it is to be paused.
    pub paused: bool,
}

/// Anybody to overseer: these Mirrors are to be compared whole.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct WalkAll {
    /// Which.
    pub mirrors: Vec<MirrorId>,
}

/// Overseer to collators: this Mirror is to be compared whole. Lost with the collator, whose successor compares
/// all.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Walk {
    /// Which.
    pub mirror: MirrorId,
}

/// Anybody to overseer: end in good order. A second one ends at once.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Stop;

/// Overseer to transfers: start nothing new, say when nothing runs. Lost with an actor that runs nothing.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Drain;

/// Overseer to collators: nothing runs and nothing will, so keep that it is so. Answered when that is done.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct EndWell;

/// Transfer to overseer: nothing runs and nothing will. Lost: the bound on waiting ends it.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Drained {
    /// Which host.
    pub host: HostId,
}

/// Anybody to overseer: the Epoch of this Root that holds everything that changed before now; see [`Mark`].
#[derive(Message, Debug)]
#[rtype(result = "Result<Epoch, String>")]
pub struct MarkRoot {
    /// Which Root.
    pub root: RootId,
}
