//! A Root's checkpoint on the disk: a snapshot, a journal of what was handed out since, and who holds it.
//!
//! In `state_dir/checkpoints/ROOT`: `current.json` names the snapshot, `N.snapshot`, and its journal,
//! `N.journal`, which has a line for each path: its requirement as a number, a space, the path escaped. It counts
//! until the machine is started anew, and after an end in good order also then, when all was synced.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::actors::memory::replace;
use mirrorball_core::data::batch::Dirty;
use mirrorball_core::data::ids::{HostId, MirrorId};
use mirrorball_core::data::name::{Escaped, unescape};
use mirrorball_core::data::need::Need;
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::plan::{Plan, RootPlan};
use mirrorball_core::root::checkpoint::Holders;
use mirrorball_core::source::snapshot::Snapshot;

/// Another number is another format.
const FORMAT: u32 = 2;

/// Where the checkpoint of a Root lies, and what it must be about to count.
#[derive(Clone, Debug)]
pub struct Place {
    directory: PathBuf,
    root: String,
    targets: BTreeMap<MirrorId, String>,
}

/// The checkpoint as this run keeps it.
#[derive(Debug)]
pub struct Store {
    place: Place,
    /// The newest that was used.
    number: u64,
    current: Option<Kept>,
    /// Its snapshot is being written.
    next: Option<Kept>,
}

#[derive(Debug)]
struct Kept {
    number: u64,
    journal: File,
    holders: Holders,
}

/// What the last run kept.
#[derive(Debug)]
pub struct Loaded {
    number: u64,
    /// The Root as it was scanned.
    pub snapshot: Snapshot,
    /// What was handed out since that scan began.
    pub journal: Vec<Dirty>,
    /// Who holds the snapshot, and what each lacks of it.
    pub holders: Holders,
}

#[derive(Serialize, Deserialize)]
struct Current {
    format: u32,
    number: u64,
    /// The kernel's run in which it was written.
    boot: String,
    /// What is mirrored, and by which rules.
    root: String,
    mirrors: BTreeMap<HostId, HolderFile>,
}

#[derive(Serialize, Deserialize)]
struct HolderFile {
    /// Where to, and how.
    target: String,
    lacks: Vec<(u8, String)>,
}

impl Place {
    /// Of this Root.
    pub fn new(plan: &Plan, root: &RootPlan) -> Self {
        let target = |mirror: &mirrorball_core::data::plan::MirrorPlan| {
            let target = plan.hosts[&mirror.id.host].kind.place(&mirror.path);
            (mirror.id.clone(), format!("{target} {:?} {:?}", mirror.delete, mirror.rsync))
        };
        Self {
            directory: plan.state_dir.join("checkpoints").join(root.id.as_str()),
            root: format!("{} {:?}", Escaped(root.source.as_os_str().as_bytes()), root.rules),
            targets: root.mirrors.iter().map(target).collect(),
        }
    }

    /// What the last run kept; none if it kept nothing. The error says why that does not count.
    pub fn load(&self, is_clean: bool) -> io::Result<Option<Loaded>> {
        let text = match fs::read(self.current_path()) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let other = |why: &str| io::Error::new(ErrorKind::InvalidData, why);
        let current: Current = serde_json::from_slice(&text)?;
        if current.format != FORMAT {
            return Err(other("it is of another version"));
        }
        if current.root != self.root {
            return Err(other("its source or its rules are other ones"));
        }
        if !is_clean && current.boot != boot()? {
            return Err(other("the machine went down in the middle of things"));
        }
        let mut holders = Holders::new();
        for (id, target) in &self.targets {
            let Some(holder) = current.mirrors.get(&id.host) else { continue };
            if holder.target == *target {
                let lacks = holder.lacks.iter().map(|(need, path)| dirty(*need, path));
                let lacks: Option<Vec<Dirty>> = lacks.collect();
                holders.insert(id.clone(), lacks.ok_or_else(|| other("it is damaged"))?);
            }
        }
        let number = current.number;
        let bytes = fs::read(self.path(number, "snapshot"))?;
        let snapshot = Snapshot::parse(&bytes).map_err(io::Error::other)?;
        let journal = parse_journal(&fs::read(self.path(number, "journal"))?)
            .ok_or_else(|| other("its journal is damaged"))?;
        Ok(Some(Loaded { number, snapshot, journal, holders }))
    }

    /// Writes the snapshot that a [`Store::begin`] is about; can be done anywhere.
    pub fn write_snapshot(&self, number: u64, snapshot: &Snapshot) -> io::Result<()> {
        replace(&self.path(number, "snapshot"), &snapshot.to_bytes())
    }

    fn current_path(&self) -> PathBuf {
        self.directory.join("current.json")
    }

    fn path(&self, number: u64, kind: &str) -> PathBuf {
        self.directory.join(format!("{number}.{kind}"))
    }
}

impl Store {
    /// Mirrors have come, gone, or lie elsewhere.
    pub fn set_place(&mut self, place: Place) {
        self.place = place;
    }

    /// Nothing counts yet.
    pub fn new(place: Place) -> Self {
        Self { place, number: 0, current: None, next: None }
    }

    /// Where it lies.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What was loaded goes on.
    pub fn go_on(&mut self, loaded: &Loaded) -> io::Result<()> {
        let path = self.place.path(loaded.number, "journal");
        let journal = File::options().append(true).open(&path)?;
        // A line that broke off was about nothing that anybody was given.
        journal.set_len(whole_lines(&fs::read(path)?).len() as u64)?;
        let holders = loaded.holders.clone();
        self.number = loaded.number;
        self.current = Some(Kept { number: loaded.number, journal, holders });
        self.write_current()
    }

    /// Nothing counts any more.
    pub fn clear(&mut self) -> io::Result<()> {
        self.current = None;
        self.next = None;
        match fs::remove_file(self.place.current_path()) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => (),
        }
        self.sweep()
    }

    /// These will be handed out.
    pub fn append(&mut self, entries: &[Dirty]) -> io::Result<()> {
        let mut lines = Vec::new();
        write_lines(&mut lines, entries);
        for kept in [&mut self.current, &mut self.next].into_iter().flatten() {
            kept.journal.write_all(&lines)?;
        }
        Ok(())
    }

    /// Others hold the snapshot, or lack other things.
    pub fn record(&mut self, holders: Holders) -> io::Result<()> {
        let Some(kept) = self.next.as_mut().or(self.current.as_mut()) else { return Ok(()) };
        kept.holders = holders;
        self.write_current()
    }

    /// These hold it no longer.
    pub fn withdraw(&mut self, ids: &[MirrorId]) -> io::Result<()> {
        for kept in [&mut self.current, &mut self.next].into_iter().flatten() {
            kept.holders.retain(|id, _| !ids.contains(id));
        }
        self.write_current()
    }

    /// Another snapshot will take the place of the present one. Returns the number for
    /// [`Place::write_snapshot`]; until [`Self::finish`] the present one counts.
    pub fn begin(&mut self, holders: Holders, journal: &[Dirty]) -> io::Result<u64> {
        fs::create_dir_all(&self.place.directory)?;
        self.number += 1;
        let number = self.number;
        let path = self.place.path(number, "journal");
        let mut lines = Vec::new();
        write_lines(&mut lines, journal);
        fs::write(&path, lines)?;
        let journal = File::options().append(true).open(path)?;
        self.next = Some(Kept { number, journal, holders });
        Ok(number)
    }

    /// Its snapshot has been written: from now on it counts.
    pub fn finish(&mut self, number: u64) -> io::Result<()> {
        let Some(next) = self.next.take_if(|next| next.number == number) else { return Ok(()) };
        self.current = Some(next);
        self.write_current()?;
        self.sweep()
    }

    /// Everything is on the disk, not only in its caches.
    pub fn sync(&self) -> io::Result<()> {
        let Some(kept) = &self.current else { return Ok(()) };
        kept.journal.sync_all()?;
        for path in [self.place.path(kept.number, "snapshot"), self.place.current_path()] {
            File::open(path)?.sync_all()?;
        }
        File::open(&self.place.directory)?.sync_all()
    }

    fn write_current(&self) -> io::Result<()> {
        let Some(kept) = &self.current else { return Ok(()) };
        let holder = |(id, lacks): (&MirrorId, &Vec<Dirty>)| {
            let lacks = lacks.iter().map(|(path, need)| (need.bits(), escaped(path))).collect();
            let target = self.place.targets.get(id).cloned().unwrap_or_default();
            (id.host.clone(), HolderFile { target, lacks })
        };
        let current = Current {
            format: FORMAT,
            number: kept.number,
            boot: boot()?,
            root: self.place.root.clone(),
            mirrors: kept.holders.iter().map(holder).collect(),
        };
        replace(&self.place.current_path(), &serde_json::to_vec(&current)?)
    }

    /// Removes what no longer counts.
    fn sweep(&self) -> io::Result<()> {
        let entries = match fs::read_dir(&self.place.directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        let current = self.current.as_ref().map(|kept| kept.number.to_string());
        for entry in entries {
            let path = entry?.path();
            let number = path.file_stem().and_then(|stem| stem.to_str());
            let is_kept = path.extension().is_some_and(|e| e == "json") || self.next.is_some();
            if !is_kept && number != current.as_deref() {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

/// Names this run of the kernel.
fn boot() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_string())
}

fn escaped(path: &RelPath) -> String {
    if path.is_root() { String::new() } else { path.to_string() }
}

fn dirty(need: u8, path: &str) -> Option<Dirty> {
    Some((RelPath::parse(&unescape(path)).ok()?, Need::from_bits(need)?))
}

fn write_lines(lines: &mut Vec<u8>, entries: &[Dirty]) {
    for (path, need) in entries {
        lines.extend(format!("{} {}\n", need.bits(), escaped(path)).into_bytes());
    }
}

/// None if it is damaged. The last line counts only if it is whole.
fn parse_journal(bytes: &[u8]) -> Option<Vec<Dirty>> {
    let text = std::str::from_utf8(whole_lines(bytes)).ok()?;
    let mut joined: BTreeMap<RelPath, Need> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let (need, path) = line.split_once(' ')?;
        let (path, need) = dirty(need.parse().ok()?, path)?;
        *joined.entry(path).or_default() |= need;
    }
    Some(joined.into_iter().collect())
}

fn whole_lines(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    &bytes[..end]
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use mirrorball_core::data::snapshot::{Facts, Listing};
    use proptest::prelude::*;

    fn place(directory: &Path) -> Place {
        let targets = ["a", "b"].map(|host| (mirror(host), format!("/mirror/{host}")));
        Place { directory: directory.join("site"), root: "/source".into(), targets: targets.into() }
    }

    fn mirror(host: &str) -> MirrorId {
        MirrorId::new(&"site".into(), &host.into())
    }

    fn snapshot() -> Snapshot {
        let facts = Facts { mode: 0o100_644, inode: 1, size: 2, mtime: 3, ctime: 4 };
        let mut snapshot = Snapshot::default();
        snapshot.insert(RelPath::root(), Listing::new(vec![(b"f".to_vec(), facts)]));
        snapshot
    }

    fn entry(path: &[u8], need: Need) -> Dirty {
        (RelPath::parse(path).unwrap(), need)
    }

    fn kept(directory: &Path) -> (Place, Store) {
        let place = place(directory);
        let mut store = Store::new(place.clone());
        let lacks = vec![entry(b"", Need::ATTRIBUTES), entry(b"x\n\xff", Need::CONTENTS)];
        let number = store.begin(Holders::from([(mirror("a"), lacks)]), &[]).unwrap();
        place.write_snapshot(number, &snapshot()).unwrap();
        store.finish(number).unwrap();
        store.append(&[entry(b"d e", Need::TREE)]).unwrap();
        (place, store)
    }

    #[test]
    fn what_was_kept_is_found_again_whatever_the_names() {
        let dir = tempfile::tempdir().unwrap();
        let (place, store) = kept(dir.path());
        let loaded = place.load(false).unwrap().unwrap();
        assert_eq!(loaded.snapshot, snapshot());
        assert_eq!(loaded.journal, [entry(b"d e", Need::TREE)]);
        let lacks = [entry(b"", Need::ATTRIBUTES), entry(b"x\n\xff", Need::CONTENTS)];
        assert_eq!(loaded.holders, Holders::from([(mirror("a"), lacks.to_vec())]));
        store.sync().unwrap();
    }

    #[test]
    fn a_line_that_broke_off_does_not_spoil_what_comes_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let (place, mut store) = kept(dir.path());
        store.current.as_mut().unwrap().journal.write_all(b"8 brok").unwrap();
        let loaded = place.load(false).unwrap().unwrap();
        assert_eq!(loaded.journal.len(), 1);
        let mut store = Store::new(place.clone());
        store.go_on(&loaded).unwrap();
        store.append(&[entry(b"g", Need::CONTENTS)]).unwrap();
        assert_eq!(place.load(false).unwrap().unwrap().journal.len(), 2);
        store.current.as_mut().unwrap().journal.write_all(b"x\n").unwrap();
        assert!(place.load(false).unwrap_err().to_string().contains("journal"));
    }

    #[test]
    fn until_the_new_snapshot_is_there_the_old_one_counts() {
        let dir = tempfile::tempdir().unwrap();
        let (place, mut store) = kept(dir.path());
        let number = store.begin(Holders::from([(mirror("b"), vec![])]), &[]).unwrap();
        store.append(&[entry(b"g", Need::CONTENTS)]).unwrap();
        assert_eq!(place.load(false).unwrap().unwrap().journal.len(), 2);
        place.write_snapshot(number, &Snapshot::default()).unwrap();
        store.withdraw(&[mirror("b")]).unwrap();
        store.finish(number).unwrap();
        let loaded = place.load(false).unwrap().unwrap();
        assert_eq!((loaded.journal.len(), loaded.holders.len()), (1, 0));
        assert_eq!(fs::read_dir(dir.path().join("site")).unwrap().count(), 3);
        store.clear().unwrap();
        assert!(place.load(false).unwrap().is_none());
    }

    #[test]
    fn what_is_foreign_older_or_damaged_does_not_count_and_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let (place, _) = kept(dir.path());
        let current = fs::read_to_string(place.current_path()).unwrap();
        let refused = |from: &str, to: &str| {
            fs::write(place.current_path(), current.replace(from, to)).unwrap();
            place.load(false).unwrap_err().to_string()
        };
        assert!(refused("\"format\":2", "\"format\":0").contains("version"));
        assert!(refused("/source", "/other").contains("source"));
        assert!(refused(&boot().unwrap(), "another").contains("machine"));
        assert!(place.load(true).unwrap().is_some(), "it ended in good order");
        assert!(!refused("{", "[").is_empty());
        fs::write(place.current_path(), current.replace("/mirror/a", "/mirror/z")).unwrap();
        assert!(place.load(false).unwrap().unwrap().holders.is_empty());
        fs::write(place.path(1, "snapshot"), b"x").unwrap();
        assert!(place.load(false).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_whatever_in_its_files_make_it_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..300), which in 0..3_usize
        ) {
            let dir = tempfile::tempdir().unwrap();
            let (place, _) = kept(dir.path());
            let path = [place.current_path(), place.path(1, "journal"), place.path(1, "snapshot")];
            fs::write(&path[which], bytes).unwrap();
            drop(place.load(false));
        }
    }
}
