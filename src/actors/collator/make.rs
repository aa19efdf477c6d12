//! Making batches: what the log hands out is looked at on the disk.

use std::sync::Arc;

use actix::prelude::*;
use slog::{debug, error};

use super::CollatorActor;
use super::guard::sight;
use super::renames;
use crate::actors::message::Work;
use crate::actors::shell::Shell;
use crate::watch::presence::{Found, Looker};
use crate::watch::source;
use mirrorball_core::data::batch::{Batch, Dirty};
use mirrorball_core::data::change::{Lane, Ticket};
use mirrorball_core::data::ids::MirrorId;
use mirrorball_core::data::limits::{MAX_DELETE_MIN, WITNESS_BYTES_MAX, WITNESSES_MAX};
use mirrorball_core::data::outcome::{Budget, Outcome, PushEnd};
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::source_dir::SourceDir;
use mirrorball_core::root::batch::{self, Presence};
use mirrorball_core::root::change_log::Taken;
use mirrorball_core::root::shared_batch::{Answer, Asker};
use mirrorball_core::source::identity::Judgement;

impl CollatorActor {
    /// Looks at the disk, away from this thread, and hands out the result.
    pub(super) fn make(
        &mut self,
        ctx: &mut Context<Self>,
        mirror: MirrorId,
        lane: Lane,
        taken: Taken,
    ) {
        let Some(source) = self.source.clone() else {
            self.answer(mirror.clone(), lane, None);
            self.turn(ctx, |core, now| core.handle_not_made(now, &mirror, taken.ticket));
            return;
        };
        let mut making = None;
        if !taken.own && taken.may_set_aside {
            let asker = (mirror.clone(), taken.ticket);
            match self.shared.handle_ask((taken.from, taken.to), asker) {
                Answer::Batch(made) => {
                    return self.hand_out(ctx, mirror, lane, taken.ticket, made);
                }
                Answer::Wait => return,
                Answer::Make { making: number, forgotten } => {
                    making = Some(number);
                    self.turn_away(ctx, forgotten);
                }
            }
        }
        let (root, filter) = (self.root.clone(), self.filter.clone());
        let guard = self.guard.clone();
        let entries = self.entries_now.unwrap_or_default();
        let ticket = taken.ticket;
        let task = tokio::task::spawn_blocking(move || {
            let judgement = guard.judge(&sight(&root, &guard));
            let held = match &judgement {
                Judgement::Same(held) => held.as_slice(),
                Judgement::Gone(_) => &[],
            };
            let most = if taken.suspicious { usize::MAX } else { WITNESSES_MAX };
            let top = source::top(&source, |path, is_dir| filter.excludes(path, is_dir), most);
            let batch = if taken.walk {
                batch::make_walk(taken.to, taken.check, held)
            } else {
                let (found, bytes): (Vec<_>, Vec<_>) = look(&source, &taken.entries).unzip();
                let renames = renames::look(&source, &taken.renames, &filter, held);
                let aside = if taken.may_set_aside { bytes } else { Vec::new() };
                batch::make(taken.to, &taken.entries, &found, &aside, &filter, held, renames)
            };
            let batch = Batch {
                full: !top.is_empty(),
                entries,
                witness: (!taken.walk).then(|| witness(&source, &top, &taken.entries)).flatten(),
                entries_expected: if taken.suspicious { top.len() as u64 } else { 0 },
                ..batch
            };
            (judgement, Arc::new(batch))
        });
        ctx.spawn(task.into_actor(self).map(move |made, act, ctx| match made {
            Ok((judgement, batch)) => {
                let waiting = making.map(|number| act.shared.handle_made(number, &batch));
                let askers = std::iter::once((mirror, ticket)).chain(waiting.into_iter().flatten());
                act.handle_made(ctx, lane, askers.collect(), &judgement, &batch);
            }
            Err(error) => {
                error!(act.log, "Making a batch failed"; "why" => %error);
                act.answer(mirror.clone(), lane, None);
                act.turn(ctx, |core, now| core.handle_not_made(now, &mirror, ticket));
                act.forget_shared(ctx);
            }
        }));
    }

    pub(super) fn handle_made(
        &mut self,
        ctx: &mut Context<Self>,
        lane: Lane,
        askers: Vec<Asker>,
        judgement: &Judgement,
        batch: &Arc<Batch>,
    ) {
        self.judge(ctx, judgement.clone());
        if batch.full {
            let entries = self.entries_now.unwrap_or(u64::MAX);
            self.turn(ctx, |core, now| core.handle_full(now, entries));
        }
        for (mirror, ticket) in askers {
            match judgement {
                Judgement::Same(_) => self.hand_out(ctx, mirror, lane, ticket, batch.clone()),
                Judgement::Gone(_) => {
                    self.answer(mirror.clone(), lane, None);
                    self.turn(ctx, |core, now| core.handle_not_made(now, &mirror, ticket));
                }
            }
        }
    }

    pub(super) fn hand_out(
        &mut self,
        ctx: &mut Context<Self>,
        mirror: MirrorId,
        lane: Lane,
        ticket: Ticket,
        batch: Arc<Batch>,
    ) {
        if !batch.large.is_empty() {
            self.turn(ctx, |core, now| core.handle_set_aside(now, &mirror, ticket, &batch.large));
        }
        if batch.is_empty() {
            // Everything in it is covered by something else, or held.
            self.answer(mirror.clone(), lane, None);
            let done = PushEnd { holds_anything: batch.full, ..PushEnd::new(Outcome::Done) };
            self.turn(ctx, |core, now| core.handle_applied(now, &mirror, ticket, &done));
            return;
        }
        debug!(self.log, "Handing out"; "large" => batch.large.len(), "mirror" => %mirror, "paths" => batch.len(),
            "walk" => batch.walk);
        let budget = self.budget(&mirror, lane, &batch);
        let trusts_renames = self.core.trusts_hints(&mirror);
        let work = self.source.clone();
        let work = work.map(|source| Work { ticket, batch, budget, trusts_renames, source });
        self.answer(mirror, lane, work);
    }

    /// How much a push may delete. An empty Root has no say in that: its disk may not be mounted.
    pub(super) fn budget(&self, mirror: &MirrorId, lane: Lane, batch: &Batch) -> Budget {
        if let Some(budget) = self.core.budget(mirror, lane) {
            return budget;
        }
        let is_whole = batch.walk || batch.subtrees.iter().any(|entry| entry.path.is_root());
        if is_whole && !batch.full {
            return Budget::AtMost(0);
        }
        let half = |entries: u64| (entries / 2).max(MAX_DELETE_MIN);
        let known = self.entries.map_or(u64::MAX, half);
        Budget::AtMost(self.root.max_delete.unwrap_or(known))
    }

    pub(super) fn forget_shared(&mut self, ctx: &mut Context<Self>) {
        let waiting = self.shared.forget();
        self.turn_away(ctx, waiting);
    }

    /// There is nothing for them now; what they came for is still owed.
    pub(super) fn turn_away(&mut self, ctx: &mut Context<Self>, askers: Vec<Asker>) {
        for (mirror, ticket) in askers {
            self.answer(mirror.clone(), Lane::Fresh, None);
            self.turn(ctx, |core, now| core.handle_not_made(now, &mirror, ticket));
        }
    }
}

/// A directory, or else a small file, of which nobody has told anything.
fn witness(source: &SourceDir, top: &[(RelPath, bool)], dirty: &[Dirty]) -> Option<RelPath> {
    let is_quiet = |path: &RelPath| dirty.binary_search_by(|(p, _)| p.cmp(path)).is_err();
    let mut looker = Looker::new(source);
    let mut is_small = |path: &RelPath| {
        looker.inspect(path).is_some_and(|it| it.is_regular && it.size <= WITNESS_BYTES_MAX)
    };
    let directory = top.iter().find(|(path, is_directory)| *is_directory && is_quiet(path));
    let any = directory.or_else(|| top.iter().find(|(p, _)| is_quiet(p) && is_small(p)));
    any.map(|(path, _)| path.clone())
}

/// What is at each path, and how many bytes.
fn look(source: &SourceDir, entries: &[Dirty]) -> impl Iterator<Item = (Presence, u64)> {
    let mut looker = Looker::new(source);
    entries.iter().map(move |(path, _)| match looker.look(path) {
        Found::Present { is_directory, size } => (Presence::Present { is_directory }, size),
        Found::Missing(topmost) => (Presence::Missing { topmost }, 0),
        Found::Below(blocker) => (Presence::Below { blocker }, 0),
    })
}
