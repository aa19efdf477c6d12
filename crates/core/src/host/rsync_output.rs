//! What the end of an rsync run means. Exit codes alone don't tell; what it said does.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bstr::ByteSlice;

use crate::data::attributes::Attributes;
use crate::data::limits::{MESSAGE_CHARS_MAX, VANISHED_MAX, VANISHED_MIN};
use crate::data::name::{Escaped, decode_rsync, elide};
use crate::data::need::Need;
use crate::data::outcome::{Blame, Capability, Outcome, Unproved};
use crate::data::path::RelPath;
use crate::data::step::{Deletions, Exit, Step, StepEnd, StepKind};

/// What one Step came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How it ended.
    pub outcome: Outcome,
    /// The unproved paths are suspects: messages name them, and nothing proves the rest.
    pub is_rest_unproved: bool,
    /// Of these, those that failed on these attributes alone.
    pub on_attributes: BTreeMap<RelPath, Attributes>,
    /// It broke off in the middle, though a path is to blame.
    pub broke_off: bool,
    /// Deletions that rsync counted and did not make.
    pub skipped: u64,
    /// Paths in whose place directories stand that were only counted.
    pub obstructed: Vec<RelPath>,
    /// Things that are done, with a remark.
    pub notes: Vec<String>,
}

/// Judges a run.
pub fn judge(step: &Step, end: &StepEnd) -> Verdict {
    let mut said = RsyncMessages::read(step, end);
    let is_limited = matches!(step.deletions, Deletions::AtMost(_));
    if end.exit == Exit::Code(25) && is_limited {
        said.skipped = said.skipped.max(1);
    }
    let mut broke_off = false;
    let outcome = match end.exit {
        Exit::Signal(signal) => {
            let why = format!("rsync was killed by signal {signal}");
            Outcome::Again { blame: Blame::Mirror, why, cut_off: true }
        }
        Exit::NotStarted => again(Blame::Host, said.first_line()),
        Exit::Code(_) if step.kind == StepKind::Look => said.judge_look(step, end),
        // 24: something vanished before it was read. A newer change for it is on its way, unless it is all that is there:
        // then the source itself goes away.
        Exit::Code(24) if said.has_vanished_as_a_whole(step) => {
            again(Blame::Mirror, format!("{} names vanished while they were sent", said.vanished))
        }
        // 25: deletions were only counted.
        Exit::Code(25) if is_limited => said.judge_success(step),
        Exit::Code(0 | 24) => said.judge_success(step),
        // The directory is there; the walk that follows proves the rest.
        Exit::Code(23) if step.kind == StepKind::FirstContact && !said.no_space => Outcome::Done,
        Exit::Code(23) => said.judge_partial(step),
        Exit::Code(11) if said.is_stopped_by_a_path(step) => {
            broke_off = true;
            Outcome::Partly(said.failed.clone())
        }
        Exit::Code(code) => said.judge_failure(step, code),
    };
    // Exit code 0 or 24 proves the rest, unless deletions were skipped.
    let is_unsure = said.deletions_skipped || (said.is_cut && step.deletions != Deletions::None);
    let is_proof = matches!(end.exit, Exit::Code(0 | 24)) && !is_unsure;
    // A replacement is about the directory in its way, which is no failure.
    let has_suspects = match step.kind {
        StepKind::Replace => !said.failed.is_empty(),
        _ => said.has_suspects(),
    };
    let is_rest_unproved =
        matches!(outcome, Outcome::Partly(_)) && !is_proof && (broke_off || has_suspects);
    // What failed may be the reason why something is kept.
    let is_plain = said.skipped == 0 && said.failed.is_empty();
    let notes = if is_plain { said.notes } else { Vec::new() };
    let mut on_attributes = said.attributes;
    on_attributes.retain(|_, attributes| !attributes.is_empty());
    Verdict {
        outcome,
        is_rest_unproved,
        on_attributes,
        broke_off,
        skipped: said.skipped,
        obstructed: said.obstructed,
        notes,
    }
}

/// How rsync begins to say that something can't take the place of what is there.
const IN_THE_WAY: &str = "could not make way for";

/// How it begins to say how many deletions it did not make.
const LIMIT_REACHED: &str = "Deletions stopped due to --max-delete limit (";

fn again(blame: Blame, why: String) -> Outcome {
    Outcome::Again { blame, why, cut_off: false }
}

/// What rsync said, line by line.
#[expect(clippy::struct_excessive_bools, reason = "facts that don't depend on each other")]
#[derive(Default)]
struct RsyncMessages {
    failed: Vec<Unproved>,
    /// Those of `failed`, with the attributes that they failed on, if it is on those alone.
    attributes: BTreeMap<RelPath, Attributes>,
    unattributed: Vec<String>,
    notes: Vec<String>,
    /// Because something could not be read.
    deletions_skipped: bool,
    /// Because of their number.
    skipped: u64,
    /// Names that were there when the source was listed, and not when they were read.
    vanished: usize,
    /// Paths that wait for deletions that were only counted.
    obstructed: Vec<RelPath>,
    no_space: bool,
    /// There were more than are kept.
    is_cut: bool,
    /// Both ends have agreed on a protocol.
    has_spoken: bool,
    lines: Vec<String>,
}

impl RsyncMessages {
    fn read(step: &Step, end: &StepEnd) -> Self {
        let mut said = Self { has_spoken: end.protocol.is_some(), ..Self::default() };
        if end.messages_cut {
            said.is_cut = true;
            said.unattributed.push("there were more messages than are kept".into());
        }
        let replaced = end.messages.lines().any(|line| line.contains_str(IN_THE_WAY));
        for line in end.messages.lines().filter(|line| !line.trim_ascii().is_empty()) {
            said.read_line(step, line, &end.prefixes, replaced);
        }
        said
    }

    fn read_line(&mut self, step: &Step, line: &[u8], prefixes: &[Vec<u8>], replaced: bool) {
        let deletions_limited = matches!(step.deletions, Deletions::AtMost(0));
        let text = Escaped(decode_rsync(line).trim_ascii()).to_string();
        let text = elide(&text, MESSAGE_CHARS_MAX);
        let says_nothing = ["rsync error:", "rsync warning:", "(Server) Protocol versions:"];
        if says_nothing.iter().any(|begin| text.starts_with(begin)) {
            return;
        }
        if text.contains("skipping file deletion") {
            self.deletions_skipped = true;
            return;
        }
        let is_limited = matches!(step.deletions, Deletions::AtMost(_));
        if let Some(rest) = text.strip_prefix(LIMIT_REACHED).filter(|_| is_limited) {
            let digits = rest.split(' ').next().unwrap_or(rest);
            self.skipped = digits.parse().unwrap_or(1);
            return;
        }
        if text.starts_with("file has vanished:") || text.starts_with("directory has vanished:") {
            self.vanished += 1;
            return;
        }
        self.no_space |= text.contains("No space left on device")
            || text.contains("Disk quota exceeded")
            || text.contains("Read-only file system");
        self.lines.push(text.clone());
        if let Some(name) = text.strip_prefix("cannot delete non-empty directory: ") {
            // Excluded files are left in it. Where something else must take its place, the line that
            // says so is the failure.
            if !replaced {
                let note = format!("{name} is kept on the mirror for the excluded files in it");
                if !self.notes.contains(&note) {
                    self.notes.push(note);
                }
            }
            return;
        }
        let attributes = Attributes::in_message(&text);
        let suspects = attribute(step, line, prefixes, attributes);
        if text.starts_with(IN_THE_WAY) && deletions_limited && !suspects.is_empty() {
            self.obstructed.extend(suspects.into_iter().map(|(path, _)| path).take(1));
            return;
        }
        if suspects.is_empty() {
            self.unattributed.push(text);
            return;
        }
        for (path, need) in suspects {
            match self.attributes.entry(path) {
                Entry::Vacant(vacant) => {
                    let path = vacant.key().clone();
                    vacant.insert(attributes);
                    let reason = text.strip_prefix("rsync: ").unwrap_or(&text).into();
                    self.failed.push(Unproved { path, need, reason });
                }
                Entry::Occupied(mut known) => {
                    let failed = self.failed.iter_mut().find(|it| it.path == *known.key());
                    failed.expect("it is one of them").need |= need;
                    let is_whole = attributes.is_empty() || known.get().is_empty();
                    let both = *known.get() | attributes;
                    known.insert(if is_whole { Attributes::empty() } else { both });
                }
            }
        }
    }

    fn first_line(&self) -> String {
        self.lines.first().cloned().unwrap_or_else(|| "it said nothing".into())
    }

    /// Whether anything is in the mirror's directory. What can't be seen is not held against it.
    fn judge_look(&self, step: &Step, end: &StepEnd) -> Outcome {
        if end.exit != Exit::Code(0) {
            let Exit::Code(code) = end.exit else { return Outcome::Done };
            let host = |outcome: &Outcome| {
                matches!(outcome, Outcome::Again { blame: Blame::Host, .. } | Outcome::Halt(_))
            };
            return Some(self.judge_failure(step, code)).filter(host).unwrap_or(Outcome::Done);
        }
        if end.entries_found > 0 {
            return Outcome::Done;
        }
        Outcome::Halt(
            "The mirror's directory is empty, although it was filled before; is its disk mounted?"
                .into(),
        )
    }

    fn judge_success(&self, step: &Step) -> Outcome {
        // A line about deletions may be among what was not kept.
        let is_unknown = self.is_cut && step.deletions != Deletions::None;
        if self.deletions_skipped || is_unknown || !self.failed.is_empty() {
            return self.judge_partial(step);
        }
        Outcome::Done
    }

    fn judge_partial(&self, step: &Step) -> Outcome {
        if self.no_space {
            return Outcome::Full(self.first_line());
        }
        if self.has_suspects() {
            return Outcome::Partly(self.failed.clone());
        }
        if self.unattributed.is_empty() && self.deletions_skipped {
            // Nothing was counted or deleted anywhere in this run, and nobody knows why.
            let reason = "Nothing was deleted in it: something could not be read";
            let root = [RelPath::root()];
            let paths = if step.paths.is_empty() { &root } else { step.paths.as_slice() };
            let need = Need::GONE | Need::WITHIN;
            let unproved =
                |path: &RelPath| Unproved { path: path.clone(), need, reason: reason.into() };
            return Outcome::Partly(paths.iter().map(unproved).collect());
        }
        let why = self.unattributed.first().cloned().unwrap_or_else(|| {
            "rsync says that something was not transferred, but not what (code 23)".into()
        });
        match step.paths.as_slice() {
            // The old name is not to be deleted before the next try.
            _ if step.kind == StepKind::Renamed => Outcome::Unattributed(why),
            [_] => Outcome::Partly(self.all_of(step, &why)),
            // Nothing is gained by walking again from the start: the Root is compared once more later.
            [] if step.kind.is_walk() || step.kind == StepKind::Extras => {
                let root = RelPath::root();
                let whole = Unproved { path: root, need: retry_need(step.kind), reason: why };
                Outcome::Partly(self.failed.iter().cloned().chain([whole]).collect())
            }
            [] => again(Blame::Mirror, why),
            _ => Outcome::Unattributed(why),
        }
    }

    /// Whether its messages name anything that failed. Messages that name nothing are no reason against a run without the
    /// suspects: its exit code is the proof, whatever the first run and a login shell have said.
    fn has_suspects(&self) -> bool {
        !(self.failed.is_empty() && self.obstructed.is_empty())
    }

    /// Whether so much vanished that the next look is to decide what that means.
    fn has_vanished_as_a_whole(&self, step: &Step) -> bool {
        let is_large_part = self.vanished >= VANISHED_MIN && self.vanished * 10 > step.paths.len();
        self.vanished > VANISHED_MAX || (is_large_part && !step.kind.is_recursive())
    }

    /// Whether it ended at a path that the mirror can't take, such as one that is too large: what comes after it may be
    /// brought without it. The proof is the run that leaves it out.
    fn is_stopped_by_a_path(&self, step: &Step) -> bool {
        let is_named = |it: &Unproved| !it.path.is_root();
        let is_elsewhere = matches!(step.kind, StepKind::FirstContact | StepKind::Renamed)
            || self.lines.iter().any(|line| line.contains("No such file or directory"));
        let is_named = !self.failed.is_empty() && self.failed.iter().all(is_named);
        is_named && !is_elsewhere && !self.no_space
    }

    fn judge_failure(&self, step: &Step, code: i32) -> Outcome {
        let blame = match code {
            // 5: an unknown module is this mirror's fault, a refused login or a full house the host's.
            5 if self.lines.iter().any(|line| line.contains("Unknown module")) => Blame::Mirror,
            5 | 10 | 12 | 14 | 30 | 35 | 126 | 127 | 255 => Blame::Host,
            _ => Blame::Mirror,
        };
        let said = if self.lines.is_empty() { meaning(code).into() } else { self.first_line() };
        let missing = |line: &String| line.contains("No such file or directory");
        let is_receivers = |line: &String| line.to_lowercase().contains("[receiver]");
        // 3: the receiver, and not the sender in the source, could not go there.
        let is_gone = match code {
            3 => self.lines.iter().any(|line| missing(line) && is_receivers(line)),
            11 => self.lines.iter().any(missing),
            _ => false,
        };
        if is_gone && !matches!(step.kind, StepKind::FirstContact | StepKind::Renamed) {
            return Outcome::Halt(format!(
                "The mirror's directory has vanished; is its disk mounted? {said}"
            ));
        }
        if self.no_space {
            return Outcome::Full(said);
        }
        let why = format!("{said} (rsync code {code}){}", remedy(code, &self.lines));
        if step.kind == StepKind::Missing && self.refuses_missing_args(code) {
            return Outcome::Incapable(Capability::DeleteMissing, why);
        }
        let refuses = |option: &str| {
            let is_it =
                |line: &String| line.contains("configured to refuse") && line.contains(option);
            code == 4 && self.lines.iter().any(is_it)
        };
        if refuses("compress") {
            return Outcome::Incapable(Capability::Compress, why);
        }
        // rrsync does not know the short form of --modify-window, and says no more than this.
        let is_unknown = |line: &String| line.contains("rrsync error: invalid rsync-command");
        if self.lines.iter().any(is_unknown) {
            return Outcome::Incapable(Capability::Nanoseconds, why);
        }
        if matches!(step.kind, StepKind::Check | StepKind::Renamed) && refuses("checksum") {
            return Outcome::Incapable(Capability::Checksum, why);
        }
        if step.kind == StepKind::Renamed {
            match code {
                1 | 2 | 4 => return Outcome::Incapable(Capability::Renames, why),
                // It was renamed once more; where it is now the next Batch knows.
                3 if !self.lines.iter().any(is_receivers) => return again(Blame::Mirror, why),
                // The directory that was just made is not there: the next try does without.
                3 | 11 => return Outcome::Unattributed(why),
                _ => (),
            }
        }
        // 12 and 30 come after the connection stood, 10 also when it never did.
        let never_connected = self.lines.iter().any(|line| line.contains("failed to connect"));
        // Once both ends have spoken, only a refusal is no break: ssh ends with 255 whatever was on its way.
        let is_refusal = matches!(code, 1..=6);
        let cut_off = matches!(code, 12 | 20 | 30)
            || (code == 10 && !never_connected)
            || (self.has_spoken && !is_refusal);
        Outcome::Again { blame, why, cut_off }
    }

    /// rsync 3.4.3 calls what is missing a file without a mode; a daemon that refuses it names the option;
    /// an end that never heard of it calls it unknown.
    fn refuses_missing_args(&self, code: i32) -> bool {
        matches!(code, 1 | 2 | 4 | 12)
            && self.lines.iter().any(|line| {
                line.contains("invalid file mode 00") || line.contains("delete-missing-args")
            })
    }

    fn all_of(&self, step: &Step, reason: &str) -> Vec<Unproved> {
        let need = retry_need(step.kind);
        let mut all = self.failed.clone();
        for path in &step.paths {
            if !self.attributes.contains_key(path) {
                all.push(Unproved { path: path.clone(), need, reason: reason.into() });
            } else if let Some(failed) = all.iter_mut().find(|failed| failed.path == *path) {
                failed.need |= need;
            }
        }
        all
    }
}

/// What is left to do at a path on which a run of this kind failed.
pub fn retry_need(kind: StepKind) -> Need {
    match kind {
        StepKind::Written | StepKind::FirstContact => Need::CONTENTS,
        StepKind::Touched => Need::EQUAL,
        StepKind::RootItself => Need::ATTRIBUTES,
        StepKind::Subtrees
        | StepKind::Walk
        | StepKind::Verify
        | StepKind::Plan
        | StepKind::Look => Need::TREE,
        StepKind::SubtreesWritten
        | StepKind::Renamed
        | StepKind::Check
        | StepKind::Resend
        | StepKind::Replace => Need::TREE | Need::CONTENTS,
        StepKind::Missing | StepKind::MissingByFilter => Need::GONE | Need::EQUAL | Need::WITHIN,
        StepKind::Extras => Need::GONE | Need::WITHIN,
        StepKind::Leftovers => Need::LEFTOVERS,
    }
}

/// The paths that a message can be about, if the step can have failed on them, and what is left to do there. A message
/// that is ambiguous can cost a run, and never a file.
fn attribute(
    step: &Step,
    line: &[u8],
    prefixes: &[Vec<u8>],
    attributes: Attributes,
) -> Vec<(RelPath, Need)> {
    let names = names_in(line);
    let found = names.iter().map(|name| in_scope(step, name, prefixes));
    let mut paths = found.into_iter().find(|paths| !paths.is_empty()).unwrap_or_default();
    if step.kind == StepKind::Leftovers && attributes.is_empty() {
        // The source knows the directory, and not what is left in it.
        let holds = |it: &&RelPath| paths.iter().any(|path| path == *it || path.is_below(it));
        paths = step.paths.iter().filter(holds).max().cloned().into_iter().collect();
    }
    let is_directory = line.contains_str("opendir") || line.contains_str("change_dir");
    // Only a run that deletes can make way.
    let is_blocked = line.starts_with(IN_THE_WAY.as_bytes());
    let need = match step.kind {
        _ if !attributes.is_empty() => Need::ATTRIBUTES,
        StepKind::Leftovers => Need::LEFTOVERS,
        _ if is_directory || is_blocked => Need::TREE | Need::CONTENTS,
        StepKind::Written | StepKind::FirstContact | StepKind::Look => Need::CONTENTS,
        // Where it is a directory, nothing in it was brought either.
        StepKind::Subtrees | StepKind::Walk | StepKind::Verify | StepKind::Plan => {
            Need::TREE | Need::CONTENTS
        }
        kind => retry_need(kind),
    };
    paths.into_iter().map(|path| (path, need)).collect()
}

/// The names that a message quotes: in double quotes, in the parentheses of a failed call, or after
/// the colon of a message that ends with a name.
fn names_in(line: &[u8]) -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> =
        line.split(|b| *b == b'"').skip(1).step_by(2).map(decode_rsync).collect();
    if let (Some(open), Some(close)) = (line.find_byte(b'('), line.find(b") failed")) {
        names.extend((open < close).then(|| decode_rsync(&line[open + 1..close])));
    }
    if let Some(name) = line.strip_prefix(b"ERROR: ").or(line.strip_prefix(b"WARNING: "))
        && let Some(end) = name.find(b" failed verification")
    {
        names.push(decode_rsync(&name[..end]));
    }
    if line.starts_with(b"could not make way for") || line.starts_with(b"skipping") {
        names.extend(line.find(b": ").map(|at| decode_rsync(line[at + 2..].trim_ascii_end())));
    }
    names
}

fn in_scope(step: &Step, name: &[u8], prefixes: &[Vec<u8>]) -> Vec<RelPath> {
    let mut candidates: Vec<&[u8]> = Vec::new();
    for prefix in prefixes {
        if let Some(rest) = name.strip_prefix(prefix.as_slice()) {
            candidates.extend(rest.strip_prefix(b"/").or(rest.is_empty().then_some(rest)));
        }
    }
    if !name.starts_with(b"/") {
        candidates.push(name.strip_prefix(b"./").unwrap_or(name));
    }
    // The mirror's own directory is called `/path/.`.
    let paths = candidates.into_iter().map(|bytes| if bytes == b"." { &[] } else { bytes });
    let paths: Vec<RelPath> = paths.filter_map(|bytes| RelPath::parse(bytes).ok()).collect();
    let hit = |path: &RelPath| {
        step.kind.is_walk()
            || step.paths.iter().any(|p| p == path || path.is_below(p) || p.is_below(path))
    };
    let Some(path) = paths.iter().find(|path| hit(path)) else {
        // The temporary file that a receiver writes first bears the final name in the middle.
        let mut temporary = paths.iter().filter_map(RelPath::without_temporary_name);
        return temporary.find(hit).into_iter().collect();
    };
    // `.env.sample` may be a file of that name, or `env` being received.
    let temporary = path.without_temporary_name().filter(hit);
    std::iter::once(path.clone()).chain(temporary).collect()
}

fn meaning(code: i32) -> &'static str {
    match code {
        1 => "rsync did not understand its options",
        2 => "the two rsyncs don't understand each other",
        4 => "the other side refuses an option",
        5 => "the rsync daemon refused",
        10 => "the connection failed",
        11 => "the other side could not write",
        12 => "the connection broke",
        20 => "rsync was told to stop",
        25 => "the limit of deletions was reached",
        30 => "the other side was silent for too long",
        35 => "the rsync daemon did not answer in time",
        127 => "the program was not found",
        255 => "ssh failed",
        _ => "rsync failed",
    }
}

fn remedy(code: i32, lines: &[String]) -> &'static str {
    let said = |text: &str| lines.iter().any(|line| line.contains(text));
    if said("Host key verification failed") {
        "; put the host's key into known_hosts"
    } else if said("Permission denied (publickey") {
        "; the host refuses the key: check `identity` and the login's authorized_keys"
    } else if code == 127 || said("rsync: command not found") || said("rsync: not found") {
        "; install rsync on the host, or set `rsync_path`"
    } else if said("configured to refuse") {
        "; its `refuse options` forbid that: allow it there, or leave it out here"
    } else if said("auth failed") {
        "; check `user` and `password_file`"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests;
