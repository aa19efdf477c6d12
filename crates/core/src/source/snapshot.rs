//! A whole Root as it was scanned, and what has changed from one scan to another.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::data::change::{Change, Kinds};
use crate::data::path::RelPath;
use crate::data::snapshot::{Facts, Listing};

/// First line of a snapshot's file; another number is another format.
const MAGIC: &[u8] = b"mirrorball snapshot 1\n";

/// The directories of a tree, each with what is in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// The Root's own facts; none where nobody looked.
    own: Option<Facts>,
    directories: BTreeMap<RelPath, Listing>,
}

/// Bytes that are no snapshot, or not a whole one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is damaged, or of another version")]
pub struct Damaged;

impl Snapshot {
    /// Of these facts of the Root itself, and these directories.
    pub fn new(
        own: Option<Facts>,
        directories: impl IntoIterator<Item = (RelPath, Listing)>,
    ) -> Self {
        Self { own, directories: directories.into_iter().collect() }
    }

    /// A directory was listed.
    pub fn insert(&mut self, directory: RelPath, listing: Listing) {
        self.directories.insert(directory, listing);
    }

    /// The Root itself was looked at.
    pub fn set_own(&mut self, facts: Facts) {
        self.own = Some(facts);
    }

    /// Another scan belongs to the same Root.
    pub fn extend(&mut self, other: &Self) {
        self.own = other.own.or(self.own);
        let others = other.directories.iter();
        self.directories.extend(others.map(|(path, listing)| (path.clone(), listing.clone())));
    }

    /// Takes over what an older scan of the same tree found at and below these paths, which this one left out.
    pub fn take_over(&mut self, old: &Self, paths: &[RelPath]) {
        for path in paths {
            let is_inside = |it: &RelPath| it == path || it.is_below(path);
            let below = old.directories.range(path..).filter(|(it, _)| is_inside(it));
            self.directories.extend(below.map(|(it, listing)| (it.clone(), listing.clone())));
            let Some(parent) = path.parent() else { continue };
            let facts = old.directories.get(&parent).and_then(|listing| {
                listing.entries().find(|(name, _)| *name == path.name()).map(|(_, facts)| facts)
            });
            if let (Some(listing), Some(facts)) = (self.directories.get_mut(&parent), facts) {
                let own = (path.name().to_vec(), facts);
                let others = listing.entries().filter(|(name, _)| *name != path.name());
                let others = others.map(|(name, facts)| (name.to_vec(), facts));
                *listing = Listing::new(others.chain([own]).collect());
            }
        }
    }

    /// The same after the directory `from`, that lies above all of it, was renamed to `to`.
    #[must_use]
    pub fn rebased(self, from: &RelPath, to: &RelPath) -> Self {
        let directories = self.directories.into_iter();
        let moved =
            |(path, listing): (RelPath, Listing)| (path.rebased(from, to).unwrap_or(path), listing);
        Self { own: self.own, directories: directories.map(moved).collect() }
    }

    /// Entries in all of it, the Root itself not counted.
    pub fn len(&self) -> u64 {
        self.directories.values().map(|listing| listing.entries().count() as u64).sum()
    }

    /// Each directory, and how many entries are directly in it.
    pub fn counts(&self) -> impl Iterator<Item = (RelPath, u64)> {
        let count = |listing: &Listing| listing.entries().count() as u64;
        self.directories.iter().map(move |(path, listing)| (path.clone(), count(listing)))
    }

    /// Entries below this directory.
    pub fn len_below(&self, directory: &RelPath) -> u64 {
        let is_in = |path: &RelPath| path.is_at_or_below(directory);
        self.directories
            .range(directory..)
            .filter(|(path, _)| is_in(path))
            .map(|(_, listing)| listing.entries().count() as u64)
            .sum()
    }

    /// Directories in it, the Root itself counted.
    pub fn directories(&self) -> usize {
        self.directories.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.directories.values().all(|listing| listing.as_bytes().is_empty())
    }

    /// What may differ below this directory, if an older scan said so: topmost paths of what came and
    /// went, and every entry that is not surely the same.
    pub fn changes_since(&self, old: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        if let (Some(own), Some(before)) = (self.own, old.own)
            && !own.is_same(before)
        {
            changes.push(Change::new(RelPath::root(), Kinds::ATTRS));
        }
        for (directory, listing) in &self.directories {
            // What came with its directory is told by that.
            let Some(before) = old.directories.get(directory) else { continue };
            let is_listed = |path: &RelPath| {
                [old, self].map(|snapshot| snapshot.directories.contains_key(path))
            };
            compare(directory, before, listing, is_listed, &mut changes);
        }
        changes
    }

    /// For a file, with a checksum at its end.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        let own: Vec<_> = self.own.iter().map(|own| (b".".to_vec(), *own)).collect();
        put(&mut bytes, Listing::new(own).as_bytes());
        for (directory, listing) in &self.directories {
            put(&mut bytes, directory.as_bytes());
            put(&mut bytes, listing.as_bytes());
        }
        let checksum = crc32fast::hash(&bytes);
        bytes.extend(checksum.to_le_bytes());
        bytes
    }

    /// Reads back [`Self::to_bytes`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Damaged> {
        let (content, checksum) = bytes.split_last_chunk().ok_or(Damaged)?;
        if crc32fast::hash(content) != u32::from_le_bytes(*checksum) {
            return Err(Damaged);
        }
        let mut rest = content.strip_prefix(MAGIC).ok_or(Damaged)?;
        let mut take = || {
            let (length, tail) = rest.split_first_chunk()?;
            let (piece, tail) = tail.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            rest = tail;
            Some(piece)
        };
        let own = take().and_then(Listing::parse).ok_or(Damaged)?;
        let own = own.entries().next().map(|(_, own)| own);
        let mut snapshot = Self { own, directories: BTreeMap::new() };
        while let Some(path) = take() {
            let path = RelPath::parse(path).map_err(|_| Damaged)?;
            let listing = take().and_then(Listing::parse).ok_or(Damaged)?;
            snapshot.insert(path, listing);
        }
        if rest.is_empty() { Ok(snapshot) } else { Err(Damaged) }
    }
}

/// What may have changed in a directory, or in its own attributes and names, at this time or later (as `ctime` has it).
/// What is below the directories in it is not looked at.
pub fn changed_since(
    probe: i64,
    directory: &RelPath,
    own: Facts,
    listing: &Listing,
) -> Vec<Change> {
    let is_late = |facts: Facts| facts.ctime >= probe;
    // A name that went away is seen by nothing else.
    let own = is_late(own).then(|| Change::new(directory.clone(), Kinds::SUBTREE | Kinds::ATTRS));
    let late = listing.entries().filter(|(_, facts)| is_late(*facts));
    let entry = |(name, facts): (&[u8], Facts)| {
        let content = if facts.is_directory() { Kinds::empty() } else { Kinds::CONTENT };
        Change::new(directory.join(name), content | Kinds::ATTRS)
    };
    own.into_iter().chain(late.map(entry)).collect()
}

/// What changed in one directory; `is_listed` says whether what is in a directory below was known
/// before, and is known now.
fn compare(
    directory: &RelPath,
    old: &Listing,
    new: &Listing,
    is_listed: impl Fn(&RelPath) -> [bool; 2],
    changes: &mut Vec<Change>,
) {
    let (mut old, mut new) = (old.entries().peekable(), new.entries().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (Some((before, _)), Some((now, _))) => before.cmp(now),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return,
        };
        let before = order.is_le().then(|| old.next()).flatten();
        let now = order.is_ge().then(|| new.next()).flatten();
        let name = before.or(now).map(|(name, _)| name).unwrap_or_default();
        let path = directory.join(name);
        let kinds = match (before.map(|(_, facts)| facts), now.map(|(_, facts)| facts)) {
            (Some(before), Some(now)) => doubt(before, now, is_listed(&path)),
            (None, Some(now)) => Kinds::CAME | Kinds::CONTENT | subtree_if(now),
            (Some(before), None) => Kinds::WENT | subtree_if(before),
            (None, None) => Kinds::empty(),
        };
        if !kinds.is_empty() {
            changes.push(Change::new(path, kinds));
        }
    }
}

/// In which ways an entry may differ that had this name before, and has it now.
fn doubt(before: Facts, now: Facts, is_listed: [bool; 2]) -> Kinds {
    match (before.is_directory(), now.is_directory()) {
        // Its own entries are compared one by one, whichever directory it is.
        (true, true) if is_listed == [true; 2] && !before.is_same(now) => Kinds::ATTRS,
        (true, true) if is_listed[0] != is_listed[1] => Kinds::CONTENT | Kinds::SUBTREE,
        _ if before.is_same(now) => Kinds::empty(),
        (false, false) => Kinds::CONTENT | Kinds::ATTRS,
        _ => Kinds::CONTENT | Kinds::SUBTREE,
    }
}

fn subtree_if(facts: Facts) -> Kinds {
    if facts.is_directory() { Kinds::SUBTREE } else { Kinds::empty() }
}

/// Its length in four bytes, little-endian, and then the piece.
fn put(bytes: &mut Vec<u8>, piece: &[u8]) {
    let length = u32::try_from(piece.len()).expect("no directory has four gigabytes of names");
    bytes.extend(length.to_le_bytes());
    bytes.extend(piece);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: u32 = 0o100_644;
    const DIR: u32 = 0o040_755;

    fn facts(mode: u32, inode: u64, ctime: i64) -> Facts {
        Facts { mode, inode, size: 1, mtime: 1, ctime }
    }

    /// Name, mode, inode, ctime.
    type Entry = (&'static str, u32, u64, i64);

    /// Directories with their entries.
    fn snapshot(directories: &[(&str, &[Entry])]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.set_own(facts(DIR, 1, 1));
        for (path, entries) in directories {
            let entry = |(name, mode, inode, ctime): &Entry| {
                (name.as_bytes().to_vec(), facts(*mode, *inode, *ctime))
            };
            let listing = Listing::new(entries.iter().map(entry).collect());
            snapshot.insert((*path).into(), listing);
        }
        snapshot
    }

    fn changes(old: &Snapshot, new: &Snapshot) -> Vec<(String, Kinds)> {
        let changes = new.changes_since(old).into_iter();
        changes.map(|change| (change.path.to_string(), change.kinds)).collect()
    }

    fn old() -> Snapshot {
        snapshot(&[
            ("", &[("d", DIR, 2, 5), ("f", FILE, 3, 5), ("g", FILE, 4, 5)]),
            ("d", &[("x", FILE, 5, 5)]),
        ])
    }

    #[test]
    fn hard_case_77_what_a_scan_left_out_is_as_it_was() {
        let inside: &[Entry] = &[("f", FILE, 4, 1)];
        let old = snapshot(&[
            ("", &[("a", FILE, 2, 1), ("volume", DIR, 3, 1)]),
            ("volume", &[("d", DIR, 5, 1)]),
            ("volume/d", inside),
        ]);
        let mut new = snapshot(&[("", &[("a", FILE, 2, 9), ("z", FILE, 6, 1)])]);
        new.take_over(&old, &["volume".into()]);
        let all = Kinds::CAME | Kinds::CONTENT;
        let expected = [("a".into(), Kinds::CONTENT | Kinds::ATTRS), ("z".into(), all)];
        assert_eq!(changes(&old, &new), expected);
    }

    #[test]
    fn hard_case_19_what_is_no_older_than_the_probe_is_told() {
        let facts = |mode, ctime| Facts { mode, inode: 1, size: 0, mtime: 0, ctime };
        let listing = Listing::new(vec![
            (b"old".to_vec(), facts(0o100_644, 9)),
            (b"new".to_vec(), facts(0o100_644, 10)),
            (b"d".to_vec(), facts(0o040_755, 11)),
        ]);
        let changed = |own| changed_since(10, &"x".into(), facts(0o040_755, own), &listing);
        let expected = [
            Change::new("x/d".into(), Kinds::ATTRS),
            Change::new("x/new".into(), Kinds::CONTENT | Kinds::ATTRS),
        ];
        assert_eq!(changed(9), expected);
        assert_eq!(changed(10)[0], Change::new("x".into(), Kinds::SUBTREE | Kinds::ATTRS));
    }

    #[test]
    fn nothing_changed_is_nothing() {
        assert_eq!(changes(&old(), &old()), []);
    }

    #[test]
    fn written_touched_came_and_went_are_told_with_the_topmost_path() {
        let new = snapshot(&[
            ("", &[("e", DIR, 9, 9), ("f", FILE, 3, 6), ("g", FILE, 4, 5)]),
            ("e", &[("y", FILE, 10, 9)]),
        ]);
        let came = Kinds::CAME | Kinds::CONTENT | Kinds::SUBTREE;
        let expected = [
            ("d".to_string(), Kinds::WENT | Kinds::SUBTREE),
            ("e".to_string(), came),
            ("f".to_string(), Kinds::CONTENT | Kinds::ATTRS),
        ];
        assert_eq!(changes(&old(), &new), expected);
        let emptied = snapshot(&[("", &[])]);
        let paths: Vec<_> = changes(&old(), &emptied).into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["d", "f", "g"]);
    }

    #[test]
    fn another_directory_at_a_name_is_compared_entry_by_entry() {
        let new = snapshot(&[
            ("", &[("d", DIR, 7, 5), ("f", FILE, 3, 5), ("g", FILE, 4, 5)]),
            ("d", &[("x", FILE, 8, 5)]),
        ]);
        let expected = [("d".into(), Kinds::ATTRS), ("d/x".into(), Kinds::CONTENT | Kinds::ATTRS)];
        assert_eq!(changes(&old(), &new), expected);
    }

    #[test]
    fn a_directory_that_became_a_file_and_the_other_way_round_are_subtrees() {
        let new = snapshot(&[
            ("", &[("d", FILE, 7, 5), ("f", DIR, 8, 5), ("g", FILE, 4, 5)]),
            ("f", &[("x", FILE, 8, 5)]),
        ]);
        let both = Kinds::CONTENT | Kinds::SUBTREE;
        assert_eq!(changes(&old(), &new), [("d".into(), both), ("f".into(), both)]);
    }

    #[test]
    fn a_directory_that_could_not_be_listed_before_or_now_is_in_doubt_with_all_below() {
        let unlisted = snapshot(&[("", &[("d", DIR, 2, 5), ("f", FILE, 3, 5), ("g", FILE, 4, 5)])]);
        let doubt = [("d".into(), Kinds::CONTENT | Kinds::SUBTREE)];
        assert_eq!(changes(&old(), &unlisted), doubt);
        assert_eq!(changes(&unlisted, &old()), doubt);
        assert_eq!(changes(&unlisted, &unlisted), []);
    }

    #[test]
    fn what_was_written_is_read_back_and_any_damage_is_seen() {
        let bytes = old().to_bytes();
        assert_eq!(Snapshot::parse(&bytes), Ok(old()));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert_eq!(Snapshot::parse(&damaged), Err(Damaged), "{at}");
            assert_eq!(Snapshot::parse(&bytes[..at]), Err(Damaged), "{at}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_whatever_are_read_with_a_panic(tail in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = MAGIC.to_vec();
            bytes.extend(&tail);
            let checksum = crc32fast::hash(&bytes);
            bytes.extend(checksum.to_le_bytes());
            if let Ok(read) = Snapshot::parse(&bytes) {
                prop_assert_eq!(Snapshot::parse(&read.to_bytes()), Ok(read));
            }
        }
    }
}
