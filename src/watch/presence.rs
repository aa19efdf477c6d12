//! What is at a path now, looked up component by component without following a link.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Stat, statat};
use rustix::io::Errno;

use crate::watch::source::{identity_of, open_directory};
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::source_dir::{Identity, SourceDir};

/// What was found at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It exists, or can't be looked at for want of permission.
    Present {
        /// Whether it is a directory.
        is_directory: bool,
        /// Bytes of a regular file; else 0.
        size: u64,
    },
    /// It does not exist; this is the topmost path that does not.
    Missing(RelPath),
    /// This, above it, exists and is not a directory.
    Below(RelPath),
}

/// Looks at paths. Sorted input is cheaper: neighbours share their directory.
pub struct Looker<'a> {
    root: &'a SourceDir,
    directory: Option<(RelPath, OwnedFd)>,
}

impl<'a> Looker<'a> {
    /// Looks below this Root.
    pub fn new(root: &'a SourceDir) -> Self {
        Self { root, directory: None }
    }

    /// What is at `path`.
    pub fn look(&mut self, path: &RelPath) -> Found {
        let Some(parent) = path.parent() else {
            return Found::Present { is_directory: true, size: 0 };
        };
        match self.stat_in(&parent, path.name()) {
            Ok(stat) => {
                let kind = FileType::from_raw_mode(stat.st_mode);
                let size = if kind.is_file() { stat.st_size.cast_unsigned() } else { 0 };
                Found::Present { is_directory: kind.is_dir(), size }
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => self.look_above(path, parent),
            // rsync runs with the same rights and says it better.
            Err(_) => Found::Present { is_directory: false, size: 0 },
        }
    }

    /// Device, inode and link count of what is at `path`, and whether it is a regular file.
    pub fn inspect(&mut self, path: &RelPath) -> Option<Inspection> {
        let stat = self.stat_in(&path.parent()?, path.name()).ok()?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        Some(Inspection {
            identity: identity_of(&stat),
            names: stat.st_nlink,
            is_regular: kind.is_file(),
            is_directory: kind.is_dir(),
            size: stat.st_size.cast_unsigned(),
        })
    }

    /// The path itself is not there: finds the topmost that is not, or what stands in the way.
    fn look_above(&mut self, path: &RelPath, parent: RelPath) -> Found {
        if parent.is_root() {
            return Found::Missing(path.clone());
        }
        match self.look(&parent) {
            Found::Present { is_directory: true, .. } => Found::Missing(path.clone()),
            Found::Present { is_directory: false, .. } => Found::Below(parent),
            above => above,
        }
    }

    fn stat_in(&mut self, parent: &RelPath, name: &[u8]) -> Result<Stat, Errno> {
        if self.directory.as_ref().is_none_or(|(path, _)| path != parent) {
            self.directory = None;
            let fd = open_directory(self.root, parent)?;
            self.directory = Some((parent.clone(), fd));
        }
        let (_, fd) = self.directory.as_ref().expect("opened just now");
        statat(fd, name, AtFlags::SYMLINK_NOFOLLOW)
    }
}

/// A look at one name.
#[derive(Clone, Copy, Debug)]
pub struct Inspection {
    /// Which file.
    pub identity: Identity,
    /// How many names it has.
    pub names: u64,
    /// Whether it is a regular file.
    pub is_regular: bool,
    /// Whether it is a directory.
    pub is_directory: bool,
    /// Bytes.
    pub size: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::source;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn hard_case_7_no_link_is_followed_anywhere_in_a_path() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("x"), "secret").unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("d/e")).unwrap();
        fs::write(dir.path().join("f"), "").unwrap();
        symlink(outside.path(), dir.path().join("a")).unwrap();
        symlink(outside.path(), dir.path().join("d/l")).unwrap();
        let root = source::open(dir.path()).unwrap();
        let mut looker = Looker::new(&root);
        let mut look = |path: &str| looker.look(&path.into());
        assert!(matches!(look("a"), Found::Present { is_directory: false, .. }));
        assert_eq!(look("a/x"), Found::Below("a".into()));
        assert_eq!(look("d/l/x/y"), Found::Below("d/l".into()));
        assert_eq!(look("f/x"), Found::Below("f".into()));
        assert_eq!(look("d/e"), Found::Present { is_directory: true, size: 0 });
        assert_eq!(look("d/e/x"), Found::Missing("d/e/x".into()));
        assert_eq!(look("d/no/x/y"), Found::Missing("d/no".into()));
        assert_eq!(look("no/x/y"), Found::Missing("no".into()));
    }
}
