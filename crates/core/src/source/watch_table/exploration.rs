//! Directories that are to be watched, and what was found of them.

use std::sync::Arc;

use super::unproven::Entry;
use super::{Effect, JobId, Node, NodeId, OpenFailure, Opening, WatchTable};
use crate::data::change::{Change, Kinds};
use crate::data::path::RelPath;
use crate::data::source_dir::Volume;

/// A directory that is found under two names in turn so often is in both places, by a mount. A rename that
/// slips between is found once.
const CONTESTS_MAX: u8 = 8;

#[derive(Debug)]
pub(super) struct Job {
    /// What was to be explored; none for the Root.
    of: Option<Entry>,
    kinds: Kinds,
    moved_from: Option<RelPath>,
    /// How often in a row a directory of it was found under another name than before.
    contests: u8,
    /// Openings and listings that are not back.
    outstanding: usize,
}

impl Job {
    fn new(of: Option<Entry>, kinds: Kinds) -> Self {
        Self { of, kinds, moved_from: None, contests: 0, outstanding: 1 }
    }
}

impl WatchTable {
    /// Explores a directory again, because what lies there may be another volume now.
    pub fn handle_remounted(&mut self, path: &RelPath) {
        let Some(parent) = path.parent().and_then(|p| self.find(&p)) else { return };
        if self.filter.excludes_entry(path, true) {
            return;
        }
        let entry = (parent, path.name().into());
        self.forget_entry(&entry);
        self.explore(Some(entry), Kinds::SUBTREE);
    }

    /// A directory was opened and is watched as `wd`. Returns the node to list, if it is to be listed;
    /// report the listing to [`Self::handle_listed`].
    pub fn handle_opened(&mut self, opening: &Opening, wd: i32, volume: Volume) -> Option<NodeId> {
        if !self.answer(opening) {
            self.unwatch(wd);
            self.finish_one(opening.job);
            return None;
        }
        if let Some(known) = self.by_wd.get(&wd).copied() {
            let node = &self.nodes[&known];
            let there = node.parent.map(|parent| (parent, node.name.clone()));
            if there == opening.entry() {
                return Some(known);
            }
            let contests = self.jobs.get(&opening.job).map_or(0, |job| job.contests);
            let Some(there) = there.filter(|_| contests < CONTESTS_MAX) else {
                // One directory in two places, by a mount: its events tell one name.
                self.effects.push_back(Effect::Rescan(opening.clone()));
                return None;
            };
            self.remove_node(known);
            self.contest(there, contests + 1);
        }
        if let Some(entry) = opening.entry() {
            if !self.nodes.contains_key(&entry.0) {
                self.unwatch(wd);
                self.finish_one(opening.job);
                return None;
            }
            self.forget_entry(&entry);
        }
        let id = NodeId(self.next_node);
        self.next_node += 1;
        let (parent, name) = (opening.parent, opening.name.clone());
        let device = volume.device;
        let node = Node { parent, name, wd, device, is_listed: false };
        let above = opening.parent.map(|parent| self.nodes[&parent].device);
        self.nodes.insert(id, node);
        self.by_wd.insert(wd, id);
        if let Some(entry) = opening.entry() {
            self.children.insert(entry, id);
        }
        if above.is_some_and(|above| above != device)
            && let Some(path) = self.path(id)
        {
            self.effects.push_back(Effect::Volume(path, volume));
        }
        Some(id)
    }

    /// A directory could not be opened.
    pub fn handle_failed(&mut self, opening: &Opening, failure: OpenFailure) {
        if failure == OpenFailure::Silent && self.is_asked(opening) {
            self.effects.push_back(Effect::Rescan(opening.clone()));
            return;
        }
        if self.answer(opening) {
            match (failure, opening.entry()) {
                (OpenFailure::NotThere, None) => {
                    self.effects.push_back(Effect::Lost("the source directory is not there"));
                }
                // Should it have gone elsewhere, an event on its way says where.
                (OpenFailure::NotThere, Some(entry)) => self.forget_entry(&entry),
                (OpenFailure::Denied, _) => {
                    self.effects.push_back(Effect::Unreadable(opening.path.clone()));
                }
                (OpenFailure::Silent, _) => {}
            }
        }
        self.finish_one(opening.job);
    }

    /// A directory without events was looked through.
    pub fn handle_scanned(&mut self, opening: &Opening) {
        self.answer(opening);
        self.finish_one(opening.job);
    }

    /// The directories in a directory, as listed after its watch was set.
    pub fn handle_listed(&mut self, job: JobId, node: NodeId, directories: Vec<Arc<[u8]>>) {
        if let (Some(path), Some(listed)) = (self.path(node), self.nodes.get_mut(&node)) {
            listed.is_listed = true;
            for name in directories {
                let path = path.join(&name);
                if self.filter.excludes(&path, true) {
                    continue;
                }
                if !self.unproven.ask((node, name.clone()), job) {
                    continue;
                }
                self.jobs.get_mut(&job).expect("its listing was outstanding").outstanding += 1;
                let opening = Opening { job, parent: Some(node), name, path };
                self.effects.push_back(Effect::Open(opening));
            }
        }
        self.finish_one(job);
    }

    /// Asks for a directory to be watched with all below it; its change is told when that is done, so
    /// that a push of the subtree can't miss what came before its watches.
    pub(super) fn explore(&mut self, of: Option<Entry>, kinds: Kinds) {
        self.begin_job(Job::new(of, kinds));
    }

    pub(super) fn explore_moved(&mut self, moved_from: Option<RelPath>, of: Entry, kinds: Kinds) {
        self.begin_job(Job { moved_from, ..Job::new(Some(of), kinds) });
    }

    /// What was watched under this name is found under another: a rename slipped between.
    fn contest(&mut self, of: Entry, contests: u8) {
        let kinds = Kinds::SUBTREE | Kinds::CONTENT;
        self.begin_job(Job { contests, ..Job::new(Some(of), kinds) });
    }

    fn begin_job(&mut self, job: Job) {
        let id = JobId(self.next_job);
        self.next_job += 1;
        let (parent, name) = match &job.of {
            Some((parent, name)) => (Some(*parent), name.clone()),
            None => (None, Arc::from([].as_slice())),
        };
        let path = match parent {
            Some(parent) => self.path(parent).map(|p| p.join(&name)),
            None => Some(RelPath::root()),
        };
        let Some(path) = path else { return };
        if let Some(entry) = &job.of {
            self.unproven.ask(entry.clone(), id);
        }
        self.jobs.insert(id, job);
        self.effects.push_back(Effect::Open(Opening { job: id, parent, name, path }));
    }

    fn is_asked(&self, opening: &Opening) -> bool {
        opening.entry().is_none_or(|entry| self.unproven.is_asked(&entry, opening.job))
    }

    /// Returns false if an event, or a later question, has made this answer void.
    fn answer(&mut self, opening: &Opening) -> bool {
        let is_asked = self.is_asked(opening);
        if is_asked && let Some(entry) = opening.entry() {
            self.unproven.answer(&entry);
        }
        is_asked
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
}
