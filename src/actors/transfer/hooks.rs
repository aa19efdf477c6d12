//! Commands after pushes. They hold up nothing: what is pushed while one runs is told to the next.

use actix::prelude::*;
use slog::{debug, warn};

use super::TransferActor;
use crate::actors::shell::Shell;
use crate::core::hook::{Hook, Pushed};
use crate::types::batch::Batch;
use crate::types::ids::MirrorId;
use crate::types::plan::HookPlan;

impl TransferActor {
    /// This was brought to a Mirror.
    pub(super) fn note_pushed(&mut self, id: &MirrorId, batch: &Batch, ctx: &mut Context<Self>) {
        let Some(mirror) = self.mirrors.get(id).filter(|mirror| !mirror.hooks.is_empty()) else {
            return;
        };
        let new = || mirror.hooks.iter().map(|hook| Hook::new(hook.every)).collect();
        let hooks = self.live.hooks.entry(id.clone()).or_insert_with(new);
        let pushed = Pushed::by(batch);
        hooks.iter_mut().for_each(|hook| hook.handle_pushed(pushed.clone()));
        self.run_hooks(id, ctx);
    }

    /// Runs those of a Mirror that may be run, and comes back for those that may be later.
    fn run_hooks(&mut self, id: &MirrorId, ctx: &mut Context<Self>) {
        let now = self.now();
        let (Some(mirror), Some(hooks)) = (self.mirrors.get(id), self.live.hooks.get_mut(id))
        else {
            return;
        };
        let mut starts = Vec::new();
        for (index, (plan, hook)) in mirror.hooks.iter().zip(hooks).enumerate() {
            if let Some(pushed) = hook.take(now) {
                let environment = environment(id, &mirror.path, &pushed);
                let list = pushed.paths.iter().flat_map(|it| [it.as_bytes(), b"\0"].concat());
                debug!(self.log, "Running a hook"; "mirror" => %id, "hook" => &plan.run[0]);
                let run = self.transport.run_hook(plan.clone(), environment, list.collect());
                starts.push((index, plan.clone(), run));
            } else if let Some(due) = hook.due() {
                let id = id.clone();
                ctx.run_later(due - now, move |act, ctx| act.run_hooks(&id, ctx));
            }
        }
        for (index, plan, run) in starts {
            let id = id.clone();
            ctx.spawn(run.into_actor(self).map(move |ended, act, ctx| {
                act.handle_hook(&id, index, &plan, ended, ctx);
            }));
        }
    }

    fn handle_hook(
        &mut self,
        id: &MirrorId,
        index: usize,
        plan: &HookPlan,
        ended: Result<(), String>,
        ctx: &mut Context<Self>,
    ) {
        let error = ended.err().map(|why| format!("{}: {why}", plan.run.join(" ")));
        if let Some(why) = &error {
            warn!(self.log, "A hook failed; mirroring goes on"; "mirror" => %id, "why" => why);
        }
        if let Some(hook) = self.live.hooks.get_mut(id).and_then(|hooks| hooks.get_mut(index)) {
            hook.handle_ended();
        }
        self.turn(ctx, |core, _| core.handle_hook(id, error));
        self.run_hooks(id, ctx);
    }
}

/// The facts, for a command.
fn environment(id: &MirrorId, path: &str, pushed: &Pushed) -> Vec<(String, String)> {
    let kind = if pushed.whole { "walk" } else { "push" };
    [
        ("MIRRORBALL_MIRROR", id.to_string()),
        ("MIRRORBALL_ROOT", id.root.to_string()),
        ("MIRRORBALL_HOST", id.host.to_string()),
        ("MIRRORBALL_PATH", path.to_string()),
        ("MIRRORBALL_KIND", kind.to_string()),
        ("MIRRORBALL_COUNT", pushed.paths.len().to_string()),
        ("MIRRORBALL_EPOCH", pushed.epoch.to_string()),
    ]
    .map(|(name, value)| (name.to_string(), value))
    .into()
}
