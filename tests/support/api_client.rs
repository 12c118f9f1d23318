//! The tests' own hand at the API server: one kept connection, whole answers, and watches as iterators. For what has to be quick
//! or exact; what an operator would do goes through [`crate::kubectl`].

use std::io::{self, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use crate::http::{Body, Head};
use crate::place::Place;
use crate::tls::{TlsStream, secure};

const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(60);

/// Field manager of what the tests themselves write.
pub const MANAGER: &str = "lab";

/// JSON merge patch.
pub const MERGE: &str = "application/merge-patch+json";
/// Server-side apply.
pub const APPLY: &str = "application/apply-patch+yaml";
const JSON: &str = "application/json";

/// A client with a connection of its own; a clone has another one.
#[derive(Debug)]
pub struct ApiClient {
    place: Place,
    address: SocketAddr,
    token: String,
    manager: String,
    connection: Mutex<Option<BufReader<TlsStream>>>,
}

/// What the API server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub code: u16,
    /// The object, list or `Status`; null where it is no JSON.
    pub object: Value,
}

impl Answer {
    /// The object of a good answer.
    ///
    /// # Errors
    /// Code and message of any other.
    pub fn ok(self) -> Result<Value, String> {
        if self.code < 300 {
            Ok(self.object)
        } else {
            Err(format!("{}: {}", self.code, self.object["message"]))
        }
    }
}

impl Clone for ApiClient {
    fn clone(&self) -> Self {
        Self::new(&self.place, self.address, &self.token)
    }
}

impl ApiClient {
    /// Of the API server at `address`, as the owner of `token`, from `place`. Nothing is connected yet.
    pub fn new(place: &Place, address: SocketAddr, token: &str) -> Self {
        Self {
            place: place.clone(),
            address,
            token: token.to_owned(),
            manager: MANAGER.to_owned(),
            connection: Mutex::new(None),
        }
    }

    /// The same under another field manager.
    #[must_use]
    pub fn named(&self, manager: &str) -> Self {
        Self {
            manager: manager.to_owned(),
            ..self.clone()
        }
    }

    /// One request. A kept connection that turns out to be closed is replaced once.
    ///
    /// # Errors
    /// The connection's.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        content: Option<(&str, &Value)>,
    ) -> io::Result<Answer> {
        let mut kept = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(mut connection) = kept.take()
            && let Ok(answer) = self.exchange(&mut connection, method, path, content)
        {
            *kept = Some(connection);
            return Ok(answer);
        }
        let mut connection = self.connect()?;
        let answer = self.exchange(&mut connection, method, path, content)?;
        *kept = Some(connection);
        Ok(answer)
    }

    fn exchange(
        &self,
        connection: &mut BufReader<TlsStream>,
        method: &str,
        path: &str,
        content: Option<(&str, &Value)>,
    ) -> io::Result<Answer> {
        self.send(connection, method, path, content)?;
        let head = Head::read(connection)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let octets = Body::new(head.response_framing(method)).rest(connection)?;
        Ok(Answer {
            code: head.status(),
            object: serde_json::from_slice(&octets).unwrap_or_default(),
        })
    }

    fn connect(&self) -> io::Result<BufReader<TlsStream>> {
        let connection = self
            .place
            .inside(|| TcpStream::connect_timeout(&self.address, CONNECT))?;
        connection.set_nodelay(true)?;
        connection.set_read_timeout(Some(ANSWER))?;
        Ok(BufReader::new(secure(connection)?))
    }

    fn send(
        &self,
        connection: &mut BufReader<TlsStream>,
        method: &str,
        path: &str,
        content: Option<(&str, &Value)>,
    ) -> io::Result<()> {
        let named = if matches!(method, "POST" | "PUT" | "PATCH") {
            let separator = if path.contains('?') { '&' } else { '?' };
            format!("{path}{separator}fieldManager={}", self.manager)
        } else {
            path.to_owned()
        };
        let mut head = Head {
            line: format!("{method} {named} HTTP/1.1"),
            fields: Vec::new(),
        };
        head.set("Host", Some(&self.address.to_string()));
        head.set("Accept", Some(JSON));
        head.set("Authorization", Some(&format!("Bearer {}", self.token)));
        let mut body = Vec::new();
        if let Some((kind, value)) = content {
            body = value.to_string().into_bytes();
            head.set("Content-Type", Some(kind));
            head.set("Content-Length", Some(&body.len().to_string()));
        }
        let mut octets = Vec::new();
        head.write(&mut octets)?;
        octets.extend(body);
        connection.get_mut().write_all(&octets)?;
        connection.get_mut().flush()
    }

    /// Asks for an object or a list.
    ///
    /// # Errors
    /// The connection's, or what the API server says.
    pub fn get(&self, path: &str) -> Result<Value, String> {
        self.try_to("GET", path, None)
    }

    /// Makes an object in the collection `path`.
    ///
    /// # Errors
    /// As [`ApiClient::get`].
    pub fn create(&self, path: &str, object: &Value) -> Result<Value, String> {
        self.try_to("POST", path, Some((JSON, object)))
    }

    /// Patches an object (or its `/status`) as JSON merge patch.
    ///
    /// # Errors
    /// As [`ApiClient::get`].
    pub fn merge(&self, path: &str, patch: &Value) -> Result<Value, String> {
        self.try_to("PATCH", path, Some((MERGE, patch)))
    }

    /// Removes an object, or all of a collection, at once.
    ///
    /// # Errors
    /// As [`ApiClient::get`].
    pub fn delete(&self, path: &str) -> Result<Value, String> {
        let options = json!({ "gracePeriodSeconds": 0, "propagationPolicy": "Background" });
        self.try_to("DELETE", path, Some((JSON, &options)))
    }

    fn try_to(
        &self,
        method: &str,
        path: &str,
        content: Option<(&str, &Value)>,
    ) -> Result<Value, String> {
        let answer = self
            .request(method, path, content)
            .map_err(|error| format!("{method} {path}: {error}"))?;
        answer
            .ok()
            .map_err(|error| format!("{method} {path}: {error}"))
    }

    /// The changes of a collection after `resource_version`, for as long as the API server tells them.
    ///
    /// # Errors
    /// The connection's, or what the API server says instead.
    pub fn watch(&self, collection: &str, resource_version: &str) -> Result<Watch, String> {
        let path = format!(
            "{collection}?watch=1&allowWatchBookmarks=true&resourceVersion={resource_version}"
        );
        let begin = || -> io::Result<Result<Watch, String>> {
            let mut connection = self.connect()?;
            self.send(&mut connection, "GET", &path, None)?;
            let head = Head::read(&mut connection)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let mut body = Body::new(head.response_framing("GET"));
            if head.status() != 200 {
                let text = body.rest(&mut connection)?;
                return Ok(Err(format!(
                    "{}: {}",
                    head.status(),
                    String::from_utf8_lossy(&text)
                )));
            }
            // A watch may be silent for as long as it likes.
            connection.get_ref().sock.set_read_timeout(None)?;
            Ok(Ok(Watch {
                connection,
                body,
                octets: Vec::new(),
            }))
        };
        begin()
            .map_err(|error| error.to_string())
            .and_then(|answer| answer)
            .map_err(|error| format!("watch of {collection}: {error}"))
    }

    /// Plain text of a path that answers no JSON (`/readyz`), where the code is 200.
    pub fn is_fine(&self, path: &str) -> bool {
        self.request("GET", path, None)
            .is_ok_and(|answer| answer.code == 200)
    }
}

/// A watch under way: an iterator of events (`type`, `object`) that ends with the connection.
#[derive(Debug)]
pub struct Watch {
    connection: BufReader<TlsStream>,
    body: Body,
    octets: Vec<u8>,
}

impl Watch {
    /// A way to end it from another thread.
    ///
    /// # Errors
    /// When there are no more file handles.
    pub fn stopper(&self) -> io::Result<Stopper> {
        self.connection
            .get_ref()
            .sock
            .try_clone()
            .map(|socket| Stopper(Arc::new(socket)))
    }
}

impl Iterator for Watch {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.octets.iter().position(|octet| *octet == b'\n') {
                let line: Vec<u8> = self.octets.drain(..=end).collect();
                if let Ok(event) = serde_json::from_slice(&line) {
                    return Some(event);
                }
                continue;
            }
            let piece = self.body.piece(&mut self.connection).ok()??;
            self.octets.extend(piece);
        }
    }
}

/// Ends a connection that another thread reads.
#[derive(Clone, Debug)]
pub struct Stopper(Arc<TcpStream>);

impl Stopper {
    /// Ends it.
    pub fn stop(&self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}
