//! What one Mirror holds and owes, as its Root's log sees it.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::backoff::{Backoff, seed_of};
use crate::types::change::{Epoch, Kinds, Ticket};
use crate::types::limits::STUCK_PATHS_MAX;
use crate::types::moment::Moment;
use crate::types::outcome::Failed;
use crate::types::plan::RetryPlan;
use crate::types::rel_path::RelPath;

/// What one Mirror holds and owes.
#[derive(Debug)]
pub struct Debts {
    /// The newest Epoch that it fully holds, a Walk that is owed aside.
    pub cursor: Epoch,
    /// Since when it owes a Walk.
    pub walk_owed: Option<Moment>,
    /// Paths that failed.
    pub stuck: BTreeMap<RelPath, Stuck>,
    /// The Push of fresh changes under way.
    pub fresh: Option<Running>,
    /// The Walk under way.
    pub walk: Option<Running>,
    /// How its stuck paths are tried again.
    pub retry: RetryPlan,
}

/// A path that failed; it is tried again on its own backoff.
#[derive(Debug)]
pub struct Stuck {
    /// What is to be brought there.
    pub kinds: Kinds,
    /// Why it failed last.
    pub reason: String,
    /// When it failed first.
    pub since: Moment,
    /// When it is due again.
    pub retry_at: Moment,
    /// Its growing pauses.
    pub backoff: Backoff,
}

/// Work that was handed out.
#[derive(Debug)]
pub struct Running {
    /// What the end of this work must name.
    pub ticket: Ticket,
    /// The Cursor when it was handed out.
    pub from: Epoch,
    /// What the Cursor will be.
    pub to: Epoch,
    /// Stuck paths that this work tries again.
    pub tried: BTreeSet<RelPath>,
}

impl Debts {
    /// The Epoch above which the log must be kept for it; none if a Walk covers everything anyway.
    pub fn holds(&self) -> Option<Epoch> {
        match (&self.walk, self.walk_owed) {
            (Some(walk), _) => Some(self.cursor.min(walk.to)),
            (None, Some(_)) => None,
            (None, None) => Some(self.cursor),
        }
    }

    /// A Walk is owed and not under way: it goes before fresh changes, and covers them.
    pub fn walk_waits(&self) -> bool {
        self.walk_owed.is_some() && self.walk.is_none()
    }

    /// Where its Cursor stands or may come to stand.
    pub fn standpoints(&self) -> impl Iterator<Item = Epoch> + use<> {
        let running = [&self.fresh, &self.walk].map(|r| r.as_ref().map(|r| r.to));
        std::iter::once(self.cursor).chain(running.into_iter().flatten())
    }

    /// It is in doubt from now on, unless it was already.
    pub fn owe_walk(&mut self, now: Moment) {
        self.walk_owed.get_or_insert(now);
    }

    /// Fresh changes up to the end of the work are there, but for those that failed.
    pub fn arrive(&mut self, now: Moment, running: &Running, failed: &[Failed]) {
        // A Walk that ended meanwhile has put the Cursor back: what lies between is pushed again first.
        if running.from <= self.cursor {
            self.cursor = self.cursor.max(running.to);
        }
        self.settle_stuck(now, running, failed);
    }

    /// Paths that were tried and did not fail are no longer stuck; those that failed are.
    pub fn settle_stuck(&mut self, now: Moment, running: &Running, failed: &[Failed]) {
        let still: BTreeSet<&RelPath> = failed.iter().map(|f| &f.path).collect();
        for path in running.tried.iter().filter(|path| !still.contains(path)) {
            self.stuck.remove(path);
        }
        for Failed { path, kinds, reason } in failed {
            let retry = self.retry;
            let stuck = self.stuck.entry(path.clone()).or_insert_with(|| Stuck {
                kinds: *kinds,
                reason: String::new(),
                since: now,
                retry_at: now,
                backoff: Backoff::new(retry, seed_of(&path.to_string())),
            });
            stuck.kinds |= *kinds;
            stuck.reason.clone_from(reason);
            stuck.retry_at = now + stuck.backoff.next_pause();
        }
        if self.stuck.len() > STUCK_PATHS_MAX {
            self.stuck.clear();
            self.owe_walk(now);
        }
    }
}
