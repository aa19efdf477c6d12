//! What a new Plan changes of the one that runs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::data::ids::{HostId, MirrorId, RootId};
use crate::data::plan::{HostPlan, MirrorPlan, Plan, RootPlan};
use crate::data::timetable::Bandwidth;

/// What a new Plan starts, stops, changes and leaves alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Difference {
    /// Hosts. One that changed gets new connections; its mirrors lose nothing.
    pub hosts: Parts<HostId>,
    /// Roots. One that changed is watched anew, and all its mirrors are compared.
    pub roots: Parts<RootId>,
    /// Mirrors. One that changed, or lies on a host that is reached another way, is compared.
    pub mirrors: Parts<MirrorId>,
    /// Hosts, roots and mirrors of which something differs that counts at once and disturbs nothing: bandwidth, times,
    /// hooks, and what may be deleted without a question.
    pub adjusted: Vec<String>,
    /// Settings that differ and count from the next start of the daemon on.
    pub at_next_start: Vec<String>,
}

/// Names by what becomes of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Parts<T> {
    /// Only in the new Plan.
    pub started: Vec<T>,
    /// Only in the old one.
    pub stopped: Vec<T>,
    /// In both, and not the same.
    pub changed: Vec<T>,
    /// The same in both.
    pub kept: Vec<T>,
}

impl<T> Default for Parts<T> {
    fn default() -> Self {
        Self { started: Vec::new(), stopped: Vec::new(), changed: Vec::new(), kept: Vec::new() }
    }
}

/// Compares two Plans.
pub fn difference(old: &Plan, new: &Plan) -> Difference {
    let hosts = parts(&old.hosts, &new.hosts, |_, a, b| connected(a) == connected(b));
    let roots = parts(&old.roots, &new.roots, |_, a, b| itself(a) == itself(b));
    let is_same_way = |id: &HostId| {
        let kind = |plan: &Plan| plan.hosts.get(id).map(|host: &HostPlan| host.kind.clone());
        kind(old) == kind(new)
    };
    let (old_mirrors, new_mirrors) = (self::mirrors(old), self::mirrors(new));
    let mirrors = parts(&old_mirrors, &new_mirrors, |id, a, b| {
        // What is run after pushes, and when it is left alone, says nothing of what the mirror holds.
        let held = |mirror: &MirrorPlan| MirrorPlan {
            hooks: Vec::new(),
            quiet: Vec::new(),
            ..mirror.clone()
        };
        held(a) == held(b) && is_same_way(&id.host) && roots.kept.contains(&id.root)
    });
    let settings = [
        ("state_dir", old.state_dir != new.state_dir),
        ("control", old.control != new.control),
        ("log", old.log != new.log),
        ("limits", (old.pushes_max, old.walks_max) != (new.pushes_max, new.walks_max)),
    ];
    let at_next_start = settings.into_iter().filter(|(_, differs)| *differs);
    let at_next_start = at_next_start.map(|(name, _)| name.to_string()).collect();
    let adjusted = adjusted(&hosts.kept, &old.hosts, &new.hosts)
        .map(|id| format!("host {id}"))
        .chain(
            roots
                .kept
                .iter()
                .filter(|id| without_mirrors(&old.roots[*id]) != without_mirrors(&new.roots[*id]))
                .map(|id| format!("root {id}")),
        )
        .chain(adjusted(&mirrors.kept, &old_mirrors, &new_mirrors).map(|id| format!("mirror {id}")))
        .collect();
    Difference { hosts, roots, mirrors, adjusted, at_next_start }
}

/// A Host but for how much it may be sent, which its runs heed as they go.
fn connected(host: &HostPlan) -> HostPlan {
    HostPlan { bandwidth: Bandwidth::default(), ..host.clone() }
}

fn without_mirrors(root: &RootPlan) -> RootPlan {
    RootPlan { mirrors: Vec::new(), ..root.clone() }
}

/// A Root without its Mirrors, and without what needs no new watching: when they are walked, and what may be deleted.
fn itself(root: &RootPlan) -> RootPlan {
    RootPlan {
        walk_at: None,
        max_delete: None,
        max_delete_window: Duration::ZERO,
        may_be_empty: false,
        free_to_delete: Vec::new(),
        ..without_mirrors(root)
    }
}

/// What is kept, and yet not quite the same.
fn adjusted<'a, K: Ord, V: PartialEq>(
    kept: &'a [K],
    old: &'a BTreeMap<K, V>,
    new: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = &'a K> {
    kept.iter().filter(move |id| old.get(id) != new.get(id))
}

fn mirrors(plan: &Plan) -> BTreeMap<MirrorId, &MirrorPlan> {
    let mirrors = plan.roots.values().flat_map(|root| &root.mirrors);
    mirrors.map(|mirror| (mirror.id.clone(), mirror)).collect()
}

fn parts<K: Ord + Clone, V>(
    old: &BTreeMap<K, V>,
    new: &BTreeMap<K, V>,
    is_same: impl Fn(&K, &V, &V) -> bool,
) -> Parts<K> {
    let mut parts = Parts::default();
    for (id, was) in old {
        match new.get(id) {
            None => parts.stopped.push(id.clone()),
            Some(is) if is_same(id, was, is) => parts.kept.push(id.clone()),
            Some(_) => parts.changed.push(id.clone()),
        }
    }
    parts.started = new.keys().filter(|id| !old.contains_key(id)).cloned().collect();
    parts
}
