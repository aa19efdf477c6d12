//! A Root's directory, held by descriptor so that nobody can swap it for another.

use std::os::fd::AsFd;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

/// Which directory it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// Device number of the file system.
    pub device: u64,
    /// Inode number on it.
    pub inode: u64,
}

/// Which file system is mounted somewhere. Device numbers are used again, for the next tmpfs at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Device number.
    pub device: u64,
    /// Its identity, as `statfs(2)` has it.
    pub file_system: u64,
}

/// Which directory it is, also after the machine was started anew, when devices have other numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Lasting {
    /// Inode number.
    pub inode: u64,
    /// When it was made, in nanoseconds since 1970, where its file system keeps that.
    pub born: Option<i64>,
    /// The identity of its file system, as `statfs(2)` has it.
    pub file_system: u64,
}

impl Lasting {
    /// Whether both are the same directory.
    pub fn is_same(self, other: Self) -> bool {
        let is_same_file_system = match (self.born, other.born) {
            // To the nanosecond, no two directories of one number are.
            (Some(born), Some(other)) => born == other,
            _ => self.file_system == other.file_system,
        };
        self.inode == other.inode && is_same_file_system
    }
}

/// An open Root. Clones share the descriptor.
#[derive(Clone, Debug)]
pub struct SourceDir {
    held: Arc<Held>,
    identity: Identity,
}

#[derive(Debug)]
struct Held {
    fd: OwnedFd,
    is_given_up: AtomicBool,
}

impl SourceDir {
    /// Keeps an open directory together with who it is.
    pub fn new(fd: OwnedFd, identity: Identity) -> Self {
        let held = Held { fd, is_given_up: AtomicBool::new(false) };
        Self { held: Arc::new(held), identity }
    }

    /// Device and inode at the time it was opened.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Nobody is to begin anything with it any more, or with a clone of it.
    pub fn give_up(&self) {
        self.held.is_given_up.store(true, Ordering::Relaxed);
    }

    /// Whether somebody gave it up.
    pub fn is_given_up(&self) -> bool {
        self.held.is_given_up.load(Ordering::Relaxed)
    }

    /// The same, without keeping it open, or its file system busy.
    pub fn downgrade(&self) -> WeakSourceDir {
        WeakSourceDir { held: Arc::downgrade(&self.held), identity: self.identity }
    }

    /// A name for this very directory that works in a child before it executes a program.
    pub fn proc_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.held.fd.as_raw_fd()))
    }
}

/// A Root that is open only as long as somebody else keeps it open.
#[derive(Clone, Debug)]
pub struct WeakSourceDir {
    held: Weak<Held>,
    identity: Identity,
}

impl WeakSourceDir {
    /// The Root, if it is still open and was not given up.
    pub fn upgrade(&self) -> Option<SourceDir> {
        let source = SourceDir { held: self.held.upgrade()?, identity: self.identity };
        (!source.is_given_up()).then_some(source)
    }
}

impl AsFd for SourceDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.held.fd.as_fd()
    }
}
