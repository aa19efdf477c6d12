//! What the daemon answers: HTTP on a unix socket for its owner, and read-only on a TCP address.

pub mod api;
pub mod approve;
pub mod details;
pub mod explain;
pub mod metrics;
pub mod openapi;
pub mod refusal;
pub mod reload;
pub mod selector;
pub mod server;
pub mod steer;
pub mod watch;
