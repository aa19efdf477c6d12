//! Entries that were looked at in the tree as it is, while the table is only as far as the kernel's queue: what
//! was found under a name counts when no event that was on its way then says that the name meant another.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{JobId, NodeId};

/// A name in a directory.
pub(super) type Entry = (NodeId, Arc<[u8]>);

/// What is not proven yet.
#[derive(Debug, Default)]
pub(super) struct Unproven {
    entries: BTreeMap<Entry, State>,
    /// Those that were answered since the kernel's queue was last empty: most are still asked for, while a large tree
    /// is explored.
    answered: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// The exploration that asked; answers to earlier ones are void.
    job: JobId,
    is_answered: bool,
}

impl Unproven {
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns false if a later exploration has asked: it tells what is found, where that is now.
    pub(super) fn ask(&mut self, entry: Entry, job: JobId) -> bool {
        if self.entries.get(&entry).is_some_and(|state| state.job > job) {
            return false;
        }
        self.entries.insert(entry, State { job, is_answered: false });
        true
    }

    /// Whether the answer to this exploration is the one that is waited for.
    pub(super) fn is_asked(&self, entry: &Entry, job: JobId) -> bool {
        self.entries.get(entry).is_some_and(|state| state.job == job && !state.is_answered)
    }

    pub(super) fn answer(&mut self, entry: &Entry) {
        if let Some(state) = self.entries.get_mut(entry) {
            state.is_answered = true;
            self.answered.push(entry.clone());
        }
    }

    /// An event told of this name: what was asked before is void. Returns whether anything was unproven.
    pub(super) fn void(&mut self, entry: &Entry) -> bool {
        self.entries.remove(entry).is_some()
    }

    /// Whether anything is unproven in this directory.
    pub(super) fn is_in(&self, node: NodeId) -> bool {
        self.entries.range(all_of(node)).next().is_some()
    }

    /// This directory is not in the tree any more.
    pub(super) fn forget(&mut self, node: NodeId) {
        while let Some(entry) = self.entries.range(all_of(node)).next().map(|it| it.0.clone()) {
            self.entries.remove(&entry);
        }
    }

    /// Nothing is in the kernel's queue that happened before the answers.
    pub(super) fn handle_drained(&mut self) {
        for entry in self.answered.drain(..) {
            // It may have been asked for once more, or have gone.
            if self.entries.get(&entry).is_some_and(|state| state.is_answered) {
                self.entries.remove(&entry);
            }
        }
    }
}

/// The keys of what lies in this directory.
pub(super) fn all_of(node: NodeId) -> std::ops::Range<Entry> {
    let nameless = || Arc::from([].as_slice());
    (node, nameless())..(NodeId(node.0 + 1), nameless())
}
