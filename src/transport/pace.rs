//! Slowing a run down: rsync bounds what it sends, not what it reads.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::time::{Instant, sleep};

use crate::transport::process::{bytes_moved, bytes_written};

/// How often it is looked at: at most what is read meanwhile is too much.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// The longest stop at once: the other side must not take it for dead.
const STOP_MAX: Duration = Duration::from_millis(500);

/// Runs to the end, stopping the process's group whenever it has moved more than so many bytes a second.
/// What the other side reads follows, since it waits for our list. A process that has written nothing for
/// `patience` is left alone until it does.
pub async fn paced<T>(
    run: impl Future<Output = T>,
    process: Rc<Cell<Option<u32>>>,
    rate: u64,
    patience: Duration,
) -> T {
    let mut run = pin!(run);
    let start = Instant::now();
    let (mut written, mut spoke) = (None, start);
    loop {
        tokio::select! {
            biased;
            ended = &mut run => return ended,
            () = sleep(LOOK_INTERVAL) => (),
        }
        let Some(id) = process.get() else { continue };
        let due = pause_until(bytes_moved(id).unwrap_or(0), rate);
        // The other side waits only so long for a word, and a long file is read without one.
        let now = bytes_written(id);
        if now != written {
            (written, spoke) = (now, Instant::now());
        }
        if spoke.elapsed() > patience {
            continue;
        }
        let Some(ahead) = due.checked_sub(start.elapsed()).filter(|ahead| !ahead.is_zero()) else {
            continue;
        };
        let Some(group) = Pid::from_raw(id.cast_signed()) else { continue };
        // One that has ended meanwhile needs neither.
        let _ = kill_process_group(group, Signal::STOP);
        tokio::select! {
            biased;
            ended = &mut run => return ended,
            () = sleep(ahead.min(STOP_MAX)) => (),
        }
        let _ = kill_process_group(group, Signal::CONT);
    }
}

/// How long after its start it may have moved so many bytes.
fn pause_until(bytes: u64, rate: u64) -> Duration {
    Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::process::{self, Spec};
    use crate::types::step::Exit;

    #[test]
    fn a_run_is_slowed_down_and_ends_all_the_same() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let process: Rc<Cell<Option<u32>>> = Rc::default();
            let spec = Spec {
                program: "sh".into(),
                arguments: vec![
                    "-c".into(),
                    "for i in 1 2 3 4 5 6 7 8; do head -c 50000 /dev/zero; sleep 0.05; done".into(),
                ],
                ..Spec::default()
            };
            let seen = process.clone();
            let run = process::run(spec, |id| seen.set(id), |_| ());
            let ended = paced(run, process, 1 << 20, Duration::from_secs(9)).await;
            assert_eq!(ended.exit, Exit::Code(0));
        });
    }

    #[test]
    fn who_has_moved_too_much_waits_until_that_is_the_rate() {
        assert_eq!(pause_until(64 << 20, 32 << 20), Duration::from_secs(2));
        assert_eq!(pause_until(1, u64::MAX), Duration::ZERO);
    }
}
