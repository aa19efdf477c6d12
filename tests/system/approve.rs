//! Deletions that wait are listed, and approved by the number of the list that was read.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output};

use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::{Value, json};

use crate::restart::wait_for_holders;
use crate::support::servers::{Proxy, Rsyncd, rsyncd_ron};
use crate::support::tree::assert_same;
use crate::support::{Daemon, Owned, binary, text, wait_for};

/// Two directories with ten files each, in one directory.
fn with_trees(daemon: Daemon) -> Daemon {
    let daemon = daemon.root_options("max_delete: 5,");
    for directory in ["top/a", "top/b"] {
        fill(&daemon.source().join(directory));
    }
    daemon
}

fn fill(directory: &Path) {
    fs::create_dir_all(directory).unwrap();
    (0..10).for_each(|number| fs::write(directory.join(number.to_string()), "x").unwrap());
}

/// Loses one of them; waits until so many deletions are held.
fn lose(daemon: &Daemon, name: &str, held: u64) {
    fs::remove_dir_all(daemon.source().join("top").join(name)).unwrap();
    wait_for_held(daemon, "local", held);
}

fn wait_for_held(daemon: &Daemon, host: &str, held: u64) {
    daemon.wait_for_mirror(host, "held deletions", |m| m["held_deletions"] == held);
}

fn wait_until_gone(path: &Path) {
    wait_for(&format!("{} to go", path.display()), || (!path.exists()).then_some(()));
}

fn shown(daemon: &Daemon) -> Value {
    let output = daemon.verb(&["approve", "--list", "--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn approve(daemon: &Daemon, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = daemon.verb(&[&["approve"], arguments].concat());
    (status.code(), text(&stdout), text(&stderr))
}

#[test]
fn a_list_is_approved_by_its_number_and_nothing_that_was_lost_later() {
    let daemon = with_trees(Daemon::new().local("local")).start();
    daemon.flush("");
    let (code, out, _) = approve(&daemon, &["--list"]);
    assert_eq!((code, out.trim()), (Some(0), "Nothing waits for approval"));
    lose(&daemon, "a", 11);
    let (code, out, _) = approve(&daemon, &["--list", "site"]);
    assert_eq!(code, Some(0));
    assert!(out.starts_with("site:1  11 deletions on all mirrors"), "{out}");
    assert!(out.contains("\n  11  top/a\n") && out.contains("mirrorball approve site:1"), "{out}");
    lose(&daemon, "b", 22);
    let list = json!({
        "id": "site:1", "entries": 11, "names": 1, "first": [{ "path": "top/a", "entries": 11, "names": 1 }],
        "later_entries": 11, "later_names": 1,
    });
    assert_eq!(shown(&daemon)["lists"], json!([list]), "a list stays as it was shown");

    let (code, out, err) = approve(&daemon, &["site:1"]);
    assert_eq!((code, out.trim()), (Some(0), "Approved site:1: 11 deletions"), "{err}");
    wait_until_gone(&daemon.path("local/top/a"));
    wait_for_held(&daemon, "local", 11);
    assert!(daemon.path("local/top/b/9").exists());
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains("Deletions are approved")).expect("a line");
    let uid = rustix::process::getuid().as_raw();
    assert!(line.contains("site:1") && line.contains("top/a"), "{line}");
    assert!(line.contains(&format!("by_uid: {uid}")), "{line}");

    let (code, _, err) = approve(&daemon, &["site:1"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("was approved before") && err.contains("approve --list"), "{err}");
    assert_eq!(shown(&daemon)["lists"][0]["id"], "site:2");
    assert_eq!(approve(&daemon, &["site:2"]).0, Some(0));
    daemon.flush("");
    assert_same(&daemon.source(), &daemon.path("local"), "approved");
}

#[test]
fn what_names_no_list_that_waits_is_refused_and_approves_nothing() {
    let daemon = with_trees(Daemon::new().local("local")).start();
    daemon.flush("");
    lose(&daemon, "a", 11);
    assert_eq!(shown(&daemon)["lists"][0]["id"], "site:1");
    let refused: [(&[&str], i32, &str); 6] = [
        (&["site:2"], 1, "approve --list"),
        (&["site@local:1"], 1, "approve --list"),
        (&["other:1"], 64, "no root other"),
        (&["site:x"], 64, "site:x"),
        (&["site:1", "site"], 64, "site is not the number of a list"),
        (&["site"], 64, "--yes"),
    ];
    for (arguments, code, says) in refused {
        let (found, _, err) = approve(&daemon, arguments);
        assert_eq!(found, Some(code), "{arguments:?}: {err}");
        assert!(err.contains(says), "{arguments:?}: {err}");
    }
    daemon.flush_waits_in_vain();
    assert!(daemon.path("local/top/a/9").exists());
    let (code, out, _) = approve(&daemon, &["site", "--yes"]);
    assert_eq!((code, out.trim()), (Some(0), "Approved site:1: 11 deletions"));
    daemon.flush("");
}

/// `approve` on a terminal of its own.
struct Asked {
    terminal: File,
    process: Owned,
}

impl Asked {
    /// Returns when it asks.
    fn new(daemon: &Daemon, selector: &str) -> (Self, String) {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let side = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
        let process = Command::new(binary())
            .args(["approve", selector, "--socket"])
            .arg(daemon.path("sock"))
            .stdin(side.try_clone().unwrap())
            .stdout(side.try_clone().unwrap())
            .stderr(side)
            .spawn()
            .unwrap();
        let mut asked = Self { terminal: terminal.into(), process: Owned(process) };
        let text = asked.read_until("[y/N] ");
        (asked, text)
    }

    fn read_until(&mut self, end: &str) -> String {
        let mut read = Vec::new();
        let mut byte = [0];
        while !text(&read).ends_with(end) {
            // The terminal ends with an error when nobody holds its other side any more.
            match self.terminal.read(&mut byte) {
                Ok(1) => read.push(byte[0]),
                _ => panic!("it ended before {end:?}: {}", text(&read)),
            }
        }
        text(&read)
    }

    fn answer(mut self, line: &str) -> Option<i32> {
        self.terminal.write_all(line.as_bytes()).unwrap();
        wait_for("the end of approve", || self.process.0.try_wait().unwrap()).code()
    }
}

#[test]
fn what_is_confirmed_on_a_terminal_is_what_was_shown_there() {
    let daemon = with_trees(Daemon::new().local("local")).start();
    daemon.flush("");
    lose(&daemon, "a", 11);
    let (asked, shown) = Asked::new(&daemon, "site@local");
    assert!(
        shown.contains("11  top/a") && shown.contains("Approve 11 deletions (site:1)?"),
        "{shown}"
    );
    assert_eq!(asked.answer("n\n"), Some(1));
    assert!(daemon.path("local/top/a/9").exists());
    let (asked, _) = Asked::new(&daemon, "site@local");
    lose(&daemon, "b", 22);
    assert_eq!(asked.answer("y\n"), Some(0));
    wait_until_gone(&daemon.path("local/top/a"));
    wait_for_held(&daemon, "local", 11);
    assert!(daemon.path("local/top/b/9").exists());
}

#[test]
fn an_approval_outlives_the_daemon_for_a_mirror_that_was_down() {
    let mut server = Rsyncd::start();
    let daemon = Daemon::new().local("local").mirror("web", &server.ron(), "m/site", "");
    let mut daemon = with_trees(daemon).start();
    wait_for_holders(&daemon, &["local", "web"]);
    server.stop();
    lose(&daemon, "a", 11);
    assert_eq!(shown(&daemon)["lists"][0]["id"], "site:1");
    assert_eq!(approve(&daemon, &["site:1"]).0, Some(0));
    wait_until_gone(&daemon.path("local/top/a"));
    // What is lost in the same directory afterwards waits, and so would this.
    lose(&daemon, "b", 11);
    assert_eq!(shown(&daemon)["lists"][0]["id"], "site:2");
    daemon.shut_down();
    daemon.start_again();
    server.start_again();
    wait_until_gone(&server.path("site/top/a"));
    // How much it was is not known any more.
    for host in ["local", "web"] {
        wait_for_held(&daemon, host, 1);
    }
    assert!(server.path("site/top/b/9").exists());
    let (code, _, err) = approve(&daemon, &["site:2"]);
    assert_eq!(code, Some(1), "no list of before the restart is one of now: {err}");
    assert_eq!(shown(&daemon)["lists"][0]["id"], "site:3");
}

#[test]
fn what_each_mirror_holds_beyond_the_source_is_a_list_of_its_own() {
    let mut server = Rsyncd::start();
    let daemon = Daemon::new().local("local").mirror("web", &server.ron(), "m/site", "");
    let daemon = with_trees(daemon);
    let mirrors = [daemon.path("local"), server.path("site")];
    mirrors.iter().for_each(|mirror| fill(&mirror.join("extra")));
    let mut daemon = daemon.start();
    for host in ["local", "web"] {
        wait_for_held(&daemon, host, 11);
    }
    let lists = shown(&daemon)["lists"].clone();
    let lists = lists.as_array().unwrap();
    let ids: Vec<&str> = lists.iter().map(|list| list["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["site@local:1", "site@web:2"]);
    assert!(lists.iter().all(|list| list["entries"] == 11 && list["first"][0]["path"] == "extra"));
    assert_eq!(approve(&daemon, &["site@local:2"]).0, Some(1));
    assert_eq!(approve(&daemon, &["site@local:1"]).0, Some(0));
    daemon.wait_for_state("local", "in-sync");
    assert_same(&daemon.source(), &mirrors[0], "approved");
    assert!(mirrors[1].join("extra/9").exists());
    // The other one is down when it is approved, and there is a restart before it is back.
    server.stop();
    assert_eq!(approve(&daemon, &["site@web:2"]).0, Some(0));
    daemon.shut_down();
    daemon.start_again();
    server.start_again();
    daemon.wait_for_state("web", "in-sync");
    assert_same(&daemon.source(), &mirrors[1], "approved");
}

#[test]
fn hard_case_38_a_run_that_deletes_is_ended_when_more_is_lost_than_may_go() {
    let rsyncd = Rsyncd::start();
    let proxy = Proxy::start(rsyncd.port);
    let daemon = Daemon::new().root_options("max_delete: 5,");
    let daemon = daemon.mirror("web", &rsyncd_ron(proxy.port), "m/site", "");
    fill(&daemon.source().join("top/a"));
    fs::write(daemon.source().join("stays"), "").unwrap();
    let daemon = daemon.start();
    daemon.flush("");
    proxy.slow_down(20_000);
    fs::remove_file(daemon.source().join("top/a/0")).unwrap();
    wait_for("the run", || daemon.log().contains("step: deletions").then_some(()));
    fs::remove_dir_all(daemon.source().join("top/a")).unwrap();
    wait_for("its end", || daemon.log().contains("it deletes nothing more").then_some(()));
    proxy.slow_down(0);
    wait_for_held(&daemon, "web", 11);
    assert_eq!(fs::read_dir(rsyncd.path("site/top/a")).unwrap().count(), 10);
}
