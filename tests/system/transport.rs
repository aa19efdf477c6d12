//! What the real rsync does with our steps, and what its ends are taken for.

use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use mirrorball::config;
use mirrorball::transport::rsync::RsyncTransport;
use mirrorball::transport::{Job, Transport};
use mirrorball::watch::source;
use mirrorball_core::data::outcome::Outcome;
use mirrorball_core::data::plan::Plan;
use mirrorball_core::data::step::{Deletions, Step, StepEnd, StepKind};
use mirrorball_core::host::rsync_output::{self, Verdict};

/// A source and a local mirror of it, and rsync between them.
struct Bench {
    dir: tempfile::TempDir,
    plan: Plan,
    rules: Option<PathBuf>,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("mb-transport-").tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("source")).unwrap();
        fs::create_dir(at("mirror")).unwrap();
        let text = format!(
            "Config(state_dir: {:?}, hosts: {{\"disk\": Local}}, roots: {{\"site\": Root(source: {:?}, \
             mirrors: [(host: \"disk\", path: {:?})])}})",
            at("state"),
            at("source"),
            at("mirror")
        );
        let (plan, _) = config::load_text(Path::new("test"), &text).unwrap();
        Self { dir, plan, rules: None }
    }

    fn source(&self, name: &str) -> PathBuf {
        self.dir.path().join("source").join(name)
    }

    fn mirror(&self, name: &str) -> PathBuf {
        self.dir.path().join("mirror").join(name)
    }

    /// Runs one step with deletions allowed.
    fn run(&self, kind: StepKind, paths: &[&str]) -> (StepEnd, Verdict) {
        let paths = paths.iter().map(|path| (*path).into()).collect();
        let step = Step { deletions: Deletions::All, ..Step::new(kind, paths) };
        let (host, root) = (&self.plan.hosts[&"disk".into()], &self.plan.roots[&"site".into()]);
        let job = Job {
            pace: Default::default(),
            lacks: Default::default(),
            step: step.clone(),
            source: source::open(&root.source).unwrap(),
            mirror: Arc::new(root.mirrors[0].clone()),
            rules: self.rules.clone(),
            on_progress: Rc::new(|_| ()),
            process: Rc::default(),
        };
        let transport = RsyncTransport::new(host, &self.plan.state_dir);
        let end = actix::System::new().block_on(transport.run(job));
        let verdict = rsync_output::judge(&step, &end);
        (end, verdict)
    }

    fn outcome(&self, kind: StepKind, paths: &[&str]) -> Outcome {
        self.run(kind, paths).1.outcome
    }
}

fn failed(outcome: &Outcome) -> Vec<String> {
    match outcome {
        Outcome::Partly(failed) => failed.iter().map(|f| f.path.to_string()).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn hard_case_12_a_listed_entry_that_has_vanished_is_no_failure() {
    let bench = Bench::new();
    fs::write(bench.source("there"), "x").unwrap();
    for kind in
        [StepKind::Written, StepKind::Touched, StepKind::Subtrees, StepKind::SubtreesWritten]
    {
        let (end, verdict) = bench.run(kind, &["gone", "there"]);
        assert_eq!(verdict.outcome, Outcome::Done, "{kind:?}: {end:?}");
        assert!(bench.mirror("there").exists());
    }
    assert!(!bench.mirror("gone").exists());
}

#[test]
fn hard_case_13_what_can_not_be_made_is_named_and_the_rest_is_done() {
    let mut bench = Bench::new();
    let rules = bench.dir.path().join("rules");
    fs::write(&rules, b"- *.keep\0").unwrap();
    bench.rules = Some(rules);
    fs::create_dir(bench.mirror("in-the-way")).unwrap();
    fs::write(bench.mirror("in-the-way/theirs.keep"), "theirs").unwrap();
    for name in ["in-the-way", "good"] {
        fs::write(bench.source(name), "x").unwrap();
    }
    assert_eq!(failed(&bench.outcome(StepKind::Written, &["good", "in-the-way"])), ["in-the-way"]);
    assert!(bench.mirror("good").exists() && bench.mirror("in-the-way/theirs.keep").exists());
}

#[test]
fn hard_case_11_what_is_excluded_keeps_its_directory_and_that_is_done() {
    let mut bench = Bench::new();
    let rules = bench.dir.path().join("rules");
    fs::write(&rules, b"- *.keep\0").unwrap();
    bench.rules = Some(rules);
    fs::create_dir(bench.mirror("d")).unwrap();
    for name in ["d/theirs.keep", "d/ours"] {
        fs::write(bench.mirror(name), "x").unwrap();
    }
    let (end, verdict) = bench.run(StepKind::Missing, &["d"]);
    assert_eq!(verdict.outcome, Outcome::Done, "{end:?}");
    assert_eq!(verdict.notes.len(), 1, "{end:?}");
    assert!(bench.mirror("d/theirs.keep").exists() && !bench.mirror("d/ours").exists());
}

#[test]
fn the_root_itself_is_dated_and_nothing_in_it_is_sent() {
    let bench = Bench::new();
    fs::write(bench.source("f"), "x").unwrap();
    fs::create_dir(bench.source("d")).unwrap();
    let date = fs::metadata(bench.source("")).unwrap().modified().unwrap();
    for (kind, paths) in [(StepKind::RootItself, &[""][..]), (StepKind::FirstContact, &[])] {
        assert_eq!(bench.outcome(kind, paths), Outcome::Done);
        assert_eq!(fs::metadata(bench.mirror("")).unwrap().modified().unwrap(), date);
        assert_eq!(fs::read_dir(bench.mirror("")).unwrap().count(), 0, "{kind:?}");
    }
}

#[test]
fn a_directory_that_is_not_there_says_so() {
    let bench = Bench::new();
    fs::write(bench.source("f"), "x").unwrap();
    fs::remove_dir(bench.mirror("")).unwrap();
    let outcome = bench.outcome(StepKind::Written, &["f"]);
    let Outcome::Halt(why) = &outcome else { panic!("{outcome:?}") };
    assert!(why.contains("vanished"), "{why}");
    assert!(!bench.mirror("").exists());
}

#[test]
fn leftovers_are_removed_and_nothing_besides_whatever_the_rules_put_at_risk() {
    let mut bench = Bench::new();
    let rules = bench.dir.path().join("rules");
    fs::write(&rules, "+ */\n+ *.html\n- *\n").unwrap();
    bench.rules = Some(rules);
    for name in ["site/big", "site/sub"] {
        fs::create_dir_all(bench.mirror(name)).unwrap();
    }
    fs::create_dir(bench.source("site")).unwrap();
    for name in ["site/big/a.html", "site/old.html", "site/.a.html.Xy12zZ", "site/.b.jpg.Xy12zZ"] {
        fs::write(bench.mirror(name), "x").unwrap();
    }
    let (end, verdict) = bench.run(StepKind::Leftovers, &["site"]);
    assert_eq!(verdict.outcome, Outcome::Done, "{end:?}");
    for name in ["site/big/a.html", "site/old.html", "site/sub"] {
        assert!(bench.mirror(name).exists(), "{name} is gone");
    }
    assert!(!bench.mirror("site/.a.html.Xy12zZ").exists());
}
