//! A model of a file system and of rsync, for tests: in the simulation it stands for the world, and
//! `tests/system/rsync_model.rs` compares it with the real rsync.
//!
//! It uses nothing but `std` and the types of `mirrorball-core`, and it draws no random numbers: equal calls give
//! equal trees.

#![allow(dead_code)]

pub mod fs;
pub mod generator;
pub mod listing;
pub mod options;
pub mod record;
pub mod rsync;
