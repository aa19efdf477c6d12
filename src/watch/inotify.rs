//! One inotify descriptor: watches by directory descriptor, and the kernel's queue as a stream.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use futures_util::{Stream, StreamExt};
use inotify::{EventMask as CrateMask, EventOwned, Inotify, WatchDescriptor, WatchMask, Watches};

use mirrorball_core::data::event::{EventMask, KernelEvent};
use mirrorball_core::data::limits::{EVENT_BUFFER_BYTES, EVENTS_AT_ONCE_MAX};

/// The watches of one Root.
pub struct WatchSet {
    queue: OwnedFd,
    watches: Watches,
    known: BTreeMap<i32, WatchDescriptor>,
}

/// Why a directory could not be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The limit of watches is reached.
    #[error("the limit of inotify watches is reached")]
    OutOfWatches,
    /// Only who may read a directory may watch it.
    #[error("no permission to watch the directory")]
    Denied,
    /// Anything else.
    #[error("cannot watch the directory: {0}")]
    Io(#[from] io::Error),
}

/// Makes an inotify instance: its watches, and what the kernel says of them, all that is there at once.
pub fn open() -> io::Result<(WatchSet, impl Stream<Item = io::Result<Vec<KernelEvent>>> + Unpin)> {
    let inotify = Inotify::init().map_err(|error| {
        let hint = "cannot make an inotify instance (see fs.inotify.max_user_instances)";
        io::Error::new(error.kind(), format!("{hint}: {error}"))
    })?;
    let queue = inotify.as_fd().try_clone_to_owned()?;
    let events = inotify.into_event_stream(vec![0; EVENT_BUFFER_BYTES])?;
    let watch_set = WatchSet { queue, watches: events.watches(), known: BTreeMap::new() };
    let reads = events
        .ready_chunks(EVENTS_AT_ONCE_MAX)
        .map(|read| read.into_iter().map(|event| Ok(plain(event?))).collect());
    Ok((watch_set, reads))
}

impl WatchSet {
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
        let watch = self.watches.add(path, mask).map_err(|error| {
            if error.raw_os_error() == Some(rustix::io::Errno::NOSPC.raw_os_error()) {
                WatchError::OutOfWatches
            } else if error.kind() == io::ErrorKind::PermissionDenied {
                WatchError::Denied
            } else {
                WatchError::Io(error)
            }
        })?;
        let id = watch.get_watch_descriptor_id();
        self.known.insert(id, watch);
        Ok(id)
    }

    /// Whether the kernel has no event for us now.
    pub fn queue_is_empty(&self) -> bool {
        rustix::io::ioctl_fionread(&self.queue) == Ok(0)
    }

    /// Gives a watch back. One that the kernel has taken already is no error.
    pub fn unwatch(&mut self, wd: i32) {
        if let Some(watch) = self.known.remove(&wd) {
            drop(self.watches.remove(watch));
        }
    }
}

/// The kernel's limit of watches for this user, in this user namespace.
pub fn watches_max() -> Option<u64> {
    let limits = ["/proc/sys/fs/inotify/max_user_watches", "/proc/sys/user/max_inotify_watches"];
    limits.iter().filter_map(|p| std::fs::read_to_string(p).ok()?.trim().parse().ok()).min()
}

fn plain(event: EventOwned) -> KernelEvent {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hard_case_23_a_directory_keeps_its_watch_whatever_its_name_has_become() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        std::fs::create_dir(&old).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut watches, mut events) = open().unwrap();
            let opened = std::fs::File::open(&old).unwrap();
            // Swapped between opening and watching: what was opened is watched, not what has its name.
            std::fs::rename(&old, &new).unwrap();
            std::fs::create_dir(&old).unwrap();
            let wd = watches.watch(opened.as_fd()).unwrap();
            let again = std::fs::File::open(&new).unwrap();
            assert_eq!(watches.watch(again.as_fd()).unwrap(), wd);
            std::fs::write(old.join("unheard"), "x").unwrap();
            std::fs::write(new.join("heard"), "x").unwrap();
            let heard = events.next().await.unwrap().unwrap();
            assert!(
                heard.iter().all(|event| event.wd == wd && event.name == b"heard"),
                "{heard:?}"
            );
        });
    }
}
