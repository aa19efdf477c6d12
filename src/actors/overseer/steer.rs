//! What people change while it runs: the Plan, and what is paused or walked.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use actix::prelude::*;
use anyhow::Context as _;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use slog::info;

use super::{OverseerActor, filters, write_rules};
use crate::actors::collator::CollatorActor;
use crate::actors::memory::replace;
use crate::actors::message::{
    ActorRestarted, Approvable, Approve, Explain, Leave, ListAwaiting, NewPlan, Pause, PauseAll,
    Ping, Reload, StuckPaths, TakeTarget, Walk, WalkAll, Who,
};
use crate::actors::send::tell_actor;
use mirrorball_core::data::awaiting::{Approved, Awaiting};
use mirrorball_core::data::explanation::Explanation;
use mirrorball_core::data::ids::{MirrorId, RootId};
use mirrorball_core::data::limits::PING_WAIT;
use mirrorball_core::data::plan::Plan;
use mirrorball_core::data::status::StuckPath;
use mirrorball_core::fleet::reload::{Difference, difference};

/// A line for each paused Mirror.
fn paused_path(plan: &Plan) -> PathBuf {
    plan.state_dir.join("paused")
}

/// The Mirrors of the Plan that were paused when the last run ended.
pub(super) fn paused(plan: &Plan) -> anyhow::Result<BTreeSet<MirrorId>> {
    let path = paused_path(plan);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => {
            return Err(error).with_context(|| {
                format!("Cannot read which mirrors are paused from {}", path.display())
            });
        }
    };
    let names: BTreeSet<&str> = text.lines().collect();
    let mirrors = plan.roots.values().flat_map(|root| &root.mirrors).map(|mirror| &mirror.id);
    Ok(mirrors.filter(|id| names.contains(id.to_string().as_str())).cloned().collect())
}

impl OverseerActor {
    fn apply(
        &mut self,
        plan: &Plan,
        changes: &Difference,
        ctx: &mut Context<Self>,
    ) -> anyhow::Result<()> {
        let old = &self.kit.plan;
        // These count from the next start on: what is kept lies where it lies.
        let plan = Arc::new(Plan {
            state_dir: old.state_dir.clone(),
            control: old.control.clone(),
            log: old.log.clone(),
            pushes_max: old.pushes_max,
            walks_max: old.walks_max,
            ..plan.clone()
        });
        let filters = filters(&plan)?;
        let rules = write_rules(&plan)?;
        let stays = |id: &&MirrorId| !changes.mirrors.stopped.contains(id);
        let paused: BTreeSet<MirrorId> = self.paused.iter().filter(stays).cloned().collect();
        if paused != self.paused {
            self.keep_paused(&paused)?;
            self.paused = paused;
        }
        for id in changes.roots.stopped.iter().chain(&changes.roots.changed) {
            self.forget_death(Who::Root(id.clone()));
            self.volumes.remove(id);
            if let Some(actors) = self.roots.remove(id) {
                tell_actor(&actors.watcher, Leave);
                tell_actor(&actors.collator, Leave);
            }
        }
        for id in changes.hosts.stopped.iter().chain(&changes.hosts.changed) {
            self.forget_death(Who::Host(id.clone()));
            if let Some(actor) = self.hosts.remove(id) {
                tell_actor(&actor.transfer, Leave);
            }
        }
        let renewed = changes.mirrors.changed.iter().cloned().collect();
        let message = NewPlan { plan: plan.clone(), renewed, rules: rules.clone() };
        (self.kit.plan, self.filters, self.rules) = (plan, filters, rules);
        tell_actor(&self.board, message.clone());
        for root in self.roots.values() {
            tell_actor(&root.collator, message.clone());
            tell_actor(&root.watcher, message.clone());
        }
        self.hosts.values().for_each(|host| tell_actor(&host.transfer, message.clone()));
        for id in changes.hosts.changed.iter().chain(&changes.hosts.started) {
            self.start(&Who::Host(id.clone()), ctx);
        }
        for id in changes.roots.changed.iter().chain(&changes.roots.started) {
            self.start(&Who::Root(id.clone()), ctx);
        }
        self.tell_paused();
        Ok(())
    }

    /// The new plan starts this actor at once, or never again.
    fn forget_death(&mut self, who: Who) {
        if self.restarts.forget(&who) {
            tell_actor(&self.board, ActorRestarted { who });
        }
    }

    /// Mirrors that were taken for new ones don't know it.
    fn tell_paused(&self) {
        for mirror in &self.paused {
            if let Some(host) = self.hosts.get(&mirror.host) {
                tell_actor(&host.transfer, Pause { mirror: mirror.clone(), paused: true });
            }
        }
    }

    fn keep_paused(&self, paused: &BTreeSet<MirrorId>) -> std::io::Result<()> {
        let lines: Vec<String> = paused.iter().map(ToString::to_string).collect();
        replace(&paused_path(&self.kit.plan), lines.join("\n").as_bytes())
    }
}

impl Handler<Reload> for OverseerActor {
    type Result = Result<Difference, String>;
    fn handle(&mut self, message: Reload, ctx: &mut Self::Context) -> Self::Result {
        let Reload { plan, dry } = message;
        if self.draining.is_some() {
            return Err("The daemon is ending".into());
        }
        let changes = difference(&self.kit.plan, &plan);
        if dry {
            return Ok(changes);
        }
        self.apply(&plan, &changes, ctx).map_err(|error| format!("{error:#}"))?;
        info!(self.log, "The configuration was read again";
            "mirrors_started" => changes.mirrors.started.len(),
            "mirrors_stopped" => changes.mirrors.stopped.len(),
            "mirrors_changed" => changes.mirrors.changed.len(),
            "mirrors_kept" => changes.mirrors.kept.len(),
            "adjusted" => changes.adjusted.len(),
            "at_next_start" => changes.at_next_start.len());
        Ok(changes)
    }
}

impl Handler<PauseAll> for OverseerActor {
    type Result = Result<(), String>;
    fn handle(&mut self, message: PauseAll, _: &mut Self::Context) -> Self::Result {
        let mut all = self.paused.clone();
        for id in &message.mirrors {
            if message.paused {
                all.insert(id.clone())
            } else {
                all.remove(id)
            };
        }
        self.keep_paused(&all).map_err(|error| {
            let path = paused_path(&self.kit.plan);
            format!("Which mirrors are paused can't be kept in {}: {error}", path.display())
        })?;
        self.paused = all;
        let what = if message.paused { "Paused" } else { "Resumed" };
        for mirror in message.mirrors {
            info!(self.log, "{}", what; "mirror" => %mirror);
            if let Some(host) = self.hosts.get(&mirror.host) {
                tell_actor(&host.transfer, Pause { mirror, paused: message.paused });
            }
        }
        Ok(())
    }
}

impl Handler<WalkAll> for OverseerActor {
    type Result = ();
    fn handle(&mut self, message: WalkAll, _: &mut Self::Context) {
        for mirror in message.mirrors {
            info!(self.log, "A walk is wanted"; "mirror" => %mirror);
            if let Some(root) = self.roots.get(&mirror.root) {
                tell_actor(&root.collator, Walk { mirror });
            }
        }
    }
}

impl OverseerActor {
    /// The collator of a Root, or why there is none.
    fn collator(&self, root: &RootId) -> Result<Addr<CollatorActor>, String> {
        let actors = self.roots.get(root).map(|actors| actors.collator.clone());
        actors.ok_or_else(|| Who::Root(root.clone()).death_notice())
    }
}

impl Handler<ListAwaiting> for OverseerActor {
    type Result = ResponseFuture<Result<Awaiting, String>>;
    fn handle(&mut self, message: ListAwaiting, _: &mut Self::Context) -> Self::Result {
        let collator = self.collator(&message.root);
        Box::pin(async move { collator?.send(message).await.map_err(|error| error.to_string())? })
    }
}

impl Handler<Approve> for OverseerActor {
    type Result = ResponseFuture<Result<Approved, String>>;
    fn handle(&mut self, message: Approve, _: &mut Self::Context) -> Self::Result {
        // The host first, so that the collator's word finds it ready.
        if let Approvable::Target(mirror) = &message.what
            && let Some(host) = self.hosts.get(&mirror.host)
        {
            tell_actor(&host.transfer, TakeTarget { mirror: mirror.clone() });
        }
        let collator = self.collator(message.what.root());
        Box::pin(async move { collator?.send(message).await.map_err(|error| error.to_string())? })
    }
}

impl Handler<Explain> for OverseerActor {
    type Result = ResponseFuture<Result<Explanation, String>>;
    fn handle(&mut self, message: Explain, _: &mut Self::Context) -> Self::Result {
        let collator = self.roots.get(&message.root).map(|root| root.collator.clone());
        Box::pin(async move {
            let Some(collator) = collator else { return Err("the root has no actor now".into()) };
            collator.send(message).await.map_err(|error| error.to_string())?
        })
    }
}

impl Handler<StuckPaths> for OverseerActor {
    type Result = ResponseFuture<Result<Vec<StuckPath>, String>>;
    fn handle(&mut self, message: StuckPaths, _: &mut Self::Context) -> Self::Result {
        let collator = self.roots.get(&message.mirror.root).map(|root| root.collator.clone());
        Box::pin(async move {
            let Some(collator) = collator else { return Err("the root has no actor now".into()) };
            collator.send(message).await.map_err(|error| error.to_string())?
        })
    }
}

impl Handler<Ping> for OverseerActor {
    type Result = ResponseFuture<Result<(), String>>;
    fn handle(&mut self, _: Ping, _: &mut Self::Context) -> Self::Result {
        let mut asked: Vec<(String, LocalBoxFuture<'static, bool>)> = Vec::new();
        for (id, root) in &self.roots {
            asked.push((format!("the watcher of {id}"), answer(root.watcher.clone())));
            asked.push((format!("the collator of {id}"), answer(root.collator.clone())));
        }
        for (id, host) in &self.hosts {
            asked.push((format!("the transfer actor of {id}"), answer(host.transfer.clone())));
        }
        Box::pin(async move {
            for (who, answer) in asked {
                if !answer.await {
                    return Err(format!("no answer from {who}"));
                }
            }
            Ok(())
        })
    }
}

fn answer<A>(actor: Addr<A>) -> LocalBoxFuture<'static, bool>
where
    A: Actor<Context = Context<A>> + Handler<Ping>,
{
    async move { actor.send(Ping).timeout(PING_WAIT).await.is_ok() }.boxed_local()
}
