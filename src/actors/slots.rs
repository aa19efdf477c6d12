//! Bounds on rsync runs over all hosts, which no host can make others wait with: a run that stalls
//! lends its place.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::transport::process::bytes_moved;
use crate::types::limits::STALL_AFTER;

/// Places for runs. Clones share them; whoever waits longest is served first.
#[derive(Clone)]
pub struct Slots {
    pushes: Arc<Semaphore>,
    walks: Arc<Semaphore>,
}

impl Slots {
    /// As many as planned.
    pub fn new(pushes_max: usize, walks_max: usize) -> Self {
        Self {
            pushes: Arc::new(Semaphore::new(pushes_max)),
            walks: Arc::new(Semaphore::new(walks_max)),
        }
    }

    /// Waits for a place, then runs. `process` holds the id of the run's process: when that moves no
    /// byte for a while, the place goes to the next and the run goes on without.
    pub async fn run<T>(
        &self,
        is_walk: bool,
        process: Rc<Cell<Option<u32>>>,
        run: impl Future<Output = T>,
    ) -> T {
        // The scarcer place first, so that nobody holds the other while waiting for it.
        let walk = if is_walk { Some(acquire(&self.walks).await) } else { None };
        let mut places = Some((walk, acquire(&self.pushes).await));
        let mut run = pin!(run);
        let mut moved = None;
        loop {
            if places.is_none() {
                return run.await;
            }
            tokio::select! {
                biased;
                ended = &mut run => return ended,
                () = tokio::time::sleep(STALL_AFTER) => {
                    let now = process.get().and_then(bytes_moved);
                    if now == moved {
                        places = None;
                    }
                    moved = now;
                }
            }
        }
    }
}

async fn acquire(places: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    places.clone().acquire_owned().await.expect("nobody closes it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_stalls_lends_its_place() {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let slots = Slots::new(1, 1);
            let hanging = slots.run(true, Rc::default(), std::future::pending::<()>());
            let next = slots.run(true, Rc::default(), async { "ran" });
            tokio::select! {
                biased;
                () = hanging => unreachable!("it never ends"),
                ran = next => assert_eq!(ran, "ran"),
            }
        });
    }
}
