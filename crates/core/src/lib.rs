//! Every decision of mirrorball: what is mirrored where, when, how, and what the end of it means.
//!
//! No I/O, no clock, no threads: time is an argument, the world's answers are inputs. Machines have one
//! shape, [`machine::Rule`]. The map is in `docs/architecture.md`.

pub mod backoff;
pub mod data;
pub mod fleet;
pub mod host;
pub mod machine;
pub mod root;
pub mod source;
