//! Paths that fail are told apart from all others, which are proved by a run without them.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::Path;

use crate::support::servers::Rsyncd;
use crate::support::tree::assert_same_but_owners;
use crate::support::{Daemon, NOBODY, is_root, wait_for};

const OWNERS: &str = "rsync: Rsync(owner: false, group: false)";
const FILES: usize = 1000;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// It waits until exactly this path fails, and returns the reason.
fn fails_alone(daemon: &Daemon, host: &str, path: &str) -> String {
    let status = daemon.wait_for_mirror(host, &format!("{path} failing alone"), |mirror| {
        let owed = mirror["pending_paths"].as_u64();
        mirror["stuck_total"] == 1 && mirror["stuck"][0]["path"] == path && owed <= Some(1)
    });
    assert_ne!(status["state"], "in-sync", "{status:#}");
    status["stuck"][0]["reason"].as_str().unwrap_or_default().into()
}

#[test]
fn hard_case_13_an_unreadable_file_among_a_thousand_keeps_no_other_from_being_proved() {
    let daemon = Daemon::new();
    let (source, local) = (daemon.source(), daemon.path("local"));
    let host = "Local(retry: Retry(first: \"100ms\", max: \"1s\"))";
    let mirror = local.display().to_string();
    let fill = |directory: &str| {
        fs::create_dir(source.join(directory)).unwrap();
        let secret = source.join(directory).join("500");
        // It is never readable, however soon it is pushed.
        let mut file = fs::File::options().write(true).create_new(true).mode(0o000).open(&secret);
        file.as_mut().unwrap().write_all(b"x").unwrap();
        for file in (0..FILES).filter(|file| *file != 500) {
            fs::write(source.join(directory).join(file.to_string()), "x").unwrap();
        }
        secret
    };
    let first = fill("first");
    let daemon = daemon.by_nobody().mirror("local", host, &mirror, OWNERS).start();
    let reason = fails_alone(&daemon, "local", "first/500");
    assert!(reason.contains("Permission denied"), "{reason}");
    assert_eq!(fs::read_dir(local.join("first")).unwrap().count(), FILES - 1);
    chown(&first, Some(NOBODY), None).unwrap();
    set_mode(&first, 0o644);
    daemon.flush("");
    // The same while it is pushed, and not walked.
    let pushed = fill("pushed");
    fails_alone(&daemon, "local", "pushed/500");
    assert_eq!(fs::read_dir(local.join("pushed")).unwrap().count(), FILES - 1);
    fs::remove_file(source.join("pushed/7")).unwrap();
    wait_for("a deletion beside it", || (!local.join("pushed/7").exists()).then_some(()));
    fails_alone(&daemon, "local", "pushed/500");
    chown(&pushed, Some(NOBODY), None).unwrap();
    set_mode(&pushed, 0o644);
    daemon.flush("");
    assert_same_but_owners(&source, &local, "readable again");
}

/// A module that is served by a user without rights.
fn server() -> Rsyncd {
    let server = Rsyncd::start_with("uid = nobody\ngid = 65534\n");
    chown(server.path(""), Some(NOBODY), Some(NOBODY)).unwrap();
    server
}

#[test]
fn hard_case_32_a_directory_of_somebody_else_is_filled_and_not_called_in_sync() {
    if !is_root() {
        return println!("not tested: only root can give a directory away");
    }
    let server = server();
    let daemon = Daemon::new().mirror("web", &server.ron(), "m/site", OWNERS);
    let source = daemon.source();
    fs::create_dir_all(source.join("d/e")).unwrap();
    let daemon = daemon.start();
    daemon.flush("");
    let theirs = server.path("site/d");
    chown(&theirs, Some(0), Some(0)).unwrap();
    set_mode(&theirs, 0o777);
    let write = |name: &str, text: &str| fs::write(source.join(name), text).unwrap();
    write("d/a", "a");
    write("d/e/b", "b");
    write("c", "c");
    let is_there = |name: &str| {
        let sent = fs::read(server.path("site").join(name));
        sent.is_ok_and(|it| it == fs::read(source.join(name)).unwrap())
    };
    for name in ["d/a", "d/e/b", "c"] {
        wait_for(name, || is_there(name).then_some(()));
    }
    let reason = fails_alone(&daemon, "web", "d");
    assert!(reason.contains("failed to set times"), "{reason}");
    // Later changes in it are delivered.
    write("d/a", "again");
    fs::remove_file(source.join("d/e/b")).unwrap();
    daemon.wait_for_mirror("web", "what came later", |_| {
        let is_gone = !server.path("site/d/e/b").exists();
        is_gone && fs::read(server.path("site/d/a")).is_ok_and(|it| it == b"again")
    });
    fails_alone(&daemon, "web", "d");
    // A walk finds an extra name in it, and says the same.
    fs::write(theirs.join("extra"), "x").unwrap();
    chown(theirs.join("extra"), Some(NOBODY), None).unwrap();
    assert!(daemon.verb(&["walk", "site@web"]).status.success());
    daemon.wait_for_mirror("web", "the extra to go", |_| !theirs.join("extra").exists());
    fails_alone(&daemon, "web", "d");
    chown(&theirs, Some(NOBODY), Some(NOBODY)).unwrap();
    daemon.flush("");
    assert_same_but_owners(&source, &server.path("site"), "given back");
}

#[test]
fn hard_case_32_a_mirror_whose_top_directory_is_somebody_elses_is_filled() {
    if !is_root() {
        return println!("not tested: only root can give a directory away");
    }
    let server = server();
    let site = server.path("site");
    fs::create_dir(&site).unwrap();
    set_mode(&site, 0o777);
    let daemon = Daemon::new().mirror("web", &server.ron(), "m/site", OWNERS);
    let source = daemon.source();
    fs::create_dir_all(source.join("d/e")).unwrap();
    fs::write(source.join("d/e/f"), "f").unwrap();
    let daemon = daemon.start();
    fails_alone(&daemon, "web", ".");
    assert_eq!(fs::read(site.join("d/e/f")).unwrap(), b"f");
    fs::write(source.join("later"), "l").unwrap();
    daemon.wait_for_mirror("web", "what came later", |_| site.join("later").exists());
    fails_alone(&daemon, "web", ".");
    chown(&site, Some(NOBODY), Some(NOBODY)).unwrap();
    daemon.flush("");
    assert_same_but_owners(&source, &site, "given back");
}
