//! One ssh master per host: started, checked and ended by us, so that each push costs a channel and not
//! a handshake.

use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use crate::transport::process::{self, Group, Spec};
use mirrorball_core::data::limits::MASTER_CHECK_WAIT;
use mirrorball_core::data::plan::{HostKind, HostPlan};
use mirrorball_core::data::step::Exit;

/// A unix socket's path may have 107 bytes; ssh appends 17 while it makes the socket.
const SOCKET_PATH_MAX: usize = 90;

/// A master that was used this recently is believed to be alive.
const TRUSTED_FOR: Duration = Duration::from_secs(5);

/// The connection to one host.
pub struct Master {
    host: Rc<HostPlan>,
    socket: PathBuf,
    /// Holds the socket when the state directory's path is too long for one.
    _directory: Option<tempfile::TempDir>,
    running: RefCell<Option<Running>>,
    starting: tokio::sync::Mutex<()>,
    users: Cell<usize>,
    generation: Cell<u64>,
}

struct Running {
    child: Child,
    _group: Group,
    last_used: Instant,
}

/// While it lives, the master is in use and is not ended for idleness.
pub struct InUse(Rc<Master>);

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl Master {
    /// Not connected yet.
    pub fn new(host: Rc<HostPlan>, state_dir: &Path) -> Self {
        let in_state = state_dir.join("ssh").join(format!("{}.sock", host.id));
        let made = std::fs::create_dir_all(state_dir.join("ssh")).is_ok();
        let fits = made && in_state.as_os_str().len() <= SOCKET_PATH_MAX;
        let directory = if fits { None } else { tempfile::tempdir().ok() };
        let socket = directory.as_ref().map_or(in_state, |dir| dir.path().join("s"));
        Self {
            host,
            socket,
            _directory: directory,
            running: RefCell::new(None),
            starting: tokio::sync::Mutex::new(()),
            users: Cell::new(0),
            generation: Cell::new(0),
        }
    }

    /// Connects if need be. The error is ssh's own.
    pub async fn ready(self: &Rc<Self>) -> Result<InUse, String> {
        // Counted first, so that the master does not end for idleness while it is being checked.
        self.users.set(self.users.get() + 1);
        let in_use = InUse(self.clone());
        let _one_at_a_time = self.starting.lock().await;
        if !self.is_alive().await {
            self.close();
            self.start().await?;
        }
        if let Some(running) = self.running.borrow_mut().as_mut() {
            running.last_used = Instant::now();
        }
        Ok(in_use)
    }

    /// The command line for rsync's `--rsh`: a client of this master that never connects by itself in
    /// another way than the master would.
    pub fn client_command(&self) -> String {
        let words = std::iter::once("ssh".to_string()).chain(self.client_words());
        words.map(|word| quoted(&word)).collect::<Vec<_>>().join(" ")
    }

    /// The same for our own use, without the program.
    pub fn client_arguments(&self) -> Vec<OsString> {
        self.client_words().into_iter().map(Into::into).collect()
    }

    fn client_words(&self) -> Vec<String> {
        let mut words = self.options();
        words.extend(["-o".into(), "ControlMaster=no".into(), "-S".into(), self.socket_text()]);
        words
    }

    /// Ends the connection.
    pub fn close(&self) {
        self.running.borrow_mut().take();
        // A master that was killed leaves its socket.
        drop(std::fs::remove_file(&self.socket));
    }

    async fn is_alive(&self) -> bool {
        let trusted = self.running.borrow_mut().as_mut().and_then(|running| {
            let lives = matches!(running.child.try_wait(), Ok(None));
            lives.then(|| running.last_used.elapsed() < TRUSTED_FOR)
        });
        match trusted {
            None => return false,
            Some(true) => return true,
            Some(false) => (),
        }
        let mut arguments =
            vec!["-O".into(), "check".into(), "-S".into(), self.socket_text().into()];
        arguments.push(self.address().into());
        let spec = Spec { program: "ssh".into(), arguments, ..Spec::default() };
        // A stopped master would hold each transfer until its timeout.
        let check = timeout(MASTER_CHECK_WAIT, process::run(spec, |_| (), |_| ())).await;
        check.is_ok_and(|ended| ended.exit == Exit::Code(0))
    }

    async fn start(&self) -> Result<(), String> {
        let mut arguments: Vec<String> = self.options();
        arguments.extend(["-N", "-M", "-S"].map(String::from));
        arguments.push(self.socket_text());
        arguments.push(self.address());
        let spec = Spec {
            program: "ssh".into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            ..Spec::default()
        };
        let (mut child, group) = process::start(&spec).map_err(|error| error.to_string())?;
        let patience = self.host.timeout;
        let up = async {
            loop {
                match child.try_wait() {
                    Ok(None) if self.socket.exists() => return Ok(()),
                    // The socket appears when the login is done; ssh has no other way to tell.
                    Ok(None) => sleep(Duration::from_millis(5)).await,
                    Ok(Some(_)) => return Err(said_by(&mut child).await),
                    Err(error) => return Err(format!("cannot wait for ssh: {error}")),
                }
            }
        };
        match timeout(patience, up).await {
            Ok(Ok(())) => {
                let running = Running { child, _group: group, last_used: Instant::now() };
                *self.running.borrow_mut() = Some(running);
                Ok(())
            }
            Ok(Err(why)) => Err(why),
            Err(_) => Err(format!("ssh did not connect within {patience:?}")),
        }
    }

    fn release(self: &Rc<Self>) {
        self.users.set(self.users.get() - 1);
        self.generation.set(self.generation.get() + 1);
        if self.users.get() > 0 {
            return;
        }
        let (master, generation) = (Rc::downgrade(self), self.generation.get());
        let warm = self.host.warm;
        actix_rt::spawn(async move {
            sleep(warm).await;
            if let Some(master) = master.upgrade()
                && master.generation.get() == generation
                && master.users.get() == 0
            {
                master.close();
            }
        });
    }

    fn options(&self) -> Vec<String> {
        let HostKind::Ssh { port, identity, known_hosts, .. } = &self.host.kind else {
            return Vec::new();
        };
        let seconds = self.host.timeout.as_secs().max(1);
        let mut options = vec![
            "BatchMode=yes".to_string(),
            "LogLevel=ERROR".to_string(),
            format!("ConnectTimeout={seconds}"),
            format!("ServerAliveInterval={}", (seconds / 3).max(1)),
            "ServerAliveCountMax=3".to_string(),
            "ControlPersist=no".to_string(),
            "ForwardAgent=no".to_string(),
            "ForwardX11=no".to_string(),
            "IPQoS=none".to_string(),
        ];
        if identity.is_some() {
            options.push("IdentitiesOnly=yes".into());
        }
        if let Some(file) = known_hosts {
            options.push(format!("UserKnownHostsFile=\"{}\"", file.display()));
            options.push("GlobalKnownHostsFile=/dev/null".into());
        }
        let mut words: Vec<String> =
            options.into_iter().flat_map(|option| ["-o".to_string(), option]).collect();
        if let Some(port) = port {
            words.extend(["-p".into(), port.to_string()]);
        }
        if let Some(file) = identity {
            words.extend(["-i".into(), file.display().to_string()]);
        }
        words
    }

    pub(super) fn address(&self) -> String {
        match &self.host.kind {
            HostKind::Ssh { address, user: Some(user), .. } => format!("{user}@{address}"),
            HostKind::Ssh { address, .. } => address.clone(),
            HostKind::Rsyncd { .. } | HostKind::Local => String::new(),
        }
    }

    fn socket_text(&self) -> String {
        self.socket.display().to_string()
    }
}

async fn said_by(child: &mut Child) -> String {
    let mut said = Vec::new();
    if let Some(mut stderr) = child.stderr.take() {
        drop(stderr.read_to_end(&mut said).await);
    }
    let said = String::from_utf8_lossy(&said).trim().to_string();
    if said.is_empty() { "ssh ended without a word".into() } else { said }
}

/// rsync splits `--rsh` at spaces, without a shell, and knows single quotes, doubled for one itself.
fn quoted(word: &str) -> String {
    let plain = word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_=./:@,+%".contains(&b));
    if plain { word.to_string() } else { format!("'{}'", word.replace('\'', "''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_spaces_and_quotes_stay_one_word_for_rsync() {
        assert_eq!(quoted("-o"), "-o");
        assert_eq!(quoted("/a b/c"), "'/a b/c'");
        assert_eq!(quoted("it's"), "'it''s'");
    }
}
