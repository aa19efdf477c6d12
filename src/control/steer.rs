//! What a person wants done with mirrors, now.

use actix_web::HttpResponse;
use actix_web::web::{Data, Json};

use crate::actors::message::{PauseAll, WalkAll};
use crate::actors::send::tell_actor;
use crate::control::api::{Api, Selected, selected};
use crate::control::refusal::{Answer, Refusal, Refused};

#[utoipa::path(post, path = "/pause", tag = "acting", request_body = Selected, responses((status = 202, description = "Nothing is sent there before /resume"), (status = 404, body = Refused, description = "A selector selects nothing"), (status = 400, body = Refused, description = "Malformed"), (status = 503, body = Refused, description = "The daemon is ending")))]
pub(super) async fn pause(api: Data<Api>, request: Json<Selected>) -> Answer {
    set_paused(&api, &request, true).await
}

#[utoipa::path(post, path = "/resume", tag = "acting", request_body = Selected, responses((status = 202, description = "They get what they lack"), (status = 404, body = Refused, description = "A selector selects nothing"), (status = 400, body = Refused, description = "Malformed"), (status = 503, body = Refused, description = "The daemon is ending")))]
pub(super) async fn resume(api: Data<Api>, request: Json<Selected>) -> Answer {
    set_paused(&api, &request, false).await
}

async fn set_paused(api: &Api, request: &Selected, paused: bool) -> Answer {
    let mirrors = selected(api, &request.selectors)?;
    api.overseer.send(PauseAll { mirrors, paused }).await?.map_err(Refusal::failed)?;
    Ok(HttpResponse::Accepted().finish())
}

#[utoipa::path(post, path = "/walk", tag = "acting", request_body = Selected, responses((status = 202, description = "They are to be compared whole"), (status = 404, body = Refused, description = "A selector selects nothing"), (status = 400, body = Refused, description = "Malformed"), (status = 503, body = Refused, description = "The daemon is ending")))]
pub(super) async fn walk(api: Data<Api>, request: Json<Selected>) -> Answer {
    let mirrors = selected(&api, &request.selectors)?;
    tell_actor(&api.overseer, WalkAll { mirrors });
    Ok(HttpResponse::Accepted().finish())
}
