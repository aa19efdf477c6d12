//! The real binary against real servers: what a user is promised.

#![allow(clippy::pedantic, missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

#[path = "../support/mod.rs"]
mod support;

mod churn;
mod commands;
mod everyday;
mod faults;
mod safety;
mod watching;
