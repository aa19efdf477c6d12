//! One Root's watcher: reads the kernel's queue without waiting for anybody, and watches what is new.

mod cookies;
mod look;
mod marked;
mod requests;
mod rescan;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use rustix::io::Errno;
use slog::{Logger, info, o, warn};
use tokio::sync::oneshot;

use crate::actors::kit::{Kit, Mode};
use crate::actors::links::CollatorLink;
use crate::actors::message::{Begun, Changed, SourceGone, VolumeSeen, WatchLost, Watching, Who};
use crate::actors::notice::DeathNotice;
use crate::actors::send::tell;
use crate::actors::shell::Shell;
use crate::actors::watched::{LinkSearch, Watch};
use crate::actors::watcher::rescan::Rescans;
use crate::watch::explore::{self, Listing, Opened};
use crate::watch::inotify::{self, WatchError};
use crate::watch::volumes::{Unresponsive, Volumes};
use crate::watch::{scan, source};
use mirrorball_core::backoff::{Backoff, seed_of};
use mirrorball_core::data::change::{Change, Kinds};
use mirrorball_core::data::event::{EventMask, KernelEvent};
use mirrorball_core::data::limits::{EVENTS_AT_ONCE_MAX, EXPLORE_CHUNK, EXPLORE_TASKS_MAX};
use mirrorball_core::data::moment::Moment;
use mirrorball_core::data::name::Escaped;
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::plan::{RetryPlan, RootPlan, WalkMode, WatchMode};
use mirrorball_core::data::source_dir::{SourceDir, Volume};
use mirrorball_core::source::entry_count::{EntryCount, Size};
use mirrorball_core::source::filter::Filter;
use mirrorball_core::source::link_table::LinkTable;
use mirrorball_core::source::snapshot::{Snapshot, changed_since};
use mirrorball_core::source::watch_table::{
    Effect, JobId, NodeId, OpenFailure, Opening, WatchTable,
};

/// Pauses before watching is tried again. A watcher that lived longer than the longest starts afresh.
const RETRY: RetryPlan =
    RetryPlan { first: Duration::from_millis(200), max: Duration::from_secs(60) };

/// Watches one Root.
pub struct WatcherActor {
    root: RootPlan,
    filter: Arc<Filter>,
    mounted: Arc<Volumes>,
    kit: Kit,
    log: Logger,
    collator: CollatorLink,
    backoff: Backoff,
    /// How much there is. It outlives an incarnation, so that what is not found by the next one is told as lost.
    entries: EntryCount,
    /// Where a volume was seen.
    volumes: BTreeSet<RelPath>,
    live: Live,
    /// Where watches did not suffice: whether marks are allowed.
    is_marked: Option<bool>,
    /// Directories opened at once by one task: fewer, where descriptors were short.
    chunk: usize,
    next_cookie: u64,
    /// Counts incarnations.
    next_life: u64,
    /// The Plan does not know it any more.
    is_leaving: bool,
    _notice: DeathNotice,
}

/// What one incarnation holds.
#[derive(Default)]
struct Live {
    watch: Option<Watch>,
    /// What raises no events.
    rescans: Rescans,
    /// Units are being counted.
    is_counting: bool,
    /// Where a volume is mounted.
    volumes: BTreeSet<RelPath>,
    /// When everything was first watched.
    complete_since: Option<Moment>,
    wake: Option<Moment>,
    /// It will be started anew; what comes in now is void.
    ending: bool,
    /// Cookies on their way through the kernel's queue.
    cookies: BTreeMap<u64, oneshot::Sender<()>>,
    /// Cookies that came back, but for explorations that had begun before.
    ripening: Vec<(JobId, oneshot::Sender<()>)>,
}

impl WatcherActor {
    /// A watcher of this Root that reports to this collator.
    pub fn new(
        root: &RootPlan,
        filter: Arc<Filter>,
        mounted: Arc<Volumes>,
        kit: &Kit,
        collator: CollatorLink,
        life: u64,
    ) -> Self {
        let log = kit.log.new(o!("root" => root.id.to_string()));
        let who = Who::Root(root.id.clone());
        Self {
            root: root.clone(),
            filter,
            mounted,
            kit: kit.clone(),
            log,
            collator,
            backoff: Backoff::new(RETRY, seed_of(root.id.as_str())),
            entries: EntryCount::new(root.free_to_delete.clone()),
            volumes: BTreeSet::new(),
            live: Live::default(),
            is_marked: None,
            chunk: EXPLORE_CHUNK,
            next_cookie: 0,
            next_life: 0,
            is_leaving: false,
            _notice: DeathNotice::new(who, life, &kit.overseer.gone),
        }
    }

    fn begin(&mut self, ctx: &mut Context<Self>) -> Result<(), String> {
        self.next_life += 1;
        self.entries.begin();
        let at = Escaped(self.root.source.as_os_str().as_bytes()).to_string();
        let source = source::open(&self.root.source)
            .map_err(|error| format!("Cannot open the source {at}: {error}"))?;
        if self.kit.mode == Mode::Once {
            self.count(source, ctx);
            return Ok(());
        }
        if self.root.watch == WatchMode::Fanotify {
            return self.begin_marked(source, ctx);
        }
        if self.is_marked == Some(true) {
            match self.begin_marked(source.clone(), ctx) {
                Ok(()) => return Ok(()),
                Err(why) => {
                    warn!(self.log, "Watching goes on with too few inotify watches"; "why" => why);
                    self.is_marked = Some(false);
                }
            }
        }
        let (mut watches, events) = inotify::open().map_err(|error| error.to_string())?;
        let cookie_wd = self.watch_cookies(&mut watches)?;
        ctx.add_stream(events);
        let table = WatchTable::new(self.filter.clone());
        let probe = self.probe(&source);
        let watch = self.watch(source.clone(), table);
        self.live.watch = Some(Watch { watches: Some(watches), cookie_wd, probe, ..watch });
        if probe.is_some() {
            tell(&self.collator.begun, Begun { source });
        }
        self.turn(ctx, |_, _| ());
        Ok(())
    }

    /// A single pass watches nothing. How much it may delete depends on how much is here.
    fn count(&self, source: SourceDir, ctx: &mut Context<Self>) {
        let (filter, counted, mounted) =
            (self.filter.clone(), source.clone(), self.mounted.clone());
        let count = move |unresponsive: &Unresponsive| {
            let excludes = |path: &RelPath, is_dir| {
                filter.excludes_entry(path, is_dir) || unresponsive.covers(path)
            };
            scan::counts(&counted, &RelPath::root(), excludes)
        };
        let counted = mounted.look(count);
        ctx.spawn(counted.into_actor(self).map(move |counted, act, ctx| match counted {
            Ok(counted) => {
                act.entries.set(counted, act.mounted.unresponsive().paths());
                act.tell_watching(source, 0, None);
            }
            Err(why) => act.fail(ctx, format!("Cannot count the source's entries: {why}")),
        }));
    }

    fn watch(&self, source: SourceDir, table: WatchTable) -> Watch {
        Watch {
            watches: None,
            marks: None,
            scans: 0,
            probe: None,
            table,
            source,
            distant: BTreeSet::new(),
            cookie_wd: None,
            reads_ahead: false,
            to_open: VecDeque::new(),
            tasks: 0,
            links: LinkTable::default(),
            search: LinkSearch::default(),
            listed: Some(BTreeMap::new()),
            snapshot: (self.root.walk == WalkMode::IfNeeded).then(Snapshot::default),
            changes: Vec::new(),
            events: 0,
            told_exploring: false,
        }
    }

    /// Watching has failed; it begins anew after a pause, with nothing remembered.
    fn begin_anew(&mut self, ctx: &mut Context<Self>) {
        if self.live.ending {
            return;
        }
        self.live.ending = true;
        self.live.watch = None;
        self.live.rescans = Rescans::default();
        let now = self.kit.clock.now();
        let lived_long = |since: Moment| now - since > RETRY.max;
        if self.live.complete_since.is_some_and(lived_long) {
            self.backoff.reset();
        }
        let pause = self.backoff.next_pause();
        ctx.run_later(pause, |_, ctx| ctx.stop());
    }

    /// What came meanwhile is not known: everything is compared.
    fn watch_anew(&mut self, ctx: &mut Context<Self>) {
        tell(&self.collator.lost, WatchLost);
        self.begin_anew(ctx);
    }

    /// The kernel's queue can't be read.
    fn fail_unread(&mut self, ctx: &mut Context<Self>, error: &std::io::Error) {
        tell(&self.collator.lost, WatchLost);
        self.fail(ctx, format!("Reading the kernel's events failed: {error}"));
    }

    fn fail(&mut self, ctx: &mut Context<Self>, why: String) {
        tell(&self.collator.gone, SourceGone { why });
        self.begin_anew(ctx);
    }

    fn complete(&mut self, directories: usize, ctx: &mut Context<Self>) {
        let Some(watch) = self.live.watch.as_mut() else { return };
        watch.probe = None;
        let source = watch.source.clone();
        let snapshot = watch.snapshot.take();
        let listed = watch.listed.take().unwrap_or_default();
        let absent = self.absent();
        self.entries.set(listed, &absent);
        self.once_told(ctx, |act| act.entries.settled());
        info!(self.log, "Watching"; "directories" => directories,
            "source" => %Escaped(self.root.source.as_os_str().as_bytes()));
        self.live.complete_since = Some(self.kit.clock.now());
        self.tell_watching(source, directories, snapshot);
    }

    fn tell_watching(&mut self, source: SourceDir, directories: usize, snapshot: Option<Snapshot>) {
        let levels = self.entries.take_changes().expect("everything was counted before");
        let unsure = !self.live.rescans.is_empty();
        let watching = Watching { source, directories, snapshot, levels, unsure };
        tell(&self.collator.watching, watching);
    }

    /// A name went away, with all below it.
    fn went(&mut self, path: &RelPath, size: Size) {
        // Of what raises no events in a directory that went, nobody told that it went.
        let is_silent = self.forget(path);
        self.entries.went(path, if is_silent { Size::Unknown } else { size });
    }

    /// Returns whether some of it raised no events.
    fn forget(&mut self, path: &RelPath) -> bool {
        if let Some(watch) = &mut self.live.watch {
            watch.links.remove(path);
            watch.links.remove_below(path);
        }
        self.live.rescans.forget(path)
    }

    /// Where volumes can't be counted now. Of those that no incarnation of this daemon's has seen, nothing is known here.
    fn absent(&self) -> Vec<RelPath> {
        let unmounted = self.volumes.difference(&self.live.volumes).cloned();
        unmounted.chain(self.mounted.unresponsive().paths().iter().cloned()).collect()
    }

    fn see_volume(&mut self, path: RelPath, volume: Volume) {
        self.volumes.insert(path.clone());
        self.live.volumes.insert(path.clone());
        tell(&self.collator.volume, VolumeSeen { path, volume });
    }

    /// Opens what is to be watched, in tasks away from this thread.
    fn open_next(&mut self, ctx: &mut Context<Self>) {
        while let Some(watch) = self.live.watch.as_mut()
            && watch.tasks < EXPLORE_TASKS_MAX
            && !watch.to_open.is_empty()
        {
            let count = watch.to_open.len().min(self.chunk);
            let chunk: Vec<Opening> = watch.to_open.drain(..count).collect();
            watch.tasks += 1;
            let (source, mounted) = (watch.source.clone(), self.mounted.clone());
            let open = move |unresponsive: &Unresponsive| {
                let open = |opening: &Opening| {
                    let path = &opening.path;
                    // It is explored when it answers.
                    let is_covered = unresponsive.covers(path);
                    let opened = if is_covered {
                        Err(Errno::TIMEDOUT)
                    } else {
                        explore::open(&source, path)
                    };
                    (opening.clone(), opened)
                };
                Ok(chunk.iter().map(open).collect::<Vec<_>>())
            };
            let opened = mounted.look(open);
            ctx.spawn(opened.into_actor(self).map(|opened, act, ctx| match opened {
                Ok(opened) => act.handle_opened(opened, ctx),
                Err(error) => act.fail(ctx, format!("Opening directories failed: {error}")),
            }));
        }
    }

    fn handle_opened(
        &mut self,
        opened: Vec<(Opening, Result<Opened, Errno>)>,
        ctx: &mut Context<Self>,
    ) {
        let mut to_list = Vec::new();
        let (mut failure, mut is_short) = (None, false);
        for (opening, opened) in opened {
            let Some(watch) = self.live.watch.as_mut() else { return };
            let opened = match opened {
                Ok(opened) => opened,
                Err(error) => {
                    match failure_of(error) {
                        Some(failure_kind) => watch.table.handle_failed(&opening, failure_kind),
                        None => failure = Some(self.unopened("open", &opening.path, error)),
                    }
                    continue;
                }
            };
            let is_silent = match self.root.watch {
                WatchMode::Rescan(_) => true,
                WatchMode::Auto => !opened.raises_events,
                WatchMode::Inotify | WatchMode::Fanotify => false,
            };
            if is_silent {
                watch.table.handle_failed(&opening, OpenFailure::Silent);
                continue;
            }
            let is_known = |it: &RelPath| *it == opening.path || opening.path.is_below(it);
            if !opened.raises_events && !watch.distant.iter().any(is_known) {
                watch.distant.insert(opening.path.clone());
            }
            let Some(watches) = watch.watches.as_mut() else { return };
            match watches.watch(opened.fd.as_fd()) {
                Ok(wd) => {
                    let node = watch.table.handle_opened(&opening, wd, opened.volume);
                    to_list.extend(node.map(|node| (opening, node, opened.fd)));
                }
                Err(WatchError::Denied) => {
                    watch.table.handle_failed(&opening, OpenFailure::Denied);
                }
                Err(WatchError::OutOfWatches) => {
                    is_short = true;
                    self.live.rescans.note_limit();
                    watch.table.handle_failed(&opening, OpenFailure::Silent);
                }
                Err(error) => failure = Some(error.to_string()),
            }
        }
        if let Some(why) = failure {
            self.fail(ctx, why);
            return;
        }
        if is_short && self.turns_to_marks() {
            return self.watch_anew(ctx);
        }
        let wants_facts = self.live.watch.as_ref().is_some_and(|watch| watch.snapshot.is_some());
        let (filter, mounted) = (self.filter.clone(), self.mounted.clone());
        let list = move |unresponsive: &Unresponsive| {
            let list = |(opening, node, fd): &(Opening, NodeId, OwnedFd)| {
                let counts = |name: &[u8], is_directory| {
                    let path = opening.path.join(name);
                    !filter.excludes_entry(&path, is_directory) && !unresponsive.covers(&path)
                };
                let is_covered = unresponsive.covers(&opening.path);
                let listing = if is_covered {
                    Err(Errno::TIMEDOUT)
                } else {
                    explore::list(fd, wants_facts, counts)
                };
                (opening.job, *node, listing)
            };
            Ok(to_list.iter().map(list).collect::<Vec<_>>())
        };
        let listed = mounted.look(list);
        ctx.spawn(listed.into_actor(self).map(|listed, act, ctx| match listed {
            Ok(listed) => act.handle_listed(listed, ctx),
            Err(error) => act.fail(ctx, format!("Listing directories failed: {error}")),
        }));
        self.turn(ctx, |_, _| ());
    }

    fn handle_listed(
        &mut self,
        listed: Vec<(JobId, NodeId, Result<Listing, Errno>)>,
        ctx: &mut Context<Self>,
    ) {
        if let Some(watch) = self.live.watch.as_mut() {
            watch.tasks -= 1;
        }
        for (job, node, listing) in listed {
            let Some(watch) = self.live.watch.as_mut() else { return };
            let listing = match listing {
                Ok(listing) => listing,
                // Deleted meanwhile, or its permissions were taken away: an event says so.
                Err(error) if failure_of(error).is_some() => Listing::default(),
                Err(error) => {
                    let path = watch.table.path(node).unwrap_or_else(RelPath::root);
                    let why = self.unopened("list", &path, error);
                    return self.fail(ctx, why);
                }
            };
            if let Some(directory) = watch.table.path(node) {
                if let Some(listed) = &mut watch.listed {
                    listed.insert(directory.clone(), listing.entries);
                } else {
                    // Itself, if it came from elsewhere, and what no event told.
                    self.entries.may_have_come(&directory, listing.entries + 1);
                }
                if let (Some(snapshot), Some((own, facts))) = (&mut watch.snapshot, listing.facts) {
                    if directory.is_root() {
                        snapshot.set_own(own);
                    }
                    let facts = facts.retain(|name, facts| {
                        let path = directory.join(name);
                        !self.filter.excludes_entry(&path, facts.is_directory())
                    });
                    let probe = watch.probe.unwrap_or(i64::MAX);
                    watch.changes.extend(changed_since(probe, &directory, own, &facts));
                    snapshot.insert(directory.clone(), facts);
                }
                for (name, inode) in listing.links {
                    let path = directory.join(&name);
                    if !self.filter.excludes_entry(&path, false) {
                        watch.links.insert(path, inode);
                    }
                }
            }
            watch.table.handle_listed(job, node, listing.directories);
        }
        self.turn(ctx, |_, _| ());
    }

    /// A directory could not be looked into, for a reason that is not its own. Where descriptors are
    /// short, the next try asks for fewer at once.
    fn unopened(&mut self, what: &str, path: &RelPath, error: Errno) -> String {
        let mut why = format!("Cannot {what} the directory {path}: {error}");
        if matches!(error, Errno::MFILE | Errno::NFILE) {
            self.chunk = (self.chunk / 2).max(1);
            why.push_str("; allow more open files (ulimit -n, or LimitNOFILE= for systemd)");
        }
        why
    }

    fn tell_changes(&mut self) {
        let Some(watch) = self.live.watch.as_mut() else { return };
        let exploring =
            watch.table.is_exploring() || watch.scans > 0 || watch.search.running.is_some();
        let levels = self.entries.take_changes().unwrap_or_default();
        let is_same = levels.is_empty() && exploring == watch.told_exploring;
        if watch.changes.is_empty() && is_same {
            return;
        }
        watch.told_exploring = exploring;
        let changes = std::mem::take(&mut watch.changes);
        let events = std::mem::take(&mut watch.events);
        tell(&self.collator.changed, Changed { changes, exploring, levels, events });
    }
}

/// What is to be thought of an open that failed; none if it says nothing about the directory.
fn failure_of(error: Errno) -> Option<OpenFailure> {
    match error {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV => Some(OpenFailure::NotThere),
        // The server of a volume is not there; the collator says when it is.
        Errno::TIMEDOUT | Errno::NOTCONN | Errno::HOSTDOWN | Errno::HOSTUNREACH | Errno::STALE => {
            Some(OpenFailure::NotThere)
        }
        Errno::ACCESS | Errno::PERM => Some(OpenFailure::Denied),
        _ => None,
    }
}

impl Shell for WatcherActor {
    type Rule = WatchTable;

    fn rule(&mut self) -> Option<&mut WatchTable> {
        self.live.watch.as_mut().map(|watch| &mut watch.table)
    }

    fn wake(&mut self) -> &mut Option<Moment> {
        &mut self.live.wake
    }

    fn now(&self) -> Moment {
        self.kit.clock.now()
    }

    fn carry_out(&mut self, effect: Effect, ctx: &mut Context<Self>) {
        let Some(watch) = self.live.watch.as_mut() else { return };
        match effect {
            Effect::Changed(change) => watch.change(change),
            Effect::Open(opening) => watch.to_open.push_back(opening),
            Effect::Unwatch(wd) => watch.watches.iter_mut().for_each(|it| it.unwatch(wd)),
            // Where events are made one, the last of them may have been that it went.
            Effect::Made(path) if watch.marks.is_some() => self.entries.may_have_come(&path, 1),
            Effect::Made(path) => self.entries.came(&path, true),
            Effect::Created(path) => {
                self.entries.came(&path, false);
                watch.created(path);
            }
            Effect::MovedIn(path) => {
                self.entries.arrived(&path, Size::File);
                watch.note_names(&path);
            }
            Effect::Rescan(opening) => self.rescan(opening),
            Effect::Renamed(from, to, size) => {
                self.entries.moved(&from, &to, size);
                if size != Size::File && self.filter.looks_at_parents() {
                    // Other names are kept out there.
                    self.entries.lose(&to);
                }
                watch.links.rename(&from, &to);
                self.live.rescans.rename(&from, &to);
            }
            Effect::Went(path, size) => {
                self.went(&path, size);
            }
            Effect::Volume(path, volume) => self.see_volume(path, volume),
            // Looked at when the batch is made; the guard knows the volume.
            Effect::Unmounted(path) => {
                self.live.volumes.retain(|it| *it != path && !it.is_below(&path));
                watch.change(Change::new(path, Kinds::SUBTREE));
            }
            Effect::Complete => {
                let directories = watch.table.len();
                self.complete(directories, ctx);
            }
            Effect::Vanished { path, is_directory, is_renamed } => {
                if is_renamed {
                    self.forget(&path);
                } else {
                    // What was in a directory that is gone can't be told by its name any more.
                    self.went(&path, if is_directory { Size::Unknown } else { Size::File });
                }
                if let Some(watch) = &mut self.live.watch {
                    watch.vanished(path, is_directory);
                }
            }
            Effect::CameWhole(path) => self.look_through(path, false, ctx),
            Effect::Unreadable(path) => {
                warn!(self.log, "A directory can't be watched: no permission"; "path" => %path);
            }
            Effect::Lost(why) => {
                warn!(self.log, "Watching begins anew"; "why" => why);
                self.watch_anew(ctx);
            }
        }
    }

    fn after_effects(&mut self, ctx: &mut Context<Self>) {
        self.live.watch.iter_mut().for_each(Watch::note_drained);
        self.open_next(ctx);
        self.scan_new(ctx);
        self.search_links(ctx);
        self.count_units(ctx);
        self.tell_changes();
        self.answer_cookies();
    }
}

impl Actor for WatcherActor {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Self::Context) {
        if self.is_leaving {
            return;
        }
        if let Err(why) = self.begin(ctx) {
            self.fail(ctx, why);
        }
    }
}

impl Supervised for WatcherActor {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.live = Live::default();
    }
}

impl StreamHandler<std::io::Result<Vec<KernelEvent>>> for WatcherActor {
    fn handle(&mut self, read: std::io::Result<Vec<KernelEvent>>, ctx: &mut Context<Self>) {
        let Some(watch) = self.live.watch.as_mut() else { return };
        watch.reads_ahead = read.as_ref().is_ok_and(|events| events.len() >= EVENTS_AT_ONCE_MAX);
        let cookie_wd = watch.cookie_wd;
        let events = match read {
            Ok(events) => events,
            Err(error) => return self.fail_unread(ctx, &error),
        };
        watch.events += events.len() as u64;
        let mut cookies = Vec::new();
        self.turn(ctx, |table, now| {
            for event in &events {
                if Some(event.wd) == cookie_wd {
                    cookies.extend(event.mask.contains(EventMask::CREATE).then_some(&event.name));
                } else {
                    table.handle_event(now, event);
                }
            }
            table.handle_read_end();
        });
        cookies.into_iter().for_each(|name| self.handle_cookie(name));
    }

    fn finished(&mut self, ctx: &mut Context<Self>) {
        self.watch_anew(ctx);
    }
}
