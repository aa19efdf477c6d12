//! Walks at set times.

use actix::prelude::*;
use chrono::{DateTime, Local};
use slog::info;

use super::CollatorActor;
use crate::actors::shell::Shell;
use crate::types::ids::MirrorId;

impl CollatorActor {
    /// Arms the next walk of all Mirrors. What was missed while no daemon ran is not made up for.
    pub(super) fn arm_walks(&mut self, ctx: &mut Context<Self>) {
        if let Some(old) = self.live.walk.take() {
            ctx.cancel_future(old);
        }
        if self.root.walk_at.is_some() {
            self.wait_for_walk(ctx, self.kit.clock.wall().0);
        }
    }

    /// Looks at the clock on the wall each minute, which may be adjusted; what began after `seen` begins.
    fn wait_for_walk(&mut self, ctx: &mut Context<Self>, seen: DateTime<Local>) {
        let (_, left) = self.kit.clock.wall();
        let armed = ctx.run_later(left, move |act, ctx| {
            let (time, _) = act.kit.clock.wall();
            let next = act.root.walk_at.as_ref().and_then(|times| times.next_after(&seen));
            if next.is_some_and(|next| next <= time) {
                let ids: Vec<MirrorId> = act.core.mirrors().cloned().collect();
                info!(act.log, "Walks begin, as set"; "mirrors" => ids.len());
                act.turn(ctx, |core, now| {
                    ids.iter().for_each(|id| core.handle_walk_wanted(now, id));
                });
            }
            act.wait_for_walk(ctx, time);
        });
        self.live.walk = Some(armed);
    }
}
