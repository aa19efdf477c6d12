//! One inotify descriptor: watches by directory descriptor, and the kernel's queue, read to its end.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::task::{Context, Poll};

use inotify::{EventMask as CrateMask, Inotify, WatchDescriptor, WatchMask};
use tokio::io::unix::AsyncFd;

use crate::types::event::{EventMask, KernelEvent};
use crate::types::limits::EVENT_BUFFER_BYTES;

/// The kernel's queue of events for one Root.
pub struct EventQueue {
    fd: AsyncFd<Descriptor>,
    buffer: Vec<u8>,
    watches: std::collections::BTreeMap<i32, WatchDescriptor>,
}

struct Descriptor(Inotify);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Why a directory could not be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The limit of watches is reached.
    #[error(
        "the limit of inotify watches is reached (fs.inotify.max_user_watches = {limit}); raise it: \
         sysctl fs.inotify.max_user_watches={suggested}, and the same line in /etc/sysctl.d/"
    )]
    OutOfWatches {
        /// The limit now.
        limit: u64,
        /// A limit that helps.
        suggested: u64,
    },
    /// Anything else.
    #[error("cannot watch the directory: {0}")]
    Io(#[from] io::Error),
}

impl EventQueue {
    /// A new queue without watches.
    pub fn new() -> io::Result<Self> {
        let inotify = Inotify::init().map_err(|error| {
            let hint = "cannot make an inotify instance (see fs.inotify.max_user_instances)";
            io::Error::new(error.kind(), format!("{hint}: {error}"))
        })?;
        Ok(Self {
            fd: AsyncFd::new(Descriptor(inotify))?,
            buffer: vec![0; EVENT_BUFFER_BYTES],
            watches: std::collections::BTreeMap::new(),
        })
    }

    /// Watches the very directory that this descriptor is open on, whatever its name is now. A
    /// directory that is watched already keeps its watch descriptor.
    pub fn watch(&mut self, directory: BorrowedFd<'_>) -> Result<i32, WatchError> {
        let mask = WatchMask::ATTRIB
            | WatchMask::CLOSE_WRITE
            | WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::DELETE_SELF
            | WatchMask::MODIFY
            | WatchMask::MOVED_FROM
            | WatchMask::MOVED_TO
            | WatchMask::MOVE_SELF
            | WatchMask::EXCL_UNLINK
            | WatchMask::ONLYDIR;
        let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
        let watch = self.fd.get_ref().0.watches().add(path, mask).map_err(|error| {
            if error.raw_os_error() == Some(rustix::io::Errno::NOSPC.raw_os_error()) {
                let limit = watches_max().unwrap_or_default();
                WatchError::OutOfWatches { limit, suggested: (limit * 4).max(1_048_576) }
            } else {
                WatchError::Io(error)
            }
        })?;
        let id = watch.get_watch_descriptor_id();
        self.watches.insert(id, watch);
        Ok(id)
    }

    /// Gives a watch back. One that the kernel has taken already is no error.
    pub fn unwatch(&mut self, wd: i32) {
        if let Some(watch) = self.watches.remove(&wd) {
            drop(self.fd.get_ref().0.watches().remove(watch));
        }
    }

    /// Number of watches.
    pub fn len(&self) -> usize {
        self.watches.len()
    }

    /// Whether nothing is watched.
    pub fn is_empty(&self) -> bool {
        self.watches.is_empty()
    }

    /// The events of one kernel read.
    pub fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Vec<KernelEvent>>> {
        loop {
            let mut ready = match self.fd.poll_read_ready_mut(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => return Poll::Pending,
            };
            let buffer = &mut self.buffer;
            let read = ready.try_io(|fd| {
                let events = fd.get_mut().0.read_events(buffer)?;
                Ok(events.map(|event| plain(&event)).collect::<Vec<_>>())
            });
            if let Ok(result) = read {
                return Poll::Ready(result);
            }
        }
    }
}

impl AsFd for EventQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.get_ref().0.as_fd()
    }
}

/// The kernel's limit of watches for this user.
pub fn watches_max() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_watches").ok()?;
    text.trim().parse().ok()
}

fn plain(event: &inotify::Event<&std::ffi::OsStr>) -> KernelEvent {
    let wd = if event.mask.contains(CrateMask::Q_OVERFLOW) {
        -1
    } else {
        event.wd.get_watch_descriptor_id()
    };
    KernelEvent {
        wd,
        mask: EventMask::from_bits_truncate(event.mask.bits()),
        cookie: event.cookie,
        name: event.name.map(|name| name.as_bytes().to_vec()).unwrap_or_default(),
    }
}
