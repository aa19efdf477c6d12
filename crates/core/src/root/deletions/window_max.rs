//! The largest level within a window of time.

use std::collections::VecDeque;

use crate::data::limits::WINDOW_STEPS;

/// Levels that were held in the past, each with the step of time in which it ended: later ones are always smaller,
/// so the first is the largest, and there is at most one a step.
#[derive(Debug, Default)]
pub(super) struct WindowMax(VecDeque<(u64, u64)>);

impl WindowMax {
    /// This level was held until now.
    pub(super) fn hold_until(&mut self, step: u64, level: u64) {
        while self.0.back().is_some_and(|(_, smaller)| *smaller <= level) {
            self.0.pop_back();
        }
        let is_covered = self.0.back().is_some_and(|(last, _)| *last == step);
        if level > 0 && !is_covered {
            self.0.push_back((step, level));
        }
    }

    /// Forgets what ended before the window that ends in this step.
    pub(super) fn expire(&mut self, step: u64) {
        while self.expires().is_some_and(|expires| expires <= step) {
            self.0.pop_front();
        }
    }

    /// In which step the largest level is forgotten; none if there is none.
    pub(super) fn expires(&self) -> Option<u64> {
        let (ended, _) = self.0.front()?;
        Some(ended + u64::from(WINDOW_STEPS) + 1)
    }

    /// The largest level that is known; 0 if there is none.
    pub(super) fn largest(&self) -> u64 {
        self.0.front().map_or(0, |(_, level)| *level)
    }

    /// All levels had been larger by this, or smaller, though not below 0.
    pub(super) fn shift(&mut self, by: i64) {
        for (_, level) in &mut self.0 {
            *level = level.saturating_add_signed(by);
        }
        self.0.retain(|(_, level)| *level > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_level_lasts_for_the_window_and_a_step() {
        let mut window = WindowMax::default();
        window.hold_until(0, 10);
        window.hold_until(5, 7);
        window.hold_until(9, 8);
        window.expire(64);
        assert_eq!(window.largest(), 10);
        window.expire(65);
        assert_eq!(window.largest(), 8, "which ended after the smaller one");
        window.shift(-3);
        assert_eq!(window.largest(), 5);
        window.expire(9 + 65);
        assert_eq!((window.largest(), window.expires()), (0, None));
    }

    #[test]
    fn no_more_is_remembered_than_a_level_a_step() {
        let mut window = WindowMax::default();
        for change in 0..100_000 {
            window.hold_until(change / 100, 1_000_000 - change);
            window.expire(change / 100);
        }
        assert_eq!(window.0.len(), WINDOW_STEPS as usize + 1);
    }
}
