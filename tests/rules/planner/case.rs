//! One case: a source in which somebody worked, a mirror that lags behind, and what the ledger hands out for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use mirrorball_core::data::batch::{Compare, Depth, Dirty, Rename};
use mirrorball_core::data::change::{Change, Epoch, Kinds, Move};
use mirrorball_core::data::moment::Moment;
use mirrorball_core::data::need::Need;
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::plan::{DeleteMode, Rule};
use mirrorball_core::host::steps::MirrorTerms;
use mirrorball_core::host::target_state::TargetState;
use mirrorball_core::root::batch::Presence;
use mirrorball_core::root::change_log::ChangeLog;
use mirrorball_core::root::epoch::{OpenEpoch, Waits};
use mirrorball_core::source::filter::Filter;

use crate::model::fs::{Body, Fs, Inode, ROOT_USER};
use crate::simulation::Random;

/// Files of the mirror that the source never had are of this size, so that no size and time speaks for them.
const FOREIGN_SIZE: u64 = 9;

/// As whom the source is read where something in it must not be readable.
const OTHER_USER: u32 = 1000;

/// Rules as a root may have them, compiled once.
static RULES: LazyLock<Vec<(Vec<Rule>, Filter)>> = LazyLock::new(|| {
    let exclude = |pattern: &[u8]| Rule::Exclude(pattern.to_vec());
    let all = [
        vec![],
        vec![exclude(b"b/")],
        vec![exclude(b"/a/c")],
        vec![exclude(b"c")],
        vec![Rule::Include(b"/a/b".to_vec()), exclude(b"b")],
    ];
    all.into_iter().map(|rules| (rules.clone(), Filter::new(&rules).unwrap())).collect()
});

/// What goes wrong in the middle of a step, counted from 0.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// It ends with 23, and says of nothing why.
    Odd(u64),
    /// The connection breaks.
    Cut(u64),
    /// It ends with 23, and blames one path for everything that it has not done.
    Blames(u64),
    /// It ends with 11 at a path that the mirror can't take.
    Stops(u64),
}

pub struct Case {
    pub rules: &'static [Rule],
    pub filter: &'static Filter,
    pub source: Fs,
    pub mirror: Fs,
    /// A directory to be compared instead of a push.
    pub compares: Option<Compare>,
    /// What the assignment names, sorted.
    pub dirty: Vec<Dirty>,
    pub lost: BTreeMap<RelPath, u64>,
    pub found_extra: BTreeMap<RelPath, u64>,
    pub large: BTreeSet<RelPath>,
    pub unmounted: Vec<RelPath>,
    pub renames: Vec<Rename>,
    pub witness: Option<RelPath>,
    pub delete: DeleteMode,
    pub terms: MirrorTerms,
    pub fault: Option<(usize, Fault)>,
    /// A directory of the mirror whose attributes can't be set.
    pub foreign_directory: Option<RelPath>,
}

impl Case {
    pub fn new(seed: u64) -> Self {
        Maker::new(seed).make()
    }

    /// What is in the source at this path, unless the rules keep it out.
    pub fn wanted(&self, path: &RelPath) -> Option<&Inode> {
        visible(&self.source, path, self.filter)
    }

    /// Whether it lies on a volume that is not mounted.
    pub fn is_held(&self, path: &RelPath) -> bool {
        self.unmounted.iter().any(|volume| is_inside(path, volume))
    }

    /// Looked up without following any link.
    pub fn presence(&self, path: &RelPath) -> Presence {
        if let Some(found) = self.source.lookup(path) {
            return Presence::Present { is_directory: found.is_directory() };
        }
        let mut topmost = path.clone();
        for above in path.ancestors() {
            match self.source.lookup(&above) {
                Some(found) if found.is_directory() => break,
                Some(_) => return Presence::Below { blocker: above },
                None => topmost = above,
            }
        }
        Presence::Missing { topmost }
    }
}

/// What is at a path, unless the rules keep it out.
pub fn visible<'a>(fs: &'a Fs, path: &RelPath, filter: &Filter) -> Option<&'a Inode> {
    fs.lookup(path).filter(|found| !filter.excludes(path, found.is_directory()))
}

/// Whether it is this directory, or below it.
pub fn is_inside(path: &RelPath, directory: &RelPath) -> bool {
    path == directory || path.is_below(directory)
}

/// The source while somebody works in it, and what is told of that.
struct Maker {
    random: Random,
    rules: &'static [Rule],
    filter: &'static Filter,
    source: Fs,
    volume: Option<RelPath>,
    open: OpenEpoch,
    log: ChangeLog,
    content: u64,
    /// Where the mirror is not what the source was.
    foreign: Vec<RelPath>,
}

impl Maker {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let kind = if random.one_in(4) { random.below(RULES.len() as u64) as usize } else { 0 };
        let (rules, filter) = &RULES[kind];
        let wait = Duration::from_secs(1);
        let waits = Waits { settle: wait, max_age: wait, open_quiet: wait, open_max: wait };
        Self {
            random,
            rules,
            filter,
            source: Fs::new(),
            volume: None,
            open: OpenEpoch::new(waits),
            log: ChangeLog::new(1000),
            content: 0,
            foreign: Vec::new(),
        }
    }

    fn make(mut self) -> Case {
        for _ in 0..2 + self.random.below(7) {
            let path = self.random.path();
            self.fill(&path);
        }
        if self.random.one_in(8) {
            self.add_volume();
        }
        let mut mirror =
            if self.volume.is_some() { plain_copy(&self.source) } else { self.source.clone() };
        // None of what was done so far is news.
        self.open.take();
        if let Some(volume) = &self.volume
            && self.random.one_in(2)
        {
            self.source.unmount(volume);
        }
        for _ in 0..1 + self.random.below(5) {
            self.work();
            if self.random.one_in(4) {
                self.seal();
            }
        }
        self.seal();
        if self.random.one_in(3) {
            for _ in 0..1 + self.random.below(3) {
                self.meddle(&mut mirror);
            }
        }
        self.assign(mirror)
    }

    // The source.

    /// Directories above a path, and a file or, now and then, a link.
    fn fill(&mut self, path: &RelPath) {
        self.make_parents(path);
        self.create(path);
    }

    fn add_volume(&mut self) {
        let path = self.random.path();
        let directories: Vec<RelPath> = path.ancestors().collect();
        let Some(at) = directories.into_iter().find(|it| !it.is_root()) else { return };
        self.remove(&at);
        self.make_parents(&at);
        if !self.has_place(&at) {
            return;
        }
        self.make_directory(&at);
        self.source.add_volume(&at);
        self.volume = Some(at.clone());
        self.create(&at.join(b"a"));
    }

    fn make_parents(&mut self, path: &RelPath) {
        let mut above: Vec<RelPath> = path.ancestors().collect();
        above.reverse();
        above.iter().for_each(|directory| self.make_directory(directory));
    }

    fn work(&mut self) {
        let path = self.random.path();
        match self.random.below(14) {
            0..3 => self.write(&path),
            3..5 => self.fill(&path),
            5 => self.change_mode(&path),
            6..8 => self.remove(&path),
            8 => self.move_out(&path),
            9 => self.make_directory(&path),
            10 => {
                // Something of another type takes the name.
                let was_directory = self.source.is_directory(&path);
                self.remove(&path);
                if was_directory {
                    self.create(&path);
                } else {
                    self.make_directory(&path);
                    self.create(&path.join(b"b"));
                }
            }
            _ => {
                // Most of what is tried at random would not be there.
                let from = self.any_name().unwrap_or(path);
                let to = self.random.path();
                self.rename(&from, &to);
                if self.random.one_in(4) {
                    let again = self.random.path();
                    self.rename(&to, &again);
                }
            }
        }
    }

    fn any_name(&mut self) -> Option<RelPath> {
        let names = self.source.below(&RelPath::root());
        let at = self.random.below(names.len() as u64) as usize;
        names.into_iter().nth(at)
    }

    /// Whether a name can be made.
    fn has_place(&self, path: &RelPath) -> bool {
        path.parent().is_some_and(|parent| self.source.is_directory(&parent))
            && self.source.lookup(path).is_none()
    }

    fn is_in(&self, path: &RelPath, is_directory: bool) -> bool {
        !self.filter.excludes(path, is_directory)
    }

    fn tell(&mut self, path: &RelPath, kinds: Kinds, is_directory: bool) {
        if self.is_in(path, is_directory) {
            self.open.insert(Moment::default(), Change::new(path.clone(), kinds));
        } else if kinds.intersects(Kinds::CAME | Kinds::WENT) {
            self.tell_around(path);
        }
    }

    /// What is kept out still changes the times of the directory around it.
    fn tell_around(&mut self, path: &RelPath) {
        if let Some(parent) = path.parent().filter(|parent| self.is_in(parent, true)) {
            self.open.insert(Moment::default(), Change::new(parent, Kinds::ATTRS));
        }
    }

    /// Of two sizes and three times, so that many are equal.
    fn create(&mut self, path: &RelPath) {
        if !self.has_place(path) {
            return;
        }
        self.content += 1;
        if self.random.one_in(6) {
            self.source.symlink(path, format!("nowhere{}", self.content % 2).as_bytes()).unwrap();
            return self.tell(path, Kinds::CAME, false);
        }
        let (size, mtime) = (1 + self.random.below(2), 1 + self.random.below(3));
        self.source.write(path, self.content, size, Some(mtime)).unwrap();
        self.tell(path, Kinds::CAME | Kinds::CONTENT, false);
    }

    fn write(&mut self, path: &RelPath) {
        let Some(Body::File { size, .. }) = self.source.lookup(path).map(|it| it.body.clone())
        else {
            return;
        };
        self.content += 1;
        let keeps = self.random.one_in(2);
        let mtime = self.source.lookup(path).map(|it| it.mtime).filter(|_| keeps);
        let mtime = mtime.unwrap_or_else(|| 1 + self.random.below(3));
        let size = if keeps { size } else { 1 + self.random.below(2) };
        self.source.write(path, self.content, size, Some(mtime)).unwrap();
        self.tell(path, Kinds::CONTENT, false);
    }

    fn change_mode(&mut self, path: &RelPath) {
        let Some(found) = self.source.lookup(path) else { return };
        let (is_directory, is_link) =
            (found.is_directory(), matches!(found.body, Body::Link { .. }));
        if is_link {
            return;
        }
        let mode = if found.mode & 0o111 == 0 { 0o640 } else { 0o751 };
        self.source.set_mode(path, mode).unwrap();
        self.tell(path, Kinds::ATTRS, is_directory);
    }

    fn make_directory(&mut self, path: &RelPath) {
        if !self.has_place(path) {
            return;
        }
        self.source.make_directory(path, 0o755).unwrap();
        // Whoever explores it finds what is in it.
        self.tell(path, Kinds::CAME | Kinds::CONTENT | Kinds::SUBTREE, true);
    }

    /// Whether a volume lies there, which can't be removed or renamed.
    fn is_busy(&self, path: &RelPath) -> bool {
        self.volume
            .as_ref()
            .is_some_and(|volume| self.source.is_mount_point(volume) && is_inside(volume, path))
    }

    fn remove(&mut self, path: &RelPath) {
        if self.source.lookup(path).is_none() || self.is_busy(path) {
            return;
        }
        for name in self.source.below(path).into_iter().rev().chain([path.clone()]) {
            let is_directory = self.source.is_directory(&name);
            if is_directory {
                self.source.remove_directory(&name).unwrap();
                self.tell(&name, Kinds::WENT | Kinds::SUBTREE, true);
            } else {
                self.source.unlink(&name).unwrap();
                self.tell(&name, Kinds::WENT, false);
            }
        }
    }

    /// Somewhere else, as a whole: of what was in it nothing is told.
    fn move_out(&mut self, path: &RelPath) {
        if self.source.lookup(path).is_none() || self.is_busy(path) {
            return;
        }
        let is_directory = self.source.is_directory(path);
        for name in self.source.below(path).into_iter().rev().chain([path.clone()]) {
            if self.source.is_directory(&name) {
                self.source.remove_directory(&name).unwrap();
            } else {
                self.source.unlink(&name).unwrap();
            }
        }
        let subtree = if is_directory { Kinds::SUBTREE } else { Kinds::empty() };
        self.tell(path, Kinds::WENT | subtree, is_directory);
    }

    fn rename(&mut self, from: &RelPath, to: &RelPath) {
        let holds_volume = |it: &RelPath| self.volume.as_ref().is_some_and(|at| it.is_related(at));
        let is_related = from == to || is_inside(to, from) || is_inside(from, to);
        if self.source.lookup(from).is_none()
            || is_related
            || !to.parent().is_some_and(|parent| self.source.is_directory(&parent))
            || holds_volume(from)
            || holds_volume(to)
        {
            return;
        }
        let is_directory = self.source.is_directory(from);
        // A file is renamed over another without a word about that.
        if is_directory || self.source.is_directory(to) {
            self.remove(to);
        }
        self.source.rename(from, to).unwrap();
        let subtree = if is_directory { Kinds::SUBTREE } else { Kinds::empty() };
        match (self.is_in(from, is_directory), self.is_in(to, is_directory)) {
            (true, true) => {
                let change = Change::moved(from.clone(), to.clone(), Kinds::CONTENT | subtree);
                self.open.insert(Moment::default(), change);
            }
            (is_old, is_new) => {
                let went = Kinds::WENT | subtree;
                let came = Kinds::CONTENT | subtree;
                let mut tell = |path, kinds, is_in| match is_in {
                    true => self.tell(path, kinds, is_directory),
                    false => self.tell_around(path),
                };
                tell(from, went, is_old);
                tell(to, came, is_new);
            }
        }
    }

    fn seal(&mut self) {
        if !self.open.is_empty() {
            let sealed = self.open.take();
            self.log.seal(sealed, Epoch::default(), Epoch::default());
        }
    }

    // The mirror.

    /// Somebody works on the mirror, whom nobody hears.
    fn meddle(&mut self, mirror: &mut Fs) {
        let names = mirror.below(&RelPath::root());
        let at = self.random.below(names.len() as u64 + 1) as usize;
        let path = names.get(at).cloned().unwrap_or_else(|| self.random.path());
        let is_directory = mirror.is_directory(&path);
        self.foreign.push(path.clone());
        match self.random.below(4) {
            0 if is_directory => self.add_foreign(mirror, &path),
            0 | 1 if mirror.lookup(&path).is_some() => remove_all(mirror, &path),
            2 if !is_directory => {
                remove_all(mirror, &path);
                if mirror.make_directory(&path, 0o755).is_ok() && !self.random.one_in(3) {
                    self.add_foreign(mirror, &path);
                }
            }
            _ => {
                remove_all(mirror, &path);
                // The directory above it may be missing too.
                let _ = mirror.write(&path, 1000, FOREIGN_SIZE, Some(9));
            }
        }
    }

    fn add_foreign(&mut self, mirror: &mut Fs, directory: &RelPath) {
        for name in [b"b".as_slice(), b"x"].iter().take(1 + self.random.below(2) as usize) {
            let path = directory.join(name);
            if mirror.lookup(&path).is_none() {
                self.foreign.push(path.clone());
                let _ = mirror.write(&path, 1000, FOREIGN_SIZE, Some(9));
            }
        }
        if self.random.one_in(4) {
            let path = directory.join(b".a.t00001");
            let _ = mirror.write(&path, 1001, FOREIGN_SIZE, Some(9));
        }
    }

    // The assignment.

    fn assign(mut self, mut mirror: Fs) -> Case {
        let mut needs: BTreeMap<RelPath, Need> = BTreeMap::new();
        let mut lost = BTreeMap::new();
        for (path, entry) in self.log.range(Epoch::default(), self.log.head()) {
            needs.insert(path.clone(), entry.need);
            if entry.lost > 0 {
                lost.insert(path.clone(), entry.lost);
            }
        }
        let mut found_extra = BTreeMap::new();
        let owes = self.random.one_in(3) || !self.foreign.is_empty() && self.random.one_in(2);
        if owes {
            for _ in 0..1 + self.random.below(2) {
                self.owe(&mirror, &mut needs, &mut found_extra);
            }
        }
        let moves = self.log.renames_above(Epoch::default());
        let is_touched = |it: &Move| {
            let names = [&it.from, &it.to];
            self.foreign.iter().any(|path| names.iter().any(|name| name.is_related(path)))
        };
        let trusts_renames = !owes && !moves.iter().any(is_touched) && !self.random.one_in(4);
        let unmounted: Vec<RelPath> = self
            .volume
            .iter()
            .filter(|volume| !self.source.is_mount_point(volume))
            .cloned()
            .collect();
        let renames = self.look_at_renames(&moves, &unmounted);
        let has_large = self.random.one_in(8);
        let large = needs.keys().filter(|path| {
            let is_file =
                matches!(self.source.lookup(path).map(|it| &it.body), Some(Body::File { .. }));
            has_large && is_file
        });
        let large: BTreeSet<RelPath> = large.filter(|_| self.random.one_in(2)).cloned().collect();
        if self.random.one_in(10)
            && let Some(path) = mirror.below(&RelPath::root()).first().cloned()
        {
            let names = mirror.below(&RelPath::root());
            let at = self.random.below(names.len() as u64) as usize;
            mirror.poisoned.insert(names.get(at).cloned().unwrap_or(path));
        }
        let foreign_directory = if self.random.one_in(8) { self.disown(&mut mirror) } else { None };
        if self.random.one_in(10)
            && let Some(path) = self.any_name()
            && self.is_in(&path, self.source.is_directory(&path))
            && !matches!(self.source.lookup(&path).map(|it| &it.body), Some(Body::Link { .. }))
        {
            self.source
                .set_mode(&path, if self.source.is_directory(&path) { 0o711 } else { 0o600 })
                .unwrap();
            needs
                .entry(path)
                .and_modify(|need| *need |= Need::ATTRIBUTES)
                .or_insert(Need::ATTRIBUTES);
            self.source.user = OTHER_USER;
        }
        let compares = self.random.one_in(12).then(|| {
            let path = if self.random.one_in(2) { RelPath::root() } else { RelPath::from("a") };
            let depth = if self.random.one_in(2) { Depth::Times } else { Depth::Contents };
            Compare::whole(path, depth, self.random.one_in(2))
        });
        // A walk is of a directory that was there when it was owed.
        let compares = compares.filter(|it| self.source.is_directory(&it.path));
        if let Some(compare) = &compares {
            let depth = match compare.depth {
                Depth::Times => Need::empty(),
                Depth::Contents => Need::CONTENTS,
            };
            needs = [(compare.path.clone(), Need::TREE | depth)].into();
        }
        let names = self.source.below(&RelPath::root()).into_iter();
        let skipped = self.random.below(3) as usize;
        let is_quiet = |path: &RelPath| {
            let found = self.source.lookup(path).expect("it was listed");
            path.ancestors().count() == 1
                && !needs.contains_key(path)
                && self.is_in(path, found.is_directory())
        };
        let witness = names.filter(is_quiet).nth(skipped);
        let random = &mut self.random;
        let modes = [DeleteMode::Never, DeleteMode::OnWalk, DeleteMode::OnPush];
        let delete =
            if random.one_in(4) { modes[random.below(3) as usize] } else { DeleteMode::Always };
        let fault = random.one_in(6).then(|| {
            let kinds = [Fault::Odd, Fault::Odd, Fault::Cut, Fault::Blames, Fault::Stops];
            (random.below(5) as usize, kinds[random.below(5) as usize](random.below(30)))
        });
        let terms = MirrorTerms {
            target: if random.one_in(8) { TargetState::Exists } else { TargetState::Filled },
            is_known: !random.one_in(8),
            delete_first: random.one_in(8),
            can_delete_missing: !random.one_in(4),
            can_check: !random.one_in(4),
            pieces: if random.one_in(8) { 2 + random.below(2) as usize } else { 1 },
            can_rename: !random.one_in(6),
            trusts_renames,
            may_link: !random.one_in(4),
            compared_bytes_max: 2,
        };
        Case {
            rules: self.rules,
            filter: self.filter,
            source: self.source,
            mirror,
            compares,
            dirty: needs.into_iter().collect(),
            lost,
            found_extra,
            large,
            unmounted,
            renames,
            witness,
            delete,
            terms,
            fault,
            foreign_directory,
        }
    }

    /// The mirror is served by a user without rights, and one of its directories is somebody else's, who lets that user
    /// write there.
    fn disown(&mut self, mirror: &mut Fs) -> Option<RelPath> {
        let names: Vec<RelPath> = mirror.names().map(|(path, _)| path.clone()).collect();
        let poisoned = std::mem::take(&mut mirror.poisoned);
        names.iter().for_each(|path| mirror.set_owner(path, OTHER_USER).unwrap());
        let directories: Vec<&RelPath> =
            names.iter().filter(|path| mirror.is_directory(path)).collect();
        let path = directories[self.random.below(directories.len() as u64) as usize].clone();
        mirror.set_owner(&path, ROOT_USER).unwrap();
        mirror.set_mode(&path, 0o777).unwrap();
        (mirror.user, mirror.poisoned) = (OTHER_USER, poisoned);
        Some(path)
    }

    /// Something from the backlog.
    fn owe(
        &mut self,
        mirror: &Fs,
        needs: &mut BTreeMap<RelPath, Need>,
        found_extra: &mut BTreeMap<RelPath, u64>,
    ) {
        let foreign = self.random.below(self.foreign.len() as u64) as usize;
        let path = match self.foreign.get(foreign).filter(|_| self.random.one_in(2)) {
            Some(path) => path.clone(),
            None => self.any_name().unwrap_or_else(|| self.random.path()),
        };
        let path = if self.random.one_in(4) { path.parent().unwrap_or(path) } else { path };
        // Nobody owes what the rules keep out.
        if !self.is_in(&path, false) {
            return;
        }
        let found = visible(mirror, &path, self.filter).map(|it| it.is_directory());
        let is_here = self.source.lookup(&path).map(Inode::is_directory);
        let inside = mirror.below(&path).len() as u64;
        let need = match (is_here, found) {
            _ if path.is_root() => Need::ATTRIBUTES,
            // A comparison has named it.
            (None, Some(_)) if self.random.one_in(2) => {
                found_extra.insert(path.clone(), inside + 1);
                Need::GONE | Need::WITHIN
            }
            (Some(false), Some(true)) if self.random.one_in(2) => {
                found_extra.insert(path.clone(), inside);
                Need::TREE | Need::ANEW
            }
            (Some(true), _) if self.random.one_in(6) => Need::LEFTOVERS,
            _ => {
                let all = [
                    Need::ATTRIBUTES,
                    Need::EQUAL,
                    Need::CONTENTS,
                    Need::ANEW,
                    Need::TREE,
                    Need::TREE | Need::CONTENTS,
                    Need::EQUAL | Need::GONE,
                ];
                all[self.random.below(all.len() as u64) as usize]
            }
        };
        *needs.entry(path).or_default() |= need;
    }

    /// As the collator's look at the disk finds them.
    fn look_at_renames(&mut self, moves: &[Move], unmounted: &[RelPath]) -> Vec<Rename> {
        let mut renames: Vec<Rename> = Vec::new();
        let mut files: BTreeMap<(RelPath, RelPath, bool), BTreeSet<RelPath>> = BTreeMap::new();
        let is_file = |fs: &Fs, path: &RelPath| {
            matches!(visible(fs, path, self.filter).map(|it| &it.body), Some(Body::File { .. }))
        };
        let is_held = |path: &RelPath| unmounted.iter().any(|held| path.is_related(held));
        for it in moves.iter().filter(|it| !is_held(&it.from) && !is_held(&it.to)) {
            if is_file(&self.source, &it.to) {
                let (Some(from), Some(to)) = (it.from.parent(), it.to.parent()) else { continue };
                let group = files.entry((from, to, it.from.name() != it.to.name())).or_default();
                group.insert(RelPath::root().join(it.to.name()));
            } else if visible(&self.source, &it.to, self.filter).is_some_and(Inode::is_directory) {
                let inside = self.source.below(&it.to).into_iter();
                let inside = inside.filter(|path| is_file(&self.source, path));
                let inside = inside.filter_map(|path| path.rebased(&it.to, &RelPath::root()));
                let inside: Vec<RelPath> = inside.collect();
                let stays = |file: &RelPath| {
                    let old = file.rebased(&RelPath::root(), &it.from);
                    old.is_none_or(|old| self.filter.excludes(&old, false))
                };
                let may_link = !inside.iter().any(stays);
                let bytes = inside.len() as u64;
                if bytes > 0 {
                    renames.push(Rename {
                        from: it.from.clone(),
                        to: it.to.clone(),
                        files: inside,
                        files_alone: false,
                        other_names: false,
                        bytes,
                        may_link,
                        is_exact: it.is_exact,
                        is_gone: false,
                    });
                }
            }
        }
        renames.extend(files.into_iter().map(|((from, to, other_names), files)| Rename {
            from,
            to,
            bytes: files.len() as u64,
            files: files.into_iter().collect(),
            files_alone: true,
            other_names,
            may_link: true,
            is_exact: false,
            is_gone: false,
        }));
        // An outer one would send what an inner one finds.
        renames.sort_by_key(|it| (std::cmp::Reverse(it.to.ancestors().count()), it.to.clone()));
        renames
    }
}

fn remove_all(fs: &mut Fs, path: &RelPath) {
    for name in fs.below(path).into_iter().rev().chain([path.clone()]) {
        let _ = if fs.is_directory(&name) { fs.remove_directory(&name) } else { fs.unlink(&name) };
    }
}

/// The same names and attributes, on one volume.
fn plain_copy(source: &Fs) -> Fs {
    let mut copy = Fs::new();
    for (path, inode) in source.names().filter(|(path, _)| !path.is_root()) {
        copy.create(path, inode.body.clone(), inode.mode).unwrap();
    }
    for (path, inode) in source.names() {
        copy.set_mtime(path, inode.mtime).unwrap();
    }
    copy
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "source (user {}):\n{}", self.source.user, Tree(&self.source))?;
        writeln!(
            f,
            "mirror before, {:?} can't be changed:\n{}",
            self.mirror.poisoned,
            Tree(&self.mirror)
        )?;
        for (path, need) in &self.dirty {
            writeln!(f, "dirty {path}: {need:?}")?;
        }
        writeln!(f, "compares {:?}", self.compares)?;
        writeln!(
            f,
            "rules {:?} unmounted {:?} large {:?}",
            self.rules, self.unmounted, self.large
        )?;
        writeln!(f, "lost {:?} found {:?} {:?}", self.lost, self.found_extra, self.delete)?;
        writeln!(f, "renames {:#?}", self.renames)?;
        writeln!(f, "not its own {:?}", self.foreign_directory)?;
        writeln!(f, "{:?}\nfault {:?}", self.terms, self.fault)
    }
}

/// A tree, one name a line.
pub struct Tree<'a>(pub &'a Fs);

impl fmt::Display for Tree<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (path, inode) in self.0.names() {
            let Inode { body, mode, mtime, .. } = inode;
            writeln!(f, "    {path}: {body:?} mode {mode:o} mtime {mtime}")?;
        }
        Ok(())
    }
}
