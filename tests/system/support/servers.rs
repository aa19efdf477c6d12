//! Real rsync daemons and ssh servers, and hosts that misbehave.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{Owned, is_root, run, wait_for};

/// A port that nobody uses.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts a server, and waits until it listens.
fn serve(program: &str, arguments: &[&str], port: u16) -> Owned {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let process = Owned(command.spawn().unwrap());
    wait_for(program, || TcpStream::connect(("127.0.0.1", port)).ok().map(drop));
    process
}

/// An rsync daemon with a module `m`.
pub struct Rsyncd {
    pub dir: tempfile::TempDir,
    pub port: u16,
    process: Option<Owned>,
}

impl Rsyncd {
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// With further lines for the module.
    pub fn start_with(options: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("mb-rsyncd-").tempdir().unwrap();
        std::fs::create_dir(dir.path().join("m")).unwrap();
        Self::start_in(dir, options)
    }

    /// In a directory with `m` in it.
    pub fn start_in(dir: tempfile::TempDir, options: &str) -> Self {
        // Only a chroot keeps links as they are; only root can have one.
        let rights = if is_root() {
            "use chroot = yes\nuid = root\ngid = root\n"
        } else {
            "use chroot = no\nmunge symlinks = no\n"
        };
        let port = free_port();
        let config = format!(
            "port = {port}\naddress = 127.0.0.1\n{rights}log file = {}\n[m]\npath = {}\nread only = \
             no\n{options}\n",
            dir.path().join("log").display(),
            dir.path().join("m").display()
        );
        std::fs::write(dir.path().join("conf"), config).unwrap();
        let mut server = Self { dir, port, process: None };
        server.start_again();
        server
    }

    pub fn start_again(&mut self) {
        let config = format!("--config={}", self.dir.path().join("conf").display());
        self.process = Some(serve("rsync", &["--daemon", "--no-detach", &config], self.port));
    }

    pub fn stop(&mut self) {
        self.process = None;
    }

    pub fn process_id(&self) -> u32 {
        self.process.as_ref().expect("it was started").0.id()
    }

    /// Where a path of the module is here.
    pub fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join("m").join(path)
    }

    /// The host as RON.
    pub fn ron(&self) -> String {
        rsyncd_ron(self.port)
    }
}

pub fn rsyncd_ron(port: u16) -> String {
    format!(
        "Rsyncd(address: \"127.0.0.1\", port: {port}, retry: Retry(first: \"100ms\", max: \"1s\"), \
         limits: Limits(timeout: \"5s\"))"
    )
}

/// The same host, which is not tried again while a test looks at it.
pub fn untried(ron: &str) -> String {
    let quick = "first: \"100ms\", max: \"1s\"";
    assert!(ron.contains(quick), "{ron}");
    ron.replace(quick, "first: \"1h\", max: \"1h\"")
}

/// An ssh server that lets this user in by a key of its own.
pub struct Sshd {
    pub dir: tempfile::TempDir,
    pub port: u16,
    process: Option<Owned>,
}

impl Sshd {
    pub fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("mb-sshd-").tempdir().unwrap();
        let path = dir.path();
        for key in ["host_key", "user_key"] {
            run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", key], path);
        }
        std::fs::copy(path.join("user_key.pub"), path.join("authorized_keys")).unwrap();
        if is_root() {
            std::fs::create_dir_all("/run/sshd").unwrap();
        }
        let port = free_port();
        // With a home of its own a login reads none of this user's start-up files, which may do much or say something.
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {0}/host_key\nAuthorizedKeysFile \
             {0}/authorized_keys\nStrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\n\
             PasswordAuthentication no\nMaxSessions 20\nSetEnv HOME={0}\n",
            path.display()
        );
        std::fs::write(path.join("config"), config).unwrap();
        let host_key = std::fs::read_to_string(path.join("host_key.pub")).unwrap();
        let known = format!("[127.0.0.1]:{port} {host_key}");
        std::fs::write(path.join("known_hosts"), known).unwrap();
        let mut server = Self { dir, port, process: None };
        server.start_again();
        server
    }

    pub fn start_again(&mut self) {
        let program =
            ["/usr/sbin/sshd", "/usr/bin/sshd"].into_iter().find(|p| Path::new(p).exists());
        let program = program.expect("make setup installs openssh");
        let config = self.dir.path().join("config").display().to_string();
        self.process = Some(serve(program, &["-D", "-e", "-f", &config], self.port));
    }

    pub fn stop(&mut self) {
        self.process = None;
    }

    /// The host as RON.
    pub fn ron(&self) -> String {
        let file = |name: &str| self.dir.path().join(name).display().to_string();
        format!(
            "Ssh(address: \"127.0.0.1\", port: {}, identity: {:?}, known_hosts: {:?}, retry: \
             Retry(first: \"100ms\", max: \"1s\"), limits: Limits(timeout: \"10s\"))",
            self.port,
            file("user_key"),
            file("known_hosts")
        )
    }
}

/// A host that accepts connections and never says a word.
pub struct Fake {
    pub port: u16,
    stop: Arc<AtomicBool>,
    connected: Arc<AtomicBool>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the accepting thread, so that it sees the flag.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

impl Fake {
    /// Whether anybody came.
    pub fn was_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Accepts and never answers.
    pub fn hanging() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let fake = Self { port, stop: Arc::default(), connected: Arc::default() };
        let (stop, connected) = (fake.stop.clone(), fake.connected.clone());
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                connected.store(true, Ordering::Relaxed);
                open.push(stream);
            }
        });
        fake
    }
}

/// Passes connections on to a port, until they are cut, and as slowly as it is told.
pub struct Proxy {
    pub port: u16,
    delay_ms: Arc<AtomicU64>,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    pub fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let proxy = Self { port, delay_ms: Arc::default(), streams: Arc::default() };
        let (delay_ms, streams) = (proxy.delay_ms.clone(), proxy.streams.clone());
        // It ends with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                let both = [(client.try_clone(), server.try_clone()), (Ok(server), Ok(client))];
                for (from, to) in both {
                    let (Ok(from), Ok(to)) = (from, to) else { continue };
                    streams.lock().unwrap().extend(from.try_clone());
                    let delay_ms = delay_ms.clone();
                    std::thread::spawn(move || pass_on(from, to, &delay_ms));
                }
            }
        });
        proxy
    }

    /// Every connection is cut, wherever it is.
    pub fn cut(&self) {
        for stream in self.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Each piece of up to 4 KiB takes so long from now on.
    pub fn slow_down(&self, delay_ms: u64) {
        self.delay_ms.store(delay_ms, Ordering::Relaxed);
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, delay_ms: &AtomicU64) {
    let mut buffer = vec![0; 4096];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        match delay_ms.load(Ordering::Relaxed) {
            0 => (),
            delay => std::thread::sleep(Duration::from_millis(delay)),
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
}
