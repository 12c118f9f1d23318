//! A client whose connections send nothing once the lease is no longer ours.
//!
//! The writer asks before it hands out a request. That leaves what it handed out and the HTTP stack has not sent yet: a
//! request that waits for a new connection, octets that wait for room in the socket. Here the innermost stream, below TLS,
//! asks again at each write: without a valid lease it refuses, and the connection ends. What the kernel took before is
//! beyond anybody's reach; the marks that a successor sets make it fail.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ConfigExt};
use tokio::sync::watch;
use tower::{BoxError, Service, ServiceBuilder};

use crate::lease::Leadership;

/// Connections that nobody needed for that long are closed: a little before the API server would (90 s), so that no request
/// meets its closing.
const IDLE: Duration = Duration::from_secs(80);
/// TCP gives up on octets that nobody acknowledged for that long, instead of delivering them much later.
const UNACKNOWLEDGED: Duration = Duration::from_secs(5);

/// A client for the writer alone: it sends only while `leadership` says that we may write, repeats nothing by itself, and
/// keeps as many connections as the writer uses at once.
///
/// # Errors
/// The configuration's certificates or credentials cannot be used.
pub fn client(
    config: &kube::Config,
    leadership: watch::Receiver<Leadership>,
) -> Result<kube::Client, kube::Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(config.connect_timeout);
    tcp.set_keepalive(Some(Duration::from_secs(15)));
    tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    let fenced = FencedConnector { tcp, leadership };
    let tls = config.rustls_https_connector_with_connector(fenced)?;
    let http: Client<_, Body> = Client::builder(TokioExecutor::new())
        .pool_idle_timeout(IDLE)
        .pool_timer(TokioTimer::new())
        .build(tls);
    let stack = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(kube::Client::new(stack, config.default_namespace.clone()))
}

#[derive(Clone)]
struct FencedConnector {
    tcp: HttpConnector,
    leadership: watch::Receiver<Leadership>,
}

impl Service<Uri> for FencedConnector {
    type Response = Fenced<<HttpConnector as Service<Uri>>::Response>;
    type Error = <HttpConnector as Service<Uri>>::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.tcp.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.tcp.call(uri);
        let leadership = self.leadership.clone();
        Box::pin(async move {
            let stream = connecting.await?;
            Ok(Fenced { stream, leadership })
        })
    }
}

/// A stream that takes octets only while we may write.
struct Fenced<S> {
    stream: S,
    leadership: watch::Receiver<Leadership>,
}

impl<S> Fenced<S> {
    fn check(&self) -> io::Result<()> {
        if self.leadership.borrow().may_write(now()) {
            return Ok(());
        }
        let reason = "the lease is not ours (any more), so nothing is sent";
        Err(io::Error::new(io::ErrorKind::PermissionDenied, reason))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "whether a write may be sent depends on the moment it leaves, which nobody else knows"
)]
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl<S: Connection> Connection for Fenced<S> {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

impl<S: Read + Unpin> Read for Fenced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: Write + Unpin> Write for Fenced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(context, octets)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
