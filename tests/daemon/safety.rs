//! Nothing leaves a source that is not what it was.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use rustix::process::Signal;

use crate::support::servers::Rsyncd;
use crate::support::tree::assert_same;
use crate::support::volume::Volume;
use crate::support::{Daemon, NOBODY, is_root, wait_for};

#[test]
fn hard_case_8_a_source_that_was_moved_away_deletes_nothing_and_goes_on_when_it_is_back() {
    let daemon = Daemon::new().local("local");
    fs::write(daemon.source().join("f"), "f").unwrap();
    let daemon = daemon.start();
    daemon.flush("");
    fs::rename(daemon.source(), daemon.path("away")).unwrap();
    daemon.wait_for_mirror("local", "halted", |mirror| mirror["state"] == "halted");
    assert!(daemon.path("local/f").exists());
    fs::write(daemon.path("away/g"), "g").unwrap();
    fs::rename(daemon.path("away"), daemon.source()).unwrap();
    daemon.wait_for_mirror("local", "in sync again", |mirror| mirror["state"] == "in-sync");
    assert_same(&daemon.source(), &daemon.path("local"), "back again");
}

#[test]
fn hard_case_8_another_directory_at_the_sources_place_empties_no_mirror() {
    let daemon = Daemon::new().local("local");
    fs::write(daemon.source().join("f"), "f").unwrap();
    let daemon = daemon.start();
    daemon.flush("");
    fs::rename(daemon.source(), daemon.path("away")).unwrap();
    fs::create_dir(daemon.source()).unwrap();
    daemon.wait_for_mirror("local", "halted", |mirror| mirror["state"] == "halted");
    fs::write(daemon.source().join("other"), "o").unwrap();
    daemon.flush_waits_in_vain();
    assert!(daemon.path("local/f").exists() && !daemon.path("local/other").exists());
    fs::remove_dir_all(daemon.source()).unwrap();
    fs::rename(daemon.path("away"), daemon.source()).unwrap();
    daemon.wait_for_mirror("local", "in sync again", |mirror| mirror["state"] == "in-sync");
    assert_same(&daemon.source(), &daemon.path("local"), "back again");
}

#[test]
fn hard_case_26_a_parent_that_was_renamed_is_noticed_without_any_event() {
    let daemon = Daemon::new();
    let parent = daemon.path("source");
    let daemon = daemon.below("real").local("local");
    fs::write(daemon.source().join("f"), "f").unwrap();
    let daemon = daemon.start();
    daemon.flush("");
    fs::rename(&parent, daemon.path("away")).unwrap();
    fs::create_dir_all(daemon.source()).unwrap();
    daemon.wait_for_mirror("local", "halted", |mirror| mirror["state"] == "halted");
    assert!(daemon.path("local/f").exists());
}

#[test]
fn hard_case_15_a_target_that_vanished_is_an_error_and_not_made_anew() {
    let daemon = Daemon::new().local("local");
    fs::write(daemon.source().join("f"), "f").unwrap();
    let daemon = daemon.start();
    daemon.flush("");
    fs::remove_dir_all(daemon.path("local")).unwrap();
    fs::write(daemon.source().join("g"), "g").unwrap();
    let status = daemon.wait_for_mirror("local", "halted", |m| m["state"] == "halted");
    assert!(status["last_error"].as_str().unwrap().contains("vanished"), "{status:#}");
    assert!(!daemon.path("local").exists());
    // The disk is mounted again: it goes on by itself.
    fs::create_dir(daemon.path("local")).unwrap();
    fs::write(daemon.path("local/f"), "f").unwrap();
    daemon.flush("");
    assert!(daemon.path("local/g").exists());
    fs::remove_dir_all(daemon.path("local")).unwrap();
    fs::write(daemon.source().join("h"), "h").unwrap();
    daemon.wait_for_mirror("local", "halted again", |m| m["state"] == "halted");
    assert!(daemon.verb(&["approve", "site@local"]).status.success());
    daemon.flush("");
    assert_same(&daemon.source(), &daemon.path("local"), "made anew, because a person said so");
}

#[test]
fn hard_case_15_a_mirror_that_stands_empty_is_not_filled_before_a_person_says_so() {
    let daemon = Daemon::new().local("local");
    fs::create_dir_all(daemon.source().join("d/e")).unwrap();
    fs::write(daemon.source().join("d/f"), "f").unwrap();
    let daemon = daemon.start();
    daemon.flush("");
    fs::remove_dir_all(daemon.path("local/d")).unwrap();
    fs::write(daemon.source().join("d/e/g"), "g").unwrap();
    // The push finds that a directory was missing, and what is there now is its own.
    let status = daemon.wait_for_mirror("local", "walked or halted", |m| {
        m["walks"].as_u64() > Some(1) || m["state"] == "halted"
    });
    assert_ne!(status["state"], "waiting", "{status:#}");
    daemon.flush("");
    fs::remove_dir_all(daemon.path("local/d")).unwrap();
    // Events were lost, as far as the daemon can tell: everything is compared.
    fs::rename(daemon.source(), daemon.path("away")).unwrap();
    daemon.wait_for_mirror("local", "the source is gone", |m| m["state"] == "halted");
    fs::rename(daemon.path("away"), daemon.source()).unwrap();
    let status = daemon.wait_for_mirror("local", "the mirror is halted", |m| {
        m["last_error"].as_str().is_some_and(|why| why.contains("empty"))
    });
    assert_eq!(status["state"], "halted");
    assert_eq!(fs::read_dir(daemon.path("local")).unwrap().count(), 0);
    assert!(daemon.verb(&["approve", "@local"]).status.success());
    daemon.flush("");
    assert_same(&daemon.source(), &daemon.path("local"), "approved");
}

#[test]
fn hard_case_16_too_many_deletions_are_held_and_creations_go_on() {
    let server = Rsyncd::start();
    let daemon = Daemon::new().root_options("max_delete: 5,").local("local");
    let daemon = daemon.mirror("web", &server.ron(), "m/site", "");
    let mirrors = [daemon.path("local"), server.path("site")];
    fs::create_dir_all(daemon.source().join("d/e")).unwrap();
    for number in 0..10 {
        fs::write(daemon.source().join(format!("d/e/{number}")), "x").unwrap();
        fs::write(daemon.source().join(format!("f{number}")), "x").unwrap();
    }
    let daemon = daemon.start();
    daemon.flush("");
    let held = |what: &str| {
        for host in ["local", "web"] {
            let status =
                daemon.wait_for_mirror(host, what, |m| m["held_deletions"].as_u64() > Some(5));
            assert_eq!(status["state"], "halted");
        }
    };
    let nothing_is_held = || {
        for host in ["local", "web"] {
            daemon.wait_for_mirror(host, "in sync", |m| m["state"] == "in-sync");
        }
    };
    // A directory; and then files, one of them made anew while the others are held.
    fs::rename(daemon.source().join("d"), daemon.path("away")).unwrap();
    held("a directory is held");
    fs::write(daemon.source().join("new"), "n").unwrap();
    for (host, mirror) in ["local", "web"].iter().zip(&mirrors) {
        daemon.wait_for_mirror(host, "creations go on", |_| mirror.join("new").exists());
        assert!(mirror.join("d/e/9").exists());
    }
    fs::rename(daemon.path("away"), daemon.source().join("d")).unwrap();
    nothing_is_held();
    for number in 0..10 {
        fs::remove_file(daemon.source().join(format!("f{number}"))).unwrap();
    }
    held("files are held");
    assert!(daemon.log().contains("Deletions are held"));
    for mirror in &mirrors {
        assert!((0..10).all(|number| mirror.join(format!("f{number}")).exists()));
    }
    assert!(daemon.verb(&["approve", "site"]).status.success());
    daemon.flush("");
    nothing_is_held();
    for mirror in &mirrors {
        assert_same(&daemon.source(), mirror, "approved");
    }
    // Where nothing waits, approval changes nothing.
    let walks = daemon.mirror_status("local")["walks"].clone();
    assert!(daemon.verb(&["approve", "--all"]).status.success());
    fs::write(daemon.source().join("after"), "a").unwrap();
    daemon.flush("");
    assert_eq!(daemon.mirror_status("local")["walks"], walks);
}

#[test]
fn an_empty_source_at_the_start_empties_no_mirror() {
    let mut daemon = Daemon::new().local("local");
    let files = daemon.source().join("files");
    fs::create_dir(&files).unwrap();
    fs::write(files.join("f"), "f").unwrap();
    daemon = daemon.start();
    daemon.flush("");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait(), 0);
    fs::rename(&files, daemon.path("away")).unwrap();
    daemon.start_again();
    let status = daemon.wait_for_mirror("local", "held", |m| m["state"] == "halted");
    assert_eq!(status["held_deletions"], 1, "{status:#}");
    assert!(daemon.path("local/files/f").exists());
    fs::rename(daemon.path("away"), &files).unwrap();
    daemon.wait_for_mirror("local", "in sync by itself", |m| m["state"] == "in-sync");
    assert_same(&daemon.source(), &daemon.path("local"), "it was mounted later");
}

#[test]
fn a_root_without_its_marker_is_halted() {
    let daemon = Daemon::new().root_options("marker: \".mirror-me\",").local("local");
    fs::write(daemon.source().join("f"), "f").unwrap();
    let daemon = daemon.start();
    daemon.wait_for_mirror("local", "halted", |m| m["state"] == "halted");
    assert!(!daemon.path("local/f").exists());
    fs::write(daemon.source().join(".mirror-me"), "").unwrap();
    daemon.wait_for_mirror("local", "in sync", |m| m["state"] == "in-sync");
    fs::remove_file(daemon.source().join(".mirror-me")).unwrap();
    fs::remove_file(daemon.source().join("f")).unwrap();
    daemon.wait_for_mirror("local", "halted again", |m| m["state"] == "halted");
    assert!(daemon.path("local/f").exists());
}

#[test]
fn hard_case_15_a_directory_that_vanished_on_the_mirror_leads_to_a_walk() {
    let daemon = Daemon::new().local("local");
    fs::create_dir_all(daemon.source().join("a/b")).unwrap();
    fs::write(daemon.source().join("a/other"), "o").unwrap();
    let daemon = daemon.start();
    daemon.flush("");
    fs::remove_dir_all(daemon.path("local/a")).unwrap();
    fs::write(daemon.source().join("a/b/new"), "n").unwrap();
    daemon.wait_for_mirror("local", "a second walk", |m| {
        m["walks"].as_u64() >= Some(2) && m["state"] == "in-sync"
    });
    assert_same(&daemon.source(), &daemon.path("local"), "walked");
}

#[test]
fn deletions_are_kept_from_mirrors_that_want_none() {
    let daemon = Daemon::new();
    let path = daemon.path("never").display().to_string();
    let daemon = daemon.mirror("never", "Local", &path, "delete: Never").local("local");
    fs::write(daemon.source().join("f"), "f").unwrap();
    let daemon = daemon.start();
    daemon.flush("");
    fs::remove_file(daemon.source().join("f")).unwrap();
    fs::write(daemon.source().join("g"), "g").unwrap();
    daemon.flush("");
    assert!(daemon.path("never/f").exists() && daemon.path("never/g").exists());
    assert!(!daemon.path("local/f").exists());
}

#[test]
fn hard_case_15_a_walk_does_not_make_a_vanished_target_anew_on_any_kind_of_daemon() {
    let without = "use chroot = no\nmunge symlinks = no";
    // Only root can have a chroot.
    let kinds = if is_root() { vec!["use chroot = yes", without] } else { vec![without] };
    for chroot in kinds {
        let server = Rsyncd::start_with(chroot);
        let daemon = Daemon::new().mirror("web", &server.ron(), "m/site", "");
        fs::write(daemon.source().join("f"), "f").unwrap();
        let daemon = daemon.start();
        daemon.flush("");
        fs::remove_dir_all(server.path("site")).unwrap();
        // A source that went away and came back is walked.
        fs::rename(daemon.source(), daemon.path("away")).unwrap();
        daemon.wait_for_mirror("web", "halted", |mirror| mirror["state"] == "halted");
        fs::rename(daemon.path("away"), daemon.source()).unwrap();
        let status = daemon.wait_for_mirror("web", "the mirror is halted", |m| {
            m["last_error"].as_str().is_some_and(|why| why.contains("vanished"))
        });
        assert_eq!(status["state"], "halted");
        assert!(!server.path("site").exists());
    }
}

/// A directory that only its owner may read, and its owner is nobody.
fn set_readable(path: &Path, readable: bool) {
    let mode = if readable { 0o755 } else { 0o000 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn hard_case_13_deletions_that_were_skipped_for_an_unreadable_directory_are_made_up_for() {
    let daemon = Daemon::new().by_nobody().root_options("settle: \"500ms\",").local("local");
    let make = |path: &Path, is_directory: bool| {
        if is_directory {
            fs::create_dir_all(path).unwrap();
        } else {
            fs::write(path, "x").unwrap();
        }
        if is_root() {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    };
    let (source, new) = (daemon.source(), daemon.path("new"));
    // The unreadable one comes before what is to be deleted, so that this is skipped.
    for (path, is_directory) in [
        (source.join("d"), true),
        (source.join("e"), true),
        (source.join("e/old"), false),
        (new.clone(), true),
        (new.join("d"), true),
        (new.join("d/u"), true),
        (new.join("e"), true),
    ] {
        make(&path, is_directory);
    }
    let daemon = daemon.start();
    daemon.flush("");
    set_readable(&new.join("d/u"), false);
    fs::create_dir(daemon.path("away")).unwrap();
    for name in ["d", "e"] {
        fs::rename(source.join(name), daemon.path("away").join(name)).unwrap();
        fs::rename(new.join(name), source.join(name)).unwrap();
    }
    daemon.wait_for_mirror("local", "stuck paths", |m| m["stuck_total"].as_u64() > Some(0));
    assert_ne!(daemon.mirror_status("local")["state"], "in-sync");
    assert!(daemon.path("local/e/old").exists(), "rsync skipped the deletion");
    set_readable(&source.join("d/u"), true);
    daemon.flush("");
    assert_same(&source, &daemon.path("local"), "made up for");
}

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
    assert!(daemon.verb(&["approve", "site"]).status.success());
    daemon.wait_for_mirror("local", "in sync", |mirror| mirror["state"] == "in-sync");
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
fn a_mirror_whose_disk_is_not_mounted_when_the_daemon_starts_is_not_made_anew() {
    let mut daemon = Daemon::new().local("local");
    fs::write(daemon.source().join("f"), "f").unwrap();
    daemon = daemon.start();
    daemon.flush("");
    for ending in ["in good order", "killed"] {
        if ending == "killed" {
            daemon.kill();
        } else {
            daemon.signal(Signal::TERM);
            daemon.wait();
        }
        // Gone with all that is in it, and then standing empty.
        let (local, away) = (daemon.path("local"), daemon.path("away"));
        fs::rename(&local, &away).unwrap();
        daemon.start_again();
        let halted = |why: &'static str| {
            let status = daemon.wait_for_mirror("local", why, |m| {
                m["last_error"].as_str().is_some_and(|error| error.contains(why))
            });
            assert_eq!(status["state"], "halted", "{ending}");
        };
        halted("vanished");
        assert!(!local.exists());
        fs::create_dir(&local).unwrap();
        halted("empty");
        assert_eq!(fs::read_dir(&local).unwrap().count(), 0);
        fs::remove_dir(&local).unwrap();
        fs::rename(&away, &local).unwrap();
        daemon.flush("");
        assert_same(&daemon.source(), &local, ending);
    }
}

#[test]
fn another_directory_at_the_sources_place_before_the_start_empties_no_mirror() {
    let mut daemon = Daemon::new().local("local");
    fs::write(daemon.source().join("f"), "f").unwrap();
    daemon = daemon.start();
    daemon.flush("");
    daemon.signal(Signal::TERM);
    daemon.wait();
    fs::rename(daemon.source(), daemon.path("away")).unwrap();
    fs::create_dir(daemon.source()).unwrap();
    fs::write(daemon.source().join("other"), "o").unwrap();
    daemon.start_again();
    let halted = |daemon: &Daemon| {
        daemon.wait_for_mirror("local", "halted", |mirror| mirror["state"] == "halted");
        assert!(daemon.path("local/f").exists() && !daemon.path("local/other").exists());
    };
    halted(&daemon);
    // Not even after one more start.
    daemon.kill();
    daemon.start_again();
    halted(&daemon);
    fs::remove_dir_all(daemon.source()).unwrap();
    fs::rename(daemon.path("away"), daemon.source()).unwrap();
    daemon.wait_for_mirror("local", "in sync again", |mirror| mirror["state"] == "in-sync");
    assert_same(&daemon.source(), &daemon.path("local"), "back again");
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
    daemon.signal(Signal::TERM);
    daemon.wait();
    drop(volume);
    fs::write(daemon.source().join("up/other"), "o").unwrap();
    daemon.start_again();
    let precious = daemon.path("local/up/volume/precious");
    let arrived = |_: &_| daemon.path("local/up/other").exists();
    let status = daemon.wait_for_mirror("local", "other paths go on", arrived);
    assert_ne!(status["state"], "in-sync", "{status:#}");
    assert!(precious.exists(), "{}", daemon.log_tail());
    assert!(daemon.verb(&["approve", "site"]).status.success());
    daemon.wait_for_mirror("local", "in sync", |mirror| mirror["state"] == "in-sync");
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
    daemon.wait_for_mirror("local", "halted", |mirror| mirror["state"] == "halted");
    wait_for("umount", || {
        let unmount = std::process::Command::new("umount").arg(&volume).output().unwrap();
        unmount.status.success().then_some(())
    });
    assert!(daemon.path("local/d/f").exists());
}

#[test]
fn what_somebody_else_has_changed_on_a_mirror_is_found_by_the_check_told_and_repaired() {
    let server = Rsyncd::start();
    let daemon = Daemon::new()
        .root_options("verify_every: \"1s\",")
        .mirror("web", &server.ron(), "m/site", "")
        .local("local");
    fs::create_dir(daemon.source().join("d")).unwrap();
    fs::write(daemon.source().join("d/f"), "good").unwrap();
    fs::write(daemon.source().join("g"), "good").unwrap();
    let daemon = daemon.start();
    let checked = |host, drift: u64| {
        daemon.wait_for_mirror(host, "a check", |m| m["last_check"]["drift_total"] == drift);
    };
    checked("web", 0);
    crate::restart::rewrite_unseen(&server.path("site/d/f"), "evil");
    fs::write(server.path("site/d/foreign"), "x").unwrap();
    let found = daemon.wait_for_mirror("web", "drift", |m| {
        m["last_check"]["drift_total"].as_u64().is_some_and(|total| total > 0)
    });
    let drift = found["last_check"]["drift"].to_string();
    assert!(drift.contains("d/f") || drift.contains("d/foreign"), "{drift}");
    // The next one finds nothing any more.
    checked("web", 0);
    daemon.flush("");
    assert_same(&daemon.source(), &server.path("site"), "repaired");
    assert!(daemon.log().contains("changed by somebody else"));
    assert_eq!(daemon.mirror_status("local")["last_check"]["drift_total"], 0);
}

#[test]
fn an_emptied_source_empties_no_mirror_whatever_is_done_in_it_and_however_often_it_is_started() {
    let mut daemon = Daemon::new().local("local");
    for number in 0..50 {
        fs::write(daemon.source().join(number.to_string()), "x").unwrap();
    }
    daemon = daemon.start();
    daemon.flush("");
    daemon.signal(Signal::TERM);
    daemon.wait();
    for number in 0..50 {
        fs::remove_file(daemon.source().join(number.to_string())).unwrap();
    }
    for _ in 0..3 {
        daemon.start_again();
        daemon.wait_for_mirror("local", "held", |m| m["held_deletions"] == 50);
        // A name that comes and goes touches the root itself.
        fs::write(daemon.source().join("t"), "t").unwrap();
        fs::remove_file(daemon.source().join("t")).unwrap();
        daemon.flush_waits_in_vain();
        assert_eq!(
            fs::read_dir(daemon.path("local")).unwrap().count(),
            50,
            "{}",
            daemon.log_tail()
        );
        daemon.signal(Signal::TERM);
        daemon.wait();
    }
}

#[test]
fn hard_case_15_a_mirror_that_only_pushes_have_filled_is_not_taken_for_its_mount_point() {
    let mut daemon = Daemon::new().local("local").start();
    daemon.flush("");
    fs::write(daemon.source().join("f"), "f").unwrap();
    daemon.flush("");
    daemon.signal(Signal::TERM);
    daemon.wait();
    let (local, away) = (daemon.path("local"), daemon.path("away"));
    fs::rename(&local, &away).unwrap();
    fs::create_dir(&local).unwrap();
    daemon.start_again();
    daemon.wait_for_mirror("local", "halted", |mirror| mirror["state"] == "halted");
    assert_eq!(fs::read_dir(&local).unwrap().count(), 0);
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
    daemon.wait_for_mirror("local", "in sync", |mirror| mirror["state"] == "in-sync");
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
    assert!(daemon.verb(&["approve", "site"]).status.success());
    daemon.wait_for_mirror("local", "in sync", |mirror| mirror["state"] == "in-sync");
    assert_same(&daemon.source(), &daemon.path("local"), "as approved");
}

#[test]
fn hard_case_15_what_is_pushed_to_an_emptied_mirror_does_not_make_it_equal() {
    for with_directories in [true, false] {
        let server = Rsyncd::start();
        let daemon = Daemon::new().mirror("web", &server.ron(), "m/site", "").local("local");
        for number in 0..20 {
            let name = daemon.source().join(number.to_string());
            if with_directories {
                fs::create_dir(&name).unwrap();
                fs::write(name.join("f"), "f").unwrap();
            } else {
                fs::write(name, "f").unwrap();
            }
        }
        let daemon = daemon.start();
        daemon.flush("");
        for (host, mirror) in [("web", server.path("site")), ("local", daemon.path("local"))] {
            let away = mirror.with_extension("away");
            fs::rename(&mirror, &away).unwrap();
            fs::create_dir(&mirror).unwrap();
            fs::write(daemon.source().join(format!("new-{host}")), "n").unwrap();
            daemon.wait_for_mirror(host, "halted", |m| {
                m["state"] == "halted" && m["last_error"].to_string().contains("mounted")
            });
            fs::remove_dir_all(&mirror).unwrap();
            fs::rename(&away, &mirror).unwrap();
            daemon.wait_for_mirror(host, "in sync again", |m| m["state"] == "in-sync");
            assert_same(&daemon.source(), &mirror, host);
        }
    }
}

#[test]
fn deletions_that_an_emptied_source_would_cause_stay_held_when_something_else_comes() {
    let mut daemon = Daemon::new().local("local");
    for number in 0..50 {
        fs::write(daemon.source().join(number.to_string()), "x").unwrap();
    }
    daemon = daemon.start();
    daemon.flush("");
    daemon.signal(Signal::TERM);
    daemon.wait();
    for number in 0..50 {
        fs::remove_file(daemon.source().join(number.to_string())).unwrap();
    }
    daemon.start_again();
    daemon.wait_for_mirror("local", "held", |m| m["held_deletions"] == 50);
    fs::write(daemon.source().join("other"), "o").unwrap();
    daemon.wait_for_mirror("local", "it arrives", |_| daemon.path("local/other").exists());
    daemon.flush_waits_in_vain();
    assert_eq!(fs::read_dir(daemon.path("local")).unwrap().count(), 51);
    for number in 0..50 {
        fs::write(daemon.source().join(number.to_string()), "x").unwrap();
    }
    daemon.wait_for_mirror("local", "in sync", |mirror| mirror["state"] == "in-sync");
    assert_same(&daemon.source(), &daemon.path("local"), "it is back");
}

#[test]
fn nothing_is_approved_of_a_source_that_is_not_there() {
    let daemon = Daemon::new().local("local");
    fs::write(daemon.source().join("f"), "f").unwrap();
    let daemon = daemon.start();
    daemon.flush("");
    fs::rename(daemon.source(), daemon.path("away")).unwrap();
    daemon.wait_for_mirror("local", "halted", |mirror| mirror["state"] == "halted");
    assert!(daemon.verb(&["approve", "site"]).status.success());
    fs::create_dir(daemon.source()).unwrap();
    fs::write(daemon.source().join("stranger"), "s").unwrap();
    daemon.flush_waits_in_vain();
    assert_eq!(daemon.mirror_status("local")["state"], "halted");
    assert!(daemon.path("local/f").exists() && !daemon.path("local/stranger").exists());
}
