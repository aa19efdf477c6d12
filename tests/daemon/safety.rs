//! Nothing leaves a source that is not what it was.

use std::fs;

use crate::support::servers::Rsyncd;
use crate::support::tree::assert_same;
use crate::support::{Daemon, is_root};

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
fn hard_case_15_a_target_that_vanished_is_an_error_and_not_made_anew() {
    let daemon = Daemon::new().local("local");
    fs::write(daemon.source().join("f"), "f").unwrap();
    let daemon = daemon.start();
    daemon.flush("");
    fs::remove_dir_all(daemon.path("local")).unwrap();
    fs::write(daemon.source().join("g"), "g").unwrap();
    let status = daemon.wait_for_mirror("local", "an error", |m| m["state"] == "retrying");
    assert!(status["last_error"].as_str().unwrap().contains("vanished"), "{status:#}");
    assert!(!daemon.path("local").exists());
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
        let status = daemon.wait_for_mirror("web", "an error", |m| m["state"] == "retrying");
        assert!(status["last_error"].as_str().unwrap().contains("vanished"), "{status:#}");
        assert!(!server.path("site").exists());
    }
}
