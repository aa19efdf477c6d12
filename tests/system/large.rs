//! Large files beside small ones.

use std::fs;
use std::path::Path;

use crate::support::servers::{Proxy, Rsyncd, rsyncd_ron};
use crate::support::tree::assert_same;
use crate::support::{Daemon, wait_for};

/// More than goes through a connection that is slowed down while a test looks: four kilobytes in two milliseconds.
const LARGE: usize = 60_000_000;

/// Writes a large file, and waits until a part of it is there.
fn send_slowly(proxy: &Proxy, from: &Path, to: &Path) {
    proxy.slow_down(2);
    fs::write(from.join("large"), vec![7; LARGE]).unwrap();
    wait_for("the large file to be on its way", || is_on_its_way(to).then_some(()));
}

fn is_on_its_way(to: &Path) -> bool {
    let mut entries = fs::read_dir(to).unwrap().flatten();
    entries.any(|it| it.file_name().as_encoded_bytes().starts_with(b".large."))
}

#[test]
fn small_files_pass_a_large_one() {
    let server = Rsyncd::start();
    let proxy = Proxy::start(server.port);
    let daemon = Daemon::new().mirror("web", &rsyncd_ron(proxy.port), "m/site", "").start();
    daemon.flush("");
    let (source, copy) = (daemon.source(), server.path("site"));
    send_slowly(&proxy, &source, &copy);
    for round in 0..3 {
        fs::write(source.join("small"), format!("{round}")).unwrap();
        wait_for("a small one that passes it", || {
            let copied = fs::read_to_string(copy.join("small")).unwrap_or_default();
            (copied == format!("{round}")).then_some(())
        });
        assert!(is_on_its_way(&copy), "it is not on its way any more");
        assert_ne!(daemon.mirror_status("web")["state"], "in-sync");
    }
    proxy.slow_down(0);
    daemon.flush("");
    assert_same(&source, &copy, "both are there");
    assert_eq!(daemon.mirror_status("web")["walks"], 1);
}

#[test]
fn a_large_file_that_goes_while_it_is_on_its_way_is_gone_in_the_end() {
    let server = Rsyncd::start();
    let proxy = Proxy::start(server.port);
    let daemon = Daemon::new().mirror("web", &rsyncd_ron(proxy.port), "m/site", "");
    let (source, copy) = (daemon.source(), server.path("site"));
    fs::create_dir(source.join("d")).unwrap();
    let daemon = daemon.start();
    daemon.flush("");
    send_slowly(&proxy, &source.join("d"), &copy.join("d"));
    fs::remove_file(source.join("d/large")).unwrap();
    fs::rename(source.join("d"), source.join("e")).unwrap();
    proxy.slow_down(0);
    daemon.flush("");
    assert_same(&source, &copy, "it is gone");
}
