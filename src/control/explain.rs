//! Why a file is, or is not, on a mirror.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::actors::message::{Explain, StatusSince};
use crate::control::api::Api;
use crate::control::refusal::{Answer, Refusal, Refused};
use mirrorball_core::data::explanation::Explanation;
use mirrorball_core::data::ids::RootId;
use mirrorball_core::data::path::RelPath;
use mirrorball_core::data::plan::Plan;
use mirrorball_core::data::status::{MirrorState, MirrorStatus};

/// `POST /explain`: the Roots in which a path lies, each with how it stands on its mirrors.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct ExplainRequest {
    /// Absolute, as its bytes: a name need not be text.
    pub path: Vec<u8>,
}

#[utoipa::path(post, path = "/explain", tag = "acting", request_body = ExplainRequest, responses((status = 200, body = Vec<Explanation>, description = "One for each root around the path"), (status = 404, body = Refused, description = "It lies in no root"), (status = 409, body = Refused, description = "The root is not watched now"), (status = 400, body = Refused, description = "Malformed"), (status = 503, body = Refused, description = "The daemon is ending")))]
pub(super) async fn explain(api: Data<Api>, request: Json<ExplainRequest>) -> Answer {
    let path = Path::new(std::ffi::OsStr::from_bytes(&request.path));
    let plan = api.plan.get();
    let places = places(&plan, path);
    if places.is_empty() {
        let error = format!("{} lies in no root; `status` names them all", path.display());
        return Err(Refusal::not_found(error));
    }
    let status = api.board.send(StatusSince { revision: 0 }).await?;
    let mut explanations = Vec::new();
    for (root, path) in places {
        let explained = api.overseer.send(Explain { root, path }).await?;
        let mut explanation = explained.map_err(|why| Refusal::new(StatusCode::CONFLICT, why))?;
        for mirror in &mut explanation.mirrors {
            mirror.note = status.mirrors.iter().find(|it| it.id == mirror.id).and_then(note);
        }
        explanations.push(explanation);
    }
    Ok(HttpResponse::Ok().json(explanations))
}

/// Roots may lie in each other.
fn places(plan: &Plan, path: &Path) -> Vec<(RootId, RelPath)> {
    let place = |id: &RootId, source: &Path| {
        let inside = path.strip_prefix(source).ok()?;
        Some((id.clone(), RelPath::parse(inside.as_os_str().as_bytes()).ok()?))
    };
    plan.roots.values().filter_map(|root| place(&root.id, &root.source)).collect()
}

/// What keeps a mirror from having it.
fn note(mirror: &MirrorStatus) -> Option<String> {
    if mirror.state == MirrorState::InSync {
        return None;
    }
    let why = mirror.last_error.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    let retry = mirror.retry_in_seconds.map(|seconds| format!("; next try in {seconds:.1} s"));
    Some(format!("{}{why}{}", mirror.state.name(), retry.unwrap_or_default()))
}
