//! Looking through a whole tree.

use std::collections::BTreeSet;

use rustix::io::Errno;

use crate::watch::explore;
use crate::watch::presence::{Found, Looker};
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::snapshot::{Facts, Listing};
use mirrorball_core::data::source_dir::{Identity, SourceDir};
use mirrorball_core::source::entry_count::Unit;

/// What a scan found.
#[derive(Debug, Default)]
pub struct Scan {
    /// The facts of the directory where it began.
    pub own: Option<Facts>,
    /// Directories at and below it, with what is in each. What can't be looked into is not among them.
    pub directories: Vec<(RelPath, Listing)>,
    /// Files with more than one name: each name here, and which file.
    pub links: Vec<(RelPath, Identity)>,
}

/// Visits `from` and every directory below it, but for those that can't be looked into. Nothing is followed,
/// and nothing that is excluded is looked into. The error is one that says nothing of a single directory, such as
/// too few descriptors.
fn visit(
    root: &SourceDir,
    from: &RelPath,
    wants_facts: bool,
    excludes: impl Fn(&RelPath, bool) -> bool,
    mut each: impl FnMut(&RelPath, explore::Listing),
) -> Result<(), Errno> {
    let mut todo = vec![from.clone()];
    while let Some(directory) = todo.pop() {
        let opened = explore::open(root, &directory);
        let counts = |name: &[u8], is_directory| !excludes(&directory.join(name), is_directory);
        let listing = match opened.and_then(|it| explore::list(&it.fd, wants_facts, counts)) {
            Ok(listing) => listing,
            Err(error) if is_its_own(error) => continue,
            Err(error) => return Err(error),
        };
        let below = listing.directories.iter().map(|name| directory.join(name));
        todo.extend(below.filter(|path| !excludes(path, true)));
        each(&directory, listing);
    }
    Ok(())
}

/// Scans `from` and all below it. Errors: those of any look through a tree, such as too few descriptors.
pub fn scan(
    root: &SourceDir,
    from: &RelPath,
    excludes: impl Fn(&RelPath, bool) -> bool,
) -> Result<Scan, Errno> {
    let mut scan = Scan::default();
    visit(root, from, true, &excludes, |directory, listing| {
        let links = listing.links.into_iter().map(|(name, file)| (directory.join(&name), file));
        scan.links.extend(links.filter(|(path, _)| !excludes(path, false)));
        if let Some((own, facts)) = listing.facts {
            if directory == from {
                scan.own = Some(own);
            }
            let facts =
                facts.retain(|name, it| !excludes(&directory.join(name), it.is_directory()));
            scan.directories.push((directory.clone(), facts));
        }
    })?;
    Ok(scan)
}

/// How many entries are directly in `from`, and in each directory below it, but for those that are excluded. What can't
/// be looked into is not among them. Errors as for [`scan`].
pub fn counts(
    root: &SourceDir,
    from: &RelPath,
    excludes: impl Fn(&RelPath, bool) -> bool,
) -> Result<Vec<(RelPath, u64)>, Errno> {
    let mut counts = Vec::new();
    visit(root, from, false, excludes, |directory, listing| {
        counts.push((directory.clone(), listing.entries));
    })?;
    Ok(counts)
}

/// How many entries a unit holds that are not excluded: one that is not there holds none. `Rest` is not known by its
/// name, and is counted as nothing. Errors as for [`scan`].
pub fn count(
    root: &SourceDir,
    unit: &Unit,
    excludes: impl Fn(&RelPath, bool) -> bool,
) -> Result<u64, Errno> {
    match unit {
        Unit::Files => {
            let opened = explore::open(root, &RelPath::root())?;
            let counts = |name: &[u8], is_directory: bool| {
                !is_directory && !excludes(&RelPath::root().join(name), is_directory)
            };
            Ok(explore::list(&opened.fd, false, counts)?.entries)
        }
        Unit::Directory(top) => {
            let found = Looker::new(root).look(top);
            if !matches!(found, Found::Present { is_directory: true, .. }) || excludes(top, true) {
                return Ok(0);
            }
            let below = counts(root, top, excludes)?;
            Ok(1 + below.iter().map(|(_, entries)| entries).sum::<u64>())
        }
        Unit::Rest => Ok(0),
    }
}

/// All names below a Root of files with several names that are among `wanted`. The kernel doesn't tell the old
/// name when a link is made, so the tree has to be looked through. Errors as for [`scan`].
pub fn names(
    root: &SourceDir,
    wanted: &BTreeSet<Identity>,
    excludes: impl Fn(&RelPath, bool) -> bool,
) -> Result<Vec<(RelPath, Identity)>, Errno> {
    let mut found = Vec::new();
    visit(root, &RelPath::root(), false, &excludes, |directory, listing| {
        let wanted = listing.links.into_iter().filter(|(_, file)| wanted.contains(file));
        let named = wanted.map(|(name, file)| (directory.join(&name), file));
        found.extend(named.filter(|(path, _)| !excludes(path, false)));
    })?;
    Ok(found)
}

/// Whether an error says something about one directory alone.
pub fn is_its_own(error: Errno) -> bool {
    matches!(
        error,
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::ACCESS | Errno::PERM
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::source;

    #[test]
    fn a_unit_is_counted_without_what_is_kept_out() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b/c")).unwrap();
        std::fs::create_dir_all(dir.path().join("a/out/x")).unwrap();
        for name in ["f", "g", "f.out", "a/f", "a/b/f", "a/b/f.out", "a/out/f"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let root = source::open(dir.path()).unwrap();
        let excludes = |path: &RelPath, _| path.name().ends_with(b"out");
        let counted = |unit| count(&root, &unit, excludes).unwrap();
        assert_eq!(counted(Unit::Files), 2);
        assert_eq!(counted(Unit::Directory("a".into())), 5);
        assert_eq!(counted(Unit::Directory("gone".into())), 0);
        assert_eq!(counted(Unit::Directory("f".into())), 0);
        let mut all = counts(&root, &RelPath::root(), excludes).unwrap();
        all.sort();
        let expected = [("", 3), ("a", 2), ("a/b", 2), ("a/b/c", 0)];
        assert_eq!(all, expected.map(|(path, entries)| (RelPath::from(path), entries)));
    }
}
