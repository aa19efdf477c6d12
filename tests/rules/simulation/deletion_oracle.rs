//! What runs may delete on mirrors, told from the source's whole history and from what was approved when. It knows
//! nothing of the rules of core: each of its bounds is one that every correct rule keeps, and is wider where only core
//! could know better.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use mirrorball_core::data::change::AssignmentId;
use mirrorball_core::data::moment::Moment;
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::step::{Step, StepKind};
use mirrorball_core::root::deletions::DeletionTerms;
use mirrorball_core::root::deletions::approval_list::ShownList;
use mirrorball_core::source::entry_count::{Unit, UnitChange};

use crate::simulation::tree::Source;

/// The documented default of `max_delete`, where half of all entries is less.
const DEFAULT_MAX_DELETE: u64 = 1000;
/// Marks on the disk may be off by a twentieth.
const KEPT_PART: u64 = 20;
/// A change is told, explored and sealed within this time, if no event is lost.
const SEALED_WITHIN: Duration = Duration::from_secs(2);

/// Watches what is deleted on mirrors. An entry may be deleted
///
/// - if a person approved of it, and the source has not had it since;
/// - or if, when the work was handed out, its unit did not wait: then as many as the source lost around the names of the
///   run, and beyond that as many as the mirror's own limit.
///
/// What lies on a volume that is not mounted, and did when the work was handed out, is never deleted.
pub struct DeletionOracle {
    terms: DeletionTerms,
    names: BTreeMap<RelPath, Name>,
    /// Losses of this life of the collator, in the directories and files directly in the root.
    losses: BTreeMap<RelPath, u64>,
    /// What the collator was told of the number of entries, and when.
    told: VecDeque<(Moment, BTreeMap<Unit, u64>)>,
    /// It was told in this life.
    is_counted: bool,
    /// What was held before is forgotten, because of an approval.
    forgotten: BTreeMap<Unit, Moment>,
    starts: Vec<Moment>,
    /// Lists as they were first shown, and when, by the mirror, if it is a mirror's list, the life, and their number.
    shown: BTreeMap<(Option<usize>, usize, u64), (Moment, ShownList)>,
    approvals: Vec<Approval>,
    /// Since when every change in the source is told.
    told_since: Moment,
    handed_out: BTreeMap<(usize, AssignmentId), HandedOut>,
    withdrawn: BTreeSet<(usize, AssignmentId)>,
    /// What was deleted beyond the losses of the source, by mirror and life, with the time when it was handed out.
    extras: BTreeMap<(usize, usize), Vec<(Moment, u64)>>,
}

/// A name that the source has, or had.
struct Name {
    is_there: bool,
    came: Moment,
}

struct Approval {
    /// Of all mirrors, or of one.
    mirror: Option<usize>,
    at: Moment,
    list: ShownList,
}

/// The account when work was handed out.
#[derive(Clone, Debug)]
struct HandedOut {
    at: Moment,
    life: usize,
    waiting: Waiting,
    is_empty: bool,
}

#[derive(Clone, Debug)]
enum Waiting {
    /// Nothing was counted yet.
    All,
    Units(BTreeSet<Unit>),
}

impl Waiting {
    fn holds(&self, path: &RelPath) -> bool {
        match self {
            Self::All => true,
            Self::Units(units) => units_of(path).iter().any(|unit| units.contains(unit)),
        }
    }
}

impl DeletionOracle {
    pub fn new(terms: DeletionTerms) -> Self {
        Self {
            terms,
            names: BTreeMap::new(),
            losses: BTreeMap::new(),
            told: VecDeque::new(),
            is_counted: false,
            forgotten: BTreeMap::new(),
            starts: Vec::new(),
            shown: BTreeMap::new(),
            approvals: Vec::new(),
            told_since: Moment::default(),
            handed_out: BTreeMap::new(),
            withdrawn: BTreeSet::new(),
            extras: BTreeMap::new(),
        }
    }

    /// What may be lost without a question.
    pub fn terms(&self) -> &DeletionTerms {
        &self.terms
    }

    /// Somebody worked in the source. What lies on a volume that is not mounted is not lost.
    pub fn source_changed(&mut self, now: Moment, source: &Source) {
        let there: BTreeSet<&RelPath> = source.tree.keys().chain(source.stored()).collect();
        for path in &there {
            let name = Name { is_there: false, came: now };
            let name = self.names.entry((*path).clone()).or_insert(name);
            if !std::mem::replace(&mut name.is_there, true) {
                name.came = now;
            }
        }
        for (path, name) in self.names.iter_mut().filter(|(path, _)| !there.contains(path)) {
            if std::mem::take(&mut name.is_there) {
                *self.losses.entry(top(path)).or_default() += 1;
            }
        }
    }

    /// The collator is told how many entries there are.
    pub fn levels_told(&mut self, now: Moment, levels: &[UnitChange]) {
        let levels = levels.iter().map(|it| (it.unit.clone(), it.now.unwrap_or_default()));
        self.told.push_back((now, levels.collect()));
        self.is_counted = true;
        // A level was held until the next was told.
        while self.told.get(1).is_some_and(|(until, _)| *until + self.terms.window <= now) {
            self.told.pop_front();
        }
    }

    /// Changes of before may never be told.
    pub fn events_lost(&mut self, now: Moment) {
        self.told_since = now;
    }

    /// The collator begins anew, from what is on the disk.
    pub fn restarted(&mut self, now: Moment) {
        self.starts.push(now);
        self.losses.clear();
        self.is_counted = false;
    }

    /// A person is shown a list: of one mirror, or of the source. It stays as it is until it is used.
    pub fn list_shown(&mut self, now: Moment, mirror: Option<usize>, list: &ShownList) {
        let key = (mirror, self.starts.len(), list.number);
        let (_, first) = self.shown.entry(key).or_insert_with(|| (now, list.clone()));
        assert_eq!(list, first, "a list that was shown has changed");
    }

    /// A person approves of the list of this number, as it was first shown.
    pub fn list_approved(&mut self, mirror: Option<usize>, number: u64) {
        let (at, list) = self.shown[&(mirror, self.starts.len(), number)].clone();
        if mirror.is_none() {
            for unit in list.entries.iter().flat_map(|it| units_of(&it.path)) {
                self.forgotten.insert(unit, at);
            }
        }
        self.approvals.push(Approval { mirror, at, list });
    }

    /// Work is handed out to a mirror: what it deletes is judged by what is known now.
    pub fn work_handed_out(&mut self, now: Moment, mirror: usize, assignment: AssignmentId) {
        let is_empty =
            self.told.back().is_some_and(|(_, levels)| levels.values().all(|it| *it == 0));
        let (life, waiting) = (self.starts.len(), self.waiting(now));
        let handed_out = HandedOut { at: now, life, waiting, is_empty };
        self.handed_out.insert((mirror, assignment), handed_out);
    }

    /// A host was told that this work may not delete any more.
    pub fn withdrawn(&mut self, mirror: usize, assignment: AssignmentId) {
        self.withdrawn.insert((mirror, assignment));
    }

    /// A run deleted these entries on a mirror.
    pub fn deleted(
        &mut self,
        source: &Source,
        mirror: usize,
        assignment: AssignmentId,
        step: &Step,
        deleted: &[RelPath],
    ) {
        let handed_out = self.handed_out[&(mirror, assignment)].clone();
        let is_withdrawn = self.withdrawn.contains(&(mirror, assignment));
        assert!(
            deleted.is_empty() || !is_withdrawn || step.kind == StepKind::Leftovers,
            "{deleted:?} are deleted on mirror {mirror} after the run was withdrawn: {step:?}"
        );
        // A name that came to the volume after it was looked for may go.
        let was_there = |path: &&RelPath| self.names[*path].came <= handed_out.at;
        let stored = source.stored().filter(was_there).find(|path| deleted.contains(path));
        assert_eq!(stored, None, "it is deleted on mirror {mirror}, and on a volume: {step:?}");
        let is_approved = |path: &&RelPath| self.is_approved(mirror, path, handed_out.at);
        let unasked: Vec<&RelPath> = deleted.iter().filter(|path| !is_approved(path)).collect();
        for path in &unasked {
            assert!(
                !handed_out.waiting.holds(path),
                "{path} is deleted on mirror {mirror}, though its unit waits: {handed_out:?} {step:?} {:?}",
                self.told
            );
        }
        let lost = self.lost_around(&step.paths);
        let extras = (unasked.len() as u64).saturating_sub(lost);
        if extras == 0 {
            return;
        }
        assert!(!handed_out.is_empty, "{unasked:?} are deleted on mirror {mirror}: {step:?}");
        let spent = self.extras.entry((mirror, handed_out.life)).or_default();
        spent.push((handed_out.at, extras));
        let window = self.terms.window;
        let is_recent = |at: Moment| at <= handed_out.at && handed_out.at <= at + window;
        let spent: u64 = spent.iter().filter(|(at, _)| is_recent(*at)).map(|(_, it)| it).sum();
        // What is tried again within the window was paid for by the first try.
        let most = self.limit(0, 0).saturating_mul(2);
        assert!(
            spent <= most,
            "{unasked:?} are deleted on mirror {mirror}, of which the source lost {lost}: {spent} extras within the \
             window are more than {most}: {handed_out:?} {step:?}"
        );
    }

    /// How many entries a run over these names may delete because the source lost them: a directory is known to have
    /// lost what was lost anywhere in the one directly in the root, and each name is one at least.
    fn lost_around(&self, paths: &[RelPath]) -> u64 {
        let tops: BTreeSet<RelPath> = paths.iter().map(top).collect();
        let lost: u64 = tops.iter().filter_map(|top| self.losses.get(top)).sum();
        lost + paths.len() as u64
    }

    fn is_approved(&self, mirror: usize, path: &RelPath, handed_out: Moment) -> bool {
        self.approvals.iter().any(|it| {
            let is_meant = it.mirror.is_none_or(|of| of == mirror);
            let came_later = self
                .names
                .get(path)
                .is_some_and(|name| it.at < name.came && name.came + SEALED_WITHIN < handed_out);
            let is_void = came_later && self.told_since <= it.at;
            is_meant && !is_void && it.list.entries.iter().any(|entry| entry.covers(path))
        })
    }

    /// What certainly waits now.
    fn waiting(&self, now: Moment) -> Waiting {
        let Some((_, levels)) = self.told.back().filter(|_| self.is_counted) else {
            return Waiting::All;
        };
        let marks: BTreeMap<&Unit, u64> =
            levels.keys().map(|unit| (unit, self.mark(unit, now))).collect();
        let all: u64 = marks.values().sum();
        let window = self.terms.window;
        let starts = self.starts.iter().filter(|start| now < **start + window).count() as u64;
        // Marks of before a start may be known too low.
        let slack = starts * all.div_ceil(KEPT_PART);
        let loss = |unit: &Unit| marks[unit] - levels[unit];
        let lost: u64 = levels.keys().map(loss).sum();
        let is_emptied = lost == all && all >= 2 + slack && !self.terms.may_be_empty;
        if !is_emptied && lost <= self.limit(all, slack).saturating_add(slack) {
            return Waiting::Units(BTreeSet::new());
        }
        Waiting::Units(levels.keys().filter(|unit| loss(unit) > slack).cloned().collect())
    }

    /// The most that a unit held within the window.
    fn mark(&self, unit: &Unit, now: Moment) -> u64 {
        let after = self.forgotten.get(unit).copied().unwrap_or_default();
        let until = |index: usize| self.told.get(index + 1).map(|(until, _)| *until);
        let is_held = |index: usize| {
            until(index).is_none_or(|until| until > after && until + self.terms.window > now)
        };
        let told = self.told.iter().enumerate().filter(|(index, _)| is_held(*index));
        told.map(|(_, (_, levels))| levels[unit]).max().unwrap_or_default()
    }

    /// The largest limit that can be in force, of a source that held so many entries, or so many less.
    fn limit(&self, all: u64, slack: u64) -> u64 {
        let limit = self.terms.max_delete.unwrap_or(DEFAULT_MAX_DELETE.max(all / 2));
        let has_most = all >= 10 + slack && !self.terms.may_be_empty;
        if has_most { limit.min(all - all.div_ceil(10)) } else { limit }
    }
}

/// What it lies in, or is, directly in the root.
fn top(path: &RelPath) -> RelPath {
    path.ancestors().filter(|above| !above.is_root()).last().unwrap_or_else(|| path.clone())
}

/// The units that an entry may have been counted in.
fn units_of(path: &RelPath) -> Vec<Unit> {
    let top = top(path);
    let files = (top == *path).then_some(Unit::Files);
    files.into_iter().chain([Unit::Directory(top)]).collect()
}
