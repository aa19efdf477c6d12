//! Nothing is put where a mirror's disk is not mounted, and what somebody else has changed is found.

use std::fs;

use crate::support::servers::Rsyncd;
use crate::support::tree::assert_same;
use crate::support::{Daemon, is_root, text};

#[test]
fn hard_case_15_a_target_that_vanished_is_an_error_and_not_made_anew() {
    let daemon = Daemon::new().local("local");
    fs::write(daemon.source().join("f"), "f").unwrap();
    let daemon = daemon.start();
    daemon.flush("");
    fs::remove_dir_all(daemon.path("local")).unwrap();
    fs::write(daemon.source().join("g"), "g").unwrap();
    let status = daemon.wait_for_state("local", "halted");
    assert!(status["last_error"].as_str().unwrap().contains("vanished"), "{status:#}");
    assert!(!daemon.path("local").exists());
    // The disk is mounted again: it goes on by itself.
    fs::create_dir(daemon.path("local")).unwrap();
    fs::write(daemon.path("local/f"), "f").unwrap();
    daemon.flush("");
    assert!(daemon.path("local/g").exists());
    fs::remove_dir_all(daemon.path("local")).unwrap();
    fs::write(daemon.source().join("h"), "h").unwrap();
    daemon.wait_for_state("local", "halted");
    let shown = daemon.verb(&["approve", "--list"]);
    let shown = text(&shown.stdout);
    assert!(shown.contains("site@local is halted: ") && shown.contains("vanished"), "{shown}");
    assert!(daemon.verb(&["approve", "site@local", "--yes"]).status.success());
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
    daemon.wait_for_state("local", "halted");
    fs::rename(daemon.path("away"), daemon.source()).unwrap();
    let status = daemon.wait_for_mirror("local", "the mirror is halted", |m| {
        m["last_error"].as_str().is_some_and(|why| why.contains("empty"))
    });
    assert_eq!(status["state"], "halted");
    assert_eq!(fs::read_dir(daemon.path("local")).unwrap().count(), 0);
    assert!(daemon.verb(&["approve", "@local", "--yes"]).status.success());
    daemon.flush("");
    assert_same(&daemon.source(), &daemon.path("local"), "approved");
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
        daemon.wait_for_state("web", "halted");
        fs::rename(daemon.path("away"), daemon.source()).unwrap();
        let status = daemon.wait_for_mirror("web", "the mirror is halted", |m| {
            m["last_error"].as_str().is_some_and(|why| why.contains("vanished"))
        });
        assert_eq!(status["state"], "halted");
        assert!(!server.path("site").exists());
    }
}

/// A directory that only its owner may read, and its owner is nobody.
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
            daemon.shut_down();
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
fn hard_case_15_a_mirror_that_only_pushes_have_filled_is_not_taken_for_its_mount_point() {
    let mut daemon = Daemon::new().local("local").start();
    daemon.flush("");
    fs::write(daemon.source().join("f"), "f").unwrap();
    daemon.flush("");
    daemon.shut_down();
    let (local, away) = (daemon.path("local"), daemon.path("away"));
    fs::rename(&local, &away).unwrap();
    fs::create_dir(&local).unwrap();
    daemon.start_again();
    daemon.wait_for_state("local", "halted");
    assert_eq!(fs::read_dir(&local).unwrap().count(), 0);
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
            daemon.wait_for_state(host, "in-sync");
            assert_same(&daemon.source(), &mirror, host);
        }
    }
}
