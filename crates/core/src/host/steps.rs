//! A Batch becomes Steps: new content is in place before anything is deleted.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::data::attributes::Attributes;
use crate::data::batch::{Batch, Depth, Present, Rename};
use crate::data::limits::EXCLUDES_MAX;
use crate::data::path::RelPath;
use crate::data::piece::Part;
use crate::data::plan::DeleteMode;
use crate::data::step::{Basis, Deletions, Renamed, Step, StepKind};
use crate::host::narrow::{Suspects, narrow};
use crate::host::target_state::TargetState;

/// How a mirror takes a batch.
#[expect(clippy::struct_excessive_bools, reason = "facts that don't depend on each other")]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MirrorTerms {
    /// What is known of its directory.
    pub target: TargetState,
    /// It was reached since the start.
    pub is_known: bool,
    /// It had no room: deletions go first.
    pub delete_first: bool,
    /// The other end can delete listed entries that are missing.
    pub can_delete_missing: bool,
    /// The other end can compare contents.
    pub can_check: bool,
    /// Into how many pieces each list is cut, after failures that nobody could attribute.
    pub pieces: usize,
    /// The other end can take renamed files from their old names.
    pub can_rename: bool,
    /// No obligation and no writer touches a renamed name, and the mirror keeps times: exact renames can be trusted.
    pub trusts_renames: bool,
    /// No option of the mirror writes into files that stand under their names.
    pub may_link: bool,
    /// So many bytes of renamed files are compared before anything is sent.
    pub compared_bytes_max: u64,
}

/// The rsync runs that bring a batch to a mirror, in order. Nothing is deleted but by list; a run over a directory counts
/// what it would delete, by [`Deletions::AtMost`] zero.
pub fn plan(batch: &Batch, delete: DeleteMode, terms: MirrorTerms) -> Vec<Step> {
    let steps = plan_all(batch, delete, terms).into_iter();
    steps.flat_map(|step| spare(step, &batch.unkept)).collect()
}

/// The same run, without the attributes of directories above its paths that the mirror can't keep.
fn spare(step: Step, unkept: &[RelPath]) -> Vec<Step> {
    let is_above = |it: &&RelPath| {
        let has_place = step.renamed.is_none() && !step.paths.is_empty();
        has_place && !step.paths.iter().any(|path| it.is_at_or_below(path))
    };
    let all = Attributes::all();
    let suspects: Suspects = unkept.iter().filter(is_above).map(|it| (it.clone(), all)).collect();
    let narrowed = if suspects.is_empty() { None } else { narrow(&step, &suspects, EXCLUDES_MAX) };
    narrowed.map_or_else(|| vec![step], |narrowed| narrowed.steps)
}

fn plan_all(batch: &Batch, delete: DeleteMode, terms: MirrorTerms) -> Vec<Step> {
    let MirrorTerms { target, pieces, delete_first, .. } = terms;
    let step = |kind, paths, deletions| Step {
        held: batch.held.clone(),
        deletions,
        delete_first,
        ..Step::new(kind, paths)
    };
    let renamed: Vec<Renamed> =
        batch.renames.iter().filter_map(|it| renamed(it, delete, terms)).collect();
    let counted = |wanted: bool| if wanted { Deletions::AtMost(0) } else { Deletions::None };
    let mut steps = Vec::new();
    if target == TargetState::Unknown {
        steps.push(step(StepKind::FirstContact, Vec::new(), Deletions::None));
    }
    if target == TargetState::Filled && batch.full && (batch.compares.is_some() || !terms.is_known)
    {
        steps.push(step(StepKind::Look, Vec::new(), Deletions::None));
    }
    if let Some(compare) = &batch.compares {
        let kind = match compare.depth {
            Depth::Times => StepKind::Walk,
            Depth::Contents if terms.can_check => StepKind::Check,
            Depth::Contents if compare.is_doubt => StepKind::Resend,
            Depth::Contents => StepKind::Walk,
        };
        let paths = match compare.part {
            Part::All if compare.path.is_root() => Vec::new(),
            Part::All | Part::Own => vec![compare.path.clone()],
            Part::Subdirectories(_) if compare.subdirectories.is_empty() => return steps,
            Part::Subdirectories(_) => compare.subdirectories.clone(),
        };
        let is_shallow = compare.part == Part::Own;
        steps.push(Step { is_shallow, ..step(kind, paths, counted(delete.on_walk())) });
        return steps;
    }
    let wanted = |wanted: bool, paths: &[RelPath]| if wanted { paths.to_vec() } else { Vec::new() };
    let mut missing = wanted(delete.on_push(), &batch.missing);
    // Whatever run has named them, it was one that may delete.
    missing.extend(batch.extras.keys().filter(|_| delete != DeleteMode::Never).cloned());
    missing.sort_unstable();
    let missing_deletions = |paths: &[RelPath]| match () {
        // Files alone: their number is known.
        () if !batch.missing_directories => Deletions::AtMost(paths.len() as u64),
        // Counting first would need the room that is to be made.
        () if delete_first => Deletions::AtMost(batch.lost_with(paths)),
        () => Deletions::AtMost(0),
    };
    let settled: BTreeSet<RelPath> = renamed.iter().flat_map(|it| it.rename.targets()).collect();
    let paths_of = |entries: &[Present], content: bool| {
        let is_in_doubt = |entry: &Present| entry.content && !settled.contains(&entry.path);
        let wanted = entries.iter().filter(|entry| is_in_doubt(entry) == content);
        wanted.map(|entry| entry.path.clone()).collect::<Vec<_>>()
    };
    let missing_kind =
        if terms.can_delete_missing { StepKind::Missing } else { StepKind::MissingByFilter };
    let on_push = counted(delete.on_push());
    let mut lists = [
        // A receiver whose temporary file is gone cannot rename it any more.
        (StepKind::Leftovers, wanted(true, &batch.leftovers), Deletions::All),
        // Real directories, whatever stands there on the mirror: what is a link would be followed.
        (StepKind::Touched, places(&renamed), Deletions::None),
        (StepKind::Renamed, Vec::new(), Deletions::None),
        (StepKind::Written, paths_of(&batch.present, true), Deletions::None),
        (StepKind::Touched, paths_of(&batch.present, false), Deletions::None),
        (StepKind::SubtreesWritten, paths_of(&batch.subtrees, true), on_push),
        (StepKind::Subtrees, paths_of(&batch.subtrees, false), on_push),
        // How much it may delete is known piece by piece.
        (missing_kind, missing, Deletions::AtMost(0)),
    ];
    if delete_first {
        lists.rotate_right(1);
    }
    let mut is_witnessed = false;
    for (kind, mut paths, deletions) in lists {
        if kind == StepKind::Renamed {
            steps.extend(renamed.iter().map(|it| Step {
                renamed: Some(it.clone()),
                ..step(kind, it.rename.targets(), Deletions::None)
            }));
            continue;
        }
        // In a list it would bring along all that is directly in it.
        if matches!(kind, StepKind::Written | StepKind::Touched) {
            paths.retain(|path| !path.is_root());
        }
        // Anything new on the wrong disk would be there without it.
        if matches!(kind, StepKind::Written | StepKind::Touched)
            && !paths.is_empty()
            && target == TargetState::Filled
            && let Some(witness) = batch.witness.clone().filter(|_| !is_witnessed)
        {
            is_witnessed = true;
            paths.push(witness);
        }
        let piece = paths.len().div_ceil(pieces.max(1)).max(1);
        steps.extend(paths.chunks(piece).map(|paths| {
            let deletions = if kind == missing_kind { missing_deletions(paths) } else { deletions };
            step(kind, paths.to_vec(), deletions)
        }));
    }
    // Last, since everything before changes its times.
    if batch.present.iter().any(|entry| entry.path.is_root()) {
        steps.push(step(StepKind::RootItself, vec![RelPath::root()], Deletions::None));
    }
    steps
}

/// How a mirror makes use of a rename; none if it can't.
fn renamed(rename: &Arc<Rename>, delete: DeleteMode, terms: MirrorTerms) -> Option<Renamed> {
    // A mirror without room has none for copies either.
    if !terms.can_rename || terms.pieces > 1 || terms.delete_first {
        return None;
    }
    // Where deletions are left out, anything may stand at the new name.
    let is_sure = rename.is_exact && terms.trusts_renames && delete.on_push();
    // While both ends read all of it nothing is said, and they take each other for dead.
    let is_slow = !is_sure && rename.bytes > terms.compared_bytes_max;
    let by_content = !rename.other_names && !is_sure && !is_slow;
    if by_content && !terms.can_check {
        return None;
    }
    // Links are used only if the old name is deleted by the same assignment.
    let is_deleted = rename.is_gone && delete.on_push();
    let basis = match () {
        () if rename.other_names || is_slow => Basis::Similar,
        () if is_deleted && terms.may_link && rename.may_link => Basis::Linked,
        () => Basis::Copied,
    };
    Some(Renamed { rename: rename.clone(), basis, by_content })
}

/// The directories that are filled from old names, and those above them.
fn places(renamed: &[Renamed]) -> Vec<RelPath> {
    let to = renamed.iter().map(|it| it.rename.to.clone());
    let all: BTreeSet<RelPath> = to.flat_map(|to| to.ancestors().chain([to.clone()])).collect();
    all.into_iter().filter(|path| !path.is_root()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::batch::Compare;
    use crate::data::change::Epoch;
    use crate::data::piece::NameRange;

    const TERMS: MirrorTerms = MirrorTerms {
        target: TargetState::Filled,
        is_known: true,
        delete_first: false,
        can_delete_missing: true,
        can_check: true,
        pieces: 1,
        can_rename: true,
        trusts_renames: true,
        may_link: true,
        compared_bytes_max: 1000,
    };

    fn present(path: &str, content: bool) -> Present {
        Present { path: path.into(), content }
    }

    fn kinds(steps: &[Step]) -> Vec<StepKind> {
        steps.iter().map(|step| step.kind).collect()
    }

    fn batch() -> Batch {
        Batch {
            to: Epoch(1),
            present: vec![present("a", true), present("b", false)],
            subtrees: vec![present("c", false)],
            missing: vec!["d".into()],
            ..Batch::default()
        }
    }

    #[test]
    fn deletions_come_last_and_only_where_they_are_wanted() {
        use StepKind::{Missing, Subtrees, Touched, Written};
        let steps = plan(&batch(), DeleteMode::Always, TERMS);
        assert_eq!(kinds(&steps), [Written, Touched, Subtrees, Missing]);
        for mode in [DeleteMode::Never, DeleteMode::OnWalk] {
            let steps = plan(&batch(), mode, TERMS);
            assert_eq!(kinds(&steps), [Written, Touched, Subtrees]);
            assert!(steps.iter().all(|step| step.deletions == Deletions::None));
        }
    }

    #[test]
    fn a_directory_that_cannot_be_listed_is_compared_whole() {
        let paths = |listed: Option<Vec<RelPath>>| {
            let whole = Compare::whole("d".into(), Depth::Times, true);
            let part = Part::Subdirectories(NameRange::default());
            let mut compares = Compare { part, ..whole };
            compares.set_listed(listed);
            let batch = Batch { compares: Some(compares), ..Batch::default() };
            let steps = plan(&batch, DeleteMode::Always, TERMS);
            steps.into_iter().flat_map(|step| step.paths).collect::<Vec<_>>()
        };
        assert_eq!(paths(Some(vec!["d/b".into(), "d/a".into()])), ["d/a".into(), "d/b".into()]);
        assert_eq!(paths(Some(vec![])), []);
        assert_eq!(paths(None), ["d".into()]);
    }

    #[test]
    fn hard_case_32_a_directory_that_is_known_not_to_be_ours_is_left_alone_from_the_first_run_on() {
        let unkept = vec!["d".into()];
        let present = vec![present("d/e/f", true), present("x", true)];
        let batch = Batch { present, missing: vec!["d/gone".into()], unkept, ..Batch::default() };
        let steps = plan(&batch, DeleteMode::Always, TERMS);
        let shown = steps.iter().map(|it| (it.kind, it.paths.clone(), it.opened.clone()));
        let names = |names: &[&str]| names.iter().map(|it| (*it).into()).collect::<Vec<RelPath>>();
        let expected = [
            (StepKind::Written, names(&["x"]), vec![]),
            (StepKind::Written, names(&["d/e", "d/e/f"]), names(&["d"])),
            (StepKind::Missing, names(&["d/gone"]), names(&["d"])),
        ];
        assert_eq!(shown.collect::<Vec<_>>(), expected);
        // Its own attributes are tried as any others are.
        let own = Batch { present: vec![self::present("d", false)], ..batch };
        let steps = plan(&own, DeleteMode::Never, TERMS);
        assert!(steps.iter().all(|it| it.opened.is_empty()), "{steps:?}");
    }

    #[test]
    fn the_root_itself_comes_last_and_alone() {
        let batch =
            Batch { present: vec![present("", true), present("a", true)], ..Batch::default() };
        let steps = plan(&batch, DeleteMode::Always, TERMS);
        assert_eq!(kinds(&steps), [StepKind::Written, StepKind::RootItself]);
        assert_eq!(steps[0].paths, ["a".into()]);
    }

    #[test]
    fn a_walk_makes_the_directory_first_only_where_it_was_never_reached() {
        let walk = compare("", Depth::Times);
        let steps =
            plan(&walk, DeleteMode::OnPush, MirrorTerms { target: TargetState::Unknown, ..TERMS });
        assert_eq!(kinds(&steps), [StepKind::FirstContact, StepKind::Walk]);
        assert_eq!(steps[1].deletions, Deletions::None);
        assert_eq!(kinds(&plan(&walk, DeleteMode::Always, TERMS)), [StepKind::Walk]);
    }

    #[test]
    fn hard_case_15_a_filled_mirror_is_looked_at_before_the_first_push_since_the_start() {
        let batch = Batch { full: true, ..batch() };
        let first = plan(&batch, DeleteMode::Always, MirrorTerms { is_known: false, ..TERMS });
        assert_eq!(first[0].kind, StepKind::Look);
        assert_ne!(plan(&batch, DeleteMode::Always, TERMS)[0].kind, StepKind::Look);
    }

    #[test]
    fn hard_case_13_what_nobody_can_attribute_is_tried_in_pieces() {
        let present = ["a", "b", "c", "d", "e"].map(|path| present(path, true)).to_vec();
        let batch = Batch { present, ..Batch::default() };
        let lens = |pieces| {
            plan(&batch, DeleteMode::Always, MirrorTerms { pieces, ..TERMS })
                .iter()
                .map(|step| step.paths.len())
                .collect::<Vec<_>>()
        };
        assert_eq!(lens(1), [5]);
        assert_eq!(lens(2), [3, 2]);
        assert_eq!(lens(8), [1, 1, 1, 1, 1]);
    }

    fn compare(path: &str, depth: Depth) -> Batch {
        let compares = Some(Compare::whole(path.into(), depth, true));
        Batch { compares, ..Batch::default() }
    }

    #[test]
    fn hard_case_66_a_comparison_deletes_nothing_and_counts() {
        for depth in [Depth::Times, Depth::Contents] {
            let steps = plan(&compare("d", depth), DeleteMode::Always, TERMS);
            assert_eq!(steps.len(), 1);
            assert_eq!(steps[0].paths, ["d".into()]);
            assert_eq!(steps[0].deletions, Deletions::AtMost(0));
        }
    }

    #[test]
    fn contents_that_are_in_doubt_are_sent_where_they_can_not_be_compared() {
        let unable = MirrorTerms { can_check: false, ..TERMS };
        let steps = plan(&compare("", Depth::Contents), DeleteMode::Always, unable);
        assert_eq!(kinds(&steps), [StepKind::Resend]);
    }

    #[test]
    fn hard_case_16_directories_are_counted_before_they_go() {
        let deletions = |batch: &Batch| {
            let steps = plan(batch, DeleteMode::Always, TERMS);
            steps.iter().map(|step| step.deletions).collect::<Vec<_>>()
        };
        let (none, count) = (Deletions::None, Deletions::AtMost(0));
        let files = batch();
        assert_eq!(deletions(&files), [none, none, count, Deletions::AtMost(1)]);
        let directories =
            Batch { missing_directories: true, lost: [("d".into(), 7)].into(), ..files };
        assert_eq!(deletions(&directories), [none, none, count, count]);
    }

    #[test]
    fn extras_go_wherever_a_run_that_may_delete_can_have_named_them() {
        let batch = Batch {
            extras: [("x".into(), 1)].into(),
            missing: vec!["m".into()],
            ..Batch::default()
        };
        let paths = |mode| plan(&batch, mode, TERMS).pop().map(|step| step.paths);
        assert_eq!(paths(DeleteMode::Always), Some(vec!["m".into(), "x".into()]));
        assert_eq!(paths(DeleteMode::OnWalk), Some(vec!["x".into()]));
        assert_eq!(paths(DeleteMode::OnPush), Some(vec!["m".into(), "x".into()]));
        assert_eq!(paths(DeleteMode::Never), None);
    }

    #[test]
    fn hard_case_18_on_a_full_mirror_deletions_go_first() {
        let directories =
            Batch { missing_directories: true, lost: [("d".into(), 7)].into(), ..batch() };
        let first = MirrorTerms { delete_first: true, ..TERMS };
        let steps = plan(&directories, DeleteMode::Always, first);
        assert_eq!((steps[0].kind, steps[0].deletions), (StepKind::Missing, Deletions::AtMost(7)));
    }

    #[test]
    fn hard_case_16_each_piece_may_delete_what_was_lost_in_it_and_no_more() {
        let pieces = MirrorTerms { pieces: 2, delete_first: true, ..TERMS };
        let files = Batch { missing: vec!["d".into(), "e".into()], ..Batch::default() };
        let deletions = |batch: &Batch| {
            let steps = plan(batch, DeleteMode::Always, pieces);
            steps.iter().map(|step| step.deletions).collect::<Vec<_>>()
        };
        assert_eq!(deletions(&files), [Deletions::AtMost(1); 2]);
        let lost = [("d".into(), 7), ("e".into(), 2)].into();
        let directories = Batch { missing_directories: true, lost, ..files };
        assert_eq!(deletions(&directories), [Deletions::AtMost(7), Deletions::AtMost(2)]);
    }

    fn renames(is_gone: bool) -> Batch {
        let rename = Rename {
            from: "p/a".into(),
            to: "q/b".into(),
            files: vec!["f".into()],
            files_alone: false,
            other_names: false,
            bytes: 1000,
            may_link: true,
            is_exact: true,
            is_gone,
        };
        Batch {
            subtrees: vec![present("q/b", true)],
            missing: vec!["p/a".into()],
            missing_directories: true,
            renames: vec![Arc::new(rename)],
            ..Batch::default()
        }
    }

    fn how(batch: &Batch, delete: DeleteMode, terms: MirrorTerms) -> Option<(Basis, bool)> {
        let steps = plan(batch, delete, terms);
        let renamed = steps.iter().find_map(|step| step.renamed.clone())?;
        Some((renamed.basis, renamed.by_content))
    }

    #[test]
    fn hard_case_10_new_names_are_real_directories_before_they_are_filled_and_the_subtree_follows()
    {
        use StepKind::{Missing, Renamed, Subtrees, Touched};
        let steps = plan(&renames(true), DeleteMode::Always, TERMS);
        assert_eq!(kinds(&steps), [Touched, Renamed, Subtrees, Missing]);
        assert_eq!(steps[0].paths, ["q".into(), "q/b".into()]);
    }

    #[test]
    fn hard_case_10_only_what_this_push_deletes_is_linked_and_only_what_is_exact_not_compared() {
        let always = DeleteMode::Always;
        assert_eq!(how(&renames(true), always, TERMS), Some((Basis::Linked, false)));
        assert_eq!(how(&renames(false), always, TERMS), Some((Basis::Copied, false)));
        let in_place = MirrorTerms { may_link: false, ..TERMS };
        assert_eq!(how(&renames(true), always, in_place), Some((Basis::Copied, false)));
        assert_eq!(how(&renames(true), DeleteMode::Never, TERMS), Some((Basis::Copied, true)));
        let doubted = MirrorTerms { trusts_renames: false, ..TERMS };
        assert_eq!(how(&renames(true), always, doubted), Some((Basis::Linked, true)));
        let slow = MirrorTerms { compared_bytes_max: 999, ..doubted };
        assert_eq!(how(&renames(true), always, slow), Some((Basis::Similar, false)));
    }

    #[test]
    fn hard_case_10_without_the_means_for_it_what_was_renamed_is_sent_whatever_its_times() {
        let unable = [
            MirrorTerms { can_rename: false, ..TERMS },
            MirrorTerms { pieces: 2, ..TERMS },
            MirrorTerms { delete_first: true, ..TERMS },
            MirrorTerms { trusts_renames: false, can_check: false, ..TERMS },
        ];
        for terms in unable {
            let steps = plan(&renames(true), DeleteMode::Always, terms);
            let mut kinds = kinds(&steps);
            kinds.sort_unstable();
            assert_eq!(kinds, [StepKind::SubtreesWritten, StepKind::Missing]);
        }
    }

    #[test]
    fn an_end_that_can_not_delete_missing_entries_is_served_another_way() {
        let steps =
            plan(&batch(), DeleteMode::Always, MirrorTerms { can_delete_missing: false, ..TERMS });
        assert_eq!(steps.last().map(|step| step.kind), Some(StepKind::MissingByFilter));
    }
}
