//! Why a request is not done.

use actix::MailboxError;
use actix_web::http::StatusCode;
use actix_web::web::{JsonConfig, PathConfig, QueryConfig, ServiceConfig};
use actix_web::{HttpResponse, ResponseError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a route answers.
pub type Answer = Result<HttpResponse, Refusal>;

/// An answer that says what went wrong.
#[derive(Deserialize, Serialize, ToSchema)]
pub struct Refused {
    /// What.
    pub error: String,
}

/// Why a request is not done, and the code that says whose fault that is.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Refusal {
    status: StatusCode,
    error: String,
}

impl Refusal {
    /// With this code and reason.
    pub fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into() }
    }

    /// What was asked can't be understood.
    pub fn malformed(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// What was asked about is not there.
    pub fn not_found(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error)
    }

    /// It can't be done now.
    pub fn unavailable(error: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error)
    }

    /// It should have been done.
    pub fn failed(error: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error)
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::build(self.status).json(Refused { error: self.error.clone() })
    }
}

/// The actors that route requests live as long as the daemon.
impl From<MailboxError> for Refusal {
    fn from(_: MailboxError) -> Self {
        Self::unavailable("The daemon is ending")
    }
}

/// What can't be read is refused like anything else.
pub fn configure(config: &mut ServiceConfig) {
    config
        .app_data(
            JsonConfig::default()
                .error_handler(|error, _| Refusal::malformed(error.to_string()).into()),
        )
        .app_data(
            PathConfig::default()
                .error_handler(|error, _| Refusal::malformed(error.to_string()).into()),
        )
        .app_data(
            QueryConfig::default()
                .error_handler(|error, _| Refusal::malformed(error.to_string()).into()),
        );
}
