//! Plain data that every part may use.

pub mod absent_volumes;
pub mod attributes;
pub mod awaiting;
pub mod batch;
pub mod change;
pub mod event;
pub mod explanation;
pub mod ids;
pub mod limits;
pub mod list_id;
pub mod moment;
pub mod name;
pub mod need;
pub mod outcome;
pub mod path;
pub mod piece;
pub mod plan;
pub mod rsync_options;
pub mod runs;
pub mod snapshot;
pub mod source_dir;
pub mod status;
pub mod step;
pub mod timetable;
