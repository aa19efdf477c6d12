//! Child processes: each in a group of its own, ended with us, heard to the end.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process_group, set_parent_process_death_signal};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::transport::confine::{Confinement, confine};
use mirrorball_core::data::limits::{KILL_WAIT, STDERR_BYTES_MAX};
use mirrorball_core::data::step::Exit;

/// What to start.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    /// A name to look up in PATH, or a path.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its working directory.
    pub directory: Option<PathBuf>,
    /// Variables, besides those of the daemon.
    pub environment: Vec<(String, String)>,
    /// What it reads.
    pub stdin: Vec<u8>,
    /// Which files it may read; none: all that the daemon may.
    pub confinement: Option<Confinement>,
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    /// Code or signal.
    pub exit: Exit,
    /// What it said on standard error, or why it could not be started.
    pub stderr: Vec<u8>,
    /// Whether more was said than is kept.
    pub stderr_cut: bool,
}

/// A started child and its group. Dropped before [`Group::disarm`], it ends the whole group.
pub struct Group {
    leader: Option<Pid>,
}

impl Group {
    /// The processes have ended by themselves.
    pub fn disarm(&mut self) {
        self.leader = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let Some(leader) = self.leader else { return };
        // A group that is gone already is what was wanted; one that was stopped hears nothing.
        let _ = kill_process_group(leader, Signal::TERM);
        let _ = kill_process_group(leader, Signal::CONT);
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(async move {
                tokio::time::sleep(KILL_WAIT).await;
                let _ = kill_process_group(leader, Signal::KILL);
            })),
            Err(_) => {
                let _ = kill_process_group(leader, Signal::KILL);
            }
        }
    }
}

/// Starts a child in a group of its own. It is told to end when this thread ends, so it must be called
/// on the thread that lives as long as the daemon.
#[expect(clippy::disallowed_methods, reason = "this is the place that the lint points to")]
pub fn start(spec: &Spec) -> io::Result<(Child, Group)> {
    let mut command = Command::new(&spec.program);
    command
        .args(&spec.arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    // rsync's own variables would change what our options mean; RSYNC_PASSWORD can be read by others.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RSYNC_") {
            command.env_remove(name);
        }
    }
    command.envs(spec.environment.iter().map(|(name, value)| (name, value)));
    if let Some(directory) = &spec.directory {
        command.current_dir(directory);
    }
    let parent = rustix::process::getpid();
    end_with_parent(&mut command, parent);
    if let Some(confinement) = &spec.confinement {
        confine(&mut command, confinement)?;
    }
    let child = command.spawn().map_err(|error| {
        let program = spec.program.to_string_lossy();
        io::Error::new(error.kind(), format!("cannot start {program}: {error}"))
    })?;
    let leader = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    Ok((child, Group { leader }))
}

#[expect(unsafe_code, reason = "only a hook between fork and exec can bind a child's life to ours")]
fn end_with_parent(command: &mut Command, parent: Pid) {
    // SAFETY: the hook makes two system calls that are async-signal-safe and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::TERM))?;
            if rustix::process::getppid() == Some(parent) {
                Ok(())
            } else {
                // The daemon died between fork and now.
                Err(io::Error::from_raw_os_error(rustix::io::Errno::CHILD.raw_os_error()))
            }
        });
    }
}

/// Starts a child, feeds it, and hears it to its end. `on_output` gets its standard output in pieces;
/// `on_start` its process id. Dropping the future ends the whole group.
pub async fn run(
    spec: Spec,
    on_start: impl FnOnce(Option<u32>),
    on_output: impl FnMut(&[u8]),
) -> Ended {
    match start(&spec) {
        Ok((child, group)) => {
            on_start(child.id());
            attend(child, group, spec.stdin, on_output).await
        }
        Err(error) => {
            let stderr = error.to_string().into_bytes();
            Ended { exit: Exit::NotStarted, stderr, stderr_cut: false }
        }
    }
}

/// Feeds a child that was started, and hears it to its end.
pub async fn attend(
    mut child: Child,
    mut group: Group,
    input: Vec<u8>,
    mut on_output: impl FnMut(&[u8]),
) -> Ended {
    let mut stdin = child.stdin.take().expect("it was asked to be piped");
    let stdout = child.stdout.take().expect("it was asked to be piped");
    let stderr = child.stderr.take().expect("it was asked to be piped");
    let feed = async move {
        // A child that ends before it has read everything says so by its exit code.
        drop(stdin.write_all(&input).await);
        drop(stdin);
    };
    let mut said = Vec::new();
    let mut cut = false;
    let ((), (), (), status) = tokio::join!(
        feed,
        read_all(stdout, &mut on_output),
        read_all(stderr, |piece: &[u8]| {
            let room = STDERR_BYTES_MAX.saturating_sub(said.len()).min(piece.len());
            said.extend_from_slice(&piece[..room]);
            cut |= room < piece.len();
        }),
        child.wait(),
    );
    group.disarm();
    match status {
        Ok(status) => Ended { exit: exit_of(status), stderr: said, stderr_cut: cut },
        Err(error) => {
            said.extend_from_slice(format!("cannot wait for it: {error}").as_bytes());
            Ended { exit: Exit::NotStarted, stderr: said, stderr_cut: cut }
        }
    }
}

async fn read_all(mut from: impl AsyncRead + Unpin, mut piece: impl FnMut(&[u8])) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        piece(&buffer[..read]);
    }
}

fn exit_of(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::NotStarted,
    }
}

/// Bytes that a process has read and written since its start, of any kind and to whomever: a sign of life.
pub fn bytes_moved(process: u32) -> Option<Moved> {
    let text = std::fs::read_to_string(format!("/proc/{process}/io")).ok()?;
    let count =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    Some(Moved { read: count("rchar:")?, written: count("wchar:")? })
}

/// Whether a process was stopped, by us or by somebody else.
pub fn is_stopped(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // Its name, in parentheses, may hold anything.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}

/// Bytes since a process's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Read.
    pub read: u64,
    /// Written.
    pub written: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_shell(script: &str, stdin: &[u8]) -> (Ended, Vec<u8>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut output = Vec::new();
        let spec = Spec {
            program: "sh".into(),
            arguments: vec!["-c".into(), script.into()],
            stdin: stdin.to_vec(),
            ..Spec::default()
        };
        let ended = runtime.block_on(run(spec, |_| (), |piece| output.extend_from_slice(piece)));
        (ended, output)
    }

    #[test]
    fn a_child_is_fed_heard_and_its_end_understood() {
        let list = vec![b'x'; 300_000];
        let (ended, output) = run_shell("wc -c; echo no >&2; exit 23", &list);
        assert_eq!(ended.exit, Exit::Code(23));
        assert_eq!(ended.stderr, b"no\n");
        assert_eq!(output.trim_ascii(), b"300000");
    }

    #[test]
    fn a_signal_is_not_a_code_and_a_missing_program_is_said() {
        assert_eq!(run_shell("kill -9 $$", b"").0.exit, Exit::Signal(9));
        let spec = Spec { program: "/no/such/program".into(), ..Spec::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ended = runtime.block_on(run(spec, |_| (), |_| ()));
        assert_eq!(ended.exit, Exit::NotStarted);
        assert!(String::from_utf8(ended.stderr).unwrap().contains("/no/such/program"));
    }

    #[test]
    fn dropping_a_run_ends_its_whole_group() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("grandchild");
        let script =
            format!("sleep 1000 & echo $! > {}.new && mv {0}.new {0}; wait", file.display());
        let spec = Spec {
            program: "sh".into(),
            arguments: vec!["-c".into(), script.into()],
            ..Spec::default()
        };
        runtime.block_on(async {
            let run = tokio::spawn(run(spec, |_| (), |_| ()));
            while !file.exists() {
                tokio::task::yield_now().await;
            }
            let grandchild: i32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
            let pid = Pid::from_raw(grandchild).unwrap();
            assert!(rustix::process::test_kill_process(pid).is_ok());
            run.abort();
            let gone = async {
                while is_alive(grandchild) {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(std::time::Duration::from_secs(10), gone).await.expect("it ends");
        });
    }

    fn is_alive(pid: i32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    }
}
