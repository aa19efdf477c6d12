//! The model of rsync that the simulation uses, held against the real rsync: equal trees, equal steps, equal ends.
//! `SEED=N` repeats one case, `CASES=N` makes more of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use bstr::ByteSlice;
use mirrorball::config;
use mirrorball::transport::rsync::RsyncTransport;
use mirrorball::transport::{Job, Transport};
use mirrorball::watch::source;
use mirrorball_core::data::batch::Rename;
use mirrorball_core::data::outcome::Outcome;
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::plan::{Plan, Rule};
use mirrorball_core::data::step::{Basis, Deletions, Renamed, Step, StepEnd, StepKind};
use mirrorball_core::host::rsync_output::judge;

use crate::churn::Random;
use crate::model::fs::{Body, Errno, Fs, NOW, ROOT_USER};
use crate::model::options::{RunOptions, is_temporary};
use crate::model::rsync::Run;
use crate::support::servers::Rsyncd;
use crate::support::{NOBODY, in_memory, is_root};

/// Where the modification times of a case begin.
const BEGIN: u64 = 1_600_000_000_000_000_000;

/// A case: two trees and a step.
struct Case {
    source: Fs,
    mirror: Fs,
    step: Step,
    rules: Vec<Rule>,
}

const KINDS: &[StepKind] = &[
    StepKind::FirstContact,
    StepKind::Renamed,
    StepKind::Written,
    StepKind::Touched,
    StepKind::Subtrees,
    StepKind::SubtreesWritten,
    StepKind::Missing,
    StepKind::MissingByFilter,
    StepKind::Leftovers,
    StepKind::RootItself,
    StepKind::Look,
    StepKind::Walk,
    StepKind::Check,
    StepKind::Verify,
    StepKind::Plan,
    StepKind::Replace,
    StepKind::Resend,
    StepKind::Extras,
];

fn one_in(random: &mut Random, chances: usize) -> bool {
    random.below(chances) == 0
}

fn path(random: &mut Random) -> RelPath {
    let depth = 1 + random.below(3);
    let names: [&[u8]; 5] = [b"a", b"b", b"c", b"d", b".a.000001"];
    // The name of a leftover is rare.
    let name = |random: &mut Random| {
        let count = if one_in(random, 8) { 5 } else { 4 };
        names[random.below(count)]
    };
    (0..depth).fold(RelPath::root(), |above, _| above.join(name(random)))
}

/// One thing that somebody does. Where it is not possible, nothing is done.
fn work(fs: &mut Fs, random: &mut Random) {
    let (at, other) = (path(random), path(random));
    let mtime = BEGIN + random.below(3) as u64 * 1_000_000_000 + random.below(2) as u64 * 7000;
    let _ = match random.below(16) {
        0..4 => fs.make_directory(&at, [0o755, 0o700, 0o775][random.below(3)]),
        4..9 => {
            let size = [0, 3, 3, 3, 5][random.below(5)];
            let content = if size == 0 { 0 } else { 1 + random.below(3) as u64 };
            fs.write(&at, content, size, Some(mtime))
        }
        9 => fs.symlink(&at, [&b"a"[..], b"b/c", b"../a", b"nowhere", b"."][random.below(5)]),
        10 => fs.create(&at, Body::Fifo, 0o644),
        11 => fs.link(&at, &other),
        12 => fs.set_mode(&at, [0o644, 0o600, 0o755][random.below(3)]),
        13 => fs.rename(&at, &other),
        14 => fs.unlink(&at),
        _ if fs.user == ROOT_USER => fs.remove_directory(&at),
        _ => refuse(fs, random, &at),
    };
}

/// Something is not to be read, or not to be changed, by a user without rights.
fn refuse(fs: &mut Fs, random: &mut Random, at: &RelPath) -> Result<(), Errno> {
    let mode = match fs.lookup(at).map(|inode| inode.is_directory()) {
        Some(true) if one_in(random, 3) || !is_root() => return fs.set_mode(at, 0o555),
        Some(false) if !is_root() => return Ok(()),
        Some(true) => [0o700, 0o711, 0o755][random.below(3)],
        Some(false) => [0o600, 0o644][random.below(2)],
        None => return Ok(()),
    };
    let user = std::mem::replace(&mut fs.user, ROOT_USER);
    let done = fs.set_owner(at, ROOT_USER).and_then(|()| fs.set_mode(at, mode));
    fs.user = user;
    done
}

impl Case {
    fn new(seed: u64, user: u32) -> Self {
        let random = &mut Random::new(seed);
        let mut source = Fs::absent();
        source.user = user;
        source.make_root();
        (0..20 + random.below(120)).for_each(|_| work(&mut source, random));
        let mut mirror = if one_in(random, 8) { Fs::new() } else { source.clone() };
        mirror.user = user;
        (0..random.below(30)).for_each(|_| work(&mut source, random));
        (0..random.below(20)).for_each(|_| work(&mut mirror, random));
        date(&mut source, random);
        date(&mut mirror, random);
        let kind = KINDS[random.below(KINDS.len())];
        if (kind == StepKind::FirstContact && one_in(random, 2)) || one_in(random, 60) {
            mirror.remove_root();
        }
        let step = step(kind, random, &source);
        let rules = if one_in(random, 3) { rules(random) } else { Vec::new() };
        // Without a target directory the end depends on how many entries are listed.
        let opened = if mirror.exists() { opened(random, &step) } else { Vec::new() };
        let step = Step { opened, ..step };
        Self { source, mirror, step, rules }
    }
}

/// What was dated by the model's clock gets a time that the real trees can have too.
fn date(fs: &mut Fs, random: &mut Random) {
    let user = std::mem::replace(&mut fs.user, ROOT_USER);
    let names = fs.names().filter(|(_, inode)| inode.mtime >= NOW);
    for path in names.map(|(path, _)| path.clone()).collect::<Vec<_>>() {
        let mtime = BEGIN + random.below(4) as u64 * 1_000_000_000;
        fs.set_mtime(&path, mtime).unwrap();
    }
    fs.user = user;
}

fn step(kind: StepKind, random: &mut Random, source: &Fs) -> Step {
    let mut paths: BTreeSet<RelPath> = (0..1 + random.below(4)).map(|_| path(random)).collect();
    let mut renamed = None;
    let mut is_shallow = kind == StepKind::Leftovers;
    match kind {
        StepKind::Walk | StepKind::Check | StepKind::Resend | StepKind::Extras
            if one_in(random, 3) =>
        {
            // What is directly in a directory.
            is_shallow = true;
            paths = [if one_in(random, 3) { RelPath::root() } else { path(random) }].into();
        }
        StepKind::Walk | StepKind::Check | StepKind::Resend | StepKind::Extras
            if one_in(random, 2) => {}
        StepKind::Walk
        | StepKind::Check
        | StepKind::Resend
        | StepKind::Extras
        | StepKind::Verify
        | StepKind::Plan
        | StepKind::Look => {
            paths.clear();
        }
        StepKind::FirstContact | StepKind::RootItself => paths = [RelPath::root()].into(),
        StepKind::Written | StepKind::Subtrees if one_in(random, 8) => {
            paths.insert(RelPath::root());
        }
        StepKind::Missing if one_in(random, 2) => {
            paths.retain(|path| source.lookup(path).is_none());
        }
        StepKind::Renamed => {
            renamed = Some(rename(random, source));
            paths = renamed.iter().flat_map(|it: &Renamed| it.rename.targets()).collect();
        }
        _ => (),
    }
    let deletions = match random.below(5) {
        // First contact never deletes: a directory that is made by a confined receiver can't be read by it.
        _ if matches!(kind, StepKind::Look | StepKind::FirstContact) => Deletions::None,
        0 => Deletions::None,
        1 => Deletions::AtMost(0),
        2 => Deletions::AtMost(1 + random.below(3) as u64),
        _ => Deletions::All,
    };
    let held = if one_in(random, 5) { vec![path(random)] } else { Vec::new() };
    let delete_first = one_in(random, 4);
    let step = Step { held, is_shallow, deletions, ..Step::new(kind, paths.into_iter().collect()) };
    Step { delete_first, renamed, ..step }
}

/// Directories that a list leaves alone: above a listed name, or listed themselves.
fn opened(random: &mut Random, step: &Step) -> Vec<RelPath> {
    if step.renamed.is_some() || step.paths.is_empty() || !one_in(random, 6) {
        return Vec::new();
    }
    let listed = &step.paths[random.below(step.paths.len())];
    listed.ancestors().chain([listed.clone()]).filter(|_| one_in(random, 2)).collect()
}

fn rename(random: &mut Random, source: &Fs) -> Renamed {
    let mut files: BTreeSet<RelPath> = (0..1 + random.below(4)).map(|_| path(random)).collect();
    let directories: Vec<&RelPath> =
        source.names().filter(|(_, it)| it.is_directory()).map(|(path, _)| path).collect();
    let mut to = path(random);
    if !one_in(random, 8) {
        to = directories[random.below(directories.len())].clone();
        let inside = source.below(&to);
        files.extend(inside.iter().filter_map(|path| path.rebased(&to, &RelPath::root())));
    }
    let mut from = path(random);
    if !one_in(random, 4) {
        from = directories[random.below(directories.len())].clone();
    }
    // What was renamed has another name; it is not looked for where it is.
    let other_names = from == to || one_in(random, 2);
    let basis = [Basis::Linked, Basis::Copied, Basis::Similar][random.below(3)];
    let basis = if from == to { Basis::Similar } else { basis };
    let rename = Rename {
        from,
        to,
        files: files.into_iter().collect(),
        files_alone: one_in(random, 2),
        other_names,
        bytes: 0,
        may_link: true,
        is_exact: true,
        is_gone: true,
    };
    Renamed { rename: Arc::new(rename), basis, by_content: one_in(random, 2) }
}

fn rules(random: &mut Random) -> Vec<Rule> {
    let patterns: [&[u8]; 6] = [b"b", b"/a/b", b"c/", b"/a/*", b"d", b"/b/c/a"];
    let count = 1 + random.below(2);
    let rule = |random: &mut Random| {
        let pattern = patterns[random.below(patterns.len())].to_vec();
        if one_in(random, 4) { Rule::Include(pattern) } else { Rule::Exclude(pattern) }
    };
    (0..count).map(|_| rule(random)).collect()
}

/// Makes a real tree equal to a pretended one.
fn make(fs: &Fs, root: &Path) {
    let at = |path: &RelPath| root.join(OsStr::from_bytes(path.as_bytes()));
    let mut first = BTreeMap::new();
    for (path, inode) in fs.names() {
        let number = fs.inode_number(path).unwrap();
        if let Some(other) = first.get(&number) {
            fs::hard_link(at(other), at(path)).unwrap();
            continue;
        }
        first.insert(number, path.clone());
        match &inode.body {
            Body::Directory => fs::create_dir(at(path)).unwrap(),
            Body::File { content, size } => fs::write(at(path), bytes(*content, *size)).unwrap(),
            Body::Link { target } => symlink(OsStr::from_bytes(target), at(path)).unwrap(),
            Body::Fifo => rustix::fs::mknodat(
                rustix::fs::CWD,
                at(path),
                rustix::fs::FileType::Fifo,
                rustix::fs::Mode::from_raw_mode(0o644),
                0,
            )
            .unwrap(),
        }
    }
    // What is in a directory changes its time, and its rights may forbid more.
    let names: Vec<(&RelPath, _)> = fs.names().collect();
    for (path, inode) in names.into_iter().rev() {
        if is_root() {
            std::os::unix::fs::lchown(at(path), Some(inode.owner), None).unwrap();
        }
        if !matches!(inode.body, Body::Link { .. }) {
            fs::set_permissions(at(path), fs::Permissions::from_mode(inode.mode)).unwrap();
        }
        let time = rustix::fs::Timespec {
            tv_sec: (inode.mtime / 1_000_000_000) as i64,
            tv_nsec: (inode.mtime % 1_000_000_000) as i64,
        };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(rustix::fs::CWD, at(path), &times, flags).unwrap();
    }
}

fn bytes(content: u64, size: u64) -> Vec<u8> {
    vec![b'A' + content as u8; size as usize]
}

/// What is compared of an entry: its kind and content, mode, owner, time unless it is that of the run, and the first
/// of its names.
type Seen = BTreeMap<String, (String, u32, u32, Option<u64>, String)>;

fn seen_real(root: &Path) -> Seen {
    let mut seen = Seen::new();
    let mut first: BTreeMap<u64, String> = BTreeMap::new();
    let mut todo = vec![RelPath::root()];
    let mut found = BTreeMap::new();
    while let Some(path) = todo.pop() {
        let full = root.join(OsStr::from_bytes(path.as_bytes()));
        let Ok(metadata) = fs::symlink_metadata(&full) else { continue };
        if metadata.is_dir() {
            let names = fs::read_dir(&full).unwrap().map(|it| it.unwrap().file_name().into_vec());
            todo.extend(names.map(|name| path.join(&name)));
        }
        found.insert(path, (full, metadata));
    }
    for (path, (full, metadata)) in found {
        let kind = metadata.file_type();
        let body = if kind.is_dir() {
            "directory".into()
        } else if kind.is_symlink() {
            format!("-> {}", fs::read_link(&full).unwrap().display())
        } else if kind.is_file() {
            format!("file {:?}", fs::read(&full).unwrap().as_bstr())
        } else {
            "fifo".into()
        };
        let mode = if kind.is_symlink() { 0 } else { metadata.mode() & 0o7777 };
        let mtime = (metadata.mtime() * 1_000_000_000 + metadata.mtime_nsec()) as u64;
        let mtime = Some(mtime).filter(|it| *it < BEGIN + 100_000_000_000);
        let name = path.to_string();
        let other = first.entry(metadata.ino()).or_insert(name.clone()).clone();
        seen.insert(name, (body, mode, metadata.uid(), mtime, other));
    }
    seen
}

fn seen_modelled(fs: &Fs) -> Seen {
    let mut first: BTreeMap<u64, String> = BTreeMap::new();
    let see = |(path, inode): (&RelPath, &crate::model::fs::Inode)| {
        let (body, mode) = match &inode.body {
            Body::Directory => ("directory".into(), inode.mode),
            Body::Link { target } => (format!("-> {}", target.as_bstr()), 0),
            Body::File { content, size } => {
                (format!("file {:?}", bytes(*content, *size).as_bstr()), inode.mode)
            }
            Body::Fifo => ("fifo".into(), inode.mode),
        };
        let name = path.to_string();
        let number = fs.inode_number(path).unwrap();
        let other = first.entry(number).or_insert(name.clone()).clone();
        let mtime = Some(inode.mtime).filter(|it| *it < NOW);
        (name, (body, mode, inode.owner, mtime, other))
    };
    fs.names().map(see).collect()
}

/// What is compared of an end.
#[derive(Debug, PartialEq)]
struct Ended {
    exit: String,
    outcome: String,
    skipped: u64,
    created: BTreeSet<String>,
    items: Vec<String>,
    messages: Vec<String>,
    taken_over: u64,
    entries_found: u64,
}

impl Ended {
    fn new(step: &Step, end: &StepEnd) -> Self {
        let verdict = judge(step, end);
        let outcome = match &verdict.outcome {
            Outcome::Partly(failed) => {
                // A temporary name may be meant as such; nobody knows its end beforehand.
                let failed = failed.iter().filter(|it| !is_temporary(it.path.name()));
                let failed: BTreeSet<String> =
                    failed.map(|it| format!("{} {:?}", it.path, it.need)).collect();
                format!("Partly {failed:?}")
            }
            other => {
                let text = format!("{other:?}");
                text.split(['(', ' ']).next().unwrap_or_default().into()
            }
        };
        let mut items: Vec<String> =
            end.differences.first.iter().map(|it| plain(it, end)).collect();
        items.sort();
        let says = |line: &&[u8]| {
            // Whether a daemon's client reads its refusal before the connection ends is a matter of time.
            let is_noise = line.contains_str("Connection reset by peer");
            !is_noise
                && !["rsync error:", "rsync warning:", "(Server)", "(Client)"]
                    .iter()
                    .any(|begin| line.starts_with(begin.as_bytes()))
        };
        let lines = end.messages.lines().filter(|line| !line.is_empty()).filter(says);
        let mut messages: Vec<String> =
            lines.map(|line| plain(&line.as_bstr().to_string(), end)).collect();
        messages.sort();
        Self {
            exit: format!("{:?}", end.exit),
            outcome,
            skipped: verdict.skipped,
            created: end.created_directories.iter().map(ToString::to_string).collect(),
            items,
            messages,
            taken_over: end.taken_over,
            entries_found: end.entries_found,
        }
    }
}

/// Without what can't be equal: where the trees are, the module's name, and the end of a temporary name.
fn plain(line: &str, end: &StepEnd) -> String {
    let mut line = line.trim_end().replace(" (in m)", "");
    for prefix in &end.prefixes {
        let prefix = prefix.to_str().unwrap();
        line =
            line.replace(&format!("\"{prefix}/"), "\"/").replace(&format!("\"{prefix}\""), "\"/\"");
        line = line.replace(&format!(": {prefix}/"), ": /");
    }
    let words = line.split('"').enumerate().map(|(index, word)| {
        let name = word.rsplit('/').next().unwrap_or(word);
        let is_made = index % 2 == 1 && is_temporary(name.as_bytes()) && !name.ends_with(".000001");
        if is_made { format!("{}XXXXXX", &word[..word.len() - 6]) } else { word.to_string() }
    });
    words.collect::<Vec<_>>().join("\"")
}

/// Where cases are run for real.
struct Bench {
    dir: tempfile::TempDir,
    server: Option<Rsyncd>,
    plan: Plan,
    user: u32,
    system: actix::SystemRunner,
}

impl Bench {
    fn new(user: u32, has_server: bool) -> Self {
        let dir = in_memory();
        let server = has_server.then(|| {
            let name = if user == ROOT_USER { "root" } else { "nobody" };
            Rsyncd::start_with(&if is_root() { format!("uid = {name}\n") } else { String::new() })
        });
        if user != ROOT_USER && is_root() {
            // The client and a local receiver are processes of nobody.
            let wrapper = dir.path().join("program/rsync");
            fs::create_dir(dir.path().join("program")).unwrap();
            let script = format!(
                "#!/bin/sh\nexec setpriv --reuid={user} --regid={user} --clear-groups rsync \"$@\"\n"
            );
            fs::write(&wrapper, script).unwrap();
            fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
            chown(dir.path(), Some(user), None).unwrap();
            for path in server.iter().flat_map(|it| [it.dir.path().to_path_buf(), it.path("")]) {
                chown(path, Some(user), None).unwrap();
            }
        }
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("source")).unwrap();
        let (host, mirror) = match &server {
            Some(server) => (server.ron(), "m/mirror".to_string()),
            None => ("Local".to_string(), at("mirror").display().to_string()),
        };
        let text = format!(
            "Config(state_dir: {:?}, hosts: {{\"host\": {host}}}, roots: {{\"site\": Root(source: {:?}, \
             mirrors: [(host: \"host\", path: {mirror:?})])}})",
            at("state"),
            at("source"),
        );
        let (plan, _) = config::load_text(Path::new("test"), &text).unwrap();
        fs::remove_dir(at("source")).unwrap();
        Self { dir, server, plan, user, system: actix::System::new() }
    }

    fn mirror(&self) -> PathBuf {
        match &self.server {
            Some(server) => server.path("mirror"),
            None => self.dir.path().join("mirror"),
        }
    }

    /// The real run, and the tree that it left.
    fn run(&self, case: &Case) -> (StepEnd, Seen) {
        let source = self.dir.path().join("source");
        let _ = fs::remove_dir_all(&source);
        let _ = fs::remove_dir_all(self.mirror());
        make(&case.source, &source);
        make(&case.mirror, &self.mirror());
        let file = self.dir.path().join("rules");
        let lines: Vec<u8> =
            case.rules.iter().flat_map(|rule| [rule.line(), vec![0]].concat()).collect();
        fs::write(&file, lines).unwrap();
        let (host, root) = (&self.plan.hosts[&"host".into()], &self.plan.roots[&"site".into()]);
        let mut mirror = root.mirrors[0].clone();
        if self.user != ROOT_USER && is_root() {
            let wrapper = self.dir.path().join("program/rsync");
            mirror.rsync.program = Some(wrapper.display().to_string());
        }
        let job = Job {
            pace: Default::default(),
            lacks: Default::default(),
            step: case.step.clone(),
            source: source::open(&source).unwrap(),
            mirror: Arc::new(mirror),
            rules: (!case.rules.is_empty()).then_some(file),
            on_progress: Rc::new(|_| ()),
            process: Rc::default(),
        };
        let transport = RsyncTransport::new(host, &self.plan.state_dir);
        let end = self.system.block_on(transport.run(job));
        transport.close();
        (end, seen_real(&self.mirror()))
    }

    /// Compares one case; returns what differs.
    fn compare(&self, seed: u64) -> Option<String> {
        let case = Case::new(seed, self.user);
        let (end, real_tree) = self.run(&case);
        let real = Ended::new(&case.step, &end);
        let mut options = RunOptions::new(&case.step, &case.rules);
        options.is_daemon = self.server.is_some();
        let mut why = String::new();
        // A receiver learns from each list whether something could not be read; how many lists it has by then
        // is a matter of time.
        for lists_ahead in [usize::MAX, 0, 1, 2, 3, 4, 5, 6, 7, 8] {
            let options = RunOptions { lists_ahead, ..options.clone() };
            let mut mirror = case.mirror.clone();
            let end = Run::new(options).complete(&case.source, &mut mirror);
            let (modelled, tree) = (Ended::new(&case.step, &end), seen_modelled(&mirror));
            // How far a run came that ended itself in the middle is a matter of time.
            let is_broken = real.exit == "Code(2)" && modelled.exit == real.exit;
            if is_broken || (modelled == real && tree == real_tree) {
                return None;
            }
            if why.is_empty() {
                why = explain(&case, (&real, &real_tree), (&modelled, &tree));
            }
        }
        Some(why)
    }

    fn compare_all(&self, default: u64) {
        let number = |name: &str| {
            std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"))
        };
        let first = number("SEED").unwrap_or(1);
        let count = number("CASES").unwrap_or(if number("SEED").is_some() { 1 } else { default });
        let differs = |seed| self.compare(seed).map(|why| format!("SEED={seed}: {why}"));
        let failed: Vec<String> = (first..first + count).filter_map(differs).collect();
        assert!(
            failed.is_empty(),
            "{}\n{} of {count} cases differ",
            failed.join("\n"),
            failed.len()
        );
    }
}

fn explain(case: &Case, real: (&Ended, &Seen), modelled: (&Ended, &Seen)) -> String {
    let mut text = format!("{:?} rules {:?}\n", case.step, case.rules);
    for (name, fs) in [("source", &case.source), ("mirror", &case.mirror)] {
        text += &format!("  {name}:\n");
        for (path, it) in seen_modelled(fs) {
            text += &format!("    {path}: {it:?}\n");
        }
    }
    if real.0 != modelled.0 {
        let lines =
            |ended: &Ended| format!("{ended:#?}").lines().map(String::from).collect::<Vec<_>>();
        let (there, here) = (lines(real.0), lines(modelled.0));
        let only = |some: &[String], other: &[String]| {
            some.iter().filter(|line| !other.contains(line)).cloned().collect::<Vec<_>>().join("\n")
        };
        text += &format!("  real:\n{}\n", only(&there, &here));
        text += &format!("  modelled:\n{}\n", only(&here, &there));
    }
    let names: BTreeSet<&String> = real.1.keys().chain(modelled.1.keys()).collect();
    for name in names {
        let (there, here) = (real.1.get(name), modelled.1.get(name));
        if there != here {
            text += &format!("  {name}: real {there:?}, modelled {here:?}\n");
        }
    }
    text
}

/// The user that everything belongs to, where a user without rights is wanted.
fn without_rights() -> u32 {
    if is_root() { NOBODY } else { rustix::process::geteuid().as_raw() }
}

#[test]
fn the_model_ends_as_a_local_rsync_does() {
    let user = if is_root() { ROOT_USER } else { without_rights() };
    Bench::new(user, false).compare_all(150);
}

#[test]
fn the_model_ends_as_a_local_rsync_without_rights_does() {
    if is_root() {
        Bench::new(without_rights(), false).compare_all(150);
    }
}

#[test]
fn the_model_ends_as_an_rsync_daemon_does() {
    let user = if is_root() { ROOT_USER } else { without_rights() };
    Bench::new(user, true).compare_all(100);
}
