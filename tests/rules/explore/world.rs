//! A small world around the real ledger: two files in the source, one or two mirrors, and what can happen to them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mirrorball_core::data::batch::{Batch, Depth, Present};
use mirrorball_core::data::change::{AssignmentId, Epoch, Lane};
use mirrorball_core::data::ids::MirrorId;
use mirrorball_core::data::moment::Moment;
use mirrorball_core::data::need::Need;
use mirrorball_core::data::outcome::{AssignmentEnd, Blame, Extra, Outcome, Unproved};
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::plan::RetryPlan;
use mirrorball_core::host::target_state::TargetState;
use mirrorball_core::root::backlog::{Cause, Obligation};
use mirrorball_core::root::checkpoint::Holders;
use mirrorball_core::root::epoch::Sealed;
use mirrorball_core::root::ledger::{Assignment, Ledger, LeftOut, LeftOutWhy, Work};
use mirrorball_core::root::mirror::{Mirror, Terms};

/// Longer than the ledger remembers the past of a mirror whose writes are durable.
const TICK: Duration = Duration::from_secs(3);
/// Longer than all steps of an exploration take, so that a retry is due only when the clock is moved for it.
const RETRY: Duration = Duration::from_secs(3600);
/// Longer than all retries.
const LIFE: Duration = Duration::from_secs(3600 * 1000);

const TERMS: Terms = Terms {
    retry: RetryPlan { first: RETRY, max: RETRY },
    receiver_life: LIFE,
    is_durable: true,
    piece_entries: None,
};

/// Contents of a file, and the size and time that a comparison sees; stamp 0 means that the file is absent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Value {
    pub version: u8,
    pub stamp: u8,
}

impl Value {
    fn is_absent(self) -> bool {
        self.stamp == 0
    }

    pub fn is_same(self, other: Self) -> bool {
        self == other || (self.is_absent() && other.is_absent())
    }
}

/// How often each event may still happen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    /// Changes of a file.
    pub changes: u8,
    /// Changes whose event is lost; the watcher hears that events were lost.
    pub losses: u8,
    /// Runs that are cut off.
    pub cuts: u8,
    /// Runs that end without a proof of one path, or of any.
    pub fails: u8,
    /// Unclean stops of the daemon.
    pub crashes: u8,
    /// Scheduled checks.
    pub checks: u8,
    /// Flushes.
    pub marks: u8,
    /// Files that are too large for the fresh lane.
    pub large: u8,
}

/// What a change does to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// New contents with a new size or time.
    New,
    /// New contents with the old size and time.
    EqualStamp,
    /// The file is deleted.
    Deleted,
}

#[derive(Clone, Copy, Debug)]
pub enum Step {
    Change(usize, Kind),
    Lose(usize),
    Seal,
    CheckDue(usize),
    Mark,
    Raise(usize),
    Take(usize, Lane),
    TakeLarge(usize, usize),
    Read { mirror: usize, run: usize, path: usize },
    Fail { mirror: usize, run: usize, path: usize },
    Write { mirror: usize, run: usize, path: usize },
    LandLate { mirror: usize, run: usize, path: usize },
    End { mirror: usize, run: usize },
    EndUnattributed { mirror: usize, run: usize },
    Cut { mirror: usize, run: usize },
    RetryDue,
    Expire,
    Crash,
}

/// How far a run has come with one path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    Unread,
    /// Read from the source, and not written yet.
    Read(Value),
    Done,
    Failed,
    /// It is on the mirror alone.
    Extra,
}

#[derive(Clone, Debug)]
pub struct Run {
    pub id: AssignmentId,
    pub compares: bool,
    pub need: [Need; 2],
    pub phase: [Phase; 2],
    /// Cut off; with the first contact since then.
    pub cut: Option<Option<Moment>>,
}

#[derive(Clone, Debug)]
pub struct Target {
    pub id: MirrorId,
    pub held: [Value; 2],
    pub runs: Vec<Run>,
    /// The mark was claimed to be here, for these paths.
    pub claimed: Option<[bool; 2]>,
    /// Pushes of each path since it last changed, where they are counted.
    pub pushes: [u8; 2],
}

#[derive(Clone, Copy, Debug)]
pub struct Mark {
    pub epoch: Epoch,
    pub source: [Value; 2],
}

/// What is explored.
#[derive(Clone, Debug)]
pub struct Setting {
    pub paths: [&'static str; 2],
    pub mirrors: usize,
    pub budget: Budget,
    pub kinds: &'static [Kind],
    /// Only the first of the files changes.
    pub changes_one: bool,
    /// Scheduled checks come without end; then a path may be pushed so often after its last change.
    pub pushes_max: Option<u8>,
    /// Mirrors begin with a ceiling at the head.
    pub has_ceiling: bool,
}

#[derive(Clone)]
pub struct World {
    pub ledger: Ledger,
    pub now: Moment,
    pub paths: [RelPath; 2],
    pub source: [Value; 2],
    pub targets: Vec<Target>,
    /// Changes that are not sealed: both paths, and the root when events were lost.
    pub open: [Need; 3],
    /// What changed since the snapshot.
    pub journal: [Need; 2],
    pub mark: Option<Mark>,
    pub left: Budget,
    counts_pushes: bool,
    /// The files are alike.
    pub is_symmetric: bool,
    start: u32,
}

fn named(phase: [Phase; 2], path: usize, new: Phase) -> [Phase; 2] {
    let mut phase = phase;
    phase[path] = new;
    phase
}

impl World {
    /// All mirrors were compared once, and are in sync.
    pub fn new(setting: &Setting) -> Self {
        let now = Moment::after_start(LIFE);
        let source = [Value { version: 1, stamp: 1 }; 2];
        let target = |number: usize| Target {
            id: MirrorId::new(&"site".into(), &format!("host{number}").as_str().into()),
            held: source,
            runs: Vec::new(),
            claimed: None,
            pushes: [0; 2],
        };
        let mut world = Self {
            ledger: Ledger::new(1000, 1),
            now,
            paths: setting.paths.map(RelPath::from),
            source,
            targets: (0..setting.mirrors).map(target).collect(),
            open: [Need::empty(); 3],
            journal: [Need::empty(); 2],
            mark: None,
            left: setting.budget,
            is_symmetric: !setting.changes_one,
            counts_pushes: setting.pushes_max.is_some(),
            start: 1,
        };
        for target in &world.targets {
            world.ledger.add_mirror(now, &target.id, TERMS);
            world.ledger.set_target(&target.id, TargetState::Exists);
            let walk = world.ledger.assign(now, &target.id, Lane::Slow).expect("first contact");
            let done = AssignmentEnd::new(Outcome::Done);
            assert!(world.ledger.ended(now, &target.id, walk.id, &done));
            if setting.has_ceiling {
                let head = world.ledger.log().head();
                world.ledger.set_ceiling(&target.id, Some(head));
            }
        }
        world
    }

    pub fn mirror(&self, index: usize) -> &Mirror {
        self.ledger.mirror(&self.targets[index].id).expect("no mirror is removed")
    }

    fn is_open(&self) -> bool {
        self.open.iter().any(|need| !need.is_empty())
    }

    /// Each step that is possible, and whether it needs no further fault, change or wish.
    ///
    /// While nothing can change in the source any more, a run reads at once what it sends whatever the mirror holds: that
    /// commutes with everything else.
    pub fn steps(&self, setting: &Setting) -> Vec<(Step, bool)> {
        let mut steps = Vec::new();
        if self.left.changes == 0 && self.left.losses == 0 {
            self.read_steps(&mut steps);
            if !steps.is_empty() {
                return steps;
            }
        }
        let left = &self.left;
        for path in 0..if setting.changes_one { 1 } else { 2 } {
            for kind in setting.kinds.iter().filter(|_| left.changes > 0) {
                if *kind == Kind::New || !self.source[path].is_absent() {
                    steps.push((Step::Change(path, *kind), false));
                }
            }
            if left.losses > 0 {
                steps.push((Step::Lose(path), false));
            }
        }
        if self.is_open() {
            steps.push((Step::Seal, true));
        }
        if left.marks > 0 && !self.is_open() {
            steps.push((Step::Mark, false));
        }
        if left.crashes > 0 {
            steps.push((Step::Crash, false));
        }
        let head = self.ledger.log().head();
        for (index, target) in self.targets.iter().enumerate() {
            let mirror = self.mirror(index);
            let is_checked = mirror.backlog().iter().any(|(_, it)| it.cause.is_scheduled());
            if !is_checked && (left.checks > 0 || setting.pushes_max.is_some()) {
                steps.push((Step::CheckDue(index), false));
            }
            if mirror.ceiling().is_some_and(|ceiling| ceiling < head) {
                steps.push((Step::Raise(index), true));
            }
            for lane in [Lane::Fresh, Lane::Slow] {
                if self.ledger.wants(self.now, &target.id, lane) {
                    steps.push((Step::Take(index, lane), true));
                    for path in (0..2).filter(|_| lane == Lane::Fresh && left.large > 0) {
                        steps.push((Step::TakeLarge(index, path), false));
                    }
                }
            }
            for run in 0..target.runs.len() {
                self.run_steps(index, run, &mut steps);
            }
        }
        let is_waiting = |index: usize| {
            let mut owed = self.mirror(index).backlog().iter();
            owed.any(|(_, it)| it.gates.not_before.is_some_and(|moment| moment > self.now))
        };
        if (0..self.targets.len()).any(is_waiting) {
            steps.push((Step::RetryDue, true));
        }
        if self.next_expiry().is_some() {
            steps.push((Step::Expire, true));
        }
        steps
    }

    fn read_steps(&self, steps: &mut Vec<(Step, bool)>) {
        for (mirror, target) in self.targets.iter().enumerate() {
            for (run, it) in target.runs.iter().enumerate().filter(|(_, it)| it.cut.is_none()) {
                let is_sent = |path: &usize| it.need[*path].wants_contents();
                let mut unread = (0..2).filter(|path| it.phase[*path] == Phase::Unread);
                if let Some(path) = unread.find(is_sent) {
                    steps.push((Step::Read { mirror, run, path }, true));
                    if self.left.fails > 0 {
                        steps.push((Step::Fail { mirror, run, path }, false));
                    }
                    return;
                }
            }
        }
    }

    fn next_expiry(&self) -> Option<Moment> {
        let all = 0..self.targets.len();
        all.filter_map(|index| self.mirror(index).writers().next_expiry(LIFE)).min()
    }

    fn run_steps(&self, mirror: usize, run: usize, steps: &mut Vec<(Step, bool)>) {
        let Run { phase, cut, .. } = &self.targets[mirror].runs[run];
        let is_running = cut.is_none();
        for (path, phase) in phase.iter().enumerate() {
            match *phase {
                Phase::Unread if is_running => {
                    steps.push((Step::Read { mirror, run, path }, true));
                    if self.left.fails > 0 {
                        steps.push((Step::Fail { mirror, run, path }, false));
                    }
                }
                Phase::Read(_) if is_running => {
                    steps.push((Step::Write { mirror, run, path }, true));
                }
                Phase::Read(_) => steps.push((Step::LandLate { mirror, run, path }, false)),
                _ => {}
            }
        }
        let is_over = phase.iter().all(|it| !matches!(it, Phase::Unread | Phase::Read(_)));
        if is_running && is_over {
            steps.push((Step::End { mirror, run }, true));
            if self.left.fails > 0 {
                steps.push((Step::EndUnattributed { mirror, run }, false));
            }
        }
        if is_running && self.left.cuts > 0 {
            steps.push((Step::Cut { mirror, run }, false));
        }
    }

    pub fn after(&self, step: Step) -> Self {
        let mut next = self.clone();
        next.now = next.now + TICK;
        next.apply(step);
        // What the ledger keeps for the sake of its past goes, or each state would be there twice.
        next.now = next.now + TICK;
        let nobody = MirrorId::new(&"site".into(), &"nobody".into());
        next.ledger.remove_mirror(next.now, &nobody);
        next
    }

    fn apply(&mut self, step: Step) {
        match step {
            Step::Change(path, kind) => {
                self.left.changes -= 1;
                self.change(path, kind);
            }
            Step::Lose(path) => {
                self.left.losses -= 1;
                self.write(path, Kind::New);
                self.open[2] |= Need::TREE;
                // A scan after an unclean stop finds it.
                self.journal[path] |= Need::CONTENTS;
            }
            Step::Seal => self.seal(),
            Step::CheckDue(mirror) => {
                self.left.checks = self.left.checks.saturating_sub(1);
                let id = self.targets[mirror].id.clone();
                self.ledger.owe_check(self.now, &id, Depth::Times);
            }
            Step::Mark => {
                self.left.marks -= 1;
                self.mark = Some(Mark { epoch: self.ledger.log().head(), source: self.source });
            }
            Step::Raise(mirror) => {
                let id = self.targets[mirror].id.clone();
                let ceiling = self.mirror(mirror).ceiling().expect("it has one").next();
                self.ledger.set_ceiling(&id, Some(ceiling));
            }
            Step::Take(mirror, lane) => self.take(mirror, lane),
            Step::TakeLarge(mirror, path) => self.take_large(mirror, path),
            Step::Read { mirror, run, path } => self.read(mirror, run, path),
            Step::Fail { mirror, run, path } => {
                self.left.fails -= 1;
                let run = &mut self.targets[mirror].runs[run];
                run.phase = named(run.phase, path, Phase::Failed);
            }
            Step::Write { mirror, run, path } | Step::LandLate { mirror, run, path } => {
                let target = &mut self.targets[mirror];
                let Phase::Read(value) = target.runs[run].phase[path] else { unreachable!() };
                target.held[path] = value;
                target.runs[run].phase[path] = Phase::Done;
                self.drop_harmless(mirror);
            }
            Step::End { mirror, run } => self.end(mirror, run),
            Step::EndUnattributed { mirror, run } => {
                self.left.fails -= 1;
                let run = self.targets[mirror].runs.remove(run);
                self.tell(mirror, run.id, &AssignmentEnd::new(Outcome::Unattributed("?".into())));
            }
            Step::Cut { mirror, run } => self.cut(mirror, run),
            Step::RetryDue => self.now = self.now + RETRY,
            Step::Expire => self.expire(),
            Step::Crash => self.crash(),
        }
    }

    fn change(&mut self, path: usize, kind: Kind) {
        self.write(path, kind);
        let need = match kind {
            Kind::Deleted => Need::EQUAL | Need::GONE,
            _ => Need::CONTENTS,
        };
        self.open[path] |= need;
        self.journal[path] |= need;
        self.targets.iter_mut().for_each(|target| target.pushes[path] = 0);
    }

    fn write(&mut self, path: usize, kind: Kind) {
        let Value { version, stamp } = self.source[path];
        let version = version + 1;
        let stamp = match kind {
            Kind::New => version,
            Kind::EqualStamp => stamp,
            Kind::Deleted => 0,
        };
        self.source[path] = Value { version, stamp };
    }

    fn seal(&mut self) {
        let names = [self.paths[0].clone(), self.paths[1].clone(), RelPath::root()];
        let open = std::mem::take(&mut self.open);
        let changes = names.into_iter().zip(open).filter(|(_, need)| !need.is_empty()).collect();
        self.ledger.seal(self.now, Sealed { first_change: self.now, changes, ..Sealed::default() });
    }

    fn take(&mut self, mirror: usize, lane: Lane) {
        let id = self.targets[mirror].id.clone();
        if let Some(assignment) = self.ledger.assign(self.now, &id, lane) {
            self.begin(mirror, &assignment);
        }
    }

    fn begin(&mut self, mirror: usize, assignment: &Assignment) {
        let (need, compares) = match &assignment.work {
            Work::Push(items) => {
                let need = |path: &RelPath| {
                    items.iter().find(|(own, _)| own == path).map(|(_, need)| *need)
                };
                ([0, 1].map(|path| need(&self.paths[path]).unwrap_or_default()), false)
            }
            Work::Compare(compare) => match compare.depth {
                Depth::Times => ([Need::EQUAL; 2], true),
                Depth::Contents => ([Need::CONTENTS; 2], true),
            },
        };
        let phase = need.map(|need| if need.is_empty() { Phase::Done } else { Phase::Unread });
        let target = &mut self.targets[mirror];
        let is_counted = self.counts_pushes && !compares;
        for path in (0..2).filter(|path| is_counted && !need[*path].is_empty()) {
            target.pushes[path] += 1;
        }
        let run = Run { id: assignment.id, compares, need, phase, cut: None };
        target.runs.push(run);
    }

    /// The look at the disk finds that one file is large.
    fn take_large(&mut self, mirror: usize, path: usize) {
        self.left.large -= 1;
        let id = self.targets[mirror].id.clone();
        let Some(mut assignment) = self.ledger.assign(self.now, &id, Lane::Fresh) else { return };
        let Work::Push(items) = &mut assignment.work else { unreachable!() };
        let mut left_out = Vec::new();
        items.retain(|(own, need)| {
            let is_large = *own == self.paths[path];
            if is_large {
                let (path, need) = (own.clone(), *need);
                left_out.push(LeftOut { path, need, lost: 0, why: LeftOutWhy::Large });
            }
            !is_large
        });
        let present = items
            .iter()
            .map(|(path, need)| Present { path: path.clone(), content: need.wants_contents() });
        let batch = Arc::new(Batch { present: present.collect(), ..Batch::default() });
        self.ledger.made(self.now, &id, assignment.id, &batch, &left_out);
        if batch.is_empty() {
            self.tell(mirror, assignment.id, &AssignmentEnd::new(Outcome::Done));
        } else {
            self.begin(mirror, &assignment);
        }
    }

    fn read(&mut self, mirror: usize, run: usize, path: usize) {
        let target = &mut self.targets[mirror];
        let (source, held) = (self.source[path], target.held[path]);
        let run = &mut target.runs[run];
        let need = run.need[path];
        run.phase[path] = if source.is_absent() {
            match (held.is_absent(), run.compares) {
                (false, true) => Phase::Extra,
                (false, false) if need.contains(Need::GONE) => Phase::Read(source),
                _ => Phase::Done,
            }
        } else if need.wants_contents() {
            Phase::Read(source)
        } else if need.level().is_empty() || source.stamp == held.stamp {
            Phase::Done
        } else {
            Phase::Read(source)
        };
    }

    fn end(&mut self, mirror: usize, run: usize) {
        let run = self.targets[mirror].runs.remove(run);
        let at = |phase: Phase| {
            let paths = (0..2).filter(move |path| run.phase[*path] == phase);
            paths.map(|path| (self.paths[path].clone(), run.need[path]))
        };
        let failed = at(Phase::Failed);
        let unproved: Vec<Unproved> =
            failed.map(|(path, need)| Unproved { path, need, reason: "no".into() }).collect();
        let extras = at(Phase::Extra).map(|(path, _)| Extra { path, entries: 1 }).collect();
        let outcome = if unproved.is_empty() { Outcome::Done } else { Outcome::Partly(unproved) };
        let end = AssignmentEnd { extras, ..AssignmentEnd::new(outcome) };
        self.tell(mirror, run.id, &end);
    }

    fn tell(&mut self, mirror: usize, assignment: AssignmentId, end: &AssignmentEnd) {
        if end.outcome.is_settled() {
            let now = self.now;
            let cut = self.targets[mirror].runs.iter_mut().filter_map(|run| run.cut.as_mut());
            cut.for_each(|contact| *contact = contact.or(Some(now)));
        }
        let id = self.targets[mirror].id.clone();
        assert!(self.ledger.ended(self.now, &id, assignment, end), "it was under way");
    }

    fn cut(&mut self, mirror: usize, run: usize) {
        self.left.cuts -= 1;
        let run = &mut self.targets[mirror].runs[run];
        run.cut = Some(None);
        let id = run.id;
        self.drop_harmless(mirror);
        let why = "the connection broke".into();
        let outcome = Outcome::Again { blame: Blame::Host, why, cut_off: true };
        self.tell(mirror, id, &AssignmentEnd::new(outcome));
    }

    /// A run that was cut off and has nothing left to write is no part of the world.
    fn drop_harmless(&mut self, mirror: usize) {
        self.targets[mirror].runs.retain(|run| {
            run.cut.is_none() || run.phase.iter().any(|it| matches!(it, Phase::Read(_)))
        });
        for run in self.targets[mirror].runs.iter_mut().filter(|run| run.cut.is_some()) {
            let is_read = |it: Phase| matches!(it, Phase::Read(_));
            run.phase = run.phase.map(|it| if is_read(it) { it } else { Phase::Done });
        }
    }

    fn expire(&mut self) {
        let expiry = self.next_expiry().expect("this step is possible only then");
        self.now = self.now.max(expiry);
        let now = self.now;
        for target in &mut self.targets {
            target.runs.retain(|run| run.cut.flatten().is_none_or(|it| it + LIFE > now));
        }
        assert!(self.ledger.handle_timeout(now), "a writer expires");
    }

    /// An unclean stop: nothing outlives it but the snapshot, the journal, and who holds them.
    fn crash(&mut self) {
        self.left.crashes -= 1;
        let root = RelPath::root();
        let mut holders = Holders::new();
        for (index, target) in self.targets.iter().enumerate() {
            let mirror = self.mirror(index);
            let entry = self.ledger.log().entry(&root).filter(|it| it.newest > mirror.cursor());
            let is_above = entry.is_some_and(|entry| entry.need.is_within());
            let is_doubted = mirror.owes_walk() || is_above || self.open[2].is_within();
            let lacks = if is_doubted { vec![(root.clone(), Need::TREE)] } else { Vec::new() };
            holders.insert(target.id.clone(), lacks);
        }
        self.start += 1;
        self.ledger = Ledger::new(1000, self.start);
        for index in 0..self.targets.len() {
            let target = &mut self.targets[index];
            self.ledger.add_mirror(self.now, &target.id, TERMS);
            self.ledger.set_target(&target.id, TargetState::Exists);
            target.claimed = None;
            target.runs.iter_mut().for_each(|run| run.cut = Some(None));
            self.drop_harmless(index);
        }
        self.ledger.handle_unclean(self.now);
        let journal = self.paths.iter().cloned().zip(self.journal);
        let mut changes: BTreeMap<RelPath, Need> =
            journal.filter(|(_, need)| !need.is_empty()).collect();
        *changes.entry(root).or_default() |= Need::ATTRIBUTES;
        self.ledger.resume(self.now, changes, &holders, false);
        self.open = Default::default();
        self.mark = None;
    }

    /// What is claimed is true; none if all of it is.
    pub fn judge(&mut self, setting: &Setting) -> Option<String> {
        for index in 0..self.targets.len() {
            if self.is_settled(index) && !self.is_equal(index) {
                return Some(format!("mirror {index} is called in sync and is not"));
            }
            if let Some(wrong) = self.judge_flush(index) {
                return Some(wrong);
            }
            let pushes = self.targets[index].pushes;
            if setting.pushes_max.is_some_and(|max| pushes.iter().any(|it| *it > max)) {
                return Some(format!("a path is pushed to mirror {index} again and again"));
            }
        }
        None
    }

    fn judge_flush(&mut self, index: usize) -> Option<String> {
        let mark = self.mark?;
        let epoch = self.ledger.standing(&self.targets[index].id, 0)?.epoch;
        let is_failed = |path: &RelPath| {
            let failed = |it: &Obligation| matches!(it.cause, Cause::Failed { .. });
            self.mirror(index).backlog().at(path).any(|(_, it)| failed(it))
        };
        let not_failed = [0, 1].map(|path| !is_failed(&self.paths[path]));
        let target = &mut self.targets[index];
        let holds = |path: usize| {
            let (held, marked) = (target.held[path], mark.source[path]);
            held.version >= marked.version || held.is_same(marked)
        };
        if let Some(claimed) = target.claimed {
            let undone = (0..2).any(|path| claimed[path] && !holds(path));
            return undone.then(|| format!("a flush of mirror {index} is undone"));
        }
        if epoch < mark.epoch {
            return None;
        }
        if (0..2).any(|path| not_failed[path] && !holds(path)) {
            return Some(format!("a flush of mirror {index} is early"));
        }
        target.claimed = Some(not_failed);
        None
    }

    pub fn is_settled(&self, index: usize) -> bool {
        let standing = self.ledger.standing(&self.targets[index].id, 0);
        !self.is_open() && standing.is_some_and(|it| it.is_settled)
    }

    /// The mirror holds what the source holds, and nothing that was read from the source before can change that.
    pub fn is_equal(&self, index: usize) -> bool {
        let target = &self.targets[index];
        (0..2).all(|path| {
            let source = self.source[path];
            let is_late = |run: &Run| match run.phase[path] {
                Phase::Read(value) => !value.is_same(source),
                _ => false,
            };
            target.held[path].is_same(source) && !target.runs.iter().any(is_late)
        })
    }

    /// Whether nothing is left to do.
    pub fn is_at_rest(&self) -> bool {
        (0..self.targets.len()).all(|index| self.is_settled(index) && self.is_equal(index))
    }
}
