//! Volumes below a source whose server does not answer: nothing but them waits.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::Daemon;
use crate::support::hanging::HangingVolume;
use crate::support::tree::assert_same;
use crate::support::volume::Volume;

/// A look that takes long, a probe that is not answered, and a second look: much less than [`crate::support::PATIENCE`].
const SECONDS: Duration = Duration::from_secs(20);

fn reason(daemon: &Daemon) -> String {
    daemon.status()["roots"][0]["reason"].as_str().unwrap_or_default().to_owned()
}

fn arrives(daemon: &Daemon, name: &str) {
    let start = Instant::now();
    fs::write(daemon.source().join(name), name).unwrap();
    let is_there = |_: &Value| daemon.path("local").join(name).exists();
    daemon.wait_for_mirror("local", name, is_there);
    assert!(start.elapsed() < SECONDS, "{name} took {:?}", start.elapsed());
}

fn ends_soon(daemon: &mut Daemon) {
    let start = Instant::now();
    assert!(daemon.verb(&["stop"]).status.success());
    daemon.wait();
    assert!(start.elapsed() < SECONDS, "the daemon took {:?} to end", start.elapsed());
}

#[test]
fn hard_case_77_a_volume_that_stops_answering_blocks_nothing_else() {
    let daemon = Daemon::new().local("local");
    let at = daemon.source().join("up/volume");
    let Some(volume) = HangingVolume::mount(&at, "precious", "p") else {
        return Volume::say_that_it_was_not_tested();
    };
    fs::write(daemon.source().join("up/f"), "f").unwrap();
    let mut daemon = daemon.start();
    // Unmounted first, or removing the directory would hang.
    let volume = volume;
    daemon.flush("");
    assert_same(&daemon.source(), &daemon.path("local"), "with the volume");
    volume.hang();
    arrives(&daemon, "first");
    arrives(&daemon, "up/second");
    daemon.wait_for_mirror("local", "it is told", |_| reason(&daemon).contains("do not answer"));
    assert!(reason(&daemon).contains("up/volume"), "{}", reason(&daemon));
    fs::create_dir(daemon.source().join("directory")).unwrap();
    arrives(&daemon, "directory/third");
    assert!(daemon.verb(&["walk", "site@local"]).status.success());
    arrives(&daemon, "fourth");
    assert!(daemon.path("local/up/volume/precious").exists(), "{}", daemon.log_tail());
    volume.write("late", "l");
    volume.answer_again();
    daemon.wait_for_mirror("local", "in sync", |mirror| mirror["state"] == "in-sync");
    assert_same(&daemon.source(), &daemon.path("local"), "when it answers again");
    volume.hang();
    arrives(&daemon, "fifth");
    ends_soon(&mut daemon);
}

#[test]
fn hard_case_77_a_volume_that_does_not_answer_at_the_start_blocks_nothing_else() {
    let daemon = Daemon::new().local("local");
    let at = daemon.source().join("up/volume");
    let Some(volume) = HangingVolume::mount(&at, "precious", "p") else {
        return Volume::say_that_it_was_not_tested();
    };
    volume.hang();
    fs::create_dir(daemon.source().join("d")).unwrap();
    fs::write(daemon.source().join("d/before"), "b").unwrap();
    let mut daemon = daemon.start();
    // Unmounted first, or removing the directory would hang.
    let volume = volume;
    daemon.wait_for_mirror("local", "what was there", |_| daemon.path("local/d/before").exists());
    arrives(&daemon, "after");
    assert!(reason(&daemon).contains("do not answer"), "{}", reason(&daemon));
    volume.answer_again();
    daemon.wait_for_mirror("local", "in sync", |mirror| mirror["state"] == "in-sync");
    assert_same(&daemon.source(), &daemon.path("local"), "when it answers");
    volume.hang();
    arrives(&daemon, "hanging again");
    drop(volume);
    arrives(&daemon, "unmounted");
    assert!(daemon.path("local/up/volume/precious").exists(), "{}", daemon.log_tail());
    ends_soon(&mut daemon);
}
