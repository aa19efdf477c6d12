//! The real binary against real servers: what a user is promised.

#![allow(
    clippy::pedantic,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub
)]

#[path = "../support/mod.rs"]
mod support;

mod churn;
mod commands;
mod endings;
mod everyday;
mod fanotify;
mod faults;
mod hooks;
mod large;
mod least_rights;
mod looking;
mod mirror_directory;
mod page;
mod refusals;
mod renames;
mod rescans;
mod restart;
mod safety;
mod steer;
mod times;
mod trouble;
mod volumes;
mod warm;
mod watching;
