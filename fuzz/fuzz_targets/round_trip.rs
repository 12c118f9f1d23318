//! What decodes without fault means the same after it was encoded.
#![cfg_attr(fuzzing, no_main)]

use arbitrary::Unstructured;
use bgp_core::message::Message;

fuzz_support::target!(|octets: &[u8]| {
    let mut input = Unstructured::new(octets);
    let (Ok(context), Ok(kind)) = (fuzz_support::context(&mut input), input.int_in_range(1..=5))
    else {
        return;
    };
    let octets = fuzz_support::message(kind, input.take_rest());
    let Ok(message) = Message::decode(octets, &context) else {
        return;
    };
    if matches!(&message, Message::Update(update) if !update.faults.is_empty()) {
        return;
    }
    // An AS4_PATH or a list of many capabilities can make the second longer than the first.
    if let Ok(octets) = message.encode(&context) {
        assert_eq!(Message::decode(octets, &context), Ok(message));
    }
});
