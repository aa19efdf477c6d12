//! Slowing runs down: rsync bounds what one run sends, from its start to its end. It bounds neither what it reads, nor
//! what several send, nor does it know what time it is.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::time::{Instant, sleep};

use crate::transport::process::{Moved, bytes_moved};

/// How soon it is looked at while it is held back: what is moved meanwhile is too much.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// And while it is not: not longer than what it may save up.
const LOOK_INTERVAL_MAX: Duration = BURST;

/// What was not used is kept for so long, so that a short run is as fast as it can be.
const BURST: Duration = Duration::from_millis(250);

/// Each pause lets at most about so much through, on its way through the kernel's buffers.
const LET_THROUGH_MAX: u64 = 4 << 20;

/// How fast a run may be.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    /// Bytes a second that it may read and write here; none: as fast as it can.
    pub moved: Option<u64>,
    /// What it may send; none: never limited.
    pub sent: Option<Rc<Throttle>>,
    /// Bytes a second that rsync itself is told to keep to, from its start to its end; none: any.
    pub told: Option<u64>,
}

/// Bytes a second that the runs of a host may send together, now.
#[derive(Debug, Default)]
pub struct Throttle {
    rate: Cell<Option<u64>>,
    runs: Cell<u64>,
}

impl Throttle {
    /// From now on; none: as fast as they can. Returns whether that is new.
    pub fn set(&self, rate: Option<u64>) -> bool {
        self.rate.replace(rate) != rate
    }

    /// What a run that begins now is told to keep to itself. One that may last is told no less than will ever hold
    /// (`most`), if pauses can hold it back to what holds now, none of which is longer than `patience`.
    pub fn told(&self, most: Option<u64>, may_last: bool, patience: Duration) -> Option<u64> {
        let now = self.rate.get()?;
        let can_be_held_back = now as f64 * patience.as_secs_f64() >= LET_THROUGH_MAX as f64;
        if may_last && can_be_held_back { most } else { Some(now) }
    }

    fn share(&self) -> Option<u64> {
        self.rate.get().map(|rate| (rate / self.runs.get().max(1)).max(1))
    }
}

/// One of the runs that share a throttle.
struct Sharing(Rc<Throttle>);

impl Sharing {
    fn new(throttle: &Rc<Throttle>) -> Self {
        throttle.runs.set(throttle.runs.get() + 1);
        Self(throttle.clone())
    }
}

impl Drop for Sharing {
    fn drop(&mut self) {
        self.0.runs.set(self.0.runs.get() - 1);
    }
}

/// A group that was stopped. Dropped, it goes on.
struct Stopped(Pid);

impl Stopped {
    fn new(group: Pid) -> Self {
        // One that has ended meanwhile needs neither.
        let _ = kill_process_group(group, Signal::STOP);
        Self(group)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill_process_group(self.0, Signal::CONT);
    }
}

impl Pace {
    /// Runs to the end, stopping the process's group whenever it is ahead. What the other side reads follows, since it
    /// waits for our list. A process that has written nothing for `patience` is left alone until it does, nor is it ever
    /// stopped for longer: the other side must not take it for dead.
    pub async fn keep<T>(
        &self,
        run: impl Future<Output = T>,
        process: &Cell<Option<u32>>,
        patience: Duration,
    ) -> T {
        if self.moved.is_none() && self.sent.is_none() {
            return run.await;
        }
        let _shares = self.sent.as_ref().map(Sharing::new);
        let mut run = pin!(run);
        let (mut moved, mut sent) = (Allowance::default(), Allowance::default());
        let (mut written, mut spoke, mut looked) = (0, Instant::now(), Instant::now());
        let mut interval = LOOK_INTERVAL;
        loop {
            tokio::select! {
                biased;
                ended = &mut run => return ended,
                () = sleep(interval) => (),
            }
            interval = (interval * 2).min(LOOK_INTERVAL_MAX);
            let Some((id, now)) = process.get().and_then(|id| Some((id, bytes_moved(id)?))) else {
                continue;
            };
            let Moved { read, written: now } = now;
            let passed = looked.elapsed();
            looked = Instant::now();
            let share = self.sent.as_deref().and_then(Throttle::share);
            let ahead =
                [moved.ahead(read + now, self.moved, passed), sent.ahead(now, share, passed)];
            // The other side waits only so long for a word, and a long file is read without one.
            if now != written {
                (written, spoke) = (now, looked);
            }
            let ahead = ahead.into_iter().max().unwrap_or_default().min(patience);
            if ahead.is_zero() || spoke.elapsed() > patience {
                continue;
            }
            interval = LOOK_INTERVAL;
            let Some(group) = Pid::from_raw(id.cast_signed()) else { continue };
            let _stopped = Stopped::new(group);
            tokio::select! {
                biased;
                ended = &mut run => return ended,
                () = sleep(ahead) => (),
            }
        }
    }
}

/// What a run has used of what it may.
#[derive(Debug, Default)]
struct Allowance {
    /// Bytes since its start.
    used: u64,
    /// Bytes that it may move at once now; less than nothing if it is ahead.
    left: f64,
    is_begun: bool,
}

impl Allowance {
    /// How long it must rest, having moved so many bytes since its start, if it may move so many a second.
    fn ahead(&mut self, used: u64, rate: Option<u64>, passed: Duration) -> Duration {
        let more = used.saturating_sub(self.used);
        self.used = used;
        let Some(rate) = rate.map(|rate| rate.max(1) as f64) else {
            *self = Self { used, ..Self::default() };
            return Duration::ZERO;
        };
        let burst = rate * BURST.as_secs_f64();
        let before = if self.is_begun { self.left } else { burst };
        self.is_begun = true;
        self.left = (before + rate * passed.as_secs_f64()).min(burst) - more as f64;
        Duration::try_from_secs_f64(-self.left / rate).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::process::{self, Ended, Spec};
    use mirrorball_core::data::step::Exit;

    const SECOND: Duration = Duration::from_secs(1);

    /// A child that writes 400,000 bytes in pieces, at this pace.
    async fn writer(pace: &Pace) -> Ended {
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
        pace.keep(run, &process, 9 * SECOND).await
    }

    #[test]
    fn a_run_is_slowed_down_and_ends_all_the_same() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let throttle = Rc::new(Throttle::default());
            throttle.set(Some(1 << 20));
            for sent in [None, Some(throttle.clone())] {
                let ended = writer(&Pace { moved: Some(1 << 20), sent, told: None }).await;
                assert_eq!(ended.exit, Exit::Code(0));
            }
            assert_eq!(throttle.runs.get(), 0);
        });
    }

    #[test]
    fn who_sends_too_much_is_stopped_and_ends_with_its_run() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let process: Rc<Cell<Option<u32>>> = Rc::default();
        let throttle = Rc::new(Throttle::default());
        throttle.set(Some(1));
        let pace = Pace { sent: Some(throttle), ..Pace::default() };
        // It never ends by itself.
        let arguments = ["if=/dev/zero", "bs=16k"].map(Into::into).into();
        let spec = Spec { program: "dd".into(), arguments, ..Spec::default() };
        runtime.block_on(async {
            let run =
                pace.keep(process::run(spec, |id| process.set(id), |_| ()), &process, 60 * SECOND);
            let stopped = async {
                while !process.get().is_some_and(process::is_stopped) {
                    sleep(LOOK_INTERVAL).await;
                }
            };
            tokio::select! {
                _ = run => panic!("it does not end"),
                () = stopped => (),
            }
            let id = process.get().expect("it was found stopped");
            let gone = async {
                while process::bytes_moved(id).is_some() {
                    sleep(LOOK_INTERVAL).await;
                }
            };
            tokio::time::timeout(30 * SECOND, gone).await.expect("it ends with its run");
        });
    }

    #[test]
    fn a_run_that_may_last_is_held_back_from_outside_where_that_can_be_done() {
        let throttle = Throttle::default();
        assert_eq!(throttle.told(None, true, SECOND), None);
        throttle.set(Some(8 << 20));
        assert_eq!(throttle.told(None, true, SECOND), None);
        assert_eq!(throttle.told(None, false, SECOND), Some(8 << 20), "a short one");
        throttle.set(Some(1 << 20));
        assert_eq!(throttle.told(None, true, SECOND), Some(1 << 20), "too slow for pauses");
    }

    #[test]
    fn who_is_ahead_rests_until_that_is_the_rate() {
        let mut allowance = Allowance::default();
        let rate = Some(1000);
        assert_eq!(allowance.ahead(200, rate, Duration::ZERO), Duration::ZERO, "a short run");
        assert_eq!(allowance.ahead(2250, rate, Duration::ZERO), 2 * SECOND);
        assert_eq!(allowance.ahead(2250, rate, SECOND), SECOND);
        assert_eq!(allowance.ahead(2250, rate, 99 * SECOND), Duration::ZERO);
        assert_eq!(allowance.ahead(3500, rate, Duration::ZERO), SECOND, "rest is not saved up");
        assert_eq!(allowance.ahead(1 << 40, None, SECOND), Duration::ZERO);
        assert_eq!(allowance.ahead((1 << 40) + 1250, rate, Duration::ZERO), SECOND);
    }

    #[test]
    fn runs_share_what_their_host_may_be_sent() {
        let throttle = Rc::new(Throttle::default());
        throttle.set(Some(100));
        let one = Sharing::new(&throttle);
        assert_eq!(throttle.share(), Some(100));
        let other = Sharing::new(&throttle);
        assert_eq!(throttle.share(), Some(50));
        drop((one, other));
        assert_eq!(throttle.share(), Some(100));
    }
}
