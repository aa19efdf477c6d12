//! A pretended directory tree, and what the kernel tells of work in it.

use std::collections::{BTreeMap, BTreeSet};

use mirrorball_core::data::absent_volumes::AbsentVolumes;
use mirrorball_core::data::batch::Rename;
use mirrorball_core::data::change::{Change, Kinds, Move};
use mirrorball_core::data::path::RelPath;
use mirrorball_core::root::batch::Presence;
use mirrorball_core::source::entry_count::{Unit, UnitChange};

use super::Random;
use crate::simulation::volume::Volume;

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
    pub volume: Option<Volume>,
    next: u64,
}

impl Source {
    pub fn is_directory(&self, path: &RelPath) -> bool {
        path.is_root() || self.tree.get(path) == Some(&Node::Directory)
    }

    /// How many entries are directly in each directory.
    pub fn counts(&self) -> BTreeMap<RelPath, u64> {
        let directories = self.tree.keys().filter(|path| self.is_directory(path)).cloned();
        let mut counts: BTreeMap<RelPath, u64> =
            directories.chain([RelPath::root()]).map(|path| (path, 0)).collect();
        for parent in self.tree.keys().filter_map(RelPath::parent) {
            *counts.entry(parent).or_default() += 1;
        }
        counts
    }

    /// The directories directly in a directory.
    pub fn subdirectories<'a>(&'a self, path: &'a RelPath) -> impl Iterator<Item = RelPath> + 'a {
        let is_child = |it: &&RelPath| it.parent().as_ref() == Some(path) && self.is_directory(it);
        self.tree.keys().filter(is_child).cloned()
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

    /// A volume is mounted, of which the kernel says nothing, or unmounted; at first a directory is chosen for one.
    pub fn mount_or_unmount(&mut self, random: &mut Random) -> Option<Told> {
        let directories: Vec<&RelPath> =
            self.tree.keys().filter(|path| self.is_directory(path)).collect();
        let at = random.below(directories.len() as u64) as usize;
        let place = directories.get(at).map(|path| (*path).clone());
        if self.volume.is_none() {
            self.volume = place.map(Volume::new);
        }
        let volume = self.volume.as_mut()?;
        if !volume.is_mounted() {
            volume.mount(&mut self.tree);
            return None;
        }
        volume.unmount(&mut self.tree);
        let was_watched = self.watched.remove(volume.place());
        self.watched.retain(|path| !volume.contains(path));
        let change = Change::new(volume.place().clone(), Kinds::SUBTREE);
        was_watched.then_some(Told::Change(change))
    }

    /// Where volumes are not mounted.
    pub fn absent(&self) -> AbsentVolumes {
        let volume = self.volume.iter().filter(|volume| !volume.is_mounted());
        let unmounted = volume.map(|volume| volume.place().clone()).collect();
        AbsentVolumes { unmounted, ..AbsentVolumes::default() }
    }

    /// What is on volumes that are not mounted.
    pub fn stored(&self) -> impl Iterator<Item = &RelPath> {
        self.volume.iter().flat_map(Volume::stored)
    }

    /// How many entries there are, unit by unit, as whoever counts them knows it.
    pub fn levels(&self) -> Vec<UnitChange> {
        let mut units: BTreeMap<Unit, u64> =
            ["a", "b", "c"].map(|name| (Unit::Directory(name.into()), 0)).into();
        units.insert(Unit::Files, 0);
        for path in self.tree.keys().chain(self.stored()) {
            let top = path.ancestors().filter(|it| !it.is_root()).last().unwrap_or(path.clone());
            let is_file = top == *path && !self.is_directory(path);
            let unit = if is_file { Unit::Files } else { Unit::Directory(top) };
            *units.entry(unit).or_default() += 1;
        }
        let change = |(unit, now)| UnitChange { unit, now: Some(now), moved: 0 };
        units.into_iter().map(change).collect()
    }

    /// What of these moves is still there.
    pub fn renames(&self, moves: &[Move]) -> Vec<Rename> {
        let tree = &self.tree;
        let is_file = |path: &RelPath| matches!(tree.get(path), Some(Node::File { .. }));
        let renames = moves.iter().filter_map(|it| {
            let files_alone = *tree.get(&it.to)? != Node::Directory;
            let (from, to, files) = if files_alone {
                let name = RelPath::root().join(it.to.name());
                (it.from.parent()?, it.to.parent()?, vec![name])
            } else {
                let inside = below(tree, &it.to).into_iter().filter(is_file);
                let files = inside.filter_map(|path| path.rebased(&it.to, &RelPath::root()));
                (it.from.clone(), it.to.clone(), files.collect())
            };
            Some(Rename {
                from,
                to,
                bytes: files.len() as u64,
                may_link: true,
                files,
                files_alone,
                other_names: files_alone && it.from.name() != it.to.name(),
                is_exact: it.is_exact,
                is_gone: false,
            })
        });
        let mut renames: Vec<Rename> = renames.collect();
        renames.sort_by_key(|it| std::cmp::Reverse(it.to.ancestors().count()));
        renames
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

    /// Nobody writes where a volume is not mounted.
    fn has_place(&self, path: &RelPath) -> bool {
        let is_covered = |volume: &Volume| !volume.is_mounted() && volume.contains(path);
        path.parent().is_some_and(|parent| self.is_directory(&parent))
            && !self.volume.as_ref().is_some_and(is_covered)
    }

    fn is_busy(&self, path: &RelPath) -> bool {
        self.volume.as_ref().is_some_and(|volume| volume.is_busy(path))
    }

    fn is_on_volume(&self, path: &RelPath) -> bool {
        self.volume.as_ref().is_some_and(|volume| volume.contains(path))
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
        if self.is_busy(path) {
            return told;
        }
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
        let is_across = self.is_on_volume(from) != self.is_on_volume(to);
        if is_across || self.is_busy(from) || self.is_busy(to) {
            return Vec::new();
        }
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
