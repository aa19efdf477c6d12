//! The page, in a real browser, where there is one: `make test-page` installs it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::servers::{Rsyncd, free_port};
use crate::support::{Daemon, Owned, wait_for};

/// A browser without a window, spoken to by the WebDriver protocol.
struct Browser {
    port: u16,
    session: String,
    _driver: Owned,
}

impl Browser {
    /// None where there is no chromedriver.
    fn start() -> Option<Self> {
        let port = free_port();
        let mut driver = Command::new("chromedriver");
        driver.arg(format!("--port={port}")).stdout(Stdio::null()).stderr(Stdio::null());
        let driver = Owned(driver.spawn().ok()?);
        wait_for("the driver", || TcpStream::connect(("127.0.0.1", port)).ok());
        let mut browser = Self { port, session: String::new(), _driver: driver };
        // Where tests run as root, Chromium's own sandbox does not start.
        let arguments =
            ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1100,700"];
        let options = json!({ "alwaysMatch": { "goog:chromeOptions": { "args": arguments } } });
        let made = browser.ask("POST", "/session", &json!({ "capabilities": options }));
        let session = made["sessionId"].as_str();
        browser.session = session.unwrap_or_else(|| panic!("{made:#}")).to_string();
        Some(browser)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let body = if method == "GET" { String::new() } else { body.to_string() };
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close");
        let text = format!(
            "{head}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(text.as_bytes()).unwrap();
        // It keeps the connection open.
        let mut reader = BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(number) = line.strip_prefix("content-length:") {
                length = number.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let answer: Value = serde_json::from_slice(&body).unwrap();
        answer["value"].clone()
    }

    fn open(&self, url: &str) {
        self.ask("POST", &format!("/session/{}/url", self.session), &json!({ "url": url }));
    }

    /// What this expression is on the page.
    fn see(&self, expression: &str) -> Value {
        let script = json!({ "script": format!("return {expression}"), "args": [] });
        self.ask("POST", &format!("/session/{}/execute/sync", self.session), &script)
    }

    fn row(&self, mirror: &str) -> String {
        let find = "[...document.querySelectorAll('#rows tr')]";
        let row = format!("{find}.find((row) => row.cells[0].textContent === {mirror:?})");
        self.see(&format!("{row}?.innerText ?? ''")).as_str().unwrap_or_default().to_string()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.ask("DELETE", &format!("/session/{}", self.session), &json!({}));
    }
}

#[test]
fn the_page_shows_a_host_that_goes_and_comes_back_and_deletions_that_are_held_and_approved() {
    let Some(browser) = Browser::start() else {
        return println!("not tested: no chromedriver");
    };
    let mut server = Rsyncd::start();
    let port = free_port();
    let web = server.ron().replacen('(', "(warm: \"0s\", ", 1);
    let daemon =
        Daemon::new().root_options("max_delete: 2,").local("one").mirror("web", &web, "m/site", "");
    daemon.write_config();
    let config = std::fs::read_to_string(daemon.config_path()).unwrap();
    let listen = format!("Control(listen: \"127.0.0.1:{port}\", ");
    std::fs::write(daemon.config_path(), config.replace("Control(", &listen)).unwrap();
    let mut daemon = daemon;
    for number in 0..9 {
        std::fs::write(daemon.source().join(format!("f{number}")), "f").unwrap();
    }
    daemon.start_again();
    daemon.flush("");
    browser.open(&format!("http://127.0.0.1:{port}/"));
    let text = |id: &str| {
        let seen = browser.see(&format!("document.getElementById({id:?}).textContent"));
        seen.as_str().unwrap_or_default().to_string()
    };
    let sees = |what: &str, fact: &dyn Fn() -> bool| wait_for(what, || fact().then_some(()));
    sees("all in sync", &|| text("summary") == "2 of 2 in sync" && text("link") == "live");
    // The mirror's name is text, whatever it is.
    assert_eq!(browser.see("document.querySelectorAll('script').length"), 1);

    server.stop();
    std::fs::write(daemon.source().join("f0"), "changed").unwrap();
    sees("the host that is down", &|| {
        let row = browser.row("site@web");
        row.contains("retrying") && row.contains("onnect") && text("summary").contains("worst")
    });
    let first = browser.see("document.querySelector('#rows tr').cells[0].textContent");
    assert_eq!(first, "site@web", "what needs attention is first");
    server.start_again();
    sees("the host that is back", &|| text("summary") == "2 of 2 in sync");

    for number in 0..9 {
        std::fs::remove_file(daemon.source().join(format!("f{number}"))).unwrap();
    }
    std::fs::write(daemon.source().join("left"), "l").unwrap();
    sees("held deletions", &|| {
        let row = browser.row("site@one");
        row.contains("halted") && row.contains("deletions held: mirrorball approve --list site@one")
    });
    let typed = "(() => { const input = document.getElementById('filter'); input.value = 'site@o'; \
                 input.dispatchEvent(new Event('input')); return document.querySelectorAll('#rows tr').length })()";
    assert_eq!(browser.see(typed), 1, "the filter");
    assert!(daemon.verb(&["approve", "--all", "--yes"]).status.success());
    sees("approval", &|| text("summary") == "2 of 2 in sync");

    daemon.kill();
    sees("the daemon's end", &|| text("link").contains("no connection"));
}
