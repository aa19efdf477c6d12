//! What depends on the time of the week: how much may be sent, and where nothing is begun.

use std::collections::BTreeMap;
use std::time::Duration;

use actix::prelude::*;
use slog::info;

use super::TransferActor;
use crate::actors::kit::Mode;
use crate::actors::shell::Shell;
use crate::transport::pace::Pace;
use mirrorball_core::data::ids::MirrorId;
use mirrorball_core::data::moment::Moment;
use mirrorball_core::data::timetable::{WeekMinute, minutes_left};

impl TransferActor {
    /// Looks at the clock on the wall, and again when its minute is over. Whoever adjusts that clock, or the time of
    /// the year, is heeded so within a minute.
    pub(super) fn heed_time(&mut self, ctx: &mut Context<Self>) {
        let (time, left) = self.kit.clock.wall();
        let minute = WeekMinute::of(&time);
        self.heed_bandwidth(minute);
        let quiet = self.quiet(minute, left);
        // Before whatever else is due.
        self.core.handle_quiet(self.kit.clock.now(), &quiet);
        self.turn(ctx, |_, _| ());
        if let Some(old) = self.live.minute.take() {
            ctx.cancel_future(old);
        }
        let is_timed = !self.bandwidth.timetable.is_empty()
            || self.mirrors.values().any(|mirror| !mirror.quiet.is_empty());
        self.live.minute = is_timed.then(|| ctx.run_later(left, Self::heed_time));
    }

    /// How fast a run that begins now may be; `may_last`: it may see another time of the day.
    pub(super) fn pace(&self, may_last: bool) -> Pace {
        if !self.bandwidth.is_limited() {
            return Pace::default();
        }
        let told = self.throttle.told(self.bandwidth.max(), may_last, self.timeout / 4);
        Pace { moved: None, sent: Some(self.throttle.clone()), told }
    }

    fn heed_bandwidth(&self, minute: WeekMinute) {
        let rate = self.bandwidth.at(minute);
        if self.throttle.set(rate) {
            let rate = rate.map(|rate| format!("{}/s", bytesize::ByteSize::b(rate)));
            info!(self.log, "Bandwidth"; "rate" => rate.as_deref().unwrap_or("unlimited"));
        }
    }

    /// Until when nothing is begun on which Mirrors; `left` of this minute are left.
    fn quiet(&self, minute: WeekMinute, left: Duration) -> BTreeMap<MirrorId, Moment> {
        // Whoever asks for one pass wants it now.
        if self.kit.mode == Mode::Once {
            return BTreeMap::new();
        }
        let end = self.kit.clock.now() + left;
        let quiet = self.mirrors.iter().filter_map(|(id, mirror)| {
            let minutes = minutes_left(&mirror.quiet, minute)?;
            Some((id.clone(), end + Duration::from_secs(60) * u32::from(minutes - 1)))
        });
        quiet.collect()
    }
}
