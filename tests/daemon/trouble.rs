//! Random work while everything that can be killed is killed; then, with nothing touched any more, equality.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::churn::{Random, number};
use crate::support::Daemon;
use crate::support::servers::{Rsyncd, Sshd};
use crate::support::tree::assert_same;

struct World {
    daemon: Daemon,
    rsyncds: Vec<Rsyncd>,
    sshd: Sshd,
}

impl World {
    fn start() -> Self {
        let rsyncds: Vec<Rsyncd> = (0..2).map(|_| Rsyncd::start()).collect();
        let sshd = Sshd::start();
        let mut daemon = Daemon::new();
        let path = daemon.path("local").display().to_string();
        let local =
            "Local(retry: Retry(first: \"100ms\", max: \"1s\"), limits: Limits(timeout: \"2s\"))";
        daemon = daemon.mirror("local", local, &path, "");
        for (index, server) in rsyncds.iter().enumerate() {
            daemon = daemon.mirror(&format!("web{index}"), &server.ron(), "m/site", "");
        }
        let path = sshd.dir.path().join("site").display().to_string();
        daemon = daemon.mirror("ssh", &sshd.ron(), &path, "");
        Self { daemon: daemon.start(), rsyncds, sshd }
    }

    fn mirrors(&self) -> Vec<(&'static str, PathBuf)> {
        vec![
            ("local", self.daemon.path("local")),
            ("web0", self.rsyncds[0].path("site")),
            ("web1", self.rsyncds[1].path("site")),
            ("ssh", self.sshd.dir.path().join("site")),
        ]
    }

    /// The daemon's rsyncs and ssh's, and theirs.
    fn children(&self) -> Vec<Pid> {
        let mut found = Vec::new();
        let mut todo = vec![self.daemon.process_id().to_string()];
        while let Some(id) = todo.pop() {
            let tasks = fs::read_dir(format!("/proc/{id}/task"));
            for task in tasks.into_iter().flatten().flatten() {
                let list = fs::read_to_string(task.path().join("children")).unwrap_or_default();
                todo.extend(list.split_whitespace().map(String::from));
            }
            found.extend(id.parse().ok().and_then(Pid::from_raw));
        }
        found.remove(0);
        found
    }

    fn trouble(&mut self, random: &mut Random) {
        let signals = [Signal::KILL, Signal::TERM, Signal::INT, Signal::PIPE, Signal::HUP];
        match random.below(6) {
            0 => {
                let server = &mut self.rsyncds[random.below(2)];
                server.stop();
                random.work_in(&self.daemon.source(), 200);
                server.start_again();
            }
            1 => {
                self.sshd.stop();
                random.work_in(&self.daemon.source(), 200);
                self.sshd.start_again();
            }
            2 => {
                for child in self.children() {
                    let _ = kill_process(child, signals[random.below(signals.len())]);
                }
            }
            3 => {
                // Stopped, they are given up after their timeout, and wake up later.
                let children = self.children();
                children.iter().for_each(|child| {
                    let _ = kill_process(*child, Signal::STOP);
                });
                random.work_in(&self.daemon.source(), 200);
                children.iter().for_each(|child| {
                    let _ = kill_process(*child, Signal::CONT);
                });
            }
            4 => {
                self.daemon.kill();
                random.work_in(&self.daemon.source(), 200);
                self.daemon.start_again();
            }
            _ => {
                // More events than the kernel's queue holds.
                self.daemon.signal(Signal::STOP);
                for number in 0..20_000 {
                    let path = self.daemon.source().join(format!("overflow{}", number % 300));
                    let _ = fs::write(&path, "x");
                    let _ = fs::rename(&path, path.with_extension("y"));
                }
                random.work_in(&self.daemon.source(), 200);
                self.daemon.signal(Signal::CONT);
            }
        }
    }
}

#[test]
fn whatever_is_killed_the_mirrors_end_equal() {
    let seed = number("SEED").unwrap_or(20_261_121);
    let seconds = number("SECONDS").unwrap_or(20);
    println!("SEED={seed} SECONDS={seconds}");
    let mut world = World::start();
    let mut random = Random::new(seed);
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        random.work_in(&world.daemon.source(), 100);
        world.trouble(&mut random);
    }
    for (host, _) in world.mirrors() {
        world.daemon.wait_for_mirror(host, "in sync", |m| m["state"] == "in-sync");
    }
    for (host, mirror) in world.mirrors() {
        assert_same(&world.daemon.source(), &mirror, &format!("{host}, seed {seed}"));
    }
}
