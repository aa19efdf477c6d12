//! The board: the newest Status with a revision number; whoever looks on is woken when it differs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use actix::prelude::*;
use chrono::SecondsFormat;
use tokio::sync::oneshot;

use crate::actors::kit::Clock;
use crate::actors::message::{
    ActorDied, ActorRestarted, Checked, ConfigRefused, Counted, Facts, HostReported, NewPlan,
    RecentRuns, RootReported, RunEnded, StatusSince, Who,
};
use mirrorball_core::data::ids::{HostId, MirrorId, RootId};
use mirrorball_core::data::limits::{LOOKERS_MAX, RECENT_RUNS_MAX, RECENT_WHY_MAX};
use mirrorball_core::data::moment::Moment;
use mirrorball_core::data::name::Escaped;
use mirrorball_core::data::outcome::RemoteEnd;
use mirrorball_core::data::plan::{MirrorPlan, Plan};
use mirrorball_core::data::status::{
    CheckStatus, ConfigStatus, HostStatus, MirrorState, MirrorStatus, RecentRun, RootState,
    RootStatus, Status, StuckPath,
};
use mirrorball_core::host::mirror::MirrorReport;
use mirrorball_core::root::ledger::Standing;

/// Puts together what collators and transfers report.
pub struct BoardActor {
    clock: Clock,
    plan: Arc<Plan>,
    loaded_at: Moment,
    /// Why a newer configuration was refused.
    refused: Option<String>,
    revision: u64,
    roots: BTreeMap<RootId, RootReported>,
    hosts: BTreeMap<MirrorId, MirrorReport>,
    ends: BTreeMap<HostId, RemoteEnd>,
    recent: BTreeMap<MirrorId, VecDeque<RecentRun>>,
    restarts: BTreeMap<HostId, u64>,
    restarts_total: u64,
    /// Actors that died, and when each is started again.
    died: BTreeMap<Who, Moment>,
    waiting: Vec<(u64, oneshot::Sender<Arc<Status>>)>,
}

impl BoardActor {
    /// Nothing is known yet.
    pub fn new(clock: Clock, plan: Arc<Plan>) -> Self {
        Self {
            clock,
            plan,
            loaded_at: clock.now(),
            refused: None,
            revision: 1,
            roots: BTreeMap::new(),
            hosts: BTreeMap::new(),
            ends: BTreeMap::new(),
            recent: BTreeMap::new(),
            restarts: BTreeMap::new(),
            restarts_total: 0,
            died: BTreeMap::new(),
            waiting: Vec::new(),
        }
    }

    fn changed(&mut self) {
        self.revision += 1;
        self.waiting.retain(|(_, asker)| !asker.is_closed());
        if self.waiting.is_empty() {
            return;
        }
        let status = Arc::new(self.status());
        for (_, asker) in self.waiting.drain(..) {
            // An asker that has gone meanwhile needs no answer.
            drop(asker.send(status.clone()));
        }
    }

    fn status(&self) -> Status {
        let now = self.clock.now();
        let mirrors = self.plan.roots.values().flat_map(|root| &root.mirrors);
        Status {
            revision: self.revision,
            version: env!("CARGO_PKG_VERSION").to_string(),
            actor_restarts: self.restarts_total,
            config: ConfigStatus {
                loaded_at: self.clock.date(self.loaded_at),
                refused: self.refused.clone(),
            },
            hosts: self.plan.hosts.keys().map(|id| self.host_status(id)).collect(),
            roots: self.plan.roots.keys().map(|id| self.root_status(id)).collect(),
            mirrors: mirrors.map(|mirror| self.mirror_status(now, mirror)).collect(),
        }
    }

    fn host_status(&self, id: &HostId) -> HostStatus {
        let end = self.ends.get(id).cloned().unwrap_or_default();
        HostStatus {
            id: id.clone(),
            rsync: end.program().map(String::from),
            protocol: end.protocol,
            lacks: end.lacks.iter().map(|capability| capability.name().to_string()).collect(),
        }
    }

    fn root_status(&self, id: &RootId) -> RootStatus {
        let reported = self.roots.get(id);
        let report = reported.map(|reported| &reported.report);
        let plan = &self.plan.roots[id];
        let who = Who::Root(id.clone());
        let source = plan.source.as_os_str();
        let next = plan.walk_at.as_ref().and_then(|times| times.next_after(&self.clock.wall().0));
        RootStatus {
            id: id.clone(),
            source: Escaped(std::os::unix::ffi::OsStrExt::as_bytes(source)).to_string(),
            state: report.map_or(RootState::Opening, |report| report.state),
            reason: if self.died.contains_key(&who) {
                Some(who.death_notice())
            } else {
                report.and_then(|report| report.reason.clone())
            },
            head: report.map(|report| report.head).unwrap_or_default(),
            open_paths: report.map_or(0, |report| report.open_paths as u64),
            held_files: report.map_or(0, |report| report.held_files as u64),
            directories: reported.map_or(0, |reported| reported.directories as u64),
            next_walk: next.map(|at| at.to_utc().to_rfc3339_opts(SecondsFormat::Secs, true)),
        }
    }

    /// The actor of a mirror that waits for its restart, and until when.
    fn died(&self, id: &MirrorId) -> Option<(&Who, Moment)> {
        let is_one = |who: &Who| match who {
            Who::Root(root) => *root == id.root,
            Who::Host(host) => *host == id.host,
        };
        let died = self.died.iter().filter(|(who, _)| is_one(who));
        died.map(|(who, at)| (who, *at)).max_by_key(|(_, at)| *at)
    }

    fn last_check(&self, id: &MirrorId) -> Option<CheckStatus> {
        let Checked { at, drift } = self.roots.get(&id.root)?.checks.get(id)?;
        let at = self.clock.date(*at);
        Some(CheckStatus { at, drift_total: drift.total, drift: drift.first.clone() })
    }

    fn mirror_status(&self, now: Moment, mirror: &MirrorPlan) -> MirrorStatus {
        let id = &mirror.id;
        let root = self.roots.get(&id.root).map(|reported| &reported.report);
        let standing = root.and_then(|report| report.mirrors.iter().find(|(m, ..)| m == id));
        let (standing, settled) = match standing {
            Some((_, standing, settled)) => (Some(standing), *settled),
            None => (None, false),
        };
        let mut host = self.hosts.get(id).cloned().unwrap_or_default();
        let died = self.died(id);
        if let Some((who, restart_at)) = died {
            (host.last_error, host.retry_at) = (Some(who.death_notice()), Some(restart_at));
        }
        let settled = settled && died.is_none();
        let halted = root.is_some_and(|report| report.state == RootState::Halted);
        let behind = standing.and_then(|s| s.behind_since).filter(|_| !settled);
        let stuck = standing.map(|s| s.stuck.as_slice()).unwrap_or_default();
        MirrorStatus {
            id: id.clone(),
            root: id.root.clone(),
            host: id.host.clone(),
            target: self.plan.hosts[&id.host].kind.target(&mirror.path),
            state: match died {
                Some(_) if !host.paused => MirrorState::Retrying,
                _ => state(halted, settled, standing, &host),
            },
            pending_paths: standing.map_or(0, |s| s.pending as u64),
            lag_seconds: match (settled, standing) {
                (true, _) => 0.0,
                (false, Some(_)) => behind.map_or(0.0, |since| (now - since).as_secs_f64()),
                (false, None) => (now - Moment::default()).as_secs_f64(),
            },
            epoch: standing.map(|s| s.epoch).unwrap_or_default(),
            head: root.map(|report| report.head).unwrap_or_default(),
            owes_walk: standing.is_none_or(|s| s.owes_walk),
            stuck: stuck
                .iter()
                .map(|(path, reason)| StuckPath { path: path.to_string(), reason: reason.clone() })
                .collect(),
            stuck_total: standing.map_or(0, |s| s.stuck_total as u64),
            repeated_paths: standing.map_or(0, |s| s.repeated as u64),
            held_deletions: standing.map_or(0, |s| s.held_deletions),
            last_check: self.last_check(id),
            repeats_in_seconds: standing
                .and_then(|standing| standing.repeats_at)
                .map(|at| (at - now).as_secs_f64()),
            quiet_until: host.quiet_until.map(|at| self.clock.date(at)),
            hook_error: host.hook_error.clone(),
            last_error: host.last_error.clone(),
            retry_in_seconds: host.retry_at.map(|at| (at - now).as_secs_f64()),
            last_success: host.last_success.map(|at| self.clock.date(at)),
            progress: host.progress,
            walk: standing.and_then(|s| s.walk),
            pushes: host.pushes,
            walks: host.walks,
            failures: host.failures,
            bytes_sent: host.bytes_sent,
            restarts: self.restarts.get(&id.host).copied().unwrap_or(0),
        }
    }
}

fn state(
    halted: bool,
    settled: bool,
    standing: Option<&Standing>,
    host: &MirrorReport,
) -> MirrorState {
    let stuck = standing.is_some_and(|standing| standing.stuck_total > 0);
    let held = standing.is_some_and(|standing| standing.held_deletions > 0);
    if host.paused {
        MirrorState::Paused
    } else if halted || host.halted.is_some() || held {
        MirrorState::Halted
    } else if settled {
        MirrorState::InSync
    } else if host.walking {
        MirrorState::Walking
    } else if host.pushing {
        MirrorState::Pushing
    } else if host.quiet_until.is_some() {
        MirrorState::Quiet
    } else if host.retry_at.is_some() || stuck {
        MirrorState::Retrying
    } else if !host.reached {
        MirrorState::Waiting
    } else if standing.is_none_or(|standing| standing.owes_walk) {
        MirrorState::Walking
    } else {
        MirrorState::Pushing
    }
}

impl Actor for BoardActor {
    type Context = Context<Self>;
}

impl Handler<RootReported> for BoardActor {
    type Result = ();
    fn handle(&mut self, message: RootReported, _: &mut Self::Context) {
        if self.died.contains_key(&Who::Root(message.root.clone())) {
            // It was said before.
            return;
        }
        let same = self.roots.get(&message.root).is_some_and(|old| {
            old.report == message.report
                && old.directories == message.directories
                && old.checks == message.checks
        });
        if !same {
            self.roots.insert(message.root.clone(), message);
            self.changed();
        }
    }
}

impl Handler<HostReported> for BoardActor {
    type Result = ();
    fn handle(&mut self, message: HostReported, _: &mut Self::Context) {
        let mut changed = self.ends.get(&message.host) != Some(&message.end);
        self.ends.insert(message.host, message.end);
        for (id, report) in message.mirrors {
            changed |= self.hosts.get(&id) != Some(&report);
            self.hosts.insert(id, report);
        }
        if changed {
            self.changed();
        }
    }
}

impl Handler<RunEnded> for BoardActor {
    type Result = ();
    fn handle(&mut self, message: RunEnded, _: &mut Self::Context) {
        let RunEnded { mirror, at, ran } = message;
        let mut mirrors = self.plan.roots.values().flat_map(|root| &root.mirrors);
        if !mirrors.any(|it| it.id == mirror) {
            return;
        }
        let run = RecentRun {
            at: self.clock.date(at),
            kind: if ran.is_walk { "walk" } else { "push" }.into(),
            end: ran.end.name().into(),
            seconds: ran.took.as_secs_f64(),
            paths: ran.entries,
            bytes_sent: ran.bytes_sent,
            why: ran.why.map(|why| why.chars().take(RECENT_WHY_MAX).collect()),
        };
        let recent = self.recent.entry(mirror).or_default();
        recent.push_front(run);
        recent.truncate(RECENT_RUNS_MAX);
    }
}

impl Handler<RecentRuns> for BoardActor {
    type Result = MessageResult<RecentRuns>;
    fn handle(&mut self, message: RecentRuns, _: &mut Self::Context) -> Self::Result {
        let recent = self.recent.get(&message.mirror);
        MessageResult(recent.map(|runs| runs.iter().cloned().collect()).unwrap_or_default())
    }
}

impl Handler<NewPlan> for BoardActor {
    type Result = ();
    fn handle(&mut self, message: NewPlan, _: &mut Self::Context) {
        let plan = message.plan;
        self.loaded_at = self.clock.now();
        self.refused = None;
        let mirrors = plan.roots.values().flat_map(|root| &root.mirrors);
        let mirrors: BTreeSet<&MirrorId> = mirrors.map(|mirror| &mirror.id).collect();
        let is_new = |id: &MirrorId| message.renewed.contains(id);
        self.hosts.retain(|id, _| mirrors.contains(id) && !is_new(id));
        self.recent.retain(|id, _| mirrors.contains(id) && !is_new(id));
        self.roots.retain(|id, _| plan.roots.contains_key(id));
        for root in self.roots.values_mut() {
            root.report.mirrors.retain(|(id, ..)| !is_new(id));
        }
        self.ends.retain(|id, _| plan.hosts.contains_key(id));
        self.restarts.retain(|id, _| plan.hosts.contains_key(id));
        self.died.retain(|who, _| match who {
            Who::Root(id) => plan.roots.contains_key(id),
            Who::Host(id) => plan.hosts.contains_key(id),
        });
        self.plan = plan;
        self.changed();
    }
}

impl Handler<ConfigRefused> for BoardActor {
    type Result = ();
    fn handle(&mut self, message: ConfigRefused, _: &mut Self::Context) {
        self.refused = Some(message.why);
        self.changed();
    }
}

impl Handler<ActorDied> for BoardActor {
    type Result = ();
    fn handle(&mut self, message: ActorDied, _: &mut Self::Context) {
        let ActorDied { who, restart_at } = message;
        if let Who::Root(root) = &who {
            self.roots.remove(root);
        }
        self.died.insert(who, restart_at);
        self.changed();
    }
}

impl Handler<ActorRestarted> for BoardActor {
    type Result = ();
    fn handle(&mut self, message: ActorRestarted, _: &mut Self::Context) {
        self.restarts_total += 1;
        self.died.remove(&message.who);
        if let Who::Host(host) = message.who {
            *self.restarts.entry(host).or_default() += 1;
        }
        self.changed();
    }
}

impl Handler<Counted> for BoardActor {
    type Result = MessageResult<Counted>;
    fn handle(&mut self, _: Counted, _: &mut Self::Context) -> Self::Result {
        let roots = self.roots.iter().map(|(id, it)| (id.clone(), it.events, it.losses));
        let mirrors = self.hosts.iter().map(|(id, report)| (id.clone(), report.clone()));
        let (roots, mirrors) = (roots.collect(), mirrors.collect());
        MessageResult(Facts { status: self.status(), roots, mirrors })
    }
}

impl Handler<StatusSince> for BoardActor {
    type Result = ResponseFuture<Arc<Status>>;
    fn handle(&mut self, message: StatusSince, _: &mut Self::Context) -> Self::Result {
        let status = Arc::new(self.status());
        if message.revision != self.revision {
            return Box::pin(async move { status });
        }
        let (asker, answer) = oneshot::channel();
        if self.waiting.len() >= LOOKERS_MAX {
            // Nobody can tell who is still there; whoever is asks again.
            let (_, oldest) = self.waiting.remove(0);
            drop(oldest.send(status.clone()));
        }
        self.waiting.push((message.revision, asker));
        // The board ends with the system; until then the last status is no lie.
        Box::pin(async move { answer.await.unwrap_or(status) })
    }
}
