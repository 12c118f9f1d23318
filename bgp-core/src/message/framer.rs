use bytes::{Bytes, BytesMut};

use crate::codec::ProtocolError;

/// Arbitrary chunks of a byte stream in, whole messages (header included) out. Holds at most one message and a chunk.
#[derive(Debug)]
pub struct Framer {
    buffer: BytesMut,
    max_message: usize,
}

impl Framer {
    /// `max_message`: the largest message that this direction allows.
    pub fn new(max_message: usize) -> Self {
        Self { buffer: BytesMut::new(), max_message }
    }
    /// After the OPENs, where extended messages were negotiated (RFC 8654).
    pub fn set_max_message(&mut self, octets: usize) {
        self.max_message = octets;
    }
    /// Appends a chunk as the socket gave it.
    pub fn push(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }
    /// The next whole message, or `None` until more octets come.
    ///
    /// # Errors
    /// A bad marker, length or type (RFC 4271 section 6.1); the stream is then lost and the framer must be dropped.
    pub fn next_message(&mut self) -> Result<Option<Bytes>, ProtocolError> {
        todo!()
    }
}
