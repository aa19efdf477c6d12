//! A Batch becomes Steps: new content is in place before anything is deleted.

use crate::types::batch::{Batch, Present};
use crate::types::plan::DeleteMode;
use crate::types::rel_path::RelPath;
use crate::types::step::{Step, StepKind};

/// The rsync runs that bring a Batch to a Mirror, in order. `reached` says that the mirror's directory
/// is known to exist. After failures that nobody could attribute, each list is cut into `pieces`.
pub fn plan(batch: &Batch, delete: DeleteMode, reached: bool, pieces: usize) -> Vec<Step> {
    let step = |kind, paths, delete| Step { kind, paths, held: batch.held.clone(), delete };
    let mut steps = Vec::new();
    if !reached {
        steps.push(step(StepKind::FirstContact, Vec::new(), false));
    }
    if batch.walk {
        steps.push(step(StepKind::Walk, Vec::new(), delete.on_walk()));
        return steps;
    }
    let on_push = delete.on_push();
    let lists = [
        (StepKind::Written, paths_of(&batch.present, true), false),
        (StepKind::Touched, paths_of(&batch.present, false), false),
        (StepKind::SubtreesWritten, paths_of(&batch.subtrees, true), on_push),
        (StepKind::Subtrees, paths_of(&batch.subtrees, false), on_push),
        (StepKind::Missing, if on_push { batch.missing.clone() } else { Vec::new() }, true),
    ];
    for (kind, mut paths, delete) in lists {
        // In a list it would bring along all that is directly in it.
        if matches!(kind, StepKind::Written | StepKind::Touched) {
            paths.retain(|path| !path.is_root());
        }
        let piece = paths.len().div_ceil(pieces.max(1)).max(1);
        steps.extend(paths.chunks(piece).map(|paths| step(kind, paths.to_vec(), delete)));
    }
    // Last, since everything before changes its times.
    if batch.present.iter().any(|entry| entry.path.is_root()) {
        steps.push(step(StepKind::RootItself, vec![RelPath::root()], false));
    }
    steps
}

fn paths_of(entries: &[Present], content: bool) -> Vec<RelPath> {
    entries.iter().filter(|p| p.content == content).map(|p| p.path.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::change::Epoch;

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
        let steps = plan(&batch(), DeleteMode::Always, true, 1);
        assert_eq!(kinds(&steps), [Written, Touched, Subtrees, Missing]);
        for mode in [DeleteMode::Never, DeleteMode::OnWalk] {
            let steps = plan(&batch(), mode, true, 1);
            assert_eq!(kinds(&steps), [Written, Touched, Subtrees]);
            assert!(steps.iter().all(|step| !step.delete));
        }
    }

    #[test]
    fn the_root_itself_comes_last_and_alone() {
        let batch =
            Batch { present: vec![present("", true), present("a", true)], ..Batch::default() };
        let steps = plan(&batch, DeleteMode::Always, true, 1);
        assert_eq!(kinds(&steps), [StepKind::Written, StepKind::RootItself]);
        assert_eq!(steps[0].paths, ["a".into()]);
    }

    #[test]
    fn a_walk_makes_the_directory_first_only_where_it_was_never_reached() {
        let walk = Batch { walk: true, ..Batch::default() };
        let steps = plan(&walk, DeleteMode::OnPush, false, 1);
        assert_eq!(kinds(&steps), [StepKind::FirstContact, StepKind::Walk]);
        assert!(!steps[1].delete);
        assert_eq!(kinds(&plan(&walk, DeleteMode::Always, true, 1)), [StepKind::Walk]);
    }

    #[test]
    fn hard_case_13_what_nobody_can_attribute_is_tried_in_pieces() {
        let present = ["a", "b", "c", "d", "e"].map(|path| present(path, true)).to_vec();
        let batch = Batch { present, ..Batch::default() };
        let lens = |pieces| {
            plan(&batch, DeleteMode::Always, true, pieces)
                .iter()
                .map(|step| step.paths.len())
                .collect::<Vec<_>>()
        };
        assert_eq!(lens(1), [5]);
        assert_eq!(lens(2), [3, 2]);
        assert_eq!(lens(8), [1, 1, 1, 1, 1]);
    }
}
