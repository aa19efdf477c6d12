//! The source's side of the world: the kernel's event queue, opening and listing directories without
//! following links, and what is at a path now.

pub mod beneath;
pub mod explore;
pub mod fanotify;
pub mod inotify;
pub mod mounts;
pub mod presence;
pub mod scan;
pub mod source;
pub mod volumes;
