//! Looks through the whole tree, away from the actors' thread, for what no event tells.

use actix::prelude::*;
use rustix::io::Errno;
use slog::debug;

use super::WatcherActor;
use crate::actors::shell::Shell;
use crate::watch::volumes::Unresponsive;
use crate::watch::{explore, mounts, scan};
use mirrorball_core::data::limits::EARLY_WALK_MAX;
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::plan::{WalkMode, WatchMode};
use mirrorball_core::data::source_dir::SourceDir;
use mirrorball_core::source::entry_count::Unit;
use mirrorball_core::source::filter::Filter;

/// What was counted.
enum Found {
    /// The entries directly in each directory.
    Tree(Vec<(RelPath, u64)>),
    Units(Vec<(Unit, u64)>),
}

impl WatcherActor {
    /// Does this work, and then that with what was found. What an earlier incarnation found says nothing. The work leaves
    /// out the volumes that it is told.
    pub(super) fn look<T: Send + 'static>(
        &self,
        ctx: &mut Context<Self>,
        work: impl Fn(&SourceDir, &Filter, &Unresponsive) -> Result<T, Errno> + Send + Sync + 'static,
        then: impl FnOnce(&mut Self, T, &mut Context<Self>) + 'static,
    ) {
        let Some(source) = self.live.watch.as_ref().map(|watch| watch.source.clone()) else {
            return;
        };
        let (filter, life, mounted) = (self.filter.clone(), self.next_life, self.mounted.clone());
        let look = move |unresponsive: &Unresponsive| work(&source, &filter, unresponsive);
        let found = mounted.look(look);
        ctx.spawn(found.into_actor(self).map(move |found, act, ctx| {
            if act.next_life != life {
                return;
            }
            match found {
                Ok(found) => then(act, found, ctx),
                Err(error) => act.fail(ctx, format!("Looking through the source failed: {error}")),
            }
        }));
    }

    /// The time that a change gets which is made now, if times tell what changes while everything is being watched
    /// (hard case 19): they must be finer than a millisecond, be the kernel's own, and be gathered. None, too, where
    /// that takes so long that a walk would slow it down.
    pub(super) fn probe(&self, source: &SourceDir) -> Option<i64> {
        let is_looked_through = matches!(self.root.watch, WatchMode::Rescan(_));
        if self.root.walk != WalkMode::IfNeeded || is_looked_through {
            return None;
        }
        let opened = explore::open(source, &RelPath::root()).ok()?;
        let ctime = explore::own_ctime(&opened.fd).ok()?;
        let is_alone = mounts::below(&self.root.source).is_ok_and(|mounts| mounts.is_empty());
        let is_small = explore::inodes_used(&opened.fd).is_ok_and(|used| used < EARLY_WALK_MAX);
        if !opened.raises_events || ctime % 1_000_000 == 0 || !is_alone || !is_small {
            return None;
        }
        let path = self.cookie_directory().join("probe");
        let probe = std::fs::File::create(&path).ok()?;
        let made = explore::own_ctime(&probe).ok();
        // One that stays is overwritten by the next.
        drop(std::fs::remove_file(&path));
        made
    }

    /// Looks for other names of files that got a second one.
    pub(super) fn search_links(&mut self, ctx: &mut Context<Self>) {
        let Some(watch) = self.live.watch.as_mut() else { return };
        // While directories are being listed, names come in anyway.
        if watch.search.running.is_some()
            || watch.search.wanted.is_empty()
            || watch.table.is_exploring()
        {
            return;
        }
        let wanted = std::mem::take(&mut watch.search.wanted);
        watch.search.running = Some(wanted.clone());
        debug!(self.log, "Looking for other names of linked files"; "files" => wanted.len());
        let look = move |source: &SourceDir, filter: &Filter, unresponsive: &Unresponsive| {
            scan::names(source, &wanted, |path: &RelPath, is_directory| {
                filter.excludes_entry(path, is_directory) || unresponsive.covers(path)
            })
        };
        self.look(ctx, look, |act, found, ctx| {
            act.live.watch.iter_mut().for_each(|watch| watch.found_names(&found));
            act.turn(ctx, |_, _| ());
        });
    }

    /// Counts what is there, where events have told too little.
    pub(super) fn count_units(&mut self, ctx: &mut Context<Self>) {
        if self.live.watch.is_none() || self.live.is_counting {
            return;
        }
        let units = self.entries.needs_count();
        if units.is_empty() {
            return;
        }
        debug!(self.log, "Counting entries"; "units" => units.len());
        self.live.is_counting = true;
        let free = self.root.free_to_delete.clone();
        let look = move |source: &SourceDir, filter: &Filter, unresponsive: &Unresponsive| {
            let excludes = |path: &RelPath, is_dir| {
                filter.excludes_entry(path, is_dir) || unresponsive.covers(path)
            };
            if units.contains(&Unit::Rest) {
                return scan::counts(source, &RelPath::root(), excludes).map(Found::Tree);
            }
            let leaves_out = |path: &RelPath, is_dir| excludes(path, is_dir) || free.contains(path);
            let count = |unit: &Unit| {
                scan::count(source, unit, leaves_out).map(|entries| (unit.clone(), entries))
            };
            units.iter().map(count).collect::<Result<_, _>>().map(Found::Units)
        };
        self.look(ctx, look, |act, found, ctx| {
            act.once_told(ctx, |act| {
                act.live.is_counting = false;
                act.take_counts(found);
            });
        });
    }

    fn take_counts(&mut self, found: Found) {
        let absent = self.absent();
        match found {
            Found::Tree(counts) => {
                self.entries.set(counts, &absent);
                self.entries.settled();
            }
            Found::Units(units) => {
                for (unit, entries) in units {
                    // What lies on a volume that can't be counted counts as it was last.
                    let holds =
                        |path| matches!(&unit, Unit::Directory(top) if top.is_related(path));
                    let least = if absent.iter().any(holds) { self.entries.now(&unit) } else { 0 };
                    self.entries.counted(unit, entries.max(least));
                }
            }
        }
    }

    /// Does this when everything that changed before now has come through the kernel's queue.
    pub(super) fn once_told(
        &mut self,
        ctx: &mut Context<Self>,
        then: impl FnOnce(&mut Self) + 'static,
    ) {
        let (cookie, life) = (self.leave_cookie(), self.next_life);
        let told = async move {
            match cookie {
                Ok(cookie) => cookie.await.is_ok(),
                // Then the counts may be wrong by what is still in the queue.
                Err(_) => true,
            }
        };
        ctx.spawn(told.into_actor(self).map(move |told, act, ctx| {
            if told && act.next_life == life {
                then(act);
                act.turn(ctx, |_, _| ());
            }
        }));
    }
}
