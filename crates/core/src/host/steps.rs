//! A Batch becomes Steps: new content is in place before anything is deleted.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::data::batch::{Batch, Present, Rename};
use crate::data::outcome::Budget;
use crate::data::path::RelPath;
use crate::data::plan::DeleteMode;
use crate::data::step::{Basis, Deletions, Renamed, Step, StepKind};
use crate::host::target_state::Directory;

/// How a Mirror takes a Batch.
#[expect(clippy::struct_excessive_bools, reason = "facts that don't depend on each other")]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Manner {
    /// How much may be deleted.
    pub budget: Budget,
    /// What is known of its directory.
    pub directory: Directory,
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
    /// The mirror owes nothing else, and keeps times: exact renames are.
    pub trusts_renames: bool,
    /// Nothing that it is told to do writes into files that stand under their names.
    pub may_link: bool,
    /// So much of what was renamed is compared before anything is sent.
    pub compared_bytes_max: u64,
}

/// The rsync runs that bring a Batch to a Mirror, in order. Runs that may delete only count first, by
/// [`Deletions::AtMost`] zero, where nobody knows how much they would delete.
pub fn plan(batch: &Batch, delete: DeleteMode, manner: Manner) -> Vec<Step> {
    let Manner { budget, directory, pieces, delete_first, .. } = manner;
    let step = |kind, paths, deletions| Step {
        kind,
        paths,
        held: batch.held.clone(),
        deletions,
        delete_first,
        renamed: None,
    };
    let renamed: Vec<Renamed> =
        batch.renames.iter().filter_map(|it| renamed(it, delete, manner)).collect();
    let counted = |wanted: bool| match budget {
        _ if !wanted => Deletions::None,
        Budget::Approved => Deletions::All,
        // Counting first would need the room that is to be made.
        Budget::AtMost(most) if delete_first => Deletions::AtMost(most),
        Budget::AtMost(_) | Budget::Held => Deletions::AtMost(0),
    };
    let mut steps = Vec::new();
    if directory == Directory::Unknown {
        steps.push(step(StepKind::FirstContact, Vec::new(), Deletions::None));
    }
    if directory == Directory::Filled && batch.full && (batch.walk || !manner.is_known) {
        steps.push(step(StepKind::Look, Vec::new(), Deletions::None));
    }
    if batch.walk {
        let kind = if batch.check && manner.can_check { StepKind::Check } else { StepKind::Walk };
        steps.push(step(kind, Vec::new(), counted(delete.on_walk())));
        return steps;
    }
    let on_push = counted(delete.on_push());
    let missing = if delete.on_push() { batch.missing.clone() } else { Vec::new() };
    let missing_deletions = match budget {
        // Files alone: their number is known.
        Budget::AtMost(most) if !batch.missing_directories && missing.len() as u64 <= most => {
            Deletions::AtMost(most)
        }
        _ => on_push,
    };
    let settled: BTreeSet<RelPath> = renamed.iter().flat_map(|it| it.rename.targets()).collect();
    let paths_of = |entries: &[Present], content: bool| {
        let is_in_doubt = |entry: &Present| entry.content && !settled.contains(&entry.path);
        let wanted = entries.iter().filter(|entry| is_in_doubt(entry) == content);
        wanted.map(|entry| entry.path.clone()).collect::<Vec<_>>()
    };
    let missing_kind =
        if manner.can_delete_missing { StepKind::Missing } else { StepKind::MissingByFilter };
    let mut lists = [
        // Real directories, whatever stands there on the mirror: what is a link would be followed.
        (StepKind::Touched, places(&renamed), Deletions::None),
        (StepKind::Renamed, Vec::new(), Deletions::None),
        (StepKind::Written, paths_of(&batch.present, true), Deletions::None),
        (StepKind::Touched, paths_of(&batch.present, false), Deletions::None),
        (StepKind::SubtreesWritten, paths_of(&batch.subtrees, true), on_push),
        (StepKind::Subtrees, paths_of(&batch.subtrees, false), on_push),
        (missing_kind, missing, missing_deletions),
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
            && directory == Directory::Filled
            && let Some(witness) = batch.witness.clone().filter(|_| !is_witnessed)
        {
            is_witnessed = true;
            paths.push(witness);
        }
        let piece = paths.len().div_ceil(pieces.max(1)).max(1);
        steps.extend(paths.chunks(piece).map(|paths| step(kind, paths.to_vec(), deletions)));
    }
    if delete.on_push() && !batch.leftovers.is_empty() {
        steps.push(step(StepKind::Leftovers, batch.leftovers.clone(), Deletions::All));
    }
    // Last, since everything before changes its times.
    if batch.present.iter().any(|entry| entry.path.is_root()) {
        steps.push(step(StepKind::RootItself, vec![RelPath::root()], Deletions::None));
    }
    steps
}

/// How this Mirror makes use of a rename; none if it can't.
fn renamed(rename: &Arc<Rename>, delete: DeleteMode, manner: Manner) -> Option<Renamed> {
    // A mirror without room has none for copies either.
    if !manner.can_rename || manner.pieces > 1 || manner.delete_first {
        return None;
    }
    // Where deletions are left out, anything may stand at the new name.
    let is_sure = rename.is_exact && manner.trusts_renames && delete.on_push();
    // While both ends read all of it nothing is said, and they take each other for dead.
    let is_slow = !is_sure && rename.bytes > manner.compared_bytes_max;
    let by_content = !rename.other_names && !is_sure && !is_slow;
    if by_content && !manner.can_check {
        return None;
    }
    let is_deleted = rename.is_gone
        && delete.on_push()
        && !matches!(manner.budget, Budget::Held | Budget::AtMost(0));
    let basis = match () {
        () if rename.other_names || is_slow => Basis::Similar,
        () if is_deleted && manner.may_link && rename.may_link => Basis::Linked,
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
    use crate::data::change::Epoch;

    const MANNER: Manner = Manner {
        budget: Budget::AtMost(1000),
        directory: Directory::Filled,
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
        let steps = plan(&batch(), DeleteMode::Always, MANNER);
        assert_eq!(kinds(&steps), [Written, Touched, Subtrees, Missing]);
        for mode in [DeleteMode::Never, DeleteMode::OnWalk] {
            let steps = plan(&batch(), mode, MANNER);
            assert_eq!(kinds(&steps), [Written, Touched, Subtrees]);
            assert!(steps.iter().all(|step| step.deletions == Deletions::None));
        }
    }

    #[test]
    fn the_root_itself_comes_last_and_alone() {
        let batch =
            Batch { present: vec![present("", true), present("a", true)], ..Batch::default() };
        let steps = plan(&batch, DeleteMode::Always, MANNER);
        assert_eq!(kinds(&steps), [StepKind::Written, StepKind::RootItself]);
        assert_eq!(steps[0].paths, ["a".into()]);
    }

    #[test]
    fn a_walk_makes_the_directory_first_only_where_it_was_never_reached() {
        let walk = Batch { walk: true, ..Batch::default() };
        let steps =
            plan(&walk, DeleteMode::OnPush, Manner { directory: Directory::Unknown, ..MANNER });
        assert_eq!(kinds(&steps), [StepKind::FirstContact, StepKind::Walk]);
        assert_eq!(steps[1].deletions, Deletions::None);
        assert_eq!(kinds(&plan(&walk, DeleteMode::Always, MANNER)), [StepKind::Walk]);
    }

    #[test]
    fn hard_case_15_a_filled_mirror_is_looked_at_before_the_first_push_since_the_start() {
        let batch = Batch { full: true, ..batch() };
        let first = plan(&batch, DeleteMode::Always, Manner { is_known: false, ..MANNER });
        assert_eq!(first[0].kind, StepKind::Look);
        assert_ne!(plan(&batch, DeleteMode::Always, MANNER)[0].kind, StepKind::Look);
    }

    #[test]
    fn hard_case_13_what_nobody_can_attribute_is_tried_in_pieces() {
        let present = ["a", "b", "c", "d", "e"].map(|path| present(path, true)).to_vec();
        let batch = Batch { present, ..Batch::default() };
        let lens = |pieces| {
            plan(&batch, DeleteMode::Always, Manner { pieces, ..MANNER })
                .iter()
                .map(|step| step.paths.len())
                .collect::<Vec<_>>()
        };
        assert_eq!(lens(1), [5]);
        assert_eq!(lens(2), [3, 2]);
        assert_eq!(lens(8), [1, 1, 1, 1, 1]);
    }

    #[test]
    fn hard_case_16_what_may_delete_more_than_is_known_only_counts_first() {
        let deletions = |batch: &Batch, budget| {
            let steps = plan(batch, DeleteMode::Always, Manner { budget, ..MANNER });
            steps.iter().map(|step| step.deletions).collect::<Vec<_>>()
        };
        let (none, count) = (Deletions::None, Deletions::AtMost(0));
        let files = batch();
        let most = Deletions::AtMost(1000);
        assert_eq!(deletions(&files, Budget::AtMost(1000)), [none, none, count, most]);
        assert_eq!(deletions(&files, Budget::AtMost(0)), [none, none, count, count]);
        assert_eq!(deletions(&files, Budget::Held), [none, none, count, count]);
        let all = Deletions::All;
        assert_eq!(deletions(&files, Budget::Approved), [none, none, all, all]);
        let directories = Batch { missing_directories: true, ..files };
        assert_eq!(deletions(&directories, Budget::AtMost(1000)), [none, none, count, count]);
        let walk = Batch { walk: true, ..Batch::default() };
        assert_eq!(deletions(&walk, Budget::AtMost(1000)), [count]);
    }

    #[test]
    fn hard_case_18_on_a_full_mirror_deletions_go_first() {
        let steps = plan(&batch(), DeleteMode::Always, Manner { delete_first: true, ..MANNER });
        assert_eq!(steps[0].kind, StepKind::Missing);
        assert!(steps.iter().all(|step| step.deletions != Deletions::AtMost(0)));
        let held = plan(
            &batch(),
            DeleteMode::Always,
            Manner { delete_first: true, budget: Budget::Held, ..MANNER },
        );
        assert!(held.iter().all(|step| step.deletions != Deletions::AtMost(1000)));
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

    fn how(batch: &Batch, delete: DeleteMode, manner: Manner) -> Option<(Basis, bool)> {
        let steps = plan(batch, delete, manner);
        let renamed = steps.iter().find_map(|step| step.renamed.clone())?;
        Some((renamed.basis, renamed.by_content))
    }

    #[test]
    fn hard_case_10_new_names_are_real_directories_before_they_are_filled_and_the_subtree_follows()
    {
        use StepKind::{Missing, Renamed, Subtrees, Touched};
        let steps = plan(&renames(true), DeleteMode::Always, MANNER);
        assert_eq!(kinds(&steps), [Touched, Renamed, Subtrees, Missing]);
        assert_eq!(steps[0].paths, ["q".into(), "q/b".into()]);
    }

    #[test]
    fn hard_case_10_only_what_this_push_deletes_is_linked_and_only_what_is_exact_not_compared() {
        let always = DeleteMode::Always;
        assert_eq!(how(&renames(true), always, MANNER), Some((Basis::Linked, false)));
        assert_eq!(how(&renames(false), always, MANNER), Some((Basis::Copied, false)));
        let held = Manner { budget: Budget::Held, ..MANNER };
        assert_eq!(how(&renames(true), always, held), Some((Basis::Copied, false)));
        let in_place = Manner { may_link: false, ..MANNER };
        assert_eq!(how(&renames(true), always, in_place), Some((Basis::Copied, false)));
        assert_eq!(how(&renames(true), DeleteMode::Never, MANNER), Some((Basis::Copied, true)));
        let doubted = Manner { trusts_renames: false, ..MANNER };
        assert_eq!(how(&renames(true), always, doubted), Some((Basis::Linked, true)));
        let slow = Manner { compared_bytes_max: 999, ..doubted };
        assert_eq!(how(&renames(true), always, slow), Some((Basis::Similar, false)));
    }

    #[test]
    fn hard_case_10_without_the_means_for_it_what_was_renamed_is_sent_whatever_its_times() {
        let unable = [
            Manner { can_rename: false, ..MANNER },
            Manner { pieces: 2, ..MANNER },
            Manner { delete_first: true, ..MANNER },
            Manner { trusts_renames: false, can_check: false, ..MANNER },
        ];
        for manner in unable {
            let steps = plan(&renames(true), DeleteMode::Always, manner);
            let mut kinds = kinds(&steps);
            kinds.sort_unstable();
            assert_eq!(kinds, [StepKind::SubtreesWritten, StepKind::Missing]);
        }
    }

    #[test]
    fn an_end_that_can_not_delete_missing_entries_is_served_another_way() {
        let steps =
            plan(&batch(), DeleteMode::Always, Manner { can_delete_missing: false, ..MANNER });
        assert_eq!(steps.last().map(|step| step.kind), Some(StepKind::MissingByFilter));
    }
}
