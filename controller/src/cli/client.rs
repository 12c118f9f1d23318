//! Asks a running Fairway: HTTP/1.1 over a unix socket or a TCP connection, one request per connection.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::header::HOST;
use hyper::{Request, Response, StatusCode, body::Incoming};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::Failure;

/// Where `fairway run` serves its local API unless told otherwise.
const DEFAULT_SOCKET: &str = "/run/fairway/api.sock";
/// A live Fairway on the same machine accepts at once; more means that it hangs.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long an answer may take that does not wait for a change.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// How long a change is waited for before the question is put again.
const CHANGE_LIMIT: Duration = Duration::from_secs(120);
/// An answer of 10,000 Services is about 20 MB.
const BODY_LIMIT: usize = 512 * 1024 * 1024;
/// Names the state that an answer shows.
const VERSION_HEADER: &str = "x-fairway-version";

/// Where a local API is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// A unix socket.
    Unix(PathBuf),
    /// An address and port.
    Tcp(SocketAddr),
}

/// A whole answer of the local API.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The document.
    pub(crate) document: Value,
    /// The state it shows, to wait for the next one with [`Client::changed`].
    pub(crate) version: Option<String>,
}

/// Asks one local API.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    address: Address,
}

impl Client {
    /// `api` as typed after `--api`; without it the default socket, or the one below `$XDG_RUNTIME_DIR` where the
    /// first does not exist.
    ///
    /// # Errors
    /// Wrong usage, where the text is neither a path nor an address with a port.
    pub(crate) fn new(api: Option<&str>) -> Result<Self, Failure> {
        let address = match api {
            Some(text) => parse(text)?,
            None => default_address(std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)),
        };
        Ok(Self { address })
    }

    /// A client of the API behind this socket.
    pub(crate) fn of_socket(path: PathBuf) -> Self {
        Self {
            address: Address::Unix(path),
        }
    }

    /// What stands at `path` now.
    ///
    /// # Errors
    /// Nobody answers, or the answer is no document.
    pub(crate) async fn fetch(&self, path: &str) -> Result<Answer, Failure> {
        self.ask(path, ANSWER_LIMIT).await
    }

    /// What stands at `path` once it is no longer the state `after`; the same state again after some minutes.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub(crate) async fn changed(&self, path: &str, after: &str) -> Result<Answer, Failure> {
        let joint = if path.contains('?') { '&' } else { '?' };
        self.ask(&format!("{path}{joint}after={after}"), CHANGE_LIMIT)
            .await
    }

    async fn ask(&self, path: &str, limit: Duration) -> Result<Answer, Failure> {
        match timeout(limit, self.exchange(path)).await {
            Ok(Ok((status, version, body))) => self.read(path, status, version, &body),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(self.unreachable(&format!("no answer within {} s", limit.as_secs()))),
        }
    }

    async fn exchange(&self, path: &str) -> Result<(StatusCode, Option<String>, Bytes), Failure> {
        let request = Request::get(path)
            .header(HOST, "localhost")
            .body(Empty::<Bytes>::new())
            .map_err(|error| Failure::Usage(format!("{path}: {error}")))?;
        let response = match &self.address {
            Address::Unix(socket) => {
                self.send(self.connected(UnixStream::connect(socket)).await?, request)
                    .await?
            }
            Address::Tcp(address) => {
                self.send(self.connected(TcpStream::connect(address)).await?, request)
                    .await?
            }
        };
        let status = response.status();
        let version = response
            .headers()
            .get(VERSION_HEADER)
            .and_then(|value| value.to_str().ok())
            .filter(|text| is_token(text));
        let version = version.map(str::to_owned);
        let body = Limited::new(response.into_body(), BODY_LIMIT)
            .collect()
            .await;
        let body =
            body.map_err(|error| self.unreachable(&format!("the answer broke off: {error}")))?;
        Ok((status, version, body.to_bytes()))
    }

    async fn connected<S>(
        &self,
        attempt: impl Future<Output = io::Result<S>>,
    ) -> Result<S, Failure> {
        match timeout(CONNECT_LIMIT, attempt).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(self.unreachable(&system_words(&error))),
            Err(_) => Err(self.unreachable("it does not accept the connection")),
        }
    }

    async fn send<S>(
        &self,
        stream: S,
        request: Request<Empty<Bytes>>,
    ) -> Result<Response<Incoming>, Failure>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let broken = |error: hyper::Error| {
            self.unreachable(&format!("it does not speak HTTP there: {error}"))
        };
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        tokio::spawn(connection);
        sender.send_request(request).await.map_err(broken)
    }

    fn read(
        &self,
        path: &str,
        status: StatusCode,
        version: Option<String>,
        body: &[u8],
    ) -> Result<Answer, Failure> {
        if status != StatusCode::OK {
            let said: String = String::from_utf8_lossy(body).chars().take(300).collect();
            let said = if said.trim().is_empty() {
                String::new()
            } else {
                format!(": {}", said.trim())
            };
            return Err(Failure::Unreachable(format!(
                "fairway at {} answered {path} with {status}{said}; is it of another version than this command?",
                self.address
            )));
        }
        let document = serde_json::from_slice(body).map_err(|error| {
            self.unreachable(&format!("what answers {path} there is not JSON ({error})"))
        })?;
        Ok(Answer { document, version })
    }

    fn unreachable(&self, why: &str) -> Failure {
        Failure::Unreachable(format!(
            "cannot reach fairway at {}: {why}; is `fairway run` up? name another with --api",
            self.address
        ))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

fn parse(text: &str) -> Result<Address, Failure> {
    let text = text.strip_prefix("unix:").unwrap_or(text);
    if text.contains('/') {
        return Ok(Address::Unix(PathBuf::from(text)));
    }
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    numeric.parse().map(Address::Tcp).map_err(|_| {
        Failure::Usage(format!(
            "--api {text}: neither the path of a unix socket nor an address and port; \
             say something like ./fairway.sock or 127.0.0.1:9634"
        ))
    })
}

fn default_address(runtime_directory: Option<PathBuf>) -> Address {
    let system = PathBuf::from(DEFAULT_SOCKET);
    let own = runtime_directory.map(|directory| directory.join("fairway/api.sock"));
    match own {
        Some(own) if !system.exists() && own.exists() => Address::Unix(own),
        _ => Address::Unix(system),
    }
}

/// The system's text without the number that Rust appends.
fn system_words(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

/// A version goes back into a request's path, so only what cannot change its meaning is taken.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixListener;

    use super::*;

    /// Serves the given answers, one connection each, and hands back the request lines.
    async fn play(
        answers: Vec<String>,
    ) -> (
        tempfile::TempDir,
        Client,
        tokio::task::JoinHandle<Vec<String>>,
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("api.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let server = tokio::spawn(async move {
            let mut asked = vec![];
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![];
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(stream.read_u8().await.unwrap());
                }
                asked.push(
                    String::from_utf8(request)
                        .unwrap()
                        .lines()
                        .next()
                        .unwrap()
                        .to_owned(),
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            asked
        });
        (directory, Client::of_socket(path), server)
    }

    fn http(status: &str, body: &str) -> String {
        format!(
            "HTTP/1.1 {status}\r\nx-fairway-version: 7\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    #[tokio::test]
    async fn an_answer_has_its_document_and_its_version() {
        let (_directory, client, server) =
            play(vec![http("200 OK", "{\"a\":1}"), http("200 OK", "{}")]).await;
        let answer = client.fetch("/v1/peers").await.unwrap();
        assert_eq!(answer.document, serde_json::json!({"a": 1}));
        assert_eq!(answer.version.as_deref(), Some("7"));
        client
            .changed("/v1/routes?kind=available", "7")
            .await
            .unwrap();
        assert_eq!(
            server.await.unwrap(),
            [
                "GET /v1/peers HTTP/1.1",
                "GET /v1/routes?kind=available&after=7 HTTP/1.1"
            ]
        );
    }

    #[tokio::test]
    async fn an_absent_socket_is_named_with_what_to_do() {
        let client = Client::new(Some("/nonexistent/api.sock")).unwrap();
        let failure = client.fetch("/v1/peers").await.unwrap_err();
        assert_eq!(failure.exit_code(), 3);
        assert_eq!(
            failure.to_string(),
            "cannot reach fairway at /nonexistent/api.sock: No such file or directory; \
             is `fairway run` up? name another with --api"
        );
    }

    #[tokio::test]
    async fn an_answer_that_is_no_document_is_a_failure() {
        for answer in [
            "garbage\r\n\r\n".to_owned(),
            http("200 OK", "no json"),
            http("404 Not Found", "no such path"),
        ] {
            let (_directory, client, _server) = play(vec![answer.clone()]).await;
            assert_eq!(
                client.fetch("/v1/peers").await.unwrap_err().exit_code(),
                3,
                "{answer}"
            );
        }
    }

    #[test]
    fn an_address_is_a_path_or_an_address_with_port() {
        assert_eq!(
            parse("/run/x.sock"),
            Ok(Address::Unix("/run/x.sock".into()))
        );
        assert_eq!(parse("./x.sock"), Ok(Address::Unix("./x.sock".into())));
        assert_eq!(
            parse("127.0.0.1:99"),
            Ok(Address::Tcp("127.0.0.1:99".parse().unwrap()))
        );
        assert_eq!(
            parse("[::1]:99"),
            Ok(Address::Tcp("[::1]:99".parse().unwrap()))
        );
        assert_eq!(
            parse("localhost:99"),
            Ok(Address::Tcp("127.0.0.1:99".parse().unwrap()))
        );
        assert_eq!(parse("nowhere").unwrap_err().exit_code(), 2);
    }

    #[test]
    fn the_runtime_directory_is_only_used_where_its_socket_exists() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path().to_path_buf();
        assert_eq!(
            default_address(Some(home.clone())),
            Address::Unix(DEFAULT_SOCKET.into())
        );
        assert_eq!(default_address(None), Address::Unix(DEFAULT_SOCKET.into()));
    }
}
