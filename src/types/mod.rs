//! Plain data that every room may use: no I/O, no clock, no actors.

pub mod batch;
pub mod change;
pub mod event;
pub mod explanation;
pub mod ids;
pub mod limits;
pub mod moment;
pub mod name;
pub mod outcome;
pub mod plan;
pub mod rel_path;
pub mod rsync_options;
pub mod runs;
pub mod snapshot;
pub mod source_dir;
pub mod status;
pub mod step;
pub mod timetable;
