//! Guarding the source: nothing leaves a Root that is not who it was.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;

use actix::prelude::*;
use slog::{error, info, warn};

use super::CollatorActor;
use crate::actors::message::{Explore, LeaveVolume, LetGo, WatchAnew};
use crate::actors::send::tell;
use crate::actors::shell::Shell;
use crate::watch::volumes::Unresponsive;
use crate::watch::{mounts, source};
use mirrorball_core::data::absent_volumes::AbsentVolumes;
use mirrorball_core::data::limits::{GUARD_IDLE_INTERVAL, GUARD_INTERVAL};
use mirrorball_core::data::name::Escaped;
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::plan::RootPlan;
use mirrorball_core::data::source_dir::{SourceDir, Volume};
use mirrorball_core::source::identity::{Guard, Judgement, Sighting};

impl CollatorActor {
    /// The source was looked at: what does that mean?
    pub(super) fn judge(&mut self, ctx: &mut Context<Self>, judgement: Judgement) {
        match judgement {
            Judgement::Gone(why) => self.halt_until_back(ctx, &why),
            Judgement::Same(_) if self.core.halted().is_some() => {
                if let Some(watcher) = &self.watcher {
                    info!(self.log, "The source is back; it is watched anew");
                    tell(&watcher.watch_anew, WatchAnew);
                }
            }
            Judgement::Same(absent) => {
                let before = self.core.absent();
                let is_back = |path: &&RelPath| !absent.paths().any(|it| it == *path);
                if let Some(watcher) = &self.watcher {
                    for path in before.paths().filter(is_back) {
                        tell(&watcher.explore, Explore { path: path.clone() });
                    }
                }
                for volume in &absent.unresponsive {
                    if !before.unresponsive.contains(volume) {
                        warn!(self.log, "A file system below the root does not answer; it is left alone";
                            "path" => %volume);
                    }
                    self.leave_volume(volume);
                }
                self.turn(ctx, |core, now| core.handle_absent(now, absent));
            }
        }
    }

    /// A volume does not answer: runs that look at it would not end. Said again and again, because a batch that was made
    /// before may start later.
    fn leave_volume(&self, volume: &RelPath) {
        for host in self.hosts.values() {
            let (root, volume) = (self.root.id.clone(), volume.clone());
            tell(&host.leave_volume, LeaveVolume { root, volume });
        }
    }

    pub(super) fn halt_until_back(&mut self, ctx: &mut Context<Self>, why: &str) {
        let source = Escaped(self.root.source.as_os_str().as_bytes());
        let root = &self.root.id;
        let why = format!(
            "{why}: {source}. Nothing is pushed and nothing deleted until it is back; to take what is \
             there now: mirrorball approve {root}"
        );
        self.halt(ctx, why);
    }

    pub(super) fn halt(&mut self, ctx: &mut Context<Self>, why: String) {
        if self.core.halted() != Some(why.as_str()) {
            error!(self.log, "The root is halted"; "why" => &why);
            // Whoever unmounts its file system must not find it busy.
            // Pushes under way keep it open for a while.
            self.source.take().iter().for_each(SourceDir::give_up);
            self.lose_scan();
            let root = &self.root.id;
            let watcher = self.watcher.iter().map(|watcher| &watcher.let_go);
            for link in watcher.chain(self.hosts.values().map(|host| &host.let_go)) {
                tell(link, LetGo { root: root.clone() });
            }
            self.turn(ctx, |core, now| core.handle_halt(now, why));
        }
    }

    /// A person takes the source for what it is now, and the volumes below it too. The error says why that can't be.
    pub(super) fn approve_source(&mut self, ctx: &mut Context<Self>) -> Result<(), String> {
        let AbsentVolumes { unmounted, unresponsive } = self.core.absent();
        let root = &self.root.id;
        let watcher =
            self.watcher.as_ref().ok_or_else(|| format!("The root {root} has no watcher now"))?;
        if self.core.halted().is_some() {
            if let Err(error) = source::open(&self.root.source) {
                let source = Escaped(self.root.source.as_os_str().as_bytes());
                return Err(format!(
                    "Cannot take the source of {root} as it is: {source} can't be opened: {error}"
                ));
            }
            self.guard = Guard::default();
            tell(&watcher.watch_anew, WatchAnew);
        } else if unmounted.is_empty() {
            return Err(format!(
                "The root {root} is not halted any more; there is nothing to take as it is"
            ));
        } else {
            self.guard.forget_volumes(&unmounted);
            for path in unmounted {
                tell(&watcher.explore, Explore { path });
            }
            let absent = AbsentVolumes { unmounted: Vec::new(), unresponsive };
            self.turn(ctx, |core, now| core.handle_absent(now, absent));
        }
        self.remember_root();
        Ok(())
    }

    /// The next run will know what this one knows of the Root.
    pub(super) fn remember_root(&mut self) {
        let remembered = self.guard.remember();
        if remembered == self.remembered {
            return;
        }
        if let Err(error) = self.memory.keep_root(&remembered) {
            warn!(self.log, "What is known of the source can't be kept for the next start";
                "why" => %error);
        }
        self.remembered = remembered;
    }

    /// Looks at the source again and again: a parent that is renamed, or a file system mounted over
    /// it, raises no event. More often while it is not what it was.
    pub(super) fn guard_source(&mut self, ctx: &mut Context<Self>) {
        let troubled = self.core.halted().is_some() || !self.core.absent().is_empty();
        let pause = if troubled { GUARD_INTERVAL } else { GUARD_IDLE_INTERVAL };
        self.live.look.map(|look| ctx.cancel_future(look));
        self.live.look = Some(ctx.run_later(pause, |act, ctx| {
            act.live.look = None;
            act.look_again(ctx);
        }));
    }

    pub(super) fn look_again(&mut self, ctx: &mut Context<Self>) {
        let (root, guard) = (self.root.clone(), self.guard.clone());
        let filter = self.filter.clone();
        let volumes = self.volumes.clone();
        let look = move |unresponsive: &Unresponsive| {
            let mounted = mounts::below(&root.source).unwrap_or_default();
            let opened = source::open(&root.source).ok();
            let volume = |path: RelPath| {
                let volume = source::volume_at(opened.as_ref()?, &path)?;
                Some((path, volume))
            };
            let is_visible =
                |path: &RelPath| !filter.excludes(path, true) && !unresponsive.covers(path);
            let mounted = mounted.into_iter().filter(is_visible);
            let mounted: BTreeMap<RelPath, Volume> = mounted.filter_map(volume).collect();
            Ok((guard.judge(&sight(&root, &guard, unresponsive)), mounted))
        };
        let looked = async move {
            volumes.probe().await?;
            volumes.look(look).await
        };
        ctx.spawn(looked.into_actor(self).map(|looked, act, ctx| {
            if let Ok((judgement, mounted)) = looked
                && act.is_current(&judgement)
            {
                act.judge(ctx, judgement);
                act.explore_mounts(mounted);
            }
            act.guard_source(ctx);
        }));
    }

    /// Whether the same volumes answer as when this was found.
    pub(super) fn is_current(&self, judgement: &Judgement) -> bool {
        match judgement {
            Judgement::Same(absent) => absent.unresponsive == self.volumes.unresponsive().paths(),
            Judgement::Gone(_) => true,
        }
    }

    /// A file system that was mounted below the Root raised no event there.
    pub(super) fn explore_mounts(&mut self, mounted: BTreeMap<RelPath, Volume>) {
        let Some(watcher) = self.watcher.as_ref().filter(|_| self.core.halted().is_none()) else {
            return;
        };
        for (path, volume) in mounted {
            if self.guard.is_unknown_volume(&path) {
                info!(self.log, "A file system is mounted below the root"; "path" => %path);
                // Where directories are only looked through, nobody else will say so.
                self.guard.handle_volume(path.clone(), volume);
                tell(&watcher.explore, Explore { path });
            }
        }
        self.remember_root();
    }
}

/// Looks by the path, so that nothing has to be kept open for it.
pub(super) fn sight(root: &RootPlan, guard: &Guard, unresponsive: &Unresponsive) -> Sighting {
    let opened = source::open(&root.source).ok();
    let opened = opened.as_ref();
    let device =
        |path: &RelPath| (path.clone(), opened.and_then(|source| source::volume_at(source, path)));
    let is_marked = |name: &String| opened.is_some_and(|source| source::holds(source, name));
    Sighting {
        root: opened.map(SourceDir::identity),
        lasting: opened.filter(|_| !guard.knows_root()).and_then(|s| source::lasting(s).ok()),
        is_marked: root.marker.as_ref().is_none_or(is_marked),
        volumes: guard.volumes().filter(|path| !unresponsive.covers(path)).map(device).collect(),
        unresponsive: unresponsive.paths().to_vec(),
    }
}
