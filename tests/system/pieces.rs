//! Walks of large roots are made in pieces.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::servers::Rsyncd;
use crate::support::tree::assert_same;
use crate::support::{Daemon, run, text};

/// Refuses everybody from the moment on at which the mirror has `a/f1`, until it is told to let them in.
const GATE: &str = "#!/bin/sh\n[ -e \"$0.open\" ] || [ ! -e \"${0%/*}/m/site/a/f1\" ]\n";

#[test]
fn a_walk_that_breaks_off_goes_on_with_the_piece_at_which_it_broke() {
    let dir = tempfile::Builder::new().prefix("mb-rsyncd-").tempdir().unwrap();
    fs::create_dir(dir.path().join("m")).unwrap();
    let gate = dir.path().join("gate");
    fs::write(&gate, GATE).unwrap();
    fs::set_permissions(&gate, fs::Permissions::from_mode(0o755)).unwrap();
    let open = dir.path().join("gate.open");
    fs::write(&open, "").unwrap();
    let server = Rsyncd::start_in(dir, &format!("pre-xfer exec = {}", gate.display()));
    let daemon = Daemon::new().mirror("web", &server.ron(), "m/site", "");
    let source = daemon.source();
    for name in ["a", "b", "c"] {
        fs::create_dir(source.join(name)).unwrap();
        run("sh", &["-c", "seq -f f%.0f 17000 | xargs touch"], &source.join(name));
    }
    let daemon = daemon.start();
    daemon.flush("");
    let walks = || daemon.log().matches("exit: Code(0), step: walk").count();
    assert_eq!(walks(), 1, "a first contact is one run");

    let mirror = server.path("site");
    fs::remove_file(mirror.join("a/f1")).unwrap();
    fs::remove_file(mirror.join("c/f1")).unwrap();
    fs::create_dir_all(mirror.join("c/extra/below")).unwrap();
    fs::create_dir_all(mirror.join("stray/below")).unwrap();
    fs::write(mirror.join("stray/below/file"), "").unwrap();
    fs::set_permissions(&mirror, fs::Permissions::from_mode(0o700)).unwrap();
    fs::remove_file(&open).unwrap();
    assert!(daemon.verb(&["walk", "--all"]).status.success());
    daemon.wait_for_mirror("web", "to break off after a piece", |it| {
        it["failures"].as_u64() > Some(0) && it["walk"]["pieces_done"] == 1
    });
    let status = text(&daemon.verb(&["status"]).stdout);
    assert!(status.contains("1 of 3 pieces compared, 34000 of 51003 entries"), "{status}");
    fs::write(&open, "").unwrap();
    daemon.wait_for_mirror("web", "all pieces", |it| it["walk"].is_null());
    daemon.flush("");
    assert_same(&source, &mirror, "after the walk");
    assert_eq!(walks(), 1 + 3, "no piece is done twice");
}
