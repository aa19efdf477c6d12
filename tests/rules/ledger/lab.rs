//! A source, a mirror and the ledger between them, so that a test reads as a story. Each step panics where it is impossible.

use std::sync::Arc;
use std::collections::BTreeMap;
use std::time::Duration;

use mirrorball_core::data::batch::{Batch, Depth, Dirty, Present};
use mirrorball_core::host::target_state::TargetState;
use mirrorball_core::data::change::{Epoch, Lane, Move};
use mirrorball_core::data::ids::MirrorId;
use mirrorball_core::data::moment::Moment;
use mirrorball_core::data::need::Need;
use mirrorball_core::data::outcome::{AssignmentEnd, Blame, Extra, Outcome, Unproved};
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::plan::RetryPlan;
use mirrorball_core::root::backlog::Obligation;
use mirrorball_core::root::epoch::Sealed;
use mirrorball_core::root::ledger::{Assignment, Ledger, LeftOut, LeftOutWhy, Standing, Work};
use mirrorball_core::root::mirror::{Mirror, Terms};

/// How long a receiver may live after its run was cut off.
pub const LIFE: u64 = 120;

pub const TERMS: Terms = Terms {
    retry: RetryPlan { first: Duration::from_secs(10), max: Duration::from_secs(300) },
    receiver_life: Duration::from_secs(LIFE),
    is_durable: false,
    piece_entries: None,
};

/// Contents, and the size and time that a comparison sees.
type File = (u64, u64);

/// A run that was handed out, and what it has read.
struct Run {
    assignment: Assignment,
    read: BTreeMap<RelPath, File>,
}

pub struct Lab {
    pub ledger: Ledger,
    id: MirrorId,
    now: Duration,
    source: BTreeMap<RelPath, File>,
    mirror: BTreeMap<RelPath, File>,
    open: BTreeMap<RelPath, Need>,
    version: u64,
    runs: BTreeMap<Lane, Run>,
    /// What was cut off before it was written.
    late: Vec<BTreeMap<RelPath, File>>,
    mark: Epoch,
}

/// An empty source and a mirror that was compared with it.
pub fn lab() -> Lab {
    lab_of(1000, TERMS)
}

/// The same with a log of at most so many paths, under these terms.
pub fn lab_of(paths_max: usize, terms: Terms) -> Lab {
    let id = MirrorId::new(&"site".into(), &"web".into());
    let mut lab = Lab {
        ledger: Ledger::new(paths_max, 1),
        id,
        now: Duration::from_secs(1000),
        source: BTreeMap::new(),
        mirror: BTreeMap::new(),
        open: BTreeMap::new(),
        version: 0,
        runs: BTreeMap::new(),
        late: Vec::new(),
        mark: Epoch(0),
    };
    let (now, id) = (lab.now(), lab.id.clone());
    lab.ledger.add_mirror(now, &id, terms);
    lab.ledger.set_target(&id, TargetState::Exists);
    lab.take_slow().done_slow().wait(1000)
}

impl Lab {
    pub fn now(&self) -> Moment {
        Moment::after_start(self.now)
    }

    pub fn id(&self) -> &MirrorId {
        &self.id
    }

    pub fn state(&self) -> &Mirror {
        self.ledger.mirror(&self.id).expect("it is not removed")
    }

    pub fn standing(&self) -> Standing {
        self.ledger.standing(&self.id, 9).expect("it is not removed")
    }

    // The source.

    pub fn change(mut self, path: &str) -> Self {
        self.version += 1;
        self.source.insert(path.into(), (self.version, self.version));
        *self.open.entry(path.into()).or_default() |= Need::CONTENTS;
        self
    }

    /// Other contents of the same size and time.
    pub fn change_unseen(mut self, path: &str) -> Self {
        self.version += 1;
        let file = self.source.get_mut(&path.into()).expect("it is there");
        file.0 = self.version;
        *self.open.entry(path.into()).or_default() |= Need::CONTENTS;
        self
    }

    pub fn seal(mut self) -> Self {
        let changes = std::mem::take(&mut self.open);
        let now = self.now();
        self.ledger.seal(now, Sealed { first_change: now, changes, ..Sealed::default() });
        self
    }

    /// A directory is renamed; that is sealed.
    pub fn rename(mut self, from: &str, to: &str) -> Self {
        let changes =
            [(from.into(), Need::TREE | Need::CONTENTS), (to.into(), Need::TREE | Need::CONTENTS)];
        let moves = vec![Move { from: from.into(), to: to.into(), is_exact: true }];
        let (first_change, lost) = (self.now(), BTreeMap::new());
        self.ledger
            .seal(first_change, Sealed { first_change, changes: changes.into(), moves, lost });
        self
    }

    /// A change goes unseen, and the watcher hears that events were lost.
    pub fn lose_event(mut self, path: &str) -> Self {
        self.version += 1;
        self.source.insert(path.into(), (self.version, self.version));
        self.open.insert(RelPath::root(), Need::TREE);
        self.seal()
    }

    // The clock.

    pub fn wait(mut self, seconds: u64) -> Self {
        self.now += Duration::from_secs(seconds);
        self.ledger.handle_timeout(self.now());
        self
    }

    // Runs.

    pub fn take_fresh(self) -> Self {
        self.take(Lane::Fresh)
    }

    pub fn take_slow(self) -> Self {
        self.take(Lane::Slow)
    }

    fn take(mut self, lane: Lane) -> Self {
        assert!(self.ledger.wants(self.now(), &self.id, lane), "nothing is due in lane {lane:?}");
        let assignment = self.ledger.assign(self.now(), &self.id, lane).expect("work is due");
        let sends = |path: &RelPath, file: &File| match &assignment.work {
            Work::Push(items) => items.iter().any(|(own, need)| {
                (own == path || (need.is_within() && path.is_below(own)))
                    && (need.wants_contents()
                        || self.mirror.get(path).map(|it| it.1) != Some(file.1))
            }),
            Work::Compare(compare) => {
                (path == &compare.path || path.is_below(&compare.path))
                    && (compare.depth == Depth::Contents
                        || self.mirror.get(path).map(|it| it.1) != Some(file.1))
            }
        };
        let read = self.source.iter().filter(|(path, file)| sends(path, file));
        let read = read.map(|(path, file)| (path.clone(), *file)).collect();
        self.runs.insert(lane, Run { assignment, read });
        self
    }

    /// What was handed out has ended without a run.
    pub fn forget(mut self, lane: Lane) -> Self {
        self.runs.remove(&lane);
        self
    }

    pub fn assignment(&self, lane: Lane) -> &Assignment {
        &self.runs[&lane].assignment
    }

    pub fn push(self) -> Self {
        self.take_fresh().done_fresh()
    }

    /// Nothing is due, or all of it is owed in another lane.
    pub fn take_nothing_fresh(mut self) -> Self {
        assert_eq!(self.ledger.assign(self.now(), &self.id, Lane::Fresh), None);
        self
    }

    /// A run has written all that it read, and goes on.
    pub fn write(mut self, lane: Lane) -> Self {
        let read = std::mem::take(&mut self.runs.get_mut(&lane).expect("it is under way").read);
        self.mirror.extend(read);
        self
    }

    pub fn done_fresh(self) -> Self {
        self.end(Lane::Fresh, AssignmentEnd::new(Outcome::Done))
    }

    pub fn done_slow(self) -> Self {
        self.end(Lane::Slow, AssignmentEnd::new(Outcome::Done))
    }

    /// All but this path is written and proved.
    pub fn fail(mut self, lane: Lane, path: &str) -> Self {
        let run = self.runs.get_mut(&lane).expect("it is under way");
        run.read.remove(&path.into());
        let reason = "permission denied".into();
        let unproved = Unproved { path: path.into(), need: Need::CONTENTS, reason };
        self.end(lane, AssignmentEnd::new(Outcome::Partly(vec![unproved])))
    }

    /// All is written, and something failed that nobody can name.
    pub fn end_unattributed(self, lane: Lane) -> Self {
        self.end(lane, AssignmentEnd::new(Outcome::Unattributed("odd".into())))
    }

    /// A comparison finds a name that the source does not hold.
    pub fn find_extra(self, path: &str) -> Self {
        let extras = vec![Extra { path: path.into(), entries: 1 }];
        self.end(Lane::Slow, AssignmentEnd { extras, ..AssignmentEnd::new(Outcome::Done) })
    }

    pub fn end(mut self, lane: Lane, end: AssignmentEnd) -> Self {
        let run = self.runs.remove(&lane).expect("it is under way");
        self.mirror.extend(run.read);
        assert!(self.ledger.ended(self.now(), &self.id, run.assignment.id, &end));
        self
    }

    /// Nothing was written.
    pub fn end_unwritten(mut self, lane: Lane, end: &AssignmentEnd) -> Self {
        let run = self.runs.remove(&lane).expect("it is under way");
        assert!(self.ledger.ended(self.now(), &self.id, run.assignment.id, end));
        self
    }

    /// Nothing was written so far, and all of it may land late.
    pub fn cut_off(mut self, lane: Lane) -> Self {
        let run = self.runs.remove(&lane).expect("it is under way");
        self.late.push(run.read);
        let why = "the connection broke".into();
        let outcome = Outcome::Again { blame: Blame::Host, why, cut_off: true };
        let end = AssignmentEnd { has_linked: true, ..AssignmentEnd::new(outcome) };
        assert!(self.ledger.ended(self.now(), &self.id, run.assignment.id, &end));
        self
    }

    /// The host cannot be reached.
    pub fn find_host_away(mut self, lane: Lane) -> Self {
        let run = self.runs.remove(&lane).expect("it is under way");
        let end = AssignmentEnd::again(Blame::Host, "no route");
        assert!(self.ledger.ended(self.now(), &self.id, run.assignment.id, &end));
        self
    }

    pub fn late_writes_land(mut self) -> Self {
        self.late.drain(..).for_each(|late| self.mirror.extend(late));
        self
    }

    /// Receivers that were cut off write what they hold, and die; nothing of it stays.
    pub fn expect_in_sync_after_late_writes(self) -> Self {
        self.late_writes_land().wait(LIFE).settle().expect_in_sync()
    }

    /// The look at the disk leaves these out of the fresh run, for this reason. An empty rest ends it.
    pub fn leave_out(mut self, paths: &[&str], why: &LeftOutWhy) -> Self {
        let run = self.runs.get_mut(&Lane::Fresh).expect("it is under way");
        let Work::Push(items) = &mut run.assignment.work else { panic!("it compares") };
        let is_out = |(path, _): &Dirty| paths.iter().any(|it| RelPath::from(*it) == *path);
        let (out, rest): (Vec<Dirty>, Vec<Dirty>) = items.drain(..).partition(is_out);
        run.read.retain(|path, _| rest.iter().any(|(own, _)| own == path));
        let present = rest.iter().map(|(path, _)| Present { path: path.clone(), content: true });
        let batch = Arc::new(Batch { present: present.collect(), ..Batch::default() });
        *items = rest;
        let out = out.into_iter();
        let left_out: Vec<LeftOut> =
            out.map(|(path, need)| LeftOut { path, need, lost: 0, why: why.clone() }).collect();
        assert_eq!(left_out.len(), paths.len(), "all of them are named");
        let assignment = run.assignment.id;
        self.ledger.made(self.now(), &self.id, assignment, &batch, &left_out);
        if batch.is_empty() { self.done_fresh() } else { self }
    }

    /// Everything that is due is done, without waiting.
    pub fn settle(mut self) -> Self {
        for _ in 0..200 {
            for lane in [Lane::Fresh, Lane::Slow] {
                if self.ledger.assign(self.now(), &self.id, lane).is_some() {
                    // Once more, to read.
                    let assigned = self.state().assigned(lane).expect("just now").id;
                    let again = AssignmentEnd::again(Blame::Mirror, "not begun");
                    self.ledger.ended(self.now(), &self.id, assigned, &again);
                    self = self.take(lane).end(lane, AssignmentEnd::new(Outcome::Done));
                }
            }
        }
        let wants = |lane| self.ledger.wants(self.now(), &self.id, lane);
        assert!(!wants(Lane::Fresh) && !wants(Lane::Slow), "it never ends");
        self
    }

    /// Whatever awaits approval may go.
    pub fn approve(mut self) -> Self {
        let awaiting: Vec<_> = self.state().awaiting_approval().map(|(id, _)| id).collect();
        awaiting.into_iter().for_each(|it| self.ledger.judge_again(&self.id, it));
        self
    }

    pub fn check_due(mut self, depth: Depth) -> Self {
        self.ledger.owe_check(self.now(), &self.id, depth);
        self
    }

    /// A scheduled comparison of sizes and times is under way.
    pub fn begin_check(self) -> Self {
        self.check_due(Depth::Times).take_slow()
    }

    pub fn mark(mut self) -> Self {
        self.mark = self.ledger.log().head();
        self
    }

    pub fn ceiling(mut self, epoch: u64) -> Self {
        self.ledger.set_ceiling(&self.id, Some(Epoch(epoch)));
        self
    }

    // What holds.

    pub fn expect_sent(self, lane: Lane, paths: &[&str]) -> Self {
        let Work::Push(items) = &self.runs[&lane].assignment.work else { panic!("it compares") };
        let sent: Vec<String> = items.iter().map(|(path, _)| path.to_string()).collect();
        assert_eq!(sent, paths);
        self
    }

    pub fn expect_need(self, lane: Lane, path: &str, need: Need) -> Self {
        let Work::Push(items) = &self.runs[&lane].assignment.work else { panic!("it compares") };
        let path = if path == "." { RelPath::root() } else { path.into() };
        let own = items.iter().find(|(own, _)| *own == path);
        assert_eq!(own, Some(&(path, need)));
        self
    }

    pub fn expect_compared(self, depth: Depth) -> Self {
        let Work::Compare(compare) = &self.runs[&Lane::Slow].assignment.work else {
            panic!("it sends")
        };
        assert_eq!((compare.path.clone(), compare.depth), (RelPath::root(), depth));
        self
    }

    pub fn expect_idle(self, lane: Lane) -> Self {
        assert!(
            !self.ledger.wants(self.now(), &self.id, lane),
            "something is due: {:?}",
            self.state()
        );
        self
    }

    pub fn expect_in_sync(self) -> Self {
        assert!(self.standing().is_settled, "it is not in sync: {:?}", self.state());
        assert_eq!(self.mirror, self.source, "it is called in sync");
        self
    }

    pub fn expect_not_in_sync(self) -> Self {
        assert!(!self.standing().is_settled, "it is called in sync");
        self
    }

    pub fn expect_flushed(self, is_flushed: bool) -> Self {
        assert_eq!(self.standing().epoch >= self.mark, is_flushed, "{:?}", self.standing());
        self
    }

    /// What is owed beside the log.
    pub fn expect_owed(self, paths: &[&str]) -> Self {
        let path = |it: &Obligation| it.path.to_string();
        let owed: Vec<String> = self.state().backlog().iter().map(|(_, it)| path(it)).collect();
        assert_eq!(owed, paths);
        self
    }

    /// Both hold the same, whatever is claimed.
    pub fn is_equal(&self) -> bool {
        self.mirror == self.source
    }
}
