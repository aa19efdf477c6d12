//! A nested volume of a pretended source, which is unmounted at times.

use mirrorball_core::data::path::RelPath;

use crate::simulation::tree::{Tree, below};

/// A volume that is mounted on a directory of the source, or was.
pub struct Volume {
    place: RelPath,
    /// What is on it, while it is not mounted.
    stored: Option<Tree>,
}

impl Volume {
    /// What is in this directory is on a volume.
    pub fn new(place: RelPath) -> Self {
        Self { place, stored: None }
    }

    pub fn place(&self) -> &RelPath {
        &self.place
    }

    pub fn is_mounted(&self) -> bool {
        self.stored.is_none()
    }

    /// What is on it and can't be seen.
    pub fn stored(&self) -> impl Iterator<Item = &RelPath> {
        self.stored.iter().flat_map(Tree::keys)
    }

    pub fn contains(&self, path: &RelPath) -> bool {
        path.is_below(&self.place)
    }

    /// Whether this name is in use, so that it can't be renamed or removed.
    pub fn is_busy(&self, path: &RelPath) -> bool {
        self.place == *path || self.place.is_below(path)
    }

    pub fn unmount(&mut self, tree: &mut Tree) {
        let inside = below(tree, &self.place);
        let take = |path| tree.remove_entry(&path);
        self.stored.get_or_insert_default().extend(inside.into_iter().filter_map(take));
    }

    pub fn mount(&mut self, tree: &mut Tree) {
        tree.extend(self.stored.take().into_iter().flatten());
    }
}
