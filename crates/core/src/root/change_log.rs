//! The compacted log of one Root: each dirty path once, and how far each Mirror has come.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

use crate::data::batch::Dirty;
use crate::data::change::{Epoch, Kinds, Lane, Move, Ticket};
use crate::data::ids::MirrorId;
use crate::data::moment::Moment;
use crate::data::outcome::{Budget, Failed, Held, Outcome};
use crate::data::path::RelPath;
use crate::data::plan::RetryPlan;
use crate::host::target_state::Directory;
use crate::root::debts::{Debts, Running};
use crate::root::epoch::{Sealed, remove_below};
use crate::root::renames::Renames;

mod check;
mod coarsen;
mod doubt;
mod explain;
mod hints;
mod large;
mod recent;
mod resume;
mod sent;
mod take;

use self::recent::Recent;
pub use self::recent::{Absence, LateEnd};
use self::sent::Sent;

/// Sealed Epochs and, for each Mirror, its Cursor and its debts.
#[derive(Debug)]
pub struct ChangeLog {
    head: Epoch,
    entries: BTreeMap<RelPath, Entry>,
    epochs: BTreeMap<Epoch, Record>,
    mirrors: BTreeMap<MirrorId, Debts>,
    next_ticket: u64,
    paths_max: usize,
    recent: Recent,
    renames: Renames,
    sent: Sent,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    epoch: Epoch,
    kinds: Kinds,
}

/// A sealed Epoch. It stays, empty, while some Mirror's lag is measured from its first change.
#[derive(Debug)]
struct Record {
    first_change: Moment,
    paths: BTreeSet<RelPath>,
}

/// Work handed to a Mirror.
#[expect(clippy::struct_excessive_bools, reason = "facts that don't depend on each other")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// To be named when it has ended.
    pub ticket: Ticket,
    /// The Mirror's Cursor.
    pub from: Epoch,
    /// What the Cursor will be.
    pub to: Epoch,
    /// Whether it is the whole Root.
    pub walk: bool,
    /// Whether contents are to be compared too.
    pub check: bool,
    /// Whether the Mirror lacked what it should have held for long.
    pub suspicious: bool,
    /// Dirty paths, sorted; empty for a Walk.
    pub entries: Vec<Dirty>,
    /// Where the Mirror may hold some of what is to be brought to it.
    pub renames: Vec<Move>,
    /// Whether stuck or held paths are among them, so that nobody else needs exactly this.
    pub own: bool,
    /// Whether large files may be left to a push of their own.
    pub may_set_aside: bool,
}

/// How a Mirror stands in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Its Cursor; zero while it owes a Walk.
    pub epoch: Epoch,
    /// Dirty paths above the Cursor and stuck ones.
    pub pending: usize,
    /// When the oldest change came that it lacks.
    pub behind_since: Option<Moment>,
    /// Whether it owes a Walk.
    pub owes_walk: bool,
    /// Stuck paths with their reasons.
    pub stuck: Vec<(RelPath, String)>,
    /// How many are stuck.
    pub stuck_total: usize,
    /// Paths that a Walk does not settle, and large files.
    pub repeated: usize,
    /// Entries whose deletion waits for a person.
    pub held_deletions: u64,
    /// A push broke off, and what was on its way may still land; or a Walk may undo what was pushed since.
    pub may_change: bool,
    /// When what may still land can't any more, and is pushed over.
    pub repeats_at: Option<Moment>,
}

impl ChangeLog {
    /// An empty log of at most `paths_max` distinct paths.
    pub fn new(paths_max: usize) -> Self {
        Self {
            head: Epoch::default(),
            entries: BTreeMap::new(),
            epochs: BTreeMap::new(),
            mirrors: BTreeMap::new(),
            next_ticket: 1,
            paths_max,
            recent: Recent::default(),
            renames: Renames::default(),
            sent: Sent::default(),
        }
    }

    /// A Mirror nothing is known of: it owes a Walk.
    ///
    /// `receiver_life` is how long what broke off may still land on it.
    pub fn add_mirror(
        &mut self,
        now: Moment,
        id: MirrorId,
        retry: RetryPlan,
        receiver_life: Duration,
    ) {
        let debts = Debts::new(now, self.head, retry, receiver_life);
        self.mirrors.insert(id, debts);
    }

    /// A Mirror is given up, with all that is known of it.
    pub fn remove_mirror(&mut self, id: &MirrorId) {
        self.mirrors.remove(id);
        self.trim();
    }

    /// Another way to try it again, and another time for which what broke off may still land on it.
    pub fn set_terms(&mut self, id: &MirrorId, retry: RetryPlan, receiver_life: Duration) {
        if let Some(debts) = self.mirrors.get_mut(id) {
            debts.retry = retry;
            // Who was started before lives as long as was agreed then.
            debts.receiver_life = debts.receiver_life.max(receiver_life);
        }
    }

    /// The newest sealed Epoch.
    pub fn head(&self) -> Epoch {
        self.head
    }

    /// Distinct dirty paths.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no path is dirty for anybody.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Epochs that are kept, with or without paths.
    pub fn epochs_len(&self) -> usize {
        self.epochs.len()
    }

    /// The Mirrors of this Root.
    pub fn mirrors(&self) -> impl Iterator<Item = &MirrorId> {
        self.mirrors.keys()
    }

    /// Seals changes as a new Epoch. Paths that were dirty before move into it; a subtree swallows what
    /// is below it in this Epoch and in older ones, and takes over how its content is to be treated.
    pub fn seal(&mut self, sealed: Sealed) -> Epoch {
        self.seal_for(sealed, |_| true)
    }

    /// The same; Mirrors that are to be walked and are not meant take it for older than they know.
    fn seal_for(&mut self, sealed: Sealed, is_meant: impl Fn(&MirrorId) -> bool) -> Epoch {
        self.head = self.head.next();
        let epoch = self.head;
        let Sealed { first_change, mut changes, moves } = sealed;
        self.note_moves(epoch, first_change, &changes, moves);
        let subtrees: Vec<RelPath> = changes
            .iter()
            .filter(|(_, kinds)| kinds.contains(Kinds::SUBTREE))
            .map(|(path, _)| path.clone())
            .collect();
        self.epochs.insert(epoch, Record { first_change, paths: BTreeSet::new() });
        for directory in subtrees {
            // An outer subtree may have swallowed it already.
            let Some(mut kinds) = changes.get(&directory).copied() else { continue };
            for (_, below) in remove_below(&mut changes, &directory) {
                kinds |= below & Kinds::CONTENT;
            }
            kinds |= self.swallow(&directory) & Kinds::CONTENT;
            changes.insert(directory, kinds);
        }
        // A Walk that is to come covers this, but by its quick check.
        let rewritten = changes.iter().filter(|(_, kinds)| kinds.contains(Kinds::CONTENT));
        let rewritten: Vec<Dirty> = rewritten.map(|(path, kinds)| (path.clone(), *kinds)).collect();
        for (id, debts) in &mut self.mirrors {
            debts.echo_also(&rewritten);
            if debts.walk_waits() && is_meant(id) {
                debts.rewrite(rewritten.iter().cloned());
            }
        }
        let sealed = changes.iter().map(|(path, kinds)| (path.clone(), *kinds)).collect();
        self.recent.add(epoch, sealed, self.recent_floor());
        for (path, kinds) in changes {
            let old = self.forget(&path).unwrap_or_default();
            self.put(path, Entry { epoch, kinds: old | kinds });
        }
        self.trim();
        self.keep_within_bound(first_change);
        epoch
    }

    /// Work has ended. Returns false, and changes nothing, if its ticket is not current.
    pub fn applied(
        &mut self,
        now: Moment,
        id: &MirrorId,
        ticket: Ticket,
        outcome: &Outcome,
    ) -> bool {
        let work = self.running(id, ticket).cloned();
        if let Some(work) = work.as_ref().filter(|work| !work.is_walk) {
            self.note_sent(now, work.from, work);
        }
        let ended = work.map(|work| (work.is_walk, LateEnd::new(now, &work)));
        let Some(debts) = self.mirrors.get_mut(id) else { return false };
        match outcome {
            Outcome::Halt(_) => debts.halted = true,
            Outcome::Done | Outcome::Partly(_) | Outcome::DeletionsSkipped(_) => {
                debts.halted = false;
            }
            _ => (),
        }
        if debts.fresh.as_ref().is_some_and(|running| running.ticket == ticket) {
            let running = debts.fresh.take().expect("checked just now");
            match outcome {
                // It is pushed again, whatever came of it.
                Outcome::Done | Outcome::Partly(_) | Outcome::DeletionsSkipped(_)
                    if running.overtaken => {}
                Outcome::Done => debts.arrive(now, &running, &[]),
                Outcome::Partly(failed) | Outcome::DeletionsSkipped(failed) => {
                    debts.arrive(now, &running, failed);
                }
                Outcome::Again { cut_off: true, .. } => self.echo_fresh(now, id, &running),
                Outcome::Unattributed(_)
                | Outcome::Halt(_)
                | Outcome::Full(_)
                | Outcome::Incapable(..)
                | Outcome::Again { .. } => (),
            }
        } else if debts.walk.as_ref().is_some_and(|it| it.ticket == ticket && it.is_large()) {
            self.apply_large(now, id, outcome);
        } else if debts.walk.as_ref().is_some_and(|running| running.ticket == ticket) {
            let running = debts.walk.take().expect("checked just now");
            // One that failed is tried when the next is due, and not again and again.
            if running.check.is_some() && debts.check_owed <= running.check {
                debts.check_owed = None;
            }
            if let Some(fresh) = &mut debts.fresh {
                fresh.overtaken = true;
            }
            // What was pushed meanwhile may have been undone by the Walk, even by one that broke off.
            debts.cursor = debts.cursor.min(running.to);
            match outcome {
                Outcome::Done | Outcome::Partly(_) => {
                    let failed = outcome.failed();
                    debts.release_all_held();
                    debts.suspicious = false;
                    debts.walk_owed = None;
                    debts.cursor = running.to;
                    debts.settle_stuck(now, &running, failed);
                }
                Outcome::DeletionsSkipped(failed) => {
                    // Deletions are owed for the whole Root, which must not hold up fresh changes.
                    let mut failed = failed.clone();
                    let why = failed.first().map(|f| f.reason.clone()).unwrap_or_default();
                    failed.push(Failed {
                        path: RelPath::root(),
                        kinds: Kinds::SUBTREE,
                        reason: format!("Nothing was deleted, because of: {why}"),
                    });
                    debts.walk_owed = None;
                    debts.cursor = running.to;
                    debts.settle_stuck(now, &running, &failed);
                }
                Outcome::Again { cut_off: true, .. } => self.echo_walk(now, id, running.to),
                Outcome::Unattributed(_)
                | Outcome::Halt(_)
                | Outcome::Full(_)
                | Outcome::Incapable(..)
                | Outcome::Again { .. } => (),
            }
        } else {
            // What has become void may still land.
            if matches!(outcome, Outcome::Again { cut_off: true, .. }) {
                self.echo_walk(now, id, Epoch::default());
            }
            return false;
        }
        if let Some((is_walk, end)) = ended {
            self.note_end(id, is_walk, end, outcome);
        }
        if self.mirrors.get(id).is_some_and(Debts::walk_waits) {
            // What was written to while the Walk was under way is covered by the next, by its quick check.
            self.keep_rewritten(id);
        }
        self.trim();
        true
    }

    /// Work that has just been applied left deletions for a person to decide.
    pub fn hold(&mut self, now: Moment, id: &MirrorId, held: &Held) {
        if let Some(debts) = self.mirrors.get_mut(id) {
            debts.hold(now, held);
        }
    }

    /// How much the work that was just handed out may delete, if a person has decided or has to.
    pub fn budget(&self, id: &MirrorId, lane: Lane) -> Option<Budget> {
        let debts = self.mirrors.get(id)?;
        if debts.approved {
            return Some(Budget::Approved);
        }
        // What tries all of them again, as a Walk does, judges them again.
        let is_tried = |path| debts.fresh.as_ref().is_some_and(|fresh| fresh.tried.contains(path));
        let is_push = lane == Lane::Fresh || !debts.is_walked();
        let holds_more = is_push && !debts.held.keys().all(is_tried);
        holds_more.then_some(Budget::Held)
    }

    /// A person lets held deletions go, and takes a directory that is not what it was for what it is.
    pub fn approve(&mut self, now: Moment, id: &MirrorId) {
        let Some(debts) = self.mirrors.get_mut(id) else { return };
        debts.approved = !debts.held.is_empty();
        debts.suspicious = false;
        if std::mem::take(&mut debts.halted) {
            debts.directory = Directory::Unknown;
            self.owe_walk(now, id);
        }
    }

    /// What is known of a Mirror's directory.
    pub fn directory(&self, id: &MirrorId) -> Directory {
        self.mirrors.get(id).map(|debts| debts.directory).unwrap_or_default()
    }

    /// Something else is known of it.
    pub fn set_directory(&mut self, id: &MirrorId, directory: Directory) {
        if let Some(debts) = self.mirrors.get_mut(id) {
            debts.directory = directory;
        }
    }

    /// Work that is under way; none if its ticket is not current.
    pub fn running(&self, id: &MirrorId, ticket: Ticket) -> Option<&Running> {
        let debts = self.mirrors.get(id)?;
        [&debts.fresh, &debts.walk].into_iter().flatten().find(|r| r.ticket == ticket)
    }

    /// Whether a Walk is owed, its turn has come, and none is under way.
    pub fn wants_walk(&self, now: Moment, id: &MirrorId) -> bool {
        let is_wanted = |debts: &Debts| {
            let is_due = debts.walk_waits() && debts.walk_after <= now;
            let is_whole = is_due || (debts.check_owed.is_some() && debts.walk.is_none());
            debts.wants_large() || (debts.fresh.is_none() && is_whole)
        };
        self.mirrors.get(id).is_some_and(is_wanted)
    }

    /// Whether it was never walked, or is in doubt since.
    pub fn owes_walk(&self, id: &MirrorId) -> bool {
        self.mirrors.get(id).is_none_or(|debts| debts.walk_owed.is_some())
    }

    /// Whether the Mirror lacks something that a push of fresh changes brings, and none is under way.
    pub fn wants_fresh(&self, now: Moment, id: &MirrorId) -> bool {
        self.mirrors.get(id).is_some_and(|debts| {
            debts.fresh.is_none()
                && !debts.walk_waits()
                && (self.epochs_above(debts.cursor).any(|(_, record)| !record.paths.is_empty())
                    || debts.stuck.values().any(|stuck| stuck.retry_at <= now)
                    || debts.echo_is_due(now)
                    || (debts.walk_owed.is_none() && !debts.rewritten.is_empty())
                    || debts.links_wait()
                    || (debts.approved && !debts.held.is_empty()))
        })
    }

    /// Whether anybody has work that was handed out.
    pub fn is_working(&self) -> bool {
        self.mirrors.values().any(|debts| debts.fresh.is_some() || debts.walk.is_some())
    }

    /// When the next thing will be due that waits for the clock.
    pub fn next_due(&self, now: Moment) -> Option<Moment> {
        self.mirrors.values().flat_map(Debts::dues).filter(|due| *due > now).min()
    }

    /// The Mirrors for which something has become due since.
    pub fn due_between(&self, since: Moment, now: Moment) -> Vec<MirrorId> {
        let is_due = |debts: &Debts| debts.dues().any(|due| due > since && due <= now);
        self.mirrors.iter().filter(|(_, d)| is_due(d)).map(|(id, _)| id.clone()).collect()
    }

    /// Whether this path, or something above it, is dirty for this Mirror.
    pub fn covers(&self, id: &MirrorId, path: &RelPath) -> bool {
        self.mirrors.get(id).is_some_and(|debts| self.changed_since(debts.cursor, path))
    }

    /// How a Mirror stands; names at most `stuck_max` of its stuck paths.
    pub fn standing(&self, id: &MirrorId, stuck_max: usize) -> Option<Standing> {
        let debts = self.mirrors.get(id)?;
        let above = || self.epochs_above(debts.cursor);
        let dirty: usize = above().map(|(_, record)| record.paths.len()).sum();
        let owes_walk = debts.walk_owed.is_some();
        Some(Standing {
            epoch: if owes_walk { Epoch::default() } else { debts.cursor },
            pending: dirty
                + debts.stuck.len()
                + debts.held.len()
                + debts.rewritten.len()
                + debts.large_files().count()
                + usize::from(debts.links_wait()),
            behind_since: self.behind_since(debts),
            owes_walk,
            stuck: debts
                .stuck
                .iter()
                .take(stuck_max)
                .map(|(path, stuck)| (path.clone(), stuck.reason.clone()))
                .collect(),
            stuck_total: debts.stuck.len(),
            repeated: debts.rewritten.len()
                + debts.large_files().count()
                + usize::from(debts.links_wait()),
            repeats_at: debts.echo.as_ref().map(|echo| echo.due),
            may_change: debts.echo.is_some()
                || debts.walk.as_ref().is_some_and(|walk| debts.cursor > walk.to),
            held_deletions: if debts.held.is_empty() { 0 } else { debts.held_count.max(1) },
        })
    }

    /// When the oldest change came that the Mirror lacks; since when it is in doubt, if that was before.
    fn behind_since(&self, debts: &Debts) -> Option<Moment> {
        let behind = self.epochs_above(debts.cursor).next().map(|(_, record)| record.first_change);
        let stuck = debts.stuck.values().map(|stuck| stuck.since).min();
        let large = debts.large_files().map(|(_, large)| large.since).min();
        let since = [behind, stuck, large, debts.held_since, debts.walk_owed];
        since.into_iter().flatten().min()
    }

    fn epochs_above(&self, cursor: Epoch) -> impl Iterator<Item = (&Epoch, &Record)> {
        self.epochs.range((Excluded(cursor), Unbounded))
    }

    /// Dirty paths above the Cursor and stuck ones that are due, and which stuck ones that tries.
    fn lacking(&self, now: Moment, debts: &Debts) -> (Vec<Dirty>, BTreeSet<RelPath>) {
        self.lacking_above(now, debts, debts.cursor)
    }

    fn lacking_above(
        &self,
        now: Moment,
        debts: &Debts,
        cursor: Epoch,
    ) -> (Vec<Dirty>, BTreeSet<RelPath>) {
        let mut entries: BTreeMap<RelPath, Kinds> = self
            .epochs_above(cursor)
            .flat_map(|(_, record)| &record.paths)
            .map(|path| (path.clone(), self.entries[path].kinds))
            .collect();
        let mut tried = BTreeSet::new();
        if debts.walk_owed.is_none() {
            for (path, kinds) in &debts.rewritten {
                *entries.entry(path.clone()).or_default() |= *kinds;
                tried.insert(path.clone());
            }
        }
        for (path, stuck) in &debts.stuck {
            if dirty_again(&entries, path) || stuck.retry_at <= now {
                *entries.entry(path.clone()).or_default() |= stuck.kinds;
                tried.insert(path.clone());
            }
        }
        // What has changed again is judged again: it may have been withdrawn. So is the directory around it that was
        // judged as a whole.
        let again: BTreeSet<&RelPath> =
            debts.held.keys().filter(|path| dirty_again(&entries, path)).collect();
        let is_around = |path: &RelPath| again.iter().any(|it| it.is_below(path));
        for (path, kinds) in &debts.held {
            if debts.approved || again.contains(path) || is_around(path) {
                *entries.entry(path.clone()).or_default() |= *kinds;
                tried.insert(path.clone());
            }
        }
        // What is tried for one reason is owed no more for any other.
        for path in &tried {
            *entries.entry(path.clone()).or_default() |= debts.owed_at(path);
        }
        for (from, to) in debts.links_to_push(|path| entries.contains_key(path)) {
            *entries.entry(from).or_default() |= Kinds::WENT | Kinds::SUBTREE | Kinds::CONTENT;
            *entries.entry(to).or_default() |= Kinds::SUBTREE;
        }
        if debts.echo_is_due(now)
            && let Some(echo) = &debts.echo
        {
            if echo.whole {
                *entries.entry(RelPath::root()).or_default() |= Kinds::SUBTREE;
            } else {
                for (path, kinds) in &echo.entries {
                    *entries.entry(path.clone()).or_default() |= *kinds;
                }
            }
        }
        (entries.into_iter().collect(), tried)
    }

    fn put(&mut self, path: RelPath, entry: Entry) {
        self.epochs
            .entry(entry.epoch)
            .or_insert(Record { first_change: Moment::default(), paths: BTreeSet::new() })
            .paths
            .insert(path.clone());
        self.entries.insert(path, entry);
    }

    fn forget(&mut self, path: &RelPath) -> Option<Kinds> {
        let entry = self.entries.remove(path)?;
        if let Some(record) = self.epochs.get_mut(&entry.epoch) {
            record.paths.remove(path);
        }
        Some(entry.kinds)
    }

    /// Removes everything below a directory from the log, and says what kinds of changes that were.
    fn swallow(&mut self, directory: &RelPath) -> Kinds {
        let mut kinds = Kinds::empty();
        for (path, entry) in remove_below(&mut self.entries, directory) {
            kinds |= entry.kinds;
            if let Some(record) = self.epochs.get_mut(&entry.epoch) {
                record.paths.remove(&path);
            }
        }
        kinds
    }

    /// Drops Epochs that every Mirror has passed, and empty ones that no lag is measured from.
    fn trim(&mut self) {
        let floor = self.mirrors.values().filter_map(Debts::holds).min().unwrap_or(self.head);
        while let Some(oldest) = self.epochs.first_entry().filter(|e| *e.key() <= floor) {
            for path in oldest.remove().paths {
                self.entries.remove(&path);
            }
        }
        self.renames.trim(floor);
        for debts in self.mirrors.values_mut() {
            // A Mirror that is to be walked anyway does not hold the log.
            debts.cursor = debts.cursor.max(floor.min(self.head));
        }
        // A Cursor only ever comes to stand where it, or work under way, stands now, or above all
        // Epochs that exist: no other empty one is ever the first above a Cursor.
        let standpoints: BTreeSet<Epoch> =
            self.mirrors.values().flat_map(Debts::standpoints).collect();
        let needed: BTreeSet<Epoch> = standpoints
            .into_iter()
            .filter_map(|at| self.epochs.range((Excluded(at), Unbounded)).next())
            .map(|(epoch, _)| *epoch)
            .collect();
        self.epochs.retain(|epoch, record| !record.paths.is_empty() || needed.contains(epoch));
    }
}

/// Whether a path, or a directory above it with all that is in it, is among the entries.
fn dirty_again(entries: &BTreeMap<RelPath, Kinds>, path: &RelPath) -> bool {
    let swallows =
        |above: RelPath| entries.get(&above).is_some_and(|kinds| kinds.contains(Kinds::SUBTREE));
    entries.contains_key(path) || path.ancestors().any(swallows)
}

impl Outcome {
    /// Whether the work counts, but for what failed.
    pub fn is_settled(&self) -> bool {
        matches!(self, Self::Done | Self::Partly(_) | Self::DeletionsSkipped(_))
    }

    fn failed(&self) -> &[Failed] {
        match self {
            Self::Partly(failed) | Self::DeletionsSkipped(failed) => failed,
            Self::Done
            | Self::Unattributed(_)
            | Self::Halt(_)
            | Self::Full(_)
            | Self::Incapable(..)
            | Self::Again { .. } => &[],
        }
    }
}
