use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::data::event::{EventMask, KernelEvent};
use crate::data::plan::Rule;
use crate::machine::Rule as _;

/// A table over a pretended tree: directories are opened and listed at once, unless told otherwise.
struct Bench {
    table: WatchTable,
    tree: BTreeSet<RelPath>,
    wds: BTreeMap<RelPath, i32>,
    next_wd: i32,
    log: Vec<String>,
    opened: usize,
}

fn at(ms: u64) -> Moment {
    Moment::after_start(Duration::from_millis(ms))
}

impl Bench {
    fn new(rules: &[Rule], directories: &[&str]) -> Self {
        let filter = Arc::new(Filter::new(rules).unwrap());
        let mut bench = Self {
            table: WatchTable::new(filter),
            tree: directories.iter().map(|d| RelPath::from(*d)).collect(),
            wds: BTreeMap::new(),
            next_wd: 1,
            log: vec![],
            opened: 0,
        };
        bench.tree.insert(RelPath::root());
        bench.run();
        bench.table.handle_drained();
        assert_eq!(bench.take_log(), ["complete"]);
        bench
    }

    fn take_log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }

    fn open(&mut self, opening: &Opening) {
        if !self.tree.contains(&opening.path) {
            self.table.handle_failed(opening, OpenFailure::NotThere);
            return;
        }
        self.opened += 1;
        let next = self.next_wd;
        let wd = *self.wds.entry(opening.path.clone()).or_insert(next);
        self.next_wd = self.next_wd.max(wd + 1);
        let Some(node) = self.table.handle_opened(opening, wd, VOLUME) else { return };
        let children = self.tree.iter().filter(|p| p.parent().as_ref() == Some(&opening.path));
        let names = children.map(|p| Arc::from(p.name())).collect();
        self.table.handle_listed(opening.job, node, names);
    }

    fn run(&mut self) {
        while let Some(effect) = self.table.poll_effect() {
            match effect {
                Effect::Open(opening) => self.open(&opening),
                other => self.note(other),
            }
        }
    }

    fn note(&mut self, effect: Effect) {
        let line = match effect {
            Effect::Changed(Change { path, kinds, moved_from: None, .. }) => {
                format!("{path} {kinds:?}")
            }
            Effect::Changed(Change { path, kinds, moved_from: Some(from), .. }) => {
                format!("{from} > {path} {kinds:?}")
            }
            Effect::Complete => "complete".into(),
            Effect::Unwatch(wd) => {
                self.wds.retain(|_, known| *known != wd);
                return;
            }
            Effect::Made(_) | Effect::Renamed(..) | Effect::Went(..) | Effect::MovedIn(_) => return,
            other => format!("{other:?}"),
        };
        self.log.push(line.replace("Kinds(", "").replace(')', ""));
    }

    fn event(&mut self, directory: &str, name: &str, mask: EventMask, cookie: u32) {
        let directory = RelPath::parse(directory.as_bytes()).unwrap();
        let wd = self.wds[&directory];
        let event = KernelEvent { wd, mask, cookie, name: name.into() };
        self.table.handle_event(at(0), &event);
        self.run();
    }

    /// A directory is renamed in the pretended tree, watches included.
    fn rename(&mut self, from: &str, to: &str) {
        let (from, to) = (RelPath::from(from), RelPath::from(to));
        let moved = |path: &RelPath| path.rebased(&from, &to).unwrap_or_else(|| path.clone());
        self.tree = self.tree.iter().map(moved).collect();
        self.wds = self.wds.iter().map(|(path, wd)| (moved(path), *wd)).collect();
    }
}

const DIR: EventMask = EventMask::ISDIR;
const VOLUME: Volume = Volume { device: 1, file_system: 1 };

#[test]
fn hard_case_3_a_directory_renamed_within_the_root_moves_a_node_and_walks_nothing() {
    let mut bench = Bench::new(&[], &["a", "a/b", "a/b/c", "d"]);
    let opened = bench.opened;
    bench.rename("a", "d/e");
    bench.event("", "a", EventMask::MOVED_FROM | DIR, 7);
    bench.event("d", "e", EventMask::MOVED_TO | DIR, 7);
    assert_eq!(bench.take_log(), ["a > d/e CONTENT | SUBTREE"]);
    assert_eq!(bench.opened, opened);
    bench.event("d/e/b/c", "f", EventMask::CLOSE_WRITE, 0);
    assert_eq!(bench.take_log(), ["d/e/b/c/f CONTENT"]);
}

#[test]
fn hard_case_3_directories_that_come_go_or_move_are_subtrees() {
    let mut bench = Bench::new(&[], &["a"]);
    bench.event("", "a", EventMask::DELETE | DIR, 0);
    assert_eq!(bench.take_log(), ["a WENT | SUBTREE"]);
    bench.event("", "a", EventMask::CREATE | DIR, 0);
    assert_eq!(bench.take_log(), ["a CONTENT | CAME | SUBTREE"]);
}

#[test]
fn hard_case_24_halves_of_a_rename_pair_across_reads() {
    let mut bench = Bench::new(&[], &["a", "b"]);
    bench.event("a", "x", EventMask::MOVED_FROM, 3);
    bench.table.handle_read_end();
    bench.run();
    assert_eq!(bench.take_log(), [""; 0]);
    bench.event("b", "y", EventMask::MOVED_TO, 3);
    bench.table.handle_read_end();
    assert_eq!(bench.take_log(), ["a/x > b/y CONTENT"]);
}

#[test]
fn hard_case_24_a_half_that_stays_alone_was_a_move_out_and_its_watches_go() {
    for by_time in [true, false] {
        let mut bench = Bench::new(&[], &["a", "a/b", "a/b/c"]);
        bench.event("a", "b", EventMask::MOVED_FROM | DIR, 3);
        if by_time {
            assert_eq!(bench.table.poll_timeout(at(1)), Some(at(10)));
            bench.table.handle_timeout(at(10));
        } else {
            bench.table.handle_read_end();
            bench.table.handle_read_end();
        }
        bench.run();
        assert_eq!(bench.take_log(), ["a/b WENT | SUBTREE"]);
        assert_eq!(bench.table.len(), 2);
        assert_eq!(bench.wds.len(), 2, "the watches below it are given back");
    }
}

#[test]
fn hard_case_23_a_descriptor_known_under_another_path_puts_both_in_doubt() {
    let mut bench = Bench::new(&[], &["a", "a/x"]);
    let opened = bench.opened;
    bench.rename("a", "b");
    bench.event("", "b", EventMask::CREATE | DIR, 0);
    let log = bench.take_log();
    assert!(log.contains(&"a CONTENT | SUBTREE".into()), "{log:?}");
    assert!(log.contains(&"b CONTENT | CAME | SUBTREE".into()), "{log:?}");
    assert_eq!(bench.table.len(), 3);
    assert_eq!(bench.opened, opened + 2, "what is below it is watched from there");
}

#[test]
fn a_directory_that_is_in_two_places_is_watched_in_one_and_looked_through_in_the_other() {
    let mut bench = Bench::new(&[], &["a"]);
    let wd = bench.wds[&"a".into()];
    bench.tree.insert("b".into());
    bench.wds.insert("b".into(), wd);
    bench.event("", "b", EventMask::CREATE | DIR, 0);
    let log = bench.take_log();
    assert_eq!(log.iter().filter(|line| line.starts_with("Rescan")).count(), 1, "{log:?}");
    assert_eq!(bench.table.len(), 2);
}

#[test]
fn a_directory_renamed_while_it_is_explored_is_watched_under_its_new_name() {
    let filter = Arc::new(Filter::new(&[]).unwrap());
    let mut table = WatchTable::new(filter);
    let ask = |table: &mut WatchTable| match table.poll_effect() {
        Some(Effect::Open(opening)) => opening,
        other => panic!("{other:?}"),
    };
    let root = ask(&mut table);
    let node = table.handle_opened(&root, 1, VOLUME).unwrap();
    table.handle_listed(root.job, node, vec![b"a".as_slice().into()]);
    let a = ask(&mut table);
    let a_node = table.handle_opened(&a, 2, VOLUME).unwrap();
    table.handle_listed(a.job, a_node, vec![b"sub".as_slice().into()]);
    table.handle_drained();
    let sub = ask(&mut table);
    let event = |wd, mask, name: &str| KernelEvent { wd, mask, cookie: 9, name: name.into() };
    table.handle_event(at(0), &event(1, EventMask::MOVED_FROM | DIR, "a"));
    table.handle_event(at(0), &event(1, EventMask::MOVED_TO | DIR, "b"));
    table.handle_event(at(0), &event(2, EventMask::MOVE_SELF, ""));
    table.handle_read_end();
    while !matches!(table.effects.front(), Some(Effect::Open(_))) {
        table.effects.pop_front();
    }
    let b = ask(&mut table);
    assert_eq!(b.path, "b".into());
    assert_eq!(table.handle_opened(&b, 2, VOLUME), Some(a_node));
    table.handle_listed(b.job, a_node, vec![b"sub".as_slice().into()]);
    let again = ask(&mut table);
    assert_eq!(again.path, "b/sub".into());
    table.handle_failed(&sub, OpenFailure::NotThere);
    assert_eq!(table.poll_effect(), Some(Effect::Complete));
    let sub_node = table.handle_opened(&again, 3, VOLUME).unwrap();
    table.handle_listed(again.job, sub_node, vec![]);
    assert_eq!(table.path(sub_node), Some("b/sub".into()));
    assert!(!table.is_exploring());
}

#[test]
fn excluded_directories_are_not_watched_but_their_coming_dates_the_directory_around() {
    let mut bench = Bench::new(&[Rule::Exclude(b"cache/".to_vec())], &["cache", "cache/x", "a"]);
    assert_eq!(bench.table.len(), 2);
    bench.tree.insert("a/cache".into());
    bench.event("a", "cache", EventMask::CREATE | DIR, 0);
    assert_eq!(bench.take_log(), ["a ATTRS"]);
    bench.event("a", "cache", EventMask::ATTRIB | DIR, 0);
    assert_eq!(bench.take_log(), [""; 0]);
}

#[test]
fn a_rename_to_an_excluded_name_is_a_deletion_and_back_is_a_new_file() {
    let mut bench = Bench::new(&[Rule::Exclude(b"*.off".to_vec())], &[]);
    bench.event("", "x", EventMask::MOVED_FROM, 4);
    bench.event("", "x.off", EventMask::MOVED_TO, 4);
    assert_eq!(bench.take_log(), [". ATTRS", "x WENT"]);
    bench.event("", "x.off", EventMask::MOVED_FROM, 5);
    bench.event("", "x", EventMask::MOVED_TO, 5);
    let log = bench.take_log();
    assert!(log.contains(&"x CONTENT".into()), "{log:?}");
}

#[test]
fn exchanged_directories_are_watched_each_under_its_new_name() {
    let mut bench = Bench::new(&[], &["a", "a/x", "b", "b/y"]);
    let wds = ["a", "b"].map(|name| bench.wds[&name.into()]);
    bench.event("", "a", EventMask::MOVED_FROM | DIR, 7);
    bench.rename("a", "t");
    bench.rename("b", "a");
    bench.rename("t", "b");
    let mut say = |wd, mask, cookie, name: &str| {
        let event = KernelEvent { wd, mask, cookie, name: name.into() };
        bench.table.handle_event(at(0), &event);
        bench.run();
    };
    say(1, EventMask::MOVED_TO | DIR, 7, "b");
    say(wds[0], EventMask::MOVE_SELF, 0, "");
    say(1, EventMask::MOVED_FROM | DIR, 8, "b");
    say(1, EventMask::MOVED_TO | DIR, 8, "a");
    say(wds[1], EventMask::MOVE_SELF, 0, "");
    assert!(bench.table.has_half_moves());
    bench.table.handle_read_end();
    bench.table.handle_read_end();
    bench.run();
    assert!(!bench.table.has_half_moves());
    for path in ["a", "a/y", "b", "b/x"] {
        let wd = bench.wds[&path.into()];
        let mask = EventMask::CLOSE_WRITE;
        bench.take_log();
        bench.table.handle_event(at(0), &KernelEvent { wd, mask, cookie: 0, name: "f".into() });
        bench.run();
        assert_eq!(bench.take_log(), [format!("{path}/f CONTENT")]);
    }
    assert_eq!(bench.table.len(), 5);
}

#[test]
fn with_rules_that_look_at_parents_a_renamed_directory_is_explored_anew() {
    let mut bench = Bench::new(&[Rule::Exclude(b"/a/skip".to_vec())], &["a", "a/skip", "a/x"]);
    assert_eq!(bench.table.len(), 3);
    bench.rename("a", "b");
    bench.event("", "a", EventMask::MOVED_FROM | DIR, 7);
    bench.event("", "b", EventMask::MOVED_TO | DIR, 7);
    assert_eq!(bench.table.len(), 4, "b/skip is not kept out");
    assert!(bench.take_log().contains(&"a > b CONTENT | SUBTREE".into()));
}

#[test]
fn lost_events_and_a_lost_root_are_said() {
    let mut bench = Bench::new(&[], &["a"]);
    let overflow = KernelEvent { wd: -1, mask: EventMask::OVERFLOW, cookie: 0, name: vec![] };
    bench.table.handle_event(at(0), &overflow);
    bench.run();
    assert_eq!(bench.take_log().len(), 1);
    bench.event("", "", EventMask::DELETE_SELF, 0);
    assert_eq!(bench.take_log().len(), 1);
}
