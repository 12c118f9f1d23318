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

#[cfg(test)]
mod tests {
    use std::error::Error as _;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hyper::Request;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::lease::Lead;

    fn leads(valid_until: Instant) -> Leadership {
        Leadership {
            holder: "us".into(),
            lead: Some(Lead {
                term: 1,
                unclean: false,
                valid_until,
            }),
        }
    }

    /// Answers every request with an empty object, and counts the octets it gets.
    async fn server() -> (kube::Config, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let octets = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&octets);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    let mut buffer = [0; 4096];
                    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                        count.fetch_add(length, Ordering::SeqCst);
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                        stream.write_all(answer).await.unwrap();
                    }
                });
            }
        });
        (kube::Config::new(url.parse().unwrap()), octets)
    }

    async fn ask(client: &kube::Client) -> Result<String, kube::Error> {
        let request = Request::get("/version").body(vec![]).unwrap();
        client.request_text(request).await
    }

    #[tokio::test]
    async fn what_was_handed_to_the_client_is_not_sent_once_the_lease_has_ended() {
        let (config, octets) = server().await;
        let (leadership, receiver) = watch::channel(leads(now() + Duration::from_secs(60)));
        let client = client(&config, receiver).unwrap();
        ask(&client).await.unwrap();
        let before = octets.load(Ordering::SeqCst);
        assert!(before > 0);
        for lost in [leads(now()), Leadership::default()] {
            leadership.send_replace(lost);
            // Over the connection that is open, and over a new one.
            for _ in 0..2 {
                let error = ask(&client).await.unwrap_err();
                let mut text = error.to_string();
                let mut cause = error.source();
                while let Some(error) = cause {
                    text = format!("{text}: {error}");
                    cause = error.source();
                }
                assert!(text.contains("the lease is not ours"), "{text}");
            }
        }
        assert_eq!(octets.load(Ordering::SeqCst), before);
        leadership.send_replace(leads(now() + Duration::from_secs(60)));
        ask(&client).await.unwrap();
    }
}
