//! The least rights that docs/operating.md recommends for hosts, and what a package installs.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::servers::{Rsyncd, Sshd};
use crate::support::tree::differences;
use crate::support::{Daemon, binary, text};

fn work(daemon: &Daemon, copy: &Path) {
    let source = daemon.source();
    // Where times are compared to the second, parts of seconds may differ.
    let assert_same = |source: &Path, copy: &Path, context: &str| {
        let found = differences(source, copy);
        assert!(found.iter().all(|line| line.contains(": time (")), "{context}: {found:?}");
    };
    fs::create_dir_all(source.join("d/e")).unwrap();
    fs::write(source.join("d/e/f"), "f").unwrap();
    daemon.flush("");
    assert_same(&source, copy, "made");
    fs::rename(source.join("d"), source.join("g")).unwrap();
    fs::write(source.join("h"), "h").unwrap();
    daemon.flush("");
    assert_same(&source, copy, "renamed");
    fs::remove_dir_all(source.join("g")).unwrap();
    daemon.flush("");
    assert_same(&source, copy, "removed");
    assert_eq!(daemon.mirror_status("web")["state"], "in-sync");
}

#[test]
fn a_key_that_can_do_nothing_but_rsync_to_one_directory_suffices() {
    if !Command::new("rrsync").arg("-h").output().is_ok_and(|it| it.status.success()) {
        return println!("not tested: no rrsync, or no python3 for it");
    }
    let server = Sshd::start();
    let daemon = Daemon::new();
    let there = daemon.path("there");
    fs::create_dir(&there).unwrap();
    let keys = server.dir.path().join("authorized_keys");
    let key = fs::read_to_string(&keys).unwrap();
    let forced = format!("command=\"rrsync -munge -no-lock {}\",restrict {key}", there.display());
    fs::write(&keys, forced).unwrap();
    let daemon = daemon.mirror("web", &server.ron(), "site", "").start();
    work(&daemon, &there.join("site"));
}

#[test]
fn a_module_that_only_its_user_may_write_to_suffices() {
    let dir = tempfile::Builder::new().prefix("mb-").tempdir().unwrap();
    let (secrets, password) = (dir.path().join("secrets"), dir.path().join("password"));
    fs::write(&secrets, "push:a long secret\n").unwrap();
    fs::write(&password, "a long secret\n").unwrap();
    for file in [&secrets, &password] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(file, mode).unwrap();
    }
    let options = format!("auth users = push\nsecrets file = {}\n", secrets.display());
    let server = Rsyncd::start_with(&options);
    let user = format!("(user: \"push\", password_file: {password:?}, ");
    let web = server.ron().replacen('(', &user, 1);
    let daemon = Daemon::new().mirror("web", &web, "m/site", "").start();
    work(&daemon, &server.path("site"));
}

#[test]
fn pages_and_completions_are_there_for_every_verb() {
    let dir = tempfile::tempdir().unwrap();
    let made =
        Command::new(binary()).arg("man").arg("--directory").arg(dir.path()).output().unwrap();
    assert!(made.status.success(), "{}", text(&made.stderr));
    let help = text(&Command::new(binary()).arg("--help").output().unwrap().stdout);
    let verbs = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let verbs = verbs.take_while(|line| !line.is_empty());
    let verbs: Vec<&str> = verbs.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(verbs.contains(&"explain") && verbs.len() > 15, "{verbs:?}");
    for verb in verbs.iter().filter(|verb| **verb != "help") {
        let page =
            fs::read_to_string(dir.path().join(format!("man1/mirrorball-{verb}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{verb}");
    }
    assert!(dir.path().join("man1/mirrorball.1").exists());
    let page = fs::read_to_string(dir.path().join("man5/mirrorball.ron.5")).unwrap();
    for field in ["timetable", "quiet", "walk_at", "password_file"] {
        assert!(page.contains(field), "{field}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = Command::new(binary()).args(["completions", shell]).output().unwrap();
        let script = text(&script.stdout);
        assert!(verbs.iter().all(|verb| script.contains(verb)), "{shell}");
    }
}
