//! What waits for a person, and its approval.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::http::StatusCode;
use actix_web::web::{Data, Json};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::actors::message::{self, Approvable, Counted, ListAwaiting};
use crate::control::api::{Api, selected};
use crate::control::refusal::{Answer, Refusal, Refused};
use crate::control::selector::Selector;
use crate::control::server::Peer;
use mirrorball_core::data::awaiting::{Approved, Awaiting, AwaitingPlace};
use mirrorball_core::data::ids::{MirrorId, RootId};
use mirrorball_core::data::list_id::ListId;

/// `POST /approvals`: shows what waits for approval. Lists that are shown get their numbers, and stay as they are.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct ApprovalsWanted {
    /// Each `root`, `@host` or `root@host`; everything without any.
    pub selectors: Vec<String>,
    /// At most so many names of each list; all without.
    #[serde(default)]
    pub names_max: Option<usize>,
}

/// `POST /approve`: deletions go, and halted roots and mirrors are taken as they are. Answered when that is kept for the
/// next start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
pub struct Approval {
    /// Everything that waits there now. Each `root`, `@host` or `root@host`; everything if it is empty, nothing if it is
    /// left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selectors: Option<Vec<String>>,
    /// Lists of deletions by their numbers, and nothing that came later.
    #[serde(default)]
    pub lists: Vec<ListId>,
    /// Halted roots and mirrors, each `root` or `root@host`.
    #[serde(default)]
    pub halted: Vec<String>,
}

impl Approval {
    /// The approval of exactly what was shown.
    pub fn of(shown: &Awaiting) -> Self {
        Self {
            selectors: None,
            lists: shown.lists.iter().map(|list| list.id.clone()).collect(),
            halted: shown.halted.iter().map(|place| place.id.clone()).collect(),
        }
    }
}

#[utoipa::path(post, path = "/approvals", tag = "acting", request_body = ApprovalsWanted, responses((status = 200, body = Awaiting, description = "What waits"), (status = 404, body = Refused, description = "A selector selects nothing"), (status = 400, body = Refused, description = "Malformed"), (status = 503, body = Refused, description = "The daemon is ending, or the root's part of it is being started anew")))]
pub(super) async fn approvals(api: Data<Api>, request: Json<ApprovalsWanted>) -> Answer {
    let mirrors = selected(&api, &request.selectors)?;
    let names_max = request.names_max.unwrap_or(usize::MAX);
    Ok(HttpResponse::Ok().json(awaiting(&api, mirrors, names_max).await?))
}

/// What waits of these mirrors and their roots.
async fn awaiting(
    api: &Api,
    mirrors: Vec<MirrorId>,
    names_max: usize,
) -> Result<Awaiting, Refusal> {
    let facts = api.board.send(Counted).await?;
    let why_halted = |mirror: &MirrorId| {
        let (_, report) = facts.mirrors.iter().find(|(id, _)| id == mirror)?;
        let why = report.halted.clone()?;
        Some(AwaitingPlace { id: mirror.to_string(), why })
    };
    let mut by_root: BTreeMap<RootId, Vec<MirrorId>> = BTreeMap::new();
    for mirror in mirrors {
        by_root.entry(mirror.root.clone()).or_default().push(mirror);
    }
    let mut all = Awaiting::default();
    for (root, mirrors) in by_root {
        let halted: Vec<AwaitingPlace> = mirrors.iter().filter_map(why_halted).collect();
        let listed = api.overseer.send(ListAwaiting { root, mirrors, names_max }).await?;
        let listed = listed.map_err(Refusal::unavailable)?;
        all.lists.extend(listed.lists);
        all.counting.extend(listed.counting);
        all.halted.extend(listed.halted);
        all.halted.extend(halted);
    }
    Ok(all)
}

#[utoipa::path(post, path = "/approve", tag = "acting", request_body = Approval, responses((status = 200, body = Approved, description = "What was approved"), (status = 404, body = Refused, description = "A selector selects nothing, or there is no such root or mirror"), (status = 409, body = Refused, description = "Something waits no more, or was approved before; what else was named is approved"), (status = 400, body = Refused, description = "Malformed, or nothing is named"), (status = 503, body = Refused, description = "The daemon is ending")))]
pub(super) async fn approve(api: Data<Api>, request: Json<Approval>, http: HttpRequest) -> Answer {
    let Approval { selectors, lists, halted } = request.into_inner();
    if selectors.is_none() && lists.is_empty() && halted.is_empty() {
        return Err(Refusal::malformed("Nothing is named that is to be approved"));
    }
    let mut wanted = BTreeSet::new();
    if let Some(selectors) = selectors {
        let shown = awaiting(&api, selected(&api, &selectors)?, 0).await?;
        let everything = Approval::of(&shown);
        wanted.extend(everything.lists.into_iter().map(Approvable::List));
        wanted.extend(places(&api, &everything.halted)?);
    }
    let plan = api.plan.get();
    if let Some(id) = lists.iter().find(|id| !plan.roots.contains_key(&id.root)) {
        let error = format!("There is no root {} for list {id}; `status` names them all", id.root);
        return Err(Refusal::not_found(error));
    }
    wanted.extend(lists.into_iter().map(Approvable::List));
    wanted.extend(places(&api, &halted)?);
    let by = http.conn_data::<Peer>().and_then(|peer| peer.0);
    let (mut all, mut errors) = (Approved::default(), Vec::new());
    for what in wanted {
        match api.overseer.send(message::Approve { what, by }).await? {
            Ok(approved) => {
                all.lists.extend(approved.lists);
                all.halted.extend(approved.halted);
            }
            Err(why) => errors.push(why),
        }
    }
    if errors.is_empty() {
        return Ok(HttpResponse::Ok().json(all));
    }
    let lists = all.lists.iter().map(|list| list.id.to_string());
    let approved: Vec<String> = lists.chain(all.halted).collect();
    errors.extend((!approved.is_empty()).then(|| format!("Approved: {}", approved.join(", "))));
    Err(Refusal::new(StatusCode::CONFLICT, errors.join("\n")))
}

/// The roots and mirrors of these names.
fn places(api: &Api, names: &[String]) -> Result<Vec<Approvable>, Refusal> {
    let plan = api.plan.get();
    let place = |name: &String| {
        let unknown = || {
            Refusal::not_found(format!(
                "There is no root or mirror {name}; `status` names them all"
            ))
        };
        let selector: Selector = name.parse().map_err(Refusal::malformed)?;
        match &selector {
            _ if !selector.is_known(&plan) => Err(unknown()),
            Selector::Root(root) => Ok(Approvable::Source(root.as_str().into())),
            Selector::Mirror(root, host) => {
                let id = MirrorId::new(&root.as_str().into(), &host.as_str().into());
                Ok(Approvable::Target(id))
            }
            Selector::All | Selector::Host(_) => Err(unknown()),
        }
    };
    names.iter().map(place).collect()
}
