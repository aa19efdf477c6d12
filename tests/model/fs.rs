//! A pretended file system: names, inodes, permissions, volumes.

use std::collections::{BTreeMap, BTreeSet};

use mirrorball_core::data::path::RelPath;

/// The user whom no permission stops.
pub const ROOT_USER: u32 = 0;

/// Modification times that are not set explicitly begin here, in nanoseconds since 1970: late enough to differ
/// from every time that a test sets.
pub const NOW: u64 = 4_000_000_000_000_000_000;

/// How many symbolic links one lookup follows at most, as on Linux.
const LINKS_MAX: usize = 40;

/// Why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errno {
    NotPermitted,
    NoEntry,
    Access,
    Busy,
    Exists,
    CrossDevice,
    NotDirectory,
    IsDirectory,
    NoSpace,
    NotEmpty,
    Loop,
    Quota,
}

impl Errno {
    /// As rsync ends a message with it.
    pub fn text(self) -> &'static str {
        match self {
            Self::NotPermitted => "Operation not permitted (1)",
            Self::NoEntry => "No such file or directory (2)",
            Self::Access => "Permission denied (13)",
            Self::Busy => "Device or resource busy (16)",
            Self::Exists => "File exists (17)",
            Self::CrossDevice => "Invalid cross-device link (18)",
            Self::NotDirectory => "Not a directory (20)",
            Self::IsDirectory => "Is a directory (21)",
            Self::NoSpace => "No space left on device (28)",
            Self::NotEmpty => "Directory not empty (39)",
            Self::Loop => "Too many levels of symbolic links (40)",
            Self::Quota => "Disk quota exceeded (122)",
        }
    }
}

/// What an inode holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Directory,
    /// `content` stands for the bytes: equal numbers are equal bytes.
    File {
        content: u64,
        size: u64,
    },
    Link {
        target: Vec<u8>,
    },
    Fifo,
}

/// What names point to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inode {
    pub body: Body,
    /// Permission bits alone.
    pub mode: u32,
    pub owner: u32,
    /// Nanoseconds since 1970.
    pub mtime: u64,
    /// Counts the changes of the whole file system.
    pub ctime: u64,
}

impl Inode {
    pub fn is_directory(&self) -> bool {
        self.body == Body::Directory
    }
}

/// A directory whose subtree lies on another volume.
#[derive(Clone, Debug)]
struct Volume {
    is_mounted: bool,
    /// The names that can't be seen now: those that the volume covers, or those on the volume.
    hidden: Vec<(RelPath, u64)>,
}

/// Which right a user needs.
#[derive(Clone, Copy)]
enum Right {
    Read = 4,
    Write = 2,
    Search = 1,
}

/// A tree of names. Its root directory may be absent.
#[derive(Clone, Debug)]
pub struct Fs {
    names: BTreeMap<RelPath, u64>,
    inodes: BTreeMap<u64, Inode>,
    volumes: BTreeMap<RelPath, Volume>,
    clock: u64,
    /// On whose behalf calls are made.
    pub user: u32,
    /// Names at which nothing can be changed, whatever the rights (as with `chattr +i`).
    pub poisoned: BTreeSet<RelPath>,
    /// Bytes that all files may have together.
    pub quota: Option<u64>,
}

impl Default for Fs {
    fn default() -> Self {
        Self::new()
    }
}

impl Fs {
    /// An empty root directory.
    pub fn new() -> Self {
        let mut fs = Self::absent();
        fs.make_root();
        fs
    }

    /// Without a root directory.
    pub fn absent() -> Self {
        Self {
            names: BTreeMap::new(),
            inodes: BTreeMap::new(),
            volumes: BTreeMap::new(),
            clock: 0,
            user: ROOT_USER,
            poisoned: BTreeSet::new(),
            quota: None,
        }
    }

    /// Makes the root directory, as `mkdir` above the tree would.
    pub fn make_root(&mut self) {
        let inode = self.new_inode(Body::Directory, 0o755);
        self.names.entry(RelPath::root()).or_insert(inode);
    }

    /// Removes the root directory with all that is in it.
    pub fn remove_root(&mut self) {
        self.names.clear();
        self.collect();
    }

    pub fn exists(&self) -> bool {
        self.names.contains_key(&RelPath::root())
    }

    // Looking.

    /// All names, the root's first.
    pub fn names(&self) -> impl Iterator<Item = (&RelPath, &Inode)> {
        self.names.iter().map(|(path, inode)| (path, &self.inodes[inode]))
    }

    /// All names below a directory, as they are spelled: no link is followed.
    pub fn below(&self, directory: &RelPath) -> Vec<RelPath> {
        match directory.below() {
            Some((start, end)) => self.names.range(start..end).map(|(p, _)| p.clone()).collect(),
            None => self.names.keys().filter(|path| !path.is_root()).cloned().collect(),
        }
    }

    /// What is at a path, without following any link; the rights of nobody are asked for.
    pub fn lookup(&self, path: &RelPath) -> Option<&Inode> {
        self.names.get(path).map(|inode| &self.inodes[inode])
    }

    /// The identity of what is at a path.
    pub fn inode_number(&self, path: &RelPath) -> Option<u64> {
        self.names.get(path).copied()
    }

    pub fn is_directory(&self, path: &RelPath) -> bool {
        self.lookup(path).is_some_and(Inode::is_directory)
    }

    /// `lstat`: links in the middle are followed, the last component is not.
    pub fn lstat(&self, path: &RelPath) -> Result<&Inode, Errno> {
        let real = self.resolve(path, false)?;
        Ok(self.lookup(&real).expect("it was resolved"))
    }

    /// `stat`: all links are followed.
    pub fn stat(&self, path: &RelPath) -> Result<&Inode, Errno> {
        let real = self.resolve(path, true)?;
        Ok(self.lookup(&real).expect("it was resolved"))
    }

    /// The names in a directory, sorted.
    pub fn read_directory(&self, path: &RelPath) -> Result<Vec<Vec<u8>>, Errno> {
        let real = self.resolve(path, true)?;
        self.permit(&real, Right::Read)?;
        if !self.is_directory(&real) {
            return Err(Errno::NotDirectory);
        }
        let is_in = |name: &RelPath| name.parent().as_ref() == Some(&real);
        Ok(self.below(&real).iter().filter(|it| is_in(it)).map(|it| it.name().to_vec()).collect())
    }

    /// `chdir`: the real path of a directory that may be searched.
    pub fn enter(&self, path: &RelPath) -> Result<RelPath, Errno> {
        let real = self.resolve(path, true)?;
        if !self.is_directory(&real) {
            return Err(Errno::NotDirectory);
        }
        self.permit(&real, Right::Search)?;
        Ok(real)
    }

    /// Content and size of a regular file, read now; the last component is not followed.
    pub fn read(&self, path: &RelPath) -> Result<(u64, u64), Errno> {
        let real = self.resolve(path, false)?;
        match self.lookup(&real).expect("it was resolved").body {
            Body::File { content, size } => {
                self.permit(&real, Right::Read)?;
                Ok((content, size))
            }
            Body::Directory => Err(Errno::IsDirectory),
            Body::Link { .. } => Err(Errno::Loop),
            Body::Fifo => Err(Errno::NoEntry),
        }
    }

    /// The path without links in it, but for the last component if that is not to be followed.
    pub fn resolve(&self, path: &RelPath, follow: bool) -> Result<RelPath, Errno> {
        let mut todo: Vec<Vec<u8>> = components(path.as_bytes());
        todo.reverse();
        let mut at = RelPath::root();
        let mut links = 0;
        if !self.exists() {
            return Err(Errno::NoEntry);
        }
        while let Some(name) = todo.pop() {
            if !self.is_directory(&at) {
                return Err(Errno::NotDirectory);
            }
            self.permit(&at, Right::Search)?;
            if name == b".." {
                // Above the tree nothing is pretended.
                at = at.parent().ok_or(Errno::NoEntry)?;
                continue;
            }
            let next = at.join(&name);
            let inode = self.lookup(&next).ok_or(Errno::NoEntry)?;
            match &inode.body {
                Body::Link { target } if follow || !todo.is_empty() => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(Errno::Loop);
                    }
                    if target.starts_with(b"/") {
                        return Err(Errno::NoEntry);
                    }
                    let mut steps = components(target);
                    steps.reverse();
                    todo.extend(steps);
                }
                _ => at = next,
            }
        }
        Ok(at)
    }

    // Changing.

    /// Makes a name for something new, with the time of now.
    pub fn create(&mut self, path: &RelPath, body: Body, mode: u32) -> Result<(), Errno> {
        let place = self.place(path)?;
        if self.names.contains_key(&place) {
            return Err(Errno::Exists);
        }
        if let Body::File { size, .. } = body {
            self.make_room(size)?;
        }
        let inode = self.new_inode(body, mode);
        self.names.insert(place.clone(), inode);
        self.touch_parent(&place);
        Ok(())
    }

    pub fn make_directory(&mut self, path: &RelPath, mode: u32) -> Result<(), Errno> {
        self.create(path, Body::Directory, mode)
    }

    pub fn symlink(&mut self, path: &RelPath, target: &[u8]) -> Result<(), Errno> {
        self.create(path, Body::Link { target: target.to_vec() }, 0o777)
    }

    /// Writes into the file that is there, or makes it, and dates it `mtime` or now.
    pub fn write(
        &mut self,
        path: &RelPath,
        content: u64,
        size: u64,
        mtime: Option<u64>,
    ) -> Result<(), Errno> {
        match self.lstat(path).map(|inode| inode.body.clone()) {
            Err(Errno::NoEntry) => self.create(path, Body::File { content, size }, 0o644)?,
            Err(errno) => return Err(errno),
            Ok(Body::Directory) => return Err(Errno::IsDirectory),
            Ok(Body::Link { .. }) => return Err(Errno::Loop),
            Ok(Body::Fifo) => return Err(Errno::NoEntry),
            Ok(Body::File { size: old, .. }) => {
                let real = self.resolve(path, false)?;
                self.permit(&real, Right::Write)?;
                self.make_room(size.saturating_sub(old))?;
                self.change(&real, |inode| inode.body = Body::File { content, size })?;
                let now = NOW + self.clock;
                self.change(&real, |inode| inode.mtime = now)?;
            }
        }
        match mtime {
            Some(mtime) => self.set_mtime(path, mtime),
            None => Ok(()),
        }
    }

    /// Sets permission bits; not through a link.
    pub fn set_mode(&mut self, path: &RelPath, mode: u32) -> Result<(), Errno> {
        self.change_as_owner(path, |inode| inode.mode = mode)
    }

    /// Sets the modification time, of a link too.
    pub fn set_mtime(&mut self, path: &RelPath, mtime: u64) -> Result<(), Errno> {
        self.change_as_owner(path, |inode| inode.mtime = mtime)
    }

    pub fn set_owner(&mut self, path: &RelPath, owner: u32) -> Result<(), Errno> {
        if self.user != ROOT_USER {
            return Err(Errno::NotPermitted);
        }
        self.change_as_owner(path, |inode| inode.owner = owner)
    }

    /// Another name for the same inode.
    pub fn link(&mut self, from: &RelPath, to: &RelPath) -> Result<(), Errno> {
        let from = self.resolve(from, false)?;
        let place = self.place(to)?;
        if self.names.contains_key(&place) {
            return Err(Errno::Exists);
        }
        if self.is_directory(&from) || self.poisoned.contains(&from) {
            return Err(Errno::NotPermitted);
        }
        if self.volume_of(&from) != self.volume_of(&place) {
            return Err(Errno::CrossDevice);
        }
        self.names.insert(place.clone(), self.names[&from]);
        self.change(&place, |_| ())?;
        self.touch_parent(&place);
        Ok(())
    }

    pub fn unlink(&mut self, path: &RelPath) -> Result<(), Errno> {
        let place = self.place(path)?;
        let inode = self.lookup(&place).ok_or(Errno::NoEntry)?;
        if inode.is_directory() {
            return Err(Errno::IsDirectory);
        }
        self.forget(&place);
        Ok(())
    }

    pub fn remove_directory(&mut self, path: &RelPath) -> Result<(), Errno> {
        let place = self.place(path)?;
        let inode = self.lookup(&place).ok_or(Errno::NoEntry)?;
        if !inode.is_directory() {
            return Err(Errno::NotDirectory);
        }
        if self.is_mount_point(&place) {
            return Err(Errno::Busy);
        }
        if !self.below(&place).is_empty() {
            return Err(Errno::NotEmpty);
        }
        self.forget(&place);
        Ok(())
    }

    pub fn rename(&mut self, from: &RelPath, to: &RelPath) -> Result<(), Errno> {
        let from = self.place(from)?;
        let inode = self.lookup(&from).ok_or(Errno::NoEntry)?;
        let is_directory = inode.is_directory();
        let to = self.place(to)?;
        if from == to || self.names[&from] == self.names.get(&to).copied().unwrap_or(0) {
            return Ok(());
        }
        if self.is_mount_point(&from) || self.is_mount_point(&to) {
            return Err(Errno::Busy);
        }
        if self.volume_of(&from) != self.volume_of(&to) {
            return Err(Errno::CrossDevice);
        }
        if to.is_below(&from) {
            // EINVAL, which nobody here has to tell from this.
            return Err(Errno::Loop);
        }
        match (is_directory, self.lookup(&to)) {
            (false, Some(there)) if there.is_directory() => return Err(Errno::IsDirectory),
            (true, Some(there)) if !there.is_directory() => return Err(Errno::NotDirectory),
            (true, Some(_)) if !self.below(&to).is_empty() => return Err(Errno::NotEmpty),
            _ => (),
        }
        let moved: Vec<RelPath> = [from.clone()].into_iter().chain(self.below(&from)).collect();
        for path in moved {
            let inode = self.names.remove(&path).expect("listed just now");
            self.names.insert(path.rebased(&from, &to).expect("it is there or below"), inode);
        }
        let volumes = std::mem::take(&mut self.volumes);
        let rebase = |path: RelPath| path.rebased(&from, &to).unwrap_or(path);
        for (path, mut volume) in volumes {
            for (hidden, _) in &mut volume.hidden {
                *hidden = rebase(hidden.clone());
            }
            self.volumes.insert(rebase(path), volume);
        }
        self.change(&to, |_| ())?;
        self.touch_parent(&from);
        self.touch_parent(&to);
        self.collect();
        Ok(())
    }

    // Volumes.

    /// Mounts a new, empty volume on a directory.
    pub fn add_volume(&mut self, path: &RelPath) {
        assert!(self.is_directory(path) && !self.volumes.contains_key(path), "mount on {path}");
        let top = self.new_inode(Body::Directory, 0o755);
        let volume = Volume { is_mounted: false, hidden: vec![(path.clone(), top)] };
        self.volumes.insert(path.clone(), volume);
        self.mount(path);
    }

    /// The mount point shows what is on the volume.
    pub fn mount(&mut self, path: &RelPath) {
        if !self.is_mount_point(path) {
            self.swap(path);
        }
    }

    /// The mount point shows what is below it.
    pub fn unmount(&mut self, path: &RelPath) {
        if self.is_mount_point(path) {
            self.swap(path);
        }
    }

    /// Whether a volume is mounted here.
    pub fn is_mount_point(&self, path: &RelPath) -> bool {
        self.volumes.get(path).is_some_and(|volume| volume.is_mounted)
    }

    /// The mount point of the volume that a name lies on; none for that of the root.
    pub fn volume_of(&self, path: &RelPath) -> Option<&RelPath> {
        let mounted = self.volumes.iter().filter(|(_, volume)| volume.is_mounted);
        mounted.map(|(at, _)| at).filter(|at| *at == path || path.is_below(at)).max()
    }

    fn swap(&mut self, path: &RelPath) {
        let seen: Vec<RelPath> = [path.clone()].into_iter().chain(self.below(path)).collect();
        let seen =
            seen.into_iter().filter_map(|it| Some((it.clone(), self.names.remove(&it)?))).collect();
        let volume = self.volumes.get_mut(path).expect("the caller has looked");
        volume.is_mounted = !volume.is_mounted;
        self.names.extend(std::mem::replace(&mut volume.hidden, seen));
    }

    // Within.

    fn new_inode(&mut self, body: Body, mode: u32) -> u64 {
        self.clock += 1;
        let (mtime, ctime, owner) = (NOW + self.clock, self.clock, self.user);
        self.inodes.insert(self.clock, Inode { body, mode, owner, mtime, ctime });
        self.clock
    }

    /// Where a name is to be made, changed or removed: the real path, if the user may do so.
    fn place(&self, path: &RelPath) -> Result<RelPath, Errno> {
        let parent = path.parent().ok_or(Errno::Busy)?;
        let real = self.resolve(&parent, true)?;
        if !self.is_directory(&real) {
            return Err(Errno::NotDirectory);
        }
        self.permit(&real, Right::Search)?;
        let place = real.join(path.name());
        self.permit(&real, Right::Write)?;
        if self.poisoned.contains(&place) {
            return Err(Errno::NotPermitted);
        }
        Ok(place)
    }

    fn permit(&self, path: &RelPath, right: Right) -> Result<(), Errno> {
        let Some(inode) = self.lookup(path) else { return Err(Errno::NoEntry) };
        let shift = if inode.owner == self.user { 6 } else { 0 };
        let is_permitted = self.user == ROOT_USER || inode.mode >> shift & right as u32 != 0;
        if is_permitted { Ok(()) } else { Err(Errno::Access) }
    }

    fn change_as_owner(
        &mut self,
        path: &RelPath,
        change: impl FnOnce(&mut Inode),
    ) -> Result<(), Errno> {
        let real = self.resolve(path, false)?;
        let owner = self.lookup(&real).expect("it was resolved").owner;
        if self.user != ROOT_USER && self.user != owner {
            return Err(Errno::NotPermitted);
        }
        self.change(&real, change)
    }

    fn change(&mut self, real: &RelPath, change: impl FnOnce(&mut Inode)) -> Result<(), Errno> {
        if self.poisoned.contains(real) {
            return Err(Errno::NotPermitted);
        }
        self.clock += 1;
        let number = self.names[real];
        let inode = self.inodes.get_mut(&number).expect("a name has an inode");
        change(inode);
        inode.ctime = self.clock;
        Ok(())
    }

    fn touch_parent(&mut self, place: &RelPath) {
        let Some(parent) = place.parent() else { return };
        let now = NOW + self.clock;
        let number = self.names[&parent];
        let inode = self.inodes.get_mut(&number).expect("a name has an inode");
        (inode.mtime, inode.ctime) = (now, self.clock);
    }

    fn make_room(&self, bytes: u64) -> Result<(), Errno> {
        let Some(quota) = self.quota else { return Ok(()) };
        let sizes = self.inodes.values().map(|inode| match inode.body {
            Body::File { size, .. } => size,
            _ => 0,
        });
        if sizes.sum::<u64>() + bytes > quota { Err(Errno::NoSpace) } else { Ok(()) }
    }

    fn forget(&mut self, place: &RelPath) {
        self.clock += 1;
        self.names.remove(place);
        self.touch_parent(place);
        self.collect();
    }

    /// Drops inodes without a name.
    fn collect(&mut self) {
        let hidden = self.volumes.values().flat_map(|volume| volume.hidden.iter().map(|it| it.1));
        let used: BTreeSet<u64> = self.names.values().copied().chain(hidden).collect();
        self.inodes.retain(|number, _| used.contains(number));
    }
}

fn components(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".");
    parts.map(<[u8]>::to_vec).collect()
}
