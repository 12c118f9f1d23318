//! Octets of any kind, header and all, are taken or refused.
#![cfg_attr(fuzzing, no_main)]

use bgp_core::message::{Message, WireContext};
use bytes::Bytes;

fuzz_support::target!(|octets: &[u8]| {
    let octets = Bytes::copy_from_slice(octets);
    for (four_octet_as, external) in [(true, true), (false, false)] {
        let context = WireContext {
            four_octet_as,
            external,
            ..WireContext::initial()
        };
        let _ = Message::decode(octets.clone(), &context);
    }
});
