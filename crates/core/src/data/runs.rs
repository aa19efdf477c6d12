//! How runs ended, and how long they took: counted since the daemon's start.

use std::time::Duration;

/// Runs of one kind on one Mirror.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Runs {
    /// By how they ended, in the order of [`RunEnd::ALL`].
    pub ended: [u64; RunEnd::ALL.len()],
    /// How long they took.
    pub durations: Durations,
}

/// One run that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ran {
    /// A Walk, rather than a Push of changes.
    pub is_walk: bool,
    /// What it was about; 0 for a Walk.
    pub entries: u64,
    /// How it ended.
    pub end: RunEnd,
    /// How long it took.
    pub took: Duration,
    /// Bytes that rsync says it sent.
    pub bytes_sent: u64,
    /// What went wrong, for people.
    pub why: Option<String>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// Everything is there.
    Done,
    /// Some paths failed.
    Partly,
    /// The Mirror failed; it is tried again.
    MirrorFailed,
    /// The Host failed; it is tried again.
    HostFailed,
    /// Its deletions began to wait, and it was ended.
    Withdrawn,
}

/// A histogram with [`Durations::BOUNDS`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Durations {
    /// In each bucket, longer ones not included; the last has no bound.
    pub counts: [u64; Durations::BOUNDS.len() + 1],
    /// All together.
    pub sum: Duration,
}

impl RunEnd {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Done, Self::Partly, Self::MirrorFailed, Self::HostFailed, Self::Withdrawn];

    /// As metrics name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Partly => "partly",
            Self::MirrorFailed => "mirror-failed",
            Self::HostFailed => "host-failed",
            Self::Withdrawn => "withdrawn",
        }
    }
}

impl Durations {
    /// Upper bounds in seconds: from a push over a warm connection to a Walk of millions of files.
    pub const BOUNDS: [f64; 10] = [0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0, 1800.0, 10_800.0];
}

impl Runs {
    /// One has ended.
    pub fn note(&mut self, end: RunEnd, took: Duration) {
        self.ended[end as usize] += 1;
        let bucket = Durations::BOUNDS.iter().position(|bound| took.as_secs_f64() <= *bound);
        self.durations.counts[bucket.unwrap_or(Durations::BOUNDS.len())] += 1;
        self.durations.sum += took;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_counted_once_and_in_its_bucket() {
        let mut runs = Runs::default();
        runs.note(RunEnd::Done, Duration::from_millis(20));
        runs.note(RunEnd::HostFailed, Duration::from_secs(100_000));
        assert_eq!(runs.ended, [1, 0, 0, 1, 0]);
        assert_eq!((runs.durations.counts[1], runs.durations.counts[10]), (1, 1));
    }
}
