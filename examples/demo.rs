//! The main job at work, without a server to set up: a sample tree fanned out live to a directory, to a
//! private rsync daemon and to a host that never answers. `make demo` runs it.

#![allow(
    clippy::pedantic,
    missing_docs,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used
)]

#[path = "../tests/system/support/mod.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use support::servers::{Fake, Rsyncd};
use support::tree::differences;
use support::{Owned, binary, wait_for};

/// So that an onlooker can follow.
const BREATH: Duration = Duration::from_millis(700);

fn main() -> ExitCode {
    let dir = tempfile::Builder::new().prefix("mirrorball-demo-").tempdir().unwrap();
    let (source, local) = (dir.path().join("site"), dir.path().join("copy"));
    let socket = dir.path().join("sock");
    sample_tree(&source);
    let rsyncd = Rsyncd::start();
    let silent = Fake::hanging();

    println!("A tree in {} is mirrored, live, to", source.display());
    println!("  - a directory, {}", local.display());
    println!("  - an rsync daemon, rsync://127.0.0.1:{}/m/site", rsyncd.port);
    println!("  - a host that never answers, rsync://127.0.0.1:{}/m/site", silent.port);
    println!();
    let mut daemon = Owned(
        Command::new(binary())
            .arg("mirror")
            .arg(&source)
            .arg(&local)
            .arg(format!("rsync://127.0.0.1:{}/m/site", rsyncd.port))
            .arg(format!("rsync://127.0.0.1:{}/m/site", silent.port))
            .args(["--timeout", "3s", "--socket"])
            .arg(&socket)
            .spawn()
            .unwrap(),
    );
    wait_for("the daemon", || std::os::unix::net::UnixStream::connect(&socket).ok().map(drop));

    let healthy = ["@local".to_string(), format!("@127.0.0.1-{}", rsyncd.port)];
    let mut good = true;
    for work in [create, change, rename, delete] {
        std::thread::sleep(BREATH);
        work(&source);
        for host in &healthy {
            good &= verb(&["flush", host], &socket);
        }
    }
    std::thread::sleep(BREATH);
    good &= verb(&["stop"], &socket);
    wait_for("the daemon's end", || daemon.0.try_wait().unwrap());

    println!();
    for target in [&local, &rsyncd.path("site")] {
        let differences = differences(&source, target);
        good &= differences.is_empty();
        match differences.as_slice() {
            [] => println!("{} equals the source", target.display()),
            lines => println!("{} differs:\n{}", target.display(), lines.join("\n")),
        }
    }
    println!("The host that never answered has delayed nobody.");
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn verb(arguments: &[&str], socket: &Path) -> bool {
    let mut command = Command::new(binary());
    command.args(arguments).arg("--socket").arg(socket).status().unwrap().success()
}

fn sample_tree(source: &Path) {
    for section in ["blog", "shop", "img"] {
        fs::create_dir_all(source.join(section)).unwrap();
        for page in 0..40 {
            let text = format!("<h1>{section} {page}</h1>\n").repeat(20);
            fs::write(source.join(section).join(format!("{page}.html")), text).unwrap();
        }
    }
}

fn create(source: &Path) {
    fs::create_dir_all(source.join("news/2026/11")).unwrap();
    for page in 0..20 {
        fs::write(source.join(format!("news/2026/11/{page}.html")), "<h1>new</h1>\n").unwrap();
    }
}

fn change(source: &Path) {
    for page in 0..40 {
        fs::write(source.join(format!("blog/{page}.html")), "<h1>changed</h1>\n").unwrap();
    }
}

fn rename(source: &Path) {
    fs::rename(source.join("shop"), source.join("store")).unwrap();
    fs::rename(source.join("img/1.html"), source.join("img/first.html")).unwrap();
}

fn delete(source: &Path) {
    fs::remove_dir_all(source.join("img")).unwrap();
    fs::remove_file(source.join("blog/7.html")).unwrap();
}
