//! Which watch descriptor is which directory, kept in step with renames, and what the kernel's events
//! mean for paths. It moves nodes; it never walks anything.

mod events;
mod exploration;
mod unproven;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use self::events::{Carried, HalfMove, Wait};
use self::exploration::Job;
use self::unproven::{Entry, Unproven, all_of};
use crate::data::change::{Change, Kinds};
use crate::data::moment::Moment;
use crate::data::path::RelPath;
use crate::data::source_dir::Volume;
use crate::machine::Rule;
use crate::source::entry_count::Size;
use crate::source::filter::Filter;

/// A directory in the table. Stays the same when the directory is renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(u32);

/// One exploration: a directory that is to be watched with all that is below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobId(u64);

/// A directory that somebody is asked to open: an entry of a node, or the Root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// For which exploration.
    pub job: JobId,
    /// The directory that holds it; none for the Root.
    pub parent: Option<NodeId>,
    /// Its name there; empty for the Root.
    pub name: Arc<[u8]>,
    /// Where that was when it was asked.
    pub path: RelPath,
}

impl Opening {
    fn entry(&self) -> Option<Entry> {
        self.parent.map(|parent| (parent, self.name.clone()))
    }
}

/// Why a directory could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenFailure {
    /// There is no directory of that name (any more).
    NotThere,
    /// It is there, but can't be looked into.
    Denied,
    /// It can be looked into, but raises no events here.
    Silent,
}

/// What the table wants done.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Tell the collator.
    Changed(Change),
    /// Open this directory without following links, and report to `handle_opened` or `handle_failed`.
    Open(Opening),
    /// Look through this directory now, and again and again, since it raises no events; report the first
    /// time to `handle_scanned`.
    Rescan(Opening),
    /// Give this watch back to the kernel.
    Unwatch(i32),
    /// A directory was made.
    Made(RelPath),
    /// A name that is not a directory came; find out what it is.
    Created(RelPath),
    /// A file came from outside, perhaps over another; find out whether it has more names.
    MovedIn(RelPath),
    /// A file or directory was renamed.
    Renamed(RelPath, RelPath, Size),
    /// A name went away; a directory with all below it, of which nothing else is told.
    Went(RelPath, Size),
    /// A name went away, and may be back.
    Vanished {
        /// Which.
        path: RelPath,
        /// Whether it was a directory's.
        is_directory: bool,
        /// It has another name now, [`Self::Renamed`] has told which.
        is_renamed: bool,
    },
    /// A directory came from outside; files in it may have more names.
    CameWhole(RelPath),
    /// A directory lies on another device than the one above it.
    Volume(RelPath, Volume),
    /// A volume was unmounted below the Root.
    Unmounted(RelPath),
    /// Everything below the Root is watched.
    Complete,
    /// A directory can't be opened, for want of permission; rsync can't either, and says so.
    Unreadable(RelPath),
    /// Events were lost, or the Root itself went away: watch everything anew.
    Lost(&'static str),
}

/// The watched directories of one Root.
#[derive(Debug)]
pub struct WatchTable {
    filter: Arc<Filter>,
    nodes: BTreeMap<NodeId, Node>,
    children: BTreeMap<Entry, NodeId>,
    by_wd: BTreeMap<i32, NodeId>,
    next_node: u32,
    jobs: BTreeMap<JobId, Job>,
    next_job: u64,
    unproven: Unproven,
    /// Carried away by a rename while they were unproven: to be looked at once more.
    again: Vec<Entry>,
    /// First halves of renames.
    moves: Vec<HalfMove>,
    carried: Vec<Carried>,
    effects: VecDeque<Effect>,
}

#[derive(Debug)]
struct Node {
    /// None for the Root.
    parent: Option<NodeId>,
    name: Arc<[u8]>,
    wd: i32,
    device: u64,
    /// All that is in it has been asked for.
    is_listed: bool,
}

impl WatchTable {
    /// Nothing is watched; the first effect asks to open the Root.
    pub fn new(filter: Arc<Filter>) -> Self {
        let mut table = Self::idle(filter);
        table.explore(None, Kinds::empty());
        table
    }

    /// Nothing is watched, and nothing will be.
    pub fn idle(filter: Arc<Filter>) -> Self {
        Self {
            filter,
            nodes: BTreeMap::new(),
            children: BTreeMap::new(),
            by_wd: BTreeMap::new(),
            next_node: 0,
            jobs: BTreeMap::new(),
            next_job: 0,
            unproven: Unproven::default(),
            again: Vec::new(),
            moves: Vec::new(),
            carried: Vec::new(),
            effects: VecDeque::new(),
        }
    }

    /// Watched directories.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether nothing is watched.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Whether some directories are not watched yet.
    pub fn is_exploring(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// Whether of some rename the kernel has not told everything so far.
    pub fn has_half_moves(&self) -> bool {
        !self.moves.is_empty() || !self.carried.is_empty()
    }

    /// The exploration that began first of those that go on.
    pub fn oldest_job(&self) -> Option<JobId> {
        self.jobs.keys().next().copied()
    }

    /// The name of the next exploration; all earlier ones have smaller names.
    pub fn next_job(&self) -> JobId {
        JobId(self.next_job)
    }

    /// Where a directory is now; none if it is not in the tree any more.
    pub fn path(&self, id: NodeId) -> Option<RelPath> {
        let mut names = Vec::new();
        let mut node = self.nodes.get(&id)?;
        while let Some(parent) = node.parent {
            names.push(node.name.clone());
            node = self.nodes.get(&parent)?;
        }
        Some(names.iter().rev().fold(RelPath::root(), |path, name| path.join(name)))
    }

    /// One kernel read has been handled to its end.
    pub fn handle_read_end(&mut self) {
        self.end_waits(Wait::is_over_at_read_end);
    }

    /// Whether it matters when the kernel's queue is empty.
    pub fn has_unproven(&self) -> bool {
        !self.unproven.is_empty()
    }

    /// The kernel's queue is empty, and all that was in it has been handled.
    pub fn handle_drained(&mut self) {
        self.unproven.handle_drained();
    }

    fn change(&mut self, path: RelPath, kinds: Kinds) {
        self.effects.push_back(Effect::Changed(Change::new(path, kinds)));
    }

    fn find(&self, path: &RelPath) -> Option<NodeId> {
        let root = self.nodes.iter().find(|(_, node)| node.parent.is_none()).map(|(id, _)| *id)?;
        let components = path.as_bytes().split(|b| *b == b'/').filter(|c| !c.is_empty());
        components
            .into_iter()
            .try_fold(root, |node, name| self.children.get(&(node, name.into())).copied())
    }

    /// Another directory, or none, has this name from now on.
    fn forget_entry(&mut self, entry: &Entry) {
        if let Some(old) = self.children.get(entry).copied() {
            self.remove_node(old);
        }
    }

    /// Removes a directory and all below it, and gives their watches back.
    fn remove_node(&mut self, id: NodeId) {
        for id in self.subtree(id) {
            let Some(node) = self.nodes.remove(&id) else { continue };
            self.by_wd.remove(&node.wd);
            self.unwatch(node.wd);
            self.unproven.forget(id);
            if let Some(parent) = node.parent {
                self.children.remove(&(parent, node.name));
            }
        }
    }

    /// A directory and all above it, as far as they are known.
    fn lineage(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        let is_known = |id: &NodeId| self.nodes.contains_key(id);
        std::iter::successors(Some(id), |id| self.nodes.get(id)?.parent).take_while(is_known)
    }

    /// A directory and all below it, the outer ones first.
    fn subtree(&self, id: NodeId) -> Vec<NodeId> {
        let mut found = vec![id];
        let mut next = 0;
        while let Some(id) = found.get(next).copied() {
            found.extend(self.children.range(all_of(id)).map(|(_, child)| *child));
            next += 1;
        }
        found
    }

    /// By the time when it is done, the descriptor may stand for another node.
    fn unwatch(&mut self, wd: i32) {
        self.effects.push_back(Effect::Unwatch(wd));
    }
}

impl Rule for WatchTable {
    type Effect = Effect;

    fn handle_timeout(&mut self, now: Moment) {
        self.end_waits(|wait| wait.deadline <= now);
    }

    fn poll_timeout(&self, _: Moment) -> Option<Moment> {
        let halves = self.moves.iter().map(|half| half.wait.deadline);
        halves.chain(self.carried.iter().map(|it| it.wait.deadline)).min()
    }

    fn poll_effect(&mut self) -> Option<Effect> {
        while let Some(effect) = self.effects.pop_front() {
            if !matches!(effect, Effect::Unwatch(wd) if self.by_wd.contains_key(&wd)) {
                return Some(effect);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
