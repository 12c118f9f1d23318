//! Connections that send nothing once the lease is no longer ours.
//!
//! Whoever writes asks before it hands out a request. That leaves what it handed out and the HTTP stack has not sent yet: a
//! request that waits for a new connection or for new credentials, octets that wait for room in the socket. Here the
//! innermost stream, below TLS, asks again at each write: without a valid lease it refuses, and the connection ends. What
//! the kernel took before is beyond anybody's reach; the marks that a successor sets make it fail.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use tokio::sync::watch;
use tower::Service;

use crate::lease::Leadership;

/// Who may send: everybody, or only the leader.
pub(super) type Fence = Option<watch::Receiver<Leadership>>;

/// TCP whose connections ask the fence.
#[derive(Clone)]
pub(super) struct FencedConnector {
    pub(super) tcp: HttpConnector,
    pub(super) fence: Fence,
}

impl Service<http::Uri> for FencedConnector {
    type Response = Fenced<<HttpConnector as Service<http::Uri>>::Response>;
    type Error = <HttpConnector as Service<http::Uri>>::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.tcp.poll_ready(context)
    }

    fn call(&mut self, uri: http::Uri) -> Self::Future {
        let connecting = self.tcp.call(uri);
        let fence = self.fence.clone();
        Box::pin(async move {
            let stream = connecting.await?;
            Ok(Fenced { stream, fence })
        })
    }
}

/// A stream that takes octets only while we may write.
pub(super) struct Fenced<S> {
    stream: S,
    fence: Fence,
}

impl<S> Fenced<S> {
    fn check(&self) -> io::Result<()> {
        let Some(leadership) = &self.fence else {
            return Ok(());
        };
        if leadership.borrow().may_write(now()) {
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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hyper::Request;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use std::time::Duration;

    use super::super::{KubernetesClient, in_one_line};
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
    async fn server() -> (String, Arc<AtomicUsize>) {
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
        (url, octets)
    }

    async fn ask(client: &kube::Client) -> Result<String, kube::Error> {
        let request = Request::get("/version").body(vec![]).unwrap();
        client.request_text(request).await
    }

    #[tokio::test]
    async fn what_was_handed_to_the_client_is_not_sent_once_the_lease_has_ended() {
        let (url, octets) = server().await;
        let (leadership, receiver) = watch::channel(leads(now() + Duration::from_secs(60)));
        let directory = tempfile::tempdir().unwrap();
        let kubeconfig = directory.path().join("kubeconfig");
        let text = format!(
            "{{apiVersion: v1, kind: Config, current-context: c, users: [{{name: u, user: {{}}}}], \
             clusters: [{{name: k, cluster: {{server: '{url}'}}}}], contexts: [{{name: c, context: {{cluster: k, user: u}}}}]}}"
        );
        std::fs::write(&kubeconfig, text).unwrap();
        let client = KubernetesClient::open_fenced(Some(&kubeconfig), receiver).await;
        let client = client.unwrap().client;
        ask(&client).await.unwrap();
        let before = octets.load(Ordering::SeqCst);
        assert!(before > 0);
        for lost in [leads(now()), Leadership::default()] {
            leadership.send_replace(lost);
            // Over the connection that is open, and over a new one.
            for _ in 0..2 {
                let error = ask(&client).await.unwrap_err();
                let text = in_one_line(&error);
                assert!(text.contains("the lease is not ours"), "{text}");
            }
        }
        assert_eq!(octets.load(Ordering::SeqCst), before);
        leadership.send_replace(leads(now() + Duration::from_secs(60)));
        ask(&client).await.unwrap();
    }
}
