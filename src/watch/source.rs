//! Opening a Root, and directories below it, without following a link.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, StatxFlags, fstat, fstatvfs, openat, statat,
    statx,
};
use rustix::io::Errno;

use crate::watch::beneath::open_beneath;
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::source_dir::{Identity, Lasting, SourceDir, Volume};

/// Opens a Root's directory. The error names the path.
pub fn open(path: &Path) -> io::Result<SourceDir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = openat(CWD, path, flags, Mode::empty())?;
    let identity = identity_of(&fstat(&fd)?);
    Ok(SourceDir::new(fd, identity))
}

/// Who a Root is, beyond this run of the machine.
pub fn lasting(root: &SourceDir) -> io::Result<Lasting> {
    let wanted = StatxFlags::INO | StatxFlags::BTIME;
    let found = statx(root, "", AtFlags::EMPTY_PATH, wanted)?;
    let is_known = found.stx_mask & StatxFlags::BTIME.bits() != 0;
    let born = || {
        let seconds = found.stx_btime.tv_sec.wrapping_mul(1_000_000_000);
        seconds.wrapping_add(found.stx_btime.tv_nsec.into())
    };
    let file_system = fstatvfs(root)?.f_fsid;
    Ok(Lasting { inode: found.stx_ino, born: is_known.then(born), file_system })
}

/// Opens the directory at a path below a Root, only to look at it or to watch it. No component may be a
/// symbolic link, and none may lead out of the Root.
pub fn open_directory(root: impl AsFd, path: &RelPath) -> Result<OwnedFd, Errno> {
    open_beneath(root, path, OFlags::PATH | OFlags::DIRECTORY)
}

/// Whether this name is directly in a Root.
pub fn holds(root: &SourceDir, name: &str) -> bool {
    statat(root, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

/// What lies directly in a Root and is not left out, and whether it is a directory; at most so many. What can't
/// be read counts as nothing.
pub fn top(
    root: &SourceDir,
    is_left_out: impl Fn(&RelPath, bool) -> bool,
    max: usize,
) -> Vec<(RelPath, bool)> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let entries = openat(root, ".", flags, Mode::empty()).and_then(|fd| Dir::read_from(&fd));
    let entries = entries.into_iter().flatten().flatten().filter_map(|entry| {
        let name = entry.file_name().to_bytes();
        let is_directory = entry.file_type() == FileType::Directory;
        let is_entry = name != b"." && name != b"..";
        let path = is_entry.then(|| RelPath::root().join(name))?;
        (!is_left_out(&path, is_directory)).then_some((path, is_directory))
    });
    entries.take(max).collect()
}

/// The file system of the directory at a path below a Root; none if there is no directory.
pub fn volume_at(root: impl AsFd, path: &RelPath) -> Option<Volume> {
    look_at_volume(root, path).ok()
}

/// The same, with the reason why there is none.
pub fn look_at_volume(root: impl AsFd, path: &RelPath) -> Result<Volume, Errno> {
    let fd = open_directory(root, path)?;
    let (device, file_system) = (fstat(&fd)?.st_dev, fstatvfs(&fd)?.f_fsid);
    Ok(Volume { device, file_system })
}

/// Device and inode.
pub fn identity_of(stat: &Stat) -> Identity {
    Identity { device: stat.st_dev, inode: stat.st_ino }
}
