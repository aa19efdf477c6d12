//! The last minutes of one mirror: where its cursor stood, and what was discharged. A receiver that lost power can lose
//! what it had acknowledged, and a file that was renamed away before rsync read it was not sent after all.

use std::collections::VecDeque;

use crate::data::change::Epoch;
use crate::data::limits::{DISCHARGED_MAX, OUTAGE_MIN, PAST_STEP, RENAME_DOUBT, WRITE_BACK_MAX};
use crate::data::moment::Moment;
use crate::data::need::Need;
use crate::data::path::RelPath;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Past {
    steps: VecDeque<Stay>,
    discharged: VecDeque<(Moment, RelPath, Need)>,
    /// What was discharged up to this moment is not known any more.
    unknown_until: Option<Moment>,
    absence: Option<Absence>,
}

/// Until a moment the cursor stood at an epoch, or above it.
#[derive(Clone, Copy, Debug)]
struct Stay {
    at: Epoch,
    until: Moment,
    /// When the first step was made that it stands for.
    from: Moment,
}

/// The host does not answer.
#[derive(Clone, Copy, Debug)]
struct Absence {
    since: Moment,
    /// Whatever came after this may have been lost.
    from: Epoch,
}

/// What a host may have lost that was away for so long that it may have been started anew.
#[derive(Debug, PartialEq, Eq)]
pub enum Lost {
    /// The entries of the log above this, and what was discharged besides.
    Since(Epoch, Vec<(RelPath, Need)>),
    /// Nobody can say what.
    Anything,
}

impl Past {
    /// The cursor is about to leave this epoch.
    pub fn note_cursor(&mut self, now: Moment, left: Epoch) {
        match self.steps.back_mut().filter(|stay| now - stay.from < PAST_STEP) {
            Some(stay) => stay.until = now,
            None => self.steps.push_back(Stay { at: left, until: now, from: now }),
        }
        self.forget(now);
    }

    /// This was brought beside the log.
    pub fn note_discharged(&mut self, now: Moment, path: RelPath, need: Need) {
        self.discharged.push_back((now, path, need));
        if self.discharged.len() > DISCHARGED_MAX {
            self.give_up(now);
        }
        self.forget(now);
    }

    /// Nothing of it is known any more: there is no room.
    pub fn give_up(&mut self, now: Moment) {
        self.steps.clear();
        self.discharged.clear();
        self.unknown_until = Some(now);
    }

    fn forget(&mut self, now: Moment) {
        let is_old = |moment: Moment| moment + WRITE_BACK_MAX < now;
        if self.absence.is_some() {
            return;
        }
        while self.steps.front().is_some_and(|stay| is_old(stay.until)) {
            self.steps.pop_front();
        }
        while self.discharged.front().is_some_and(|(at, ..)| is_old(*at)) {
            self.discharged.pop_front();
        }
    }

    /// Where the cursor stood at this moment or before it, as far as is known; it stands at `cursor` now.
    pub fn cursor_at(&self, moment: Moment, cursor: Epoch) -> Epoch {
        let then = self.steps.iter().find(|stay| stay.until > moment);
        then.map_or(cursor, |stay| stay.at.min(cursor))
    }

    /// The log keeps what is newer than this, for this mirror's sake.
    pub fn floor(&self, now: Moment, cursor: Epoch, is_durable: bool) -> Epoch {
        let span = if is_durable { RENAME_DOUBT } else { WRITE_BACK_MAX };
        let kept = self.cursor_at(now.before(span), cursor);
        self.absence.filter(|_| !is_durable).map_or(kept, |absence| kept.min(absence.from))
    }

    /// Whether anything related to this path was brought beside the log so shortly before `heard` that a rename that is
    /// heard of then may have come first.
    pub fn was_just_discharged(&self, heard: Moment, path: &RelPath) -> bool {
        let is_late = |at: Moment| at + RENAME_DOUBT > heard;
        let mut late = self.discharged.iter().rev().take_while(|(at, ..)| is_late(*at));
        self.unknown_until.is_some_and(is_late) || late.any(|(_, own, _)| own.is_related(path))
    }

    /// The host can't be reached.
    pub fn note_away(&mut self, now: Moment, cursor: Epoch) {
        if self.absence.is_none() {
            let from = self.cursor_at(now.before(WRITE_BACK_MAX), cursor);
            self.absence = Some(Absence { since: now, from });
        }
    }

    /// The host answers. Says what it may have lost, if it was away for long.
    pub fn note_back(&mut self, now: Moment) -> Option<Lost> {
        let absence = self.absence.take()?;
        let was_long = now - absence.since >= OUTAGE_MIN;
        let is_unknown = self.unknown_until.is_some_and(|at| at + WRITE_BACK_MAX > absence.since);
        let discharged = self.discharged.iter().map(|(_, path, need)| (path.clone(), *need));
        let lost = match (was_long, is_unknown) {
            (false, _) => None,
            (true, true) => Some(Lost::Anything),
            (true, false) => Some(Lost::Since(absence.from, discharged.collect())),
        };
        self.forget(now);
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: u64) -> Moment {
        Moment::after_start(Duration::from_secs(seconds))
    }

    #[test]
    fn hard_case_22_what_came_in_the_minutes_before_an_outage_may_be_lost() {
        let mut past = Past::default();
        past.note_cursor(at(0), Epoch(1));
        past.note_cursor(at(1000), Epoch(2));
        past.note_discharged(at(1000), "f".into(), Need::CONTENTS);
        assert_eq!(past.floor(at(1010), Epoch(3), false), Epoch(2));
        past.note_away(at(1010), Epoch(3));
        past.note_cursor(at(5000), Epoch(3));
        assert_eq!(past.floor(at(9000), Epoch(4), false), Epoch(2), "kept while it is away");
        let lost = Lost::Since(Epoch(2), vec![("f".into(), Need::CONTENTS)]);
        assert_eq!(past.note_back(at(9000)), Some(lost));
        assert_eq!(past.floor(at(9001), Epoch(4), false), Epoch(4));
    }

    #[test]
    fn a_short_absence_loses_nothing() {
        let mut past = Past::default();
        past.note_away(at(10), Epoch(3));
        assert_eq!(past.note_back(at(20)), None);
    }

    #[test]
    fn where_there_is_no_room_anything_may_be_lost() {
        let mut past = Past::default();
        for number in 0..=DISCHARGED_MAX {
            past.note_discharged(at(1), format!("f{number}").as_str().into(), Need::EQUAL);
        }
        past.note_away(at(10), Epoch(3));
        assert_eq!(past.note_back(at(1000)), Some(Lost::Anything));
    }

    #[test]
    fn a_cursor_is_remembered_where_it_stood_or_before() {
        let mut past = Past::default();
        past.note_cursor(at(10), Epoch(1));
        past.note_cursor(at(20), Epoch(4));
        assert_eq!(past.cursor_at(at(9), Epoch(7)), Epoch(1));
        assert_eq!(past.cursor_at(at(10), Epoch(7)), Epoch(4));
        assert_eq!(past.cursor_at(at(20), Epoch(7)), Epoch(7));
    }
}
