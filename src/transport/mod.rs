//! The hosts' side of the world: rsync and ssh as child processes, and what they say.

pub mod arguments;
pub mod confine;
pub mod fold;
pub mod hook;
pub mod options;
pub mod output;
pub mod pace;
pub mod process;
pub mod rsync;
pub mod ssh;
pub mod version;
pub mod warm;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use crate::transport::pace::Pace;
use mirrorball_core::data::ids::RootId;
use mirrorball_core::data::outcome::Capability;
use mirrorball_core::data::plan::{HookPlan, MirrorPlan};
use mirrorball_core::data::source_dir::SourceDir;
use mirrorball_core::data::step::{Step, StepEnd};

/// A way to one host. The real one is [`rsync::RsyncTransport`].
pub trait Transport {
    /// Runs one Step. Dropping the future ends the run's whole process group.
    fn run(&self, job: Job) -> Pin<Box<dyn Future<Output = StepEnd>>>;

    /// Runs a command after a push, see [`hook::run`].
    fn run_hook(
        &self,
        hook: HookPlan,
        environment: Vec<(String, String)>,
        list: Vec<u8>,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>>>>;

    /// Gives up what keeps this Root's directory open.
    fn let_go(&self, root: &RootId);

    /// Gives up what is kept open to the host.
    fn close(&self);
}

/// One Step, with all that its run needs.
#[derive(Clone)]
pub struct Job {
    /// What to do.
    pub step: Step,
    /// Where from, held open.
    pub source: SourceDir,
    /// Where to.
    pub mirror: Arc<MirrorPlan>,
    /// File of the Root's filter rules, NUL-separated; none without rules.
    pub rules: Option<PathBuf>,
    /// Told how far a Walk has come, 0 to 1.
    pub on_progress: Rc<dyn Fn(f32)>,
    /// How fast it may be.
    pub pace: Pace,
    /// What the other end can't do.
    pub lacks: BTreeSet<Capability>,
    /// The running process, while there is one.
    pub process: Rc<Cell<Option<u32>>>,
}
