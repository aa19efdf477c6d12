//! One root: its change log, what each mirror still owes, and how work is handed out.

pub mod batch;
pub mod change_log;
pub mod checkpoint;
pub mod collator;
pub mod debts;
pub mod deletions;
pub mod epoch;
pub mod renames;
pub mod shared_batch;
