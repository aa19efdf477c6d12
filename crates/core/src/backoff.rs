//! Pauses between tries. The only file that knows the `backoff` crate, so that it can be replaced.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;

use crate::data::plan::RetryPlan;

/// Each pause is longer than a random tenth of itself, so that hosts that failed together don't come
/// back together.
const JITTER: f64 = 0.2;

/// Doubling pauses with jitter, from `first` to `max`, for ever.
#[derive(Clone, Debug)]
pub struct Backoff {
    inner: ExponentialBackoff,
    seed: u64,
    failures: u32,
}

impl Backoff {
    /// Pauses as planned; equal seeds give equal pauses.
    pub fn new(plan: RetryPlan, seed: u64) -> Self {
        let mut inner = ExponentialBackoff {
            initial_interval: plan.first,
            max_interval: plan.max,
            multiplier: 2.0,
            // The crate's jitter asks a global generator; ours comes from the seed.
            randomization_factor: 0.0,
            // Its default gives up after fifteen minutes.
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        inner.reset();
        Self { inner, seed, failures: 0 }
    }

    /// The pause after one more failure: never longer than `max`, never shorter than `first` less jitter.
    pub fn next_pause(&mut self) -> Duration {
        self.failures += 1;
        let pause =
            self.inner.next_backoff().expect("without a maximal elapsed time it never ends");
        pause.mul_f64(1.0 - JITTER * self.next_random())
    }

    /// After a success the next failure starts again at `first`.
    pub fn reset(&mut self) {
        self.failures = 0;
        self.inner.reset();
    }

    /// splitmix64: from 0 to 1, different at each call, the same for the same seed.
    fn next_random(&mut self) -> f64 {
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A seed from a name, so that each host and mirror has its own jitter.
pub fn seed_of(name: &str) -> u64 {
    name.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: RetryPlan =
        RetryPlan { first: Duration::from_secs(1), max: Duration::from_secs(300) };

    #[test]
    fn pauses_grow_from_first_to_max_and_never_end() {
        let mut backoff = Backoff::new(PLAN, 7);
        let pauses: Vec<_> = (0..1000).map(|_| backoff.next_pause()).collect();
        assert!(pauses[0] >= PLAN.first.mul_f64(0.8) && pauses[0] <= PLAN.first);
        assert!(pauses[2] >= Duration::from_millis(3200) && pauses[2] <= Duration::from_secs(4));
        assert!(pauses[20..].iter().all(|p| *p >= PLAN.max.mul_f64(0.8) && *p <= PLAN.max));
    }

    #[test]
    fn a_success_starts_again_at_first() {
        let mut backoff = Backoff::new(PLAN, 7);
        for _ in 0..5 {
            let _ = backoff.next_pause();
        }
        backoff.reset();
        assert!(backoff.next_pause() <= PLAN.first);
    }

    #[test]
    fn two_hosts_that_failed_together_come_back_apart() {
        let pause = |name| Backoff::new(PLAN, seed_of(name)).next_pause();
        assert_ne!(pause("web1"), pause("web2"));
    }
}
