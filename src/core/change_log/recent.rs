//! What was pushed lately: a receiver that lost power can lose what it had acknowledged.

use std::collections::VecDeque;

use super::ChangeLog;
use crate::types::batch::Dirty;
use crate::types::change::Kinds;
use crate::types::ids::MirrorId;
use crate::types::limits::{OUTAGE_MIN, RECENT_PATHS_MAX, WRITE_BACK_MAX};
use crate::types::moment::Moment;
use crate::types::outcome::{Blame, Outcome};

/// The Epochs of the last minutes, whoever has passed them.
#[derive(Debug, Default)]
pub(super) struct Recent {
    epochs: VecDeque<(Moment, Vec<Dirty>)>,
    paths: usize,
    /// Until when something was dropped for want of room.
    cut: Option<Moment>,
}

impl Recent {
    /// `needed_since`: what is older is of no use to anybody.
    pub(super) fn add(&mut self, now: Moment, entries: Vec<Dirty>, needed_since: Moment) {
        self.paths += entries.len();
        self.epochs.push_back((now, entries));
        while let Some((at, entries)) = self.epochs.front()
            && (*at < needed_since || self.paths > RECENT_PATHS_MAX)
        {
            if *at >= needed_since {
                self.cut = Some(*at);
            }
            self.paths -= entries.len();
            self.epochs.pop_front();
        }
    }

    /// All that was sealed since; none if that is not known any more.
    fn since(&self, moment: Moment) -> Option<impl Iterator<Item = Dirty> + '_> {
        let is_whole = self.cut.is_none_or(|cut| cut < moment);
        let epochs = self.epochs.iter().filter(move |(at, _)| *at >= moment);
        is_whole.then(|| epochs.flat_map(|(_, entries)| entries.iter().cloned()))
    }
}

impl ChangeLog {
    /// What is acknowledged by this Mirror is on its disk.
    pub fn trust_writes(&mut self, id: &MirrorId) {
        if let Some(debts) = self.mirrors.get_mut(id) {
            debts.is_durable = true;
        }
    }

    /// Since when what was sealed may have to be pushed once more.
    pub(super) fn recent_since(&self, now: Moment) -> Moment {
        let outages = self.mirrors.values().filter_map(|debts| debts.away_since);
        let earliest = outages.min().unwrap_or(now);
        Moment::after_start((earliest - Moment::default()).saturating_sub(WRITE_BACK_MAX))
    }

    /// Work has ended: was the host away for so long that it may have been started anew?
    pub(super) fn note_outage(&mut self, now: Moment, id: &MirrorId, outcome: &Outcome) {
        let since = self.recent_since(now);
        let Some(debts) = self.mirrors.get_mut(id) else { return };
        match outcome {
            Outcome::Again { blame: Blame::Host, .. } => {
                debts.away_since.get_or_insert(now);
            }
            Outcome::Done | Outcome::Partly(_) | Outcome::DeletionsSkipped(_) => {
                let Some(away_since) = debts.away_since.take() else { return };
                if debts.is_durable || now - away_since < OUTAGE_MIN {
                    return;
                }
                match self.recent.since(since) {
                    Some(entries) => {
                        debts.rewrite(entries.map(|(path, kinds)| (path, kinds | Kinds::CONTENT)));
                    }
                    None => debts.owe_walk(now),
                }
            }
            _ => (),
        }
    }
}
