//! The overseer: builds the actors from the Plan, starts anew what died, ends everything in good order.

mod restarts;
mod steer;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use slog::{Logger, error, info};

use crate::actors::board::BoardActor;
use crate::actors::collator::{CollatorActor, MeetWatcher};
use crate::actors::kit::{Clock, Kit, Mode, TransportFactory};
use crate::actors::links::{BoardLink, OverseerLink, WatcherLink};
use crate::actors::message::{
    ActorDied, ActorGone, ActorRestarted, Drain, Drained, EndWell, Leave, Mark, MarkRoot, MeetHost,
    MeetRoot, Pause, Stop, Verify, Waiting, Who,
};
use crate::actors::overseer::restarts::Restarts;
use crate::actors::send::tell_actor;
use crate::actors::slots::Slots;
use crate::actors::transfer::TransferActor;
use crate::actors::watcher::WatcherActor;
use crate::watch::volumes::Volumes;
use mirrorball_core::data::change::Epoch;
use mirrorball_core::data::ids::{HostId, MirrorId, RootId};
use mirrorball_core::data::limits::DRAIN_WAIT;
use mirrorball_core::data::moment::Moment;
use mirrorball_core::data::plan::{Plan, RetryPlan, RootPlan};
use mirrorball_core::data::step::Differences;
use mirrorball_core::source::filter::Filter;

/// Pauses before the actors of a root that died are started again; for those of a host its own `retry` holds.
const ROOT_RETRY: RetryPlan =
    RetryPlan { first: Duration::from_secs(1), max: Duration::from_secs(60) };

/// The only one that knows the actors.
pub struct OverseerActor {
    kit: Kit,
    log: Logger,
    board: Addr<BoardActor>,
    filters: BTreeMap<RootId, Arc<Filter>>,
    /// They outlive the actors of their roots, so that a volume that does not answer keeps one thread.
    volumes: BTreeMap<RootId, Arc<Volumes>>,
    rules: BTreeMap<RootId, PathBuf>,
    /// Those that live: what died is in `restarts` until it is started again.
    roots: BTreeMap<RootId, RootActors>,
    hosts: BTreeMap<HostId, HostActor>,
    restarts: Restarts,
    next_life: u64,
    /// Roots that had a collator in this run.
    begun: BTreeSet<RootId>,
    /// Mirrors that a person wants nothing sent to.
    paused: BTreeSet<MirrorId>,
    /// Hosts that still have something running, once the end has begun.
    draining: Option<Vec<HostId>>,
}

struct RootActors {
    life: u64,
    watcher: Addr<WatcherActor>,
    collator: Addr<CollatorActor>,
}

struct HostActor {
    life: u64,
    transfer: Addr<TransferActor>,
}

/// A running daemon.
pub struct Running {
    /// Takes [`Stop`] and [`MarkRoot`].
    pub overseer: Addr<OverseerActor>,
    /// Answers [`crate::actors::message::StatusSince`].
    pub board: Addr<BoardActor>,
}

/// Starts all actors of a plan. Call it within an actix system; `transports` makes the ways to hosts.
pub fn start(
    plan: Arc<Plan>,
    mode: Mode,
    log: &Logger,
    transports: TransportFactory,
) -> anyhow::Result<Running> {
    let filters = filters(&plan)?;
    let rules = write_rules(&plan)?;
    let paused = steer::paused(&plan)?;
    let clock = Clock::start();
    let board = BoardActor::new(clock, plan.clone()).start();
    let slots = Slots::new(plan.pushes_max, plan.walks_max);
    let (log, to_board) = (log.clone(), board.clone());
    let overseer = OverseerActor::create(move |ctx| {
        let kit = Kit {
            clock,
            log: log.clone(),
            plan,
            mode,
            transports,
            slots,
            board: BoardLink {
                root: to_board.clone().recipient(),
                host: to_board.clone().recipient(),
                ran: to_board.clone().recipient(),
            },
            overseer: OverseerLink {
                gone: ctx.address().recipient(),
                drained: ctx.address().recipient(),
            },
        };
        OverseerActor {
            kit,
            log,
            board: to_board,
            filters,
            volumes: BTreeMap::new(),
            rules,
            roots: BTreeMap::new(),
            hosts: BTreeMap::new(),
            restarts: Restarts::default(),
            next_life: 0,
            begun: BTreeSet::new(),
            paused,
            draining: None,
        }
    });
    Ok(Running { overseer, board })
}

fn filters(plan: &Plan) -> anyhow::Result<BTreeMap<RootId, Arc<Filter>>> {
    let filter = |root: &RootPlan| Ok((root.id.clone(), Arc::new(Filter::new(&root.rules)?)));
    plan.roots.values().map(filter).collect()
}

/// rsync reads the rules of a Root from a file of ours, so that both sides decide by the same rules even
/// when the user's file changes.
fn write_rules(plan: &Plan) -> anyhow::Result<BTreeMap<RootId, PathBuf>> {
    use anyhow::Context as _;
    let directory = plan.state_dir.join("rules");
    let failed = || format!("Cannot write the rules in {}", directory.display());
    std::fs::create_dir_all(&directory).with_context(failed)?;
    let mut written = Vec::new();
    for root in plan.roots.values().filter(|root| !root.rules.is_empty()) {
        let lines: Vec<u8> = root.rules.iter().flat_map(|r| [r.line(), vec![0]].concat()).collect();
        let mut file = tempfile::NamedTempFile::new_in(&directory).with_context(failed)?;
        file.write_all(&lines).with_context(failed)?;
        written.push((root.id.clone(), file));
    }
    // All of them are there before any takes its place.
    let mut files = BTreeMap::new();
    for (id, file) in written {
        let path = directory.join(id.as_str());
        file.persist(&path).with_context(failed)?;
        files.insert(id, path);
    }
    Ok(files)
}

impl OverseerActor {
    fn life(&mut self) -> u64 {
        self.next_life += 1;
        self.next_life
    }

    fn start_root(&mut self, id: &RootId) {
        let life = self.life();
        let (root, filter) = (self.kit.plan.roots[id].clone(), self.filters[id].clone());
        let kit = self.kit.clone();
        let is_first = self.begun.insert(id.clone());
        let volumes = self.volumes.entry(id.clone());
        let volumes = volumes.or_insert_with(|| Arc::new(Volumes::new(&root.source))).clone();
        let collator = {
            let (root, filter, kit) = (root.clone(), filter.clone(), kit.clone());
            let volumes = volumes.clone();
            Supervisor::start(move |_| {
                CollatorActor::new(&root, filter, volumes, &kit, life, is_first)
            })
        };
        for (host, actor) in &self.hosts {
            let link = TransferActor::link(&actor.transfer);
            tell_actor(&collator, MeetHost { host: host.clone(), link });
            let link = CollatorActor::root_link(&collator);
            tell_actor(&actor.transfer, MeetRoot { root: id.clone(), link });
        }
        let link = CollatorActor::link(&collator);
        let watcher =
            Supervisor::start(move |_| WatcherActor::new(&root, filter, volumes, &kit, link, life));
        let link = WatcherLink {
            explore: watcher.clone().recipient(),
            let_go: watcher.clone().recipient(),
            watch_anew: watcher.clone().recipient(),
            fence: watcher.clone().recipient(),
        };
        tell_actor(&collator, MeetWatcher(link));
        self.roots.insert(id.clone(), RootActors { life, watcher, collator });
    }

    fn start_host(&mut self, id: &HostId) {
        let life = self.life();
        let (host, kit) = (self.kit.plan.hosts[id].clone(), self.kit.clone());
        let rules = self.rules.clone();
        let transfer = Supervisor::start(move |_| TransferActor::new(&host, &kit, &rules, life));
        for mirror in self.paused.iter().filter(|mirror| mirror.host == *id) {
            tell_actor(&transfer, Pause { mirror: mirror.clone(), paused: true });
        }
        for (root, actors) in &self.roots {
            let link = CollatorActor::root_link(&actors.collator);
            tell_actor(&transfer, MeetRoot { root: root.clone(), link });
            let link = TransferActor::link(&transfer);
            tell_actor(&actors.collator, MeetHost { host: id.clone(), link });
        }
        self.hosts.insert(id.clone(), HostActor { life, transfer });
    }

    /// Starts an actor. One that dies of its own making is started again later, as one that dies at work.
    fn start(&mut self, who: &Who, ctx: &mut Context<Self>) {
        // What it leaves half done is of no use to anybody else.
        let started = catch_unwind(AssertUnwindSafe(|| match who {
            Who::Root(id) => self.start_root(id),
            Who::Host(id) => self.start_host(id),
        }));
        if started.is_err() {
            self.handle_death(who, ctx);
        }
    }

    fn handle_death(&mut self, who: &Who, ctx: &mut Context<Self>) {
        let retry = match who {
            Who::Root(id) => {
                // The other one of the two would go on without it.
                if let Some(actors) = self.roots.remove(id) {
                    tell_actor(&actors.watcher, Leave);
                    tell_actor(&actors.collator, Leave);
                }
                ROOT_RETRY
            }
            Who::Host(id) => {
                self.hosts.remove(id);
                self.kit.plan.hosts[id].retry
            }
        };
        let now = self.kit.clock.now();
        let due = self.restarts.handle_death(now, who, retry);
        let pause = due - now;
        error!(self.log, "An internal error ended an actor"; "actor" => %who, "restart_in" => ?pause);
        tell_actor(&self.board, ActorDied { who: who.clone(), restart_at: due });
        let who = who.clone();
        ctx.run_later(pause, move |act, ctx| act.start_again(&who, due, ctx));
    }

    fn start_again(&mut self, who: &Who, due: Moment, ctx: &mut Context<Self>) {
        if self.draining.is_some() || !self.restarts.take(self.kit.clock.now(), who, due) {
            return;
        }
        tell_actor(&self.board, ActorRestarted { who: who.clone() });
        self.start(who, ctx);
    }

    /// Nothing runs at this host any more.
    fn handle_drained(&mut self, host: &HostId, ctx: &mut Context<Self>) {
        if let Some(draining) = self.draining.as_mut() {
            draining.retain(|it| it != host);
            self.end_drained(ctx);
        }
    }

    /// Ends, once nothing runs any more.
    fn end_drained(&mut self, ctx: &mut Context<Self>) {
        if !self.draining.as_ref().is_some_and(Vec::is_empty) {
            return;
        }
        let collators = self.roots.values().map(|root| root.collator.clone());
        let ends = collators.map(async |collator| collator.send(EndWell).await);
        let ends: Vec<_> = ends.collect();
        ctx.spawn(
            async move {
                for end in ends {
                    // One that has died leaves its end in doubt, as it should be.
                    let _ = end.await;
                }
            }
            .into_actor(self)
            .map(|(), act, _| act.end(act.stopped_code())),
        );
    }

    /// Told to end: what a daemon is for, and what a single pass failed by.
    fn stopped_code(&self) -> i32 {
        match self.kit.mode {
            Mode::Live => 0,
            Mode::Once => 1,
        }
    }

    /// Ends the system. Dropping the actors ends their processes' groups.
    fn end(&mut self, code: i32) {
        self.roots.clear();
        self.hosts.clear();
        System::current().stop_with_code(code);
    }
}

impl Actor for OverseerActor {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Self::Context) {
        let plan = self.kit.plan.clone();
        plan.hosts.keys().for_each(|host| self.start(&Who::Host(host.clone()), ctx));
        plan.roots.keys().for_each(|root| self.start(&Who::Root(root.clone()), ctx));
    }
}

impl Handler<ActorGone> for OverseerActor {
    type Result = ();
    fn handle(&mut self, message: ActorGone, ctx: &mut Self::Context) {
        let ActorGone { who, life } = message;
        let current = match &who {
            Who::Root(id) => self.roots.get(id).map(|actors| actors.life),
            Who::Host(id) => self.hosts.get(id).map(|actor| actor.life),
        };
        if current != Some(life) {
            return;
        }
        match (&who, self.draining.is_some()) {
            (Who::Host(id), true) => self.handle_drained(id, ctx),
            (Who::Root(_), true) => (),
            (_, false) => self.handle_death(&who, ctx),
        }
    }
}

impl Handler<Stop> for OverseerActor {
    type Result = ();
    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        if self.draining.is_some() {
            info!(self.log, "Ending at once");
            self.end(self.stopped_code());
            return;
        }
        info!(self.log, "Ending: what runs may finish; told again, it ends at once";
            "within" => ?DRAIN_WAIT);
        self.draining = Some(self.hosts.keys().cloned().collect());
        for actor in self.hosts.values() {
            tell_actor(&actor.transfer, Drain);
        }
        ctx.run_later(DRAIN_WAIT, |act, _| act.end(act.stopped_code()));
        // No host may be left.
        self.end_drained(ctx);
    }
}

impl Handler<Drained> for OverseerActor {
    type Result = ();
    fn handle(&mut self, message: Drained, ctx: &mut Self::Context) {
        self.handle_drained(&message.host, ctx);
    }
}

impl Handler<Verify> for OverseerActor {
    type Result = ResponseFuture<Result<Differences, String>>;
    fn handle(&mut self, message: Verify, _: &mut Self::Context) -> Self::Result {
        let host = self.hosts.get(&message.mirror.host).map(|actor| actor.transfer.clone());
        Box::pin(async move {
            let Some(host) = host else { return Err("the host has no actor now".into()) };
            host.send(message).await.map_err(|error| error.to_string())?
        })
    }
}

impl Handler<MarkRoot> for OverseerActor {
    type Result = ResponseFuture<Result<Epoch, String>>;
    fn handle(&mut self, message: MarkRoot, _: &mut Self::Context) -> Self::Result {
        let watcher = self.roots.get(&message.root).map(|actors| actors.watcher.clone());
        Box::pin(async move {
            let watcher = watcher.ok_or_else(|| Who::Root(message.root).death_notice())?;
            watcher.send(Mark).await.map_err(|error| error.to_string())?
        })
    }
}

impl Handler<Waiting> for OverseerActor {
    type Result = MessageResult<Waiting>;
    fn handle(&mut self, _: Waiting, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.restarts.waiting().cloned().collect())
    }
}

/// The real ways to hosts.
pub fn real_transports(plan: &Plan) -> TransportFactory {
    let state_dir = plan.state_dir.clone();
    Rc::new(move |host| Rc::new(crate::transport::rsync::RsyncTransport::new(host, &state_dir)))
}
