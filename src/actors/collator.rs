//! One Root's collator: the shell around [`crate::core::collator::Collator`], and the maker of batches.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use actix::prelude::*;
use futures_util::StreamExt;
use slog::{Logger, debug, error, info, o, warn};

use crate::actors::kit::Kit;
use crate::actors::links::{CollatorLink, HostLink, RootLink, WatcherLink};
use crate::actors::memory::Memory;
use crate::actors::message::{
    Applied, Approve, BatchReady, Changed, Explore, MeetHost, RootReported, Seal, SourceGone,
    TakeBatch, VolumeSeen, WatchAnew, WatchLost, Watching, Who, Work, WorkWaits,
};
use crate::actors::notice::DeathNotice;
use crate::actors::send::tell;
use crate::actors::shell::Shell;
use crate::core::batch::{self, Presence};
use crate::core::change_log::Taken;
use crate::core::collator::{Collator, Effect};
use crate::core::filter::Filter;
use crate::core::open_epoch::Waits;
use crate::core::safety::{Guard, Judgement, Sighting};
use crate::core::shared_batch::{Answer, Asker, SharedBatch};
use crate::types::batch::Batch;
use crate::types::change::{Epoch, Lane, Ticket};
use crate::types::ids::{HostId, MirrorId};
use crate::types::limits::{GUARD_IDLE_INTERVAL, GUARD_INTERVAL, MAX_DELETE_MIN};
use crate::types::moment::Moment;
use crate::types::name::Escaped;
use crate::types::outcome::{Budget, Outcome, PushEnd};
use crate::types::plan::RootPlan;
use crate::types::rel_path::RelPath;
use crate::types::source_dir::SourceDir;
use crate::watch::mounts;
use crate::watch::presence::{Found, Looker};
use crate::watch::source;

/// Collects one Root's changes and hands them out.
pub struct CollatorActor {
    core: Collator,
    root: RootPlan,
    filter: Arc<Filter>,
    kit: Kit,
    log: Logger,
    hosts: BTreeMap<HostId, HostLink>,
    watcher: Option<WatcherLink>,
    source: Option<SourceDir>,
    guard: Guard,
    directories: usize,
    /// The most entries that were known in the Root; none where nobody counts.
    entries: Option<u64>,
    shared: SharedBatch,
    memory: Memory,
    live: Live,
    _notice: DeathNotice,
}

#[derive(Default)]
struct Live {
    wake: Option<Moment>,
    /// The board is to be told.
    report: bool,
    /// Where file systems were mounted below the Root at the last look.
    mounted: BTreeSet<RelPath>,
    /// The next look at the source.
    look: Option<SpawnHandle>,
}

impl CollatorActor {
    /// A collator that knows nothing: each Mirror owes a Walk.
    pub fn new(root: &RootPlan, filter: Arc<Filter>, kit: &Kit, life: u64) -> Self {
        let waits = Waits {
            settle: root.settle,
            max_age: root.max_age,
            open_quiet: root.open_quiet,
            open_max: root.open_max,
        };
        let mirrors = root.mirrors.iter().map(|mirror| {
            let host = &kit.plan.hosts[&mirror.id.host];
            // A receiver ends itself when it has heard nothing for `timeout`; as long again, to be sure.
            (mirror.id.clone(), host.retry, host.timeout * 2)
        });
        let who = Who::Root(root.id.clone());
        let mut core = Collator::new(kit.clock.now(), waits, mirrors);
        let memory = Memory::new(&kit.plan, root);
        for mirror in &root.mirrors {
            core.handle_directory(&mirror.id, memory.directory(&mirror.id));
        }
        if !memory.begin() {
            core.handle_unclean(kit.clock.now());
        }
        Self {
            core,
            memory,
            root: root.clone(),
            filter,
            log: kit.log.new(o!("root" => root.id.to_string())),
            hosts: BTreeMap::new(),
            watcher: None,
            source: None,
            guard: Guard::default(),
            directories: 0,
            entries: None,
            shared: SharedBatch::default(),
            live: Live::default(),
            _notice: DeathNotice::new(who, life, &kit.overseer.gone),
            kit: kit.clone(),
        }
    }

    fn report(&self) {
        let message = RootReported {
            root: self.root.id.clone(),
            report: self.core.report(),
            directories: self.directories,
        };
        tell(&self.kit.board.root, message);
    }

    fn answer(&self, mirror: MirrorId, lane: Lane, work: Option<Work>) {
        if let Some(host) = self.hosts.get(&mirror.host) {
            tell(&host.batch_ready, BatchReady { mirror, lane, work });
        }
    }

    /// Looks at the disk, away from this thread, and hands out the result.
    fn make(&mut self, ctx: &mut Context<Self>, mirror: MirrorId, lane: Lane, taken: Taken) {
        let Some(source) = self.source.clone() else {
            self.answer(mirror.clone(), lane, None);
            self.turn(ctx, |core, now| core.handle_not_made(now, &mirror, taken.ticket));
            return;
        };
        let mut making = None;
        if !taken.own && !taken.walk {
            let asker = (mirror.clone(), taken.ticket);
            match self.shared.handle_ask((taken.from, taken.to), asker) {
                Answer::Batch(made) => {
                    return self.hand_out(ctx, mirror, lane, taken.ticket, made);
                }
                Answer::Wait => return,
                Answer::Make { making: number, forgotten } => {
                    making = Some(number);
                    self.turn_away(ctx, forgotten);
                }
            }
        }
        let (root, filter) = (self.root.clone(), self.filter.clone());
        let guard = self.guard.clone();
        let ticket = taken.ticket;
        let task = tokio::task::spawn_blocking(move || {
            let judgement = guard.judge(&sight(&root, &source, &guard));
            let held = match &judgement {
                Judgement::Same(held) => held.as_slice(),
                Judgement::Gone(_) => &[],
            };
            let full = source::holds_any(&source, |path, is_dir| filter.excludes(path, is_dir));
            let batch = if taken.walk {
                batch::make_walk(taken.to, held)
            } else {
                let found = look(&source, &taken.entries);
                batch::make(taken.to, &taken.entries, &found, &filter, held)
            };
            let batch = Batch { full, ..batch };
            (judgement, Arc::new(batch))
        });
        ctx.spawn(task.into_actor(self).map(move |made, act, ctx| match made {
            Ok((judgement, batch)) => {
                let waiting = making.map(|number| act.shared.handle_made(number, &batch));
                let askers = std::iter::once((mirror, ticket)).chain(waiting.into_iter().flatten());
                act.handle_made(ctx, lane, askers.collect(), &judgement, &batch);
            }
            Err(error) => {
                error!(act.log, "Making a batch failed"; "why" => %error);
                act.answer(mirror.clone(), lane, None);
                act.turn(ctx, |core, now| core.handle_not_made(now, &mirror, ticket));
                act.forget_shared(ctx);
            }
        }));
    }

    fn handle_made(
        &mut self,
        ctx: &mut Context<Self>,
        lane: Lane,
        askers: Vec<Asker>,
        judgement: &Judgement,
        batch: &Arc<Batch>,
    ) {
        self.judge(ctx, judgement.clone());
        if batch.full {
            self.turn(ctx, Collator::handle_full);
        }
        for (mirror, ticket) in askers {
            match judgement {
                Judgement::Same(_) => self.hand_out(ctx, mirror, lane, ticket, batch.clone()),
                Judgement::Gone(_) => {
                    self.answer(mirror.clone(), lane, None);
                    self.turn(ctx, |core, now| core.handle_not_made(now, &mirror, ticket));
                }
            }
        }
    }

    fn hand_out(
        &mut self,
        ctx: &mut Context<Self>,
        mirror: MirrorId,
        lane: Lane,
        ticket: Ticket,
        batch: Arc<Batch>,
    ) {
        if batch.is_empty() {
            // Everything in it is covered by something else, or held.
            self.answer(mirror.clone(), lane, None);
            let done = PushEnd::new(Outcome::Done);
            self.turn(ctx, |core, now| core.handle_applied(now, &mirror, ticket, &done));
            return;
        }
        debug!(self.log, "Handing out"; "mirror" => %mirror, "paths" => batch.len(),
            "walk" => batch.walk);
        let budget = self.budget(&mirror, lane, &batch);
        let work = self.source.clone().map(|source| Work { ticket, batch, budget, source });
        self.answer(mirror, lane, work);
    }

    /// How much a push may delete. An empty Root has no say in that: its disk may not be mounted.
    fn budget(&self, mirror: &MirrorId, lane: Lane, batch: &Batch) -> Budget {
        if let Some(budget) = self.core.budget(mirror, lane) {
            return budget;
        }
        if batch.walk && !batch.full {
            return Budget::AtMost(0);
        }
        let half = |entries: u64| (entries / 2).max(MAX_DELETE_MIN);
        let known = self.entries.map_or(u64::MAX, half);
        Budget::AtMost(self.root.max_delete.unwrap_or(known))
    }

    fn forget_shared(&mut self, ctx: &mut Context<Self>) {
        let waiting = self.shared.forget();
        self.turn_away(ctx, waiting);
    }

    /// There is nothing for them now; what they came for is still owed.
    fn turn_away(&mut self, ctx: &mut Context<Self>, askers: Vec<Asker>) {
        for (mirror, ticket) in askers {
            self.answer(mirror.clone(), Lane::Fresh, None);
            self.turn(ctx, |core, now| core.handle_not_made(now, &mirror, ticket));
        }
    }

    /// The source was looked at: what does that mean?
    fn judge(&mut self, ctx: &mut Context<Self>, judgement: Judgement) {
        match judgement {
            Judgement::Gone(why) => self.halt_until_back(ctx, &why),
            Judgement::Same(_) if self.core.halted().is_some() => {
                if let Some(watcher) = &self.watcher {
                    info!(self.log, "The source is back; it is watched anew");
                    tell(&watcher.watch_anew, WatchAnew);
                }
            }
            Judgement::Same(held) => {
                if let Some(watcher) = &self.watcher {
                    for path in self.core.unmounted().iter().filter(|path| !held.contains(path)) {
                        tell(&watcher.explore, Explore { path: path.clone() });
                    }
                }
                self.turn(ctx, |core, now| core.handle_unmounted(now, held));
            }
        }
    }

    fn halt_until_back(&mut self, ctx: &mut Context<Self>, why: &str) {
        let source = Escaped(self.root.source.as_os_str().as_bytes());
        let root = &self.root.id;
        let why = format!(
            "{why}: {source}. Nothing is pushed and nothing deleted until it is back; to take what is \
             there now: mirrorball approve {root}"
        );
        self.halt(ctx, why);
    }

    fn halt(&mut self, ctx: &mut Context<Self>, why: String) {
        if self.core.halted() != Some(why.as_str()) {
            error!(self.log, "The root is halted"; "why" => &why);
            self.turn(ctx, |core, now| core.handle_halt(now, why));
        }
    }

    /// Looks at the source again and again: a parent that is renamed, or a file system mounted over
    /// it, raises no event. More often while it is not what it was.
    fn guard_source(&mut self, ctx: &mut Context<Self>) {
        let troubled = self.core.halted().is_some() || !self.core.unmounted().is_empty();
        let pause = if troubled { GUARD_INTERVAL } else { GUARD_IDLE_INTERVAL };
        self.live.look.map(|look| ctx.cancel_future(look));
        self.live.look = Some(ctx.run_later(pause, |act, ctx| {
            act.live.look = None;
            act.look_again(ctx);
        }));
    }

    fn look_again(&mut self, ctx: &mut Context<Self>) {
        let Some(source) = self.source.clone() else { return self.guard_source(ctx) };
        let (root, guard) = (self.root.clone(), self.guard.clone());
        let task = tokio::task::spawn_blocking(move || {
            let mounted = mounts::below(&root.source).unwrap_or_default();
            (guard.judge(&sight(&root, &source, &guard)), mounted)
        });
        ctx.spawn(task.into_actor(self).map(|looked, act, ctx| {
            if let Ok((judgement, mounted)) = looked {
                act.judge(ctx, judgement);
                act.explore_mounts(mounted);
            }
            act.guard_source(ctx);
        }));
    }

    /// A file system that was mounted below the Root raised no event there.
    fn explore_mounts(&mut self, mounted: BTreeSet<RelPath>) {
        let Some(watcher) = self.watcher.as_ref().filter(|_| self.core.halted().is_none()) else {
            return;
        };
        for path in mounted.difference(&self.live.mounted) {
            if self.guard.is_unknown_volume(path) {
                info!(self.log, "A file system was mounted below the root"; "path" => %path);
                tell(&watcher.explore, Explore { path: path.clone() });
            }
        }
        self.live.mounted = mounted;
    }

    /// The way to this collator for its watcher.
    pub fn link(address: &Addr<Self>) -> CollatorLink {
        CollatorLink {
            changed: address.clone().recipient(),
            watching: address.clone().recipient(),
            lost: address.clone().recipient(),
            gone: address.clone().recipient(),
            volume: address.clone().recipient(),
            seal: address.clone().recipient(),
        }
    }

    /// The way to this collator for hosts.
    pub fn root_link(address: &Addr<Self>) -> RootLink {
        RootLink { take_batch: address.clone().recipient(), applied: address.clone().recipient() }
    }
}

fn sight(root: &RootPlan, source: &SourceDir, guard: &Guard) -> Sighting {
    let device = |path: &RelPath| (path.clone(), source::device_at(source, path));
    Sighting {
        root: source::sight(&root.source),
        is_marked: root.marker.as_ref().is_none_or(|name| source::holds(source, name)),
        volumes: guard.volumes().map(device).collect(),
    }
}

fn look(source: &SourceDir, entries: &[(RelPath, crate::types::change::Kinds)]) -> Vec<Presence> {
    let mut looker = Looker::new(source);
    let presence = |(path, _): &(RelPath, _)| match looker.look(path) {
        Found::Present { is_directory } => Presence::Present { is_directory },
        Found::Missing(topmost) => Presence::Missing { topmost },
        Found::Below(blocker) => Presence::Below { blocker },
    };
    entries.iter().map(presence).collect()
}

impl Shell for CollatorActor {
    type Rule = Collator;

    fn rule(&mut self) -> Option<&mut Collator> {
        Some(&mut self.core)
    }

    fn wake(&mut self) -> &mut Option<Moment> {
        &mut self.live.wake
    }

    fn now(&self) -> Moment {
        self.kit.clock.now()
    }

    fn carry_out(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        match effect {
            Effect::Nudge(mirror, lane) => {
                if let Some(host) = self.hosts.get(&mirror.host) {
                    let directory = self.core.directory(&mirror);
                    tell(&host.work_waits, WorkWaits { mirror, lane, directory });
                }
            }
            Effect::Make(mirror, lane, taken) => self.make(ctx, mirror, lane, taken),
            Effect::Nothing(mirror, lane) => self.answer(mirror, lane, None),
            Effect::Remember(mirror, directory) => {
                if let Err(error) = self.memory.keep(&mirror, directory) {
                    warn!(self.log, "What is known of a mirror can't be kept for the next start";
                        "mirror" => %mirror, "why" => %error);
                }
            }
            Effect::Surprise(mirror, path) => {
                warn!(self.log, "A directory was missing on the mirror; it will be walked";
                    "mirror" => %mirror, "path" => %path);
            }
            Effect::Report => self.live.report = true,
        }
    }

    fn after_effects(&mut self, _: &mut Context<Self>) {
        if std::mem::take(&mut self.live.report) {
            self.report();
        }
    }
}

impl Actor for CollatorActor {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Self::Context) {
        match mounts::changes() {
            Ok(changes) => drop(ctx.add_stream(changes.map(|()| Mounted))),
            Err(error) => {
                warn!(self.log, "Mounts are only looked at now and then"; "why" => %error);
            }
        }
        self.turn(ctx, |_, _| ());
        self.report();
    }
}

impl Supervised for CollatorActor {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.live = Live::default();
    }
}

/// Something was mounted or unmounted somewhere.
struct Mounted;

impl StreamHandler<Mounted> for CollatorActor {
    fn handle(&mut self, _: Mounted, ctx: &mut Self::Context) {
        if self.core.is_watching() {
            self.look_again(ctx);
        }
    }

    // The slow look goes on when the kernel tells no more.
    fn finished(&mut self, _: &mut Self::Context) {}
}

impl Handler<Changed> for CollatorActor {
    type Result = ();
    fn handle(&mut self, message: Changed, ctx: &mut Self::Context) {
        let Changed { changes, exploring, entries } = message;
        self.entries = self.entries.max(Some(entries));
        self.turn(ctx, |core, now| core.handle_changed(now, changes, exploring));
    }
}

impl Handler<Watching> for CollatorActor {
    type Result = ();
    fn handle(&mut self, message: Watching, ctx: &mut Self::Context) {
        let Watching { source, directories, entries } = message;
        self.entries = self.entries.max(entries);
        let is_root = self.guard.handle_watching(source.identity());
        self.source = Some(source);
        self.directories = directories;
        self.forget_shared(ctx);
        if is_root {
            self.turn(ctx, Collator::handle_watching);
        } else {
            let why = "The source is another directory than the one that was mirrored";
            self.halt_until_back(ctx, why);
        }
        self.guard_source(ctx);
    }
}

impl Handler<WatchLost> for CollatorActor {
    type Result = ();
    fn handle(&mut self, _: WatchLost, ctx: &mut Self::Context) {
        self.forget_shared(ctx);
        self.guard.handle_watch_lost();
        self.turn(ctx, Collator::handle_watch_lost);
    }
}

impl Handler<SourceGone> for CollatorActor {
    type Result = ();
    fn handle(&mut self, message: SourceGone, ctx: &mut Self::Context) {
        self.guard.handle_watch_lost();
        // The first reason says more than that watching fails because of it.
        if let Some(why) = self.core.halted().map(String::from) {
            self.turn(ctx, |core, now| {
                core.handle_watch_lost(now);
                core.handle_halt(now, why);
            });
        } else {
            self.turn(ctx, Collator::handle_watch_lost);
            self.halt(ctx, message.why);
        }
        self.guard_source(ctx);
    }
}

impl Handler<VolumeSeen> for CollatorActor {
    type Result = ();
    fn handle(&mut self, message: VolumeSeen, _: &mut Self::Context) {
        self.guard.handle_volume(message.path, message.device);
    }
}

impl Handler<Seal> for CollatorActor {
    type Result = MessageResult<Seal>;
    fn handle(&mut self, _: Seal, ctx: &mut Self::Context) -> Self::Result {
        let mut head = Epoch::default();
        self.turn(ctx, |core, now| head = core.handle_mark(now));
        MessageResult(head)
    }
}

impl Handler<TakeBatch> for CollatorActor {
    type Result = ();
    fn handle(&mut self, message: TakeBatch, ctx: &mut Self::Context) {
        self.turn(ctx, |core, now| core.handle_take(now, &message.mirror, message.lane));
    }
}

impl Handler<Applied> for CollatorActor {
    type Result = ();
    fn handle(&mut self, message: Applied, ctx: &mut Self::Context) {
        let Applied { mirror, ticket, end } = message;
        if end.outcome != Outcome::Done {
            // A retry looks at the disk anew.
            self.forget_shared(ctx);
        }
        let held_before = self.core.held_deletions(&mirror);
        self.turn(ctx, |core, now| core.handle_applied(now, &mirror, ticket, &end));
        let held = self.core.held_deletions(&mirror);
        if held > 0 && held_before == 0 {
            warn!(self.log, "Deletions are held; let them go with: mirrorball approve {}", mirror;
                "mirror" => %mirror, "deletions" => held);
        }
    }
}

impl Handler<Approve> for CollatorActor {
    type Result = ();
    fn handle(&mut self, message: Approve, ctx: &mut Self::Context) {
        if self.core.halted().is_some() {
            warn!(self.log, "A person approves of the source as it is now");
            self.guard = Guard::default();
            if let Some(watcher) = &self.watcher {
                tell(&watcher.watch_anew, WatchAnew);
            }
        }
        info!(self.log, "Approved"; "mirror" => %message.mirror);
        self.turn(ctx, |core, now| core.handle_approve(now, &message.mirror));
    }
}

impl Handler<MeetHost> for CollatorActor {
    type Result = ();
    fn handle(&mut self, message: MeetHost, ctx: &mut Self::Context) {
        let host = message.host.clone();
        self.hosts.insert(message.host, message.link);
        self.turn(ctx, |core, now| core.handle_new_host(now, &host));
    }
}

/// The collator's watcher is known once both have been started.
#[derive(Message)]
#[rtype(result = "()")]
pub struct MeetWatcher(pub WatcherLink);

impl Handler<MeetWatcher> for CollatorActor {
    type Result = ();
    fn handle(&mut self, message: MeetWatcher, _: &mut Self::Context) {
        self.watcher = Some(message.0);
    }
}
