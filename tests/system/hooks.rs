//! Commands after pushes.

use std::fs;

use crate::support::servers::Sshd;
use crate::support::tree::assert_same;
use crate::support::{Daemon, wait_for};

#[test]
fn a_hook_is_told_what_was_pushed_and_no_shell_reads_it() {
    let daemon = Daemon::new();
    let said = daemon.path("said");
    let script = format!(
        "{{ echo \"$MIRRORBALL_MIRROR $MIRRORBALL_KIND $MIRRORBALL_COUNT\"; tr '\\0' ' '; echo; }} >> {}",
        said.display()
    );
    let hook = format!("hooks: [Hook(run: [\"sh\", \"-c\", {script:?}], every: \"0s\")],");
    let daemon = daemon.root_options(&hook).local("one").start();
    daemon.flush("");
    let lines = |wanted: &str| {
        let text = fs::read_to_string(&said).unwrap_or_default();
        text.contains(wanted).then_some(())
    };
    wait_for("the walk's hook", || lines("site@one walk 0\n"));
    fs::write(daemon.source().join("a $(touch x); b"), "f").unwrap();
    daemon.flush("");
    wait_for("the push's hook", || lines("site@one push ").and(lines("a $(touch x); b ")));
    fs::remove_file(daemon.source().join("a $(touch x); b")).unwrap();
    daemon.flush("");
    wait_for("the deletion", || {
        let text = fs::read_to_string(&said).unwrap_or_default();
        (text.matches("a $(touch x); b").count() == 2).then_some(())
    });
    assert_same(&daemon.source(), &daemon.path("one"), "hooks change nothing");
}

#[test]
fn a_hook_that_fails_or_hangs_is_shown_and_holds_up_nothing() {
    let daemon = Daemon::new();
    let failing = "Hook(run: [\"sh\", \"-c\", \"echo no such cache >&2; exit 3\"], every: \"0s\")";
    let hanging = "Hook(run: [\"sleep\", \"1000\"], every: \"0s\", timeout: \"100ms\"), Hook(run: [\"true\"])";
    let daemon =
        daemon.root_options(&format!("hooks: [{failing}, {hanging}],")).local("one").start();
    for round in 0..5 {
        fs::write(daemon.source().join("f"), format!("{round}")).unwrap();
        daemon.flush("");
        assert_same(&daemon.source(), &daemon.path("one"), "it goes on");
    }
    daemon.wait_for_mirror("one", "the first that failed", |mirror| {
        mirror["hook_error"] == "sh: exit code 3: no such cache"
    });
    wait_for("the hanging hook", || {
        daemon.log().contains("sleep: it was ended after 100ms").then_some(())
    });
    assert_eq!(daemon.mirror_status("one")["state"], "in-sync");
}

#[test]
fn a_hook_on_the_host_runs_over_its_ssh() {
    let server = Sshd::start();
    let daemon = Daemon::new();
    let said = daemon.path("said there");
    let script = format!("echo \"$MIRRORBALL_HOST\" >> '{}'; cat >> '{0}'", said.display());
    let hook = format!("hooks: [Hook(run: [\"sh\", \"-c\", {script:?}], on: Host)]");
    let copy = daemon.path("copy").display().to_string();
    let daemon = daemon.mirror("web", &server.ron(), &copy, &hook).start();
    daemon.flush("");
    fs::write(daemon.source().join("it's"), "f").unwrap();
    daemon.flush("");
    wait_for("the hook there", || {
        let text = fs::read_to_string(&said).unwrap_or_default();
        (text.starts_with("web\n") && text.contains("it's\0")).then_some(())
    });
}
