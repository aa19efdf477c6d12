//! Time, processor time and memory of a process and all that it starts.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What one run came to; what was not measured is none.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    pub seconds: f64,
    /// Of the program and its children on this side; not of servers.
    pub cpu: Option<f64>,
    pub peak_bytes: Option<u64>,
    pub bytes_sent: Option<u64>,
}

impl Figures {
    pub fn of_time(took: Duration) -> Self {
        Self { seconds: took.as_secs_f64(), ..Self::default() }
    }
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The median of each figure.
pub fn medians(runs: &[Figures]) -> Figures {
    let of = |pick: &dyn Fn(&Figures) -> Option<f64>| {
        let values: Vec<f64> = runs.iter().filter_map(pick).collect();
        (!values.is_empty()).then(|| median(values))
    };
    Figures {
        seconds: of(&|run| Some(run.seconds)).unwrap_or_default(),
        cpu: of(&|run| run.cpu),
        peak_bytes: of(&|run| run.peak_bytes.map(|bytes| bytes as f64)).map(|bytes| bytes as u64),
        bytes_sent: of(&|run| run.bytes_sent.map(|bytes| bytes as f64)).map(|bytes| bytes as u64),
    }
}

/// Waits for a fact, without burning the processor that is measured.
pub fn until(what: &str, mut fact: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !fact() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}

const TICKS: f64 = 100.0;

/// Seconds of processor time of a process, its descendants, and those of them that have ended.
pub fn cpu(id: u32) -> f64 {
    let mut stats: BTreeMap<u32, (u32, u64)> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(stat) = stat(id) {
            stats.insert(id, stat);
        }
    }
    let mut family = vec![id];
    let mut next = 0;
    while next < family.len() {
        let parent = family[next];
        family.extend(stats.iter().filter(|(_, (of, _))| *of == parent).map(|(id, _)| *id));
        next += 1;
    }
    let ticks: u64 = family.iter().filter_map(|id| stats.get(id)).map(|(_, ticks)| ticks).sum();
    ticks as f64 / TICKS
}

/// Of children that this process has waited for.
pub fn cpu_of_children() -> f64 {
    let fields = fields(std::process::id()).unwrap();
    (fields[13] + fields[14]) as f64 / TICKS
}

fn stat(id: u32) -> Option<(u32, u64)> {
    let fields = fields(id)?;
    Some((fields[1] as u32, fields[11] + fields[12] + fields[13] + fields[14]))
}

/// Those after the name, in proc(5)'s order: state (as 0), parent, …
fn fields(id: u32) -> Option<Vec<u64>> {
    let text = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let rest = &text[text.rfind(')')? + 2..];
    Some(rest.split(' ').map(|field| field.trim().parse().unwrap_or(0)).collect())
}

/// The most memory that a process had at a time.
pub fn peak_bytes(id: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}
