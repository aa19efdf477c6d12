//! Looking through a whole tree, for its facts.

use rustix::io::Errno;

use crate::types::rel_path::RelPath;
use crate::types::snapshot::{Facts, Listing};
use crate::types::source_dir::{Identity, SourceDir};
use crate::watch::explore;

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

/// Scans `from` and all below it. Nothing is followed, and nothing that is excluded is looked into. The
/// error is one that says nothing of a single directory, such as too few descriptors.
pub fn scan(
    root: &SourceDir,
    from: &RelPath,
    excludes: impl Fn(&RelPath, bool) -> bool,
) -> Result<Scan, Errno> {
    let mut scan = Scan::default();
    let mut todo = vec![from.clone()];
    while let Some(directory) = todo.pop() {
        let listed = explore::open(root, &directory).and_then(|o| explore::list(&o.fd, true));
        let listing = match listed {
            Ok(listing) => listing,
            Err(error) if is_its_own(error) => continue,
            Err(error) => return Err(error),
        };
        let below = listing.directories.iter().map(|name| directory.join(name));
        todo.extend(below.filter(|path| !excludes(path, true)));
        let links = listing.links.into_iter().map(|(name, file)| (directory.join(&name), file));
        scan.links.extend(links.filter(|(path, _)| !excludes(path, false)));
        if let Some((own, facts)) = listing.facts {
            scan.own = scan.own.or((directory == *from).then_some(own));
            let facts =
                facts.retain(|name, it| !excludes(&directory.join(name), it.is_directory()));
            scan.directories.push((directory, facts));
        }
    }
    Ok(scan)
}

/// How many entries there are below a Root, but for what is in excluded directories.
pub fn count(root: &SourceDir, excludes: impl Fn(&RelPath) -> bool) -> u64 {
    let mut entries = 0;
    let mut todo = vec![RelPath::root()];
    while let Some(directory) = todo.pop() {
        let listed = explore::open(root, &directory).and_then(|o| explore::list(&o.fd, false));
        let Ok(listing) = listed else { continue };
        entries += listing.entries;
        let below = listing.directories.iter().map(|name| directory.join(name));
        todo.extend(below.filter(|path| !excludes(path)));
    }
    entries
}

/// Whether an error says something about one directory alone.
pub fn is_its_own(error: Errno) -> bool {
    matches!(
        error,
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV | Errno::ACCESS | Errno::PERM
    )
}
