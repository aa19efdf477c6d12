//! What `run` and `mirror` share: a plan's actors, its sockets, and signals.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use actix::System;
use anyhow::Context as _;
use slog::{Logger, info, warn};
use tokio::signal::unix::{SignalKind, signal};

use crate::actors::kit::Mode;
use crate::actors::message::Stop;
use crate::actors::overseer::{self, Running};
use crate::actors::send::tell_actor;
use crate::cli::systemd;
use crate::control::api::{Api, SharedPlan};
use crate::control::{reload, server};
use crate::transport::version::{self, Version};
use mirrorball_core::data::plan::Plan;

/// Another daemon has the state directory.
#[derive(Debug, thiserror::Error)]
#[error("Another mirrorball uses {}; stop it, or give this one another `state_dir`", .0.display())]
pub struct AlreadyRunning(PathBuf);

/// Runs a plan until it is told to end. `config` is where it was read, to be read again. `look_on` is started beside it with what runs; its code, if it
/// ends first, is the program's.
pub fn run_plan<L, F>(
    plan: Plan,
    config: Option<PathBuf>,
    mode: Mode,
    log: &Logger,
    look_on: L,
) -> anyhow::Result<i32>
where
    L: FnOnce(&Running) -> F,
    F: Future<Output = i32> + 'static,
{
    allow_many_files();
    let _lock = lock(&plan.state_dir)?;
    let plan = Arc::new(plan);
    // Bound before anything starts, so that a second daemon fails before it does harm.
    let group = plan.control.group;
    let listener = plan.control.socket.as_deref();
    let listener = listener.map(|socket| server::bind(socket, group)).transpose()?;
    let reading = plan.control.listen.map(server::bind_reading).transpose()?;
    let system = System::new();
    let socket = plan.control.socket.clone();
    let ended = system.block_on(async {
        let transports = overseer::real_transports(&plan);
        let running = overseer::start(plan.clone(), mode, log, transports)?;
        let api = Api {
            board: running.board.clone(),
            overseer: running.overseer.clone(),
            plan: SharedPlan::new(plan.clone()),
            log: log.clone(),
            config,
        };
        if let Some(listener) = listener {
            actix_rt::spawn(server::serve(listener, &api, group.is_some())?);
        }
        if let Some(listener) = reading {
            actix_rt::spawn(server::serve_reading(listener, &api)?);
        }
        listen_to_signals(&api, log)?;
        systemd::ready();
        actix_rt::spawn(systemd::feed_watchdog(running.overseer.clone(), log.clone()));
        actix_rt::spawn(warn_of_old_programs(plan.clone(), log.clone()));
        let looking_on = look_on(&running);
        actix_rt::spawn(async move {
            let code = looking_on.await;
            System::current().stop_with_code(code);
        });
        anyhow::Ok(())
    });
    let code = match ended {
        Ok(()) => system.run_with_code().map_err(anyhow::Error::from),
        Err(error) => Err(error),
    };
    if let Some(socket) = socket {
        // Somebody may have taken it away already.
        drop(std::fs::remove_file(socket));
    }
    code
}

/// As many open files as the system allows: exploring a tree and many hosts take some.
fn allow_many_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where it is refused, the old limit does, only slower.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Says once what is known of the rsyncs that are run here.
async fn warn_of_old_programs(plan: Arc<Plan>, log: Logger) {
    let mirrors = plan.roots.values().flat_map(|root| &root.mirrors);
    let programs: BTreeSet<&str> =
        mirrors.map(|mirror| mirror.rsync.program.as_deref().unwrap_or("rsync")).collect();
    for program in programs {
        let version = version::version(program).await;
        if let Some(warning) = version.and_then(Version::warning) {
            warn!(log, "{}", warning; "program" => program);
        }
    }
}

/// One daemon for one state directory: two would push against each other.
fn lock(state_dir: &Path) -> anyhow::Result<File> {
    let shown = state_dir.display();
    std::fs::create_dir_all(state_dir)
        .with_context(|| format!("Cannot make the state directory {shown}"))?;
    let path = state_dir.join("lock");
    let file = File::options().create(true).append(true).open(&path);
    let file = file.with_context(|| format!("Cannot open {}", path.display()))?;
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => wait_a_little(),
            Err(std::fs::TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("Cannot lock {}", path.display()));
            }
        }
    }
    Err(AlreadyRunning(state_dir.into()).into())
}

/// A daemon that was just told to stop may be at its last steps: two seconds.
const LOCK_TRIES: u32 = 40;

#[expect(clippy::disallowed_methods, reason = "there are no actors yet")]
fn wait_a_little() {
    std::thread::sleep(std::time::Duration::from_millis(50));
}

fn listen_to_signals(api: &Api, log: &Logger) -> anyhow::Result<()> {
    let mut ends = vec![SignalKind::terminate(), SignalKind::interrupt()];
    if api.config.is_some() {
        let mut signals = signal(SignalKind::hangup())?;
        let api = api.clone();
        actix_rt::spawn(async move {
            while signals.recv().await.is_some() {
                systemd::reloading();
                // The log and the status say whether it is refused.
                drop(reload::apply(&api, false).await);
                systemd::ready();
            }
        });
    } else {
        // The terminal has gone, and nobody is left to read a configuration for.
        ends.push(SignalKind::hangup());
    }
    for kind in ends {
        let mut signals = signal(kind)?;
        let (overseer, log) = (api.overseer.clone(), log.clone());
        actix_rt::spawn(async move {
            while signals.recv().await.is_some() {
                info!(log, "Told to end");
                systemd::stopping();
                tell_actor(&overseer, Stop);
            }
        });
    }
    Ok(())
}
