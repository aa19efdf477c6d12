//! What a host that does not answer, or answers again, means for what its mirrors are owed.

use std::collections::BTreeMap;

use super::{FIRST_EPOCH, Ledger};
use crate::data::batch::Dirty;
use crate::data::change::{AssignmentId, Epoch, Lane};
use crate::data::ids::{HostId, MirrorId};
use crate::data::moment::Moment;
use crate::data::need::Need;
use crate::data::outcome::{AssignmentEnd, Blame, Outcome};
use crate::data::path::RelPath;
use crate::root::backlog::Cause;
use crate::root::epoch::Sealed;
use crate::root::past::Lost;
use crate::root::writers::{Scope, Writer};

impl Ledger {
    /// The host's actor is gone, and all that it had for this mirror was cut off: so is what only its predecessor knew.
    pub fn cut_off_all(&mut self, now: Moment, id: &MirrorId) {
        for lane in [Lane::Fresh, Lane::Slow] {
            self.cut_off(now, id, lane);
        }
    }

    /// What is under way in this lane is taken for cut off.
    pub(super) fn cut_off(&mut self, now: Moment, id: &MirrorId, lane: Lane) {
        let Some(mirror) = self.mirrors.get_mut(id) else { return };
        let Some(assigned) = mirror.assigned_mut(lane).take() else { return };
        let life = mirror.terms.receiver_life;
        mirror.writers.cut(now, assigned.id, life);
        self.open_after(id, assigned.id);
    }

    /// A run that this daemon does not know of may still be alive at the other end, after an end that was not clean. When
    /// it must be dead, a mirror that goes on from a checkpoint is owed the journal once more, and any other a walk: that
    /// is what the log holds above the start of that writer.
    pub fn handle_unclean(&mut self, now: Moment) {
        let changes = BTreeMap::from([(RelPath::root(), Need::TREE)]);
        self.seal(now, Sealed { first_change: now, changes, ..Sealed::default() });
        for id in self.mirrors.keys().cloned().collect::<Vec<_>>() {
            self.begin_unknown_writer(now, &id, Epoch::default(), false);
        }
    }

    /// The same for a mirror that was given up and came back under other terms: all that it has is owed on contents.
    pub fn handle_renewed(&mut self, now: Moment, id: &MirrorId) {
        self.begin_unknown_writer(now, id, self.log.head(), true);
    }

    fn begin_unknown_writer(&mut self, now: Moment, id: &MirrorId, start: Epoch, owes_all: bool) {
        self.last_id += 1;
        let assignment = AssignmentId(self.last_id);
        if let Some(mirror) = self.mirrors.get_mut(id) {
            let writer = Writer { endangers: true, owes_all, ..Writer::new(start, Scope::Root) };
            mirror.writers.insert(assignment, writer);
            let life = mirror.terms.receiver_life;
            mirror.writers.cut(now, assignment, life);
        }
    }

    /// The host of a mirror answered, or did not.
    pub(super) fn note_contact(&mut self, now: Moment, id: &MirrorId, end: &AssignmentEnd) {
        let Some(mirror) = self.mirrors.get_mut(id) else { return };
        let is_away = matches!(end.outcome, Outcome::Again { blame: Blame::Host, .. });
        if is_away {
            if !mirror.terms.is_durable {
                let cursor = mirror.cursor;
                mirror.past.note_away(now, cursor);
            }
            return;
        }
        if !end.outcome.is_settled() {
            return;
        }
        let host: HostId = id.host.clone();
        for other in self.mirrors.values_mut().filter(|it| it.id().host == host) {
            other.writers.note_contact(now);
        }
        let mirror = self.mirrors.get_mut(id).expect("it was there just now");
        let lost = mirror.past.note_back(now).filter(|_| !mirror.terms.is_durable);
        let cursor = mirror.cursor;
        match lost {
            None => {}
            Some(Lost::Anything) => self.owe_walk(now, id),
            Some(Lost::Since(from, discharged)) => {
                let range = self.log.range(from, cursor);
                let range = range.map(|(path, entry)| (path.clone(), entry.need));
                let lost: Vec<Dirty> = range.chain(discharged).collect();
                for (path, need) in lost {
                    let level = if need.level().is_empty() { need } else { need | Need::CONTENTS };
                    let owed =
                        self.mirrors[id].owed(now, path, level, Cause::Restarted, FIRST_EPOCH);
                    self.owe(id, owed);
                }
            }
        }
    }
}
