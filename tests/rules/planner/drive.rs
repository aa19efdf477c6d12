//! A push from its batch to its end, on the model.

use std::fmt;
use std::sync::Arc;

use mirrorball_core::data::absent_volumes::AbsentVolumes;
use mirrorball_core::data::change::{AssignmentId, Epoch, Lane};
use mirrorball_core::data::ids::MirrorId;
use mirrorball_core::data::limits::LARGE_FILE_MIN;
use mirrorball_core::data::outcome::{AssignmentEnd, Outcome};
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::step::{Exit, Step, StepEnd};
use mirrorball_core::host::Push;
use mirrorball_core::host::mirror::PushId;
use mirrorball_core::host::push::RunningPush;
use mirrorball_core::host::{rsync_output, steps};
use mirrorball_core::root::batch::{self, Looked, Made, Presence};

use super::case::{Case, Fault, Tree};
use crate::model::fs::Fs;
use crate::model::options::RunOptions;
use crate::model::record::MIRROR;
use crate::model::rsync::{Progress, Run};

/// No push has more steps.
const STEPS_MAX: usize = 100;

/// One step, as it went.
pub struct Ran {
    pub step: Step,
    pub before: Fs,
    pub end: StepEnd,
    pub outcome: Outcome,
    pub is_broken: bool,
}

/// A push that has ended.
pub struct Pushed {
    pub made: Made,
    pub steps: Vec<Ran>,
    pub end: AssignmentEnd,
    pub mirror: Fs,
}

impl Pushed {
    /// Each step with the mirror after it.
    pub fn steps(&self) -> impl Iterator<Item = (&Ran, &Fs)> {
        let after = self.steps.iter().skip(1).map(|next| &next.before).chain([&self.mirror]);
        self.steps.iter().zip(after)
    }
}

fn make(case: &Case) -> Made {
    let absent = AbsentVolumes { unmounted: case.unmounted.clone(), ..AbsentVolumes::default() };
    let mut made = match &case.compares {
        Some(compare) => batch::make_compare(Epoch(1), compare.clone(), &absent),
        None => {
            let found: Vec<Presence> =
                case.dirty.iter().map(|(path, _)| case.presence(path)).collect();
            let bytes = case.dirty.iter().map(|(path, _)| match case.large.contains(path) {
                true => LARGE_FILE_MIN,
                false => 1,
            });
            let bytes: Vec<u64> = bytes.collect();
            let looked = Looked {
                entries: &case.dirty,
                found: &found,
                bytes: &bytes,
                lost: &case.lost,
                found_extra: &case.found_extra,
                absent: &absent,
            };
            let mut made = batch::make(Epoch(1), looked, case.filter, case.renames.clone());
            Arc::make_mut(&mut made.batch).witness = case.witness.clone();
            made
        }
    };
    Arc::make_mut(&mut made.batch).full = true;
    made
}

/// Makes the batch, plans it, and runs all steps.
pub fn push(case: &Case) -> Pushed {
    let made = make(case);
    let batch = made.batch.clone();
    let planned = steps::plan(&batch, case.delete, case.terms);
    let push = Push {
        id: PushId(1),
        assignment: AssignmentId(1),
        mirror: MirrorId::new(&"site".into(), &"web".into()),
        lane: Lane::Fresh,
        batch,
        terms: case.terms,
    };
    let mut running = RunningPush::new(push, planned);
    let mut mirror = case.mirror.clone();
    let mut steps: Vec<Ran> = Vec::new();
    let end = loop {
        assert!(steps.len() < STEPS_MAX, "the push never ends");
        let Some(step) = running.next_step() else { break running.finish() };
        let before = mirror.clone();
        let fault = case.fault.filter(|(at, _)| *at == steps.len()).map(|(_, fault)| fault);
        let end = run(case, &step, fault, &mut mirror);
        let verdict = rsync_output::judge(&step, &end);
        let outcome = verdict.outcome.clone();
        let settled = running.handle_step(&step, &end, verdict);
        steps.push(Ran { step, before, end, outcome, is_broken: fault.is_some() });
        if let Some(end) = settled {
            break end;
        }
    };
    Pushed { made, steps, end, mirror }
}

fn run(case: &Case, step: &Step, fault: Option<Fault>, mirror: &mut Fs) -> StepEnd {
    let mut run = Run::new(RunOptions::new(step, case.rules));
    let blames = |call: &str, count: u64| {
        let names = case.source.below(&RelPath::root());
        let names = if step.paths.is_empty() { &names } else { &step.paths };
        let at = count as usize % names.len().max(1);
        let name = names.get(at).cloned().unwrap_or_else(RelPath::root);
        format!("rsync: [receiver] {call} \"{MIRROR}/{name}\": Operation not permitted (1)\n")
    };
    let (count, code, says) = match fault {
        None => return run.complete(&case.source, mirror),
        Some(Fault::Odd(count)) => (count, 23, "rsync: something odd has happened\n".into()),
        Some(Fault::Cut(count)) => {
            (count, 12, "rsync error: error in rsync protocol data stream\n".into())
        }
        Some(Fault::Blames(count)) if count % 3 == 0 => {
            (count, 23, blames("failed to set times on", count))
        }
        Some(Fault::Blames(count)) => (count, 23, blames("open", count)),
        Some(Fault::Stops(count)) => (count, 11, blames("write failed on", count)),
    };
    for _ in 0..count {
        if run.advance(&case.source, mirror) == Progress::Done {
            break;
        }
    }
    run.cut(Exit::Code(code));
    run.abandon(mirror);
    let mut end = run.end().expect("it was cut");
    end.messages.extend_from_slice(says.as_bytes());
    end
}

impl fmt::Display for Pushed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "batch {:#?}\nleft out {:#?}", self.made.batch, self.made.left_out)?;
        for (ran, after) in self.steps() {
            let Step { kind, paths, deletions, delete_first, .. } = &ran.step;
            writeln!(f, "step {kind:?} {paths:?} {deletions:?} delete_first {delete_first}")?;
            let messages = String::from_utf8_lossy(&ran.end.messages);
            writeln!(f, "  {:?} {:?}", ran.end.exit, messages)?;
            writeln!(f, "  {:?} extras {:?}\n{}", ran.outcome, ran.end.extras, Tree(after))?;
        }
        writeln!(f, "end {:#?}", self.end)
    }
}
