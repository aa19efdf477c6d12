//! What outlives the daemon: restarts that cost a scan and not a walk of every mirror.

use std::fs;
use std::path::Path;

use rustix::process::Signal;

use crate::support::Daemon;
use crate::support::servers::Rsyncd;
use crate::support::tree::assert_same;

fn in_sync(daemon: &Daemon, host: &str) -> serde_json::Value {
    daemon.wait_for_mirror(host, "in sync", |m| m["state"] == "in-sync")
}

fn current(daemon: &Daemon) -> serde_json::Value {
    let text = fs::read(daemon.path("state/checkpoints/site/current.json")).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Waits until these hosts are recorded as holding the snapshot, lacking nothing.
fn wait_for_holders(daemon: &Daemon, hosts: &[&str]) {
    crate::support::wait_for("the checkpoint", || {
        let current = current(daemon);
        let holds = |host: &&str| {
            current["mirrors"][host]["lacks"].as_array().is_some_and(|lacks| lacks.is_empty())
        };
        hosts.iter().all(holds).then_some(())
    });
}

fn end_well(daemon: &mut Daemon) {
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait(), 0);
}

/// Rewrites a file with as many bytes, and puts its time back.
pub fn rewrite_unseen(path: &Path, text: &str) {
    let time = fs::metadata(path).unwrap().modified().unwrap();
    assert_eq!(fs::metadata(path).unwrap().len(), text.len() as u64);
    fs::write(path, text).unwrap();
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

fn two_mirrors(server: &Rsyncd) -> Daemon {
    let daemon = Daemon::new().local("local").mirror("web", &server.ron(), "m/site", "");
    for directory in ["d", "e/f"] {
        fs::create_dir_all(daemon.source().join(directory)).unwrap();
        for number in 0..20 {
            let path = daemon.source().join(directory).join(number.to_string());
            fs::write(path, format!("{number:4}")).unwrap();
        }
    }
    daemon
}

fn change_while_down(source: &Path) {
    rewrite_unseen(&source.join("d/1"), "new!");
    fs::remove_file(source.join("d/2")).unwrap();
    fs::rename(source.join("e/f"), source.join("e/g")).unwrap();
    fs::create_dir_all(source.join("new/below")).unwrap();
    fs::write(source.join("new/below/file"), "x").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(source.join("d/3"), mode).unwrap();
}

fn assert_equal(daemon: &Daemon, server: &Rsyncd) {
    assert_same(&daemon.source(), &daemon.path("local"), "local");
    assert_same(&daemon.source(), &server.path("site"), "web");
}

#[test]
fn after_a_good_end_a_restart_pushes_what_has_changed_and_walks_nothing() {
    let server = Rsyncd::start();
    let mut daemon = two_mirrors(&server).start();
    wait_for_holders(&daemon, &["local", "web"]);
    fs::write(daemon.source().join("d/0"), "while it ran").unwrap();
    daemon.flush("");
    end_well(&mut daemon);
    change_while_down(&daemon.source());
    daemon.start_again();
    for host in ["local", "web"] {
        assert_eq!(in_sync(&daemon, host)["walks"], 0, "{}", daemon.log_tail());
    }
    assert_equal(&daemon, &server);
}

#[test]
fn after_kill_9_too_and_what_was_handed_out_is_pushed_once_more() {
    let server = Rsyncd::start();
    let local = "Local(limits: Limits(timeout: \"1s\"))";
    let web = server.ron().replace("\"5s\"", "\"1s\"");
    let mut daemon = Daemon::new();
    let path = daemon.path("local").display().to_string();
    daemon = daemon.mirror("local", local, &path, "").mirror("web", &web, "m/site", "").start();
    fs::create_dir_all(daemon.source().join("d")).unwrap();
    fs::create_dir_all(daemon.source().join("e/f")).unwrap();
    for number in 0..5 {
        fs::write(daemon.source().join("d").join(number.to_string()), format!("{number:4}"))
            .unwrap();
    }
    daemon.flush("");
    wait_for_holders(&daemon, &["local", "web"]);
    fs::write(daemon.source().join("gone"), "x").unwrap();
    daemon.flush("");
    daemon.kill();
    // What nobody would miss, had it not been handed out.
    fs::remove_file(daemon.source().join("gone")).unwrap();
    change_while_down(&daemon.source());
    daemon.start_again();
    for host in ["local", "web"] {
        assert_eq!(in_sync(&daemon, host)["walks"], 0, "{}", daemon.log_tail());
    }
    assert_equal(&daemon, &server);
    assert!(!server.path("site/gone").exists());
}

#[test]
fn a_damaged_foreign_or_older_checkpoint_means_walk_and_never_an_error() {
    let server = Rsyncd::start();
    let mut daemon = two_mirrors(&server).start();
    let damages: [fn(&Path); 3] = [
        |directory| fs::write(directory.join("1.snapshot"), "damaged").unwrap(),
        |directory| {
            let path = directory.join("current.json");
            let text = fs::read_to_string(&path).unwrap();
            fs::write(path, text.replace("\"format\":1", "\"format\":0")).unwrap();
        },
        |directory| fs::write(directory.join("current.json"), "{").unwrap(),
    ];
    for damage in damages {
        wait_for_holders(&daemon, &["local", "web"]);
        end_well(&mut daemon);
        damage(&daemon.path("state/checkpoints/site"));
        change_while_down(&daemon.source());
        fs::rename(daemon.source().join("e/g"), daemon.source().join("e/f")).unwrap();
        fs::write(daemon.source().join("d/2"), "back").unwrap();
        fs::write(daemon.source().join("d/1"), "same").unwrap();
        daemon.start_again();
        for host in ["local", "web"] {
            assert_eq!(in_sync(&daemon, host)["walks"], 1, "{}", daemon.log_tail());
        }
        assert_equal(&daemon, &server);
    }
}

#[test]
fn walk_always_compares_everything_at_each_start_and_keeps_nothing() {
    let server = Rsyncd::start();
    let mut daemon = two_mirrors(&server).root_options("walk: Always,").start();
    in_sync(&daemon, "web");
    end_well(&mut daemon);
    assert!(!daemon.path("state/checkpoints/site/current.json").exists());
    daemon.start_again();
    assert_eq!(in_sync(&daemon, "web")["walks"], 1);
}

#[test]
fn hard_case_21_a_change_that_was_scanned_before_it_was_told_is_not_skipped_after_a_crash() {
    let server = Rsyncd::start();
    let mut daemon = two_mirrors(&server).start();
    for round in 0..5 {
        // Restarted in the middle of changes: some are scanned, some told, some both.
        for number in 0..20 {
            let path = daemon.source().join("d").join(number.to_string());
            fs::write(path, format!("{round:2}{number:2}")).unwrap();
            if number == 10 {
                daemon.kill();
                daemon.start_again();
            }
        }
        daemon.flush("");
        assert_equal(&daemon, &server);
    }
}

#[test]
fn a_mirror_that_was_down_goes_on_where_it_was_after_a_restart() {
    let mut server = Rsyncd::start();
    let mut daemon = two_mirrors(&server).start();
    wait_for_holders(&daemon, &["local", "web"]);
    server.stop();
    rewrite_unseen(&daemon.source().join("d/1"), "one!");
    fs::remove_file(daemon.source().join("d/2")).unwrap();
    daemon.flush("@local");
    end_well(&mut daemon);
    daemon.start_again();
    daemon.flush("@local");
    // A second restart: by now the snapshot is one that this mirror has never held whole.
    end_well(&mut daemon);
    rewrite_unseen(&daemon.source().join("d/3"), "thr!");
    daemon.start_again();
    server.start_again();
    assert_eq!(in_sync(&daemon, "web")["walks"], 0, "{}", daemon.log_tail());
    assert_equal(&daemon, &server);
}
