//! Shorter lists: rsync reads a list byte by byte, so a directory of which everything is listed is named alone.

use std::collections::{BTreeMap, BTreeSet};

use rustix::fs::{Dir, OFlags};
use rustix::io::Errno;

use crate::watch::beneath::open_beneath;
use mirrorball_core::data::limits::FOLD_CHILDREN_MIN;
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::source_dir::SourceDir;

/// The directories in which every entry is listed. Naming such a one with a slash at its end brings the same
/// entries, and what has come to it since, which is on its way anyway.
pub fn whole(source: &SourceDir, paths: &[RelPath]) -> BTreeSet<RelPath> {
    if paths.len() < FOLD_CHILDREN_MIN {
        return BTreeSet::new();
    }
    let mut children: BTreeMap<RelPath, BTreeSet<&[u8]>> = BTreeMap::new();
    for path in paths {
        if let Some(parent) = path.parent().filter(|parent| !parent.is_root()) {
            children.entry(parent).or_default().insert(path.name());
        }
    }
    children.retain(|_, names| names.len() >= FOLD_CHILDREN_MIN);
    let is_whole = |directory: &RelPath, names: &BTreeSet<&[u8]>| {
        let opened = open_beneath(source, directory, OFlags::RDONLY | OFlags::DIRECTORY);
        let Ok(entries) = opened.and_then(Dir::new) else { return false };
        let is_listed = |name: &[u8]| name == b"." || name == b".." || names.contains(name);
        // The first that is not listed ends it, so that this costs what the list costs.
        entries.into_iter().all(|it| it.is_ok_and(|it| is_listed(it.file_name().to_bytes())))
    };
    children.into_iter().filter(|(dir, names)| is_whole(dir, names)).map(|(dir, _)| dir).collect()
}

/// The names directly in a directory. Nothing, if it is none; the directory itself, if it can't be read: rsync says why.
pub fn inside(source: &SourceDir, directory: &RelPath) -> Vec<RelPath> {
    let opened = open_beneath(source, directory, OFlags::RDONLY | OFlags::DIRECTORY);
    let entries = match opened.and_then(Dir::new) {
        Ok(entries) => entries,
        Err(Errno::NOTDIR | Errno::NOENT | Errno::LOOP) => return Vec::new(),
        Err(_) => return vec![directory.clone()],
    };
    let names: Result<Vec<_>, Errno> = entries.into_iter().collect();
    let Ok(names) = names else { return vec![directory.clone()] };
    let names = names.iter().map(|it| it.file_name().to_bytes());
    let names = names.filter(|name| *name != b"." && *name != b"..");
    names.map(|name| directory.join(name)).collect()
}

/// Whether it is a directory, and no link to one.
pub fn is_directory(source: &SourceDir, path: &RelPath) -> bool {
    open_beneath(source, path, OFlags::PATH | OFlags::DIRECTORY).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mirrorball_core::data::source_dir::Identity;

    #[test]
    fn only_a_directory_of_which_everything_is_listed_is_named_alone() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["all", "but-one", "few"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let mut paths: Vec<RelPath> = Vec::new();
        for (name, files) in [("all", 100), ("but-one", 101), ("few", 10)] {
            for file in 0..files {
                let path = format!("{name}/{file}");
                std::fs::write(dir.path().join(&path), "").unwrap();
                paths.push(path.as_str().into());
            }
        }
        paths.retain(|path| *path != "but-one/50".into());
        let fd = std::fs::File::open(dir.path()).unwrap().into();
        let source = SourceDir::new(fd, Identity { device: 1, inode: 1 });
        assert_eq!(whole(&source, &paths), BTreeSet::from(["all".into()]));
    }
}
