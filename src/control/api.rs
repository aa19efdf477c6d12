//! The routes: what is asked, and how it is answered.

use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use actix_web::web::{Data, Json, Query};
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};

use crate::actors::board::BoardActor;
use crate::actors::message::{Marks, StatusSince, Stop};
use crate::actors::overseer::OverseerActor;
use crate::actors::send::tell_actor;
use crate::control::selector::Selector;
use crate::types::change::Epoch;
use crate::types::ids::RootId;
use crate::types::plan::Plan;
use crate::types::status::{MirrorState, MirrorStatus, Status};

/// What the routes need.
#[derive(Clone)]
pub struct Api {
    /// Knows how everything stands.
    pub board: Addr<BoardActor>,
    /// Takes commands.
    pub overseer: Addr<OverseerActor>,
    /// What there is.
    pub plan: Arc<Plan>,
}

/// `GET /status?since=N`: answers when the revision differs from N; at once without it.
#[derive(Deserialize)]
pub struct Since {
    #[serde(default)]
    since: u64,
}

/// `POST /flush`: answers when everything that changed before now is on the selected mirrors.
#[derive(Deserialize, Serialize)]
pub struct Flush {
    /// `root`, `@host` or `root@host`; everything without it.
    pub selector: Option<String>,
    /// How long to wait; 0: only until the changes are sealed.
    pub timeout_ms: u64,
}

/// The answer to a flush.
#[derive(Deserialize, Serialize)]
pub struct Flushed {
    /// Whether everything is there.
    pub done: bool,
    /// Mirrors that lack something, each with its state and last error.
    pub laggards: Vec<String>,
}

/// An answer that says what went wrong.
#[derive(Deserialize, Serialize)]
pub struct Refused {
    /// What.
    pub error: String,
}

/// Routes that only read.
pub fn read_only(config: &mut web::ServiceConfig) {
    config.route("/status", web::get().to(status)).route("/healthz", web::get().to(health));
}

/// Routes that act.
pub fn acting(config: &mut web::ServiceConfig) {
    config.route("/flush", web::post().to(flush)).route("/stop", web::post().to(stop));
}

async fn health() -> HttpResponse {
    HttpResponse::Ok().body("ok\n")
}

async fn status(api: Data<Api>, since: Query<Since>) -> HttpResponse {
    match api.board.send(StatusSince { revision: since.since }).await {
        Ok(status) => HttpResponse::Ok().json(&*status),
        Err(_) => ending(),
    }
}

async fn stop(api: Data<Api>) -> HttpResponse {
    tell_actor(&api.overseer, Stop);
    HttpResponse::Accepted().finish()
}

fn ending() -> HttpResponse {
    HttpResponse::ServiceUnavailable().json(Refused { error: "The daemon is ending".into() })
}

async fn flush(api: Data<Api>, request: Json<Flush>) -> HttpResponse {
    let selector = match request.selector.as_deref().map(str::parse::<Selector>).transpose() {
        Ok(selector) => selector.unwrap_or(Selector::All),
        Err(error) => return HttpResponse::BadRequest().json(Refused { error }),
    };
    if !selector.is_known(&api.plan) {
        let error = format!("No mirror is selected by {selector}");
        return HttpResponse::NotFound().json(Refused { error });
    }
    let selected = |id: &&RootId| match &selector {
        Selector::Root(root) | Selector::Mirror(root, _) => id.as_str() == root,
        Selector::Host(_) | Selector::All => true,
    };
    let roots: Vec<RootId> = api.plan.roots.keys().filter(selected).cloned().collect();
    let marks = match api.overseer.send(Marks { roots }).await {
        Ok(Ok(marks)) => marks,
        Ok(Err(error)) => return HttpResponse::Conflict().json(Refused { error }),
        Err(_) => return ending(),
    };
    let wait = wait_for(&api.board, &selector, &marks);
    let timed_out = tokio::time::timeout(Duration::from_millis(request.timeout_ms), wait).await;
    if timed_out.is_ok() {
        return HttpResponse::Ok().json(Flushed { done: true, laggards: Vec::new() });
    }
    match api.board.send(StatusSince { revision: 0 }).await {
        Ok(status) => {
            let laggards = laggards(&status, &selector, &marks).map(describe).collect();
            HttpResponse::Ok().json(Flushed { done: false, laggards })
        }
        Err(_) => ending(),
    }
}

async fn wait_for(board: &Addr<BoardActor>, selector: &Selector, marks: &[(RootId, Epoch)]) {
    let mut revision = 0;
    while let Ok(status) = board.send(StatusSince { revision }).await {
        if laggards(&status, selector, marks).next().is_none() {
            return;
        }
        revision = status.revision;
    }
    // The daemon ends; whether everything is there will never be known.
    std::future::pending::<()>().await;
}

fn laggards<'a>(
    status: &'a Status,
    selector: &'a Selector,
    marks: &'a [(RootId, Epoch)],
) -> impl Iterator<Item = &'a MirrorStatus> {
    let lacks = |mirror: &MirrorStatus| {
        let mark = marks.iter().find(|(root, _)| *root == mirror.root).map(|(_, mark)| *mark);
        // A mirror at epoch zero of a root at epoch zero holds everything only when it was walked.
        let walked = mirror.epoch > Epoch::default() || mirror.state == MirrorState::InSync;
        mark.is_some_and(|mark| mirror.epoch < mark) || !walked || mirror.stuck_total > 0
    };
    status.mirrors.iter().filter(move |mirror| selector.selects(mirror) && lacks(mirror))
}

fn describe(mirror: &MirrorStatus) -> String {
    let why = mirror.last_error.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let stuck = mirror.stuck.first().map(|s| format!("; {}: {}", s.path, s.reason));
    format!("{} is {}{why}{}", mirror.id, mirror.state.name(), stuck.unwrap_or_default())
}
