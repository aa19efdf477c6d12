//! What a modelled run says, and what that makes of its end.

use mirrorball_core::data::limits::{DIFFERENCES_MAX, SURPRISES_MAX};
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::step::{Differences, Exit, StepEnd};

use super::fs::{Body, Errno, Inode};
use super::listing::{Entry, Kind};

/// Where the model's messages place the source and the mirror.
pub const SOURCE: &str = "/src";
/// The same for the mirror.
pub const MIRROR: &str = "/m";

/// Messages, itemized changes, and the facts that decide about the exit code.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// On standard output: rsync counts these as information.
    info: String,
    /// On standard error.
    errors: String,
    items: Vec<String>,
    /// Something was not transferred, or could not be read.
    is_partial: bool,
    has_vanished: bool,
    has_skipped: bool,
    /// It can't go on, and ends with this code.
    pub fatal: Option<i32>,
    /// Entries that a look found.
    pub entries_found: u64,
    /// The names of deletions are asked for.
    names_extras: bool,
}

impl Record {
    pub fn new(names_extras: bool) -> Self {
        Self { names_extras, ..Self::default() }
    }

    pub fn info(&mut self, line: &str) {
        self.info += line;
        self.info.push('\n');
    }

    /// A message that changes nothing about the exit.
    pub fn warn(&mut self, line: &str) {
        self.errors += line;
        self.errors.push('\n');
    }

    /// A message of something that was not done: exit 23.
    pub fn fail(&mut self, line: &str) {
        self.warn(line);
        self.is_partial = true;
    }

    pub fn vanished(&mut self, line: &str) {
        self.warn(line);
        self.has_vanished = true;
    }

    pub fn skipped(&mut self, count: u64) {
        self.warn(&format!("Deletions stopped due to --max-delete limit ({count} skipped)"));
        self.has_skipped = true;
    }

    pub fn deleting(&mut self, path: &RelPath, is_directory: bool) {
        self.items.push(format!("*deleting   {path}{}", if is_directory { "/" } else { "" }));
    }

    pub fn itemize(&mut self, item: String) {
        self.items.push(item);
    }

    /// The exit code of a run that was not broken off. 23 hides 24, and both hide 25; a daemon's client is not told
    /// of 25.
    pub fn code(&self, is_daemon: bool) -> i32 {
        match self {
            Self { is_partial: true, .. } => 23,
            Self { has_vanished: true, .. } => 24,
            Self { has_skipped: true, .. } if !is_daemon => 25,
            _ => 0,
        }
    }

    /// The end of a run, as `transport` would report it.
    pub fn end(&self, exit: Exit, top: &RelPath, has_spoken: bool) -> StepEnd {
        let mut differences = Differences::default();
        let mut created_directories = Vec::new();
        let mut taken_over = 0;
        let mut extras = Vec::new();
        for item in &self.items {
            differences.total += 1;
            let is_new = item.get(2..11) == Some("+++++++++");
            differences.deleted += u64::from(item.starts_with("*deleting"));
            differences.created += u64::from(is_new);
            taken_over += u64::from(item.starts_with(['h', 'c']));
            if differences.first.len() < DIFFERENCES_MAX {
                differences.first.push(item.clone());
            }
            let name = item[12..].trim_end_matches('/');
            if item.starts_with("*deleting") && self.names_extras {
                extras.push(name.into());
            }
            let is_counted =
                item.starts_with("cd") || !(name.contains('/') || item.starts_with('h'));
            if is_new && is_counted && created_directories.len() < SURPRISES_MAX * 64 {
                let path: RelPath = if name == "." { RelPath::root() } else { name.into() };
                created_directories.extend(path.rebased(&RelPath::root(), top));
            }
        }
        StepEnd {
            messages: [self.info.as_bytes(), self.errors.as_bytes()].concat(),
            created_directories,
            differences,
            entries_found: self.entries_found,
            extras,
            taken_over,
            protocol: has_spoken.then_some(32),
            prefixes: vec![SOURCE.into(), MIRROR.into()],
            ..StepEnd::new(exit)
        }
    }
}

/// Which process says so, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Sender,
    Generator,
    Receiver,
}

impl Who {
    /// `rsync: [sender] opendir "/src/a" failed: Permission denied (13)`.
    pub fn failed(self, call: &str, top: &RelPath, path: &RelPath, errno: Errno) -> String {
        let name = self.quoted(top, path);
        let (before, after) = call.split_once("%s").unwrap_or((call, ""));
        format!("rsync: [{}] {before}{name}{after}: {}", self.name(), errno.text())
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::Generator => "generator",
            Self::Receiver => "receiver",
        }
    }

    /// The full name in double quotes.
    pub fn quoted(self, top: &RelPath, path: &RelPath) -> String {
        let above = if self == Self::Sender { SOURCE } else { MIRROR };
        if top.is_root() {
            format!("\"{above}/{path}\"")
        } else {
            format!("\"{above}/{top}/{path}\"")
        }
    }
}

/// How an entry is itemized.
#[derive(Clone, Copy, Debug, Default)]
pub struct Item {
    /// It is sent.
    pub transfer: bool,
    /// It is made by the receiver alone.
    pub local_change: bool,
    /// Its checksum or value differs.
    pub report_change: bool,
    /// It is linked to another name.
    pub is_linked: bool,
}

impl Item {
    /// The line, and whether it says more than that nothing was changed; `there` is what the entry is compared with.
    pub fn line(
        self,
        entry: &Entry,
        there: Option<&Inode>,
        keeps_owners: bool,
        is_local: bool,
    ) -> (String, bool) {
        let is_link = matches!(entry.kind, Kind::Link { .. });
        let kind = match entry.kind {
            Kind::Link { .. } => 'L',
            Kind::Directory => 'd',
            Kind::Fifo => 'S',
            Kind::File { .. } | Kind::Missing => 'f',
        };
        let begin = match self {
            Self { local_change: true, is_linked: true, .. } => 'h',
            Self { local_change: true, .. } => 'c',
            Self { transfer: true, .. } if is_local => '>',
            Self { transfer: true, .. } => '<',
            _ => '.',
        };
        let slash = if entry.is_directory() { "/" } else { "" };
        let Some(there) = there else {
            return (format!("{begin}{kind}+++++++++ {}{slash}", entry.path), true);
        };
        let has_other_size = match (&entry.kind, &there.body) {
            (Kind::File { size, .. }, Body::File { size: old, .. }) => size != old,
            // A directory or link has a size of its own, which nobody compares here.
            (Kind::File { .. }, _) => true,
            _ => false,
        };
        let flags = [
            (self.report_change, 'c'),
            (has_other_size, 's'),
            (entry.mtime != there.mtime, 't'),
            (!is_link && entry.mode != there.mode, 'p'),
            (keeps_owners && entry.owner != there.owner, 'o'),
        ];
        let is_significant = self.transfer || flags.iter().any(|(is_set, _)| *is_set);
        let is_plain = flags.iter().all(|(is_set, _)| !is_set) && begin != '<' && begin != '>';
        let shown: String = if is_plain {
            " ".repeat(9)
        } else {
            flags.iter().map(|(is_set, flag)| if *is_set { *flag } else { '.' }).collect::<String>()
                + "...."
        };
        (format!("{begin}{kind}{shown} {}{slash}", entry.path), is_significant)
    }
}
