//! Checks: now and then each Mirror is compared whole, contents included, to find what somebody else has changed
//! on it.

use std::time::Duration;

use actix::prelude::*;
use slog::{info, warn};

use super::CollatorActor;
use crate::actors::message::Checked;
use crate::actors::shell::Shell;
use mirrorball_core::backoff::seed_of;
use mirrorball_core::data::ids::MirrorId;
use mirrorball_core::data::limits::{CHECK_RETRY, STUCK_SHOWN_MAX};
use mirrorball_core::data::step::Differences;

impl CollatorActor {
    /// Arms the next check of each Mirror. One that was never checked is checked when the interval has passed
    /// once.
    pub(super) fn arm_checks(&mut self, ctx: &mut Context<Self>) {
        for mirror in self.root.mirrors.clone() {
            self.begin_checks(ctx, &mirror.id);
        }
    }

    pub(super) fn begin_checks(&mut self, ctx: &mut Context<Self>, id: &MirrorId) {
        let now = self.kit.clock.unix_seconds();
        let last = self.memory.last_check(id).filter(|last| *last <= now);
        if last.is_none() {
            self.remember_check(id, now);
        }
        self.arm_check(ctx, id.clone(), Duration::from_secs(now - last.unwrap_or(now)));
    }

    fn arm_check(&mut self, ctx: &mut Context<Self>, id: MirrorId, passed: Duration) {
        let Some(every) = self.root.verify_every else { return };
        // Not all on the same day.
        let part = (seed_of(&id.to_string()) % 100) as u32;
        let pause = every.saturating_sub(passed) + every / 1000 * part;
        let mirror = id.clone();
        let armed = ctx.run_later(pause, move |act, ctx| {
            info!(act.log, "Checking the mirror, contents included"; "mirror" => %mirror);
            act.turn(ctx, |core, now| core.handle_check_due(now, &mirror));
        });
        if let Some(old) = self.live.checks.insert(id, armed) {
            ctx.cancel_future(old);
        }
    }

    pub(super) fn checked(
        &mut self,
        ctx: &mut Context<Self>,
        id: MirrorId,
        drift: Option<Differences>,
    ) {
        let Some(drift) = drift else {
            warn!(self.log, "The mirror could not be checked; that is tried again"; "mirror" => %id);
            let passed = self.root.verify_every.unwrap_or_default().saturating_sub(CHECK_RETRY);
            return self.arm_check(ctx, id, passed);
        };
        if drift.total > 0 {
            let first = drift.first.iter().take(STUCK_SHOWN_MAX).cloned().collect::<Vec<_>>();
            warn!(self.log, "The mirror had been changed by somebody else, and is repaired";
                "mirror" => %id, "entries" => drift.total, "first" => first.join(", "));
        } else {
            info!(self.log, "The mirror holds what it should"; "mirror" => %id);
        }
        let shown = drift.first.into_iter().take(STUCK_SHOWN_MAX).collect();
        let drift = Differences { first: shown, ..drift };
        self.checks.insert(id.clone(), Checked { at: self.kit.clock.now(), drift });
        self.remember_check(&id, self.kit.clock.unix_seconds());
        self.live.report = true;
        self.arm_check(ctx, id, Duration::ZERO);
    }

    fn remember_check(&self, id: &MirrorId, at: u64) {
        if let Err(error) = self.memory.keep_check(id, at) {
            warn!(self.log, "When the mirror was checked can't be kept"; "mirror" => %id,
                "why" => %error);
        }
    }
}
