//! What a Mirror lacks, looked at on the disk and ready to be pushed.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::data::change::Epoch;
use crate::data::need::Need;
use crate::data::path::RelPath;
use crate::data::piece::Part;

/// What a Mirror still lacks up to an Epoch. Shared between Mirrors in step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The newest Epoch it covers.
    pub to: Epoch,
    /// A directory is to be compared; then nothing else is listed but `held`.
    pub compares: Option<Compare>,
    /// The Root holds anything.
    pub full: bool,
    /// Something directly in the Root that has not changed and is sent along: a mirror that lacks it is not
    /// what we think.
    pub witness: Option<RelPath>,
    /// How much is in the Root in all, as far as that is known; else 0.
    pub entries: u64,
    /// How much is directly in the Root, for a Walk of a mirror that lacked a witness; else 0.
    pub entries_expected: u64,
    /// Paths that exist, to be sent without what is below them, sorted.
    pub present: Vec<Present>,
    /// Paths that exist, to be made equal with all that is below them, sorted.
    pub subtrees: Vec<Present>,
    /// What is there under other names, innermost first: it settles the doubts of its content.
    pub renames: Vec<Arc<Rename>>,
    /// Directories in which receivers that broke off may have left temporary files, sorted.
    pub leftovers: Vec<RelPath>,
    /// Topmost paths that do not exist, sorted.
    pub missing: Vec<RelPath>,
    /// Whether any of these may be a directory on the mirror, so that nobody knows how much is in it.
    pub missing_directories: bool,
    /// How many entries the source lost at each of these and of `extras`, as far as is known; where nothing is known of a
    /// missing path, one.
    pub lost: BTreeMap<RelPath, u64>,
    /// How many entries the source lost at one of these existing paths: so many may go with a directory that is in its
    /// way on the mirror.
    pub in_the_way: BTreeMap<RelPath, u64>,
    /// Topmost names on the mirror that a comparison found and that do not exist here either, each with the entries that
    /// were found at and below it.
    pub extras: BTreeMap<RelPath, u64>,
    /// Existing paths with a directory in their way on the mirror, each with the entries that were found in it.
    pub obstacles: BTreeMap<RelPath, u64>,
    /// Directories whose volume is not mounted: nothing at or below them is sent or deleted.
    pub held: Vec<RelPath>,
    /// Directories whose attributes the mirror can't keep, which is owed: runs for what is in them leave those alone.
    pub unkept: Vec<RelPath>,
}

/// A directory, or a part of it, that is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The directory.
    pub path: RelPath,
    /// The part of the directory.
    pub part: Part,
    /// The directories that a run compares for a [`Part::Subdirectories`], sorted; see [`Self::set_listed`].
    pub subdirectories: Vec<RelPath>,
    /// How.
    pub depth: Depth,
    /// Something is in doubt: where contents cannot be compared they are sent.
    pub is_doubt: bool,
}

/// What a comparison compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Sizes and times.
    Times,
    /// Contents too.
    Contents,
}

/// What a Mirror may hold under another name: a directory, or files of one directory.
#[expect(clippy::struct_excessive_bools, reason = "facts that don't depend on each other")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rename {
    /// The directory that held it.
    pub from: RelPath,
    /// The directory that holds it now.
    pub to: RelPath,
    /// Regular files in it, by their names relative to it, sorted.
    pub files: Vec<RelPath>,
    /// These alone were renamed, and not the directory.
    pub files_alone: bool,
    /// Each has another name than before.
    pub other_names: bool,
    /// All bytes in these.
    pub bytes: u64,
    /// No rule protects any of them under its old name, where it would stay, and be the same file.
    pub may_link: bool,
    /// Equal sizes and times tell equal contents, on a Mirror that owes nothing else.
    pub is_exact: bool,
    /// What it was called before is among the missing.
    pub is_gone: bool,
}

impl Compare {
    /// Compares a directory with all that is in it.
    pub fn whole(path: RelPath, depth: Depth, is_doubt: bool) -> Self {
        Self { path, part: Part::All, subdirectories: Vec::new(), depth, is_doubt }
    }

    /// Takes the directories directly in this one, in any order, for a [`Part::Subdirectories`]. None: they could not be
    /// listed. The whole directory is compared then, and rsync names the reason if it cannot read it either.
    pub fn set_listed(&mut self, directories: Option<impl IntoIterator<Item = RelPath>>) {
        let Part::Subdirectories(range) = &self.part else { return };
        let directories = directories.map(|it| {
            let mut inside: Vec<RelPath> =
                it.into_iter().filter(|path| range.contains(path.name())).collect();
            inside.sort_unstable();
            inside
        });
        self.subdirectories = directories.unwrap_or_else(|| vec![self.path.clone()]);
    }

    /// Whether a path is compared.
    pub fn holds(&self, path: &RelPath) -> bool {
        match &self.part {
            Part::All => path.is_at_or_below(&self.path),
            Part::Own => *path == self.path || path.parent().as_ref() == Some(&self.path),
            Part::Subdirectories(range) => {
                let top = path
                    .ancestors()
                    .chain([path.clone()])
                    .find(|it| it.parent().as_ref() == Some(&self.path));
                top.is_some_and(|top| range.contains(top.name()))
            }
        }
    }
}

impl Rename {
    /// The new names.
    pub fn targets(&self) -> Vec<RelPath> {
        if !self.files_alone {
            return vec![self.to.clone()];
        }
        self.files.iter().filter_map(|file| file.rebased(&RelPath::root(), &self.to)).collect()
    }
}

/// An existing path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Present {
    /// Which.
    pub path: RelPath,
    /// Its content may differ although size and time do not.
    pub content: bool,
}

impl Batch {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.compares.is_none() && self.len() == 0 && self.leftovers.is_empty()
    }

    /// Whether contents are compared.
    pub fn is_check(&self) -> bool {
        self.compares.as_ref().is_some_and(|it| it.depth == Depth::Contents)
    }

    /// The names that its runs delete, or whose place they free of a directory.
    pub fn deletions(&self) -> impl Iterator<Item = &RelPath> {
        let found = self.extras.keys().chain(self.obstacles.keys());
        self.missing.iter().chain(found).chain(self.in_the_way.keys())
    }

    /// How many entries may go with these names, of those that are deleted.
    pub fn lost_with(&self, names: &[RelPath]) -> u64 {
        let lost = |path: &RelPath| match (self.extras.get(path), self.lost.get(path)) {
            (Some(found), lost) => found.saturating_add(lost.copied().unwrap_or_default()),
            (None, lost) => lost.copied().unwrap_or(1),
        };
        names.iter().map(lost).fold(0, u64::saturating_add)
    }

    /// How many entries may go with a directory that is in the way of this path.
    pub fn lost_in_the_way(&self, path: &RelPath) -> u64 {
        let lost = self.in_the_way.get(path).copied().unwrap_or_default();
        lost.saturating_add(self.obstacles.get(path).copied().unwrap_or_default())
    }

    /// Whether all of the root is compared.
    pub fn is_whole(&self) -> bool {
        self.compares.as_ref().is_some_and(|it| it.path.is_root() && it.part == Part::All)
    }

    /// Whether a run of this batch may look at this volume, which was not absent when the batch was made: a run for an
    /// entry in it, or one that lists a directory around it.
    pub fn meets(&self, volume: &RelPath) -> bool {
        if self.held.contains(volume) {
            return false;
        }
        let is_in = |it: &Present| it.path.is_at_or_below(volume);
        let lists_root = volume.parent().is_some_and(|parent| parent.is_root());
        self.compares.as_ref().is_some_and(|it| it.holds(volume))
            || self.present.iter().any(|it| is_in(it) || (lists_root && it.path.is_root()))
            || self.subtrees.iter().any(|it| it.path.is_related(volume))
            || self.renames.iter().any(|it| it.to.is_related(volume))
            || self.leftovers.iter().any(|it| volume.parent().as_ref() == Some(it))
    }

    /// Number of paths named.
    pub fn len(&self) -> usize {
        self.present.len() + self.subtrees.len() + self.missing.len() + self.extras.len()
    }

    /// Whether `path` is named or lies below a subtree: a directory that a push of this batch may
    /// rightly create on a mirror.
    pub fn accounts_for(&self, path: &RelPath) -> bool {
        self.compares.as_ref().is_some_and(|it| it.holds(path))
            || named(&self.present, path)
            || named(&self.subtrees, path)
            || path.ancestors().any(|above| named(&self.subtrees, &above))
    }
}

/// Whether a path stands in a sorted list.
fn named(list: &[Present], path: &RelPath) -> bool {
    list.binary_search_by(|entry| entry.path.cmp(path)).is_ok()
}

/// A path as the ledger hands it out, and what is needed there.
pub type Dirty = (RelPath, Need);
