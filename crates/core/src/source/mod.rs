//! The source: which paths are watched, what events mean, which names are mirrored, who the source is.

pub mod entry_count;
pub mod filter;
pub mod identity;
pub mod link_table;
pub mod snapshot;
pub mod tree_events;
pub mod watch_table;
