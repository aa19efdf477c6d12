//! One Root's collator: the shell around [`mirrorball_core::root::collator::Collator`], and the maker of batches.

mod approve;
mod check;
mod guard;
mod keep;
mod make;
mod renames;
mod steer;
mod times;

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::prelude::*;
use chrono::{DateTime, Local};
use futures_util::StreamExt;
use slog::{Logger, o, warn};

use crate::actors::collator::keep::Keeper;
use crate::actors::kit::{Kit, Mode};
use crate::actors::links::{CollatorLink, HostLink, RootLink, WatcherLink};
use crate::actors::memory::Memory;
use crate::actors::message::{
    BatchReady, Begun, Changed, Checked, Degraded, EndWell, Ended, MeetHost, Reached, RootReported,
    Seal, SourceGone, TakeBatch, Told, VolumeSeen, WatchLost, Watching, Who, Withdraw, Work,
    WorkWaits,
};
use crate::actors::notice::DeathNotice;
use crate::actors::send::tell;
use crate::actors::shell::Shell;
use crate::watch::volumes::Volumes;
use crate::watch::{mounts, source};
use mirrorball_core::data::change::{Epoch, Lane};
use mirrorball_core::data::ids::{HostId, MirrorId};
use mirrorball_core::data::limits::JOURNAL_PATHS_MAX;
use mirrorball_core::data::limits::PIECE_ENTRIES;
use mirrorball_core::data::moment::Moment;
use mirrorball_core::data::outcome::Outcome;
use mirrorball_core::data::plan::{HostPlan, MirrorPlan, RootPlan};
use mirrorball_core::data::source_dir::SourceDir;
use mirrorball_core::host::target_state::TargetState;
use mirrorball_core::root::collator::{Collator, Effect};
use mirrorball_core::root::deletions::{DeletionAccount, DeletionTerms};
use mirrorball_core::root::epoch::Waits;
use mirrorball_core::root::mirror::Terms;
use mirrorball_core::root::shared_batch::SharedBatch;
use mirrorball_core::source::filter::Filter;
use mirrorball_core::source::identity::{ANOTHER, Guard, Remembered};

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
    volumes: Arc<Volumes>,
    guard: Guard,
    /// What the next run will know of the Root.
    remembered: Remembered,
    directories: usize,
    shared: SharedBatch,
    memory: Memory,
    /// Whether the deletion account is on the disk as it is, or why not.
    account_kept: Result<(), String>,
    keeper: Option<Keeper>,
    checks: BTreeMap<MirrorId, Checked>,
    /// Events that were heard of.
    events: u64,
    /// How often some were lost.
    losses: u64,
    live: Live,
    /// Mirrors that the Plan did not know any more, or not as they were: until when what was on its way there may land.
    given_up: BTreeMap<MirrorId, Moment>,
    /// The Plan does not know it any more.
    is_leaving: bool,
    _notice: DeathNotice,
}

#[derive(Default)]
struct Live {
    wake: Option<Moment>,
    /// The board is to be told.
    report: bool,
    /// The next look at the source.
    look: Option<SpawnHandle>,
    /// The next look at the clock on the wall, and what it showed last.
    minute: Option<SpawnHandle>,
    seen: Option<DateTime<Local>>,
    /// The next check of each Mirror.
    checks: BTreeMap<MirrorId, SpawnHandle>,
}

impl CollatorActor {
    /// A collator that knows nothing: each Mirror owes a Walk.
    ///
    /// `is_first`: no other collator of this run came before it, so that it may go on where the last run ended.
    pub fn new(
        root: &RootPlan,
        filter: Arc<Filter>,
        volumes: Arc<Volumes>,
        kit: &Kit,
        life: u64,
        is_first: bool,
    ) -> Self {
        let waits = Waits {
            settle: root.settle,
            max_age: root.max_age,
            open_quiet: root.open_quiet,
            open_max: root.open_max,
        };
        let mirrors = root.mirrors.iter().map(|mirror| {
            let host = &kit.plan.hosts[&mirror.id.host];
            (mirror.id.clone(), terms(host, mirror))
        });
        let who = Who::Root(root.id.clone());
        let memory = Memory::new(&kit.plan, root);
        let now = kit.clock.now();
        let mut kept = memory.account();
        let extras = std::mem::take(&mut kept.extras);
        let account = DeletionAccount::from_kept(deletion_terms(root), kept, now);
        let mut core = Collator::new(now, life as u32, waits, account, mirrors);
        for mirror in &root.mirrors {
            core.handle_target(&mirror.id, memory.directory(&mirror.id));
        }
        // What was approved in another directory says nothing of this one.
        let is_known = |mirror: &MirrorId| memory.directory(mirror) != TargetState::Unknown;
        for (mirror, approvals) in extras.into_iter().filter(|(mirror, _)| is_known(mirror)) {
            core.handle_kept_extras(&mirror, approvals);
        }
        let log = kit.log.new(o!("root" => root.id.to_string()));
        let is_clean = memory.begin();
        let remembered = memory.root();
        if !is_clean {
            core.handle_unclean(kit.clock.now());
        }
        let keeper = Keeper::new(kit, &log, root, is_first, is_clean);
        if keeper.is_some() {
            core.keep_checkpoints(JOURNAL_PATHS_MAX);
        }
        Self {
            core,
            memory,
            account_kept: Ok(()),
            keeper,
            checks: BTreeMap::new(),
            events: 0,
            losses: 0,
            root: root.clone(),
            filter,
            log,
            hosts: BTreeMap::new(),
            watcher: None,
            source: None,
            volumes,
            guard: Guard::new(&remembered),
            remembered,
            directories: 0,
            shared: SharedBatch::default(),
            live: Live::default(),
            given_up: BTreeMap::new(),
            is_leaving: false,
            _notice: DeathNotice::new(who, life, &kit.overseer.gone),
            kit: kit.clone(),
        }
    }

    fn report(&self) {
        let message = RootReported {
            root: self.root.id.clone(),
            report: self.core.report(),
            directories: self.directories,
            checks: self.checks.clone(),
            events: self.events,
            losses: self.losses,
        };
        tell(&self.kit.board.root, message);
    }

    fn answer(&self, mirror: MirrorId, lane: Lane, work: Option<Work>) {
        if let Some(host) = self.hosts.get(&mirror.host) {
            tell(&host.batch_ready, BatchReady { mirror, lane, work });
        }
    }

    /// The way to this collator for its watcher.
    pub fn link(address: &Addr<Self>) -> CollatorLink {
        CollatorLink {
            changed: address.clone().recipient(),
            begun: address.clone().recipient(),
            watching: address.clone().recipient(),
            lost: address.clone().recipient(),
            gone: address.clone().recipient(),
            degraded: address.clone().recipient(),
            volume: address.clone().recipient(),
            told: address.clone().recipient(),
            seal: address.clone().recipient(),
        }
    }

    /// The way to this collator for hosts.
    pub fn root_link(address: &Addr<Self>) -> RootLink {
        RootLink {
            take_batch: address.clone().recipient(),
            ended: address.clone().recipient(),
            reached: address.clone().recipient(),
        }
    }
}

impl Shell for CollatorActor {
    type Rule = Collator;

    fn rule(&mut self) -> Option<&mut Collator> {
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
            Effect::Nudge(mirror, lane) => {
                if let Some(host) = self.hosts.get(&mirror.host) {
                    tell(&host.work_waits, WorkWaits { mirror, lane });
                }
            }
            Effect::Make(mirror, assignment) => self.make(ctx, mirror, assignment),
            Effect::Measure(apart) => self.measure(ctx, apart),
            Effect::Nothing(mirror, lane) => self.answer(mirror, lane, None),
            Effect::Withdraw(mirror, assignment) => {
                if let Some(host) = self.hosts.get(&mirror.host) {
                    tell(&host.withdraw, Withdraw { mirror, assignment });
                }
            }
            Effect::Remember(mirror, directory) => {
                if let Err(error) = self.memory.keep(&mirror, directory) {
                    warn!(self.log, "What is known of a mirror can't be kept for the next start";
                        "mirror" => %mirror, "why" => %error);
                }
            }
            Effect::Checkpoint(effect) => self.keep(ctx, effect),
            Effect::KeepAccount(account, durability) => {
                let kept = self.memory.keep_account(&account, durability);
                if let Err(error) = &kept {
                    warn!(self.log, "The deletion account can't be kept for the next start";
                        "why" => %error);
                }
                self.account_kept = kept.map_err(|error| error.to_string());
            }
            Effect::Checked(mirror, drift) => self.checked(ctx, mirror, drift),
            Effect::Surprise(mirror, path) => {
                warn!(self.log, "Something was missing on the mirror; it will be walked";
                    "mirror" => %mirror, "path" => %path);
            }
            Effect::Held(mirror, deletions) => {
                if self.kit.mode == Mode::Live {
                    warn!(self.log, "Deletions are held; show them with: mirrorball approve --list {}", mirror;
                        "mirror" => %mirror, "deletions" => deletions);
                }
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
        if self.is_leaving {
            return;
        }
        match mounts::changes() {
            Ok(changes) => drop(ctx.add_stream(changes.map(|()| Mounted))),
            Err(error) => {
                warn!(self.log, "Mounts are only looked at now and then"; "why" => %error);
            }
        }
        if self.kit.mode == Mode::Live {
            self.arm_checks(ctx);
            self.heed_time(ctx);
        }
        self.turn(ctx, Collator::handle_not_measured);
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
        let Changed { changes, exploring, levels, events } = message;
        self.events += events;
        self.turn(ctx, |core, now| {
            if !levels.is_empty() {
                core.handle_levels(now, levels);
            }
            core.handle_changed(now, changes, exploring);
        });
    }
}

impl Handler<Begun> for CollatorActor {
    type Result = ();
    fn handle(&mut self, message: Begun, ctx: &mut Self::Context) {
        // Where anything is known of the last run, it says what is to be done, and what is to be spared.
        if self.remembered != Remembered::default() || self.keeper.is_none() {
            return;
        }
        let lasting = source::lasting(&message.source).ok();
        if self.guard.handle_watching(message.source.identity(), lasting) {
            self.remember_root();
            self.source = Some(message.source);
            self.turn(ctx, Collator::handle_begun);
            self.look_again(ctx);
        }
    }
}

impl Handler<Watching> for CollatorActor {
    type Result = ();
    fn handle(&mut self, message: Watching, ctx: &mut Self::Context) {
        let Watching { source, directories, levels, snapshot, unsure } = message;
        self.turn(ctx, |core, now| core.handle_levels(now, levels));
        if unsure {
            self.turn(ctx, Collator::handle_unsure);
        }
        let lasting = source::lasting(&source).ok();
        let is_root = self.guard.handle_watching(source.identity(), lasting);
        self.remember_root();
        self.source = Some(source);
        self.directories = directories;
        self.forget_shared(ctx);
        if is_root {
            self.begin_from(ctx, snapshot);
        } else {
            self.halt_until_back(ctx, ANOTHER);
        }
        self.look_again(ctx);
    }
}

impl Handler<WatchLost> for CollatorActor {
    type Result = ();
    fn handle(&mut self, _: WatchLost, ctx: &mut Self::Context) {
        self.losses += 1;
        self.forget_shared(ctx);
        self.lose_scan();
        self.guard.handle_watch_lost();
        self.turn(ctx, Collator::handle_watch_lost);
    }
}

impl Handler<SourceGone> for CollatorActor {
    type Result = ();
    fn handle(&mut self, message: SourceGone, ctx: &mut Self::Context) {
        self.guard.handle_watch_lost();
        self.lose_scan();
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

impl Handler<Degraded> for CollatorActor {
    type Result = ();
    fn handle(&mut self, message: Degraded, ctx: &mut Self::Context) {
        self.turn(ctx, |core, _| core.handle_degraded(message.why));
    }
}

impl Handler<VolumeSeen> for CollatorActor {
    type Result = ();
    fn handle(&mut self, message: VolumeSeen, _: &mut Self::Context) {
        self.guard.handle_volume(message.path, message.volume);
        self.remember_root();
    }
}

impl Handler<Told> for CollatorActor {
    type Result = ();
    fn handle(&mut self, _: Told, ctx: &mut Self::Context) {
        self.turn(ctx, |core, _| core.handle_told());
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

impl Handler<Reached> for CollatorActor {
    type Result = ();
    fn handle(&mut self, message: Reached, ctx: &mut Self::Context) {
        self.turn(ctx, |core, now| core.handle_reached(now, &message.mirror));
    }
}

impl Handler<Ended> for CollatorActor {
    type Result = ();
    fn handle(&mut self, message: Ended, ctx: &mut Self::Context) {
        let Ended { mirror, assignment, end } = message;
        if end.outcome != Outcome::Done {
            // A retry looks at the disk anew.
            self.forget_shared(ctx);
        }
        self.turn(ctx, |core, now| core.handle_ended(now, &mirror, assignment, &end));
    }
}

impl Handler<EndWell> for CollatorActor {
    type Result = ();
    fn handle(&mut self, _: EndWell, _: &mut Self::Context) {
        if let Err(error) = self.end_well() {
            warn!(self.log, "The good end can't be noted; everything will be compared twice";
                "why" => %error);
        }
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

/// How much a root may lose without a question.
fn deletion_terms(root: &RootPlan) -> DeletionTerms {
    DeletionTerms {
        max_delete: root.max_delete,
        window: root.max_delete_window,
        may_be_empty: root.may_be_empty,
        free_to_delete: root.free_to_delete.clone(),
    }
}

/// How a mirror is served.
fn terms(host: &HostPlan, mirror: &MirrorPlan) -> Terms {
    Terms {
        retry: host.retry,
        // A receiver ends itself when it has heard nothing for `timeout`; as long again, to be sure.
        receiver_life: host.timeout * 2,
        is_durable: mirror.rsync.fsync == Some(true),
        // The names of one file may lie in different pieces.
        piece_entries: (mirror.rsync.hard_links != Some(true)).then_some(PIECE_ENTRIES),
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
