//! A pretended directory tree, and what the kernel tells of work in it.

use std::collections::{BTreeMap, BTreeSet};

use mirrorball_core::data::change::{Change, Kinds};
use mirrorball_core::data::path::RelPath;
use mirrorball_core::root::batch::Presence;

use super::Random;

/// What is at a path. Equal stamps are equal sizes and times: rsync's quick check sees no difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    Directory,
    File { content: u64, stamp: u64, mode: u64 },
}

/// All paths but the root.
pub type Tree = BTreeMap<RelPath, Node>;

/// What the kernel's queue holds.
#[derive(Clone, Debug)]
pub enum Told {
    Change(Change),
    /// A directory came: it is to be watched, with all below it.
    Came(RelPath),
}

pub fn below(tree: &Tree, directory: &RelPath) -> Vec<RelPath> {
    tree.keys().filter(|path| path.is_below(directory)).cloned().collect()
}

/// A tree that somebody works in.
#[derive(Default)]
pub struct Source {
    pub tree: Tree,
    pub watched: BTreeSet<RelPath>,
    /// Neither it nor what is below can be read.
    pub unreadable: Option<RelPath>,
    /// Directories that could not be watched because of that.
    pub denied: Vec<RelPath>,
    next: u64,
}

impl Source {
    pub fn is_directory(&self, path: &RelPath) -> bool {
        path.is_root() || self.tree.get(path) == Some(&Node::Directory)
    }

    pub fn watch_all(&mut self, from: &RelPath) {
        let inside = |path: &RelPath| from.is_root() || path == from || path.is_below(from);
        let hidden = self.unreadable.clone();
        for (path, node) in &self.tree {
            if *node == Node::Directory && inside(path) {
                let is_hidden = hidden.as_ref().is_some_and(|h| path == h || path.is_below(h));
                if is_hidden {
                    self.denied.push(path.clone());
                } else {
                    self.watched.insert(path.clone());
                }
            }
        }
        if from.is_root() {
            self.watched.insert(RelPath::root());
        }
    }

    /// Looked at without following links, of which there are none here.
    pub fn presence(&self, path: &RelPath) -> Presence {
        if path.is_root() || self.tree.contains_key(path) {
            return Presence::Present { is_directory: self.is_directory(path) };
        }
        let mut topmost = path.clone();
        for above in path.ancestors() {
            if self.is_directory(&above) {
                return Presence::Missing { topmost };
            }
            if self.tree.contains_key(&above) {
                return Presence::Below { blocker: above };
            }
            topmost = above;
        }
        Presence::Missing { topmost }
    }

    /// One thing that somebody does.
    pub fn work(&mut self, random: &mut Random) -> Vec<Told> {
        if random.one_in(8) {
            return self.shuffle(random);
        }
        let path = random.path();
        match random.below(10) {
            0..4 => self.write(&path, random),
            4 => self.change_mode(&path),
            5 => self.remove(&path),
            6 => self.make_directory(&path),
            7..9 => {
                let to = random.path();
                self.rename(&path, &to)
            }
            _ => self.make_directory(&path),
        }
    }

    fn hears(&self, path: &RelPath) -> bool {
        path.parent().is_some_and(|parent| self.watched.contains(&parent))
    }

    fn has_place(&self, path: &RelPath) -> bool {
        path.parent().is_some_and(|parent| self.is_directory(&parent))
    }

    pub fn told(&self, path: &RelPath, kinds: Kinds) -> Vec<Told> {
        let change = Told::Change(Change::new(path.clone(), kinds));
        self.hears(path).then_some(change).into_iter().collect()
    }

    fn write(&mut self, path: &RelPath, random: &mut Random) -> Vec<Told> {
        if !self.has_place(path) {
            return Vec::new();
        }
        self.next += 1;
        let (came, stamp, mode) = match self.tree.get(path) {
            Some(Node::Directory) => return Vec::new(),
            // Times are restored now and then, by tar or cp -p.
            Some(Node::File { stamp, mode, .. }) if random.one_in(3) && self.hears(path) => {
                (Kinds::empty(), *stamp, *mode)
            }
            Some(Node::File { mode, .. }) => (Kinds::empty(), self.next, *mode),
            None => (Kinds::CAME, self.next, 0),
        };
        self.tree.insert(path.clone(), Node::File { content: self.next, stamp, mode });
        self.told(path, Kinds::CONTENT | came)
    }

    pub fn date_anew(&mut self, path: &RelPath) {
        self.next += 1;
        if let Some(Node::File { stamp, .. }) = self.tree.get_mut(path) {
            *stamp = self.next;
        }
    }

    /// A directory is renamed, with work in it or around it just before and after.
    fn shuffle(&mut self, random: &mut Random) -> Vec<Told> {
        let in_it = |path: &RelPath| matches!(self.tree.get(path), Some(Node::File { .. }));
        let files: Vec<RelPath> = self.tree.keys().filter(|path| in_it(path)).cloned().collect();
        let deep: Vec<&RelPath> = files.iter().filter(|f| f.ancestors().count() > 1).collect();
        if deep.is_empty() {
            let directory = RelPath::root().join(&[b'a' + random.below(3) as u8]);
            let mut told = self.make_directory(&directory);
            told.extend(self.write(&directory.join(b"a"), random));
            return told;
        }
        let file = deep[random.below(deep.len() as u64) as usize].clone();
        let Some(from) = file.parent() else { return Vec::new() };
        let to = random.path();
        let mut told = Vec::new();
        if random.one_in(2) {
            told.extend(self.rewrite_unseen(&file));
        }
        let inside = below(&self.tree, &from);
        let copies: Vec<(RelPath, Node)> =
            inside.iter().filter_map(|path| Some((path.clone(), *self.tree.get(path)?))).collect();
        told.extend(self.rename(&from, &to));
        match random.below(4) {
            0 => told.extend(self.rename(&to, &random.path())),
            1 if !self.tree.contains_key(&from) => {
                // As cp -a brings the old name back, but with other modes.
                told.extend(self.make_directory(&from));
                for (path, node) in copies {
                    self.next += 1;
                    let Node::File { content, stamp, .. } = node else { continue };
                    if !self.has_place(&path) || self.tree.contains_key(&path) {
                        continue;
                    }
                    self.tree.insert(path.clone(), Node::File { content, stamp, mode: self.next });
                    told.extend(self.told(&path, Kinds::CAME | Kinds::CONTENT));
                }
            }
            _ => (),
        }
        if random.one_in(3)
            && let Some(file) = file.rebased(&from, &to)
        {
            told.extend(self.rewrite_unseen(&file));
        }
        told
    }

    /// Other content of the same size and time.
    fn rewrite_unseen(&mut self, path: &RelPath) -> Vec<Told> {
        self.next += 1;
        let next = self.next;
        if !self.hears(path) {
            return Vec::new();
        }
        match self.tree.get_mut(path) {
            Some(Node::File { content, .. }) => *content = next,
            _ => return Vec::new(),
        }
        self.told(path, Kinds::CONTENT)
    }

    fn change_mode(&mut self, path: &RelPath) -> Vec<Told> {
        self.next += 1;
        match self.tree.get_mut(path) {
            Some(Node::File { mode, .. }) => *mode = self.next,
            _ => return Vec::new(),
        }
        self.told(path, Kinds::ATTRS)
    }

    fn make_directory(&mut self, path: &RelPath) -> Vec<Told> {
        if !self.has_place(path) || self.tree.contains_key(path) {
            return Vec::new();
        }
        self.tree.insert(path.clone(), Node::Directory);
        if self.hears(path) { vec![Told::Came(path.clone())] } else { Vec::new() }
    }

    fn remove(&mut self, path: &RelPath) -> Vec<Told> {
        let mut told = Vec::new();
        for path in below(&self.tree, path).into_iter().rev().chain([path.clone()]) {
            let Some(node) = self.tree.remove(&path) else { continue };
            let subtree = if node == Node::Directory { Kinds::SUBTREE } else { Kinds::empty() };
            told.extend(self.told(&path, Kinds::WENT | subtree));
            self.watched.remove(&path);
        }
        told
    }

    fn rename(&mut self, from: &RelPath, to: &RelPath) -> Vec<Told> {
        let Some(node) = self.tree.get(from).copied() else { return Vec::new() };
        if from == to || to.is_below(from) || from.is_below(to) || !self.has_place(to) {
            return Vec::new();
        }
        // A file is renamed over another without a word about that.
        let is_silent =
            matches!((node, self.tree.get(to)), (Node::File { .. }, Some(Node::File { .. })));
        let mut told = self.remove(to);
        if is_silent {
            told.clear();
        }
        let subtree = if node == Node::Directory { Kinds::SUBTREE } else { Kinds::empty() };
        let was_watched = self.watched.contains(from);
        let is_found = node == Node::Directory && !was_watched;
        let is_seen = self.hears(from) && self.hears(to) && !is_found;
        if !is_seen {
            told.extend(self.told(from, Kinds::WENT | subtree));
        }
        let new_name = |path: &RelPath| path.rebased(from, to).expect("it is there or below");
        for old in below(&self.tree, from).into_iter().chain([from.clone()]) {
            let node = self.tree.remove(&old).expect("listed just now");
            let new = new_name(&old);
            if self.watched.remove(&old) && self.hears(to) {
                self.watched.insert(new.clone());
            }
            self.tree.insert(new, node);
        }
        if is_seen {
            let kinds = Kinds::CONTENT | subtree;
            told.push(Told::Change(Change::moved(from.clone(), to.clone(), kinds)));
            // What was still to be found in it is looked for under its new name.
            let inside = below(&self.tree, to).into_iter();
            let is_new = |path: &RelPath| self.is_directory(path) && !self.watched.contains(path);
            told.extend(inside.filter(|path| is_new(path) && self.hears(path)).map(Told::Came));
        } else if is_found {
            told.extend(self.hears(to).then(|| Told::Came(to.clone())));
        } else {
            told.extend(self.told(to, Kinds::CONTENT | subtree));
        }
        // Out of a watched directory into an unwatched one its watches go.
        if !self.hears(to) {
            self.watched.retain(|path| path != to && !path.is_below(to));
        }
        told
    }
}
