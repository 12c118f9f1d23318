//! Asks a running Fairway: HTTP/1.1 over a unix socket or a TCP connection, one request per connection.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::Failure;
use crate::config::{api_address, default_api};
use crate::observe::api::Address;

/// A live Fairway on the same machine accepts at once; more means that it hangs.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long an answer may take that does not wait for a change.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// How long a change is waited for before the question is put again.
const CHANGE_LIMIT: Duration = Duration::from_secs(120);
/// An answer of 10,000 Services is about 20 MB.
const BODY_LIMIT: usize = 512 * 1024 * 1024;
/// Characters of an error's text that are passed on.
const SAID_MAX: usize = 300;
/// Names the state that an answer shows.
const VERSION_HEADER: &str = "x-fairway-version";

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
    /// At least one; the first that can be connected to is asked.
    addresses: Vec<Address>,
}

impl Client {
    /// `api` as typed after `--api`; without it the default socket, or else the one below `$XDG_RUNTIME_DIR`.
    ///
    /// # Errors
    /// Wrong usage, where the text is neither a path nor an address with a port.
    pub(crate) fn new(api: Option<&str>) -> Result<Self, Failure> {
        let addresses = match api {
            Some(text) => vec![api_address(text, true)?],
            None => default_api(std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)),
        };
        Ok(Self { addresses })
    }

    /// A client of the API behind this socket.
    pub(crate) fn of_socket(path: PathBuf) -> Self {
        Self {
            addresses: vec![Address::Unix(path)],
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
        let (address, stream) = self.connect().await?;
        match timeout(limit, exchange(stream, path)).await {
            Ok(Ok((status, version, body))) => read(&address, path, status, version, &body),
            Ok(Err(why)) => Err(unreachable(&address, &why)),
            Err(_) => Err(unreachable(
                &address,
                &format!("no answer within {} s", limit.as_secs()),
            )),
        }
    }

    /// The first address that lets us in; if none does, the first one's reason.
    async fn connect(&self) -> Result<(Address, Box<dyn Transport>), Failure> {
        let mut first = None;
        for address in &self.addresses {
            let why = match timeout(CONNECT_LIMIT, dial(address)).await {
                Ok(Ok(stream)) => return Ok((address.clone(), stream)),
                Ok(Err(error)) => system_words(&error),
                Err(_) => "it does not accept the connection".to_owned(),
            };
            first.get_or_insert_with(|| unreachable(address, &why));
        }
        Err(first.unwrap_or_else(|| Failure::Usage("there is no address to ask".to_owned())))
    }
}

/// A stream to a local API.
trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Transport for T {}

async fn dial(address: &Address) -> io::Result<Box<dyn Transport>> {
    Ok(match address {
        Address::Unix(socket) => Box::new(UnixStream::connect(socket).await?),
        Address::Tcp(address) => Box::new(TcpStream::connect(address).await?),
    })
}

/// One request and its answer: status, version and body.
async fn exchange(
    stream: Box<dyn Transport>,
    path: &str,
) -> Result<(StatusCode, Option<String>, Bytes), String> {
    let request = Request::get(path)
        .header(HOST, "localhost")
        .body(Empty::<Bytes>::new());
    let request = request.map_err(|error| format!("{path} cannot be asked for: {error}"))?;
    let broken = |error: hyper::Error| format!("it does not speak HTTP there: {error}");
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(broken)?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(broken)?;
    let status = response.status();
    let version = response
        .headers()
        .get(VERSION_HEADER)
        .and_then(|value| value.to_str().ok());
    let version = version.filter(|text| is_token(text)).map(str::to_owned);
    let body = Limited::new(response.into_body(), BODY_LIMIT)
        .collect()
        .await;
    let body = body.map_err(|error| format!("the answer broke off: {error}"))?;
    Ok((status, version, body.to_bytes()))
}

fn read(
    address: &Address,
    path: &str,
    status: StatusCode,
    version: Option<String>,
    body: &[u8],
) -> Result<Answer, Failure> {
    if status != StatusCode::OK {
        let said: String = String::from_utf8_lossy(body)
            .chars()
            .take(SAID_MAX)
            .collect();
        return Err(Failure::Unreachable(format!(
            "fairway at {address} answered {path} with {status} {}; is it of another version than this command?",
            said.trim()
        )));
    }
    match serde_json::from_slice(body) {
        Ok(document) => Ok(Answer { document, version }),
        Err(error) => Err(unreachable(
            address,
            &format!("what answers {path} is not JSON ({error})"),
        )),
    }
}

fn unreachable(address: &Address, why: &str) -> Failure {
    Failure::Unreachable(format!(
        "cannot reach fairway at {address}: {why}; is `fairway run` up? name another with --api"
    ))
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

    #[tokio::test]
    async fn the_first_address_that_can_be_connected_to_is_asked() {
        let (_directory, client, _server) = play(vec![http("200 OK", "{}")]).await;
        let addresses = [Address::Unix("/nonexistent/api.sock".into())]
            .into_iter()
            .chain(client.addresses)
            .collect();
        Client { addresses }.fetch("/v1/peers").await.unwrap();
    }
}
