//! What was pushed lately: a receiver that lost power can lose what it had acknowledged.

use std::collections::{BTreeSet, VecDeque};

use super::ChangeLog;
use crate::data::batch::Dirty;
use crate::data::change::{Epoch, Kinds};
use crate::data::ids::MirrorId;
use crate::data::limits::{
    LATE_PATHS_MAX, OUTAGE_MIN, RECENT_ENDS_MAX, RECENT_PATHS_MAX, WRITE_BACK_MAX,
};
use crate::data::moment::Moment;
use crate::data::outcome::{Blame, Outcome};
use crate::data::path::RelPath;
use crate::root::debts::Running;

/// The newest Epochs, as long as a push that brought them was lately, or is to come.
#[derive(Debug, Default)]
pub(super) struct Recent {
    epochs: VecDeque<(Epoch, Vec<Dirty>)>,
    paths: usize,
    /// The newest that was dropped for want of room.
    cut: Epoch,
}

/// A push or a Walk that came to its end lately.
#[derive(Clone, Debug)]
pub struct LateEnd {
    at: Moment,
    /// The Cursor before it.
    from: Epoch,
    /// What it brought that belongs to no Epoch above that.
    tried: BTreeSet<RelPath>,
    /// It brought more than can be named.
    is_whole: bool,
}

impl LateEnd {
    pub(super) fn new(at: Moment, work: &Running) -> Self {
        let is_long = work.tried.len() > LATE_PATHS_MAX;
        let tried = if is_long { BTreeSet::new() } else { work.tried.clone() };
        let is_whole = work.is_walk || work.echo_due.is_some() || is_long;
        Self { at, from: work.from, tried, is_whole }
    }

    /// As if both were one.
    fn absorb(&mut self, older: Self) {
        self.from = self.from.min(older.from);
        self.tried.extend(older.tried);
        self.is_whole |= older.is_whole || self.tried.len() > LATE_PATHS_MAX;
    }
}

/// A host that is not to be reached, and what it may have lost.
#[derive(Debug)]
pub struct Absence {
    since: Moment,
    /// None: nobody can say.
    pub lost: Option<Vec<Dirty>>,
}

impl Recent {
    /// `floor`: nobody needs it or what is older.
    pub(super) fn add(&mut self, epoch: Epoch, entries: Vec<Dirty>, floor: Epoch) {
        self.paths += entries.len();
        self.epochs.push_back((epoch, entries));
        while let Some((oldest, entries)) = self.epochs.front()
            && (*oldest <= floor || self.paths > RECENT_PATHS_MAX)
        {
            if *oldest > floor {
                self.cut = *oldest;
            }
            self.paths -= entries.len();
            self.epochs.pop_front();
        }
    }

    /// What was sealed after one Epoch and up to another; none if that is not known any more.
    fn between(&self, from: Epoch, to: Epoch) -> Option<Vec<Dirty>> {
        let epochs = self.epochs.iter().filter(|(epoch, _)| *epoch > from && *epoch <= to);
        let entries = epochs.flat_map(|(_, entries)| entries);
        let written = entries.map(|(path, kinds)| (path.clone(), *kinds | Kinds::CONTENT));
        (self.cut <= from).then(|| written.collect())
    }
}

impl ChangeLog {
    /// What is acknowledged by this Mirror is on its disk.
    pub fn trust_writes(&mut self, id: &MirrorId) {
        if let Some(debts) = self.mirrors.get_mut(id) {
            debts.is_durable = true;
        }
    }

    /// The Epochs above this one may have to be pushed once more.
    pub(super) fn recent_floor(&self) -> Epoch {
        let mirrors = self.mirrors.values().filter(|debts| !debts.is_durable);
        let needed = mirrors.map(|debts| {
            debts.lately.iter().map(|end| end.from).chain([debts.cursor]).min().unwrap_or_default()
        });
        needed.min().unwrap_or(self.head)
    }

    /// Work has ended: was the host away for so long that it may have been started anew?
    pub(super) fn note_end(
        &mut self,
        id: &MirrorId,
        is_walk: bool,
        end: LateEnd,
        outcome: &Outcome,
    ) {
        let now = end.at;
        let Some(debts) = self.mirrors.get_mut(id).filter(|debts| !debts.is_durable) else {
            return;
        };
        match outcome {
            Outcome::Again { blame: Blame::Host, .. } if debts.absence.is_none() => {
                let is_late = |end: &&LateEnd| now - end.at <= WRITE_BACK_MAX;
                let late = || debts.lately.iter().filter(is_late);
                let epochs = match late().map(|end| end.from).min() {
                    _ if late().any(|end| end.is_whole) => None,
                    Some(oldest) => self.recent.between(oldest, debts.cursor),
                    None => Some(Vec::new()),
                };
                let tried = late().flat_map(|end| &end.tried);
                let whole = |path: &RelPath| (path.clone(), Kinds::SUBTREE | Kinds::CONTENT);
                let lost = epochs.map(|it| it.into_iter().chain(tried.map(whole)).collect());
                debts.absence = Some(Absence { since: now, lost });
            }
            _ if outcome.is_settled() => {
                if let Some(Absence { since, lost }) = debts.absence.take()
                    && now - since >= OUTAGE_MIN
                {
                    match lost {
                        Some(entries) => debts.rewrite(entries),
                        // This was one.
                        None if is_walk => (),
                        None => debts.owe_walk(now),
                    }
                }
                let lately = &mut debts.lately;
                lately.push_back(end);
                while lately.front().is_some_and(|end| now - end.at > WRITE_BACK_MAX) {
                    lately.pop_front();
                }
                if lately.len() > RECENT_ENDS_MAX
                    && let (Some(first), Some(second)) = (lately.pop_front(), lately.front_mut())
                {
                    second.absorb(first);
                }
            }
            _ => (),
        }
    }
}
