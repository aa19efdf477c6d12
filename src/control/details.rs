//! Everything about one mirror.

use actix_web::HttpResponse;
use actix_web::web::{Data, Path};

use crate::actors::message::{RecentRuns, StatusSince, StuckPaths};
use crate::control::api::{Api, Refused, ending};
use crate::types::status::MirrorDetails;

#[utoipa::path(get, path = "/mirrors/{id}", tag = "reading", params(("id" = String, Path, description = "`root@host`")), responses((status = 200, body = MirrorDetails, description = "Its status, all paths that fail, and what was run lately"), (status = 404, body = Refused, description = "There is no such mirror"), (status = 503, body = Refused, description = "The daemon is ending, or the root's part of it is being started anew")))]
pub(super) async fn mirror(api: Data<Api>, id: Path<String>) -> HttpResponse {
    let Ok(status) = api.board.send(StatusSince { revision: 0 }).await else { return ending() };
    let found = status.mirrors.iter().find(|mirror| mirror.id.to_string() == *id).cloned();
    let Some(mirror) = found else {
        let error = format!("There is no mirror {id}; `status` names them all");
        return HttpResponse::NotFound().json(Refused { error });
    };
    let id = mirror.id.clone();
    let recent = api.board.send(RecentRuns { mirror: id.clone() }).await;
    let stuck = api.overseer.send(StuckPaths { mirror: id }).await;
    match (recent, stuck) {
        (Ok(recent), Ok(Ok(stuck))) => {
            HttpResponse::Ok().json(MirrorDetails { mirror, stuck, recent })
        }
        (_, Ok(Err(error))) => HttpResponse::ServiceUnavailable().json(Refused { error }),
        _ => ending(),
    }
}
