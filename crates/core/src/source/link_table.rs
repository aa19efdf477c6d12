//! Names that share an inode: a change through one of them is a change of all.

use std::collections::{BTreeMap, BTreeSet};

use crate::data::limits::LINK_NAMES_MAX;
use crate::data::path::RelPath;
use crate::data::source_dir::Identity;

/// Names of files with more than one, both ways.
#[derive(Debug, Default)]
pub struct LinkTable {
    by_inode: BTreeMap<Identity, BTreeSet<RelPath>>,
    by_path: BTreeMap<RelPath, Identity>,
}

impl LinkTable {
    /// Notes a name of an inode whose link count is above one. Past the bound it is forgotten: then
    /// only the name that was written through is pushed, and a Walk finds the others.
    pub fn insert(&mut self, path: RelPath, inode: Identity) {
        self.remove(&path);
        if self.by_path.len() >= LINK_NAMES_MAX {
            return;
        }
        self.by_inode.entry(inode).or_default().insert(path.clone());
        self.by_path.insert(path, inode);
    }

    /// Forgets a name.
    pub fn remove(&mut self, path: &RelPath) {
        let Some(inode) = self.by_path.remove(path) else { return };
        if let Some(names) = self.by_inode.get_mut(&inode) {
            names.remove(path);
            if names.is_empty() {
                self.by_inode.remove(&inode);
            }
        }
    }

    /// Forgets a directory's names, at any depth.
    pub fn remove_below(&mut self, directory: &RelPath) {
        for path in self.names_below(directory) {
            self.remove(&path);
        }
    }

    /// A file or directory was renamed.
    pub fn rename(&mut self, from: &RelPath, to: &RelPath) {
        let mut moved: Vec<RelPath> = self.names_below(from);
        moved.extend(self.by_path.contains_key(from).then(|| from.clone()));
        self.remove(to);
        self.remove_below(to);
        for old in moved {
            let inode = self.by_path[&old];
            self.remove(&old);
            self.insert(old.rebased(from, to).expect("it lies below what was renamed"), inode);
        }
    }

    /// The other names of the file with this name.
    pub fn others<'a>(&'a self, path: &'a RelPath) -> impl Iterator<Item = &'a RelPath> {
        let inode = self.by_path.get(path);
        let names = inode.and_then(|inode| self.by_inode.get(inode));
        names.into_iter().flatten().filter(move |name| *name != path)
    }

    /// Which file this is a name of, if it is known to have more.
    pub fn inode(&self, path: &RelPath) -> Option<Identity> {
        self.by_path.get(path).copied()
    }

    /// How many names of this inode are known.
    pub fn count(&self, inode: Identity) -> usize {
        self.by_inode.get(&inode).map_or(0, BTreeSet::len)
    }

    fn names_below(&self, directory: &RelPath) -> Vec<RelPath> {
        match directory.below() {
            Some((start, end)) => self.by_path.range(start..end).map(|(p, _)| p.clone()).collect(),
            None => self.by_path.keys().cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inode(number: u64) -> Identity {
        Identity { device: 1, inode: number }
    }

    fn others(table: &LinkTable, path: &str) -> Vec<String> {
        table.others(&path.into()).map(ToString::to_string).collect()
    }

    #[test]
    fn hard_case_25_names_follow_renames_of_files_and_directories() {
        let mut table = LinkTable::default();
        table.insert("a/x".into(), inode(1));
        table.insert("b".into(), inode(1));
        assert_eq!(others(&table, "b"), ["a/x"]);
        table.rename(&"a".into(), &"c".into());
        assert_eq!(others(&table, "b"), ["c/x"]);
        table.rename(&"b".into(), &"d".into());
        assert_eq!(others(&table, "c/x"), ["d"]);
        table.remove_below(&"c".into());
        assert_eq!(others(&table, "d"), [""; 0]);
    }

    #[test]
    fn a_name_that_now_belongs_to_another_file_leaves_the_first() {
        let mut table = LinkTable::default();
        table.insert("a".into(), inode(1));
        table.insert("b".into(), inode(1));
        table.insert("b".into(), inode(2));
        assert_eq!(others(&table, "a"), [""; 0]);
        assert_eq!(table.count(inode(2)), 1);
    }
}
