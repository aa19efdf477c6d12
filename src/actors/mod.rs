//! Shells around the rules: each feeds its rule, carries out its effects and arms one wake-up. The only
//! room that knows actix, and the place where `core`, `watch` and `transport` meet.

pub mod board;
pub mod collator;
pub mod kit;
pub mod links;
pub mod memory;
pub mod message;
pub mod notice;
pub mod overseer;
pub mod send;
pub mod shell;
pub mod slots;
pub mod store;
pub mod transfer;
pub mod watched;
pub mod watcher;
