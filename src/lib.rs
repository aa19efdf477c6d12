//! mirrorball
pub mod core;
pub mod types;
