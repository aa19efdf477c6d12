//! Nested volumes that cannot be looked at now.

use crate::data::path::RelPath;

/// Directories of a root whose volumes are not there or do not answer. Nothing at or below them is sent or deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AbsentVolumes {
    /// No volume is mounted there, or another one than before.
    pub unmounted: Vec<RelPath>,
    /// A volume is mounted there that does not answer. A process that looks at one does not return, and neither does
    /// rsync when it lists the directory around one: it looks at each entry before it asks its filters.
    pub unresponsive: Vec<RelPath>,
}

impl AbsentVolumes {
    /// All of these directories.
    pub fn paths(&self) -> impl Iterator<Item = &RelPath> {
        self.unmounted.iter().chain(&self.unresponsive)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.unmounted.is_empty() && self.unresponsive.is_empty()
    }

    /// The volume that a path is, or lies in.
    pub fn around(&self, path: &RelPath) -> Option<&RelPath> {
        self.paths().find(|volume| path.is_at_or_below(volume))
    }

    /// The first volume that does not answer and that rsync meets when it goes through this directory.
    pub fn met_in(&self, directory: &RelPath) -> Option<&RelPath> {
        self.unresponsive.iter().find(|volume| volume.is_at_or_below(directory))
    }

    /// The first volume that does not answer and that rsync meets when it lists this directory alone.
    pub fn listed_in(&self, directory: &RelPath) -> Option<&RelPath> {
        self.unresponsive.iter().find(|volume| volume.parent().as_ref() == Some(directory))
    }
}
