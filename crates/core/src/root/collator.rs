//! One Root's rule: changes come in, Epochs are sealed, Mirrors are told, work is handed out.

mod deletions;
mod early;
mod keep;
mod pieces;
mod report;
mod steer;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::data::absent_volumes::AbsentVolumes;
use crate::data::batch::Batch;
use crate::data::change::{AssignmentId, Change, Epoch, Kinds, Lane};
use crate::data::ids::{HostId, MirrorId};
use crate::data::limits::LOG_PATHS_MAX;
use crate::data::moment::Moment;
use crate::data::need::Need;
use crate::data::outcome::{AssignmentEnd, Blame, Outcome};
use crate::data::path::RelPath;
use crate::data::piece::Part;
use crate::data::step::Differences;
use crate::host::target_state::TargetState;
use crate::machine::Rule;
use crate::root::batch::Made;
use crate::root::checkpoint::{self, Checkpoint};
use crate::root::deletions::{DeletionAccount, Durability, KeptAccount};
use crate::root::epoch::{OpenEpoch, Sealed, Waits};
use crate::root::extras::ExtrasAccount;
use crate::root::ledger::{Assignment, Ledger, LeftOut};
use crate::root::mirror::{Mirror, Terms};

use self::deletions::Judged;
pub use self::deletions::WaitingList;
use self::pieces::Pieces;
pub use self::report::RootReport;

/// Collects, seals and hands out the changes of one Root.
#[derive(Debug)]
pub struct Collator {
    open: OpenEpoch,
    ledger: Ledger,
    /// How much the source may lose without a question.
    account: DeletionAccount,
    /// The same for what each mirror holds beyond it.
    extras: BTreeMap<MirrorId, ExtrasAccount>,
    /// How what was approved of these must be written.
    extras_dirty: Option<Durability>,
    /// Of each mirror on which deletions wait.
    judged: BTreeMap<MirrorId, Judged>,
    /// What outlives the daemon; none where every start walks.
    checkpoint: Option<Checkpoint>,
    phase: Phase,
    /// Mirrors that were given a Walk before everything was watched.
    early: BTreeSet<MirrorId>,
    /// Since when new directories are being watched; what is below them may be unseen.
    exploring: Option<Moment>,
    /// Why some changes are found only now and then.
    degraded: Option<String>,
    /// Volumes that are not there or do not answer, since when.
    absent: Option<(Moment, AbsentVolumes)>,
    /// Until when what became due was told.
    timed: Moment,
    pieces: Pieces,
    /// What the pieces of a check have found so far.
    drift: BTreeMap<MirrorId, Differences>,
    effects: VecDeque<Effect>,
}

#[derive(Debug)]
enum Phase {
    /// `hands_out`: what changes before it is watched will be told all the same.
    Opening {
        since: Moment,
        hands_out: bool,
    },
    Watching,
    Halted {
        since: Moment,
        why: String,
    },
}

/// What the collator wants done.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Tell this mirror's host that there is work in this lane.
    Nudge(MirrorId, Lane),
    /// Look at what this assignment names on the disk, and hand the result to the mirror.
    Make(MirrorId, Assignment),
    /// Count what is directly in each directory of the root, cut it into pieces, with these paths apart, and answer with
    /// [`Collator::handle_measured`].
    Measure(Vec<RelPath>),
    /// Tell this mirror's host that there is nothing in this lane.
    Nothing(MirrorId, Lane),
    /// Tell this mirror's host that this assignment may not delete any more: see [`RunningPush::withdraw`].
    ///
    /// [`RunningPush::withdraw`]: crate::host::push::RunningPush::withdraw
    Withdraw(MirrorId, AssignmentId),
    /// Keep for the next start what is known of this mirror's directory.
    Remember(MirrorId, TargetState),
    /// A Mirror was compared whole, contents included; this was found different, and is repaired. None: that
    /// did not come to its end.
    Checked(MirrorId, Option<Differences>),
    /// Keep for the next start how far everything has come.
    Checkpoint(checkpoint::Effect),
    /// Keep the deletion account for the next start, before anything else is done.
    KeepAccount(KeptAccount, Durability),
    /// Deletions of so many entries wait for a person on a mirror on which none did: say so in the log.
    Held(MirrorId, u64),
    /// The report has changed.
    Report,
    /// A directory appeared on a mirror that should have been there: say so in the log.
    Surprise(MirrorId, RelPath),
}

impl Collator {
    /// A Root whose watching has just begun; each of its Mirrors is to be compared. `start` is the number of the daemon's
    /// start.
    pub fn new(
        now: Moment,
        start: u32,
        waits: Waits,
        account: DeletionAccount,
        mirrors: impl IntoIterator<Item = (MirrorId, Terms)>,
    ) -> Self {
        let mut ledger = Ledger::new(LOG_PATHS_MAX, start);
        for (id, terms) in mirrors {
            ledger.add_mirror(now, &id, terms);
        }
        Self {
            open: OpenEpoch::new(waits),
            ledger,
            account,
            extras: BTreeMap::new(),
            extras_dirty: None,
            judged: BTreeMap::new(),
            checkpoint: None,
            phase: Phase::Opening { since: now, hands_out: false },
            early: BTreeSet::new(),
            exploring: None,
            degraded: None,
            absent: None,
            timed: now,
            pieces: Pieces::default(),
            drift: BTreeMap::new(),
            effects: VecDeque::new(),
        }
    }

    /// The kernel told of changes; `exploring` says whether new directories are still being watched.
    pub fn handle_changed(&mut self, now: Moment, changes: Vec<Change>, exploring: bool) {
        self.open.handle_pushing(self.ledger.is_working());
        for change in changes {
            self.open.insert(now, change);
        }
        self.exploring = exploring.then(|| self.exploring.unwrap_or(now));
        self.handle_timeout(now);
        self.effects.push_back(Effect::Report);
    }

    /// Every directory is watched: from here on nothing slips through.
    pub fn handle_watching(&mut self, now: Moment) {
        self.phase = Phase::Watching;
        self.nudge_all(now);
        self.effects.push_back(Effect::Report);
    }

    /// Events were lost, or the watcher starts anew: all Mirrors are in doubt.
    pub fn handle_watch_lost(&mut self, now: Moment) {
        // What is known stays known: a comparison may not see it.
        self.open.release_held(now);
        self.seal(now);
        self.exploring = None;
        // Doubt is a change: it obeys the same rules as any other.
        let changes = BTreeMap::from([(RelPath::root(), Need::TREE)]);
        self.ledger.seal(now, Sealed { first_change: now, changes, ..Sealed::default() });
        let effect = self.checkpoint.as_mut().and_then(Checkpoint::begin_anew);
        self.effects.extend(effect.map(Effect::Checkpoint));
        let since = self.phase.since().unwrap_or(now);
        self.phase = Phase::Opening { since, hands_out: false };
        self.effects.push_back(Effect::Report);
    }

    /// The Root is not what it was: nothing leaves it until it is watched again.
    pub fn handle_halt(&mut self, now: Moment, why: String) {
        let since = self.phase.since().unwrap_or(now);
        self.phase = Phase::Halted { since, why };
        self.effects.push_back(Effect::Report);
    }

    /// Some directories raise no events, for this reason; none: all do.
    pub fn handle_degraded(&mut self, why: Option<String>) {
        self.degraded = why;
        self.effects.push_back(Effect::Report);
    }

    /// These nested volumes are not there now, or do not answer; what lies there is left alone on every Mirror.
    pub fn handle_absent(&mut self, now: Moment, absent: AbsentVolumes) {
        let (since, before) = self.absent.take().unwrap_or((now, AbsentVolumes::default()));
        let paths: Vec<RelPath> = absent.paths().cloned().collect();
        for path in before.paths().filter(|path| !paths.contains(path)) {
            // What is there now was left alone so far.
            self.open.insert(now, Change::new(path.clone(), Kinds::SUBTREE | Kinds::CONTENT));
        }
        self.ledger.set_unmounted(&paths);
        let is_more_visible = absent.unresponsive.len() < before.unresponsive.len();
        self.absent = (!absent.is_empty()).then_some((since, absent));
        if is_more_visible {
            self.nudge_all(now);
        }
        self.effects.push_back(Effect::Report);
    }

    /// Whether exact renames can be trusted on a mirror that this batch is for.
    pub fn trusts_renames(&self, id: &MirrorId, assignment: AssignmentId, batch: &Batch) -> bool {
        let names = batch.renames.iter().flat_map(|it| [&it.from, &it.to]);
        self.ledger.trusts_renames(id, assignment, names)
    }

    /// The Root's Mirrors.
    pub fn mirrors(&self) -> impl Iterator<Item = &MirrorId> {
        self.ledger.ids()
    }

    /// Whether every Mirror holds everything that is known.
    pub fn is_settled(&self) -> bool {
        let mut mirrors = self.ledger.ids();
        mirrors.all(|id| self.report_mirror(id).is_some_and(|(.., settled)| settled))
    }

    /// Whether all directories are watched.
    pub fn is_watching(&self) -> bool {
        matches!(self.phase, Phase::Watching)
    }

    /// How many entries the source holds, as far as they were counted.
    pub fn entries(&self) -> u64 {
        self.account.totals().now
    }

    /// Why the Root is halted; none if it is not.
    pub fn halted(&self) -> Option<&str> {
        match &self.phase {
            Phase::Halted { why, .. } => Some(why),
            Phase::Opening { .. } | Phase::Watching => None,
        }
    }

    /// The nested volumes that were said to be not there, or not to answer.
    pub fn absent(&self) -> AbsentVolumes {
        self.absent.as_ref().map(|(_, absent)| absent.clone()).unwrap_or_default()
    }

    /// Whether a mirror whose directory may have to be made waits for a volume: making it lists the root.
    fn waits_for_volume(&self, id: &MirrorId) -> bool {
        let is_hidden = |(_, it): &(_, AbsentVolumes)| it.listed_in(&RelPath::root()).is_some();
        self.ledger.target(id) == TargetState::Unknown
            && self.absent.as_ref().is_some_and(is_hidden)
    }

    /// A host has a new actor: it knows of no work, and what its predecessor had is void.
    pub fn handle_new_host(&mut self, now: Moment, host: &HostId) {
        let ids: Vec<MirrorId> = self.ledger.ids().filter(|id| id.host == *host).cloned().collect();
        for id in ids {
            self.ledger.cut_off_all(now, &id);
            self.nudge(now, &id);
        }
        self.effects.push_back(Effect::Report);
    }

    /// A mirror's host asks for work. The answer is an effect, [`Effect::Make`] or [`Effect::Nothing`].
    pub fn handle_take(&mut self, now: Moment, id: &MirrorId, lane: Lane) {
        let ready = self.hands_out() && !self.waits_for_volume(id);
        // Where something went is known: its old name is not deleted before that is of use.
        if ready && (self.open.has_moves() || is_due(self.open.seal_at(), now)) {
            self.seal(now);
        }
        let assignment = if ready { self.ledger.assign(now, id, lane) } else { None };
        self.open.handle_pushing(self.ledger.is_working());
        if let Some(assignment) = assignment {
            if self.cuts(now, id, &assignment) {
                return self.cut(now, id, assignment);
            }
            self.journal(&assignment);
            self.note_early(id, &assignment);
            self.effects.push_back(Effect::Make(id.clone(), assignment));
        } else {
            self.effects.push_back(Effect::Nothing(id.clone(), lane));
            // Asking has moved work to the other lane, or the cursor.
            self.nudge(now, id);
            self.effects.push_back(Effect::Report);
        }
    }

    /// What an assignment names was looked at. Returns the batch to run; none if there is nothing to run, and then the
    /// assignment has ended.
    pub fn handle_made(
        &mut self,
        now: Moment,
        id: &MirrorId,
        assignment: AssignmentId,
        made: &Made,
    ) -> Option<Arc<Batch>> {
        let mut left_out: Vec<LeftOut> = made.left_out.clone();
        let batch = made.batch.clone();
        let mut batch = self.without_waiting_deletions(now, id, batch, &mut left_out);
        let unkept = self.ledger.unkept_directories(id, &batch);
        if !unkept.is_empty() {
            Arc::make_mut(&mut batch).unkept = unkept;
        }
        let held_before = self.holds_deletions(id);
        self.ledger.made(now, id, assignment, &batch, &left_out);
        if !held_before && self.holds_deletions(id) {
            self.effects.push_back(Effect::Held(id.clone(), self.held_entries(id)));
        }
        if batch.is_empty() {
            // Nothing is run, so nothing is learned of the mirror.
            self.ledger.ended(now, id, assignment, &AssignmentEnd::new(Outcome::Done));
            self.nudge(now, id);
            self.effects.push_back(Effect::Report);
            return None;
        }
        if !left_out.is_empty() {
            self.nudge(now, id);
            self.effects.push_back(Effect::Report);
        }
        Some(batch)
    }

    /// Work has ended.
    pub fn handle_ended(
        &mut self,
        now: Moment,
        id: &MirrorId,
        assignment: AssignmentId,
        end: &AssignmentEnd,
    ) {
        let assigned = self
            .ledger
            .mirror(id)
            .and_then(|mirror| mirror.assigned(mirror.lane_of(assignment)?).cloned());
        let Some(assigned) = assigned else { return };
        let start =
            self.ledger.mirror(id).and_then(|it| it.start_of(assignment)).unwrap_or_default();
        let is_whole = assigned.compares.is_some()
            && assigned.part == Part::All
            && assigned.paths.iter().any(RelPath::is_root);
        let is_check = assigned.compares == Some(crate::data::batch::Depth::Contents);
        self.note_found(now, id, &assigned.paths, &assigned.lost, end);
        self.ledger.ended(now, id, assignment, end);
        self.forget_approvals(now);
        let known = self.ledger.target(id);
        match &end.outcome {
            Outcome::Done => {
                let owes_walk = self.ledger.mirror(id).is_some_and(Mirror::owes_walk);
                let is_whole = (is_whole && end.extras.is_empty()) || !owes_walk;
                self.know(id, known.after(is_whole, end.holds_anything));
            }
            Outcome::Partly(_) => self.know(id, known.max(TargetState::Exists)),
            _ => (),
        }
        if is_check {
            self.note_checked(id, start, is_whole, end);
        }
        let surprise = end.surprises.iter().find(|path| {
            self.exploring.is_none() && !self.open.covers(path) && !self.ledger.covers(id, path)
        });
        if let Some(path) = surprise {
            let is_top = path.parent().is_some_and(|parent| parent.is_root());
            self.ledger.owe_walk(now, id);
            if is_top {
                self.ledger.suspect(id);
            }
            self.effects.push_back(Effect::Surprise(id.clone(), path.clone()));
        }
        self.nudge(now, id);
        self.effects.push_back(Effect::Report);
    }

    /// The mirror's directory exists: fresh changes may go there while the first walk goes on.
    pub fn handle_reached(&mut self, now: Moment, id: &MirrorId) {
        self.know(id, self.ledger.target(id).max(TargetState::Exists));
        self.nudge(now, id);
    }

    /// Work that was to be made could not be: it is still owed.
    pub fn handle_not_made(&mut self, now: Moment, id: &MirrorId, assignment: AssignmentId) {
        let why = "the batch could not be made";
        self.handle_ended(now, id, assignment, &AssignmentEnd::again(Blame::Mirror, why));
    }

    /// So much was known of a Mirror's directory before.
    pub fn handle_target(&mut self, id: &MirrorId, target: TargetState) {
        self.ledger.set_target(id, target);
    }

    /// Whoever ruled before died with work under way: what broke off then may still land.
    pub fn handle_unclean(&mut self, now: Moment) {
        self.ledger.handle_unclean(now);
    }

    /// What is known of a Mirror's directory.
    pub fn target(&self, id: &MirrorId) -> TargetState {
        self.ledger.target(id)
    }

    fn know(&mut self, id: &MirrorId, target: TargetState) {
        if self.ledger.target(id) != target {
            self.ledger.set_target(id, target);
            self.effects.push_back(Effect::Remember(id.clone(), target));
        }
    }

    /// Seals everything that is known now, also files that are still being written. Returns the Epoch
    /// that a Mirror must have reached to hold it. While directories are being watched, that is one that is
    /// not sealed yet: what has changed meanwhile is not known.
    pub fn handle_mark(&mut self, now: Moment) -> Epoch {
        self.open.release_held(now);
        self.seal(now);
        let head = self.ledger.log().head();
        if matches!(self.phase, Phase::Watching) { head } else { head.next() }
    }

    /// When the open Epoch is to be sealed: when it has settled, and a mirror can take it. While none can, changes of
    /// up to `max_age` become one Epoch: each costs work, and nobody waits for it.
    fn seal_at(&self, now: Moment) -> Option<Moment> {
        let is_awaited = || self.hands_out() && self.ledger.awaits_changes(now);
        let settles_at = self.open.seal_at()?;
        if settles_at > now || is_awaited() { Some(settles_at) } else { self.open.seal_by() }
    }

    fn seal_settled(&mut self, now: Moment) {
        if is_due(self.seal_at(now), now) {
            self.seal(now);
        }
    }

    fn seal(&mut self, now: Moment) {
        if self.open.is_empty() {
            return;
        }
        let sealed = self.open.take();
        let checkpoint = self.checkpoint.as_mut();
        if let Some(effect) = checkpoint.and_then(|c| c.handle_sealed(&sealed.changes)) {
            // Before anybody can be given any of it.
            self.effects.push_back(Effect::Checkpoint(effect));
        }
        let changed = Self::account_names(&sealed);
        let epoch = self.ledger.seal(now, sealed);
        self.note_changed(&changed, epoch);
        self.nudge_all(now);
        self.effects.push_back(Effect::Report);
    }

    fn nudge_all(&mut self, now: Moment) {
        let ids: Vec<MirrorId> = self.ledger.ids().cloned().collect();
        ids.iter().for_each(|id| self.nudge(now, id));
    }

    fn nudge(&mut self, now: Moment, id: &MirrorId) {
        if !self.hands_out() {
            return;
        }
        // It may be the first that can take what has settled meanwhile.
        self.seal_settled(now);
        for lane in [Lane::Fresh, Lane::Slow] {
            if self.ledger.wants(now, id, lane) {
                self.effects.push_back(Effect::Nudge(id.clone(), lane));
            }
        }
    }
}

impl Rule for Collator {
    type Effect = Effect;

    fn handle_timeout(&mut self, now: Moment) {
        let held_before = self.open.held_len();
        self.open.handle_timeout(now);
        if held_before != self.open.held_len() {
            self.effects.push_back(Effect::Report);
        }
        self.seal_settled(now);
        let has_expired = self.ledger.handle_timeout(now);
        // What is due already waits for its host to take it, not for the clock.
        if has_expired || is_due(self.ledger.next_due(self.timed), now) {
            self.nudge_all(now);
            self.effects.push_back(Effect::Report);
        }
        self.timed = self.timed.max(now);
        self.account.tick(now);
        self.judge_deletions(now);
    }

    fn poll_timeout(&self, now: Moment) -> Option<Moment> {
        [self.seal_at(now), self.open.held_due(), self.ledger.next_due(now)]
            .into_iter()
            .flatten()
            .min()
    }

    fn poll_effect(&mut self) -> Option<Effect> {
        if let Some((account, durability)) = self.take_account() {
            return Some(Effect::KeepAccount(account, durability));
        }
        let effect = self.effects.pop_front();
        if effect.is_some() {
            return effect;
        }
        let may_record = self.may_record();
        self.checkpoint.as_mut()?.review(&self.ledger, may_record).map(Effect::Checkpoint)
    }
}

fn is_due(at: Option<Moment>, now: Moment) -> bool {
    at.is_some_and(|at| at <= now)
}

impl Phase {
    fn since(&self) -> Option<Moment> {
        match self {
            Self::Opening { since, .. } | Self::Halted { since, .. } => Some(*since),
            Self::Watching => None,
        }
    }
}
