//! Nothing leaves a source that is not what it was.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;

use serde_json::Value;

use crate::support::servers::Rsyncd;
use crate::support::tree::assert_same;
use crate::support::{Daemon, NOBODY, is_root, text, wait_for};

/// A daemon whose mirror has the file `f`.
fn mirrored() -> Daemon {
    let daemon = Daemon::new().local("local");
    fs::write(daemon.source().join("f"), "f").unwrap();
    let daemon = daemon.start();
    daemon.flush("");
    daemon
}

/// So many files in a directory.
fn fill(directory: &Path, files: usize) {
    fs::create_dir_all(directory).unwrap();
    (0..files).for_each(|file| fs::write(directory.join(file.to_string()), "x").unwrap());
}

#[test]
fn hard_case_8_a_source_that_was_moved_away_deletes_nothing_and_goes_on_when_it_is_back() {
    let daemon = mirrored();
    fs::rename(daemon.source(), daemon.path("away")).unwrap();
    daemon.wait_for_state("local", "halted");
    assert!(daemon.path("local/f").exists());
    fs::write(daemon.path("away/g"), "g").unwrap();
    fs::rename(daemon.path("away"), daemon.source()).unwrap();
    daemon.wait_for_state("local", "in-sync");
    assert_same(&daemon.source(), &daemon.path("local"), "back again");
}

#[test]
fn hard_case_8_another_directory_at_the_sources_place_empties_no_mirror() {
    let daemon = mirrored();
    fs::rename(daemon.source(), daemon.path("away")).unwrap();
    fs::create_dir(daemon.source()).unwrap();
    daemon.wait_for_state("local", "halted");
    fs::write(daemon.source().join("other"), "o").unwrap();
    daemon.flush_waits_in_vain();
    assert!(daemon.path("local/f").exists() && !daemon.path("local/other").exists());
    fs::remove_dir_all(daemon.source()).unwrap();
    fs::rename(daemon.path("away"), daemon.source()).unwrap();
    daemon.wait_for_state("local", "in-sync");
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
    daemon.wait_for_state("local", "halted");
    assert!(daemon.path("local/f").exists());
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
            daemon.wait_for_state(host, "in-sync");
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
    assert!(daemon.verb(&["approve", "site", "--yes"]).status.success());
    daemon.flush("");
    nothing_is_held();
    for mirror in &mirrors {
        assert_same(&daemon.source(), mirror, "approved");
    }
    // Where nothing waits, approval changes nothing.
    let walks = daemon.mirror_status("local")["walks"].clone();
    assert!(daemon.verb(&["approve", "--all", "--yes"]).status.success());
    fs::write(daemon.source().join("after"), "a").unwrap();
    daemon.flush("");
    assert_eq!(daemon.mirror_status("local")["walks"], walks);
}

#[test]
fn hard_case_38_a_directory_in_the_way_goes_only_within_the_budget() {
    let server = Rsyncd::start();
    let daemon = Daemon::new().root_options("max_delete: 5,").local("local");
    let daemon = daemon.mirror("web", &server.ron(), "m/site", "");
    let mirrors = [daemon.path("local"), server.path("site")];
    fs::write(daemon.source().join("here"), "a file").unwrap();
    fill(&daemon.source().join("lost"), 20);
    fill(&daemon.source().join("stays"), 20);
    mirrors.iter().for_each(|mirror| fill(&mirror.join("here"), 20));
    let daemon = daemon.start();
    let is_held = |mirror: &Value| mirror["held_deletions"].as_u64() > Some(5);
    let is_kept = |name: &str| {
        mirrors.iter().all(|it| fs::read_dir(it.join(name)).is_ok_and(|it| it.count() == 20))
    };
    for host in ["local", "web"] {
        daemon.wait_for_mirror(host, "what a walk found there is held", is_held);
    }
    assert!(is_kept("here") && is_kept("lost"));
    assert!(daemon.verb(&["approve", "site", "--yes"]).status.success());
    daemon.flush("");
    // Everything in it is lost, and its name is a file's now.
    fs::remove_dir_all(daemon.source().join("lost")).unwrap();
    fs::write(daemon.source().join("lost"), "a file").unwrap();
    fs::write(daemon.source().join("new"), "goes on").unwrap();
    for (host, mirror) in ["local", "web"].iter().zip(&mirrors) {
        daemon.wait_for_mirror(host, "what the source lost is held", is_held);
        wait_for("creations to go on", || mirror.join("new").exists().then_some(()));
    }
    assert!(is_kept("lost"));
    assert!(daemon.verb(&["approve", "site", "--yes"]).status.success());
    for host in ["local", "web"] {
        daemon.wait_for_state(host, "in-sync");
    }
    for mirror in &mirrors {
        assert_same(&daemon.source(), mirror, "approved");
    }
}

#[test]
fn an_empty_source_at_the_start_empties_no_mirror() {
    let mut daemon = Daemon::new().local("local");
    let files = daemon.source().join("files");
    fs::create_dir(&files).unwrap();
    fs::write(files.join("f"), "f").unwrap();
    daemon = daemon.start();
    daemon.flush("");
    daemon.shut_down();
    fs::rename(&files, daemon.path("away")).unwrap();
    daemon.start_again();
    let status = daemon.wait_for_state("local", "halted");
    assert_eq!(status["held_deletions"], 2, "{status:#}");
    assert!(daemon.path("local/files/f").exists());
    fs::rename(daemon.path("away"), &files).unwrap();
    daemon.wait_for_state("local", "in-sync");
    assert_same(&daemon.source(), &daemon.path("local"), "it was mounted later");
}

#[test]
fn a_root_without_its_marker_is_halted() {
    let daemon = Daemon::new().root_options("marker: \".mirror-me\",").local("local");
    fs::write(daemon.source().join("f"), "f").unwrap();
    let daemon = daemon.start();
    daemon.wait_for_state("local", "halted");
    assert!(!daemon.path("local/f").exists());
    fs::write(daemon.source().join(".mirror-me"), "").unwrap();
    daemon.wait_for_state("local", "in-sync");
    fs::remove_file(daemon.source().join(".mirror-me")).unwrap();
    fs::remove_file(daemon.source().join("f")).unwrap();
    daemon.wait_for_state("local", "halted");
    assert!(daemon.path("local/f").exists());
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
fn another_directory_at_the_sources_place_before_the_start_empties_no_mirror() {
    let mut daemon = mirrored();
    daemon.shut_down();
    fs::rename(daemon.source(), daemon.path("away")).unwrap();
    fs::create_dir(daemon.source()).unwrap();
    fs::write(daemon.source().join("other"), "o").unwrap();
    daemon.start_again();
    let halted = |daemon: &Daemon| {
        daemon.wait_for_state("local", "halted");
        assert!(daemon.path("local/f").exists() && !daemon.path("local/other").exists());
    };
    halted(&daemon);
    // Not even after one more start.
    daemon.kill();
    daemon.start_again();
    halted(&daemon);
    fs::remove_dir_all(daemon.source()).unwrap();
    fs::rename(daemon.path("away"), daemon.source()).unwrap();
    daemon.wait_for_state("local", "in-sync");
    assert_same(&daemon.source(), &daemon.path("local"), "back again");
}

#[test]
fn an_emptied_source_empties_no_mirror_whatever_is_done_in_it_and_however_often_it_is_started() {
    let mut daemon = Daemon::new().local("local");
    fill(&daemon.source(), 50);
    daemon = daemon.start();
    daemon.flush("");
    daemon.shut_down();
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
        daemon.shut_down();
    }
}

#[test]
fn deletions_that_an_emptied_source_would_cause_stay_held_when_something_else_comes() {
    let mut daemon = Daemon::new().local("local");
    fill(&daemon.source(), 50);
    daemon = daemon.start();
    daemon.flush("");
    daemon.shut_down();
    for number in 0..50 {
        fs::remove_file(daemon.source().join(number.to_string())).unwrap();
    }
    daemon.start_again();
    daemon.wait_for_mirror("local", "held", |m| m["held_deletions"] == 50);
    fs::write(daemon.source().join("other"), "o").unwrap();
    daemon.wait_for_mirror("local", "it arrives", |_| daemon.path("local/other").exists());
    daemon.flush_waits_in_vain();
    assert_eq!(fs::read_dir(daemon.path("local")).unwrap().count(), 51);
    fill(&daemon.source(), 50);
    daemon.wait_for_state("local", "in-sync");
    assert_same(&daemon.source(), &daemon.path("local"), "it is back");
}

#[test]
fn nothing_is_approved_of_a_source_that_is_not_there() {
    let daemon = mirrored();
    fs::rename(daemon.source(), daemon.path("away")).unwrap();
    daemon.wait_for_state("local", "halted");
    let output = daemon.verb(&["approve", "site", "--yes"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("can't be opened"), "{}", text(&output.stderr));
    fs::create_dir(daemon.source()).unwrap();
    fs::write(daemon.source().join("stranger"), "s").unwrap();
    daemon.flush_waits_in_vain();
    assert_eq!(daemon.mirror_status("local")["state"], "halted");
    assert!(daemon.path("local/f").exists() && !daemon.path("local/stranger").exists());
}
