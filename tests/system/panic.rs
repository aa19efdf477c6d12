//! A transfer actor that panics during a push: nobody else notices, and its mirrors are equal afterwards.

use std::cell::Cell;
use std::fs;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use crate::support::servers::Rsyncd;
use crate::support::tree::assert_same;
use actix::System;
use mirrorball::actors::board::BoardActor;
use mirrorball::actors::kit::{Mode, TransportFactory};
use mirrorball::actors::message::StatusSince;
use mirrorball::actors::overseer::{self, real_transports};
use mirrorball::config;
use mirrorball::transport::{Job, Transport};
use mirrorball_core::data::ids::RootId;
use mirrorball_core::data::status::{MirrorState, Status};
use mirrorball_core::data::step::{StepEnd, StepKind};

/// The real transport, but that its next push of files panics once.
struct Panicking {
    real: Rc<dyn Transport>,
    armed: Rc<Cell<bool>>,
}

impl Transport for Panicking {
    fn run(&self, job: Job) -> Pin<Box<dyn Future<Output = StepEnd>>> {
        if job.step.kind == StepKind::Written && self.armed.replace(false) {
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

#[test]
fn a_panic_during_a_push_is_noticed_by_nobody_else_and_made_up_for() {
    let (dir, server) = (tempfile::tempdir().unwrap(), Rsyncd::start());
    let (source, good) = (dir.path().join("source"), dir.path().join("good"));
    fs::create_dir(&source).unwrap();
    fs::write(source.join("f"), "f").unwrap();
    let text = format!(
        "Config(state_dir: {:?}, hosts: {{\"bad\": {}, \"good\": Local}}, roots: {{\"site\": Root(source: \
         {source:?}, mirrors: [(host: \"bad\", path: \"m/site\"), (host: \"good\", path: {good:?})])}})",
        dir.path().join("state"),
        server.ron()
    );
    let (plan, _) = config::load_text(Path::new("test"), &text).unwrap_or_else(|e| panic!("{e}"));
    let target = server.path("site");
    System::new().block_on(async move {
        let plan = Arc::new(plan);
        let (real, armed) = (real_transports(&plan), Rc::new(Cell::new(false)));
        let trigger = armed.clone();
        let factory: TransportFactory = Rc::new(move |host| {
            let real = real(host);
            if host.id.as_str() == "bad" {
                Rc::new(Panicking { real, armed: armed.clone() })
            } else {
                real
            }
        });
        let log = slog::Logger::root(slog::Discard, slog::o!());
        let running = overseer::start(plan, Mode::Live, &log, factory).unwrap();
        wait(&running.board, in_sync).await;
        trigger.set(true);
        fs::write(source.join("g"), "g").unwrap();
        let status = wait(&running.board, |s| s.actor_restarts == 1 && in_sync(s)).await;
        assert!(!trigger.get(), "it did panic");
        let restarts =
            |host: &str| status.mirrors.iter().find(|m| m.host.as_str() == host).unwrap().restarts;
        assert_eq!((restarts("bad"), restarts("good")), (1, 0));
        wait(&running.board, |s| {
            in_sync(s) && target.join("g").exists() && good.join("g").exists()
        })
        .await;
        assert_same(&source, &target, "after the panic");
        assert_same(&source, &good, "the other");
    });
}
