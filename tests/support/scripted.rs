//! A BGP peer that does exactly what a test says, right or wrong. Its few encoders are its own, so that a mistake in Fairway's
//! codec cannot hide itself.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::clock::{eventually, now};
use crate::lab::Host;

/// Message types.
pub mod kind {
    /// OPEN
    pub const OPEN: u8 = 1;
    /// UPDATE
    pub const UPDATE: u8 = 2;
    /// NOTIFICATION
    pub const NOTIFICATION: u8 = 3;
    /// KEEPALIVE
    pub const KEEPALIVE: u8 = 4;
}

/// A listening peer.
#[derive(Debug)]
pub struct ScriptedPeer {
    listener: TcpListener,
}

impl ScriptedPeer {
    /// Listens on `address` in the host's namespace.
    ///
    /// # Panics
    /// When it cannot.
    #[track_caller]
    pub fn listen(host: &Host, address: IpAddr, port: u16) -> Self {
        let listener = host
            .inside(|| TcpListener::bind((address, port)))
            .expect("the address is the host's own");
        listener
            .set_nonblocking(true)
            .expect("a socket can be non-blocking");
        Self { listener }
    }

    /// Gives its connections hardly any room for what it has not read yet.
    ///
    /// # Panics
    /// When the kernel refuses.
    #[track_caller]
    pub fn with_little_room(self) -> Self {
        rustix::net::sockopt::set_socket_recv_buffer_size(&self.listener, 4096)
            .expect("a socket's buffer can be sized");
        self
    }

    /// The next connection.
    ///
    /// # Panics
    /// When none comes in time.
    #[track_caller]
    pub fn accept(&self, limit: Duration) -> Connection {
        let (stream, from) = eventually("a connection comes in", limit, || self.listener.accept());
        Connection::of(stream, from)
    }

    /// The next connection, if one is waiting.
    pub fn try_accept(&self) -> Option<Connection> {
        self.listener
            .accept()
            .ok()
            .map(|(stream, from)| Connection::of(stream, from))
    }
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    /// Who connected.
    pub from: SocketAddr,
}

/// One message as it came: type and body, and when it was complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Type octet.
    pub kind: u8,
    /// What follows the header.
    pub body: Vec<u8>,
    /// When its last octet had been read.
    pub at: Instant,
}

impl Connection {
    /// Connects from a host.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn dial(host: &Host, to: SocketAddr) -> std::io::Result<Self> {
        host.inside(|| TcpStream::connect_timeout(&to, Duration::from_secs(2)))
            .map(|stream| Self::of(stream, to))
    }

    fn of(stream: TcpStream, from: SocketAddr) -> Self {
        stream
            .set_nonblocking(false)
            .expect("a socket can be blocking");
        stream
            .set_write_timeout(Some(Duration::from_secs(2)))
            .expect("a time-out above zero");
        Self {
            stream,
            received: Vec::new(),
            from,
        }
    }

    /// Sends octets as they are.
    ///
    /// # Errors
    /// As the kernel says: the other side may have hung up.
    pub fn send(&mut self, octets: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(octets)
    }

    /// The next message; `None` when the connection ended first, or nothing complete came in time.
    pub fn receive(&mut self, limit: Duration) -> Option<Message> {
        let end = now() + limit;
        loop {
            if let Some(message) = self.take_message() {
                return Some(message);
            }
            let left = end
                .checked_duration_since(now())
                .filter(|left| !left.is_zero())?;
            self.stream.set_read_timeout(Some(left)).ok()?;
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(length) => self.received.extend_from_slice(&chunk[..length]),
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted) => {}
                Err(_) => return None,
            }
        }
    }

    /// The next message of this type, others are passed over.
    ///
    /// # Panics
    /// When none comes in time.
    #[track_caller]
    pub fn expect(&mut self, wanted: u8, limit: Duration) -> Message {
        let end = now() + limit;
        let mut others = Vec::new();
        while let Some(left) = end.checked_duration_since(now()) {
            match self.receive(left) {
                Some(message) if message.kind == wanted => return message,
                Some(message) => others.push((message.kind, message.body)),
                None => break,
            }
        }
        panic!("no message of type {wanted} within {limit:?}; instead: {others:?}");
    }

    /// Whether the other side ends the connection in time; what it still says is read and dropped.
    pub fn is_ended(&mut self, limit: Duration) -> bool {
        let end = now() + limit;
        loop {
            let Some(left) = end
                .checked_duration_since(now())
                .filter(|left| !left.is_zero())
            else {
                return false;
            };
            if self.stream.set_read_timeout(Some(left)).is_err() {
                return true;
            }
            match self.stream.read(&mut [0; 4096]) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(_) => return true,
            }
        }
    }

    /// OPEN and KEEPALIVE both ways: Established afterwards.
    ///
    /// # Panics
    /// When the other side does not play along.
    #[track_caller]
    pub fn establish(&mut self, open: &[u8]) {
        const LIMIT: Duration = Duration::from_secs(5);
        self.expect(kind::OPEN, LIMIT);
        self.send(open).expect("the OPEN goes out");
        self.send(&keepalive()).expect("the KEEPALIVE goes out");
        self.expect(kind::KEEPALIVE, LIMIT);
    }

    fn take_message(&mut self) -> Option<Message> {
        let header = self.received.get(..19)?;
        let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
        assert!(
            header[..16] == [0xff; 16] && length >= 19,
            "the other side sent no BGP: {header:02x?}"
        );
        let kind = header[18];
        let body = self.received.get(19..length)?.to_vec();
        self.received.drain(..length);
        Some(Message {
            kind,
            body,
            at: now(),
        })
    }
}

/// A whole message of any type.
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(19 + body.len()).expect("a message fits its length field");
    [&[0xff; 16][..], &length.to_be_bytes(), &[kind], body].concat()
}

/// KEEPALIVE.
pub fn keepalive() -> Vec<u8> {
    message(kind::KEEPALIVE, &[])
}

/// OPEN with multiprotocol IPv4 unicast and four-octet AS.
pub fn open(asn: u32, hold_time: u16, router_id: Ipv4Addr) -> Vec<u8> {
    const AS_TRANS: u16 = 23_456;
    let capabilities = [&[1, 4, 0, 1, 0, 1, 65, 4][..], &asn.to_be_bytes()].concat();
    let length = u8::try_from(capabilities.len()).expect("a few octets");
    let short = u16::try_from(asn).unwrap_or(AS_TRANS);
    let fixed = [
        &[4][..],
        &short.to_be_bytes(),
        &hold_time.to_be_bytes(),
        &router_id.octets(),
        &[length + 2, 2, length],
    ]
    .concat();
    message(kind::OPEN, &[fixed, capabilities].concat())
}

/// The IPv4 prefixes that an UPDATE announces and withdraws in its classic fields.
///
/// # Panics
/// When it is malformed.
pub fn ipv4_routes(update: &Message) -> (Vec<String>, Vec<String>) {
    let (withdrawn, rest) = counted(&update.body);
    let (_, announced) = counted(rest);
    (prefixes(announced), prefixes(withdrawn))
}

fn counted(octets: &[u8]) -> (&[u8], &[u8]) {
    let (length, rest) = octets.split_at(2);
    rest.split_at(usize::from(u16::from_be_bytes([length[0], length[1]])))
}

fn prefixes(mut octets: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    while let Some((&length, rest)) = octets.split_first() {
        let (prefix, rest) = rest.split_at(usize::from(length).div_ceil(8));
        let mut address = [0; 4];
        address[..prefix.len()].copy_from_slice(prefix);
        found.push(format!("{}/{length}", Ipv4Addr::from(address)));
        octets = rest;
    }
    found
}
