//! The next rsync, connected before there is anything for it to do.

use std::fs;

use crate::support::servers::{Rsyncd, Sshd, rsyncd_ron};
use crate::support::tree::assert_same;
use crate::support::{Daemon, wait_for};

/// Processes of this program that the daemon has started.
fn waiting(daemon: &Daemon, program: &str) -> usize {
    let parent = format!("PPid:\t{}\n", daemon.process_id());
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let statuses = entries.filter_map(|it| fs::read_to_string(it.path().join("status")).ok());
    let is_it = |status: &String| {
        status.starts_with(&format!("Name:\t{program}\n")) && status.contains(&parent)
    };
    statuses.filter(|status| is_it(status) && !status.contains("State:\tZ")).count()
}

fn wait_for_waiting(daemon: &Daemon, count: usize) {
    wait_for("as many rsyncs that wait", || {
        let found = waiting(daemon, "rsync");
        (found == count).then_some(())
    });
}

fn write(daemon: &Daemon, name: &str, content: &str) {
    fs::write(daemon.source().join(name), content).unwrap();
    daemon.flush("");
}

#[test]
fn one_that_died_idle_costs_a_retry_and_is_no_failure() {
    let mut server = Rsyncd::start();
    let daemon = Daemon::new().mirror("web", &server.ron(), "m/site", "").start();
    write(&daemon, "a", "one");
    wait_for_waiting(&daemon, 1);
    for content in ["two", "three"] {
        server.stop();
        server.start_again();
        write(&daemon, "a", content);
        assert_same(&daemon.source(), &server.path("site"), "after the server's restart");
    }
    let mirror = daemon.mirror_status("web");
    assert_eq!(mirror["failures"], 0, "{mirror:#}");
    assert_eq!(mirror["last_error"], serde_json::Value::Null);
}

#[test]
fn hard_case_17_what_waits_gives_a_full_house_its_connections_back() {
    let locks = tempfile::tempdir().unwrap();
    let lock = locks.path().join("lock").display().to_string();
    let server = Rsyncd::start_with(&format!("max connections = 1\nlock file = {lock}"));
    let daemon = Daemon::new().mirror("web", &server.ron(), "m/site", "").start();
    write(&daemon, "a", "one");
    fs::create_dir(daemon.source().join("d")).unwrap();
    write(&daemon, "d/b", "two");
    write(&daemon, "a", "three");
    assert_same(&daemon.source(), &server.path("site"), "one connection is enough");
    assert_eq!(daemon.mirror_status("web")["failures"], 0);
    // Others want it too.
    wait_for_waiting(&daemon, 0);
}

#[test]
fn hard_case_29_a_halted_root_is_let_go_and_so_is_what_has_lingered() {
    let server = Rsyncd::start();
    let sshd = Sshd::start();
    let brief = rsyncd_ron(server.port).replace("retry:", "warm: \"300ms\", retry:");
    let none = rsyncd_ron(server.port).replace("retry:", "warm: \"0s\", retry:");
    let daemon = Daemon::new();
    let path = daemon.path("far").display().to_string();
    let daemon = daemon
        .mirror("brief", &brief, "m/brief", "")
        .mirror("none", &none, "m/none", "")
        .mirror("ssh", &sshd.ron(), &path, "")
        .local("disk")
        .start();
    write(&daemon, "a", "one");
    // Over ssh and here one waits on.
    wait_for_waiting(&daemon, 2);
    fs::rename(daemon.source(), daemon.path("away")).unwrap();
    wait_for_waiting(&daemon, 0);
}
