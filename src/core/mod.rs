//! The rules: what to push, when, where to, and what its end means. No I/O, no clock, no actors.
//!
//! Rules with time in them have one shape: `handle_*(now, …)` takes what happened, `poll_timeout()`
//! says when to wake it, `poll_effect()` is drained for what to do: [`rule::Rule`].

pub mod backoff;
pub mod batch;
pub mod change_log;
pub mod checkpoint;
pub mod collator;
pub mod debts;
pub mod directory;
pub mod filter;
pub mod hook;
pub mod host;
pub mod link_table;
pub mod mirror;
pub mod open_epoch;
pub mod push;
pub mod reload;
pub mod renames;
pub mod rule;
pub mod safety;
pub mod shared_batch;
pub mod snapshot;
pub mod steps;
pub mod tree_events;
pub mod verdict;
pub mod watch_table;
