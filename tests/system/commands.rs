//! The verbs, as a user types them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::servers::{Fake, Rsyncd, Sshd};
use crate::support::tree::assert_same;
use crate::support::{Daemon, Owned, binary, text, wait_for};

#[test]
fn one_pass_makes_targets_equal_and_its_code_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (source, server) = (dir.path().join("s"), Rsyncd::start());
    fs::create_dir_all(source.join("a/b")).unwrap();
    fs::write(source.join("a/b/c"), "c").unwrap();
    fs::write(source.join("skip.tmp"), "t").unwrap();
    // What is there is no reason to fail.
    fs::create_dir(dir.path().join("local")).unwrap();
    fs::write(dir.path().join("local/theirs"), "x").unwrap();
    let url = format!("rsync://127.0.0.1:{}/m/x", server.port);
    let run = |targets: &[&str]| {
        let mut command = Command::new(binary());
        command.current_dir(dir.path()).args(["mirror", "s"]).args(targets);
        command.args(["--once", "--exclude", "*.tmp"]).output().unwrap()
    };
    let output = run(&["local", &url]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("2 of 2 in sync"));
    assert!(!dir.path().join("local/theirs").exists());
    fs::remove_file(source.join("skip.tmp")).unwrap();
    // The directory's time is not what is meant here.
    assert_eq!(run(&["local"]).status.code(), Some(0));
    assert_same(&source, &dir.path().join("local"), "one pass");
    assert!(server.path("x/a/b/c").exists() && !server.path("x/skip.tmp").exists());
    assert_eq!(run(&["local", "rsync://127.0.0.1:1/m"]).status.code(), Some(1));
}

#[test]
fn one_pass_over_ssh() {
    let (dir, sshd) = (tempfile::tempdir().unwrap(), Sshd::start());
    fs::create_dir(dir.path().join("s")).unwrap();
    fs::write(dir.path().join("s/f"), "f").unwrap();
    let target = dir.path().join("t");
    let output = Command::new(binary())
        .current_dir(dir.path())
        .args(["mirror", "s", "--once", "-p", &sshd.port.to_string(), "-i"])
        .arg(sshd.dir.path().join("user_key"))
        .arg("--known-hosts")
        .arg(sshd.dir.path().join("known_hosts"))
        .arg(format!("127.0.0.1:{}", target.display()))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    assert_same(&dir.path().join("s"), &target, "over ssh");
}

#[test]
fn wrong_command_lines_and_absent_daemons_have_codes() {
    let code = |arguments: &[&str]| {
        let output = Command::new(binary()).args(arguments).output().unwrap();
        (output.status.code().unwrap(), text(&output.stderr))
    };
    assert_eq!(code(&["frobnicate"]).0, 64);
    assert_eq!(code(&["mirror", "/nonexistent", "/tmp/x"]).0, 64);
    assert_eq!(code(&["--help"]).0, 0);
    let (absent, message) = code(&["status", "--socket", "/nonexistent/sock"]);
    assert_eq!(absent, 69);
    assert!(message.contains("is it running?"), "{message}");
    assert_eq!(code(&["check", "--config", "/nonexistent.ron"]).0, 78);
}

#[test]
fn the_socket_is_the_owners_alone_and_one_daemon_has_it() {
    let daemon = Daemon::new().local("local").start();
    let mode = fs::metadata(daemon.path("sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let second = Command::new(binary())
        .args(["run", "--config"])
        .arg(daemon.config_path())
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(69), "{}", text(&second.stderr));
    daemon.flush("");
}

#[test]
fn a_taken_address_is_told_and_nothing_else() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let daemon = Daemon::new().local("local");
    daemon.write_config();
    let config = fs::read_to_string(daemon.config_path()).unwrap();
    let listen = format!("listen: \"{}\", socket:", taken.local_addr().unwrap());
    fs::write(daemon.config_path(), config.replacen("socket:", &listen, 1)).unwrap();
    let mut command = Command::new(binary());
    let output = command.arg("run").arg("--config").arg(daemon.config_path()).output().unwrap();
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains("Cannot listen at"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn stop_returns_when_the_daemon_has_ended() {
    let mut daemon = Daemon::new().local("local").start();
    daemon.flush("");
    assert!(daemon.verb(&["stop"]).status.success());
    assert_eq!(daemon.wait(), 0);
}

#[test]
fn flush_refuses_what_it_does_not_know() {
    let daemon = Daemon::new().local("local").start();
    let output = daemon.verb(&["flush", "@nobody"]);
    assert_eq!(output.status.code(), Some(64));
    assert!(text(&output.stderr).contains("@nobody"));
}

#[test]
fn hard_case_28_names_of_any_bytes_come_through_status_and_back() {
    use std::os::unix::ffi::OsStrExt;
    let name = b"bad\xff\\ \n\"name";
    let name = std::path::Path::new(std::ffi::OsStr::from_bytes(name));
    let daemon = Daemon::new().root_options("filters: [Exclude(\"*.keep\")],").local("local");
    fs::create_dir(daemon.source().join(name)).unwrap();
    let daemon = daemon.start();
    daemon.flush("");
    // What is excluded keeps the directory on the mirror, so the file can't take its place.
    fs::write(daemon.path("local").join(name).join("theirs.keep"), "x").unwrap();
    fs::remove_dir(daemon.source().join(name)).unwrap();
    fs::write(daemon.source().join(name), "now a file").unwrap();
    let status = daemon.wait_for_mirror("local", "a stuck path", |m| {
        m["stuck"].as_array().is_some_and(|stuck| !stuck.is_empty())
    });
    let shown = status["stuck"][0]["path"].as_str().unwrap();
    assert_eq!(shown, r#"bad\xFF\\ \n"name"#);
    let back = mirrorball_core::data::name::unescape(shown);
    assert_eq!(back, name.as_os_str().as_bytes());
}

#[test]
fn of_the_rules_on_a_command_line_the_first_that_matches_decides() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    fs::create_dir(&source).unwrap();
    for name in ["keep.new", "other.new", "plain"] {
        fs::write(source.join(name), name).unwrap();
    }
    let include = ["--include", "keep.new"];
    let exclude = ["--exclude", "*.new"];
    for (rules, kept) in [([include, exclude].concat(), true), ([exclude, include].concat(), false)]
    {
        let target = dir.path().join(format!("target-{kept}"));
        let mut pass = Command::new(binary());
        pass.args(["mirror", "--once"]).args(rules).arg(&source).arg(&target);
        assert!(pass.output().unwrap().status.success());
        assert_eq!(target.join("keep.new").exists(), kept);
        assert!(!target.join("other.new").exists() && target.join("plain").exists());
    }
}

/// A directory with so many files.
fn filled(path: &Path, files: usize) {
    fs::create_dir(path).unwrap();
    (0..files).for_each(|file| fs::write(path.join(format!("f{file}")), "x").unwrap());
}

#[test]
fn a_pass_into_the_wrong_directory_deletes_nothing_and_fails() {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    filled(&source, 10);
    fs::write(source.join("new"), "new").unwrap();
    filled(&target, 1_200);
    let files = || fs::read_dir(&target).unwrap().count();
    let pass = |options: &[&str]| {
        let mut pass = Command::new(binary());
        pass.args(["mirror", "--once"]).args(options).arg(&source).arg(&target).output().unwrap()
    };
    let held = pass(&[]);
    let said = text(&held.stderr);
    assert_eq!(held.status.code(), Some(1), "{said}");
    assert_eq!(files(), 1_201, "what is new is there, and all that was there too");
    assert!(said.contains("1190 deletions") && said.contains("--max-delete 1190"), "{said}");
    assert!(text(&held.stdout).contains("1190 deletions held"), "{}", text(&held.stdout));
    assert_eq!(pass(&["--max-delete", "1189"]).status.code(), Some(1));
    assert_eq!(files(), 1_201);
    let made = pass(&["--max-delete", "1190"]);
    assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
    assert_same(&source, &target, "what was intended");
}

#[test]
fn a_pass_from_an_emptied_source_deletes_nothing_and_fails() {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    filled(&source, 0);
    filled(&target, 3);
    let mut pass = Command::new(binary());
    pass.args(["mirror", "--once", "--max-delete", "100"]).arg(&source).arg(&target);
    let output = pass.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    assert!(text(&output.stderr).contains("is empty"), "{}", text(&output.stderr));
    assert_eq!(fs::read_dir(&target).unwrap().count(), 3);
    let new = dir.path().join("new");
    let mut pass = Command::new(binary());
    pass.args(["mirror", "--once"]).arg(&source).arg(&new);
    assert!(pass.output().unwrap().status.success(), "an empty source can have a mirror");
}

#[test]
fn a_pass_that_was_interrupted_is_no_success() {
    let fake = Fake::hanging();
    let dir = tempfile::tempdir().unwrap();
    let mut pass = Command::new(binary());
    pass.args(["mirror", "--once"]).arg(dir.path());
    let target = format!("rsync://127.0.0.1:{}/m", fake.port);
    let child = pass.arg(target).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut child = Owned(child);
    wait_for("a connection", || fake.was_connected().then_some(()));
    let id = rustix::process::Pid::from_raw(child.0.id().cast_signed()).unwrap();
    // The second one does not wait for what runs.
    rustix::process::kill_process(id, Signal::INT).unwrap();
    let status = wait_for("its end", || {
        let _ = rustix::process::kill_process(id, Signal::INT);
        child.0.try_wait().unwrap()
    });
    assert_eq!(status.code(), Some(1));
}

#[test]
fn a_source_that_is_not_there_yet_is_a_fault_to_check_and_waited_for_by_the_daemon() {
    let daemon = Daemon::new().local("local");
    fs::rename(daemon.source(), daemon.path("away")).unwrap();
    fs::write(daemon.path("away/f"), "f").unwrap();
    daemon.write_config();
    let check = Command::new(binary())
        .args(["check", "--config"])
        .arg(daemon.config_path())
        .output()
        .unwrap();
    assert_eq!(check.status.code(), Some(78), "{}", text(&check.stderr));
    let daemon = daemon.start();
    let status = daemon.wait_for_state("local", "halted");
    assert_eq!(status["epoch"], 0);
    fs::rename(daemon.path("away"), daemon.source()).unwrap();
    daemon.wait_for_state("local", "in-sync");
    assert_same(&daemon.source(), &daemon.path("local"), "it came");
}

#[test]
fn the_log_can_be_a_file_of_json() {
    let daemon = Daemon::new().local("local");
    daemon.write_config();
    let config = fs::read_to_string(daemon.config_path()).unwrap();
    let file = daemon.path("daemon.log");
    let log = format!("log: Log(level: Debug, format: Json, file: {file:?})");
    let config = config.replace("log: Log(level: Debug)", &log);
    assert!(config.contains("format: Json"), "{config}");
    fs::write(daemon.config_path(), config).unwrap();
    let mut daemon = daemon;
    daemon.start_again();
    daemon.flush("");
    daemon.signal(Signal::INT);
    assert_eq!(daemon.wait(), 0, "ended in good order");
    let log = fs::read_to_string(file).unwrap();
    let lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let handing = lines.iter().find(|line| line["msg"] == "Handing out").expect("a batch");
    assert_eq!((&handing["root"], &handing["mirror"]), (&"site".into(), &"site@local".into()));
}

#[test]
fn a_log_that_journald_reads_has_levels_and_no_times() {
    use std::os::linux::fs::MetadataExt;
    let mut daemon = Daemon::new().local("local");
    fs::write(daemon.path("log"), "").unwrap();
    let log = fs::metadata(daemon.path("log")).unwrap();
    let stream = format!("{}:{}", log.st_dev(), log.st_ino());
    daemon = daemon.environment("JOURNAL_STREAM", &stream).start();
    daemon.flush("");
    daemon.verb(&["stop"]);
    daemon.wait();
    let log = daemon.log();
    assert!(log.starts_with("<6>mirrorball "), "{log}");
    assert!(log.contains("\n<7>Running rsync, "), "{log}");
}

#[test]
fn show_names_all_that_fails_and_what_was_run_lately() {
    let daemon = Daemon::new().local("local").start();
    daemon.flush("");
    // Files that can't take their names' places.
    for number in 0..25 {
        let theirs = daemon.path(&format!("local/f{number}"));
        fs::create_dir(&theirs).unwrap();
        fs::write(theirs.join("x"), "x").unwrap();
        fs::write(daemon.source().join(format!("f{number}")), "f").unwrap();
    }
    daemon.wait_for_mirror("local", "all of them", |mirror| mirror["stuck_total"] == 25);
    let shown = daemon.verb(&["show", "site@local", "--json"]);
    let shown: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["stuck"].as_array().unwrap().len(), 25);
    assert_eq!(shown["mirror"]["stuck"].as_array().unwrap().len(), 20, "a status has some");
    let recent = shown["recent"].as_array().unwrap();
    assert_eq!((&recent[0]["kind"], &recent[0]["end"]), (&"push".into(), &"partly".into()));
    assert!(recent.iter().any(|run| run["kind"] == "walk" && run["end"] == "done"), "{recent:#?}");
    let shown = text(&daemon.verb(&["show", "site@local"]).stdout);
    assert!(shown.contains("f24: could not make way"), "{shown}");
    assert!(shown.contains("push, partly, "), "{shown}");
}

#[test]
fn verify_names_what_differs_and_changes_nothing() {
    let server = Rsyncd::start();
    let daemon = Daemon::new().root_options("filters: [Exclude(\"*.keep\")],").local("local");
    let daemon = daemon.mirror("web", &server.ron(), "m/site", "");
    for name in ["same", "content", "gone\n", "mode"] {
        fs::write(daemon.source().join(name), "as it is").unwrap();
    }
    let daemon = daemon.start();
    daemon.flush("");
    let verify = |arguments: &[&str]| daemon.verb(&[&["verify"], arguments].concat());
    let equal = verify(&[]);
    assert_eq!(equal.status.code(), Some(0), "{}", text(&equal.stderr));
    assert_eq!(text(&equal.stdout), "site@local: equal\nsite@web: equal\n");
    // Somebody else works on a mirror: of the same size and time, too much, too little, excluded.
    let mirror = server.path("site");
    let modified = fs::metadata(mirror.join("content")).unwrap().modified().unwrap();
    fs::write(mirror.join("content"), "as it IS").unwrap();
    let file = fs::File::options().write(true).open(mirror.join("content")).unwrap();
    file.set_modified(modified).unwrap();
    fs::remove_file(mirror.join("gone\n")).unwrap();
    fs::write(mirror.join("stray"), "s").unwrap();
    fs::write(mirror.join("theirs.keep"), "t").unwrap();
    let different = verify(&["@web", "--json"]);
    assert_eq!(different.status.code(), Some(1));
    let found: serde_json::Value = serde_json::from_slice(&different.stdout).unwrap();
    let lines: Vec<&str> = found[0]["differences"]["first"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line.as_str().unwrap())
        .filter(|line| !line.ends_with(" ./"))
        .collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    for (kind, name) in [("<fc", " content"), ("<f+", r" gone\n"), ("*deleting", " stray")] {
        let told = |line: &&str| line.starts_with(kind) && line.ends_with(name);
        assert!(lines.iter().any(told), "{kind}{name}: {lines:?}");
    }
    assert_eq!(fs::read(mirror.join("content")).unwrap(), b"as it IS");
    assert!(mirror.join("stray").exists());
    assert_eq!(verify(&["@local"]).status.code(), Some(0));
}

#[test]
fn an_old_rsync_is_warned_about_once_and_used() {
    let daemon = Daemon::new();
    let program = daemon.path("old-rsync");
    let script = "#!/bin/sh\nif [ \"$1\" = --version ]; then\n  echo 'rsync  version 3.2.7  protocol \
                  version 31'\nelse\n  exec rsync \"$@\"\nfi\n";
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let host = format!("Local(rsync: Rsync(program: {program:?}))");
    let [one, other] = ["local", "other"].map(|name| daemon.path(name).display().to_string());
    let daemon = daemon.mirror("local", &host, &one, "").mirror("other", &host, &other, "");
    fs::write(daemon.source().join("f"), "f").unwrap();
    let daemon = daemon.start();
    daemon.flush("");
    assert_same(&daemon.source(), &daemon.path("local"), "by the old one");
    let warned = wait_for("a warning", || {
        let count = daemon.log().matches("security holes").count();
        (count > 0).then_some(count)
    });
    assert_eq!(warned, 1);
}
