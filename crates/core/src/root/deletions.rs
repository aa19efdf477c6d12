//! The deletion account of a root: how much of it may be deleted on mirrors without asking.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::data::change::Epoch;
use crate::data::ids::MirrorId;
use crate::data::limits::{MARKS_WRITE_PART, MAX_DELETE_MIN, UNITS_MAX, WINDOW_STEPS};
use crate::data::moment::Moment;
use crate::data::path::RelPath;
use crate::source::entry_count::{Unit, UnitChange, is_top, top_of};

use approval_list::{ApprovalList, ApproveError, ShownList, Waiting};
use approvals::Approvals;
use window_max::WindowMax;

pub mod approval_list;
pub mod approvals;
#[cfg(test)]
mod tests;
mod window_max;

/// What a root may lose without a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletionTerms {
    /// Entries. By default the larger of [`MAX_DELETE_MIN`] and half of what the root held.
    pub max_delete: Option<u64>,
    /// The loss is counted from the largest number of entries within this time.
    pub window: Duration,
    /// The root may lose all its entries, as spools do: only their number counts.
    pub may_be_empty: bool,
    /// Trees whose deletions are always free. [`EntryCount`](crate::source::entry_count::EntryCount) must be told
    /// the same ones.
    pub free_to_delete: Vec<RelPath>,
}

/// What a run that deletes a path may do when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// The account has nothing against it.
    Free,
    /// Its unit waits: it is put on the list, see [`DeletionAccount::hold`].
    Waits,
    /// Its unit waits, and a person approved this deletion.
    Approved,
}

/// How an account must be written to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// It may be lost in a crash.
    Written,
    /// Before the next run that may delete starts, before a list is shown, and before an approval is answered.
    Synced,
}

/// What survives the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptAccount {
    /// Entries from which the loss of each unit is counted.
    pub marks: Vec<(Unit, u64)>,
    /// The limit that was exceeded, while deletions wait.
    pub exceeded: Option<u64>,
    /// The root was emptied, and less than half is back.
    pub is_emptied: bool,
    /// The approvals.
    pub approvals: Approvals,
    /// The number of the newest list, of the root or of one of its mirrors.
    pub list_number: u64,
    /// What was approved of what each mirror holds beyond the root.
    #[serde(default)]
    pub extras: Vec<(MirrorId, Approvals)>,
}

/// The deletion account of one root. For each [`Unit`] it knows the entries that the unit holds now, and its *mark*,
/// the most that it held within [`DeletionTerms::window`]. The *loss* is what units lack of their marks, added up:
/// what comes in one unit does not pay for what goes in another.
///
/// While the loss exceeds the limit, or the root was emptied, each unit with a loss *waits*. The account's clock
/// then stands still, so no mark moves because time passes, and the limit does not grow. Waiting ends when
/// enough entries are back, or by an approval.
///
/// An account that is made anew, or from what was kept, lets nothing be deleted before the first scan.
#[derive(Debug)]
pub struct DeletionAccount {
    terms: DeletionTerms,
    units: BTreeMap<Unit, Entries>,
    /// In which step the largest level of each unit leaves the window.
    expiries: BTreeSet<(u64, Unit)>,
    totals: Totals,
    clock: MarkClock,
    /// The source was scanned.
    is_counted: bool,
    exceeded: Option<Exceeded>,
    is_emptied: bool,
    list: ApprovalList,
    /// Of the newest list, of the root or of a mirror.
    list_number: u64,
    /// Of the list that was shown: what its approval will cover, and the most that each of its units held since.
    shown: Option<(Approvals, BTreeMap<Unit, u64>)>,
    approvals: Approvals,
    dirty: Option<Durability>,
    /// The sum of all marks as written last.
    written_marks: u64,
    revision: u64,
}

#[derive(Debug, Default)]
struct Entries {
    now: u64,
    /// Until it is counted, `now` is how much was known last.
    is_unknown: bool,
    past: WindowMax,
    /// The mark as written last.
    written: u64,
}

impl Entries {
    fn mark(&self) -> u64 {
        self.past.largest().max(self.now)
    }

    fn loss(&self) -> u64 {
        self.mark() - self.now
    }

    /// All that bears on the deletions in the unit: whether it is unknown, or lost something, and how much it held if it holds
    /// nothing now.
    fn bearing(&self) -> (bool, bool, u64) {
        (self.is_unknown, self.loss() > 0, if self.now == 0 { self.loss() } else { 0 })
    }
}

/// Sums over all units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Entries that the root holds.
    pub now: u64,
    /// Marks.
    pub marks: u64,
    /// What units lack of their marks.
    pub loss: u64,
    /// How far marks are from what was written.
    drift: u64,
}

/// Counts time except while deletions wait.
#[derive(Debug)]
struct MarkClock {
    read: Moment,
    passed: Duration,
    step: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Exceeded {
    limit: u64,
    since: Moment,
}

impl DeletionAccount {
    /// The account of a root that has none yet.
    pub fn new(terms: DeletionTerms, now: Moment) -> Self {
        Self::from_kept(terms, KeptAccount::default(), now)
    }

    /// The account as it was when the daemon stopped. Marks last for a whole window from now on.
    pub fn from_kept(terms: DeletionTerms, kept: KeptAccount, now: Moment) -> Self {
        let step = (terms.window / WINDOW_STEPS).max(Duration::from_nanos(1));
        let mut account = Self {
            terms,
            units: BTreeMap::new(),
            expiries: BTreeSet::new(),
            totals: Totals::default(),
            clock: MarkClock { read: now, passed: Duration::ZERO, step },
            is_counted: false,
            exceeded: kept.exceeded.map(|limit| Exceeded { limit, since: now }),
            is_emptied: kept.is_emptied,
            list: ApprovalList::default(),
            list_number: kept.list_number,
            shown: None,
            approvals: kept.approvals.of_earlier_start(),
            dirty: None,
            revision: 0,
            written_marks: kept.marks.iter().map(|(_, mark)| mark).sum(),
        };
        for (unit, mark) in kept.marks {
            account.change(&unit, |it, step| {
                it.written = mark;
                it.past.hold_until(step, mark);
            });
        }
        account.bound();
        account
    }

    /// What must survive the daemon now, of the root itself.
    pub fn to_kept(&self) -> KeptAccount {
        KeptAccount {
            marks: self.units.iter().map(|(unit, it)| (unit.clone(), it.mark())).collect(),
            exceeded: self.exceeded.map(|exceeded| exceeded.limit),
            is_emptied: self.is_emptied,
            approvals: self.approvals.clone(),
            list_number: self.list_number,
            extras: Vec::new(),
        }
    }

    /// Whether [`Self::to_kept`] must be written since the last call, and how.
    pub fn take_dirty(&mut self) -> Option<Durability> {
        let dirty = self.dirty.take()?;
        for it in self.units.values_mut() {
            it.written = it.mark();
        }
        let units = self.units.len();
        self.units.retain(|_, it| it.mark() > 0 || it.is_unknown);
        self.revision += u64::from(units != self.units.len());
        self.totals.drift = 0;
        self.written_marks = self.totals.marks;
        Some(dirty)
    }

    /// The units of the source changed. It is the first scan, if there was none. Levels between two calls are not
    /// seen. Returns whether a unit may have begun to wait: runs that delete and may not any more must be ended.
    pub fn apply(&mut self, now: Moment, changes: impl IntoIterator<Item = UnitChange>) -> bool {
        let was_counted = std::mem::replace(&mut self.is_counted, true);
        if was_counted {
            self.advance(now);
        } else {
            self.revision += 1;
            self.clock.read = now;
        }
        let was_exceeded = self.exceeded.is_some();
        let mut began = false;
        for UnitChange { unit, now, moved } in changes {
            let waited = self.waits(&unit);
            self.shift(&unit, moved);
            self.level(&unit, now);
            if !waited && self.waits(&unit) {
                began = true;
                if self.units.get(&unit).is_some_and(|it| it.mark() != it.written) {
                    self.dirty = Some(Durability::Synced);
                }
            }
        }
        self.judge(now);
        self.bound();
        began || (self.exceeded.is_some() && !was_exceeded)
    }

    /// Time passed. Marks that were the largest within the window fall, unless something waits.
    pub fn tick(&mut self, now: Moment) {
        if self.is_counted {
            self.advance(now);
            self.judge(now);
        }
    }

    /// Whether this path may be deleted, whose newest epoch in the log is this. Asked when a run that deletes
    /// starts, on every mirror.
    pub fn may_delete(&self, path: &RelPath, epoch: Epoch) -> Permission {
        let free = &self.terms.free_to_delete;
        if free.iter().any(|free| path.is_at_or_below(free)) || !self.path_waits(path) {
            Permission::Free
        } else if self.approvals.covers(path, epoch) {
            Permission::Approved
        } else {
            Permission::Waits
        }
    }

    /// The approved names at or above this path, each with the entries that were shown of it, if they cover the path,
    /// whose newest epoch in the log is this.
    pub fn approved_around(&self, path: &RelPath, epoch: Epoch) -> Vec<(RelPath, u64)> {
        self.approvals.entries_around(path, epoch)
    }

    /// The source lacks this topmost name since this epoch, its deletion waits, and means so many entries.
    pub fn hold(&mut self, path: &RelPath, epoch: Epoch, entries: u64) {
        if self.exceeded.is_some() && self.may_delete(path, epoch) == Permission::Waits {
            self.list.add(path, epoch, entries);
        }
    }

    /// The log has a new entry for this path. Told for every change that is sealed.
    pub fn note_changed(&mut self, path: &RelPath, epoch: Epoch) {
        self.list.note_changed(path, epoch);
        if let Some((approvals, _)) = &mut self.shown {
            approvals.note_changed(path, epoch);
        }
        if self.approvals.note_changed(path, epoch) {
            self.dirty = self.dirty.max(Some(Durability::Written));
        }
    }

    /// Whether anything is approved.
    pub fn has_approvals(&self) -> bool {
        !self.approvals.is_empty()
    }

    /// No mirror has to delete anything of this epoch or an older one any more: approvals of it are forgotten.
    pub fn trim(&mut self, floor: Epoch) {
        if self.approvals.trim(floor) {
            self.dirty = self.dirty.max(Some(Durability::Written));
        }
    }

    /// The deletions that wait, as a person is to be shown them: the list that was shown already, if it was not used.
    /// None if nothing waits that is known by name. A new list must be kept ([`Self::take_dirty`]) before it is shown.
    pub fn list(&mut self) -> Option<&ShownList> {
        if self.shown.is_none() {
            let mut list = std::mem::take(&mut self.list);
            list.retain(|it| self.may_delete(&it.path, it.epoch) == Permission::Waits);
            list.show(|| self.next_list_number());
            self.list = list;
            let shown = self.list.shown()?;
            let mut approvals = Approvals::default();
            let mut levels = BTreeMap::new();
            for entry in &shown.entries {
                approvals.add(entry);
                for unit in units_concerned(&self.units, entry) {
                    let now = self.units.get(&unit).map_or(0, |it| it.now);
                    levels.insert(unit, now);
                }
            }
            self.shown = Some((approvals, levels));
        }
        self.list.shown()
    }

    /// The number of the next list, of the root or of a mirror: they share one sequence, which goes on after a restart,
    /// so that no number is ever given twice. It must be kept ([`Self::take_dirty`]) before the list is shown.
    pub fn next_list_number(&mut self) -> u64 {
        self.list_number += 1;
        self.dirty = Some(Durability::Synced);
        self.list_number
    }

    /// Names and entries that wait and are not on the list that was shown.
    pub fn not_shown(&self) -> (u64, u64) {
        self.list.not_shown()
    }

    /// What was missing when the daemon started is in the log with this epoch.
    pub fn note_resumed(&mut self, epoch: Epoch) {
        self.approvals.note_resumed(epoch);
    }

    /// A person approved the list of this number. Returns what was approved. It must be kept
    /// ([`Self::take_dirty`]) before it is answered. What was lost since the list was shown is not covered, and
    /// neither is a name that came back since.
    pub fn approve(&mut self, now: Moment, number: u64) -> Result<ShownList, ApproveError> {
        let approved = self.list.approve(number)?;
        self.advance(now);
        self.revision += 1;
        let (approvals, levels) = self.shown.take().expect("a list was shown with its levels");
        self.approvals.join(approvals);
        for (unit, level) in levels {
            self.change(&unit, |it, step| {
                it.past = WindowMax::default();
                it.past.hold_until(step, level);
            });
        }
        // What is lost beyond the list is judged by itself.
        let since = self.exceeded.take().map(|exceeded| exceeded.since);
        self.judge(now);
        if let (Some(exceeded), Some(since)) = (&mut self.exceeded, since) {
            exceeded.since = since;
        } else {
            self.end_waiting();
        }
        self.dirty = Some(Durability::Synced);
        Ok(approved)
    }

    /// The terms.
    pub fn terms(&self) -> &DeletionTerms {
        &self.terms
    }

    /// How long a loss counts.
    pub fn window(&self) -> Duration {
        self.terms.window
    }

    /// Other terms.
    pub fn set_terms(&mut self, now: Moment, terms: DeletionTerms) {
        self.advance(now);
        self.clock.step = (terms.window / WINDOW_STEPS).max(Duration::from_nanos(1));
        self.terms = terms;
        self.revision += 1;
        self.judge(now);
    }

    /// Another number after each change of what [`Self::may_delete`] allows more than before, or of what
    /// [`Self::entries_of`] says.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Since when deletions wait; none if none do.
    pub fn waiting_since(&self) -> Option<Moment> {
        self.exceeded.map(|exceeded| exceeded.since)
    }

    /// Units that wait for a person or for entries to come back, each with its loss.
    pub fn waiting_units(&self) -> impl Iterator<Item = (&Unit, u64)> {
        let losing = self.units.iter().filter(|(_, it)| it.loss() > 0);
        losing.filter(|_| self.exceeded.is_some()).map(|(unit, it)| (unit, it.loss()))
    }

    /// Entries, marks and loss of the whole root.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The loss that is not exceeded without a question.
    pub fn limit(&self) -> u64 {
        let all = self.totals.marks;
        let mut limit = self.terms.max_delete.unwrap_or(MAX_DELETE_MIN.max(all / 2));
        if all >= 10 && !self.terms.may_be_empty {
            limit = limit.min(all - all.div_ceil(10));
        }
        self.exceeded.map_or(limit, |exceeded| limit.min(exceeded.limit))
    }

    /// The entries of what one mirror alone holds that go without a question. Nothing goes before the source was counted,
    /// and while it is empty.
    pub fn extras_limit(&self) -> u64 {
        let is_empty = self.totals.now == 0 && !self.terms.may_be_empty;
        if !self.is_counted || is_empty || self.is_emptied {
            return 0;
        }
        self.terms.max_delete.unwrap_or(MAX_DELETE_MIN.max(self.totals.marks / 2))
    }

    /// The entries that go with this waiting name. `lost` is what events told of them: of a directory that was moved away
    /// they tell nothing, so one directly in the root counts for what its unit lost.
    pub fn entries_of(&self, path: &RelPath, lost: u64) -> u64 {
        let unit = self.units.get(&Unit::Directory(path.clone()));
        let whole = unit.filter(|it| lost <= 1 && it.now == 0).map_or(0, Entries::loss);
        lost.max(whole).max(1)
    }

    fn waits(&self, unit: &Unit) -> bool {
        let is_losing = |it: &Entries| self.exceeded.is_some() && it.loss() > 0;
        !self.is_counted || self.units.get(unit).is_some_and(|it| it.is_unknown || is_losing(it))
    }

    fn path_waits(&self, path: &RelPath) -> bool {
        match units_of(&self.units, path) {
            _ if !self.is_counted => true,
            Some(units) => units.into_iter().flatten().any(|unit| self.waits(&unit)),
            None => self.exceeded.is_some() || self.units.values().any(|it| it.is_unknown),
        }
    }

    fn shift(&mut self, unit: &Unit, by: i64) {
        if by != 0 {
            self.change(unit, |it, step| {
                // The level of this moment belongs to the past that moves.
                it.past.hold_until(step, it.now);
                it.now = it.now.saturating_add_signed(by);
                it.past.shift(by);
            });
            if let Some((_, levels)) = &mut self.shown
                && let Some(most) = levels.get_mut(unit)
            {
                *most = most.saturating_add_signed(by);
            }
        }
    }

    fn level(&mut self, unit: &Unit, now: Option<u64>) {
        self.change(unit, |it, step| {
            it.is_unknown = now.is_none();
            if let Some(now) = now {
                it.past.hold_until(step, it.now);
                it.now = now;
            }
        });
        if let (Some((_, levels)), Some(now)) = (&mut self.shown, now)
            && let Some(most) = levels.get_mut(unit)
        {
            *most = now.max(*most);
        }
    }

    /// Time passed for the marks, unless something waits.
    fn advance(&mut self, now: Moment) {
        if self.exceeded.is_none() {
            self.clock.passed += now.since(self.clock.read);
        }
        self.clock.read = now;
        let step = self.clock.now();
        while let Some((expires, unit)) = self.expiries.first()
            && *expires <= step
        {
            let unit = unit.clone();
            self.change(&unit, |it, step| it.past.expire(step));
        }
    }

    /// Decides whether deletions wait.
    fn judge(&mut self, now: Moment) {
        let all = self.totals;
        let is_empty = all.now == 0 && all.marks >= 2;
        let is_still = self.is_emptied && all.now < all.marks.div_ceil(2);
        self.is_emptied = !self.terms.may_be_empty && (is_empty || is_still);
        let limit = self.limit();
        let is_exceeded = all.loss > limit || self.is_emptied;
        self.revision += u64::from(is_exceeded != self.exceeded.is_some());
        match &self.exceeded {
            None if is_exceeded => {
                self.exceeded = Some(Exceeded { limit, since: now });
                self.dirty = Some(Durability::Synced);
            }
            Some(_) if !is_exceeded => {
                self.exceeded = None;
                self.end_waiting();
                self.dirty = Some(Durability::Synced);
            }
            _ if self.totals.drift * MARKS_WRITE_PART >= self.written_marks.max(1) => {
                self.dirty = self.dirty.max(Some(Durability::Written));
            }
            _ => (),
        }
    }

    /// Nothing waits any more: nothing is asked for.
    fn end_waiting(&mut self) {
        self.list.clear();
        self.shown = None;
    }

    /// Changes a unit, and the sums with it.
    fn change(&mut self, unit: &Unit, change: impl FnOnce(&mut Entries, u64)) {
        let known = self.units.remove(unit);
        let before = known.as_ref().map(Entries::bearing);
        let mut it = known.unwrap_or_default();
        self.totals = self.totals.without(&it);
        if let Some(expires) = it.past.expires() {
            self.expiries.remove(&(expires, unit.clone()));
        }
        change(&mut it, self.clock.now());
        self.totals = self.totals.with(&it);
        if let Some(expires) = it.past.expires() {
            self.expiries.insert((expires, unit.clone()));
        }
        let is_kept = it.mark() > 0 || it.is_unknown || it.written > 0;
        self.revision += u64::from(before != is_kept.then(|| it.bearing()));
        if is_kept {
            self.units.insert(unit.clone(), it);
        }
    }

    /// Makes the smallest one unit of those that hold nothing any more, if there are too many: their loss stays.
    fn bound(&mut self) {
        let is_gone = |(unit, it): &(&Unit, &Entries)| {
            it.now == 0 && !it.is_unknown && matches!(unit, Unit::Directory(_))
        };
        if self.units.len() <= 2 * UNITS_MAX {
            return;
        }
        let gone = self.units.iter().filter(is_gone);
        let mut gone: Vec<(u64, Unit)> = gone.map(|(unit, it)| (it.mark(), unit.clone())).collect();
        gone.sort_unstable_by(|a, b| b.cmp(a));
        for (mark, unit) in gone.into_iter().skip(UNITS_MAX / 2) {
            self.change(&unit, |it, _| *it = Entries::default());
            let rest = self.units.get(&Unit::Rest).map_or(0, Entries::mark);
            self.change(&Unit::Rest, |it, step| it.past.hold_until(step, rest + mark));
        }
        self.dirty = self.dirty.max(Some(Durability::Written));
    }
}

impl Totals {
    fn with(self, it: &Entries) -> Self {
        Self {
            now: self.now + it.now,
            marks: self.marks + it.mark(),
            loss: self.loss + it.loss(),
            drift: self.drift + it.mark().abs_diff(it.written),
        }
    }

    fn without(self, it: &Entries) -> Self {
        Self {
            now: self.now - it.now,
            marks: self.marks - it.mark(),
            loss: self.loss - it.loss(),
            drift: self.drift - it.mark().abs_diff(it.written),
        }
    }
}

impl MarkClock {
    /// The number of the step of the window.
    fn now(&self) -> u64 {
        u64::try_from(self.passed.as_nanos() / self.step.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The units in which a missing path may have been counted; none if in any, for the root.
fn units_of(units: &BTreeMap<Unit, Entries>, path: &RelPath) -> Option<[Option<Unit>; 3]> {
    let own = Unit::Directory(top_of(path)?);
    let rest = (!units.contains_key(&own)).then_some(Unit::Rest);
    // What is missing may have been a directory or a file.
    Some([Some(own), rest, is_top(path).then_some(Unit::Files)])
}

/// The units whose marks an approval of this entry moves.
fn units_concerned(units: &BTreeMap<Unit, Entries>, entry: &Waiting) -> Vec<Unit> {
    match top_of(&entry.path).map(Unit::Directory) {
        Some(own) if units.contains_key(&own) => vec![own],
        Some(_) if is_top(&entry.path) => vec![Unit::Files, Unit::Rest],
        Some(_) => vec![Unit::Rest],
        // Many names directly in the root: files, and directories that are gone.
        None => {
            let is_gone =
                |(unit, it): &(&Unit, &Entries)| !matches!(unit, Unit::Directory(_)) || it.now == 0;
            units.iter().filter(is_gone).map(|(unit, _)| unit.clone()).collect()
        }
    }
}
