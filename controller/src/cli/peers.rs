//! `fairway peers`: what `cilium bgp peers` shows.

use jiff::Timestamp;
use serde_json::Value;

use crate::args::PeersArgs;
use crate::observe::shapes::{Peer, PeerFamily, PeersByNode};

use super::output::{Table, go_duration};
use super::show::{Drawn, Subject, misshapen, show};
use super::{Failure, Outcome};

const HEAD: [&str; 9] = [
    "Node",
    "Local AS",
    "Peer AS",
    "Peer Address",
    "Session State",
    "Uptime",
    "Family",
    "Received",
    "Advertised",
];

/// What may be wrong where there is no peer at all.
const NOBODY: &str = "no peer is configured here: see whether a CiliumBGPPeeringPolicy selects this node and names neighbors";

/// Shows the peers.
///
/// # Errors
/// Fairway cannot be reached.
pub async fn run(args: PeersArgs) -> Outcome {
    show(&args.view, &Peers).await
}

/// All peers of a Fairway.
pub(crate) struct Peers;

impl Subject for Peers {
    fn path(&self) -> String {
        "/v1/peers".to_owned()
    }

    fn remarks(&self) -> &'static str {
        "/v1/notes"
    }

    fn select(&self, document: Value) -> Result<Value, Failure> {
        Ok(document)
    }

    fn draw(&self, document: &Value, _now: Timestamp) -> Result<Drawn, Failure> {
        let nodes: PeersByNode = serde::Deserialize::deserialize(document)
            .map_err(|error| misshapen("its peers", &error))?;
        Ok(draw(&nodes))
    }
}

/// The table, and a note for every peer that is not established and says why.
pub(crate) fn draw(nodes: &PeersByNode) -> Drawn {
    let mut table = Table::new(&HEAD);
    let mut notes = vec![];
    for (node, peers) in nodes {
        let mut peers: Vec<&Peer> = peers.iter().collect();
        peers.sort_by(|a, b| {
            (a.local_asn, &a.peer_address, a.peer_port).cmp(&(
                b.local_asn,
                &b.peer_address,
                b.peer_port,
            ))
        });
        for (position, peer) in peers.into_iter().enumerate() {
            rows(&mut table, if position == 0 { node } else { "" }, peer);
            notes.extend(note(node, peer));
        }
    }
    Drawn {
        text: table.to_string(),
        notes,
        hint: table.is_empty().then(|| NOBODY.to_owned()),
    }
}

fn rows(table: &mut Table, node: &str, peer: &Peer) {
    let mut left = [
        node.to_owned(),
        peer.local_asn.to_string(),
        peer.peer_asn.to_string(),
        peer.peer_address.clone(),
        peer.session_state.clone(),
        go_duration(peer.uptime_nanoseconds),
    ];
    if peer.families.is_empty() {
        table.row(&left);
    }
    for PeerFamily {
        afi,
        safi,
        received,
        advertised,
        ..
    } in &peer.families
    {
        let right = [
            format!("{afi}/{safi}"),
            received.to_string(),
            advertised.to_string(),
        ];
        table.row(left.iter().chain(&right));
        left = Default::default();
    }
}

fn note(node: &str, peer: &Peer) -> Option<String> {
    (peer.session_state != "established" && !peer.last_error.is_empty()).then(|| {
        format!(
            "{node}: peer {} (AS {}): {}",
            peer.peer_address, peer.peer_asn, peer.last_error
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: &str, state: &str, families: &[(&str, u64, u64)]) -> Peer {
        Peer {
            local_asn: 64512,
            peer_asn: 64513,
            peer_address: address.to_owned(),
            session_state: state.to_owned(),
            uptime_nanoseconds: if state == "established" {
                2_006_000_000_000
            } else {
                0
            },
            families: families
                .iter()
                .map(|&(afi, received, advertised)| PeerFamily {
                    afi: afi.to_owned(),
                    safi: "unicast".to_owned(),
                    received,
                    advertised,
                    accepted: 0,
                })
                .collect(),
            ..Peer::default()
        }
    }

    #[test]
    fn the_table_has_ciliums_columns_and_continuation_rows() {
        let nodes = PeersByNode::from([
            (
                "k3s2".to_owned(),
                vec![peer("192.168.10.1", "active", &[("ipv4", 0, 0)])],
            ),
            (
                "k3s1".to_owned(),
                vec![
                    peer("192.168.10.2", "idle", &[]),
                    peer(
                        "192.168.10.1",
                        "established",
                        &[("ipv4", 2, 3), ("ipv6", 0, 0)],
                    ),
                ],
            ),
        ]);
        let drawn = draw(&nodes);
        assert_eq!(
            drawn.text,
            "\
Node   Local AS   Peer AS   Peer Address   Session State   Uptime   Family         Received   Advertised
k3s1   64512      64513     192.168.10.1   established     33m26s   ipv4/unicast   2          3
                                                                    ipv6/unicast   0          0
       64512      64513     192.168.10.2   idle            0s
k3s2   64512      64513     192.168.10.1   active          0s       ipv4/unicast   0          0
"
        );
        assert!(drawn.notes.is_empty());
    }

    #[test]
    fn a_peer_that_is_not_established_says_why_below_the_table() {
        let mut down = peer("192.168.10.1", "active", &[("ipv4", 0, 0)]);
        down.last_error = "Connection refused".to_owned();
        let mut up = peer("192.168.10.2", "established", &[("ipv4", 0, 0)]);
        up.last_error = "an old story".to_owned();
        let drawn = draw(&PeersByNode::from([("k3s1".to_owned(), vec![down, up])]));
        assert_eq!(
            drawn.notes,
            ["k3s1: peer 192.168.10.1 (AS 64513): Connection refused"]
        );
    }

    #[test]
    fn no_peer_at_all_is_explained() {
        let drawn = draw(&PeersByNode::from([("k3s1".to_owned(), vec![])]));
        assert_eq!(drawn.text.lines().count(), 1);
        assert!(drawn.hint.unwrap().contains("CiliumBGPPeeringPolicy"));
    }
}
