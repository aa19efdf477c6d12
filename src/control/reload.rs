//! Reading the configuration again.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::{Data, Json};
use serde::{Deserialize, Serialize};
use slog::error;
use utoipa::ToSchema;

use crate::actors::message::{ConfigRefused, Reload};
use crate::actors::send::tell_actor;
use crate::config;
use crate::control::api::Api;
use crate::control::refusal::{Answer, Refusal, Refused};
use mirrorball_core::fleet::reload::Difference;

/// `POST /reload`: the configuration file is read again, and what differs is applied.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct ReloadRequest {
    /// Only say what it would change.
    pub dry: bool,
}

/// Why a configuration does not count.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotReloaded(String);

#[utoipa::path(post, path = "/reload", tag = "acting", request_body = ReloadRequest, responses((status = 200, body = Difference, description = "What has changed, or would"), (status = 422, body = Refused, description = "A bad configuration; the old one stays"), (status = 400, body = Refused, description = "Malformed")))]
pub(super) async fn reload(api: Data<Api>, request: Json<ReloadRequest>) -> Answer {
    let refusal = |NotReloaded(why)| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, why);
    let difference = apply(&api, request.dry).await.map_err(refusal)?;
    Ok(HttpResponse::Ok().json(difference))
}

/// Reads the configuration file again and applies what differs, or, if it is `dry`, only says what that would be.
/// A bad one is refused as a whole, and the old one stays; the status says so.
pub async fn apply(api: &Api, dry: bool) -> Result<Difference, NotReloaded> {
    let applied = read_and_apply(api, dry).await;
    if let (Err(NotReloaded(why)), false) = (&applied, dry) {
        error!(api.log, "The new configuration is refused, and the old one stays"; "why" => why);
        tell_actor(&api.board, ConfigRefused { why: why.clone() });
    }
    applied
}

async fn read_and_apply(api: &Api, dry: bool) -> Result<Difference, NotReloaded> {
    let failed = |why: &dyn std::fmt::Display| NotReloaded(why.to_string());
    let Some(path) = api.config.clone() else {
        return Err(failed(
            &"There is no configuration file to read again: the mirrors were given on the command line",
        ));
    };
    let loaded = tokio::task::spawn_blocking(move || config::load_to_run(&path)).await;
    let (plan, _) = loaded.map_err(|e| failed(&e))?.map_err(|faults| failed(&faults))?;
    let plan = Arc::new(plan);
    let message = Reload { plan: plan.clone(), dry };
    let difference =
        api.overseer.send(message).await.map_err(|_| failed(&"The daemon is ending"))?;
    let difference = difference.map_err(|why| failed(&why))?;
    if !dry {
        api.plan.set(plan);
    }
    Ok(difference)
}
