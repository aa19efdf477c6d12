//! Random work while everything that can be killed is killed; then, with nothing touched any more, equality.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::churn::{Random, number};
use crate::support::Daemon;
use crate::support::servers::{Proxy, Rsyncd, Sshd, rsyncd_ron};
use crate::support::tree::{assert_same, assert_same_but_owners};
use crate::support::volume::Volume;

struct World {
    daemon: Daemon,
    rsyncds: Vec<Rsyncd>,
    sshd: Sshd,
    /// In front of the first rsyncd.
    proxy: Proxy,
    /// The disk of the second, small; none without the right to mount.
    disk: Option<Volume>,
}

impl World {
    fn start() -> Self {
        let small = tempfile::Builder::new().prefix("mb-rsyncd-").tempdir().unwrap();
        let disk = Volume::mount_with(&small.path().join("m"), &["-o", "size=8m,nr_inodes=20000"]);
        let rsyncds = vec![Rsyncd::start(), Rsyncd::start_in(small, "")];
        let proxy = Proxy::start(rsyncds[0].port);
        let sshd = Sshd::start();
        let mut daemon = Daemon::new();
        let path = daemon.path("local").display().to_string();
        let local =
            "Local(retry: Retry(first: \"100ms\", max: \"1s\"), limits: Limits(timeout: \"2s\"))";
        daemon = daemon.mirror("local", local, &path, "");
        for (index, port) in [proxy.port, rsyncds[1].port].into_iter().enumerate() {
            daemon = daemon.mirror(&format!("web{index}"), &rsyncd_ron(port), "m/site", "");
        }
        let path = sshd.dir.path().join("site").display().to_string();
        daemon = daemon.mirror("ssh", &sshd.ron(), &path, "");
        Self { daemon: daemon.start(), rsyncds, sshd, proxy, disk }
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
        match random.below(8) {
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
                // In the middle of whatever it carries, and slowly before that.
                self.proxy.slow_down(random.below(20) as u64);
                random.work_in(&self.daemon.source(), 200);
                self.proxy.cut();
                self.proxy.slow_down(0);
            }
            5 => {
                let filler = self.rsyncds[1].path("filler");
                // No room at all is left, if the disk is the small one.
                if self.disk.is_some() {
                    let _ = fs::write(&filler, vec![0; 8 << 20]);
                }
                random.work_in(&self.daemon.source(), 200);
                self.daemon.wait_for_mirror("web1", "an answer", |m| m["state"] != "pushing");
                let _ = fs::remove_file(&filler);
            }
            6 => {
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
    let seconds = number("SECONDS").unwrap_or(10);
    println!("SEED={seed} SECONDS={seconds}");
    let mut world = World::start();
    let mut random = Random::new(seed);
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        random.work_in(&world.daemon.source(), 100);
        world.trouble(&mut random);
    }
    for (host, _) in world.mirrors() {
        world.daemon.wait_for_state(host, "in-sync");
    }
    for (host, mirror) in world.mirrors() {
        assert_same(&world.daemon.source(), &mirror, &format!("{host}, seed {seed}"));
    }
}

#[test]
fn permissions_that_come_and_go_lose_nothing() {
    let seed = number("SEED").unwrap_or(20_261_121);
    let rounds = number("ROUNDS").unwrap_or(8);
    println!("SEED={seed} ROUNDS={rounds}");
    let options = "rsync: Rsync(owner: false, group: false)";
    let local = "Local(retry: Retry(first: \"100ms\", max: \"1s\"))";
    let daemon = Daemon::new();
    let mirror = daemon.path("local").display().to_string();
    let daemon = daemon.by_nobody().mirror("local", local, &mirror, options).start();
    let mut random = Random::new(seed);
    let source = daemon.source();
    for _ in 0..rounds {
        random.work_in(&source, 100);
        let entries: Vec<PathBuf> = below(&source);
        for path in entries.iter().filter(|_| random.below(4) == 0) {
            let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o000));
        }
        fs::write(source.join("readable"), "x").unwrap();
        daemon.wait_for_mirror("local", "an answer", |m| m["state"] != "pushing");
        // Nothing is removed before it can be read again: no rsync but root's can empty a directory on a mirror
        // that lets nobody in.
        for path in below(&source) {
            let mode = if path.is_dir() { 0o755 } else { 0o644 };
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        daemon.wait_for_state("local", "in-sync");
        assert_same_but_owners(&source, &daemon.path("local"), &format!("seed {seed}"));
    }
}

/// Everything but links, which have no permissions.
fn below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let own = entries.filter(|path| !path.is_symlink());
    own.flat_map(|path| {
        let inside = if path.is_dir() { below(&path) } else { Vec::new() };
        std::iter::once(path).chain(inside)
    })
    .collect()
}
