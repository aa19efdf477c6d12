//! Looking on: metrics, health, events and the page, over TCP, where nothing can be done.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::support::servers::{Rsyncd, free_port, untried};
use crate::support::{self, Daemon, wait_for};

/// A daemon that listens, with a mirror that is in sync and one that is down.
fn listening() -> (Daemon, u16) {
    let mut server = Rsyncd::start();
    let port = free_port();
    let daemon = Daemon::new().local("one").mirror("down", &untried(&server.ron()), "m/site", "");
    server.stop();
    daemon.write_config();
    let config = std::fs::read_to_string(daemon.config_path()).unwrap();
    let listen = format!("Control(listen: \"127.0.0.1:{port}\", ");
    std::fs::write(daemon.config_path(), config.replace("Control(", &listen)).unwrap();
    let mut daemon = daemon;
    daemon.start_again();
    daemon.flush("@one");
    // It is watched now, so that this raises events.
    std::fs::write(daemon.source().join("f"), "f").unwrap();
    daemon.flush("@one");
    daemon.wait_for_state("down", "retrying");
    (daemon, port)
}

fn ask(port: u16, request: &str, host: &str) -> (u16, String, String) {
    support::ask(TcpStream::connect(("127.0.0.1", port)).unwrap(), request, host)
}

fn get(port: u16, path: &str) -> (u16, String, String) {
    ask(port, &format!("GET {path}"), &format!("127.0.0.1:{port}"))
}

#[test]
fn metrics_tell_what_the_status_tells() {
    let (daemon, port) = listening();
    let (code, head, body) = get(port, "/metrics");
    assert_eq!(code, 200);
    assert!(head.contains("application/openmetrics-text"), "{head}");
    let value = |line: &str| -> f64 {
        let found = body.lines().find_map(|it| it.strip_prefix(line)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("{line} is not in\n{body}")).parse().unwrap()
    };
    let one = r#"{root="site",host="one""#;
    let down = r#"{root="site",host="down""#;
    assert_eq!(value(&format!("mirrorball_mirror_state{one},state=\"in-sync\"}}")), 1.0);
    assert_eq!(value(&format!("mirrorball_mirror_state{down},state=\"retrying\"}}")), 1.0);
    assert_eq!(value(&format!("mirrorball_mirror_lag_seconds{one}}}")), 0.0);
    assert!(value(&format!("mirrorball_mirror_lag_seconds{down}}}")) > 0.0);
    let runs = "mirrorball_mirror_runs_total";
    assert_eq!(value(&format!("{runs}{one},kind=\"walk\",end=\"done\"}}")), 1.0);
    assert!(value(&format!("{runs}{down},kind=\"walk\",end=\"host-failed\"}}")) >= 1.0);
    let seconds = "mirrorball_mirror_run_seconds";
    let all = format!("{seconds}_bucket{{le=\"+Inf\",root=\"site\",host=\"one\",kind=\"walk\"}}");
    assert_eq!(value(&all), 1.0);
    assert!(value("mirrorball_root_events_total{root=\"site\"}") >= 1.0);
    assert!(value("mirrorball_watch_limit") > 0.0);
    assert_eq!(value("mirrorball_config_refused"), 0.0);
    assert!(body.ends_with("# EOF\n"));
    let names = body.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let documented = std::fs::read_to_string("docs/metrics.md").unwrap();
    for name in names.map(|line| line.split(' ').next().unwrap()) {
        assert!(documented.contains(name), "{name} is not in docs/metrics.md");
    }
    drop(daemon);
}

#[test]
fn alerts_and_panels_speak_of_metrics_that_there_are() {
    let (_daemon, port) = listening();
    let (_, _, body) = get(port, "/metrics");
    for file in ["contrib/prometheus/alerts.yml", "contrib/grafana/mirrorball.json"] {
        let text = std::fs::read_to_string(file).unwrap();
        let names = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let names = names.filter(|word| word.starts_with("mirrorball_"));
        let mut count = 0;
        for name in names {
            assert!(body.contains(&format!("\n{name}")), "{name} of {file} is not a metric");
            count += 1;
        }
        assert!(count > 5, "{file}");
    }
    let dashboard = std::fs::read("contrib/grafana/mirrorball.json").unwrap();
    let dashboard: Value = serde_json::from_slice(&dashboard).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 5);
}

#[test]
fn health_is_that_every_actor_answers_and_readiness_that_every_root_is_watched() {
    let (daemon, port) = listening();
    assert_eq!(get(port, "/healthz").0, 200);
    assert_eq!(get(port, "/readyz").0, 200);
    std::fs::rename(daemon.source(), daemon.path("away")).unwrap();
    daemon.wait_for_state("one", "halted");
    let (code, _, body) = get(port, "/readyz");
    assert_eq!((code, body.contains("site is halted")), (503, true), "{body}");
    assert_eq!(get(port, "/healthz").0, 200, "the daemon itself is well");
}

#[test]
fn events_tell_the_whole_and_then_what_differs() {
    let (daemon, port) = listening();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let request = "GET /events HTTP/1.1\r\nhost: localhost\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut next = || -> Value {
        let data = lines
            .by_ref()
            .map(Result::unwrap)
            .find_map(|line| line.strip_prefix("data: ").map(String::from));
        serde_json::from_str(&data.expect("an event")).unwrap()
    };
    let first = next();
    assert_eq!(
        (first["whole"].as_bool(), first["changed"].as_array().unwrap().len()),
        (Some(true), 2)
    );
    assert_eq!(first["roots"][0]["id"], "site");
    assert!(daemon.verb(&["pause", "@one"]).status.success());
    wait_for("the paused mirror", || {
        let event = next();
        assert_eq!(event["whole"], false);
        let changed = event["changed"].as_array().unwrap();
        changed.iter().any(|it| it["host"] == "one" && it["state"] == "paused").then_some(())
    });
}

#[test]
fn over_tcp_nothing_can_be_done_and_no_page_from_elsewhere_may_read() {
    let (_daemon, port) = listening();
    for path in ["/approvals", "/approve", "/flush", "/pause", "/reload", "/stop", "/walk"] {
        let (code, ..) = ask(port, &format!("POST {path}"), "localhost");
        assert_eq!(code, 404, "{path}");
    }
    let (code, ..) = ask(port, "GET /status", "evil.example.org");
    assert_eq!(code, 403, "a page whose name was made to lead here");
    for said in ["x-forwarded-host: localhost", "forwarded: host=localhost"] {
        let (code, ..) = ask(port, "GET /status", &format!("evil.example.org\r\n{said}"));
        assert_eq!(code, 403, "{said}, as that page may say");
    }
    let (code, head, body) = get(port, "/");
    assert_eq!(code, 200);
    assert!(head.contains("content-security-policy: default-src 'none'"), "{head}");
    assert!(
        !body.contains("http://") && !body.contains("https://"),
        "nothing is loaded from elsewhere"
    );
}
