//! What outlives the daemon of a Root's progress: a snapshot of the Root, which Mirrors hold it, and a
//! journal of every path that was handed out since.
//!
//! After the next start a Mirror lacks at most three things: what the new scan and the snapshot differ in,
//! what is in the journal, and what it lacked when it was recorded. A Mirror that is not recorded owes a Walk.

use std::collections::{BTreeMap, BTreeSet};

use crate::data::batch::Dirty;
use crate::data::ids::MirrorId;
use crate::data::limits::LACKS_MAX;
use crate::data::need::Need;
use crate::data::path::RelPath;
use crate::root::ledger::Ledger;

/// What each recorded Mirror lacks of the snapshot.
pub type Holders = BTreeMap<MirrorId, Vec<Dirty>>;

/// Keeps what is on the disk true at every moment, since any may be the last.
#[expect(clippy::struct_excessive_bools, reason = "facts that don't depend on each other")]
#[derive(Debug)]
pub struct Checkpoint {
    /// Distinct paths in a journal before a new scan is asked for.
    journal_max: usize,
    /// Since the scan of the snapshot that is on the disk began; none while none is there.
    current: Option<Journal>,
    /// Since the newest scan began; none if its snapshot is the one on the disk.
    next: Option<Journal>,
    /// The newest scan has ended, and nobody has kept it yet.
    is_scanned: bool,
    /// What is on the disk is the last run's: the newest scan waits until somebody has what that lacks, or the next start
    /// would bring it once more.
    is_resumed: bool,
    /// A renewal was asked for.
    is_renewing: bool,
    /// Who is recorded, and how much each lacked.
    recorded: BTreeMap<MirrorId, usize>,
    /// Word is awaited that the kernel's queue has been read to its end.
    is_marking: bool,
}

type Journal = BTreeMap<RelPath, Need>;

/// What is to be done on the disk.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Append these to the journal, before anything else is done.
    Append(Vec<Dirty>),
    /// Tell when everything that changed before now has been told.
    Mark,
    /// Put these in the place of what was recorded. With a journal, the newest scan and this journal
    /// take the place of the snapshot and its journal, all at once.
    Record(Holders, Option<Vec<Dirty>>),
    /// These are no longer recorded.
    Withdraw(Vec<MirrorId>),
    /// Scan the Root anew, since the journal has become long.
    Renew,
}

impl Checkpoint {
    /// The Root is scanned from now on. A journal is renewed when it has more than so many paths.
    pub fn new(journal_max: usize) -> Self {
        Self {
            journal_max,
            current: None,
            next: Some(Journal::new()),
            is_scanned: false,
            is_resumed: false,
            is_renewing: false,
            recorded: BTreeMap::new(),
            is_marking: false,
        }
    }

    /// The Root is scanned anew from now on, and nothing on the disk counts.
    pub fn begin_anew(&mut self) -> Option<Effect> {
        let old = std::mem::replace(self, Self::new(self.journal_max));
        let recorded: Vec<MirrorId> = old.recorded.into_keys().collect();
        (!recorded.is_empty()).then_some(Effect::Withdraw(recorded))
    }

    /// What was on the disk counts: its journal, and who is recorded. Returns what has been sealed since the
    /// scan began: the scan may not have seen it.
    pub fn resume(&mut self, journal: &[Dirty], holders: &Holders) -> BTreeMap<RelPath, Need> {
        self.current = Some(journal.iter().cloned().collect());
        self.is_resumed = true;
        self.recorded = holders.iter().map(|(id, lacks)| (id.clone(), lacks.len())).collect();
        self.next.clone().unwrap_or_default()
    }

    /// The newest scan has ended, and is at hand.
    pub fn handle_scanned(&mut self) {
        self.is_scanned = self.next.is_some();
        self.is_renewing = false;
    }

    /// The newest scan is exactly what is on the disk.
    pub fn handle_same(&mut self) {
        self.next = None;
        self.is_scanned = false;
    }

    /// No scan came of it.
    pub fn handle_not_scanned(&mut self) {
        self.next = None;
        self.is_renewing = false;
    }

    /// These are handed out, and have not changed since the newest scan began. When that is kept, whoever still lacks
    /// any of them is recorded so.
    pub fn handle_handed_out(&mut self, dirty: &Journal) -> Option<Effect> {
        let new = extend(self.current.as_mut()?, dirty);
        (!new.is_empty()).then_some(Effect::Append(new))
    }

    /// These may be handed out from now on.
    pub fn handle_sealed(&mut self, changes: &Journal) -> Option<Effect> {
        if let Some(next) = &mut self.next {
            extend(next, changes);
        }
        let new = extend(self.current.as_mut()?, changes);
        (!new.is_empty()).then_some(Effect::Append(new))
    }

    /// Everything that changed before it was asked for has been told. `may_record`: it has been sealed too, and
    /// what the Mirrors were sent is what the Root holds.
    pub fn handle_marked(&mut self, ledger: &Ledger, may_record: bool) -> Option<Effect> {
        self.is_marking = false;
        if !may_record {
            return None;
        }
        let holders: Holders = ledger
            .ids()
            .filter_map(|id| Some((id.clone(), ledger.lacks(id, LACKS_MAX)?)))
            .collect();
        if holders.is_empty() {
            return None;
        }
        self.recorded = holders.iter().map(|(id, lacks)| (id.clone(), lacks.len())).collect();
        let is_new = self.is_scanned;
        if is_new {
            self.is_scanned = false;
            self.is_resumed = false;
            self.current = self.next.take();
        }
        let journal = self.current.as_ref().filter(|_| is_new);
        let journal =
            journal.map(|j| j.iter().map(|(path, kinds)| (path.clone(), *kinds)).collect());
        Some(Effect::Record(holders, journal))
    }

    /// It can't be told whether everything was sealed.
    pub fn handle_not_marked(&mut self) {
        self.is_marking = false;
    }

    /// What follows from how the Mirrors stand now.
    pub fn review(&mut self, ledger: &Ledger, may_record: bool) -> Option<Effect> {
        let journal_max = self.journal_max;
        let is_full = |journal: &Option<Journal>| {
            journal.as_ref().is_some_and(|journal| journal.len() > 2 * journal_max)
        };
        if is_full(&self.next) {
            self.next = None;
            self.is_scanned = false;
            self.is_resumed = false;
        }
        let gives_up = is_full(&self.current);
        if gives_up {
            self.current = None;
        }
        let lost: BTreeSet<&MirrorId> =
            self.recorded.keys().filter(|id| gives_up || ledger.is_in_doubt(id)).collect();
        if !lost.is_empty() {
            let lost: Vec<MirrorId> = lost.into_iter().cloned().collect();
            self.recorded.retain(|id, _| !lost.contains(id));
            return Some(Effect::Withdraw(lost));
        }
        if !may_record || self.is_marking {
            return None;
        }
        let is_long = self.current.as_ref().is_some_and(|journal| journal.len() > journal_max);
        let has_none = self.current.is_none() && self.next.is_none();
        if (is_long || has_none) && self.next.is_none() && !self.is_renewing {
            self.is_renewing = true;
            self.next = Some(Journal::new());
            return Some(Effect::Renew);
        }
        let has_snapshot = self.is_scanned || self.current.is_some();
        let is_worth_it = |id: &MirrorId| match self.recorded.get(id) {
            Some(lacked) if !self.is_scanned => *lacked > 0 && ledger.lacks_count(id) == Some(0),
            Some(_) if self.is_resumed => ledger.lacks_count(id) == Some(0),
            _ => ledger.lacks_count(id).is_some_and(|count| count <= LACKS_MAX),
        };
        if has_snapshot && ledger.ids().any(is_worth_it) {
            self.is_marking = true;
            return Some(Effect::Mark);
        }
        None
    }
}

/// Joins these in; says which say something new.
fn extend(journal: &mut Journal, changes: &Journal) -> Vec<Dirty> {
    let mut new = Vec::new();
    for (path, kinds) in changes {
        let known = journal.entry(path.clone()).or_default();
        if *known | *kinds != *known || known.is_empty() {
            *known |= *kinds;
            new.push((path.clone(), *kinds));
        }
    }
    new
}
