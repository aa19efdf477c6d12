//! File systems in memory, where this process may mount.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::is_root;

/// A file system of its own, as long as it lives.
pub struct Volume(PathBuf);

impl Volume {
    /// None without the right to mount.
    pub fn mount(at: &Path) -> Option<Self> {
        Self::mount_with(at, &[])
    }

    /// With further arguments for mount(8).
    pub fn mount_with(at: &Path, arguments: &[&str]) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs"]).args(arguments).arg("tmpfs").arg(at);
        mount.output().unwrap().status.success().then(|| Self(at.into()))
    }

    /// A directory at a second place.
    pub fn bind(directory: &Path, at: &Path) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        mount.arg("--bind").arg(directory).arg(at);
        mount.output().unwrap().status.success().then(|| Self(at.into()))
    }

    /// Where mounting is not possible, and it should not have been.
    pub fn say_that_it_was_not_tested() {
        assert!(!is_root() || !may_mount(), "mounting failed");
        println!("not tested: no right to mount");
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Lazily, because whatever still looks at it must not keep the test from ending.
        drop(Command::new("umount").arg("-l").arg(&self.0).output());
    }
}

/// Whether the kernel lets this process mount at all.
fn may_mount() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap() & (1 << 21) != 0
}
