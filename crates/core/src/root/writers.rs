//! The runs that can still change a mirror: in progress, or cut off and perhaps alive at the other end.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::data::batch::Batch;
use crate::data::change::{AssignmentId, Epoch};
use crate::data::limits::{WRITER_PATHS_MAX, WRITER_QUARTERS};
use crate::data::moment::Moment;
use crate::data::path::RelPath;

/// A run from the moment at which its assignment is handed out until it is gone: it ended properly, or it was cut
/// off and its receiver must be dead.
///
/// What it writes to a path is what the source held after `start`. So of what it touches only what changed later can
/// suffer from it.
#[derive(Clone, Debug)]
pub struct Writer {
    /// The head of the log when its batch was made, or before.
    pub start: Epoch,
    /// What it may write to.
    pub scope: Scope,
    /// Something newer than its start, that it touches, has been handed out: it is owed once more when this writer is
    /// gone.
    pub endangers: bool,
    /// It was cut off then; none while it is under way.
    pub cut: Option<Moment>,
    /// All that it may write to is owed on contents when it is gone, whether that changed or not: it runs under other
    /// rules, or the log has forgotten what changed since its start.
    pub owes_all: bool,
    /// The first contact with its host since then: from here on its receiver's life is counted.
    pub contact: Option<Moment>,
}

/// What a run may write to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Anything.
    Root,
    /// These paths, with whether everything below is meant too, and the attributes of the directories around them.
    Paths(BTreeMap<RelPath, bool>),
}

impl Writer {
    /// A run that is under way and endangers nothing.
    pub fn new(start: Epoch, scope: Scope) -> Self {
        Self { start, scope, endangers: false, cut: None, owes_all: false, contact: None }
    }
}

impl Scope {
    /// Nothing but the attributes of the directories around these paths is written besides them.
    pub fn of_paths(paths: impl IntoIterator<Item = (RelPath, bool)>) -> Self {
        let mut scope = Self::Paths(BTreeMap::new());
        paths.into_iter().for_each(|(path, is_within)| scope.add(path, is_within));
        scope
    }

    /// Everything that a push of this batch names.
    pub fn of_batch(batch: &Batch) -> Self {
        let present = batch.present.iter().map(|entry| (entry.path.clone(), false));
        let subtrees = batch.subtrees.iter().map(|entry| (entry.path.clone(), true));
        let missing = batch.missing.iter().chain(batch.extras.keys());
        let missing = missing.map(|path| (path.clone(), true));
        let leftovers = batch.leftovers.iter().map(|path| (path.clone(), false));
        // An old name is linked to or read; a new one is filled.
        let renamed = batch.renames.iter().flat_map(|it| {
            let names = if it.files_alone { Vec::new() } else { vec![(it.to.clone(), true)] };
            names.into_iter().chain(it.targets().into_iter().map(|path| (path, true)))
        });
        Self::of_paths(present.chain(subtrees).chain(missing).chain(leftovers).chain(renamed))
    }

    fn add(&mut self, path: RelPath, is_within: bool) {
        if path.is_root() && is_within {
            *self = Self::Root;
        }
        if let Self::Paths(paths) = self {
            *paths.entry(path).or_default() |= is_within;
            if paths.len() > WRITER_PATHS_MAX {
                *self = Self::Root;
            }
        }
    }

    fn join(&mut self, other: Self) {
        match other {
            Self::Root => *self = Self::Root,
            Self::Paths(paths) => {
                paths.into_iter().for_each(|(path, is_within)| self.add(path, is_within));
            }
        }
    }

    /// Whether a run with this scope may write to this path, or to something below it.
    pub fn touches(&self, path: &RelPath) -> bool {
        let Self::Paths(paths) = self else { return true };
        let is_named = || paths.contains_key(path);
        let is_inside = || path.ancestors().any(|above| paths.get(&above) == Some(&true));
        let is_around = || match path.below() {
            Some((start, end)) => paths.range(start..end).next().is_some(),
            None => !paths.is_empty(),
        };
        is_named() || is_inside() || is_around()
    }

    /// The directories directly around what is written, where a receiver leaves its temporary files; none where they
    /// can't be named.
    pub fn directories(&self) -> Option<Vec<RelPath>> {
        let Self::Paths(paths) = self else { return None };
        let own = paths.iter().filter(|(_, is_within)| **is_within).map(|(path, _)| path.clone());
        let mut all: Vec<RelPath> = paths.keys().filter_map(RelPath::parent).chain(own).collect();
        all.sort_unstable();
        all.dedup();
        Some(all)
    }
}

/// All writers of one mirror.
#[derive(Clone, Debug, Default)]
pub struct Writers {
    all: BTreeMap<AssignmentId, Writer>,
}

impl Writers {
    /// An assignment is handed out.
    pub fn begin(&mut self, id: AssignmentId, start: Epoch, scope: Scope) {
        self.insert(id, Writer::new(start, scope));
    }

    /// The same, with more known of it.
    pub fn insert(&mut self, id: AssignmentId, writer: Writer) {
        self.all.insert(id, writer);
    }

    /// The writer of this assignment.
    pub fn get(&self, id: AssignmentId) -> Option<&Writer> {
        self.all.get(&id)
    }

    /// All of them started at this epoch.
    pub fn begin_at(&mut self, start: Epoch) {
        self.all.values_mut().for_each(|it| it.start = start);
    }

    /// The log is going to forget what is not newer than this.
    pub fn forget_starts(&mut self, head: Epoch) {
        for writer in self.all.values_mut().filter(|it| it.start < head) {
            writer.start = head;
            writer.owes_all = true;
            writer.endangers = true;
        }
    }

    /// Its batch was made: this is what it may write to.
    pub fn set_scope(&mut self, id: AssignmentId, scope: Scope) {
        if let Some(writer) = self.all.get_mut(&id) {
            writer.scope = scope;
        }
    }

    /// It is gone.
    pub fn remove(&mut self, id: AssignmentId) -> Option<Writer> {
        self.all.remove(&id)
    }

    /// It was cut off. Of those that were cut off in the same part of `life` one remains, so that their number is
    /// bounded, and so that one that is cut off again and again expires.
    pub fn cut(&mut self, now: Moment, id: AssignmentId, life: Duration) {
        let Some(mut writer) = self.all.remove(&id) else { return };
        let quarter = (life / WRITER_QUARTERS).max(Duration::from_millis(1));
        let part =
            |moment: Moment| moment.since(Moment::default()).as_millis() / quarter.as_millis();
        let older =
            self.all.iter().find(|(_, it)| it.cut.is_some_and(|cut| part(cut) == part(now)));
        if let Some(older) = older.map(|(id, _)| *id).and_then(|id| self.all.remove(&id)) {
            writer.start = writer.start.min(older.start);
            writer.endangers |= older.endangers;
            writer.owes_all |= older.owes_all;
            writer.scope.join(older.scope);
        }
        writer.cut = Some(now);
        self.all.insert(id, writer);
    }

    /// A path of this epoch is handed out: all older writers that touch it endanger it.
    pub fn note_handed_out(&mut self, path: &RelPath, epoch: Epoch) {
        for writer in self.all.values_mut().filter(|it| !it.endangers && it.start < epoch) {
            writer.endangers = writer.scope.touches(path);
        }
    }

    /// Its host answers. Life is counted while the host is there.
    pub fn note_contact(&mut self, now: Moment) {
        for writer in self.all.values_mut().filter(|it| it.cut.is_some()) {
            writer.contact.get_or_insert(now);
        }
    }

    /// One that has expired: it was cut off, and its host has been there for so long since that it must be dead.
    pub fn expired(&self, now: Moment, life: Duration) -> Option<AssignmentId> {
        let is_over = |it: &Writer| it.contact.is_some_and(|contact| contact + life <= now);
        self.all.iter().find(|(_, it)| is_over(it)).map(|(id, _)| *id)
    }

    /// When the next one expires.
    pub fn next_expiry(&self, life: Duration) -> Option<Moment> {
        self.all.values().filter_map(|it| it.contact).map(|contact| contact + life).min()
    }

    /// The lowest start: the log keeps what is newer.
    pub fn oldest_start(&self) -> Option<Epoch> {
        self.all.values().map(|it| it.start).min()
    }

    /// Whether any endangers something; of those that started before this epoch, if one is given.
    pub fn endanger(&self, before: Option<Epoch>) -> bool {
        self.all.values().any(|it| it.endangers && before.is_none_or(|epoch| it.start < epoch))
    }

    /// Whether any was cut off and may be alive.
    pub fn has_cut_off(&self) -> bool {
        self.all.values().any(|it| it.cut.is_some())
    }

    /// Whether any but this touches a path.
    pub fn touch(&self, path: &RelPath, but: AssignmentId) -> bool {
        self.all.iter().any(|(id, it)| *id != but && it.scope.touches(path))
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (AssignmentId, &Writer)> {
        self.all.iter().map(|(id, writer)| (*id, writer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(40);

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    fn scope(paths: &[(&str, bool)]) -> Scope {
        Scope::of_paths(paths.iter().map(|(path, within)| ((*path).into(), *within)))
    }

    #[test]
    fn a_run_touches_its_paths_what_is_in_its_trees_and_the_directories_around() {
        let scope = scope(&[("a/f", false), ("t", true)]);
        for path in ["a/f", "t", "t/x/y", "a", ""] {
            assert!(scope.touches(&path.into()), "{path}");
        }
        for path in ["a/g", "a/f/x", "b"] {
            assert!(!scope.touches(&path.into()), "{path}");
        }
    }

    #[test]
    fn only_what_changed_after_the_start_of_a_writer_is_endangered() {
        let mut writers = Writers::default();
        writers.begin(AssignmentId(1), Epoch(5), scope(&[("f", false)]));
        writers.note_handed_out(&"f".into(), Epoch(5));
        writers.note_handed_out(&"g".into(), Epoch(6));
        assert!(!writers.endanger(None));
        writers.note_handed_out(&"f".into(), Epoch(6));
        assert!(writers.endanger(None) && writers.endanger(Some(Epoch(6))));
        assert!(!writers.endanger(Some(Epoch(5))));
    }

    #[test]
    fn hard_case_68_the_life_of_a_receiver_is_counted_while_its_host_is_there() {
        let mut writers = Writers::default();
        writers.begin(AssignmentId(1), Epoch(1), Scope::Root);
        writers.note_contact(at(9));
        writers.cut(at(10), AssignmentId(1), LIFE);
        assert_eq!(writers.expired(at(10_000), LIFE), None, "its host has not answered since");
        writers.note_contact(at(100));
        writers.note_contact(at(120));
        assert_eq!(writers.expired(at(139), LIFE), None);
        assert_eq!(writers.next_expiry(LIFE), Some(at(140)));
        assert_eq!(writers.expired(at(140), LIFE), Some(AssignmentId(1)));
    }

    #[test]
    fn writers_that_are_cut_off_again_and_again_stay_few_and_expire() {
        let mut writers = Writers::default();
        let mut expired = 0;
        for second in 0..1000 {
            let id = AssignmentId(second);
            writers.begin(id, Epoch(second), scope(&[("f", false)]));
            writers.cut(at(second), id, LIFE);
            writers.note_contact(at(second));
            while let Some(id) = writers.expired(at(second), LIFE) {
                writers.remove(id);
                expired += 1;
            }
            assert!(writers.all.len() <= WRITER_QUARTERS as usize + 2, "{}", writers.all.len());
        }
        assert!(expired > 50 && writers.oldest_start() > Some(Epoch(900)));
    }
}
