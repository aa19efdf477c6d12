//! Real servers, the real binary and real trees for tests and for the demo: each on free loopback ports
//! in temporary directories; each ends exactly the processes that it started.

#![allow(
    dead_code,
    clippy::disallowed_methods,
    missing_docs,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub
)]

pub mod hanging;
pub mod servers;
pub mod tree;
pub mod volume;

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};
use serde_json::Value;

/// Number of `openat2`, the same on every architecture.
const OPENAT2: i64 = 437;

/// A user without rights.
pub const NOBODY: u32 = 65534;

/// How long a fact may take to come true before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for a fact.
pub fn wait_for<T>(what: &str, fact: impl FnMut() -> Option<T>) -> T {
    wait_for_with(what, fact, String::new)
}

/// Waits for a fact, and says this where it does not come true.
fn wait_for_with<T>(
    what: &str,
    mut fact: impl FnMut() -> Option<T>,
    describe: impl Fn() -> String,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = fact() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain for: {what}\n{}", describe());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A directory for small trees, in memory where there is such a place.
pub fn in_memory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.into() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("mb-").tempdir_in(place).unwrap()
}

/// A child process that ends with its owner.
pub struct Owned(pub Child);

impl Drop for Owned {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program that is being tested.
pub fn binary() -> PathBuf {
    std::env::var_os("MIRRORBALL").map_or_else(built, Into::into)
}

/// Where cargo puts the program beside a test or an example.
fn built() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.ancestors().nth(2).unwrap().join("mirrorball")
}

/// Whether this process may mark whole file systems: CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH.
pub fn may_mark() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    u64::from_str_radix(line.trim(), 16).unwrap() & 0x20_0004 == 0x20_0004
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What broke off can't land any more after twice the timeout.
const LOCAL: &str =
    "Local(retry: Retry(first: \"100ms\", max: \"1s\"), limits: Limits(timeout: \"2s\"))";

/// A daemon under test, and where its things are.
pub struct Daemon {
    pub dir: tempfile::TempDir,
    process: Option<Owned>,
    hosts: String,
    mirrors: String,
    root_options: String,
    environment: Vec<(String, String)>,
    by_nobody: bool,
    below: &'static str,
    descriptors_max: Option<u64>,
    watches_max: Option<u64>,
    without_openat2: Option<Errno>,
}

impl Daemon {
    /// A root `source`, without mirrors yet.
    pub fn new() -> Self {
        Self::within(&std::env::temp_dir())
    }

    /// The same, with everything below this directory.
    pub fn within(place: &Path) -> Self {
        let dir = tempfile::Builder::new().prefix("mb-").tempdir_in(place).unwrap();
        std::fs::create_dir(dir.path().join("source")).unwrap();
        Self {
            dir,
            process: None,
            hosts: String::new(),
            mirrors: String::new(),
            root_options: String::new(),
            environment: Vec::new(),
            by_nobody: false,
            below: "",
            descriptors_max: None,
            watches_max: None,
            without_openat2: None,
        }
    }

    /// The daemon shall not be root, who may read everything. Nothing may be in the source yet.
    pub fn by_nobody(mut self) -> Self {
        self.by_nobody = is_root();
        self
    }

    /// The daemon may have no more open files than this.
    pub fn descriptors_max(mut self, max: u64) -> Self {
        self.descriptors_max = Some(max);
        self
    }

    /// The kernel shall give the daemon no more watches than this, in a user namespace of its own.
    pub fn watches_max(mut self, max: u64) -> Self {
        self.watches_max = Some(max);
        self
    }

    /// The daemon and its children shall get this answer from `openat2`, as in a sandbox that forbids it.
    pub fn without_openat2(mut self, answer: Errno) -> Self {
        self.without_openat2 = Some(answer);
        self
    }

    /// The source shall lie deeper by this directory.
    pub fn below(mut self, name: &'static str) -> Self {
        self.below = name;
        std::fs::create_dir(self.source()).unwrap();
        self
    }

    pub fn source(&self) -> PathBuf {
        self.dir.path().join("source").join(self.below)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Further fields of the root, such as `settle: "1s",`.
    pub fn root_options(mut self, options: &str) -> Self {
        self.root_options.push_str(options);
        self
    }

    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// A host by its RON, and the mirror's path there; `options` are further fields of the mirror.
    pub fn mirror(mut self, name: &str, host: &str, path: &str, options: &str) -> Self {
        writeln!(self.hosts, "        {name:?}: {host},").unwrap();
        writeln!(self.mirrors, "            (host: {name:?}, path: {path:?}, {options}),").unwrap();
        self
    }

    /// A mirror in a directory beside the source; returns its path too.
    pub fn local(self, name: &str) -> Self {
        let path = self.path(name).display().to_string();
        self.mirror(name, LOCAL, &path, "")
    }

    pub fn config_path(&self) -> PathBuf {
        self.path("mirrorball.ron")
    }

    pub fn write_config(&self) {
        let text = format!(
            "Config(\n    state_dir: {:?},\n    control: Control(socket: {:?}),\n    log: Log(level: \
             Debug),\n    hosts: {{\n{}    }},\n    roots: {{\n        \"site\": Root(\n            \
             source: {:?},\n            {}\n            mirrors: [\n{}            ],\n        ),\n    \
             }},\n)\n",
            self.path("state"),
            self.path("sock"),
            self.hosts,
            self.source(),
            self.watch_option() + &self.root_options,
            self.mirrors,
        );
        std::fs::write(self.config_path(), text).unwrap();
    }

    /// `WATCH=Fanotify` runs the tests over that, but for those that are about something else.
    fn watch_option(&self) -> String {
        let is_else =
            self.by_nobody || self.watches_max.is_some() || self.descriptors_max.is_some();
        let wanted = std::env::var("WATCH").ok();
        let wanted = wanted.filter(|_| !is_else && !self.root_options.contains("watch:"));
        wanted.map(|watch| format!("watch: {watch},")).unwrap_or_default()
    }

    /// Starts the daemon; returns when it answers.
    pub fn start(mut self) -> Self {
        self.write_config();
        self.start_again();
        self
    }

    pub fn start_again(&mut self) {
        let log =
            std::fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = match (self.descriptors_max, self.watches_max) {
            (None, None) => Command::new(binary()),
            (None, Some(max)) => {
                let mut limited = Command::new("unshare");
                let script = "echo $0 > /proc/sys/user/max_inotify_watches; exec \"$@\"";
                limited.args(["--user", "--map-root-user", "sh", "-c", script]);
                limited.arg(max.to_string()).arg(binary());
                limited
            }
            (Some(max), _) => {
                let mut limited = Command::new("sh");
                let script = format!("ulimit -n {max}; exec \"$0\" \"$@\"");
                limited.arg("-c").arg(script).arg(binary());
                limited
            }
        };
        if self.by_nobody {
            for path in [self.dir.path(), &self.source()] {
                std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
            command.uid(NOBODY).gid(NOBODY);
        }
        command
            .args(["run", "--config"])
            .arg(self.config_path())
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let child = match self.without_openat2 {
            None => command.spawn(),
            Some(answer) => spawn_without_openat2(command, answer),
        };
        self.process = Some(Owned(child.unwrap()));
        let socket = self.path("sock");
        wait_for("the daemon's socket", || UnixStream::connect(&socket).ok().map(drop));
    }

    pub fn process_id(&self) -> u32 {
        self.process.as_ref().expect("it was started").0.id()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_raw(self.process_id().cast_signed()).unwrap();
        rustix::process::kill_process(id, signal).unwrap();
    }

    /// Waits for the daemon's own end.
    pub fn wait(&mut self) -> i32 {
        let mut process = self.process.take().expect("it was started");
        let status = wait_for("the daemon's end", || process.0.try_wait().unwrap());
        status.code().unwrap_or(-1)
    }

    /// Shuts it down cleanly.
    pub fn shut_down(&mut self) {
        self.signal(rustix::process::Signal::TERM);
        assert_eq!(self.wait(), 0);
    }

    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Runs a verb against this daemon.
    pub fn verb(&self, arguments: &[&str]) -> Output {
        Command::new(binary())
            .args(arguments)
            .arg("--socket")
            .arg(self.path("sock"))
            .output()
            .unwrap()
    }

    /// What `status --json` shows, without a process for each look.
    pub fn status(&self) -> Value {
        let stream = UnixStream::connect(self.path("sock"));
        let stream = stream.unwrap_or_else(|error| panic!("{error}\n{}", self.log_tail()));
        let (code, _, body) = ask(stream, "GET /status", "localhost");
        assert_eq!(code, 200, "{body}\n{}", self.log_tail());
        serde_json::from_str(&body).unwrap()
    }

    pub fn mirror_status(&self, host: &str) -> Value {
        let status = self.status();
        let mirrors = status["mirrors"].as_array().unwrap();
        mirrors.iter().find(|m| m["host"] == host).expect("a mirror on that host").clone()
    }

    /// Waits until a mirror's status is as wanted.
    pub fn wait_for_mirror(&self, host: &str, what: &str, fact: impl Fn(&Value) -> bool) -> Value {
        wait_for_with(
            what,
            || Some(self.mirror_status(host)).filter(&fact),
            || format!("{:#}\n{}", self.mirror_status(host), self.log_tail()),
        )
    }

    /// Waits until a mirror is in this state.
    pub fn wait_for_state(&self, host: &str, state: &str) -> Value {
        self.wait_for_mirror(host, state, |mirror| mirror["state"] == state)
    }

    /// Waits until everything is on the selected mirrors (all for "").
    pub fn flush(&self, selector: &str) {
        let mut arguments = vec!["flush", "--timeout", "60s"];
        arguments.extend((!selector.is_empty()).then_some(selector));
        let output = self.verb(&arguments);
        assert!(output.status.success(), "flush: {}\n{}", text(&output.stderr), self.log_tail());
    }

    /// What is held or halted is not there, and a flush says so; all that may be pushed was, meanwhile.
    pub fn flush_waits_in_vain(&self) {
        let output = self.verb(&["flush", "--timeout", "1s"]);
        assert!(!output.status.success(), "a flush is not done while something is held");
    }

    pub fn log(&self) -> String {
        text(&std::fs::read(self.path("log")).unwrap_or_default())
    }

    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

/// A filter for system calls is one thread's, and passes to the children that this thread makes.
fn spawn_without_openat2(mut command: Command, answer: Errno) -> std::io::Result<Child> {
    let answer = SeccompAction::Errno(answer.raw_os_error().cast_unsigned());
    let forbidden = [(OPENAT2, Vec::new())].into();
    let architecture = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(forbidden, SeccompAction::Allow, answer, architecture).unwrap();
    let filter: BpfProgram = filter.try_into().unwrap();
    let spawn = move || {
        seccompiler::apply_filter(&filter).unwrap();
        command.spawn()
    };
    std::thread::spawn(spawn).join().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Sends a request such as `GET /status`. Returns the status code, the head and the body of the answer.
pub fn ask(mut server: impl Read + Write, request: &str, host: &str) -> (u16, String, String) {
    write!(server, "{request} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    server.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, head.to_string(), body.to_string())
}

/// Runs a program to its good end.
pub fn run(program: &str, arguments: &[&str], directory: &Path) {
    let output = Command::new(program).args(arguments).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", text(&output.stderr));
}
