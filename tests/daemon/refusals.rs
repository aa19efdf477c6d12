//! Every command and every route where it can't be: nobody there, no permission, nonsense, a daemon that dies meanwhile.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

use rustix::process::Signal;

use crate::support::{Daemon, NOBODY, binary, is_root, text, wait_for};

/// Each command that asks a daemon.
const COMMANDS: [&[&str]; 14] = [
    &["status"],
    &["status", "--json"],
    &["show", "site@local"],
    &["flush"],
    &["approve", "--all"],
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
        let output = daemon.verb(&[command[0], "site@nobody"]);
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
        freeze(&daemon);
        let asker = Command::new(binary())
            .args(command)
            .arg("--socket")
            .arg(daemon.path("sock"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        wait_for("the command to ask", || asks(asker.id()).then_some(()));
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

/// Whether a process is connected to something.
fn asks(process: u32) -> bool {
    let Ok(open) = fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    let is_socket = |entry: std::io::Result<fs::DirEntry>| {
        entry.is_ok_and(|it| {
            fs::read_link(it.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
        })
    };
    open.into_iter().any(is_socket)
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

fn head(stream: &mut UnixStream) -> String {
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
fn each_route_ends_when_the_daemon_dies_meanwhile() {
    let mut daemon = Daemon::new().local("local").start();
    daemon.flush("");
    let mut streams: Vec<UnixStream> = Vec::new();
    freeze(&daemon);
    for (method, path) in routes() {
        let mut stream = UnixStream::connect(daemon.path("sock")).unwrap();
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        streams.push(stream);
    }
    daemon.kill();
    for mut stream in streams {
        assert_eq!(head(&mut stream), "", "nothing is taken for an answer");
    }
}
