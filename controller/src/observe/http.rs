//! A small HTTP/1.1 server for documents: one request a connection, everything about it bounded, so that a client that
//! never reads, never writes or comes a thousand times over costs a known amount of memory for a known time.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

/// Connections at once; further ones are closed at once.
const CONNECTIONS: usize = 128;
/// Answers that are being made or written at once; further ones wait for their turn.
const ANSWERS: usize = 8;
/// How long a client may take to send its request.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// How long an answer may wait for its turn, be made and be read.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Octets of a request's head.
const HEAD_LIMIT: usize = 16 * 1024;
/// How long a client may wait for a change before it gets the state as it stands.
pub(super) const CHANGE_LIMIT: Duration = Duration::from_secs(30);
/// Names the state that an answer shows.
const VERSION_HEADER: &str = "x-fairway-version";
/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where requests come from.
#[derive(Debug)]
pub(super) enum Listener {
    /// A unix socket.
    Unix(UnixListener),
    /// TCP.
    Tcp(TcpListener),
}

/// What is asked for.
#[derive(Debug)]
pub(super) struct Question {
    /// `/v1/peers`
    pub(super) path: String,
    /// Without the question mark.
    pub(super) query: String,
}

/// A document, or why there is none.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) version: Option<u64>,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn text(status: StatusCode, text: impl Into<String>) -> Self {
        let body = Bytes::from(text.into());
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            version: None,
            body,
        }
    }
}

/// Gives answers.
pub(super) trait Handler: Send + Sync + 'static {
    /// Waits, at most [`CHANGE_LIMIT`], until there is something new to say.
    fn wait(&self, question: &Question) -> impl Future<Output = ()> + Send;
    /// Answers at once.
    fn answer(&self, question: &Question) -> impl Future<Output = Answer> + Send;
}

/// Serves until dropped.
pub(super) async fn serve<H: Handler>(listener: Listener, handler: Arc<H>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    let answers = Arc::new(Semaphore::new(ANSWERS));
    loop {
        let accepted = match &listener {
            Listener::Unix(listener) => listener
                .accept()
                .await
                .map(|(stream, _)| Either::Unix(stream)),
            Listener::Tcp(listener) => listener
                .accept()
                .await
                .map(|(stream, _)| Either::Tcp(stream)),
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                if error.kind() != io::ErrorKind::ConnectionAborted {
                    warn!("accepting a request: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else {
            debug!("more than {CONNECTIONS} clients at once; closed");
            continue;
        };
        let (handler, answers) = (Arc::clone(&handler), Arc::clone(&answers));
        tokio::spawn(async move {
            match stream {
                Either::Unix(stream) => exchange(stream, false, handler, answers).await,
                Either::Tcp(stream) => exchange(stream, true, handler, answers).await,
            }
            drop(permit);
        });
    }
}

enum Either {
    Unix(tokio::net::UnixStream),
    Tcp(tokio::net::TcpStream),
}

async fn exchange<S, H>(stream: S, check_host: bool, handler: Arc<H>, answers: Arc<Semaphore>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    // Held until the answer is written, not only until it is made: that is what bounds the memory of unread answers.
    let turn: Mutex<Option<OwnedSemaphorePermit>> = Mutex::new(None);
    let service = service_fn(|request: Request<Incoming>| {
        let (handler, answers, turn) = (&handler, Arc::clone(&answers), &turn);
        async move {
            let answer = match question(&request, check_host) {
                Ok(question) => {
                    handler.wait(&question).await;
                    // The semaphore is never closed.
                    let permit = answers.acquire_owned().await.ok();
                    *turn.lock().unwrap_or_else(PoisonError::into_inner) = permit;
                    handler.answer(&question).await
                }
                Err(answer) => answer,
            };
            response(answer)
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_LIMIT)
        .max_buf_size(HEAD_LIMIT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // Errors are the client's: it went away, or what it sent is no HTTP.
    let _ = timeout(REQUEST_LIMIT + CHANGE_LIMIT + ANSWER_LIMIT, connection).await;
}

fn question(request: &Request<Incoming>, check_host: bool) -> Result<Question, Answer> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Err(Answer::text(
            StatusCode::METHOD_NOT_ALLOWED,
            "only GET is answered here\n",
        ));
    }
    // A web page may make a browser ask us under a name of its own (DNS rebinding); people and tools use the address.
    let host = request
        .headers()
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    if check_host && !is_address(host) {
        return Err(Answer::text(
            StatusCode::FORBIDDEN,
            "ask for this by its address, or as localhost\n",
        ));
    }
    Ok(Question {
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
    })
}

fn is_address(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port))
            if !port.is_empty() && port.bytes().all(|octet| octet.is_ascii_digit()) =>
        {
            name
        }
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.is_empty()
        || name.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok()
}

fn response(answer: Answer) -> Result<Response<Full<Bytes>>, http::Error> {
    let mut response = Response::builder()
        .status(answer.status)
        .header(CONTENT_TYPE, answer.content_type)
        .header(CACHE_CONTROL, "no-store");
    if let Some(version) = answer.version {
        response = response.header(VERSION_HEADER, version);
    }
    if answer.status == StatusCode::METHOD_NOT_ALLOWED {
        response = response.header(ALLOW, "GET, HEAD");
    }
    response.body(Full::new(answer.body))
}

#[cfg(test)]
mod tests {
    use super::is_address;

    #[test]
    fn names_that_a_web_page_could_bring_along_are_not_addresses() {
        for host in [
            "127.0.0.1:9633",
            "127.0.0.1",
            "[::1]:9633",
            "[::1]",
            "localhost",
            "LOCALHOST:80",
            "",
        ] {
            assert!(is_address(host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:9633",
            "localhost.evil.example",
            "127.0.0.1.evil.example:80",
        ] {
            assert!(!is_address(host), "{host}");
        }
    }
}
