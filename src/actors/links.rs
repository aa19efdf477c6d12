//! The ways between actors: recipients of single messages, so that nobody knows another's type.

use actix::Recipient;

use crate::actors::message::{
    ActorGone, BatchReady, Begun, Changed, Degraded, Drained, Ended, Explore, Fence, HostReported,
    LeaveVolume, LetGo, Reached, RootReported, RunEnded, Seal, SourceGone, TakeBatch, Told,
    VolumeSeen, WatchAnew, WatchLost, Watching, Withdraw, WorkWaits,
};

/// From a collator to a host's transfer actor.
#[derive(Clone)]
pub struct HostLink {
    /// There is work.
    pub work_waits: Recipient<WorkWaits>,
    /// Here it is.
    pub batch_ready: Recipient<BatchReady>,
    /// Keep nothing of the Root open.
    pub let_go: Recipient<LetGo>,
    /// Delete nothing more for an assignment.
    pub withdraw: Recipient<Withdraw>,
    /// End what would look at this volume.
    pub leave_volume: Recipient<LeaveVolume>,
}

/// From a transfer actor to a Root's collator.
#[derive(Clone)]
pub struct RootLink {
    /// What is there to do?
    pub take_batch: Recipient<TakeBatch>,
    /// It has ended.
    pub ended: Recipient<Ended>,
    /// A mirror's directory exists.
    pub reached: Recipient<Reached>,
}

/// From a watcher to its collator.
#[derive(Clone)]
pub struct CollatorLink {
    /// Something changed.
    pub changed: Recipient<Changed>,
    /// The scan begins.
    pub begun: Recipient<Begun>,
    /// Everything is watched.
    pub watching: Recipient<Watching>,
    /// Events were lost.
    pub lost: Recipient<WatchLost>,
    /// The source can't be watched.
    pub gone: Recipient<SourceGone>,
    /// Some directories raise no events.
    pub degraded: Recipient<Degraded>,
    /// A nested volume.
    pub volume: Recipient<VolumeSeen>,
    /// Everything has been told.
    pub told: Recipient<Told>,
    /// Seal what is known.
    pub seal: Recipient<Seal>,
}

/// From a collator to its watcher.
#[derive(Clone)]
pub struct WatcherLink {
    /// Look at this directory again.
    pub explore: Recipient<Explore>,
    /// Keep nothing of it open.
    pub let_go: Recipient<LetGo>,
    /// Begin again.
    pub watch_anew: Recipient<WatchAnew>,
    /// Say `Told` when everything that changed until now has been told.
    pub fence: Recipient<Fence>,
}

/// From everybody to those who look on.
#[derive(Clone)]
pub struct BoardLink {
    /// How a Root stands.
    pub root: Recipient<RootReported>,
    /// How a Host's Mirrors stand.
    pub host: Recipient<HostReported>,
    /// A run has ended.
    pub ran: Recipient<RunEnded>,
}

/// From everybody to the overseer.
#[derive(Clone)]
pub struct OverseerLink {
    /// An actor died.
    pub gone: Recipient<ActorGone>,
    /// A host has nothing running any more.
    pub drained: Recipient<Drained>,
}
