//! The programs that are compared, each as its users run it.

use std::fmt::Write;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::measure::{self, Figures};
use crate::support::binary;
use crate::world::{Way, World};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    Mirrorball,
    Lsyncd,
    Loop,
}

pub const ALL: [Program; 3] = [Program::Mirrorball, Program::Lsyncd, Program::Loop];

impl Program {
    pub fn name(self) -> &'static str {
        match self {
            Self::Mirrorball => "mirrorball",
            Self::Lsyncd => "lsyncd",
            Self::Loop => "inotifywait and rsync",
        }
    }
}

/// A program that keeps a world's mirrors.
pub struct Running {
    pub program: Program,
    child: Child,
    dir: PathBuf,
    mirrors: usize,
    cpu_before: f64,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It leads a group of its own: its children end with it.
        let group = rustix::process::Pid::from_raw(self.child.id().cast_signed()).unwrap();
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::TERM);
        std::thread::sleep(std::time::Duration::from_millis(100));
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.child.wait();
    }
}

impl Running {
    /// Starts it. `settled` is false where it is to act on each event at once.
    pub fn start(program: Program, world: &World, settled: bool) -> Self {
        let dir = world.dir.path().join(format!("{program:?}"));
        fs::create_dir_all(&dir).unwrap();
        let mut command = match program {
            Program::Mirrorball => {
                fs::write(dir.join("config"), mirrorball_config(world, &dir, settled)).unwrap();
                let mut command = Command::new(binary());
                command.args(["run", "--config"]).arg(dir.join("config"));
                command
            }
            Program::Lsyncd => {
                fs::write(dir.join("config"), lsyncd_config(world, settled)).unwrap();
                let mut command = Command::new("lsyncd");
                command.args(["-nodaemon", "-log", "Normal"]).arg(dir.join("config"));
                command
            }
            Program::Loop => {
                fs::write(dir.join("script"), loop_script(world, &dir)).unwrap();
                let mut command = Command::new("bash");
                command.arg(dir.join("script"));
                command
            }
        };
        let log = File::create(dir.join("log")).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap();
        Self { program, child, dir, mirrors: world.targets.len(), cpu_before: 0.0 }
    }

    /// Starts it, and waits until it is watching and every mirror was compared.
    pub fn ready(program: Program, world: &World, settled: bool) -> Self {
        let mut running = Self::start(program, world, settled);
        running.wait_until_ready();
        running.mark();
        running
    }

    pub fn wait_until_ready(&self) {
        measure::until("the start", || match self.program {
            Program::Mirrorball => self.log().matches("In sync").count() >= self.mirrors,
            Program::Lsyncd => self.log().matches(" finished").count() >= self.mirrors,
            Program::Loop => self.log().contains("ready"),
        });
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Processor time counts from here.
    pub fn mark(&mut self) {
        self.cpu_before = measure::cpu(self.id());
    }

    /// What it took, with what its processes used since the mark.
    pub fn figures(&self, seconds: f64) -> Figures {
        Figures {
            seconds,
            cpu: Some(measure::cpu(self.id()) - self.cpu_before),
            peak_bytes: measure::peak_bytes(self.id()),
            bytes_sent: None,
        }
    }
}

fn mirrorball_config(world: &World, dir: &std::path::Path, settled: bool) -> String {
    let (mut hosts, mut mirrors) = (String::new(), String::new());
    for (number, target) in world.targets.iter().enumerate() {
        let host = match &target.way {
            Way::Rsyncd { port } => format!("Rsyncd(address: \"127.0.0.1\", port: {port})"),
            Way::Ssh { port, keys } => format!(
                "Ssh(address: \"127.0.0.1\", port: {port}, identity: {:?}, known_hosts: {:?})",
                keys.join("user_key"),
                keys.join("known_hosts")
            ),
            Way::Local => "Local".into(),
        };
        writeln!(hosts, "\"h{number}\": {host},").unwrap();
        writeln!(mirrors, "(host: \"h{number}\", path: {:?}),", target.path).unwrap();
    }
    let settle = if settled { "50ms" } else { "0s" };
    format!(
        "Config(state_dir: {:?}, control: Control(socket: {:?}), hosts: {{{hosts}}}, roots: {{\"site\": Root(source: \
         {:?}, settle: {settle:?}, mirrors: [{mirrors}])}})",
        dir.join("state"),
        dir.join("sock"),
        world.source()
    )
}

/// With a delay of a second where changes come in numbers: it is slower without.
fn lsyncd_config(world: &World, settled: bool) -> String {
    let delay = u8::from(settled);
    let mut text = String::from("settings { nodaemon = true }\n");
    for target in &world.targets {
        let source = world.source().display().to_string();
        match &target.way {
            Way::Ssh { port, keys } => writeln!(
                text,
                "sync {{ default.rsyncssh, source = {source:?}, host = \"127.0.0.1\", targetdir = {:?}, delay = {delay}, \
                 ssh = {{ port = {port}, identityFile = \"{1}/user_key\", options = {{ UserKnownHostsFile = \
                 \"{1}/known_hosts\", BatchMode = \"yes\" }} }}, rsync = {{ archive = true }} }}",
                target.path,
                keys.display()
            ),
            _ => writeln!(
                text,
                "sync {{ default.rsync, source = {source:?}, target = {:?}, delay = {delay}, rsync = {{ archive = \
                 true }} }}",
                target.operand()
            ),
        }
        .unwrap();
    }
    text
}

/// As one finds it in tutorials: whatever happens, everything is compared.
fn loop_script(world: &World, dir: &std::path::Path) -> String {
    let mut push = String::new();
    for target in &world.targets {
        let rsh = target.rsh(None).map(|rsh| format!("--rsh='{rsh}' ")).unwrap_or_default();
        writeln!(
            push,
            "  rsync -a --delete {rsh}{}/ {}",
            world.source().display(),
            target.operand()
        )
        .unwrap();
    }
    let fifo = dir.join("events");
    format!(
        "push() {{\n{push}}}\nrm -f {0}; mkfifo {0}\ninotifywait -m -r -q -e \
         close_write,create,delete,move,attrib --format x {1} > {0} &\nexec 3< {0}\nsleep 1\npush\necho ready\nwhile read -r _ <&3; do\n  \
         while read -r -t 0.01 _ <&3; do :; done\n  push\ndone\n",
        fifo.display(),
        world.source().display()
    )
}
