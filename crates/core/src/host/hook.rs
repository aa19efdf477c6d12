//! One command after pushes to one Mirror: not more often than it may, one at a time, and nothing is left untold.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::data::batch::Batch;
use crate::data::change::Epoch;
use crate::data::limits::HOOK_PATHS_MAX;
use crate::data::moment::Moment;
use crate::data::path::RelPath;

/// What a command is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Everything may have changed: a Walk, or more than can be named.
    pub whole: bool,
    /// Paths that were sent or deleted; of a directory that was sent whole, the directory.
    pub paths: BTreeSet<RelPath>,
    /// What the Mirror holds now.
    pub epoch: Epoch,
}

impl Pushed {
    /// By this work.
    pub fn by(batch: &Batch) -> Self {
        let present = batch.present.iter().chain(&batch.subtrees).map(|it| &it.path);
        let renamed = batch.renames.iter().flat_map(|it| [&it.from, &it.to]);
        let gone = batch.missing.iter().chain(batch.extras.keys());
        let paths = present.chain(gone).chain(renamed).cloned().collect();
        Self { whole: batch.compares.is_some(), paths, epoch: batch.to }.bounded()
    }

    fn join(&mut self, other: Self) {
        self.whole |= other.whole;
        self.epoch = self.epoch.max(other.epoch);
        self.paths.extend(other.paths);
        *self = std::mem::take(self).bounded();
    }

    /// Where everything may have changed, names say nothing.
    fn bounded(mut self) -> Self {
        self.whole |= self.paths.len() > HOOK_PATHS_MAX;
        if self.whole {
            self.paths.clear();
        }
        self
    }
}

/// When a command is run.
#[derive(Debug)]
pub struct Hook {
    every: Duration,
    waiting: Option<Pushed>,
    is_running: bool,
    /// It may start again then.
    next: Moment,
}

impl Hook {
    /// One that never ran.
    pub fn new(every: Duration) -> Self {
        Self { every, waiting: None, is_running: false, next: Moment::default() }
    }

    /// Something was pushed.
    pub fn handle_pushed(&mut self, pushed: Pushed) {
        match &mut self.waiting {
            Some(waiting) => waiting.join(pushed),
            None => self.waiting = Some(pushed),
        }
    }

    /// It has ended.
    pub fn handle_ended(&mut self) {
        self.is_running = false;
    }

    /// What to run it with now, if it may be.
    pub fn take(&mut self, now: Moment) -> Option<Pushed> {
        if self.is_running || self.next > now {
            return None;
        }
        let pushed = self.waiting.take()?;
        self.is_running = true;
        self.next = now + self.every;
        Some(pushed)
    }

    /// When it may be taken; none while nothing waits, or until it ends.
    pub fn due(&self) -> Option<Moment> {
        (self.waiting.is_some() && !self.is_running).then_some(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(path: &str, epoch: u64) -> Pushed {
        Pushed { whole: false, paths: [path.into()].into(), epoch: Epoch(epoch) }
    }

    fn at(second: u64) -> Moment {
        Moment::default() + Duration::from_secs(second)
    }

    #[test]
    fn a_command_runs_one_at_a_time_and_is_told_of_all_that_came_meanwhile() {
        let mut hook = Hook::new(Duration::from_secs(10));
        hook.handle_pushed(pushed("a", 1));
        assert_eq!(hook.take(at(1)), Some(pushed("a", 1)));
        hook.handle_pushed(pushed("b", 2));
        hook.handle_pushed(pushed("c", 3));
        assert_eq!((hook.take(at(20)), hook.due()), (None, None), "it still runs");
        hook.handle_ended();
        assert_eq!(hook.due(), Some(at(11)));
        let both = Pushed { paths: ["b".into(), "c".into()].into(), ..pushed("c", 3) };
        assert_eq!(hook.take(at(11)), Some(both));
        hook.handle_ended();
        assert_eq!(hook.take(at(99)), None, "nothing has come");
    }

    #[test]
    fn more_than_can_be_named_is_everything() {
        let mut hook = Hook::new(Duration::ZERO);
        for number in 0..=HOOK_PATHS_MAX {
            hook.handle_pushed(pushed(&number.to_string(), 1));
        }
        let all = hook.take(at(1)).unwrap();
        assert!(all.whole && all.paths.is_empty());
    }
}
