//! What of the Root's standing is kept for the next start, and what a check found.

use super::{Collator, Effect, Phase};
use crate::data::batch::{Depth, Dirty};
use crate::data::change::{Change, Epoch};
use crate::data::ids::MirrorId;
use crate::data::moment::Moment;
use crate::data::name::unescape;
use crate::data::need::Need;
use crate::data::path::RelPath;
use crate::data::step::Differences;
use crate::host::target_state::TargetState;
use crate::root::checkpoint::{self, Checkpoint, Holders};
use crate::root::ledger::{Assignment, Work};
use crate::root::mirror::Mirror;

/// How rsync itemizes: eleven characters and a space before the name.
const ITEMIZED_PREFIX: usize = 12;

impl Collator {
    /// From now on the disk knows how far everything has come. The Root is being scanned. See
    /// [`Checkpoint::new`].
    pub fn keep_checkpoints(&mut self, journal_max: usize) {
        self.checkpoint = Some(Checkpoint::new(journal_max));
    }

    /// What the last run kept, and what the Root's scan and its snapshot differ in. `is_clean`: it ended
    /// with nothing under way.
    pub fn handle_resume(
        &mut self,
        now: Moment,
        changes: Vec<Change>,
        journal: &[Dirty],
        holders: Holders,
        is_clean: bool,
    ) {
        let Some(checkpoint) = &mut self.checkpoint else { return };
        // One whose directory nobody knows is to be reached first, and that is a Walk's work.
        let is_known = |id: &MirrorId| self.ledger.target(id) != TargetState::Unknown;
        let (holders, unknown): (Holders, Holders) =
            holders.into_iter().partition(|(id, _)| is_known(id));
        if !unknown.is_empty() {
            let effect = checkpoint::Effect::Withdraw(unknown.into_keys().collect());
            self.effects.push_back(Effect::Checkpoint(effect));
        }
        let mut dirty = checkpoint.resume(journal, &holders);
        for (path, need) in journal {
            *dirty.entry(path.clone()).or_default() |= *need;
        }
        for Change { path, kinds, .. } in changes {
            *dirty.entry(path).or_default() |= Need::of(kinds);
        }
        // Whatever it holds, it is looked at once before it is called in sync.
        *dirty.entry(RelPath::root()).or_default() |= Need::ATTRIBUTES;
        if let Some(effect) = checkpoint.handle_handed_out(&dirty) {
            self.effects.push_back(Effect::Checkpoint(effect));
        }
        let epoch = self.ledger.resume(now, dirty, &holders, is_clean);
        self.account.note_resumed(epoch);
    }

    /// The Root's scan is at hand; `is_same`: it is what the last run kept.
    pub fn handle_scanned(&mut self, is_same: bool) {
        if let Some(checkpoint) = &mut self.checkpoint {
            if is_same { checkpoint.handle_same() } else { checkpoint.handle_scanned() }
        }
    }

    /// A scan that was asked for could not be made.
    pub fn handle_not_scanned(&mut self) {
        if let Some(checkpoint) = &mut self.checkpoint {
            checkpoint.handle_not_scanned();
        }
    }

    /// Everything that changed before word was asked for has been told.
    pub fn handle_told(&mut self) {
        // What is not sealed yet takes its time; word is asked for again then.
        let may_record = self.may_record();
        let Some(checkpoint) = &mut self.checkpoint else { return };
        if let Some(effect) = checkpoint.handle_marked(&self.ledger, may_record) {
            self.effects.push_back(Effect::Checkpoint(effect));
        }
    }

    /// Nobody can tell whether everything has been told.
    pub fn handle_not_told(&mut self) {
        if let Some(checkpoint) = &mut self.checkpoint {
            checkpoint.handle_not_marked();
        }
    }

    /// Whether what broke off may still land somewhere, so that this is no good end.
    pub fn may_change(&self) -> bool {
        self.ledger.may_change()
    }

    /// What is recursive brings more than its name says, and what is owed is not sealed anew.
    pub(super) fn journal(&mut self, assignment: &Assignment) {
        let Some(checkpoint) = &mut self.checkpoint else { return };
        let Work::Push(entries) = &assignment.work else { return };
        let own = !assignment.is_shared;
        let named = entries.iter().filter(|(_, need)| own || need.is_within());
        let effect = checkpoint.handle_handed_out(&named.cloned().collect());
        self.effects.extend(effect.map(Effect::Checkpoint));
    }

    /// What changed here while a check was under way is no drift.
    pub(super) fn without_fresh(&self, covered: Epoch, found: &Differences) -> Differences {
        let is_fresh = |line: &&String| {
            let name = unescape(line.get(ITEMIZED_PREFIX..).unwrap_or_default());
            let path = RelPath::parse(name.strip_suffix(b"/").unwrap_or(&name));
            path.is_ok_and(|p| self.open.covers(&p) || self.ledger.changed_since(covered, &p))
        };
        let first: Vec<String> = found.first.iter().filter(|l| !is_fresh(l)).cloned().collect();
        let fresh = (found.first.len() - first.len()) as u64;
        Differences { total: found.total - fresh, first, ..found.clone() }
    }

    /// Everything on this Mirror is to be compared, contents included.
    pub fn handle_check_due(&mut self, now: Moment, id: &MirrorId) {
        self.ledger.owe_check(now, id, Depth::Contents);
        self.nudge(now, id);
    }

    /// Everything on this Mirror is to be compared by size and time. One that is to be walked anyway is.
    pub fn handle_walk_due(&mut self, now: Moment, id: &MirrorId) {
        if !self.ledger.mirror(id).is_some_and(Mirror::owes_walk) {
            self.ledger.owe_check(now, id, Depth::Times);
            self.nudge(now, id);
        }
    }

    /// Whether the Mirrors were sent what the Root holds: nothing is left as it is for want of a volume.
    pub(super) fn may_record(&self) -> bool {
        matches!(self.phase, Phase::Watching)
            && self.absent.is_none()
            && self.exploring.is_none()
            && self.open.is_empty()
    }
}
