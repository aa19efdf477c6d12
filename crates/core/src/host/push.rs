//! A Push under way: which Steps are left, and what the ended ones came to.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::data::batch::Batch;
use crate::data::limits::{DIFFERENCES_MAX, SURPRISES_MAX};
use crate::data::outcome::{Budget, Failed, Held, Outcome, PushEnd};
use crate::data::path::RelPath;
use crate::data::step::{Basis, Deletions, Differences, Exit, Step, StepEnd, StepKind};
use crate::host::Push;
use crate::host::rsync_output::{Verdict, retry_kinds};

/// One Push and its remaining Steps.
#[derive(Debug)]
pub struct RunningPush {
    /// What it is about.
    pub push: Push,
    steps: VecDeque<Step>,
    failed: Vec<Failed>,
    deletions_skipped: bool,
    unattributed: Option<String>,
    surprises: Vec<RelPath>,
    notes: Vec<String>,
    bytes_sent: u64,
    protocol: Option<u32>,
    /// Steps that only counted what they would delete, and how much that is.
    counted: Vec<(Step, u64)>,
    /// Deletions of single files, which need no counting.
    direct: u64,
    /// Entries that were taken over from old names which are gone: deleting those takes nothing away.
    renamed: u64,
    held: Held,
    drift: Differences,
}

impl RunningPush {
    /// Before its first Step.
    pub fn new(push: Push, steps: Vec<Step>) -> Self {
        let is_direct = |step: &&Step| {
            matches!(step.kind, StepKind::Missing | StepKind::MissingByFilter)
                && matches!(step.deletions, Deletions::AtMost(1..))
        };
        let direct = steps.iter().filter(is_direct).map(|step| step.paths.len() as u64).sum();
        Self {
            direct,
            renamed: 0,
            push,
            steps: steps.into(),
            failed: Vec::new(),
            deletions_skipped: false,
            unattributed: None,
            surprises: Vec::new(),
            notes: Vec::new(),
            bytes_sent: 0,
            protocol: None,
            counted: Vec::new(),
            held: Held::default(),
            drift: Differences::default(),
        }
    }

    /// The Step to run next; none when all are done.
    pub fn next_step(&mut self) -> Option<Step> {
        if self.steps.front().is_none_or(|step| step.kind == StepKind::RootItself) {
            self.delete_or_hold();
        }
        let mut step = self.steps.pop_front()?;
        // What is no real directory is not filled: the next try does without.
        while let Some(renamed) = &step.renamed
            && (self.unattributed.is_some()
                || self.failed.iter().any(|it| it.path.is_related(&renamed.rename.to)))
        {
            let why = "a directory could not be made for what was renamed";
            self.unattributed.get_or_insert_with(|| why.into());
            step = self.steps.pop_front()?;
        }
        // Nothing is deleted while something may not have been created.
        let deletes = matches!(step.kind, StepKind::Missing | StepKind::MissingByFilter);
        if self.unattributed.is_some() && deletes {
            self.steps.clear();
            return None;
        }
        Some(step)
    }

    /// Everything is created, and all deletions are counted.
    fn delete_or_hold(&mut self) {
        let counted = std::mem::take(&mut self.counted);
        if counted.is_empty() || self.unattributed.is_some() {
            return;
        }
        let total: u64 = counted.iter().map(|(_, count)| count).sum();
        match self.push.manner.budget {
            Budget::AtMost(most)
                if total.saturating_add(self.direct) <= most.saturating_add(self.renamed) =>
            {
                let most = most.saturating_add(self.renamed);
                for (step, _) in counted.into_iter().rev() {
                    // Contents have been compared.
                    let kind = if step.kind.is_walk() { StepKind::Walk } else { step.kind };
                    let deletions = Deletions::AtMost(most);
                    self.steps.push_front(Step { kind, deletions, ..step });
                }
            }
            _ => counted.into_iter().for_each(|(step, count)| self.hold(step, count)),
        }
    }

    fn hold(&mut self, step: Step, count: u64) {
        self.held.count += count;
        let kinds = retry_kinds(step.kind);
        if step.kind.is_walk() {
            self.held.paths.push((RelPath::root(), kinds));
        }
        let is_whole = step.kind.is_walk() || step.paths.iter().any(RelPath::is_root);
        self.held.from_empty_root |= is_whole && !self.push.batch.full;
        self.held.paths.extend(step.paths.into_iter().map(|path| (path, kinds)));
    }

    /// Takes the end of a Step. Returns the Push's end if that settles it.
    pub fn handle_step(&mut self, step: &Step, end: &StepEnd, verdict: Verdict) -> Option<PushEnd> {
        self.bytes_sent += end.bytes_sent;
        self.protocol = end.protocol.or(self.protocol);
        if step.renamed.as_ref().is_some_and(|it| it.rename.is_gone && it.basis != Basis::Similar) {
            self.renamed += end.taken_over;
        }
        self.notes.extend(verdict.notes);
        if verdict.skipped > 0 {
            match step.deletions {
                Deletions::AtMost(0) => self.counted.push((step.clone(), verdict.skipped)),
                // There was more than had been counted.
                _ => self.hold(step.clone(), verdict.skipped),
            }
        }
        if self.push.batch.check {
            self.note_drift(&end.differences);
        }
        if step.kind != StepKind::FirstContact {
            self.note_surprises(&end.created_directories);
        }
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
            Outcome::Partly(failed) => {
                self.failed.extend(failed);
                None
            }
            Outcome::DeletionsSkipped(failed) => {
                self.failed.extend(failed);
                self.deletions_skipped = true;
                None
            }
            Outcome::Unattributed(why) => {
                self.unattributed.get_or_insert(why);
                None
            }
            end @ (Outcome::Again { .. }
            | Outcome::Halt(_)
            | Outcome::Full(_)
            | Outcome::Incapable(..)) => Some(self.end(end)),
        }
    }

    /// All Steps have ended.
    pub fn finish(&mut self) -> PushEnd {
        let failed = std::mem::take(&mut self.failed);
        let outcome = match self.unattributed.take() {
            Some(why) => Outcome::Unattributed(why),
            None if self.deletions_skipped => Outcome::DeletionsSkipped(failed),
            None if failed.is_empty() => Outcome::Done,
            None => Outcome::Partly(failed),
        };
        self.end(outcome)
    }

    fn end(&mut self, outcome: Outcome) -> PushEnd {
        PushEnd {
            outcome,
            surprises: std::mem::take(&mut self.surprises),
            holds_anything: self.push.batch.full,
            held: std::mem::take(&mut self.held),
            drift: self.push.batch.check.then(|| std::mem::take(&mut self.drift)),
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
    fn note_surprises(&mut self, created: &[RelPath]) {
        let batch: &Arc<Batch> = &self.push.batch;
        if batch.walk {
            return;
        }
        let unexpected = created.iter().filter(|path| !batch.accounts_for(path));
        let room = SURPRISES_MAX.saturating_sub(self.surprises.len());
        self.surprises.extend(unexpected.take(room).cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::batch::{Present, Rename};
    use crate::data::change::{Kinds, Lane};
    use crate::data::ids::MirrorId;
    use crate::data::plan::DeleteMode;
    use crate::host::mirror::PushId;
    use crate::host::rsync_output::judge;
    use crate::host::steps::{self, Manner};
    use crate::host::target_state::Directory;

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
            renames: vec![Arc::new(rename)],
            ..Batch::default()
        };
        let manner = Manner {
            budget: Budget::AtMost(10),
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
        let steps = steps::plan(&batch, DeleteMode::Always, manner);
        let mirror = MirrorId::new(&"site".into(), &"web".into());
        let (id, lane, batch) = (PushId(1), Lane::Fresh, Arc::new(batch));
        RunningPush::new(Push { id, mirror, lane, batch, manner }, steps)
    }

    fn end(code: i32, messages: &str, taken_over: u64) -> StepEnd {
        StepEnd {
            exit: Exit::Code(code),
            messages: messages.into(),
            messages_cut: false,
            created_directories: Vec::new(),
            differences: Differences::default(),
            entries_found: 0,
            taken_over,
            bytes_sent: 0,
            protocol: Some(32),
            prefixes: vec![b"/src".to_vec()],
        }
    }

    /// Runs all steps, each with the end that is given for its kind; returns the kinds and the end.
    fn run(mut push: RunningPush, ends: impl Fn(&Step) -> StepEnd) -> (Vec<StepKind>, PushEnd) {
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
    fn hard_case_16_what_a_rename_has_taken_over_may_go_and_nothing_besides() {
        let ends = |taken_over, to_delete| {
            move |step: &Step| match (step.kind, step.deletions) {
                (StepKind::Renamed, _) => end(0, "", taken_over),
                (StepKind::Missing, Deletions::AtMost(0)) => {
                    let line = format!(
                        "Deletions stopped due to --max-delete limit ({to_delete} skipped)\n"
                    );
                    end(25, &line, 0)
                }
                _ => end(0, "", 0),
            }
        };
        let held = |taken_over, to_delete| run(push(), ends(taken_over, to_delete)).1.held.count;
        assert_eq!(held(300, 310), 0, "three hundred were renamed");
        assert_eq!(held(1, 310), 310, "one was renamed, and others were made beside it");
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
    fn a_file_that_fails_elsewhere_keeps_no_rename_from_being_made_use_of() {
        let mut push = push();
        let kinds = Kinds::CONTENT;
        push.failed = vec![Failed { path: "x/f".into(), kinds, reason: "unreadable".into() }];
        let (kinds, _) = run(push, |_| end(0, "", 0));
        assert!(kinds.contains(&StepKind::Renamed), "{kinds:?}");
    }
}
