//! `fairway routes`: what `cilium bgp routes` shows, asked for with the same words.

use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::Value;

use crate::args::{OutputFormat, RoutesArgs};
use crate::observe::shapes::{Path, Route, RoutesByNode};

use super::attributes;
use super::output::{self, Table, go_duration};
use super::show::{Drawn, Subject, misshapen, show};
use super::{Failure, Outcome};

/// The grammar, for messages.
const GRAMMAR: &str =
    "routes [available|advertised] [ipv4|ipv6] [unicast] [vrouter ASN] [peer|neighbor ADDRESS]";

/// Shows routes.
///
/// # Errors
/// A word is wrong, or Fairway cannot be reached.
pub async fn run(args: RoutesArgs) -> Outcome {
    let (question, defaulted) = Question::parse(&args.words)?;
    if defaulted && args.view.output == OutputFormat::Table {
        let note = format!("(showing the default: {question})\n\n");
        if output::print(&note)? == output::Reader::Gone {
            return Ok(());
        }
    }
    show(&args.view, &question).await
}

/// Which routes are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    kind: Kind,
    afi: &'static str,
    safi: &'static str,
    vrouter: Option<u32>,
    neighbor: Option<IpAddr>,
}

/// Ours, or what a peer was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Available,
    Advertised,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Advertised => "advertised",
        }
    }
}

impl Question {
    /// Reads the words; also says whether one of the first three was left to its default.
    fn parse(words: &[String]) -> Result<(Self, bool), Failure> {
        let mut words = words.iter().map(String::as_str).peekable();
        let kind = match words.next_if(|word| matches!(*word, "available" | "advertised")) {
            Some("advertised") => Kind::Advertised,
            _ => Kind::Available,
        };
        let afi = match words.next_if(|word| !is_qualifier(word)) {
            None => None,
            Some("ipv4") => Some("ipv4"),
            Some("ipv6") => Some("ipv6"),
            Some(word) => return Err(bad_first_word(word)),
        };
        let safi = match words.next_if(|word| !is_qualifier(word)) {
            None => None,
            Some("unicast") => Some("unicast"),
            Some(word) => {
                return Err(Failure::Usage(format!(
                    "unknown SAFI {word:?}: Fairway announces unicast; {GRAMMAR}"
                )));
            }
        };
        let mut question = Self {
            kind,
            afi: afi.unwrap_or("ipv4"),
            safi: safi.unwrap_or("unicast"),
            vrouter: None,
            neighbor: None,
        };
        while let Some(word) = words.next() {
            question.qualify(word, words.next())?;
        }
        if question.neighbor.is_some() && kind == Kind::Available {
            return Err(Failure::Usage(format!(
                "peer goes with advertised only: available routes have no peer yet; {GRAMMAR}"
            )));
        }
        Ok((question, afi.is_none() || safi.is_none()))
    }

    fn qualify(&mut self, word: &str, value: Option<&str>) -> Result<(), Failure> {
        if !is_qualifier(word) {
            return Err(Failure::Usage(format!("unknown word {word:?}; {GRAMMAR}")));
        }
        let Some(value) = value else {
            return Err(Failure::Usage(format!(
                "{word} needs a value after it; {GRAMMAR}"
            )));
        };
        if word == "vrouter" {
            let asn = value.parse().map_err(|_| {
                Failure::Usage(format!(
                    "bad ASN {value:?} after vrouter: say a number from 0 to 4294967295"
                ))
            })?;
            self.vrouter = Some(asn);
        } else {
            let address = value.parse().map_err(|_| {
                Failure::Usage(format!(
                    "bad peer address {value:?} after {word}: say an IPv4 or IPv6 address"
                ))
            })?;
            self.neighbor = Some(address);
        }
        Ok(())
    }

    fn wants(&self, route: &Value) -> bool {
        let asn = route
            .get("router-asn")
            .and_then(Value::as_u64)
            .unwrap_or_default();
        let neighbor = || {
            route
                .get("neighbor")
                .and_then(Value::as_str)
                .and_then(|text| text.parse::<IpAddr>().ok())
        };
        self.vrouter.is_none_or(|wanted| u64::from(wanted) == asn)
            && self
                .neighbor
                .is_none_or(|wanted| neighbor() == Some(wanted))
    }
}

impl std::fmt::Display for Question {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.kind.word(), self.afi, self.safi)
    }
}

fn is_qualifier(word: &str) -> bool {
    matches!(word, "vrouter" | "peer" | "neighbor")
}

fn bad_first_word(word: &str) -> Failure {
    Failure::Usage(format!("unknown AFI {word:?}: say ipv4 or ipv6; {GRAMMAR}"))
}

impl Subject for Question {
    fn path(&self) -> String {
        format!(
            "/v1/routes?kind={}&afi={}&safi={}",
            self.kind.word(),
            self.afi,
            self.safi
        )
    }

    fn remarks(&self) -> &'static str {
        "/v1/notes"
    }

    fn select(&self, mut document: Value) -> Result<Value, Failure> {
        for routes in document
            .as_object_mut()
            .into_iter()
            .flat_map(|nodes| nodes.values_mut())
        {
            if let Some(routes) = routes.as_array_mut() {
                routes.retain(|route| self.wants(route));
            }
        }
        Ok(document)
    }

    fn draw(&self, document: &Value, _now: Timestamp) -> Result<Drawn, Failure> {
        let nodes: RoutesByNode = serde::Deserialize::deserialize(document)
            .map_err(|error| misshapen("its routes", &error))?;
        Ok(Drawn {
            text: draw(self.kind, &nodes),
            ..Drawn::default()
        })
    }
}

fn draw(kind: Kind, nodes: &RoutesByNode) -> String {
    let head: &[&str] = match kind {
        Kind::Available => &["Node", "VRouter", "Prefix", "NextHop", "Age", "Attrs"],
        Kind::Advertised => &[
            "Node", "VRouter", "Peer", "Prefix", "NextHop", "Age", "Attrs",
        ],
    };
    let mut table = Table::new(head);
    for (node, routes) in nodes {
        let mut routes: Vec<&Route> = routes.iter().collect();
        routes.sort_by_cached_key(|route| {
            (
                route.router_asn,
                route.neighbor.clone(),
                prefix_key(&route.prefix),
            )
        });
        let mut name = node.as_str();
        for (route, path) in routes
            .into_iter()
            .flat_map(|route| route.paths.iter().map(move |path| (route, path)))
        {
            table.row(cells(kind, std::mem::take(&mut name), route, path));
        }
    }
    table.to_string()
}

/// Prefixes sort by number, so that .9 stands before .10; what is none sorts last, by its text.
fn prefix_key(text: &str) -> (bool, Option<ipnet::IpNet>, String) {
    let prefix = text.parse().ok();
    (prefix.is_none(), prefix, text.to_owned())
}

fn cells(kind: Kind, node: &str, route: &Route, path: &Path) -> Vec<String> {
    let attributes = attributes::Rendered::of(path);
    let mut cells = vec![node.to_owned(), route.router_asn.to_string()];
    if kind == Kind::Advertised {
        cells.push(route.neighbor.clone());
    }
    cells.extend([
        route.prefix.clone(),
        attributes.next_hop.unwrap_or_default(),
        go_duration(path.age_nanoseconds),
        attributes.list,
    ]);
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<(Question, bool), Failure> {
        Question::parse(
            &line
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn missing_words_have_their_defaults() {
        for (line, shown, defaulted) in [
            ("", "available ipv4 unicast", true),
            ("available", "available ipv4 unicast", true),
            ("advertised", "advertised ipv4 unicast", true),
            ("ipv6", "available ipv6 unicast", true),
            ("advertised ipv6", "advertised ipv6 unicast", true),
            ("advertised ipv6 unicast", "advertised ipv6 unicast", false),
            ("vrouter 64512", "available ipv4 unicast", true),
        ] {
            let (question, was_defaulted) = parse(line).unwrap();
            assert_eq!(
                (question.to_string().as_str(), was_defaulted),
                (shown, defaulted),
                "{line}"
            );
        }
    }

    #[test]
    fn a_bad_word_is_named_with_what_is_possible() {
        for (line, named) in [
            ("avalable", "unknown AFI \"avalable\""),
            ("available ipv5", "unknown AFI \"ipv5\""),
            ("available ipv4 multicast", "unknown SAFI \"multicast\""),
            ("available ipv4 unicast foo", "unknown word \"foo\""),
            ("available ipv4 unicast vrouter x", "bad ASN \"x\""),
            (
                "available ipv4 unicast vrouter 4294967296",
                "bad ASN \"4294967296\"",
            ),
            (
                "advertised ipv4 unicast peer 192.168.10",
                "bad peer address \"192.168.10\"",
            ),
            ("advertised neighbor", "neighbor needs a value"),
            (
                "available peer 192.168.10.1",
                "peer goes with advertised only",
            ),
        ] {
            let failure = parse(line).unwrap_err();
            assert_eq!(failure.exit_code(), 2, "{line}");
            assert!(failure.to_string().contains(named), "{line}: {failure}");
        }
    }

    #[test]
    fn vrouter_and_peer_select() {
        let document = serde_json::json!({"k3s1": [
            {"router-asn": 64512, "neighbor": "192.168.10.1", "prefix": "a", "paths": []},
            {"router-asn": 64512, "neighbor": "fd00::1", "prefix": "b", "paths": []},
            {"router-asn": 64600, "neighbor": "192.168.10.1", "prefix": "c", "paths": []},
        ]});
        let chosen = |line: &str| {
            let selected = parse(line).unwrap().0.select(document.clone()).unwrap();
            let routes = selected["k3s1"].as_array().unwrap().clone();
            routes
                .iter()
                .map(|route| route["prefix"].as_str().unwrap().to_owned())
                .collect::<String>()
        };
        assert_eq!(chosen("advertised"), "abc");
        assert_eq!(chosen("advertised vrouter 64512"), "ab");
        assert_eq!(chosen("advertised peer fd00:0::1"), "b");
        assert_eq!(
            chosen("advertised ipv4 unicast vrouter 64512 neighbor 192.168.10.1"),
            "a"
        );
    }

    #[test]
    fn prefixes_stand_in_the_order_of_their_numbers() {
        let route = |prefix: &str| Route {
            router_asn: 64512,
            prefix: prefix.to_owned(),
            paths: vec![Path::default()],
            ..Route::default()
        };
        let nodes = RoutesByNode::from([(
            "k3s1".to_owned(),
            vec![route("10.0.0.10/32"), route("10.0.0.9/32")],
        )]);
        assert_eq!(
            draw(Kind::Available, &nodes),
            "\
Node   VRouter   Prefix         NextHop   Age   Attrs
k3s1   64512     10.0.0.9/32              0s    []
       64512     10.0.0.10/32             0s    []
"
        );
    }
}
