//! The routes: what is asked, and how it is answered.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use actix::Addr;
use actix_web::web::{Data, Json};
use actix_web::{HttpResponse, web};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde::{Deserialize, Serialize};
use slog::Logger;
use utoipa::ToSchema;

use crate::actors::board::BoardActor;
use crate::actors::message::{MarkRoot, StatusSince, Stop, Verify};
use crate::actors::overseer::OverseerActor;
use crate::actors::send::tell_actor;
use crate::control::refusal::{Answer, Refusal, Refused};
use crate::control::selector::Selector;
use crate::control::{approve, explain, reload, steer};
use mirrorball_core::data::change::Epoch;
use mirrorball_core::data::ids::{MirrorId, RootId};
use mirrorball_core::data::plan::Plan;
use mirrorball_core::data::status::{MirrorState, MirrorStatus, Status};
use mirrorball_core::data::step::Differences;

/// What the routes need.
#[derive(Clone)]
pub struct Api {
    /// Knows how everything stands.
    pub board: Addr<BoardActor>,
    /// Takes commands.
    pub overseer: Addr<OverseerActor>,
    /// What there is.
    pub plan: SharedPlan,
    /// The daemon's log.
    pub log: Logger,
    /// Where the Plan was read; none where it was given on a command line.
    pub config: Option<PathBuf>,
}

/// The Plan that counts, for threads that don't know the actors.
#[derive(Clone)]
pub struct SharedPlan(Arc<RwLock<Arc<Plan>>>);

impl SharedPlan {
    /// This one, until there is another.
    pub fn new(plan: Arc<Plan>) -> Self {
        Self(Arc::new(RwLock::new(plan)))
    }

    /// The one that counts now.
    pub fn get(&self) -> Arc<Plan> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on this one counts.
    pub fn set(&self, plan: Arc<Plan>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = plan;
    }
}

/// `POST /flush`: answers when everything that changed before now is on the selected mirrors.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct Flush {
    /// Each `root`, `@host` or `root@host`; everything without any.
    pub selectors: Vec<String>,
    /// How long to wait at most.
    pub timeout_ms: u64,
    /// How many of the selected mirrors suffice, in percent.
    #[serde(default = "all_of_them")]
    pub quorum_percent: f64,
}

fn all_of_them() -> f64 {
    100.0
}

/// `POST /pause`, `/resume`: nothing is sent there, or something again. `POST /walk`: they are compared whole.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct Selected {
    /// Each `root`, `@host` or `root@host`; everything without any.
    pub selectors: Vec<String>,
}

/// One mirror's part of the answer to `POST /verify` and `POST /plan`.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct Verified {
    /// Which.
    pub mirror: MirrorId,
    /// What differs; none if it could not be compared.
    pub differences: Option<Differences>,
    /// Why it could not be compared.
    pub error: Option<String>,
}

/// The answer to a flush.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct Flushed {
    /// Whether everything is there.
    pub done: bool,
    /// Mirrors that lack something, also where the others suffice; each with its state and last error.
    pub laggards: Vec<String>,
}

/// Routes that act.
pub fn acting(config: &mut web::ServiceConfig) {
    config
        .route("/approvals", web::post().to(approve::approvals))
        .route("/approve", web::post().to(approve::approve))
        .route("/explain", web::post().to(explain::explain))
        .route("/flush", web::post().to(flush))
        .route("/plan", web::post().to(plan))
        .route("/pause", web::post().to(steer::pause))
        .route("/reload", web::post().to(reload::reload))
        .route("/resume", web::post().to(steer::resume))
        .route("/stop", web::post().to(stop))
        .route("/verify", web::post().to(verify))
        .route("/walk", web::post().to(steer::walk));
}

#[utoipa::path(post, path = "/stop", tag = "acting", responses((status = 202, description = "What runs may finish; the socket goes away at the end")))]
pub(super) async fn stop(api: Data<Api>) -> HttpResponse {
    tell_actor(&api.overseer, Stop);
    HttpResponse::Accepted().finish()
}

/// The mirrors that selectors mean; all, if there is none.
pub(super) fn selected(api: &Api, texts: &[String]) -> Result<Vec<MirrorId>, Refusal> {
    let plan = api.plan.get();
    let selectors: Result<Vec<Selector>, String> = texts.iter().map(|text| text.parse()).collect();
    let mut selectors = selectors.map_err(Refusal::malformed)?;
    if selectors.is_empty() {
        selectors.push(Selector::All);
    }
    if let Some(unknown) = selectors.iter().find(|selector| !selector.is_known(&plan)) {
        let error = format!("No mirror is selected by {unknown}; `status` names them all");
        return Err(Refusal::not_found(error));
    }
    let mirrors = plan.roots.values().flat_map(|root| &root.mirrors).map(|mirror| &mirror.id);
    let is_selected = |id: &&MirrorId| selectors.iter().any(|selector| selector.selects(id));
    Ok(mirrors.filter(is_selected).cloned().collect())
}

#[utoipa::path(post, path = "/verify", tag = "acting", request_body = Selected, responses((status = 200, body = Vec<Verified>, description = "Each mirror compared, contents included, and nothing changed"), (status = 404, body = Refused, description = "A selector selects nothing"), (status = 400, body = Refused, description = "Malformed"), (status = 503, body = Refused, description = "The daemon is ending")))]
pub(super) async fn verify(api: Data<Api>, request: Json<Selected>) -> Answer {
    compare(&api, &request, true).await
}

#[utoipa::path(post, path = "/plan", tag = "acting", request_body = Selected, responses((status = 200, body = Vec<Verified>, description = "What a walk would create, change and delete; nothing is done"), (status = 404, body = Refused, description = "A selector selects nothing"), (status = 400, body = Refused, description = "Malformed"), (status = 503, body = Refused, description = "The daemon is ending")))]
pub(super) async fn plan(api: Data<Api>, request: Json<Selected>) -> Answer {
    compare(&api, &request, false).await
}

async fn compare(api: &Api, request: &Selected, contents: bool) -> Answer {
    let mirrors = selected(api, &request.selectors)?;
    // All at once: bounds on walks hold here too.
    let verified = mirrors.into_iter().map(async |mirror| {
        let answer = api.overseer.send(Verify { mirror: mirror.clone(), contents }).await;
        let answer = answer.map_err(|error| error.to_string()).and_then(|answer| answer);
        match answer {
            Ok(differences) => Verified { mirror, differences: Some(differences), error: None },
            Err(error) => Verified { mirror, differences: None, error: Some(error) },
        }
    });
    let verified: Vec<Verified> = futures_util::future::join_all(verified).await;
    Ok(HttpResponse::Ok().json(verified))
}

#[utoipa::path(post, path = "/flush", tag = "acting", request_body = Flush, responses((status = 200, body = Flushed, description = "Everything is there, or the time is over"), (status = 404, body = Refused, description = "A selector selects nothing"), (status = 400, body = Refused, description = "Malformed"), (status = 503, body = Refused, description = "The daemon is ending")))]
pub(super) async fn flush(api: Data<Api>, request: Json<Flush>) -> Answer {
    let mirrors: BTreeSet<MirrorId> = selected(&api, &request.selectors)?.into_iter().collect();
    let selected = |id: &MirrorId| mirrors.contains(id);
    let roots: BTreeSet<RootId> = mirrors.iter().map(|id| id.root.clone()).collect();
    let timeout = Duration::from_millis(request.timeout_ms);
    if !(0.0..=100.0).contains(&request.quorum_percent) {
        let error = format!("A quorum is 0 to 100 percent, and not {}", request.quorum_percent);
        return Err(Refusal::malformed(error));
    }
    // As many as make the part whole.
    let wanted = mirrors.len() as f64 * request.quorum_percent / 100.0;
    let may_lag = (0..=mirrors.len()).rfind(|lag| (mirrors.len() - lag) as f64 >= wanted);
    let may_lag = may_lag.unwrap_or(0);
    let mut marks = Marks::new();
    let barrier = barrier(&api, selected, may_lag, roots, &mut marks);
    let done = tokio::time::timeout(timeout, barrier).await.is_ok();
    if done && may_lag == 0 {
        return Ok(HttpResponse::Ok().json(Flushed { done, laggards: Vec::new() }));
    }
    let status = api.board.send(StatusSince { revision: 0 }).await?;
    let laggards = laggards(&status, selected, &marks);
    let laggards = laggards.map(|mirror| describe(&status, &marks, mirror)).collect();
    Ok(HttpResponse::Ok().json(Flushed { done, laggards }))
}

/// The Epoch of each root that holds everything that changed before a flush was called. A root that is not watched now has
/// none before it is watched again.
type Marks = BTreeMap<RootId, Epoch>;

/// Returns when everything that changed before the call is on all selected mirrors but so many. Roots are asked each by
/// itself: one that cannot tell does not matter where the mirrors of the others suffice.
async fn barrier(
    api: &Api,
    selected: impl Fn(&MirrorId) -> bool,
    may_lag: usize,
    roots: BTreeSet<RootId>,
    marks: &mut Marks,
) {
    let mark = move |root: RootId| async move {
        let answer = api.overseer.send(MarkRoot { root: root.clone() }).await;
        (root, answer.ok().and_then(Result::ok))
    };
    let mut asked: FuturesUnordered<_> = roots.into_iter().map(mark).collect();
    let (mut refused, mut revision) = (Vec::new(), 0);
    loop {
        tokio::select! {
            Some((root, epoch)) = asked.next() => match epoch {
                Some(epoch) => {
                    marks.insert(root, epoch);
                    // The last status is older than this mark.
                    revision = 0;
                }
                None => refused.push(root),
            },
            status = api.board.send(StatusSince { revision }) => {
                let Ok(status) = status else { break };
                if laggards(&status, &selected, marks).nth(may_lag).is_none() {
                    return;
                }
                revision = status.revision;
                asked.extend(refused.drain(..).map(mark));
            }
        }
    }
    // The daemon ends; whether everything is there will never be known.
    std::future::pending::<()>().await;
}

fn laggards<'a>(
    status: &'a Status,
    selected: impl Fn(&MirrorId) -> bool + 'a,
    marks: &'a Marks,
) -> impl Iterator<Item = &'a MirrorStatus> {
    let lacks = |mirror: &MirrorStatus| {
        let Some(mark) = marks.get(&mirror.root) else { return true };
        // What is in sync now holds everything, marks included, also those of a log that was lost.
        mirror.state != MirrorState::InSync
            && (mirror.epoch < *mark
                || mirror.owes_walk
                || mirror.stuck_total > 0
                || mirror.repeated_paths > 0
                || mirror.held_deletions > 0)
    };
    status.mirrors.iter().filter(move |mirror| selected(&mirror.id) && lacks(mirror))
}

fn describe(status: &Status, marks: &Marks, mirror: &MirrorStatus) -> String {
    let root = status.roots.iter().find(|root| root.id == mirror.root);
    let reason = root.and_then(|root| Some((root.state, root.reason.as_ref()?)));
    let source = match reason {
        Some((state, why)) => format!("; the root is {}: {why}", state.name()),
        None if marks.contains_key(&mirror.root) => String::new(),
        None => "; the latest changes of the root are not known yet".into(),
    };
    let why = mirror.last_error.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let stuck = mirror.stuck.first().map(|s| format!("; {}: {}", s.path, s.reason));
    let held = (mirror.held_deletions > 0).then(|| {
        format!(
            "; {} deletions are held: mirrorball approve --list {}",
            mirror.held_deletions, mirror.id
        )
    });
    let (stuck, held) = (stuck.unwrap_or_default(), held.unwrap_or_default());
    format!("{} is {}{why}{stuck}{held}{source}", mirror.id, mirror.state.name())
}
