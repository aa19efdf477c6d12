//! One Host's rule: which of its Mirrors runs what, at most `pushes` at a time, and who waits after a
//! failure.

pub mod hook;
pub mod mirror;
pub mod narrow;
pub mod push;
pub mod rsync_output;
pub mod steps;
pub mod target_state;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::backoff::{Backoff, seed_of};
use crate::data::batch::Batch;
use crate::data::change::{AssignmentId, Lane};
use crate::data::ids::{HostId, MirrorId, RootId};
use crate::data::moment::Moment;
use crate::data::outcome::{AssignmentEnd, Blame, Capability, Outcome, RemoteEnd, Unproved};
use crate::data::plan::RetryPlan;
use crate::data::runs::Ran;
use crate::host::mirror::{Mirror, MirrorReport, PushId};
use crate::host::steps::MirrorTerms;
use crate::host::target_state::TargetState;
use crate::machine::Rule;

/// The Mirrors of one Host.
#[derive(Debug)]
pub struct Host {
    pushes: usize,
    retry: RetryPlan,
    mirrors: BTreeMap<MirrorId, Mirror>,
    backoff: Backoff,
    blocked_until: Option<Moment>,
    /// When the failure was seen that the host is blocked for: later ends of older runs add nothing.
    failed_at: Option<Moment>,
    last_error: Option<String>,
    /// What is known of its rsync.
    end: RemoteEnd,
    started: BTreeMap<PushId, Started>,
    next_push: u64,
    draining: bool,
    effects: VecDeque<Effect>,
}

/// A run under way.
#[derive(Debug)]
struct Started {
    mirror: MirrorId,
    since: Moment,
    is_walk: bool,
    entries: u64,
}

/// What the host wants done.
#[derive(Debug, PartialEq)]
pub enum Effect {
    /// Ask the Root's collator for work in this lane.
    Take(MirrorId, Lane),
    /// Run this.
    Start(Push),
    /// Tell the root that the mirror's directory exists.
    Reached(MirrorId),
    /// Tell the Root's collator how work ended.
    Ended(MirrorId, AssignmentId, AssignmentEnd),
    /// Something new is known of the host's rsync: keep it for the next start.
    Learned(RemoteEnd),
    /// To be looked at.
    Ran(MirrorId, Ran),
    /// The report has changed.
    Report,
    /// For the log.
    Note(Note),
    /// Nothing runs any more, and nothing will.
    Drained,
}

/// One run of work for one Mirror.
#[derive(Clone, Debug, PartialEq)]
pub struct Push {
    /// Its name on this host.
    pub id: PushId,
    /// Which assignment it carries out.
    pub assignment: AssignmentId,
    /// Where to.
    pub mirror: MirrorId,
    /// Which lane it belongs to.
    pub lane: Lane,
    /// What is to be brought there.
    pub batch: Arc<Batch>,
    /// How.
    pub terms: MirrorTerms,
}

/// Work as a collator hands it out.
#[derive(Clone, Debug, PartialEq)]
pub struct HostWork {
    /// To be named when it has ended.
    pub assignment: AssignmentId,
    /// What is to be brought to the mirror.
    pub batch: Arc<Batch>,
    /// What is known of the mirror's directory.
    pub target: TargetState,
    /// Exact renames can be trusted.
    pub trusts_renames: bool,
}

/// For the log: a failure is told once, and summed up when it is over.
#[derive(Debug, PartialEq)]
pub enum Note {
    /// Something failed for the first time, or differently than before.
    Failed {
        /// Where.
        mirror: MirrorId,
        /// What.
        why: String,
        /// Whose fault.
        blame: Option<Blame>,
        /// When it is tried again.
        retry_at: Option<Moment>,
    },
    /// It works again.
    Recovered {
        /// Where.
        mirror: MirrorId,
        /// Tries that failed since it last worked.
        failures: u64,
    },
    /// The host's rsync can't do something, and is served another way from now on.
    Lacks {
        /// Where it was found.
        mirror: MirrorId,
        /// What it said.
        why: String,
    },
    /// The host's rsync is an old one.
    Old {
        /// What follows.
        why: &'static str,
    },
    /// Done, with a remark.
    Remark {
        /// Where.
        mirror: MirrorId,
        /// What.
        text: String,
    },
}

impl Host {
    /// A host that was never reached.
    pub fn new(
        id: &HostId,
        pushes: usize,
        retry: RetryPlan,
        mirrors: impl IntoIterator<Item = MirrorId>,
    ) -> Self {
        let mirrors = mirrors.into_iter().map(|id| {
            let mirror = Mirror::new(&id, retry);
            (id, mirror)
        });
        Self {
            pushes,
            retry,
            mirrors: mirrors.collect(),
            backoff: Backoff::new(retry, seed_of(id.as_str())),
            blocked_until: None,
            failed_at: None,
            last_error: None,
            end: RemoteEnd::default(),
            started: BTreeMap::new(),
            next_push: 1,
            draining: false,
            effects: VecDeque::new(),
        }
    }

    /// So much was known of its rsync before.
    pub fn handle_known(&mut self, end: RemoteEnd) {
        self.end = end;
    }

    /// What is known of its rsync.
    pub fn remote_end(&self) -> &RemoteEnd {
        &self.end
    }

    /// A collator says that there is work.
    pub fn handle_nudge(&mut self, now: Moment, id: &MirrorId, lane: Lane) {
        if let Some(mirror) = self.mirrors.get_mut(id) {
            mirror.want(lane);
            self.pump(now);
        }
    }

    /// A collator answers with work.
    pub fn handle_batch(&mut self, now: Moment, id: &MirrorId, lane: Lane, work: HostWork) {
        let HostWork { assignment, batch, target, .. } = work;
        let mirror = self.mirrors.get_mut(id);
        let Some(mirror) = mirror.filter(|it| it.is_asked(lane) && !self.draining) else {
            if let Some(mirror) = self.mirrors.get_mut(id) {
                mirror.handle_nothing(lane);
            }
            // Nobody here asked for it, so it is given back, or it would be taken for under way.
            let why = "nobody waits for it any more";
            let end = AssignmentEnd::again(Blame::Mirror, why);
            self.effects.push_back(Effect::Ended(id.clone(), assignment, end));
            return;
        };
        let push = PushId(self.next_push);
        self.next_push += 1;
        let is_walk = batch.compares.is_some();
        mirror.report.reached |= target != TargetState::Unknown;
        mirror.start(lane, push, assignment, is_walk);
        let entries = if is_walk { 0 } else { batch.len() as u64 };
        let started = Started { mirror: id.clone(), since: now, is_walk, entries };
        self.started.insert(push, started);
        self.effects.push_back(Effect::Start(Push {
            id: push,
            assignment,
            mirror: id.clone(),
            lane,
            batch,
            terms: MirrorTerms {
                target,
                is_known: mirror.report.last_success.is_some(),
                delete_first: mirror.is_full,
                can_delete_missing: !self.end.lacks.contains(&Capability::DeleteMissing),
                can_check: !self.end.lacks.contains(&Capability::Checksum),
                can_rename: !self.end.lacks.contains(&Capability::Renames),
                trusts_renames: work.trusts_renames,
                may_link: true,
                compared_bytes_max: u64::MAX,
                pieces: mirror.pieces,
            },
        }));
        self.effects.push_back(Effect::Report);
    }

    /// A person says that the mirror's directory may be what it is: a missing one is made, an empty one
    /// filled.
    pub fn handle_approve(&mut self, now: Moment, id: &MirrorId) {
        if let Some(mirror) = self.mirrors.get_mut(id) {
            if mirror.report.halted.take().is_some() {
                mirror.unblock();
            }
            self.effects.push_back(Effect::Report);
            self.pump(now);
        }
    }

    /// A person wants nothing sent to this Mirror, or something again. What runs may end.
    pub fn handle_pause(&mut self, now: Moment, id: &MirrorId, paused: bool) {
        if let Some(mirror) = self.mirrors.get_mut(id) {
            mirror.report.paused = paused;
            if !paused {
                // A person who says so has reason to think that it works now.
                mirror.unblock();
                self.blocked_until = None;
                self.backoff.reset();
            }
            self.effects.push_back(Effect::Report);
            self.pump(now);
        }
    }

    /// On these Mirrors nothing is to be begun before those moments. What runs may end.
    pub fn handle_quiet(&mut self, now: Moment, quiet: &BTreeMap<MirrorId, Moment>) {
        for (id, mirror) in &mut self.mirrors {
            if mirror.rest_until(quiet.get(id).copied()) {
                self.effects.push_back(Effect::Report);
            }
        }
        self.pump(now);
    }

    /// A command after a push has ended; the error says why it failed.
    pub fn handle_hook(&mut self, id: &MirrorId, error: Option<String>) {
        if let Some(mirror) = self.mirrors.get_mut(id) {
            mirror.report.hook_error = error;
            self.effects.push_back(Effect::Report);
        }
    }

    /// A Mirror that is new here, and was never reached.
    pub fn add_mirror(&mut self, id: &MirrorId) {
        self.mirrors.insert(id.clone(), Mirror::new(id, self.retry));
        self.effects.push_back(Effect::Report);
    }

    /// This Mirror is given up with what runs for it.
    pub fn remove_mirror(&mut self, id: &MirrorId) {
        self.mirrors.remove(id);
        self.started.retain(|_, started| started.mirror != *id);
        self.effects.push_back(Effect::Report);
    }

    /// A collator answers that there is nothing.
    pub fn handle_nothing(&mut self, now: Moment, id: &MirrorId, lane: Lane) {
        if let Some(mirror) = self.mirrors.get_mut(id) {
            mirror.handle_nothing(lane);
            self.pump(now);
        }
    }

    /// The mirror's directory exists: fresh changes may go there while the Walk goes on.
    pub fn handle_reached(&mut self, now: Moment, push: PushId) {
        let Some(started) = self.started.get(&push) else { return };
        let mirror =
            self.mirrors.get_mut(&started.mirror).expect("what was started belongs to a mirror");
        mirror.report.reached = true;
        self.effects.push_back(Effect::Reached(started.mirror.clone()));
        self.effects.push_back(Effect::Report);
        self.pump(now);
    }

    /// How far a Walk has come, 0 to 1.
    pub fn handle_progress(&mut self, push: PushId, progress: f32) {
        let Some(started) = self.started.get(&push) else { return };
        let mirror =
            self.mirrors.get_mut(&started.mirror).expect("what was started belongs to a mirror");
        if mirror.report.progress != Some(progress) {
            mirror.report.progress = Some(progress);
            self.effects.push_back(Effect::Report);
        }
    }

    /// A run has ended.
    pub fn handle_ended(&mut self, now: Moment, push: PushId, end: AssignmentEnd) {
        let Some(started) = self.started.remove(&push) else { return };
        let Started { mirror: id, since, is_walk, entries } = started;
        let mirror = self.mirrors.get_mut(&id).expect("what was started belongs to a mirror");
        let Some((lane, assignment)) = mirror.running(push) else { return };
        mirror.finish(lane);
        mirror.report.bytes_sent += end.bytes_sent;
        let report = &mut mirror.report;
        let runs = if is_walk { &mut report.walk_runs } else { &mut report.push_runs };
        let (run_end, took) = (end.outcome.run_end(), now - since);
        runs.note(run_end, took);
        let (bytes_sent, why) = (end.bytes_sent, end.outcome.why());
        let ran = Ran { is_walk, entries, end: run_end, took, bytes_sent, why };
        self.effects.push_back(Effect::Ran(id.clone(), ran));
        if end.protocol.is_some_and(|protocol| self.end.meet(protocol)) {
            self.effects.push_back(Effect::Learned(self.end.clone()));
            let warning = self.end.warning();
            self.effects.extend(warning.map(|why| Effect::Note(Note::Old { why })));
        }
        for text in &end.notes {
            let note = Note::Remark { mirror: id.clone(), text: text.clone() };
            self.effects.push_back(Effect::Note(note));
        }
        match &end.outcome {
            Outcome::Done => {
                self.handle_success(now, &id, is_walk, None);
            }
            Outcome::Partly(unproved) => {
                self.handle_success(now, &id, is_walk, Some(Unproved::describe(unproved)));
            }
            Outcome::Unattributed(why) => {
                mirror.pieces = (mirror.pieces * 2).min(1 << 20);
                self.handle_failure(now, &id, lane, since, Blame::Mirror, why.clone());
            }
            Outcome::Halt(why) => {
                mirror.report.halted = Some(why.clone());
                self.handle_failure(now, &id, lane, since, Blame::Mirror, why.clone());
            }
            Outcome::Full(why) => {
                mirror.is_full = true;
                self.handle_failure(now, &id, lane, since, Blame::Mirror, why.clone());
            }
            Outcome::Incapable(capability, why) if self.end.lacks.insert(*capability) => {
                self.effects.push_back(Effect::Learned(self.end.clone()));
                // The other way is tried at once.
                mirror.want(lane);
                let note = Note::Lacks { mirror: id.clone(), why: why.clone() };
                self.effects.push_back(Effect::Note(note));
            }
            Outcome::Incapable(_, why) => {
                self.handle_failure(now, &id, lane, since, Blame::Mirror, why.clone());
            }
            // The rest is tried at once: nobody failed.
            Outcome::Withdrawn { .. } => mirror.want(lane),
            Outcome::Again { blame, why, .. } => {
                self.handle_failure(now, &id, lane, since, *blame, why.clone());
            }
        }
        self.effects.push_back(Effect::Ended(id, assignment, end));
        self.effects.push_back(Effect::Report);
        self.pump(now);
        self.check_drained();
    }

    /// A Root's collator was started anew: it knows nothing of what was asked or runs.
    pub fn handle_new_root(&mut self, now: Moment, root: &RootId) {
        for (id, mirror) in &mut self.mirrors {
            if id.root == *root {
                mirror.handle_unanswered();
            }
        }
        self.pump(now);
    }

    /// The actor was started anew around this rule: all runs are gone.
    pub fn handle_restart(&mut self, now: Moment) {
        self.started.clear();
        self.mirrors.values_mut().for_each(Mirror::handle_restart);
        self.effects.push_back(Effect::Report);
        self.pump(now);
    }

    /// Nothing new is started from now on.
    pub fn handle_drain(&mut self) {
        self.draining = true;
        self.check_drained();
    }

    /// What is known of each Mirror.
    pub fn report(&self) -> Vec<(MirrorId, MirrorReport)> {
        let report = |(id, mirror): (&MirrorId, &Mirror)| {
            let retry_at = self.blocked_until.or_else(|| mirror.unblocks_at());
            (id.clone(), MirrorReport { retry_at, ..mirror.report.clone() })
        };
        self.mirrors.iter().map(report).collect()
    }

    fn handle_success(&mut self, now: Moment, id: &MirrorId, is_walk: bool, but: Option<String>) {
        self.backoff.reset();
        self.blocked_until = None;
        self.failed_at = None;
        let mirror = self.mirrors.get_mut(id).expect("the caller looked it up");
        mirror.handle_success(now, is_walk);
        let failures = std::mem::take(&mut mirror.report.failures);
        let previous = mirror.report.last_error.take();
        let note = match (but, previous) {
            (None, Some(_)) => Some(Note::Recovered { mirror: id.clone(), failures }),
            (Some(why), previous) => {
                mirror.report.failures = failures + 1;
                mirror.report.last_error = Some(why.clone());
                let retry_at = None;
                (previous.as_ref() != Some(&why)).then(|| Note::Failed {
                    mirror: id.clone(),
                    why,
                    blame: None,
                    retry_at,
                })
            }
            (None, None) => None,
        };
        self.last_error = None;
        self.effects.extend(note.map(Effect::Note));
    }

    fn handle_failure(
        &mut self,
        now: Moment,
        id: &MirrorId,
        lane: Lane,
        since: Moment,
        blame: Blame,
        why: String,
    ) {
        let mirror = self.mirrors.get_mut(id).expect("the caller looked it up");
        mirror.want(lane);
        mirror.report.failures += 1;
        let previous = mirror.report.last_error.replace(why.clone());
        let (previous, retry_at) = match blame {
            Blame::Mirror => {
                mirror.block(now);
                (previous, mirror.unblocks_at())
            }
            Blame::Host => {
                // Runs that were under way when the host was found failing fail with it.
                if self.failed_at.is_none_or(|failed_at| since >= failed_at) {
                    self.blocked_until = Some(now + self.backoff.next_pause());
                    self.failed_at = Some(now);
                }
                (self.last_error.replace(why.clone()), self.blocked_until)
            }
        };
        if previous.as_ref() != Some(&why) {
            let note = Note::Failed { mirror: id.clone(), why, blame: Some(blame), retry_at };
            self.effects.push_back(Effect::Note(note));
        }
    }

    /// Starts what may be started.
    fn pump(&mut self, now: Moment) {
        if self.draining || self.blocked_until.is_some_and(|until| until > now) {
            return;
        }
        // After a failure of the host one run finds out whether it is back.
        let places = if self.failed_at.is_some() { 1 } else { self.pushes };
        let walks_max = places.saturating_sub(1).max(1);
        loop {
            let busy = |lane| self.mirrors.values().filter(|m| m.is_busy(lane)).count();
            let walks = busy(Lane::Slow);
            if busy(Lane::Fresh) + walks >= places {
                return;
            }
            let next = self
                .mirrors
                .iter()
                .filter_map(|(id, mirror)| {
                    let lane = mirror.eligible(now, walks < walks_max)?;
                    Some((mirror.last_started, id.clone(), lane))
                })
                .min();
            let Some((_, id, lane)) = next else { return };
            self.blocked_until = None;
            let mirror = self.mirrors.get_mut(&id).expect("found just now");
            mirror.ask(now, lane);
            self.effects.push_back(Effect::Take(id, lane));
        }
    }

    fn check_drained(&mut self) {
        if self.draining && self.started.is_empty() {
            self.effects.push_back(Effect::Drained);
        }
    }
}

impl Rule for Host {
    type Effect = Effect;

    fn handle_timeout(&mut self, now: Moment) {
        self.pump(now);
    }

    fn poll_timeout(&self, now: Moment) -> Option<Moment> {
        if self.draining {
            return None;
        }
        // A deadline that has passed waits for a free place, not for the clock.
        let ahead = |due: &Moment| *due > now;
        if let Some(due) = self.blocked_until.filter(ahead) {
            return self.mirrors.values().any(wants_anything).then_some(due);
        }
        self.mirrors.values().filter_map(Mirror::unblocks_at).filter(ahead).min()
    }

    fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }
}

fn wants_anything(mirror: &Mirror) -> bool {
    mirror.eligible(Moment::default() + std::time::Duration::MAX, true).is_some()
}

#[cfg(test)]
mod tests;
