//! What was sent just now. A file that was renamed away before rsync could read it was not sent after all, and the
//! event that tells of the rename may come when the push has ended well: what the log says of such a file's content is
//! not what the mirror holds.

use std::collections::BTreeMap;

use super::ChangeLog;
use crate::data::change::{Epoch, Kinds};
use crate::data::limits::{RENAME_DOUBT, SENT_PATHS_MAX};
use crate::data::moment::Moment;
use crate::data::path::RelPath;
use crate::root::debts::Running;

/// Paths of which the content was sent, by when that ended.
#[derive(Debug, Default)]
pub(super) struct Sent {
    paths: BTreeMap<RelPath, Moment>,
    /// More than can be named.
    whole: Option<Moment>,
}

impl Sent {
    fn add(&mut self, now: Moment, paths: impl Iterator<Item = RelPath>) {
        self.paths.extend(paths.map(|path| (path, now)));
        if self.paths.len() > SENT_PATHS_MAX {
            self.paths.clear();
            self.whole = Some(now);
        }
    }

    /// Forgets what ended long before a change that was heard of at this moment.
    fn trim(&mut self, heard: Moment) {
        let is_late = |ended: &Moment| *ended + RENAME_DOUBT > heard;
        self.paths.retain(|_, ended| is_late(ended));
        self.whole = self.whole.filter(is_late);
    }

    /// Whether any of it lies at, below or above this path.
    fn touches(&self, path: &RelPath) -> bool {
        let (start, end) = path.below().unwrap_or((path.clone(), path.clone()));
        let is_below = || self.paths.range(start..end).next().is_some();
        let is_above = || path.ancestors().any(|above| self.paths.contains_key(&above));
        self.whole.is_some() || self.paths.contains_key(path) || is_below() || is_above()
    }
}

impl ChangeLog {
    /// Work has ended that was not a Walk.
    pub(super) fn note_sent(&mut self, now: Moment, from: Epoch, work: &Running) {
        let fresh = self.epochs_above(from).filter(|(epoch, _)| **epoch <= work.to);
        let written = fresh.flat_map(|(_, record)| &record.paths);
        let sent = Kinds::CONTENT | Kinds::SUBTREE;
        let written = written.filter(|path| self.entries[*path].kinds.intersects(sent));
        let all = written.chain(work.large.keys()).chain(&work.tried);
        let paths: Vec<RelPath> = all.cloned().collect();
        self.sent.add(now, paths.into_iter());
    }

    /// Whether something at or below either name was sent so shortly before a rename was heard of, at the earliest at
    /// this moment, that it may have been missed for it.
    pub(super) fn was_sent_lately(&mut self, heard: Moment, names: [&RelPath; 2]) -> bool {
        self.sent.trim(heard);
        names.into_iter().any(|name| self.sent.touches(name))
    }
}
