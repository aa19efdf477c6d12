//! Bounds on rsync runs over all hosts, which no host can make others wait with: a run that stalls
//! lends its place.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::transport::process::{bytes_moved, is_stopped};
use mirrorball_core::data::limits::{LARGE_WALK_ENTRIES_MIN, STALL_AFTER};

/// Places for runs. Clones share them; whoever waits longest is served first.
#[derive(Clone)]
pub struct Slots {
    pushes: Arc<Semaphore>,
    walks: Arc<Semaphore>,
    /// One fewer: a small Root is walked while large ones are.
    large_walks: Arc<Semaphore>,
}

/// What a run weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// A part of a Root.
    Push,
    /// The whole of a Root with so many entries.
    Walk(u64),
}

impl Slots {
    /// As many as planned.
    pub fn new(pushes_max: usize, walks_max: usize) -> Self {
        Self {
            pushes: Arc::new(Semaphore::new(pushes_max)),
            walks: Arc::new(Semaphore::new(walks_max)),
            large_walks: Arc::new(Semaphore::new(walks_max.saturating_sub(1).max(1))),
        }
    }

    /// Waits for a place, then runs. `process` holds the id of the run's process: when that moves no
    /// byte for a while, the place goes to the next and the run goes on without.
    pub async fn run<T>(
        &self,
        weight: Weight,
        process: Rc<Cell<Option<u32>>>,
        run: impl Future<Output = T>,
    ) -> T {
        // The scarcer place first, so that nobody holds the other while waiting for it.
        let large = match weight {
            Weight::Walk(LARGE_WALK_ENTRIES_MIN..) => Some(acquire(&self.large_walks).await),
            Weight::Walk(_) | Weight::Push => None,
        };
        let walk = match weight {
            Weight::Walk(_) => Some(acquire(&self.walks).await),
            Weight::Push => None,
        };
        let mut places = Some((large, walk, acquire(&self.pushes).await));
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
                    // One that is held back moves nothing either, and is not stuck.
                    if now == moved && !process.get().is_some_and(is_stopped) {
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
            let hanging = slots.run(Weight::Walk(1), Rc::default(), std::future::pending::<()>());
            let next = slots.run(Weight::Walk(1), Rc::default(), async { "ran" });
            tokio::select! {
                biased;
                () = hanging => unreachable!("it never ends"),
                ran = next => assert_eq!(ran, "ran"),
            }
        });
    }

    #[test]
    fn a_small_root_is_walked_while_large_ones_are() {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let slots = Slots::new(4, 2);
            let ids = std::cell::Cell::new(0);
            // They move bytes all the time, so that none lends its place.
            let busy = || Rc::new(Cell::new(Some(std::process::id())));
            let large = || async {
                ids.set(ids.get() + 1);
                loop {
                    drop(std::fs::read("/proc/self/stat"));
                    tokio::time::sleep(STALL_AFTER / 2).await;
                }
            };
            let weight = Weight::Walk(LARGE_WALK_ENTRIES_MIN);
            let one = slots.run(weight, busy(), large());
            let other = slots.run(weight, busy(), large());
            let small = slots.run(Weight::Walk(10), busy(), async { "ran" });
            tokio::select! {
                biased;
                () = one => unreachable!("it never ends"),
                () = other => unreachable!("it never ends"),
                ran = small => assert_eq!(ran, "ran"),
            }
            assert_eq!(ids.get(), 1, "one large walk at a time leaves a place");
        });
    }
}
