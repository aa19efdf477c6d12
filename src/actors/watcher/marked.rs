//! A Root of which the whole file system tells, by one mark: no directory is watched, so that there is no limit, and
//! nothing to wait for before a push may begin.

use std::io;

use actix::prelude::*;
use slog::info;

use super::WatcherActor;
use crate::actors::shell::Shell;
use crate::actors::watched::Watch;
use crate::watch::fanotify::{self, MarkSet};
use crate::watch::scan::{Scan, scan};
use crate::watch::volumes::Unresponsive;
use crate::watch::{explore, mounts};
use mirrorball_core::data::change::{Change, Kinds};
use mirrorball_core::data::event::TreeEvent;
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::plan::WatchMode;
use mirrorball_core::data::source_dir::{SourceDir, Volume};
use mirrorball_core::source::filter::Filter;
use mirrorball_core::source::snapshot::Snapshot;
use mirrorball_core::source::tree_events;
use mirrorball_core::source::watch_table::{Opening, WatchTable};

/// What was found in a tree.
struct Found {
    scan: Scan,
    /// Volumes at and below it.
    volumes: Vec<(RelPath, Volume)>,
    /// Those of which the kernel does not tell.
    silent: Vec<RelPath>,
}

impl WatcherActor {
    pub(super) fn begin_marked(
        &mut self,
        source: SourceDir,
        ctx: &mut Context<Self>,
    ) -> Result<(), String> {
        let cookies = self.cookie_directory();
        std::fs::create_dir_all(&cookies)
            .map_err(|error| format!("Cannot make {}: {error}", cookies.display()))?;
        let (marks, events) =
            fanotify::open(&source, &cookies).map_err(|error| error.to_string())?;
        ctx.add_stream(events);
        let watch = self.watch(source, WatchTable::idle(self.filter.clone()));
        self.live.watch = Some(Watch { marks: Some(marks), ..watch });
        self.look_through(RelPath::root(), false, ctx);
        Ok(())
    }

    /// Whether to begin anew with marks, where there are too few watches.
    pub(super) fn turns_to_marks(&mut self) -> bool {
        let is_wanted = self.root.watch == WatchMode::Auto && self.is_marked.is_none();
        let Some(watch) = self.live.watch.as_ref().filter(|_| is_wanted) else { return false };
        let is_allowed = fanotify::open(&watch.source, &self.cookie_directory()).is_ok();
        self.is_marked = Some(is_allowed);
        if is_allowed {
            info!(
                self.log,
                "The limit of inotify watches is reached; the whole file system is watched instead, by \
                fanotify"
            );
        }
        is_allowed
    }

    /// Looks for what no event tells: volumes, names of linked files and, at the start, everything. `is_unknown`:
    /// neither does any event tell what is there.
    pub(super) fn look_through(
        &mut self,
        path: RelPath,
        is_unknown: bool,
        ctx: &mut Context<Self>,
    ) {
        let Some(watch) = self.live.watch.as_mut() else { return };
        let Some(marks) = watch.marks.clone() else { return };
        watch.scans += 1;
        let (root, from) = (self.root.source.clone(), path.clone());
        let look = move |source: &SourceDir, filter: &Filter, unresponsive: &Unresponsive| {
            let excludes = |path: &RelPath, is_directory| {
                filter.excludes(path, is_directory) || unresponsive.covers(path)
            };
            let mounted = mounts::below(&root).unwrap_or_default();
            let mounted = mounted.into_iter().filter(|path| !excludes(path, true));
            let (volumes, silent) = mark(source, &marks, &from, mounted);
            scan(source, &from, excludes).map(|scan| Found { scan, volumes, silent })
        };
        self.look(ctx, look, move |act, found, ctx| act.handle_found(path, is_unknown, found, ctx));
    }

    fn handle_found(
        &mut self,
        path: RelPath,
        is_unknown: bool,
        found: Found,
        ctx: &mut Context<Self>,
    ) {
        let Some(watch) = self.live.watch.as_mut() else { return };
        watch.scans -= 1;
        let Found { scan, volumes, silent } = found;
        scan.links.into_iter().for_each(|(path, file)| watch.links.insert(path, file));
        for (path, volume) in volumes {
            self.see_volume(path, volume);
        }
        let directories = scan.directories.len();
        let snapshot = Snapshot::new(scan.own.filter(|_| path.is_root()), scan.directories);
        let Some(watch) = self.live.watch.as_mut() else { return };
        if path.is_root() {
            watch.listed = Some(snapshot.counts().collect());
        } else {
            self.entries.may_have_come(&path, snapshot.len() + 1);
        }
        let job = watch.table.next_job();
        for path in silent {
            let opening = Opening { job, parent: None, name: [].as_slice().into(), path };
            self.rescan(opening);
        }
        if path.is_root() {
            if let Some(watch) = self.live.watch.as_mut()
                && watch.snapshot.is_some()
            {
                watch.snapshot = Some(snapshot);
            }
            self.complete(directories, ctx);
        } else if let Some(watch) = self.live.watch.as_mut().filter(|_| is_unknown) {
            watch.change(Change::new(path, Kinds::SUBTREE | Kinds::CONTENT));
        }
        self.turn(ctx, |_, _| ());
    }
}

/// Marks the volumes that are mounted below a directory. Returns all, and those that don't tell what happens.
fn mark(
    source: &SourceDir,
    marks: &MarkSet,
    from: &RelPath,
    mounted: impl Iterator<Item = RelPath>,
) -> (Vec<(RelPath, Volume)>, Vec<RelPath>) {
    let (mut volumes, mut silent) = (Vec::new(), Vec::new());
    let is_inside = |path: &RelPath| path.is_at_or_below(from);
    for path in mounted.filter(is_inside) {
        // What can't be opened can't be sent either, and rsync says so.
        let Ok(opened) = explore::open(source, &path) else { continue };
        if !opened.raises_events || marks.mark(&path, &opened.fd).is_err() {
            silent.push(path.clone());
        }
        volumes.push((path, opened.volume));
    }
    let tells = |opened: explore::Opened| opened.raises_events;
    if from.is_root() && !explore::open(source, from).is_ok_and(tells) {
        silent.push(RelPath::root());
    }
    (volumes, silent)
}

impl StreamHandler<io::Result<Vec<TreeEvent>>> for WatcherActor {
    fn handle(&mut self, read: io::Result<Vec<TreeEvent>>, ctx: &mut Context<Self>) {
        let Some(watch) = self.live.watch.as_mut() else { return };
        let events = match read {
            Ok(events) => events,
            Err(error) => return self.fail_unread(ctx, &error),
        };
        watch.events += events.len() as u64;
        let mut cookies = Vec::new();
        let filter = self.filter.clone();
        for event in events {
            if let TreeEvent::Cookie(name) = event {
                cookies.push(name);
                continue;
            }
            for effect in tree_events::effects(&filter, event) {
                self.carry_out(effect, ctx);
            }
        }
        self.turn(ctx, |_, _| ());
        cookies.iter().for_each(|name| self.handle_cookie(name));
    }

    fn finished(&mut self, ctx: &mut Context<Self>) {
        self.watch_anew(ctx);
    }
}
