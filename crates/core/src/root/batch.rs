//! Making a Batch: dirty paths, and what the disk says about each, become lists to push.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::data::batch::{Batch, Dirty, Present, Rename};
use crate::data::change::{Epoch, Kinds};
use crate::data::limits::{LARGE_FILE_MIN, LARGE_FILES_MAX};
use crate::data::path::RelPath;
use crate::source::filter::Filter;

/// What was found at a path, looked up without following any link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It exists, or can't be looked at, which rsync then says better.
    Present {
        /// Whether it is a directory.
        is_directory: bool,
    },
    /// Neither it nor, from here on downwards, anything above it exists.
    Missing {
        /// The topmost path that is missing.
        topmost: RelPath,
    },
    /// Something above it is not a directory (any more): a link, a file.
    Below {
        /// What is there.
        blocker: RelPath,
    },
}

/// Makes the Batch of dirty paths and what was found at each, in the same order. Large files are set aside by their
/// `bytes`, in the same order too, or empty where none may be. Nothing at or below a `held` directory is sent or
/// deleted. `renames` are what exists, and may be on the mirror under other names.
pub fn make(
    to: Epoch,
    entries: &[Dirty],
    found: &[Presence],
    bytes: &[u64],
    filter: &Filter,
    held: &[RelPath],
    renames: Vec<Rename>,
) -> Batch {
    debug_assert_eq!(entries.len(), found.len());
    let settled: BTreeSet<RelPath> = renames.iter().flat_map(Rename::targets).collect();
    // The value says whether the content is in doubt; for subtrees and present ones alike.
    let mut subtrees: BTreeMap<RelPath, bool> = BTreeMap::new();
    let mut present: BTreeMap<RelPath, bool> = BTreeMap::new();
    let mut missing: BTreeSet<RelPath> = BTreeSet::new();
    let mut missing_directories = false;
    let mut leftovers: BTreeSet<RelPath> = BTreeSet::new();
    let large = large(entries, bytes, &settled);
    let is_aside = |path: &RelPath| large.binary_search_by(|(known, _)| known.cmp(path)).is_ok();
    for ((path, kinds), found) in entries.iter().zip(found).filter(|((path, _), _)| !is_aside(path))
    {
        if kinds.contains(Kinds::LEFTOVER) && *found == (Presence::Present { is_directory: true }) {
            leftovers.insert(path.clone());
        }
        let kinds = *kinds - Kinds::LEFTOVER;
        if kinds.is_empty() {
            continue;
        }
        let content = kinds.contains(Kinds::CONTENT);
        match found {
            Presence::Present { is_directory } => {
                if filter.excludes(path, *is_directory) {
                    // A rule for directories alone: the name was included when it was something else.
                    // Only rsync's own comparison of the directory around it gets this right.
                    let parent = path.parent().unwrap_or_else(RelPath::root);
                    *subtrees.entry(parent).or_default() |= false;
                } else if kinds.contains(Kinds::SUBTREE) {
                    *subtrees.entry(path.clone()).or_default() |= content;
                } else {
                    *present.entry(path.clone()).or_default() |= content;
                }
            }
            Presence::Missing { topmost } => {
                missing_directories |= kinds.contains(Kinds::SUBTREE) || topmost != path;
                missing.insert(topmost.clone());
            }
            Presence::Below { blocker } => {
                *subtrees.entry(blocker.clone()).or_default() |= content;
            }
        }
    }
    let is_held = |path: &RelPath| held.iter().any(|h| path == h || path.is_below(h));
    subtrees.retain(|path, _| !is_held(path));
    present.retain(|path, _| !is_held(path));
    leftovers.retain(|path| !is_held(path) && !filter.excludes(path, true));
    // What is missing above a held directory can only be deleted together with it.
    missing.retain(|path| !is_held(path) && !held.iter().any(|h| h.is_below(path)));

    fold(&mut subtrees, &settled);
    // Written entries stay beside a subtree that is, or may be, compared by size and time alone.
    present.retain(|path, content| {
        let is_sent = |above: &RelPath, all: &bool| *all && !settled.contains(above);
        let covers = |above: &RelPath| {
            subtrees.get(above).is_some_and(|all| is_sent(above, all) || !*content)
        };
        !covers(path) && !path.ancestors().any(|above| covers(&above))
    });
    let all_missing: Vec<RelPath> = missing.iter().cloned().collect();
    missing.retain(|path| {
        topmost_above(&subtrees, path).is_none() && !all_missing.iter().any(|m| path.is_below(m))
    });
    let covers =
        |path: &RelPath| subtrees.contains_key(path) || topmost_above(&subtrees, path).is_some();
    let is_missing = |path: &RelPath| {
        missing.contains(path) || path.ancestors().any(|above| missing.contains(&above))
    };
    let is_wanted = |path: &RelPath| present.contains_key(path) || covers(path);
    let renames = renames.into_iter().filter(|it| it.targets().iter().any(is_wanted)).map(|it| {
        let old = |file: &RelPath| file.rebased(&RelPath::root(), &it.from);
        let is_gone = if it.files_alone {
            it.files.iter().filter_map(old).all(|path| is_missing(&path))
        } else {
            is_missing(&it.from) && !covers(&it.from)
        };
        Arc::new(Rename { is_gone, ..it })
    });
    let renames = renames.collect();
    let listed = |map: BTreeMap<RelPath, bool>| {
        map.into_iter().map(|(path, content)| Present { path, content }).collect()
    };
    Batch {
        to,
        walk: false,
        check: false,
        full: false,
        entries: 0,
        witness: None,
        entries_expected: 0,
        present: listed(present),
        subtrees: listed(subtrees),
        renames,
        large,
        leftovers: leftovers.into_iter().collect(),
        missing: missing.into_iter().collect(),
        missing_directories,
        held: held.to_vec(),
    }
}

/// Large files that were written to, as many as may be; but for what a rename brings.
fn large(entries: &[Dirty], bytes: &[u64], renamed: &BTreeSet<RelPath>) -> Vec<Dirty> {
    let is_large = |((path, kinds), bytes): &(&Dirty, &u64)| {
        let is_written = kinds.contains(Kinds::CONTENT) && !kinds.contains(Kinds::SUBTREE);
        is_written && **bytes >= LARGE_FILE_MIN && !renamed.contains(path)
    };
    let large = entries.iter().zip(bytes).filter(is_large).map(|(entry, _)| entry.clone());
    large.take(LARGE_FILES_MAX).collect()
}

/// The Batch of a Walk; a `check` compares contents.
pub fn make_walk(to: Epoch, check: bool, held: &[RelPath]) -> Batch {
    Batch { to, walk: true, check, held: held.to_vec(), ..Batch::default() }
}

fn topmost_above(subtrees: &BTreeMap<RelPath, bool>, path: &RelPath) -> Option<RelPath> {
    path.ancestors().find(|above| subtrees.contains_key(above))
}

/// Drops what a subtree above covers: one that is compared by size and time alone does not cover one
/// whose content is in doubt.
fn fold(subtrees: &mut BTreeMap<RelPath, bool>, settled: &BTreeSet<RelPath>) {
    let all = subtrees.clone();
    subtrees.retain(|path, content| {
        let covers = |above: RelPath| {
            all.get(&above).is_some_and(|all| (*all && !settled.contains(&above)) || !*content)
        };
        !path.ancestors().any(covers)
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::plan::Rule;

    const DIR: Presence = Presence::Present { is_directory: true };
    const FILE: Presence = Presence::Present { is_directory: false };

    fn gone(topmost: &str) -> Presence {
        Presence::Missing { topmost: topmost.into() }
    }

    /// Batch as text: `p` present, `s` subtree, a `!` where content is in doubt, `m` missing.
    fn check(entries: &[(&str, Kinds, Presence)], held: &[&str], expected: &str) {
        let held: Vec<RelPath> = held.iter().map(|h| (*h).into()).collect();
        let dirty: Vec<Dirty> = entries.iter().map(|(p, k, _)| ((*p).into(), *k)).collect();
        let found: Vec<Presence> = entries.iter().map(|(_, _, f)| f.clone()).collect();
        let filter = Filter::new(&[Rule::Exclude(b"cache/".to_vec())]).unwrap();
        let batch = make(Epoch(1), &dirty, &found, &[], &filter, &held, Vec::new());
        let mark = |kind: &str, p: &Present| {
            format!("{kind}{}{}", if p.content { "!" } else { " " }, p.path)
        };
        let mut lines: Vec<String> = batch.present.iter().map(|p| mark("p", p)).collect();
        lines.extend(batch.subtrees.iter().map(|p| mark("s", p)));
        lines.extend(batch.missing.iter().map(|p| format!("m {p}")));
        assert_eq!(lines.join(", "), expected);
    }

    const C: Kinds = Kinds::CONTENT;
    const A: Kinds = Kinds::ATTRS;
    const S: Kinds = Kinds::SUBTREE;
    const W: Kinds = Kinds::WENT;

    #[test]
    fn hard_case_2_written_and_touched_entries_are_told_apart() {
        check(&[("a", C, FILE), ("b", A, FILE), ("c", A | C, FILE)], &[], "p!a, p b, p!c");
    }

    #[test]
    fn only_the_topmost_missing_path_is_named() {
        let entries = [("a", W, gone("a")), ("a/b", C, gone("a")), ("c/d", W, gone("c/d"))];
        check(&entries, &[], "m a, m c/d");
    }

    #[test]
    fn a_subtree_covers_what_is_below_but_not_its_doubts() {
        let entries = [("a", S, DIR), ("a/b", C, FILE), ("a/c", S, DIR), ("a/d", W, gone("a/d"))];
        check(&entries, &[], "p!a/b, s a");
        let entries = [("a", S | C, DIR), ("a/b", C, FILE), ("a/c", S | C, DIR), ("a/e", A, FILE)];
        check(&entries, &[], "s!a");
        check(&[("a", S, DIR), ("a/c", S | C, DIR), ("a/e", A, FILE)], &[], "s a, s!a/c");
    }

    #[test]
    fn hard_case_7_nothing_is_listed_below_what_has_become_a_link() {
        let below = Presence::Below { blocker: "a".into() };
        check(&[("a", W | S, FILE), ("a/x", C, below.clone())], &[], "s!a");
        check(&[("a/x", C, below)], &[], "s!a");
    }

    #[test]
    fn hard_case_8_an_unmounted_volume_is_neither_sent_nor_deleted() {
        let entries = [
            ("other", W, gone("other")),
            ("up", W, gone("up")),
            ("vol/x", W, gone("vol/x")),
            ("vol", A, DIR),
        ];
        check(&entries, &["vol", "up/vol"], "m other");
    }

    #[test]
    fn a_directory_with_leftovers_is_not_sent_for_their_sake() {
        let both = Kinds::LEFTOVER | C | S;
        check(&[("a", Kinds::LEFTOVER, DIR), ("b", both, DIR)], &[], "s!b");
        let entries = [("a".into(), Kinds::LEFTOVER), ("gone".into(), Kinds::LEFTOVER)];
        let filter = Filter::new(&[]).unwrap();
        let batch = make(Epoch(1), &entries, &[DIR, gone("gone")], &[], &filter, &[], Vec::new());
        assert_eq!((batch.leftovers.as_slice(), batch.is_empty()), (&["a".into()][..], false));
    }

    #[test]
    fn hard_case_10_a_rename_settles_the_doubt_of_its_content_and_of_nothing_else() {
        let rename = |from: &str, to: &str, files_alone| Rename {
            from: from.into(),
            to: to.into(),
            files: vec!["x".into()],
            files_alone,
            other_names: false,
            bytes: 2,
            may_link: true,
            is_exact: false,
            is_gone: false,
        };
        let entries =
            [("a", W | S | C, gone("a")), ("b", S | C, DIR), ("b/y", C, FILE), ("d/x", C, FILE)];
        let dirty: Vec<Dirty> = entries.iter().map(|(p, k, _)| ((*p).into(), *k)).collect();
        let found: Vec<Presence> = entries.iter().map(|(_, _, f)| f.clone()).collect();
        let renames =
            vec![rename("a", "b", false), rename("c", "d", true), rename("e", "g", false)];
        let filter = Filter::new(&[]).unwrap();
        let batch = make(Epoch(1), &dirty, &found, &[], &filter, &[], renames);
        let listed = |path: &str, content| Present { path: path.into(), content };
        assert_eq!(batch.subtrees, [listed("b", true)]);
        assert_eq!(batch.present, [listed("b/y", true), listed("d/x", true)], "not covered by b");
        let gone: Vec<_> = batch.renames.iter().map(|it| (it.to.to_string(), it.is_gone)).collect();
        assert_eq!(gone, [("b".into(), true), ("d".into(), false)], "c/x is still there");
    }

    #[test]
    fn a_file_that_became_an_excluded_directory_is_compared_from_above() {
        check(&[("d/cache", W | S, DIR)], &[], "s d");
    }
}
