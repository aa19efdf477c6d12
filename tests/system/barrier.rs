//! A flush covers also what is still in the kernel's queue: the actors within this process, so that
//! nothing is read between a change and the flush.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::support::tree::assert_same;
use actix::System;
use mirrorball::actors::kit::Mode;
use mirrorball::actors::message::{MarkRoot, StatusSince};
use mirrorball::actors::overseer::{self, real_transports};
use mirrorball::config;

#[test]
fn hard_case_27_a_mark_comes_after_everything_that_changed_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    fs::create_dir(&source).unwrap();
    let text = format!(
        "Config(state_dir: {:?}, hosts: {{\"disk\": Local}}, roots: {{\"site\": Root(source: {source:?}, \
         mirrors: [(host: \"disk\", path: {target:?})])}})",
        dir.path().join("state"),
    );
    let (plan, _) = config::load_text(Path::new("test"), &text).unwrap_or_else(|e| panic!("{e}"));
    System::new().block_on(async move {
        let plan = Arc::new(plan);
        let log = slog::Logger::root(slog::Discard, slog::o!());
        let running =
            overseer::start(plan.clone(), Mode::Live, &log, real_transports(&plan)).unwrap();
        let reached = async |mark| {
            let mut revision = 0;
            loop {
                let status = running.board.send(StatusSince { revision }).await.unwrap();
                if status.mirrors[0].walks > 0 && status.mirrors[0].epoch >= mark {
                    return;
                }
                revision = status.revision;
            }
        };
        reached(Default::default()).await;
        for round in 0..5 {
            // Nothing is awaited from here to the mark.
            fs::write(source.join("f"), format!("{round}")).unwrap();
            let mark = MarkRoot { root: "site".into() };
            let mark = running.overseer.send(mark).await.unwrap().unwrap();
            tokio::time::timeout(crate::support::PATIENCE, reached(mark)).await.unwrap();
            assert_same(&source, &target, "at the mark");
        }
    });
}
