//! The kernel's events, free of the crates that read them.

use crate::data::path::RelPath;

bitflags::bitflags! {
    /// inotify's event bits that we ask for or are given; values as in `<sys/inotify.h>`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct EventMask: u32 {
        /// Written to.
        const MODIFY = 0x2;
        /// Metadata changed.
        const ATTRIB = 0x4;
        /// Closed by somebody who could write.
        const CLOSE_WRITE = 0x8;
        /// Old name of a rename.
        const MOVED_FROM = 0x40;
        /// New name of a rename.
        const MOVED_TO = 0x80;
        /// A new name.
        const CREATE = 0x100;
        /// A name is gone.
        const DELETE = 0x200;
        /// The watched directory itself is gone.
        const DELETE_SELF = 0x400;
        /// The watched directory itself was renamed.
        const MOVE_SELF = 0x800;
        /// The file system of the watched directory was unmounted.
        const UNMOUNT = 0x2000;
        /// The queue overflowed: events are lost.
        const OVERFLOW = 0x4000;
        /// The watch is gone.
        const IGNORED = 0x8000;
        /// The name is a directory's.
        const ISDIR = 0x4000_0000;
    }
}

/// One event as the kernel gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelEvent {
    /// Watch descriptor of the directory; -1 for an overflow.
    pub wd: i32,
    /// What happened.
    pub mask: EventMask,
    /// Joins the two names of a rename; 0 otherwise.
    pub cookie: u32,
    /// The entry of the directory, one component; empty for the directory itself.
    pub name: Vec<u8>,
}

/// What a whole file system told of the tree, each directory under the name that it has now. The kernel makes one
/// event of several for the same name that nobody has read yet, so nobody knows in which order they came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeEvent {
    /// What happened to an entry, all of it together.
    Entry(RelPath, EventMask),
    /// What happened to the Root itself.
    Root(EventMask),
    /// A rename; where a side is none, it lies outside of the Root.
    Renamed {
        /// The old name.
        from: Option<RelPath>,
        /// The new name.
        to: Option<RelPath>,
        /// Of a directory.
        is_directory: bool,
    },
    /// A name came in the directory of flush cookies.
    Cookie(Vec<u8>),
    /// Events are lost.
    Overflow,
}
