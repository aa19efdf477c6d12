//! Where the kernel tells nothing, or not enough.

use std::fs;
use std::process::Command;

use crate::support::tree::differences;
use crate::support::{Daemon, wait_for};

fn root(daemon: &Daemon) -> serde_json::Value {
    daemon.status()["roots"][0].clone()
}

fn work(daemon: &Daemon) {
    let source = daemon.source();
    fs::write(source.join("d3/f"), "new").unwrap();
    fs::remove_dir_all(source.join("d4")).unwrap();
    fs::create_dir_all(source.join("d5/below/more")).unwrap();
    fs::write(source.join("d5/below/more/g"), "g").unwrap();
    fs::rename(source.join("d6"), source.join("d7/moved")).unwrap();
    fs::rename(source.join("d8"), source.join("e8")).unwrap();
    fs::write(source.join("e8/sub/h"), "h").unwrap();
}

fn directories(daemon: &Daemon) {
    for number in 0..30 {
        let directory = daemon.source().join(format!("d{number}/sub"));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("f"), "f").unwrap();
    }
}

/// What was looked at within a tick of its last change is in doubt, and is pushed once more: then a file is
/// written beside the old one.
pub fn ends_equal(daemon: &Daemon, context: &str) {
    let (source, target) = (daemon.source(), daemon.path("local"));
    let missing = |line: &String| line.starts_with("missing") || line.contains("content");
    let now = differences(&source, &target);
    assert!(!now.iter().any(missing), "{context}: flush returned too early: {now:?}");
    wait_for(context, || differences(&source, &target).is_empty().then_some(()));
}

#[test]
fn a_root_that_is_only_looked_through_is_mirrored_all_the_same() {
    let daemon = Daemon::new().root_options("watch: Rescan(\"200ms\"),").local("local");
    directories(&daemon);
    let daemon = daemon.start();
    daemon.wait_for_state("local", "in-sync");
    work(&daemon);
    let arrived = |_: &_| daemon.path("local/e8/sub/h").exists();
    daemon.wait_for_mirror("local", "it is found by itself", arrived);
    fs::write(daemon.source().join("d3/f"), "wen").unwrap();
    daemon.flush("");
    ends_equal(&daemon, "looked through");
    let root = root(&daemon);
    assert_eq!((&root["state"], &root["directories"]), (&"degraded".into(), &0.into()), "{root:#}");
}

#[test]
fn with_too_few_watches_the_rest_is_looked_through_and_the_remedy_told() {
    if !Command::new("unshare").args(["--user", "true"]).status().is_ok_and(|s| s.success()) {
        println!("not tested: no right to make a user namespace");
        return;
    }
    let daemon = Daemon::new().local("local");
    directories(&daemon);
    let daemon = daemon.watches_max(20).start();
    daemon.wait_for_state("local", "in-sync");
    work(&daemon);
    daemon.flush("");
    ends_equal(&daemon, "too few watches");
    let root = root(&daemon);
    assert_eq!(root["state"], "degraded");
    let reason = root["reason"].as_str().unwrap();
    let entries = crate::support::tree::read(&daemon.source());
    let directories = entries.values().filter(|entry| entry.is_directory()).count();
    assert!(reason.contains(&format!("needs {directories},")), "{directories}: {reason}");
    assert!(reason.contains("sysctl fs.inotify.max_user_watches="), "{reason}");
    fs::remove_dir_all(daemon.source().join("d9")).unwrap();
    fs::write(daemon.source().join("d10/sub/f"), "x").unwrap();
    daemon.flush("");
    ends_equal(&daemon, "once more");
}
