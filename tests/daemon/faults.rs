//! Hosts that refuse, hang, crawl or lose their actor change nothing for the others.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::servers::{Fake, Rsyncd, free_port, rsyncd_ron};
use crate::support::tree::assert_same;
use crate::support::{Daemon, PATIENCE, wait_for};

/// A daemon with six healthy mirrors, and where they are.
fn healthy(good: &[Rsyncd]) -> (Daemon, Vec<PathBuf>) {
    let mut daemon = Daemon::new().local("local");
    let mut targets = vec![daemon.path("local")];
    for (index, server) in good.iter().enumerate() {
        daemon = daemon.mirror(&format!("good{index}"), &server.ron(), "m/site", "");
        targets.push(server.path("site"));
    }
    (daemon, targets)
}

const HEALTHY: [&str; 6] = ["@local", "@good0", "@good1", "@good2", "@good3", "@good4"];

/// The median time from a write until the file is on all targets.
fn latency(daemon: &Daemon, targets: &[PathBuf]) -> Duration {
    HEALTHY.iter().for_each(|host| daemon.flush(host));
    let mut times: Vec<Duration> = (0..21)
        .map(|round| {
            let name = format!("f{round}");
            let start = Instant::now();
            fs::write(daemon.source().join(&name), "x").unwrap();
            while !targets.iter().all(|target| target.join(&name).exists()) {
                assert!(
                    start.elapsed() < PATIENCE,
                    "{name} does not arrive\n{}",
                    daemon.log_tail()
                );
                std::thread::sleep(Duration::from_micros(500));
            }
            start.elapsed()
        })
        .collect();
    HEALTHY.iter().for_each(|host| daemon.flush(host));
    times.sort();
    times[times.len() / 2]
}

#[test]
fn broken_hosts_delay_nobody() {
    let good: Vec<Rsyncd> = (0..5).map(|_| Rsyncd::start()).collect();
    let (daemon, targets) = healthy(&good);
    let daemon = daemon.start();
    let alone = latency(&daemon, &targets);
    drop(daemon);

    let good: Vec<Rsyncd> = (0..5).map(|_| Rsyncd::start()).collect();
    let (behind_slow, hanging) = (Rsyncd::start(), [Fake::hanging(), Fake::hanging()]);
    let slow = Fake::slow(behind_slow.port, Duration::from_millis(20));
    let (mut daemon, targets) = healthy(&good);
    daemon = daemon.mirror("refusing", &rsyncd_ron(free_port()), "m/site", "");
    daemon = daemon.mirror("slow", &rsyncd_ron(slow.port), "m/site", "");
    for (index, fake) in hanging.iter().enumerate() {
        daemon = daemon.mirror(&format!("hanging{index}"), &rsyncd_ron(fake.port), "m/site", "");
    }
    let daemon = daemon.start();
    let beside = latency(&daemon, &targets);
    println!(
        "a change to six healthy mirrors: alone {alone:?}, beside one refusing, one slow and two \
         hanging ones {beside:?}, ratio {:.2}",
        beside.as_secs_f64() / alone.as_secs_f64()
    );
    for target in &targets {
        assert_same(&daemon.source(), target, "healthy");
    }
    daemon.flush("@slow");
    assert_same(&daemon.source(), &behind_slow.path("site"), "slow, but there");
    for broken in ["refusing", "hanging0", "hanging1"] {
        assert_ne!(daemon.mirror_status(broken)["state"], "in-sync", "{broken}");
    }
}

#[test]
fn a_host_that_comes_back_gets_everything() {
    let mut server = Rsyncd::start();
    let daemon = Daemon::new().mirror("web", &server.ron(), "m/site", "").start();
    daemon.flush("");
    server.stop();
    for round in 0..50 {
        fs::write(daemon.source().join(format!("f{round}")), "x").unwrap();
    }
    fs::remove_file(daemon.source().join("f7")).unwrap();
    let status = daemon.wait_for_mirror("web", "retrying", |m| m["state"] == "retrying");
    assert!(status["last_error"].as_str().unwrap().contains("refused"), "{status:#}");
    server.start_again();
    daemon.flush("");
    assert_same(&daemon.source(), &server.path("site"), "back");
    let log = daemon.log();
    assert_eq!(log.matches("the host fails").count(), 1, "told once:\n{log}");
    assert!(log.contains("works again"));
}

#[test]
fn hard_case_9_a_retry_brings_what_has_come_meanwhile_in_one_push() {
    let mut server = Rsyncd::start();
    let daemon = Daemon::new().mirror("web", &server.ron(), "m/site", "").start();
    daemon.flush("");
    let before = daemon.mirror_status("web")["pushes"].as_u64();
    server.stop();
    fs::write(daemon.source().join("a"), "a").unwrap();
    daemon.wait_for_mirror("web", "a failed push", |m| m["state"] == "retrying");
    fs::write(daemon.source().join("b"), "b").unwrap();
    fs::remove_file(daemon.source().join("a")).unwrap();
    // b, a, and the directory that holds them.
    daemon.wait_for_mirror("web", "both changes", |m| m["pending_paths"].as_u64() >= Some(2));
    server.start_again();
    daemon.flush("");
    assert!(!server.path("site/a").exists() && server.path("site/b").exists());
    let after = daemon.mirror_status("web")["pushes"].as_u64();
    assert_eq!(after, before.map(|pushes| pushes + 1));
}

#[test]
fn many_files_while_the_only_target_hangs_cost_little() {
    let fake = Fake::hanging();
    let daemon = Daemon::new().mirror("web", &rsyncd_ron(fake.port), "m/site", "").start();
    wait_for("watching", || (daemon.status()["roots"][0]["state"] == "watching").then_some(()));
    for number in 0..20_000 {
        fs::write(daemon.source().join(format!("f{number}")), "x").unwrap();
    }
    wait_for("all changes seen", || {
        let status = daemon.status();
        let root = &status["roots"][0];
        let idle = root["open_paths"] == 0 && root["held_files"] == 0;
        (idle && status["mirrors"][0]["pending_paths"].as_u64()? > 0).then_some(())
    });
    let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.process_id())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    let memory = fs::read_to_string(format!("/proc/{}/status", daemon.process_id())).unwrap();
    let peak = memory.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    println!("20,000 files: {} ms of CPU, {peak}", ticks * 10);
}

#[test]
fn term_ends_in_good_order_and_the_next_start_makes_up_for_what_was_missed() {
    let mut daemon = Daemon::new().local("local").start();
    daemon.flush("");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait(), 0);
    assert!(!daemon.path("sock").exists());
    fs::write(daemon.source().join("while-down"), "x").unwrap();
    daemon.start_again();
    daemon.flush("");
    assert_same(&daemon.source(), &daemon.path("local"), "made up for");
}

#[test]
fn children_do_not_outlive_a_killed_daemon() {
    let fake = Fake::hanging();
    let mut daemon = Daemon::new().mirror("web", &rsyncd_ron(fake.port), "m/site", "").start();
    let id = daemon.process_id();
    let children = || {
        let list = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        list.split_whitespace().map(String::from).collect::<Vec<_>>()
    };
    let rsync = wait_for("an rsync", || children().first().cloned());
    daemon.kill();
    wait_for("its end", || {
        (!std::path::Path::new(&format!("/proc/{rsync}")).exists()).then_some(())
    });
}
