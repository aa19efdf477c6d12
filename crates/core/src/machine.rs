//! The one shape of all rules with time in them.

use crate::data::moment::Moment;

/// A rule: its own `handle_*(now, …)` take what happened, and this is how it is driven.
pub trait Rule {
    /// What the rule wants done.
    type Effect;

    /// Does what is due; a spurious call changes nothing.
    fn handle_timeout(&mut self, now: Moment);

    /// When to call [`Self::handle_timeout`], if nothing else happens.
    fn poll_timeout(&self, now: Moment) -> Option<Moment>;

    /// The next thing to do; call until none.
    fn poll_effect(&mut self) -> Option<Self::Effect>;
}
