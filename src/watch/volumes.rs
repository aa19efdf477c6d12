//! Looks at one root that survive a nested volume whose server does not answer.
//!
//! A look at such a volume (NFS, FUSE, a failing disk) does not return, and often nothing but an answer or an unmount
//! ends it. So each look runs on a thread of its own. While one takes long, the volumes below the root are probed, each
//! by one thread. If one does not answer, the look is made again without it, and the first thread is left behind: it ends
//! when the volume answers. A volume that does not answer is not looked at again before its probe has come back.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::io::Errno;
use tokio::sync::{Semaphore, oneshot};

use crate::watch::{mounts, scan, source};
use mirrorball_core::data::limits::{LOOK_PATIENCE, LOOKS_MAX, PROBE_THREADS_MAX, PROBE_WAIT};
use mirrorball_core::data::path::RelPath;

/// The volumes mounted below one root, and the looks at that root.
#[derive(Debug)]
pub struct Volumes {
    root: PathBuf,
    probes: Mutex<BTreeMap<RelPath, Probe>>,
    answered: Condvar,
    looks: Semaphore,
}

/// The state of one volume.
#[derive(Clone, Copy, Debug)]
struct Probe {
    /// The probe that is meant: an earlier one says nothing.
    number: u64,
    /// A thread looks at it.
    is_under_way: bool,
    answers: bool,
}

/// The volumes that a look must not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unresponsive(Vec<RelPath>);

impl Unresponsive {
    /// Whether a path is or lies in such a volume.
    pub fn covers(&self, path: &RelPath) -> bool {
        self.0.iter().any(|volume| path.is_at_or_below(volume))
    }

    /// Where they are mounted, sorted.
    pub fn paths(&self) -> &[RelPath] {
        &self.0
    }
}

impl Volumes {
    /// The volumes below the root with this directory, all of which are taken to answer.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.into(),
            probes: Mutex::default(),
            answered: Condvar::new(),
            looks: Semaphore::new(LOOKS_MAX),
        }
    }

    /// The volumes that did not answer when they were probed last.
    pub fn unresponsive(&self) -> Unresponsive {
        let probes = self.lock();
        let silent = probes.iter().filter(|(_, probe)| !probe.answers);
        Unresponsive(silent.map(|(path, _)| path.clone()).collect())
    }

    /// Looks at the root on a thread of its own. `work` gets the volumes that it must not touch. It is run again if a
    /// volume stops answering meanwhile, without that volume; so it may run several times, and its effects must allow
    /// that. Errors are those of `work`, or say that the thread could not be started or panicked.
    pub async fn look<T: Send + 'static>(
        self: Arc<Self>,
        work: impl Fn(&Unresponsive) -> Result<T, Errno> + Send + Sync + 'static,
    ) -> io::Result<T> {
        let work = Arc::new(work);
        loop {
            let place = self.looks.acquire().await.map_err(io::Error::other)?;
            let unresponsive = self.unresponsive();
            let (known, work) = (unresponsive.clone(), work.clone());
            let mut found = on_thread("look", move || work(&known))?;
            let error = loop {
                match tokio::time::timeout(LOOK_PATIENCE, &mut found).await {
                    Ok(Ok(Ok(found))) => return Ok(found),
                    Ok(Ok(Err(error))) => break Some(io::Error::from(error)),
                    Ok(Err(_)) => return Err(io::Error::other("the look panicked")),
                    Err(_) => (),
                }
                if self.knows_more(&unresponsive).await? {
                    break None;
                }
            };
            drop(place);
            if let Some(error) = error
                && !self.knows_more(&unresponsive).await?
            {
                return Err(error);
            }
        }
    }

    /// Probes all volumes that are mounted below the root. Returns when all have answered or had time enough. The error
    /// says that no thread could be started.
    pub async fn probe(self: &Arc<Self>) -> io::Result<()> {
        let volumes = self.clone();
        let probed = on_thread("probes", move || volumes.probe_all())?;
        probed.await.map_err(|_| io::Error::other("the probe panicked"))
    }

    /// Whether a volume has stopped answering that was not among these.
    async fn knows_more(self: &Arc<Self>, known: &Unresponsive) -> io::Result<bool> {
        self.probe().await?;
        Ok(self.unresponsive().0.iter().any(|volume| !known.0.contains(volume)))
    }

    fn probe_all(self: &Arc<Self>) {
        // Without the list nothing is known to be mounted, and nothing can be left out.
        let mounted = mounts::below(&self.root).unwrap_or_default();
        self.lock().retain(|path, _| mounted.contains(path));
        let mounted: Vec<RelPath> = mounted.into_iter().collect();
        for some in mounted.chunks(PROBE_THREADS_MAX) {
            some.iter().for_each(|path| self.begin(path));
            let waits = |probes: &mut BTreeMap<RelPath, Probe>| {
                let waits = |it: &Probe| it.is_under_way && it.answers;
                some.iter().any(|path| probes.get(path).is_some_and(waits))
            };
            let probes = self.answered.wait_timeout_while(self.lock(), PROBE_WAIT, waits);
            let (mut probes, _) = probes.unwrap_or_else(PoisonError::into_inner);
            for path in some {
                if let Some(probe) = probes.get_mut(path).filter(|it| it.is_under_way) {
                    probe.answers = false;
                }
            }
        }
    }

    /// Starts the probe of a volume, unless an earlier one has not come back.
    fn begin(self: &Arc<Self>, path: &RelPath) {
        let mut probes = self.lock();
        let first = Probe { number: 0, is_under_way: false, answers: true };
        let probe = probes.entry(path.clone()).or_insert(first);
        if probe.is_under_way {
            return;
        }
        (probe.number, probe.is_under_way) = (probe.number + 1, true);
        let (volumes, number, path) = (self.clone(), probe.number, path.clone());
        let run = {
            let path = path.clone();
            move || {
                let answers = answers(&volumes.root, &path);
                volumes.end(&path, number, answers);
            }
        };
        if on_thread("probe", run).is_err() {
            probe.is_under_way = false;
        }
    }

    fn end(&self, path: &RelPath, number: u64, answers: bool) {
        let mut probes = self.lock();
        // It may have been unmounted meanwhile, and another one mounted there.
        if let Some(probe) = probes.get_mut(path).filter(|it| it.number == number) {
            (probe.is_under_way, probe.answers) = (false, answers);
            self.answered.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RelPath, Probe>> {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a volume answers. One that cannot be looked into for want of permission does, and so does the root's own
/// file system if the volume is not there any more.
fn answers(root: &Path, path: &RelPath) -> bool {
    let looked = source::open(root).map(|root| source::look_at_volume(root, path));
    looked.is_ok_and(|volume| volume.err().is_none_or(scan::is_its_own))
}

/// Runs this on a thread of its own, which may never end: tokio would wait for it when the daemon stops.
fn on_thread<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<oneshot::Receiver<T>> {
    let (told, result) = oneshot::channel();
    thread::Builder::new().name(name.into()).spawn(move || {
        // Nobody may wait for it any more.
        drop(told.send(run()));
    })?;
    Ok(result)
}
