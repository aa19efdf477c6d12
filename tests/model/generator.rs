//! The generator of a modelled run: it compares entries with the mirror, makes what needs no data, deletes, and asks
//! for the rest.

use std::collections::BTreeSet;

use mirrorball_core::data::attributes::Attributes;
use mirrorball_core::data::path::RelPath;

use super::fs::{Body, Errno, Fs, Inode, ROOT_USER};
use super::listing::{Entry, FileList, Kind, NO_CHECKSUM, sort_key, within};
use super::options::{AltDest, Missing, RunOptions};
use super::record::{Item, Record, Who};

/// What the user's umask takes away from the mode of what is new, where modes are not kept.
const UMASK: u32 = 0o022;

/// In which capacity an entry is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// As itself.
    Entry,
    /// A directory, made early because the one above it is being worked on.
    Early,
}

/// A file that the sender is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    pub entry: Entry,
    /// How it will be itemized once it was sent.
    pub item: String,
}

/// How a deletion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deleted {
    Yes,
    Failed,
    NotEmpty,
    AtLimit,
}

/// What a deletion makes way for, as rsync calls it; none for one that is an end in itself.
type MakesWayFor = Option<&'static str>;

/// State between entries.
#[derive(Clone, Debug, Default)]
pub struct Generator {
    /// The depth of a directory that could not be made, or is not to be made: what lies deeper is left out.
    skips_below: Option<usize>,
    /// The same for one that a dry run has not made: what lies deeper is not there.
    missing_below: Option<usize>,
    missing: BTreeSet<RelPath>,
    created: BTreeSet<RelPath>,
    deleted: u64,
    pub skipped: u64,
    /// Something could not be read, here or by the sender: nothing is deleted any more.
    pub has_failed: bool,
    has_warned: bool,
    /// A dry run found no target directory: nothing is there.
    pub has_no_target: bool,
    /// Where else files are looked for.
    pub basis: Option<RelPath>,
    /// The directory of the entry before.
    last_parent: Option<RelPath>,
    last_directory: Option<RelPath>,
}

/// What the generator works with.
pub struct Bench<'a> {
    pub options: &'a RunOptions,
    pub mirror: &'a mut Fs,
    pub record: &'a mut Record,
}

impl Bench<'_> {
    pub fn at(&self, path: &RelPath) -> RelPath {
        within(&self.options.top, path)
    }

    pub fn failed(&mut self, who: Who, call: &str, path: &RelPath, errno: Errno) {
        self.record.fail(&who.failed(call, &self.options.top, path, errno));
    }

    /// What is there. With checksums, two files that neither end can read are equal.
    fn look(&self, at: &RelPath) -> Result<Inode, Errno> {
        let mut inode = self.mirror.lstat(at)?.clone();
        if let Body::File { content, .. } = &mut inode.body
            && self.options.checksum
            && self.mirror.read(at).is_err()
        {
            *content = NO_CHECKSUM;
        }
        Ok(inode)
    }

    fn is_root(&self) -> bool {
        self.mirror.user == ROOT_USER
    }

    /// Itemizes what is made or compared here.
    fn itemize(&mut self, item: Item, entry: &Entry, there: Option<&Inode>) {
        let (line, is_significant) =
            item.line(entry, there, self.is_root(), !self.options.is_daemon);
        if is_significant || self.options.itemizes_all {
            self.record.itemize(line);
        }
    }

    /// Gives what is at `path` the attributes of an entry. Stops at the first that can't be set.
    pub fn set_attributes(&mut self, who: Who, entry: &Entry, path: &RelPath) {
        if self.options.dry_run {
            return;
        }
        let at = self.at(path);
        let there = match self.mirror.lstat(&at) {
            Ok(inode) => inode.clone(),
            Err(errno) => return self.failed(who, "stat %s failed", path, errno),
        };
        let omitted = self.options.omitted;
        let keeps = |attributes| !omitted.contains(attributes);
        if self.is_root()
            && there.owner != entry.owner
            && keeps(Attributes::OWNER)
            && let Err(errno) = self.mirror.set_owner(&at, entry.owner)
        {
            return self.failed(who, "chown %s failed", path, errno);
        }
        if there.mtime != entry.mtime
            && keeps(Attributes::TIMES)
            && let Err(errno) = self.mirror.set_mtime(&at, entry.mtime)
        {
            return self.failed(who, "failed to set times on %s", path, errno);
        }
        if there.mode != entry.mode
            && !matches!(there.body, Body::Link { .. })
            && let Err(errno) = self.mirror.set_mode(&at, entry.mode)
        {
            self.failed(who, "failed to set permissions on %s", path, errno);
        }
    }

    /// Makes a file under a temporary name.
    pub fn make_temporary(
        &mut self,
        who: Who,
        entry: &Entry,
        content: u64,
        size: u64,
    ) -> Result<RelPath, Option<Errno>> {
        let temporary = self.unused_name(&entry.path);
        let at = self.at(&temporary);
        let body = Body::File { content: 0, size: 0 };
        if let Err(errno) = self.mirror.create(&at, body, entry.mode & 0o700 | 0o200) {
            self.failed(who, "mkstemp %s failed", &temporary, errno);
            return Err(None);
        }
        if let Err(errno) = self.mirror.write(&at, content, size, None) {
            let call = "write failed on %s";
            self.record.warn(&Who::Receiver.failed(call, &self.options.top, &entry.path, errno));
            self.remove_temporary(&temporary);
            return Err(Some(errno));
        }
        Ok(temporary)
    }

    /// `.name.XXXXXX`, of which nothing is there; a dot at the begin of the name is not doubled.
    fn unused_name(&self, path: &RelPath) -> RelPath {
        let name = path.name();
        let plain = name.strip_prefix(b".").unwrap_or(name);
        let parent = path.parent().expect("a file lies in a directory");
        let named =
            |number: u64| parent.join(&[b".", plain, format!(".t{number:05}").as_bytes()].concat());
        let is_unused = |path: &RelPath| self.mirror.lookup(&self.at(path)).is_none();
        (1..).map(named).find(is_unused).expect("no directory holds all numbers")
    }

    /// Gives the temporary file its attributes, and its name.
    pub fn finish(&mut self, who: Who, entry: &Entry, temporary: &RelPath) -> bool {
        self.set_attributes(who, entry, temporary);
        let (from, to) = (self.at(temporary), self.at(&entry.path));
        let Err(errno) = self.mirror.rename(&from, &to) else { return true };
        let call = format!("rename %s -> \"{}\"", entry.path);
        self.failed(who, &call, temporary, errno);
        self.remove_temporary(temporary);
        false
    }

    pub fn remove_temporary(&mut self, temporary: &RelPath) {
        let at = self.at(temporary);
        // Where it can't be removed, it stays.
        let _ = self.mirror.unlink(&at);
    }
}

fn depth(path: &RelPath) -> usize {
    path.ancestors().count()
}

impl Generator {
    /// A directory is new, although it is there by now.
    pub fn has_made(&mut self, directory: RelPath) {
        self.created.insert(directory);
    }

    /// Whether what is too much in a directory is deleted: not where it could not be made. A list as a whole asks for
    /// it where the directory was compared, and not where it was passed over.
    pub fn may_delete_in(&self, directory: &RelPath, options: &RunOptions) -> bool {
        let is_compared = self.last_directory.as_ref() == Some(directory);
        !self.missing.contains(directory) && (options.is_incremental() || is_compared)
    }

    /// Looks at one entry; returns what the sender is to be asked for.
    pub fn consider(
        &mut self,
        entry: &Entry,
        role: Role,
        list: &FileList,
        bench: &mut Bench,
    ) -> Option<Request> {
        let Entry { path, .. } = entry;
        let options = bench.options;
        let is_directory = entry.is_directory();
        if let Some(skipped) = self.skips_below {
            if depth(path) > skipped {
                if is_directory {
                    self.missing.insert(path.clone());
                }
                return None;
            }
            self.skips_below = None;
        }
        let is_below_missing =
            self.has_no_target || self.missing_below.is_some_and(|missing| depth(path) > missing);
        if is_below_missing {
            self.last_parent = None;
        } else {
            self.missing_below = None;
            self.expect_parent(entry, list, bench)?;
        }
        let at = bench.at(path);
        let found = match is_below_missing {
            true => Err(Errno::NoEntry),
            false => bench.look(&at),
        };
        let mut entry = entry.clone();
        if options.omitted.contains(Attributes::PERMISSIONS) && entry.kind != Kind::Missing {
            entry.mode = match &found {
                Ok(there) => there.mode,
                Err(_) => entry.mode & !UMASK,
            };
        }
        let entry = &entry;
        if options.missing == Missing::Deleted && entry.kind == Kind::Missing {
            if let Ok(there) = &found
                && !options.protects(path, false)
            {
                self.delete(path, there, options.delete, None, bench);
            }
            return None;
        }
        if options.existing && found == Err(Errno::NoEntry) {
            if is_directory && role == Role::Entry {
                self.skips_below = Some(depth(path));
                self.missing.insert(path.clone());
            }
            return None;
        }
        if options.ignore_existing
            && found.as_ref().is_ok_and(|there| !is_directory || !there.is_directory())
        {
            return None;
        }
        match &entry.kind {
            Kind::Directory if role == Role::Early => {
                self.make_early(entry, found.ok(), bench);
                None
            }
            Kind::Directory => {
                self.make_directory(entry, found.ok(), bench);
                None
            }
            Kind::Link { .. } | Kind::Fifo => {
                self.make_special(entry, found.ok(), bench);
                None
            }
            Kind::File { .. } => self.compare(entry, found, bench),
            Kind::Missing => None,
        }
    }

    /// A list as a whole must hold the directory of each entry; the run is ended otherwise. Only what is to be deleted
    /// need not have one.
    fn expect_parent(&mut self, entry: &Entry, list: &FileList, bench: &mut Bench) -> Option<()> {
        let parent = entry.path.parent().unwrap_or_else(RelPath::root);
        if !bench.options.implied_dirs {
            return self.make_parent(entry, &parent, bench);
        }
        let is_known = self.last_parent.as_ref() == Some(&parent)
            || self.last_directory.as_ref() == Some(&parent)
            || parent.is_root()
            || bench.options.is_incremental();
        if !is_known {
            match list.get(&parent).map(|it| &it.kind) {
                Some(Kind::Directory) => (),
                Some(Kind::Missing) if entry.kind == Kind::Missing => (),
                None if entry.kind == Kind::Missing => {
                    let line = format!("WARNING: parent dir is absent in the file list: {parent}");
                    bench.record.warn(&line);
                }
                _ => {
                    let line = format!("ABORTING due to invalid path from sender: {}", entry.path);
                    bench.record.warn(&line);
                    bench.record.fatal = Some(2);
                    return None;
                }
            }
        }
        self.last_parent = Some(parent);
        Some(())
    }

    /// The directory of an entry that came without those above it.
    fn make_parent(&mut self, entry: &Entry, parent: &RelPath, bench: &mut Bench) -> Option<()> {
        let is_new = self.last_parent.as_ref() != Some(parent);
        self.last_parent = Some(parent.clone());
        let at = bench.at(parent);
        let is_missing = bench.mirror.stat(&at) == Err(Errno::NoEntry);
        if !is_new || entry.kind == Kind::Missing || !is_missing {
            return Some(());
        }
        if bench.options.dry_run {
            self.missing_below = Some(depth(parent));
            return Some(());
        }
        let made =
            make_above(&at, bench.mirror).and_then(|()| bench.mirror.make_directory(&at, 0o755));
        if let Err(errno) = made {
            bench.failed(Who::Generator, "recv_generator: mkdir %s failed", parent, errno);
        }
        Some(())
    }

    /// Made while the directory above it is worked on, so that its time can be set; the rest comes later.
    fn make_early(&mut self, entry: &Entry, there: Option<Inode>, bench: &mut Bench) {
        if let Some(there) = there
            && (there.is_directory()
                || self.clear(&entry.path, &there, "directory", bench) != Deleted::Yes)
        {
            return;
        }
        let at = bench.at(&entry.path);
        if bench.options.dry_run || bench.mirror.make_directory(&at, entry.mode & 0o700).is_ok() {
            self.created.insert(entry.path.clone());
        }
    }

    fn make_directory(&mut self, entry: &Entry, mut there: Option<Inode>, bench: &mut Bench) {
        let Entry { path, .. } = entry;
        let dry_run = bench.options.dry_run;
        if let Some(obstacle) = there.take_if(|it| !it.is_directory())
            && self.clear(path, &obstacle, "directory", bench) != Deleted::Yes
        {
            return self.skip_contents(path, bench);
        }
        if dry_run && there.is_none() {
            self.missing_below.get_or_insert(depth(path));
            self.missing.insert(path.clone());
        }
        let compared = there.clone().filter(|_| !self.created.contains(path));
        match (&compared, self.basis(entry, bench)) {
            (None, Some((basis, level))) => {
                let item = Item { local_change: true, ..Default::default() };
                if level < 3 || bench.options.itemizes_all {
                    bench.itemize(item, entry, Some(&basis));
                }
            }
            _ => {
                let item = Item { local_change: compared.is_none(), ..Default::default() };
                bench.itemize(item, entry, compared.as_ref());
            }
        }
        if there.is_none() && !dry_run {
            let at = bench.at(path);
            let made = bench.mirror.make_directory(&at, entry.mode);
            let made = match made {
                Err(Errno::NoEntry) => make_above(&at, bench.mirror)
                    .and_then(|()| bench.mirror.make_directory(&at, entry.mode)),
                made => made,
            };
            if let Err(errno) = made
                && errno != Errno::Exists
            {
                let call = "recv_generator: mkdir %s failed";
                bench.failed(Who::Generator, call, path, errno);
                return self.skip_contents(path, bench);
            }
        }
        bench.set_attributes(Who::Generator, entry, path);
        if !bench.is_root() && entry.mode & 0o700 != 0o700 && !dry_run {
            let at = bench.at(path);
            if let Err(errno) = bench.mirror.set_mode(&at, entry.mode | 0o700) {
                let call = "failed to modify permissions on %s";
                bench.failed(Who::Generator, call, path, errno);
            }
        }
        self.last_directory = Some(path.clone());
    }

    fn skip_contents(&mut self, path: &RelPath, bench: &mut Bench) {
        bench.record.warn("*** Skipping any contents from this failed directory ***");
        self.skips_below = Some(depth(path));
        self.missing.insert(path.clone());
    }

    /// A link or a named pipe.
    fn make_special(&mut self, entry: &Entry, there: Option<Inode>, bench: &mut Bench) {
        let Entry { path, .. } = entry;
        let (body, what) = match &entry.kind {
            Kind::Link { target } => (Body::Link { target: target.clone() }, "symlink"),
            _ => (Body::Fifo, "special file"),
        };
        let mut compared = there.clone();
        let mut is_silent = false;
        if let Some(there) = &there {
            if there.body == body {
                bench.set_attributes(Who::Generator, entry, path);
                return bench.itemize(Item::default(), entry, Some(there));
            }
            if std::mem::discriminant(&there.body) != std::mem::discriminant(&body) {
                compared = None;
            }
        } else if let Some((basis, level)) = self.basis(entry, bench) {
            let is_link = bench.options.alt_dest.as_ref().is_some_and(|it| it.0 == AltDest::Link);
            if level == 3 {
                let is_made = is_link && self.link_to_basis(path, bench);
                if bench.options.itemizes_all {
                    let item =
                        Item { local_change: true, is_linked: is_made, ..Default::default() };
                    bench.itemize(item, entry, Some(&basis));
                }
                if is_made {
                    return;
                }
                is_silent = true;
            }
            compared = Some(basis);
        }
        if !self.replace_by_special(entry, there.as_ref(), body, what, bench) {
            return;
        }
        bench.set_attributes(Who::Generator, entry, path);
        if !is_silent {
            let item = Item { local_change: true, report_change: true, ..Default::default() };
            bench.itemize(item, entry, compared.as_ref());
        }
    }

    /// Under a temporary name and renamed, unless a directory is there, or nothing.
    fn replace_by_special(
        &mut self,
        entry: &Entry,
        there: Option<&Inode>,
        body: Body,
        what: &'static str,
        bench: &mut Bench,
    ) -> bool {
        let Entry { path, .. } = entry;
        if let Some(there) = there.filter(|it| it.is_directory())
            && self.clear(path, there, what, bench) != Deleted::Yes
        {
            return false;
        }
        if bench.options.dry_run {
            return true;
        }
        let is_atomic = there.is_some_and(|it| !it.is_directory());
        let name = if is_atomic { bench.unused_name(path) } else { path.clone() };
        let at = bench.at(&name);
        let call = match &body {
            Body::Link { target } => {
                format!("symlink %s -> \"{}\" failed", String::from_utf8_lossy(target))
            }
            _ => "mknod %s failed".into(),
        };
        if let Err(errno) = bench.mirror.create(&at, body, entry.mode) {
            bench.failed(Who::Generator, &call, &name, errno);
            return false;
        }
        if is_atomic && let Err(errno) = bench.mirror.rename(&at, &bench.at(path)) {
            let call =
                format!("rename %s -> {} failed", Who::Generator.quoted(&bench.options.top, path));
            bench.failed(Who::Generator, &call, &name, errno);
            bench.remove_temporary(&name);
            return false;
        }
        true
    }

    /// A regular file.
    fn compare(
        &mut self,
        entry: &Entry,
        found: Result<Inode, Errno>,
        bench: &mut Bench,
    ) -> Option<Request> {
        let Entry { path, .. } = entry;
        let options = bench.options;
        let mut found = found;
        if let Ok(there) = &found
            && !matches!(there.body, Body::File { .. })
        {
            if self.clear(path, there, "regular file", bench) != Deleted::Yes {
                return None;
            }
            found = Err(Errno::NoEntry);
        }
        let mut there = match found {
            Ok(inode) => Some(inode),
            Err(Errno::NoEntry) => None,
            // With another place to look at, what is found there counts first; none here has one.
            Err(errno) => {
                bench.failed(Who::Generator, "recv_generator: failed to stat %s", path, errno);
                return None;
            }
        };
        let mut is_basis = false;
        if let Some((alt_dest, _)) = &options.alt_dest
            && (there.is_none() || *alt_dest == AltDest::Link)
            && let Some((basis, level)) = self.basis(entry, bench)
        {
            let is_there = there.is_some();
            if level == 3 && *alt_dest == AltDest::Link && self.take_linked(entry, is_there, bench)
            {
                return None;
            }
            if !is_there && level >= 2 {
                if self.take_copy(entry, bench) {
                    let item = Item { local_change: true, ..Default::default() };
                    bench.itemize(item, entry, Some(&basis));
                    return None;
                }
            } else if !is_there {
                is_basis = true;
                there = Some(basis);
            }
        }
        if let Some(inode) = &there
            && !is_basis
            && is_same(entry, inode, options)
        {
            bench.set_attributes(Who::Generator, entry, path);
            bench.itemize(Item::default(), entry, Some(inode));
            return None;
        }
        let item = Item { transfer: true, report_change: options.checksum, ..Default::default() };
        let (item, _) = item.line(entry, there.as_ref(), bench.is_root(), !options.is_daemon);
        Some(Request { entry: entry.clone(), item })
    }

    // Where renamed files were.

    /// What the other directory has of this name and type, and how equal it is: 2 in content, 3 in all.
    fn basis(&self, entry: &Entry, bench: &Bench) -> Option<(Inode, u8)> {
        let inode = bench.look(&within(self.basis.as_ref()?, &entry.path)).ok()?;
        let is_same_kind = matches!(
            (&entry.kind, &inode.body),
            (Kind::Directory, Body::Directory)
                | (Kind::File { .. }, Body::File { .. })
                | (Kind::Link { .. }, Body::Link { .. })
                | (Kind::Fifo, Body::Fifo)
        );
        if !is_same_kind {
            return None;
        }
        let level = match is_same(entry, &inode, bench.options) {
            false => 1,
            true if has_same_attributes(entry, &inode, bench.is_root()) => 3,
            true => 2,
        };
        Some((inode, level))
    }

    fn link_to_basis(&self, path: &RelPath, bench: &mut Bench) -> bool {
        let Some(from) = &self.basis else { return false };
        let (from, to) = (within(from, path), bench.at(path));
        bench.options.dry_run || bench.mirror.link(&from, &to).is_ok()
    }

    /// Whether the file is now another name of its basis. One that is already is compared as usual.
    fn take_linked(&self, entry: &Entry, is_there: bool, bench: &mut Bench) -> bool {
        let Entry { path, .. } = entry;
        let at = bench.at(path);
        let Some(from) = &self.basis else { return false };
        let from = bench.mirror.resolve(&within(from, path), false);
        if is_there {
            let number = bench.mirror.resolve(&at, false).map(|it| bench.mirror.inode_number(&it));
            if from.map(|it| bench.mirror.inode_number(&it)) == number {
                return false;
            }
            if !matches!(bench.mirror.unlink(&at), Ok(()) | Err(Errno::NoEntry)) {
                return false;
            }
        }
        if !self.link_to_basis(path, bench) {
            return false;
        }
        let there = bench.mirror.lstat(&at).ok().cloned();
        if bench.options.itemizes_all {
            let item = Item { local_change: true, is_linked: true, ..Default::default() };
            bench.itemize(item, entry, there.as_ref());
        }
        true
    }

    fn take_copy(&mut self, entry: &Entry, bench: &mut Bench) -> bool {
        if bench.options.dry_run {
            return true;
        }
        let Some(from) = &self.basis else { return false };
        let Ok((content, size)) = bench.mirror.read(&within(from, &entry.path)) else {
            return false;
        };
        let made = bench.make_temporary(Who::Generator, entry, content, size);
        made.is_ok_and(|temporary| bench.finish(Who::Generator, entry, &temporary))
    }

    // Deleting.

    /// Deletes what is in a directory of the mirror and not in the list.
    pub fn delete_in(&mut self, directory: &RelPath, list: &FileList, bench: &mut Bench) {
        if self.has_no_target {
            return;
        }
        if self.has_failed {
            if !self.has_warned {
                bench.record.info("IO error encountered -- skipping file deletion");
                self.has_warned = true;
            }
            return;
        }
        let (inside, _) = self.read_directory(directory, bench);
        for (path, inode) in inside.into_iter().rev() {
            if list.get(&path).is_none() {
                self.delete(&path, &inode, true, None, bench);
            }
        }
    }

    /// What may be deleted in a directory of the mirror, in rsync's order, and whether anything else is in it.
    fn read_directory(
        &mut self,
        directory: &RelPath,
        bench: &mut Bench,
    ) -> (Vec<(RelPath, Inode)>, bool) {
        let names = match bench.mirror.read_directory(&bench.at(directory)) {
            Ok(names) => names,
            Err(Errno::NoEntry) => return (Vec::new(), false),
            Err(errno) => {
                self.has_failed = true;
                bench.failed(Who::Generator, "opendir %s failed", directory, errno);
                return (Vec::new(), false);
            }
        };
        let mut inside = Vec::new();
        let mut has_protected = false;
        for name in names {
            let path = directory.join(&name);
            let inode = match bench.mirror.lstat(&bench.at(&path)).cloned() {
                Ok(inode) => inode,
                Err(_) if [false, true].iter().any(|it| bench.options.protects(&path, *it)) => {
                    continue;
                }
                Err(errno) => {
                    self.has_failed = true;
                    let name = Who::Generator.quoted(&bench.options.top, &path);
                    let call = format!("rsync: [generator] readlink_stat({name}) failed");
                    bench.record.fail(&format!("{call}: {}", errno.text()));
                    continue;
                }
            };
            if bench.options.protects(&path, inode.is_directory()) {
                has_protected = true;
            } else {
                inside.push((path, inode));
            }
        }
        inside.sort_by_key(|(path, inode)| sort_key(path, inode.is_directory()));
        (inside, has_protected)
    }

    /// Makes way for an entry of another type.
    fn clear(
        &mut self,
        path: &RelPath,
        there: &Inode,
        what: &'static str,
        bench: &mut Bench,
    ) -> Deleted {
        self.delete(path, there, bench.options.delete, Some(what), bench)
    }

    fn delete(
        &mut self,
        path: &RelPath,
        inode: &Inode,
        with_contents: bool,
        for_what: MakesWayFor,
        bench: &mut Bench,
    ) -> Deleted {
        make_deletable(path, inode, bench);
        let mut deleted = Deleted::Yes;
        if inode.is_directory() {
            deleted = self.empty(path, with_contents, bench);
        }
        if deleted == Deleted::Yes {
            deleted = self.delete_entry(path, inode, for_what.is_some(), bench);
        }
        if let Some(what) = for_what.filter(|_| deleted != Deleted::Yes) {
            bench.record.fail(&format!("could not make way for new {what}: {path}"));
        }
        deleted
    }

    fn empty(&mut self, directory: &RelPath, with_contents: bool, bench: &mut Bench) -> Deleted {
        let (inside, has_protected) = self.read_directory(directory, bench);
        let mut deleted = if has_protected { Deleted::NotEmpty } else { Deleted::Yes };
        if !with_contents && !inside.is_empty() {
            deleted = Deleted::NotEmpty;
        } else {
            for (path, inode) in inside.iter().rev() {
                make_deletable(path, inode, bench);
                if inode.is_directory() && self.empty(path, true, bench) != Deleted::Yes {
                    deleted = Deleted::NotEmpty;
                }
                if self.delete_entry(path, inode, false, bench) != Deleted::Yes {
                    deleted = Deleted::NotEmpty;
                }
            }
        }
        if deleted == Deleted::NotEmpty {
            bench.record.info(&format!("cannot delete non-empty directory: {directory}"));
        }
        deleted
    }

    /// One name. Only what makes way is not counted.
    fn delete_entry(
        &mut self,
        path: &RelPath,
        inode: &Inode,
        makes_way: bool,
        bench: &mut Bench,
    ) -> Deleted {
        if !makes_way && bench.options.max_delete.is_some_and(|most| self.deleted >= most) {
            self.skipped += 1;
            return Deleted::AtLimit;
        }
        let at = bench.at(path);
        let is_directory = inode.is_directory();
        let done = match is_directory {
            _ if bench.options.dry_run => Ok(()),
            true => bench.mirror.remove_directory(&at),
            false => bench.mirror.unlink(&at),
        };
        match done {
            Ok(()) if makes_way => Deleted::Yes,
            Ok(()) => {
                bench.record.deleting(path, is_directory);
                self.deleted += 1;
                Deleted::Yes
            }
            Err(Errno::NotEmpty) => {
                bench.record.info(&format!("cannot delete non-empty directory: {path}"));
                Deleted::NotEmpty
            }
            Err(Errno::NoEntry) => Deleted::Yes,
            Err(errno) => {
                let call = if is_directory { "rmdir" } else { "unlink" };
                let who = Who::Generator.name();
                let line =
                    format!("rsync: [{who}] delete_file: {call}({path}) failed: {}", errno.text());
                bench.record.fail(&line);
                Deleted::Failed
            }
        }
    }

    /// Dates a directory once more, after all that was done in it.
    pub fn touch_up(&self, entry: &Entry, bench: &mut Bench) {
        let Entry { path, .. } = entry;
        if bench.options.dry_run || self.missing.contains(path) {
            return;
        }
        let at = bench.at(path);
        // What can't be set here was said before.
        if !bench.is_root() && entry.mode & 0o200 == 0 {
            let _ = bench.mirror.set_mode(&at, entry.mode);
        }
        let is_dated = !bench.options.omitted.contains(Attributes::TIMES);
        if is_dated && bench.mirror.lstat(&at).is_ok_and(|there| there.mtime != entry.mtime) {
            let _ = bench.mirror.set_mtime(&at, entry.mtime);
        }
    }
}

/// A user's own entry that is read-only is made writable before it is deleted.
fn make_deletable(path: &RelPath, inode: &Inode, bench: &mut Bench) {
    let is_own = !bench.is_root() && inode.owner == bench.mirror.user;
    if is_own && inode.mode & 0o200 == 0 && !bench.options.dry_run {
        let at = bench.at(path);
        let _ = bench.mirror.set_mode(&at, inode.mode | 0o200);
    }
}

/// Directories that nobody listed, or that went meanwhile.
fn make_above(path: &RelPath, mirror: &mut Fs) -> Result<(), Errno> {
    let mut above: Vec<RelPath> = path.ancestors().collect();
    above.reverse();
    for directory in above.iter().filter(|it| !it.is_root()) {
        match mirror.make_directory(directory, 0o755) {
            Ok(()) | Err(Errno::Exists) => (),
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// rsync's quick check, or that of contents.
fn is_same(entry: &Entry, there: &Inode, options: &RunOptions) -> bool {
    match (&entry.kind, &there.body) {
        (Kind::File { content, size }, Body::File { content: old, size: old_size }) => {
            size == old_size
                && match options.checksum {
                    true => content == old,
                    false => !options.ignore_times && entry.mtime == there.mtime,
                }
        }
        (Kind::Link { target }, Body::Link { target: old }) => target == old,
        (Kind::Directory, Body::Directory) | (Kind::Fifo, Body::Fifo) => true,
        _ => false,
    }
}

fn has_same_attributes(entry: &Entry, there: &Inode, keeps_owners: bool) -> bool {
    let is_link = matches!(entry.kind, Kind::Link { .. });
    entry.mtime == there.mtime
        && (is_link || entry.mode == there.mode)
        && (!keeps_owners || entry.owner == there.owner)
}
