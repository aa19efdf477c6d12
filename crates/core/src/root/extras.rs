//! The account of what one mirror holds beyond its source: kept apart from what the source lost.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::data::change::Epoch;
use crate::data::moment::Moment;
use crate::data::path::RelPath;
use crate::root::deletions::approval_list::{ApprovalList, ApproveError, ShownList, Waiting};
use crate::root::deletions::approvals::Approvals;

/// Names that a comparison found on one mirror and not in the source. So many of their entries go without a question as
/// the source itself may lose; of more, all wait. Losses of the source under such a name are not counted again: they went
/// through the account of the source.
#[derive(Debug, Default)]
pub struct ExtrasAccount {
    list: ApprovalList,
    shown: Option<Approvals>,
    approvals: Approvals,
    /// What was taken out of the account, oldest first.
    spent: VecDeque<Spent>,
    /// Names whose deletion is not settled, and how many of their entries are accounted for already.
    paid: BTreeMap<RelPath, Paid>,
    revision: u64,
}

#[derive(Debug)]
struct Spent {
    at: Moment,
    entries: u64,
    names: Vec<RelPath>,
}

#[derive(Clone, Copy, Debug)]
struct Paid {
    at: Moment,
    entries: u64,
}

impl ExtrasAccount {
    /// Takes the entries of these names out of the account, if all of them fit into it. `limit` counts for what is deleted
    /// within `window`. A name whose deletion was paid for and is not settled is tried again: only what it has more than
    /// before is counted.
    pub fn spend(
        &mut self,
        now: Moment,
        names: &[(&RelPath, u64)],
        limit: u64,
        window: Duration,
    ) -> bool {
        self.expire(now, window);
        let price = self.price_of(names.iter().copied());
        let fits = self.has_room(price, limit);
        if fits {
            self.pay(now, price, names);
        }
        fits
    }

    /// How many entries these names take out of the account, in all.
    pub fn price_of<'a>(&self, names: impl Iterator<Item = (&'a RelPath, u64)>) -> u64 {
        names.fold(0, |sum, (path, entries)| sum.saturating_add(self.price(path, entries)))
    }

    /// Whether so many entries fit into the account; see [`Self::expire`].
    pub fn has_room(&self, entries: u64, limit: u64) -> bool {
        let spent: u64 = self.spent.iter().map(|it| it.entries).sum();
        spent.saturating_add(entries) <= limit
    }

    /// Another number after each change of what is approved, or of what a name costs.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The source is known to have lost so many entries under these names.
    pub fn note_lost(&mut self, now: Moment, names: &[(&RelPath, u64)]) {
        self.pay(now, 0, names);
    }

    /// The deletion of this name has ended: what is found there from now on is something else. Returns whether an approval
    /// was used up.
    pub fn settle(&mut self, path: &RelPath) -> bool {
        let was_paid = self.paid.remove(path).is_some();
        let was_approved = self.approvals.settle(path);
        self.revision += u64::from(was_paid || was_approved);
        was_approved
    }

    /// The approvals, to be kept for the next start.
    pub fn approvals(&self) -> &Approvals {
        &self.approvals
    }

    /// The account of a mirror of which this was approved before the daemon started.
    pub fn from_kept(approvals: Approvals) -> Self {
        Self { approvals: approvals.of_earlier_start(), ..Self::default() }
    }

    fn price(&self, path: &RelPath, entries: u64) -> u64 {
        entries.saturating_sub(self.paid.get(path).map_or(0, |paid| paid.entries))
    }

    fn pay(&mut self, now: Moment, entries: u64, names: &[(&RelPath, u64)]) {
        self.revision += u64::from(!names.is_empty());
        let mut new = Vec::new();
        for (path, entries) in names {
            let paid = self.paid.entry((*path).clone()).or_insert_with(|| {
                new.push((*path).clone());
                Paid { at: now, entries: 0 }
            });
            paid.entries = paid.entries.max(*entries);
        }
        if entries > 0 || !new.is_empty() {
            self.spent.push_back(Spent { at: now, entries, names: new });
        }
    }

    /// Forgets what was spent before the window.
    pub fn expire(&mut self, now: Moment, window: Duration) {
        while self.spent.front().is_some_and(|it| it.at + window < now) {
            self.revision += 1;
            let old = self.spent.pop_front().expect("it was there just now");
            for path in old.names {
                if self.paid.get(&path).is_some_and(|paid| paid.at == old.at) {
                    self.paid.remove(&path);
                }
            }
        }
    }

    /// Whether a person approved the deletion of this name. The log's newer entries of it make that void, see
    /// [`Self::note_changed`]; so it holds whatever the epoch.
    pub fn is_approved(&self, path: &RelPath) -> bool {
        self.approvals.covers(path, Epoch::default())
    }

    /// This name waits for a person, with so many entries.
    pub fn hold(&mut self, path: &RelPath, epoch: Epoch, entries: u64) {
        self.list.add(path, epoch, entries);
    }

    /// The log has a new entry for this path: approvals of it are void. Returns whether there were any.
    pub fn note_changed(&mut self, path: &RelPath, epoch: Epoch) -> bool {
        self.list.note_changed(path, epoch);
        if let Some(shown) = &mut self.shown {
            shown.note_changed(path, epoch);
        }
        self.approvals.note_changed(path, epoch)
    }

    /// The names that wait, as a person is to be shown them; none if nothing waits. The list that was shown stays as it
    /// is while anything on it waits.
    pub fn list(
        &mut self,
        waits: impl Fn(&Waiting) -> bool,
        next_number: impl FnOnce() -> u64,
    ) -> Option<&ShownList> {
        if self.list.shown().is_some_and(|shown| !shown.entries.iter().any(&waits)) {
            self.list.withdraw();
            self.shown = None;
        }
        let is_shown = |it: &Waiting| {
            self.shown.as_ref().is_some_and(|shown| shown.covers(&it.path, Epoch::default()))
        };
        self.list.retain(|it| waits(it) && !is_shown(it));
        if self.list.shown().is_none() {
            let shown = self.list.show(next_number)?;
            let mut approvals = Approvals::default();
            shown.entries.iter().for_each(|entry| approvals.add(entry));
            self.shown = Some(approvals);
        }
        self.list.shown()
    }

    /// Names and entries that wait and are not on the list that was shown.
    pub fn not_shown(&self) -> (u64, u64) {
        self.list.not_shown()
    }

    /// A person approved the list of this number.
    pub fn approve(&mut self, number: u64) -> Result<ShownList, ApproveError> {
        let approved = self.list.approve(number)?;
        self.revision += 1;
        self.approvals.join(self.shown.take().unwrap_or_default());
        Ok(approved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    const HOUR: Duration = Duration::from_secs(3600);

    fn spend(account: &mut ExtrasAccount, seconds: u64, path: &str, entries: u64) -> bool {
        account.spend(at(seconds), &[(&path.into(), entries)], 5, HOUR)
    }

    /// The number of the list that is shown.
    fn show(account: &mut ExtrasAccount, next_number: u64) -> Option<u64> {
        account.list(|_| true, || next_number).map(|shown| shown.number)
    }

    #[test]
    fn a_name_that_is_found_again_after_its_deletion_waits_again() {
        let mut account = ExtrasAccount::default();
        account.hold(&"a".into(), Epoch(3), 10);
        account.hold(&"b".into(), Epoch(3), 10);
        let number = show(&mut account, 1).expect("both wait");
        account.approve(number).expect("it is current");
        account.settle(&"a".into());
        assert!(!account.is_approved(&"a".into()));
        assert!(account.is_approved(&"b".into()), "its deletion failed");
    }

    #[test]
    fn a_list_is_shown_while_anything_on_it_waits() {
        let mut account = ExtrasAccount::default();
        account.hold(&"a".into(), Epoch(3), 10);
        account.hold(&"b".into(), Epoch(3), 10);
        assert_eq!(show(&mut account, 1), Some(1));
        // Judged again, and found again.
        account.hold(&"b".into(), Epoch(4), 10);
        account.hold(&"c".into(), Epoch(4), 10);
        assert!(account.list(|it| it.path != "a".into(), || 2).is_some_and(|it| it.number == 1));
        assert_eq!(account.not_shown(), (1, 10), "b is on the list already");
        assert!(account.list(|it| it.path == "c".into(), || 2).is_some_and(|it| it.number == 2));
        assert_eq!(account.approve(1), Err(ApproveError::NotCurrent { current: 2 }));
        assert_eq!(account.list(|_| false, || 3), None);
    }

    #[test]
    fn hard_case_38_what_was_deleted_counts_for_the_whole_window() {
        let mut account = ExtrasAccount::default();
        assert!(spend(&mut account, 0, "a", 4));
        account.settle(&"a".into());
        assert!(!spend(&mut account, 1, "a", 4), "they came again");
        assert!(spend(&mut account, 3700, "a", 4));
    }

    #[test]
    fn a_deletion_that_is_tried_again_is_paid_for_once() {
        let mut account = ExtrasAccount::default();
        assert!(spend(&mut account, 0, "a", 4));
        assert!(spend(&mut account, 1, "a", 4), "it did not succeed");
        assert!(spend(&mut account, 2, "a", 5));
        assert!(!spend(&mut account, 3, "b", 1));
        assert!(spend(&mut account, 3700, "b", 5));
        assert!(!spend(&mut account, 3701, "a", 4), "it is as old as the first try");
    }

    #[test]
    fn what_the_source_has_lost_is_not_paid_for_again() {
        let mut account = ExtrasAccount::default();
        account.note_lost(at(0), &[(&"a".into(), 100)]);
        assert!(spend(&mut account, 1, "a", 103));
        assert!(!spend(&mut account, 1, "b", 3));
    }

    #[test]
    fn hard_case_39_an_approval_is_for_the_names_that_were_shown() {
        let mut account = ExtrasAccount::default();
        account.hold(&"a".into(), Epoch(3), 10);
        let number = show(&mut account, 1).expect("a waits");
        account.hold(&"b".into(), Epoch(3), 500);
        account.approve(number).expect("it is current");
        assert!(account.is_approved(&"a".into()));
        assert!(!account.is_approved(&"b".into()));
        account.hold(&"new".into(), Epoch::default(), 1);
        let number = show(&mut account, 2).expect("it waits");
        account.approve(number).expect("it is current");
        assert!(account.is_approved(&"new".into()), "found before anything changed");
        account.note_changed(&"a".into(), Epoch(4));
        assert!(!account.is_approved(&"a".into()), "it came back, and was lost again");
    }
}
