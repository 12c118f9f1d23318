//! The body of an UPDATE in any context is taken or refused, and what is taken can be walked over and shown.
#![cfg_attr(fuzzing, no_main)]

use arbitrary::Unstructured;
use bgp_core::message::Message;

fuzz_support::target!(|octets: &[u8]| {
    let mut input = Unstructured::new(octets);
    let Ok(context) = fuzz_support::context(&mut input) else {
        return;
    };
    let octets = fuzz_support::message(2, input.take_rest());
    if let Ok(Message::Update(update)) = Message::decode(octets, &context) {
        for list in update
            .mp_unreach
            .iter()
            .map(|one| &one.nlri)
            .chain([&update.withdrawn, &update.announced])
        {
            assert!(
                !list.family().is_unicast_ip() || list.is_empty() == (list.iter().count() == 0)
            );
        }
        assert!(update.announced.is_empty() || update.attributes.is_some());
        assert!(
            update.faults.len() <= 300,
            "faults must not grow with the message"
        );
        let _ = update.faults.iter().map(ToString::to_string).count();
    }
});
