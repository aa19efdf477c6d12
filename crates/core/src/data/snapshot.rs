//! What a Root looked like when it was scanned, compact enough for millions of entries.

/// What tells that an entry is the one that was scanned, and unchanged since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Type and permissions, as in `stat(2)`.
    pub mode: u32,
    /// Which file.
    pub inode: u64,
    /// Bytes; 0 for a directory.
    pub size: u64,
    /// Nanoseconds since 1970.
    pub mtime: i64,
    /// Nanoseconds since 1970. Nothing but the kernel sets it, at each change of content or attributes.
    pub ctime: i64,
}

/// Its permissions and type, and four numbers.
const FACTS_BYTES: usize = 4 + 4 * 8;

const TYPE: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;

/// Two changes within this time may leave the same ctime: the kernel's clock ticks at least each 10 ms.
const TICK_NS: i64 = 50_000_000;

/// The same where times are kept in whole seconds, or in two (FAT).
const SECOND_TICK_NS: i64 = 2_000_000_000;

impl Facts {
    /// Whether it is a directory.
    pub fn is_directory(self) -> bool {
        self.mode & TYPE == DIRECTORY
    }

    /// Whether it is a regular file.
    pub fn is_regular(self) -> bool {
        self.mode & TYPE == REGULAR
    }

    /// The same, as seen at this time (nanoseconds since 1970): what changed so late that another change
    /// would not show in its times is recorded as like nothing.
    #[must_use]
    pub fn seen_at(self, now: i64) -> Self {
        let tick = if self.ctime % 1_000_000_000 == 0 { SECOND_TICK_NS } else { TICK_NS };
        let is_sure = self.ctime.saturating_add(tick) < now;
        // No file has inode 0.
        if is_sure { self } else { Self { inode: 0, ..self } }
    }

    /// Whether this is surely the same entry, unchanged.
    pub fn is_same(self, other: Self) -> bool {
        self == other && self.inode != 0
    }

    fn write(self, bytes: &mut Vec<u8>) {
        bytes.extend(self.mode.to_le_bytes());
        for number in [self.inode, self.size] {
            bytes.extend(number.to_le_bytes());
        }
        for number in [self.mtime, self.ctime] {
            bytes.extend(number.to_le_bytes());
        }
    }

    fn read(bytes: &[u8; FACTS_BYTES]) -> Self {
        let (mode, rest) = bytes.split_first_chunk().expect("four bytes of it");
        let number = |index: usize| {
            let (chunks, _) = rest.as_chunks::<8>();
            chunks[index]
        };
        Self {
            mode: u32::from_le_bytes(*mode),
            inode: u64::from_le_bytes(number(0)),
            size: u64::from_le_bytes(number(1)),
            mtime: i64::from_le_bytes(number(2)),
            ctime: i64::from_le_bytes(number(3)),
        }
    }
}

/// The entries of one directory, sorted by name: for each two bytes with the length of its name
/// (little-endian), the name, and its [`Facts`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing(Box<[u8]>);

impl Listing {
    /// Of these entries, in any order.
    pub fn new(mut entries: Vec<(Vec<u8>, Facts)>) -> Self {
        entries.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let names: usize = entries.iter().map(|(name, _)| name.len()).sum();
        let mut bytes = Vec::with_capacity(names + entries.len() * (2 + FACTS_BYTES));
        for (name, facts) in entries {
            let length = u16::try_from(name.len()).expect("a name has at most 255 bytes");
            bytes.extend(length.to_le_bytes());
            bytes.extend(name);
            facts.write(&mut bytes);
        }
        Self(bytes.into())
    }

    /// Without the entries that are not wanted.
    #[must_use]
    pub fn retain(self, is_wanted: impl Fn(&[u8], Facts) -> bool) -> Self {
        if self.entries().all(|(name, facts)| is_wanted(name, facts)) {
            return self;
        }
        let wanted = self.entries().filter(|(name, facts)| is_wanted(name, *facts));
        Self::new(wanted.map(|(name, facts)| (name.to_vec(), facts)).collect())
    }

    /// Reads back [`Self::as_bytes`]; none if that is not what it wrote.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let listing = Self(bytes.into());
        let mut entries = listing.entries();
        let mut last: Option<&[u8]> = None;
        for (name, _) in entries.by_ref() {
            let is_name = !name.is_empty() && !name.contains(&b'/') && !name.contains(&0);
            if !is_name || last.is_some_and(|last| last >= name) {
                return None;
            }
            last = Some(name);
        }
        entries.rest.is_empty().then_some(())?;
        Some(listing)
    }

    /// For a file.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The entries by name.
    pub fn entries(&self) -> Entries<'_> {
        Entries { rest: &self.0 }
    }
}

/// Iterates over a [`Listing`].
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Entries<'a> {
    type Item = (&'a [u8], Facts);

    fn next(&mut self) -> Option<Self::Item> {
        let (length, rest) = self.rest.split_first_chunk()?;
        let (name, rest) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
        let (facts, rest) = rest.split_first_chunk()?;
        self.rest = rest;
        Some((name, Facts::read(facts)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: Facts =
        Facts { mode: 0o100_644, inode: 7, size: 3, mtime: -5, ctime: 9_000_000_001 };

    #[test]
    fn a_listing_is_sorted_and_read_back() {
        let listing = Listing::new(vec![(b"b".to_vec(), FACTS), (b"a\n".to_vec(), FACTS)]);
        let names: Vec<_> = listing.entries().map(|(name, _)| name).collect();
        assert_eq!(names, [b"a\n".as_slice(), b"b"]);
        assert!(listing.entries().all(|(_, facts)| facts == FACTS));
        assert_eq!(Listing::parse(listing.as_bytes()), Some(listing.clone()));
        let only = listing.clone().retain(|name, _| name == b"b");
        assert_eq!(only, Listing::new(vec![(b"b".to_vec(), FACTS)]));
        let cut = &listing.as_bytes()[..listing.as_bytes().len() - 1];
        assert_eq!(Listing::parse(cut), None);
    }

    #[test]
    fn hard_case_21_what_changed_within_a_clock_tick_is_like_nothing() {
        let late = FACTS.seen_at(FACTS.ctime + 1_000_000);
        assert!(!late.is_same(late) && !late.is_same(FACTS));
        let sure = FACTS.seen_at(FACTS.ctime + 100_000_000);
        assert!(sure.is_same(FACTS));
        let whole_seconds = Facts { ctime: 9_000_000_000, ..FACTS };
        let seen = whole_seconds.seen_at(whole_seconds.ctime + 1_000_000_000);
        assert!(!seen.is_same(whole_seconds));
    }
}
