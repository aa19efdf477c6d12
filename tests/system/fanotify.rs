//! One mark for a whole file system. `WATCH=Fanotify` runs other tests over it too.

use std::fs;

use crate::support::tree::assert_same;
use crate::support::{Daemon, is_root, may_mark};

#[test]
fn no_directory_needs_a_watch_and_what_comes_from_elsewhere_is_seen() {
    if !may_mark() {
        println!("not tested: fanotify needs CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH");
        return;
    }
    let daemon = Daemon::new().root_options("watch: Fanotify,").local("local");
    let (source, elsewhere) = (daemon.source(), daemon.path("elsewhere"));
    fs::create_dir_all(source.join("old/deep")).unwrap();
    let daemon = daemon.start();
    daemon.flush("");
    for number in 0..200 {
        let made = source.join(format!("d{number}/below"));
        fs::create_dir_all(&made).unwrap();
        fs::write(made.join("f"), "f").unwrap();
    }
    fs::create_dir_all(elsewhere.join("in")).unwrap();
    fs::write(elsewhere.join("in/one"), "linked").unwrap();
    fs::hard_link(elsewhere.join("in/one"), elsewhere.join("in/other")).unwrap();
    fs::rename(&elsewhere, source.join("old/moved")).unwrap();
    daemon.flush("");
    assert_same(&source, &daemon.path("local"), "made and moved in");
    fs::write(source.join("old/moved/in/one"), "written to by one name").unwrap();
    fs::rename(source.join("old"), source.join("new")).unwrap();
    fs::remove_dir_all(source.join("d7")).unwrap();
    daemon.flush("");
    assert_same(&source, &daemon.path("local"), "renamed, removed and written to");
    let root = daemon.status()["roots"][0].clone();
    assert_eq!(root["state"], "watching", "{root:#}");
}

#[test]
fn without_the_right_to_it_the_root_says_what_is_missing() {
    if !is_root() {
        println!("not tested: only root can do without");
        return;
    }
    let daemon = Daemon::new().by_nobody().root_options("watch: Fanotify,").local("local").start();
    let says = |status: &serde_json::Value| {
        let reason = status["roots"][0]["reason"].as_str().unwrap_or_default().to_string();
        (status["roots"][0]["state"] == "halted" && reason.contains("CAP_SYS_ADMIN")).then_some(())
    };
    crate::support::wait_for("the reason", || says(&daemon.status()));
}
