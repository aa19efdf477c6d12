//! A model of a file system and of rsync, for tests: in the simulation it stands for the world, and
//! `tests/system/rsync_model.rs` compares it with the real rsync.
//!
//! It uses nothing but `std` and the types of `mirrorball-core`, and it draws no random numbers: equal calls give
//! equal trees.

//!
//! Left out: `--fuzzy`, which changes what is sent and not what arrives, but for a message of directories that it can't
//! read; blocks and compression; groups, ACLs and extended attributes; groups of names with `--hard-links`; names that
//! rsync would escape in a message.

#![allow(dead_code)]

pub mod fs;
pub mod generator;
pub mod listing;
pub mod options;
pub mod record;
pub mod rsync;
