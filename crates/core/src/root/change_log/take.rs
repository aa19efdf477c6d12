//! Handing out work.

use std::collections::{BTreeMap, BTreeSet};

use super::{ChangeLog, Taken};
use crate::data::change::{Epoch, Kinds, Lane, Ticket};
use crate::data::ids::MirrorId;
use crate::data::moment::Moment;
use crate::data::path::RelPath;
use crate::root::debts::{Debts, Depth, Link, Running};

impl ChangeLog {
    /// Hands a Mirror what it lacks in this lane; none if that is nothing. Work handed out before in the
    /// same lane is void.
    pub fn take(&mut self, now: Moment, id: &MirrorId, lane: Lane) -> Option<Taken> {
        let debts = self.mirrors.get(id)?;
        let is_whole = debts.walk_owed.is_some() || debts.check_owed.is_some();
        let taken = match lane {
            Lane::Walk if is_whole => self.take_walk(now, id),
            Lane::Walk => self.take_large(id),
            Lane::Fresh => self.take_fresh(now, id),
        }?;
        self.next_ticket += 1;
        self.mirrors.get_mut(id)?.handed_out = true;
        Some(taken)
    }

    fn take_walk(&mut self, now: Moment, id: &MirrorId) -> Option<Taken> {
        let debts = self.mirrors.get_mut(id)?;
        let check = debts.check_owed.filter(|_| debts.walk_owed.is_none());
        // A Push that began before the Walk could put old content over what the Walk brought.
        if debts.fresh.is_some() || (check.is_none() && debts.walk_after > now) {
            debts.check_refused = check.is_some();
            return None;
        }
        self.void_walk(id);
        self.give_up_large(id);
        // Times may not tell that it was written to, and not every host can compare contents.
        self.keep_rewritten(id);
        let (ticket, to) = (Ticket(self.next_ticket), self.head);
        let debts = self.mirrors.get_mut(id)?;
        // Its quick check says nothing about what was written to.
        let judged = debts.stuck.iter().filter(|(_, stuck)| !stuck.kinds.contains(Kinds::CONTENT));
        let tried = judged.map(|(path, _)| path.clone()).collect();
        let running = debts.running(ticket, to);
        let (echo_due, approved) = (debts.echo_due(now), debts.approved);
        let walk = Running { tried, is_walk: true, approved, check, echo_due, ..running };
        debts.walk = Some(walk);
        let taken = debts.taken(ticket, to);
        let check = check == Some(Depth::Contents);
        Some(Taken { walk: true, check, suspicious: debts.suspicious, ..taken })
    }

    fn take_fresh(&mut self, now: Moment, id: &MirrorId) -> Option<Taken> {
        // Who asks has nothing under way.
        self.mirrors.get_mut(id)?.fresh = None;
        if self.mirrors.get(id)?.walk_waits() || self.refused_check(id) {
            return None;
        }
        let debts = self.mirrors.get(id)?;
        let (entries, tried) = self.lacking(now, debts);
        if entries.is_empty() {
            return None;
        }
        let renames = self.hints(debts, &entries);
        let is_dirty = |path: &RelPath| entries.binary_search_by(|it| it.0.cmp(path)).is_ok();
        let linked = debts.linked.iter().filter(|(from, _)| is_dirty(from));
        let mut links: BTreeSet<Link> = linked.cloned().collect();
        let echo_due = debts.echo_due(now);
        let own = !tried.is_empty() || echo_due.is_some() || !links.is_empty();
        let may_set_aside = debts.may_set_aside(&tried);
        links.extend(renames.iter().map(|it| (it.from.clone(), it.to.clone())));
        let (ticket, to) = (Ticket(self.next_ticket), self.head);
        let debts = self.mirrors.get_mut(id)?;
        debts.linked.extend(links.clone());
        let (running, approved) = (debts.running(ticket, to), debts.approved);
        debts.fresh = Some(Running { tried, approved, links, echo_due, ..running });
        let taken = debts.taken(ticket, to);
        Some(Taken { entries, renames, own, may_set_aside, ..taken })
    }

    fn take_large(&mut self, id: &MirrorId) -> Option<Taken> {
        self.void_walk(id);
        let (ticket, to) = (Ticket(self.next_ticket), self.head);
        let debts = self.mirrors.get_mut(id).filter(|debts| debts.wants_large())?;
        let large = std::mem::take(&mut debts.large);
        let entries = large.iter().map(|(path, large)| (path.clone(), large.kinds)).collect();
        let tried = large.keys().cloned().collect();
        let running = debts.running(ticket, to);
        debts.walk = Some(Running { tried, large, ..running });
        Some(Taken { entries, own: true, ..debts.taken(ticket, to) })
    }
}

impl Debts {
    fn echo_due(&self, now: Moment) -> Option<Moment> {
        self.echo.as_ref().map(|echo| echo.due).filter(|due| *due <= now)
    }

    fn running(&self, ticket: Ticket, to: Epoch) -> Running {
        Running {
            ticket,
            from: self.cursor,
            to,
            tried: BTreeSet::new(),
            is_walk: false,
            overtaken: false,
            approved: false,
            check: None,
            links: BTreeSet::new(),
            large: BTreeMap::new(),
            echo_due: None,
        }
    }

    fn taken(&self, ticket: Ticket, to: Epoch) -> Taken {
        Taken {
            ticket,
            from: self.cursor,
            to,
            walk: false,
            check: false,
            suspicious: false,
            entries: Vec::new(),
            renames: Vec::new(),
            own: false,
            may_set_aside: false,
        }
    }
}
