//! Directories that raise no events, for want of watches or because others may change them: they are looked
//! through again and again, and compared with what was found before.

use std::collections::BTreeMap;
use std::time::Duration;

use actix::prelude::*;
use slog::{info, warn};
use tokio::sync::oneshot;

use super::WatcherActor;
use crate::actors::message::Degraded;
use crate::actors::send::tell;
use crate::actors::shell::Shell;
use crate::watch::inotify::watches_max;
use crate::watch::scan::scan;
use crate::watch::volumes::Unresponsive;
use mirrorball_core::data::change::{Change, Kinds};
use mirrorball_core::data::limits::RESCAN_INTERVAL;
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::plan::WatchMode;
use mirrorball_core::data::source_dir::SourceDir;
use mirrorball_core::source::entry_count::{EntryCount, Size};
use mirrorball_core::source::filter::Filter;
use mirrorball_core::source::snapshot::Snapshot;
use mirrorball_core::source::watch_table::Opening;

/// The directories without events, each with all below it as it was found last.
#[derive(Default)]
pub(super) struct Rescans {
    found: BTreeMap<RelPath, Snapshot>,
    /// To be looked through for the first time.
    new: Vec<Opening>,
    is_scanning: bool,
    /// The kernel's limit when there were too few watches.
    limit: Option<u64>,
    timer: Option<SpawnHandle>,
    /// Who wants to know of a look that has not begun.
    asked: Vec<oneshot::Sender<()>>,
    /// What was said of it last.
    told: Option<String>,
}

impl Rescans {
    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Watches were short.
    pub(super) fn note_limit(&mut self) {
        self.limit = self.limit.or_else(watches_max);
    }

    /// Returns whether there was anything to forget.
    pub(super) fn forget(&mut self, gone: &RelPath) -> bool {
        let before = self.found.len();
        self.found.retain(|path, _| path != gone && !path.is_below(gone));
        self.found.len() < before
    }

    /// What lies below a directory that was renamed lies elsewhere now; itself it is explored again.
    pub(super) fn rename(&mut self, from: &RelPath, to: &RelPath) {
        self.forget(to);
        self.found.remove(from);
        let moved: Vec<RelPath> =
            self.found.keys().filter(|path| path.is_below(from)).cloned().collect();
        for old in moved {
            if let (Some(found), Some(new)) = (self.found.remove(&old), old.rebased(from, to)) {
                self.found.insert(new, found.rebased(from, to));
            }
        }
    }

    fn directories(&self) -> usize {
        self.found.values().map(Snapshot::directories).sum()
    }
}

/// Counts what a change says of names, in a directory that was looked through again.
fn note_names(entries: &mut EntryCount, change: &Change, old: &Snapshot, new: &Snapshot) {
    let Change { path, kinds, .. } = change;
    match (kinds.contains(Kinds::CAME), kinds.contains(Kinds::WENT), kinds.contains(Kinds::SUBTREE))
    {
        (true, _, false) => entries.came(path, false),
        (true, _, true) => entries.arrived(path, Size::Directory(new.len_below(path))),
        (_, true, false) => entries.went(path, Size::File),
        (_, true, true) => entries.went(path, Size::Directory(old.len_below(path))),
        // A directory became something else, or can be looked into now, or the other way round.
        (_, _, true) => entries.lose(path),
        (_, _, false) => (),
    }
}

impl WatcherActor {
    fn interval(&self) -> Duration {
        match self.root.watch {
            WatchMode::Rescan(interval) => interval,
            WatchMode::Auto | WatchMode::Inotify | WatchMode::Fanotify => RESCAN_INTERVAL,
        }
    }

    pub(super) fn rescan(&mut self, opening: Opening) {
        self.live.rescans.new.push(opening);
    }

    /// Looks through what is new, for the first time.
    pub(super) fn scan_new(&mut self, ctx: &mut Context<Self>) {
        let rescans = &mut self.live.rescans;
        if rescans.is_scanning || rescans.new.is_empty() {
            return;
        }
        let openings = std::mem::take(&mut rescans.new);
        let paths = openings.iter().map(|opening| opening.path.clone()).collect();
        self.scan(ctx, paths, move |act, found, ctx| {
            for (path, snapshot) in found {
                let Some(watch) = act.live.watch.as_mut() else { return };
                if let Some(listed) = &mut watch.listed {
                    listed.extend(snapshot.counts());
                } else {
                    act.entries.may_have_come(&path, snapshot.len() + 1);
                }
                if let Some(whole) = &mut watch.snapshot {
                    whole.extend(&snapshot);
                }
                act.live.rescans.found.insert(path, snapshot);
            }
            act.turn(ctx, |table, _| {
                openings.iter().for_each(|opening| table.handle_scanned(opening));
            });
            act.tell_degraded();
            act.arm_rescan(ctx);
        });
    }

    /// Looks through everything that raises no events, and tells what has changed.
    fn scan_again(&mut self, ctx: &mut Context<Self>) {
        let rescans = &mut self.live.rescans;
        if rescans.is_scanning {
            return;
        }
        if rescans.limit.is_some() && watches_max() > rescans.limit {
            return self.watch_after_all(ctx);
        }
        let (asked, paths) =
            (std::mem::take(&mut rescans.asked), rescans.found.keys().cloned().collect());
        self.scan(ctx, paths, move |act, found, ctx| {
            let unresponsive = act.mounted.unresponsive();
            for (path, mut snapshot) in found {
                let (Some(old), Some(watch)) =
                    (act.live.rescans.found.get_mut(&path), act.live.watch.as_mut())
                else {
                    continue;
                };
                snapshot.take_over(old, unresponsive.paths());
                let changes = snapshot.changes_since(old);
                for change in &changes {
                    note_names(&mut act.entries, change, old, &snapshot);
                }
                changes.into_iter().for_each(|change| watch.change(change));
                *old = snapshot;
            }
            act.turn(ctx, |_, _| ());
            for asker in asked {
                // An asker that has gone meanwhile needs no answer.
                let _ = asker.send(());
            }
            act.tell_degraded();
            act.arm_rescan(ctx);
        });
    }

    fn scan(
        &mut self,
        ctx: &mut Context<Self>,
        paths: Vec<RelPath>,
        then: impl FnOnce(&mut Self, Vec<(RelPath, Snapshot)>, &mut Context<Self>) + 'static,
    ) {
        if self.live.watch.is_none() {
            return;
        }
        self.live.rescans.is_scanning = true;
        let look = move |source: &SourceDir, filter: &Filter, unresponsive: &Unresponsive| {
            let excludes = |path: &RelPath, is_directory| {
                filter.excludes(path, is_directory) || unresponsive.covers(path)
            };
            let scanned = |path: &RelPath| {
                let scan = scan(source, path, excludes)?;
                let own = scan.own.filter(|_| path.is_root());
                Ok((path.clone(), Snapshot::new(own, scan.directories)))
            };
            paths.iter().filter(|path| !unresponsive.covers(path)).map(scanned).collect()
        };
        self.look(ctx, look, |act, found, ctx| {
            act.live.rescans.is_scanning = false;
            then(act, found, ctx);
            act.scan_new(ctx);
        });
    }

    fn arm_rescan(&mut self, ctx: &mut Context<Self>) {
        let interval = self.interval();
        let rescans = &mut self.live.rescans;
        rescans.timer.take().map(|timer| ctx.cancel_future(timer));
        if rescans.asked.is_empty() {
            let again = |act: &mut Self, ctx: &mut Context<Self>| {
                act.live.rescans.timer = None;
                act.scan_again(ctx);
            };
            rescans.timer = (!rescans.found.is_empty()).then(|| ctx.run_later(interval, again));
        } else {
            self.scan_again(ctx);
        }
    }

    /// Resolves when everything has been looked through once more, from now on.
    pub(super) fn ask_for_rescan(&mut self, ctx: &mut Context<Self>) -> oneshot::Receiver<()> {
        let (asker, answer) = oneshot::channel();
        if self.live.rescans.is_empty() {
            let _ = asker.send(());
        } else {
            self.live.rescans.asked.push(asker);
            self.scan_again(ctx);
        }
        answer
    }

    /// There are more watches than there were.
    fn watch_after_all(&mut self, ctx: &mut Context<Self>) {
        info!(self.log, "The limit of inotify watches was raised");
        let rescans = &mut self.live.rescans;
        rescans.limit = None;
        let found = std::mem::take(&mut rescans.found);
        if found.keys().any(RelPath::is_root) {
            return self.watch_anew(ctx);
        }
        self.turn(ctx, |table, _| found.keys().for_each(|path| table.handle_remounted(path)));
        self.tell_degraded();
        self.arm_rescan(ctx);
    }

    fn tell_degraded(&mut self) {
        let interval = humantime::format_duration(self.interval());
        let rescans = &self.live.rescans;
        let count = rescans.directories();
        let why = match (count, rescans.limit, self.root.watch) {
            (0, ..) => None,
            (_, _, WatchMode::Rescan(_)) => {
                Some(format!("Everything is looked through every {interval}, as configured"))
            }
            (_, Some(limit), _) => {
                let watched = self.live.watch.as_ref().map_or(0, |watch| watch.table.len());
                let needed = watched + count;
                let suggested = (limit + count as u64).next_power_of_two();
                Some(format!(
                    "The limit of inotify watches is reached ({limit}); this root needs {needed}, so {count} \
                     of its directories are only looked through every {interval}. Raise it: sysctl \
                     fs.inotify.max_user_watches={suggested}, and the same line in /etc/sysctl.d/"
                ))
            }
            (_, None, _) => Some(format!(
                "{count} directories lie on a file system that others may change without a word here, such \
                 as NFS or FUSE; they are looked through every {interval}"
            )),
        };
        if why != rescans.told {
            if let Some(why) = &why {
                warn!(self.log, "Changes are found late"; "why" => why);
            }
            self.live.rescans.told.clone_from(&why);
            tell(&self.collator.degraded, Degraded { why });
        }
    }
}
