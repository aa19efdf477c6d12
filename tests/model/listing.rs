//! The sender's half of a modelled run: the list of what is in the source.

use std::collections::{BTreeMap, VecDeque};

use mirrorball_core::data::path::RelPath;

use super::fs::{Body, Errno, Fs, Inode};
use super::options::{Listed, Missing, RunOptions};
use super::record::{Record, Who};

/// The content of a file that could not be read.
pub const NO_CHECKSUM: u64 = u64::MAX;

/// What an entry was when it was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is to be deleted.
    Missing,
    Directory,
    /// `content` is known to a run with checksums alone.
    File {
        content: u64,
        size: u64,
    },
    Link {
        target: Vec<u8>,
    },
    Fifo,
}

/// One entry of a list.
#[derive(Clone, Debug)]
pub struct Entry {
    pub path: RelPath,
    pub kind: Kind,
    pub mode: u32,
    pub owner: u32,
    pub mtime: u64,
    /// All that is directly in it is listed too, so that the rest can be deleted.
    pub has_contents: bool,
}

impl Entry {
    fn new(path: RelPath, inode: &Inode, has_contents: bool) -> Self {
        let kind = match &inode.body {
            Body::Directory => Kind::Directory,
            Body::File { content, size } => Kind::File { content: *content, size: *size },
            Body::Link { target } => Kind::Link { target: target.clone() },
            Body::Fifo => Kind::Fifo,
        };
        let has_contents = has_contents && kind == Kind::Directory;
        let Inode { mode, owner, mtime, .. } = *inode;
        Self { path, kind, mode, owner, mtime, has_contents }
    }

    /// What can't be read has no checksum, and is equal to what can't be read either.
    fn with_checksum(mut self, options: &RunOptions, source: &Fs) -> Self {
        if let Kind::File { content, .. } = &mut self.kind
            && options.checksum
            && source.read(&within(&options.top, &self.path)).is_err()
        {
            *content = NO_CHECKSUM;
        }
        self
    }

    fn missing(path: RelPath) -> Self {
        Self { path, kind: Kind::Missing, mode: 0, owner: 0, mtime: 0, has_contents: false }
    }

    pub fn is_directory(&self) -> bool {
        self.kind == Kind::Directory
    }
}

/// A list as the receiver gets it: the whole transfer, or one directory.
#[derive(Clone, Debug, Default)]
pub struct FileList {
    /// The directory that it is about; none for the first one of a transfer that does not name its top.
    pub parent: Option<Entry>,
    entries: BTreeMap<RelPath, Entry>,
}

impl FileList {
    /// Of two entries of the same name a directory is kept, or else the first.
    fn add(&mut self, entry: Entry) {
        match self.entries.get_mut(&entry.path) {
            Some(old) if old.is_directory() && entry.is_directory() => {
                old.has_contents |= entry.has_contents;
            }
            Some(old) if !entry.is_directory() || old.is_directory() => (),
            _ => drop(self.entries.insert(entry.path.clone(), entry)),
        }
    }

    pub fn get(&self, path: &RelPath) -> Option<&Entry> {
        self.entries.get(path)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// In rsync's order: depth first, the files of a directory before its subdirectories.
    pub fn sorted(&self) -> Vec<RelPath> {
        let mut paths: Vec<&Entry> = self.entries.values().collect();
        paths.sort_by_key(|entry| sort_key(&entry.path, entry.is_directory()));
        paths.into_iter().map(|entry| entry.path.clone()).collect()
    }
}

/// Directories are compared as if their names ended in a slash.
pub fn sort_key(path: &RelPath, is_directory: bool) -> Vec<(bool, Vec<u8>)> {
    if path.is_root() {
        return Vec::new();
    }
    let names: Vec<&[u8]> = path.as_bytes().split(|b| *b == b'/').collect();
    let last = names.len() - 1;
    let key = |(index, name): (usize, &&[u8])| {
        let is_directory = index < last || is_directory;
        let slash: &[u8] = if is_directory { b"/" } else { b"" };
        (is_directory, [name, slash].concat())
    };
    names.iter().enumerate().map(key).collect()
}

/// A directory below one that is listed, and what of it was named.
#[derive(Clone, Debug)]
struct Todo {
    directory: Entry,
    named: Vec<(RelPath, NameKind)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NameKind {
    Plain,
    WithContents,
    Missing,
}

/// Builds the lists, one name or one directory at a time.
#[derive(Clone, Debug)]
pub struct Lister {
    names: VecDeque<Listed>,
    /// The list that is being built.
    list: FileList,
    /// Of a run that lists at once: directories whose contents come next, the next one last.
    scans: Vec<RelPath>,
    /// Of a run that lists one by one: directories that are still to be listed, the next one last.
    todo: Vec<Todo>,
    named: BTreeMap<RelPath, Vec<(RelPath, NameKind)>>,
    names_top: bool,
    last_implied: Option<RelPath>,
    is_first: bool,
    /// Something could not be read, so that nothing may be deleted.
    pub has_failed: bool,
}

impl Lister {
    pub fn new(options: &RunOptions) -> Self {
        let whole = Listed { path: RelPath::root(), with_contents: true, is_opened: false };
        let names: VecDeque<Listed> = options.list.clone().unwrap_or_else(|| vec![whole]).into();
        Self {
            names_top: options.list.is_none(),
            names,
            list: FileList::default(),
            scans: Vec::new(),
            todo: Vec::new(),
            named: BTreeMap::new(),
            last_implied: None,
            is_first: true,
            has_failed: false,
        }
    }

    pub fn is_done(&self) -> bool {
        !self.is_first && self.todo.is_empty()
    }

    /// Takes the next name or directory; returns a list when one is complete.
    pub fn advance(
        &mut self,
        options: &RunOptions,
        source: &Fs,
        record: &mut Record,
    ) -> Option<FileList> {
        if self.is_first {
            if let Some(directory) = self.scans.pop() {
                self.scan(&directory, options, source, record);
                return None;
            }
            if let Some(name) = self.names.pop_front() {
                self.take(&name, options, source, record);
                return None;
            }
            self.is_first = false;
        } else {
            let Todo { directory, named } = self.todo.pop()?;
            let path = directory.path.clone();
            if directory.has_contents {
                self.read_directory(&path, options, source, record);
            }
            self.list.parent = Some(directory);
            for (name, kind) in named {
                self.take_below(&path, &name, kind, options, source, record);
            }
        }
        let mut list = std::mem::take(&mut self.list);
        if list.parent.is_none() {
            list.parent = list.get(&RelPath::root()).cloned();
        }
        if options.is_incremental() {
            for path in list.sorted().into_iter().rev().filter(|path| !path.is_root()) {
                let entry = &list.entries[&path];
                if entry.is_directory() {
                    let named = self.named.remove(&path).unwrap_or_default();
                    self.todo.push(Todo { directory: entry.clone(), named });
                }
            }
        }
        Some(list)
    }

    /// A name of `--files-from`.
    fn take(&mut self, name: &Listed, options: &RunOptions, source: &Fs, record: &mut Record) {
        let Listed { path, with_contents, is_opened } = name;
        if *is_opened {
            let inside = source.below(path).into_iter().rev();
            for path in inside.filter(|it| it.parent().as_ref() == Some(path)) {
                let name = Listed { path, with_contents: false, is_opened: false };
                self.names.push_front(name);
            }
            return;
        }
        // Extras directly in something are asked for of directories alone.
        if options.names_extras && *with_contents && !source.is_directory(path) {
            return;
        }
        if !path.is_root() && !self.names_top && options.implied_dirs {
            // Named as `./path`: the top comes along, without its contents.
            self.names_top = true;
            self.add_found(&RelPath::root(), false, options, source, record);
        }
        let full = within(&options.top, path);
        let found = match look(source, &full, *with_contents) {
            Ok(inode) => Some(inode.clone()),
            Err(errno) if errno != Errno::NoEntry || options.missing == Missing::Fails => {
                self.has_failed |= errno != Errno::NoEntry;
                let call = "link_stat %s failed";
                return record.fail(&Who::Sender.failed(call, &options.top, path, errno));
            }
            Err(_) if options.missing == Missing::Ignored => return,
            Err(_) => None,
        };
        let is_directory = found.as_ref().is_some_and(Inode::is_directory);
        if found.is_some() && options.hides(path, is_directory) {
            return;
        }
        let is_incremental = options.is_incremental() && options.implied_dirs;
        if is_incremental && path.as_bytes().contains(&b'/') {
            let kind = match found {
                None => NameKind::Missing,
                Some(_) if *with_contents => NameKind::WithContents,
                Some(_) => NameKind::Plain,
            };
            return self.imply_next(&RelPath::root(), path, kind, options, source, record);
        }
        if options.implied_dirs {
            self.imply_all(path, options, source, record);
        }
        let Some(inode) = found else { return self.list.add(Entry::missing(path.clone())) };
        let has_contents = options.recursive || *with_contents;
        let entry = Entry::new(path.clone(), &inode, has_contents);
        if entry.has_contents && (path.is_root() || !options.is_incremental()) {
            if options.is_incremental() {
                self.read_directory(path, options, source, record);
            } else {
                self.scans.push(path.clone());
            }
        }
        self.list.add(entry.with_checksum(options, source));
    }

    /// A name below a directory that is listed one by one.
    fn take_below(
        &mut self,
        directory: &RelPath,
        path: &RelPath,
        kind: NameKind,
        options: &RunOptions,
        source: &Fs,
        record: &mut Record,
    ) {
        let is_direct = path.parent().as_ref() == Some(directory);
        match kind {
            _ if !is_direct => self.imply_next(directory, path, kind, options, source, record),
            NameKind::Missing => self.list.add(Entry::missing(path.clone())),
            NameKind::Plain | NameKind::WithContents => {
                let follows = kind == NameKind::WithContents;
                self.add_found(path, follows, options, source, record);
                if let Some(entry) = self.list.entries.get_mut(path) {
                    entry.has_contents |= entry.is_directory();
                }
            }
        }
    }

    /// The directory between `above` and a listed name, which is listed when that directory is.
    fn imply_next(
        &mut self,
        above: &RelPath,
        path: &RelPath,
        kind: NameKind,
        options: &RunOptions,
        source: &Fs,
        record: &mut Record,
    ) {
        let next = path.ancestors().find(|it| it.parent().as_ref() == Some(above));
        let next = next.expect("it lies deeper");
        if !self.named.contains_key(&next) {
            self.imply(&next, options, source, record);
        }
        if self.list.get(&next).is_some_and(Entry::is_directory) {
            self.named.entry(next).or_default().push((path.clone(), kind));
        }
    }

    /// All directories above a listed name, but for those that the name before it has in common with it.
    fn imply_all(
        &mut self,
        path: &RelPath,
        options: &RunOptions,
        source: &Fs,
        record: &mut Record,
    ) {
        let mut above: Vec<RelPath> = path.ancestors().filter(|it| !it.is_root()).collect();
        above.reverse();
        let last = self.last_implied.take();
        let is_common =
            |it: &RelPath| last.as_ref().is_some_and(|last| last == it || last.is_below(it));
        for directory in above.iter().filter(|it| !is_common(it)) {
            self.imply(directory, options, source, record);
        }
        self.last_implied = above.last().cloned().filter(|it| !is_common(it)).or(last);
    }

    /// An implied directory: no rule hides it, and a link to a directory is followed. A link to nowhere is sent as
    /// it is, and what is listed below it is left out without a word.
    fn imply(&mut self, path: &RelPath, options: &RunOptions, source: &Fs, record: &mut Record) {
        match look(source, &within(&options.top, path), true) {
            Ok(inode) => self.list.add(Entry::new(path.clone(), inode, false)),
            Err(errno) => self.not_found(path, errno, options, record),
        }
    }

    fn not_found(
        &mut self,
        path: &RelPath,
        errno: Errno,
        options: &RunOptions,
        record: &mut Record,
    ) {
        if errno == Errno::NoEntry {
            let name = Who::Sender.quoted(&options.top, path);
            return record.vanished(&format!("file has vanished: {name}"));
        }
        self.has_failed = true;
        let full = Who::Sender.quoted(&options.top, path);
        record.fail(&format!("rsync: [sender] readlink_stat({full}) failed: {}", errno.text()));
    }

    /// An entry that somebody says is there.
    fn add_found(
        &mut self,
        path: &RelPath,
        follows: bool,
        options: &RunOptions,
        source: &Fs,
        record: &mut Record,
    ) {
        let full = within(&options.top, path);
        match look(source, &full, follows) {
            Ok(inode) if options.hides(path, inode.is_directory()) => (),
            Ok(inode) => {
                let has_contents = options.recursive && !path.is_root();
                let entry = Entry::new(path.clone(), inode, has_contents);
                self.list.add(entry.with_checksum(options, source));
            }
            Err(_) if options.hides(path, false) || options.hides(path, true) => (),
            Err(errno) => self.not_found(path, errno, options, record),
        }
    }

    /// Everything directly in a directory.
    fn read_directory(
        &mut self,
        path: &RelPath,
        options: &RunOptions,
        source: &Fs,
        record: &mut Record,
    ) -> Vec<RelPath> {
        let at = within(&options.top, path);
        // Without a list the directory can't be opened either, where nothing in it may be looked at.
        let at = if options.list.is_none() { source.enter(&at) } else { Ok(at) };
        let names = match at.and_then(|at| source.read_directory(&at)) {
            Ok(names) => names,
            Err(Errno::NoEntry) => {
                let name = Who::Sender.quoted(&options.top, path);
                record.vanished(&format!("directory has vanished: {name}"));
                return Vec::new();
            }
            Err(errno) => {
                self.has_failed = true;
                let call = "opendir %s failed";
                record.fail(&Who::Sender.failed(call, &options.top, path, errno));
                return Vec::new();
            }
        };
        let paths: Vec<RelPath> = names.iter().map(|name| path.join(name)).collect();
        for path in &paths {
            self.add_found(path, false, options, source, record);
        }
        paths
    }

    fn scan(&mut self, path: &RelPath, options: &RunOptions, source: &Fs, record: &mut Record) {
        let mut inside = self.read_directory(path, options, source, record);
        if options.recursive {
            inside.retain(|path| self.list.get(path).is_some_and(Entry::is_directory));
            inside.reverse();
            self.scans.extend(inside);
        }
    }
}

/// What is at a path; a link to a directory is that directory if links are followed, any other link is itself.
fn look<'a>(source: &'a Fs, path: &RelPath, follows: bool) -> Result<&'a Inode, Errno> {
    let found = source.lstat(path)?;
    match source.stat(path) {
        _ if !follows => Ok(found),
        Ok(target) if target.is_directory() => Ok(target),
        // Links in a circle can't be sent; any other link can.
        Err(Errno::Loop) => Err(Errno::Loop),
        Ok(_) | Err(_) => Ok(found),
    }
}

/// Where a name of the transfer is in the tree.
pub fn within(top: &RelPath, path: &RelPath) -> RelPath {
    path.rebased(&RelPath::root(), top).expect("everything lies below the root")
}
