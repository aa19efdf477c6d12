//! The listening side: who may connect.

use std::fs::Permissions;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use actix_web::body::MessageBody;
use actix_web::dev::{Server, ServiceRequest, ServiceResponse};
use actix_web::http::uri::Authority;
use actix_web::http::{StatusCode, header};
use actix_web::middleware::{Condition, Next, from_fn};
use actix_web::{App, Error, HttpServer, web};
use anyhow::{Context as _, bail};
use rustix::fs::Mode;

use crate::control::api::{self, Api};
use crate::control::refusal::{self, Refusal};
use crate::control::watch;

/// The user at the other end of a unix socket; none where the kernel does not say.
pub(super) struct Peer(pub Option<u32>);

/// Binds the control socket, for this user alone, or for a group too, by its number. One that a dead daemon left is
/// replaced.
pub fn bind(path: &Path, group: Option<u32>) -> anyhow::Result<UnixListener> {
    let shown = path.display();
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("Cannot make {} for the socket", directory.display()))?;
    }
    if path.exists() {
        if UnixStream::connect(path).is_ok() {
            bail!("Another mirrorball answers at {shown}; stop it, or choose another socket");
        }
        std::fs::remove_file(path).with_context(|| format!("Cannot replace the socket {shown}"))?;
    }
    // The socket must not be open to others for a moment either.
    let before = rustix::process::umask(Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    let listener = listener.with_context(|| format!("Cannot listen at the socket {shown}"))?;
    if let Some(group) = group {
        std::os::unix::fs::chown(path, None, Some(group))
            .and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(0o660)))
            .with_context(|| {
                format!("Cannot give {shown} to the group {group}; the daemon's user must be in it")
            })?;
    }
    Ok(listener)
}

/// Serves everything on the unix socket. Where it is a group's, the kernel sees to who may connect.
pub fn serve(listener: UnixListener, api: &Api, is_groups: bool) -> anyhow::Result<Server> {
    let data = web::Data::new(api.clone());
    let server = HttpServer::new(move || {
        App::new()
            .wrap(Condition::new(!is_groups, from_fn(owner_only)))
            .app_data(data.clone())
            .configure(refusal::configure)
            .configure(watch::read_only)
            .configure(api::acting)
    })
    .on_connect(|connection, extensions| {
        let stream = connection.downcast_ref::<tokio::net::UnixStream>();
        let uid = stream.and_then(|stream| stream.peer_cred().ok()).map(|peer| peer.uid());
        extensions.insert(Peer(uid));
    })
    .workers(1)
    .disable_signals()
    .listen_uds(listener)
    .context("Cannot serve the control socket")?;
    Ok(server.run())
}

/// Binds the TCP address for what only reads.
pub fn bind_reading(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let advice = "choose another one for `control.listen`";
    TcpListener::bind(address).with_context(|| format!("Cannot listen at {address}; {advice}"))
}

/// Serves what only reads.
pub fn serve_reading(listener: TcpListener, api: &Api) -> anyhow::Result<Server> {
    let data = web::Data::new(api.clone());
    let server = HttpServer::new(move || {
        App::new()
            .wrap(from_fn(known_host))
            .app_data(data.clone())
            .configure(refusal::configure)
            .configure(watch::read_only)
    })
    .workers(1)
    .disable_signals()
    .listen(listener)
    .context("Cannot serve what only reads")?;
    Ok(server.run())
}

async fn owner_only(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let peer = request.conn_data::<Peer>().and_then(|peer| peer.0);
    let own = rustix::process::geteuid().as_raw();
    // Root may read the socket's memory anyway.
    if peer.is_some_and(|uid| uid == own || uid == 0) {
        return Ok(next.call(request).await?.map_into_boxed_body());
    }
    Ok(refuse(request, "Only the daemon's own user may use this socket"))
}

/// A page from elsewhere that had its name lead here must not read: only addresses and localhost serve
/// as a name.
async fn known_host(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    // What a proxy says of the name may be said by anybody.
    let named = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = request.uri().authority().map(Authority::as_str).or(named).unwrap_or_default();
    let is_address = host.parse::<SocketAddr>().is_ok() || host.parse::<std::net::IpAddr>().is_ok();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if is_address || name == "localhost" {
        return Ok(next.call(request).await?.map_into_boxed_body());
    }
    Ok(refuse(request, "Ask by address or as localhost"))
}

fn refuse(request: ServiceRequest, why: &str) -> ServiceResponse {
    request.error_response(Refusal::new(StatusCode::FORBIDDEN, why))
}
