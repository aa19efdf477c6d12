//! Finding the other names of files that got a second one.

use std::collections::BTreeSet;

use crate::types::rel_path::RelPath;
use crate::types::source_dir::{Identity, SourceDir};
use crate::watch::explore;

/// All names below a Root of files with several names that are among `wanted`. The kernel doesn't tell
/// the old name when a link is made, so the tree has to be looked through.
pub fn search(
    root: &SourceDir,
    wanted: &BTreeSet<Identity>,
    excludes: impl Fn(&RelPath, bool) -> bool,
) -> Vec<(RelPath, Identity)> {
    let mut found = Vec::new();
    let mut directories = vec![RelPath::root()];
    while let Some(directory) = directories.pop() {
        let Ok(opened) = explore::open(root, &directory) else { continue };
        let Ok(listing) = explore::list(&opened.fd, false) else { continue };
        for (name, inode) in listing.links {
            let path = directory.join(&name);
            if wanted.contains(&inode) && !excludes(&path, false) {
                found.push((path, inode));
            }
        }
        let below = listing.directories.iter().map(|name| directory.join(name));
        directories.extend(below.filter(|path| !excludes(path, true)));
    }
    found
}
