//! One fanotify group: a mark on each whole file system of a Root, and the kernel's queue as a stream of what
//! concerns the Root.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, read_link};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use fanotify_fid::handle::{Fsid, fsid_of_fd, handle_from_fd, open_by_handle_at};
use fanotify_fid::{Fanotify, FanotifyError, FidEvent, consts};
use futures_util::{Stream, stream};
use rustix::fs::{OFlags, fstat};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::watch::beneath::open_beneath;
use crate::watch::scan::is_its_own;
use mirrorball_core::data::event::{EventMask, TreeEvent};
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::source_dir::SourceDir;

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

/// Where the marked file systems are mounted in the Root. They are opened only while it is asked for something on
/// them: an open one could not be unmounted.
type Volumes = Arc<Mutex<BTreeMap<Fsid, BTreeSet<RelPath>>>>;

/// Who a directory is. A handle alone may be on another file system too.
type Own<'a> = (Fsid, &'a [u8]);

/// What turns handles into paths.
struct Resolver {
    source: SourceDir,
    volumes: Volumes,
    cookies: (Fsid, Vec<u8>),
}

/// One look at the kernel's queue.
struct Look<'a> {
    resolver: &'a Resolver,
    /// The Root's path.
    root: PathBuf,
    /// Directories that were asked for, each at all places where it is.
    known: BTreeMap<Own<'a>, Vec<Placed>>,
}

/// A directory's path by way of one mount.
#[derive(Clone)]
struct Placed {
    mount: RelPath,
    path: RelPath,
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
    marks
        .mark(&RelPath::root(), source)
        .map_err(|e| failed("cannot mark the file system of the source", &e))?;
    let own = handle_from_fd(source)?;
    open_by_handle_at(source, &own).map_err(|e| failed("cannot open by handle", &e))?;
    let cookies = File::open(cookies)?;
    let cookies = (fsid_of_fd(&cookies)?, handle_from_fd(&cookies)?);
    let resolver = Resolver { source: source.clone(), volumes, cookies };
    Ok((marks, events(group, resolver)?))
}

impl MarkSet {
    /// Marks the whole file system that is mounted at this path of the Root.
    pub fn mark(&self, mount: &RelPath, directory: impl AsFd) -> io::Result<()> {
        let flags = consts::FAN_MARK_ADD | consts::FAN_MARK_FILESYSTEM;
        let directory = directory.as_fd();
        let fsid = fsid_of_fd(directory)?;
        let mut volumes = self.volumes.lock().unwrap_or_else(PoisonError::into_inner);
        // Before the first event can come.
        volumes.entry(fsid).or_default().insert(mount.clone());
        // An O_PATH descriptor can't be marked itself.
        let path = format!("/proc/self/fd/{}/.", directory.as_raw_fd());
        self.group.mark(flags, MASK, &path).map_err(io::Error::other)
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
        let root = read_link(self.source.proc_path())?;
        let mut look = Look { resolver: self, root, known: BTreeMap::new() };
        let mut resolved = Vec::new();
        for event in events {
            look.event(event, &mut resolved)?;
        }
        Ok(resolved)
    }

    fn is_source(&self, (fsid, handle): Own<'_>) -> io::Result<bool> {
        Ok(fsid_of_fd(&self.source)? == fsid && handle_from_fd(&self.source)? == handle)
    }

    /// Open on a file system, by way of a place where it was mounted; none if it is not there any more.
    fn volume(&self, fsid: Fsid, mount: &RelPath) -> io::Result<Option<OwnedFd>> {
        if mount.is_root() {
            return Ok(Some(self.source.as_fd().try_clone_to_owned()?));
        }
        // Handles need more than an O_PATH descriptor.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let opened = open_beneath(&self.source, mount, flags);
        match opened {
            Ok(fd) => Ok((fsid_of_fd(&fd)? == fsid).then_some(fd)),
            Err(error) if is_its_own(error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl<'a> Look<'a> {
    fn event(&mut self, event: &'a FidEvent<'_>, told: &mut Vec<TreeEvent>) -> io::Result<()> {
        if event.is_overflow() {
            told.push(TreeEvent::Overflow);
            return Ok(());
        }
        let Some(fsid) = event.fsid() else { return Ok(()) };
        if event.mask() & consts::FAN_RENAME != 0 {
            let is_directory = event.mask() & consts::FAN_ONDIR != 0;
            let mut side = |side: Option<&'a fanotify_fid::RenameSide<'_>>| match side {
                Some(side) => self.entries((fsid, side.handle()), side.name().as_bytes()),
                None => Ok(Vec::new()),
            };
            let (from, to) = (side(event.rename_source())?, side(event.rename_target())?);
            let mounts: BTreeSet<&RelPath> = from.iter().chain(&to).map(|it| &it.mount).collect();
            let by = |side: &[Placed], mount: &RelPath| {
                side.iter().find(|it| it.mount == *mount).map(|it| it.path.clone())
            };
            told.extend(mounts.into_iter().map(|mount| {
                let (from, to) = (by(&from, mount), by(&to, mount));
                TreeEvent::Renamed { from, to, is_directory }
            }));
            return Ok(());
        }
        let (own, name) = match (event.dfid_name_handle(), event.self_handle()) {
            (Some(directory), _) => ((fsid, directory), event.dfid_name_raw()),
            // The kernel does not know where it lies.
            (None, Some(own)) => ((fsid, own), b".".as_slice()),
            (None, None) => return Ok(()),
        };
        let (cookies_at, cookies) = &self.resolver.cookies;
        if own == (*cookies_at, cookies) {
            told.push(TreeEvent::Cookie(name.to_vec()));
            return Ok(());
        }
        let mask = mask(event.mask());
        // Of a directory itself, rather than of an entry in it.
        let is_own = name.is_empty() || name == b".";
        let found = self.entries(own, if is_own { b"" } else { name })?;
        let is_gone = mask.intersects(EventMask::DELETE_SELF | EventMask::MOVE_SELF);
        if found.is_empty() && is_own && is_gone && self.resolver.is_source(own)? {
            told.push(TreeEvent::Root(mask));
        }
        told.extend(found.into_iter().map(|Placed { path, .. }| {
            if path.is_root() { TreeEvent::Root(mask) } else { TreeEvent::Entry(path, mask) }
        }));
        Ok(())
    }

    /// Where this entry of a directory is now, if that is at or below the Root. Without a name: the directory.
    fn entries(&mut self, own: Own<'a>, name: &[u8]) -> io::Result<Vec<Placed>> {
        if !self.known.contains_key(&own) {
            let found = self.places(own)?;
            self.known.insert(own, found);
        }
        let mut placed = self.known[&own].clone();
        if !name.is_empty() {
            placed.iter_mut().for_each(|it| it.path = it.path.join(name));
        }
        Ok(placed)
    }

    fn places(&self, (fsid, handle): Own<'_>) -> io::Result<Vec<Placed>> {
        let volumes = self.resolver.volumes.lock().unwrap_or_else(PoisonError::into_inner);
        let mounts = volumes.get(&fsid).cloned().unwrap_or_default();
        drop(volumes);
        let mut placed = Vec::new();
        for mount in mounts {
            let Some(volume) = self.resolver.volume(fsid, &mount)? else { continue };
            let path = self.place(&volume, &mount, handle)?;
            placed.extend(path.map(|path| Placed { mount, path }));
        }
        Ok(placed)
    }

    fn place(&self, volume: &OwnedFd, mount: &RelPath, own: &[u8]) -> io::Result<Option<RelPath>> {
        let is_short = |it: &io::Result<OwnedFd>| {
            it.as_ref().is_err_and(|e| e.raw_os_error() == Some(Errno::NOMEM.raw_os_error()))
        };
        let open = || open_by_handle_at(volume, own);
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
        let Ok(inside) = path.strip_prefix(&self.root) else { return Ok(None) };
        if fstat(&opened)?.st_nlink == 0 {
            return Ok(None);
        }
        let path = RelPath::parse(inside.as_os_str().as_bytes()).ok();
        // What is not below this mount is seen through another, if at all.
        Ok(path.filter(|path| path.is_at_or_below(mount)))
    }
}

/// The bits of both interfaces are the same, but for that of directories.
fn mask(bits: u64) -> EventMask {
    let directory =
        if bits & consts::FAN_ONDIR != 0 { EventMask::ISDIR } else { EventMask::empty() };
    let plain = bits & !consts::FAN_ONDIR & 0xFFFF;
    EventMask::from_bits_truncate(plain as u32) | directory
}
