//! Messages that other projects' tests hold, with what those projects say they mean.

use std::collections::BTreeSet;
use std::path::PathBuf;

use bgp_core::attribute::{Attributes, NextHop, NlriList};
use bgp_core::capability::Capability;
use bgp_core::codec::ProtocolError;
use bgp_core::message::{Framer, Message, Open, Update, WireContext};
use bgp_core::types::{Afi, Family, Nlri, PathId, Safi};
use bytes::Bytes;
use serde_json::Value;

#[test]
fn every_message_decodes_to_what_its_source_says() {
    let Some(vectors) = vectors("exabgp.jsonl") else {
        return;
    };
    let mut checked = Checked::default();
    for vector in vectors.iter().filter(|vector| vector.kind != "nlri") {
        let context = vector.context();
        for message in vector.messages(&context) {
            checked.messages += 1;
            if UNKNOWN_WELL_KNOWN.contains(&vector.id.as_str()) {
                let error = message.unwrap_err();
                assert_eq!((error.reason.code(), error.reason.subcode()), (3, 2));
                continue;
            }
            let message = message.unwrap_or_else(|error| panic!("{}: {error}", vector.id));
            match &message {
                Message::Open(open) => checked.opens += usize::from(vector.compare_open(open)),
                Message::Update(update) => {
                    assert!(
                        update.faults.is_empty(),
                        "{}: {:?}",
                        vector.id,
                        update.faults
                    );
                    if let Some(expected) = vector.expected_update() {
                        let what = Comparison {
                            id: &vector.id,
                            expected,
                        };
                        checked.attributes += usize::from(what.compare_attributes(update));
                        checked.routes += what.compare_routes(update);
                    }
                }
                _ => {}
            }
        }
    }
    // So that an emptied or renamed file does not pass for a good one.
    assert!(checked.messages >= 262, "{checked:?}");
    assert!(checked.attributes >= 170, "{checked:?}");
    assert!(checked.routes >= 120, "{checked:?}");
    assert!(checked.opens >= 1, "{checked:?}");
}

#[test]
fn every_message_keeps_its_meaning_when_it_is_encoded_again() {
    let mut checked = 0;
    for file in ["exabgp.jsonl", "gobgp.jsonl"] {
        let Some(vectors) = vectors(file) else { return };
        for vector in vectors.iter().filter(|vector| vector.kind != "nlri") {
            let context = vector.context();
            for message in vector.messages(&context).into_iter().flatten() {
                if matches!(&message, Message::Update(update) if !update.faults.is_empty()) {
                    continue;
                }
                let octets = message
                    .encode(&context)
                    .unwrap_or_else(|error| panic!("{}: {error}", vector.id));
                let again = Message::decode(octets, &context);
                assert_eq!(again.as_ref(), Ok(&message), "{}", vector.id);
                checked += 1;
            }
        }
    }
    assert!(checked >= 261, "{checked}");
}

#[test]
fn notifications_read_as_their_sender_meant() {
    let Some(vectors) = vectors("exabgp.jsonl") else {
        return;
    };
    let said: BTreeSet<String> = vectors
        .iter()
        .flat_map(|vector| vector.messages(&vector.context()))
        .filter_map(|message| match message {
            Ok(Message::Notification(notification)) => Some(notification.to_string()),
            _ => None,
        })
        .collect();
    assert!(
        said.iter()
            .any(|text| text.starts_with("Cease: administrative reset")),
        "{said:?}"
    );
    assert!(
        said.contains("Message header error: unspecific"),
        "{said:?}"
    );
}

#[test]
fn single_attributes_are_taken_or_treated_in_every_context() {
    let Some(vectors) = vectors("gobgp.jsonl") else {
        return;
    };
    let mut checked = 0;
    for vector in vectors.iter().filter(|vector| vector.kind == "attr") {
        for context in contexts() {
            for prefix in [&[][..], &ORIGIN_AND_PATH] {
                let attributes = [prefix, vector.octets.as_slice()].concat();
                for nlri in [&[][..], &[24, 198, 51, 100]] {
                    let body = update_body(&attributes, nlri);
                    decode_and_encode(whole(2, &body), &context);
                    checked += 1;
                }
            }
        }
    }
    assert!(checked >= 32 * 4 * contexts().len(), "{checked}");
}

#[test]
fn what_crashed_another_decoder_is_refused_here() {
    let Some(vectors) = vectors("gobgp.jsonl") else {
        return;
    };
    let mut checked = 0;
    for vector in vectors.iter().filter(|vector| vector.kind == "bad") {
        for context in contexts() {
            let refused = vector.messages(&context).iter().all(Result::is_err);
            assert!(refused, "{}: a marker of 0x30 is none", vector.id);
            // And again as if the header were in order, so that the finds reach the decoders they were made for.
            if let [.., kind] = vector.octets.get(..19).unwrap_or_default() {
                decode_and_encode(whole(*kind, &vector.octets[19..]), &context);
            }
            checked += 1;
        }
    }
    assert!(checked >= 11 * contexts().len(), "{checked}");
}

#[test]
fn faulty_messages_are_treated_as_the_rfc_says() {
    let Some(vectors) = vectors("gobgp.jsonl") else {
        return;
    };
    let mut checked = 0;
    for vector in vectors.iter().filter(|vector| vector.kind == "message") {
        let mut context = vector.context();
        context.four_octet_as = true;
        match (vector.name.as_str(), vector.messages(&context).as_slice()) {
            ("TestRecvMessageWithError_MalformedNextHop", [Ok(Message::Update(update))]) => {
                assert!(update.announced.is_empty() && update.attributes.is_none());
                assert_eq!(update.withdrawn.to_string(), "192.168.1.0/24");
            }
            ("TestRecvMessageWithError_UnknownMessageType", [Err(error)]) => {
                assert_eq!((error.reason.code(), error.reason.subcode()), (1, 3));
                assert_eq!(error.data.as_ref(), [255]);
            }
            (_, [Ok(Message::Update(update))]) => assert!(update.faults.is_empty()),
            (name, other) => panic!("{name}: {other:?}"),
        }
        checked += 1;
    }
    assert_eq!(checked, 3);
}

/// These hold attribute 0x99 with the Optional bit off. Their source passes it on; RFC 4271 section 6.3 wants it refused.
const UNKNOWN_WELL_KNOWN: [&str; 2] = ["exabgp-0177", "exabgp-0178"];

/// One line of a file.
struct Vector {
    id: String,
    kind: String,
    name: String,
    octets: Vec<u8>,
    four_octet_as: bool,
    add_path: bool,
    families: Vec<Family>,
    expect: Value,
}

#[derive(Debug, Default)]
struct Checked {
    messages: usize,
    opens: usize,
    attributes: usize,
    routes: usize,
}

fn vectors(file: &str) -> Option<Vec<Vector>> {
    let shared = std::env::var_os("FAIRWAY_SHARED").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared")),
        PathBuf::from,
    );
    let path = shared.join("vectors").join(file);
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!(
            "skipped: {} is not there (set FAIRWAY_SHARED)",
            path.display()
        );
        return None;
    };
    Some(
        text.lines()
            .map(|line| Vector::parse(&serde_json::from_str(line).unwrap()))
            .collect(),
    )
}

impl Vector {
    fn parse(line: &Value) -> Self {
        let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
        let families = line["families"].as_array().into_iter().flatten();
        Self {
            id: text("id"),
            kind: text("kind"),
            name: text("name"),
            octets: hex(&text("hex")),
            four_octet_as: line["asn4"].as_bool().unwrap_or(true),
            add_path: line["addpath"].as_bool().unwrap_or(false),
            families: families
                .filter_map(|family| parse_family(family.as_str()?))
                .collect(),
            expect: line["expect"].clone(),
        }
    }

    /// Both unicast families and those that the vector names, on an internal session.
    fn context(&self) -> WireContext {
        let mut families = vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST];
        families.extend(&self.families);
        if self.kind == "update-body" {
            families.extend(["25/70", "16388/71"].into_iter().filter_map(parse_family));
        }
        WireContext {
            four_octet_as: self.four_octet_as,
            external: false,
            add_path: if self.add_path {
                families.clone()
            } else {
                vec![]
            },
            extended_next_hop: vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST],
            families,
            max_message: Message::MAX_EXTENDED,
        }
    }

    /// All messages of the vector, through the framer.
    fn messages(&self, context: &WireContext) -> Vec<Result<Message, ProtocolError>> {
        let mut framer = Framer::new(context.max_message);
        if self.kind == "update-body" {
            framer.push_bytes(whole(2, &self.octets));
        } else {
            framer.push(&self.octets);
        }
        let mut messages = vec![];
        loop {
            match framer.next_message() {
                Ok(Some(octets)) => messages.push(Message::decode(octets, context)),
                Ok(None) => break,
                Err(error) => {
                    messages.push(Err(error));
                    break;
                }
            }
        }
        assert!(!messages.is_empty(), "{}: no whole message", self.id);
        messages
    }

    /// The decoded UPDATE, wherever the source put it.
    fn expected_update(&self) -> Option<&Value> {
        let decoded = self.expect.get("decoded")?;
        decoded
            .get("update")
            .or_else(|| decoded.pointer("/neighbor/message/update"))
    }

    fn compare_open(&self, open: &Open) -> bool {
        let Some(expected) = self.expect.get("decoded") else {
            return false;
        };
        assert_eq!(u64::from(open.asn().0), expected["asn"], "{}", self.id);
        assert_eq!(
            u64::from(open.hold_time.seconds()),
            expected["hold_time"],
            "{}",
            self.id
        );
        assert_eq!(
            open.router_id.to_string(),
            expected["router_id"],
            "{}",
            self.id
        );
        if let Some(software) = expected.pointer("/capabilities/75/software") {
            let told = open
                .capabilities
                .iter()
                .find_map(|capability| match capability {
                    Capability::SoftwareVersion(version) => Some(version),
                    _ => None,
                });
            assert_eq!(told.map(String::as_str), software.as_str(), "{}", self.id);
        }
        true
    }
}

/// An UPDATE beside what its source says of it.
struct Comparison<'a> {
    id: &'a str,
    expected: &'a Value,
}

impl Comparison<'_> {
    fn compare_attributes(&self, update: &Update) -> bool {
        let Some(expected) = self.expected.get("attribute") else {
            return false;
        };
        let Some(got) = &update.attributes else {
            panic!("{}: no attributes", self.id)
        };
        let text = |key: &str| expected[key].as_str().map(str::to_owned);
        let number = |key: &str| expected[key].as_u64();
        let list = |key: &str| expected[key].as_array().cloned().unwrap_or_default();
        let id = self.id;
        assert_eq!(Some(got.origin.to_string()), text("origin"), "{id}");
        assert_eq!(got.med.map(u64::from), number("med"), "{id}");
        assert_eq!(
            got.local_pref.map(u64::from),
            number("local-preference"),
            "{id}"
        );
        assert_eq!(got.as_path.to_string(), expected_path(expected), "{id}");
        assert_eq!(
            got.atomic_aggregate,
            expected["atomic-aggregate"] == true,
            "{id}"
        );
        assert_eq!(
            got.originator_id.map(|id| id.to_string()),
            text("originator-id"),
            "{id}"
        );
        let aggregator = got.aggregator.map(|one| one.to_string().replace(' ', ":"));
        assert_eq!(aggregator, text("aggregator"), "{id}");
        let clusters: Vec<_> = list("cluster-list")
            .iter()
            .map(|one| one.as_str().unwrap().to_owned())
            .collect();
        let got_clusters: Vec<_> = got
            .cluster_list
            .iter()
            .map(|one| std::net::Ipv4Addr::from(*one).to_string())
            .collect();
        assert_eq!(got_clusters, clusters, "{id}");
        assert_eq!(
            sorted(&got.communities),
            sorted(joined(list("community"))),
            "{id}"
        );
        assert_eq!(
            sorted(&got.large_communities),
            sorted(joined(list("large-community"))),
            "{id}"
        );
        let extended = list("extended-community");
        let extended: Vec<_> = extended
            .iter()
            .map(|one| one["value"].as_u64().unwrap())
            .collect();
        let got_extended: Vec<_> = got
            .extended_communities
            .iter()
            .map(|one| u64::from_be_bytes(one.0))
            .collect();
        assert_eq!(sorted(got_extended), sorted(extended), "{id}");
        true
    }

    /// How many routes of the unicast families were compared.
    fn compare_routes(&self, update: &Update) -> usize {
        let mut routes = 0;
        for (name, family) in [
            ("ipv4 unicast", Family::IPV4_UNICAST),
            ("ipv6 unicast", Family::IPV6_UNICAST),
        ] {
            let announced = expected_announced(&self.expected["announce"][name]);
            assert_eq!(announced_of(update, family), announced, "{}", self.id);
            let withdrawn = expected_routes(&self.expected["withdraw"][name]);
            assert_eq!(withdrawn_of(update, family), withdrawn, "{}", self.id);
            routes += announced.len() + withdrawn.len();
        }
        routes
    }
}

/// Next hop and route, as text.
fn expected_announced(expected: &Value) -> Vec<(String, String)> {
    let by_next_hop = expected.as_object().into_iter().flatten();
    let pairs = by_next_hop.flat_map(|(next_hop, routes)| {
        expected_routes(routes)
            .into_iter()
            .map(move |route| (next_hop.clone(), route))
    });
    sorted_pairs(pairs)
}

fn expected_routes(expected: &Value) -> Vec<String> {
    let entry = |route: &Value| {
        let prefix = route["nlri"]
            .as_str()
            .or(route.as_str())
            .unwrap()
            .parse()
            .unwrap();
        let path_id = route["path-information"]
            .as_str()
            .map(|id| PathId(u32::from(id.parse::<std::net::Ipv4Addr>().unwrap())));
        Nlri { prefix, path_id }.to_string()
    };
    let mut routes: Vec<_> = expected
        .as_array()
        .into_iter()
        .flatten()
        .map(entry)
        .collect();
    routes.sort();
    routes
}

fn announced_of(update: &Update, family: Family) -> Vec<(String, String)> {
    let mut pairs = vec![];
    if family == Family::IPV4_UNICAST
        && let Some(next_hop) = update.next_hop
    {
        pairs.extend(entries(&update.announced).map(|route| (next_hop.to_string(), route)));
    }
    if let Some(reach) = update
        .mp_reach
        .as_ref()
        .filter(|reach| reach.nlri.family() == family)
    {
        let next_hop = match &reach.next_hop {
            NextHop::V6LinkLocal { global, .. } => global.to_string(),
            other => other.to_string(),
        };
        pairs.extend(entries(&reach.nlri).map(|route| (next_hop.clone(), route)));
    }
    sorted_pairs(pairs)
}

fn withdrawn_of(update: &Update, family: Family) -> Vec<String> {
    let unreach = update.mp_unreach.iter().map(|unreach| &unreach.nlri);
    let lists = unreach
        .chain([&update.withdrawn])
        .filter(|list| list.family() == family);
    let mut routes: Vec<_> = lists.flat_map(entries).collect();
    routes.sort();
    routes
}

fn entries(list: &NlriList) -> impl Iterator<Item = String> + '_ {
    list.iter().map(|entry| entry.to_string())
}

fn sorted_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Vec<(String, String)> {
    let mut pairs: Vec<_> = pairs.into_iter().collect();
    pairs.sort();
    pairs
}

fn sorted<T: ToString>(items: impl IntoIterator<Item = T>) -> Vec<String> {
    let mut texts: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    texts.sort();
    texts
}

/// `[[65000, 1]]` as `65000:1`.
fn joined(list: Vec<Value>) -> Vec<String> {
    list.iter()
        .map(|parts| texts(parts.as_array().unwrap()).join(":"))
        .collect()
}

fn texts(parts: &[Value]) -> Vec<String> {
    parts.iter().map(Value::to_string).collect()
}

/// The segments, which are numbered from "0"; all of them are sequences in these files.
fn expected_path(attributes: &Value) -> String {
    let segments = attributes["as-path"].as_object().into_iter().flatten();
    let segments = segments.map(|(_, segment)| {
        assert_eq!(segment["element"], "as-sequence");
        texts(segment["value"].as_array().unwrap()).join(" ")
    });
    segments.collect::<Vec<_>>().join(" ")
}

fn parse_family(text: &str) -> Option<Family> {
    let (afi, safi) = text.split_once('/')?;
    Some(Family {
        afi: Afi(afi.parse().ok()?),
        safi: Safi(safi.parse().ok()?),
    })
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text
        .as_bytes()
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).unwrap());
    digits
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

const ORIGIN_AND_PATH: [u8; 7] = [0x40, 1, 1, 0, 0x40, 2, 0];

fn update_body(attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 0];
    body.extend(u16::try_from(attributes.len()).unwrap().to_be_bytes());
    body.extend(attributes);
    body.extend(nlri);
    body
}

/// A message of that type and body.
fn whole(kind: u8, body: &[u8]) -> Bytes {
    let mut octets = vec![0xFF; 16];
    octets.extend(u16::try_from(19 + body.len()).unwrap().to_be_bytes());
    octets.push(kind);
    octets.extend(body);
    octets.into()
}

/// Must not panic; what is taken must be encodable and mean the same then.
fn decode_and_encode(octets: Bytes, context: &WireContext) {
    let Ok(message) = Message::decode(octets, context) else {
        return;
    };
    if matches!(&message, Message::Update(update) if !update.faults.is_empty()) {
        return;
    }
    let again = Message::decode(message.encode(context).unwrap(), context);
    assert_eq!(again, Ok(message));
}

/// Every combination of what a session can negotiate.
fn contexts() -> Vec<WireContext> {
    let mut contexts = vec![];
    let foreign = [
        "1/128", "2/128", "25/65", "25/70", "1/133", "16388/71", "1/85", "1/132",
    ];
    for bits in 0..16 {
        let mut families = vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST];
        if bits & 1 != 0 {
            families.extend(foreign.iter().filter_map(|text| parse_family(text)));
        }
        contexts.push(WireContext {
            four_octet_as: bits & 2 != 0,
            external: bits & 4 != 0,
            add_path: if bits & 8 != 0 {
                families.clone()
            } else {
                vec![]
            },
            extended_next_hop: families.clone(),
            families,
            max_message: Message::MAX_EXTENDED,
        });
    }
    contexts
}

#[test]
fn default_attributes_are_what_an_update_without_any_says() {
    let context = WireContext {
        external: false,
        ..WireContext::initial()
    };
    let message = Message::decode(whole(2, &update_body(&ORIGIN_AND_PATH, &[])), &context);
    let Ok(Message::Update(update)) = message else {
        panic!("{message:?}")
    };
    assert_eq!(update.attributes, Some(Attributes::default()));
}
