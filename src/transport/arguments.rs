//! The one place that knows rsync's options: a Step becomes a command line and a list for its input.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::transport::options::option_arguments;
use crate::transport::{Job, fold};
use mirrorball_core::data::attributes::Attributes;
use mirrorball_core::data::name::is_plain;
use mirrorball_core::data::outcome::Capability;
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::plan::{HostKind, HostPlan, MirrorPlan, Rule};
use mirrorball_core::data::rsync_options::RsyncOptions;
use mirrorball_core::data::source_dir::SourceDir;
use mirrorball_core::data::step::{Basis, Deletions, Renamed, Step, StepKind};

/// rsync's arguments for one Step; `rsh` is the command line of ssh, for a host that is reached through it.
pub fn arguments(host: &HostPlan, job: &Job, rsh: Option<&str>) -> Vec<OsString> {
    let Job { step, mirror, rules, lacks, .. } = job;
    let mut options = mirror.rsync.clone();
    if lacks.contains(&Capability::Compress) {
        options.compress = None;
        options.compress_choice = None;
        options.compress_level = None;
    }
    let mut arguments: Vec<OsString> =
        option_arguments(&options).into_iter().map(Into::into).collect();
    let mut add = |argument: &str| arguments.push(argument.into());
    add("--from0");
    add("--out-format=%i %n");
    if step.kind.is_walk() {
        // Progress is of use only while it is made.
        add("--info=stats1,progress2");
    } else {
        add("--info=stats1");
    }
    add("--debug=proto");
    if !lacks.contains(&Capability::Nanoseconds) {
        // With `--ignore-times` too: rsync sets the times of links and directories only where they differ,
        // and in whole seconds what was made just now does not.
        add("--modify-window=-1");
    }
    if is_secluded(host, mirror) {
        // The long name differs between versions.
        add("-s");
    }
    add("--no-human-readable");
    add("--no-motd");
    add(&format!("--timeout={}", host.timeout.as_secs().max(1)));
    // What is less, for a while or since others run too, is seen to from outside.
    if let Some(bandwidth) = job.pace.told {
        // In units of 1024 bytes; 0 would mean unlimited.
        add(&format!("--bwlimit={}", bandwidth.div_ceil(1024).max(1)));
    }
    for flag in flags(step) {
        add(flag);
    }
    for flag in deletions(step) {
        add(&flag);
    }
    if !step.opened.is_empty() {
        add("--no-implied-dirs");
    }
    omitted(step.omitted).for_each(&mut add);
    if let HostKind::Rsyncd { port, password_file, .. } = &host.kind {
        add(&format!("--contimeout={}", host.timeout.as_secs().max(1)));
        // Without it Nagle's algorithm and delayed acknowledgements add steps of 40 ms.
        add("--sockopts=TCP_NODELAY");
        add(&format!("--port={port}"));
        if let Some(file) = password_file {
            arguments.push(joined("--password-file=", file.as_os_str()));
        }
    }
    arguments.extend(step.renamed.iter().flat_map(taken_from));
    if let Some(rsh) = rsh {
        arguments.push(joined("--rsh=", OsStr::new(rsh)));
    }
    if step.kind == StepKind::Leftovers {
        // A receiver's temporary name: a dot, the name, a dot and six characters. The first rule that matches
        // decides, so that no rule of the user puts more at risk.
        for rule in ["protect */", "protect,! .*.??????"] {
            arguments.push(joined("--filter=", OsStr::new(rule)));
        }
    }
    // Rules are anchored at the Root; what is listed below it has passed them.
    let is_inside = step.kind == StepKind::Renamed;
    for held in step.held.iter().filter(|_| !is_inside) {
        let rule = Rule::exclude_exactly(held).line();
        arguments.push(joined("--filter=", OsStr::from_bytes(&rule)));
    }
    if let Some(rules) = rules.as_ref().filter(|_| !is_inside) {
        arguments.push(joined("--filter=merge ", rules.as_os_str()));
    }
    arguments.push("--".into());
    match &step.renamed {
        Some(renamed) => arguments.push(inside("./", &renamed.rename.to, "/")),
        None if step.kind != StepKind::Look => arguments.push("./".into()),
        None => (),
    }
    arguments.push(target(host, mirror, step));
    arguments
}

/// What rsync reads on standard input: rules, or the step's paths, each `./path` and a NUL byte. The `./` keeps
/// names that begin with `#` or `;` from being taken for comments.
pub fn list(step: &Step, source: &SourceDir) -> Vec<u8> {
    if step.paths.is_empty() && step.renamed.is_none() && step.kind != StepKind::FirstContact {
        return Vec::new();
    }
    if step.kind == StepKind::MissingByFilter {
        return scope(&step.paths);
    }
    let mut list = Vec::new();
    let paths = match &step.renamed {
        Some(renamed) => &renamed.rename.files,
        None => &step.paths,
    };
    // What is directly in an opened directory stands for it.
    let is_opened = |path: &RelPath| step.kind.is_recursive() && step.opened.contains(path);
    if step.kind == StepKind::FirstContact
        || step.paths.iter().any(|path| path.is_root() && !is_opened(path))
    {
        list.extend_from_slice(b"./\0");
    }
    let opened: Vec<&RelPath> = paths.iter().filter(|path| is_opened(path)).collect();
    for path in opened.into_iter().flat_map(|directory| fold::inside(source, directory)) {
        list.extend_from_slice(b"./");
        list.extend_from_slice(path.as_bytes());
        list.push(0);
    }
    let whole = match step.kind {
        StepKind::Written | StepKind::Touched => fold::whole(source, paths),
        _ => BTreeSet::new(),
    };
    let is_named = |path: &RelPath| !path.parent().is_some_and(|above| whole.contains(&above));
    let names_extras = step.kind == StepKind::Extras && step.is_shallow;
    let is_listed = |path: &RelPath| {
        let is_other = path.is_root() || whole.contains(path) || is_opened(path);
        !is_other && is_named(path) && (!names_extras || fold::is_directory(source, path))
    };
    for path in paths.iter().filter(|path| is_listed(path)) {
        list.extend_from_slice(b"./");
        list.extend_from_slice(path.as_bytes());
        if step.is_shallow {
            // With what is directly in it.
            list.push(b'/');
        }
        list.push(0);
    }
    for directory in &whole {
        list.extend_from_slice(b"./");
        list.extend_from_slice(directory.as_bytes());
        list.extend_from_slice(b"/\0");
    }
    list
}

fn flags(step: &Step) -> Vec<&'static str> {
    const LIST: &str = "--files-from=-";
    const VANISHED: &str = "--ignore-missing-args";
    let mut flags = match step.kind {
        StepKind::FirstContact | StepKind::RootItself => vec![LIST],
        StepKind::Written => vec![LIST, VANISHED, "--ignore-times"],
        StepKind::Touched => vec![LIST, VANISHED],
        StepKind::Renamed => vec![LIST, VANISHED],
        StepKind::Subtrees => vec![LIST, VANISHED, "--recursive"],
        StepKind::SubtreesWritten => vec![LIST, VANISHED, "--recursive", "--ignore-times"],
        // What is back is written anew: it may share its files with what was linked to it.
        StepKind::Missing => {
            vec![LIST, "--delete-missing-args", "--recursive", "--ignore-times"]
        }
        StepKind::Leftovers => {
            vec![LIST, VANISHED, "--dirs", "--existing", "--ignore-existing"]
        }
        StepKind::MissingByFilter => {
            vec!["--recursive", "--relative", "--ignore-times", "--exclude-from=-"]
        }
        StepKind::Replace => vec![LIST, VANISHED, "--recursive", "--ignore-times"],
        // Relative, because otherwise a daemon without a chroot drops the `/.` from the target's end.
        StepKind::Walk | StepKind::Check | StepKind::Resend if step.paths.is_empty() => {
            vec!["--recursive", "--relative"]
        }
        StepKind::Walk | StepKind::Check | StepKind::Resend if step.is_shallow => {
            vec![LIST, VANISHED, "--dirs"]
        }
        StepKind::Walk | StepKind::Check | StepKind::Resend => vec![LIST, VANISHED, "--recursive"],
        StepKind::Extras if step.paths.is_empty() => vec!["--recursive", "--relative", "--dry-run"],
        StepKind::Extras if step.is_shallow => vec![LIST, VANISHED, "--dirs", "--dry-run"],
        StepKind::Extras => vec![LIST, "--delete-missing-args", "--recursive", "--dry-run"],
        StepKind::Verify => vec!["--recursive", "--relative", "--dry-run", "--checksum"],
        StepKind::Plan => vec!["--recursive", "--relative", "--dry-run"],
        StepKind::Look => vec!["--list-only", "--dirs"],
    };
    match step.kind {
        StepKind::Check => flags.push("--checksum"),
        StepKind::Resend => flags.push("--ignore-times"),
        _ => (),
    }
    // A listed `./` would bring along what is directly in it.
    if matches!(step.kind, StepKind::FirstContact | StepKind::RootItself) {
        flags.push("--filter=- /*");
    }
    flags
}

/// Where the receiver looks for what was renamed: relative to the directory that is filled.
fn taken_from(renamed: &Renamed) -> Vec<OsString> {
    let rename = &renamed.rename;
    let depth = rename.to.ancestors().count();
    let option = |name: &str| inside(&format!("{name}={}", "../".repeat(depth)), &rename.from, "/");
    let mut arguments = match renamed.basis {
        Basis::Linked => vec![option("--link-dest")],
        Basis::Copied => vec![option("--copy-dest")],
        Basis::Similar if !rename.other_names => {
            vec!["--ignore-times".into(), option("--copy-dest")]
        }
        // Twice: also in the other directory.
        Basis::Similar if rename.from != rename.to => {
            vec!["--ignore-times".into(), "--fuzzy".into(), "--fuzzy".into(), option("--copy-dest")]
        }
        Basis::Similar => vec!["--ignore-times".into(), "--fuzzy".into()],
    };
    // Twice: also what is linked, which is equal to what it is linked to.
    arguments.extend(["--itemize-changes".into(), "--itemize-changes".into()]);
    if renamed.by_content {
        arguments.push("--checksum".into());
    }
    arguments
}

fn inside(before: &str, path: &RelPath, after: &str) -> OsString {
    let after = if path.is_root() { "" } else { after };
    OsString::from_vec([before.as_bytes(), path.as_bytes(), after.as_bytes()].concat())
}

/// The options of a run that leaves these attributes as they are.
fn omitted(attributes: Attributes) -> impl Iterator<Item = &'static str> {
    let options = [
        (Attributes::OWNER, "--no-owner"),
        (Attributes::OWNER, "--no-group"),
        (Attributes::TIMES, "--no-times"),
        (Attributes::PERMISSIONS, "--no-perms"),
    ];
    options.into_iter().filter(move |(it, _)| attributes.contains(*it)).map(|(_, option)| option)
}

fn deletions(step: &Step) -> Vec<String> {
    let mut flags = match step.deletions {
        Deletions::None => Vec::new(),
        // rsync takes no more than a C int holds.
        Deletions::AtMost(most) => {
            vec!["--delete".into(), format!("--max-delete={}", most.min(i32::MAX as u64))]
        }
        Deletions::All => vec!["--delete".into()],
    };
    if step.delete_first && !flags.is_empty() {
        flags.push("--delete-before".into());
    }
    flags
}

/// Rules that let rsync see the listed paths and the directories above them, and nothing else; what is
/// below the paths is left to the rules that follow.
fn scope(paths: &[RelPath]) -> Vec<u8> {
    let mut children: BTreeMap<RelPath, BTreeSet<RelPath>> = BTreeMap::new();
    for path in paths {
        let mut child = path.clone();
        while let Some(parent) = child.parent() {
            children.entry(parent.clone()).or_default().insert(child);
            child = parent;
        }
    }
    let included = children.values().flatten().map(Rule::include_exactly);
    let excluded = children.keys().map(Rule::exclude_inside);
    let mut rules = Vec::new();
    for rule in included.chain(excluded) {
        rules.extend_from_slice(&rule.line());
        rules.push(0);
    }
    rules
}

/// Whether a shell leaves a configured path as it is. Names beyond ASCII are the administrator's own.
pub fn is_plain_for_shells(path: &str) -> bool {
    path.bytes().all(|byte| is_plain(byte) || !byte.is_ascii() || b":~".contains(&byte))
}

/// Whether rsync sends its arguments through the connection, past the shell at the other end: that would take the
/// configured paths apart, unless the rsync here is 3.2.4 or newer.
fn is_secluded(host: &HostPlan, mirror: &MirrorPlan) -> bool {
    let RsyncOptions { partial_dir, temp_dir, .. } = &mirror.rsync;
    let mut paths = [Some(&mirror.path), partial_dir.as_ref(), temp_dir.as_ref()].into_iter();
    matches!(host.kind, HostKind::Ssh { .. })
        && !paths.all(|path| path.is_none_or(|path| is_plain_for_shells(path)))
}

/// The target operand. It ends in `/.`, so that a directory that has vanished is an error instead of
/// being made anew; only the first contact may make it.
fn target(host: &HostPlan, mirror: &MirrorPlan, step: &Step) -> OsString {
    // Only the shell expands a tilde; the login begins in that directory.
    let in_home = mirror.path.strip_prefix("~/").filter(|_| is_secluded(host, mirror));
    let path = in_home.unwrap_or(&mirror.path);
    let mut target = host.kind.target(path).into_bytes();
    if let Some(to) = step.renamed.as_ref().map(|it| &it.rename.to).filter(|to| !to.is_root()) {
        target.push(b'/');
        target.extend_from_slice(to.as_bytes());
    }
    if step.kind != StepKind::FirstContact {
        target.extend_from_slice(b"/.");
    }
    OsString::from_vec(target)
}

fn joined(option: &str, value: &OsStr) -> OsString {
    let mut joined = OsString::from(option);
    joined.push(value);
    joined
}
