//! Opening a Root, and directories below it, without following a link.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, Stat, fstat, openat, openat2, stat};

use crate::types::rel_path::RelPath;
use crate::types::source_dir::{Identity, SourceDir};

/// Opens a Root's directory. The error names the path.
pub fn open(path: &Path) -> io::Result<SourceDir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = openat(CWD, path, flags, Mode::empty())?;
    let identity = identity_of(&fstat(&fd)?);
    Ok(SourceDir::new(fd, identity))
}

/// Who the path of a Root leads to now; none if it leads to no directory.
pub fn sight(path: &Path) -> Option<Identity> {
    let stat = stat(path).ok()?;
    let is_directory = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir();
    is_directory.then(|| identity_of(&stat))
}

/// Opens the directory at a path below a Root, only to look at it or to watch it. No component may be a
/// symbolic link, and none may lead out of the Root.
pub fn open_directory(root: impl AsFd, path: &RelPath) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    Ok(openat2(root, path.as_path(), flags, Mode::empty(), resolve)?)
}

/// The device of the directory at a path below a Root; none if there is no directory.
pub fn device_at(root: impl AsFd, path: &RelPath) -> Option<u64> {
    let fd = open_directory(root, path).ok()?;
    Some(fstat(fd).ok()?.st_dev)
}

/// Device and inode.
pub fn identity_of(stat: &Stat) -> Identity {
    Identity { device: stat.st_dev, inode: stat.st_ino }
}
