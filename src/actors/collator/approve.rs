//! What a person is shown of what waits, and approves.

use actix::prelude::*;
use slog::{Logger, info};

use super::CollatorActor;
use crate::actors::message::{Approvable, Approve, ListAwaiting, Who};
use crate::actors::shell::Shell;
use mirrorball_core::data::awaiting::{Approved, ApprovedList, Awaiting, AwaitingPlace};
use mirrorball_core::data::limits::APPROVED_LOGGED_MAX;
use mirrorball_core::data::list_id::ListId;
use mirrorball_core::root::deletions::approval_list::{ApproveError, ShownList};

impl Handler<ListAwaiting> for CollatorActor {
    type Result = Result<Awaiting, String>;
    fn handle(&mut self, message: ListAwaiting, ctx: &mut Self::Context) -> Self::Result {
        let ListAwaiting { mirrors, names_max, .. } = message;
        let mut awaiting = Awaiting::default();
        let root = self.root.id.clone();
        self.account_kept = Ok(());
        self.turn(ctx, |core, _| {
            let lists = &mut awaiting.lists;
            lists.extend(core.waiting_deletions().map(|list| {
                let id = ListId::of_root(&root, list.shown.number);
                list.describe(id, names_max)
            }));
            for mirror in &mirrors {
                lists.extend(core.waiting_extras_of(mirror).map(|list| {
                    let id = ListId::of_mirror(mirror, list.shown.number);
                    list.describe(id, names_max)
                }));
            }
            let is_counting = mirrors.into_iter().filter(|mirror| core.is_counting(mirror));
            awaiting.counting.extend(is_counting);
            let why = core.source_awaits();
            awaiting.halted.extend(why.map(|why| AwaitingPlace { id: root.to_string(), why }));
        });
        // A number that is not kept might name another list after the next start.
        self.account_kept.clone().map_err(|why| {
            format!("Cannot number the lists of {root}: the number can't be kept for the next start: {why}")
        })?;
        Ok(awaiting)
    }
}

impl Handler<Approve> for CollatorActor {
    type Result = Result<Approved, String>;
    fn handle(&mut self, message: Approve, ctx: &mut Self::Context) -> Self::Result {
        let Approve { what, by } = message;
        let log =
            self.log.new(slog::o!("by_uid" => by.map_or("unknown".into(), |it| it.to_string())));
        match what {
            Approvable::List(id) => {
                let approved = self.approve_list(ctx, &id)?;
                let (names, entries) = approved.totals();
                log_list(&log, &id, &approved);
                self.account_kept.clone().map_err(|why| {
                    format!("{id} is approved until the daemon stops, and not kept for the next start: {why}")
                })?;
                let lists = vec![ApprovedList { id, entries, names }];
                Ok(Approved { lists, ..Approved::default() })
            }
            Approvable::Source(root) => {
                self.approve_source(ctx)?;
                info!(log, "The source is approved as it is now");
                Ok(Approved { halted: vec![root.to_string()], ..Approved::default() })
            }
            Approvable::Target(mirror) => {
                self.turn(ctx, |core, now| core.handle_approve(now, &mirror));
                info!(log, "The mirror is approved as it is now"; "mirror" => %mirror);
                Ok(Approved { halted: vec![mirror.to_string()], ..Approved::default() })
            }
        }
    }
}

impl CollatorActor {
    /// Returns when the approval is on the disk, or [`Self::account_kept`] says why it is not.
    fn approve_list(&mut self, ctx: &mut Context<Self>, id: &ListId) -> Result<ShownList, String> {
        let mut approved = None;
        self.account_kept = Ok(());
        self.turn(ctx, |core, now| {
            approved = Some(match id.mirror() {
                Some(mirror) => core.approve_extras(now, &mirror, id.number),
                None => core.approve_deletions(now, id.number),
            });
        });
        let approved = approved.ok_or_else(|| Who::Root(id.root.clone()).death_notice())?;
        let advice = "Show what waits: mirrorball approve --list";
        approved
            .map_err(|error: ApproveError| format!("Cannot approve list {id}: {error}. {advice}"))
    }
}

fn log_list(log: &Logger, id: &ListId, approved: &ShownList) {
    let (names, entries) = approved.totals();
    let first = approved.entries.iter().take(APPROVED_LOGGED_MAX);
    let first: Vec<String> = first.map(|it| it.path.to_string()).collect();
    info!(log, "Deletions are approved"; "list" => %id, "deletions" => entries, "names" => names,
        "first" => first.join(" "));
}
