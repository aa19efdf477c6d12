//! What `check` looks at beyond the text: the size of the trees, and the programs that are needed.

use std::path::Path;

use crate::config::fault::Report;
use crate::watch::inotify::watches_max;
use crate::watch::{explore, source};
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::plan::{HostKind, Plan, RootPlan};
use mirrorball_core::source::filter::Filter;

/// Warns of what will hurt at run time.
pub fn survey(plan: &Plan, report: &mut Report) {
    survey_watches(plan, report);
    survey_programs(plan, report);
}

fn survey_watches(plan: &Plan, report: &mut Report) {
    let Some(limit) = watches_max() else { return };
    let counts: Vec<(&RootPlan, u64)> =
        plan.roots.values().map(|root| (root, count_directories(root))).collect();
    let total: u64 = counts.iter().map(|(_, count)| count).sum();
    for (root, count) in &counts {
        if *count == 1 && is_empty(&root.source) {
            let key = format!("roots.{}.source", root.id);
            report.warning(key, "The source is empty: the first walk will empty its mirrors");
        }
    }
    if total > limit {
        let suggested = (total * 2).next_power_of_two();
        report.warning(
            "roots",
            format!(
                "The roots have {total} directories, but only {limit} can be watched; raise the limit: \
                 sysctl fs.inotify.max_user_watches={suggested}, and the same line in /etc/sysctl.d/"
            ),
        );
    }
}

fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none())
}

/// Directories that would be watched.
fn count_directories(root: &RootPlan) -> u64 {
    let (Ok(filter), Ok(dir)) = (Filter::new(&root.rules), source::open(&root.source)) else {
        return 0;
    };
    let mut count = 0;
    let mut todo = vec![RelPath::root()];
    while let Some(path) = todo.pop() {
        count += 1;
        let Ok(opened) = explore::open(&dir, &path) else { continue };
        let Ok(listing) = explore::list(&opened.fd, false, |_, is_directory| is_directory) else {
            continue;
        };
        let below = listing.directories.iter().map(|name| path.join(name));
        todo.extend(below.filter(|path| !filter.excludes_entry(path, true)));
    }
    count
}

fn survey_programs(plan: &Plan, report: &mut Report) {
    let uses_ssh = plan.hosts.values().any(|host| matches!(host.kind, HostKind::Ssh { .. }));
    for (program, needed) in [("rsync", true), ("ssh", uses_ssh)] {
        if needed && !is_in_path(program) {
            report.warning("hosts", format!("There is no {program} in PATH; install it"));
        }
    }
}

fn is_in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}
