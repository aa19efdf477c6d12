//! The account of what one mirror holds beyond its source: kept apart from what the source lost.

use std::collections::VecDeque;
use std::time::Duration;

use crate::data::change::Epoch;
use crate::data::moment::Moment;
use crate::data::path::RelPath;
use crate::root::deletions::approval_list::{ApprovalList, ApproveError, ShownList};
use crate::root::deletions::approvals::Approvals;

/// Names that a comparison found on one mirror and not in the source. So many of their entries go without a question as
/// the source itself may lose; of more, all wait.
#[derive(Debug, Default)]
pub struct ExtrasAccount {
    list: ApprovalList,
    shown: Option<Approvals>,
    approvals: Approvals,
    /// Entries whose deletion was handed out, and when: a retry has no fresh budget.
    spent: VecDeque<(Moment, u64)>,
}

impl ExtrasAccount {
    /// Takes this number of entries out of the account, if they fit into it. `limit` counts for what is deleted within
    /// `window`.
    pub fn spend(&mut self, now: Moment, entries: u64, limit: u64, window: Duration) -> bool {
        let fits = self.fits(now, entries, limit, window);
        if fits && entries > 0 {
            self.spent.push_back((now, entries));
        }
        fits
    }

    /// Whether so many entries fit into the account now.
    pub fn fits(&mut self, now: Moment, entries: u64, limit: u64, window: Duration) -> bool {
        while self.spent.front().is_some_and(|(at, _)| *at + window < now) {
            self.spent.pop_front();
        }
        let spent: u64 = self.spent.iter().map(|(_, entries)| entries).sum();
        spent.saturating_add(entries) <= limit
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

    /// The log has a new entry for this path: approvals of it are void.
    pub fn note_changed(&mut self, path: &RelPath, epoch: Epoch) {
        self.list.note_changed(path, epoch);
        self.approvals.note_changed(path, epoch);
        if let Some(shown) = &mut self.shown {
            shown.note_changed(path, epoch);
        }
    }

    /// The names that wait, as a person is to be shown them; none if nothing waits.
    pub fn list(&mut self) -> Option<&ShownList> {
        if self.list.shown().is_none() {
            let shown = self.list.show()?;
            let mut approvals = Approvals::default();
            shown.entries.iter().for_each(|entry| approvals.add(entry));
            self.shown = Some(approvals);
        }
        self.list.shown()
    }

    /// A person approved the list of this number.
    pub fn approve(&mut self, number: u64) -> Result<ShownList, ApproveError> {
        let approved = self.list.approve(number)?;
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

    #[test]
    fn hard_case_38_a_retry_has_no_fresh_budget() {
        let mut account = ExtrasAccount::default();
        let hour = Duration::from_secs(3600);
        assert!(account.spend(at(0), 4, 5, hour));
        assert!(!account.spend(at(1), 4, 5, hour));
        assert!(account.spend(at(3700), 4, 5, hour));
    }

    #[test]
    fn hard_case_39_an_approval_is_for_the_names_that_were_shown() {
        let mut account = ExtrasAccount::default();
        account.hold(&"a".into(), Epoch(3), 10);
        let number = account.list().expect("a waits").number;
        account.hold(&"b".into(), Epoch(3), 500);
        account.approve(number).expect("it is current");
        assert!(account.is_approved(&"a".into()));
        assert!(!account.is_approved(&"b".into()));
        account.hold(&"new".into(), Epoch::default(), 1);
        let number = account.list().expect("it waits").number;
        account.approve(number).expect("it is current");
        assert!(account.is_approved(&"new".into()), "found before anything changed");
        account.note_changed(&"a".into(), Epoch(4));
        assert!(!account.is_approved(&"a".into()), "it came back, and was lost again");
    }
}
