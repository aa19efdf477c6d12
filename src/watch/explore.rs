//! Opening and listing directories, away from the actors' thread.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, fstatfs, fstatvfs, openat, statat,
};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use crate::watch::source::{identity_of, open_directory};
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::snapshot::{self, Facts};
use mirrorball_core::data::source_dir::{Identity, SourceDir, Volume};

/// A directory that was opened.
#[derive(Debug)]
pub struct Opened {
    /// Open on it.
    pub fd: OwnedFd,
    /// Where it lies.
    pub volume: Volume,
    /// Whether the kernel tells of changes there; not of those that other machines make.
    pub raises_events: bool,
}

/// File systems whose content others may change, by the magic numbers of `statfs(2)`: NFS, FUSE, SMB (three
/// generations), 9p, AFS, Coda, Ceph, Lustre, OCFS2, GFS2.
const SILENT: &[u64] = &[
    0x6969,
    0x6573_5546,
    0x517B,
    0xFF53_4D42,
    0xFE53_4D42,
    0x0102_1997,
    0x5346_414F,
    0x7375_7245,
    0x00C3_6400,
    0x0BD0_0BD0,
    0x7461_636F,
    0x0116_1970,
];

/// Opens a directory below a Root by its path; see [`open_directory`].
pub fn open(root: &SourceDir, path: &RelPath) -> Result<Opened, Errno> {
    let fd = open_directory(root, path)?;
    let volume = Volume { device: fstat(&fd)?.st_dev, file_system: fstatvfs(&fd)?.f_fsid };
    // Asked for only where a file system begins.
    let begins = path.is_root() || volume.device != root.identity().device;
    let raises_events = !begins || !SILENT.contains(&fstatfs(&fd)?.f_type.cast_unsigned());
    Ok(Opened { fd, volume, raises_events })
}

/// What a directory holds, as far as watching needs it.
#[derive(Debug, Default)]
pub struct Listing {
    /// Names of directories.
    pub directories: Vec<Arc<[u8]>>,
    /// How many entries of any kind that are wanted.
    pub entries: u64,
    /// Files with more than one name: the name here, and which file.
    pub links: Vec<(Vec<u8>, Identity)>,
    /// For a snapshot: the directory's own facts, and those of its entries.
    pub facts: Option<(Facts, snapshot::Listing)>,
}

/// The directories directly in a directory below a Root. Errors are those of opening and reading it.
pub fn subdirectories(root: &SourceDir, path: &RelPath) -> Result<Vec<RelPath>, Errno> {
    let listing = list(&open(root, path)?.fd, false, |_, is_directory| is_directory)?;
    Ok(listing.directories.iter().map(|name| path.join(name)).collect())
}

/// Lists a directory that is watched already, so that what comes later raises an event. Facts are only
/// gathered where they are wanted. `counts` says of a name, and of whether it is a directory's, whether it is counted;
/// one that is not is left out, and not looked at.
pub fn list(
    directory: impl AsFd,
    wants_facts: bool,
    counts: impl Fn(&[u8], bool) -> bool,
) -> Result<Listing, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = openat(directory, ".", flags, Mode::empty())?;
    let mut listing = Listing::default();
    let now = clock_gettime(ClockId::Realtime);
    let now = nanoseconds(now.tv_sec, now.tv_nsec);
    let mut facts = Vec::new();
    let mut names = Vec::new();
    for entry in Dir::read_from(&fd)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let is_directory = entry.file_type() == FileType::Directory;
        let is_unknown = entry.file_type() == FileType::Unknown;
        // A name that does not count may be that of a volume which does not answer.
        let may_count = counts(name, is_directory) || (is_unknown && counts(name, true));
        if !may_count {
            continue;
        }
        if is_directory && !wants_facts {
            listing.entries += 1;
            listing.directories.push(name.into());
        } else {
            names.push(name.to_vec());
        }
    }
    for name in names {
        // What has vanished meanwhile raises an event of its own.
        let Ok(stat) = statat(&fd, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) else { continue };
        let kind = FileType::from_raw_mode(stat.st_mode);
        listing.entries += u64::from(counts(&name, kind.is_dir()));
        if kind.is_dir() {
            listing.directories.push(name.as_slice().into());
        } else if stat.st_nlink > 1 {
            listing.links.push((name.clone(), identity_of(&stat)));
        }
        if wants_facts {
            facts.push((name, facts_of(&stat).seen_at(now)));
        }
    }
    if wants_facts {
        let own = facts_of(&fstat(&fd)?).seen_at(now);
        listing.facts = Some((own, snapshot::Listing::new(facts)));
    }
    Ok(listing)
}

/// When what is open was last changed, its names and attributes included: nanoseconds since 1970.
pub fn own_ctime(fd: impl AsFd) -> Result<i64, Errno> {
    Ok(facts_of(&fstat(fd)?).ctime)
}

/// How many inodes are in use on a file system; 0 where it does not count.
pub fn inodes_used(fd: impl AsFd) -> Result<u64, Errno> {
    let found = fstatvfs(fd)?;
    Ok(found.f_files.saturating_sub(found.f_ffree))
}

fn facts_of(stat: &Stat) -> Facts {
    let is_directory = FileType::from_raw_mode(stat.st_mode).is_dir();
    Facts {
        mode: stat.st_mode,
        inode: stat.st_ino,
        // A directory's depends on the file system's mood.
        size: if is_directory { 0 } else { stat.st_size.cast_unsigned() },
        mtime: nanoseconds(stat.st_mtime, stat.st_mtime_nsec.cast_signed()),
        ctime: nanoseconds(stat.st_ctime, stat.st_ctime_nsec.cast_signed()),
    }
}

/// Times that don't fit, beyond 2262, wrap: they are only compared for equality.
fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.wrapping_mul(1_000_000_000).wrapping_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::source;
    use std::os::unix::fs::symlink;

    #[test]
    fn hard_case_23_a_directory_behind_a_link_is_never_opened() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        std::fs::create_dir_all(root.join("real/below")).unwrap();
        std::fs::create_dir_all(outside.join("below")).unwrap();
        symlink(&outside, root.join("link")).unwrap();
        symlink("real", root.join("inner")).unwrap();
        let root = source::open(&root).unwrap();
        assert!(open(&root, &"real/below".into()).is_ok());
        for path in ["link", "link/below", "inner", "inner/below"] {
            let error = open(&root, &path.into()).unwrap_err();
            assert!(matches!(error, Errno::LOOP | Errno::NOTDIR), "{path}: {error}");
        }
    }
}
