//! What people change while it runs: pausing, walking, and a new configuration.

use std::fs;
use std::os::unix::ffi::OsStrExt;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::servers::{Proxy, Rsyncd, rsyncd_ron, untried};
use crate::support::tree::assert_same;
use crate::support::{Daemon, text, wait_for};

/// Changes the configuration's text.
fn rewrite(daemon: &Daemon, from: &str, to: &str) {
    let old = fs::read_to_string(daemon.config_path()).unwrap();
    assert!(old.contains(from), "{from} is not in {old}");
    fs::write(daemon.config_path(), old.replace(from, to)).unwrap();
}

/// One more mirror of the root on a host of its own.
fn add_local(daemon: &Daemon, name: &str) {
    rewrite(daemon, "    hosts: {\n", &format!("    hosts: {{\n        {name:?}: Local,\n"));
    let path = daemon.path(name);
    let mirrors = format!("mirrors: [\n            (host: {name:?}, path: {path:?}),\n");
    rewrite(daemon, "mirrors: [\n", &mirrors);
}

fn reload(daemon: &Daemon) -> String {
    let output = daemon.verb(&["reload"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn is(state: &str) -> impl Fn(&Value) -> bool {
    move |mirror| mirror["state"] == state
}

#[test]
fn a_paused_mirror_gets_nothing_until_it_is_resumed_also_after_a_new_start() {
    let mut daemon = Daemon::new().local("one").local("other").start();
    daemon.flush("");
    assert!(daemon.verb(&["pause", "@one"]).status.success());
    daemon.wait_for_mirror("one", "paused", is("paused"));
    fs::write(daemon.source().join("f"), "f").unwrap();
    daemon.flush("@other");
    assert!(daemon.path("other/f").exists() && !daemon.path("one/f").exists());
    assert_eq!(daemon.mirror_status("one")["pending_paths"], 1);
    daemon.shut_down();
    daemon.start_again();
    fs::write(daemon.source().join("g"), "g").unwrap();
    daemon.flush("@other");
    assert_eq!(daemon.mirror_status("one")["state"], "paused");
    assert!(!daemon.path("one/f").exists());
    assert!(daemon.verb(&["resume", "--all"]).status.success());
    daemon.flush("");
    assert_same(&daemon.source(), &daemon.path("one"), "resumed");
    assert_eq!(daemon.mirror_status("one")["state"], "in-sync");
}

#[test]
fn a_walk_is_made_when_a_person_wants_it() {
    let daemon = Daemon::new().local("one").local("other").start();
    fs::write(daemon.source().join("f"), "f").unwrap();
    daemon.flush("");
    fs::write(daemon.path("one/f"), "somebody else's").unwrap();
    assert!(daemon.verb(&["walk", "site@one"]).status.success());
    daemon.wait_for_mirror("one", "walked", |mirror| mirror["walks"] == 2);
    daemon.flush("");
    assert_same(&daemon.source(), &daemon.path("one"), "walked");
    assert_eq!(daemon.mirror_status("other")["walks"], 1);
}

#[test]
fn a_mirror_that_is_added_or_removed_disturbs_no_other() {
    let daemon = Daemon::new().local("one").start();
    fs::write(daemon.source().join("f"), "f").unwrap();
    daemon.flush("");
    let before = daemon.mirror_status("one");
    add_local(&daemon, "two");
    let said = daemon.verb(&["reload", "--dry-run"]);
    assert!(text(&said.stdout).contains("start mirror site@two"), "{}", text(&said.stdout));
    assert_eq!(daemon.status()["mirrors"].as_array().unwrap().len(), 1, "it was only said");
    daemon.signal(Signal::HUP);
    wait_for("the new mirror", || {
        let status = daemon.status();
        (status["mirrors"].as_array().unwrap().len() == 2).then_some(())
    });
    daemon.flush("");
    assert_same(&daemon.source(), &daemon.path("two"), "it was added");
    fs::write(daemon.source().join("g"), "g").unwrap();
    daemon.flush("");
    assert_same(&daemon.source(), &daemon.path("two"), "it is mirrored live");
    let after = daemon.mirror_status("one");
    assert_eq!((&after["walks"], &after["restarts"]), (&before["walks"], &before["restarts"]));

    let line = format!("            (host: \"two\", path: {:?}),\n", daemon.path("two"));
    rewrite(&daemon, &line, "");
    rewrite(&daemon, "        \"two\": Local,\n", "");
    assert!(reload(&daemon).contains("stop mirror site@two"));
    fs::write(daemon.source().join("h"), "h").unwrap();
    daemon.flush("");
    assert!(daemon.path("one/h").exists() && !daemon.path("two/h").exists());
    assert_eq!(daemon.mirror_status("one")["walks"], before["walks"]);
    assert!(reload(&daemon).contains("nothing has changed"));
}

#[test]
fn a_bad_configuration_is_refused_and_the_old_one_stays() {
    let daemon = Daemon::new().local("one").start();
    daemon.flush("");
    rewrite(&daemon, "source:", "sauce:");
    let output = daemon.verb(&["reload"]);
    assert_eq!(output.status.code(), Some(78), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("sauce"));
    let refused = daemon.status()["config"]["refused"].as_str().unwrap_or_default().to_string();
    assert!(refused.contains("sauce"), "{refused}");
    fs::write(daemon.source().join("f"), "f").unwrap();
    daemon.flush("");
    assert!(daemon.path("one/f").exists());
    rewrite(&daemon, "sauce:", "source:");
    reload(&daemon);
    assert_eq!(daemon.status()["config"]["refused"], Value::Null);
}

#[test]
fn what_is_changed_in_place_is_compared_and_the_rest_goes_on() {
    let daemon = Daemon::new().local("one").local("other").start();
    fs::write(daemon.source().join("f"), "f").unwrap();
    fs::write(daemon.source().join("x.tmp"), "t").unwrap();
    daemon.flush("");
    rewrite(&daemon, &format!("{:?}", daemon.path("one")), &format!("{:?}", daemon.path("moved")));
    assert!(reload(&daemon).contains("change mirror site@one"));
    daemon.flush("");
    assert_same(&daemon.source(), &daemon.path("moved"), "it lies elsewhere now");
    assert_eq!(daemon.mirror_status("other")["walks"], 1);
    // The rules are the root's.
    rewrite(&daemon, "source:", "filters: [Exclude(\"*.tmp\")], source:");
    assert!(reload(&daemon).contains("change root site"));
    daemon.flush("");
    // Once more when nothing that was under way under the old rules can be alive.
    daemon.wait_for_mirror("other", "compared", |m| m["state"] == "in-sync" && m["walks"] == 2);
    fs::write(daemon.source().join("y.tmp"), "t").unwrap();
    fs::write(daemon.source().join("g"), "g").unwrap();
    daemon.flush("");
    assert!(daemon.path("other/g").exists() && !daemon.path("other/y.tmp").exists());
}

#[test]
fn a_root_that_is_removed_is_let_go() {
    let daemon = Daemon::new().local("one").start();
    let second = daemon.path("second");
    fs::create_dir_all(second.join("d")).unwrap();
    daemon.flush("");
    let copy = daemon.path("copy");
    let root = format!(
        "roots: {{\n        \"second\": Root(source: {second:?}, mirrors: [(host: \"one\", path: {copy:?})]),\n"
    );
    rewrite(&daemon, "roots: {\n", &root);
    assert!(reload(&daemon).contains("start root second"));
    fs::write(second.join("d/f"), "f").unwrap();
    daemon.flush("");
    assert_same(&second, &copy, "the new root");
    rewrite(&daemon, &root, "roots: {\n");
    assert!(reload(&daemon).contains("stop root second"));
    wait_for("the source to be closed", || {
        let open = fs::read_dir(format!("/proc/{}/fd", daemon.process_id())).unwrap().flatten();
        let mut open = open.filter_map(|fd| fs::read_link(fd.path()).ok());
        let is_of_it = |path: &std::path::PathBuf| {
            path.as_os_str().as_bytes().starts_with(second.as_os_str().as_bytes())
        };
        (!open.any(|path| is_of_it(&path))).then_some(())
    });
    let threads_of = |status: &Value| status["roots"].as_array().unwrap().len();
    assert_eq!(threads_of(&daemon.status()), 1);
    fs::write(daemon.source().join("g"), "g").unwrap();
    daemon.flush("");
    assert!(daemon.path("one/g").exists());
}

#[test]
fn a_push_under_way_to_a_mirror_that_is_removed_ends_with_it() {
    let server = Rsyncd::start();
    let proxy = Proxy::start(server.port);
    let daemon = Daemon::new().local("one").mirror("web", &rsyncd_ron(proxy.port), "m/site", "");
    let daemon = daemon.start();
    daemon.flush("");
    proxy.slow_down(50);
    fs::write(daemon.source().join("large"), vec![7; 4_000_000]).unwrap();
    daemon.wait_for_mirror("web", "under way", is("pushing"));
    let config = fs::read_to_string(daemon.config_path()).unwrap();
    let kept = config.lines().filter(|line| !line.contains("host: \"web\""));
    fs::write(daemon.config_path(), kept.collect::<Vec<_>>().join("\n")).unwrap();
    reload(&daemon);
    daemon.flush("");
    assert_same(&daemon.source(), &daemon.path("one"), "the other goes on");
    let port = proxy.port.to_string();
    wait_for("its rsync to end", || {
        let tasks = fs::read_dir("/proc").unwrap().flatten();
        let mut lines = tasks.filter_map(|task| fs::read(task.path().join("cmdline")).ok());
        (!lines.any(|line| line.starts_with(b"rsync") && text(&line).contains(&port))).then_some(())
    });
}

#[test]
fn what_can_t_be_done_is_said() {
    let daemon = Daemon::new().local("one").start();
    daemon.wait_for_mirror("one", "in sync", is("in-sync"));
    let output = daemon.verb(&["reload", "--dry-run", "--json"]);
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["mirrors"]["kept"][0], "site@one");
    let of = |selector: &str| text(&daemon.verb(&["status", selector]).stdout);
    assert!(of("site@one").contains("1 of 1 in sync"), "{}", of("site@one"));
    for verb in ["status", "pause", "resume", "walk"] {
        let unknown = daemon.verb(&[verb, "nothing"]);
        assert_eq!(unknown.status.code(), Some(64), "{}", text(&unknown.stderr));
        let is_needed = verb != "status";
        let without = daemon.verb(&[verb]).status.code();
        assert_eq!(without, Some(if is_needed { 64 } else { 0 }), "a selector is needed");
    }
}

#[test]
fn explain_says_why_a_file_is_or_is_not_on_a_mirror() {
    let mut server = Rsyncd::start();
    let web = server.ron().replacen('(', "(warm: \"0s\", ", 1);
    let daemon = Daemon::new()
        .local("one")
        .mirror("web", &untried(&web), "m/site", "")
        .root_options("filters: [Include(\"keep.tmp\"), Exclude(\"*.tmp\"), Exclude(\"/cache/\")],")
        .start();
    fs::create_dir(daemon.source().join("cache")).unwrap();
    fs::write(daemon.source().join("f"), "f").unwrap();
    daemon.flush("");
    let explain = |path: &str| {
        let path = daemon.source().join(path).display().to_string();
        let output = daemon.verb(&["explain", &path]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let said = explain("f");
    assert!(said.contains("no rule speaks of it") && said.contains("site@one  has it"), "{said}");
    assert!(explain("x.tmp").contains("kept out by the rule \"- *.tmp\""));
    assert!(explain("keep.tmp").contains("mirrored by the rule \"+ keep.tmp\""));
    assert!(explain("cache/deep/x").contains("kept out with cache, by the rule \"- /cache/\""));
    server.stop();
    fs::write(daemon.source().join("f"), "changed").unwrap();
    daemon.wait_for_mirror("web", "retrying", is("retrying"));
    daemon.flush("@one");
    let said = explain("f");
    assert!(said.contains("last change: epoch") && said.contains("site@one  has it"), "{said}");
    assert!(said.contains("site@web  is about to be sent it (retrying: "), "{said}");
    let elsewhere = daemon.verb(&["explain", "/"]);
    assert_eq!(elsewhere.status.code(), Some(64), "{}", text(&elsewhere.stderr));
}

#[test]
fn a_flush_with_a_quorum_is_content_with_part_of_the_mirrors() {
    let mut server = Rsyncd::start();
    let daemon = Daemon::new().local("one").local("two").mirror("web", &server.ron(), "m/site", "");
    server.stop();
    let daemon = daemon.start();
    fs::write(daemon.source().join("f"), "f").unwrap();
    let flush = |quorum: &str, timeout: &str| {
        let output = daemon.verb(&["flush", "--quorum", quorum, "--timeout", timeout]);
        (output.status.code(), text(&output.stderr))
    };
    let (code, laggards) = flush("66%", "60s");
    assert_eq!((code, laggards.contains("site@web is ")), (Some(0), true), "{laggards}");
    assert!(daemon.path("one/f").exists() && daemon.path("two/f").exists());
    assert_eq!(flush("67%", "300ms").0, Some(1));
    assert_eq!(flush("150%", "1s").0, Some(64));
}

/// One more root `other` with four files, mirrored to the same host, with these further fields.
fn add_root(daemon: &Daemon, options: &str) {
    let source = daemon.path("other");
    fs::create_dir(&source).unwrap();
    for name in ["a", "b", "c", "d"] {
        fs::write(source.join(name), name).unwrap();
    }
    let mirror = format!("(host: \"one\", path: {:?})", daemon.path("copy"));
    let root = format!(
        "roots: {{\n        \"other\": Root(source: {source:?}, {options} mirrors: [{mirror}]),\n"
    );
    rewrite(daemon, "roots: {\n", &root);
    reload(daemon);
    daemon.flush("");
}

/// While the mirror of the other root cannot be in sync for this reason, the mirror of `site` is enough for a quorum of a
/// half, and not for all.
fn expect_quorum_without_other(daemon: &Daemon, reason: &str) {
    let flush = |quorum: &str, timeout: &str| {
        let output = daemon.verb(&["flush", "--quorum", quorum, "--timeout", timeout]);
        (output.status.code(), text(&output.stderr))
    };
    fs::write(daemon.source().join("f"), "f").unwrap();
    let (code, laggards) = flush("50%", "60s");
    assert_eq!(code, Some(0), "{laggards}");
    assert!(daemon.path("one/f").exists());
    assert!(laggards.contains("other@one is halted") && laggards.contains(reason), "{laggards}");
    let (code, laggards) = flush("100%", "300ms");
    assert_eq!((code, laggards.contains("site@one")), (Some(1), false), "{laggards}");
    assert!(laggards.contains("other@one is halted") && laggards.contains(reason), "{laggards}");
}

#[test]
fn a_flush_with_a_quorum_counts_mirrors_also_where_a_root_is_halted() {
    let daemon = Daemon::new().local("one").start();
    add_root(&daemon, "");
    fs::rename(daemon.path("other"), daemon.path("elsewhere")).unwrap();
    wait_for("the other root to be halted", || {
        let status = daemon.status();
        let mut roots = status["roots"].as_array().unwrap().iter();
        roots.any(|root| root["state"] == "halted").then_some(())
    });
    expect_quorum_without_other(&daemon, "the root is halted: ");
}

#[test]
fn a_flush_with_a_quorum_counts_mirrors_also_where_deletions_are_held() {
    let daemon = Daemon::new().local("one").start();
    add_root(&daemon, "max_delete: 1,");
    for name in ["a", "b", "c"] {
        fs::remove_file(daemon.path("other").join(name)).unwrap();
    }
    wait_for("deletions to be held", || {
        let status = daemon.status();
        let mut mirrors = status["mirrors"].as_array().unwrap().iter();
        mirrors.any(|mirror| mirror["held_deletions"] == 3).then_some(())
    });
    expect_quorum_without_other(&daemon, "3 deletions are held");
}

#[test]
fn plan_says_what_a_walk_would_do_and_does_nothing() {
    let daemon = Daemon::new().local("one").start();
    for name in ["a", "b", "c"] {
        fs::write(daemon.source().join(name), name).unwrap();
    }
    daemon.flush("");
    fs::write(daemon.path("one/a"), "somebody else's").unwrap();
    fs::remove_file(daemon.path("one/b")).unwrap();
    fs::write(daemon.path("one/extra"), "e").unwrap();
    fs::write(daemon.path("one/more"), "m").unwrap();
    let output = daemon.verb(&["plan", "site@one"]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(said.starts_with("site@one: 1 to create, "), "{said}");
    assert!(said.contains(", 2 to delete\n") && said.contains("+++++++++ b"), "{said}");
    assert!(daemon.path("one/extra").exists() && !daemon.path("one/b").exists());
    assert!(daemon.verb(&["walk", "site@one"]).status.success());
    daemon.wait_for_mirror("one", "walked", |it| it["walks"] == 2 && it["state"] == "in-sync");
    assert_same(&daemon.source(), &daemon.path("one"), "as planned");
    let planned = text(&daemon.verb(&["plan"]).stdout);
    assert_eq!(planned, "site@one: 0 to create, 0 to change, 0 to delete\n");
}

#[test]
fn a_resumed_mirror_is_tried_at_once() {
    let mut server = Rsyncd::start();
    let web = server.ron().replacen('(', "(retry: Retry(first: \"10m\", max: \"10m\"), ", 1);
    let web =
        web.replacen("retry: Retry(first: \"100ms\", max: \"1s\")", "", 1).replace(", ,", ",");
    let daemon = Daemon::new().mirror("web", &web, "m/site", "");
    server.stop();
    let daemon = daemon.start();
    daemon.wait_for_mirror("web", "retrying", is("retrying"));
    server.start_again();
    assert!(daemon.verb(&["pause", "@web"]).status.success());
    assert!(daemon.verb(&["resume", "@web"]).status.success());
    daemon.wait_for_mirror("web", "in sync", is("in-sync"));
}

#[test]
fn what_counts_from_the_next_start_on_stays_until_then() {
    let daemon = Daemon::new().root_options("filters: [Exclude(\"*.tmp\")],").local("one").start();
    daemon.flush("");
    let state = format!("{:?}", daemon.path("state"));
    rewrite(&daemon, &state, &format!("{:?}", daemon.path("other state")));
    assert!(reload(&daemon).contains("at the next start: state_dir"));
    assert!(daemon.verb(&["pause", "@one"]).status.success());
    assert!(daemon.path("state/paused").exists() && !daemon.path("other state").exists());
}
