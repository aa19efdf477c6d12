//! Pushing with rsync: to a daemon, through ssh, or to a directory here.

use std::ffi::OsString;
use std::future::Future;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bstr::ByteSlice;
use tokio::process::Child;
use tokio::time::Instant;

use crate::transport::arguments::{arguments, list};
use crate::transport::confine::Confinement;
use crate::transport::hook;
use crate::transport::output::Output;
use crate::transport::process::{self, Ended, Group, Spec};
use crate::transport::ssh::Master;
use crate::transport::warm::{Warm, What};
use crate::transport::{Job, Transport};
use mirrorball_core::data::ids::RootId;
use mirrorball_core::data::limits::{EVENT_PAUSE, FOLD_CHILDREN_MIN};
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::plan::{HookPlan, HostKind, HostPlan, MirrorPlan};
use mirrorball_core::data::source_dir::{Identity, SourceDir};
use mirrorball_core::data::step::{Exit, Step, StepEnd, StepKind};

/// The way to one host over the system's rsync and ssh.
pub struct RsyncTransport {
    host: Rc<HostPlan>,
    master: Option<Rc<Master>>,
    warm: Rc<Warm>,
}

impl RsyncTransport {
    /// A way to this host; `state_dir` holds the socket of the ssh master.
    pub fn new(host: &HostPlan, state_dir: &Path) -> Self {
        let host = Rc::new(host.clone());
        let master = matches!(host.kind, HostKind::Ssh { .. })
            .then(|| Rc::new(Master::new(host.clone(), state_dir)));
        let warm = Rc::new(Warm::new(&host));
        Self { host, master, warm }
    }
}

impl Transport for RsyncTransport {
    fn run(&self, job: Job) -> Pin<Box<dyn Future<Output = StepEnd>>> {
        let host = self.host.clone();
        let (master, warm) = (self.master.clone(), self.warm.clone());
        Box::pin(async move {
            let Some(master) = master else { return run(&host, &job, None, &warm).await };
            let _use = match master.ready().await {
                Ok(in_use) => in_use,
                Err(why) => return not_connected(why),
            };
            let rsh = master.client_command();
            run(&host, &job, Some(&rsh), &warm).await
        })
    }

    fn run_hook(
        &self,
        hook: HookPlan,
        environment: Vec<(String, String)>,
        list: Vec<u8>,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>>>> {
        let master = self.master.clone();
        Box::pin(async move { hook::run(&hook, environment, list, master).await })
    }

    fn let_go(&self, root: &RootId) {
        self.warm.let_go(root);
    }

    fn close(&self) {
        self.warm.close();
        if let Some(master) = &self.master {
            master.close();
        }
    }
}

async fn run(host: &Rc<HostPlan>, job: &Job, rsh: Option<&str>, warm: &Rc<Warm>) -> StepEnd {
    let Job { step, mirror, .. } = job;
    let spec = Spec { stdin: list_for(job).await, ..spec(host, job, rsh) };
    let what = what(&spec, host, job);
    let waits = warm.take(&what);
    let is_warm = waits.is_some();
    let (mut ended, mut output) = attend(host, job, spec.clone(), waits).await;
    let is_full_house = says_full_house(&ended, &output);
    // What waits takes connections too.
    if (is_warm && proves_nothing(&ended, &output)) || (is_full_house && warm.make_room()) {
        if is_full_house {
            tokio::time::sleep(GIVEN_BACK_AFTER).await;
        }
        (ended, output) = attend(host, job, spec, None).await;
    }
    if matches!(ended.exit, Exit::Code(0)) {
        // Whoever waits for this end does not wait for that.
        let (host, job, warm) = (host.clone(), job.clone(), warm.clone());
        let rsh = rsh.map(String::from);
        actix_rt::spawn(async move { keep_warm(&host, job, rsh.as_deref(), &warm) });
    }
    let inside = |paths: Vec<RelPath>| match &step.renamed {
        None => paths,
        Some(it) => {
            let to = &it.rename.to;
            paths.iter().filter_map(|path| path.rebased(&RelPath::root(), to)).collect()
        }
    };
    StepEnd {
        exit: ended.exit,
        messages: [output.messages, ended.stderr].concat(),
        messages_cut: output.messages_cut || ended.stderr_cut,
        created_directories: inside(output.created_directories),
        differences: output.differences,
        extras: output.extras.unwrap_or_default(),
        extras_cut: output.extras_cut,
        entries_found: output.entries_found,
        taken_over: output.taken_over,
        bytes_sent: output.bytes_sent,
        protocol: output.protocol,
        prefixes: prefixes(&job.source, host, mirror),
    }
}

/// A server needs a moment to see that a connection was given back.
const GIVEN_BACK_AFTER: Duration = Duration::from_millis(100);

/// One rsync run, started now or before.
async fn attend(
    host: &HostPlan,
    job: &Job,
    spec: Spec,
    waits: Option<(Child, Group)>,
) -> (Ended, Output) {
    let names_extras = job.step.kind == StepKind::Extras;
    let mut output = Output::default();
    output.extras = names_extras.then(Vec::new);
    let (mut told, mut told_at): (_, Option<Instant>) = (None, None);
    let on_output = |piece: &[u8]| {
        output.take(piece);
        // A host may say another number in each piece.
        if output.progress != told
            && told_at.is_none_or(|at| at.elapsed() >= EVENT_PAUSE)
            && let Some(progress) = output.progress
        {
            (told, told_at) = (output.progress, Some(Instant::now()));
            (job.on_progress)(progress);
        }
    };
    let process = job.process.clone();
    let run = async {
        match waits {
            None => process::run(spec, |id| process.set(id), on_output).await,
            Some((child, group)) => {
                process.set(child.id());
                process::attend(child, group, spec.stdin, on_output).await
            }
        }
    };
    let ended = job.pace.keep(run, &job.process, host.timeout / 4).await;
    job.process.set(None);
    (ended, output)
}

/// Whether a run that had waited failed in a way that says nothing of the host: its connection ended before an entry
/// was begun, or something is wrong with the directory that it had opened before. Once it has brought anything, its
/// end is what it is.
fn proves_nothing(ended: &Ended, output: &Output) -> bool {
    match ended.exit {
        Exit::Code(0 | 24) | Exit::Signal(_) | Exit::NotStarted => false,
        Exit::Code(_) => output.differences.total == 0,
    }
}

/// Whether a daemon has all the connections that it allows.
fn says_full_house(ended: &Ended, output: &Output) -> bool {
    let says = |text: &[u8]| text.contains_str("max connections");
    says(&ended.stderr) || says(&output.messages)
}

/// The next push is likely one of files that were written.
fn keep_warm(host: &HostPlan, job: Job, rsh: Option<&str>, warm: &Rc<Warm>) {
    if job.source.is_given_up() {
        return;
    }
    let Step { held, opened, .. } = job.step.clone();
    let step = Step { held, opened, ..Step::new(StepKind::Written, Vec::new()) };
    let job = Job { step, ..job };
    let spec = spec(host, &job, rsh);
    warm.keep(what(&spec, host, &job), &spec);
}

fn what(spec: &Spec, host: &HostPlan, job: &Job) -> What {
    let is_here = matches!(host.kind, HostKind::Local);
    let target = is_here.then(|| std::fs::metadata(&job.mirror.path).ok()).flatten();
    What {
        host: job.mirror.id.host.clone(),
        root: job.mirror.id.root.clone(),
        source: job.source.identity(),
        target: target.map(|it| Identity { device: it.dev(), inode: it.ino() }),
        program: spec.program.clone(),
        arguments: spec.arguments.clone(),
    }
}

fn spec(host: &HostPlan, job: &Job, rsh: Option<&str>) -> Spec {
    let Job { mirror, .. } = job;
    let program: OsString = mirror.rsync.program.clone().unwrap_or_else(|| "rsync".into()).into();
    let mut confinement = Confinement::new(&job.source);
    confinement.allow_program(&program);
    confinement.also.extend(job.rules.clone());
    match &host.kind {
        HostKind::Rsyncd { password_file, .. } => confinement.also.extend(password_file.clone()),
        // The receiver is the same program: it compares with what is there.
        HostKind::Local => {
            confinement.also.push(mirror.path.clone().into());
            confinement.also.extend(mirror.rsync.temp_dir.clone().map(Into::into));
            confinement.also.extend(mirror.rsync.partial_dir.clone().map(Into::into));
        }
        HostKind::Ssh { .. } => (),
    }
    Spec {
        program,
        confinement: Some(confinement),
        arguments: arguments(host, job, rsh),
        directory: Some(job.source.proc_path()),
        environment: Vec::new(),
        stdin: Vec::new(),
    }
}

/// A long list is made where directories may be read without anybody's waiting.
async fn list_for(job: &Job) -> Vec<u8> {
    if job.step.paths.len() < FOLD_CHILDREN_MIN && job.step.opened.is_empty() {
        return list(&job.step, &job.source);
    }
    let (step, source) = (job.step.clone(), job.source.clone());
    let made = tokio::task::spawn_blocking(move || list(&step, &source)).await;
    made.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

fn not_connected(why: String) -> StepEnd {
    StepEnd { messages: why.into_bytes(), ..StepEnd::new(Exit::Code(255)) }
}

/// Where rsync's messages may place the source and the target.
fn prefixes(source: &SourceDir, host: &HostPlan, mirror: &MirrorPlan) -> Vec<Vec<u8>> {
    let mut prefixes = Vec::new();
    if let Ok(path) = std::fs::read_link(source.proc_path()) {
        prefixes.push(path.as_os_str().as_bytes().to_vec());
    }
    let path = mirror.path.as_bytes();
    prefixes.push(match host.kind {
        // Daemons speak of paths inside the module.
        HostKind::Rsyncd { .. } => match path.iter().position(|b| *b == b'/') {
            Some(slash) => path[slash..].to_vec(),
            None => Vec::new(),
        },
        HostKind::Ssh { .. } | HostKind::Local => path.to_vec(),
    });
    prefixes
}
