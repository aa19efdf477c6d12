//! What concerns all roots and hosts together.

pub mod reload;
