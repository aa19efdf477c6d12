//! Every way in which a real rsync or ssh ends: whose fault it is, what is said, and what is done about it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::Daemon;
use crate::support::servers::{Rsyncd, Sshd, free_port};
use crate::support::tree::assert_same;
use crate::support::volume::Volume;

/// A daemon with one mirror on this host, beside a local one that must not care.
fn start(host: &str, path: &str, options: &str) -> Daemon {
    let daemon = Daemon::new().local("local").mirror("web", host, path, options);
    fs::write(daemon.source().join("f"), "f").unwrap();
    let daemon = daemon.start();
    daemon.flush("@local");
    daemon
}

/// It is not in sync, and its error says this.
fn says(daemon: &Daemon, expected: &str) {
    let status = daemon.wait_for_mirror("web", expected, |mirror| {
        mirror["last_error"].as_str().is_some_and(|error| error.contains(expected))
    });
    assert_ne!(status["state"], "in-sync");
    assert!(status["failures"].as_u64() > Some(0), "{status:#}");
}

fn arrives(daemon: &Daemon, at: &Path) {
    daemon.wait_for_state("web", "in-sync");
    assert_same(&daemon.source(), at, "in the end");
}

#[test]
fn a_refused_connection_is_told_from_what_comes_after_it() {
    let mut sshd = Sshd::start();
    sshd.stop();
    let at = sshd.dir.path().join("site");
    let daemon = start(&sshd.ron(), at.to_str().unwrap(), "");
    says(&daemon, "Connection refused");
    sshd.start_again();
    arrives(&daemon, &at);
}

#[test]
fn an_unknown_host_key_is_told_with_its_remedy_and_nothing_is_sent() {
    let sshd = Sshd::start();
    let known_hosts = sshd.dir.path().join("known_hosts");
    let right = fs::read(&known_hosts).unwrap();
    fs::write(&known_hosts, "").unwrap();
    let at = sshd.dir.path().join("site");
    let daemon = start(&sshd.ron(), at.to_str().unwrap(), "");
    says(&daemon, "Host key verification failed");
    says(&daemon, "put the host's key into known_hosts");
    assert!(!at.exists());
    fs::write(&known_hosts, right).unwrap();
    arrives(&daemon, &at);
}

#[test]
fn a_refused_key_is_told_with_its_remedy() {
    let sshd = Sshd::start();
    let keys = sshd.dir.path().join("authorized_keys");
    let right = fs::read(&keys).unwrap();
    fs::write(&keys, "").unwrap();
    let at = sshd.dir.path().join("site");
    let daemon = start(&sshd.ron(), at.to_str().unwrap(), "");
    says(&daemon, "Permission denied (publickey");
    says(&daemon, "check `identity` and the login's authorized_keys");
    fs::write(&keys, right).unwrap();
    arrives(&daemon, &at);
}

#[test]
fn a_missing_rsync_is_told_with_its_remedy() {
    let sshd = Sshd::start();
    let program = sshd.dir.path().join("rsync");
    let at = sshd.dir.path().join("site");
    let options = format!("rsync: Rsync(rsync_path: {program:?})");
    let daemon = start(&sshd.ron(), at.to_str().unwrap(), &options);
    says(&daemon, "install rsync on the host, or set `rsync_path`");
    fs::write(&program, "#!/bin/sh\nexec rsync \"$@\"\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    arrives(&daemon, &at);
}

#[test]
fn a_daemon_that_is_not_there_a_refused_login_and_an_unknown_module_are_told_apart() {
    let nobody = crate::support::servers::rsyncd_ron(free_port());
    says(&start(&nobody, "m/site", ""), "Connection refused");
    let server = Rsyncd::start();
    says(&start(&server.ron(), "other/site", ""), "Unknown module");
    let secrets = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = secrets.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let there = file("there", "push:right\n");
    let server =
        Rsyncd::start_with(&format!("auth users = push\nsecrets file = {}\n", there.display()));
    let here = file("here", "wrong");
    let host =
        server.ron().replacen("Rsyncd(", "Rsyncd(user: \"push\", password_file: PASSWORD, ", 1);
    let daemon = start(&host.replace("PASSWORD", &format!("{here:?}")), "m/site", "");
    says(&daemon, "auth failed");
    says(&daemon, "check `user` and `password_file`");
    fs::write(&here, "right").unwrap();
    arrives(&daemon, &server.path("site"));
    assert!(!daemon.log().contains("wrong") && !daemon.log().contains("right\""));
}

#[test]
fn a_module_that_may_not_be_written_to_is_told() {
    let server = Rsyncd::start();
    let conf = server.dir.path().join("conf");
    let text = fs::read_to_string(&conf).unwrap();
    fs::write(&conf, text.replace("read only = no", "read only = yes")).unwrap();
    let daemon = start(&server.ron(), "m/site", "");
    says(&daemon, "read only");
    fs::write(&conf, text).unwrap();
    arrives(&daemon, &server.path("site"));
}

#[test]
fn hard_case_17_a_full_house_passes_and_costs_nobody_anything() {
    let server = Rsyncd::start_with("max connections = 1\nlock file = LOCK\n");
    let conf = server.dir.path().join("conf");
    let lock = server.dir.path().join("lock").display().to_string();
    let text = fs::read_to_string(&conf).unwrap().replace("LOCK", &lock);
    fs::write(&conf, text).unwrap();
    // Somebody else takes the only place, for as long as he likes.
    let stream = std::net::TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    {
        use std::io::Write;
        (&stream).write_all(b"@RSYNCD: 31.0 md5\nm\n").unwrap();
    }
    let daemon = start(&server.ron(), "m/site", "");
    says(&daemon, "max connections");
    drop(stream);
    arrives(&daemon, &server.path("site"));
}

#[test]
fn what_a_daemon_refuses_is_done_without_or_told() {
    let server = Rsyncd::start_with("refuse options = compress delete-missing-args\n");
    let daemon = start(&server.ron(), "m/site", "rsync: Rsync(compress: true)");
    arrives(&daemon, &server.path("site"));
    fs::write(daemon.source().join("g"), "g").unwrap();
    daemon.flush("");
    fs::remove_file(daemon.source().join("g")).unwrap();
    daemon.flush("");
    assert_same(&daemon.source(), &server.path("site"), "deleted another way");
    let host = &daemon.status()["hosts"][1];
    assert_eq!(host["lacks"], serde_json::json!(["delete-missing-args", "compress"]), "{host:#}");
    assert_eq!(host["rsync"], "rsync 3.4 or newer");
    assert!(host["protocol"].as_u64() >= Some(31));

    let server = Rsyncd::start_with("refuse options = delete\n");
    let daemon = start(&server.ron(), "m/site", "");
    says(&daemon, "refuse --delete");
    says(&daemon, "`refuse options` forbid that");
}

#[test]
fn what_was_found_out_about_a_host_outlives_the_daemon() {
    let server = Rsyncd::start_with("refuse options = compress\n");
    let mut daemon = start(&server.ron(), "m/site", "rsync: Rsync(compress: true)");
    arrives(&daemon, &server.path("site"));
    daemon.kill();
    daemon.start_again();
    arrives(&daemon, &server.path("site"));
    assert_eq!(daemon.mirror_status("web")["failures"], 0);
    assert_eq!(daemon.status()["hosts"][1]["lacks"], serde_json::json!(["compress"]));
}

#[test]
fn an_end_with_whole_seconds_is_warned_about_and_still_kept_equal() {
    let server = Rsyncd::start();
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("rsync");
    // Any rsync can speak as old ones do.
    fs::write(&program, "#!/bin/sh\nexec rsync --protocol=30 \"$@\"\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let options = format!("rsync: Rsync(program: {program:?})");
    let daemon = start(&server.ron(), "m/site", &options);
    daemon.wait_for_state("web", "in-sync");
    for round in 0..5 {
        fs::write(daemon.source().join("f"), round.to_string()).unwrap();
        daemon.flush("");
        assert_eq!(fs::read_to_string(server.path("site/f")).unwrap(), round.to_string());
    }
    let host = &daemon.status()["hosts"][1];
    assert_eq!((&host["rsync"], &host["lacks"][0]), (&"rsync 3.0".into(), &"nanoseconds".into()));
    assert_eq!(daemon.log().matches("whole seconds").count(), 1, "{}", daemon.log());
}

#[test]
fn a_path_that_fails_is_named_with_its_reason_and_holds_up_nothing() {
    let server = Rsyncd::start();
    let daemon = start(&server.ron(), "m/site", "");
    arrives(&daemon, &server.path("site"));
    // A directory that somebody else has made can't be replaced while it is a mount point.
    let blocked = server.path("site/blocked");
    let Some(volume) = Volume::mount(&blocked) else {
        return Volume::say_that_it_was_not_tested();
    };
    fs::write(blocked.join("file"), "x").unwrap();
    fs::write(daemon.source().join("blocked"), "a file").unwrap();
    fs::write(daemon.source().join("other"), "o").unwrap();
    let status = daemon.wait_for_mirror("web", "stuck", |mirror| mirror["stuck_total"] == 1);
    assert_eq!(status["stuck"][0]["path"], "blocked", "{status:#}");
    daemon.wait_for_mirror("web", "the rest goes on", |_| server.path("site/other").exists());
    drop(volume);
    arrives(&daemon, &server.path("site"));
}
