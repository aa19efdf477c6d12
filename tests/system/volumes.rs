//! File systems below a source that come and go.

use std::fs;

use crate::rescans::ends_equal;
use crate::support::tree::assert_same;
use crate::support::volume::Volume;
use crate::support::{Daemon, wait_for};

#[test]
fn hard_case_8_a_nested_volume_that_is_unmounted_deletes_nothing() {
    let daemon = Daemon::new().local("local");
    fs::write(daemon.source().join("f"), "f").unwrap();
    let at = daemon.source().join("up/volume");
    let Some(volume) = Volume::mount(&at) else {
        return Volume::say_that_it_was_not_tested();
    };
    fs::create_dir(at.join("d")).unwrap();
    fs::write(at.join("d/precious"), "p").unwrap();
    let daemon = daemon.start();
    daemon.flush("");
    assert!(daemon.path("local/up/volume/d/precious").exists());
    drop(volume);
    fs::write(daemon.source().join("up/other"), "o").unwrap();
    daemon
        .wait_for_mirror("local", "other paths go on", |_| daemon.path("local/up/other").exists());
    let status = daemon.mirror_status("local");
    assert_ne!(status["state"], "in-sync", "{status:#}");
    assert!(daemon.path("local/up/volume/d/precious").exists());
}

#[test]
fn hard_case_8_another_volume_in_the_place_of_one_deletes_nothing_before_approval() {
    let daemon = Daemon::new().local("local");
    let at = daemon.source().join("volume");
    let Some(first) = Volume::mount(&at) else {
        return Volume::say_that_it_was_not_tested();
    };
    fs::write(at.join("precious"), "p").unwrap();
    let daemon = daemon.start();
    daemon.flush("");
    drop(first);
    // Its device may well have the number of the first.
    let _second = Volume::mount(&at).unwrap();
    fs::write(at.join("other"), "o").unwrap();
    let is_held = |m: &serde_json::Value| m["state"] != "in-sync";
    daemon.wait_for_mirror("local", "it is held", is_held);
    daemon.flush("");
    assert!(daemon.path("local/volume/precious").exists(), "{}", daemon.log_tail());
    assert!(daemon.verb(&["approve", "site", "--yes"]).status.success());
    daemon.wait_for_state("local", "in-sync");
    assert_same(&daemon.source(), &daemon.path("local"), "as approved");
}

#[test]
fn hard_case_8_a_volume_that_is_mounted_while_running_is_watched_too() {
    let daemon = Daemon::new().local("local");
    let at = daemon.source().join("volume");
    fs::create_dir(&at).unwrap();
    let daemon = daemon.start();
    daemon.flush("");
    let Some(_volume) = Volume::mount(&at) else {
        return Volume::say_that_it_was_not_tested();
    };
    fs::write(at.join("before"), "b").unwrap();
    daemon.wait_for_mirror("local", "it is seen", |_| daemon.path("local/volume/before").exists());
    fs::write(at.join("after"), "a").unwrap();
    daemon.flush("");
    assert_same(&daemon.source(), &daemon.path("local"), "with the volume");
}

#[test]
fn hard_case_8_a_volume_that_is_not_mounted_at_the_next_start_deletes_nothing_before_approval() {
    let mut daemon = Daemon::new().local("local");
    let at = daemon.source().join("up/volume");
    let Some(volume) = Volume::mount(&at) else {
        return Volume::say_that_it_was_not_tested();
    };
    fs::write(at.join("precious"), "p").unwrap();
    daemon = daemon.start();
    daemon.flush("");
    daemon.shut_down();
    drop(volume);
    fs::write(daemon.source().join("up/other"), "o").unwrap();
    daemon.start_again();
    let precious = daemon.path("local/up/volume/precious");
    let arrived = |_: &_| daemon.path("local/up/other").exists();
    let status = daemon.wait_for_mirror("local", "other paths go on", arrived);
    assert_ne!(status["state"], "in-sync", "{status:#}");
    assert!(precious.exists(), "{}", daemon.log_tail());
    assert!(daemon.verb(&["approve", "site", "--yes"]).status.success());
    daemon.wait_for_state("local", "in-sync");
    assert!(!precious.exists());
    assert_same(&daemon.source(), &daemon.path("local"), "as approved");
}

#[test]
fn hard_case_29_the_file_system_of_a_halted_root_can_be_unmounted() {
    let daemon = Daemon::new();
    let volume = daemon.path("source");
    let Some(_volume) = Volume::mount(&volume) else {
        return Volume::say_that_it_was_not_tested();
    };
    let daemon = daemon.below("root").local("local");
    fs::create_dir(daemon.source().join("d")).unwrap();
    fs::write(daemon.source().join("d/f"), "f").unwrap();
    let daemon = daemon.start();
    daemon.flush("");
    fs::rename(daemon.source(), volume.join("away")).unwrap();
    daemon.wait_for_state("local", "halted");
    wait_for("umount", || {
        let unmount = std::process::Command::new("umount").arg(&volume).output().unwrap();
        unmount.status.success().then_some(())
    });
    assert!(daemon.path("local/d/f").exists());
}

#[test]
fn hard_case_8_a_volume_in_a_root_that_is_only_looked_through_is_guarded_too() {
    let daemon = Daemon::new().root_options("watch: Rescan(\"200ms\"),").local("local");
    let at = daemon.source().join("up/volume");
    let Some(volume) = Volume::mount(&at) else {
        return Volume::say_that_it_was_not_tested();
    };
    fs::write(at.join("precious"), "p").unwrap();
    let daemon = daemon.start();
    daemon.wait_for_state("local", "in-sync");
    drop(volume);
    fs::write(daemon.source().join("up/other"), "o").unwrap();
    let arrived = |_: &_| daemon.path("local/up/other").exists();
    daemon.wait_for_mirror("local", "other paths go on", arrived);
    daemon.flush("");
    assert!(daemon.path("local/up/volume/precious").exists(), "{}", daemon.log_tail());
    let Some(_volume) = Volume::mount(&at) else { panic!("it could be mounted before") };
    fs::write(at.join("new"), "n").unwrap();
    daemon.flush("");
    assert!(daemon.path("local/up/volume/precious").exists(), "it is another one");
    assert!(daemon.verb(&["approve", "site", "--yes"]).status.success());
    daemon.wait_for_state("local", "in-sync");
    assert_same(&daemon.source(), &daemon.path("local"), "as approved");
}

#[test]
fn hard_case_29_a_nested_volume_can_be_unmounted_while_it_is_watched() {
    let daemon = Daemon::new().local("local");
    let at = daemon.source().join("up/volume");
    let Some(_volume) = Volume::mount(&at) else {
        return Volume::say_that_it_was_not_tested();
    };
    fs::create_dir(at.join("d")).unwrap();
    let daemon = daemon.start();
    fs::write(at.join("d/precious"), "p").unwrap();
    daemon.flush("");
    wait_for("umount", || {
        let unmount = std::process::Command::new("umount").arg(&at).output().unwrap();
        unmount.status.success().then_some(())
    });
    fs::write(daemon.source().join("up/other"), "o").unwrap();
    let arrived = |_: &_| daemon.path("local/up/other").exists();
    daemon.wait_for_mirror("local", "other paths go on", arrived);
    assert!(daemon.path("local/up/volume/d/precious").exists(), "{}", daemon.log_tail());
}

#[test]
fn a_directory_that_is_mounted_at_a_second_place_is_seen_at_both() {
    let daemon = Daemon::new().local("local");
    let (first, second) = (daemon.source().join("first"), daemon.source().join("second"));
    fs::create_dir_all(first.join("d")).unwrap();
    let Some(_volume) = Volume::bind(&first, &second) else {
        return Volume::say_that_it_was_not_tested();
    };
    let daemon = daemon.start();
    daemon.flush("");
    for round in 0..3 {
        fs::write(first.join("d/one"), format!("{round}")).unwrap();
        fs::write(second.join("d/two"), format!("{round}")).unwrap();
        fs::write(daemon.source().join("outside"), format!("{round}")).unwrap();
        daemon.flush("");
        ends_equal(&daemon, "written at either place");
    }
    fs::rename(first.join("d"), first.join("e")).unwrap();
    daemon.flush("");
    ends_equal(&daemon, "renamed at one place");
}
