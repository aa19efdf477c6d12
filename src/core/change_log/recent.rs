//! What was pushed lately: a receiver that lost power can lose what it had acknowledged.

use std::collections::VecDeque;

use super::ChangeLog;
use crate::types::batch::Dirty;
use crate::types::change::{Epoch, Kinds};
use crate::types::ids::MirrorId;
use crate::types::limits::{OUTAGE_MIN, RECENT_ENDS_MAX, RECENT_PATHS_MAX, WRITE_BACK_MAX};
use crate::types::moment::Moment;
use crate::types::outcome::{Blame, Outcome};

/// The newest Epochs, as long as a push that brought them was lately, or is to come.
#[derive(Debug, Default)]
pub(super) struct Recent {
    epochs: VecDeque<(Epoch, Vec<Dirty>)>,
    paths: usize,
    /// The newest that was dropped for want of room.
    cut: Epoch,
}

/// A push or a Walk that came to its end lately.
#[derive(Clone, Copy, Debug)]
pub struct LateEnd {
    at: Moment,
    /// The Cursor before it.
    from: Epoch,
    is_walk: bool,
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
        let mirrors = self.mirrors.values().filter(|d| !d.is_durable && d.absence.is_none());
        let needed = mirrors.map(|debts| {
            debts.lately.iter().map(|end| end.from).chain([debts.cursor]).min().unwrap_or_default()
        });
        needed.min().unwrap_or(self.head)
    }

    /// Work has ended that began at this Cursor: was the host away for so long that it may have been started
    /// anew?
    pub(super) fn note_end(
        &mut self,
        now: Moment,
        id: &MirrorId,
        from: Epoch,
        is_walk: bool,
        outcome: &Outcome,
    ) {
        let Some(debts) = self.mirrors.get_mut(id).filter(|debts| !debts.is_durable) else {
            return;
        };
        match outcome {
            Outcome::Again { blame: Blame::Host, .. } if debts.absence.is_none() => {
                let is_late = |end: &&LateEnd| now - end.at <= WRITE_BACK_MAX;
                let late = || debts.lately.iter().filter(is_late);
                let lost = match late().map(|end| end.from).min() {
                    _ if late().any(|end| end.is_walk) => None,
                    Some(oldest) => self.recent.between(oldest, debts.cursor),
                    None => Some(Vec::new()),
                };
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
                lately.push_back(LateEnd { at: now, from, is_walk });
                while lately.front().is_some_and(|end| now - end.at > WRITE_BACK_MAX) {
                    lately.pop_front();
                }
                if lately.len() > RECENT_ENDS_MAX
                    && let (Some(first), Some(second)) = (lately.pop_front(), lately.front_mut())
                {
                    second.from = second.from.min(first.from);
                    second.is_walk |= first.is_walk;
                }
            }
            _ => (),
        }
    }
}
