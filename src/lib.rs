//! mirrorball keeps one directory tree equal on many hosts, live, over rsync and ssh.
//!
//! Rooms, from top to bottom; each imports only from rooms below it (`tests/tidy.rs` says so):
//!
//! - [`cli`]: what people type, one file per verb; the live table
//! - [`control`]: what the daemon answers on its socket
//! - [`actors`]: shells around the rules; start at [`actors::message`], the whole vocabulary
//! - [`config`]: RON as written becomes a Plan as meant
//! - [`watch`]: the source's side of the world: inotify, opening, listing, looking
//! - [`transport`]: the hosts' side of the world: rsync, ssh, processes
//! - [`core`]: the rules; no I/O, no clock, no actors
//! - [`types`]: plain data
//!
//! The way of a change: [`actors::watcher`] → [`core::watch_table`] → [`actors::collator`] →
//! [`core::collator`] → [`core::change_log`] → [`core::batch`] → [`actors::transfer`] →
//! [`core::host`] → [`core::steps`] → [`transport::rsync`] → [`core::verdict`] → back to the log.

pub mod actors;
pub mod cli;
pub mod config;
pub mod control;
pub mod core;
pub mod transport;
pub mod types;
pub mod watch;
