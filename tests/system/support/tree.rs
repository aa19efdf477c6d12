//! Comparing trees, to the nanosecond.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Everything about an entry that must be equal on a mirror.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    kind: &'static str,
    mode: u32,
    owner: (u32, u32),
    modified: (i64, i64),
    device: u64,
    content: Vec<u8>,
}

impl Entry {
    pub fn is_directory(&self) -> bool {
        self.kind == "directory"
    }
}

/// A tree, the root itself included.
pub fn read(root: &Path) -> BTreeMap<PathBuf, Entry> {
    let mut entries = BTreeMap::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(path) = todo.pop() {
        let full = root.join(&path);
        let Ok(metadata) = std::fs::symlink_metadata(&full) else { continue };
        let kind = metadata.file_type();
        let (kind, content) = if kind.is_dir() {
            let names: Vec<OsString> =
                std::fs::read_dir(&full).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            todo.extend(names.iter().map(|name| path.join(name)));
            ("directory", Vec::new())
        } else if kind.is_symlink() {
            let target = std::fs::read_link(&full).unwrap();
            ("link", target.into_os_string().into_encoded_bytes())
        } else if kind.is_fifo() {
            ("fifo", Vec::new())
        } else if kind.is_file() {
            ("file", std::fs::read(&full).unwrap())
        } else {
            ("other", Vec::new())
        };
        let entry = Entry {
            kind,
            mode: metadata.mode(),
            owner: (metadata.uid(), metadata.gid()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            device: if kind == "other" { metadata.rdev() } else { 0 },
            content,
        };
        entries.insert(path, entry);
    }
    entries
}

/// What differs, as lines; empty if nothing does.
pub fn differences(source: &Path, target: &Path) -> Vec<String> {
    compare(&read(source), &read(target))
}

fn compare(source: &BTreeMap<PathBuf, Entry>, target: &BTreeMap<PathBuf, Entry>) -> Vec<String> {
    let mut lines = Vec::new();
    for (path, wanted) in source {
        match target.get(path) {
            None => lines.push(format!("missing: {}", path.display())),
            Some(found) if found != wanted => lines.push(describe(path, wanted, found)),
            Some(_) => (),
        }
    }
    let extra = target.keys().filter(|path| !source.contains_key(*path));
    lines.extend(extra.map(|path| format!("too much: {}", path.display())));
    lines
}

fn describe(path: &Path, wanted: &Entry, found: &Entry) -> String {
    let mut what = Vec::new();
    if wanted.kind != found.kind {
        what.push(format!("is {} not {}", found.kind, wanted.kind));
    }
    if wanted.mode != found.mode {
        what.push(format!("mode {:o} not {:o}", found.mode, wanted.mode));
    }
    if wanted.owner != found.owner {
        what.push(format!("owner {:?} not {:?}", found.owner, wanted.owner));
    }
    if wanted.modified != found.modified {
        what.push(format!("time {:?} not {:?}", found.modified, wanted.modified));
    }
    if wanted.content != found.content {
        what.push(format!("content of {} not {} bytes", found.content.len(), wanted.content.len()));
    }
    format!("differs: {}: {}", path.display(), what.join(", "))
}

/// Where the daemon may not give files away.
pub fn assert_same_but_owners(source: &Path, target: &Path, context: &str) {
    let read = |root| {
        let mut entries = read(root);
        entries.values_mut().for_each(|entry| entry.owner = (0, 0));
        entries
    };
    let differences = compare(&read(source), &read(target));
    assert!(differences.is_empty(), "{context}: {}", differences.join("\n"));
}

pub fn assert_same(source: &Path, target: &Path, context: &str) {
    let differences = differences(source, target);
    assert!(
        differences.is_empty(),
        "{context}: {} differs from the source:\n{}",
        target.display(),
        differences.join("\n")
    );
}
