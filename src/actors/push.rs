//! A Push under way: which Steps are left, and what the ended ones came to.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use crate::core::host::Push;
use crate::core::verdict::Verdict;
use crate::types::batch::Batch;
use crate::types::limits::SURPRISES_MAX;
use crate::types::outcome::{Failed, Outcome, PushEnd};
use crate::types::rel_path::RelPath;
use crate::types::source_dir::SourceDir;
use crate::types::step::{Step, StepEnd, StepKind};

/// One Push and its remaining Steps.
pub struct RunningPush {
    /// What it is about.
    pub push: Push,
    /// Where from.
    pub source: SourceDir,
    /// The process that runs now.
    pub process: Rc<Cell<Option<u32>>>,
    steps: VecDeque<Step>,
    failed: Vec<Failed>,
    deletions_skipped: bool,
    unattributed: Option<String>,
    surprises: Vec<RelPath>,
    notes: Vec<String>,
    bytes_sent: u64,
}

impl RunningPush {
    /// Before its first Step.
    pub fn new(push: Push, source: SourceDir, steps: Vec<Step>) -> Self {
        Self {
            push,
            source,
            process: Rc::default(),
            steps: steps.into(),
            failed: Vec::new(),
            deletions_skipped: false,
            unattributed: None,
            surprises: Vec::new(),
            notes: Vec::new(),
            bytes_sent: 0,
        }
    }

    /// The Step to run next; none when all are done.
    pub fn next_step(&mut self) -> Option<Step> {
        let step = self.steps.pop_front()?;
        // Nothing is deleted while something may not have been created.
        if self.unattributed.is_some() && step.kind == StepKind::Missing {
            self.steps.clear();
            return None;
        }
        Some(step)
    }

    /// Takes the end of a Step. Returns the Push's end if that settles it.
    pub fn handle_step(&mut self, step: &Step, end: &StepEnd, verdict: Verdict) -> Option<PushEnd> {
        self.bytes_sent += end.bytes_sent;
        self.notes.extend(verdict.notes);
        if step.kind != StepKind::FirstContact {
            self.note_surprises(&end.created_directories);
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
            again @ Outcome::Again { .. } => Some(self.end(again)),
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
            notes: std::mem::take(&mut self.notes),
            bytes_sent: self.bytes_sent,
        }
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
