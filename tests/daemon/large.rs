//! Large files beside small ones.

use std::fs;

use crate::support::servers::{Proxy, Rsyncd, rsyncd_ron};
use crate::support::tree::assert_same;
use crate::support::{Daemon, wait_for};

#[test]
fn small_files_pass_a_large_one() {
    let server = Rsyncd::start();
    let proxy = Proxy::start(server.port);
    let daemon = Daemon::new().mirror("web", &rsyncd_ron(proxy.port), "m/site", "").start();
    daemon.flush("");
    let source = daemon.source();
    // Four kilobytes in two milliseconds: twenty megabytes take at least ten seconds.
    proxy.slow_down(2);
    fs::write(source.join("large"), vec![7; 20_000_000]).unwrap();
    let is_temporary = |name: &str| name.starts_with(".large.");
    let names = || {
        let entries = fs::read_dir(server.path("site")).unwrap().flatten();
        entries.map(|it| it.file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    wait_for("the large file to be on its way", || {
        names().iter().any(|name| is_temporary(name)).then_some(())
    });
    for round in 0..3 {
        fs::write(source.join("small"), format!("{round}")).unwrap();
        wait_for("a small one that passes it", || {
            let copied = fs::read_to_string(server.path("site/small")).unwrap_or_default();
            (copied == format!("{round}")).then_some(())
        });
        assert!(names().iter().any(|name| is_temporary(name)), "it is not on its way any more");
        assert_ne!(daemon.mirror_status("web")["state"], "in-sync");
    }
    proxy.slow_down(0);
    daemon.flush("");
    assert_same(&source, &server.path("site"), "both are there");
    assert_eq!(daemon.mirror_status("web")["walks"], 1);
}

#[test]
fn a_large_file_that_goes_while_it_is_on_its_way_is_gone_in_the_end() {
    let server = Rsyncd::start();
    let proxy = Proxy::start(server.port);
    let daemon = Daemon::new().mirror("web", &rsyncd_ron(proxy.port), "m/site", "").start();
    daemon.flush("");
    let source = daemon.source();
    proxy.slow_down(2);
    fs::create_dir(source.join("d")).unwrap();
    daemon.flush("");
    fs::write(source.join("d/large"), vec![7; 20_000_000]).unwrap();
    wait_for("the large file to be on its way", || {
        let mut entries = fs::read_dir(server.path("site/d")).unwrap().flatten();
        entries.any(|it| it.file_name().as_encoded_bytes().starts_with(b".large.")).then_some(())
    });
    fs::remove_file(source.join("d/large")).unwrap();
    fs::rename(source.join("d"), source.join("e")).unwrap();
    proxy.slow_down(0);
    daemon.flush("");
    assert_same(&source, &server.path("site"), "it is gone");
}
