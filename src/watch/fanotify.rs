//! One fanotify group: a mark on each whole file system of a Root, and the kernel's queue as a stream of what
//! concerns the Root.

use std::collections::BTreeMap;
use std::fs::read_link;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use fanotify_fid::handle::{Fsid, fsid_of_fd, handle_from_fd, open_by_handle_at};
use fanotify_fid::{Fanotify, FanotifyError, FidEvent, consts};
use futures_util::{Stream, stream};
use rustix::fs::fstat;
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::types::event::{EventMask, TreeEvent};
use crate::types::rel_path::RelPath;
use crate::types::source_dir::SourceDir;

/// What is asked for, of every directory and file on a marked file system.
const MASK: u64 = consts::FAN_ATTRIB
    | consts::FAN_CLOSE_WRITE
    | consts::FAN_CREATE
    | consts::FAN_DELETE
    | consts::FAN_DELETE_SELF
    | consts::FAN_MODIFY
    | consts::FAN_MOVE_SELF
    | consts::FAN_RENAME
    | consts::FAN_ONDIR;

/// While many files are written to, the kernel (seen: Linux 6.18, ext4) has no memory for a handle for a moment,
/// with gigabytes free.
const OPEN_TRIES: usize = 1_000;

/// The marks of one Root. Clones share them.
#[derive(Clone)]
pub struct MarkSet {
    group: Arc<Fanotify>,
    volumes: Volumes,
}

/// A directory on each marked file system.
type Volumes = Arc<Mutex<BTreeMap<Fsid, OwnedFd>>>;

/// What turns handles into paths.
struct Resolver {
    source: SourceDir,
    volumes: Volumes,
    cookies: Vec<u8>,
}

/// Makes a group that tells of the Root's file system, and of names that come in the directory of flush cookies.
/// The error says what is missing.
pub fn open(
    source: &SourceDir,
    cookies: &Path,
) -> io::Result<(MarkSet, impl Stream<Item = io::Result<Vec<TreeEvent>>> + Unpin + use<>)> {
    let failed = |what: &str, why: &dyn std::fmt::Display| {
        io::Error::other(format!(
            "{what}: {why} (fanotify needs Linux 5.17, CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH, and a file system \
             with file handles)"
        ))
    };
    let flags = consts::FAN_CLASS_NOTIF
        | consts::FAN_CLOEXEC
        | consts::FAN_NONBLOCK
        | consts::FAN_UNLIMITED_QUEUE
        | consts::FAN_REPORT_FID
        | consts::FAN_REPORT_DIR_FID
        | consts::FAN_REPORT_NAME;
    let group = Fanotify::new(flags).map_err(|e| failed("cannot make a fanotify group", &e))?;
    let group = Arc::new(group);
    group
        .mark(consts::FAN_MARK_ADD, consts::FAN_CREATE, cookies)
        .map_err(|e| failed("cannot mark the directory of flush cookies", &e))?;
    let volumes = Volumes::default();
    let marks = MarkSet { group: group.clone(), volumes: volumes.clone() };
    marks.mark(source).map_err(|e| failed("cannot mark the file system of the source", &e))?;
    let own = handle_from_fd(source)?;
    open_by_handle_at(source, &own).map_err(|e| failed("cannot open by handle", &e))?;
    let cookies = handle_from_fd(std::fs::File::open(cookies)?)?;
    let resolver = Resolver { source: source.clone(), volumes, cookies };
    Ok((marks, events(group, resolver)?))
}

impl MarkSet {
    /// Marks the whole file system on which this directory lies.
    pub fn mark(&self, directory: impl AsFd) -> io::Result<()> {
        let flags = consts::FAN_MARK_ADD | consts::FAN_MARK_FILESYSTEM;
        let fd = directory.as_fd().try_clone_to_owned()?;
        // An O_PATH descriptor can't be marked itself.
        let path = format!("/proc/self/fd/{}/.", fd.as_raw_fd());
        self.group.mark(flags, MASK, &path).map_err(io::Error::other)?;
        let fsid = fsid_of_fd(&fd)?;
        self.volumes.lock().unwrap_or_else(PoisonError::into_inner).insert(fsid, fd);
        Ok(())
    }
}

#[expect(
    deprecated,
    reason = "its I/O safety is open only for types that hand out changing descriptors"
)]
fn events(
    group: Arc<Fanotify>,
    resolver: Resolver,
) -> io::Result<impl Stream<Item = io::Result<Vec<TreeEvent>>> + Unpin + use<>> {
    let fd = group.as_fd().try_clone_to_owned()?;
    let fd = AsyncFd::with_interest(fd, Interest::READABLE)?;
    let state = (fd, group, resolver, Vec::new());
    Ok(Box::pin(stream::unfold(state, async |(fd, group, resolver, mut buffer)| {
        loop {
            let mut ready = match fd.readable().await {
                Ok(ready) => ready,
                Err(error) => return Some((Err(error), (fd, group, resolver, buffer))),
            };
            let read = match group.read_events(&mut buffer) {
                Err(error) if error.is_would_block() => {
                    ready.clear_ready();
                    continue;
                }
                Err(error) => Err(as_io(error)),
                Ok(events) => resolver.resolve(&events),
            };
            drop(ready);
            return Some((read, (fd, group, resolver, buffer)));
        }
    })))
}

fn as_io(error: FanotifyError) -> io::Error {
    io::Error::other(error)
}

impl Resolver {
    fn resolve(&self, events: &[FidEvent<'_>]) -> io::Result<Vec<TreeEvent>> {
        // A directory that is renamed meanwhile raises an event for its new name.
        let mut known = BTreeMap::new();
        let root = read_link(self.source.proc_path())?;
        let mut resolved = Vec::new();
        for event in events {
            resolved.extend(self.event(event, &root, &mut known)?);
        }
        Ok(resolved)
    }

    fn event<'a>(
        &self,
        event: &'a FidEvent<'_>,
        root: &Path,
        known: &mut BTreeMap<&'a [u8], Option<RelPath>>,
    ) -> io::Result<Option<TreeEvent>> {
        if event.is_overflow() {
            return Ok(Some(TreeEvent::Overflow));
        }
        let Some(fsid) = event.fsid() else { return Ok(None) };
        let mut path = |handle: &'a [u8], name: &[u8]| -> io::Result<Option<RelPath>> {
            let directory = if let Some(known) = known.get(handle) {
                known.clone()
            } else {
                let found = self.place(fsid, handle, root)?;
                known.insert(handle, found.clone());
                found
            };
            Ok(directory.map(|it| if name.is_empty() { it } else { it.join(name) }))
        };
        if event.mask() & consts::FAN_RENAME != 0 {
            let is_directory = event.mask() & consts::FAN_ONDIR != 0;
            let mut side = |side: Option<&'a fanotify_fid::RenameSide<'_>>| match side {
                Some(side) => path(side.handle(), side.name().as_bytes()),
                None => Ok(None),
            };
            let (from, to) = (side(event.rename_source())?, side(event.rename_target())?);
            let concerns = from.is_some() || to.is_some();
            return Ok(concerns.then_some(TreeEvent::Renamed { from, to, is_directory }));
        }
        let (handle, name) = match (event.dfid_name_handle(), event.self_handle()) {
            (Some(directory), _) => (directory, event.dfid_name_raw()),
            // The kernel does not know where it lies.
            (None, Some(own)) => (own, b".".as_slice()),
            (None, None) => return Ok(None),
        };
        if handle == self.cookies {
            return Ok(Some(TreeEvent::Cookie(name.to_vec())));
        }
        let mask = mask(event.mask());
        // Of a directory itself, rather than of an entry in it.
        let is_own = name.is_empty() || name == b".";
        let found = path(handle, if is_own { b"" } else { name })?;
        let is_gone = mask.intersects(EventMask::DELETE_SELF | EventMask::MOVE_SELF);
        if found.is_none() && is_own && is_gone && handle_from_fd(&self.source)? == handle {
            return Ok(Some(TreeEvent::Root(mask)));
        }
        Ok(found.map(|path| {
            if path.is_root() { TreeEvent::Root(mask) } else { TreeEvent::Entry(path, mask) }
        }))
    }

    /// Where this is now, if that is at or below the Root.
    fn place(&self, fsid: Fsid, handle: &[u8], root: &Path) -> io::Result<Option<RelPath>> {
        let volumes = self.volumes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(volume) = volumes.get(&fsid) else { return Ok(None) };
        let is_short = |it: &io::Result<OwnedFd>| {
            it.as_ref().is_err_and(|e| e.raw_os_error() == Some(Errno::NOMEM.raw_os_error()))
        };
        let open = || open_by_handle_at(volume, handle);
        let opened = (0..OPEN_TRIES).map(|_| open()).find(|it| !is_short(it)).unwrap_or_else(open);
        let opened = match opened {
            Ok(opened) => opened,
            // Whoever is above it tells of its end.
            Err(error) if error.raw_os_error() == Some(Errno::STALE.raw_os_error()) => {
                return Ok(None);
            }
            Err(error) => {
                let what = format!("cannot open a directory by its handle: {error}");
                return Err(io::Error::new(error.kind(), what));
            }
        };
        let path: PathBuf = read_link(format!("/proc/self/fd/{}", opened.as_raw_fd()))?;
        let Ok(inside) = path.strip_prefix(root) else { return Ok(None) };
        if fstat(&opened)?.st_nlink == 0 {
            return Ok(None);
        }
        Ok(RelPath::parse(inside.as_os_str().as_bytes()).ok())
    }
}

/// The bits of both interfaces are the same, but for that of directories.
fn mask(bits: u64) -> EventMask {
    let directory =
        if bits & consts::FAN_ONDIR != 0 { EventMask::ISDIR } else { EventMask::empty() };
    let plain = bits & !consts::FAN_ONDIR & 0xFFFF;
    EventMask::from_bits_truncate(plain as u32) | directory
}
