//! What depends on the clock on the wall: quiet times, bandwidth, walks at set times.

use std::fs;

use chrono::{Timelike, Utc};

use crate::support::tree::assert_same;
use crate::support::{Daemon, wait_for};

/// A time zone in which a minute is over in a quarter of a minute, and that minute there.
fn zone() -> (String, u32) {
    let now = Utc::now();
    let seconds = (45 + 60 - now.second()) % 60;
    let minute = (now.num_seconds_from_midnight() + seconds) / 60 % (24 * 60);
    (format!("XXX-00:00:{seconds:02}"), minute)
}

fn time(minute: u32) -> String {
    let minute = minute % (24 * 60);
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

#[test]
fn in_its_quiet_time_a_mirror_collects_and_afterwards_it_gets_everything_and_is_walked_as_set() {
    let (zone, minute) = zone();
    let quiet = format!("quiet: [\"{}-{}\"]", time(minute + 24 * 60 - 5), time(minute + 1));
    let daemon = Daemon::new();
    let path = daemon.path("quiet").display().to_string();
    fs::write(daemon.source().join("f"), "f").unwrap();
    let daemon = daemon
        .environment("TZ", &zone)
        .root_options("walk_at: \"* * * * *\",")
        .mirror("quiet", "Local", &path, &quiet)
        .local("other")
        .start();
    let waits = daemon.wait_for_state("quiet", "quiet");
    assert!(waits["quiet_until"].is_string(), "{waits:#}");
    daemon.flush("@other");
    assert!(!daemon.path("quiet").exists());
    assert!(daemon.status()["roots"][0]["next_walk"].is_string());
    daemon.flush("@quiet");
    assert_same(&daemon.source(), &daemon.path("quiet"), "after its quiet time");
    assert!(daemon.mirror_status("quiet")["quiet_until"].is_null());
    daemon.wait_for_mirror("other", "a walk at a set time", |mirror| mirror["walks"] == 2);
    daemon.flush("");
}

#[test]
fn bandwidth_is_that_of_the_time_and_quiet_times_change_without_a_new_start() {
    let limits = "Local(limits: Limits(timetable: {\"00:00-24:00\": \"8MiB/s\"}))";
    let daemon = Daemon::new();
    let path = daemon.path("slow").display().to_string();
    fs::write(daemon.source().join("f"), vec![7; 3 << 20]).unwrap();
    let daemon = daemon.mirror("slow", limits, &path, "").start();
    daemon.flush("");
    assert_same(&daemon.source(), &daemon.path("slow"), "slowly");
    wait_for("the rate", || daemon.log().contains("Bandwidth, rate: 8.0 MiB/s").then_some(()));
    let text = fs::read_to_string(daemon.config_path()).unwrap();
    let at_rest = text.replace("/slow\", )", "/slow\", quiet: [\"00:00-24:00\"])");
    assert_ne!(text, at_rest);
    fs::write(daemon.config_path(), at_rest).unwrap();
    assert!(daemon.verb(&["reload"]).status.success());
    fs::write(daemon.source().join("g"), "g").unwrap();
    daemon.wait_for_state("slow", "quiet");
    fs::write(daemon.config_path(), text).unwrap();
    assert!(daemon.verb(&["reload"]).status.success());
    daemon.flush("");
    assert_same(&daemon.source(), &daemon.path("slow"), "at any time again");
    assert_eq!(daemon.mirror_status("slow")["walks"], 1, "nothing was compared anew for it");
}
