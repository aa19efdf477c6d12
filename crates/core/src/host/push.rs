//! A Push under way: which Steps are left, and what the ended ones came to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::data::attributes::Attributes;
use crate::data::batch::Batch;
use crate::data::limits::{
    DIFFERENCES_MAX, EXCLUDES_MAX, EXTRAS_MAX, NARROWINGS_MAX, SURPRISES_MAX,
};
use crate::data::need::Need;
use crate::data::outcome::{AssignmentEnd, Extra, Outcome, Unproved};
use crate::data::path::RelPath;
use crate::data::step::{Basis, Deletions, Differences, Exit, Step, StepEnd, StepKind};
use crate::host::Push;
use crate::host::narrow::{Narrowed, Suspects, dated, narrow};
use crate::host::rsync_output::{Verdict, retry_need};

/// One assignment under way and its remaining steps.
#[expect(clippy::struct_excessive_bools, reason = "facts that don't depend on each other")]
#[derive(Debug)]
pub struct RunningPush {
    /// What it is about.
    pub push: Push,
    steps: VecDeque<Step>,
    unproved: Vec<Unproved>,
    unattributed: Option<String>,
    narrowings: usize,
    /// Names whose deletion was begun: what is left of what may go with them is granted once.
    granted: BTreeSet<RelPath>,
    broke_off: bool,
    surprises: Vec<RelPath>,
    notes: Vec<String>,
    bytes_sent: u64,
    protocol: Option<u32>,
    /// Steps that only counted what they would delete, and how much that is.
    counted: Vec<(Step, u64)>,
    /// Entries that were taken over from old names which are gone: deleting those takes nothing away.
    renamed: u64,
    extras: Vec<RelPath>,
    extras_cut: bool,
    obstructed: BTreeSet<RelPath>,
    /// Of these, those whose replacement was begun.
    was_replaced: BTreeSet<RelPath>,
    obstacles: Vec<Extra>,
    has_linked: bool,
    drift: Differences,
    /// Whether the step under way deletes.
    deletes: bool,
    permission: Permission,
}

/// Whether steps that delete may still begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Permission {
    Given,
    Withdrawn,
    /// A step was left out because it is withdrawn.
    Missed,
}

impl RunningPush {
    /// Before its first step.
    pub fn new(push: Push, steps: Vec<Step>) -> Self {
        Self {
            renamed: 0,
            push,
            steps: steps.into(),
            unproved: Vec::new(),
            unattributed: None,
            narrowings: 0,
            granted: BTreeSet::new(),
            broke_off: false,
            surprises: Vec::new(),
            notes: Vec::new(),
            bytes_sent: 0,
            protocol: None,
            counted: Vec::new(),
            extras: Vec::new(),
            extras_cut: false,
            obstructed: BTreeSet::new(),
            was_replaced: BTreeSet::new(),
            obstacles: Vec::new(),
            has_linked: false,
            drift: Differences::default(),
            deletes: false,
            permission: Permission::Given,
        }
    }

    /// The step to run next; none when all are done.
    pub fn next_step(&mut self) -> Option<Step> {
        if self.steps.front().is_none_or(|step| step.kind == StepKind::RootItself) {
            self.resolve_counted();
        }
        let mut step = self.steps.pop_front()?;
        // What is no real directory is not filled: the next try does without.
        let is_no_directory =
            |it: &Unproved, to: &RelPath| it.path.is_related(to) && it.need != Need::ATTRIBUTES;
        while let Some(renamed) = &step.renamed
            && (self.unattributed.is_some()
                || self.unproved.iter().any(|it| is_no_directory(it, &renamed.rename.to)))
        {
            let why = "a directory could not be made for what was renamed";
            self.unattributed.get_or_insert_with(|| why.into());
            step = self.steps.pop_front()?;
        }
        // Nothing is deleted while something may not have been created.
        if self.unattributed.is_some() && step.kind.deletes_listed() {
            self.steps.clear();
            return None;
        }
        if self.permission != Permission::Given && step.deletes() {
            self.steps.clear();
            self.permission = Permission::Missed;
            return None;
        }
        self.deletes = step.deletes();
        dated(&step).into_iter().for_each(|dated| self.steps.push_front(dated));
        self.has_linked |= step.renamed.as_ref().is_some_and(|it| it.basis == Basis::Linked);
        Some(step)
    }

    /// Deletions of this batch began to wait: none is begun any more. Returns the end of the assignment if the step under
    /// way deletes; then that run must be broken off.
    pub fn withdraw(&mut self) -> Option<AssignmentEnd> {
        self.permission = Permission::Withdrawn;
        self.deletes.then(|| self.end(Outcome::Withdrawn { cut_off: true }))
    }

    /// Everything is created, and what is only on the mirror is counted. Of listed names, and of directories that are in the
    /// way of something, as much goes as the source lost there; all else is named.
    fn resolve_counted(&mut self) {
        let counted = std::mem::take(&mut self.counted);
        if self.unattributed.is_some() {
            return;
        }
        let mut next: Vec<Step> = Vec::new();
        for (step, count) in counted {
            let lost = self.push.batch.lost_with(&step.paths);
            let most = lost.saturating_add(self.renamed);
            let (deletions, kind) = match step.kind {
                kind if kind.deletes_listed() && count <= most => {
                    // Renamed entries are counted once.
                    self.renamed -= count.saturating_sub(lost);
                    (Deletions::AtMost(lost.max(count)), kind)
                }
                StepKind::Replace if count <= self.may_replace(&step.paths) => {
                    (Deletions::AtMost(count), StepKind::Replace)
                }
                StepKind::Replace => {
                    let all = step.paths.into_iter();
                    self.obstacles.extend(all.map(|path| Extra { path, entries: count }));
                    continue;
                }
                _ => (Deletions::All, StepKind::Extras),
            };
            next.push(Step { kind, deletions, ..step });
        }
        let new = self.obstructed.iter().filter(|path| !self.was_replaced.contains(*path));
        let new: Vec<RelPath> = new.cloned().collect();
        for path in new {
            self.was_replaced.insert(path.clone());
            let held = self.push.batch.held.clone();
            let deletions = Deletions::AtMost(0);
            next.push(Step { held, deletions, ..Step::new(StepKind::Replace, vec![path]) });
        }
        // What is named is what all deletions have left.
        next.sort_by_key(|step| step.kind == StepKind::Extras);
        next.into_iter().rev().for_each(|step| self.steps.push_front(step));
    }

    fn may_replace(&self, paths: &[RelPath]) -> u64 {
        paths.iter().map(|path| self.push.batch.lost_in_the_way(path)).sum()
    }

    /// Takes the end of a step. Returns the assignment's end if that settles it.
    pub fn handle_step(
        &mut self,
        step: &Step,
        end: &StepEnd,
        verdict: Verdict,
    ) -> Option<AssignmentEnd> {
        self.bytes_sent += end.bytes_sent;
        self.protocol = end.protocol.or(self.protocol);
        if step.renamed.as_ref().is_some_and(|it| it.rename.is_gone && it.basis != Basis::Similar) {
            self.renamed = self.renamed.saturating_add(end.taken_over);
        }
        self.notes.extend(verdict.notes.iter().cloned());
        self.broke_off |= verdict.broke_off;
        if verdict.is_rest_unproved {
            self.obstructed.extend(verdict.obstructed.iter().cloned());
            self.note_created(step, end);
            self.narrow(step, end, &verdict);
            return None;
        }
        let mut left = |why: &str| {
            let need = retry_need(step.kind);
            let left = |path: &RelPath| Unproved { path: path.clone(), need, reason: why.into() };
            self.unproved.extend(step.paths.iter().map(left));
        };
        let is_granted = step.paths.iter().any(|path| self.granted.contains(path));
        match step.deletions {
            Deletions::AtMost(0) if verdict.skipped > 0 && !is_granted => {
                self.counted.push((step.clone(), verdict.skipped));
            }
            // There was more than had been counted.
            _ if verdict.skipped > 0 => left("more lies there than the source lost"),
            // The count is nothing, and the directory stays.
            _ if step.kind == StepKind::Replace && !verdict.obstructed.is_empty() => {
                left("a directory is in the way, and what is excluded keeps it there");
            }
            _ => (),
        }
        self.obstructed.extend(verdict.obstructed);
        if step.kind == StepKind::Extras {
            let room = EXTRAS_MAX.saturating_sub(self.extras.len());
            self.extras_cut |= end.extras_cut || end.extras.len() > room;
            self.extras.extend(end.extras.iter().take(room).cloned());
        }
        if self.push.batch.is_check() && step.kind.is_walk() {
            self.note_drift(&end.differences);
        }
        self.note_created(step, end);
        let expected = self.push.batch.entries_expected;
        // What can't be seen is not held against it.
        let is_seen = step.kind == StepKind::Look && end.exit == Exit::Code(0);
        if is_seen && end.entries_found <= expected / 2 + 1 && expected > 2 {
            let found = end.entries_found;
            let why = format!(
                "The mirror's directory holds {found} entries and not {expected}, although it was filled before; is \
                 its disk mounted?"
            );
            return Some(self.end(Outcome::Halt(why)));
        }
        match verdict.outcome {
            Outcome::Done => None,
            Outcome::Partly(unproved) => {
                self.unproved.extend(unproved);
                None
            }
            Outcome::Unattributed(why) => {
                self.unattributed.get_or_insert(why);
                None
            }
            end @ (Outcome::Again { .. }
            | Outcome::Halt(_)
            | Outcome::Full(_)
            | Outcome::Incapable(..)
            | Outcome::Withdrawn { .. }) => Some(self.end(end)),
        }
    }

    /// Some paths of a step failed. They are owed, and runs without them prove the rest.
    fn narrow(&mut self, step: &Step, end: &StepEnd, verdict: &Verdict) {
        let unproved = verdict.outcome.unproved();
        let reason = Unproved::describe(unproved);
        let attributes = |path| verdict.on_attributes.get(path).copied().unwrap_or_default();
        let failed = unproved.iter().map(|it| (it.path.clone(), attributes(&it.path)));
        let in_the_way = verdict.obstructed.iter().map(|it| (it.clone(), Attributes::empty()));
        let suspects: Suspects = failed.chain(in_the_way).collect();
        // The deletions of the first run count.
        let deletions = match step.deletions {
            Deletions::AtMost(most) if most > 0 => {
                self.granted.extend(step.paths.iter().cloned());
                Deletions::AtMost(most.saturating_sub(end.differences.deleted))
            }
            other => other,
        };
        let step = Step { deletions, ..step.clone() };
        let known = step.held.len().saturating_sub(self.push.batch.held.len());
        let excludes_max = EXCLUDES_MAX.saturating_sub(known);
        self.narrowings += 1;
        let narrowed = narrow(&step, &suspects, excludes_max);
        let narrowed = narrowed.filter(|_| self.narrowings <= NARROWINGS_MAX);
        let need = retry_need(step.kind);
        let left_out = match narrowed {
            Some(Narrowed { steps, left_out }) => {
                steps.into_iter().rev().for_each(|step| self.steps.push_front(step));
                left_out
            }
            // Smaller pieces are tried next time.
            None if step.paths.len() > 1 && !step.kind.is_walk() => {
                self.unattributed.get_or_insert(reason);
                return;
            }
            None if step.paths.is_empty() => [RelPath::root()].into(),
            None => step.paths.iter().cloned().collect(),
        };
        self.unproved.extend(unproved.iter().cloned());
        // An entry with a directory in its way comes by a replacement.
        let is_replaced =
            |path: &RelPath| step.kind != StepKind::Replace && self.obstructed.contains(path);
        let left_out = left_out.into_iter().filter(|path| !is_replaced(path));
        let left_out = left_out.map(|path| Unproved { path, need, reason: reason.clone() });
        self.unproved.extend(left_out);
    }

    /// All steps have ended.
    pub fn finish(&mut self) -> AssignmentEnd {
        let mut unproved: BTreeMap<RelPath, Unproved> = BTreeMap::new();
        for it in std::mem::take(&mut self.unproved) {
            unproved.entry(it.path.clone()).and_modify(|known| known.need |= it.need).or_insert(it);
        }
        let outcome = match self.unattributed.take() {
            _ if self.permission == Permission::Missed => Outcome::Withdrawn { cut_off: false },
            Some(why) => Outcome::Unattributed(why),
            None if unproved.is_empty() => Outcome::Done,
            None => Outcome::Partly(unproved.into_values().collect()),
        };
        self.end(outcome)
    }

    fn end(&mut self, outcome: Outcome) -> AssignmentEnd {
        let extras = topmost(std::mem::take(&mut self.extras));
        let held = &self.push.batch.held;
        // Those in a directory that is in the way go with it.
        let is_inside = |it: &Extra| {
            let mut names = it.path.ancestors().chain([it.path.clone()]);
            names.any(|name| self.obstructed.contains(&name))
        };
        let is_counted =
            |it: &Extra| !held.iter().any(|held| held.is_related(&it.path)) && !is_inside(it);
        AssignmentEnd {
            outcome,
            surprises: std::mem::take(&mut self.surprises),
            holds_anything: self.push.batch.full,
            extras: extras.into_iter().filter(is_counted).collect(),
            obstacles: std::mem::take(&mut self.obstacles),
            extras_cut: self.extras_cut,
            broke_off: self.broke_off,
            has_linked: self.has_linked,
            drift: self.push.batch.is_check().then(|| std::mem::take(&mut self.drift)),
            notes: std::mem::take(&mut self.notes),
            bytes_sent: self.bytes_sent,
            protocol: self.protocol,
        }
    }

    fn note_drift(&mut self, found: &Differences) {
        // That a directory's time differs follows from something else, or is of no consequence.
        let is_real = |line: &&String| !line.starts_with(".d..t......");
        let of_consequence = found.first.iter().filter(is_real);
        let ignored = (found.first.len() - of_consequence.clone().count()) as u64;
        self.drift.total += found.total - ignored;
        let room = DIFFERENCES_MAX.saturating_sub(self.drift.first.len());
        self.drift.first.extend(of_consequence.take(room).cloned());
    }

    /// A directory that was created on the mirror, though neither it nor anything above it was to be:
    /// the mirror is not what we think.
    fn note_created(&mut self, step: &Step, end: &StepEnd) {
        let batch: &Arc<Batch> = &self.push.batch;
        if batch.is_whole() || step.kind == StepKind::FirstContact {
            return;
        }
        let unexpected = end.created_directories.iter().filter(|path| !batch.accounts_for(path));
        let room = SURPRISES_MAX.saturating_sub(self.surprises.len());
        self.surprises.extend(unexpected.take(room).cloned());
    }
}

/// Reduces names to the topmost ones, each with how many of them lie at and below it.
fn topmost(mut names: Vec<RelPath>) -> Vec<Extra> {
    names.sort_unstable();
    names.dedup();
    let mut extras: Vec<Extra> = Vec::new();
    // `a-b` sorts between `a` and `a/b`: the one above is looked for among all.
    let all: BTreeSet<RelPath> = names.iter().cloned().collect();
    let mut counts: BTreeMap<RelPath, u64> = BTreeMap::new();
    for name in names {
        let top = name.ancestors().filter(|above| all.contains(above)).last().unwrap_or(name);
        *counts.entry(top).or_default() += 1;
    }
    extras.extend(counts.into_iter().map(|(path, entries)| Extra { path, entries }));
    extras
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::batch::{Present, Rename};
    use crate::data::change::{AssignmentId, Lane};
    use crate::data::ids::MirrorId;
    use crate::data::need::Need;
    use crate::data::plan::DeleteMode;
    use crate::host::mirror::PushId;
    use crate::host::rsync_output::judge;
    use crate::host::steps::{self, MirrorTerms};
    use crate::host::target_state::TargetState;

    /// A directory was renamed, and another deleted; at most ten entries may go.
    fn push() -> RunningPush {
        let rename = Rename {
            from: "a".into(),
            to: "b".into(),
            files: vec!["f".into()],
            files_alone: false,
            other_names: false,
            bytes: 1,
            may_link: true,
            is_exact: true,
            is_gone: true,
        };
        let batch = Batch {
            full: true,
            subtrees: vec![Present { path: "b".into(), content: true }],
            missing: vec!["a".into(), "junk".into()],
            missing_directories: true,
            lost: [("a".into(), 1), ("junk".into(), 9)].into(),
            renames: vec![Arc::new(rename)],
            ..Batch::default()
        };
        let terms = MirrorTerms {
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
        let steps = steps::plan(&batch, DeleteMode::Always, terms);
        let mirror = MirrorId::new(&"site".into(), &"web".into());
        let (id, lane, batch) = (PushId(1), Lane::Fresh, Arc::new(batch));
        let assignment = AssignmentId(1);
        RunningPush::new(Push { id, assignment, mirror, lane, batch, terms }, steps)
    }

    fn end(code: i32, messages: &str, taken_over: u64) -> StepEnd {
        StepEnd {
            messages: messages.into(),
            taken_over,
            protocol: Some(32),
            prefixes: vec![b"/src".to_vec()],
            ..StepEnd::new(Exit::Code(code))
        }
    }

    /// Runs all steps, each with the end that is given for its kind; returns the kinds and the end.
    fn run(
        mut push: RunningPush,
        ends: impl Fn(&Step) -> StepEnd,
    ) -> (Vec<StepKind>, AssignmentEnd) {
        let mut kinds = Vec::new();
        while let Some(step) = push.next_step() {
            kinds.push(step.kind);
            let end = ends(&step);
            if let Some(end) = push.handle_step(&step, &end, judge(&step, &end)) {
                return (kinds, end);
            }
        }
        let end = push.finish();
        (kinds, end)
    }

    #[test]
    fn hard_case_16_only_as_much_is_deleted_as_was_lost_or_renamed_and_the_rest_is_named() {
        let ends = |taken_over, to_delete| {
            move |step: &Step| match (step.kind, step.deletions) {
                (StepKind::Renamed, _) => end(0, "", taken_over),
                (StepKind::Missing, Deletions::AtMost(0)) => {
                    let line = format!(
                        "Deletions stopped due to --max-delete limit ({to_delete} skipped)\n"
                    );
                    end(25, &line, 0)
                }
                (StepKind::Extras, _) => {
                    let extras = ["a", "junk", "junk/x"].map(RelPath::from).to_vec();
                    StepEnd { extras, ..end(0, "", 0) }
                }
                _ => end(0, "", 0),
            }
        };
        let extras = |taken_over, to_delete| {
            let (kinds, end) = run(push(), ends(taken_over, to_delete));
            let is_deleted = kinds.iter().filter(|kind| **kind == StepKind::Missing).count() == 2;
            assert_eq!(is_deleted, end.extras.is_empty());
            end.extras.iter().map(|it| (it.path.to_string(), it.entries)).collect::<Vec<_>>()
        };
        assert_eq!(extras(300, 310), [], "three hundred were renamed, and ten were lost");
        assert_eq!(extras(1, 310), [("a".into(), 1), ("junk".into(), 2)]);
    }

    #[test]
    fn hard_case_10_what_is_no_real_directory_is_not_filled_and_nothing_is_deleted() {
        let unlink = "rsync: [receiver] unlink(\"/src/b\") failed: Permission denied (13)\n";
        let (kinds, end) = run(push(), |step| match step.kind {
            StepKind::Touched => self::end(23, unlink, 0),
            _ => self::end(0, "", 0),
        });
        assert_eq!(kinds, [StepKind::Touched, StepKind::Subtrees]);
        assert!(matches!(end.outcome, Outcome::Unattributed(_)), "{:?}", end.outcome);
    }

    #[test]
    fn what_can_not_be_seen_is_not_held_against_a_mirror() {
        let mut push = push();
        let look = Step { kind: StepKind::Look, ..push.next_step().expect("there are some") };
        push.push.batch = Arc::new(Batch { entries_expected: 100, ..Batch::default() });
        let (refused, empty) = (end(1, "", 0), end(0, "", 0));
        assert_eq!(push.handle_step(&look, &refused, judge(&look, &refused)), None);
        let seen = push.handle_step(&look, &empty, judge(&look, &empty)).map(|end| end.outcome);
        assert!(matches!(seen, Some(Outcome::Halt(_))), "{seen:?}");
    }

    #[test]
    fn nothing_is_deleted_after_a_run_was_withdrawn() {
        let counted = "Deletions stopped due to --max-delete limit (2 skipped)\n";
        let end_of = |step: &Step| match step.deletions {
            Deletions::AtMost(0) => end(25, counted, 0),
            _ => end(0, "", 0),
        };
        let run_until = |push: &mut RunningPush, is_here: fn(&Step) -> bool| loop {
            let step = push.next_step().expect("it comes to that");
            if is_here(&step) {
                return step;
            }
            let end = end_of(&step);
            assert_eq!(push.handle_step(&step, &end, judge(&step, &end)), None);
        };
        let mut early = push();
        let step = run_until(&mut early, |step| step.deletions == Deletions::AtMost(0));
        assert_eq!(early.withdraw(), None, "it only counts");
        let end = end_of(&step);
        early.handle_step(&step, &end, judge(&step, &end));
        while let Some(step) = early.next_step() {
            assert!(!step.deletes(), "{step:?}");
            let end = end_of(&step);
            early.handle_step(&step, &end, judge(&step, &end));
        }
        assert_eq!(early.finish().outcome, Outcome::Withdrawn { cut_off: false });

        let mut late = push();
        let step = run_until(&mut late, Step::deletes);
        assert_eq!(step.kind, StepKind::Missing);
        let end = late.withdraw().map(|end| end.outcome);
        assert_eq!(end, Some(Outcome::Withdrawn { cut_off: true }));
    }

    #[test]
    fn a_file_that_fails_elsewhere_keeps_no_rename_from_being_made_use_of() {
        let mut push = push();
        let need = Need::CONTENTS;
        push.unproved = vec![Unproved { path: "x/f".into(), need, reason: "unreadable".into() }];
        let (kinds, _) = run(push, |_| end(0, "", 0));
        assert!(kinds.contains(&StepKind::Renamed), "{kinds:?}");
    }
}
