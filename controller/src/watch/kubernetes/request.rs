//! What is asked of the API server: paths and queries, and answers taken apart as they come.

use http::{Request, StatusCode};
use http_body_util::BodyExt;
use kube::client::Body;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::cluster::Kind;
use crate::kubernetes_client::KubernetesClient;

use super::failure::Failure;

/// How many objects a page of a list has.
const PAGE: usize = 500;
/// An event is an object, and etcd takes none beyond 1.5 MiB; JSON makes it larger, but not that much.
const LINE: usize = 16 << 20;
/// A page is 500 of them at the very most; a server that sends more than this is none.
const DOCUMENT: usize = 256 << 20;

/// The path of all objects of a kind that are read.
pub(super) fn path(kind: Kind, version: &str, secrets_namespace: &str) -> String {
    let group = match kind.group() {
        "" => format!("/api/{version}"),
        group => format!("/apis/{group}/{version}"),
    };
    match kind {
        Kind::Secret => format!("{group}/namespaces/{secrets_namespace}/{}", kind.plural()),
        _ => format!("{group}/{}", kind.plural()),
    }
}

/// What is asked for besides the kind.
fn selector(kind: Kind) -> &'static str {
    match kind {
        // Helm keeps whole releases in Secrets.
        Kind::Secret => "&fieldSelector=type%21%3Dhelm.sh%2Frelease.v1",
        _ => "",
    }
}

/// One page of a list, from the beginning or from where the last one ended.
pub(super) fn list(path: &str, kind: Kind, from: Option<&str>) -> String {
    let from = from.map(|token| format!("&continue={}", encode(token)));
    let (selector, from) = (selector(kind), from.unwrap_or_default());
    format!("{path}?limit={PAGE}{selector}{from}")
}

/// A watch from a resourceVersion on.
pub(super) fn watch(path: &str, kind: Kind, from: &str, seconds: u64) -> String {
    let (selector, from) = (selector(kind), encode(from));
    format!(
        "{path}?watch=1&allowWatchBookmarks=true&timeoutSeconds={seconds}{selector}&resourceVersion={from}"
    )
}

/// A watch that begins with everything there is.
pub(super) fn streaming_list(path: &str, kind: Kind, seconds: u64) -> String {
    let selector = selector(kind);
    format!(
        "{path}?watch=1&allowWatchBookmarks=true&timeoutSeconds={seconds}{selector}\
         &sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    )
}

/// Everything but letters, digits and `-_.~` as `%XX` (RFC 3986 section 2.1).
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"-_.~".contains(&octet) {
            encoded.push(char::from(octet));
        } else {
            encoded.push_str(&format!("%{octet:02X}"));
        }
    }
    encoded
}

/// The whole answer to a GET.
///
/// # Errors
///
/// No answer, or one that is none of success.
pub(super) async fn get(client: &KubernetesClient, path: &str) -> Result<Vec<u8>, Failure> {
    whole(client, plain(path)?).await
}

/// The whole answer to a request.
///
/// # Errors
///
/// As [`get`].
pub(super) async fn whole(
    client: &KubernetesClient,
    request: Request<Body>,
) -> Result<Vec<u8>, Failure> {
    let mut body = open(client, request).await?;
    let mut whole = vec![];
    while let Some(chunk) = next_chunk(&mut body).await? {
        if whole.len() + chunk.len() > DOCUMENT {
            return Err(Failure::Garbage("an answer without end".to_owned()));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole)
}

fn plain(path: &str) -> Result<Request<Body>, Failure> {
    Request::get(path)
        .header(http::header::ACCEPT, "application/json")
        .body(Body::empty())
        .map_err(|error| Failure::Invalid(error.to_string()))
}

/// The beginning of an answer of success.
async fn open(client: &KubernetesClient, request: Request<Body>) -> Result<Body, Failure> {
    let (head, mut body) = client.client.send(request).await?.into_parts();
    if head.status == StatusCode::OK {
        return Ok(body);
    }
    let mut reason = vec![];
    while let Ok(Some(chunk)) = next_chunk(&mut body).await {
        reason.extend_from_slice(&chunk);
        if reason.len() > REASON {
            break;
        }
    }
    Err(Failure::of_answer(head.status, &head.headers, &reason))
}

/// More of why a request failed is not read.
const REASON: usize = 64 << 10;

async fn next_chunk(body: &mut Body) -> Result<Option<bytes::Bytes>, Failure> {
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// A watch under way.
pub(super) struct Events {
    body: Body,
    buffer: Vec<u8>,
    /// How much of the buffer has been taken.
    taken: usize,
}

/// One event as it came.
#[derive(Debug, Deserialize)]
pub(super) struct Event {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) object: Value,
}

impl Events {
    /// Begins a watch.
    ///
    /// # Errors
    ///
    /// No answer, or one that is none of success.
    pub(super) async fn open(client: &KubernetesClient, path: &str) -> Result<Self, Failure> {
        Ok(Self {
            body: open(client, plain(path)?).await?,
            buffer: vec![],
            taken: 0,
        })
    }

    /// The next event; `None` where the server ended the watch in order. Nothing is lost where the future is dropped.
    ///
    /// # Errors
    ///
    /// The connection broke, or what came is no event.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, Failure> {
        let mut searched = self.taken;
        loop {
            let fresh = self.buffer.get(searched..).unwrap_or_default();
            if let Some(length) = fresh.iter().position(|octet| *octet == b'\n') {
                let end = searched + length;
                let line = self.buffer.get(self.taken..end).unwrap_or_default();
                let event = event(line);
                self.taken = end + 1;
                return event.map(Some);
            }
            self.buffer.drain(..self.taken);
            self.taken = 0;
            // The room for one large event is not kept for all times.
            if self.buffer.is_empty() && self.buffer.capacity() > ROOM {
                self.buffer = vec![];
            }
            searched = self.buffer.len();
            if searched > LINE {
                return Err(Failure::Garbage("an event without end".to_owned()));
            }
            match next_chunk(&mut self.body).await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                // What is left is an event that was cut off; it comes again.
                None => return Ok(None),
            }
        }
    }
}

const ROOM: usize = 64 << 10;

fn event(line: &[u8]) -> Result<Event, Failure> {
    serde_json::from_slice(line).map_err(|error| {
        // An error that came outside of an event.
        match serde_json::from_slice::<Value>(line) {
            Ok(status) if status.get("kind").is_some_and(|kind| kind == "Status") => {
                Failure::of_status(&status)
            }
            _ => Failure::Garbage(format!("an event: {error}")),
        }
    })
}

/// What a page of a list says besides its items.
#[derive(Debug, Default, Deserialize)]
pub(super) struct PageMetadata {
    #[serde(default, rename = "resourceVersion")]
    pub(super) resource_version: String,
    #[serde(default, rename = "continue")]
    pub(super) next: Option<String>,
}

/// Reads a page and gives each item away as soon as it is read, so that never all of them are there at once.
///
/// # Errors
///
/// The page is no list; items may have been given away by then.
pub(super) fn read_page(page: &[u8], take: impl FnMut(Value)) -> Result<PageMetadata, Failure> {
    let mut deserializer = serde_json::Deserializer::from_slice(page);
    let read = Page(take).deserialize(&mut deserializer);
    read.map_err(|error| Failure::Garbage(format!("a list: {error}")))
}

struct Page<T>(T);

impl<'de, T: FnMut(Value)> DeserializeSeed<'de> for Page<T> {
    type Value = PageMetadata;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<PageMetadata, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: FnMut(Value)> Visitor<'de> for Page<T> {
    type Value = PageMetadata;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of objects")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<PageMetadata, A::Error> {
        let mut metadata = PageMetadata::default();
        while let Some(key) = map.next_key::<String>()? {
            match &*key {
                "metadata" => metadata = map.next_value()?,
                "items" => map.next_value_seed(Items(&mut self.0))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        if metadata.resource_version.is_empty() {
            return Err(serde::de::Error::custom("it has no resourceVersion"));
        }
        metadata.next = metadata.next.filter(|token| !token.is_empty());
        Ok(metadata)
    }
}

struct Items<'a, T>(&'a mut T);

impl<'de, T: FnMut(Value)> DeserializeSeed<'de> for Items<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: FnMut(Value)> Visitor<'de> for Items<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("items")
    }

    /// Servers in Go write an empty list that way.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while let Some(item) = items.next_element()? {
            (self.0)(item);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(text: &str) -> Result<(Vec<Value>, PageMetadata), Failure> {
        let mut items = vec![];
        let metadata = read_page(text.as_bytes(), |item| items.push(item))?;
        Ok((items, metadata))
    }

    #[test]
    fn pages_are_read_whatever_the_order_of_their_fields() {
        let (items, metadata) = page(
            r#"{"kind": "List", "items": [{"a": 1}, {"a": 2}], "metadata": {"resourceVersion": "7", "continue": "x"}}"#,
        )
        .unwrap();
        assert_eq!(items.len(), 2);
        assert_eq!(
            (&*metadata.resource_version, metadata.next.as_deref()),
            ("7", Some("x"))
        );
        let (items, metadata) =
            page(r#"{"metadata": {"resourceVersion": "7", "continue": ""}, "items": null}"#)
                .unwrap();
        assert!(items.is_empty() && metadata.next.is_none());
    }

    #[test]
    fn what_is_no_whole_list_is_an_error() {
        for text in [
            "",
            "[]",
            "<html>",
            r#"{"items": []}"#,
            r#"{"metadata": {"resourceVersion": "7"}, "items": [{"a": 1}"#,
            r#"{"metadata": {"resourceVersion": "7"}, "items": 7}"#,
        ] {
            assert!(matches!(page(text), Err(Failure::Garbage(_))), "{text}");
        }
    }

    #[test]
    fn events_come_out_of_any_cut_of_the_stream() {
        let stream = "{\"type\": \"ADDED\", \"object\": {\"a\": \"ä\"}}\n{\"type\": \"DELETED\", \"object\": {}}\n{\"type\": \"AD";
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        for size in 1..stream.len() {
            let chunks = stream.as_bytes().chunks(size);
            // A body of one piece at a time cannot be built from outside, so the buffer is filled by hand.
            let mut events = Events {
                body: Body::empty(),
                buffer: vec![],
                taken: 0,
            };
            let mut kinds = vec![];
            for chunk in chunks {
                events.buffer.extend_from_slice(chunk);
                while events.buffer[events.taken..].contains(&b'\n') {
                    kinds.push(runtime.block_on(events.next()).unwrap().unwrap().kind);
                }
            }
            assert_eq!(kinds, ["ADDED", "DELETED"], "cut every {size} octets");
            assert!(runtime.block_on(events.next()).unwrap().is_none());
        }
    }

    #[test]
    fn garbage_is_told_from_a_status_that_came_bare() {
        assert!(matches!(event(b"{\"type\": 7"), Err(Failure::Garbage(_))));
        let status = br#"{"kind": "Status", "code": 410, "message": "too old"}"#;
        assert!(matches!(event(status), Err(Failure::Expired(_))));
    }

    #[test]
    fn paths_name_group_version_and_namespace() {
        assert_eq!(path(Kind::Service, "v1", "x"), "/api/v1/services");
        assert_eq!(
            path(Kind::Secret, "v1", "kube-system"),
            "/api/v1/namespaces/kube-system/secrets"
        );
        let pools = path(Kind::CiliumLoadBalancerIPPool, "v2", "x");
        assert_eq!(pools, "/apis/cilium.io/v2/ciliumloadbalancerippools");
        assert_eq!(
            list("/a", Kind::Node, Some("a+/=")),
            "/a?limit=500&continue=a%2B%2F%3D"
        );
        assert!(list("/a", Kind::Secret, None).contains("&fieldSelector=type%21%3Dhelm"));
    }
}
