//! A Root's directory, held by descriptor so that nobody can swap it for another.

use std::os::fd::AsFd;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

/// Which directory it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// Device number of the file system.
    pub device: u64,
    /// Inode number on it.
    pub inode: u64,
}

/// An open Root. Clones share the descriptor.
#[derive(Clone, Debug)]
pub struct SourceDir {
    fd: Arc<OwnedFd>,
    identity: Identity,
}

impl SourceDir {
    /// Keeps an open directory together with who it is.
    pub fn new(fd: OwnedFd, identity: Identity) -> Self {
        Self { fd: Arc::new(fd), identity }
    }

    /// Device and inode at the time it was opened.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// A name for this very directory that works in a child before it executes a program.
    pub fn proc_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd()))
    }
}

impl AsFd for SourceDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
