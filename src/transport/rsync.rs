//! Pushing with rsync: to a daemon, through ssh, or to a directory here.

use std::ffi::OsString;
use std::future::Future;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;

use crate::transport::arguments::{arguments, list};
use crate::transport::confine::Confinement;
use crate::transport::output::Output;
use crate::transport::process::{self, Spec};
use crate::transport::ssh::Master;
use crate::transport::{Job, Transport, pace};
use crate::types::plan::{HostKind, HostPlan, MirrorPlan};
use crate::types::rel_path::RelPath;
use crate::types::source_dir::SourceDir;
use crate::types::step::{Differences, Exit, StepEnd};

/// The way to one host over the system's rsync and ssh.
pub struct RsyncTransport {
    host: Rc<HostPlan>,
    master: Option<Rc<Master>>,
}

impl RsyncTransport {
    /// A way to this host; `state_dir` holds the socket of the ssh master.
    pub fn new(host: &HostPlan, state_dir: &Path) -> Self {
        let host = Rc::new(host.clone());
        let master = matches!(host.kind, HostKind::Ssh { .. })
            .then(|| Rc::new(Master::new(host.clone(), state_dir)));
        Self { host, master }
    }
}

impl Transport for RsyncTransport {
    fn run(&self, job: Job) -> Pin<Box<dyn Future<Output = StepEnd>>> {
        let host = self.host.clone();
        let master = self.master.clone();
        Box::pin(async move {
            let Some(master) = master else { return run(&host, &job, None).await };
            let _use = match master.ready().await {
                Ok(in_use) => in_use,
                Err(why) => return not_connected(why),
            };
            let rsh = master.client_command();
            run(&host, &job, Some(&rsh)).await
        })
    }

    fn close(&self) {
        if let Some(master) = &self.master {
            master.close();
        }
    }
}

async fn run(host: &HostPlan, job: &Job, rsh: Option<&str>) -> StepEnd {
    let Job { step, mirror, .. } = job;
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
    let spec = Spec {
        program,
        confinement: Some(confinement),
        arguments: arguments(host, job, rsh),
        directory: Some(job.source.proc_path()),
        stdin: list(step),
    };
    let mut output = Output::default();
    let mut told = None;
    let process = job.process.clone();
    let on_start = |id| process.set(id);
    let run = process::run(spec, on_start, |piece| {
        output.take(piece);
        if output.progress != told
            && let Some(progress) = output.progress
        {
            told = output.progress;
            (job.on_progress)(progress);
        }
    });
    let ended = match job.rate {
        None => run.await,
        Some(rate) => pace::paced(run, job.process.clone(), rate, host.timeout / 4).await,
    };
    job.process.set(None);
    StepEnd {
        exit: ended.exit,
        messages: [output.messages, ended.stderr].concat(),
        messages_cut: output.messages_cut || ended.stderr_cut,
        created_directories: match &step.renamed {
            None => output.created_directories,
            Some(renamed) => {
                let inside = output.created_directories.iter();
                let to = &renamed.rename.to;
                inside.filter_map(|path| path.rebased(&RelPath::root(), to)).collect()
            }
        },
        differences: output.differences,
        entries_found: output.entries_found,
        bytes_sent: output.bytes_sent,
        protocol: output.protocol,
        prefixes: prefixes(&job.source, host, mirror),
    }
}

fn not_connected(why: String) -> StepEnd {
    StepEnd {
        exit: Exit::Code(255),
        messages: why.into_bytes(),
        messages_cut: false,
        created_directories: Vec::new(),
        differences: Differences::default(),
        entries_found: 0,
        bytes_sent: 0,
        protocol: None,
        prefixes: Vec::new(),
    }
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
