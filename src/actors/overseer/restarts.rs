//! Actors that died: when each is started again.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::actors::message::Who;
use mirrorball_core::backoff::{Backoff, seed_of};
use mirrorball_core::data::moment::Moment;
use mirrorball_core::data::plan::RetryPlan;

/// Restarts with exponential backoff, for ever: one actor that keeps dying costs the others nothing.
#[derive(Default)]
pub(super) struct Restarts(BTreeMap<Who, Deaths>);

struct Deaths {
    backoff: Backoff,
    /// The longest pause. An actor that lived longer starts afresh.
    pause_max: Duration,
    started_at: Option<Moment>,
    due: Option<Moment>,
}

impl Restarts {
    /// Counts a death; returns when the actor is to be started again.
    pub(super) fn handle_death(&mut self, now: Moment, who: &Who, retry: RetryPlan) -> Moment {
        let deaths = self.0.entry(who.clone()).or_insert_with(|| Deaths {
            backoff: Backoff::new(retry, seed_of(who.name())),
            pause_max: retry.max,
            started_at: None,
            due: None,
        });
        if deaths.started_at.is_some_and(|started| now - started > deaths.pause_max) {
            deaths.backoff.reset();
        }
        let due = now + deaths.backoff.next_pause();
        deaths.due = Some(due);
        due
    }

    /// Whether the actor waits to be started at this moment. If so, it waits no more.
    pub(super) fn take(&mut self, now: Moment, who: &Who, due: Moment) -> bool {
        let Some(deaths) = self.0.get_mut(who).filter(|deaths| deaths.due == Some(due)) else {
            return false;
        };
        deaths.due = None;
        deaths.started_at = Some(now);
        true
    }

    /// The plan knows this actor no more, or another. Returns whether it waited for its restart.
    pub(super) fn forget(&mut self, who: &Who) -> bool {
        self.0.remove(who).is_some_and(|deaths| deaths.due.is_some())
    }

    /// Actors that wait for their restart.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Who> {
        self.0.iter().filter(|(_, deaths)| deaths.due.is_some()).map(|(who, _)| who)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_with_each_death_and_start_again_after_a_long_life() {
        let (first, max) = (Duration::from_secs(1), Duration::from_secs(60));
        let who = Who::Host("web1".into());
        let mut restarts = Restarts::default();
        let mut now = Moment::default();
        let mut pauses = Vec::new();
        for _ in 0..30 {
            let due = restarts.handle_death(now, &who, RetryPlan { first, max });
            assert!(restarts.waiting().eq([&who]));
            pauses.push(due - now);
            now = due;
            assert!(restarts.take(now, &who, due));
            assert!(!restarts.take(now, &who, due), "once");
            assert_eq!(restarts.waiting().count(), 0);
        }
        assert!(pauses[0] <= first && pauses[3] > first * 4 && pauses[29] >= max.mul_f64(0.8));
        let due = restarts.handle_death(now + max * 2, &who, RetryPlan { first, max });
        assert!(due - (now + max * 2) <= first);
        assert!(restarts.forget(&who));
        assert!(!restarts.take(due, &who, due), "the plan does not know it any more");
    }
}
