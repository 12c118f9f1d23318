//! Properties of the codec: what can be built can be encoded and reads back the same, and no octets whatever panic.

mod strategies;

use std::collections::BTreeSet;

use bgp_core::attribute::{NlriList, Treatment};
use bgp_core::capability::Capability;
use bgp_core::message::{Framer, Message, Update, WireContext};
use bgp_core::types::{Family, Nlri};
use bytes::Bytes;
use proptest::prelude::*;

use strategies::{
    attributes, capability, context, message_in, nlri_entries, octets_of_a_message, update_in,
};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_message_reads_back_as_it_was_built((context, message) in in_context(message_in)) {
        let octets = message.encode(&context).unwrap();
        prop_assert!(octets.len() <= context.max_message);
        prop_assert_eq!(Message::decode(octets, &context), Ok(message));
    }

    #[test]
    fn every_capability_reads_back_as_it_was_built(capability in capability()) {
        let octets = capability.octets();
        prop_assert_eq!(usize::from(octets[1]) + 2, octets.len());
        prop_assert_eq!(Capability::decode(octets[0], &octets[2..]), capability);
    }

    #[test]
    fn each_attribute_stands_by_itself(
        (context, attributes) in in_context(|context| attributes(context).boxed())
    ) {
        let octets = attributes.attribute_octets(&context, None);
        let mut writer = bgp_core::codec::Writer::new();
        attributes.encode_into(&context, None, &mut writer);
        prop_assert_eq!(octets.concat(), writer.finish());
        let kinds: Vec<u8> = octets.iter().map(|octets| octets[1]).collect();
        prop_assert!(kinds.is_sorted(), "{:?}", kinds);
    }

    #[test]
    fn a_list_of_routes_reads_back_as_it_was_built(
        (family, add_path, entries) in nlri_entries()
    ) {
        let list = NlriList::build(family, add_path, entries.iter().copied());
        let lengths = entries.iter().map(|entry| entry.prefix.wire_length() + 4 * usize::from(add_path));
        prop_assert_eq!(list.octets().len(), lengths.sum::<usize>());
        prop_assert_eq!(list.iter().collect::<Vec<_>>(), entries);
        let (least, greatest) = list.iter().size_hint();
        prop_assert!((least..=greatest.unwrap()).contains(&list.iter().count()));
        let again = NlriList::from_wire(family, add_path, list.octets().clone());
        prop_assert_eq!(again, Ok(list));
    }

    #[test]
    fn routes_from_any_octets_are_refused_or_can_be_built_again(
        octets in prop::collection::vec(any::<u8>(), 0..80),
        v4 in any::<bool>(),
        add_path in any::<bool>(),
    ) {
        let family = if v4 { Family::IPV4_UNICAST } else { Family::IPV6_UNICAST };
        if let Ok(list) = NlriList::from_wire(family, add_path, octets.into()) {
            prop_assert_eq!(&NlriList::build(family, add_path, list.iter()), &list);
        }
    }

    #[test]
    fn no_octets_behind_a_real_header_panic(
        (context, kind, body) in (context(), 1u8..=6, prop::collection::vec(any::<u8>(), 0..300))
    ) {
        taken_or_refused(octets_of_a_message(kind, &body), &context)?;
    }

    #[test]
    fn no_damage_to_a_good_message_panics(
        ((context, message), damage) in (
            in_context(message_in),
            prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        )
    ) {
        let mut octets = message.encode(&context).unwrap().to_vec();
        for (index, octet) in damage {
            let at = index.index(octets.len());
            octets[at] = octet;
        }
        taken_or_refused(octets.into(), &context)?;
    }

    #[test]
    fn no_context_panics_at_the_messages_of_another(
        ((sender, message), receiver) in (in_context(message_in), context())
    ) {
        taken_or_refused(message.encode(&sender).unwrap(), &receiver)?;
    }

    #[test]
    fn a_stream_gives_the_same_messages_however_it_is_cut(
        ((context, messages), sizes) in (
            in_context(|context| prop::collection::vec(message_in(context), 1..5).boxed()),
            prop::collection::vec(1usize..200, 1..20),
        )
    ) {
        let octets: Vec<Bytes> =
            messages.iter().map(|message| message.encode(&context).unwrap()).collect();
        let stream = octets.concat();
        let mut framer = Framer::new(context.max_message);
        let mut found = vec![];
        let mut rest = stream.as_slice();
        for (turn, size) in sizes.iter().cycle().enumerate() {
            let (chunk, behind) = rest.split_at((*size).min(rest.len()));
            if turn % 2 == 0 {
                framer.push(chunk);
            } else {
                framer.push_bytes(Bytes::copy_from_slice(chunk));
            }
            while let Some(message) = framer.next_message().unwrap() {
                found.push(message);
            }
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(found, octets);
        prop_assert_eq!(framer.buffered(), 0);
    }

    #[test]
    fn treat_as_withdraw_loses_no_route((context, update) in in_context(update_in)) {
        let announced = routes(&update, true);
        prop_assume!(!announced.is_empty());
        let octets = with_attribute(&update, &context, &[0xC0, 8, 1, 0]);
        let Ok(Message::Update(treated)) = Message::decode(octets, &context) else {
            panic!("a malformed COMMUNITIES ends no session");
        };
        let expected: BTreeSet<_> = routes(&update, false).union(&announced).copied().collect();
        prop_assert_eq!(routes(&treated, false), expected);
        prop_assert!(routes(&treated, true).is_empty() && treated.attributes.is_none());
        prop_assert!(treated.faults.iter().any(|fault| fault.treatment == Treatment::Withdraw));
        prop_assert_eq!(treated.is_end_of_rib(), None);
    }
}

/// A context, and something that its session can say.
fn in_context<T: std::fmt::Debug>(
    what: impl Fn(&WireContext) -> BoxedStrategy<T> + 'static,
) -> impl Strategy<Value = (WireContext, T)> {
    context().prop_flat_map(move |context| {
        let said = what(&context);
        (Just(context), said)
    })
}

/// What is taken is fit to be applied, and where nothing was wrong it can be said again.
fn taken_or_refused(octets: Bytes, context: &WireContext) -> Result<(), TestCaseError> {
    let Ok(message) = Message::decode(octets, context) else {
        return Ok(());
    };
    if let Message::Update(update) = &message {
        let withdrawn = update
            .faults
            .iter()
            .any(|fault| fault.treatment == Treatment::Withdraw);
        let announces = !routes(update, true).is_empty();
        prop_assert!(!(announces && withdrawn));
        prop_assert!(!announces || update.attributes.is_some());
        prop_assert!(update.announced.is_empty() || update.next_hop.is_some());
        if !update.faults.is_empty() {
            return Ok(());
        }
    }
    if let Ok(octets) = message.encode(context) {
        prop_assert_eq!(Message::decode(octets, context), Ok(message));
    }
    Ok(())
}

/// The routes that an UPDATE announces, or withdraws.
fn routes(update: &Update, announced: bool) -> BTreeSet<Nlri> {
    if announced {
        let reach = update.mp_reach.iter().flat_map(|reach| reach.nlri.iter());
        update.announced.iter().chain(reach).collect()
    } else {
        let unreach = update
            .mp_unreach
            .iter()
            .flat_map(|unreach| unreach.nlri.iter());
        update.withdrawn.iter().chain(unreach).collect()
    }
}

/// The UPDATE with one more attribute, in front of its own.
fn with_attribute(update: &Update, context: &WireContext, attribute: &[u8]) -> Bytes {
    let octets = Message::Update(update.clone()).encode(context).unwrap();
    let withdrawn = 2 + update.withdrawn.octets().len();
    let (head, tail) = octets[19..].split_at(withdrawn);
    let length = u16::from_be_bytes([tail[0], tail[1]]) + u16::try_from(attribute.len()).unwrap();
    let body = [head, &length.to_be_bytes(), attribute, &tail[2..]].concat();
    octets_of_a_message(2, &body)
}
