//! Commands after pushes. They hold up nothing: what is pushed while one runs is told to the next.

use actix::prelude::*;
use slog::{debug, warn};

use super::TransferActor;
use crate::actors::shell::Shell;
use mirrorball_core::data::batch::Batch;
use mirrorball_core::data::ids::MirrorId;
use mirrorball_core::host::hook::{Hook, Pushed};

/// A command, when it is run, and what runs of it.
pub(super) struct RunningHook {
    rule: Hook,
    /// Ends the command when it is cancelled.
    run: Option<SpawnHandle>,
    /// Somebody comes back for it.
    is_armed: bool,
    error: Option<String>,
}

impl TransferActor {
    /// This was brought to a Mirror.
    pub(super) fn note_pushed(&mut self, id: &MirrorId, batch: &Batch, ctx: &mut Context<Self>) {
        let Some(mirror) = self.mirrors.get(id).filter(|mirror| !mirror.hooks.is_empty()) else {
            return;
        };
        let new = || {
            let rules = mirror.hooks.iter().map(|hook| Hook::new(hook.every));
            let new = |rule| RunningHook { rule, run: None, is_armed: false, error: None };
            rules.map(new).collect()
        };
        let hooks = self.live.hooks.entry(id.clone()).or_insert_with(new);
        let pushed = Pushed::by(batch);
        hooks.iter_mut().for_each(|hook| hook.rule.handle_pushed(pushed.clone()));
        (0..hooks.len()).for_each(|index| self.run_hook(id, index, ctx));
    }

    /// Those of a Mirror that is not what it was, or has others now: what runs is ended.
    pub(super) fn give_up_hooks(&mut self, id: &MirrorId, ctx: &mut Context<Self>) {
        let hooks = self.live.hooks.remove(id).into_iter().flatten();
        for run in hooks.filter_map(|hook| hook.run) {
            ctx.cancel_future(run);
        }
    }

    /// Runs one, or comes back when it may be run.
    fn run_hook(&mut self, id: &MirrorId, index: usize, ctx: &mut Context<Self>) {
        let now = self.now();
        let (Some(mirror), Some(hooks)) = (self.mirrors.get(id), self.live.hooks.get_mut(id))
        else {
            return;
        };
        let (Some(plan), Some(hook)) = (mirror.hooks.get(index), hooks.get_mut(index)) else {
            return;
        };
        if let Some(pushed) = hook.rule.take(now) {
            let environment = environment(id, &mirror.path, &pushed);
            let list = pushed.paths.iter().flat_map(|it| [it.as_bytes(), b"\0"].concat());
            debug!(self.log, "Running a hook"; "mirror" => %id, "hook" => &plan.run[0]);
            let run = self.transport.run_hook(plan.clone(), environment, list.collect());
            let (id, name) = (id.clone(), plan.run[0].clone());
            let run = run.into_actor(self).map({
                let id = id.clone();
                move |ended, act, ctx| {
                    // Arguments may be nobody else's business.
                    let error = ended.err().map(|why| format!("{name}: {why}"));
                    act.handle_hook(&id, index, error, ctx);
                }
            });
            let handle = ctx.spawn(run);
            if let Some(hook) = self.live.hooks.get_mut(&id).and_then(|it| it.get_mut(index)) {
                hook.run = Some(handle);
            }
        } else if let Some(due) = hook.rule.due().filter(|_| !hook.is_armed) {
            hook.is_armed = true;
            let id = id.clone();
            ctx.run_later(due - now, move |act, ctx| {
                if let Some(hook) = act.live.hooks.get_mut(&id).and_then(|it| it.get_mut(index)) {
                    hook.is_armed = false;
                }
                act.run_hook(&id, index, ctx);
            });
        }
    }

    fn handle_hook(
        &mut self,
        id: &MirrorId,
        index: usize,
        error: Option<String>,
        ctx: &mut Context<Self>,
    ) {
        if let Some(why) = &error {
            warn!(self.log, "A hook failed; mirroring goes on"; "mirror" => %id, "why" => why);
        }
        let Some(hooks) = self.live.hooks.get_mut(id) else { return };
        if let Some(hook) = hooks.get_mut(index) {
            hook.rule.handle_ended();
            (hook.run, hook.error) = (None, error);
        }
        let first = hooks.iter().find_map(|hook| hook.error.clone());
        self.turn(ctx, |core, _| core.handle_hook(id, first));
        self.run_hook(id, index, ctx);
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
