//! Making batches: what the log hands out is looked at on the disk.

use std::io;
use std::sync::Arc;

use actix::prelude::*;
use slog::{debug, error, warn};

use super::CollatorActor;
use super::guard::sight;
use super::renames;
use crate::actors::message;
use crate::actors::shell::Shell;
use crate::watch::presence::{Found, Looker};
use crate::watch::volumes::Unresponsive;
use crate::watch::{explore, scan, source};
use mirrorball_core::data::absent_volumes::AbsentVolumes;
use mirrorball_core::data::batch::Dirty;
use mirrorball_core::data::change::{AssignmentId, Lane};
use mirrorball_core::data::ids::MirrorId;
use mirrorball_core::data::limits::{PIECE_ENTRIES, WITNESS_BYTES_MAX, WITNESSES_MAX};
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::piece::{self, Part};
use mirrorball_core::data::source_dir::SourceDir;
use mirrorball_core::root::batch::{self, Looked, Made, Presence};
use mirrorball_core::root::ledger::{Assignment, Work};
use mirrorball_core::root::shared_batch::{Answer, Asker};
use mirrorball_core::source::identity::Judgement;

impl CollatorActor {
    /// Looks at the disk, away from this thread, and hands out the result.
    pub(super) fn make(
        &mut self,
        ctx: &mut Context<Self>,
        mirror: MirrorId,
        assignment: Assignment,
    ) {
        let (id, lane) = (assignment.id, assignment.lane);
        let Some(source) = self.source.clone() else {
            return self.give_back(ctx, &mirror, lane, id);
        };
        let mut making = None;
        if assignment.is_shared {
            let asker = (mirror.clone(), id);
            match self.shared.handle_ask((assignment.from, assignment.to), asker) {
                Answer::Made(made) => return self.hand_out(ctx, mirror, lane, id, &made, source),
                Answer::Wait => return,
                Answer::Make { making: number, forgotten } => {
                    making = Some(number);
                    self.turn_away(ctx, forgotten);
                }
            }
        }
        let (root, filter) = (self.root.clone(), self.filter.clone());
        let guard = self.guard.clone();
        let entries = self.core.entries();
        let assigned_without = self.core.absent().unresponsive;
        let made = self.volumes.clone().look(move |unresponsive| {
            let judgement = guard.judge(&sight(&root, &guard, unresponsive));
            let absent = match &judgement {
                Judgement::Same(absent) => absent.clone(),
                Judgement::Gone(_) => AbsentVolumes::default(),
            };
            let most = if assignment.is_suspicious { usize::MAX } else { WITNESSES_MAX };
            let top = source::top(&source, |path, is_dir| filter.excludes(path, is_dir), most);
            let mut made = match &assignment.work {
                Work::Compare(compare) => {
                    let mut compare = compare.clone();
                    if let Part::Subdirectories(_) = &compare.part
                        && absent.around(&compare.path).is_none()
                    {
                        let listed = explore::subdirectories(&source, &compare.path).ok();
                        let is_mirrored = |path: &RelPath| !filter.excludes(path, true);
                        compare.set_listed(listed.map(|all| all.into_iter().filter(is_mirrored)));
                    }
                    batch::make_compare(assignment.to, compare, &absent)
                }
                Work::Push(dirty) => {
                    let (found, bytes): (Vec<_>, Vec<_>) = look(&source, dirty, &absent).unzip();
                    let renames = renames::look(&source, &assignment.renames, &filter, &absent);
                    let looked = Looked {
                        entries: dirty,
                        found: &found,
                        bytes: if assignment.may_leave_large { &bytes } else { &[] },
                        lost: &assignment.lost,
                        found_extra: &assignment.found_extra,
                        absent: &absent,
                    };
                    let mut made = batch::make(assignment.to, looked, &filter, renames);
                    Arc::make_mut(&mut made.batch).witness = witness(&source, &top, dirty, &absent);
                    made
                }
            };
            let batch = Arc::make_mut(&mut made.batch);
            batch.full = !top.is_empty();
            batch.entries = entries;
            batch.entries_expected = if assignment.is_suspicious { top.len() as u64 } else { 0 };
            Ok((judgement, Arc::new(made), source.clone()))
        });
        ctx.spawn(made.into_actor(self).map(move |made, act, ctx| match made {
            Ok((judgement, made, source)) => {
                let waiting = making.map(|number| act.shared.handle_made(number, &made));
                let askers = std::iter::once((mirror, id)).chain(waiting.into_iter().flatten());
                let judged = (&*assigned_without, &judgement);
                act.handle_made(ctx, lane, askers.collect(), judged, &made, &source);
            }
            Err(error) => {
                error!(act.log, "Making a batch failed"; "why" => %error);
                act.give_back(ctx, &mirror, lane, id);
                act.forget_shared(ctx);
            }
        }));
    }

    /// Counts the source, away from this thread, and cuts it into pieces, with these volumes apart.
    pub(super) fn measure(&mut self, ctx: &mut Context<Self>, apart: Vec<RelPath>) {
        let (source, filter, volumes) =
            (self.source.clone(), self.filter.clone(), self.volumes.clone());
        let pieces = async move {
            let source = source.ok_or_else(|| io::Error::other("the source is not open"))?;
            let count = move |unresponsive: &Unresponsive| {
                let excludes = |path: &RelPath, is_directory| {
                    filter.excludes(path, is_directory) || unresponsive.covers(path)
                };
                scan::counts(&source, &RelPath::root(), excludes)
            };
            Ok::<_, io::Error>(piece::cut(volumes.look(count).await?, PIECE_ENTRIES, &apart))
        };
        ctx.spawn(pieces.into_actor(self).map(|pieces, act, ctx| {
            let pieces = pieces.unwrap_or_else(|error| {
                warn!(act.log, "The source could not be counted; it is compared in one run"; "why" => %error);
                Vec::new()
            });
            debug!(act.log, "The source is compared in pieces"; "pieces" => pieces.len());
            act.turn(ctx, |core, now| core.handle_measured(now, pieces));
        }));
    }

    fn handle_made(
        &mut self,
        ctx: &mut Context<Self>,
        lane: Lane,
        askers: Vec<Asker>,
        (assigned_without, judgement): (&[RelPath], &Judgement),
        made: &Made,
        source: &SourceDir,
    ) {
        let is_current = self.is_current(judgement);
        if is_current {
            self.judge(ctx, judgement.clone());
        }
        let is_held = match judgement {
            // Around a volume that does not answer, comparisons are cut into pieces first.
            Judgement::Same(absent) => is_current && absent.unresponsive == *assigned_without,
            Judgement::Gone(_) => false,
        };
        let is_held = is_held && !source.is_given_up();
        if !is_held {
            // The next one that asks for the same gets a new look.
            self.forget_shared(ctx);
        }
        for (mirror, id) in askers {
            if is_held {
                self.hand_out(ctx, mirror, lane, id, made, source.clone());
            } else {
                self.give_back(ctx, &mirror, lane, id);
            }
        }
    }

    /// There is nothing for this Mirror now; what it came for is still owed.
    fn give_back(
        &mut self,
        ctx: &mut Context<Self>,
        mirror: &MirrorId,
        lane: Lane,
        id: AssignmentId,
    ) {
        self.answer(mirror.clone(), lane, None);
        self.turn(ctx, |core, now| core.handle_not_made(now, mirror, id));
    }

    /// Hands out what was looked at in this source.
    fn hand_out(
        &mut self,
        ctx: &mut Context<Self>,
        mirror: MirrorId,
        lane: Lane,
        assignment: AssignmentId,
        made: &Made,
        source: SourceDir,
    ) {
        let mut batch = None;
        self.turn(ctx, |core, now| batch = core.handle_made(now, &mirror, assignment, made));
        // None: all of it is covered by something else, or owed for later.
        let work = batch.map(|batch| {
            debug!(self.log, "Handing out"; "mirror" => %mirror, "paths" => batch.len(),
                "compares" => batch.compares.is_some());
            let target = self.core.target(&mirror);
            let trusts_renames = self.core.trusts_renames(&mirror, assignment, &batch);
            message::Work { assignment, batch, target, trusts_renames, source }
        });
        self.answer(mirror, lane, work);
    }

    pub(super) fn forget_shared(&mut self, ctx: &mut Context<Self>) {
        let waiting = self.shared.forget();
        self.turn_away(ctx, waiting);
    }

    /// Gives back what all of these came for.
    pub(super) fn turn_away(&mut self, ctx: &mut Context<Self>, askers: Vec<Asker>) {
        for (mirror, id) in askers {
            self.give_back(ctx, &mirror, Lane::Fresh, id);
        }
    }
}

/// A directory, or else a small file, of which nobody has told anything.
fn witness(
    source: &SourceDir,
    top: &[(RelPath, bool)],
    dirty: &[Dirty],
    absent: &AbsentVolumes,
) -> Option<RelPath> {
    let is_quiet = |path: &RelPath| {
        let is_dirty = dirty.binary_search_by(|(p, _)| p.cmp(path)).is_ok();
        !is_dirty && absent.around(path).is_none()
    };
    let mut looker = Looker::new(source);
    let mut is_small = |path: &RelPath| {
        looker.inspect(path).is_some_and(|it| it.is_regular && it.size <= WITNESS_BYTES_MAX)
    };
    let directory = top.iter().find(|(path, is_directory)| *is_directory && is_quiet(path));
    let any = directory.or_else(|| top.iter().find(|(p, _)| is_quiet(p) && is_small(p)));
    any.map(|(path, _)| path.clone())
}

/// The entry at each path, and its bytes. Paths in an absent volume are left out of the batch whatever is said here.
fn look(
    source: &SourceDir,
    entries: &[Dirty],
    absent: &AbsentVolumes,
) -> impl Iterator<Item = (Presence, u64)> {
    let mut looker = Looker::new(source);
    entries.iter().map(move |(path, _)| {
        if absent.around(path).is_some() {
            return (Presence::Present { is_directory: false }, 0);
        }
        match looker.look(path) {
            Found::Present { is_directory, size } => (Presence::Present { is_directory }, size),
            Found::Missing(topmost) => (Presence::Missing { topmost }, 0),
            Found::Below(blocker) => (Presence::Below { blocker }, 0),
        }
    })
}
