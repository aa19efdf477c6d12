//! Hosts that refuse, hang, crawl or lose their actor change nothing for the others.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::servers::{Fake, Proxy, Rsyncd, free_port, rsyncd_ron};
use crate::support::tree::assert_same;
use crate::support::volume::Volume;
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
    let slow = Proxy::start(behind_slow.port);
    slow.slow_down(20);
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
    let status = daemon.wait_for_state("web", "retrying");
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
    // What is connected stays so when the server's first process ends.
    let host = server.ron().replace("retry:", "warm: \"0s\", retry:");
    let daemon = Daemon::new().mirror("web", &host, "m/site", "").start();
    daemon.flush("");
    let before = daemon.mirror_status("web")["pushes"].as_u64();
    server.stop();
    fs::write(daemon.source().join("a"), "a").unwrap();
    daemon.wait_for_state("web", "retrying");
    fs::remove_file(daemon.source().join("a")).unwrap();
    fs::write(daemon.source().join("b"), "b").unwrap();
    // What came last is known, so all is, and nothing is still collected: else it is for the next push.
    daemon.wait_for_mirror("web", "both changes", |m| {
        m["pending_paths"].as_u64() >= Some(2) && daemon.status()["roots"][0]["open_paths"] == 0
    });
    server.start_again();
    daemon.flush("");
    assert!(!server.path("site/a").exists() && server.path("site/b").exists());
    let after = daemon.mirror_status("web")["pushes"].as_u64();
    assert_eq!(after, before.map(|pushes| pushes + 1), "{}", daemon.log_tail());
}

#[test]
fn hard_case_17_a_full_house_is_waited_for() {
    let lock = tempfile::NamedTempFile::new().unwrap();
    let options = format!("max connections = 1\nlock file = {}", lock.path().display());
    let server = Rsyncd::start_with(&options);
    let mut daemon = Daemon::new();
    for number in 0..4 {
        let path = format!("m/site{number}");
        daemon = daemon.mirror(&format!("web{number}"), &server.ron(), &path, "");
    }
    fs::write(daemon.source().join("f"), "f").unwrap();
    let daemon = daemon.start();
    daemon.flush("");
    for round in 0..5 {
        fs::write(daemon.source().join("f"), format!("{round}")).unwrap();
        daemon.flush("");
    }
    for number in 0..4 {
        assert_same(&daemon.source(), &server.path(&format!("site{number}")), "one at a time");
    }
}

#[test]
fn hard_case_18_a_full_mirror_makes_room_by_its_own_deletions() {
    let daemon = Daemon::new();
    let at = daemon.path("small");
    let Some(_volume) = Volume::mount_with(&at, &["-o", "size=4m"]) else {
        return Volume::say_that_it_was_not_tested();
    };
    let path = at.join("site").display().to_string();
    let host = "Local(retry: Retry(first: \"100ms\", max: \"1s\"))";
    let daemon = daemon.mirror("small", host, &path, "");
    fs::write(daemon.source().join("old"), vec![1; 3_000_000]).unwrap();
    let daemon = daemon.start();
    daemon.flush("");
    fs::write(daemon.source().join("new"), vec![2; 3_000_000]).unwrap();
    daemon.wait_for_mirror("small", "no room", |m| {
        m["last_error"].as_str().is_some_and(|why| why.contains("No space"))
    });
    fs::remove_file(daemon.source().join("old")).unwrap();
    daemon.flush("");
    assert_same(&daemon.source(), &at.join("site"), "there is room again");
}

#[test]
fn a_daemon_that_refuses_to_delete_missing_entries_is_served_another_way() {
    let server = Rsyncd::start_with("refuse options = delete-missing-args");
    let options = "filters: [Exclude(\"*.keep\")],";
    let daemon = Daemon::new().root_options(options).mirror("web", &server.ron(), "m/site", "");
    let names = ["a*b", "back\\slash", "-dash", "#hash", "line\nend", "plain"];
    for name in names {
        fs::create_dir_all(daemon.source().join("d").join(name).join("e")).unwrap();
        fs::write(daemon.source().join("d").join(name).join("e/f"), "f").unwrap();
        fs::write(daemon.source().join(format!("f{name}")), "f").unwrap();
    }
    fs::write(daemon.source().join("d/stays"), "s").unwrap();
    let daemon = daemon.start();
    daemon.flush("");
    fs::write(server.path("site/d/plain/theirs.keep"), "theirs").unwrap();
    fs::write(server.path("site/d/not-ours"), "stray").unwrap();
    for name in &names[..5] {
        fs::remove_dir_all(daemon.source().join("d").join(name)).unwrap();
        fs::remove_file(daemon.source().join(format!("f{name}"))).unwrap();
    }
    fs::remove_dir_all(daemon.source().join("d/plain")).unwrap();
    daemon.flush("");
    assert!(server.path("site/d/plain/theirs.keep").exists(), "what is excluded stays");
    assert!(!server.path("site/d/plain/e").exists());
    // Only what was deleted here is deleted there.
    assert!(server.path("site/d/not-ours").exists());
    fs::remove_file(server.path("site/d/not-ours")).unwrap();
    fs::remove_dir_all(server.path("site/d/plain")).unwrap();
    fs::write(daemon.source().join("d/stays"), "again").unwrap();
    daemon.flush("");
    let parent = fs::File::open(daemon.source().join("d")).unwrap();
    parent.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    daemon.flush("");
    assert_same(&daemon.source(), &server.path("site"), "served another way");
    assert!(daemon.log().contains("served another way"));
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
    let kilobytes: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kilobytes < 100_000, "it grows with what the target lacks: {peak}");
}

#[test]
fn term_ends_in_good_order_and_the_next_start_makes_up_for_what_was_missed() {
    let mut daemon = Daemon::new().local("local").start();
    daemon.flush("");
    daemon.shut_down();
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

#[test]
fn hard_case_14_what_a_killed_receiver_has_left_behind_is_removed() {
    let server = Rsyncd::start();
    let slow = Proxy::start(server.port);
    slow.slow_down(5);
    let host = rsyncd_ron(slow.port).replace("\"5s\"", "\"2s\"");
    let daemon = Daemon::new().mirror("web", &host, "m/site", "").start();
    fs::create_dir(daemon.source().join("d")).unwrap();
    fs::write(daemon.source().join("d/.kept.abcdef"), "k").unwrap();
    daemon.flush("");
    // Through such a proxy it takes its time.
    let big: Vec<u8> =
        (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    fs::write(daemon.source().join("d/big"), big).unwrap();
    let names = || -> Vec<String> {
        let entries = fs::read_dir(server.path("site/d")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let left =
        wait_for("a temporary file", || names().into_iter().find(|n| n.starts_with(".big.")));
    let receivers = fs::read_to_string(format!("/proc/{0}/task/{0}/children", server.process_id()));
    for id in receivers.unwrap().split_whitespace().rev() {
        let below =
            fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        for id in below.split_whitespace().chain([id]) {
            let id = rustix::process::Pid::from_raw(id.parse().unwrap()).unwrap();
            let _ = rustix::process::kill_process(id, Signal::KILL);
        }
    }
    slow.slow_down(0);
    daemon.wait_for_state("web", "in-sync");
    // It is left alone for as long as its receiver may live.
    wait_for("it to be removed", || (!names().contains(&left)).then_some(()));
    daemon.wait_for_state("web", "in-sync");
    assert_same(&daemon.source(), &server.path("site"), "and nothing else");
}
