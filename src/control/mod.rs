//! What the daemon answers: HTTP on a unix socket for its owner, and read-only on a TCP address.

pub mod api;
pub mod selector;
pub mod server;
