//! Pieces of a tree: each is compared by a run of its own, so that what breaks off goes on where it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::data::limits::PIECES_MAX;
use crate::data::path::RelPath;

/// Which part of a directory is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The directory and all that is in it.
    #[default]
    All,
    /// Those of its subdirectories whose names lie in this range, and all that is in them.
    Subdirectories(NameRange),
    /// The directory's own attributes, and what is directly in it: of a subdirectory only that it is there, and its
    /// attributes.
    Own,
}

/// Names from the first, as bytes, up to the second, which is not among them. None: no bound.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct NameRange {
    from: Option<Arc<[u8]>>,
    to: Option<Arc<[u8]>>,
}

impl NameRange {
    /// Whether a name lies in it.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.from.as_ref().is_none_or(|from| *name >= **from)
            && self.to.as_ref().is_none_or(|to| *name < **to)
    }
}

/// A part of a directory, and about how many entries it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Relative to the root.
    pub directory: RelPath,
    /// Which part of it.
    pub part: Part,
    /// Entries, when they were counted.
    pub entries: u64,
}

/// Cuts a tree into pieces of at most about `most` entries, in the order of their paths; what is directly in a directory
/// that was cut comes after its subdirectories, and the root's own entries last. `counts` says of each directory how
/// many entries are directly in it. No name is in none of them, whatever comes and goes meanwhile: only the sizes
/// follow the counts. The entries directly in one directory are never parted. Of a tree that would give more than
/// [`PIECES_MAX`], the pieces are larger.
///
/// The directories above each path of `apart` are cut whatever their size, so that no piece but one holds
/// it: they are pieces without it.
pub fn cut(
    counts: impl IntoIterator<Item = (RelPath, u64)>,
    most: u64,
    apart: &[RelPath],
) -> Vec<Piece> {
    let tree = Tree::new(counts);
    let mut most = most.max(1);
    loop {
        let mut pieces = Vec::new();
        tree.cut(&RelPath::root(), most, apart, &mut pieces);
        if pieces.len() <= PIECES_MAX {
            return pieces;
        }
        most = most.saturating_mul(2);
    }
}

#[derive(Default)]
struct Directory {
    own: u64,
    /// Its own entries, and all in its subdirectories.
    entries: u64,
    /// In the order of their names.
    subdirectories: Vec<RelPath>,
}

struct Tree(BTreeMap<RelPath, Directory>);

impl Tree {
    fn new(counts: impl IntoIterator<Item = (RelPath, u64)>) -> Self {
        let new = |own| Directory { own, entries: own, subdirectories: Vec::new() };
        let mut tree: BTreeMap<RelPath, Directory> =
            counts.into_iter().map(|(path, own)| (path, new(own))).collect();
        tree.entry(RelPath::root()).or_default();
        let paths: Vec<RelPath> = tree.keys().cloned().collect();
        // A directory sorts before what is in it.
        for path in paths.into_iter().rev() {
            let entries = tree[&path].entries;
            let above = path.parent().and_then(|parent| tree.get_mut(&parent));
            if let Some(above) = above {
                above.entries = above.entries.saturating_add(entries);
                above.subdirectories.push(path);
            }
        }
        tree.values_mut().for_each(|it| it.subdirectories.sort_by(|a, b| a.name().cmp(b.name())));
        Self(tree)
    }

    fn cut(&self, path: &RelPath, most: u64, apart: &[RelPath], pieces: &mut Vec<Piece>) {
        let directory = &self.0[path];
        let piece = |part, entries| Piece { directory: path.clone(), part, entries };
        let is_around = |path: &RelPath| apart.iter().any(|it| it.is_below(path));
        let is_small = directory.entries <= most || directory.subdirectories.is_empty();
        if is_small && !is_around(path) {
            return pieces.push(piece(Part::All, directory.entries));
        }
        let range = |from: &Option<Arc<[u8]>>, to: Option<Arc<[u8]>>| {
            Part::Subdirectories(NameRange { from: from.clone(), to })
        };
        let (mut from, mut entries) = (None, 0);
        for child in &directory.subdirectories {
            let name: Arc<[u8]> = child.name().into();
            let size = self.0[child].entries;
            if size > most || is_around(child) {
                pieces.push(piece(range(&from, Some(name.clone())), entries));
                self.cut(child, most, apart, pieces);
                // The next name that there can be.
                from = Some([&*name, &[0]].concat().into());
                entries = 0;
            } else if entries + size > most {
                pieces.push(piece(range(&from, Some(name.clone())), entries));
                (from, entries) = (Some(name), size);
            } else {
                entries += size;
            }
        }
        pieces.push(piece(range(&from, None), entries));
        pieces.push(piece(Part::Own, directory.own));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As one reads it: `d/[b..e)`, `d/*` for what is directly in it, `d/**` for all.
    fn shown(pieces: &[Piece]) -> Vec<String> {
        let name = |bound: &Option<Arc<[u8]>>| {
            String::from_utf8_lossy(bound.as_deref().unwrap_or_default()).replace('\0', "+")
        };
        let shown = |it: &Piece| match &it.part {
            Part::All => format!("{}/** {}", it.directory, it.entries),
            Part::Own => format!("{}/* {}", it.directory, it.entries),
            Part::Subdirectories(range) => {
                let (from, to) = (name(&range.from), name(&range.to));
                format!("{}/[{from}..{to}) {}", it.directory, it.entries)
            }
        };
        pieces.iter().map(shown).collect()
    }

    fn counts(counts: &[(&str, u64)]) -> Vec<(RelPath, u64)> {
        counts.iter().map(|(path, own)| ((*path).into(), *own)).collect()
    }

    #[test]
    fn a_small_tree_is_one_piece() {
        let tree = counts(&[("", 2), ("a", 3), ("b", 4)]);
        assert_eq!(shown(&cut(tree, 9, &[])), ["./** 9"]);
        assert_eq!(shown(&cut([], 9, &[])), ["./** 0"]);
    }

    #[test]
    fn neighbours_share_a_piece_and_what_is_too_large_is_cut_itself() {
        let tree = counts(&[
            ("", 7),
            ("a", 2),
            ("b", 2),
            ("b-", 3),
            ("b/x", 4),
            ("b/y", 4),
            ("c", 1),
            ("d", 1),
        ]);
        let pieces = cut(tree, 5, &[]);
        assert_eq!(
            shown(&pieces),
            ["./[..b) 2", "b/[..y) 4", "b/[y..) 4", "b/* 2", "./[b+..) 5", "./* 7"]
        );
    }

    #[test]
    fn no_name_is_in_none_of_the_pieces() {
        let tree = counts(&[("", 3), ("b", 9), ("d", 9), ("f", 1)]);
        let pieces = cut(tree, 5, &[]);
        for name in ["a", "b", "b+", "c", "d", "dd", "e", "f", "z"] {
            let path = RelPath::root().join(name.as_bytes());
            let holds = |it: &&Piece| match &it.part {
                Part::All => it.directory == path || it.directory.is_root(),
                Part::Subdirectories(range) => {
                    it.directory.is_root() && range.contains(name.as_bytes())
                }
                Part::Own => it.directory == path,
            };
            assert_eq!(pieces.iter().filter(holds).count(), 1, "{name}: {:?}", shown(&pieces));
        }
    }

    #[test]
    fn the_directories_around_a_path_are_cut_whatever_their_size() {
        let tree = counts(&[("", 3), ("a", 1), ("up", 2), ("up/b", 1), ("z", 1)]);
        assert_eq!(
            shown(&cut(tree, 100, &["up/vol".into()])),
            ["./[..up) 1", "up/[..) 1", "up/* 2", "./[up+..) 1", "./* 3"]
        );
    }

    #[test]
    fn a_tree_of_too_many_pieces_has_larger_ones() {
        let children = 2 * PIECES_MAX;
        let below = (0..children).map(|it| (RelPath::from(format!("{it:06}").as_str()), 10));
        let pieces = cut(below.chain([(RelPath::root(), children as u64)]), 10, &[]);
        assert!(pieces.len() <= PIECES_MAX && pieces.len() > PIECES_MAX / 4, "{}", pieces.len());
    }
}
