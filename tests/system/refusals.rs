//! Every command and every route where it can't be: nobody there, no permission, nonsense, a daemon that dies meanwhile.

use std::fs::{self, Permissions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

use rustix::process::Signal;

use crate::support::{Daemon, NOBODY, PATIENCE, binary, is_root, text, wait_for};

/// Each command that asks a daemon.
const COMMANDS: [&[&str]; 15] = [
    &["status"],
    &["status", "--json"],
    &["show", "site@local"],
    &["flush"],
    &["approve", "--list"],
    &["approve", "--all", "--yes"],
    &["pause", "--all"],
    &["resume", "--all"],
    &["walk", "--all"],
    &["verify"],
    &["plan"],
    &["explain", "/"],
    &["reload"],
    &["reload", "--dry-run"],
    &["stop"],
];

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

#[test]
fn without_a_daemon_each_command_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("sock");
    for command in COMMANDS {
        let output = Command::new(binary()).args(command).arg("--socket").arg(&socket).output();
        let output = output.unwrap();
        assert_eq!(code(&output), 69, "{command:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains("is it running?"), "{command:?}");
    }
}

#[test]
fn what_a_command_does_not_know_is_refused_and_nothing_is_done() {
    let daemon = Daemon::new().local("local").start();
    daemon.flush("");
    let takes_selectors = |command: &&&[&str]| {
        !matches!(command[0], "show" | "explain" | "reload" | "stop")
            && !command.contains(&"--json")
    };
    for command in COMMANDS.iter().filter(takes_selectors) {
        let options = command.iter().copied().filter(|it| matches!(*it, "--yes" | "--list"));
        let command: Vec<&str> = [command[0], "site@nobody"].into_iter().chain(options).collect();
        let output = daemon.verb(&command);
        assert_eq!(code(&output), 64, "{command:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains("site@nobody"), "{command:?}");
    }
    for command in COMMANDS {
        let output = daemon.verb(&[command, &["--frobnicate"]].concat());
        assert_eq!(code(&output), 64, "{command:?}");
    }
    for wrong in
        [["flush", "--quorum", "1.5"], ["flush", "--timeout", "soon"], ["status", "--max-lag", "x"]]
    {
        assert_eq!(code(&daemon.verb(&wrong)), 64, "{wrong:?}");
    }
    assert_eq!(code(&daemon.verb(&["explain", "/nowhere"])), 64);
    assert_eq!(code(&daemon.verb(&["show", "site@nobody"])), 64);
    assert_eq!(daemon.mirror_status("local")["state"], "in-sync");
}

#[test]
fn who_may_not_use_the_socket_is_told_who_may() {
    if !is_root() {
        return println!("not tested: becoming another user needs root");
    }
    let daemon = Daemon::new().local("local").start();
    daemon.flush("");
    fs::set_permissions(daemon.dir.path(), Permissions::from_mode(0o755)).unwrap();
    let by_nobody = |command: &[&str]| {
        let mut it = Command::new(binary());
        it.args(command).arg("--socket").arg(daemon.path("sock")).uid(NOBODY).gid(NOBODY);
        it.output().unwrap()
    };
    // By its mode, and where somebody has widened that, by who asks.
    for mode in [0o600, 0o666] {
        fs::set_permissions(daemon.path("sock"), Permissions::from_mode(mode)).unwrap();
        for command in COMMANDS {
            let output = by_nobody(command);
            assert_eq!(code(&output), 69, "{command:?}: {}", text(&output.stderr));
            assert!(text(&output.stderr).contains("`control.group`"), "{command:?}");
        }
    }
    assert_eq!(daemon.mirror_status("local")["state"], "in-sync");
}

#[test]
fn a_group_may_use_the_socket_where_the_configuration_says_so() {
    if !is_root() {
        return println!("not tested: becoming another user needs root");
    }
    let mut daemon = Daemon::new().local("local");
    daemon.write_config();
    let config = fs::read_to_string(daemon.config_path()).unwrap();
    let group = format!("group: \"{NOBODY}\", socket:");
    fs::write(daemon.config_path(), config.replacen("socket:", &group, 1)).unwrap();
    daemon.start_again();
    fs::set_permissions(daemon.dir.path(), Permissions::from_mode(0o755)).unwrap();
    wait_for("its mode", || {
        let mode = fs::metadata(daemon.path("sock")).unwrap().permissions().mode() & 0o777;
        (mode == 0o660).then_some(())
    });
    for (group, expected) in [(NOBODY, 0), (NOBODY - 1, 69)] {
        let mut it = Command::new(binary());
        it.arg("flush").arg("--socket").arg(daemon.path("sock")).uid(NOBODY).gid(group);
        let output = it.output().unwrap();
        assert_eq!(code(&output), expected, "{}", text(&output.stderr));
    }
    let unknown = config.replacen("socket:", "group: \"no-such-group\", socket:", 1);
    fs::write(daemon.config_path(), unknown).unwrap();
    let output = Command::new(binary()).arg("check").arg(daemon.config_path()).output().unwrap();
    assert_eq!(code(&output), 78);
    assert!(text(&output.stderr).contains("There is no group \"no-such-group\""));
}

#[test]
fn each_command_ends_when_the_daemon_dies_meanwhile() {
    for command in COMMANDS {
        let mut daemon = Daemon::new().local("local").start();
        daemon.flush("");
        wait_for("nobody to ask", || (!is_asked(&daemon.path("sock"))).then_some(()));
        freeze(&daemon);
        let asker = Command::new(binary())
            .args(command)
            .arg("--socket")
            .arg(daemon.path("sock"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        wait_for("the command to ask", || is_asked(&daemon.path("sock")).then_some(()));
        daemon.kill();
        let output = asker.wait_with_output().unwrap();
        assert_eq!(code(&output), 69, "{command:?}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains("Cannot reach mirrorball"), "{command:?}");
    }
}

/// It takes no notice any more, but the kernel takes connections for it.
fn freeze(daemon: &Daemon) {
    daemon.signal(Signal::STOP);
    let is_frozen = |thread: std::io::Result<fs::DirEntry>| {
        let stat = fs::read_to_string(thread.unwrap().path().join("stat")).unwrap_or_default();
        // One that has ended is still, too.
        stat.is_empty() || stat.contains(") T ")
    };
    let threads = format!("/proc/{}/task", daemon.process_id());
    wait_for("all threads to stop", || {
        fs::read_dir(&threads).unwrap().all(is_frozen).then_some(())
    });
}

/// Whether somebody is connected to this socket, or waits to be.
fn is_asked(socket: &std::path::Path) -> bool {
    let sockets = fs::read_to_string("/proc/net/unix").unwrap();
    let name = socket.display().to_string();
    // One listens.
    sockets.lines().filter(|line| line.ends_with(&name)).count() > 1
}

/// Every route with its method, as documented.
fn routes() -> Vec<(String, String)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    let document: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let paths = document["paths"].as_object().unwrap().iter();
    let methods = |(path, item): (&String, &serde_json::Value)| {
        let methods: Vec<String> = item.as_object().unwrap().keys().cloned().collect();
        methods.into_iter().map(|method| (method.to_uppercase(), path.clone())).collect::<Vec<_>>()
    };
    paths.flat_map(methods).collect()
}

/// What is answered to this body, up to its head's end; nothing where the connection ends before.
fn asked(stream: &mut UnixStream, method: &str, path: &str, body: &str) -> String {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len(),
    );
    stream.write_all(request.as_bytes()).unwrap();
    head(stream)
}

fn head(stream: &mut (impl Read + ?Sized)) -> String {
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        answer.push(byte[0]);
    }
    text(&answer)
}

#[test]
fn each_route_refuses_nonsense_and_another_method() {
    let daemon = Daemon::new().local("local").start();
    daemon.flush("");
    let ask = |method: &str, path: &str, body: &str| {
        let mut stream = UnixStream::connect(daemon.path("sock")).unwrap();
        let head = asked(&mut stream, method, path, body);
        let says_why = head.contains("\ncontent-type: application/json\r");
        assert!(!head.starts_with("HTTP/1.1 400") || says_why, "{method} {path}: {head}");
        head.split(' ').nth(1).unwrap_or_default().parse::<u16>().unwrap()
    };
    let routes = routes();
    assert!(routes.len() >= 16, "{routes:?}");
    for (method, path) in &routes {
        if method == "POST" && path != "/stop" {
            for body in ["{", "[]", "{\"selectors\": 7, \"path\": 7, \"dry\": 7}"] {
                assert_eq!(ask(method, path, body), 400, "{path} {body}");
            }
        }
        assert_eq!(ask("DELETE", path, "") / 100, 4, "{path}");
    }
    assert_eq!(ask("GET", "/status?since=soon", ""), 400);
    assert_eq!(ask("GET", "/nothing", ""), 404);
    assert_eq!(daemon.mirror_status("local")["state"], "in-sync");
}

#[test]
fn what_waits_for_an_answer_ends_when_the_daemon_dies_meanwhile() {
    let mut daemon =
        Daemon::new().mirror("down", "Rsyncd(address: \"127.0.0.1\", port: 1)", "m/x", "");
    daemon.write_config();
    daemon.start_again();
    daemon.wait_for_state("down", "retrying");
    let flush = "{\"selectors\": [], \"timeout_ms\": 600000}";
    let waiting = [("POST", "/flush", flush), ("GET", "/events", "")].map(|(method, path, body)| {
        let mut stream = UnixStream::connect(daemon.path("sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len(),
        );
        stream.write_all(request.as_bytes()).unwrap();
        stream
    });
    assert!(head(&mut &waiting[1]).starts_with("HTTP/1.1 200"), "events come");
    daemon.kill();
    for mut stream in waiting {
        let mut rest = Vec::new();
        let end = stream.read_to_end(&mut rest);
        let is_over = end.map_or_else(|error| error.kind() == ErrorKind::ConnectionReset, |_| true);
        assert!(is_over, "it still waits");
        assert!(!text(&rest).contains("\"done\""), "nobody knows that it is there");
    }
}
