//! The shell at the other end of an ssh connection, and what an old rsync leaves to it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::renames::{bytes_sent, fill};
use crate::support::Daemon;
use crate::support::servers::Sshd;
use crate::support::tree::assert_same;

/// An rsync here that leaves its arguments to the shell at the other end, as all did before 3.2.4, but with
/// `-s`.
fn old_rsync(daemon: &Daemon) -> String {
    fs::create_dir(daemon.path("bin")).unwrap();
    let program = daemon.path("bin/rsync");
    let script = "#!/bin/sh\nfor option; do [ \"$option\" = -s ] && exec rsync \"$@\"; done\n\
                  exec rsync --old-args --old-args \"$@\"\n";
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    format!("program: {program:?}")
}

#[test]
fn hard_case_57_no_name_is_taken_apart_by_a_shell_at_the_other_end() {
    let server = Sshd::start();
    let daemon = Daemon::new();
    let target = daemon.path("mirror");
    let (old, log) = (old_rsync(&daemon), daemon.path("log-of-the-receiver"));
    let daemon = daemon.mirror(
        "login",
        &server.ron(),
        target.to_str().unwrap(),
        &format!("rsync: Rsync({old}),"),
    );
    // The receiver would be told `--link-dest=../B --log-file=/... C/`.
    let tricky = format!("B --log-file={} C", log.display());
    fill(&daemon.source().join(&tricky), 1);
    fill(&daemon.source().join("plain"), 2);
    let daemon = daemon.start();
    daemon.flush("");
    let step = |from: &str, to: &str| {
        let to = daemon.source().join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::rename(daemon.source().join(from), &to).unwrap();
        daemon.flush("");
        assert_same(&daemon.source(), &target, from);
        assert!(!log.exists(), "{from}: a name became an option");
    };
    step(&tricky, "D");
    step("D", &format!("E --log-file={} F", log.display()));
    let before = bytes_sent(&daemon);
    step("plain", "other");
    assert!(bytes_sent(&daemon)[0] - before[0] < 50_000, "plain names are renamed");
}

#[test]
fn a_path_on_a_host_may_hold_what_a_shell_would_take_apart() {
    let server = Sshd::start();
    let daemon = Daemon::new();
    let name = "my $HOME; (it's)";
    let (target, partial) = (daemon.path(name), "a b");
    let options = format!("rsync: Rsync({}, partial_dir: {partial:?}),", old_rsync(&daemon));
    let daemon = daemon.mirror("login", &server.ron(), target.to_str().unwrap(), &options);
    fs::create_dir(daemon.source().join("d")).unwrap();
    fs::write(daemon.source().join("d/f"), "f").unwrap();
    let daemon = daemon.start();
    daemon.flush("");
    fs::rename(daemon.source().join("d"), daemon.source().join("e")).unwrap();
    daemon.flush("");
    assert_same(&daemon.source(), &target, "after a rename");
    assert!(!daemon.path("my").exists());
}
