use super::*;
use crate::attribute::{AsPath, NextHop};
use crate::message::Message;
use crate::types::{Afi, Asn, Safi};

fn context() -> WireContext {
    WireContext {
        four_octet_as: true,
        families: vec![Family::IPV4_UNICAST, Family::IPV6_UNICAST],
        ..WireContext::initial()
    }
}

fn body(withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
    let mut body = u16::try_from(withdrawn.len())
        .unwrap()
        .to_be_bytes()
        .to_vec();
    body.extend(withdrawn);
    body.extend(u16::try_from(attributes.len()).unwrap().to_be_bytes());
    body.extend(attributes);
    body.extend(nlri);
    body
}

fn decode_with(body: Vec<u8>, context: &WireContext) -> Result<Update, ProtocolError> {
    let octets = Bytes::from(body);
    Update::decode(&octets, &octets, context)
}

fn decode(withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) -> Result<Update, ProtocolError> {
    decode_with(body(withdrawn, attributes, nlri), &context())
}

fn reason(result: Result<Update, ProtocolError>) -> UpdateSubcode {
    match result.unwrap_err().reason {
        Reason::Update(subcode) => subcode,
        other => panic!("{other:?}"),
    }
}

const ORIGIN: &[u8] = &[0x40, 1, 1, 0];
const AS_PATH: &[u8] = &[0x40, 2, 6, 2, 1, 0, 0, 0xFC, 0];
const NEXT_HOP: &[u8] = &[0x40, 3, 4, 192, 0, 2, 1];
const BAD_MED: &[u8] = &[0x80, 4, 1, 0];
const NET: &[u8] = &[24, 198, 51, 100];

/// MP_REACH_NLRI of 2001:db8::/32 by 2001:db8::1.
fn reach() -> Vec<u8> {
    let mut octets = vec![0x80, 14, 26, 0, 2, 1, 16, 0x20, 1, 0x0D, 0xB8];
    octets.extend([0; 11]);
    octets.extend([1, 0, 32, 0x20, 1, 0x0D, 0xB8]);
    octets
}

#[test]
fn an_announcement_has_attributes_next_hop_and_routes() {
    let update = decode(&[], &[ORIGIN, AS_PATH, NEXT_HOP].concat(), NET).unwrap();
    assert_eq!(update.announced.to_string(), "198.51.100.0/24");
    assert_eq!(update.next_hop, Some([192, 0, 2, 1].into()));
    assert_eq!(
        update.attributes.unwrap().as_path,
        AsPath::sequence([Asn(64512)])
    );
    assert!(update.faults.is_empty());
}

#[test]
fn malformed_attribute_withdraws_the_routes() {
    let attributes = [ORIGIN, AS_PATH, NEXT_HOP, BAD_MED, &reach()].concat();
    let update = decode(&[8, 10], &attributes, NET).unwrap();
    assert_eq!(update.withdrawn.to_string(), "10.0.0.0/8 198.51.100.0/24");
    assert_eq!(update.mp_unreach.len(), 1);
    assert_eq!(update.mp_unreach[0].nlri.to_string(), "2001:db8::/32");
    assert!(update.announced.is_empty() && update.mp_reach.is_none());
    assert!(update.attributes.is_none() && update.next_hop.is_none());
    assert_eq!(update.faults[0].treatment, Treatment::Withdraw);
    assert_eq!(
        update.faults[0].to_string(),
        "MULTI_EXIT_DISC: UPDATE message error: attribute length error; routes treated as withdrawn"
    );
}

#[test]
fn malformed_attribute_without_a_reachable_route_ends_the_session() {
    assert_eq!(
        reason(decode(&[8, 10], BAD_MED, &[])),
        UpdateSubcode::AttributeLength
    );
    let unreach = [&[0x80, 15, 3, 0, 2, 1][..], BAD_MED].concat();
    assert_eq!(
        reason(decode(&[], &unreach, &[])),
        UpdateSubcode::AttributeLength
    );
    // An attribute to be discarded harms nobody.
    let update = decode(&[8, 10], &[0x40, 6, 1, 0], &[]).unwrap();
    assert_eq!(update.withdrawn.to_string(), "10.0.0.0/8");
    assert_eq!(update.faults.len(), 1);
}

#[test]
fn missing_mandatory_attributes_withdraw_the_routes() {
    let missing = |attributes: &[&[u8]], nlri: &[u8]| -> Vec<u8> {
        let update = decode(&[], &attributes.concat(), nlri).unwrap();
        assert!(update.announced.is_empty() && update.mp_reach.is_none());
        update
            .faults
            .iter()
            .map(|fault| fault.error.data[0])
            .collect()
    };
    assert_eq!(missing(&[AS_PATH, NEXT_HOP], NET), [1]);
    assert_eq!(missing(&[ORIGIN, NEXT_HOP], NET), [2]);
    assert_eq!(missing(&[ORIGIN, AS_PATH], NET), [3]);
    assert_eq!(missing(&[], NET), [1, 2, 3]);
    assert_eq!(missing(&[&reach()], &[]), [1, 2]);
}

#[test]
fn multiprotocol_routes_need_no_next_hop_attribute() {
    let update = decode(&[], &[&reach()[..], ORIGIN, AS_PATH].concat(), &[]).unwrap();
    let reach = update.mp_reach.unwrap();
    assert_eq!(reach.next_hop, NextHop::V6("2001:db8::1".parse().unwrap()));
    assert_eq!(reach.nlri.to_string(), "2001:db8::/32");
    assert!(update.faults.is_empty() && update.next_hop.is_none());
}

#[test]
fn a_next_hop_that_nothing_can_be_sent_to_withdraws_the_routes() {
    let multicast = [0x40, 3, 4, 224, 0, 0, 1];
    let update = decode(&[], &[ORIGIN, AS_PATH, &multicast].concat(), NET).unwrap();
    assert_eq!(update.withdrawn.to_string(), "198.51.100.0/24");
    let reason = Reason::Update(UpdateSubcode::InvalidNextHop);
    assert_eq!(update.faults[0].error.reason, reason);
}

#[test]
fn lengths_beyond_the_message_end_the_session() {
    let list = UpdateSubcode::MalformedAttributeList;
    for octets in [&[0, 1][..], &[0, 0, 0, 1], &[0, 1, 0, 0], &[0], &[0, 0, 0]] {
        assert_eq!(
            reason(decode_with(octets.to_vec(), &context())),
            list,
            "{octets:?}"
        );
    }
}

#[test]
fn invalid_routes_end_the_session() {
    let field = UpdateSubcode::InvalidNetworkField;
    assert_eq!(reason(decode(&[33, 1, 2, 3, 4, 5], &[], &[])), field);
    assert_eq!(
        reason(decode(&[], &[ORIGIN, AS_PATH, NEXT_HOP].concat(), &[24, 1])),
        field
    );
}

#[test]
fn an_attribute_past_the_block_withdraws_what_can_still_be_found() {
    let attributes = [ORIGIN, AS_PATH, NEXT_HOP, &[0x80, 4, 4, 0]].concat();
    let update = decode(&[], &attributes, NET).unwrap();
    assert_eq!(update.withdrawn.to_string(), "198.51.100.0/24");
    assert_eq!(
        reason(decode(&[], &attributes, &[])),
        UpdateSubcode::MalformedAttributeList
    );
}

#[test]
fn end_of_rib_is_an_update_that_says_nothing() {
    for family in [Family::IPV4_UNICAST, Family::IPV6_UNICAST] {
        let end = Update::end_of_rib(family);
        let octets = Message::Update(end.clone()).encode(&context()).unwrap();
        assert_eq!(
            octets.len(),
            if family == Family::IPV4_UNICAST {
                23
            } else {
                29
            }
        );
        let Ok(Message::Update(again)) = Message::decode(octets, &context()) else {
            panic!()
        };
        assert_eq!((again.is_end_of_rib(), &again), (Some(family), &end));
    }
    assert_eq!(
        decode(&[], &[0x80, 15, 3, 0, 1, 1], &[])
            .unwrap()
            .is_end_of_rib(),
        Some(Family::IPV4_UNICAST)
    );
    // Not these: attributes alone, a family that is not spoken.
    assert_eq!(decode(&[], ORIGIN, &[]).unwrap().is_end_of_rib(), None);
    assert_eq!(
        decode(&[], &[0x80, 15, 3, 0, 25, 70], &[])
            .unwrap()
            .is_end_of_rib(),
        None
    );
}

#[test]
fn routes_of_families_that_are_not_spoken_are_ignored() {
    let only_v6 = WireContext {
        families: vec![Family::IPV6_UNICAST],
        ..context()
    };
    let attributes = [ORIGIN, AS_PATH, NEXT_HOP].concat();
    let update = decode_with(body(&[8, 10], &attributes, NET), &only_v6).unwrap();
    assert!(update.withdrawn.is_empty() && update.announced.is_empty());
    assert_eq!(update.faults[0].treatment, Treatment::Discard);

    let only_v4 = WireContext {
        families: vec![Family::IPV4_UNICAST],
        ..context()
    };
    let attributes = [&reach()[..], ORIGIN, AS_PATH].concat();
    let update = decode_with(body(&[], &attributes, &[]), &only_v4).unwrap();
    assert!(update.mp_reach.is_none());
    assert_eq!(update.faults[0].attribute, Some(14));
}

#[test]
fn families_that_we_parse_past_are_carried_where_negotiated() {
    let vpn = Family {
        afi: Afi::IPV4,
        safi: Safi(128),
    };
    let both = WireContext {
        families: vec![vpn],
        ..context()
    };
    let reach = [0x80, 14, 9, 0, 1, 128, 2, 7, 7, 0, 200, 201];
    let attributes = [&reach[..], ORIGIN, AS_PATH].concat();
    let update = decode_with(body(&[], &attributes, &[]), &both).unwrap();
    let reach = update.mp_reach.as_ref().unwrap();
    assert_eq!(reach.next_hop, NextHop::Opaque(Bytes::from_static(&[7, 7])));
    assert_eq!(reach.nlri.octets(), &[200, 201].as_slice());
    let octets = Message::Update(update.clone()).encode(&both).unwrap();
    assert_eq!(Message::decode(octets, &both), Ok(Message::Update(update)));
}

#[test]
fn ipv4_routes_may_have_an_ipv6_next_hop_where_that_was_negotiated() {
    let mut reach = vec![0x80, 14, 25, 0, 1, 1, 16, 0xFE, 0x80];
    reach.extend([0; 13]);
    reach.extend([1, 0, 24, 198, 51, 100]);
    let attributes = [&reach[..], ORIGIN, AS_PATH].concat();
    let allowed = WireContext {
        extended_next_hop: vec![Family::IPV4_UNICAST],
        ..context()
    };
    let update = decode_with(body(&[], &attributes, &[]), &allowed).unwrap();
    let got = update.mp_reach.unwrap();
    assert_eq!(got.next_hop, NextHop::V6("fe80::1".parse().unwrap()));
    assert_eq!(got.nlri.to_string(), "198.51.100.0/24");
    assert_eq!(
        reason(decode(&[], &attributes, &[])),
        UpdateSubcode::OptionalAttribute
    );
}

#[test]
fn what_does_not_fit_is_refused() {
    let entries = (0..900u32)
        .map(|n| crate::types::Nlri::from(crate::Prefix::host(Ipv4Addr::from(n << 8).into())));
    let mut update = Update::empty();
    update.withdrawn = NlriList::build(Family::IPV4_UNICAST, false, entries);
    let error = Message::Update(update.clone())
        .encode(&context())
        .unwrap_err();
    assert_eq!(
        error,
        TooLong {
            octets: 23 + 4500,
            limit: 4096
        }
    );
    let extended = WireContext {
        max_message: 65535,
        ..context()
    };
    assert_eq!(
        Message::Update(update).encode(&extended).unwrap().len(),
        23 + 4500
    );
}

#[test]
fn withdrawals_of_two_families_do_not_fit_one_message() {
    let mut update = Update::end_of_rib(Family::IPV6_UNICAST);
    update.mp_unreach.push(MpUnreach {
        nlri: NlriList::empty(Family::IPV4_UNICAST),
    });
    assert!(Message::Update(update).encode(&context()).is_err());
}
