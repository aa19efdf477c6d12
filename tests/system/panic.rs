//! Actors that die: nobody else notices, nothing is called equal meanwhile, and the mirrors are equal afterwards.

use std::cell::Cell;
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use crate::support::servers::Rsyncd;
use crate::support::tree::assert_same;
use actix::System;
use mirrorball::actors::board::BoardActor;
use mirrorball::actors::kit::{Mode, TransportFactory};
use mirrorball::actors::message::{ActorGone, MarkRoot, Ping, StatusSince, Stop, Waiting, Who};
use mirrorball::actors::overseer::{self, Running, real_transports};
use mirrorball::config;
use mirrorball::transport::{Job, Transport};
use mirrorball_core::data::ids::RootId;
use mirrorball_core::data::limits::DRAIN_WAIT;
use mirrorball_core::data::plan::Plan;
use mirrorball_core::data::status::{MirrorState, MirrorStatus, RootState, Status};
use mirrorball_core::data::step::{StepEnd, StepKind};

/// The real transport, but that its next pushes of files panic, so many.
struct Panicking {
    real: Rc<dyn Transport>,
    panics_left: Rc<Cell<u64>>,
}

impl Transport for Panicking {
    fn run(&self, job: Job) -> Pin<Box<dyn Future<Output = StepEnd>>> {
        if job.step.kind == StepKind::Written && self.panics_left.get() > 0 {
            self.panics_left.set(self.panics_left.get() - 1);
            return Box::pin(async {
                tokio::task::yield_now().await;
                panic!("injected during a push");
            });
        }
        self.real.run(job)
    }

    fn run_hook(
        &self,
        _: mirrorball_core::data::plan::HookPlan,
        _: Vec<(String, String)>,
        _: Vec<u8>,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>>>> {
        Box::pin(async { Ok(()) })
    }

    fn let_go(&self, root: &RootId) {
        self.real.let_go(root);
    }

    fn close(&self) {
        self.real.close();
    }
}

async fn wait(board: &actix::Addr<BoardActor>, fact: impl Fn(&Status) -> bool) -> Arc<Status> {
    let mut revision = 0;
    let waiting = async {
        loop {
            let status = board.send(StatusSince { revision }).await.unwrap();
            if fact(&status) {
                return status;
            }
            revision = status.revision;
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, waiting).await.expect("the fact comes true")
}

fn in_sync(status: &Status) -> bool {
    status.mirrors.iter().all(|mirror| mirror.state == MirrorState::InSync)
}

/// A root `site` with the mirrors `bad`, whose transport can panic, and `good`.
struct Setup {
    dir: tempfile::TempDir,
    server: Rsyncd,
    plan: Arc<Plan>,
    panics_left: Rc<Cell<u64>>,
}

impl Setup {
    /// `retry` is that of the host whose actor dies.
    fn new(retry: &str) -> Self {
        let (dir, server) = (tempfile::tempdir().unwrap(), Rsyncd::start());
        let source = dir.path().join("source");
        fs::create_dir(&source).unwrap();
        fs::write(source.join("f"), "f").unwrap();
        let quick = "first: \"100ms\", max: \"1s\"";
        assert!(server.ron().contains(quick));
        let text = format!(
            "Config(state_dir: {:?}, hosts: {{\"bad\": {}, \"good\": Local(limits: \
             Limits(timeout: \"2s\"))}}, roots: {{\"site\": \
             Root(source: {source:?}, mirrors: [(host: \"bad\", path: \"m/site\"), (host: \"good\", \
             path: {:?})])}})",
            dir.path().join("state"),
            server.ron().replace(quick, retry),
            dir.path().join("good"),
        );
        let (plan, _) =
            config::load_text(Path::new("test"), &text).unwrap_or_else(|e| panic!("{e}"));
        Self { dir, server, plan: Arc::new(plan), panics_left: Rc::default() }
    }

    /// Within an actix system.
    fn start(&self) -> Running {
        let (real, panics_left) = (real_transports(&self.plan), self.panics_left.clone());
        let factory: TransportFactory = Rc::new(move |host| {
            let real = real(host);
            if host.id.as_str() == "bad" {
                Rc::new(Panicking { real, panics_left: panics_left.clone() })
            } else {
                real
            }
        });
        let log = slog::Logger::root(slog::Discard, slog::o!());
        overseer::start(self.plan.clone(), Mode::Live, &log, factory).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

fn mirror<'a>(status: &'a Status, host: &str) -> &'a MirrorStatus {
    status.mirrors.iter().find(|mirror| mirror.host.as_str() == host).unwrap()
}

#[test]
fn an_actor_that_dies_again_and_again_ends_nothing_and_its_mirror_is_equal_afterwards() {
    const PANICS: u64 = 15;
    let setup = Setup::new("first: \"10ms\", max: \"50ms\"");
    System::new().block_on(async {
        let running = setup.start();
        wait(&running.board, in_sync).await;
        setup.panics_left.set(PANICS);
        fs::write(setup.path("source/g"), "g").unwrap();
        wait(&running.board, |status| {
            let bad = mirror(status, "bad");
            assert!(
                bad.restarts == 0 || bad.restarts >= PANICS || bad.state != MirrorState::InSync,
                "{bad:?}"
            );
            bad.restarts >= PANICS && in_sync(status)
        })
        .await;
        let status = running.board.send(StatusSince { revision: 0 }).await.unwrap();
        let restarts = |host: &str| mirror(&status, host).restarts;
        assert_eq!((restarts("bad"), restarts("good")), (PANICS, 0));
        assert_eq!(status.actor_restarts, PANICS);
        assert_same(&setup.path("source"), &setup.server.path("site"), "after the panics");
        assert_same(&setup.path("source"), &setup.path("good"), "the other");
    });
}

#[test]
fn a_host_whose_actor_is_dead_is_in_trouble_and_the_others_are_served_at_once() {
    let setup = Setup::new("first: \"1h\", max: \"1h\"");
    let system = System::new();
    let stopped = system.block_on(async {
        let running = setup.start();
        wait(&running.board, in_sync).await;
        setup.panics_left.set(1);
        fs::write(setup.path("source/g"), "g").unwrap();
        let status = wait(&running.board, |status| {
            mirror(status, "bad").state == MirrorState::Retrying
                && mirror(status, "good").state == MirrorState::InSync
                && setup.path("good/g").exists()
        })
        .await;
        let bad = mirror(&status, "bad");
        let why = bad.last_error.as_deref().unwrap_or_default();
        assert!(why.contains("internal error") && why.contains("host bad"), "{why}");
        assert!(bad.retry_in_seconds.is_some_and(|seconds| seconds > 60.0), "{bad:?}");
        let who = Who::Host(bad.host.clone());
        assert_eq!(running.overseer.send(Waiting).await.unwrap(), [who]);
        assert_eq!(running.overseer.send(Ping).await.unwrap(), Ok(()), "the others answer");
        fs::write(setup.path("source/h"), "h").unwrap();
        wait(&running.board, |_| setup.path("good/h").exists()).await;
        running.overseer.send(Stop).await.unwrap();
        Instant::now()
    });
    assert_eq!(system.run_with_code().unwrap(), 0);
    assert!(stopped.elapsed() < DRAIN_WAIT / 2, "nobody waits for the dead one");
}

#[test]
fn a_root_whose_actors_are_dead_is_not_in_sync_and_has_no_barrier() {
    let setup = Setup::new("first: \"1h\", max: \"1h\"");
    System::new().block_on(async {
        let running = setup.start();
        let status = wait(&running.board, in_sync).await;
        let root = &status.roots[0].id;
        // The watcher and the collator of the only root are started after two hosts.
        let gone = ActorGone { who: Who::Root(root.clone()), life: 3 };
        running.overseer.send(gone).await.unwrap();
        let mark = running.overseer.send(MarkRoot { root: root.clone() }).await.unwrap();
        assert!(mark.is_err_and(|why| why.contains("internal error")), "no false barrier");
        let status = running.board.send(StatusSince { revision: 0 }).await.unwrap();
        assert_eq!(status.roots[0].state, RootState::Opening);
        assert!(status.roots[0].reason.as_ref().is_some_and(|why| why.contains("root site")));
        for mirror in &status.mirrors {
            assert_eq!(mirror.state, MirrorState::Retrying, "{}", mirror.id);
        }
        // While nobody watches.
        fs::write(setup.path("source/g"), "g").unwrap();
        wait(&running.board, |status| status.actor_restarts == 1 && in_sync(status)).await;
        assert_same(&setup.path("source"), &setup.server.path("site"), "after the restart");
        assert_same(&setup.path("source"), &setup.path("good"), "after the restart");
    });
}
