//! What of the daemon outlives it: the checkpoint.

use mirrorball_core::data::batch::Dirty;
use mirrorball_core::data::ids::MirrorId;
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::snapshot::{Facts, Listing};
use mirrorball_core::root::checkpoint::Holders;
use mirrorball_core::source::snapshot::Snapshot;

use crate::simulation::tree::{Node, Source};

#[derive(Clone, Default)]
pub struct Kept {
    pub snapshot: Snapshot,
    pub journal: Vec<Dirty>,
    pub holders: Holders,
}

#[derive(Default)]
pub struct Disk {
    pub current: Option<Kept>,
    pub next: Option<Kept>,
}

impl Disk {
    pub fn append(&mut self, entries: &[Dirty]) {
        for kept in [&mut self.current, &mut self.next].into_iter().flatten() {
            kept.journal.extend_from_slice(entries);
        }
    }

    pub fn record(&mut self, holders: Holders) {
        if let Some(kept) = self.next.as_mut().or(self.current.as_mut()) {
            kept.holders = holders;
        }
    }

    pub fn withdraw(&mut self, ids: &[MirrorId]) {
        for kept in [&mut self.current, &mut self.next].into_iter().flatten() {
            kept.holders.retain(|id, _| !ids.contains(id));
        }
    }
}

/// The facts of one directory. A content's number serves as the time that only the kernel sets.
pub fn list(source: &Source, directory: &RelPath) -> Listing {
    let inside = source.tree.iter().filter(|(path, _)| path.parent().as_ref() == Some(directory));
    let facts = inside.map(|(path, node)| {
        let facts = match *node {
            Node::Directory => Facts { mode: 0o040_755, inode: 1, size: 0, mtime: 0, ctime: 0 },
            Node::File { content, stamp, mode } => Facts {
                mode: 0o100_644,
                inode: 1,
                size: stamp,
                mtime: mode.cast_signed(),
                ctime: content.cast_signed(),
            },
        };
        (path.name().to_vec(), facts)
    });
    Listing::new(facts.collect())
}

/// Everything but what can't be read.
pub fn directories(source: &Source) -> Vec<RelPath> {
    let hidden = |path: &RelPath| {
        source.unreadable.as_ref().is_some_and(|hidden| path == hidden || path.is_below(hidden))
    };
    let all = source.tree.keys().filter(|path| source.is_directory(path) && !hidden(path));
    all.cloned().chain([RelPath::root()]).collect()
}
