//! What people change while it runs.

use actix::prelude::*;

use super::{CollatorActor, Live, deletion_terms, terms};
use crate::actors::memory::Memory;
use crate::actors::message::{Explain, Leave, NewPlan, Ping, StuckPaths, Walk};
use crate::actors::shell::Shell;
use crate::watch::presence::{Found, Looker};
use crate::watch::volumes::Unresponsive;
use mirrorball_core::data::explanation::{DecidingRule, Explanation, MirrorExplanation};
use mirrorball_core::data::ids::MirrorId;
use mirrorball_core::data::name::Escaped;
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::plan::Plan;
use mirrorball_core::data::status::StuckPath;
use mirrorball_core::root::collator::Collator;
use mirrorball_core::root::mirror::Terms;

impl Handler<NewPlan> for CollatorActor {
    type Result = ();
    fn handle(&mut self, message: NewPlan, ctx: &mut Self::Context) {
        let NewPlan { plan, renewed, .. } = message;
        let Some(root) = plan.roots.get(&self.root.id).cloned() else { return };
        let before = std::mem::replace(&mut self.kit.plan, plan.clone());
        self.memory = Memory::new(&plan, &root);
        if let Some(keeper) = &mut self.keeper {
            keeper.handle_plan(&plan, &root);
        }
        let stays = |id: &MirrorId| {
            !renewed.contains(id) && root.mirrors.iter().any(|mirror| mirror.id == *id)
        };
        let old: Vec<MirrorId> = self.core.mirrors().cloned().collect();
        let gone: Vec<&MirrorId> = old.iter().filter(|id| !stays(id)).collect();
        self.checks.retain(|id, _| stays(id));
        self.hosts.retain(|id, _| plan.hosts.contains_key(id));
        self.forget_shared(ctx);
        self.turn(ctx, |core, now| gone.iter().for_each(|id| core.remove_mirror(now, id)));
        let now = self.kit.clock.now();
        // Who was started before lives as long as was agreed then.
        let life = |plan: &Plan, id: &MirrorId| plan.hosts.get(&id.host).map(|it| it.timeout * 2);
        self.given_up.retain(|_, until| *until > now);
        self.given_up.extend(
            gone.into_iter().map(|id| (id.clone(), now + life(&before, id).unwrap_or_default())),
        );
        for mirror in &root.mirrors {
            let (id, terms) = (&mirror.id, terms(&plan.hosts[&mirror.id.host], mirror));
            let life = life(&before, id).unwrap_or_default().max(terms.receiver_life);
            let terms = Terms { receiver_life: life, ..terms };
            if old.contains(id) && stays(id) {
                self.core.set_terms(id, terms);
                continue;
            }
            let is_renewed = self.given_up.remove(id).is_some();
            self.core.add_mirror(now, id, terms, is_renewed);
            self.core.handle_target(id, self.memory.directory(id));
            self.begin_checks(ctx, id);
        }
        let terms = deletion_terms(&root);
        self.turn(ctx, |core, now| core.set_deletion_terms(now, terms));
        self.root = root;
        self.heed_time(ctx);
        self.turn(ctx, |_, _| ());
        self.report();
    }
}

impl Handler<Walk> for CollatorActor {
    type Result = ();
    fn handle(&mut self, message: Walk, ctx: &mut Self::Context) {
        self.turn(ctx, |core: &mut Collator, now| core.handle_walk_wanted(now, &message.mirror));
    }
}

impl Handler<Explain> for CollatorActor {
    type Result = ResponseActFuture<Self, Result<Explanation, String>>;
    fn handle(&mut self, message: Explain, _: &mut Self::Context) -> Self::Result {
        let Explain { path, .. } = message;
        let Some(source) = self.source.clone() else {
            let why = format!("The root {} is not watched now", self.root.id);
            return Box::pin(async move { Err(why) }.into_actor(self));
        };
        let (looked_at, volumes) = (path.clone(), self.volumes.clone());
        let look = move |unresponsive: &Unresponsive| {
            let is_covered = unresponsive.covers(&looked_at);
            Ok((!is_covered).then(|| Looker::new(&source).look(&looked_at)))
        };
        let found = volumes.look(look);
        Box::pin(found.into_actor(self).map(move |found, act, _| {
            let found = found.map_err(|error| error.to_string())?;
            let found =
                found.ok_or_else(|| format!("The file system of {path} does not answer"))?;
            Ok(act.explain(&path, &found))
        }))
    }
}

impl CollatorActor {
    fn explain(&self, path: &RelPath, found: &Found) -> Explanation {
        let is_directory = matches!(found, Found::Present { is_directory: true, .. });
        let found = match found {
            Found::Present { is_directory: true, .. } => Some("directory"),
            Found::Present { is_directory: false, .. } => Some("file"),
            Found::Missing(_) | Found::Below(_) => None,
        };
        let deciding = self.filter.deciding(path, is_directory);
        let rule = deciding.map(|(rule, matches)| DecidingRule {
            rule: Escaped(&rule.line()).to_string(),
            matches: matches.to_string(),
        });
        let excluded = self.filter.excludes(path, is_directory);
        // Nothing is sent of what is kept out, whatever lies there.
        let mirrors =
            if excluded { Vec::new() } else { self.core.whereabouts(path, found.is_some()) }
                .into_iter();
        let mirror = |(id, whereabouts)| MirrorExplanation { id, whereabouts, note: None };
        Explanation {
            root: self.root.id.clone(),
            path: path.to_string(),
            found: found.map(String::from),
            excluded,
            rule,
            change: self.core.last_change(self.kit.clock.now(), path),
            mirrors: mirrors.map(mirror).collect(),
        }
    }
}

impl Handler<StuckPaths> for CollatorActor {
    type Result = Result<Vec<StuckPath>, String>;
    fn handle(&mut self, message: StuckPaths, _: &mut Self::Context) -> Self::Result {
        let stuck = self.core.stuck(&message.mirror).into_iter();
        Ok(stuck.map(|(path, reason)| StuckPath { path: path.to_string(), reason }).collect())
    }
}

impl Handler<Leave> for CollatorActor {
    type Result = ();
    fn handle(&mut self, _: Leave, ctx: &mut Self::Context) {
        self.is_leaving = true;
        // Whoever knows another keeps it alive.
        self.watcher = None;
        self.hosts.clear();
        self.source = None;
        self.keeper = None;
        self.live = Live::default();
        ctx.stop();
    }
}

impl Handler<Ping> for CollatorActor {
    type Result = Result<(), String>;
    fn handle(&mut self, _: Ping, _: &mut Self::Context) -> Self::Result {
        Ok(())
    }
}
