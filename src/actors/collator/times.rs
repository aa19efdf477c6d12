//! Walks at set times.

use actix::prelude::*;
use slog::info;

use super::CollatorActor;
use crate::actors::shell::Shell;
use mirrorball_core::data::ids::MirrorId;

impl CollatorActor {
    /// Looks at the clock on the wall each minute, which may be adjusted: what was to begin since the last look begins.
    /// What was missed while no daemon ran is not made up for.
    pub(super) fn heed_time(&mut self, ctx: &mut Context<Self>) {
        let (time, left) = self.kit.clock.wall();
        let seen = self.live.seen.replace(time);
        let next = self.root.walk_at.as_ref().zip(seen).and_then(|(at, seen)| at.next_after(&seen));
        if next.is_some_and(|next| next <= time) {
            let ids: Vec<MirrorId> = self.core.mirrors().cloned().collect();
            info!(self.log, "Walks begin, as set"; "mirrors" => ids.len());
            self.turn(ctx, |core, now| ids.iter().for_each(|id| core.handle_walk_due(now, id)));
        }
        if let Some(old) = self.live.minute.take() {
            ctx.cancel_future(old);
        }
        if self.root.walk_at.is_some() {
            self.live.minute = Some(ctx.run_later(left, Self::heed_time));
        } else {
            self.live.seen = None;
        }
    }
}
