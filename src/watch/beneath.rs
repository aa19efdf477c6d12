//! Opening what lies beneath a directory, without following a link and without leaving the directory.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

use mirrorball_core::data::limits::PATH_BYTES_MAX;
use mirrorball_core::data::path::RelPath;

/// Opens `path` beneath `directory` with these flags. No component may be a symbolic link, and none may lead out of
/// the directory; mount points are crossed.
///
/// A link gives `ELOOP` or `ENOTDIR`, a path of [`PATH_BYTES_MAX`] bytes or more gives `ENAMETOOLONG`.
///
/// Sandboxes can forbid `openat2` because they cannot look at its flags: systemd's `RestrictSUIDSGID=` answers
/// `ENOSYS`, older container sandboxes answer `EPERM`. `openat` then opens one component at a time. A missing
/// permission is `EACCES`, and is no reason for a second attempt.
pub fn open_beneath(directory: impl AsFd, path: &RelPath, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::BENEATH;
    match openat2(&directory, path.as_path(), flags, Mode::empty(), resolve) {
        Err(Errno::NOSYS | Errno::PERM) => open_by_component(directory, path, flags),
        opened => opened,
    }
}

/// Does the same by one `openat` for each component. `flags` hold `NOFOLLOW`.
fn open_by_component(
    directory: impl AsFd,
    path: &RelPath,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    if path.as_bytes().len() >= PATH_BYTES_MAX {
        return Err(Errno::NAMETOOLONG);
    }
    let Some(parent) = path.parent() else {
        return openat(directory, ".", flags, Mode::empty());
    };
    let step = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut above = openat(directory, ".", step, Mode::empty())?;
    for name in parent.as_bytes().split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        above = open_entry(&above, name, step)?;
    }
    open_entry(&above, path.name(), flags)
}

fn open_entry(within: &OwnedFd, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    if name == b".." {
        return Err(Errno::XDEV);
    }
    openat(within, name, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::unix::fs::{MetadataExt, symlink};

    type Open = fn(&File, &RelPath, OFlags) -> Result<OwnedFd, Errno>;

    const FLAGS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW);

    /// Both ways, so that neither can differ from the other.
    fn ways() -> [Open; 2] {
        [
            |dir, path, flags| open_beneath(dir, path, flags),
            |dir, path, flags| open_by_component(dir, path, flags),
        ]
    }

    #[test]
    fn hard_case_48_both_ways_open_the_same_directories_and_refuse_the_same_links() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        let deep = vec!["deep"; 500].join("/");
        fs::create_dir_all(root.join(&deep)).unwrap();
        fs::create_dir_all(root.join("real/below")).unwrap();
        fs::create_dir_all(outside.join("below")).unwrap();
        fs::write(root.join("file"), "").unwrap();
        symlink(&outside, root.join("link")).unwrap();
        symlink("real", root.join("inner")).unwrap();
        symlink("../outside", root.join("real/out")).unwrap();
        let opened = File::open(&root).unwrap();
        for open in ways() {
            let open = |path: &RelPath| open(&opened, path, FLAGS);
            for path in ["", "real/below", &deep] {
                let found = File::from(open(&path.into()).unwrap()).metadata().unwrap();
                assert_eq!(found.ino(), fs::metadata(root.join(path)).unwrap().ino(), "{path}");
            }
            for path in ["link", "link/below", "inner", "inner/below", "real/out", "real/out/below"]
            {
                let error = open(&path.into()).unwrap_err();
                assert!(matches!(error, Errno::LOOP | Errno::NOTDIR), "{path}: {error}");
            }
            for path in ["missing", "missing/below", "real/missing"] {
                assert_eq!(open(&path.into()).unwrap_err(), Errno::NOENT, "{path}");
            }
            for path in ["file", "file/below"] {
                assert_eq!(open(&path.into()).unwrap_err(), Errno::NOTDIR, "{path}");
            }
            let above = RelPath::root().join(b"..");
            for path in [above.clone(), above.join(b"outside")] {
                assert_eq!(open(&path).unwrap_err(), Errno::XDEV, "{path}");
            }
            let long = RelPath::from(vec!["d"; PATH_BYTES_MAX / 2 + 1].join("/").as_str());
            assert_eq!(open(&long).unwrap_err(), Errno::NAMETOOLONG);
        }
    }

    #[test]
    fn hard_case_48_a_file_behind_a_link_is_not_opened_for_reading() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("secret"), "").unwrap();
        symlink("secret", dir.path().join("link")).unwrap();
        let opened = File::open(dir.path()).unwrap();
        for open in ways() {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW;
            assert!(open(&opened, &"secret".into(), flags).is_ok());
            assert_eq!(open(&opened, &"link".into(), flags).unwrap_err(), Errno::LOOP);
        }
    }
}
