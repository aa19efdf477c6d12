//! Which watch descriptor is which directory, kept in step with renames, and what the kernel's events
//! mean for paths. It moves nodes; it never walks anything.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::core::filter::Filter;
use crate::core::rule::Rule;
use crate::types::change::{Change, Kinds};
use crate::types::event::{EventMask, KernelEvent};
use crate::types::limits::MOVE_PAIR_WAIT;
use crate::types::moment::Moment;
use crate::types::rel_path::RelPath;

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
    /// A name that is not a directory came; find out what it is.
    Created(RelPath),
    /// A file came from outside, perhaps over another; find out whether it has more names.
    MovedIn(RelPath),
    /// A file or directory was renamed.
    Renamed(RelPath, RelPath),
    /// A name went away; a directory with all below it.
    Went(RelPath),
    /// A directory lies on another device than the one above it.
    Volume(RelPath, u64),
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
    children: BTreeMap<(NodeId, Arc<[u8]>), NodeId>,
    by_wd: BTreeMap<i32, NodeId>,
    next_node: u32,
    jobs: BTreeMap<JobId, Job>,
    next_job: u64,
    /// First halves of renames.
    moves: Vec<HalfMove>,
    /// Directories whose names others were given by a rename: replaced, or exchanged, which the next event
    /// tells.
    displaced: Vec<Displaced>,
    effects: VecDeque<Effect>,
}

#[derive(Debug)]
struct Node {
    /// None for the Root.
    parent: Option<NodeId>,
    name: Arc<[u8]>,
    wd: i32,
    device: u64,
}

#[derive(Debug)]
struct Job {
    /// What was to be explored; none for the Root.
    of: Option<(NodeId, Arc<[u8]>)>,
    kinds: Kinds,
    moved_from: Option<RelPath>,
    /// Openings and listings that are not back.
    outstanding: usize,
}

#[derive(Debug)]
struct Displaced {
    parent: NodeId,
    name: Arc<[u8]>,
    node: NodeId,
    /// Kernel reads that ended since.
    reads: u8,
}

/// The parent of what has no name for a moment: no node has this number.
const NOWHERE: NodeId = NodeId(u32::MAX);

#[derive(Debug)]
struct HalfMove {
    cookie: u32,
    path: RelPath,
    node: Option<NodeId>,
    is_directory: bool,
    /// Kernel reads that ended since.
    reads: u8,
    deadline: Moment,
}

impl WatchTable {
    /// Nothing is watched; the first effect asks to open the Root.
    pub fn new(filter: Arc<Filter>) -> Self {
        let mut table = Self {
            filter,
            nodes: BTreeMap::new(),
            children: BTreeMap::new(),
            by_wd: BTreeMap::new(),
            next_node: 0,
            jobs: BTreeMap::new(),
            next_job: 0,
            moves: Vec::new(),
            displaced: Vec::new(),
            effects: VecDeque::new(),
        };
        table.explore(None, Kinds::empty());
        table
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

    /// Whether some rename has shown only its old name so far.
    pub fn has_half_moves(&self) -> bool {
        !self.moves.is_empty()
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

    /// Explores a directory again, because what lies there may be another volume now.
    pub fn handle_remounted(&mut self, path: &RelPath) {
        let Some(parent) = path.parent().and_then(|p| self.find(&p)) else { return };
        if self.filter.excludes_entry(path, true) {
            return;
        }
        self.forget_entry(parent, path.name());
        self.explore(Some((parent, path.name().into())), Kinds::SUBTREE);
    }

    /// One event, in the kernel's order.
    pub fn handle_event(&mut self, now: Moment, event: &KernelEvent) {
        if event.mask.contains(EventMask::OVERFLOW) {
            self.effects.push_back(Effect::Lost("the kernel's event queue overflowed"));
            return;
        }
        let Some(node) = self.by_wd.get(&event.wd).copied() else { return };
        let Some(directory) = self.path(node) else { return };
        if event.name.is_empty() {
            self.handle_self(node, directory, event.mask);
        } else {
            self.handle_entry(now, node, &directory, event);
        }
    }

    /// One kernel read has been handled to its end.
    pub fn handle_read_end(&mut self) {
        let mut still_waiting = Vec::new();
        for mut half in std::mem::take(&mut self.moves) {
            half.reads += 1;
            if half.reads > 1 {
                self.move_out(half);
            } else {
                still_waiting.push(half);
            }
        }
        self.moves = still_waiting;
        for mut it in std::mem::take(&mut self.displaced) {
            it.reads += 1;
            if it.reads > 1 {
                self.remove_node(it.node);
            } else {
                self.displaced.push(it);
            }
        }
    }

    /// A directory was opened and is watched as `wd`. Returns the node to list, if it is to be listed;
    /// report the listing to [`Self::handle_listed`].
    pub fn handle_opened(&mut self, opening: &Opening, wd: i32, device: u64) -> Option<NodeId> {
        let parent_gone = opening.parent.is_some_and(|parent| !self.nodes.contains_key(&parent));
        if parent_gone {
            if !self.by_wd.contains_key(&wd) {
                self.effects.push_back(Effect::Unwatch(wd));
            }
            self.finish_one(opening.job);
            return None;
        }
        if let Some(known) = self.by_wd.get(&wd).copied() {
            let here = opening.parent.map(|parent| (parent, opening.name.clone()));
            let node = &self.nodes[&known];
            if node.parent.map(|parent| (parent, node.name.clone())) == here {
                return Some(known);
            }
            self.rebind(known, opening);
            return Some(known);
        }
        if let Some(parent) = opening.parent {
            self.forget_entry(parent, &opening.name);
        }
        let id = NodeId(self.next_node);
        self.next_node += 1;
        let node = Node { parent: opening.parent, name: opening.name.clone(), wd, device };
        let above = opening.parent.map(|parent| self.nodes[&parent].device);
        self.nodes.insert(id, node);
        self.by_wd.insert(wd, id);
        if let Some(parent) = opening.parent {
            self.children.insert((parent, opening.name.clone()), id);
        }
        if above.is_some_and(|above| above != device)
            && let Some(path) = self.path(id)
        {
            self.effects.push_back(Effect::Volume(path, device));
        }
        Some(id)
    }

    /// A directory could not be opened. One that was renamed meanwhile is asked for under its new name.
    pub fn handle_failed(&mut self, opening: &Opening, failure: OpenFailure) {
        let now_at = match opening.parent {
            Some(parent) => self.path(parent).map(|p| p.join(&opening.name)),
            None => Some(RelPath::root()),
        };
        match (failure, now_at) {
            (OpenFailure::NotThere, Some(path)) if path != opening.path => {
                self.effects.push_back(Effect::Open(Opening { path, ..opening.clone() }));
            }
            (OpenFailure::NotThere, _) if opening.parent.is_none() => {
                self.effects.push_back(Effect::Lost("the source directory is not there"));
            }
            (OpenFailure::Silent, Some(_)) => {
                self.effects.push_back(Effect::Rescan(opening.clone()));
            }
            (OpenFailure::Denied, Some(path)) => {
                self.effects.push_back(Effect::Unreadable(path));
                self.finish_one(opening.job);
            }
            _ => self.finish_one(opening.job),
        }
    }

    /// A directory without events was looked through. One that was renamed meanwhile is asked for under its
    /// new name.
    pub fn handle_scanned(&mut self, opening: &Opening) {
        match opening.parent {
            None => self.finish_one(opening.job),
            Some(_) => self.handle_failed(opening, OpenFailure::NotThere),
        }
    }

    /// The directories in a directory, as listed after its watch was set.
    pub fn handle_listed(&mut self, job: JobId, node: NodeId, directories: Vec<Arc<[u8]>>) {
        if let Some(path) = self.path(node) {
            for name in directories {
                let path = path.join(&name);
                if self.filter.excludes(&path, true) {
                    continue;
                }
                self.jobs.get_mut(&job).expect("its listing was outstanding").outstanding += 1;
                let opening = Opening { job, parent: Some(node), name, path };
                self.effects.push_back(Effect::Open(opening));
            }
        }
        self.finish_one(job);
    }

    fn handle_self(&mut self, node: NodeId, directory: RelPath, mask: EventMask) {
        if mask.intersects(EventMask::IGNORED | EventMask::DELETE_SELF | EventMask::UNMOUNT) {
            if directory.is_root() {
                self.effects.push_back(Effect::Lost("the source directory went away"));
            } else if mask.contains(EventMask::UNMOUNT) {
                self.remove_node(node);
                self.effects.push_back(Effect::Unmounted(directory));
            } else {
                self.remove_node(node);
            }
        } else if directory.is_root() && mask.contains(EventMask::MOVE_SELF) {
            self.effects.push_back(Effect::Lost("the source directory was moved"));
        } else if directory.is_root() && mask.contains(EventMask::ATTRIB) {
            // For every other directory the one above it reports the same with its name.
            self.change(directory, Kinds::ATTRS);
        }
    }

    fn handle_entry(
        &mut self,
        now: Moment,
        node: NodeId,
        directory: &RelPath,
        event: &KernelEvent,
    ) {
        let path = directory.join(&event.name);
        let mask = event.mask;
        let is_directory = mask.contains(EventMask::ISDIR);
        let names_changed =
            EventMask::CREATE | EventMask::DELETE | EventMask::MOVED_FROM | EventMask::MOVED_TO;
        if self.filter.excludes_entry(&path, is_directory) {
            // What is kept out still changes the times of the directory around it.
            if mask.intersects(names_changed) {
                self.change(directory.clone(), Kinds::ATTRS);
            }
            if mask.contains(EventMask::MOVED_TO) {
                self.moved_to_excluded(event.cookie);
            }
            return;
        }
        let subtree = if is_directory { Kinds::SUBTREE } else { Kinds::empty() };
        if mask.contains(EventMask::MOVED_FROM) {
            let exchanged = self
                .displaced
                .iter()
                .position(|it| it.parent == node && it.name.as_ref() == event.name.as_slice());
            let child = match exchanged {
                Some(at) => Some(self.displaced.remove(at).node),
                None => self.children.get(&(node, event.name.as_slice().into())).copied(),
            };
            self.moves.push(HalfMove {
                cookie: event.cookie,
                path,
                node: child,
                is_directory,
                reads: 0,
                deadline: now + MOVE_PAIR_WAIT,
            });
        } else if mask.contains(EventMask::MOVED_TO) {
            self.moved_to(node, &event.name, &path, event.cookie, is_directory);
        } else if mask.contains(EventMask::CREATE) && is_directory {
            self.forget_entry(node, &event.name);
            // Files in it may have the times of others that are still on a mirror.
            let kinds = Kinds::CAME | Kinds::CONTENT | Kinds::SUBTREE;
            self.explore(Some((node, event.name.as_slice().into())), kinds);
        } else if mask.contains(EventMask::CREATE) {
            self.effects.push_back(Effect::Created(path));
        } else if mask.contains(EventMask::DELETE) {
            self.forget_entry(node, &event.name);
            self.effects.push_back(Effect::Went(path.clone()));
            self.change(path, Kinds::WENT | subtree);
        } else if mask.contains(EventMask::CLOSE_WRITE) {
            self.change(path, Kinds::CONTENT);
        } else if mask.contains(EventMask::MODIFY) {
            self.change(path, Kinds::CONTENT | Kinds::OPEN);
        } else if mask.contains(EventMask::ATTRIB) {
            let is_watched = self.children.contains_key(&(node, event.name.as_slice().into()));
            if is_directory && !is_watched {
                // It could not be opened before; its new permissions may allow it.
                let kinds = Kinds::ATTRS | Kinds::SUBTREE;
                self.explore(Some((node, event.name.as_slice().into())), kinds);
            } else {
                self.change(path, Kinds::ATTRS);
            }
        }
    }

    fn moved_to(
        &mut self,
        parent: NodeId,
        name: &[u8],
        path: &RelPath,
        cookie: u32,
        is_directory: bool,
    ) {
        let half = self.moves.iter().position(|half| half.cookie == cookie);
        let half = half.map(|at| self.moves.remove(at));
        let came = Kinds::CONTENT | if is_directory { Kinds::SUBTREE } else { Kinds::empty() };
        let watched = half.as_ref().and_then(|half| half.node);
        if watched.is_none_or(|moved| self.children.get(&(parent, name.into())) != Some(&moved)) {
            self.displace(parent, name);
        }
        let from = half.map(|half| half.path);
        if let Some(from) = &from {
            self.effects.push_back(Effect::Renamed(from.clone(), path.clone()));
        }
        let moved_here =
            |moved_from| Change { path: path.clone(), kinds: came, moved_from, is_late: false };
        match watched {
            _ if !is_directory => {
                if from.is_none() {
                    self.effects.push_back(Effect::MovedIn(path.clone()));
                }
                self.effects.push_back(Effect::Changed(moved_here(from)));
            }
            Some(moved) if !self.filter.looks_at_parents() => {
                let node = self.nodes.get_mut(&moved).expect("children name living nodes");
                let old = (node.parent.expect("the root is nobody's child"), node.name.clone());
                node.parent = Some(parent);
                node.name = name.into();
                self.children.remove(&old);
                self.children.insert((parent, name.into()), moved);
                self.effects.push_back(Effect::Changed(moved_here(from)));
            }
            other => {
                // Rules that look at parents may keep other directories out under the new name.
                other.into_iter().for_each(|moved| self.remove_node(moved));
                if let Some(from) = &from {
                    self.change(from.clone(), Kinds::WENT | Kinds::SUBTREE);
                }
                self.explore_moved(from, (parent, name.into()), came);
            }
        }
    }

    /// The other half of this rename is kept out by the rules: for the mirrors it went away.
    fn moved_to_excluded(&mut self, cookie: u32) {
        if let Some(at) = self.moves.iter().position(|half| half.cookie == cookie) {
            let half = self.moves.remove(at);
            self.move_out(half);
        }
    }

    fn move_out(&mut self, half: HalfMove) {
        if let Some(node) = half.node {
            self.remove_node(node);
        }
        self.effects.push_back(Effect::Went(half.path.clone()));
        let subtree = if half.is_directory { Kinds::SUBTREE } else { Kinds::empty() };
        self.change(half.path, Kinds::WENT | subtree);
    }

    /// Asks for a directory to be watched with all below it; its change is told when that is done, so
    /// that a push of the subtree can't miss what came before its watches.
    fn explore(&mut self, of: Option<(NodeId, Arc<[u8]>)>, kinds: Kinds) {
        self.begin_job(of, kinds, None);
    }

    fn explore_moved(&mut self, from: Option<RelPath>, of: (NodeId, Arc<[u8]>), kinds: Kinds) {
        self.begin_job(Some(of), kinds, from);
    }

    fn begin_job(
        &mut self,
        of: Option<(NodeId, Arc<[u8]>)>,
        kinds: Kinds,
        moved_from: Option<RelPath>,
    ) {
        let job = JobId(self.next_job);
        self.next_job += 1;
        let (parent, name) = match &of {
            Some((parent, name)) => (Some(*parent), name.clone()),
            None => (None, Arc::from([].as_slice())),
        };
        let path = match parent {
            Some(parent) => self.path(parent).map(|p| p.join(&name)),
            None => Some(RelPath::root()),
        };
        let Some(path) = path else { return };
        self.jobs.insert(job, Job { of, kinds, moved_from, outstanding: 1 });
        self.effects.push_back(Effect::Open(Opening { job, parent, name, path }));
    }

    fn finish_one(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.outstanding -= 1;
        if job.outstanding > 0 {
            return;
        }
        let job = self.jobs.remove(&id).expect("found just now");
        match job.of {
            None => self.effects.push_back(Effect::Complete),
            Some((parent, name)) => {
                if let Some(path) = self.path(parent) {
                    let (path, moved_from) = (path.join(&name), job.moved_from);
                    let is_late = moved_from.is_some();
                    let change = Change { path, kinds: job.kinds, moved_from, is_late };
                    self.effects.push_back(Effect::Changed(change));
                }
            }
        }
    }

    /// A watch descriptor that is known under another name: a rename slipped between. Whatever is true,
    /// both names are in doubt.
    fn rebind(&mut self, known: NodeId, opening: &Opening) {
        let Some(parent) = opening.parent else { return };
        let old_path = self.path(known);
        let node = self.nodes.get_mut(&known).expect("the caller looked it up");
        let old = node.parent.map(|parent| (parent, node.name.clone()));
        node.parent = Some(parent);
        node.name = opening.name.clone();
        if let Some(old) = old {
            self.children.remove(&old);
        }
        self.children.insert((parent, opening.name.clone()), known);
        for path in [old_path, self.path(known)].into_iter().flatten() {
            self.change(path, Kinds::SUBTREE | Kinds::CONTENT);
        }
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

    /// Something else was given this name by a rename.
    fn displace(&mut self, parent: NodeId, name: &[u8]) {
        let name: Arc<[u8]> = name.into();
        let Some(node) = self.children.remove(&(parent, name.clone())) else { return };
        if let Some(old) = self.nodes.get_mut(&node) {
            old.parent = Some(NOWHERE);
        }
        self.displaced.push(Displaced { parent, name, node, reads: 0 });
    }

    /// Another directory, or none, has this name from now on.
    fn forget_entry(&mut self, parent: NodeId, name: &[u8]) {
        if let Some(old) = self.children.get(&(parent, name.into())).copied() {
            self.remove_node(old);
        }
    }

    /// Removes a directory and all below it, and gives their watches back.
    fn remove_node(&mut self, id: NodeId) {
        let mut doomed = vec![id];
        while let Some(id) = doomed.pop() {
            let Some(node) = self.nodes.remove(&id) else { continue };
            self.by_wd.remove(&node.wd);
            self.effects.push_back(Effect::Unwatch(node.wd));
            if let Some(parent) = node.parent
                && self.children.get(&(parent, node.name.clone())) == Some(&id)
            {
                self.children.remove(&(parent, node.name));
            }
            let entries =
                (id, Arc::from([].as_slice()))..(NodeId(id.0 + 1), Arc::from([].as_slice()));
            doomed.extend(self.children.range(entries).map(|(_, child)| *child));
        }
    }
}

impl Rule for WatchTable {
    type Effect = Effect;

    fn handle_timeout(&mut self, now: Moment) {
        let moves = std::mem::take(&mut self.moves);
        let (due, waiting) = moves.into_iter().partition(|half| half.deadline <= now);
        self.moves = waiting;
        due.into_iter().for_each(|half: HalfMove| self.move_out(half));
    }

    fn poll_timeout(&self, _: Moment) -> Option<Moment> {
        self.moves.iter().map(|half| half.deadline).min()
    }

    fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }
}

#[cfg(test)]
mod tests;
