//! A source, and the mirrors that it is to be brought to.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::run;
use crate::support::servers::{Rsyncd, Sshd};

/// How a mirror is reached.
#[derive(Clone, Debug)]
pub enum Way {
    Rsyncd { port: u16 },
    Ssh { port: u16, keys: PathBuf },
    Local,
}

#[derive(Clone, Debug)]
pub struct Target {
    pub way: Way,
    /// As the way names it: module and path, or an absolute path.
    pub path: String,
    /// Where it is here.
    pub dir: PathBuf,
}

pub struct World {
    pub dir: tempfile::TempDir,
    pub targets: Vec<Target>,
    _servers: (Option<Rsyncd>, Option<Sshd>),
}

impl World {
    /// An empty source with mirrors on one rsync daemon.
    pub fn with_rsyncd(mirrors: usize) -> Self {
        let server = Rsyncd::start();
        let target = |number: usize| Target {
            way: Way::Rsyncd { port: server.port },
            path: format!("m/t{number}"),
            dir: server.path(&format!("t{number}")),
        };
        let targets = (0..mirrors).map(target).collect();
        Self { dir: directory(), targets, _servers: (Some(server), None) }
    }

    pub fn with_ssh() -> Self {
        let (dir, server) = (directory(), Sshd::start());
        let at = dir.path().join("mirror");
        let way = Way::Ssh { port: server.port, keys: server.dir.path().to_path_buf() };
        let targets = vec![Target { way, path: at.display().to_string(), dir: at }];
        Self { dir, targets, _servers: (None, Some(server)) }
    }

    pub fn local() -> Self {
        let dir = directory();
        let at = dir.path().join("mirror");
        let targets = vec![Target { way: Way::Local, path: at.display().to_string(), dir: at }];
        Self { dir, targets, _servers: (None, None) }
    }

    /// One mirror on this port, whatever listens there; `dir` is where its files are, if it has any.
    pub fn behind(port: u16, path: &str, dir: PathBuf, server: Option<Rsyncd>) -> Self {
        let targets = vec![Target { way: Way::Rsyncd { port }, path: path.into(), dir }];
        Self { dir: directory(), targets, _servers: (server, None) }
    }

    pub fn source(&self) -> PathBuf {
        self.dir.path().join("source")
    }

    /// So many files in each of so many directories.
    pub fn fill(&self, directories: usize, files: usize, bytes: usize) {
        fill(&self.source(), directories, files, bytes);
    }

    /// Every mirror becomes equal, by copying.
    pub fn equalize(&self) {
        for target in &self.targets {
            let _ = fs::remove_dir_all(&target.dir);
            let from = self.source();
            run(
                "cp",
                &["-a", &from.display().to_string(), &target.dir.display().to_string()],
                Path::new("/"),
            );
        }
    }

    /// Every mirror is there, and empty.
    pub fn empty(&self) {
        for target in &self.targets {
            let _ = fs::remove_dir_all(&target.dir);
            fs::create_dir(&target.dir).unwrap();
        }
    }
}

fn directory() -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix("mb-bench-").tempdir().unwrap();
    fs::create_dir(dir.path().join("source")).unwrap();
    dir
}

pub fn fill(root: &Path, directories: usize, files: usize, bytes: usize) {
    let content = vec![b'x'; bytes];
    for directory in 0..directories {
        // Not more than a hundred beside each other.
        let at = root.join(format!("d{}", directory / 100)).join(format!("d{directory}"));
        fs::create_dir_all(&at).unwrap();
        for file in 0..files {
            fs::write(at.join(format!("f{file}")), &content).unwrap();
        }
    }
}

/// A flat directory.
pub fn fill_flat(root: &Path, files: usize) {
    for file in 0..files {
        fs::write(root.join(format!("f{file:06}")), b"0").unwrap();
    }
}

impl Target {
    /// As an rsync operand.
    pub fn operand(&self) -> String {
        match &self.way {
            Way::Rsyncd { port } => format!("rsync://127.0.0.1:{port}/{}/", self.path),
            Way::Ssh { .. } => format!("127.0.0.1:{}/", self.path),
            Way::Local => format!("{}/", self.path),
        }
    }

    /// ssh as rsync is to call it.
    pub fn rsh(&self, master: Option<&Path>) -> Option<String> {
        let Way::Ssh { port, keys } = &self.way else { return None };
        let keys = keys.display();
        let master = master.map(|path| format!(" -S {}", path.display())).unwrap_or_default();
        Some(format!(
            "ssh -p {port} -i {keys}/user_key -o UserKnownHostsFile={keys}/known_hosts -o BatchMode=yes{master}"
        ))
    }

    /// rsync with what every run to this target needs.
    pub fn rsync(&self, master: Option<&Path>) -> Command {
        let mut command = Command::new("rsync");
        command.arg("-a");
        if let Some(rsh) = self.rsh(master) {
            command.arg(format!("--rsh={rsh}"));
        }
        command
    }
}
