//! How everything stands, as this Root's collator knows it.

use super::{Collator, Phase};
use crate::data::absent_volumes::AbsentVolumes;
use crate::data::change::Epoch;
use crate::data::ids::MirrorId;
use crate::data::limits::{STUCK_LISTED_MAX, STUCK_SHOWN_MAX};
use crate::data::path::RelPath;
use crate::data::status::RootState;
use crate::root::ledger::Standing;

/// How a Root and its Mirrors stand.
#[derive(Clone, Debug, PartialEq)]
pub struct RootReport {
    /// Where the Root stands.
    pub state: RootState,
    /// Why it is not watching.
    pub reason: Option<String>,
    /// The newest sealed Epoch.
    pub head: Epoch,
    /// Changed paths that are not sealed.
    pub open_paths: usize,
    /// Open files held back.
    pub held_files: usize,
    /// Each Mirror, and whether it holds everything that is known.
    pub mirrors: Vec<(MirrorId, Standing, bool)>,
}

impl Collator {
    /// The paths of a Mirror that fail, at most [`STUCK_LISTED_MAX`], each with the reason.
    pub fn stuck(&self, id: &MirrorId) -> Vec<(RelPath, String)> {
        self.ledger
            .standing(id, STUCK_LISTED_MAX)
            .map(|standing| standing.stuck)
            .unwrap_or_default()
    }

    /// What each mirror owes, and its writers, for tests.
    pub fn ledger(&self) -> &crate::root::ledger::Ledger {
        &self.ledger
    }

    /// How everything stands.
    pub fn report(&self) -> RootReport {
        let (state, reason) = match &self.phase {
            Phase::Opening { .. } => (RootState::Opening, self.absent_why()),
            Phase::Watching => {
                let whys = self.absent_why().into_iter().chain(self.degraded.clone());
                let whys: Vec<String> = whys.collect();
                let reason = (!whys.is_empty()).then(|| whys.join(". "));
                let is_whole = reason.is_none();
                (if is_whole { RootState::Watching } else { RootState::Degraded }, reason)
            }
            Phase::Halted { why, .. } => (RootState::Halted, Some(why.clone())),
        };
        RootReport {
            state,
            reason,
            head: self.ledger.log().head(),
            open_paths: self.open.len(),
            held_files: self.open.held_len(),
            mirrors: self.ledger.ids().filter_map(|id| self.report_mirror(id)).collect(),
        }
    }

    /// Why the source is not taken as it is before a person says so, or it is back; none if it is.
    pub fn source_awaits(&self) -> Option<String> {
        self.halted().map(String::from).or_else(|| self.unmounted_why())
    }

    fn unmounted_why(&self) -> Option<String> {
        let (_, AbsentVolumes { unmounted, .. }) = self.absent.as_ref()?;
        let names = (!unmounted.is_empty()).then(|| named(unmounted))?;
        Some(format!(
            "Not mounted, or not what was mounted before, so left as they are on the mirrors: {names}. To take what is \
             there now: mirrorball approve --list"
        ))
    }

    fn absent_why(&self) -> Option<String> {
        let (_, AbsentVolumes { unresponsive, .. }) = self.absent.as_ref()?;
        let names = (!unresponsive.is_empty()).then(|| named(unresponsive));
        let unresponsive = names.map(|names| {
            format!(
                "File systems do not answer, so they are left as they are on the mirrors: {names}. Comparisons of the \
                 directories around them wait until they answer or are unmounted"
            )
        });
        let both: Vec<String> = self.unmounted_why().into_iter().chain(unresponsive).collect();
        (!both.is_empty()).then(|| both.join(". "))
    }

    pub(super) fn report_mirror(&self, id: &MirrorId) -> Option<(MirrorId, Standing, bool)> {
        let mut standing = self.ledger.standing(id, STUCK_SHOWN_MAX)?;
        let settled = matches!(self.phase, Phase::Watching)
            && self.exploring.is_none()
            && self.absent.is_none()
            && self.open.is_empty()
            && standing.is_settled;
        standing.pending += self.open.len() + self.open.held_len();
        let absent = self.absent.as_ref().map(|(since, _)| *since);
        standing.held_deletions = self.held_entries(id);
        let doubts = [standing.behind_since, self.open.oldest(), self.exploring, absent];
        standing.behind_since = doubts.into_iter().chain([self.phase.since()]).flatten().min();
        Some((id.clone(), standing, settled))
    }

    /// Whether any deletion waits for a person there.
    pub(super) fn holds_deletions(&self, id: &MirrorId) -> bool {
        self.ledger.mirror(id).is_some_and(|it| it.awaiting_approval().next().is_some())
    }
}

fn named(paths: &[RelPath]) -> String {
    let names: Vec<String> = paths.iter().map(ToString::to_string).collect();
    names.join(", ")
}
