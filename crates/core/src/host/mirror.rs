//! One Mirror as its host sees it: what it wants, what runs, when it may be tried again.

use std::time::Duration;

use crate::backoff::{Backoff, seed_of};
use crate::data::change::{AssignmentId, Lane};
use crate::data::ids::MirrorId;
use crate::data::moment::Moment;
use crate::data::plan::RetryPlan;
use crate::data::runs::Runs;

/// A wall's clock is read to the minute: an end that differs by less is the same.
const QUIET_STEP: Duration = Duration::from_secs(90);

/// Names one run of work on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PushId(pub u64);

/// A Mirror's place in its Host's rule.
#[derive(Debug)]
pub struct Mirror {
    /// Into how many pieces lists are cut, after failures that nobody could attribute.
    pub pieces: usize,
    /// There was no room for something: deletions go first.
    pub is_full: bool,
    /// What the host knows for status.
    pub report: MirrorReport,
    /// When something was last started, for fairness.
    pub last_started: Moment,
    fresh: LaneState,
    walk: LaneState,
    backoff: Backoff,
    blocked_until: Option<Moment>,
}

/// One lane of a Mirror.
#[derive(Debug)]
struct LaneState {
    wanted: bool,
    activity: Activity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Activity {
    Idle,
    Asked,
    Running { id: PushId, assignment: AssignmentId, is_walk: bool },
}

/// What the host knows of a Mirror.
#[expect(clippy::struct_excessive_bools, reason = "facts that don't depend on each other")]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MirrorReport {
    /// Whether it was ever reached.
    pub reached: bool,
    /// Whether a Walk is under way.
    pub walking: bool,
    /// Whether a Push is under way.
    pub pushing: bool,
    /// A person wants nothing sent there for now.
    pub paused: bool,
    /// Nothing is begun there before.
    pub quiet_until: Option<Moment>,
    /// Why nothing is sent there before a person says so, or it is back.
    pub halted: Option<String>,
    /// When it is tried again, after a failure.
    pub retry_at: Option<Moment>,
    /// What failed last, until something succeeds.
    pub last_error: Option<String>,
    /// When something last succeeded.
    pub last_success: Option<Moment>,
    /// Part of the Walk that is done.
    pub progress: Option<f32>,
    /// Pushes done.
    pub pushes: u64,
    /// Walks done.
    pub walks: u64,
    /// Tries that failed.
    pub failures: u64,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Why the last command after a push failed, until none does.
    pub hook_error: Option<String>,
    /// Pushes since the daemon's start.
    pub push_runs: Runs,
    /// Walks since the daemon's start.
    pub walk_runs: Runs,
}

impl Mirror {
    /// A Mirror that was never reached.
    pub fn new(id: &MirrorId, retry: RetryPlan) -> Self {
        let lane = || LaneState { wanted: false, activity: Activity::Idle };
        Self {
            pieces: 1,
            is_full: false,
            report: MirrorReport::default(),
            last_started: Moment::default(),
            fresh: lane(),
            walk: lane(),
            backoff: Backoff::new(retry, seed_of(&id.to_string())),
            blocked_until: None,
        }
    }

    /// There is work in this lane.
    pub fn want(&mut self, lane: Lane) {
        self.lane_mut(lane).wanted = true;
    }

    /// The lane that may be asked for now, if any.
    pub fn eligible(&self, now: Moment, walk_allowed: bool) -> Option<Lane> {
        if self.rests() || self.blocked_until.is_some_and(|until| until > now) {
            return None;
        }
        let ready = |state: &LaneState| state.wanted && state.activity == Activity::Idle;
        if ready(&self.fresh) {
            return Some(Lane::Fresh);
        }
        (walk_allowed && ready(&self.walk)).then_some(Lane::Slow)
    }

    /// When a lane that wants work but is blocked becomes free.
    pub fn unblocks_at(&self) -> Option<Moment> {
        if self.rests() {
            return None;
        }
        let lanes = [&self.fresh, &self.walk];
        let waits = |state: &&LaneState| state.wanted && state.activity == Activity::Idle;
        lanes.iter().any(waits).then_some(self.blocked_until)?
    }

    /// Nothing is to be begun before this moment; none: at any time. Returns whether that is news.
    pub fn rest_until(&mut self, until: Option<Moment>) -> bool {
        let apart = |old: Moment, new: Moment| (old - new).max(new - old);
        let same = match (self.report.quiet_until, until) {
            (Some(old), Some(new)) => apart(old, new) < QUIET_STEP,
            (old, new) => old == new,
        };
        if !same {
            self.report.quiet_until = until;
        }
        !same
    }

    fn rests(&self) -> bool {
        self.report.paused || self.report.quiet_until.is_some()
    }

    /// The collator is being asked.
    pub fn ask(&mut self, now: Moment, lane: Lane) {
        self.last_started = now;
        let state = self.lane_mut(lane);
        state.wanted = false;
        state.activity = Activity::Asked;
    }

    /// The collator had nothing.
    pub fn handle_nothing(&mut self, lane: Lane) {
        let state = self.lane_mut(lane);
        if state.activity == Activity::Asked {
            state.activity = Activity::Idle;
        }
    }

    /// Whether an answer is expected in this lane.
    pub fn is_asked(&self, lane: Lane) -> bool {
        self.lane(lane).activity == Activity::Asked
    }

    /// Work was handed out and starts.
    pub fn start(&mut self, lane: Lane, id: PushId, assignment: AssignmentId, is_walk: bool) {
        self.lane_mut(lane).activity = Activity::Running { id, assignment, is_walk };
        self.refresh();
    }

    /// Whether something is asked for or runs in this lane.
    pub fn is_busy(&self, lane: Lane) -> bool {
        self.lane(lane).activity != Activity::Idle
    }

    /// The lane and the assignment of this run.
    pub fn running(&self, id: PushId) -> Option<(Lane, AssignmentId)> {
        [Lane::Fresh, Lane::Slow].into_iter().find_map(|lane| match self.lane(lane).activity {
            Activity::Running { id: running, assignment, .. } if running == id => {
                Some((lane, assignment))
            }
            _ => None,
        })
    }

    /// The run in this lane is over.
    pub fn finish(&mut self, lane: Lane) {
        self.lane_mut(lane).activity = Activity::Idle;
        if lane == Lane::Slow {
            self.report.progress = None;
        }
        self.refresh();
    }

    /// A success: the next failure waits for `first` again.
    pub fn handle_success(&mut self, now: Moment, is_walk: bool) {
        self.report.reached = true;
        self.pieces = 1;
        self.is_full = false;
        self.report.halted = None;
        self.blocked_until = None;
        self.backoff.reset();
        let count = if is_walk { &mut self.report.walks } else { &mut self.report.pushes };
        *count += 1;
        self.report.last_success = Some(now);
        self.refresh();
    }

    /// It is tried at once, and the next failure waits for `first` again.
    pub fn unblock(&mut self) {
        self.blocked_until = None;
        self.backoff.reset();
    }

    /// A failure for which this Mirror waits.
    pub fn block(&mut self, now: Moment) {
        self.blocked_until = Some(now + self.backoff.next_pause());
    }

    /// Whoever was asked is gone.
    pub fn handle_unanswered(&mut self) {
        self.handle_nothing(Lane::Fresh);
        self.handle_nothing(Lane::Slow);
    }

    /// All activity is lost; what was under way is wanted again.
    pub fn handle_restart(&mut self) {
        for state in [&mut self.fresh, &mut self.walk] {
            state.wanted |= state.activity != Activity::Idle;
            state.activity = Activity::Idle;
        }
        self.refresh();
    }

    fn refresh(&mut self) {
        let runs = |walk: bool| {
            [&self.fresh, &self.walk].iter().any(|lane| {
                matches!(lane.activity, Activity::Running { is_walk, .. } if is_walk == walk)
            })
        };
        let (walking, pushing) = (runs(true), runs(false));
        self.report.walking = walking;
        self.report.pushing = pushing;
    }

    fn lane(&self, lane: Lane) -> &LaneState {
        match lane {
            Lane::Fresh => &self.fresh,
            Lane::Slow => &self.walk,
        }
    }

    fn lane_mut(&mut self, lane: Lane) -> &mut LaneState {
        match lane {
            Lane::Fresh => &mut self.fresh,
            Lane::Slow => &mut self.walk,
        }
    }
}
