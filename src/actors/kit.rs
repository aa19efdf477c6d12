//! What every actor is given: the time, the log, and the ways to those who look on.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Local, Timelike};
use slog::Logger;
use tokio::time::Instant;

use crate::actors::links::{BoardLink, OverseerLink};
use crate::actors::slots::Slots;
use crate::transport::Transport;
use mirrorball_core::data::moment::Moment;
use mirrorball_core::data::plan::{HostPlan, Plan};

/// Given to each actor at its start; clones share everything.
#[derive(Clone)]
pub struct Kit {
    /// The time.
    pub clock: Clock,
    /// The daemon's log; actors add their own names.
    pub log: Logger,
    /// What is to be done.
    pub plan: Arc<Plan>,
    /// Live, or one pass.
    pub mode: Mode,
    /// Makes the way to a host.
    pub transports: TransportFactory,
    /// Bounds over all hosts.
    pub slots: Slots,
    /// Who wants to know how things stand.
    pub board: BoardLink,
    /// Who starts what died.
    pub overseer: OverseerLink,
}

/// Makes the way to a host; a test may put another in between.
pub type TransportFactory = Rc<dyn Fn(&HostPlan) -> Rc<dyn Transport>>;

/// What the daemon is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Keep the mirrors equal.
    Live,
    /// Make them equal once; nothing is watched.
    Once,
}

/// Reads the time. Follows tokio's clock, so that a test can pause it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    wall_start: SystemTime,
}

impl Clock {
    /// Counts from now.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    pub fn start() -> Self {
        Self { start: Instant::now(), wall_start: SystemTime::now() }
    }

    /// The time since the daemon's start.
    pub fn now(&self) -> Moment {
        Moment::after_start(self.start.elapsed())
    }

    /// Seconds since 1970.
    pub fn unix_seconds(&self) -> u64 {
        let wall = self.wall_start + self.start.elapsed();
        wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
    }

    /// What a clock on the wall shows here, and how long until its next full minute.
    #[expect(clippy::disallowed_methods, reason = "it may be adjusted while the daemon runs")]
    pub fn wall(&self) -> (DateTime<Local>, Duration) {
        let time = DateTime::<Local>::from(SystemTime::now());
        let passed = Duration::from_secs(time.second().into())
            + Duration::from_millis(time.timestamp_subsec_millis().into());
        // A little later, so that it has begun.
        (time, Duration::from_millis(60_010).saturating_sub(passed))
    }

    /// The same on the wall's clock as of the start: for people, RFC 3339.
    pub fn date(&self, moment: Moment) -> String {
        let since_start: Duration = moment - Moment::default();
        humantime::format_rfc3339_millis(self.wall_start + since_start).to_string()
    }
}
