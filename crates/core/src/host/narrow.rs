//! Narrowing: some paths of a run failed, and the runs without them prove the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::data::attributes::Attributes;
use crate::data::batch::Rename;
use crate::data::path::RelPath;
use crate::data::step::{Deletions, Renamed, Step, StepKind};

/// Paths that a run failed on as its messages say, each with the attributes that could not be set; none: it failed as a
/// whole.
pub type Suspects = BTreeMap<RelPath, Attributes>;

/// The runs that prove what a step with suspects did not prove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Narrowed {
    /// In order. When all of them end well, everything but the suspects and `left_out` is proved, and of suspects that
    /// failed on their attributes alone everything else.
    pub steps: Vec<Step>,
    /// Paths that none of them is about.
    pub left_out: BTreeSet<RelPath>,
}

/// Narrows a step; none if its suspects leave nothing out. `excludes_max` is the number of names that its runs may leave out
/// by rules; of more suspects, the directories that hold most of them are left out.
pub fn narrow(step: &Step, suspects: &Suspects, excludes_max: usize) -> Option<Narrowed> {
    if let Some(renamed) = &step.renamed {
        return Some(narrow_renamed(step, renamed, suspects));
    }
    let narrowed = match step.kind {
        StepKind::FirstContact | StepKind::Look | StepKind::Verify | StepKind::Plan => return None,
        StepKind::RootItself => Narrowed::default(),
        _ => Narrowing::new(step, suspects, excludes_max)?.finish(),
    };
    let is_same = narrowed.left_out.is_empty() && narrowed.steps == [step.clone()];
    (!is_same).then_some(narrowed)
}

/// A rename is made for the other files. The directories above a file that failed have failed with it.
fn narrow_renamed(step: &Step, renamed: &Renamed, suspects: &Suspects) -> Narrowed {
    let rename = &renamed.rename;
    let new_name = |file: &RelPath| file.rebased(&RelPath::root(), &rename.to);
    let has_failed = |path: &RelPath| suspects.keys().any(|it| path.is_at_or_below(it));
    let is_out = |file: &&RelPath| new_name(file).is_none_or(|path| has_failed(&path));
    let (out, files): (Vec<&RelPath>, Vec<&RelPath>) = rename.files.iter().partition(is_out);
    let left_out = out.into_iter().filter_map(new_name).collect();
    let files: Vec<RelPath> = files.into_iter().cloned().collect();
    if files.is_empty() {
        return Narrowed { steps: Vec::new(), left_out };
    }
    let rename = Arc::new(Rename { files, ..(**rename).clone() });
    let paths = rename.targets();
    let renamed = Some(Renamed { rename, ..renamed.clone() });
    Narrowed { steps: vec![Step { paths, renamed, ..step.clone() }], left_out }
}

/// A step that is being narrowed.
struct Narrowing<'a> {
    step: &'a Step,
    /// Suspects that failed as a whole.
    failed: BTreeSet<RelPath>,
    /// Suspects that failed on their attributes alone.
    unkept: Suspects,
    /// The paths that have not failed as a whole.
    paths: Vec<RelPath>,
    left_out: BTreeSet<RelPath>,
}

impl<'a> Narrowing<'a> {
    fn new(step: &'a Step, suspects: &Suspects, excludes_max: usize) -> Option<Self> {
        let is_unkept = |path: &RelPath, attributes: Attributes| {
            let is_deleted = step.kind == StepKind::Missing && step.paths.contains(path);
            // A dry run sets none.
            !attributes.is_empty() && !is_deleted && step.kind != StepKind::Extras
        };
        let mut unkept = suspects.clone();
        unkept.retain(|path, attributes| is_unkept(path, *attributes));
        let mut failed: BTreeSet<RelPath> =
            suspects.keys().filter(|path| !unkept.contains_key(*path)).cloned().collect();
        let mut coarse = BTreeSet::new();
        if step.kind.is_recursive() {
            while failed.len() + unkept.len() > excludes_max {
                let directory = fullest(failed.iter().chain(unkept.keys()))?;
                failed.retain(|path| !path.is_below(&directory));
                unkept.retain(|path, _| !path.is_below(&directory));
                coarse.retain(|path: &RelPath| !path.is_below(&directory));
                failed.insert(directory.clone());
                coarse.insert(directory);
            }
        }
        let whole = [RelPath::root()];
        let paths = if step.paths.is_empty() { &whole } else { step.paths.as_slice() };
        // Such a name goes, or makes way, with all that is below it.
        let is_one = step.kind.deletes_listed() || step.kind == StepKind::Replace;
        let has_failed = |path: &&RelPath| {
            let is_hit = |it: &RelPath| path.is_at_or_below(it) || (is_one && it.is_below(path));
            failed.iter().any(is_hit)
        };
        let (out, paths): (Vec<&RelPath>, Vec<&RelPath>) = paths.iter().partition(has_failed);
        let left_out = out.into_iter().cloned().chain(coarse).collect();
        let paths = paths.into_iter().cloned().collect();
        Some(Self { step, failed, unkept, paths, left_out })
    }

    /// Whether the attributes of a directory above it can't be kept.
    fn is_below_unkept(&self, path: &RelPath) -> bool {
        path.ancestors().any(|above| self.unkept.contains_key(&above))
    }

    fn unkept_above<'b>(&self, paths: impl IntoIterator<Item = &'b RelPath>) -> Vec<RelPath> {
        let above = paths.into_iter().flat_map(RelPath::ancestors);
        let above = above.filter(|it| self.unkept.contains_key(it));
        let all: BTreeSet<RelPath> = above.chain(self.step.opened.iter().cloned()).collect();
        all.into_iter().collect()
    }

    /// The topmost suspects that failed on their attributes alone, of those that this step is about.
    fn tops(&self) -> Vec<RelPath> {
        let is_recursive = self.step.kind.is_recursive();
        let is_named = |path: &RelPath| {
            let is_in = |it: &RelPath| path == it || (is_recursive && path.is_below(it));
            self.paths.iter().any(is_in)
        };
        let is_top = |path: &&RelPath| {
            let is_inner = |above: RelPath| self.unkept.contains_key(&above) && is_named(&above);
            is_named(path) && !(is_recursive && path.ancestors().any(is_inner))
        };
        self.unkept.keys().filter(is_top).cloned().collect()
    }

    fn finish(self) -> Narrowed {
        let step = self.step;
        if step.kind == StepKind::MissingByFilter {
            return self.finish_by_filter();
        }
        let tops = self.tops();
        let is_recursive = step.kind.is_recursive();
        let left: Vec<&RelPath> = self.paths.iter().filter(|it| !tops.contains(it)).collect();
        let (below, rest): (Vec<&RelPath>, Vec<&RelPath>) =
            left.into_iter().partition(|path| self.is_below_unkept(path));
        let mut held = step.held.clone();
        if is_recursive {
            held.extend(self.failed.iter().filter(|it| self.is_inside(it)).cloned());
        }
        if step.kind == StepKind::Leftovers {
            // It looks at everything directly in its directories.
            let suspects = self.failed.iter().chain(self.unkept.keys());
            held.extend(suspects.filter(|it| self.is_inside(it)).cloned());
        }
        let mut held_in_rest = held.clone();
        if is_recursive {
            held_in_rest.extend(tops.iter().filter(|it| !self.paths.contains(it)).cloned());
        }
        let with = |paths: Vec<RelPath>| Step { paths, held: held_in_rest.clone(), ..step.clone() };
        let mut steps = Vec::new();
        if !rest.is_empty() {
            let paths = if step.paths.is_empty() { Vec::new() } else { cloned(&rest) };
            steps.push(with(paths));
        }
        if !below.is_empty() {
            let paths = cloned(&below);
            let opened = self.unkept_above(&paths);
            let mut below = Step { opened, ..with(paths) };
            if below.kind.is_list() {
                below.paths.extend(between(&below));
                below.paths.sort_unstable();
            }
            steps.push(below);
        }
        let is_listed = |it: &&RelPath| !step.is_shallow || self.paths.contains(it);
        let inside: Vec<RelPath> = tops.iter().filter(is_listed).cloned().collect();
        if is_recursive && !inside.is_empty() {
            let opened = self.unkept_above(&inside).into_iter().chain(inside.clone()).collect();
            steps.push(Step { paths: inside.clone(), opened, held: held.clone(), ..step.clone() });
            if step.deletions != Deletions::None && step.kind != StepKind::Replace {
                let held = held.clone();
                let deletions = Deletions::All;
                let extras = Step::new(StepKind::Extras, inside);
                steps.push(Step { held, deletions, is_shallow: true, ..extras });
            }
        }
        steps.extend(self.bare(&tops));
        Narrowed { steps, left_out: self.left_out }
    }

    /// Brings everything of these suspects but their attributes.
    fn bare(&self, tops: &[RelPath]) -> Option<Step> {
        let step = self.step;
        let paths: Vec<RelPath> = tops.iter().filter(|path| !path.is_root()).cloned().collect();
        let omitted = paths.iter().filter_map(|path| self.unkept.get(path).copied()).collect();
        let opened = self.unkept_above(&paths);
        let kind = match step.kind {
            StepKind::Leftovers => StepKind::Leftovers,
            kind if kind.sends_contents() => StepKind::Written,
            _ => StepKind::Touched,
        };
        let deletions = match kind {
            StepKind::Leftovers => step.deletions,
            _ => Deletions::None,
        };
        let bare = Step { omitted: step.omitted | omitted, opened, ..Step::new(kind, paths) };
        (!bare.paths.is_empty()).then(|| Step { held: step.held.clone(), deletions, ..bare })
    }

    /// Such a run compares directories. It is about names that go, which have no attributes.
    fn finish_by_filter(self) -> Narrowed {
        let omitted = self.unkept.values().copied().collect::<Attributes>() | self.step.omitted;
        let rest = Step { paths: self.paths, omitted, ..self.step.clone() };
        let steps = if rest.paths.is_empty() { Vec::new() } else { vec![rest] };
        Narrowed { steps, left_out: self.left_out }
    }

    fn is_inside(&self, path: &RelPath) -> bool {
        self.paths.iter().any(|it| path.is_below(it))
    }
}

fn cloned(paths: &[&RelPath]) -> Vec<RelPath> {
    paths.iter().copied().cloned().collect()
}

/// Directories between an opened one and a listed path: a run changes their times and does not set them.
fn between(step: &Step) -> Vec<RelPath> {
    let is_between = |it: &RelPath| {
        let is_below = step.opened.iter().any(|opened| it.is_below(opened));
        is_below && !step.opened.contains(it) && !step.paths.contains(it)
    };
    let above = step.paths.iter().flat_map(RelPath::ancestors).filter(is_between);
    above.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The run that sets the times of directories that this one changes and does not set; none where there are none.
pub fn dated(step: &Step) -> Option<Step> {
    if step.kind.is_list() || (step.kind.deletes_listed() && step.deletions == Deletions::AtMost(0))
    {
        return None;
    }
    if step.kind == StepKind::MissingByFilter && !step.omitted.is_empty() {
        let above: BTreeSet<RelPath> = step.paths.iter().flat_map(RelPath::ancestors).collect();
        let above: Vec<RelPath> = above.into_iter().filter(|path| !path.is_root()).collect();
        return Some(match above.as_slice() {
            [] => Step::new(StepKind::RootItself, vec![RelPath::root()]),
            _ => Step::new(StepKind::Touched, above),
        });
    }
    let dated = Step { opened: step.opened.clone(), ..Step::new(StepKind::Touched, between(step)) };
    Some(dated).filter(|it| !it.paths.is_empty())
}

/// The directory that holds most of these names, the deepest of equal ones; none if all are directly in the root.
fn fullest<'a>(names: impl Iterator<Item = &'a RelPath>) -> Option<RelPath> {
    let mut counts: BTreeMap<RelPath, usize> = BTreeMap::new();
    for parent in names.filter_map(RelPath::parent).filter(|it| !it.is_root()) {
        *counts.entry(parent).or_default() += 1;
    }
    let fullest = counts.into_iter().max_by_key(|(it, count)| (*count, it.ancestors().count()));
    fullest.map(|(directory, _)| directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Attributes = Attributes::empty();
    const TIMES: Attributes = Attributes::TIMES;

    fn paths(names: &[&str]) -> Vec<RelPath> {
        names.iter().map(|name| (*name).into()).collect()
    }

    fn suspects(names: &[(&str, Attributes)]) -> Suspects {
        names.iter().map(|(name, attributes)| ((*name).into(), *attributes)).collect()
    }

    fn counted(kind: StepKind, names: &[&str]) -> Step {
        Step { deletions: Deletions::AtMost(0), ..Step::new(kind, paths(names)) }
    }

    fn narrowed(step: &Step, names: &[(&str, Attributes)]) -> Narrowed {
        narrow(step, &suspects(names), 3).expect("something is left out")
    }

    #[test]
    fn hard_case_13_a_list_is_run_without_the_names_that_failed() {
        let step = Step::new(StepKind::Written, paths(&["a", "b", "d/e", "d/e/f", "d/g"]));
        let Narrowed { steps, left_out } = narrowed(&step, &[("b", WHOLE), ("d/e", WHOLE)]);
        assert_eq!(steps, [Step { paths: paths(&["a", "d/g"]), ..step.clone() }]);
        assert_eq!(left_out, paths(&["b", "d/e", "d/e/f"]).into_iter().collect());
        let all = narrowed(&step, &[("a", WHOLE), ("b", WHOLE), ("d", WHOLE)]);
        assert!(all.steps.is_empty() && all.left_out.len() == 5);
    }

    #[test]
    fn a_name_that_is_nowhere_in_the_list_leaves_nothing_out() {
        let step = Step::new(StepKind::Written, paths(&["a", "b"]));
        assert_eq!(narrow(&step, &suspects(&[("x", WHOLE)]), 3), None);
    }

    #[test]
    fn a_name_that_can_not_be_deleted_is_left_out_with_all_that_is_in_it() {
        let step = counted(StepKind::Missing, &["a", "b"]);
        let Narrowed { steps, left_out } = narrowed(&step, &[("a/x", WHOLE)]);
        assert_eq!(steps, [counted(StepKind::Missing, &["b"])]);
        assert_eq!(left_out, ["a".into()].into());
    }

    #[test]
    fn a_look_for_leftovers_leaves_out_what_fails_beside_them() {
        let step = Step {
            deletions: Deletions::All,
            ..Step::new(StepKind::Leftovers, paths(&["a", "b"]))
        };
        let Narrowed { steps, left_out } = narrowed(&step, &[("b/c", TIMES)]);
        assert_eq!(steps, [Step { held: paths(&["b/c"]), ..step.clone() }]);
        assert!(left_out.is_empty());
    }

    #[test]
    fn a_walk_is_run_with_rules_that_leave_out_the_suspects() {
        for names in [&[][..], &["d"]] {
            let step = counted(StepKind::Walk, names);
            let Narrowed { steps, left_out } = narrowed(&step, &[("d/x", WHOLE)]);
            assert_eq!(steps, [Step { held: paths(&["d/x"]), ..step.clone() }]);
            assert!(left_out.is_empty());
        }
    }

    #[test]
    fn of_too_many_suspects_the_directory_that_holds_most_is_left_out_as_one() {
        let many = [("d/1", WHOLE), ("d/2", WHOLE), ("e/3", WHOLE), ("4", WHOLE)];
        let Narrowed { steps, left_out } = narrowed(&counted(StepKind::Walk, &[]), &many);
        assert_eq!(steps[0].held, paths(&["4", "d", "e/3"]));
        assert_eq!(left_out, ["d".into()].into());
        let in_root = ["1", "2", "3", "4"].map(|name| (name, WHOLE));
        assert_eq!(narrow(&counted(StepKind::Walk, &[]), &suspects(&in_root), 3), None);
    }

    #[test]
    fn hard_case_32_what_is_in_a_directory_that_can_not_be_dated_is_run_without_naming_it() {
        let step = Step::new(StepKind::Written, paths(&["a", "d/e/f", "d/g"]));
        let Narrowed { steps, left_out } = narrowed(&step, &[("d", TIMES)]);
        let below = Step {
            opened: paths(&["d"]),
            ..Step::new(StepKind::Written, paths(&["d/e", "d/e/f", "d/g"]))
        };
        assert_eq!(steps, [Step { paths: paths(&["a"]), ..step }, below]);
        assert!(left_out.is_empty());
    }

    #[test]
    fn hard_case_32_a_walk_compares_such_a_directory_by_what_is_in_it_and_asks_for_its_extras() {
        use StepKind::{Extras, Touched, Walk};
        let Narrowed { steps, .. } =
            narrowed(&counted(Walk, &[]), &[("d", TIMES), ("d/e", TIMES), ("x", WHOLE)]);
        let shown = steps.iter().map(|it| (it.kind, it.paths.clone(), it.opened.clone()));
        let expected = [
            (Walk, vec![], vec![]),
            (Walk, paths(&["d"]), paths(&["d"])),
            (Extras, paths(&["d"]), vec![]),
            (Touched, paths(&["d"]), vec![]),
        ];
        assert_eq!(shown.collect::<Vec<_>>(), expected);
        assert_eq!(steps[0].held, paths(&["x", "d"]));
        assert_eq!(steps[1].held, paths(&["x"]));
        assert!(steps[2].is_shallow && steps[3].omitted == TIMES);
    }

    #[test]
    fn hard_case_33_a_file_whose_owner_can_not_be_kept_is_sent_without_it() {
        let step = Step::new(StepKind::Written, paths(&["a", "b"]));
        let Narrowed { steps, .. } = narrowed(&step, &[("b", Attributes::OWNER)]);
        let bare =
            Step { omitted: Attributes::OWNER, ..Step::new(StepKind::Written, paths(&["b"])) };
        assert_eq!(steps, [Step { paths: paths(&["a"]), ..step }, bare]);
    }
}
