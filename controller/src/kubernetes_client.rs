//! The way to the API server: who we are, how it is trusted, how long anything may take, and what was asked of it.
//!
//! kube's own stack is not used whole: it logs every failed request as an error of its own, waits for ever for an answer,
//! and re-reads a rotated token only after a minute.

mod calls;
mod fence;

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::sync::watch;
use tower::{BoxError, ServiceBuilder};

use self::fence::{Fence, FencedConnector};
use crate::lease::Leadership;

pub use calls::{ApiCalls, Call, WRITE_BUCKETS, WriteLatency};

/// A connection that takes longer is none.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer to one request may take, all of it.
const ANSWER: Duration = Duration::from_secs(15);
/// How long a page of a list may take.
const LIST: Duration = Duration::from_secs(60);
/// How long the beginning of a watch may take; the rest lives as long as it lives.
const WATCH_BEGINS: Duration = Duration::from_secs(30);
/// A peer that is gone without a word is noticed by the kernel after that many times this long.
const KEEPALIVE: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;
/// Connections that were idle that long are not used again: the API server closes them after 90 s, and a request should
/// not meet its closing.
const IDLE: Duration = Duration::from_secs(80);
/// Fenced: TCP gives up on octets that nobody acknowledged for that long, instead of delivering them much later.
const UNACKNOWLEDGED: Duration = Duration::from_secs(5);
/// Credentials are not read again more often, however often they are refused.
const REFRESH: Duration = Duration::from_millis(500);

/// Kubernetes cannot be reached, by what is configured: what, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {what}; {advice}")]
pub struct ClientError {
    place: String,
    what: String,
    advice: &'static str,
}

/// A client for the API server, and the count of all that is asked through it (and its clones).
#[derive(Clone)]
pub struct KubernetesClient {
    /// Sends requests.
    pub client: Client,
    /// What was asked, and how it went.
    pub calls: ApiCalls,
    /// Where the API server is: its URL.
    pub server: String,
    kubeconfig: Option<PathBuf>,
}

impl std::fmt::Debug for KubernetesClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KubernetesClient({})", self.server)
    }
}

impl KubernetesClient {
    /// A client as a kubeconfig file says, or as the pod's service account. Nothing is sent yet; an `exec` entry of the
    /// file runs.
    ///
    /// # Errors
    ///
    /// The file, a file it names, or the service account cannot be read or used.
    pub async fn open(kubeconfig: Option<&Path>) -> Result<Self, ClientError> {
        Self::open_with(kubeconfig, None).await
    }

    /// The same for whoever may write only while we lead: its connections send nothing, not even the rest of a request,
    /// unless [`Leadership::may_write`] holds at that moment.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn open_fenced(
        kubeconfig: Option<&Path>,
        leadership: watch::Receiver<Leadership>,
    ) -> Result<Self, ClientError> {
        Self::open_with(kubeconfig, Some(leadership)).await
    }

    /// One that asks whom a test puts in the API server's place.
    #[cfg(test)]
    pub(crate) fn of(client: Client) -> Self {
        Self {
            client,
            calls: ApiCalls::default(),
            server: String::new(),
            kubeconfig: None,
        }
    }

    async fn open_with(kubeconfig: Option<&Path>, fence: Fence) -> Result<Self, ClientError> {
        let credentials = Credentials {
            kubeconfig: kubeconfig.map(Path::to_owned),
            fence,
        };
        Self::with(credentials, ApiCalls::default()).await
    }

    /// The same API server and the same credentials over other connections, for whoever may write only while we lead: they
    /// send nothing, not even the rest of a request, unless [`Leadership::may_write`] holds at that moment. Counted together.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn fenced(
        &self,
        leadership: watch::Receiver<Leadership>,
    ) -> Result<Self, ClientError> {
        let credentials = Credentials {
            kubeconfig: self.kubeconfig.clone(),
            fence: Some(leadership),
        };
        Self::with(credentials, self.calls.clone()).await
    }

    async fn with(credentials: Credentials, calls: ApiCalls) -> Result<Self, ClientError> {
        let (inner, server) = credentials.client().await?;
        let namespace = inner.default_namespace().to_owned();
        let kubeconfig = credentials.kubeconfig.clone();
        let connection = Arc::new(Connection {
            credentials,
            calls: calls.clone(),
            current: Mutex::new(Current {
                client: inner,
                read_at: now(),
            }),
            refresh: tokio::sync::Mutex::new(()),
        });
        let service = tower::service_fn(move |request| {
            let connection = connection.clone();
            async move { connection.send(request).await }
        });
        Ok(Self {
            client: Client::new(service, namespace),
            calls,
            server,
            kubeconfig,
        })
    }
}

/// Where credentials come from, again and again.
struct Credentials {
    kubeconfig: Option<PathBuf>,
    fence: Fence,
}

impl Credentials {
    async fn client(&self) -> Result<(Client, String), ClientError> {
        let config = self.config().await?;
        let server = config.cluster_url.to_string();
        let fail = |error: &dyn std::error::Error| ClientError {
            place: self.place(),
            what: in_one_line(error),
            advice: "correct the credentials and certificates it names",
        };
        if config.proxy_url.is_some() {
            let place = self.place();
            tracing::warn!(
                "{place}: the proxy it names is not used: the API server is reached directly"
            );
        }
        if config.accept_invalid_certs && self.fence.is_none() {
            tracing::warn!(
                "{}: insecure-skip-tls-verify is set, so whoever answers is taken for the API server",
                self.place()
            );
        }
        // An `exec` entry of a kubeconfig runs a program here.
        let fence = self.fence.clone();
        let built = tokio::task::spawn_blocking(move || stack(&config, fence)).await;
        let built = built.map_err(|error| fail(&error))?;
        let client = built.map_err(|error| fail(&error))?;
        Ok((client, server.trim_end_matches('/').to_owned()))
    }

    async fn config(&self) -> Result<Config, ClientError> {
        let Some(path) = &self.kubeconfig else {
            return Config::incluster().map_err(|error| ClientError {
                place: self.place(),
                what: in_one_line(&error),
                advice: "run in a pod with a service account, or name a file with --kubeconfig",
            });
        };
        let fail = |error: &dyn std::error::Error| ClientError {
            place: self.place(),
            what: in_one_line(error),
            advice: "name a kubeconfig whose current context has a cluster and a user",
        };
        let read = Kubeconfig::read_from(path).map_err(|error| fail(&error))?;
        Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
            .await
            .map_err(|error| fail(&error))
    }

    fn place(&self) -> String {
        match &self.kubeconfig {
            Some(path) => format!("--kubeconfig {}", path.display()),
            None => "the pod's service account".to_owned(),
        }
    }
}

fn stack(config: &Config, fence: Fence) -> kube::Result<Client> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT));
    tcp.set_keepalive(Some(KEEPALIVE));
    tcp.set_keepalive_interval(Some(KEEPALIVE));
    tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
    tcp.set_tcp_user_timeout(fence.as_ref().map(|_| UNACKNOWLEDGED));
    let tcp = FencedConnector { tcp, fence };
    let tls = config.rustls_https_connector_with_connector(tcp)?;
    let client = legacy::Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE)
        .build::<_, Body>(tls);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(client);
    Ok(Client::new(service, config.default_namespace.clone()))
}

/// One client after the other, each with the credentials of its time.
struct Connection {
    credentials: Credentials,
    calls: ApiCalls,
    current: Mutex<Current>,
    /// Held by the one who reads credentials again.
    refresh: tokio::sync::Mutex<()>,
}

struct Current {
    client: Client,
    read_at: Instant,
}

impl Connection {
    /// Sends a request; where the API server does not know us any more, once more with the credentials as they are then.
    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, BoxError> {
        let call = Call::of(request.method(), request.uri());
        let start = now();
        let again = copy(&request);
        let answer = self.send_once(&call, request).await;
        let answer = match (answer, again) {
            (Ok(refused), Some(again)) if refused.status() == StatusCode::UNAUTHORIZED => {
                self.calls.count(&call, Some(refused.status()), None);
                match self.read_credentials_again(start).await {
                    Ok(()) => self.send_once(&call, again).await,
                    Err(error) => Err(error.into()),
                }
            }
            (answer, _) => answer,
        };
        let status = answer.as_ref().ok().map(Response::status);
        let took = call.is_write().then(|| now().duration_since(start));
        self.calls.count(&call, status, took);
        answer
    }

    async fn send_once(
        &self,
        call: &Call,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, BoxError> {
        request.headers_mut().insert(
            header::USER_AGENT,
            HeaderValue::from_static(concat!("fairway/", env!("CARGO_PKG_VERSION"))),
        );
        let client = self.lock().client.clone();
        let sent = async { client.send(request).await.map_err(BoxError::from) };
        if call.verb == "watch" {
            return within(WATCH_BEGINS, sent).await;
        }
        let limit = if call.verb == "list" { LIST } else { ANSWER };
        let whole = async {
            let (head, body) = sent.await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Response::from_parts(head, Body::from(body)))
        };
        within(limit, whole).await
    }

    /// Reads credentials again, unless somebody did so after `since`.
    async fn read_credentials_again(&self, since: Instant) -> Result<(), ClientError> {
        let _one_at_a_time = self.refresh.lock().await;
        let read_at = self.lock().read_at;
        if read_at >= since || now().duration_since(read_at) < REFRESH {
            return Ok(());
        }
        let (client, _) = self.credentials.client().await?;
        *self.lock() = Current {
            client,
            read_at: now(),
        };
        Ok(())
    }

    /// Whoever panicked while holding it left it whole.
    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, BoxError>>,
) -> Result<T, BoxError> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => {
            let message = format!("no answer within {} s", limit.as_secs());
            Err(io::Error::new(io::ErrorKind::TimedOut, message).into())
        }
    }
}

/// The request once more; `None` where its body can be sent only once.
fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let mut copy = Request::new(request.body().try_clone()?);
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    Some(copy)
}

/// An error with what caused it, without line breaks.
pub(crate) fn in_one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // Many an error repeats its cause.
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    let mut line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((cut, _)) = line.char_indices().nth(400) {
        line.truncate(cut);
        line.push_str("...");
    }
    line
}

impl Call {
    /// Whether it changes anything.
    pub fn is_write(&self) -> bool {
        matches!(
            self.verb,
            "create" | "update" | "patch" | "delete" | "deletecollection"
        )
    }

    fn of(method: &Method, uri: &http::Uri) -> Self {
        Self {
            verb: calls::verb(method, uri.path(), uri.query().unwrap_or_default()),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the client owns the clock of its requests"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_wrong_with_a_kubeconfig_is_one_line() {
        let directory = tempfile::tempdir().unwrap();
        let absent = directory.path().join("absent");
        let broken = directory.path().join("broken");
        std::fs::write(&broken, "users: [").unwrap();
        let lonely = directory.path().join("lonely");
        std::fs::write(
            &lonely,
            "apiVersion: v1\nkind: Config\ncurrent-context: nobody\n",
        )
        .unwrap();
        for (path, word) in [
            (&absent, "No such file"),
            (&broken, "parse"),
            (&lonely, "nobody"),
        ] {
            let error = KubernetesClient::open(Some(path)).await.unwrap_err();
            let text = error.to_string();
            assert_eq!(text.lines().count(), 1, "{text}");
            assert!(text.starts_with("--kubeconfig /"), "{text}");
            assert!(text.contains(word) && text.contains("; name a"), "{text}");
        }
        let text = KubernetesClient::open(None).await.unwrap_err().to_string();
        assert!(text.contains("--kubeconfig"), "{text}");
    }
}
