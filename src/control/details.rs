//! Everything about one mirror.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};

use crate::actors::message::{RecentRuns, StatusSince, StuckPaths};
use crate::control::api::Api;
use crate::control::refusal::{Answer, Refusal, Refused};
use mirrorball_core::data::status::MirrorDetails;

#[utoipa::path(get, path = "/mirrors/{id}", tag = "reading", params(("id" = String, Path, description = "`root@host`")), responses((status = 200, body = MirrorDetails, description = "Its status, all paths that fail, and what was run lately"), (status = 404, body = Refused, description = "There is no such mirror"), (status = 503, body = Refused, description = "The daemon is ending, or the root's part of it is being started anew")))]
pub(super) async fn mirror(api: Data<Api>, id: Path<String>) -> Answer {
    let status = api.board.send(StatusSince { revision: 0 }).await?;
    let found = status.mirrors.iter().find(|mirror| mirror.id.to_string() == *id).cloned();
    let unknown =
        || Refusal::not_found(format!("There is no mirror {id}; `status` names them all"));
    let mirror = found.ok_or_else(unknown)?;
    let id = mirror.id.clone();
    let recent = api.board.send(RecentRuns { mirror: id.clone() }).await?;
    let stuck = api.overseer.send(StuckPaths { mirror: id }).await?;
    let stuck = stuck.map_err(Refusal::unavailable)?;
    Ok(HttpResponse::Ok().json(MirrorDetails { mirror, stuck, recent }))
}
