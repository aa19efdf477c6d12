//! One Root's rule: changes come in, Epochs are sealed, Mirrors are told, work is handed out.

mod early;
mod keep;
mod report;
mod steer;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::data::batch::Dirty;
use crate::data::change::{Change, Epoch, Kinds, Lane, Ticket};
use crate::data::ids::{HostId, MirrorId};
use crate::data::limits::LOG_PATHS_MAX;
use crate::data::moment::Moment;
use crate::data::outcome::{Blame, Budget, Outcome, PushEnd};
use crate::data::path::RelPath;
use crate::data::plan::RetryPlan;
use crate::data::step::Differences;
use crate::host::target_state::Directory;
use crate::machine::Rule;
use crate::root::change_log::{ChangeLog, Taken};
use crate::root::checkpoint::{self, Checkpoint};
use crate::root::debts::Depth;
use crate::root::epoch::{OpenEpoch, Waits};

pub use self::report::RootReport;

/// Collects, seals and hands out the changes of one Root.
#[derive(Debug)]
pub struct Collator {
    open: OpenEpoch,
    log: ChangeLog,
    /// What outlives the daemon; none where every start walks.
    checkpoint: Option<Checkpoint>,
    phase: Phase,
    /// Mirrors that were given a Walk before everything was watched and counted.
    early: BTreeSet<MirrorId>,
    /// Since when new directories are being watched; what is below them may be unseen.
    exploring: Option<Moment>,
    /// Why some changes are found only now and then.
    degraded: Option<String>,
    /// Directories whose volume is not mounted, since when.
    unmounted: Option<(Moment, Vec<RelPath>)>,
    /// Until when what became due was told.
    timed: Moment,
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
    /// Look at these paths on the disk and hand the result to the mirror.
    Make(MirrorId, Lane, Taken),
    /// Tell this mirror's host that there is nothing in this lane.
    Nothing(MirrorId, Lane),
    /// Keep for the next start what is known of this mirror's directory.
    Remember(MirrorId, Directory),
    /// A Mirror was compared whole, contents included; this was found different, and is repaired. None: that
    /// did not come to its end.
    Checked(MirrorId, Option<Differences>),
    /// Keep for the next start how far everything has come.
    Checkpoint(checkpoint::Effect),
    /// The report has changed.
    Report,
    /// A directory appeared on a mirror that should have been there: say so in the log.
    Surprise(MirrorId, RelPath),
}

impl Collator {
    /// A Root whose watching has just begun; each of its Mirrors owes a Walk. Each is given with how it is
    /// tried again, and how long what broke off may still land on it.
    pub fn new(
        now: Moment,
        waits: Waits,
        mirrors: impl IntoIterator<Item = (MirrorId, RetryPlan, Duration)>,
    ) -> Self {
        let mut log = ChangeLog::new(LOG_PATHS_MAX);
        for (id, retry, receiver_life) in mirrors {
            log.add_mirror(now, id, retry, receiver_life);
        }
        Self {
            open: OpenEpoch::new(waits),
            log,
            checkpoint: None,
            phase: Phase::Opening { since: now, hands_out: false },
            early: BTreeSet::new(),
            exploring: None,
            degraded: None,
            unmounted: None,
            timed: now,
            effects: VecDeque::new(),
        }
    }

    /// The kernel told of changes; `exploring` says whether new directories are still being watched.
    pub fn handle_changed(&mut self, now: Moment, changes: Vec<Change>, exploring: bool) {
        self.open.handle_pushing(self.log.is_working());
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
        self.judge_early(now);
        self.nudge_all(now);
        self.effects.push_back(Effect::Report);
    }

    /// Events were lost, or the watcher starts anew: all Mirrors are in doubt.
    pub fn handle_watch_lost(&mut self, now: Moment) {
        // What is known stays known: a comparison may not see it.
        self.open.release_held(now);
        self.seal(now);
        self.exploring = None;
        self.log.owe_walks(now);
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

    /// These nested volumes are not mounted now; what lies there is left alone on every Mirror.
    pub fn handle_unmounted(&mut self, now: Moment, directories: Vec<RelPath>) {
        let (since, before) = self.unmounted.take().unwrap_or((now, Vec::new()));
        for path in before.into_iter().filter(|path| !directories.contains(path)) {
            // What is there now was left alone so far.
            self.open.insert(now, Change::new(path, Kinds::SUBTREE | Kinds::CONTENT));
        }
        self.unmounted = (!directories.is_empty()).then_some((since, directories));
        self.effects.push_back(Effect::Report);
    }

    /// How much a Mirror may delete, if a person has decided or has to; none if the Root's budget decides.
    pub fn budget(&self, id: &MirrorId, lane: Lane) -> Option<Budget> {
        self.log.budget(id, lane)
    }

    /// Whether renames that are said to be exact are so for this Mirror.
    pub fn trusts_hints(&self, id: &MirrorId) -> bool {
        self.log.trusts_hints(id)
    }

    /// The Root's Mirrors.
    pub fn mirrors(&self) -> impl Iterator<Item = &MirrorId> {
        self.log.mirrors()
    }

    /// Whether every Mirror holds everything that is known.
    pub fn is_settled(&self) -> bool {
        let mut mirrors = self.log.mirrors();
        mirrors.all(|id| self.report_mirror(id).is_some_and(|(.., settled)| settled))
    }

    /// Whether all directories are watched.
    pub fn is_watching(&self) -> bool {
        matches!(self.phase, Phase::Watching)
    }

    /// How many deletions of a Mirror wait for a person, as far as they were counted.
    pub fn held_deletions(&self, id: &MirrorId) -> u64 {
        self.log.standing(id, 0).map_or(0, |standing| standing.held_deletions)
    }

    /// Why the Root is halted; none if it is not.
    pub fn halted(&self) -> Option<&str> {
        match &self.phase {
            Phase::Halted { why, .. } => Some(why),
            Phase::Opening { .. } | Phase::Watching => None,
        }
    }

    /// The nested volumes that were said to be not mounted.
    pub fn unmounted(&self) -> &[RelPath] {
        self.unmounted.as_ref().map_or(&[], |(_, directories)| directories)
    }

    /// A host has a new actor: it knows of no work, and what its predecessor had is void.
    pub fn handle_new_host(&mut self, now: Moment, host: &HostId) {
        let ids: Vec<MirrorId> =
            self.log.mirrors().filter(|id| id.host == *host).cloned().collect();
        for id in ids {
            self.log.void_tickets(now, &id);
            self.nudge(now, &id);
        }
        self.effects.push_back(Effect::Report);
    }

    /// A Mirror's host asks for work. The answer is an effect, [`Effect::Make`] or [`Effect::Nothing`].
    pub fn handle_take(&mut self, now: Moment, id: &MirrorId, lane: Lane) {
        let ready = self.hands_out();
        if ready && self.open.has_moves() {
            // Where something went is known: its old name is not deleted before that is of use.
            self.seal(now);
        }
        let taken = if ready { self.log.take(now, id, lane) } else { None };
        self.open.handle_pushing(self.log.is_working());
        if let Some(taken) = &taken {
            self.journal(taken);
            self.note_early(id, taken);
        }
        let is_nothing = taken.is_none();
        self.effects.push_back(match taken {
            Some(taken) => Effect::Make(id.clone(), lane, taken),
            None => Effect::Nothing(id.clone(), lane),
        });
        if is_nothing {
            // Asking has voided what was under way in this lane; the other lane may have waited for that.
            self.nudge(now, id);
        }
    }

    /// Work that was made leaves these large files to a push of their own.
    pub fn handle_set_aside(
        &mut self,
        now: Moment,
        id: &MirrorId,
        ticket: Ticket,
        large: &[Dirty],
    ) {
        self.log.set_aside(now, id, ticket, large);
        self.nudge(now, id);
    }

    /// Work has ended.
    pub fn handle_applied(&mut self, now: Moment, id: &MirrorId, ticket: Ticket, end: &PushEnd) {
        let Some(running) = self.log.running(id, ticket) else {
            // What has become void may still land.
            self.log.applied(now, id, ticket, &end.outcome);
            return;
        };
        let (is_walk, covered) = (running.is_walk, running.to);
        let is_check = running.check == Some(Depth::Contents);
        let links = self.log.links(id, ticket);
        self.log.applied(now, id, ticket, &end.outcome);
        let known = self.log.directory(id);
        match &end.outcome {
            Outcome::Done => {
                let is_whole = is_walk || !self.log.owes_walk(id);
                self.know(id, known.after(is_whole, end.holds_anything));
            }
            Outcome::Partly(_) | Outcome::DeletionsSkipped(_) => {
                self.know(id, known.max(Directory::Exists));
            }
            _ => (),
        }
        self.log.hold(now, id, &end.held);
        self.log.keep_linked(id, links, &end.held);
        if is_check {
            // One that was never begun found nothing either.
            let drift = end.drift.as_ref().filter(|_| end.outcome.is_settled());
            let drift = drift.map(|drift| self.without_fresh(covered, drift));
            self.effects.push_back(Effect::Checked(id.clone(), drift));
        }
        let surprise = end.surprises.iter().find(|path| {
            self.exploring.is_none() && !self.open.covers(path) && !self.log.covers(id, path)
        });
        if let Some(path) = surprise {
            match path.parent() {
                Some(parent) if parent.is_root() => self.log.suspect(now, id),
                _ => self.log.owe_walk(now, id),
            }
            self.effects.push_back(Effect::Surprise(id.clone(), path.clone()));
        }
        self.judge_early(now);
        self.nudge(now, id);
        self.effects.push_back(Effect::Report);
    }

    /// The Root was seen to hold something, and at most so many entries in all.
    pub fn handle_full(&mut self, now: Moment, entries: u64) {
        if self.log.owe_walks_held_from_empty_root(now, entries) {
            self.nudge_all(now);
            self.effects.push_back(Effect::Report);
        }
    }

    /// A person lets this Mirror's held deletions go, and says that its directory may be what it is.
    pub fn handle_approve(&mut self, now: Moment, id: &MirrorId) {
        let before = self.log.directory(id);
        self.log.approve(now, id);
        let after = self.log.directory(id);
        if before != after {
            self.effects.push_back(Effect::Remember(id.clone(), after));
        }
        self.nudge(now, id);
        self.effects.push_back(Effect::Report);
    }

    /// Work that was to be made could not be: it is still owed.
    pub fn handle_not_made(&mut self, now: Moment, id: &MirrorId, ticket: Ticket) {
        let why = "the batch could not be made";
        self.handle_applied(now, id, ticket, &PushEnd::again(Blame::Mirror, why));
    }

    /// So much was known of a Mirror's directory before.
    pub fn handle_directory(&mut self, id: &MirrorId, directory: Directory) {
        self.log.set_directory(id, directory);
    }

    /// Whoever ruled before died with work under way: what broke off then may still land.
    pub fn handle_unclean(&mut self, now: Moment) {
        self.log.echo_all(now);
    }

    /// What is acknowledged by this Mirror is on its disk, not only in its memory.
    pub fn trust_writes(&mut self, id: &MirrorId) {
        self.log.trust_writes(id);
    }

    /// What is known of a Mirror's directory.
    pub fn directory(&self, id: &MirrorId) -> Directory {
        self.log.directory(id)
    }

    fn know(&mut self, id: &MirrorId, directory: Directory) {
        if self.log.directory(id) != directory {
            self.log.set_directory(id, directory);
            self.effects.push_back(Effect::Remember(id.clone(), directory));
        }
    }

    /// Seals everything that is known now, also files that are still being written. Returns the Epoch
    /// that a Mirror must have reached to hold it. While directories are being watched, that is one that is
    /// not sealed yet: what has changed meanwhile is not known.
    pub fn handle_mark(&mut self, now: Moment) -> Epoch {
        self.open.release_held(now);
        self.seal(now);
        let head = self.log.head();
        if matches!(self.phase, Phase::Watching) { head } else { head.next() }
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
        self.log.seal(sealed);
        self.nudge_all(now);
        self.effects.push_back(Effect::Report);
    }

    fn nudge_all(&mut self, now: Moment) {
        let ids: Vec<MirrorId> = self.log.mirrors().cloned().collect();
        ids.iter().for_each(|id| self.nudge(now, id));
    }

    fn nudge(&mut self, now: Moment, id: &MirrorId) {
        if !self.hands_out() {
            return;
        }
        if self.log.wants_fresh(now, id) {
            self.effects.push_back(Effect::Nudge(id.clone(), Lane::Fresh));
        }
        if self.log.wants_walk(now, id) {
            self.effects.push_back(Effect::Nudge(id.clone(), Lane::Walk));
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
        if self.open.seal_at().is_some_and(|due| due <= now) {
            self.seal(now);
        }
        // What is due already waits for its host to take it, not for the clock.
        let due = self.log.due_between(self.timed, now);
        self.timed = self.timed.max(now);
        due.iter().for_each(|id| self.nudge(now, id));
    }

    fn poll_timeout(&self, now: Moment) -> Option<Moment> {
        [self.open.seal_at(), self.open.held_due(), self.log.next_due(now)]
            .into_iter()
            .flatten()
            .min()
    }

    fn poll_effect(&mut self) -> Option<Effect> {
        let effect = self.effects.pop_front();
        if effect.is_some() {
            return effect;
        }
        let may_record = self.may_record();
        self.checkpoint.as_mut()?.review(&self.log, may_record).map(Effect::Checkpoint)
    }
}

impl Phase {
    fn since(&self) -> Option<Moment> {
        match self {
            Self::Opening { since, .. } | Self::Halted { since, .. } => Some(*since),
            Self::Watching => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::status::RootState;

    const RETRY: RetryPlan =
        RetryPlan { first: Duration::from_secs(1), max: Duration::from_secs(60) };
    const WAITS: Waits = Waits {
        settle: Duration::from_millis(50),
        max_age: Duration::from_secs(1),
        open_quiet: Duration::from_secs(2),
        open_max: Duration::from_secs(60),
    };

    fn at(ms: u64) -> Moment {
        Moment::after_start(Duration::from_millis(ms))
    }

    fn mirror() -> MirrorId {
        MirrorId::new(&"site".into(), &"web".into())
    }

    fn collator() -> Collator {
        let mut collator =
            Collator::new(at(0), WAITS, [(mirror(), RETRY, Duration::from_secs(120))]);
        collator.handle_watching(at(0));
        collator
    }

    fn change(path: &str) -> Vec<Change> {
        vec![Change::new(path.into(), Kinds::CONTENT)]
    }

    fn drain(collator: &mut Collator) -> Vec<Effect> {
        let effects = std::iter::from_fn(|| collator.poll_effect());
        effects.filter(|e| !matches!(e, Effect::Report | Effect::Remember(..))).collect()
    }

    fn take(collator: &mut Collator, ms: u64, lane: Lane) -> Option<Taken> {
        drain(collator);
        collator.handle_take(at(ms), &mirror(), lane);
        match drain(collator).pop() {
            Some(Effect::Make(_, _, taken)) => Some(taken),
            _ => None,
        }
    }

    fn end(outcome: Outcome) -> PushEnd {
        PushEnd::new(outcome)
    }

    fn settled(collator: &Collator) -> bool {
        collator.report().mirrors[0].2
    }

    fn walk(collator: &mut Collator, ms: u64) {
        let taken = take(collator, ms, Lane::Walk).expect("a walk is owed");
        collator.handle_applied(at(ms), &mirror(), taken.ticket, &end(Outcome::Done));
    }

    #[test]
    fn a_mirror_is_settled_only_when_nothing_is_open_sealed_or_owed() {
        let mut collator = collator();
        assert!(!settled(&collator), "it owes its first walk");
        walk(&mut collator, 1);
        assert!(settled(&collator));
        collator.handle_changed(at(10), change("a"), false);
        assert!(!settled(&collator), "a change is open");
        collator.handle_timeout(at(60));
        assert!(!settled(&collator), "an epoch is sealed");
        let taken = take(&mut collator, 61, Lane::Fresh).expect("there is a change");
        assert!(!settled(&collator), "a push is under way");
        collator.handle_applied(at(70), &mirror(), taken.ticket, &end(Outcome::Done));
        assert!(settled(&collator));
        collator.handle_changed(at(80), vec![], true);
        assert!(!settled(&collator), "a new directory is being watched");
    }

    #[test]
    fn hard_case_6_an_open_file_is_pending_and_a_mark_releases_it() {
        let mut collator = collator();
        walk(&mut collator, 1);
        let open = Change::new("log".into(), Kinds::OPEN | Kinds::CONTENT);
        collator.handle_changed(at(1000), vec![open], false);
        let (_, standing, settled) = &collator.report().mirrors[0];
        assert!(!settled);
        assert_eq!((standing.pending, standing.behind_since), (1, Some(at(1000))));
        let epoch = collator.handle_mark(at(1500));
        let taken = take(&mut collator, 1500, Lane::Fresh).expect("the mark released it");
        assert_eq!((taken.to, taken.entries.len()), (epoch, 1));
    }

    #[test]
    fn hard_case_15_a_directory_that_should_have_been_there_means_a_walk() {
        let mut collator = collator();
        walk(&mut collator, 1);
        collator.handle_changed(at(10), change("a/b/c"), false);
        collator.handle_timeout(at(60));
        let taken = take(&mut collator, 61, Lane::Fresh).expect("there is a change");
        let surprised = PushEnd { surprises: vec!["a/b".into()], ..end(Outcome::Done) };
        collator.handle_applied(at(70), &mirror(), taken.ticket, &surprised);
        assert!(drain(&mut collator).contains(&Effect::Nudge(mirror(), Lane::Walk)));
    }

    #[test]
    fn a_directory_that_is_dirty_anyway_surprises_nobody() {
        let mut collator = collator();
        walk(&mut collator, 1);
        collator.handle_changed(at(10), change("a/b/c"), false);
        collator.handle_timeout(at(60));
        let taken = take(&mut collator, 61, Lane::Fresh).expect("there is a change");
        let came = Change::new("a".into(), Kinds::CAME | Kinds::SUBTREE);
        collator.handle_changed(at(65), vec![came], false);
        let surprised = PushEnd { surprises: vec!["a/b".into()], ..end(Outcome::Done) };
        collator.handle_applied(at(70), &mirror(), taken.ticket, &surprised);
        assert!(!drain(&mut collator).contains(&Effect::Nudge(mirror(), Lane::Walk)));
    }

    #[test]
    fn hard_case_4_lost_events_mean_a_walk_and_void_the_walk_under_way() {
        let mut collator = collator();
        let taken = take(&mut collator, 1, Lane::Walk).expect("the first walk");
        collator.handle_watch_lost(at(2));
        assert_eq!(take(&mut collator, 3, Lane::Walk), None, "not before it is watched again");
        collator.handle_watching(at(4));
        collator.handle_applied(at(5), &mirror(), taken.ticket, &end(Outcome::Done));
        assert!(!settled(&collator));
        walk(&mut collator, 6);
        assert!(settled(&collator));
    }

    #[test]
    fn what_came_while_a_walk_was_under_way_is_deleted_when_it_goes() {
        let mut collator = collator();
        let taken = take(&mut collator, 1, Lane::Walk).expect("the first walk");
        let created = Change::new("t".into(), Kinds::CAME | Kinds::OPEN | Kinds::CONTENT);
        collator.handle_changed(at(2), vec![created], false);
        collator.handle_applied(at(3), &mirror(), taken.ticket, &end(Outcome::Done));
        collator.handle_changed(at(4), vec![Change::new("t".into(), Kinds::WENT)], false);
        collator.handle_timeout(at(60));
        let taken = take(&mut collator, 61, Lane::Fresh).expect("the walk may have sent it");
        assert!(taken.entries.iter().any(|(path, _)| *path == "t".into()));
    }

    #[test]
    fn a_halted_root_hands_out_nothing() {
        let mut collator = collator();
        collator.handle_halt(at(1), "gone".into());
        assert_eq!(take(&mut collator, 2, Lane::Walk), None);
        assert_eq!(collator.report().state, RootState::Halted);
    }
}
