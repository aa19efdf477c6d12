//! What a watcher holds while it watches, and the other names of hard-linked files.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::watch::fanotify::MarkSet;
use crate::watch::inotify::WatchSet;
use crate::watch::presence::{Inspection, Looker};
use mirrorball_core::data::change::{Change, Kinds};
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::source_dir::{Identity, SourceDir};
use mirrorball_core::source::link_table::LinkTable;
use mirrorball_core::source::snapshot::Snapshot;
use mirrorball_core::source::watch_table::{Opening, WatchTable};

/// The kernel's watches, what they stand for, and what was heard and not yet told.
pub struct Watch {
    /// The kernel's side, where that is a watch for each directory.
    pub watches: Option<WatchSet>,
    /// The same, where it is a mark for each file system.
    pub marks: Option<MarkSet>,
    /// Trees that are being looked through, for what no event tells.
    pub scans: usize,
    /// While everything is watched for the first time: what is no older than this may have changed before it was
    /// watched; nanoseconds since 1970, as `ctime` has them. None where nobody relies on that.
    pub probe: Option<i64>,
    /// Which directory each watch stands for.
    pub table: WatchTable,
    /// The Root.
    pub source: SourceDir,
    /// Where volumes begin whose servers may stop answering: nothing in them is looked at on the actors' thread.
    pub distant: BTreeSet<RelPath>,
    /// The watch on the directory of flush cookies; none for want of watches.
    pub cookie_wd: Option<i32>,
    /// The last read took as many events as it may: more have been read than were handled.
    pub reads_ahead: bool,
    /// Directories that are to be watched.
    pub to_open: VecDeque<Opening>,
    /// Tasks that open and list directories.
    pub tasks: usize,
    /// Names of files that have more than one.
    pub links: LinkTable,
    /// Names that are being looked for.
    pub search: LinkSearch,
    /// The number of entries directly in each directory, while everything is explored for the first time.
    pub listed: Option<BTreeMap<RelPath, u64>>,
    /// The tree as it is found while it is explored for the first time; none where nobody wants it.
    pub snapshot: Option<Snapshot>,
    /// Heard and not yet told.
    pub changes: Vec<Change>,
    /// Events that were read and not yet told of.
    pub events: u64,
    /// Whether the collator thinks that new directories are still being watched.
    pub told_exploring: bool,
}

/// Looking for the other names of files that got a second one.
#[derive(Default)]
pub struct LinkSearch {
    /// To be looked for next.
    pub wanted: BTreeSet<Identity>,
    /// Names that were looked for in vain, with the link count at that time.
    pub searched: BTreeMap<Identity, u64>,
    /// Being looked for.
    pub running: Option<BTreeSet<Identity>>,
    /// Written to while they were being looked for.
    pub touched: BTreeSet<Identity>,
}

impl Watch {
    /// Tells the table when it is as far as the kernel.
    pub fn note_drained(&mut self) {
        let is_empty = self.watches.as_ref().is_some_and(WatchSet::queue_is_empty);
        if self.table.has_unproven() && !self.reads_ahead && is_empty {
            self.table.handle_drained();
        }
    }

    /// A change, and with it the other names of the same file.
    pub fn change(&mut self, change: Change) {
        let written = change.kinds.intersects(Kinds::CONTENT | Kinds::ATTRS);
        if written && !change.kinds.contains(Kinds::WENT) {
            if let Some(inode) = self.links.inode(&change.path)
                && self.search.is_wanted(inode)
            {
                self.search.touched.insert(inode);
            }
            let kinds = change.kinds & (Kinds::CONTENT | Kinds::ATTRS | Kinds::OPEN);
            let others = self.links.others(&change.path).cloned();
            self.changes.extend(others.map(|path| Change::new(path, kinds)));
        }
        self.changes.push(change);
    }

    /// A name went away; should it be back already, it is not taken for one that nobody has seen.
    pub fn vanished(&mut self, path: RelPath, is_directory: bool) {
        let subtree = if is_directory { Kinds::SUBTREE } else { Kinds::empty() };
        let is_back = self.inspect(&path).is_some();
        let kinds = if is_back { Kinds::CONTENT } else { Kinds::WENT };
        self.change(Change::new(path, kinds | subtree));
    }

    /// A name that is not a directory came. One that is being written to is held back until closed.
    pub fn created(&mut self, path: RelPath) {
        let inspection = self.inspect(&path);
        let being_written = inspection.is_none_or(|i| i.is_regular && i.names == 1);
        let open = if being_written { Kinds::OPEN } else { Kinds::empty() };
        self.note_inspected(&path, inspection);
        self.change(Change::new(path, Kinds::CAME | Kinds::CONTENT | open));
    }

    /// A file that came may have other names here.
    pub fn note_names(&mut self, path: &RelPath) {
        self.note_inspected(path, self.inspect(path));
    }

    /// What is at a path now; none, too, where looking might not return.
    fn inspect(&self, path: &RelPath) -> Option<Inspection> {
        let is_distant = |it: &RelPath| it == path || path.is_below(it);
        (!self.distant.iter().any(is_distant)).then(|| Looker::new(&self.source).inspect(path))?
    }

    fn note_inspected(&mut self, path: &RelPath, inspection: Option<Inspection>) {
        let Some(inspection) = inspection else { return };
        let (inode, names) = (inspection.identity, inspection.names);
        if inspection.is_directory || names < 2 {
            return;
        }
        self.links.insert(path.clone(), inode);
        let known = self.links.count(inode) as u64;
        if known < names && self.search.searched.get(&inode) != Some(&names) {
            self.search.searched.insert(inode, names);
            self.search.wanted.insert(inode);
        }
    }

    /// A search has ended: these names belong to these files.
    pub fn found_names(&mut self, found: &[(RelPath, Identity)]) {
        let searched = self.search.running.take().unwrap_or_default();
        for (path, inode) in found {
            if self.links.inode(path) == Some(*inode) {
                continue;
            }
            self.links.insert(path.clone(), *inode);
            let touched = self.search.touched.contains(inode);
            let kinds = if touched { Kinds::CONTENT | Kinds::ATTRS } else { Kinds::ATTRS };
            self.changes.push(Change::new(path.clone(), kinds));
        }
        self.search.touched.retain(|inode| !searched.contains(inode));
        if self.search.searched.len() > mirrorball_core::data::limits::LINK_NAMES_MAX {
            self.search.searched.clear();
        }
    }
}

impl LinkSearch {
    /// Whether other names of this file may come to light.
    pub fn is_wanted(&self, inode: Identity) -> bool {
        self.wanted.contains(&inode) || self.running.as_ref().is_some_and(|r| r.contains(&inode))
    }
}
