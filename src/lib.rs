//! mirrorball keeps one directory tree equal on many hosts, live, over rsync and ssh.
//!
//! Rooms, from top to bottom; each imports only from rooms below it (`tests/rules/tidy.rs` says so):
//!
//! - [`cli`]: what people type, one file per verb; the live table
//! - [`control`]: what the daemon answers on its socket
//! - [`actors`]: shells around the rules; start at [`actors::message`], the whole vocabulary
//! - [`config`]: RON as written becomes a Plan as meant
//! - [`watch`]: the source's side of the world: inotify, opening, listing, looking
//! - [`transport`]: the hosts' side of the world: rsync, ssh, processes
//!
//! Every decision is made in [`mirrorball_core`], which knows no I/O, no clock and no actors.
//!
//! The way of a change: [`actors::watcher`] → [`mirrorball_core::source`] → [`actors::collator`] →
//! [`mirrorball_core::root`] → [`actors::transfer`] → [`mirrorball_core::host`] → [`transport::rsync`] →
//! [`mirrorball_core::host::rsync_output`] → back to the log.

pub mod actors;
pub mod cli;
pub mod config;
pub mod control;
pub mod transport;
pub mod watch;
