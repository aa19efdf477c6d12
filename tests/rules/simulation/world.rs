//! One run: a source that is worked in, hosts that fail, actors that die; then everything is healed, and
//! every mirror must become equal by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use mirrorball_core::data::change::{AssignmentId, Change, Kinds, Lane};
use mirrorball_core::data::ids::{HostId, MirrorId};
use mirrorball_core::data::limits::LARGE_FILE_MIN;
use mirrorball_core::data::moment::Moment;
use mirrorball_core::data::outcome::AssignmentEnd;
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::piece;
use mirrorball_core::data::plan::{DeleteMode, RetryPlan};
use mirrorball_core::data::snapshot::Listing as Facts;
use mirrorball_core::data::step::{Exit, Step, StepKind};
use mirrorball_core::host::mirror::PushId;
use mirrorball_core::host::push::RunningPush;
use mirrorball_core::host::target_state::TargetState;
use mirrorball_core::host::{self, Host, HostWork, Push};
use mirrorball_core::host::{rsync_output, steps};
use mirrorball_core::machine::Rule;
use mirrorball_core::root::batch::{self, Looked};
use mirrorball_core::root::checkpoint;
use mirrorball_core::root::collator::{self, Collator};
use mirrorball_core::root::deletions::approval_list::ShownList;
use mirrorball_core::root::deletions::{DeletionAccount, DeletionTerms, KeptAccount};
use mirrorball_core::root::epoch::Waits;
use mirrorball_core::root::ledger::{Assignment, Work};
use mirrorball_core::root::mirror::Terms;
use mirrorball_core::source::filter::Filter;
use mirrorball_core::source::snapshot::Snapshot;

use super::Random;
use crate::simulation::deletion_oracle::DeletionOracle;
use crate::simulation::disk::{self, Disk, Kept};
use crate::simulation::mirror::{self, Fault, Listing, Mirror};
use crate::simulation::tree::{Node, Source, Told};

const HOSTS: usize = 3;
/// How long what broke off may still land.
const LIFE: Duration = Duration::from_secs(20);
const RETRY: RetryPlan = RetryPlan { first: Duration::from_secs(1), max: Duration::from_secs(30) };
/// Few, so that many walks are cut.
const PIECE_ENTRIES: u64 = 2;
const TERMS: Terms = Terms {
    retry: RETRY,
    receiver_life: LIFE,
    is_durable: false,
    piece_entries: Some(PIECE_ENTRIES),
};
const WAITS: Waits = Waits {
    settle: Duration::from_millis(50),
    max_age: Duration::from_secs(1),
    open_quiet: Duration::from_secs(2),
    open_max: Duration::from_secs(60),
};

/// What lands of what broke off.
#[derive(Clone, Copy, Debug)]
enum Landing {
    Whole,
    Mode,
}

/// What happens at some time. Numbers in front name the life of the actor it is for: what is for one that
/// has died is lost.
enum Event {
    Work,
    Read,
    /// The table of mounts changed.
    Mounted,
    Explored(u64, RelPath),
    Watched(u64),
    Look(u64),
    Listing(u64),
    Marked(u64),
    Measured(u64),
    Written(u64),
    Scanned(u64, bool),
    WakeCollator(u64),
    WakeHost(usize, u64),
    Make(u64, MirrorId, Assignment),
    Take(u64, MirrorId, Lane),
    Ended(u64, MirrorId, AssignmentId, AssignmentEnd),
    WorkWaits(usize, u64, MirrorId, Lane),
    Reached(u64, MirrorId),
    Answer(usize, u64, MirrorId, Lane, Option<HostWork>),
    Withdraw(usize, u64, MirrorId, AssignmentId),
    Listed(usize, u64, PushId, Step),
    Ran(usize, u64, PushId, Step, Listing, Fault),
    Lands(usize, u64, RelPath, Node, Landing),
}

struct Actor {
    rule: Host,
    life: u64,
    running: BTreeMap<PushId, RunningPush>,
    is_down: bool,
}

struct World {
    now: Moment,
    random: Random,
    events: BTreeMap<(Moment, u64), Event>,
    count: u64,
    /// When the last message on each way arrives: messages don't overtake.
    ways: BTreeMap<(usize, usize), Moment>,
    source: Source,
    is_gone: bool,
    queue: Vec<Told>,
    exploring: usize,
    collator: Collator,
    collator_life: u64,
    collator_deaths: u64,
    hosts: Vec<Actor>,
    mirrors: Vec<Mirror>,
    filter: Filter,
    oracle: DeletionOracle,
    kept_account: Option<KeptAccount>,
    /// What outlives the daemon.
    memory: [TargetState; HOSTS],
    disk: Disk,
    /// Every mirror goes on from a checkpoint, which knows of writing that keeps size and times.
    ctimes_count: bool,
    /// The next start may go on from what is on the disk.
    resumes: bool,
    scanned: Option<Snapshot>,
    /// The source when walks might begin, though not everything is watched.
    begun: Option<crate::simulation::tree::Tree>,
    partly_scanned: BTreeMap<RelPath, Facts>,
    is_healed: bool,
    talks: bool,
}

fn id(host: usize) -> MirrorId {
    MirrorId::new(&"site".into(), &host_id(host))
}

fn host_id(host: usize) -> HostId {
    HostId::from(["h0", "h1", "h2"][host])
}

fn index(id: &MirrorId) -> usize {
    usize::from(id.host.as_str().as_bytes()[1] - b'0')
}

/// An account in which nothing is ever too much, or more than some entries are.
fn deletion_terms(random: &mut Random) -> DeletionTerms {
    let limits = [Some(u64::MAX), None, Some(1), Some(2), Some(5), Some(10)];
    let max_delete = limits[random.below(6) as usize];
    let window = Duration::from_secs(60);
    DeletionTerms { max_delete, window, may_be_empty: false, free_to_delete: Vec::new() }
}

fn new_collator(now: Moment, start: u64, account: DeletionAccount) -> Collator {
    let mirrors = (0..HOSTS).map(|host| (id(host), TERMS));
    let mut collator = Collator::new(now, start as u32, WAITS, account, mirrors);
    collator.keep_checkpoints(8);
    collator
}

fn new_host(host: usize) -> Host {
    Host::new(&host_id(host), 2, RETRY, [id(host)])
}

/// Runs one schedule to its end.
pub fn run(seed: u64, talks: bool) {
    let mut random = Random(seed);
    let terms = deletion_terms(&mut random);
    let account = DeletionAccount::new(terms.clone(), Moment::default());
    let hosts = (0..HOSTS).map(|host| Actor {
        rule: new_host(host),
        life: 0,
        running: BTreeMap::new(),
        is_down: false,
    });
    let mut world = World {
        now: Moment::default(),
        events: BTreeMap::new(),
        count: 0,
        ways: BTreeMap::new(),
        source: Source::default(),
        is_gone: false,
        queue: Vec::new(),
        exploring: 0,
        collator: new_collator(Moment::default(), 1, account),
        oracle: DeletionOracle::new(terms),
        kept_account: None,
        collator_life: 0,
        collator_deaths: 0,
        hosts: hosts.collect(),
        mirrors: (0..HOSTS).map(|_| Mirror::default()).collect(),
        filter: Filter::new(&[]).unwrap(),
        memory: [TargetState::Unknown; HOSTS],
        disk: Disk::default(),
        ctimes_count: false,
        resumes: false,
        scanned: None,
        begun: None,
        partly_scanned: BTreeMap::new(),
        is_healed: false,
        talks,
        random,
    };
    world.watch_anew();
    world.later(1, Event::Work);
    // With little trouble a mirror comes as far as having several pushes under way while things change.
    let (rest, most) = if world.random.one_in(4) { (100, 600) } else { (12, 120) };
    for _ in 0..world.random.below(most) + 20 {
        world.step();
        world.check();
        if world.random.one_in(20) {
            world.look_in();
        }
        if world.random.one_in(rest) {
            world.trouble();
        }
    }
    world.heal();
    let deadline = world.now + Duration::from_secs(4 * 3600);
    while !world.is_equal() {
        assert!(world.now < deadline, "never equal: {:#?}", world.collator.ledger());
        let goes_on = world.step() || world.approve_what_is_held();
        assert!(goes_on, "nothing happens any more: {:#?}", world.collator.ledger());
        world.check();
    }
}

impl World {
    fn say(&self, what: impl FnOnce() -> String) {
        if self.talks {
            println!("{:?} {}", self.now, what());
        }
    }

    /// Within so many milliseconds.
    fn later(&mut self, within_ms: u64, event: Event) {
        let pause = Duration::from_micros(self.random.below(within_ms * 1000) + 1);
        self.at(self.now + pause, event);
    }

    fn at(&mut self, due: Moment, event: Event) {
        self.count += 1;
        self.events.insert((due, self.count), event);
    }

    fn send(&mut self, from: usize, to: usize, event: Event) {
        let pause = Duration::from_micros(self.random.below(3000) + 1);
        let due = (self.now + pause).max(*self.ways.get(&(from, to)).unwrap_or(&self.now));
        self.ways.insert((from, to), due);
        self.at(due, event);
    }

    /// The next thing happens. False if nothing ever will.
    fn step(&mut self) -> bool {
        let Some(((due, _), event)) = self.events.pop_first() else { return false };
        self.now = due;
        self.handle(event);
        self.settle();
        true
    }

    fn handle(&mut self, event: Event) {
        let now = self.now;
        match &event {
            Event::WorkWaits(host, life, _, lane) => {
                self.say(|| format!("nudge h{host} {life} {lane:?}"));
            }
            Event::Take(_, mirror, lane) => self.say(|| format!("take {mirror} {lane:?}")),
            Event::Answer(host, life, _, lane, work) => {
                let assignment = work.as_ref().map(|work| work.assignment);
                self.say(|| format!("answer h{host} {life} {lane:?} {assignment:?}"));
            }
            _ => (),
        }
        match event {
            Event::Work => self.work(),
            Event::Read => self.read(),
            Event::Mounted => self.judge_volumes(),
            Event::Explored(life, path) if life == self.collator_life => {
                self.exploring -= 1;
                self.source.watch_all(&path);
                let kinds = Kinds::CAME | Kinds::CONTENT | Kinds::SUBTREE;
                let change = Change::new(path, kinds);
                let exploring = self.exploring > 0;
                self.collator.handle_changed(now, vec![change], exploring);
            }
            Event::Watched(life) if life == self.collator_life => {
                if !self.is_gone {
                    self.source.watch_all(&RelPath::root());
                    self.tell_since_begun();
                    self.judge_volumes();
                    self.tell_levels();
                    self.begin_from();
                } else {
                    self.collator.handle_halt(now, "gone".into());
                    self.later(2000, Event::Look(life));
                }
            }
            Event::Marked(life) if life == self.collator_life => {
                if self.queue.is_empty() && self.exploring == 0 {
                    self.collator.handle_timeout(now);
                    self.collator.handle_told();
                } else {
                    self.later(20, Event::Marked(life));
                }
            }
            Event::Measured(life) if life == self.collator_life => {
                // Now and then the source can't be counted.
                let counts = (!self.random.one_in(8)).then(|| self.source.counts());
                let pieces =
                    counts.map(|it| piece::cut(it, PIECE_ENTRIES, &[])).unwrap_or_default();
                self.collator.handle_measured(now, pieces);
            }
            Event::Written(life) if life == self.collator_life => {
                self.disk.current = self.disk.next.take();
            }
            Event::Listing(life) if life == self.collator_life => {
                // Directories are watched and listed one after the other; some are, by now.
                self.source.watch_all(&RelPath::root());
                self.list_some(false);
            }
            Event::Scanned(life, is_end) if life == self.collator_life => self.scanned(is_end),
            Event::Look(life) if life == self.collator_life => {
                if self.is_gone {
                    self.later(2000, Event::Look(life));
                } else {
                    self.watch_anew();
                }
            }
            Event::WakeCollator(life) if life == self.collator_life => {
                self.collator.handle_timeout(now);
            }
            Event::WakeHost(host, life) if life == self.hosts[host].life => {
                self.hosts[host].rule.handle_timeout(now);
            }
            Event::Make(life, mirror, assignment) if life == self.collator_life => {
                self.make(mirror, assignment);
            }
            Event::Take(life, mirror, lane) if life == self.collator_life => {
                self.collator.handle_timeout(now);
                self.collator.handle_take(now, &mirror, lane);
            }
            Event::Reached(life, mirror) if life == self.collator_life => {
                self.collator.handle_reached(now, &mirror);
            }
            Event::Ended(life, mirror, assignment, end) if life == self.collator_life => {
                self.collator.handle_timeout(now);
                self.collator.handle_ended(now, &mirror, assignment, &end);
            }
            Event::WorkWaits(host, life, mirror, lane) if life == self.hosts[host].life => {
                let rule = &mut self.hosts[host].rule;
                rule.handle_timeout(now);
                rule.handle_nudge(now, &mirror, lane);
            }
            Event::Answer(host, life, mirror, lane, work) if life == self.hosts[host].life => {
                let rule = &mut self.hosts[host].rule;
                rule.handle_timeout(now);
                match work {
                    Some(work) => rule.handle_batch(now, &mirror, lane, work),
                    None => rule.handle_nothing(now, &mirror, lane),
                }
            }
            Event::Withdraw(host, life, mirror, assignment) if life == self.hosts[host].life => {
                self.withdraw(host, &mirror, assignment);
            }
            Event::Listed(host, life, push, step) if life == self.hosts[host].life => {
                let listing = mirror::list(&self.source, &step);
                let fault = self.fault(host);
                let is_long = step.kind.is_walk() || self.random.one_in(4);
                let long = if is_long { 3000 } else { 60 };
                self.later(long, Event::Ran(host, life, push, step, listing, fault));
            }
            Event::Ran(host, life, push, step, listing, fault) if life == self.hosts[host].life => {
                self.ran(host, push, &step, &listing, fault);
            }
            Event::Lands(host, deaths, path, node, landing) => {
                // Who knew what had broken off has died: only a difference in size or time is found now.
                if deaths != self.collator_deaths && self.has_stamp_of(host, &path, node) {
                    return;
                }
                let tree = self.mirrors[host].disk();
                // Who had found the same content there touches no more than what belongs to it.
                let node = match (landing, tree.get(&path)) {
                    (Landing::Whole, _) => node,
                    (Landing::Mode, Some(Node::File { content, stamp, .. })) => {
                        let Node::File { mode, .. } = node else { return };
                        Node::File { content: *content, stamp: *stamp, mode }
                    }
                    (Landing::Mode, _) => return,
                };
                let has_place = path.parent().is_some_and(|parent| {
                    parent.is_root() || tree.get(&parent) == Some(&Node::Directory)
                });
                if has_place && tree.get(&path) != Some(&Node::Directory) {
                    tree.insert(path.clone(), node);
                    self.say(|| format!("lands h{host} {path} {node:?}"));
                }
            }
            _ => (),
        }
    }

    /// Carries out what the rules want done, and arms their wake-ups.
    fn settle(&mut self) {
        loop {
            if let Some(effect) = self.collator.poll_effect() {
                self.carry_out(effect);
                continue;
            }
            let next = (0..HOSTS)
                .find_map(|host| self.hosts[host].rule.poll_effect().map(|effect| (host, effect)));
            let Some((host, effect)) = next else { break };
            self.carry_out_host(host, effect);
        }
        if let Some(due) = self.collator.poll_timeout(self.now) {
            self.at(due.max(self.now), Event::WakeCollator(self.collator_life));
        }
        for host in 0..HOSTS {
            if let Some(due) = self.hosts[host].rule.poll_timeout(self.now) {
                self.at(due.max(self.now), Event::WakeHost(host, self.hosts[host].life));
            }
        }
        // Wake-ups for the same time are one.
        let mut seen = BTreeSet::new();
        self.events.retain(|(due, _), event| match event {
            Event::WakeCollator(life) => seen.insert((*due, usize::MAX, *life)),
            Event::WakeHost(host, life) => seen.insert((*due, *host, *life)),
            _ => true,
        });
    }

    fn carry_out(&mut self, effect: collator::Effect) {
        match effect {
            collator::Effect::Measure(_) => self.later(30, Event::Measured(self.collator_life)),
            collator::Effect::Nudge(mirror, lane) => {
                let host = index(&mirror);
                let life = self.hosts[host].life;
                self.send(HOSTS, host, Event::WorkWaits(host, life, mirror, lane));
            }
            collator::Effect::Make(mirror, assignment) => {
                self.later(20, Event::Make(self.collator_life, mirror, assignment));
            }
            collator::Effect::Withdraw(mirror, assignment) => {
                let host = index(&mirror);
                let life = self.hosts[host].life;
                self.send(HOSTS, host, Event::Withdraw(host, life, mirror, assignment));
            }
            collator::Effect::Nothing(mirror, lane) => self.answer(mirror, lane, None),
            collator::Effect::Remember(mirror, directory) => {
                self.memory[index(&mirror)] = directory;
            }
            collator::Effect::Checkpoint(effect) => self.keep(effect),
            collator::Effect::KeepAccount(kept, _) => self.kept_account = Some(kept),
            collator::Effect::Checked(..)
            | collator::Effect::Held(..)
            | collator::Effect::Surprise(..)
            | collator::Effect::Report => (),
        }
    }

    fn keep(&mut self, effect: checkpoint::Effect) {
        self.say(|| format!("{effect:?}"));
        let life = self.collator_life;
        match effect {
            checkpoint::Effect::Append(entries) => self.disk.append(&entries),
            checkpoint::Effect::Mark => self.later(20, Event::Marked(life)),
            checkpoint::Effect::Record(holders, None) => self.disk.record(holders),
            checkpoint::Effect::Record(holders, Some(journal)) => {
                let snapshot = self.scanned.take().expect("it was scanned");
                self.disk.next = Some(Kept { snapshot, journal, holders });
                self.later(100, Event::Written(life));
            }
            checkpoint::Effect::Withdraw(ids) => self.disk.withdraw(&ids),
            checkpoint::Effect::Renew => {
                self.partly_scanned.clear();
                self.later(100, Event::Scanned(life, false));
                self.later(1000, Event::Scanned(life, true));
            }
        }
    }

    /// A scan takes its time: some directories are listed earlier than others.
    fn list_some(&mut self, is_end: bool) {
        for directory in disk::directories(&self.source) {
            let is_new = !self.partly_scanned.contains_key(&directory);
            if is_new && (is_end || self.random.one_in(2)) {
                let listing = disk::list(&self.source, &directory);
                self.partly_scanned.insert(directory, listing);
            }
        }
    }

    fn scanned(&mut self, is_end: bool) {
        self.list_some(is_end);
        if is_end {
            let listed = std::mem::take(&mut self.partly_scanned);
            self.scanned = Some(Snapshot::new(None, listed));
            self.collator.handle_scanned(false);
        }
    }

    fn begin_from(&mut self) {
        let now = self.now;
        self.list_some(true);
        let snapshot = Snapshot::new(None, std::mem::take(&mut self.partly_scanned));
        let kept = self.resumes.then(|| self.disk.current.clone()).flatten();
        self.resumes = false;
        self.ctimes_count = false;
        match kept {
            Some(kept) if !snapshot.is_empty() || kept.snapshot.is_empty() => {
                let changes = snapshot.changes_since(&kept.snapshot);
                let is_same = changes.is_empty();
                self.say(|| format!("resume {changes:?} {:?} {:?}", kept.journal, kept.holders));
                let Kept { journal, holders, .. } = kept;
                self.collator.handle_resume(now, changes, &journal, holders, false);
                self.scanned = (!is_same).then_some(snapshot);
                self.collator.handle_scanned(is_same);
            }
            _ => {
                self.disk = Disk::default();
                self.scanned = Some(snapshot);
                self.collator.handle_scanned(false);
            }
        }
        self.collator.handle_watching(now);
    }

    fn answer(&mut self, mirror: MirrorId, lane: Lane, work: Option<HostWork>) {
        let host = index(&mirror);
        let life = self.hosts[host].life;
        self.send(HOSTS, host, Event::Answer(host, life, mirror, lane, work));
    }

    fn carry_out_host(&mut self, host: usize, effect: host::Effect) {
        match effect {
            host::Effect::Take(mirror, lane) => {
                self.send(host, HOSTS, Event::Take(self.collator_life, mirror, lane));
            }
            host::Effect::Reached(mirror) => {
                self.send(host, HOSTS, Event::Reached(self.collator_life, mirror));
            }
            host::Effect::Start(push) => self.start(host, push),
            host::Effect::Ended(mirror, assignment, end) => {
                self.say(|| format!("{mirror} {assignment:?} {:?} {:?}", end.outcome, end.extras));
                self.send(host, HOSTS, Event::Ended(self.collator_life, mirror, assignment, end));
            }
            host::Effect::Learned(_)
            | host::Effect::Report
            | host::Effect::Ran(..)
            | host::Effect::Note(_)
            | host::Effect::Drained => (),
        }
    }

    fn make(&mut self, mirror: MirrorId, assignment: Assignment) {
        let now = self.now;
        let Assignment { id: assigned, lane, to, ref work, .. } = assignment;
        if self.is_gone {
            self.collator.handle_halt(now, "gone".into());
            self.later(2000, Event::Look(self.collator_life));
            self.answer(mirror.clone(), lane, None);
            return self.collator.handle_not_made(now, &mirror, assigned);
        }
        let absent = self.source.absent();
        let mut made = match work {
            Work::Compare(compare) => {
                let mut compare = compare.clone();
                // Now and then the source can't be listed, though rsync can.
                let may_list = !self.random.one_in(8);
                compare.set_listed(may_list.then(|| {
                    self.source.subdirectories(&compare.path.clone()).collect::<Vec<_>>()
                }));
                batch::make_compare(to, compare, &absent)
            }
            Work::Push(entries) => {
                let found: Vec<_> = entries.iter().map(|(p, _)| self.source.presence(p)).collect();
                let renames = self.source.renames(&assignment.renames);
                // Now one file is large, and now another.
                let file = batch::Presence::Present { is_directory: false };
                let mut is_large = |found: &_| *found == file && self.random.one_in(2);
                let bytes = found.iter().map(|it| if is_large(it) { LARGE_FILE_MIN } else { 0 });
                let bytes: Vec<u64> = bytes.collect();
                let looked = Looked {
                    entries,
                    found: &found,
                    bytes: if assignment.may_leave_large { &bytes } else { &[] },
                    lost: &assignment.lost,
                    found_extra: &assignment.found_extra,
                    absent: &absent,
                };
                batch::make(to, looked, &self.filter, renames)
            }
        };
        self.judge_volumes();
        Arc::make_mut(&mut made.batch).full = !self.source.tree.is_empty();
        let Some(batch) = self.collator.handle_made(now, &mirror, assigned, &made) else {
            return self.answer(mirror.clone(), lane, None);
        };
        self.oracle.work_handed_out(now, index(&mirror), assigned);
        self.say(|| format!("{mirror} {assigned:?} {lane:?} {batch:?}"));
        let trusts_renames = self.collator.trusts_renames(&mirror, assigned, &batch);
        let target = self.collator.target(&mirror);
        let work = HostWork { assignment: assigned, batch, target, trusts_renames };
        self.answer(mirror, lane, Some(work));
    }

    fn start(&mut self, host: usize, push: Push) {
        let steps = steps::plan(&push.batch, DeleteMode::Always, push.terms);
        let id = push.id;
        self.hosts[host].running.insert(id, RunningPush::new(push, steps));
        self.run_next(host, id);
    }

    fn run_next(&mut self, host: usize, id: PushId) {
        let life = self.hosts[host].life;
        let running = self.hosts[host].running.get_mut(&id).expect("it runs");
        if let Some(step) = running.next_step() {
            self.later(30, Event::Listed(host, life, id, step));
            return;
        }
        let end = running.finish();
        self.end(host, id, end);
    }

    fn withdraw(&mut self, host: usize, mirror: &MirrorId, assignment: AssignmentId) {
        let is_meant = |it: &Push| it.mirror == *mirror && it.assignment == assignment;
        let mut running = self.hosts[host].running.iter_mut();
        let Some((id, running)) = running.find(|(_, it)| is_meant(&it.push)) else { return };
        let (id, end) = (*id, running.withdraw());
        self.say(|| format!("withdraw h{host} {assignment:?} {end:?}"));
        self.oracle.withdrawn(host, assignment);
        if let Some(end) = end {
            // It was killed before it deleted anything.
            self.end(host, id, end);
        }
    }

    fn end(&mut self, host: usize, id: PushId, end: AssignmentEnd) {
        self.hosts[host].running.remove(&id);
        self.hosts[host].rule.handle_ended(self.now, id, end);
    }

    fn ran(&mut self, host: usize, id: PushId, step: &Step, listing: &Listing, fault: Fault) {
        if !self.hosts[host].running.contains_key(&id) {
            return;
        }
        let before = self.mirrors[host].tree.clone();
        let end = self.mirrors[host].apply(&self.source, step, listing, fault, &mut self.random);
        self.say(|| {
            format!(
                "{} {step:?} {fault:?}: {:?} {} -> {:?}",
                self::id(host),
                end.exit,
                String::from_utf8_lossy(&end.messages),
                self.mirrors[host].tree
            )
        });
        let now_there = &self.mirrors[host].tree;
        let deleted = before.keys().filter(|path| !now_there.contains_key(path));
        let deleted: Vec<RelPath> = deleted.cloned().collect();
        let assignment = self.hosts[host].running[&id].push.assignment;
        self.oracle.deleted(&self.source, host, assignment, step, &deleted);
        if matches!(fault, Fault::CutOff(_)) {
            self.leave_behind(host, &before);
        }
        let verdict = rsync_output::judge(step, &end);
        let running = self.hosts[host].running.get_mut(&id).expect("it runs");
        if let Some(end) = running.handle_step(step, &end, verdict) {
            return self.end(host, id, end);
        }
        if step.kind == StepKind::FirstContact {
            self.hosts[host].rule.handle_reached(self.now, id);
        }
        self.run_next(host, id);
    }

    /// What a receiver still has in its hands may land later, but not for ever.
    fn leave_behind(&mut self, host: usize, before: &crate::simulation::tree::Tree) {
        let now_there = self.mirrors[host].tree.clone();
        let changed = now_there.iter().find(|(path, node)| {
            matches!(node, Node::File { .. }) && before.get(*path) != Some(*node)
        });
        if let Some((path, node)) = changed {
            let content = |node: Option<&Node>| match node {
                Some(Node::File { content, .. }) => Some(*content),
                _ => None,
            };
            let is_same = content(before.get(path)) == content(Some(node));
            let landing = if is_same { Landing::Mode } else { Landing::Whole };
            let within = Duration::from_millis(self.random.below(LIFE.as_millis() as u64 - 1000));
            self.at(
                self.now + within,
                Event::Lands(host, self.collator_deaths, path.clone(), *node, landing),
            );
        }
    }

    fn fault(&mut self, host: usize) -> Fault {
        if self.hosts[host].is_down {
            return Fault::Refused;
        }
        if self.is_healed || !self.random.one_in(6) {
            return Fault::None;
        }
        let exits = [Exit::Code(12), Exit::Code(30), Exit::Code(20), Exit::Signal(9)];
        match self.random.below(4) {
            0 => Fault::Odd,
            1 => Fault::Full,
            _ => Fault::CutOff(exits[self.random.below(4) as usize]),
        }
    }

    fn work_in_source(&mut self) -> Vec<Told> {
        let told = self.source.work(&mut self.random);
        self.oracle.source_changed(self.now, &self.source);
        self.mirrors.iter_mut().for_each(|mirror| mirror.forget_foreign(&self.source));
        told
    }

    fn work(&mut self) {
        let told = self.work_in_source();
        self.say(|| format!("told {told:?}"));
        self.queue.extend(told);
        self.later(10, Event::Read);
        if self.random.one_in(8) {
            let host = self.random.below(HOSTS as u64) as usize;
            self.mirrors[host].write_foreign(&self.source, &mut self.random);
        }
        if !self.is_healed {
            let pause = [20, 200, 2000][self.random.below(3) as usize];
            self.later(pause, Event::Work);
        }
    }

    fn tell_levels(&mut self) {
        let levels = self.source.levels();
        self.oracle.levels_told(self.now, &levels);
        self.collator.handle_levels(self.now, levels);
    }

    fn read(&mut self) {
        let mut changes = Vec::new();
        for told in std::mem::take(&mut self.queue) {
            match told {
                Told::Change(change) => changes.push(change),
                Told::Came(path) => {
                    self.exploring += 1;
                    self.later(30, Event::Explored(self.collator_life, path));
                }
            }
        }
        let exploring = self.exploring > 0;
        self.collator.handle_timeout(self.now);
        self.collator.handle_changed(self.now, changes, exploring);
        if !self.is_gone {
            self.tell_levels();
        }
    }

    fn mount_or_unmount(&mut self) {
        // None is mounted again before it was missed.
        self.judge_volumes();
        let told = self.source.mount_or_unmount(&mut self.random);
        self.queue.extend(told);
        self.later(10, Event::Read);
        self.later(100, Event::Mounted);
    }

    /// The mounted file systems are looked at.
    fn judge_volumes(&mut self) {
        let absent = self.source.absent();
        let is_back = |path: &&RelPath| !absent.unmounted.contains(path);
        let before = self.collator.absent();
        let back: Vec<Told> = before.paths().filter(is_back).cloned().map(Told::Came).collect();
        self.queue.extend(back);
        self.later(10, Event::Read);
        self.collator.handle_absent(self.now, absent);
    }

    /// Events were lost, or watching begins.
    fn watch_anew(&mut self) {
        self.lose_queue();
        self.exploring = 0;
        self.source.watched.clear();
        self.collator_life += 1;
        if !self.resumes {
            self.disk = Disk::default();
        }
        self.scanned = None;
        self.collator.handle_watch_lost(self.now);
        self.watch_root();
        // What the collator was about to make is for the same collator.
        let life = self.collator_life;
        for event in self.events.values_mut() {
            match event {
                Event::Make(old, ..)
                | Event::Take(old, ..)
                | Event::Reached(old, ..)
                | Event::Ended(old, ..)
                | Event::Measured(old)
                    if *old + 1 == life =>
                {
                    *old = life;
                }
                _ => (),
            }
        }
    }

    fn watch_root(&mut self) {
        self.partly_scanned.clear();
        self.begun = None;
        if !self.resumes && !self.is_gone && self.random.one_in(2) {
            self.begun = Some(self.source.tree.clone());
            self.collator.handle_begun(self.now);
        }
        let life = self.collator_life;
        let listing = Duration::from_micros(self.random.below(100_000) + 1);
        self.at(self.now + listing, Event::Listing(life));
        // As long as a first walk and pushes after it, now and then.
        let is_long = self.begun.is_some() && self.random.one_in(2);
        let longest = if is_long { 10_000_000 } else { 500_000 };
        let rest = Duration::from_micros(self.random.below(longest) + 1);
        self.at(self.now + listing + rest, Event::Watched(life));
    }

    /// What the times of the entries tell, when all is watched.
    fn tell_since_begun(&mut self) {
        let Some(before) = self.begun.take() else { return };
        let now_there = &self.source.tree;
        let mut changes = BTreeMap::new();
        for path in before.keys().chain(now_there.keys()) {
            let (old, new) = (before.get(path), now_there.get(path));
            if old == new {
                continue;
            }
            if matches!(new, Some(Node::File { .. })) {
                *changes.entry(path.clone()).or_default() |= Kinds::CONTENT | Kinds::ATTRS;
            }
            // A name that came or went has changed the directory around it.
            if let Some(parent) = path.parent().filter(|_| old.is_none() || new.is_none())
                && (parent.is_root() || now_there.contains_key(&parent))
            {
                *changes.entry(parent).or_default() |= Kinds::SUBTREE | Kinds::ATTRS;
            }
        }
        let changes = changes.into_iter().map(|(path, kinds)| Change::new(path, kinds)).collect();
        self.collator.handle_changed(self.now, changes, self.exploring > 0);
    }

    /// What nobody was told can only be found if its size or time differ: nothing helps but `verify`.
    fn lose_queue(&mut self) {
        self.oracle.events_lost(self.now);
        for told in std::mem::take(&mut self.queue) {
            if let Told::Change(change) = told
                && !self.ctimes_count
            {
                self.source.date_anew(&change.path);
            }
        }
    }

    fn kill_host(&mut self, host: usize) {
        // A receiver has nothing in its hands but what its run has read of the source.
        let running = self.hosts[host].running.values();
        let batches: Vec<_> = running.map(|running| running.push.batch.clone()).collect();
        let is_sent = |path: &RelPath| batches.iter().any(|batch| batch.accounts_for(path));
        let sent = self
            .source
            .tree
            .iter()
            .filter(|(path, node)| matches!(node, Node::File { .. }) && is_sent(path));
        let sent: Vec<_> = sent.map(|(path, node)| (path.clone(), *node)).collect();
        if !sent.is_empty() {
            let (path, node) = sent[self.random.below(sent.len() as u64) as usize].clone();
            let within = Duration::from_millis(self.random.below(LIFE.as_millis() as u64 - 1000));
            let deaths = self.collator_deaths;
            let landing = Event::Lands(host, deaths, path, node, Landing::Whole);
            self.at(self.now + within, landing);
        }
        let actor = &mut self.hosts[host];
        actor.rule = new_host(host);
        actor.running.clear();
        actor.life += 1;
        self.collator.handle_new_host(self.now, &host_id(host));
    }

    fn has_stamp_of(&mut self, host: usize, path: &RelPath, node: Node) -> bool {
        let stamp = |node: &Node| match node {
            Node::File { stamp, .. } => Some(*stamp),
            Node::Directory => None,
        };
        self.mirrors[host].disk().get(path).is_some_and(|there| stamp(there) == stamp(&node))
    }

    /// A collator that died alone is followed by one that trusts nothing.
    fn kill_collator(&mut self) {
        self.disk = Disk::default();
        self.begin_again();
        for host in 0..HOSTS {
            self.hosts[host].rule.handle_new_root(self.now, &"site".into());
        }
    }

    /// The whole daemon dies, and what is done while it is down nobody is told.
    fn kill_daemon(&mut self) {
        self.disk.next = None;
        self.resumes = true;
        for host in 0..HOSTS {
            self.kill_host(host);
        }
        self.begin_again();
        self.resumes = true;
        for _ in 0..self.random.below(4) {
            let told = self.work_in_source();
            self.queue.extend(told);
        }
        self.lose_queue();
    }

    fn begin_again(&mut self) {
        self.collator_deaths += 1;
        // What it was told and had not brought everywhere is found by size and time alone from now on, where
        // nobody holds the checkpoint.
        let held_by_all =
            self.disk.current.as_ref().is_some_and(|kept| kept.holders.len() == HOSTS);
        self.ctimes_count = self.resumes && held_by_all;
        if !self.ctimes_count {
            for path in self.source.tree.keys().cloned().collect::<Vec<_>>() {
                self.source.date_anew(&path);
            }
        }
        self.oracle.restarted(self.now);
        let kept = self.kept_account.clone().unwrap_or_default();
        let terms = self.oracle.terms().clone();
        let account = DeletionAccount::from_kept(terms, kept, self.now);
        self.collator = new_collator(self.now, self.collator_deaths + 1, account);
        for host in 0..HOSTS {
            self.collator.handle_target(&id(host), self.memory[host]);
        }
        self.collator.handle_unclean(self.now);
        self.collator_life += 1;
        self.scanned = None;
        self.lose_queue();
        self.exploring = 0;
        self.source.watched.clear();
        self.watch_root();
        for host in 0..HOSTS {
            self.collator.handle_new_host(self.now, &host_id(host));
        }
    }

    /// Something goes wrong.
    fn trouble(&mut self) {
        let host = self.random.below(HOSTS as u64) as usize;
        let what = self.random.below(11);
        self.say(|| format!("trouble {what} {host}"));
        match what {
            0 => self.hosts[host].is_down ^= true,
            1 => self.kill_host(host),
            2 => self.kill_collator(),
            3 => self.watch_anew(),
            4 => self.is_gone ^= true,
            5 => self.mirrors[host].denied = self.random.one_in(2).then(|| self.random.path()),
            6 => {
                let path = self.random.one_in(2).then(|| self.random.path());
                self.hide(path);
            }
            9 => self.kill_daemon(),
            10 if self.random.one_in(2) => self.collator.handle_walk_due(self.now, &id(host)),
            10 => self.collator.handle_check_due(self.now, &id(host)),
            7 if self.memory[host] != TargetState::Unknown => self.mirrors[host].unmount(),
            8 => self.mount_or_unmount(),
            _ => (),
        }
        self.settle();
    }

    /// A person looks in at a mirror, and approves of what waits there at once, or another time.
    fn look_in(&mut self) {
        let host = self.random.below(HOSTS as u64) as usize;
        if !self.random.one_in(3) {
            self.show_lists(host);
        } else if !self.mirrors[host].is_unmounted() {
            self.approve(host);
        }
        self.settle();
    }

    /// A person looks at what waits: the list of the source, and that of one mirror.
    fn show_lists(&mut self, host: usize) -> Vec<(Option<usize>, ShownList)> {
        let source = self.collator.waiting_deletions().map(|list| (None, list.shown));
        let mirror =
            self.collator.waiting_extras_of(&id(host)).map(|list| (Some(host), list.shown));
        let lists: Vec<_> = source.into_iter().chain(mirror).collect();
        for (mirror, list) in &lists {
            self.oracle.list_shown(self.now, *mirror, list);
        }
        lists
    }

    /// A person approves of all that waits, as it is listed now or was shown before.
    fn approve(&mut self, host: usize) {
        for (mirror, list) in self.show_lists(host) {
            self.oracle.list_approved(mirror, list.number);
        }
        self.hosts[host].rule.handle_approve(self.now, &id(host));
        self.collator.handle_approve(self.now, &id(host));
        if let Some(list) = self.collator.waiting_deletions() {
            let approved = self.collator.approve_deletions(self.now, list.shown.number);
            approved.expect("it was shown just now");
        }
        if let Some(list) = self.collator.waiting_extras_of(&id(host)) {
            let approved = self.collator.approve_extras(self.now, &id(host), list.shown.number);
            approved.expect("it was shown just now");
        }
    }

    fn heal(&mut self) {
        self.say(|| "healed".into());
        self.is_healed = true;
        self.is_gone = false;
        self.hide(None);
        if !self.source.absent().is_empty() {
            self.mount_or_unmount();
        }
        for host in 0..HOSTS {
            self.hosts[host].is_down = false;
            self.mirrors[host].denied = None;
            self.mirrors[host].mount();
            self.approve(host);
        }
        self.settle();
    }

    /// A directory loses its permissions, and another gets them back; the kernel tells of both.
    fn hide(&mut self, path: Option<RelPath>) {
        self.oracle.events_lost(self.now);
        let old = std::mem::replace(&mut self.source.unreadable, path.clone());
        for path in [old.clone(), path].into_iter().flatten() {
            self.queue.extend(self.source.told(&path, Kinds::ATTRS));
        }
        // What could not be opened is tried again.
        let denied = std::mem::take(&mut self.source.denied);
        self.queue.extend(denied.into_iter().map(Told::Came));
        self.later(10, Event::Read);
    }

    fn is_equal(&mut self) -> bool {
        if self.random.one_in(50) {
            self.approve_what_is_held();
        }
        let report = self.collator.report();
        report.mirrors.iter().all(|(id, _, settled)| *settled && self.equals(index(id)))
            && self.events.values().all(|event| !matches!(event, Event::Lands(..) | Event::Work))
    }

    /// A person looks in now and then. Returns whether there was anything to decide.
    fn approve_what_is_held(&mut self) -> bool {
        let report = self.collator.report();
        let held = report.mirrors.iter().filter(|(_, standing, _)| standing.held_deletions > 0);
        let mut held: BTreeSet<usize> = held.map(|(id, ..)| index(id)).collect();
        // A Root that was emptied while it was walked leaves a mirror empty that is taken for filled.
        held.extend((0..HOSTS).filter(|host| {
            self.hosts[*host].rule.report().iter().any(|(_, report)| report.halted.is_some())
        }));
        held.iter().for_each(|host| self.approve(*host));
        self.settle();
        assert!(
            held.is_empty() || !self.events.is_empty(),
            "nothing was approved: {:#?}",
            self.collator
        );
        !held.is_empty()
    }

    fn equals(&self, host: usize) -> bool {
        self.mirrors[host].equals(&self.source)
    }

    /// What must be true at every moment.
    fn check(&self) {
        let told = self.queue.is_empty()
            && self.exploring == 0
            && self.collator.absent() == self.source.absent();
        let report = self.collator.report();
        for (id, standing, settled) in &report.mirrors {
            let host = index(id);
            // A mirror that somebody else emptied is not what this is about.
            if *settled && told && self.mirrors[host].exists && !self.is_gone {
                let is_worked_on = !self.hosts[host].running.is_empty();
                assert!(
                    self.equals(host) || is_worked_on,
                    "{id} is called in sync {standing:?}\nsource {:?}\nmirror {:?}",
                    self.source.tree,
                    self.mirrors[host].tree
                );
            }
        }
    }
}
