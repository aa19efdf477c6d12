//! What the model of rsync must be able to show when its runs are interrupted, or others work meanwhile.

use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::step::{Deletions, Exit, Step, StepKind};

use crate::model::fs::{Body, Fs};
use crate::model::options::{RunOptions, is_temporary};
use crate::model::rsync::{Progress, Run};

fn step(kind: StepKind, paths: &[&str], deletions: Deletions) -> Step {
    let paths = paths.iter().map(|path| (*path).into()).collect();
    Step { deletions, ..Step::new(kind, paths) }
}

fn run(kind: StepKind, paths: &[&str], deletions: Deletions) -> Run {
    Run::new(RunOptions::new(&step(kind, paths, deletions), &[]))
}

fn content(fs: &Fs, path: &str) -> Option<u64> {
    match fs.lookup(&path.into())?.body {
        Body::File { content, .. } => Some(content),
        _ => None,
    }
}

fn has_temporary(fs: &Fs) -> bool {
    fs.names().any(|(path, _)| is_temporary(path.name()))
}

#[test]
fn a_receiver_that_wakes_late_puts_old_content_over_new() {
    let (mut source, mut mirror) = (Fs::new(), Fs::new());
    source.write(&"a".into(), 1, 1, None).unwrap();
    let mut old = run(StepKind::Written, &["a"], Deletions::None);
    while !has_temporary(&mirror) {
        assert_eq!(old.advance(&source, &mut mirror), Progress::Working);
    }
    old.cut(Exit::Signal(9));
    source.write(&"a".into(), 2, 1, None).unwrap();
    run(StepKind::Written, &["a"], Deletions::None).complete(&source, &mut mirror);
    assert_eq!(content(&mirror, "a"), Some(2));
    assert!(old.late(&mut mirror));
    assert_eq!(content(&mirror, "a"), Some(1));
}

#[test]
fn a_receiver_that_sees_the_end_leaves_nothing() {
    let (mut source, mut mirror) = (Fs::new(), Fs::new());
    source.write(&"a".into(), 1, 1, None).unwrap();
    let mut cut = run(StepKind::Written, &["a"], Deletions::None);
    while !has_temporary(&mirror) {
        cut.advance(&source, &mut mirror);
    }
    cut.cut(Exit::Signal(9));
    cut.abandon(&mut mirror);
    assert_eq!(mirror.below(&RelPath::root()), []);
    assert!(!cut.late(&mut mirror) || !has_temporary(&mirror));
}

#[test]
fn a_walk_that_wakes_late_deletes_what_came_after_its_list() {
    let (mut source, mut mirror) = (Fs::new(), Fs::new());
    source.make_directory(&"d".into(), 0o755).unwrap();
    let mut walk = run(StepKind::Walk, &[], Deletions::All);
    // It has made the directory, and not yet looked at what is in it.
    while mirror.lookup(&"d".into()).is_none() {
        walk.advance(&source, &mut mirror);
    }
    walk.cut(Exit::Signal(9));
    source.write(&"d/new".into(), 1, 1, None).unwrap();
    run(StepKind::Written, &["d/new"], Deletions::None).complete(&source, &mut mirror);
    assert_eq!(content(&mirror, "d/new"), Some(1));
    while walk.late(&mut mirror) {}
    assert_eq!(content(&mirror, "d/new"), None);
}

#[test]
fn content_is_read_when_it_is_sent_and_dated_as_it_was_listed() {
    let (mut source, mut mirror) = (Fs::new(), Fs::new());
    source.write(&"a".into(), 1, 1, Some(5)).unwrap();
    let mut push = run(StepKind::Written, &["a"], Deletions::None);
    // Connected, and the name is listed.
    push.advance(&source, &mut mirror);
    push.advance(&source, &mut mirror);
    source.write(&"a".into(), 2, 1, Some(6)).unwrap();
    while push.advance(&source, &mut mirror) == Progress::Working {}
    let inode = mirror.lookup(&"a".into()).unwrap();
    assert_eq!((content(&mirror, "a"), inode.mtime), (Some(2), 5));
}

#[test]
fn a_mirror_without_room_ends_the_run_and_keeps_the_old_file() {
    let (mut source, mut mirror) = (Fs::new(), Fs::new());
    source.write(&"a".into(), 2, 10, None).unwrap();
    mirror.write(&"a".into(), 1, 1, None).unwrap();
    mirror.quota = Some(5);
    let end = run(StepKind::Written, &["a"], Deletions::None).complete(&source, &mut mirror);
    assert_eq!(end.exit, Exit::Code(11));
    assert_eq!(content(&mirror, "a"), Some(1));
    assert!(!has_temporary(&mirror));
}

#[test]
fn an_unmounted_volume_shows_what_it_covers() {
    let mut fs = Fs::new();
    fs.make_directory(&"v".into(), 0o755).unwrap();
    fs.add_volume(&"v".into());
    fs.write(&"v/a".into(), 1, 1, None).unwrap();
    fs.unmount(&"v".into());
    assert!(fs.is_directory(&"v".into()) && fs.below(&"v".into()).is_empty());
    fs.mount(&"v".into());
    assert_eq!(content(&fs, "v/a"), Some(1));
}
