//! What the kernel's events say of the tree, one after the other.

use super::unproven::Entry;
use super::{Effect, NodeId, WatchTable};
use crate::data::change::{Change, Kinds};
use crate::data::event::{EventMask, KernelEvent};
use crate::data::limits::MOVE_PAIR_WAIT;
use crate::data::moment::Moment;
use crate::data::path::RelPath;
use crate::source::entry_count::Size;

#[derive(Debug)]
pub(super) struct HalfMove {
    cookie: u32,
    path: RelPath,
    pub(super) node: Option<NodeId>,
    is_directory: bool,
    pub(super) wait: Wait,
}

/// A directory that was given another name, which the kernel is to confirm by its next event: of two that are
/// exchanged, the names alone don't tell which is which.
#[derive(Debug)]
pub(super) struct Carried {
    pub(super) node: NodeId,
    pub(super) from: Entry,
    pub(super) to: Entry,
    pub(super) wait: Wait,
}

/// How long to wait for what belongs to an event.
#[derive(Debug)]
pub(super) struct Wait {
    /// Kernel reads that ended since.
    reads: u8,
    pub(super) deadline: Moment,
}

impl Wait {
    fn new(now: Moment) -> Self {
        Self { reads: 0, deadline: now + MOVE_PAIR_WAIT }
    }

    /// What belongs together comes in one read or in two.
    pub(super) fn is_over_at_read_end(&mut self) -> bool {
        self.reads += 1;
        self.reads > 1
    }
}

/// Of something that was renamed.
fn size_of(is_directory: bool) -> Size {
    if is_directory { Size::Unknown } else { Size::File }
}

impl WatchTable {
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
        } else if mask.contains(EventMask::MOVE_SELF)
            && let Some(at) = self.carried.iter().position(|it| it.node == node)
        {
            self.carried.remove(at);
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
        if mask.intersects(names_changed) {
            // The kernel confirms a rename before it lets anybody change names there.
            self.doubt_carried(|it| it.from.0 == node || it.to.0 == node);
        }
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
        let entry: Entry = (node, event.name.as_slice().into());
        let was_unproven =
            is_directory && mask.intersects(names_changed) && self.unproven.void(&entry);
        if mask.contains(EventMask::MOVED_FROM) {
            if was_unproven {
                // What was found may be what has the name next, or what was exchanged.
                self.forget_entry(&entry);
                self.again.push(entry.clone());
            }
            let node = self.children.get(&entry).copied().filter(|_| is_directory);
            self.moves.push(HalfMove {
                cookie: event.cookie,
                path,
                node,
                is_directory,
                wait: Wait::new(now),
            });
        } else if mask.contains(EventMask::MOVED_TO) {
            self.moved_to(now, entry, &path, event.cookie, is_directory);
        } else if mask.contains(EventMask::CREATE) && is_directory {
            self.forget_entry(&entry);
            self.effects.push_back(Effect::Made(path));
            // Files in it may have the times of others that are still on a mirror.
            let kinds = Kinds::CAME | Kinds::CONTENT | Kinds::SUBTREE;
            self.explore(Some(entry), kinds);
        } else if mask.contains(EventMask::CREATE) {
            self.effects.push_back(Effect::Created(path));
        } else if mask.contains(EventMask::DELETE) {
            self.forget_entry(&entry);
            // What had been in a directory was told before.
            let size = if is_directory { Size::Directory(0) } else { Size::File };
            self.effects.push_back(Effect::Went(path.clone(), size));
            self.change(path, Kinds::WENT | subtree);
        } else if mask.contains(EventMask::CLOSE_WRITE) {
            self.change(path, Kinds::CONTENT);
        } else if mask.contains(EventMask::MODIFY) {
            self.change(path, Kinds::CONTENT | Kinds::OPEN);
        } else if mask.contains(EventMask::ATTRIB) {
            if is_directory && !self.children.contains_key(&entry) {
                // It could not be opened before; its new permissions may allow it.
                let kinds = Kinds::ATTRS | Kinds::SUBTREE;
                self.explore(Some(entry), kinds);
            } else {
                self.change(path, Kinds::ATTRS);
            }
        }
    }

    fn moved_to(
        &mut self,
        now: Moment,
        entry: Entry,
        path: &RelPath,
        cookie: u32,
        is_directory: bool,
    ) {
        let half = self.moves.iter().position(|half| half.cookie == cookie);
        let half = half.map(|at| self.moves.remove(at));
        let came = Kinds::CONTENT | if is_directory { Kinds::SUBTREE } else { Kinds::empty() };
        self.forget_entry(&entry);
        let watched = half.as_ref().and_then(|half| half.node);
        // It may have been found under its new name meanwhile.
        let mut watched = watched.filter(|node| self.nodes.contains_key(node));
        if let Some(moved) = watched.take_if(|moved| self.lineage(entry.0).any(|it| it == *moved)) {
            // Nothing is moved into itself: a doubt about this is being cleared up already.
            self.remove_node(moved);
        }
        let from = half.map(|half| half.path);
        if let Some(from) = &from {
            let size = size_of(is_directory);
            self.effects.push_back(Effect::Renamed(from.clone(), path.clone(), size));
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
                self.carry(now, moved, entry);
                self.effects.push_back(Effect::Changed(moved_here(from)));
            }
            other => {
                // Rules that look at parents may keep other directories out under the new name.
                other.into_iter().for_each(|moved| self.remove_node(moved));
                if let Some(from) = &from {
                    self.change(from.clone(), Kinds::WENT | Kinds::SUBTREE);
                }
                self.explore_moved(from, entry, came);
            }
        }
    }

    /// A directory has another name now, with all below it.
    fn carry(&mut self, now: Moment, moved: NodeId, entry: Entry) {
        let node = self.nodes.get_mut(&moved).expect("half a move knows a living node");
        let old = (node.parent.expect("the root is nobody's child"), node.name.clone());
        (node.parent, node.name) = (Some(entry.0), entry.1.clone());
        self.children.remove(&old);
        self.children.insert(entry.clone(), moved);
        let (to, wait) = (entry.clone(), Wait::new(now));
        self.carried.push(Carried { node: moved, from: old, to, wait });
        if self.unproven.is_empty() && !self.is_exploring() {
            return;
        }
        // What was looked for under the old path may have been something else, and is told under it.
        let mut is_unsure = false;
        for id in self.subtree(moved) {
            let node = self.nodes.get_mut(&id).expect("it was found just now");
            node.is_listed &= !self.unproven.is_in(id);
            is_unsure |= !node.is_listed;
        }
        if is_unsure {
            self.again.push(entry);
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
        let size = size_of(half.is_directory);
        self.effects.push_back(Effect::Went(half.path.clone(), size));
        let subtree = if half.is_directory { Kinds::SUBTREE } else { Kinds::empty() };
        self.change(half.path, Kinds::WENT | subtree);
    }

    /// What belongs together and has not come by now does not belong together.
    pub(super) fn end_waits(&mut self, is_over: impl Fn(&mut Wait) -> bool) {
        let halves: Vec<_> = self.moves.extract_if(.., |half| is_over(&mut half.wait)).collect();
        halves.into_iter().for_each(|half| self.move_out(half));
        self.doubt_carried(|it| is_over(&mut it.wait));
        for entry in std::mem::take(&mut self.again) {
            self.explore(Some(entry), Kinds::SUBTREE | Kinds::CONTENT);
        }
    }

    fn doubt_carried(&mut self, is_doubtful: impl FnMut(&mut Carried) -> bool) {
        for it in self.carried.extract_if(.., is_doubtful) {
            self.again.extend([it.from, it.to]);
        }
    }
}
