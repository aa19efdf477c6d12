//! What a push must have done, may have done, and must never do: read off the trees alone.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::discriminant;

use mirrorball_core::data::need::Need;
use mirrorball_core::data::outcome::{Outcome, Unproved};
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::step::{Step, StepKind};
use mirrorball_core::root::batch::Presence;

use super::case::{Case, is_inside, visible};
use super::drive::{Pushed, Ran};
use crate::model::fs::{Body, Errno, Fs, Inode};
use crate::model::options::is_temporary;

type Verdict = Result<(), String>;

/// A property that one path must have at the end.
#[derive(Clone, Debug)]
struct Required {
    path: RelPath,
    need: Need,
}

/// Judges a push.
pub fn judge(case: &Case, pushed: &Pushed) -> Verdict {
    let oracle = Oracle { case, pushed, owed: owed(case, pushed) };
    for (index, (ran, after)) in pushed.steps().enumerate() {
        oracle.judge_step(index, ran, after)?;
    }
    oracle.judge_budget()?;
    oracle.judge_blocked()?;
    if !matches!(pushed.end.outcome, Outcome::Done | Outcome::Partly(_)) {
        // Nothing is claimed: all of it is still owed.
        return Ok(());
    }
    oracle.judge_end()?;
    oracle.judge_order()
}

/// What is still to be done after a push whose end says so path by path.
fn owed(case: &Case, pushed: &Pushed) -> Vec<Required> {
    let end = &pushed.end;
    let required = |path: &RelPath, need| Required { path: path.clone(), need };
    let left_out = pushed.made.left_out.iter().map(|it| required(&it.path, it.need));
    let unproved = end.outcome.unproved().iter().map(|it| required(&it.path, it.need));
    let extras = end.extras.iter().map(|it| required(&it.path, Need::GONE | Need::WITHIN));
    let obstacles = end.obstacles.iter().map(|it| required(&it.path, Need::TREE | Need::ANEW));
    let more = case.dirty.iter().filter(|_| end.extras_cut);
    let more = more.map(|(path, _)| required(path, Need::TREE));
    left_out.chain(unproved).chain(extras).chain(obstacles).chain(more).collect()
}

struct Oracle<'a> {
    case: &'a Case,
    pushed: &'a Pushed,
    owed: Vec<Required>,
}

/// What a file of the mirror lacks; nothing if that is nothing.
fn lacking(wanted: &Inode, there: Option<&Inode>) -> Need {
    let Some(there) = there else { return Need::EQUAL };
    let (is_equal, has_contents) = match (&wanted.body, &there.body) {
        (Body::File { content, size }, Body::File { content: old, size: old_size }) => {
            (size == old_size, content == old)
        }
        (body, old) => (body == old, true),
    };
    let is_link = matches!(wanted.body, Body::Link { .. });
    let has_attributes = wanted.mtime == there.mtime && (is_link || wanted.mode == there.mode);
    match () {
        () if !is_equal => Need::EQUAL,
        () if !has_contents => Need::CONTENTS,
        () if !has_attributes => Need::ATTRIBUTES,
        () => Need::empty(),
    }
}

fn is_list(step: &Step) -> bool {
    matches!(step.kind, StepKind::Missing | StepKind::MissingByFilter)
}

impl Oracle<'_> {
    /// All that the assignment requires, path by path: what the source has, and what it does not have.
    fn required(&self, mirror: &Fs) -> Vec<Required> {
        let mut all = Vec::new();
        for (path, need) in &self.case.dirty {
            let mut paths = BTreeSet::from([path.clone()]);
            if need.is_within() || !matches!(self.case.presence(path), Presence::Present { .. }) {
                paths.extend(self.case.source.below(path));
                paths.extend(mirror.below(path));
            }
            all.extend(paths.into_iter().map(|path| Required { path, need: *need }));
        }
        all
    }

    /// Whether the assignment names it itself.
    fn is_named(&self, path: &RelPath) -> bool {
        self.case.dirty.binary_search_by(|(known, _)| known.cmp(path)).is_ok()
    }

    /// Whether an obligation stands for this lack.
    fn owes(&self, path: &RelPath, lack: Need) -> bool {
        // What is compared or sent at all is made equal, so a requirement of attributes is as good; and what is sent
        // is sent into a new file.
        let is_enough = |need: Need| match lack {
            Need::EQUAL => need.contains(Need::ATTRIBUTES),
            Need::ANEW => need.contains(Need::CONTENTS),
            lack => need.contains(lack),
        };
        let covers = |it: &Required| {
            (it.path == *path || (it.need.is_within() && path.is_below(&it.path)))
                && is_enough(it.need)
        };
        // The topmost missing name is found from any name below it.
        let is_found_from = |it: &Required| {
            lack == Need::GONE && it.path.is_below(path) && it.need.contains(Need::GONE)
        };
        // A directory gets its attributes from any run into it.
        let is_dated_by = |it: &Required| lack == Need::ATTRIBUTES && it.path.is_below(path);
        self.owed.iter().any(|it| covers(it) || is_found_from(it) || is_dated_by(it))
    }

    /// Whether a deletion there is asked for at all.
    fn wants_gone(&self, path: &RelPath) -> bool {
        let Case { delete, found_extra, compares, .. } = self.case;
        // Only a run that may delete names extras.
        let is_extra = found_extra.keys().any(|extra| extra.is_related(path));
        match compares {
            Some(_) => delete.on_walk(),
            None if is_extra => delete.on_walk() || delete.on_push(),
            None => delete.on_push(),
        }
    }

    /// Whether a directory of the mirror stays for what is in it.
    fn is_kept(&self, mirror: &Fs, directory: &RelPath) -> bool {
        mirror.below(directory).iter().any(|path| {
            self.case.is_held(path) || visible(mirror, path, self.case.filter).is_none()
        })
    }

    /// What a path of the mirror lacks, as far as rsync says when it can't give it.
    fn lacking(&self, path: &RelPath, wanted: &Inode, mirror: &Fs) -> Need {
        let compare = self.case.compares.as_ref();
        // Where nothing is in doubt, and contents can't be compared, sizes and times are.
        let is_by_times = compare.is_some_and(|it| !it.is_doubt) && !self.case.terms.can_check;
        match lacking(wanted, mirror.lookup(path)) {
            // It has set the times of a directory before, and says nothing if it can't set them again.
            Need::ATTRIBUTES if mirror.poisoned.contains(path) => Need::empty(),
            Need::CONTENTS if is_by_times => Need::empty(),
            lacking => lacking,
        }
    }

    /// What is lacking at a path for which this was required, on this mirror.
    fn lacks(&self, it: &Required, mirror: &Fs) -> Need {
        let Required { path, need } = it;
        if let Some(wanted) = self.case.wanted(path) {
            let lacking = self.lacking(path, wanted, mirror);
            let is_required = match lacking {
                Need::EQUAL => need.contains(Need::EQUAL),
                lacking => need.contains(lacking),
            };
            return if is_required { lacking } else { Need::empty() };
        }
        let Some(there) = visible(mirror, path, self.case.filter) else { return Need::empty() };
        let is_named = self.is_named(path) && *need != Need::LEFTOVERS;
        let is_required = self.wants_gone(path) && (is_named || need.contains(Need::GONE));
        let is_kept = there.is_directory() && self.is_kept(mirror, path);
        if is_required && !is_kept { Need::GONE } else { Need::empty() }
    }

    /// All that is required is there, or owed.
    fn judge_end(&self) -> Verdict {
        let mirror = &self.pushed.mirror;
        for it in self.required(mirror) {
            let Required { path, need } = &it;
            let is_named = self.is_named(path);
            if self.case.is_held(path) {
                if self.case.filter.excludes(path, true) || !(is_named || need.is_within()) {
                    continue;
                }
                let is_here = matches!(self.case.presence(path), Presence::Present { .. });
                let level = if is_here { need.level() } else { Need::empty() };
                for part in [level, *need & Need::GONE] {
                    if !part.is_empty() && !self.owes(path, part) {
                        return Err(format!("{path} is held, and its {part:?} is not owed"));
                    }
                }
                continue;
            }
            let lack = self.lacks(&it, mirror);
            if !lack.is_empty() && !self.owes(path, lack) {
                return Err(format!("{path} lacks {lack:?} of {need:?}, which is not owed"));
            }
            if need.contains(Need::ANEW) && !self.owes(path, Need::ANEW) {
                self.judge_anew(path)?;
            }
            if is_named && need.contains(Need::LEFTOVERS) && !self.owes(path, Need::LEFTOVERS) {
                self.judge_leftovers(path)?;
            }
        }
        self.judge_links()?;
        self.judge_around()
    }

    /// No two names share a file, as they do while a rename is made by links.
    fn judge_links(&self) -> Verdict {
        let mirror = &self.pushed.mirror;
        let mut names: BTreeMap<u64, &RelPath> = BTreeMap::new();
        for (path, _) in mirror.names() {
            let Some(number) = mirror.inode_number(path) else { continue };
            let Some(other) = names.insert(number, path) else { continue };
            let is_owed = |it: &Required| it.path.is_related(path) || it.path.is_related(other);
            if !self.owed.iter().any(is_owed) {
                return Err(format!("{other} and {path} are one file"));
            }
        }
        Ok(())
    }

    fn judge_anew(&self, path: &RelPath) -> Verdict {
        let is_file =
            |fs: &Fs| matches!(fs.lookup(path).map(|it| &it.body), Some(Body::File { .. }));
        let (before, after) = (&self.case.mirror, &self.pushed.mirror);
        let is_same = before.inode_number(path) == after.inode_number(path);
        if self.case.wanted(path).is_some() && is_file(before) && is_file(after) && is_same {
            return Err(format!("{path} was to be sent into a new file"));
        }
        Ok(())
    }

    fn judge_leftovers(&self, directory: &RelPath) -> Verdict {
        if self.case.wanted(directory).is_none_or(|it| !it.is_directory()) {
            return Ok(());
        }
        let mirror = &self.pushed.mirror;
        let left = mirror.below(directory).into_iter().find(|path| {
            let is_in = path.parent().as_ref() == Some(directory) && is_temporary(path.name());
            is_in && visible(mirror, path, self.case.filter).is_some() && !mirror.is_directory(path)
        });
        left.map_or(Ok(()), |path| Err(format!("{path} is left over")))
    }

    /// The directory around what was brought or deleted has its own attributes, where nothing around is owed.
    fn judge_around(&self) -> Verdict {
        for (path, need) in &self.case.dirty {
            let Some(parent) = path.parent() else { continue };
            let is_run = self.case.wanted(path).is_some() || self.wants_gone(path);
            let is_out = self.case.is_held(path)
                || *need == Need::LEFTOVERS
                || self.case.compares.is_some()
                || self.owed.iter().any(|it| it.path.is_related(&parent));
            let Some(wanted) = self.case.wanted(&parent) else { continue };
            if !is_run || is_out || !wanted.is_directory() {
                continue;
            }
            if !self.lacking(&parent, wanted, &self.pushed.mirror).is_empty() {
                return Err(format!("{parent}, around {path}, has not its attributes"));
            }
        }
        Ok(())
    }

    /// Whether something is wrong with this path, or with one around it.
    fn is_to_blame(&self, path: &RelPath) -> bool {
        let Case { source, mirror, foreign_directory, .. } = self.case;
        let is_unreadable = |path: &RelPath| {
            let is_read = match source.is_directory(path) {
                true => source.read_directory(path).map(drop),
                false => source.read(path).map(drop),
            };
            is_read == Err(Errno::Access)
        };
        let unreadable = source.names().map(|(path, _)| path).filter(|path| is_unreadable(path));
        let mut all = unreadable.chain(&mirror.poisoned).chain(foreign_directory);
        // It may be the file that the receiver writes first.
        let names = |path: &RelPath| [Some(path.clone()), path.without_temporary_name()];
        let own: Vec<RelPath> = names(path).into_iter().flatten().collect();
        all.any(|it| names(it).iter().flatten().any(|it| own.iter().any(|own| own.is_related(it))))
    }

    /// A failure keeps no other path from being proved.
    fn judge_blocked(&self) -> Verdict {
        let Case { fault, renames, .. } = self.case;
        if fault.is_some() {
            return Ok(());
        }
        match &self.pushed.end.outcome {
            Outcome::Done => Ok(()),
            Outcome::Partly(unproved) => {
                // Some deletions wait for another reason, and leftovers are not looked for in what is no directory there.
                let is_failed =
                    |it: &&Unproved| it.reason.contains("failed") && it.need != Need::LEFTOVERS;
                let mut failed = unproved.iter().filter(is_failed);
                match failed.find(|it| !self.is_to_blame(&it.path)) {
                    Some(it) => Err(format!("{} is owed: {}", it.path, it.reason)),
                    None => Ok(()),
                }
            }
            // An entry whose directory is missing is sent next time.
            Outcome::Unattributed(_) if !renames.is_empty() => Ok(()),
            Outcome::Unattributed(why) => Err(format!("nothing is claimed: {why}")),
            Outcome::Halt(_)
            | Outcome::Full(_)
            | Outcome::Incapable(..)
            | Outcome::Again { .. }
            | Outcome::Withdrawn { .. } => Ok(()),
        }
    }

    // What may be deleted, and when.

    fn judge_step(&self, index: usize, ran: &Ran, after: &Fs) -> Verdict {
        let deleted: Vec<&RelPath> = ran
            .before
            .names()
            .map(|(path, _)| path)
            .filter(|path| after.lookup(path).is_none())
            .collect();
        let earlier = &self.pushed.steps[..index];
        let is_unsure = earlier.iter().any(|it| matches!(it.outcome, Outcome::Unattributed(_)));
        for path in deleted {
            let refuse = |why: &str| Err(format!("step {index} deletes {path}, {why}"));
            if self.case.is_held(path) {
                return refuse("on a volume that is not mounted");
            }
            let is_out = visible(&ran.before, path, self.case.filter).is_none();
            // A directory that they keep out may be in the way of a file that they don't.
            if is_out && !self.is_misnamed(path) && self.case.wanted(path).is_none() {
                return refuse("which the rules keep out");
            }
            if ran.step.kind == StepKind::Leftovers {
                if !is_temporary(path.name()) {
                    return refuse("which is no temporary file");
                }
                continue;
            }
            if is_unsure {
                return refuse("although something may not have been created");
            }
            // What is in the way of something that can't be brought after all leaves nothing behind.
            let was_in_the_way = |wanted: &Inode| {
                let was = ran.before.lookup(path).map(|it| discriminant(&it.body));
                was != Some(discriminant(&wanted.body)) && ran.outcome != Outcome::Done
            };
            let is_lost = |wanted| !ran.is_broken && !was_in_the_way(wanted);
            if self.case.wanted(path).is_some_and(is_lost) {
                return refuse("which the source has");
            }
            match ran.step.kind {
                StepKind::Missing | StepKind::MissingByFilter => {
                    if !self.topmost_missing().iter().any(|top| is_inside(path, top)) {
                        return refuse("which nobody named");
                    }
                    self.judge_renamed(index, path)?;
                }
                StepKind::Replace => {
                    let is_in_the_way = |top: &RelPath| {
                        is_inside(path, top)
                            && self.case.wanted(top).is_some_and(|it| !it.is_directory())
                    };
                    if !ran.step.paths.iter().any(is_in_the_way) {
                        return refuse("which is in nobody's way");
                    }
                }
                // What makes way for something is there in another form, but for a run that could not bring it.
                _ if ran.is_broken || self.case.wanted(path).is_some() => (),
                kind => return refuse(&format!("and {kind:?} must not")),
            }
        }
        if let StepKind::Replace = ran.step.kind {
            self.judge_replaced(index, ran, after)?;
        }
        Ok(())
    }

    /// Whether it goes with a name that the source lost. rsync asks the rules about such a name as if it were a file's,
    /// so that a rule for directories alone protects nothing there.
    fn is_misnamed(&self, path: &RelPath) -> bool {
        let is_open =
            |top: &RelPath| is_inside(path, top) && !self.case.filter.excludes(top, false);
        self.topmost_missing().iter().any(is_open)
    }

    /// Names whose deletion the assignment and the mirror's mode ask for.
    fn topmost_missing(&self) -> BTreeSet<RelPath> {
        let mut all = BTreeSet::new();
        for (path, _) in &self.case.dirty {
            if self.case.is_held(path) {
                continue;
            }
            if let Presence::Missing { topmost } = self.case.presence(path)
                && self.wants_gone(&topmost)
            {
                all.insert(topmost);
            }
        }
        let nested = |path: &RelPath| path.ancestors().any(|above| all.contains(&above));
        all.iter().filter(|path| !nested(path)).cloned().collect()
    }

    fn counted(&self, top: &RelPath) -> (u64, u64) {
        let sum = |counts: &BTreeMap<RelPath, u64>| {
            let inside = counts.iter().filter(|(path, _)| is_inside(path, top));
            inside.map(|(_, count)| count).sum::<u64>()
        };
        (sum(&self.case.lost), sum(&self.case.found_extra))
    }

    /// No more goes than the source lost, a comparison found, and renames have taken along.
    fn judge_budget(&self) -> Verdict {
        let mut deleted = 0;
        for (ran, after) in self.pushed.steps().filter(|(ran, _)| is_list(&ran.step)) {
            deleted += ran.before.names().filter(|(path, _)| after.lookup(path).is_none()).count();
        }
        let entries = |top: &RelPath| {
            let (lost, found) = self.counted(top);
            // Of a name of which nothing is known, one entry goes.
            if lost + found == 0 { 1 } else { lost + found }
        };
        let lost: u64 = self.topmost_missing().iter().map(entries).sum();
        let taken = |to: &RelPath| self.case.source.below(to).len() as u64 + 1;
        let renamed = self.pushed.steps.iter().filter_map(|ran| ran.step.renamed.as_ref());
        let renamed = renamed.flat_map(|it| it.rename.targets()).map(|to| taken(&to));
        let most = lost + renamed.sum::<u64>();
        if deleted as u64 > most {
            return Err(format!("{deleted} entries were deleted, and not {most} at most"));
        }
        Ok(())
    }

    fn judge_replaced(&self, index: usize, ran: &Ran, after: &Fs) -> Verdict {
        let gone = |top: &RelPath| {
            let inside = ran.before.below(top);
            inside.iter().filter(|path| after.lookup(path).is_none()).count() as u64
        };
        for top in &ran.step.paths {
            let (lost, found) = self.counted(top);
            if gone(top) > lost + found {
                let entries = gone(top);
                return Err(format!("step {index} deletes {entries} entries in the way of {top}"));
            }
        }
        Ok(())
    }

    /// The old name of a file goes after the new one has come.
    fn judge_renamed(&self, index: usize, path: &RelPath) -> Verdict {
        let before = &self.pushed.steps[index].before;
        if self.case.terms.delete_first {
            return Ok(());
        }
        for rename in self.case.renames.iter() {
            let Some(to) = path.rebased(&rename.from, &rename.to) else { continue };
            let is_brought = rename
                .files
                .iter()
                .any(|file| file.rebased(&RelPath::root(), &rename.to).as_ref() == Some(&to));
            let is_file =
                |fs: &Fs| matches!(fs.lookup(&to).map(|it| &it.body), Some(Body::File { .. }));
            // Deletions do not wait for what failed at a known path.
            let has_failed = self.pushed.steps[..index]
                .iter()
                .any(|it| it.outcome.unproved().iter().any(|it| it.path.is_related(&to)));
            // An entry with a directory in its way comes with the other deletions.
            let is_late = !is_file(before) && !before.is_directory(&to);
            let is_excused = has_failed || self.owes(&to, Need::EQUAL);
            if is_brought && is_file(&self.case.source) && is_late && !is_excused {
                return Err(format!("step {index} deletes {path} before {to} is there"));
            }
        }
        Ok(())
    }

    /// All that is claimed was there before the first name was deleted.
    fn judge_order(&self) -> Verdict {
        if self.case.terms.delete_first {
            return Ok(());
        }
        let deletes = |(ran, after): &(&Ran, &Fs)| {
            is_list(&ran.step) && ran.before.names().any(|(path, _)| after.lookup(path).is_none())
        };
        let Some((ran, _)) = self.pushed.steps().find(deletes) else { return Ok(()) };
        for it in self.required(&ran.before) {
            let path = &it.path;
            if self.case.is_held(path) || self.case.wanted(path).is_none() {
                continue;
            }
            let mut names = path.ancestors().chain([path.clone()]);
            // It is replaced with the other deletions.
            let is_obstructed = names.any(|name| {
                ran.before.is_directory(&name)
                    && self.case.source.lookup(&name).is_some_and(|it| !it.is_directory())
            });
            let lack = self.lacks(&it, &ran.before);
            let is_late = lack.contains(Need::EQUAL);
            if is_late && !is_obstructed && !self.owes(path, lack) {
                return Err(format!("names are deleted while {path} lacks {lack:?}"));
            }
        }
        Ok(())
    }
}
