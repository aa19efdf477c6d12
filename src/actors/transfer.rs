//! One Host's transfer actor: the shell around [`mirrorball_core::host::Host`].

mod hooks;
mod times;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use slog::{Logger, debug, info, o, warn};

use crate::actors::kit::Kit;
use crate::actors::links::{HostLink, RootLink};
use crate::actors::memory::HostMemory;
use crate::actors::message::{
    BatchReady, Drain, Drained, Ended, HostReported, Leave, LeaveVolume, LetGo, MeetRoot, NewPlan,
    Pause, Ping, Progressed, Reached, RunEnded, TakeBatch, TakeTarget, Verify, Who, Withdraw, Work,
    WorkWaits,
};
use crate::actors::notice::DeathNotice;
use crate::actors::send::tell;
use crate::actors::shell::Shell;
use crate::actors::slots::Weight;
use crate::actors::transfer::hooks::RunningHook;
use crate::transport::pace::{Pace, Throttle};
use crate::transport::{Job, Transport};
use mirrorball_core::data::change::Lane;
use mirrorball_core::data::ids::{HostId, MirrorId, RootId};
use mirrorball_core::data::limits::COMPARED_BYTES_A_SECOND;
use mirrorball_core::data::moment::Moment;
use mirrorball_core::data::outcome::{AssignmentEnd, Blame, Outcome};
use mirrorball_core::data::plan::{HostPlan, MirrorPlan, Plan};
use mirrorball_core::data::source_dir::{SourceDir, WeakSourceDir};
use mirrorball_core::data::step::{Deletions, Differences, Step, StepEnd, StepKind};
use mirrorball_core::data::timetable::Bandwidth;
use mirrorball_core::host::mirror::PushId;
use mirrorball_core::host::push::RunningPush;
use mirrorball_core::host::steps::MirrorTerms;
use mirrorball_core::host::{Effect, Host, HostWork, Note, Push};
use mirrorball_core::host::{rsync_output, steps};

/// Brings changes to one Host.
pub struct TransferActor {
    core: Host,
    host: HostId,
    timeout: Duration,
    kit: Kit,
    log: Logger,
    ends: HostMemory,
    transport: Rc<dyn Transport>,
    bandwidth: Bandwidth,
    /// What its runs share.
    throttle: Rc<Throttle>,
    mirrors: BTreeMap<MirrorId, Arc<MirrorPlan>>,
    rules: BTreeMap<RootId, PathBuf>,
    roots: BTreeMap<RootId, RootLink>,
    /// Where each Root's work comes from, as of its last batch. A halted Root is kept open by nobody.
    sources: BTreeMap<RootId, WeakSourceDir>,
    live: Live,
    /// The Plan does not know it any more.
    is_leaving: bool,
    _notice: DeathNotice,
}

#[derive(Default)]
struct Live {
    wake: Option<Moment>,
    /// The board is to be told.
    report: bool,
    /// The next look at the clock on the wall.
    minute: Option<SpawnHandle>,
    running: BTreeMap<PushId, Running>,
    /// Of each Mirror, in the order of its Plan.
    hooks: BTreeMap<MirrorId, Vec<RunningHook>>,
}

/// A push, where it comes from, and the process that runs for it now.
struct Running {
    rule: RunningPush,
    source: SourceDir,
    process: Rc<Cell<Option<u32>>>,
    /// What waits for its end.
    step: Option<SpawnHandle>,
}

impl TransferActor {
    /// The actor of a host whose Mirrors were never reached. `rules` are the files of the Roots' rules.
    pub fn new(host: &HostPlan, kit: &Kit, rules: &BTreeMap<RootId, PathBuf>, life: u64) -> Self {
        let mirrors = mirrors_on(&kit.plan, &host.id);
        let who = Who::Host(host.id.clone());
        let ends = HostMemory::new(&kit.plan, &host.id);
        let mut core = Host::new(&host.id, host.pushes, host.retry, mirrors.keys().cloned());
        core.handle_known(ends.load());
        Self {
            core,
            ends,
            host: host.id.clone(),
            timeout: host.timeout,
            log: kit.log.new(o!("host" => host.id.to_string())),
            transport: (kit.transports)(host),
            throttle: Rc::default(),
            bandwidth: host.bandwidth.clone(),
            mirrors,
            rules: rules.clone(),
            roots: BTreeMap::new(),
            sources: BTreeMap::new(),
            live: Live::default(),
            is_leaving: false,
            _notice: DeathNotice::new(who, life, &kit.overseer.gone),
            kit: kit.clone(),
        }
    }

    /// The way to this actor for collators.
    pub fn link(address: &Addr<Self>) -> HostLink {
        HostLink {
            work_waits: address.clone().recipient(),
            batch_ready: address.clone().recipient(),
            let_go: address.clone().recipient(),
            withdraw: address.clone().recipient(),
            leave_volume: address.clone().recipient(),
        }
    }

    fn write_note(&self, note: &Note) {
        match note {
            Note::Failed { mirror, why, blame, retry_at } => {
                let now = self.kit.clock.now();
                let retry =
                    retry_at.map(|at| humantime::format_duration(round(at - now)).to_string());
                let whose = match blame {
                    Some(Blame::Host) => "the host fails",
                    Some(Blame::Mirror) => "the mirror fails",
                    None => "some paths fail",
                };
                warn!(self.log, "Pushing failed: {}", whose; "mirror" => %mirror, "why" => why,
                    "retry_in" => retry.unwrap_or_else(|| "by path".into()));
            }
            Note::Recovered { mirror, failures } => {
                info!(self.log, "Pushing works again"; "mirror" => %mirror, "failures" => failures);
            }
            Note::Lacks { mirror, why } => {
                warn!(self.log, "This host's rsync can't do something; it is served another way";
                    "mirror" => %mirror, "why" => why);
            }
            Note::Old { why } => {
                warn!(self.log, "The host's rsync is an old one"; "why" => why);
            }
            Note::Remark { mirror, text } => {
                info!(self.log, "Done, with a remark"; "mirror" => %mirror, "remark" => text);
            }
        }
    }

    fn start(&mut self, ctx: &mut Context<Self>, push: Push) {
        let source = self.sources.get(&push.mirror.root).and_then(WeakSourceDir::upgrade);
        let (Some(mirror), Some(source)) = (self.mirrors.get(&push.mirror), source) else {
            let end = AssignmentEnd::again(Blame::Mirror, "The source was given up meanwhile");
            self.turn(ctx, |core, now| core.handle_ended(now, push.id, end));
            return;
        };
        let options = &mirror.rsync;
        let keeps_times = options.times.or(options.archive).unwrap_or(true);
        let terms = MirrorTerms {
            // Who knows what these are.
            may_link: options.extra.is_empty(),
            compared_bytes_max: self.timeout.as_secs().max(1) * COMPARED_BYTES_A_SECOND,
            trusts_renames: push.terms.trusts_renames && keeps_times,
            ..push.terms
        };
        let steps = steps::plan(&push.batch, mirror.delete, terms);
        let id = push.id;
        let rule = RunningPush::new(push, steps);
        let running = Running { rule, source, process: Rc::default(), step: None };
        self.live.running.insert(id, running);
        self.run_next(ctx, id);
    }

    fn run_next(&mut self, ctx: &mut Context<Self>, id: PushId) {
        let Some(running) = self.live.running.get_mut(&id) else { return };
        let Some(step) = running.rule.next_step() else {
            let end = running.rule.finish();
            self.end(ctx, id, end);
            return;
        };
        let weak = ctx.address().downgrade();
        let lacks = self.core.remote_end().lacks.clone();
        let may_last = step.kind.is_walk() || running.rule.push.lane == Lane::Slow;
        let moved = (step.kind == StepKind::Check).then_some(self.kit.plan.verify_rate);
        let pace = Pace { moved, ..self.pace(may_last) };
        let Some(running) = self.live.running.get_mut(&id) else { return };
        let job = Job {
            step: step.clone(),
            pace,
            lacks,
            source: running.source.clone(),
            mirror: self.mirrors[&running.rule.push.mirror].clone(),
            rules: self.rules.get(&running.rule.push.mirror.root).cloned(),
            on_progress: Rc::new(move |progress| {
                if let Some(address) = weak.upgrade() {
                    crate::actors::send::tell_actor(&address, Progressed { push: id, progress });
                }
            }),
            process: running.process.clone(),
        };
        debug!(self.log, "Running rsync"; "mirror" => %running.rule.push.mirror,
            "step" => step.kind.name(), "paths" => step.paths.len());
        let (slots, process) = (self.kit.slots.clone(), running.process.clone());
        let transport = self.transport.clone();
        let entries = running.rule.push.batch.entries;
        let weight = if step.kind.is_walk() { Weight::Walk(entries) } else { Weight::Push };
        let run = async move { slots.run(weight, process, transport.run(job)).await };
        let handle = ctx.spawn(
            run.into_actor(self).map(move |end, act, ctx| act.handle_step(ctx, id, &step, &end)),
        );
        if let Some(running) = self.live.running.get_mut(&id) {
            running.step = Some(handle);
        }
    }

    fn handle_step(&mut self, ctx: &mut Context<Self>, id: PushId, step: &Step, end: &StepEnd) {
        let Some(running) = self.live.running.get_mut(&id) else { return };
        let verdict = rsync_output::judge(step, end);
        debug!(self.log, "rsync ended"; "mirror" => %running.rule.push.mirror,
            "step" => step.kind.name(), "exit" => ?end.exit, "bytes" => end.bytes_sent);
        if let Some(end) = running.rule.handle_step(step, end, verdict) {
            self.end(ctx, id, end);
            return;
        }
        if step.kind == StepKind::FirstContact {
            self.turn(ctx, |core, now| core.handle_reached(now, id));
        }
        self.run_next(ctx, id);
    }

    fn end(&mut self, ctx: &mut Context<Self>, id: PushId, end: AssignmentEnd) {
        let running = self.live.running.remove(&id);
        let is_brought = end.outcome.is_settled();
        self.turn(ctx, |core, now| core.handle_ended(now, id, end));
        if let Some(running) = running.filter(|_| is_brought) {
            let push = &running.rule.push;
            self.note_pushed(&push.mirror, &push.batch, ctx);
        }
    }
}

fn mirrors_on(plan: &Plan, host: &HostId) -> BTreeMap<MirrorId, Arc<MirrorPlan>> {
    let mirrors = plan.roots.values().flat_map(|root| &root.mirrors);
    let mirrors = mirrors.filter(|mirror| mirror.id.host == *host);
    mirrors.map(|mirror| (mirror.id.clone(), Arc::new(mirror.clone()))).collect()
}

/// To tenths of a second, for people.
fn round(duration: std::time::Duration) -> std::time::Duration {
    std::time::Duration::from_millis(duration.as_millis().div_ceil(100) as u64 * 100)
}

impl Shell for TransferActor {
    type Rule = Host;

    fn rule(&mut self) -> Option<&mut Host> {
        (!self.is_leaving).then_some(&mut self.core)
    }

    fn wake(&mut self) -> &mut Option<Moment> {
        &mut self.live.wake
    }

    fn now(&self) -> Moment {
        self.kit.clock.now()
    }

    fn carry_out(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        match effect {
            Effect::Take(mirror, lane) => {
                if let Some(root) = self.roots.get(&mirror.root) {
                    tell(&root.take_batch, TakeBatch { mirror, lane });
                }
            }
            Effect::Start(push) => self.start(ctx, push),
            Effect::Reached(mirror) => {
                if let Some(root) = self.roots.get(&mirror.root) {
                    tell(&root.reached, Reached { mirror });
                }
            }
            Effect::Ended(mirror, assignment, end) => {
                if let Some(root) = self.roots.get(&mirror.root) {
                    tell(&root.ended, Ended { mirror, assignment, end });
                }
            }
            Effect::Note(note) => self.write_note(&note),
            Effect::Learned(end) => {
                info!(self.log, "The host was met"; "rsync" => end.program(),
                    "lacks" => ?end.lacks);
                if let Err(error) = self.ends.keep(&end) {
                    warn!(self.log, "What is known of the host can't be kept"; "why" => %error);
                }
            }
            Effect::Drained => {
                tell(&self.kit.overseer.drained, Drained { host: self.host.clone() });
            }
            Effect::Ran(mirror, ran) => {
                let at = self.kit.clock.now();
                tell(&self.kit.board.ran, RunEnded { mirror, at, ran });
            }
            Effect::Report => self.live.report = true,
        }
    }

    fn after_effects(&mut self, _: &mut Context<Self>) {
        if std::mem::take(&mut self.live.report) {
            let (host, end) = (self.host.clone(), self.core.remote_end().clone());
            tell(&self.kit.board.host, HostReported { host, end, mirrors: self.core.report() });
        }
    }
}

impl Actor for TransferActor {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Self::Context) {
        if !self.is_leaving {
            self.heed_time(ctx);
        }
    }
}

impl Supervised for TransferActor {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.live = Live::default();
        if !self.is_leaving {
            self.core.handle_restart(self.kit.clock.now());
        }
    }
}

impl Drop for TransferActor {
    fn drop(&mut self) {
        self.transport.close();
    }
}

impl Handler<WorkWaits> for TransferActor {
    type Result = ();
    fn handle(&mut self, message: WorkWaits, ctx: &mut Self::Context) {
        self.turn(ctx, |core, now| core.handle_nudge(now, &message.mirror, message.lane));
    }
}

impl Handler<BatchReady> for TransferActor {
    type Result = ();
    fn handle(&mut self, message: BatchReady, ctx: &mut Self::Context) {
        let BatchReady { mirror, lane, work } = message;
        match work {
            Some(work) => {
                let Work { assignment, batch, target, trusts_renames, source } = work;
                self.sources.insert(mirror.root.clone(), source.downgrade());
                let work = HostWork { assignment, batch, target, trusts_renames };
                self.turn(ctx, |core, now| core.handle_batch(now, &mirror, lane, work));
            }
            None => self.turn(ctx, |core, now| core.handle_nothing(now, &mirror, lane)),
        }
    }
}

impl Handler<Verify> for TransferActor {
    type Result = ResponseFuture<Result<Differences, String>>;
    fn handle(&mut self, message: Verify, _: &mut Self::Context) -> Self::Result {
        let id = message.mirror;
        let source = self.sources.get(&id.root).and_then(WeakSourceDir::upgrade);
        let (Some(mirror), Some(source)) = (self.mirrors.get(&id), source) else {
            return Box::pin(
                async move { Err(format!("{id} has not been reached yet, or is halted")) },
            );
        };
        let kind = if message.contents { StepKind::Verify } else { StepKind::Plan };
        let deletes = message.contents || mirror.delete.on_walk();
        let deletions = if deletes { Deletions::All } else { Deletions::None };
        let step = Step { deletions, ..Step::new(kind, Vec::new()) };
        let process: Rc<Cell<Option<u32>>> = Rc::default();
        let job = Job {
            step: step.clone(),
            pace: self.pace(true),
            lacks: self.core.remote_end().lacks.clone(),
            source,
            mirror: mirror.clone(),
            rules: self.rules.get(&id.root).cloned(),
            on_progress: Rc::new(|_| ()),
            process: process.clone(),
        };
        let (slots, transport) = (self.kit.slots.clone(), self.transport.clone());
        Box::pin(async move {
            // How much there is to look at is not known here.
            let end = slots.run(Weight::Walk(u64::MAX), process, transport.run(job)).await;
            match rsync_output::judge(&step, &end).outcome {
                Outcome::Done => Ok(end.differences),
                failed => Err(failed.why().unwrap_or_default()),
            }
        })
    }
}

impl Handler<LetGo> for TransferActor {
    type Result = ();
    fn handle(&mut self, message: LetGo, _: &mut Self::Context) {
        self.transport.let_go(&message.root);
    }
}

impl Handler<Withdraw> for TransferActor {
    type Result = ();
    fn handle(&mut self, message: Withdraw, ctx: &mut Self::Context) {
        let Withdraw { mirror, assignment } = message;
        let is_meant = |it: &Push| it.mirror == mirror && it.assignment == assignment;
        let mut running = self.live.running.iter_mut();
        let Some((id, running)) = running.find(|(_, it)| is_meant(&it.rule.push)) else { return };
        let (id, end) = (*id, running.rule.withdraw());
        info!(self.log, "Deletions of a run wait now; it deletes nothing more"; "mirror" => %mirror,
            "is_ended" => end.is_some());
        if let Some(end) = end {
            // With what waits for it ends the process.
            running.step.take().map(|step| ctx.cancel_future(step));
            self.end(ctx, id, end);
        }
    }
}

impl Handler<LeaveVolume> for TransferActor {
    type Result = ();
    fn handle(&mut self, message: LeaveVolume, ctx: &mut Self::Context) {
        let LeaveVolume { root, volume } = message;
        let meets = |running: &Running| {
            let push = &running.rule.push;
            push.mirror.root == root && push.batch.meets(&volume)
        };
        let running = self.live.running.iter().filter(|(_, running)| meets(running));
        let ids: Vec<PushId> = running.map(|(id, _)| *id).collect();
        for id in ids {
            // With what waits for it ends the process.
            let step = self.live.running.get(&id).and_then(|running| running.step);
            step.map(|step| ctx.cancel_future(step));
            let why = format!("The file system at {volume} does not answer");
            let outcome = Outcome::Again { blame: Blame::Mirror, why, cut_off: true };
            self.end(ctx, id, AssignmentEnd::new(outcome));
        }
    }
}

impl Handler<NewPlan> for TransferActor {
    type Result = ();
    fn handle(&mut self, message: NewPlan, ctx: &mut Self::Context) {
        let NewPlan { plan, renewed, rules } = message;
        let mirrors = mirrors_on(&plan, &self.host);
        let stays = |id: &MirrorId| mirrors.contains_key(id) && !renewed.contains(id);
        let old = std::mem::take(&mut self.mirrors);
        for id in old.keys().filter(|id| !stays(id)) {
            self.live.running.retain(|_, running| {
                let stays = running.rule.push.mirror != *id;
                // With what waits for it ends the process.
                if let Some(step) = running.step.filter(|_| !stays) {
                    ctx.cancel_future(step);
                }
                stays
            });
            self.transport.let_go(&id.root);
            self.give_up_hooks(id, ctx);
            self.core.remove_mirror(id);
        }
        let has_other_hooks = |id: &&MirrorId| {
            old.get(id).is_some_and(|old| mirrors.get(id).is_some_and(|new| old.hooks != new.hooks))
        };
        for id in old.keys().filter(|id| stays(id)).filter(has_other_hooks) {
            self.give_up_hooks(id, ctx);
            self.core.handle_hook(id, None);
        }
        if let Some(host) = plan.hosts.get(&self.host) {
            self.bandwidth = host.bandwidth.clone();
        }
        let is_new = |id: &&MirrorId| !old.contains_key(id) || !stays(id);
        mirrors.keys().filter(is_new).for_each(|id| self.core.add_mirror(id));
        self.roots.retain(|id, _| plan.roots.contains_key(id));
        self.sources.retain(|id, _| plan.roots.contains_key(id));
        (self.mirrors, self.rules, self.kit.plan) = (mirrors, rules, plan);
        self.heed_time(ctx);
    }
}

impl Handler<Pause> for TransferActor {
    type Result = ();
    fn handle(&mut self, message: Pause, ctx: &mut Self::Context) {
        let Pause { mirror, paused } = message;
        if paused {
            self.transport.let_go(&mirror.root);
        }
        self.turn(ctx, |core, now| core.handle_pause(now, &mirror, paused));
    }
}

impl Handler<Leave> for TransferActor {
    type Result = ();
    fn handle(&mut self, _: Leave, ctx: &mut Self::Context) {
        self.is_leaving = true;
        // Whoever knows another keeps it alive; what runs ends with what waits for it.
        self.roots.clear();
        self.sources.clear();
        self.live = Live::default();
        ctx.stop();
    }
}

impl Handler<TakeTarget> for TransferActor {
    type Result = ();
    fn handle(&mut self, message: TakeTarget, ctx: &mut Self::Context) {
        self.turn(ctx, |core, now| core.handle_approve(now, &message.mirror));
    }
}

impl Handler<Progressed> for TransferActor {
    type Result = ();
    fn handle(&mut self, message: Progressed, ctx: &mut Self::Context) {
        self.turn(ctx, |core, _| core.handle_progress(message.push, message.progress));
    }
}

impl Handler<MeetRoot> for TransferActor {
    type Result = ();
    fn handle(&mut self, message: MeetRoot, ctx: &mut Self::Context) {
        let root = message.root.clone();
        self.roots.insert(message.root, message.link);
        // A new collator knows of no questions; those to its predecessor are never answered.
        self.turn(ctx, |core, now| core.handle_new_root(now, &root));
    }
}

impl Handler<Drain> for TransferActor {
    type Result = ();
    fn handle(&mut self, _: Drain, ctx: &mut Self::Context) {
        self.turn(ctx, |core, _| core.handle_drain());
    }
}

impl Handler<Ping> for TransferActor {
    type Result = Result<(), String>;
    fn handle(&mut self, _: Ping, _: &mut Self::Context) -> Self::Result {
        Ok(())
    }
}
