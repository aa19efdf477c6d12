//! Keeping the Root's checkpoint, and going on from that of the last run.

use std::io;
use std::sync::Arc;

use actix::prelude::*;
use slog::{Logger, debug, info, warn};

use super::CollatorActor;
use crate::actors::kit::{Kit, Mode};
use crate::actors::message::Fence;
use crate::actors::shell::Shell;
use crate::actors::store::{Loaded, Place, Store};
use crate::watch::scan;
use crate::watch::volumes::Unresponsive;
use mirrorball_core::data::change::Change;
use mirrorball_core::data::limits::CHECKPOINT_RETRY;
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::plan::{Plan, RootPlan, WalkMode};
use mirrorball_core::root::checkpoint::Effect;
use mirrorball_core::root::collator::Collator;
use mirrorball_core::source::snapshot::Snapshot;

const OLD_STAYS: &str =
    "The old checkpoint can't be removed; remove it from the state directory before the next start";

/// What the collator holds of its checkpoint.
pub(super) struct Keeper {
    store: Store,
    /// Whether the last run ended with nothing under way; none when what it left has been looked at.
    last_run: Option<bool>,
    /// The newest scan, until it is on the disk.
    scanned: Option<Arc<Snapshot>>,
    /// Counts what makes a look at the last run void.
    losses: u64,
}

impl Keeper {
    /// Keeps nothing where it is of no use, and then what lies there does not count any more.
    pub(super) fn new(
        kit: &Kit,
        log: &Logger,
        root: &RootPlan,
        is_first: bool,
        is_clean: bool,
    ) -> Option<Self> {
        let mut store = Store::new(Place::new(&kit.plan, root));
        let is_wanted = kit.mode == Mode::Live && root.walk == WalkMode::IfNeeded;
        if !(is_wanted && is_first)
            && let Err(error) = store.clear()
        {
            warn!(log, "{OLD_STAYS}"; "why" => %error);
        }
        let last_run = is_first.then_some(is_clean);
        is_wanted.then_some(Self { store, last_run, scanned: None, losses: 0 })
    }

    /// Mirrors have come, gone, or lie elsewhere.
    pub(super) fn handle_plan(&mut self, plan: &Plan, root: &RootPlan) {
        self.store.set_place(Place::new(plan, root));
    }
}

impl CollatorActor {
    /// Everything is watched, and was scanned on the way.
    pub(super) fn begin_from(&mut self, ctx: &mut Context<Self>, snapshot: Option<Snapshot>) {
        let (Some(keeper), Some(snapshot)) = (&mut self.keeper, snapshot) else {
            return self.turn(ctx, Collator::handle_watching);
        };
        let snapshot = Arc::new(snapshot);
        keeper.scanned = Some(snapshot.clone());
        let Some(is_clean) = keeper.last_run.take() else {
            return self.turn(ctx, |core, now| {
                core.handle_scanned(false);
                core.handle_watching(now);
            });
        };
        let (place, losses) = (keeper.store.place().clone(), keeper.losses);
        let task = tokio::task::spawn_blocking(move || {
            let loaded = place.load(is_clean)?;
            Ok(loaded.map(|loaded| {
                let changes = snapshot.changes_since(&loaded.snapshot);
                (loaded, changes)
            }))
        });
        ctx.spawn(task.into_actor(self).map(move |loaded, act, ctx| {
            // Events that were lost meanwhile may have been newer than the scan.
            let is_current = |keeper: &Keeper| keeper.losses == losses;
            if act.keeper.as_ref().is_some_and(is_current) && act.core.halted().is_none() {
                let loaded = loaded.unwrap_or_else(|error| Err(io::Error::other(error)));
                act.resume(ctx, loaded, is_clean);
            }
        }));
    }

    fn resume(
        &mut self,
        ctx: &mut Context<Self>,
        loaded: io::Result<Option<(Loaded, Vec<Change>)>>,
        is_clean: bool,
    ) {
        let Some(keeper) = &mut self.keeper else { return };
        let is_empty = keeper.scanned.as_ref().is_none_or(|snapshot| snapshot.is_empty());
        let usable = match loaded {
            // Its disk may not be mounted, and a Walk of nothing costs nothing.
            Ok(Some(_)) if is_empty => {
                info!(self.log, "The source is empty; everything is compared");
                None
            }
            Ok(loaded) => loaded,
            Err(error) => {
                info!(self.log, "Everything is compared: the last run's checkpoint does not count";
                    "why" => %error);
                None
            }
        };
        let Some((loaded, changes)) = usable else {
            let cleared = keeper.store.clear();
            self.note_failure(cleared);
            return self.turn(ctx, |core, now| {
                core.handle_scanned(false);
                core.handle_watching(now);
            });
        };
        let kept = keeper.store.go_on(&loaded);
        // With a journal the next start would go through that again.
        let is_same = changes.is_empty() && loaded.journal.is_empty();
        if is_same {
            keeper.scanned = None;
        }
        self.note_failure(kept);
        info!(self.log, "Going on from the last run's checkpoint"; "mirrors" => loaded.holders.len(),
            "changed_meanwhile" => changes.len(), "handed_out" => loaded.journal.len(),
            "good_end" => is_clean);
        self.turn(ctx, |core, now| {
            core.handle_resume(now, changes, &loaded.journal, loaded.holders, is_clean);
            core.handle_scanned(is_same);
            core.handle_watching(now);
        });
    }

    /// Events were lost: what was scanned before says nothing. Before anything was handed out, what the
    /// last run left still does.
    pub(super) fn lose_scan(&mut self) {
        let Some(keeper) = &mut self.keeper else { return };
        keeper.losses += 1;
        keeper.scanned = None;
        if keeper.last_run.is_none() {
            let cleared = keeper.store.clear();
            self.note_failure(cleared);
        }
    }

    /// All is well at the end: what is kept counts also when the machine goes down now.
    pub(super) fn end_well(&mut self) -> io::Result<()> {
        if self.core.may_change() {
            return Ok(());
        }
        if let Some(keeper) = &self.keeper {
            keeper.store.sync()?;
        }
        self.memory.end()
    }

    pub(super) fn keep(&mut self, ctx: &mut Context<Self>, effect: Effect) {
        let Some(keeper) = &mut self.keeper else { return };
        let kept = match effect {
            Effect::Append(entries) => keeper.store.append(&entries),
            Effect::Record(holders, None) => keeper.store.record(holders),
            Effect::Withdraw(ids) => keeper.store.withdraw(&ids),
            Effect::Record(holders, Some(journal)) => {
                debug!(self.log, "Keeping a checkpoint"; "mirrors" => holders.len());
                let begun = keeper.store.begin(holders, &journal);
                begun.map(|number| self.write_snapshot(ctx, number))
            }
            Effect::Mark => {
                self.ask_for_mark(ctx);
                Ok(())
            }
            Effect::Renew => {
                self.scan_anew(ctx);
                Ok(())
            }
        };
        self.note_failure(kept);
    }

    /// What can't be kept must not be believed.
    fn note_failure(&mut self, kept: io::Result<()>) {
        let Err(error) = kept else { return };
        warn!(self.log, "The checkpoint can't be kept; the next start will compare everything";
            "why" => %error);
        if let Some(Err(error)) = self.keeper.as_mut().map(|keeper| keeper.store.clear()) {
            warn!(self.log, "{OLD_STAYS}"; "why" => %error);
        }
    }

    fn write_snapshot(&mut self, ctx: &mut Context<Self>, number: u64) {
        let Some(keeper) = &mut self.keeper else { return };
        let Some(snapshot) = keeper.scanned.take() else { return };
        let place = keeper.store.place().clone();
        let task = tokio::task::spawn_blocking(move || place.write_snapshot(number, &snapshot));
        ctx.spawn(task.into_actor(self).map(move |written, act, _| {
            let written = written.unwrap_or_else(|error| Err(io::Error::other(error)));
            let Some(keeper) = &mut act.keeper else { return };
            let kept = written.and_then(|()| keeper.store.finish(number));
            act.note_failure(kept);
        }));
    }

    fn ask_for_mark(&mut self, ctx: &mut Context<Self>) {
        let Some(watcher) = &self.watcher else { return };
        let fenced = watcher.fence.send(Fence);
        ctx.spawn(fenced.into_actor(self).map(|fenced, _, ctx| {
            if !matches!(fenced, Ok(Ok(()))) {
                ctx.run_later(CHECKPOINT_RETRY, |act, ctx| {
                    act.turn(ctx, |core, _| core.handle_not_told());
                });
            }
        }));
    }

    fn scan_anew(&mut self, ctx: &mut Context<Self>) {
        let (Some(source), Some(keeper)) = (self.source.clone(), &self.keeper) else { return };
        let (filter, losses) = (self.filter.clone(), keeper.losses);
        let volumes = self.volumes.clone();
        let look = move |unresponsive: &Unresponsive| {
            let excludes = |path: &RelPath, is_directory| {
                filter.excludes(path, is_directory) || unresponsive.covers(path)
            };
            let scan = scan::scan(&source, &RelPath::root(), excludes)?;
            Ok(Snapshot::new(scan.own, scan.directories))
        };
        let scanned = volumes.look(look);
        ctx.spawn(scanned.into_actor(self).map(move |scanned, act, ctx| {
            let Some(keeper) = &mut act.keeper else { return };
            if keeper.losses != losses {
                return;
            }
            match scanned {
                Ok(snapshot) => {
                    keeper.scanned = Some(Arc::new(snapshot));
                    act.turn(ctx, |core, _| core.handle_scanned(false));
                }
                Err(_) => {
                    ctx.run_later(CHECKPOINT_RETRY, |act, ctx| {
                        act.turn(ctx, |core, _| core.handle_not_scanned());
                    });
                }
            }
        }));
    }
}
