//! Talking to the daemon over its socket.

use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::cli::{DEFAULT_CONFIG, DaemonArg};
use crate::config;
use crate::control::refusal::Refused;
use mirrorball_core::data::limits::ANSWER_BYTES_MAX;

/// The daemon can't be talked to.
#[derive(Debug, thiserror::Error)]
#[error("Cannot reach mirrorball at {}: {why}; {remedy}", socket.display())]
pub struct Unreachable {
    socket: PathBuf,
    why: String,
    remedy: &'static str,
}

impl Unreachable {
    fn new(socket: &Path, why: impl std::fmt::Display) -> Self {
        let remedy = "is it running? (--socket or --config names another one)";
        Self { socket: socket.to_path_buf(), why: why.to_string(), remedy }
    }

    /// It may be there, but not for this user.
    fn refused(socket: &Path, why: impl std::fmt::Display) -> Self {
        let remedy = "it is there for its own user, for root, and for the group `control.group`";
        Self { remedy, ..Self::new(socket, why) }
    }
}

/// A daemon's socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// The daemon that the arguments mean: by socket, by configuration, or the system's.
    pub fn find(daemon: &DaemonArg) -> anyhow::Result<Self> {
        if let Some(socket) = &daemon.socket {
            return Ok(Self { socket: socket.clone() });
        }
        let path = daemon.config.clone().unwrap_or_else(|| DEFAULT_CONFIG.into());
        let default = PathBuf::from("/run/mirrorball/control.sock");
        let socket = match (daemon.config.is_some(), path.exists()) {
            // Without a word about it, a machine without a configuration has the default socket.
            (false, false) => default,
            _ => config::socket_of(&path)?.unwrap_or(default),
        };
        Ok(Self { socket })
    }

    /// Asks and waits for the answer.
    pub fn get<T: DeserializeOwned>(&self, route: &str) -> anyhow::Result<T> {
        let body = self.ask(Method::GET, route, Vec::new())?;
        Ok(serde_json::from_slice(&body)?)
    }

    /// Commands and waits for the answer, which may be empty.
    pub fn post(&self, route: &str, message: &impl Serialize) -> anyhow::Result<Vec<u8>> {
        self.ask(Method::POST, route, serde_json::to_vec(message)?)
    }

    /// Waits until the daemon has let go of its socket, as it does at its end.
    pub fn wait_for_end(&self) -> anyhow::Result<()> {
        runtime()?.block_on(async {
            // An open connection ends with the daemon, and not before.
            if let Ok(stream) = UnixStream::connect(&self.socket).await {
                let mut byte = [0; 1];
                stream.readable().await?;
                while matches!(stream.try_read(&mut byte), Ok(1..)) {}
            }
            Ok(())
        })
    }

    fn ask(&self, method: Method, route: &str, body: Vec<u8>) -> anyhow::Result<Vec<u8>> {
        runtime()?.block_on(exchange(&self.socket, method, route, body))
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

async fn exchange(
    socket: &Path,
    method: Method,
    route: &str,
    body: Vec<u8>,
) -> anyhow::Result<Vec<u8>> {
    let broke_off = |error| Unreachable::new(socket, format!("its answer broke off: {error}"));
    let stream = UnixStream::connect(socket).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => Unreachable::refused(socket, error),
        _ => Unreachable::new(socket, error),
    })?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broke_off)?;
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(route)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))?;
    let answer = sender.send_request(request).await.map_err(broke_off)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
        .collect()
        .await
        .map_err(|error| Unreachable::new(socket, format!("its answer broke off: {error}")))?
        .to_bytes()
        .to_vec();
    if status.is_success() {
        return Ok(body);
    }
    Err(match refusal(status, &body) {
        error if status == StatusCode::FORBIDDEN => Unreachable::refused(socket, error).into(),
        error => error,
    })
}

/// The daemon did not understand what was asked, such as a selector that selects nothing.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadRequest(String);

impl BadRequest {
    /// With this message.
    pub fn new(why: String) -> Self {
        Self(why)
    }
}

/// The daemon was to read its configuration again, and that is a bad one.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadConfig(String);

fn refusal(status: StatusCode, body: &[u8]) -> anyhow::Error {
    match serde_json::from_slice::<Refused>(body) {
        Ok(refused) if status == StatusCode::UNPROCESSABLE_ENTITY => {
            BadConfig(refused.error).into()
        }
        // The request was right, and came too late.
        Ok(refused) if status == StatusCode::CONFLICT => anyhow::anyhow!("{}", refused.error),
        Ok(refused) if status.is_client_error() => BadRequest(refused.error).into(),
        Ok(refused) => anyhow::anyhow!("{}", refused.error),
        Err(_) => anyhow::anyhow!("The daemon answered {status}"),
    }
}
