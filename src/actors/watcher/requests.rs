//! What others ask of a watcher.

use actix::prelude::*;

use super::WatcherActor;
use crate::actors::message::{
    Explore, Fence, Leave, LetGo, Mark, NewPlan, Ping, Seal, Told, WatchAnew,
};
use crate::actors::shell::Shell;
use crate::actors::watcher::rescan::Rescans;
use mirrorball_core::data::change::Epoch;

impl Handler<Explore> for WatcherActor {
    type Result = ();
    fn handle(&mut self, message: Explore, ctx: &mut Self::Context) {
        if self.live.watch.as_ref().is_some_and(|watch| watch.marks.is_some()) {
            // What came there before its volume was marked has raised no event.
            return self.look_through(message.path, true, ctx);
        }
        self.turn(ctx, |table, _| table.handle_remounted(&message.path));
    }
}

impl Handler<NewPlan> for WatcherActor {
    type Result = ();
    fn handle(&mut self, message: NewPlan, ctx: &mut Self::Context) {
        let Some(root) = message.plan.roots.get(&self.root.id) else { return };
        if root.free_to_delete != self.root.free_to_delete {
            self.root.free_to_delete.clone_from(&root.free_to_delete);
            self.entries.set_free_to_delete(root.free_to_delete.clone());
            self.turn(ctx, |_, _| ());
        }
    }
}

impl Handler<LetGo> for WatcherActor {
    type Result = ();
    fn handle(&mut self, _: LetGo, _: &mut Self::Context) {
        self.live.watch = None;
        self.live.rescans = Rescans::default();
    }
}

impl Handler<Leave> for WatcherActor {
    type Result = ();
    fn handle(&mut self, _: Leave, ctx: &mut Self::Context) {
        self.is_leaving = true;
        // Its streams and timers end with this; the rest when nobody knows it any more.
        ctx.stop();
    }
}

impl Handler<WatchAnew> for WatcherActor {
    type Result = ();
    fn handle(&mut self, _: WatchAnew, ctx: &mut Self::Context) {
        self.watch_anew(ctx);
    }
}

impl Handler<Mark> for WatcherActor {
    type Result = ResponseFuture<Result<Epoch, String>>;
    fn handle(&mut self, _: Mark, ctx: &mut Self::Context) -> Self::Result {
        let (told, seal) = (self.everything_told(ctx), self.collator.seal.clone());
        Box::pin(async move {
            told.await?;
            // What came before the cookie has been told to the collator before it.
            seal.send(Seal).await.map_err(|error| error.to_string())
        })
    }
}

impl Handler<Fence> for WatcherActor {
    type Result = ResponseFuture<Result<(), String>>;
    fn handle(&mut self, _: Fence, ctx: &mut Self::Context) -> Self::Result {
        let (fenced, told) = (self.everything_told(ctx), self.collator.told.clone());
        Box::pin(async move {
            fenced.await?;
            told.send(Told).await.map_err(|error| error.to_string())
        })
    }
}

impl Handler<Ping> for WatcherActor {
    type Result = Result<(), String>;
    fn handle(&mut self, _: Ping, _: &mut Self::Context) -> Self::Result {
        Ok(())
    }
}
