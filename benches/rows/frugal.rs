//! What it costs to do nothing, and to remember.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::measure::{Figures, medians, until};
use crate::programs::{Program, Running};
use crate::report::Row;
use crate::support::binary;
use crate::support::servers::Rsyncd;
use crate::world::World;

/// A program with an empty source that has nothing to do.
pub fn frugal(runs: usize) -> Row {
    let mut columns = Vec::new();
    for program in [Program::Mirrorball, Program::Lsyncd] {
        let figures = (0..runs).map(|_| start_up(program)).collect::<Vec<_>>();
        columns.push((program.name(), medians(&figures)));
    }
    let (wakes, none) = idle();
    let per_directory = (with_directories(20_000) - none) / 20_000.0;
    let per_path = dirty_path(50_000);
    let per_mirror = (with_mirrors(101) - with_mirrors(1)) / 100.0;
    let size = fs::metadata(binary()).unwrap().len();
    Row {
        name: "frugal",
        work: "From the start of the program until it watches an empty directory",
        columns,
        remark: format!(
            "The binary has {}. Idle, {:.1} MiB of memory of its own, and {wakes} wake-ups in ten seconds. {per_directory:.0} bytes for \
             each watched directory, {per_path:.0} for each dirty path, {:.1} KiB for each idle mirror.",
            bytesize::ByteSize(size),
            none / f64::from(1 << 20),
            per_mirror / 1024.0
        ),
    }
}

fn start_up(program: Program) -> Figures {
    let world = World::local();
    world.fill(1, 1, 1);
    world.equalize();
    let began = Instant::now();
    let running = Running::start(program, &world, true);
    until("watching", || match program {
        Program::Mirrorball => running.log().contains("Watching"),
        _ => running.log().contains(" finished"),
    });
    running.figures(began.elapsed().as_secs_f64())
}

/// Wake-ups in ten seconds, and memory, when what was waiting to be used once more has been given up.
fn idle() -> (u64, f64) {
    let world = World::local();
    let running = Running::ready(Program::Mirrorball, &world, true);
    std::thread::sleep(Duration::from_secs(62));
    let before = wakes(running.id());
    std::thread::sleep(Duration::from_secs(10));
    (wakes(running.id()) - before, own_memory(running.id()))
}

fn with_directories(directories: usize) -> f64 {
    let world = World::local();
    world.fill(directories, 0, 0);
    world.equalize();
    let running = Running::ready(Program::Mirrorball, &world, true);
    std::thread::sleep(Duration::from_secs(2));
    own_memory(running.id())
}

fn with_mirrors(mirrors: usize) -> f64 {
    let world = World::with_rsyncd(mirrors);
    let running = Running::ready(Program::Mirrorball, &world, true);
    std::thread::sleep(Duration::from_secs(2));
    own_memory(running.id())
}

/// Of paths that a mirror lacks which is down.
fn dirty_path(paths: usize) -> f64 {
    let mut server = Rsyncd::start();
    let (port, at): (u16, PathBuf) = (server.port, server.path("t0"));
    let world = World::behind(port, "m/t0", at, None);
    let running = Running::ready(Program::Mirrorball, &world, true);
    server.stop();
    let before = own_memory(running.id());
    for path in 0..paths {
        fs::write(world.source().join(format!("file-number-{path}")), "").unwrap();
    }
    std::thread::sleep(Duration::from_secs(3));
    (own_memory(running.id()) - before) / paths as f64
}

/// Times that any of its threads gave up the processor to wait.
fn wakes(id: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{id}/task")).unwrap().flatten();
    let statuses = tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok());
    let count = |status: String| {
        let line = status.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse::<u64>().ok()
    };
    statuses.filter_map(count).sum()
}

/// Bytes that are in memory and of no file.
fn own_memory(id: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
}
