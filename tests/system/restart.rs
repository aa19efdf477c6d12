//! What outlives the daemon: restarts that cost a scan and not a walk of every mirror.

use std::fs;
use std::path::Path;

use crate::support::Daemon;
use crate::support::servers::Rsyncd;
use crate::support::tree::assert_same;

fn in_sync(daemon: &Daemon, host: &str) -> serde_json::Value {
    daemon.wait_for_state(host, "in-sync")
}

fn current(daemon: &Daemon) -> serde_json::Value {
    let text = fs::read(daemon.path("state/checkpoints/site/current.json")).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Waits until these hosts are recorded as holding the snapshot, lacking nothing.
pub fn wait_for_holders(daemon: &Daemon, hosts: &[&str]) {
    crate::support::wait_for("the checkpoint", || {
        let current = current(daemon);
        let holds = |host: &&str| {
            current["mirrors"][host]["lacks"].as_array().is_some_and(|lacks| lacks.is_empty())
        };
        hosts.iter().all(holds).then_some(())
    });
}

/// Rewrites a file with as many bytes, and puts its time back.
pub fn rewrite_unseen(path: &Path, text: &str) {
    let time = fs::metadata(path).unwrap().modified().unwrap();
    assert_eq!(fs::metadata(path).unwrap().len(), text.len() as u64);
    fs::write(path, text).unwrap();
    fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

fn two_mirrors(server: &Rsyncd) -> Daemon {
    filled(Daemon::new().local("local").mirror("web", &server.ron(), "m/site", ""))
}

/// The same, where a receiver that was cut off must be dead after two seconds.
fn two_brief_mirrors(server: &Rsyncd) -> Daemon {
    let daemon = Daemon::new();
    let path = daemon.path("local").display().to_string();
    let local = "Local(limits: Limits(timeout: \"1s\"))";
    let web = server.ron().replace("\"5s\"", "\"1s\"");
    filled(daemon.mirror("local", local, &path, "").mirror("web", &web, "m/site", ""))
}

fn filled(daemon: Daemon) -> Daemon {
    for directory in ["d", "e/f"] {
        fs::create_dir_all(daemon.source().join(directory)).unwrap();
        for number in 0..20 {
            let path = daemon.source().join(directory).join(number.to_string());
            fs::write(path, format!("{number:4}")).unwrap();
        }
    }
    daemon
}

#[test]
fn what_was_pushed_long_ago_is_not_pushed_at_each_start() {
    let mut daemon = Daemon::new().local("local").start();
    daemon.flush("");
    fs::write(daemon.source().join("large"), vec![7; 3 << 20]).unwrap();
    fs::write(daemon.source().join("huge"), vec![7; 17 << 20]).unwrap();
    daemon.flush("");
    // The checkpoint is older than these.
    for _ in 0..2 {
        in_sync(&daemon, "local");
        wait_for_holders(&daemon, &["local"]);
        daemon.shut_down();
        daemon.start_again();
        daemon.flush("");
    }
    let sent = in_sync(&daemon, "local")["bytes_sent"].as_u64().unwrap();
    assert!(sent < 1 << 20, "{sent} bytes were sent\n{}", daemon.log_tail());
    assert_same(&daemon.source(), &daemon.path("local"), "after two starts");
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
    daemon.shut_down();
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
    let mut daemon = two_brief_mirrors(&server).start();
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
        assert_eq!(in_sync(&daemon, host)["walks"], 0, "{}", daemon.log());
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
            fs::write(path, text.replace("\"format\":2", "\"format\":1")).unwrap();
        },
        |directory| fs::write(directory.join("current.json"), "{").unwrap(),
    ];
    for damage in damages {
        wait_for_holders(&daemon, &["local", "web"]);
        daemon.shut_down();
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
    daemon.shut_down();
    assert!(!daemon.path("state/checkpoints/site/current.json").exists());
    daemon.start_again();
    assert_eq!(in_sync(&daemon, "web")["walks"], 1);
}

#[test]
fn hard_case_21_a_change_that_was_scanned_before_it_was_told_is_not_skipped_after_a_crash() {
    let server = Rsyncd::start();
    let mut daemon = two_brief_mirrors(&server).start();
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
    daemon.shut_down();
    daemon.start_again();
    daemon.flush("@local");
    // A second restart: by now the snapshot is one that this mirror has never held whole.
    daemon.shut_down();
    rewrite_unseen(&daemon.source().join("d/3"), "thr!");
    daemon.start_again();
    server.start_again();
    assert_eq!(in_sync(&daemon, "web")["walks"], 0, "{}", daemon.log_tail());
    assert_equal(&daemon, &server);
}

/// Seconds of processor time of a process and of its children that have ended.
fn processor_seconds(id: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: u64 = fields[11..15].iter().map(|field| field.parse::<u64>().unwrap()).sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}

/// `FILES=200000` gives the figures of the README; fewer show that they are figures of a restart.
#[test]
fn a_restart_with_eight_mirrors_costs_less_than_eight_walks() {
    let files = crate::churn::number("FILES").unwrap_or(4000);
    let servers: Vec<Rsyncd> = (0..4).map(|_| Rsyncd::start()).collect();
    let mut daemon = Daemon::new();
    for number in 0..4 {
        daemon = daemon.local(&format!("local{number}"));
    }
    for (number, server) in servers.iter().enumerate() {
        daemon = daemon.mirror(&format!("web{number}"), &server.ron(), "m/site", "");
    }
    for number in 0..files {
        let directory = daemon.source().join((number / 100).to_string());
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(number.to_string()), number.to_string()).unwrap();
    }
    let hosts: Vec<String> =
        (0..4).flat_map(|n| [format!("local{n}"), format!("web{n}")]).collect();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    // The first filling is not what this is about.
    for (number, server) in servers.iter().enumerate() {
        let mirrors = [daemon.path(&format!("local{number}")), server.path("site")];
        for mirror in mirrors {
            let target = mirror.display().to_string();
            crate::support::run("cp", &["-a", ".", &target], &daemon.source());
        }
    }
    daemon = daemon.start();
    hosts.iter().for_each(|host| drop(in_sync(&daemon, host)));
    wait_for_holders(&daemon, &hosts);
    daemon.shut_down();
    fs::write(daemon.source().join("0/0"), "changed").unwrap();
    let of_servers = || servers.iter().map(|s| processor_seconds(s.process_id())).sum::<f64>();

    let (start, before) = (std::time::Instant::now(), of_servers());
    daemon.start_again();
    let status: Vec<serde_json::Value> = hosts.iter().map(|host| in_sync(&daemon, host)).collect();
    let time = start.elapsed();
    let processor = processor_seconds(daemon.process_id()) + of_servers() - before;
    let sent: u64 = status.iter().map(|mirror| mirror["bytes_sent"].as_u64().unwrap()).sum();
    let walks: u64 = status.iter().map(|mirror| mirror["walks"].as_u64().unwrap()).sum();
    assert_eq!(walks, 0, "{}", daemon.log_tail());

    let own = std::process::id();
    let (start, before) = (std::time::Instant::now(), processor_seconds(own) + of_servers());
    let mut bytes = 0;
    for number in 0..8 {
        let target = match number % 2 {
            0 => format!("{}/", daemon.path(&format!("local{}", number / 2)).display()),
            _ => format!("rsync://127.0.0.1:{}/m/site/", servers[number / 2].port),
        };
        let mut walk = std::process::Command::new("rsync");
        walk.args(["-a", "--delete", "--modify-window=-1", "--stats", "./", &target]);
        let output = walk.current_dir(daemon.source()).output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        let line = text.lines().find(|line| line.starts_with("Total bytes sent")).unwrap();
        bytes += line.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0);
    }
    let (walks_time, walks_processor) =
        (start.elapsed(), processor_seconds(own) + of_servers() - before);
    println!(
        "{files} files, eight mirrors, one file changed while down: a restart takes {:.2} s, {processor:.2} s of \
         processor, {sent} bytes sent; eight rsync walks {:.2} s, {walks_processor:.2} s, {bytes} bytes: ratios \
         {:.2}, {:.2}, {:.4}",
        time.as_secs_f64(),
        walks_time.as_secs_f64(),
        time.as_secs_f64() / walks_time.as_secs_f64(),
        processor / walks_processor,
        sent as f64 / f64::from(u32::try_from(bytes).unwrap()),
    );
}
