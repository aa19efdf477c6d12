//! The Epoch that is still collecting: changes folded by path, and files that somebody still writes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::data::change::{Change, Kinds, Move};
use crate::data::limits::{HELD_FILES_MAX, MOVES_MAX, OPEN_EPOCH_PATHS_MAX};
use crate::data::moment::Moment;
use crate::data::need::Need;
use crate::data::path::RelPath;

/// How long changes wait, from a Root's plan.
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// Quiet time before sealing.
    pub settle: Duration,
    /// The longest wait for quiet.
    pub max_age: Duration,
    /// An open file is pushed when quiet for this long.
    pub open_quiet: Duration,
    /// An open file that is never quiet is pushed this often.
    pub open_max: Duration,
}

/// Changes that are not sealed yet.
#[derive(Debug)]
pub struct OpenEpoch {
    waits: Waits,
    changes: BTreeMap<RelPath, Opened>,
    /// Renames of what mirrors may have, in order.
    moves: Vec<Move>,
    first_change: Moment,
    last_change: Moment,
    held: BTreeMap<RelPath, Held>,
    /// Names that came and went in this Epoch, so that no mirror can have them.
    unseen: BTreeSet<RelPath>,
    /// A push is under way: a recursive one sends what it finds, also names that come meanwhile.
    pushing: bool,
}

#[derive(Clone, Copy, Debug)]
struct Opened {
    kinds: Kinds,
    /// The name came in this Epoch and no mirror can have it, so if it goes away again nothing has
    /// changed.
    fresh: bool,
    /// How many entries went at or below it.
    lost: u64,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    kinds: Kinds,
    fresh: bool,
    since: Moment,
    last_write: Moment,
}

/// What an Epoch holds when it is sealed.
#[derive(Clone, Debug, Default)]
pub struct Sealed {
    /// When the first of the changes came.
    pub first_change: Moment,
    /// Changed paths, and what a mirror needs that lacks them.
    pub changes: BTreeMap<RelPath, Need>,
    /// Renames among them, in order.
    pub moves: Vec<Move>,
    /// How many entries went at or below these paths.
    pub lost: BTreeMap<RelPath, u64>,
}

impl OpenEpoch {
    /// Nothing changed yet.
    pub fn new(waits: Waits) -> Self {
        let zero = Moment::default();
        Self {
            waits,
            changes: BTreeMap::new(),
            moves: Vec::new(),
            first_change: zero,
            last_change: zero,
            held: BTreeMap::new(),
            unseen: BTreeSet::new(),
            pushing: false,
        }
    }

    /// Whether any push is under way. What came before or during it may be on a mirror.
    pub fn handle_pushing(&mut self, pushing: bool) {
        if pushing && !self.pushing {
            self.unseen.clear();
            self.changes.values_mut().for_each(|opened| opened.fresh = false);
            self.held.values_mut().for_each(|held| held.fresh = false);
        }
        self.pushing = pushing;
    }

    /// Folds one change in.
    pub fn insert(&mut self, now: Moment, change: Change) {
        let Change { path, kinds, moved_from, is_late } = change;
        if let Some(from) = moved_from {
            if is_late && self.unseen.contains(&from) {
                doubt(&mut self.moves, &path);
            } else if is_late {
                self.note_move(from, &path, false);
            } else {
                self.insert_move(now, from, &path, kinds);
            }
        } else if beyond_attributes(Need::of(kinds)) {
            doubt(&mut self.moves, &path);
        }
        if kinds.contains(Kinds::WENT) {
            self.insert_gone(now, path, kinds);
        } else if kinds.contains(Kinds::OPEN) {
            self.insert_open(now, path, kinds);
        } else if kinds.contains(Kinds::CONTENT) || !self.held.contains_key(&path) {
            let held = self.held.remove(&path);
            let (old, fresh) = held.map_or((Kinds::empty(), false), |h| (h.kinds, h.fresh));
            let fresh = fresh || self.is_new(&path, kinds);
            self.dirty(now, path, (old | kinds) - Kinds::OPEN, fresh);
        } else if let Some(held) = self.held.get_mut(&path) {
            // Attributes of a file that is still being written go with its content.
            held.kinds |= kinds;
        }
    }

    /// Everything that is in doubt is pushed now, also what is still being written.
    pub fn release_held(&mut self, now: Moment) {
        for (path, held) in std::mem::take(&mut self.held) {
            self.dirty(now, path, held.kinds - Kinds::OPEN, held.fresh);
        }
    }

    /// Moves open files that are quiet, or open for long, among the changes.
    pub fn handle_timeout(&mut self, now: Moment) {
        let Waits { open_quiet, open_max, .. } = self.waits;
        let due: Vec<RelPath> = self
            .held
            .iter()
            .filter(|(_, h)| h.due(open_quiet, open_max) <= now)
            .map(|(path, _)| path.clone())
            .collect();
        for path in due {
            let held = self.held.remove(&path).expect("found just now");
            self.dirty(now, path, held.kinds - Kinds::OPEN, held.fresh);
        }
    }

    /// When this Epoch is to be sealed, if anybody can take it then; none while it is empty.
    pub fn seal_at(&self) -> Option<Moment> {
        let quiet = self.last_change + self.waits.settle;
        self.seal_by().map(|latest| quiet.min(latest))
    }

    /// When this Epoch is to be sealed at the latest, whether anybody can take it or not; none while it is empty.
    pub fn seal_by(&self) -> Option<Moment> {
        let is_full = self.changes.len() >= OPEN_EPOCH_PATHS_MAX;
        let wait = if is_full { Duration::ZERO } else { self.waits.max_age };
        (!self.changes.is_empty()).then_some(self.first_change + wait)
    }

    /// When the next open file is due.
    pub fn held_due(&self) -> Option<Moment> {
        let Waits { open_quiet, open_max, .. } = self.waits;
        self.held.values().map(|h| h.due(open_quiet, open_max)).min()
    }

    /// Hands out the changes, renames, and when the first of them came; starts a new Epoch.
    pub fn take(&mut self) -> Sealed {
        self.unseen.clear();
        let changes = std::mem::take(&mut self.changes);
        let lost = changes.iter().filter(|(_, opened)| opened.lost > 0);
        Sealed {
            lost: lost.map(|(path, opened)| (path.clone(), opened.lost)).collect(),
            first_change: self.first_change,
            changes: changes
                .into_iter()
                .map(|(path, opened)| (path, Need::of(opened.kinds)))
                .collect(),
            moves: std::mem::take(&mut self.moves),
        }
    }

    /// Changed paths, without open files.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether anything was renamed that mirrors may have.
    pub fn has_moves(&self) -> bool {
        !self.moves.is_empty()
    }

    /// Whether nothing changed and no file is open.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.held.is_empty()
    }

    /// Files held back because somebody writes them.
    pub fn held_len(&self) -> usize {
        self.held.len()
    }

    /// When the oldest change in here came, open files included.
    pub fn oldest(&self) -> Option<Moment> {
        let first = (!self.changes.is_empty()).then_some(self.first_change);
        let held = self.held.values().map(|h| h.since).min();
        first.into_iter().chain(held).min()
    }

    /// Whether this path is held back because somebody writes it.
    pub fn is_held(&self, path: &RelPath) -> bool {
        self.held.contains_key(path)
    }

    /// Whether this path, or something above it, is among the changes.
    pub fn covers(&self, path: &RelPath) -> bool {
        std::iter::once(path.clone()).chain(path.ancestors()).any(|p| self.changes.contains_key(&p))
    }

    /// The old name went, in one with the coming of the new one.
    fn insert_move(&mut self, now: Moment, from: RelPath, to: &RelPath, kinds: Kinds) {
        let subtree = kinds & Kinds::SUBTREE;
        let is_fresh = self.is_fresh(&from);
        let is_exact = !subtree.is_empty() && !self.is_doubted(&from) && !self.is_doubted(to);
        // Should something come back there, nothing is known of its content.
        self.insert_gone(now, from.clone(), Kinds::WENT | Kinds::CONTENT | subtree);
        if is_fresh {
            doubt(&mut self.moves, to);
        } else {
            self.note_move(from, to, is_exact);
        }
    }

    /// Whether this change begins a name that no mirror can have.
    fn is_new(&self, path: &RelPath, kinds: Kinds) -> bool {
        (kinds.contains(Kinds::CAME) && !self.pushing) || self.unseen.contains(path)
    }

    /// Whether no mirror can have this name.
    fn is_fresh(&self, path: &RelPath) -> bool {
        self.changes.get(path).is_some_and(|opened| opened.fresh)
            || self.held.get(path).is_some_and(|held| held.fresh)
    }

    fn note_move(&mut self, from: RelPath, to: &RelPath, is_exact: bool) {
        doubt(&mut self.moves, &from);
        doubt(&mut self.moves, to);
        if self.moves.len() < MOVES_MAX {
            self.moves.push(Move { from, to: to.clone(), is_exact });
        }
    }

    fn is_doubted(&self, path: &RelPath) -> bool {
        is_doubted(&self.changes, |opened| Need::of(opened.kinds), path)
            || is_doubted(&self.held, |held| Need::of(held.kinds), path)
    }

    fn insert_open(&mut self, now: Moment, path: RelPath, kinds: Kinds) {
        if let Some(held) = self.held.get_mut(&path) {
            held.kinds |= kinds;
            held.last_write = now;
            return;
        }
        let fresh = self.is_new(&path, kinds) && !self.changes.contains_key(&path);
        if self.held.len() >= HELD_FILES_MAX {
            self.dirty(now, path, kinds - Kinds::OPEN, fresh);
            return;
        }
        self.held.insert(path, Held { kinds, fresh, since: now, last_write: now });
    }

    fn insert_gone(&mut self, now: Moment, path: RelPath, kinds: Kinds) {
        let held = self.held.remove(&path);
        let opened = self.changes.get(&path).copied();
        let mut lost = 1;
        if kinds.contains(Kinds::SUBTREE) {
            remove_below(&mut self.held, &path);
            let below = remove_below(&mut self.changes, &path);
            lost += below.iter().map(|(_, opened)| opened.lost).sum::<u64>();
        }
        let was_fresh = match (opened, held) {
            (Some(opened), _) => opened.fresh,
            (None, Some(held)) => held.fresh,
            // Whoever tells of several changes at once may have told of its coming only once.
            (None, None) => self.unseen.contains(&path),
        };
        if was_fresh {
            // It came and went unseen; only the times of the directory around it have changed.
            self.changes.remove(&path);
            if self.unseen.len() < OPEN_EPOCH_PATHS_MAX {
                self.unseen.insert(path.clone());
            }
            if let Some(parent) = path.parent() {
                self.dirty(now, parent, Kinds::ATTRS, false);
            }
        } else {
            self.dirty(now, path.clone(), kinds, false);
            self.changes.entry(path).and_modify(|opened| opened.lost += lost);
        }
    }

    fn dirty(&mut self, now: Moment, path: RelPath, kinds: Kinds, fresh: bool) {
        if self.changes.is_empty() {
            self.first_change = now;
        }
        self.last_change = now;
        self.changes.entry(path).and_modify(|opened| opened.kinds |= kinds).or_insert(Opened {
            kinds,
            fresh,
            lost: 0,
        });
    }
}

impl Held {
    fn due(&self, open_quiet: Duration, open_max: Duration) -> Moment {
        (self.last_write + open_quiet).min(self.since + open_max)
    }
}

/// Whether more is needed than mode, owner and times.
pub fn beyond_attributes(need: Need) -> bool {
    !(Need::ATTRIBUTES | Need::LEFTOVERS).contains(need)
}

/// Whether more than attributes changed at or below this path, or a directory above it came or went.
pub fn is_doubted<T>(
    map: &BTreeMap<RelPath, T>,
    need: impl Fn(&T) -> Need,
    path: &RelPath,
) -> bool {
    let (start, end) = path.below().unwrap_or((path.clone(), path.clone()));
    let mut below = map.range(start..end).map(|(_, value)| need(value));
    let own = map.get(path).map(&need);
    let mut above = path.ancestors().filter_map(|above| map.get(&above)).map(&need);
    own.is_some_and(beyond_attributes) || below.any(beyond_attributes) || above.any(Need::is_within)
}

/// Something changed here: renames of what is at or above it tell less.
pub fn doubt<'a>(moves: impl IntoIterator<Item = &'a mut Move>, path: &RelPath) {
    let concerns = |name: &RelPath| path == name || path.is_below(name);
    for it in moves.into_iter().filter(|it| it.is_exact) {
        it.is_exact = !concerns(&it.from) && !concerns(&it.to);
    }
}

/// Drops the entries of everything below a directory.
pub fn remove_below<T>(map: &mut BTreeMap<RelPath, T>, directory: &RelPath) -> Vec<(RelPath, T)> {
    let below: Vec<RelPath> = match directory.below() {
        Some((start, end)) => map.range(start..end).map(|(path, _)| path.clone()).collect(),
        None => map.keys().filter(|path| !path.is_root()).cloned().collect(),
    };
    below.into_iter().filter_map(|path| map.remove_entry(&path)).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const WAITS: Waits = Waits {
        settle: Duration::from_millis(50),
        max_age: Duration::from_secs(1),
        open_quiet: Duration::from_secs(2),
        open_max: Duration::from_secs(60),
    };

    pub(crate) fn at(ms: u64) -> Moment {
        Moment::after_start(Duration::from_millis(ms))
    }

    fn epoch(changes: &[(u64, &str, Kinds)]) -> OpenEpoch {
        let mut epoch = OpenEpoch::new(WAITS);
        for (ms, path, kinds) in changes {
            epoch.insert(at(*ms), Change::new((*path).into(), *kinds));
        }
        epoch
    }

    fn paths(epoch: &mut OpenEpoch) -> Vec<String> {
        epoch.take().changes.keys().map(ToString::to_string).collect()
    }

    const CREATED: Kinds = Kinds::CAME.union(Kinds::OPEN).union(Kinds::CONTENT);

    #[test]
    fn a_file_that_is_being_written_waits_for_its_close() {
        let mut epoch = epoch(&[(0, "a", CREATED), (10, "a", Kinds::OPEN | Kinds::CONTENT)]);
        assert_eq!((epoch.len(), epoch.held_len()), (0, 1));
        assert_eq!(epoch.oldest(), Some(at(0)), "it is pending all the same");
        epoch.insert(at(20), Change::new("a".into(), Kinds::CONTENT));
        assert_eq!(epoch.seal_at(), Some(at(70)));
        assert_eq!(paths(&mut epoch), ["a"]);
    }

    #[test]
    fn hard_case_6_a_file_that_stays_open_is_pushed_when_quiet_or_after_a_minute() {
        let mut epoch = epoch(&[(0, "log", Kinds::OPEN | Kinds::CONTENT)]);
        assert_eq!(epoch.held_due(), Some(at(2000)));
        for second in 1..60 {
            let change = Change::new("log".into(), Kinds::OPEN | Kinds::CONTENT);
            epoch.insert(at(second * 1000), change);
            epoch.handle_timeout(at(second * 1000));
            assert_eq!(epoch.len(), 0);
        }
        assert_eq!(epoch.held_due(), Some(at(60_000)));
        epoch.handle_timeout(at(60_000));
        assert_eq!(paths(&mut epoch), ["log"]);
    }

    #[test]
    fn a_temporary_name_that_went_before_sealing_is_never_pushed() {
        let mut epoch = epoch(&[
            (0, "d/.tmp", CREATED),
            (1, "d/.tmp", Kinds::CONTENT),
            (2, "d/.tmp", Kinds::WENT),
            (2, "d/file", Kinds::CONTENT),
        ]);
        assert_eq!(paths(&mut epoch), ["d", "d/file"]);
    }

    #[test]
    fn a_temporary_name_that_is_used_again_and_told_once_is_never_pushed() {
        let mut epoch = epoch(&[(0, "t", CREATED), (0, "t", Kinds::CONTENT)]);
        for to in ["a", "b"] {
            let moved = Change::moved("t".into(), to.into(), Kinds::CONTENT);
            epoch.insert(at(1), Change::new("t".into(), Kinds::WENT));
            epoch.insert(at(1), Change { is_late: true, ..moved });
        }
        assert!(!epoch.has_moves());
        assert_eq!(paths(&mut epoch), [".", "a", "b"]);
        epoch.insert(at(2), Change::new("t".into(), Kinds::WENT));
        assert_eq!(paths(&mut epoch), ["t"], "what was sealed may have been pushed");
    }

    #[test]
    fn a_name_that_a_push_may_have_found_is_deleted_when_it_goes() {
        let mut before = epoch(&[(0, "t", CREATED), (1, "u", Kinds::CAME | Kinds::CONTENT)]);
        before.handle_pushing(true);
        before.insert(at(2), Change::new("v".into(), CREATED));
        before.handle_pushing(false);
        before.insert(at(3), Change::new("w".into(), CREATED));
        for name in ["t", "u", "v", "w"] {
            before.insert(at(4), Change::new(name.into(), Kinds::WENT));
        }
        assert_eq!(paths(&mut before), [".", "t", "u", "v"]);
    }

    #[test]
    fn a_name_that_was_there_before_is_deleted_whatever_came_between() {
        let mut epoch = epoch(&[
            (0, "a", Kinds::WENT),
            (1, "a", CREATED),
            (2, "a", Kinds::CONTENT),
            (3, "a", Kinds::WENT),
        ]);
        assert_eq!(paths(&mut epoch), ["a"]);
    }

    #[test]
    fn what_came_back_under_an_old_name_is_not_dropped_when_its_rename_is_told_late() {
        let mut epoch = epoch(&[(0, "a", Kinds::CAME | Kinds::SUBTREE), (1, "a/x", CREATED)]);
        let moved = Change::moved("a".into(), "b".into(), Kinds::SUBTREE | Kinds::CONTENT);
        epoch.insert(at(2), Change { is_late: true, ..moved });
        epoch.release_held(at(3));
        let sealed = epoch.take();
        let paths: Vec<String> = sealed.changes.keys().map(ToString::to_string).collect();
        assert_eq!(paths, ["a", "a/x", "b"]);
        assert!(sealed.moves.iter().all(|it| !it.is_exact) && sealed.moves.len() == 1);
    }

    #[test]
    fn hard_case_10_a_rename_is_one_change_of_two_names() {
        let both = Kinds::SUBTREE | Kinds::CONTENT;
        let moved = |from: &str, to: &str| Change::moved(from.into(), to.into(), both);
        let mut epoch = epoch(&[]);
        epoch.insert(at(0), moved("a", "b"));
        epoch.insert(at(0), Change::new("c/x".into(), Kinds::CONTENT));
        epoch.insert(at(0), moved("c", "d"));
        let sealed = epoch.take();
        assert_eq!(sealed.changes[&"a".into()], Need::of(both | Kinds::WENT));
        let exact: Vec<bool> = sealed.moves.iter().map(|it| it.is_exact).collect();
        assert_eq!(exact, [true, false], "something in c was written to before");
    }

    #[test]
    fn constant_changes_are_sealed_at_the_maximal_age() {
        let mut epoch = OpenEpoch::new(WAITS);
        for ms in 0..200 {
            epoch.insert(at(ms * 10), Change::new("a".into(), Kinds::CONTENT));
        }
        assert_eq!(epoch.seal_at(), Some(at(1000)));
    }

    #[test]
    fn attributes_of_an_open_file_wait_with_it() {
        let mut epoch = epoch(&[(0, "a", CREATED), (1, "a", Kinds::ATTRS)]);
        assert_eq!((epoch.len(), epoch.held_len()), (0, 1));
        epoch.release_held(at(2));
        assert_eq!(paths(&mut epoch), ["a"]);
    }
}
