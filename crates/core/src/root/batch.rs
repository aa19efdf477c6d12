//! Making a Batch: dirty paths, and what the disk says about each, become lists to push.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::data::absent_volumes::AbsentVolumes;
use crate::data::batch::{Batch, Compare, Depth, Dirty, Present, Rename};
use crate::data::change::Epoch;
use crate::data::limits::{LARGE_FILE_MIN, LARGE_FILES_MAX};
use crate::data::need::Need;
use crate::data::path::RelPath;
use crate::data::piece::Part;
use crate::root::ledger::{LeftOut, LeftOutWhy};
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

/// A batch, and what of the assignment it leaves out. Together they are exactly what the assignment names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// What is to be run. Mirrors in step share it.
    pub batch: Arc<Batch>,
    /// What is owed instead.
    pub left_out: Vec<LeftOut>,
}

/// What was found on the disk of what an assignment names.
#[derive(Clone, Copy, Debug)]
pub struct Looked<'a> {
    /// What the assignment names, sorted.
    pub entries: &'a [Dirty],
    /// What was found at each, in the same order.
    pub found: &'a [Presence],
    /// The size of each in bytes, in the same order, or empty where no large file may be left out.
    pub bytes: &'a [u64],
    /// How many entries the source lost at some of them.
    pub lost: &'a BTreeMap<RelPath, u64>,
    /// How many entries a run found at some of them that are on the mirror alone.
    pub found_extra: &'a BTreeMap<RelPath, u64>,
    /// Nothing at or below these directories is sent or deleted.
    pub absent: &'a AbsentVolumes,
}

/// Makes the batch of a push. `renames` are what exists, and may be on the mirror under other names.
pub fn make(to: Epoch, looked: Looked<'_>, filter: &Filter, mut renames: Vec<Rename>) -> Made {
    debug_assert_eq!(looked.entries.len(), looked.found.len());
    // A content that has to be sent into a new file is not taken from elsewhere.
    let anew: Vec<&RelPath> = looked
        .entries
        .iter()
        .filter(|(_, need)| need.contains(Need::ANEW))
        .map(|(path, _)| path)
        .collect();
    renames.retain(|it| !it.targets().iter().any(|to| anew.iter().any(|path| path.is_related(to))));
    let settled: BTreeSet<RelPath> = renames.iter().flat_map(Rename::targets).collect();
    let mut maker = Maker { settled, ..Maker::new(looked) };
    maker.sort_entries(filter);
    maker.leave_out_volumes();
    maker.fold();
    maker.conserve();
    maker.finish(to, renames)
}

/// A batch that is being made. The values of `subtrees` and `present` say whether contents are sent.
struct Maker<'a> {
    looked: Looked<'a>,
    /// What a rename brings.
    settled: BTreeSet<RelPath>,
    subtrees: BTreeMap<RelPath, bool>,
    present: BTreeMap<RelPath, bool>,
    missing: BTreeSet<RelPath>,
    missing_directories: bool,
    leftovers: BTreeSet<RelPath>,
    left_out: Vec<LeftOut>,
    /// What each entry needs now that it was looked at.
    needs: Vec<(&'a RelPath, Need)>,
}

impl<'a> Maker<'a> {
    fn new(looked: Looked<'a>) -> Self {
        Self {
            looked,
            settled: BTreeSet::new(),
            subtrees: BTreeMap::new(),
            present: BTreeMap::new(),
            missing: BTreeSet::new(),
            missing_directories: false,
            leftovers: BTreeSet::new(),
            left_out: Vec::new(),
            needs: Vec::with_capacity(looked.entries.len()),
        }
    }

    fn leave_out(&mut self, path: &RelPath, need: Need, why: LeftOutWhy) {
        let lost = self.looked.lost.get(path).copied().unwrap_or_default();
        self.left_out.push(LeftOut { path: path.clone(), need, lost, why });
    }

    /// Each entry goes where it belongs by what was found.
    fn sort_entries(&mut self, filter: &Filter) {
        let Looked { entries, found, bytes, absent, .. } = self.looked;
        let large = large(entries, bytes, &self.settled);
        for ((path, need), found) in entries.iter().zip(found) {
            if let Some(volume) = absent.around(path) {
                self.leave_out(path, *need, LeftOutWhy::Unmounted(volume.clone()));
                continue;
            }
            let is_directory = *found == (Presence::Present { is_directory: true });
            if need.contains(Need::LEFTOVERS) && is_directory && !filter.excludes(path, true) {
                // That lists the directory.
                match absent.listed_in(path) {
                    Some(volume) => {
                        let why = LeftOutWhy::Unmounted(volume.clone());
                        self.leave_out(path, Need::LEFTOVERS, why);
                    }
                    None => drop(self.leftovers.insert(path.clone())),
                }
            }
            let need = *need - Need::LEFTOVERS;
            if large.binary_search_by(|(known, _)| known.cmp(path)).is_ok() {
                self.leave_out(path, need, LeftOutWhy::Large);
            } else if !need.is_empty() {
                let need = self.sort_entry(path, need, found, filter);
                self.needs.push((path, need));
            }
        }
    }

    /// Returns what is still needed there.
    fn sort_entry(
        &mut self,
        path: &RelPath,
        need: Need,
        found: &Presence,
        filter: &Filter,
    ) -> Need {
        let content = need.wants_contents();
        match found {
            Presence::Present { is_directory } if filter.excludes(path, *is_directory) => {
                // A rule for directories alone: the name was included when it was something else.
                // Only rsync's own comparison of the directory around it gets this right.
                let parent = path.parent().unwrap_or_else(RelPath::root);
                *self.subtrees.entry(parent).or_default() |= false;
                Need::empty()
            }
            Presence::Present { .. } if need.is_within() => {
                *self.subtrees.entry(path.clone()).or_default() |= content;
                need
            }
            Presence::Present { .. } => {
                *self.present.entry(path.clone()).or_default() |= content;
                // A name that is there is not one to delete.
                need - Need::GONE
            }
            Presence::Missing { topmost } => {
                self.missing_directories |= need.is_within() || topmost != path;
                self.missing.insert(topmost.clone());
                Need::GONE | (need & Need::WITHIN)
            }
            Presence::Below { blocker } => {
                *self.subtrees.entry(blocker.clone()).or_default() |= content;
                need.level()
            }
        }
    }

    /// What holds a volume that is not mounted can only be deleted together with it, and what is around one is compared
    /// without it.
    fn leave_out_volumes(&mut self) {
        let absent = self.looked.absent;
        for volume in absent.paths() {
            let above: Vec<RelPath> =
                self.missing.iter().filter(|path| volume.is_below(path)).cloned().collect();
            for path in above {
                self.missing.remove(&path);
                let why = LeftOutWhy::Unmounted(volume.clone());
                self.leave_out(&path, Need::GONE | Need::WITHIN, why);
            }
            if let Some(content) = volume.ancestors().find_map(|it| self.subtrees.get(&it).copied())
            {
                self.leave_out(volume, tree(content), LeftOutWhy::Unmounted(volume.clone()));
            }
        }
        let met = |(path, content): (&RelPath, &bool)| {
            Some((path.clone(), tree(*content), absent.met_in(path)?.clone()))
        };
        let root = self.present.get_key_value(&RelPath::root()).and_then(|(root, content)| {
            Some((root.clone(), sent(*content), absent.listed_in(root)?.clone()))
        });
        let hidden: Vec<_> = self.subtrees.iter().filter_map(met).chain(root).collect();
        for (path, need, volume) in hidden {
            self.subtrees.remove(&path);
            self.present.remove(&path);
            self.leave_out(&path, need, LeftOutWhy::Unmounted(volume));
        }
    }

    /// Drops what is covered by something else.
    fn fold(&mut self) {
        let (subtrees, settled) = (&mut self.subtrees, &self.settled);
        fold(subtrees, settled);
        // Written entries stay beside a subtree that is, or may be, compared by size and time alone.
        self.present.retain(|path, content| {
            let is_sent = |above: &RelPath, all: &bool| *all && !settled.contains(above);
            let covers = |above: &RelPath| {
                subtrees.get(above).is_some_and(|all| is_sent(above, all) || !*content)
            };
            !covers(path) && !path.ancestors().any(|above| covers(&above))
        });
        // Those in a subtree stay: a subtree's run only counts what it would delete.
        let all = self.missing.clone();
        self.missing.retain(|path| !path.ancestors().any(|above| all.contains(&above)));
    }

    fn is_missing(&self, path: &RelPath) -> bool {
        self.missing.contains(path) || path.ancestors().any(|it| self.missing.contains(&it))
    }

    /// What no run of this batch proves is owed.
    fn conserve(&mut self) {
        for (path, need) in std::mem::take(&mut self.needs) {
            let tree = |it: RelPath| self.subtrees.get(&it).map(|all| sent(*all) | Need::TREE);
            let trees = path.ancestors().chain([path.clone()]).filter_map(tree);
            let own = self.present.get(path).map(|content| sent(*content));
            let taken = self.settled.contains(path).then_some(Need::CONTENTS);
            let gone = self.is_missing(path).then_some(Need::GONE | Need::WITHIN);
            let rest = need.less(trees.chain(own).chain(taken).chain(gone).collect());
            let is_left_out =
                |it: &LeftOut| it.path == *path || (it.need.is_within() && path.is_below(&it.path));
            if !rest.is_empty() && !self.left_out.iter().any(is_left_out) {
                debug_assert!(false, "{path}: no run proves {rest:?} of {need:?}");
                self.leave_out(path, rest, LeftOutWhy::NotProved);
            }
        }
    }

    /// The renames that bring anything of this batch, each with whether its old name goes.
    fn wanted_renames(&self, renames: Vec<Rename>) -> Vec<Arc<Rename>> {
        let is_wanted = |path: &RelPath| {
            self.present.contains_key(path)
                || self.subtrees.contains_key(path)
                || topmost_above(&self.subtrees, path).is_some()
        };
        let with_old = |it: Rename| {
            let old = |file: &RelPath| file.rebased(&RelPath::root(), &it.from);
            let is_gone = if it.files_alone {
                it.files.iter().filter_map(old).all(|path| self.is_missing(&path))
            } else {
                self.is_missing(&it.from)
            };
            Arc::new(Rename { is_gone, ..it })
        };
        let wanted = renames.into_iter().filter(|it| it.targets().iter().any(is_wanted));
        wanted.map(with_old).collect()
    }

    /// The name that is not a directory here, and may be one on the mirror: this, or one above it.
    fn blocker(&self, path: &RelPath) -> Option<RelPath> {
        let at = self.looked.entries.binary_search_by(|(it, _)| it.cmp(path)).ok()?;
        match &self.looked.found[at] {
            Presence::Below { blocker } => Some(blocker.clone()),
            Presence::Present { is_directory: false } => Some(path.clone()),
            Presence::Present { is_directory: true } | Presence::Missing { .. } => None,
        }
    }

    /// Numbers of entries, by the missing name or the existing path that they go with.
    fn sort_counts(
        &self,
        counts: &BTreeMap<RelPath, u64>,
    ) -> (BTreeMap<RelPath, u64>, BTreeMap<RelPath, u64>) {
        let (mut missing, mut existing) = (BTreeMap::new(), BTreeMap::new());
        for (path, count) in counts {
            let mut names = std::iter::once(path.clone()).chain(path.ancestors());
            match names.find(|name| self.missing.contains(name)) {
                Some(top) => *missing.entry(top).or_default() += count,
                None => {
                    if let Some(blocker) = self.blocker(path) {
                        *existing.entry(blocker).or_default() += count;
                    }
                }
            }
        }
        (missing, existing)
    }

    fn finish(self, to: Epoch, renames: Vec<Rename>) -> Made {
        let renames = self.wanted_renames(renames);
        let (lost, in_the_way) = self.sort_counts(self.looked.lost);
        let (extras, obstacles) = self.sort_counts(self.looked.found_extra);
        let listed = |map: BTreeMap<RelPath, bool>| {
            map.into_iter().map(|(path, content)| Present { path, content }).collect()
        };
        let batch = Batch {
            to,
            present: listed(self.present),
            subtrees: listed(self.subtrees),
            renames,
            leftovers: self.leftovers.into_iter().collect(),
            missing: self.missing.into_iter().filter(|it| !extras.contains_key(it)).collect(),
            missing_directories: self.missing_directories,
            lost,
            in_the_way,
            extras,
            obstacles,
            held: self.looked.absent.paths().cloned().collect(),
            ..Batch::default()
        };
        Made { batch: Arc::new(batch), left_out: self.left_out }
    }
}

/// What a run over a directory proves, with or without contents.
fn tree(content: bool) -> Need {
    if content { Need::TREE | Need::CONTENTS } else { Need::TREE }
}

/// What a run over an entry proves, with or without contents.
fn sent(content: bool) -> Need {
    if content { Need::ANEW } else { Need::EQUAL }
}

/// Large files that were written to, as many as may be; but for what a rename brings.
fn large(entries: &[Dirty], bytes: &[u64], renamed: &BTreeSet<RelPath>) -> Vec<Dirty> {
    let is_large = |((path, need), bytes): &(&Dirty, &u64)| {
        let is_written = need.wants_contents() && !need.is_within();
        is_written && **bytes >= LARGE_FILE_MIN && !renamed.contains(path)
    };
    let large = entries.iter().zip(bytes).filter(is_large).map(|(entry, _)| entry.clone());
    large.take(LARGE_FILES_MAX).collect()
}

/// The batch of a comparison.
pub fn make_compare(to: Epoch, mut compare: Compare, absent: &AbsentVolumes) -> Made {
    let need = tree(compare.depth == Depth::Contents);
    let leave_out = |path: &RelPath, volume: &RelPath| LeftOut {
        path: path.clone(),
        need,
        lost: 0,
        why: LeftOutWhy::Unmounted(volume.clone()),
    };
    let held = absent.paths().cloned().collect();
    let met = match &compare.part {
        Part::All => absent.met_in(&compare.path),
        Part::Own => absent.listed_in(&compare.path),
        Part::Subdirectories(_) => None,
    };
    if let Some(volume) = met {
        let left_out = vec![leave_out(&compare.path, volume)];
        return Made { batch: Arc::new(Batch { to, held, ..Batch::default() }), left_out };
    }
    let mut left_out: Vec<LeftOut> = absent
        .paths()
        .filter(|volume| compare.holds(volume))
        .map(|volume| leave_out(volume, volume))
        .collect();
    compare.subdirectories.retain(|directory| {
        let met = absent.met_in(directory);
        let around = met.filter(|volume| *volume != directory);
        left_out.extend(around.map(|volume| leave_out(directory, volume)));
        met.is_none()
    });
    let batch = Batch { to, compares: Some(compare), held, ..Batch::default() };
    Made { batch: Arc::new(batch), left_out }
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
    use crate::data::piece::NameRange;
    use crate::data::plan::Rule;

    const DIR: Presence = Presence::Present { is_directory: true };
    const FILE: Presence = Presence::Present { is_directory: false };

    fn gone(topmost: &str) -> Presence {
        Presence::Missing { topmost: topmost.into() }
    }

    /// Batch as text: `p` present, `s` subtree, a `!` where content is in doubt, `m` missing.
    fn check(entries: &[(&str, Need, Presence)], unmounted: &[&str], expected: &str) {
        let batch = made(entries, unmounted, Vec::new()).batch;
        let mark = |kind: &str, p: &Present| {
            format!("{kind}{}{}", if p.content { "!" } else { " " }, p.path)
        };
        let mut lines: Vec<String> = batch.present.iter().map(|p| mark("p", p)).collect();
        lines.extend(batch.subtrees.iter().map(|p| mark("s", p)));
        lines.extend(batch.missing.iter().map(|p| format!("m {p}")));
        assert_eq!(lines.join(", "), expected);
    }

    fn made(entries: &[(&str, Need, Presence)], unmounted: &[&str], renames: Vec<Rename>) -> Made {
        let unmounted = unmounted.iter().map(|h| (*h).into()).collect();
        made_with(entries, &AbsentVolumes { unmounted, ..AbsentVolumes::default() }, renames)
    }

    fn made_with(
        entries: &[(&str, Need, Presence)],
        absent: &AbsentVolumes,
        renames: Vec<Rename>,
    ) -> Made {
        let entries: BTreeMap<RelPath, (Need, Presence)> = entries
            .iter()
            .map(|(path, need, found)| ((*path).into(), (*need, found.clone())))
            .collect();
        let dirty: Vec<Dirty> = entries.iter().map(|(p, (need, _))| (p.clone(), *need)).collect();
        let found: Vec<Presence> = entries.values().map(|(_, found)| found.clone()).collect();
        let filter = Filter::new(&[Rule::Exclude(b"cache/".to_vec())]).unwrap();
        let looked = Looked {
            entries: &dirty,
            found: &found,
            bytes: &[],
            lost: &BTreeMap::new(),
            found_extra: &BTreeMap::new(),
            absent,
        };
        make(Epoch(1), looked, &filter, renames)
    }

    const C: Need = Need::CONTENTS;
    const A: Need = Need::ATTRIBUTES;
    const S: Need = Need::TREE;
    const W: Need = Need::GONE.union(Need::EQUAL);

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
        check(&entries, &[], "p!a/b, s a, m a/d");
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
    fn hard_case_65_what_a_batch_leaves_out_is_owed() {
        let entries = [("up", S, gone("up")), ("vol/x", C, FILE), ("d", S, DIR)];
        let made = made(&entries, &["vol", "up/vol", "d/vol"], Vec::new());
        let owed: Vec<String> = made.left_out.iter().map(|it| it.path.to_string()).collect();
        assert_eq!(owed, ["vol/x", "up", "d/vol"]);
        assert_eq!(made.batch.len(), 1);
    }

    fn unresponsive(volume: &str) -> AbsentVolumes {
        AbsentVolumes { unresponsive: vec![volume.into()], ..AbsentVolumes::default() }
    }

    fn left_out(made: &Made) -> Vec<String> {
        made.left_out.iter().map(|it| it.path.to_string()).collect()
    }

    #[test]
    fn hard_case_77_no_run_lists_a_directory_around_a_volume_that_does_not_answer() {
        let entries = [
            ("", A, DIR),
            ("up", A, DIR),
            ("up/f", C, FILE),
            ("up/vol/x", C, FILE),
            ("d", S, DIR),
            ("up/b", Need::LEFTOVERS, DIR),
        ];
        let below = made_with(&entries, &unresponsive("up/vol"), Vec::new());
        assert_eq!(left_out(&below), ["up/vol/x"]);
        assert_eq!((below.batch.present.len(), below.batch.leftovers.len()), (3, 1));
        let direct = made_with(&entries, &unresponsive("vol"), Vec::new());
        assert_eq!(left_out(&direct), ["."], "listing the root itself would hang");
        let entries = [("up", S, DIR), ("up/a", Need::LEFTOVERS, DIR), ("other", S, DIR)];
        let around = made_with(&entries, &unresponsive("up/a/vol"), Vec::new());
        assert_eq!(left_out(&around), ["up/a", "up/a/vol", "up"]);
        assert_eq!(around.batch.subtrees.len(), 1);
    }

    #[test]
    fn hard_case_77_a_comparison_leaves_out_what_lists_a_volume_that_does_not_answer() {
        let absent = unresponsive("up/a/vol");
        let compare =
            |path: &str, part| Compare { part, ..Compare::whole(path.into(), Depth::Times, false) };
        let made = |compare| make_compare(Epoch(1), compare, &absent);
        let whole = made(compare("", Part::All));
        assert!(whole.batch.is_empty());
        assert_eq!(left_out(&whole), ["."]);
        assert!(made(compare("up/a", Part::Own)).batch.is_empty());
        assert!(!made(compare("up", Part::Own)).batch.is_empty());
        let mut subdirectories = compare("", Part::Subdirectories(NameRange::default()));
        subdirectories.set_listed(Some(["up", "other"].map(RelPath::from)));
        let made = made(subdirectories);
        assert_eq!(left_out(&made), ["up/a/vol", "up"]);
        let compare = made.batch.compares.as_ref().unwrap();
        assert_eq!(compare.subdirectories, [RelPath::from("other")]);
    }

    #[test]
    fn a_directory_with_leftovers_is_not_sent_for_their_sake() {
        check(&[("a", Need::LEFTOVERS, DIR), ("b", Need::LEFTOVERS | C | S, DIR)], &[], "s!b");
        let entries = [("a", Need::LEFTOVERS, DIR), ("gone", Need::LEFTOVERS, gone("gone"))];
        let batch = made(&entries, &[], Vec::new()).batch;
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
        let renames =
            vec![rename("a", "b", false), rename("c", "d", true), rename("e", "g", false)];
        let batch = made(&entries, &[], renames).batch;
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
