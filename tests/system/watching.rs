//! What the watcher must see, and what must not be sent.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Signal;

use crate::churn::{Random, number};
use crate::support::servers::Rsyncd;
use crate::support::tree::assert_same;
use crate::support::{Daemon, NOBODY, is_root, wait_for};

fn same(daemon: &Daemon, context: &str) {
    daemon.flush("");
    assert_same(&daemon.source(), &daemon.path("local"), context);
}

#[test]
fn a_file_that_stays_open_arrives_when_it_is_quiet() {
    let daemon = Daemon::new().root_options("open_quiet: \"300ms\",").local("local").start();
    same(&daemon, "first");
    let mut file = File::create(daemon.source().join("log")).unwrap();
    file.write_all(b"a line\n").unwrap();
    let copy = daemon.path("local/log");
    wait_for("the open file", || fs::read(&copy).ok().filter(|text| text == b"a line\n"));
    file.write_all(b"another\n").unwrap();
    wait_for("its next line", || fs::read(&copy).ok().filter(|text| text.ends_with(b"another\n")));
}

#[test]
fn hard_case_6_a_flush_sends_what_is_still_open() {
    let daemon = Daemon::new().root_options("open_quiet: \"1h\", open_max: \"1h\",").local("local");
    let daemon = daemon.start();
    same(&daemon, "first");
    let mut file = File::create(daemon.source().join("log")).unwrap();
    file.write_all(b"a line\n").unwrap();
    same(&daemon, "flushed while open");
}

#[test]
fn a_temporary_name_is_not_sent_when_the_rename_comes_within_settle() {
    let daemon = Daemon::new().root_options("settle: \"500ms\",").local("local").start();
    same(&daemon, "first");
    let source = daemon.source();
    for number in 0..20 {
        fs::write(source.join(".tmp"), format!("{number}")).unwrap();
        fs::rename(source.join(".tmp"), source.join(format!("f{number}"))).unwrap();
    }
    same(&daemon, "renamed into place");
    assert!(
        !daemon.log().contains("deletions"),
        "nothing had to be deleted:\n{}",
        daemon.log_tail()
    );
}

#[test]
fn hard_case_25_a_change_through_one_name_of_a_linked_file_reaches_the_others() {
    let daemon = Daemon::new().local("local");
    let source = daemon.source();
    fs::create_dir(source.join("d")).unwrap();
    fs::write(source.join("old"), "1").unwrap();
    fs::hard_link(source.join("old"), source.join("d/known")).unwrap();
    fs::write(source.join("single"), "1").unwrap();
    let daemon = daemon.start();
    same(&daemon, "first");
    fs::write(source.join("d/known"), "through a name that was there at the start").unwrap();
    same(&daemon, "known link");
    fs::hard_link(source.join("single"), source.join("d/new")).unwrap();
    same(&daemon, "new link");
    fs::write(source.join("d/new"), "through a name that came later").unwrap();
    same(&daemon, "written through the new link");
    fs::rename(source.join("d"), source.join("e")).unwrap();
    fs::write(source.join("single"), "after a rename of the directory").unwrap();
    same(&daemon, "written through the old name");
}

#[test]
fn directories_that_come_and_go_at_once_are_not_missed() {
    let daemon = Daemon::new().root_options("settle: \"1ms\",").local("local").start();
    same(&daemon, "first");
    let source = daemon.source();
    for round in 0..30 {
        let directory = source.join(format!("d{round}/e/f/g"));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("x"), "x").unwrap();
        let (old, new) = (source.join(format!("d{round}")), source.join(format!("m{round}")));
        fs::rename(&old, &new).unwrap();
        fs::write(new.join("e/f/g/y"), "y").unwrap();
        if round % 3 == 0 {
            fs::remove_dir_all(&new).unwrap();
            fs::create_dir_all(new.join("e/f")).unwrap();
            fs::write(new.join("e/f/z"), "z").unwrap();
        }
    }
    same(&daemon, "after all");
}

#[test]
fn hard_case_2_a_file_with_restored_times_is_sent_all_the_same() {
    let daemon = Daemon::new().local("local");
    let file = daemon.source().join("f");
    fs::write(&file, "AAAA").unwrap();
    let daemon = daemon.start();
    same(&daemon, "first");
    let modified = fs::metadata(&file).unwrap().modified().unwrap();
    fs::write(&file, "BBBB").unwrap();
    File::options().write(true).open(&file).unwrap().set_modified(modified).unwrap();
    same(&daemon, "same size, same time, other content");
}

#[test]
fn hard_case_7_what_lies_behind_a_link_is_never_sent() {
    let secret = tempfile::tempdir().unwrap();
    fs::write(secret.path().join("x"), "secret").unwrap();
    let daemon = Daemon::new().root_options("settle: \"300ms\",").local("local");
    fs::create_dir(daemon.source().join("a")).unwrap();
    fs::write(daemon.source().join("a/x"), "public").unwrap();
    fs::write(daemon.source().join("stays"), "the source is not emptied").unwrap();
    let daemon = daemon.start();
    same(&daemon, "first");
    fs::write(daemon.source().join("a/x"), "changed").unwrap();
    fs::remove_dir_all(daemon.source().join("a")).unwrap();
    symlink(secret.path(), daemon.source().join("a")).unwrap();
    daemon.flush("");
    let copy = daemon.path("local/a");
    assert!(fs::symlink_metadata(&copy).unwrap().file_type().is_symlink());
}

#[test]
fn hard_case_48_a_sandbox_that_forbids_openat2_hides_nothing_and_opens_no_link() {
    let secret = tempfile::tempdir().unwrap();
    fs::write(secret.path().join("x"), "secret").unwrap();
    for answer in [Errno::NOSYS, Errno::PERM] {
        let daemon = Daemon::new().without_openat2(answer).local("local");
        let source = daemon.source();
        fs::create_dir_all(source.join("a/b/c")).unwrap();
        symlink(secret.path(), source.join("a/link")).unwrap();
        let daemon = daemon.start();
        same(&daemon, "first");
        if std::env::var_os("WATCH").is_none() {
            assert_eq!(daemon.status()["roots"][0]["directories"], 4, "{answer}");
        }
        fs::write(source.join("a/b/c/x"), "x").unwrap();
        fs::create_dir_all(source.join("a/d/e")).unwrap();
        same(&daemon, "watched");
        fs::remove_dir_all(source.join("a/b")).unwrap();
        symlink(secret.path(), source.join("a/b")).unwrap();
        same(&daemon, "a link instead of a directory");
    }
}

#[test]
fn hard_case_11_excluded_files_on_the_mirror_are_left_alone() {
    let daemon = Daemon::new().root_options("filters: [Exclude(\"*.keep\")],").local("local");
    fs::create_dir_all(daemon.source().join("d/e")).unwrap();
    fs::write(daemon.source().join("d/e/f"), "f").unwrap();
    fs::write(daemon.source().join("mine.keep"), "not sent").unwrap();
    fs::write(daemon.source().join("stays"), "the source is not emptied").unwrap();
    let daemon = daemon.start();
    daemon.flush("");
    assert!(!daemon.path("local/mine.keep").exists());
    fs::write(daemon.path("local/d/e/theirs.keep"), "theirs").unwrap();
    fs::remove_dir_all(daemon.source().join("d")).unwrap();
    daemon.flush("");
    assert_eq!(fs::read(daemon.path("local/d/e/theirs.keep")).unwrap(), b"theirs");
    assert!(!daemon.path("local/d/e/f").exists());
    assert_eq!(daemon.mirror_status("local")["state"], "in-sync");
}

#[test]
fn an_excluded_directory_is_not_watched() {
    let daemon = Daemon::new().root_options("filters: [Exclude(\"cache/\")],").local("local");
    fs::create_dir_all(daemon.source().join("cache/a/b/c")).unwrap();
    fs::create_dir_all(daemon.source().join("d")).unwrap();
    let daemon = daemon.start();
    daemon.flush("");
    assert_eq!(daemon.status()["roots"][0]["directories"], 2);
    assert!(!daemon.path("local/cache").exists());
}

#[test]
fn hard_case_27_nothing_of_ours_lies_in_the_root() {
    let daemon = Daemon::new().local("local").start();
    same(&daemon, "first");
    same(&daemon, "flushed again");
    assert_eq!(fs::read_dir(daemon.source()).unwrap().count(), 0);
}

#[test]
fn a_name_that_a_push_found_by_itself_is_deleted_when_it_goes() {
    let daemon = Daemon::new().local("local").start();
    same(&daemon, "first");
    let source = daemon.source();
    for round in 0..10 {
        let directory = source.join(format!("d{round}"));
        fs::create_dir(&directory).unwrap();
        // The new directory's push may find the file, though it is open and so not pushed itself.
        let part = directory.join("x.part");
        let mut file = File::create(&part).unwrap();
        let copy = daemon.path("local").join(format!("d{round}"));
        wait_for("the directory", || copy.exists().then_some(()));
        file.write_all(b"a").unwrap();
        drop(file);
        fs::rename(&part, directory.join("x")).unwrap();
    }
    same(&daemon, "renamed into place");
}

#[test]
fn a_directory_that_becomes_readable_is_watched_from_then_on() {
    let daemon = Daemon::new().by_nobody().local("local");
    let directory = daemon.source().join("d");
    fs::create_dir(&directory).unwrap();
    if is_root() {
        chown(&directory, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o000)).unwrap();
    let daemon = daemon.start();
    daemon.wait_for_mirror("local", "a stuck path", |m| m["stuck_total"].as_u64() > Some(0));
    assert_ne!(daemon.mirror_status("local")["state"], "in-sync");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
    same(&daemon, "readable");
    fs::write(directory.join("new"), "n").unwrap();
    if is_root() {
        chown(directory.join("new"), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    same(&daemon, "and watched");
}

#[test]
fn a_shortage_of_descriptors_leaves_no_directory_unwatched() {
    let daemon = Daemon::new().descriptors_max(64).local("local");
    for number in 0..300 {
        fs::create_dir_all(daemon.source().join(format!("d{number}/e"))).unwrap();
    }
    let daemon = daemon.start();
    daemon.flush("");
    for number in 0..300 {
        fs::write(daemon.source().join(format!("d{number}/e/f")), "f").unwrap();
    }
    same(&daemon, "all watched");
}

#[test]
fn hard_case_27_a_flush_covers_what_is_still_in_the_kernels_queue() {
    let daemon = Daemon::new().local("local").start();
    same(&daemon, "first");
    for round in ["created", "rewritten"] {
        daemon.signal(Signal::STOP);
        // Not more than the queue holds, and more than is read at once.
        for number in 0..5000 {
            fs::write(daemon.source().join(format!("f{number}")), round).unwrap();
        }
        std::thread::scope(|scope| {
            // It asks while the daemon can't have read a single event.
            let flush = scope.spawn(|| daemon.flush(""));
            daemon.signal(Signal::CONT);
            flush.join().unwrap();
        });
        assert_same(&daemon.source(), &daemon.path("local"), "flushed");
    }
}

#[test]
fn hard_case_7_who_races_with_links_publishes_nothing_from_elsewhere() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("x"), "secret").unwrap();
    let daemon = Daemon::new().root_options("settle: \"0s\",").local("local");
    let source = daemon.source();
    fs::create_dir(source.join("a")).unwrap();
    fs::write(source.join("a/x"), "public").unwrap();
    let daemon = daemon.start();
    same(&daemon, "first");
    let copy = daemon.path("local/a");
    // The link itself may be mirrored; what it leads to may not.
    let is_directory = || fs::symlink_metadata(&copy).is_ok_and(|found| found.is_dir());
    let is_stolen = || {
        let was_directory = is_directory();
        let content = fs::read(copy.join("x")).unwrap_or_default();
        content == b"secret" && was_directory && is_directory()
    };
    let end = std::time::Instant::now() + std::time::Duration::from_secs(8);
    let mut round = 0_u32;
    while std::time::Instant::now() < end {
        // Listed while it is a directory, read while it is a link.
        fs::write(source.join("a/x"), format!("public {round}")).unwrap();
        std::thread::sleep(std::time::Duration::from_micros(u64::from(round % 60) * 500));
        fs::rename(source.join("a"), source.join("b")).unwrap();
        symlink(outside.path(), source.join("a")).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(3));
        assert!(!is_stolen(), "round {round}");
        fs::remove_file(source.join("a")).unwrap();
        fs::rename(source.join("b"), source.join("a")).unwrap();
        round += 1;
    }
    same(&daemon, "after all");
}

#[test]
fn the_last_of_many_rewrites_within_a_second_arrives() {
    let server = Rsyncd::start();
    let daemon = Daemon::new().root_options("settle: \"0s\",").local("local");
    let daemon = daemon.mirror("web", &server.ron(), "m/site", "").start();
    let mirrors = [daemon.path("local/f"), server.path("site/f")];
    let mut random = Random::new(20_261_121);
    let mut count = 0;
    // `REWRITES=1000` for as many as lsyncd was tried with, and more.
    let rewrites = number("REWRITES").unwrap_or(150);
    while count < rewrites {
        for _ in 0..=random.below(6) {
            count += 1;
            fs::write(daemon.source().join("f"), format!("{count:08}")).unwrap();
            std::thread::sleep(std::time::Duration::from_micros(random.below(20_000) as u64));
        }
        let last = format!("{count:08}");
        for mirror in &mirrors {
            wait_for("the last one", || (fs::read_to_string(mirror).ok()? == last).then_some(()));
        }
    }
}

/// A file system whose times tell what changes while everything is watched, and that holds little else.
const IN_MEMORY: &str = "/dev/shm";

#[test]
fn hard_case_19_what_changes_while_everything_is_watched_for_the_first_time_is_there() {
    let is_there = fs::metadata(IN_MEMORY).is_ok_and(|it| it.is_dir());
    let is_watched_so = std::env::var_os("WATCH").is_none();
    if !is_there || !is_watched_so {
        return println!("not tested: no {IN_MEMORY}, or fanotify, which tells of everything");
    }
    let mut daemon = Daemon::within(std::path::Path::new(IN_MEMORY)).local("local");
    let source = daemon.source();
    // Watched level by level, and so last; rsync is there first.
    let deep = source.join("a/b/c/d/e/f/g/h/i/j");
    fs::create_dir_all(&deep).unwrap();
    for number in 0..DEEP_FILES {
        fs::write(deep.join(format!("{number}")), "f").unwrap();
    }
    for number in 0..DIRECTORIES {
        fs::create_dir_all(source.join(format!("d{}/e{number}", number % 50))).unwrap();
    }
    daemon.write_config();
    let is_done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in (0..DEEP_FILES).cycle() {
                let file = |name: usize| deep.join(format!("{name}"));
                // What went away is not there in the next round.
                let _ = match number % 3 {
                    // Of the same size.
                    0 => fs::write(file(number), "g"),
                    1 => fs::remove_file(file(number)),
                    _ => fs::rename(file(number), file(number + DEEP_FILES)),
                };
                if is_done.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
                // So that the kernel's queue holds it.
                std::thread::sleep(Duration::from_micros(50));
            }
        });
        daemon.start_again();
        wait_for("everything to be watched", || daemon.log().contains("Watching").then_some(()));
        is_done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    daemon.flush("");
    assert_same(&source, &daemon.path("local"), "after the first walk");
    let log = daemon.log();
    let at = |what: &str| log.find(what).unwrap_or_else(|| panic!("{what} is not in {log}"));
    assert!(at("step: walk") < at("Watching"), "the walk did not begin before: {log}");
}

/// Watched in some tenths of a second: time enough for rsync to be there first.
const DIRECTORIES: usize = 20_000;

/// So many that most of them change once or not at all meanwhile.
const DEEP_FILES: usize = 5_000;
