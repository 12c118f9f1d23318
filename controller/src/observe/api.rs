//! The local API: HTTP on a unix socket or a loopback address, asked by `fairway peers` and its sisters.
//!
//! | path | gives |
//! |---|---|
//! | `/v1/peers` | what `cilium bgp peers -o json` gives |
//! | `/v1/routes?kind=available\|advertised&afi=ipv4\|ipv6&safi=unicast` | what `cilium bgp routes -o json` gives |
//! | `/v1/services`, `/v1/pools` | a Kubernetes `List` of whole objects with the status that Fairway writes |
//! | `/v1/problems` | what is wrong with objects, and where |
//! | `/v1/notes` | what an operator should know about this node's BGP |
//!
//! Every answer has a header `x-fairway-version`; `?after=VERSION` waits for another one (half a minute at most).

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bgp_core::Family;
use bytes::Bytes;
use hyper::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::time::timeout;

use super::http::{self, Answer, Handler, Listener, Question};
use super::state::State;
use super::{peers, routes};
use crate::cluster::Problem;

/// Owner and group may ask.
const SOCKET_MODE: u32 = 0o660;

/// Where the local API is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// An address and port.
    Tcp(SocketAddr),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

/// A bound API that is not served yet. Removes its socket when dropped.
#[derive(Debug)]
pub struct Api {
    listener: Listener,
    socket: Option<OwnSocket>,
}

#[derive(Debug)]
struct OwnSocket(PathBuf);

impl Drop for OwnSocket {
    fn drop(&mut self) {
        // Nothing is lost where it stays: a socket without a process behind it is replaced at the next start.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process answers there.
    #[error("{0}: another Fairway serves its API there; give this one another with --api")]
    InUse(Address),
    /// A file that is no socket stands there.
    #[error(
        "{0}: a file that is no socket stands there; remove it or choose another path with --api"
    )]
    NotASocket(Address),
    /// The system says no.
    #[error("{0}: the local API cannot be served there: {1}; choose another place with --api")]
    System(Address, io::Error),
}

impl Api {
    /// Takes the address. A socket that a dead process left behind is replaced.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub async fn bind(address: &Address) -> Result<Self, BindError> {
        match address {
            Address::Tcp(tcp) => match TcpListener::bind(tcp).await {
                Ok(listener) => Ok(Self {
                    listener: Listener::Tcp(listener),
                    socket: None,
                }),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    Err(BindError::InUse(address.clone()))
                }
                Err(error) => Err(BindError::System(address.clone(), error)),
            },
            Address::Unix(path) => {
                let listener = bind_socket(address, path).await?;
                Ok(Self {
                    listener: Listener::Unix(listener),
                    socket: Some(OwnSocket(path.clone())),
                })
            }
        }
    }

    /// Where it is bound; the port is known even where port 0 was asked for.
    pub fn address(&self) -> Option<Address> {
        match (&self.listener, &self.socket) {
            (Listener::Tcp(listener), _) => listener.local_addr().ok().map(Address::Tcp),
            (Listener::Unix(_), Some(OwnSocket(path))) => Some(Address::Unix(path.clone())),
            (Listener::Unix(_), None) => None,
        }
    }

    /// Serves until dropped.
    pub async fn serve(self, state: Arc<State>) {
        let Self { listener, socket } = self;
        http::serve(listener, Arc::new(Questions { state })).await;
        drop(socket);
    }
}

async fn bind_socket(address: &Address, path: &Path) -> Result<UnixListener, BindError> {
    let system = |error| BindError::System(address.clone(), error);
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(BindError::NotASocket(address.clone()));
        }
        Ok(_) if UnixStream::connect(path).await.is_ok() => {
            return Err(BindError::InUse(address.clone()));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(directory) = path
                .parent()
                .filter(|directory| !directory.as_os_str().is_empty())
            {
                std::fs::create_dir_all(directory).map_err(system)?;
            }
        }
        Err(error) => return Err(system(error)),
    }
    // Bound under another name, so that nobody reaches it before its mode is set, and put in place in one step.
    let fresh = path.with_extension(format!("{}.new", std::process::id()));
    let _ = std::fs::remove_file(&fresh);
    let listener = UnixListener::bind(&fresh).map_err(system)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(SOCKET_MODE))
        .and_then(|()| std::fs::rename(&fresh, path))
        .map_err(|error| {
            let _ = std::fs::remove_file(&fresh);
            system(error)
        })?;
    Ok(listener)
}

struct Questions {
    state: Arc<State>,
}

impl Handler for Questions {
    async fn wait(&self, question: &Question) {
        if let Ok(Some(after)) = after(&question.query) {
            let _ = timeout(http::CHANGE_LIMIT, self.state.changes().after(after)).await;
        }
    }

    async fn answer(&self, question: &Question) -> Answer {
        // Taken before the state is looked at: what changes meanwhile is news to the client.
        let version = self.state.changes().version();
        match self.document(question).await {
            Ok(document) => Answer {
                status: StatusCode::OK,
                content_type: "application/json",
                version: Some(version),
                body: document,
            },
            Err((status, error)) => Answer {
                status,
                content_type: "application/json",
                version: None,
                body: Bytes::from(json!({ "error": error }).to_string()),
            },
        }
    }
}

type Refused = (StatusCode, String);

impl Questions {
    async fn document(&self, question: &Question) -> Result<Bytes, Refused> {
        after(&question.query)?;
        match question.path.as_str() {
            "/v1/peers" => encode(&peers::peers_by_node(&self.state).await),
            "/v1/routes" => {
                let (kind, family) = route_query(&question.query)?;
                encode(&routes::routes_by_node(&self.state, kind, family).await)
            }
            "/v1/services" => encode(&self.state.view().observed.services_list()),
            "/v1/pools" => encode(&self.state.view().observed.pools_list()),
            "/v1/problems" => encode(
                &self
                    .state
                    .view()
                    .observed
                    .snapshot
                    .problems
                    .iter()
                    .map(problem)
                    .collect::<Vec<_>>(),
            ),
            "/v1/notes" => encode(&self.state.view().notes),
            path => Err((
                StatusCode::NOT_FOUND,
                format!(
                    "{path} is not known; there are /v1/peers, /v1/routes, /v1/services, /v1/pools, /v1/problems and /v1/notes"
                ),
            )),
        }
    }
}

fn encode(document: &impl Serialize) -> Result<Bytes, Refused> {
    serde_json::to_vec(document)
        .map(Bytes::from)
        .map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

fn problem(problem: &Problem) -> Value {
    json!({
        "object": problem.object,
        "place": problem.place,
        "field": problem.field,
        "message": problem.message,
        "lastValidInForce": problem.last_valid_in_force,
    })
}

fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn after(query: &str) -> Result<Option<u64>, Refused> {
    match pairs(query).find(|(name, _)| *name == "after") {
        None => Ok(None),
        Some((_, value)) => value.parse().map(Some).map_err(|_| {
            (
                StatusCode::BAD_REQUEST,
                format!("after={value}: not a version; take it from x-fairway-version"),
            )
        }),
    }
}

fn route_query(query: &str) -> Result<(routes::Kind, Family), Refused> {
    let mut kind = routes::Kind::Available;
    let mut family = Family::IPV4_UNICAST;
    for (name, value) in pairs(query) {
        match (name, value) {
            ("kind", "available") => kind = routes::Kind::Available,
            ("kind", "advertised") => kind = routes::Kind::Advertised,
            ("afi", "ipv4") => family = Family::IPV4_UNICAST,
            ("afi", "ipv6") => family = Family::IPV6_UNICAST,
            ("safi", "unicast") | ("after", _) => {}
            (name, value) => {
                return Err((
                    StatusCode::BAD_REQUEST,
                    format!(
                        "{name}={value}: there are kind=available|advertised, afi=ipv4|ipv6, safi=unicast and after=VERSION"
                    ),
                ));
            }
        }
    }
    Ok((kind, family))
}

#[cfg(test)]
mod tests;
