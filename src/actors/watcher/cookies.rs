//! Flush cookies: files that come back through the kernel's queue, behind all that came before them.

use std::os::fd::AsFd;

use actix::prelude::*;
use tokio::sync::oneshot;

use super::WatcherActor;
use crate::actors::watched::Watch;
use crate::watch::inotify::{WatchError, WatchSet};
use mirrorball_core::source::watch_table::JobId;

impl WatcherActor {
    /// Cookies are seen through the queue of the Root's own events, so behind all that came before.
    /// None where there is not even one watch left: then everything is looked through anyway.
    pub(super) fn watch_cookies(&mut self, watches: &mut WatchSet) -> Result<Option<i32>, String> {
        let directory = self.cookie_directory();
        let failed = |error: &dyn std::fmt::Display| {
            format!("Cannot watch {} for flush cookies: {error}", directory.display())
        };
        std::fs::create_dir_all(&directory).map_err(|error| failed(&error))?;
        let fd = std::fs::File::open(&directory).map_err(|error| failed(&error))?;
        match watches.watch(fd.as_fd()) {
            Ok(wd) => Ok(Some(wd)),
            Err(WatchError::OutOfWatches) => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }

    pub(super) fn cookie_directory(&self) -> std::path::PathBuf {
        self.kit.plan.state_dir.join("cookies").join(self.root.id.as_str())
    }

    pub(super) fn handle_cookie(&mut self, name: &[u8]) {
        let number = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
        let asker = number.and_then(|number: u64| self.live.cookies.remove(&number));
        if let (Some(asker), Some(watch)) = (asker, self.live.watch.as_ref()) {
            self.live.ripening.push((watch.table.next_job(), asker));
        }
        self.answer_cookies();
    }

    /// What changed before a cookie is told when all directories that came before it are watched.
    pub(super) fn answer_cookies(&mut self) {
        let Some(watch) = self.live.watch.as_ref() else { return };
        let oldest = watch.table.oldest_job();
        // Half of a rename may be a deletion, and other names of a file are told when they are found.
        let is_unsure = watch.table.has_half_moves()
            || watch.scans > 0
            || watch.search.running.is_some()
            || !watch.search.wanted.is_empty();
        let waits = |job: JobId| is_unsure || oldest.is_some_and(|oldest| oldest < job);
        for (job, asker) in std::mem::take(&mut self.live.ripening) {
            if waits(job) {
                self.live.ripening.push((job, asker));
            } else {
                // An asker that has gone meanwhile needs no answer.
                let _ = asker.send(());
            }
        }
    }

    /// Leaves a cookie, and waits until it comes back through the kernel's queue.
    pub(super) fn leave_cookie(&mut self) -> Result<oneshot::Receiver<()>, String> {
        if self.live.watch.is_none() {
            return Err(format!("The root {} is not watched now", self.root.id));
        }
        let number = self.next_cookie;
        self.next_cookie += 1;
        let (asker, answer) = oneshot::channel();
        let hears = |watch: &Watch| watch.cookie_wd.is_some() || watch.marks.is_some();
        if !self.live.watch.as_ref().is_some_and(hears) {
            let _ = asker.send(());
            return Ok(answer);
        }
        let path = self.cookie_directory().join(number.to_string());
        std::fs::write(&path, b"").and_then(|()| std::fs::remove_file(&path)).map_err(|error| {
            format!("Cannot leave a flush cookie at {}: {error}", path.display())
        })?;
        self.live.cookies.insert(number, asker);
        Ok(answer)
    }

    /// Resolves when everything that changed before now has been told to the collator.
    pub(super) fn everything_told(
        &mut self,
        ctx: &mut Context<Self>,
    ) -> impl Future<Output = Result<(), String>> + use<> {
        let (rescanned, cookie) = (self.ask_for_rescan(ctx), self.leave_cookie());
        async move {
            let lost = "the watcher began anew meanwhile; try again";
            let cookie = cookie?;
            rescanned.await.map_err(|_| lost.to_string())?;
            cookie.await.map_err(|_| lost.to_string())
        }
    }
}
