use proptest::prelude::*;

use super::*;

fn unit(name: &str) -> Unit {
    Unit::Directory(name.into())
}

fn path(name: &str) -> RelPath {
    name.into()
}

fn scanned(counts: &[(&str, u64)]) -> EntryCount {
    scanned_without(counts, &[])
}

/// Directories and the number of entries directly in each.
fn scanned_without(counts: &[(&str, u64)], free: &[&str]) -> EntryCount {
    let mut count = EntryCount::new(free.iter().map(|free| path(free)).collect());
    count.set(counts.iter().map(|(name, entries)| (path(name), *entries)), &[]);
    count.take_changes().expect("it was scanned");
    count.settled();
    count
}

#[test]
fn a_scan_counts_directories_with_their_entries_and_files_of_the_root_together() {
    let count = scanned(&[("", 5), ("a", 2), ("a/b", 10), ("c", 0)]);
    assert_eq!(count.now(&Unit::Files), 3);
    assert_eq!(count.now(&unit("a")), 1 + 2 + 10);
    assert_eq!(count.now(&unit("c")), 1);
}

#[test]
fn nothing_is_told_before_the_first_scan() {
    let mut count = EntryCount::new(Vec::new());
    assert_eq!(count.take_changes(), None);
    count.set([(path(""), 0)], &[]);
    let files = UnitChange { unit: Unit::Files, now: Some(0), moved: 0 };
    assert_eq!(count.take_changes(), Some(vec![files]));
    count.begin();
    assert_eq!(count.take_changes(), None);
}

#[test]
fn what_changes_during_a_scan_is_what_it_may_be_wrong_by() {
    let mut count = EntryCount::new(Vec::new());
    count.came(&path("f"), false);
    count.came(&path("a/f"), false);
    count.moved(&path("b/x"), &path("b/y"), Size::Unknown);
    count.set([(path(""), 3), (path("a"), 99), (path("b"), 99)], &[]);
    let levels: Vec<_> =
        count.take_changes().unwrap().into_iter().map(|it| (it.unit, it.now)).collect();
    assert_eq!(levels, [(Unit::Files, None), (unit("a"), Some(99)), (unit("b"), None)]);
    assert_eq!(count.needs_count(), [Unit::Files, unit("b")]);
    count.counted(Unit::Files, 1);
    count.came(&path("b/z"), false);
    count.counted(unit("b"), 100);
    assert_eq!((count.now(&Unit::Files), count.now(&unit("b"))), (1, 99));
    assert_eq!(count.now(&unit("a")), 99);
}

#[test]
fn what_the_kernel_had_still_to_tell_is_not_counted_twice() {
    let mut count = EntryCount::new(Vec::new());
    count.set([(path(""), 1), (path("a"), 99)], &[]);
    count.came(&path("a/x"), false);
    count.went(&path("a/y"), Size::File);
    assert_eq!(count.now(&unit("a")), 99);
    count.settled();
    count.came(&path("a/z"), false);
    assert_eq!(count.now(&unit("a")), 100);
}

#[test]
fn names_found_by_a_listing_are_in_doubt_until_counted() {
    let mut count = scanned(&[("", 1), ("a", 99)]);
    count.came(&path("a/new"), true);
    count.may_have_come(&path("a/new"), 5);
    assert_eq!((count.now(&unit("a")), count.needs_count()), (101, Vec::new()));
    count.may_have_come(&path("a/new"), 1);
    assert_eq!(count.needs_count(), [unit("a")]);
    count.may_have_come(&path("a/new"), 50);
    count.counted(unit("a"), 150);
    assert_eq!(count.now(&unit("a")), 101, "half of it may have come while it was counted");
    assert_eq!(count.needs_count(), [unit("a")]);
}

#[test]
fn a_tree_that_becomes_free_takes_its_mark_along() {
    let mut count = scanned(&[("", 2), ("a", 10), ("b", 3)]);
    count.set_free_to_delete(vec![path("a/tmp")]);
    let changes = count.take_changes().unwrap();
    assert_eq!(changes, [UnitChange { unit: unit("a"), now: None, moved: -11 }]);
    assert_eq!(count.needs_count(), [unit("a")]);
    count.counted(unit("a"), 4);
    assert_eq!(count.take_changes().unwrap()[0].now, Some(4));
}

#[test]
fn a_directory_of_unknown_size_takes_its_mark_along_when_both_units_are_counted() {
    let mut count = scanned(&[("", 2), ("a", 1), ("a/d", 20), ("b", 0)]);
    count.moved(&path("a/d"), &path("b/d"), Size::Unknown);
    assert!(count.take_changes().unwrap().iter().all(|it| it.now.is_none()));
    assert_eq!(count.needs_count(), [unit("a"), unit("b")]);
    count.counted(unit("a"), 1);
    let alone = UnitChange { unit: unit("a"), now: None, moved: 0 };
    assert_eq!(count.take_changes(), Some(vec![alone]), "half of it would be a loss");
    count.counted(unit("b"), 22);
    let source = UnitChange { unit: unit("a"), now: Some(1), moved: -21 };
    let target = UnitChange { unit: unit("b"), now: Some(22), moved: 21 };
    assert_eq!(count.take_changes(), Some(vec![source, target]));
}

#[test]
fn two_units_that_are_exchanged_are_counted_again() {
    let mut count = scanned(&[("", 2), ("a", 10), ("b", 3)]);
    count.moved(&path("a"), &path("b"), Size::Unknown);
    count.moved(&path("b"), &path("a"), Size::Unknown);
    assert_eq!(count.needs_count(), [unit("a"), unit("b")]);
}

#[test]
fn entries_come_and_go() {
    let mut count = scanned(&[("", 1), ("a", 10)]);
    count.came(&path("a/x"), false);
    count.came(&path("a/d"), true);
    count.came(&path("f"), false);
    count.came(&path("n"), true);
    count.came(&path("n/x"), false);
    assert_eq!((count.now(&unit("a")), count.now(&Unit::Files)), (13, 1));
    assert_eq!(count.now(&unit("n")), 2);
    count.went(&path("a/d"), Size::Directory(4));
    count.went(&path("f"), Size::File);
    count.went(&path("n"), Size::Unknown);
    let changes = count.take_changes().unwrap();
    let levels: Vec<_> = changes.into_iter().map(|it| (it.unit, it.now)).collect();
    let expected = [(Unit::Files, Some(0)), (unit("a"), Some(8)), (unit("n"), Some(0))];
    assert_eq!(levels, expected);
}

#[test]
fn a_unit_of_unknown_size_waits_for_its_count() {
    let mut count = scanned(&[("", 1), ("a", 10), ("a/b", 3)]);
    count.went(&path("a/b"), Size::Unknown);
    assert_eq!(count.take_changes().unwrap()[0].now, None);
    assert_eq!(count.needs_count(), [unit("a")]);
    assert_eq!(count.needs_count(), [], "asked for once");
    count.counted(unit("a"), 10);
    assert_eq!(count.take_changes().unwrap()[0].now, Some(10));
    count.went(&path("a/c"), Size::Unknown);
    count.needs_count();
    count.went(&path("a/d"), Size::Unknown);
    count.counted(unit("a"), 5);
    assert_eq!(count.take_changes().unwrap()[0].now, None, "another went while it was counted");
    assert_eq!(count.needs_count(), [unit("a")]);
}

#[test]
fn a_deletion_of_more_than_was_counted_asks_for_a_count() {
    let mut count = scanned(&[("", 1), ("a", 2)]);
    count.went(&path("a/b"), Size::Directory(7));
    assert_eq!(count.needs_count(), [unit("a")]);
}

#[test]
fn renames_between_units_move_entries_and_marks() {
    let mut count = scanned(&[("", 2), ("a", 1), ("a/d", 20), ("b", 0)]);
    count.moved(&path("a/d"), &path("b/d"), Size::Directory(20));
    let changes = count.take_changes().unwrap();
    assert_eq!(changes[0], UnitChange { unit: unit("a"), now: Some(1), moved: -21 });
    assert_eq!(changes[1], UnitChange { unit: unit("b"), now: Some(22), moved: 21 });
    count.moved(&path("b"), &path("c"), Size::Unknown);
    assert_eq!((count.now(&unit("b")), count.now(&unit("c"))), (0, 22));
}

#[test]
fn a_directory_that_is_renamed_takes_with_it_what_is_doubtful_in_it() {
    let mut count = scanned(&[("", 2), ("a", 9), ("b", 1)]);
    for number in 0..9 {
        let (from, to) = (path(&format!("b/{number}.tmp")), path(&format!("b/{number}")));
        count.came(&from, false);
        count.moved(&from, &to, Size::File);
    }
    count.moved(&path("b"), &path("a/b"), Size::Unknown);
    assert_eq!(count.needs_count(), [unit("a")], "nine names may be new");
}

#[test]
fn files_replaced_by_renames_do_not_raise_the_count() {
    let mut count = scanned(&[("", 1), ("a", 99)]);
    for _ in 0..5 {
        count.came(&path("a/.f.tmp"), false);
        count.moved(&path("a/.f.tmp"), &path("a/f"), Size::File);
    }
    assert_eq!(count.now(&unit("a")), 100);
    assert_eq!(count.needs_count(), []);
    count.arrived(&path("a/g"), Size::File);
    assert_eq!(count.needs_count(), [unit("a")], "six of a hundred may be new");
    assert!(count.take_changes().unwrap()[0].now.is_some(), "and nothing waits for it");
    count.counted(unit("a"), 106);
    assert_eq!(count.now(&unit("a")), 106);
}

#[test]
fn free_trees_are_not_counted() {
    let counts = [("", 2), ("a", 3), ("a/tmp", 50), ("a/tmp/x", 50), ("cache", 9)];
    let mut count = scanned_without(&counts, &["a/tmp", "cache"]);
    assert_eq!((count.now(&Unit::Files), count.now(&unit("a"))), (0, 3));
    assert_eq!(count.now(&unit("cache")), 0);
    count.came(&path("cache/x"), false);
    count.went(&path("a/tmp/x"), Size::Directory(50));
    assert_eq!(count.take_changes(), Some(Vec::new()));
    count.moved(&path("a/f"), &path("cache/f"), Size::File);
    assert_eq!(count.now(&unit("a")), 2, "moved to where deletions are free: lost");
    count.went(&path("a"), Size::Directory(52));
    assert_eq!(count.now(&unit("a")), 0);
}

#[test]
fn a_unit_with_an_unmounted_volume_keeps_its_count() {
    let mut count = scanned(&[("", 2), ("a", 10), ("b", 10)]);
    count.set([(path(""), 2), (path("a"), 1), (path("b"), 1)], &[path("a/volume")]);
    assert_eq!((count.now(&unit("a")), count.now(&unit("b"))), (11, 2));
}

#[test]
fn the_smallest_of_too_many_units_are_one() {
    let all = UNITS_MAX as u64 + 10;
    let name = |number: u64| path(&format!("d{number:06}"));
    let counts: Vec<_> = (0..all).map(|number| (name(number), number)).collect();
    let mut count = EntryCount::new(Vec::new());
    let root = (RelPath::root(), all);
    count.set(counts.iter().cloned().chain([root.clone()]), &[]);
    assert_eq!(count.now(&Unit::Rest), (0..10).map(|number| number + 1).sum::<u64>());
    count.settled();
    count.came(&path("new"), true);
    count.went(&path("new"), Size::Directory(0));
    count.went(&name(all - 1), Size::Unknown);
    assert_eq!(count.now(&unit("new")), 0);
    // A unit that was one of many stays one of them.
    count.take_changes();
    count.set(counts.into_iter().chain([root]), &[]);
    assert_eq!(count.now(&Unit::Rest), (0..10).map(|number| number + 1).sum::<u64>() + all);
}
/// What is there, and whether it is a directory.
type Tree = BTreeMap<RelPath, bool>;

fn take_out(tree: &mut Tree, path: &RelPath) -> Vec<(RelPath, bool)> {
    let out: Vec<_> = tree
        .iter()
        .filter(|(name, _)| *name == path || name.is_below(path))
        .map(|(name, is_directory)| (name.clone(), *is_directory))
        .collect();
    tree.retain(|name, _| name != path && !name.is_below(path));
    out
}

fn true_size(tree: &Tree, count: &EntryCount, unit: &Unit) -> u64 {
    let is_in = |path: &RelPath, is_directory: bool| {
        let is_file = is_top(path) && !is_directory;
        match unit {
            Unit::Files => is_file,
            Unit::Directory(top) => !is_file && top_of(path).as_ref() == Some(top),
            Unit::Rest => false,
        }
    };
    let counted = tree.iter().filter(|(path, _)| !count.is_free(path));
    counted.filter(|(path, is_directory)| is_in(path, **is_directory)).count() as u64
}

proptest! {
    #[test]
    fn counts_are_lower_bounds_that_a_count_makes_exact(
        steps in proptest::collection::vec(
            (0..4_u8, 0..12_usize, 0..12_usize, any::<bool>(), any::<bool>()),
            0..60,
        ),
    ) {
        let names = ["a", "b", "f", "a/x", "a/free", "a/free/y", "a/x/z", "b/x", "b/x/y",
            "b/free", "f/x", "b/q"];
        let mut tree = Tree::new();
        let mut count = scanned_without(&[("", 0)], &["a/free"]);
        for (step, first, second, flag, is_known) in steps {
            let (path, other) = (path(names[first]), path(names[second]));
            let size = |out: &[(RelPath, bool)]| match (out[0].1, is_known) {
                (false, _) => Size::File,
                (true, true) => Size::Directory(out.len() as u64 - 1),
                (true, false) => Size::Unknown,
            };
            let fits = |tree: &Tree, path: &RelPath| {
                let parent = path.parent().expect("it is not the root");
                parent.is_root() || tree.get(&parent) == Some(&true)
            };
            match step {
                0 | 1 if fits(&tree, &path) && !tree.contains_key(&path) => {
                    tree.insert(path.clone(), flag);
                    count.came(&path, flag);
                }
                2 if tree.contains_key(&path) => {
                    let out = take_out(&mut tree, &path);
                    count.went(&path, size(&out));
                }
                3 if tree.contains_key(&path) && !path.is_related(&other) && fits(&tree, &other) => {
                    let is_directory = tree[&path];
                    // Only a file replaces a file without a word.
                    if tree.get(&other).is_some_and(|it| *it || is_directory) {
                        continue;
                    }
                    let out = take_out(&mut tree, &path);
                    count.moved(&path, &other, size(&out));
                    tree.extend(out.iter().filter_map(|(name, it)| {
                        Some((name.rebased(&path, &other)?, *it))
                    }));
                }
                _ => (),
            }
            for (unit, it) in &count.units {
                let size = true_size(&tree, &count, unit);
                let is_bound = it.now <= size && size <= it.now + it.doubtful;
                prop_assert!(it.is_unknown || is_bound, "{unit:?} {it:?} {size}");
            }
            if flag {
                for unit in count.needs_count() {
                    let size = true_size(&tree, &count, &unit);
                    count.counted(unit, size);
                }
            }
        }
    }
}
