//! mirrorball
pub mod core;
pub mod types;
pub mod watch;
pub mod config;
pub mod transport;
