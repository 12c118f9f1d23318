//! However a stream is cut into chunks, the same messages and the same error come out, and nothing piles up.
#![cfg_attr(fuzzing, no_main)]

use arbitrary::Unstructured;
use bgp_core::codec::ProtocolError;
use bgp_core::message::{Framer, Message};
use bytes::Bytes;

fuzz_support::target!(|octets: &[u8]| {
    let mut input = Unstructured::new(octets);
    let Ok(sizes) = input.arbitrary::<[u8; 8]>() else {
        return;
    };
    let stream = input.take_rest();
    let mut chunks = vec![];
    let mut rest = stream;
    for size in sizes.iter().cycle().take(stream.len()) {
        let (chunk, behind) = rest.split_at(rest.len().min(usize::from(*size)));
        chunks.push(chunk);
        rest = behind;
    }
    chunks.push(rest);
    assert_eq!(messages(&chunks), messages(&[stream]));
});

fn messages(chunks: &[&[u8]]) -> (Vec<Bytes>, Option<ProtocolError>) {
    let mut framer = Framer::new(Message::MAX);
    let mut found = vec![];
    for chunk in chunks {
        framer.push(chunk);
        loop {
            match framer.next_message() {
                Ok(Some(message)) => found.push(message),
                Ok(None) => break assert!(framer.buffered() < Message::MAX),
                Err(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}
