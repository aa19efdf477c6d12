//! What depends on the time of the week: how much may be sent, and where nothing is begun.

use std::collections::BTreeMap;
use std::time::Duration;

use actix::prelude::*;
use slog::info;

use super::TransferActor;
use crate::actors::kit::Mode;
use crate::actors::shell::Shell;
use crate::types::ids::MirrorId;
use crate::types::moment::Moment;
use crate::types::timetable::{WeekMinute, minutes_left};

impl TransferActor {
    /// Looks at the clock on the wall, and again when its minute is over. Whoever adjusts that clock, or the time of
    /// the year, is heeded so within a minute.
    pub(super) fn heed_time(&mut self, ctx: &mut Context<Self>) {
        let (time, left) = self.kit.clock.wall();
        let minute = WeekMinute::of(&time);
        let rate = self.bandwidth.at(minute);
        if let Some(throttle) = &self.throttle
            && throttle.set(rate)
        {
            let rate = rate.map(|rate| format!("{}/s", bytesize::ByteSize::b(rate)));
            info!(self.log, "Bandwidth"; "rate" => rate.as_deref().unwrap_or("unlimited"));
        }
        let now = self.kit.clock.now();
        let quiet = |(id, windows): (&MirrorId, &Vec<_>)| {
            let minutes = minutes_left(windows, minute)?;
            let full = Duration::from_secs(60) * u32::from(minutes.saturating_sub(1));
            Some((id.clone(), now + left + full))
        };
        let windows = || self.mirrors.iter().map(|(id, mirror)| (id, &mirror.quiet));
        let quiet: BTreeMap<MirrorId, Moment> = match self.kit.mode {
            Mode::Live => windows().filter_map(quiet).collect(),
            // Whoever asks for one pass wants it now.
            Mode::Once => BTreeMap::new(),
        };
        let is_timed = windows().any(|(_, windows)| !windows.is_empty())
            || !self.bandwidth.timetable.is_empty();
        if let Some(old) = self.live.minute.take() {
            ctx.cancel_future(old);
        }
        if is_timed {
            let again = ctx.run_later(left, Self::heed_time);
            self.live.minute = Some(again);
        }
        self.turn(ctx, |core, now| core.handle_quiet(now, &quiet));
    }
}
