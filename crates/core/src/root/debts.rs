//! What one Mirror holds and owes, as its Root's log sees it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::backoff::{Backoff, seed_of};
use crate::data::batch::Dirty;
use crate::data::change::{Epoch, Kinds, Ticket};
use crate::data::limits::{ECHO_PATHS_MAX, HELD_PATHS_MAX, STUCK_PATHS_MAX};
use crate::data::moment::Moment;
use crate::data::outcome::{Failed, Held};
use crate::data::path::RelPath;
use crate::data::plan::RetryPlan;
use crate::host::target_state::Directory;
use crate::root::change_log::{Absence, LateEnd};

/// What one Mirror holds and owes.
#[expect(clippy::struct_excessive_bools, reason = "facts that don't depend on each other")]
#[derive(Debug)]
pub struct Debts {
    /// The newest Epoch that it fully holds, a Walk that is owed aside.
    pub cursor: Epoch,
    /// Since when it owes a Walk.
    pub walk_owed: Option<Moment>,
    /// It is to be compared whole, though it is not in doubt.
    pub check_owed: Option<Depth>,
    /// Its host would have begun with that, but for a push under way: the next push waits once.
    pub check_refused: bool,
    /// When its turn for a Walk comes.
    pub walk_after: Moment,
    /// What came to its end lately.
    pub lately: VecDeque<LateEnd>,
    /// Its host is not to be reached.
    pub absence: Option<Absence>,
    /// What it acknowledges is on its disk.
    pub is_durable: bool,
    /// Paths that failed.
    pub stuck: BTreeMap<RelPath, Stuck>,
    /// Large files that a push has left to one of their own, beside it.
    pub large: BTreeMap<RelPath, Large>,
    /// Paths that were written to before a Walk: its quick check may take them for equal, so they are pushed
    /// after it.
    pub rewritten: BTreeMap<RelPath, Kinds>,
    /// What is known of its directory.
    pub directory: Directory,
    /// Old names that may share their files with new ones on the mirror, since a push that links the new to
    /// the old, and then deletes the old, has not come to its end: with the new ones.
    pub linked: BTreeSet<Link>,
    /// Deletions that wait for a person: where, and how to try them again.
    pub held: BTreeMap<RelPath, Kinds>,
    /// How many entries these would delete, as far as rsync counted, and since when they wait.
    pub held_count: u64,
    /// See `held_count`.
    pub held_since: Option<Moment>,
    /// They were held because the Root was empty.
    pub held_from_empty_root: bool,
    /// Paths of pushes that broke off: once their receivers must be dead, they are pushed once more.
    pub echo: Option<Echo>,
    /// How long a receiver may live after its push broke off.
    pub receiver_life: Duration,
    /// Its host's actor was given work at least once.
    pub handed_out: bool,
    /// The mirror's directory was not what it was, when work was last tried.
    pub halted: bool,
    /// It lacked what it should have held for long.
    pub suspicious: bool,
    /// A person has let the held deletions go.
    pub approved: bool,
    /// The Push of fresh changes under way.
    pub fresh: Option<Running>,
    /// The Walk under way.
    pub walk: Option<Running>,
    /// How its stuck paths are tried again.
    pub retry: RetryPlan,
}

/// An old name, and the new one whose files it may share on the mirror.
pub type Link = (RelPath, RelPath);

/// What a Mirror that is not in doubt is compared by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Sizes and times.
    Times,
    /// Contents too.
    Contents,
}

/// A large file that is owed.
#[derive(Clone, Copy, Debug)]
pub struct Large {
    /// What is to be brought there.
    pub kinds: Kinds,
    /// When the oldest change came that the mirror lacked when it was set aside.
    pub since: Moment,
}

/// A path that failed; it is tried again on its own backoff.
#[derive(Debug)]
pub struct Stuck {
    /// What is to be brought there.
    pub kinds: Kinds,
    /// Why it failed last.
    pub reason: String,
    /// When it failed first.
    pub since: Moment,
    /// When it is due again.
    pub retry_at: Moment,
    /// Its growing pauses.
    pub backoff: Backoff,
}

/// What may still land on a mirror, out of a push that broke off.
#[derive(Debug, Default)]
pub struct Echo {
    /// When it can't any more.
    pub due: Moment,
    /// Everything is to be compared then, before the entries are pushed.
    pub whole: bool,
    /// What to push then, whatever size and time say.
    pub entries: BTreeMap<RelPath, Kinds>,
}

/// Work that was handed out.
#[derive(Clone, Debug)]
pub struct Running {
    /// What the end of this work must name.
    pub ticket: Ticket,
    /// The Cursor when it was handed out.
    pub from: Epoch,
    /// What the Cursor will be.
    pub to: Epoch,
    /// Stuck and held paths that this work tries again.
    pub tried: BTreeSet<RelPath>,
    /// Whether it is a Walk.
    pub is_walk: bool,
    /// A Walk ended meanwhile, and may have undone it.
    pub overtaken: bool,
    /// Whether it may delete whatever has to go.
    pub approved: bool,
    /// How it compares, if it is a Walk of a Mirror that is not in doubt.
    pub check: Option<Depth>,
    /// Renames that it makes use of, or puts right.
    pub links: BTreeSet<Link>,
    /// The large files that this is a push of, in the Walks' place; empty for anything else.
    pub large: BTreeMap<RelPath, Large>,
    /// When what broke off before is due that it goes over; another time by its end: more has broken off.
    pub echo_due: Option<Moment>,
}

impl Echo {
    fn add(&mut self, entries: &[Dirty]) {
        for (path, kinds) in entries {
            *self.entries.entry(path.clone()).or_default() |= *kinds;
        }
        if self.entries.len() > ECHO_PATHS_MAX {
            self.entries = BTreeMap::from([(RelPath::root(), Kinds::SUBTREE | Kinds::CONTENT)]);
        }
    }
}

impl Running {
    /// Whether these are large files.
    pub fn is_large(&self) -> bool {
        !self.large.is_empty()
    }
}

impl Debts {
    /// A Mirror nothing is known of, whose log begins at this Epoch.
    pub fn new(now: Moment, cursor: Epoch, retry: RetryPlan, receiver_life: Duration) -> Self {
        Self {
            cursor,
            walk_owed: Some(now),
            check_owed: None,
            check_refused: false,
            walk_after: now,
            lately: VecDeque::new(),
            absence: None,
            is_durable: false,
            stuck: BTreeMap::new(),
            large: BTreeMap::new(),
            rewritten: BTreeMap::new(),
            directory: Directory::Unknown,
            linked: BTreeSet::new(),
            held: BTreeMap::new(),
            held_count: 0,
            held_since: None,
            held_from_empty_root: false,
            echo: None,
            receiver_life,
            handed_out: false,
            halted: false,
            suspicious: false,
            approved: false,
            fresh: None,
            walk: None,
            retry,
        }
    }

    /// When something is due that waits for the clock: stuck paths, what broke off, the turn for a Walk.
    pub fn dues(&self) -> impl Iterator<Item = Moment> + '_ {
        let stuck = self.stuck.values().map(|stuck| stuck.retry_at);
        let echo = self.echo.as_ref().map(|echo| echo.due);
        let walk = self.walk_waits().then_some(self.walk_after);
        stuck.chain(echo).chain(walk)
    }

    /// A push of these entries broke off, or, if it is `whole`, a Walk.
    pub fn echo(&mut self, now: Moment, whole: bool, entries: &[Dirty]) {
        if !whole && entries.is_empty() && self.echo.is_none() {
            return;
        }
        let due = now + self.receiver_life;
        let echo = self.echo.get_or_insert_with(|| Echo { due, ..Echo::default() });
        echo.due = due;
        echo.whole |= whole;
        echo.add(entries);
        // For a Mirror that is to be walked these may be all that is left of what was under way.
        let rewritten: Vec<Dirty> =
            self.rewritten.iter().map(|(p, kinds)| (p.clone(), *kinds)).collect();
        echo.add(&rewritten);
        let parents = entries.iter().filter_map(|(path, _)| path.parent());
        let leftovers: Vec<Dirty> = parents.map(|parent| (parent, Kinds::LEFTOVER)).collect();
        echo.add(&leftovers);
    }

    /// These changed: what broke off before may land over them.
    pub fn echo_also(&mut self, entries: &[Dirty]) {
        if let Some(echo) = &mut self.echo {
            echo.add(entries);
        }
    }

    /// Old names, and new ones, that have to be parted on the mirror by a push of these entries: the old one is
    /// deleted, or written anew file by file if it is back, and the new one compared. What waits for a person
    /// waits.
    pub fn links_to_push(&self, is_dirty: impl Fn(&RelPath) -> bool) -> Vec<Link> {
        let is_free = |from: &RelPath| self.walk_owed.is_none() && !self.has_to_wait(from);
        let is_wanted = |(from, _): &&Link| is_free(from) || is_dirty(from);
        self.linked.iter().filter(is_wanted).cloned().collect()
    }

    /// Whether some have to be parted, and nobody is at it.
    pub fn links_wait(&self) -> bool {
        let running = self.fresh.as_ref().map(|running| &running.links);
        let is_running = |link: &Link| running.is_some_and(|links| links.contains(link));
        let waits = |link: &Link| !self.has_to_wait(&link.0) && !is_running(link);
        self.walk_owed.is_none() && self.linked.iter().any(waits)
    }

    /// What it owes at this path, whatever for, the log aside.
    pub fn owed_at(&self, path: &RelPath) -> Kinds {
        let stuck = self.stuck.get(path).map(|stuck| stuck.kinds);
        let others = [&self.rewritten, &self.held].map(|them| them.get(path).copied());
        others.into_iter().chain([stuck]).flatten().collect()
    }

    /// For a person, or for the next try of what failed there.
    fn has_to_wait(&self, path: &RelPath) -> bool {
        let waits = |path: &RelPath| {
            (self.held.contains_key(path) && !self.approved) || self.stuck.contains_key(path)
        };
        waits(path) || path.ancestors().any(|above| waits(&above))
    }

    /// Whether what the log knows of renames tells what the mirror holds: nothing else is owed there.
    pub fn is_plain(&self) -> bool {
        let is_new = |link: &Link| self.fresh.as_ref().is_some_and(|it| it.links.contains(link));
        self.walk_owed.is_none()
            && self.walk.is_none()
            && self.echo.is_none()
            && self.absence.is_none()
            && self.stuck.is_empty()
            && self.rewritten.is_empty()
            && self.large.is_empty()
            && self.held.is_empty()
            && self.linked.iter().all(is_new)
    }

    /// Whether something that broke off can't land any more, so that it is to be pushed once more.
    pub fn echo_is_due(&self, now: Moment) -> bool {
        self.echo.as_ref().is_some_and(|echo| echo.due <= now)
    }

    /// These are to be pushed after the next Walk, whatever it thinks of them.
    pub fn rewrite(&mut self, entries: impl IntoIterator<Item = Dirty>) {
        for (path, kinds) in entries {
            *self.rewritten.entry(path).or_default() |= kinds;
        }
        if self.rewritten.len() > ECHO_PATHS_MAX {
            let all = (RelPath::root(), Kinds::SUBTREE | Kinds::CONTENT);
            self.rewritten = BTreeMap::from([all]);
        }
    }

    /// Deletions were counted and not made.
    pub fn hold(&mut self, now: Moment, held: &Held) {
        if held.paths.is_empty() {
            return;
        }
        self.held_since.get_or_insert(now);
        // Counted once more, by a push that was repeated.
        let is_known = held.paths.iter().all(|(path, _)| self.held.contains_key(path));
        // Or counted as a whole, with what was counted one by one.
        let is_whole = held.paths.iter().all(|(path, _)| path.is_root());
        self.held_count = if is_known || is_whole {
            self.held_count.max(held.count)
        } else {
            self.held_count + held.count
        };
        self.held_from_empty_root |= held.from_empty_root;
        for (path, kinds) in &held.paths {
            *self.held.entry(path.clone()).or_default() |= *kinds;
        }
        if self.held.len() > HELD_PATHS_MAX {
            self.held = BTreeMap::from([(RelPath::root(), Kinds::SUBTREE)]);
        }
    }

    /// What was held is tried again: what is still too much will be held anew.
    fn release_held(&mut self, tried: impl Fn(&RelPath) -> bool) {
        self.held.retain(|path, _| !tried(path));
        if self.held.is_empty() {
            self.held_count = 0;
            self.held_since = None;
            self.held_from_empty_root = false;
        }
    }

    /// The whole Root was compared.
    pub fn release_all_held(&mut self) {
        self.release_held(|_| true);
    }

    /// The Epoch above which the log must be kept for it; none if a Walk covers everything anyway.
    pub fn holds(&self) -> Option<Epoch> {
        match (&self.walk, self.walk_owed) {
            (Some(walk), _) => Some(self.cursor.min(walk.to)),
            (None, Some(_)) => None,
            (None, None) => Some(self.cursor),
        }
    }

    /// Large files that it lacks, those under way among them.
    pub fn large_files(&self) -> impl Iterator<Item = (&RelPath, &Large)> {
        let running = self.walk.iter().flat_map(|running| &running.large);
        running.chain(self.large.iter().filter(|(path, _)| {
            !self.walk.as_ref().is_some_and(|running| running.large.contains_key(*path))
        }))
    }

    /// Large files are to be pushed once more.
    pub fn set_aside(&mut self, large: impl IntoIterator<Item = (RelPath, Large)>) {
        for (path, Large { kinds, since }) in large {
            let known = self.large.entry(path).or_insert(Large { kinds, since });
            known.kinds |= kinds;
            known.since = known.since.min(since);
        }
    }

    /// Whether the whole is under way: a Walk, rather than large files.
    pub fn is_walked(&self) -> bool {
        self.walk.as_ref().is_some_and(|running| !running.is_large())
    }

    /// A Walk is owed and not under way: it goes before fresh changes, and covers them.
    pub fn walk_waits(&self) -> bool {
        self.walk_owed.is_some() && !self.is_walked()
    }

    /// Where its Cursor stands or may come to stand.
    pub fn standpoints(&self) -> impl Iterator<Item = Epoch> + use<> {
        let running = [&self.fresh, &self.walk].map(|r| r.as_ref().map(|r| r.to));
        std::iter::once(self.cursor).chain(running.into_iter().flatten())
    }

    /// It is in doubt from now on, unless it was already.
    pub fn owe_walk(&mut self, now: Moment) {
        self.walk_owed.get_or_insert(now);
    }

    /// Fresh changes up to the end of the work are there, but for those that failed.
    pub fn arrive(&mut self, now: Moment, running: &Running, failed: &[Failed]) {
        self.cursor = self.cursor.max(running.to);
        // Its deletion may have failed inside it, or as part of what is above it.
        let has_failed = |from: &RelPath| failed.iter().any(|it| it.path.is_related(from));
        self.linked.retain(|link| !running.links.contains(link) || has_failed(&link.0));
        self.settle_stuck(now, running, failed);
    }

    /// Paths that were tried and did not fail are no longer stuck; those that failed are.
    pub fn settle_stuck(&mut self, now: Moment, running: &Running, failed: &[Failed]) {
        self.release_held(|path| running.tried.contains(path));
        self.approved &= !running.approved;
        // What only its content tells is judged by no Walk.
        if self.walk_owed.is_none() && !running.is_walk {
            self.rewritten.retain(|path, _| !running.tried.contains(path));
        }
        // What broke off meanwhile is due later.
        let is_same = |echo: &&mut Echo| Some(echo.due) == running.echo_due;
        if let Some(echo) = self.echo.as_mut().filter(is_same) {
            // Everything was compared; then come the entries, which no comparison can stand for.
            let compared = std::mem::take(&mut echo.whole);
            if (!compared && !running.is_walk) || echo.entries.is_empty() {
                self.echo = None;
            }
        }
        let still: BTreeSet<&RelPath> = failed.iter().map(|f| &f.path).collect();
        let is_over = |path: &RelPath, stuck: &Stuck| {
            let is_judged = !running.is_walk || !stuck.kinds.contains(Kinds::CONTENT);
            is_judged && running.tried.contains(path) && !still.contains(path)
        };
        self.stuck.retain(|path, stuck| !is_over(path, stuck));
        for Failed { path, kinds, reason } in failed {
            let retry = self.retry;
            let stuck = self.stuck.entry(path.clone()).or_insert_with(|| Stuck {
                kinds: *kinds,
                reason: String::new(),
                since: now,
                retry_at: now,
                backoff: Backoff::new(retry, seed_of(&path.to_string())),
            });
            stuck.kinds |= *kinds;
            stuck.reason.clone_from(reason);
            stuck.retry_at = now + stuck.backoff.next_pause();
        }
        if self.stuck.len() > STUCK_PATHS_MAX {
            let stuck = std::mem::take(&mut self.stuck).into_iter();
            let in_doubt = stuck.filter(|(_, stuck)| stuck.kinds.contains(Kinds::CONTENT));
            self.rewrite(in_doubt.map(|(path, stuck)| (path, stuck.kinds)));
            self.owe_walk(now);
        }
    }
}
