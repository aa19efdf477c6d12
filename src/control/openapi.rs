//! The API as a document in the format of `OpenAPI`: `docs/openapi.json`.

use utoipa::OpenApi;

use crate::control::{api, approve, details, explain, reload, steer, watch};

/// Everything on the control socket. What is tagged `reading` is on `control.listen` too.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "mirrorball",
        description = "The control socket, and what only reads on `control.listen`"
    ),
    paths(
        watch::dashboard,
        watch::events,
        watch::health,
        watch::measured,
        watch::ready,
        watch::status,
        details::mirror,
        approve::approvals,
        approve::approve,
        explain::explain,
        api::flush,
        steer::pause,
        api::plan,
        reload::reload,
        steer::resume,
        api::stop,
        api::verify,
        steer::walk,
    )
)]
struct Document;

/// The document.
pub fn text() -> Result<String, serde_json::Error> {
    Document::openapi().to_pretty_json().map(|text| text + "\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    const FILE: &str = "docs/openapi.json";

    #[test]
    fn the_document_is_what_the_code_says() {
        let text = super::text().unwrap();
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(FILE, &text).unwrap();
        }
        assert!(std::fs::read_to_string(FILE).unwrap() == text, "UPDATE=1 writes {FILE} anew");
    }

    #[test]
    fn every_route_is_in_the_document_and_the_other_way_round() {
        let document: serde_json::Value = serde_json::from_str(&super::text().unwrap()).unwrap();
        let documented: BTreeSet<String> =
            document["paths"].as_object().unwrap().keys().cloned().collect();
        let sources = [include_str!("api.rs"), include_str!("watch.rs")].concat();
        let routes = sources.split(".route(\"").skip(1);
        let routes: BTreeSet<String> =
            routes.map(|rest| rest.split('"').next().unwrap().to_string()).collect();
        assert_eq!(documented, routes);
    }
}
