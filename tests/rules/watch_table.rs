//! The watch table against a pretended kernel: whatever is renamed while directories are opened, listed and
//! forgotten, in the end each is watched under its name, and no change was missed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use mirrorball_core::data::change::{Change, Kinds};
use mirrorball_core::data::event::{EventMask, KernelEvent};
use mirrorball_core::data::moment::Moment;
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::plan::Rule;
use mirrorball_core::data::source_dir::Volume;
use mirrorball_core::machine::Rule as _;
use mirrorball_core::source::filter::Filter;
use mirrorball_core::source::watch_table::{
    Effect, JobId, NodeId, OpenFailure, Opening, WatchTable,
};
use proptest::prelude::*;

use crate::part_of;

type Ino = usize;

const ROOT: Ino = 0;
/// Somewhere that nobody watches.
const OUTSIDE: Ino = 1;
const DIR: EventMask = EventMask::ISDIR;
const VOLUME: Volume = Volume { device: 1, file_system: 1 };

#[derive(Clone, Debug)]
enum Inode {
    Directory(BTreeMap<String, Ino>),
    /// How often it was written to.
    File(u32),
}

/// A tree of directories and files, and one inotify instance.
struct Kernel {
    inodes: Vec<Inode>,
    watches: BTreeMap<i32, Ino>,
    queue: VecDeque<KernelEvent>,
    /// Removed directories that somebody still has open.
    lingering: Vec<Ino>,
    next_wd: i32,
    cookie: u32,
}

impl Kernel {
    fn new() -> Self {
        let empty = Inode::Directory(BTreeMap::new());
        Self {
            inodes: vec![empty.clone(), empty],
            watches: BTreeMap::new(),
            queue: VecDeque::new(),
            lingering: Vec::new(),
            next_wd: 1,
            cookie: 0,
        }
    }

    fn entries(&self, ino: Ino) -> Option<&BTreeMap<String, Ino>> {
        match &self.inodes[ino] {
            Inode::Directory(entries) => Some(entries),
            Inode::File(_) => None,
        }
    }

    fn entries_mut(&mut self, ino: Ino) -> &mut BTreeMap<String, Ino> {
        match &mut self.inodes[ino] {
            Inode::Directory(entries) => entries,
            Inode::File(_) => panic!("not a directory"),
        }
    }

    fn is_directory(&self, ino: Ino) -> bool {
        self.entries(ino).is_some()
    }

    fn lookup<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> Option<Ino> {
        path.into_iter().try_fold(ROOT, |ino, name| self.entries(ino)?.get(name).copied())
    }

    fn at(&self, path: &RelPath) -> Option<Ino> {
        let text = path.to_string();
        self.lookup(text.split('/').filter(|name| *name != "."))
    }

    fn watch(&mut self, ino: Ino) -> i32 {
        if let Some((wd, _)) = self.watches.iter().find(|(_, known)| **known == ino) {
            return *wd;
        }
        self.next_wd += 1;
        self.watches.insert(self.next_wd, ino);
        self.next_wd
    }

    fn unwatch(&mut self, wd: i32) {
        if self.watches.remove(&wd).is_some() {
            self.say(wd, EventMask::IGNORED, 0, "");
        }
    }

    fn say(&mut self, wd: i32, mask: EventMask, cookie: u32, name: &str) {
        self.queue.push_back(KernelEvent { wd, mask, cookie, name: name.into() });
    }

    fn tell(&mut self, directory: Ino, mask: EventMask, cookie: u32, name: &str) {
        let wd = self.watches.iter().find(|(_, ino)| **ino == directory).map(|(wd, _)| *wd);
        if let Some(wd) = wd {
            self.say(wd, mask, cookie, name);
        }
    }

    fn kind(&self, ino: Ino) -> EventMask {
        if self.is_directory(ino) { DIR } else { EventMask::empty() }
    }

    fn make(&mut self, parent: Ino, name: &str, inode: Inode) {
        self.inodes.push(inode);
        let ino = self.inodes.len() - 1;
        self.entries_mut(parent).insert(name.into(), ino);
        self.tell(parent, EventMask::CREATE | self.kind(ino), 0, name);
    }

    fn write(&mut self, parent: Ino, name: &str) {
        match self.entries(parent).and_then(|entries| entries.get(name)).copied() {
            Some(ino) => {
                let Inode::File(version) = &mut self.inodes[ino] else { return };
                *version += 1;
            }
            None => self.make(parent, name, Inode::File(1)),
        }
        self.tell(parent, EventMask::CLOSE_WRITE, 0, name);
    }

    fn remove(&mut self, parent: Ino, name: &str) {
        let Some(ino) = self.entries_mut(parent).get(name).copied() else { return };
        for below in self.entries(ino).cloned().unwrap_or_default().keys() {
            self.remove(ino, below);
        }
        self.entries_mut(parent).remove(name);
        self.tell(parent, EventMask::DELETE | self.kind(ino), 0, name);
        self.lingering.push(ino);
    }

    /// Nobody has these open any more.
    fn free(&mut self, is_open: impl Fn(Ino) -> bool) {
        for ino in std::mem::take(&mut self.lingering) {
            if is_open(ino) {
                self.lingering.push(ino);
                continue;
            }
            self.tell(ino, EventMask::DELETE_SELF, 0, "");
            self.tell(ino, EventMask::IGNORED, 0, "");
            self.watches.retain(|_, known| *known != ino);
        }
    }

    fn contains(&self, directory: Ino, ino: Ino) -> bool {
        let below = self.entries(directory).into_iter().flat_map(BTreeMap::values);
        directory == ino || below.into_iter().any(|below| self.contains(*below, ino))
    }

    fn rename(&mut self, from: (Ino, &str), to: (Ino, &str)) {
        let Some(ino) = self.entries_mut(from.0).get(from.1).copied() else { return };
        let there = self.entries_mut(to.0).get(to.1).copied();
        if there == Some(ino) || self.contains(ino, to.0) {
            return;
        }
        if let Some(there) = there {
            let is_empty = self.entries(there).is_none_or(BTreeMap::is_empty);
            if self.is_directory(there) != self.is_directory(ino) || !is_empty {
                return;
            }
            self.lingering.push(there);
        }
        self.entries_mut(from.0).remove(from.1);
        self.entries_mut(to.0).insert(to.1.into(), ino);
        self.tell_moved(from, to, ino);
    }

    fn exchange(&mut self, one: (Ino, &str), other: (Ino, &str)) {
        let (Some(a), Some(b)) = (
            self.entries_mut(one.0).get(one.1).copied(),
            self.entries_mut(other.0).get(other.1).copied(),
        ) else {
            return;
        };
        if a == b || self.contains(a, other.0) || self.contains(b, one.0) {
            return;
        }
        self.entries_mut(one.0).insert(one.1.into(), b);
        self.entries_mut(other.0).insert(other.1.into(), a);
        self.tell_moved(one, other, a);
        self.tell_moved(other, one, b);
    }

    fn tell_moved(&mut self, from: (Ino, &str), to: (Ino, &str), ino: Ino) {
        self.cookie += 1;
        self.tell(from.0, EventMask::MOVED_FROM | self.kind(ino), self.cookie, from.1);
        self.tell(to.0, EventMask::MOVED_TO | self.kind(ino), self.cookie, to.1);
        self.tell(ino, EventMask::MOVE_SELF, 0, "");
    }

    /// Everything at and below a path; directories have no version.
    fn tree(&self, path: &RelPath, ino: Ino, into: &mut BTreeMap<RelPath, Option<u32>>) {
        match &self.inodes[ino] {
            Inode::File(version) => drop(into.insert(path.clone(), Some(*version))),
            Inode::Directory(entries) => {
                into.insert(path.clone(), None);
                for (name, ino) in entries {
                    self.tree(&path.join(name.as_bytes()), *ino, into);
                }
            }
        }
    }
}

type Listed = (JobId, NodeId, Vec<Arc<[u8]>>);

/// The table, what it asked for and was not answered, and a mirror that is given each change at once.
struct Watcher {
    table: WatchTable,
    to_open: VecDeque<Opening>,
    opened: Vec<(Opening, Option<Ino>)>,
    to_list: Vec<(JobId, NodeId, Ino)>,
    listed: Vec<Listed>,
    mirror: BTreeMap<RelPath, Option<u32>>,
}

fn now() -> Moment {
    Moment::after_start(Duration::ZERO)
}

impl Watcher {
    fn has_open(&self, ino: Ino) -> bool {
        self.opened.iter().any(|(_, opened)| *opened == Some(ino))
            || self.to_list.iter().any(|(_, _, listed)| *listed == ino)
    }

    fn turn(&mut self, kernel: &mut Kernel) {
        while let Some(effect) = self.table.poll_effect() {
            match effect {
                Effect::Open(opening) => self.to_open.push_back(opening),
                Effect::Unwatch(wd) => kernel.unwatch(wd),
                Effect::Changed(change) => self.change(kernel, change),
                Effect::Created(path) => {
                    self.change(kernel, Change::new(path, Kinds::CAME | Kinds::CONTENT));
                }
                Effect::Complete
                | Effect::Made(_)
                | Effect::MovedIn(_)
                | Effect::Renamed(..)
                | Effect::Went(..) => {}
                other => panic!("unexpected: {other:?}"),
            }
        }
    }

    fn change(&mut self, kernel: &Kernel, change: Change) {
        let Change { path, kinds, moved_from, .. } = change;
        if let Some(from) = moved_from {
            self.push(kernel, &from, true);
        }
        self.push(kernel, &path, kinds.contains(Kinds::SUBTREE));
    }

    /// What a push does, at the earliest.
    fn push(&mut self, kernel: &Kernel, path: &RelPath, is_subtree: bool) {
        let ino = kernel.at(path);
        let is_directory = ino.is_some_and(|ino| kernel.is_directory(ino));
        if is_subtree || !is_directory {
            self.mirror.retain(|known, _| known != path && !known.is_below(path));
        }
        let Some(ino) = ino else { return };
        for above in path.ancestors() {
            self.mirror.insert(above, None);
        }
        if is_subtree {
            kernel.tree(path, ino, &mut self.mirror);
        } else if is_directory {
            self.mirror.insert(path.clone(), None);
        } else {
            kernel.tree(path, ino, &mut self.mirror);
        }
    }

    fn open(&mut self, kernel: &Kernel) {
        if let Some(opening) = self.to_open.pop_front() {
            let ino = kernel.at(&opening.path).filter(|ino| kernel.is_directory(*ino));
            self.opened.push((opening, ino));
        }
    }

    fn handle_opened(&mut self, kernel: &mut Kernel, which: usize) {
        if self.opened.is_empty() {
            return;
        }
        let (opening, ino) = self.opened.remove(which % self.opened.len());
        match ino {
            None => self.table.handle_failed(&opening, OpenFailure::NotThere),
            Some(ino) => {
                let wd = kernel.watch(ino);
                let node = self.table.handle_opened(&opening, wd, VOLUME);
                self.to_list.extend(node.map(|node| (opening.job, node, ino)));
            }
        }
    }

    fn list(&mut self, kernel: &Kernel, which: usize) {
        if self.to_list.is_empty() {
            return;
        }
        let (job, node, ino) = self.to_list.remove(which % self.to_list.len());
        let entries = kernel.entries(ino).into_iter().flatten();
        let directories = entries.filter(|(_, ino)| kernel.is_directory(**ino));
        let names = directories.map(|(name, _)| Arc::from(name.as_bytes())).collect();
        self.listed.push((job, node, names));
    }

    fn handle_listed(&mut self, which: usize) {
        if self.listed.is_empty() {
            return;
        }
        let (job, node, names) = self.listed.remove(which % self.listed.len());
        self.table.handle_listed(job, node, names);
    }

    fn handle_events(&mut self, kernel: &mut Kernel, count: usize) {
        for event in kernel.queue.drain(..count.min(kernel.queue.len())) {
            self.table.handle_event(now(), &event);
        }
        self.table.handle_read_end();
        if kernel.queue.is_empty() {
            self.table.handle_drained();
        }
    }

    fn is_idle(&self) -> bool {
        self.to_open.is_empty()
            && self.opened.is_empty()
            && self.to_list.is_empty()
            && self.listed.is_empty()
    }
}

/// Up to three components.
fn path(choice: u8) -> Vec<&'static str> {
    let names = ["a", "b", "c"];
    let mut rest = usize::from(choice);
    let depth = [1, 1, 2, 3][rest % 4];
    rest /= 4;
    let mut path = Vec::new();
    for _ in 0..depth {
        path.push(names[rest % 3]);
        rest /= 3;
    }
    path
}

fn place(kernel: &Kernel, choice: u8) -> Option<(Ino, &'static str)> {
    let mut path = path(choice);
    let name = path.pop()?;
    let parent = kernel.lookup(path)?;
    kernel.is_directory(parent).then_some((parent, name))
}

fn step(kernel: &mut Kernel, watcher: &mut Watcher, [what, one, other]: [u8; 3]) {
    let (from, to) = (place(kernel, one), place(kernel, other));
    match what % 24 {
        0..3 => {
            if let Some((parent, name)) = from
                && !kernel.entries(parent).is_some_and(|entries| entries.contains_key(name))
            {
                kernel.make(parent, name, Inode::Directory(BTreeMap::new()));
            }
        }
        3..5 => {
            if let Some((parent, name)) = from {
                kernel.write(parent, name);
            }
        }
        5..9 => {
            if let (Some(from), Some(to)) = (from, to) {
                kernel.rename(from, to);
            }
        }
        9 => {
            if let (Some(from), Some(to)) = (from, to) {
                kernel.exchange(from, to);
            }
        }
        10 => {
            if let Some((parent, name)) = from {
                kernel.remove(parent, name);
            }
        }
        11 => {
            if let Some(from) = from {
                kernel.rename(from, (OUTSIDE, "x"));
            }
        }
        12 => {
            if let Some(to) = to {
                kernel.rename((OUTSIDE, "x"), to);
            }
        }
        13 => kernel.free(|ino| watcher.has_open(ino)),
        14 | 15 => watcher.open(kernel),
        16 | 17 => {
            // Several are answered before anything is done about them.
            for _ in 0..=other % 3 {
                watcher.handle_opened(kernel, usize::from(one));
            }
            watcher.turn(kernel);
        }
        18 => watcher.list(kernel, usize::from(one)),
        19 => {
            watcher.handle_listed(usize::from(one));
            watcher.turn(kernel);
        }
        20 | 21 => {
            watcher.handle_events(kernel, 1 + usize::from(one % 4));
            watcher.turn(kernel);
        }
        22 => {
            watcher.handle_events(kernel, usize::MAX);
            watcher.turn(kernel);
        }
        _ => settle(kernel, watcher, 4),
    }
}

/// Lets the watcher work for a while.
fn settle(kernel: &mut Kernel, watcher: &mut Watcher, rounds: usize) {
    for _ in 0..rounds {
        watcher.handle_events(kernel, usize::MAX);
        watcher.turn(kernel);
        watcher.open(kernel);
        watcher.handle_opened(kernel, 0);
        watcher.turn(kernel);
        watcher.list(kernel, 0);
        watcher.handle_listed(0);
        watcher.turn(kernel);
        if kernel.queue.is_empty() && watcher.is_idle() && !watcher.table.has_half_moves() {
            return;
        }
    }
}

fn whatever_happens(rules: &[Rule], steps: &[[u8; 3]]) {
    let mut kernel = Kernel::new();
    let table = WatchTable::new(Arc::new(Filter::new(rules).unwrap()));
    let mut watcher = Watcher {
        table,
        to_open: VecDeque::new(),
        opened: Vec::new(),
        to_list: Vec::new(),
        listed: Vec::new(),
        mirror: BTreeMap::new(),
    };
    watcher.turn(&mut kernel);
    // What is there before all is watched is brought by a walk, and is left out here.
    settle(&mut kernel, &mut watcher, 4);
    watcher.mirror.insert(RelPath::root(), None);
    for it in steps {
        step(&mut kernel, &mut watcher, *it);
    }
    settle(&mut kernel, &mut watcher, 1_000);
    kernel.free(|ino| watcher.has_open(ino));
    settle(&mut kernel, &mut watcher, 1_000);
    assert!(watcher.is_idle() && kernel.queue.is_empty(), "it does not come to an end");
    assert!(!watcher.table.is_exploring());
    let mut tree = BTreeMap::new();
    kernel.tree(&RelPath::root(), ROOT, &mut tree);
    assert_eq!(watcher.mirror, tree, "what was told does not make the mirror equal");
    let directories = tree.values().filter(|version| version.is_none()).count();
    assert_eq!(watcher.table.len(), directories, "as many are watched as there are");
    assert_eq!(kernel.watches.len(), directories, "and no others");
    for path in tree.iter().filter(|(_, version)| version.is_none()).map(|(path, _)| path) {
        let ino = kernel.at(path).unwrap();
        kernel.write(ino, "probe");
        watcher.mirror.clear();
        watcher.handle_events(&mut kernel, usize::MAX);
        watcher.turn(&mut kernel);
        let probe = path.join(b"probe");
        assert!(watcher.mirror.contains_key(&probe), "{probe} is not told");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(part_of(20_000) as u32))]

    #[test]
    fn in_the_end_each_directory_is_watched_under_its_name(
        steps in prop::collection::vec(any::<[u8; 3]>(), 0..80),
    ) {
        whatever_happens(&[], &steps);
    }

    #[test]
    fn and_so_with_rules_that_look_at_parents(
        steps in prop::collection::vec(any::<[u8; 3]>(), 0..80),
    ) {
        whatever_happens(&[Rule::Exclude(b"/never/there".to_vec())], &steps);
    }
}
