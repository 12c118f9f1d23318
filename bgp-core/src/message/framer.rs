use bytes::{Bytes, BytesMut};

use super::header::{self, Header};
use crate::codec::ProtocolError;

/// Arbitrary chunks of a byte stream in, whole messages (header included) out. Holds at most one message and a chunk,
/// provided that every push is followed by [`Self::next_message`] until that gives `None`.
#[derive(Debug)]
pub struct Framer {
    buffer: BytesMut,
    max_message: usize,
    /// The stream is lost; nothing more is taken.
    failed: Option<ProtocolError>,
}

impl Framer {
    /// `max_message`: the largest message that this direction allows.
    pub fn new(max_message: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            max_message,
            failed: None,
        }
    }

    /// After the OPENs, where extended messages were negotiated (RFC 8654).
    pub fn set_max_message(&mut self, octets: usize) {
        self.max_message = octets;
    }

    /// Appends a chunk as the socket gave it.
    pub fn push(&mut self, chunk: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(chunk);
        }
    }

    /// Appends a chunk, without copying it where nothing is waiting and nobody else holds it.
    pub fn push_bytes(&mut self, chunk: Bytes) {
        if !self.buffer.is_empty() || self.failed.is_some() {
            self.push(&chunk);
            return;
        }
        match chunk.try_into_mut() {
            Ok(chunk) => self.buffer = chunk,
            Err(chunk) => self.push(&chunk),
        }
    }

    /// Octets that wait for the rest of their message.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// The next whole message, or `None` until more octets come.
    ///
    /// # Errors
    /// A bad marker, length or type (RFC 4271 section 6.1); the stream is then lost and the framer must be dropped.
    /// Until it is, it says the same again and keeps nothing.
    pub fn next_message(&mut self) -> Result<Option<Bytes>, ProtocolError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        match Header::read(&self.buffer, self.max_message) {
            Ok(Some(header)) if self.buffer.len() >= header.length => {
                Ok(Some(self.buffer.split_to(header.length).freeze()))
            }
            Ok(header) => {
                let whole = header.map_or(header::LENGTH, |header| header.length);
                self.buffer.reserve(whole.saturating_sub(self.buffer.len()));
                Ok(None)
            }
            Err(error) => {
                self.buffer = BytesMut::new();
                self.failed = Some(error.clone());
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Message, WireContext};
    use crate::types::{HeaderSubcode, Reason};

    fn keepalive() -> Bytes {
        Message::Keepalive.encode(&WireContext::initial()).unwrap()
    }

    #[test]
    fn messages_come_out_whole_however_they_came_in() {
        let stream = keepalive().repeat(3);
        for size in 1..=stream.len() {
            let mut framer = Framer::new(Message::MAX);
            let mut found = 0;
            for chunk in stream.chunks(size) {
                framer.push(chunk);
                while let Some(message) = framer.next_message().unwrap() {
                    assert_eq!(message, keepalive());
                    found += 1;
                }
                assert!(framer.buffered() < 19);
            }
            assert_eq!(found, 3, "chunks of {size}");
        }
    }

    #[test]
    fn a_chunk_that_is_ours_alone_is_not_copied() {
        let chunk = Bytes::from(keepalive().to_vec());
        let at = chunk.as_ptr();
        let mut framer = Framer::new(Message::MAX);
        framer.push_bytes(chunk);
        assert_eq!(framer.next_message().unwrap().unwrap().as_ptr(), at);
    }

    #[test]
    fn a_chunk_that_others_hold_comes_through_too() {
        let chunk = Bytes::from(keepalive().to_vec());
        let mut framer = Framer::new(Message::MAX);
        framer.push_bytes(chunk.slice(..5));
        framer.push_bytes(chunk.slice(5..));
        assert_eq!(framer.next_message(), Ok(Some(chunk)));
    }

    #[test]
    fn a_lost_stream_stays_lost_and_keeps_nothing() {
        let mut framer = Framer::new(Message::MAX);
        framer.push(&[0; 40]);
        let error = framer.next_message().unwrap_err();
        assert_eq!(error.reason, Reason::Header(HeaderSubcode::NotSynchronized));
        framer.push(&keepalive());
        framer.push_bytes(keepalive());
        assert_eq!(framer.next_message(), Err(error));
        assert_eq!(framer.buffered(), 0);
    }

    #[test]
    fn a_length_beyond_the_limit_fails_before_the_body_is_there() {
        let mut octets = keepalive().to_vec();
        octets[16..19].copy_from_slice(&[0x10, 0x01, 2]);
        let mut framer = Framer::new(Message::MAX);
        framer.push(&octets);
        let error = framer.next_message().unwrap_err();
        assert_eq!(error.data, [0x10, 0x01].as_slice());
        let mut framer = Framer::new(Message::MAX);
        framer.set_max_message(Message::MAX_EXTENDED);
        framer.push(&octets);
        assert_eq!(framer.next_message(), Ok(None));
    }
}
