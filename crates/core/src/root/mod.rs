//! One root: its change log, what each mirror still owes, and how work is handed out.

pub mod backlog;
pub mod batch;
pub mod change_log;
pub mod checkpoint;
pub mod collator;
pub mod deletions;
pub mod epoch;
pub mod extras;
pub mod ledger;
pub mod mirror;
pub mod past;
pub mod renames;
pub mod shared_batch;
pub mod writers;
