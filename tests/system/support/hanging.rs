//! A file system whose server can stop answering: a minimal FUSE server, see `fuse(4)` and `linux/fuse.h`.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// A directory of files, mounted as long as this lives.
pub struct HangingVolume {
    at: PathBuf,
    shared: Arc<Shared>,
    server: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Names and contents; the inode number is the position plus two.
    files: BTreeMap<String, Vec<u8>>,
    is_hanging: bool,
    is_over: bool,
}

impl HangingVolume {
    /// Mounts one with this file. None without the right to do so.
    pub fn mount(at: &Path, name: &str, content: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let device = File::options().read(true).write(true).open("/dev/fuse").ok()?;
        let options =
            format!("fd={},rootmode=40755,user_id=0,group_id=0,allow_other\0", device.as_raw_fd());
        let options = std::ffi::CStr::from_bytes_with_nul(options.as_bytes()).unwrap();
        mount("hanging", at, "fuse.hanging", MountFlags::empty(), options).ok()?;
        let files = BTreeMap::from([(name.into(), content.as_bytes().to_vec())]);
        let state = Mutex::new(State { files, ..State::default() });
        let shared = Arc::new(Shared { state, changed: Condvar::new() });
        let server = Server { device, shared: shared.clone() };
        let server = Some(std::thread::spawn(move || server.serve()));
        Some(Self { at: at.into(), shared, server })
    }

    /// No request is answered any more.
    pub fn hang(&self) {
        self.shared.state.lock().unwrap().is_hanging = true;
    }

    /// All requests are answered again, those that wait too.
    pub fn answer_again(&self) {
        self.shared.state.lock().unwrap().is_hanging = false;
        self.shared.changed.notify_all();
    }

    /// Adds a file.
    pub fn write(&self, name: &str, content: &str) {
        let mut state = self.shared.state.lock().unwrap();
        state.files.insert(name.into(), content.as_bytes().to_vec());
    }
}

impl Drop for HangingVolume {
    fn drop(&mut self) {
        // The end of the server, which closes the device, fails all requests that wait.
        let _ = unmount(&self.at, UnmountFlags::DETACH);
        self.shared.state.lock().unwrap().is_over = true;
        self.shared.changed.notify_all();
        self.server.take().map(JoinHandle::join);
    }
}

struct Server {
    device: File,
    shared: Arc<Shared>,
}

/// So often a server looks whether it is to end.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const READ: u32 = 15;
const STATFS: u32 = 17;
const RELEASE: u32 = 18;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const OPENDIR: u32 = 27;
const READDIR: u32 = 28;
const RELEASEDIR: u32 = 29;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;

const ROOT: u64 = 1;

impl Server {
    fn serve(mut self) {
        let mut request = vec![0; 256 * 1024];
        loop {
            let shared = self.shared.clone();
            let state = shared.state.lock().unwrap();
            let waits = |state: &mut State| state.is_hanging && !state.is_over;
            let state = shared.changed.wait_while(state, waits).unwrap();
            if state.is_over {
                return;
            }
            let mut readable = [PollFd::new(&self.device, PollFlags::IN)];
            if poll(&mut readable, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) == Ok(0) {
                drop(state);
                let _ = poll(&mut [PollFd::new(&self.device, PollFlags::IN)], Some(&LOOK));
                continue;
            }
            // It may have been unmounted, or a request may have been taken back.
            let Ok(length) = self.device.read(&mut request) else { continue };
            self.answer(&state, &request[..length]);
        }
    }

    fn answer(&mut self, state: &State, request: &[u8]) {
        let (operation, id, node) = (u32_at(request, 4), u64_at(request, 8), u64_at(request, 16));
        let body = &request[40..];
        let answer = match operation {
            FORGET | BATCH_FORGET | INTERRUPT => return,
            INIT => Ok(init(body)),
            LOOKUP => lookup(state, body),
            GETATTR => attributes(state, node).map(|it| [vec![0; 16], it].concat()),
            OPEN | OPENDIR => Ok(vec![0; 16]),
            READ => {
                let (offset, size) = (u64_at(body, 8) as usize, u32_at(body, 16) as usize);
                content(state, node).map(|it| it.iter().skip(offset).take(size).copied().collect())
            }
            READDIR => Ok(entries(state, u64_at(body, 8) as usize, u32_at(body, 16) as usize)),
            STATFS => Ok(statistics()),
            RELEASE | RELEASEDIR | FLUSH => Ok(Vec::new()),
            _ => Err(Errno::NOSYS),
        };
        let (error, body) = match answer {
            Ok(body) => (0, body),
            Err(error) => (-error.raw_os_error(), Vec::new()),
        };
        let mut message = Vec::new();
        message.extend((16 + body.len() as u32).to_ne_bytes());
        message.extend(error.to_ne_bytes());
        message.extend(id.to_ne_bytes());
        message.extend(body);
        // The request may have been interrupted meanwhile.
        drop(self.device.write(&message));
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// `fuse_init_out`: version 7.31, nothing special.
fn init(request: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    answer.extend(7_u32.to_ne_bytes());
    answer.extend(31_u32.to_ne_bytes());
    answer.extend(u32_at(request, 8).to_ne_bytes());
    answer.resize(20, 0);
    answer.extend((64 * 1024_u32).to_ne_bytes());
    answer.extend(1_u32.to_ne_bytes());
    answer.resize(64, 0);
    answer
}

/// `fuse_entry_out`, whose times say that nothing may be cached.
fn lookup(state: &State, name: &[u8]) -> Result<Vec<u8>, Errno> {
    let name = name.strip_suffix(b"\0").unwrap_or(name);
    let at = state.files.keys().position(|it| it.as_bytes() == name).ok_or(Errno::NOENT)?;
    let node = at as u64 + 2;
    let mut answer = node.to_ne_bytes().to_vec();
    answer.resize(40, 0);
    answer.extend(attributes(state, node)?);
    Ok(answer)
}

fn content(state: &State, node: u64) -> Result<&Vec<u8>, Errno> {
    let at = node.checked_sub(2).ok_or(Errno::ISDIR)? as usize;
    state.files.values().nth(at).ok_or(Errno::STALE)
}

/// `fuse_attr`.
fn attributes(state: &State, node: u64) -> Result<Vec<u8>, Errno> {
    let (mode, size) =
        if node == ROOT { (0o40_755, 0) } else { (0o100_644, content(state, node)?.len() as u64) };
    let mut answer = Vec::new();
    for number in [node, size, size.div_ceil(512), 1_000_000_000, 1_000_000_000, 1_000_000_000] {
        answer.extend(number.to_ne_bytes());
    }
    for number in [0, 0, 0, mode, 1, 0, 0, 0, 4096, 0_u32] {
        answer.extend(number.to_ne_bytes());
    }
    Ok(answer)
}

/// `fuse_dirent`s from this position.
fn entries(state: &State, offset: usize, most: usize) -> Vec<u8> {
    let mut answer = Vec::new();
    for (at, name) in state.files.keys().enumerate().skip(offset) {
        let mut entry = Vec::new();
        entry.extend((at as u64 + 2).to_ne_bytes());
        entry.extend((at as u64 + 1).to_ne_bytes());
        entry.extend((name.len() as u32).to_ne_bytes());
        entry.extend(8_u32.to_ne_bytes());
        entry.extend(name.as_bytes());
        entry.resize(entry.len().next_multiple_of(8), 0);
        if answer.len() + entry.len() > most {
            break;
        }
        answer.extend(entry);
    }
    answer
}

/// `fuse_kstatfs`.
fn statistics() -> Vec<u8> {
    let mut answer = vec![0; 40];
    for number in [4096, 255, 4096_u32] {
        answer.extend(number.to_ne_bytes());
    }
    answer.resize(80, 0);
    answer
}
