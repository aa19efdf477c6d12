//! Paths that must not lie in each other: sources, targets, and what is the daemon's own.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::config::fault::Report;
use mirrorball_core::data::ids::RootId;
use mirrorball_core::data::plan::{HostKind, MirrorPlan, Plan, RootPlan};

/// Looks at all pairs of paths in a plan.
pub fn check(plan: &Plan, report: &mut Report) {
    check_own_files(plan, report);
    check_nested_roots(plan, report);
    check_targets_in_sources(plan, report);
    check_targets_in_targets(plan, report);
    check_targets_over_others(plan, report);
    check_rings(plan, report);
}

/// A path with its links resolved as far as it exists.
fn real(path: &Path) -> PathBuf {
    let mut missing: Vec<OsString> = Vec::new();
    for above in path.ancestors() {
        if let Ok(real) = above.canonicalize() {
            return missing.iter().rev().fold(real, |path, name| path.join(name));
        }
        missing.extend(above.file_name().map(Into::into));
    }
    path.to_path_buf()
}

fn check_own_files(plan: &Plan, report: &mut Report) {
    let own = [
        ("state_dir", Some(plan.state_dir.clone())),
        ("control.socket", plan.control.socket.clone()),
        ("log.file", plan.log.file.clone()),
    ];
    for (key, path) in own {
        let Some(path) = path.map(|path| real(&path)) else { continue };
        for root in plan.roots.values() {
            if path.starts_with(real(&root.source)) {
                let source = root.source.display();
                let why = format!("It lies inside the root {} ({source}); move it out", root.id);
                report.fault(key, why);
            }
        }
    }
}

fn check_nested_roots(plan: &Plan, report: &mut Report) {
    for inner in plan.roots.values() {
        for outer in plan.roots.values().filter(|outer| outer.id != inner.id) {
            let (within, around) = (real(&inner.source), real(&outer.source));
            let same = within == around;
            if within.starts_with(&around) && (!same || inner.id > outer.id) {
                let key = format!("roots.{}.source", inner.id);
                let how = if same { "is the same as" } else { "lies inside" };
                let remedy = "give one root both sets of mirrors, or keep the inner one out";
                report.fault(key, format!("It {how} the source of root {}; {remedy}", outer.id));
            }
        }
    }
}

fn check_targets_in_sources(plan: &Plan, report: &mut Report) {
    for (root, index, mirror) in all_mirrors(plan) {
        let Some(target) = local_target(plan, mirror) else { continue };
        let key = format!("roots.{}.mirrors[{index}].path", root.id);
        let (target_name, source) = (target.display(), root.source.display());
        if target.starts_with(real(&root.source)) {
            let why = "it would be mirrored into itself without end";
            report
                .fault(key, format!("The target {target_name} lies inside its own source: {why}"));
        } else if real(&root.source).starts_with(&target) {
            let why = "a walk would delete the source";
            report.fault(
                key,
                format!("The source {source} lies inside the target {target_name}: {why}"),
            );
        }
    }
}

/// A walk deletes what the source does not have: other sources and our own files among it.
fn check_targets_over_others(plan: &Plan, report: &mut Report) {
    let mut precious: Vec<(String, PathBuf)> =
        vec![("the state directory".into(), real(&plan.state_dir))];
    precious.extend(plan.control.socket.iter().map(|path| ("the socket".into(), real(path))));
    for (root, index, mirror) in all_mirrors(plan) {
        let Some(target) = local_target(plan, mirror) else { continue };
        let others = plan.roots.values().filter(|other| other.id != root.id);
        let sources = others.map(|other| (format!("root {}", other.id), real(&other.source)));
        for (what, path) in sources.chain(precious.iter().cloned()) {
            // A target that is another root's source is a chain, which may be meant.
            if path.starts_with(&target) && path != target {
                let key = format!("roots.{}.mirrors[{index}].path", root.id);
                let (path, target) = (path.display(), target.display());
                let why =
                    format!("The target {target} holds {what} ({path}): a walk would delete it");
                report.fault(key, why);
            }
        }
    }
}

fn check_targets_in_targets(plan: &Plan, report: &mut Report) {
    // Where a host is named twice, its mirrors are told apart by the machine behind the name.
    let mut machines: BTreeMap<String, Vec<(String, PathBuf)>> = BTreeMap::new();
    for (root, index, mirror) in all_mirrors(plan) {
        let Some(host) = plan.hosts.get(&mirror.id.host) else { continue };
        let (machine, path) = match &host.kind {
            HostKind::Local => ("local".to_string(), real(Path::new(&mirror.path))),
            HostKind::Rsyncd { address, port, .. } => {
                (format!("rsyncd {} {port}", machine(address)), plain(&mirror.path))
            }
            HostKind::Ssh { address, user, port, .. } => {
                let user = if mirror.path.starts_with('/') { None } else { user.clone() };
                let port = port.unwrap_or(22);
                let name = format!("ssh {user:?} {} {port}", machine(address));
                (name, plain(&mirror.path))
            }
        };
        let key = format!("roots.{}.mirrors[{index}].path", root.id);
        machines.entry(machine).or_default().push((key, path));
    }
    for targets in machines.values() {
        for (at, (key, path)) in targets.iter().enumerate() {
            for (other_at, (other, other_path)) in targets.iter().enumerate() {
                let same = path == other_path;
                if at == other_at || !path.starts_with(other_path) || (same && at < other_at) {
                    continue;
                }
                let how = if same { "is the target of" } else { "lies inside the target of" };
                let why = "they would delete each other's files";
                report.fault(key.clone(), format!("{} {how} {other}: {why}", path.display()));
            }
        }
    }
}

/// A machine's name as the resolver sees it.
fn machine(address: &str) -> String {
    address.trim_end_matches('.').to_lowercase()
}

/// A path on another machine without what makes no difference.
fn plain(path: &str) -> PathBuf {
    Path::new(path).components().filter(|part| *part != std::path::Component::CurDir).collect()
}

/// A root whose mirror is (part of) another root, and so on back to the first, would never end.
fn check_rings(plan: &Plan, report: &mut Report) {
    let mut feeds: BTreeMap<RootId, BTreeSet<RootId>> = BTreeMap::new();
    for (root, _, mirror) in all_mirrors(plan) {
        let Some(target) = local_target(plan, mirror) else { continue };
        let touched = plan.roots.values().filter(|other| {
            let source = real(&other.source);
            other.id != root.id && (target.starts_with(&source) || source.starts_with(&target))
        });
        feeds.entry(root.id.clone()).or_default().extend(touched.map(|other| other.id.clone()));
    }
    for start in feeds.keys() {
        let mut reached = BTreeSet::new();
        let mut todo: Vec<&RootId> = feeds[start].iter().collect();
        while let Some(root) = todo.pop() {
            if reached.insert(root) {
                todo.extend(feeds.get(root).into_iter().flatten());
            }
        }
        // Each ring is told once, at the first of its roots.
        if reached.contains(start) && reached.iter().all(|root| *root >= start) {
            let names: Vec<String> = reached.iter().map(ToString::to_string).collect();
            let ring = names.join(", ");
            let why =
                format!("Local mirrors form a ring ({ring}): a change would go round for ever");
            report.fault(format!("roots.{start}.mirrors"), why);
        }
    }
}

fn all_mirrors(plan: &Plan) -> impl Iterator<Item = (&RootPlan, usize, &MirrorPlan)> {
    plan.roots.values().flat_map(|root| {
        root.mirrors.iter().enumerate().map(move |(at, mirror)| (root, at, mirror))
    })
}

fn local_target(plan: &Plan, mirror: &MirrorPlan) -> Option<PathBuf> {
    let host = plan.hosts.get(&mirror.id.host)?;
    (host.kind == HostKind::Local && !mirror.path.is_empty()).then(|| real(Path::new(&mirror.path)))
}
