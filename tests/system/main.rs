//! The real binary against real servers: what a user is promised.

#![allow(
    clippy::pedantic,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub
)]

#[path = "../model/mod.rs"]
mod model;
mod support;

mod actix_contract;
mod approve;
mod bad_input;
mod barrier;
mod churn;
mod commands;
mod config;
mod endings;
mod everyday;
mod fanotify;
mod faults;
mod filter;
mod hanging;
mod hooks;
mod large;
mod least_rights;
mod looking;
mod mirror_directory;
mod page;
mod panic;
mod pieces;
mod proof;
mod refusals;
mod renames;
mod rescans;
mod restart;
mod rsync_model;
mod safety;
mod shells;
mod steer;
mod times;
mod transport;
mod trouble;
mod volumes;
mod warm;
mod watching;
