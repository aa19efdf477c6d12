//! Looking on: status, metrics, health, and events as they come.

use std::sync::Arc;

use actix_web::web::{Bytes, Data, Query};
use actix_web::{HttpResponse, web};
use futures_util::future::LocalBoxFuture;
use futures_util::{FutureExt, stream};
use serde::Deserialize;
use serde::Serialize;

use crate::actors::message::{Counted, Ping, StatusSince, Waiting};
use crate::control::api::Api;
use crate::control::refusal::{Answer, Refusal, Refused};
use crate::control::{details, metrics};
use mirrorball_core::data::limits::{EVENT_HEARTBEAT, EVENT_PAUSE};
use mirrorball_core::data::status::{MirrorStatus, RootState, Status};

/// `GET /status?since=N`: answers when the revision differs from N; at once without it.
#[derive(Deserialize)]
pub(super) struct Since {
    #[serde(default)]
    since: u64,
}

/// Routes that only read.
pub fn read_only(config: &mut web::ServiceConfig) {
    config
        .route("/", web::get().to(dashboard))
        .route("/events", web::get().to(events))
        .route("/healthz", web::get().to(health))
        .route("/metrics", web::get().to(measured))
        .route("/mirrors/{id}", web::get().to(details::mirror))
        .route("/readyz", web::get().to(ready))
        .route("/status", web::get().to(status));
}

/// One page that needs nothing else, and may load nothing else.
#[utoipa::path(get, path = "/", tag = "reading", responses((status = 200, content_type = "text/html", description = "The page")))]
pub(super) async fn dashboard() -> HttpResponse {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                  img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header(("content-security-policy", policy))
        .insert_header(("x-content-type-options", "nosniff"))
        .body(include_str!("dashboard.html"))
}

#[utoipa::path(get, path = "/status", tag = "reading", params(("since" = Option<u64>, Query, description = "Answer when the revision is another; at once without it")), responses((status = 200, body = Status, description = "Where everything stands")))]
pub(super) async fn status(api: Data<Api>, since: Query<Since>) -> Answer {
    let status = api.board.send(StatusSince { revision: since.since }).await?;
    Ok(HttpResponse::Ok().json(&*status))
}

#[utoipa::path(get, path = "/metrics", tag = "reading", responses((status = 200, content_type = "application/openmetrics-text", description = "Everything that is counted")))]
pub(super) async fn measured(api: Data<Api>) -> Answer {
    let text = metrics::text(api.board.send(Counted).await?);
    let failed = |error| Refusal::failed(format!("The metrics can't be written: {error}"));
    Ok(HttpResponse::Ok().content_type(metrics::CONTENT_TYPE).body(text.map_err(failed)?))
}

/// Whether every actor lives and answers.
#[utoipa::path(get, path = "/healthz", tag = "reading", responses((status = 200, description = "Every part of the daemon answers"), (status = 503, body = Refused, description = "One does not")))]
pub(super) async fn health(api: Data<Api>) -> Answer {
    if let Some(who) = api.overseer.send(Waiting).await?.first() {
        return Err(Refusal::unavailable(who.death_notice()));
    }
    api.overseer.send(Ping).await?.map_err(Refusal::unavailable)?;
    Ok(HttpResponse::Ok().body("ok\n"))
}

/// Whether every root is watched.
#[utoipa::path(get, path = "/readyz", tag = "reading", responses((status = 200, description = "Every root is watched"), (status = 503, body = Refused, description = "One is not")))]
pub(super) async fn ready(api: Data<Api>) -> Answer {
    let status = api.board.send(StatusSince { revision: 0 }).await?;
    let is_ready = |state| matches!(state, RootState::Watching | RootState::Degraded);
    match status.roots.iter().find(|root| !is_ready(root.state)) {
        None => Ok(HttpResponse::Ok().body("ok\n")),
        Some(root) => Err(Refusal::unavailable(format!("{} is {}", root.id, root.state.name()))),
    }
}

/// One item of the stream of events: the whole at first, and then what differs from the item before, but for times
/// that pass by themselves.
#[derive(Serialize)]
struct Event<'a> {
    /// Everything but the mirrors.
    #[serde(flatten)]
    rest: Status,
    /// Mirrors that differ.
    changed: Vec<&'a MirrorStatus>,
    /// Whether these are all that there are.
    whole: bool,
}

/// A question for a status that differs; none: the daemon ends.
type Asked = LocalBoxFuture<'static, Option<Arc<Status>>>;

fn ask(api: &Api, revision: u64) -> Asked {
    let asked = api.board.send(StatusSince { revision });
    async move { asked.await.ok() }.boxed_local()
}

/// `GET /events`: server-sent events named `status`, at most one in [`EVENT_PAUSE`].
#[utoipa::path(get, path = "/events", tag = "reading", responses((status = 200, content_type = "text/event-stream", description = "Events named `status`: the fields of the status, and instead of `mirrors` those that `changed`; `whole` says that these are all")))]
pub(super) async fn events(api: Data<Api>) -> HttpResponse {
    let first = (api, None, None);
    let stream = stream::unfold(first, async |(api, last, asked): (Data<Api>, _, _)| {
        let last: Option<Arc<Status>> = last;
        let mut asked: Asked = match (asked, &last) {
            (Some(asked), _) => asked,
            (None, None) => ask(&api, 0),
            (None, Some(last)) => {
                tokio::time::sleep(EVENT_PAUSE).await;
                ask(&api, last.revision)
            }
        };
        let Ok(answer) = tokio::time::timeout(EVENT_HEARTBEAT, &mut asked).await else {
            let item = Bytes::from_static(b": still here\n\n");
            return Some((Ok::<_, actix_web::Error>(item), (api, last, Some(asked))));
        };
        let status = answer?;
        let text = serde_json::to_string(&event(last.as_deref(), &status)).ok()?;
        let item = Bytes::from(format!("event: status\ndata: {text}\n\n"));
        Some((Ok(item), (api, Some(status), None)))
    });
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header(("cache-control", "no-cache"))
        .streaming(stream)
}

fn event<'a>(last: Option<&Status>, now: &'a Status) -> Event<'a> {
    let ids = |status: &Status| status.mirrors.iter().map(|it| it.id.clone()).collect::<Vec<_>>();
    // Who came or went is not told apart.
    let last = last.filter(|last| ids(last) == ids(now));
    let is_same = |(old, new): &(&MirrorStatus, &MirrorStatus)| {
        let timeless = |it: &MirrorStatus| MirrorStatus {
            lag_seconds: f64::from(u8::from(it.lag_seconds > 0.0)),
            retry_in_seconds: it.retry_in_seconds.map(|_| 0.0),
            repeats_in_seconds: it.repeats_in_seconds.map(|_| 0.0),
            ..it.clone()
        };
        timeless(old) == timeless(new)
    };
    let changed = match last {
        None => now.mirrors.iter().collect(),
        Some(last) => {
            let pairs = last.mirrors.iter().zip(&now.mirrors);
            pairs.filter(|pair| !is_same(pair)).map(|(_, new)| new).collect()
        }
    };
    let rest = Status { mirrors: Vec::new(), ..now.clone() };
    Event { rest, changed, whole: last.is_none() }
}
