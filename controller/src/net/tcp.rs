//! TCP for BGP: dialling, listening, and one connection's reader and writer. Octets in, octets out; no messages.
//!
//! Memory is bounded: a reader holds one chunk and waits until the driver takes it, so that a peer which floods us is
//! slowed down by its own TCP window; what may be queued towards a peer is [`QUEUE_LIMIT`].

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bgp_core::peer::ConnectionId;
use bytes::{Bytes, BytesMut};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::socket_options;
use crate::cluster::Password;

/// Octets that may wait for a peer which does not read. The speaker holds back UPDATEs long before; what is above it are
/// keepalives and answers, so whoever gets here is given up.
pub const QUEUE_LIMIT: usize = 1024 * 1024;
/// How long a dial may take. The kernel alone would try for two minutes, with gaps of up to one.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// How long a closing connection may take to send what was queued and to see the peer's end. It is there so that a
/// NOTIFICATION arrives: closing while octets of the peer lie unread makes the kernel send a reset that overtakes it.
pub const CLOSE_LIMIT: Duration = Duration::from_millis(800);
/// Largest chunk that a reader hands over.
const CHUNK: usize = 64 * 1024;
/// Rest of a read buffer below which a fresh one is made.
const CHUNK_LEAST: usize = 4096;
/// Connections that the kernel may hold for us before we take them.
const BACKLOG: i32 = 128;
/// Refused addresses that a listener remembers, to log each once.
const STRANGERS: usize = 16;
/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What happens on the sockets of an instance.
#[derive(Debug)]
pub enum Event {
    /// A dial ended.
    Dialled {
        /// As it was asked for.
        connection: ConnectionId,
        /// The connection, or why there is none.
        result: Result<Stream, String>,
    },
    /// A known neighbour called.
    Accepted(Stream),
    /// Octets came.
    Received {
        /// On this connection.
        connection: ConnectionId,
        /// At least one.
        octets: Bytes,
    },
    /// The kernel took octets.
    Written {
        /// On this connection.
        connection: ConnectionId,
        /// How many.
        octets: usize,
    },
    /// The connection is gone.
    Closed {
        /// This one.
        connection: ConnectionId,
        /// Why.
        error: String,
    },
}

/// A connected socket and both its ends.
#[derive(Debug)]
pub struct Stream {
    /// The socket.
    pub socket: TcpStream,
    /// Our end.
    pub local: SocketAddr,
    /// Their end.
    pub remote: SocketAddr,
}

/// How a neighbour is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transport {
    /// Address and port to dial.
    pub remote: SocketAddr,
    /// Source address; the kernel chooses where there is none.
    pub source: Option<IpAddr>,
    /// TTL of what we send.
    pub ttl: u8,
    /// TCP MD5.
    pub password: Option<Password>,
}

/// Connects to a neighbour.
///
/// # Errors
/// What failed, in one line.
pub async fn dial(transport: &Transport) -> Result<Stream, String> {
    let what = || match transport.source {
        Some(source) => format!("connecting to {} from {source}", transport.remote),
        None => format!("connecting to {}", transport.remote),
    };
    let connect = async {
        let socket = dialling_socket(transport)?;
        let socket = socket.connect(transport.remote).await?;
        Ok::<_, io::Error>(Stream {
            local: socket.local_addr()?,
            remote: socket.peer_addr()?,
            socket,
        })
    };
    match timeout(CONNECT_LIMIT, connect).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(format!("{}: {}", what(), plain(&error))),
        Err(_) => Err(format!(
            "{}: no answer within {} s{}",
            what(),
            CONNECT_LIMIT.as_secs(),
            if transport.password.is_some() {
                " (a TCP MD5 password that differs looks like this)"
            } else {
                ""
            }
        )),
    }
}

fn dialling_socket(transport: &Transport) -> io::Result<TcpSocket> {
    let neighbour = transport.remote.ip();
    let socket = Socket::new(
        Domain::for_address(transport.remote),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    socket_options::common(&socket, neighbour)?;
    socket_options::ttl(&socket, neighbour, transport.ttl)?;
    if let Some(password) = &transport.password {
        socket_options::md5(&socket, neighbour, Some(password))?;
    }
    if let Some(source) = transport.source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    Ok(TcpSocket::from_std_stream(socket.into()))
}

/// Who may call, and the TTL of what we send to them.
pub type Callers = Arc<BTreeMap<IpAddr, u8>>;

/// The listening sockets of an instance. Dropping it closes them.
#[derive(Debug)]
pub struct Listeners {
    sockets: Vec<Arc<TcpListener>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for Listeners {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Listeners {
    /// Listens on `address`, or on every address of both families; whoever is not among `callers` is closed at once.
    ///
    /// # Errors
    /// What failed, in one line.
    pub fn open(
        address: Option<IpAddr>,
        port: u16,
        callers: &watch::Receiver<Callers>,
        events: &mpsc::Sender<Event>,
    ) -> Result<Self, String> {
        let wanted = match address {
            Some(address) => vec![address],
            None => vec![
                IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            ],
        };
        let mut sockets = vec![];
        for address in wanted {
            let address = SocketAddr::new(address, port);
            match listening_socket(address) {
                Ok(socket) => sockets.push(Arc::new(socket)),
                // A machine without IPv6 is served all the same.
                Err(error)
                    if address.is_ipv6() && !sockets.is_empty() && no_such_family(&error) =>
                {
                    debug!(%address, "not listening: {}", plain(&error));
                }
                Err(error) => return Err(format!("listening on {address}: {}", plain(&error))),
            }
        }
        let tasks = sockets
            .iter()
            .map(|socket| tokio::spawn(accept(Arc::clone(socket), callers.clone(), events.clone())))
            .collect();
        Ok(Self { sockets, tasks })
    }

    /// Sets, changes or removes the TCP MD5 password that calls of a neighbour must carry.
    ///
    /// # Errors
    /// What failed, in one line.
    pub fn set_password(
        &self,
        neighbour: IpAddr,
        password: Option<&Password>,
    ) -> Result<(), String> {
        for socket in &self.sockets {
            if socket
                .local_addr()
                .is_ok_and(|local| local.is_ipv4() == neighbour.is_ipv4())
            {
                socket_options::md5(socket, neighbour, password).map_err(|error| {
                    format!(
                        "setting the TCP MD5 password of {neighbour}: {}",
                        plain(&error)
                    )
                })?;
            }
        }
        Ok(())
    }

    /// Where we listen.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets
            .iter()
            .filter_map(|socket| socket.local_addr().ok())
            .collect()
    }
}

fn no_such_family(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL | libc::EPROTONOSUPPORT)
    )
}

fn listening_socket(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket_options::common(&socket, address.ip())?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Takes calls one after the other; the full event channel of a busy driver makes further ones wait in the kernel.
async fn accept(
    listener: Arc<TcpListener>,
    callers: watch::Receiver<Callers>,
    events: mpsc::Sender<Event>,
) {
    let mut strangers = BTreeSet::new();
    loop {
        let (socket, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS)
                ) =>
            {
                warn!("accepting a connection: {}", plain(&error));
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
            // Errors of the connection that was about to be accepted (accept(2)).
            Err(_) => continue,
        };
        let Some(ttl) = callers.borrow().get(&remote.ip()).copied() else {
            // Each stranger is worth one line, and no more memory than that of a few.
            if strangers.len() < STRANGERS && strangers.insert(remote.ip()) {
                info!(%remote, "connection refused: no peer is configured with this address");
            }
            continue;
        };
        let prepared = socket_options::common(&socket, remote.ip())
            .and_then(|()| socket_options::ttl(&socket, remote.ip(), ttl))
            .and_then(|()| socket.local_addr());
        let Ok(local) = prepared else { continue };
        if events
            .send(Event::Accepted(Stream {
                socket,
                local,
                remote,
            }))
            .await
            .is_err()
        {
            return;
        }
    }
}

/// A running connection, seen from the driver. It ends by [`close`](Self::close) or [`abandon`](Self::abandon).
#[derive(Debug)]
pub struct Connection {
    queue: mpsc::UnboundedSender<Bytes>,
    queued: usize,
    closing: CancellationToken,
    reader: tokio::task::JoinHandle<()>,
    writer: tokio::task::JoinHandle<()>,
}

impl Connection {
    /// Starts reader and writer.
    pub fn start(connection: ConnectionId, socket: TcpStream, events: mpsc::Sender<Event>) -> Self {
        let (read_half, write_half) = socket.into_split();
        let (queue, queued) = mpsc::unbounded_channel();
        let closing = CancellationToken::new();
        let reader = tokio::spawn(read(connection, read_half, events.clone(), closing.clone()));
        let writer = tokio::spawn(write(
            connection,
            write_half,
            queued,
            events,
            closing.clone(),
        ));
        Self {
            queue,
            queued: 0,
            closing,
            reader,
            writer,
        }
    }

    /// Queues octets. `false`: more than [`QUEUE_LIMIT`] are waiting; the peer does not read and must be given up.
    #[must_use]
    pub fn send(&mut self, octets: Bytes) -> bool {
        self.queued += octets.len();
        // A writer that is gone had an error; the reader reports it.
        let _ = self.queue.send(octets);
        self.queued <= QUEUE_LIMIT
    }

    /// The writer reported octets as written.
    pub fn written(&mut self, octets: usize) {
        self.queued = self.queued.saturating_sub(octets);
    }

    /// Ends it at once, whatever is queued: the other side is gone, or does not read.
    pub fn abandon(self) {
        self.reader.abort();
        self.writer.abort();
    }

    /// Sends what is queued, then closes; reads and drops what still comes, so that nothing is lost on the way out.
    /// Reports no further event. The future ends within [`CLOSE_LIMIT`].
    pub fn close(self) -> impl Future<Output = ()> + Send + 'static {
        let Self {
            queue,
            closing,
            reader,
            writer,
            ..
        } = self;
        closing.cancel();
        drop(queue);
        async move {
            let both = async { tokio::join!(reader, writer) };
            let _ = timeout(CLOSE_LIMIT * 2, both).await;
        }
    }
}

/// Reads chunks and hands them over, each only once the one before was taken; when closing, reads and drops.
async fn read(
    connection: ConnectionId,
    mut socket: OwnedReadHalf,
    events: mpsc::Sender<Event>,
    closing: CancellationToken,
) {
    let error = tokio::select! {
        biased;
        () = closing.cancelled() => None,
        error = deliver(connection, &socket, &events) => Some(error),
    };
    match error {
        Some(error) => {
            let _ = events.send(Event::Closed { connection, error }).await;
        }
        None => {
            let mut sink = vec![0; CHUNK_LEAST];
            let drain =
                async { while socket.read(&mut sink).await.is_ok_and(|octets| octets > 0) {} };
            let _ = timeout(CLOSE_LIMIT, drain).await;
        }
    }
}

/// Until the connection ends; returns why.
async fn deliver(
    connection: ConnectionId,
    socket: &OwnedReadHalf,
    events: &mpsc::Sender<Event>,
) -> String {
    let mut buffer = BytesMut::new();
    loop {
        if let Err(error) = socket.readable().await {
            return plain(&error);
        }
        if buffer.capacity() < CHUNK_LEAST {
            buffer.reserve(CHUNK);
        }
        match socket.try_read_buf(&mut buffer) {
            Ok(0) => return "closed by peer".to_owned(),
            Ok(_) => {
                let octets = buffer.split().freeze();
                if events
                    .send(Event::Received { connection, octets })
                    .await
                    .is_err()
                {
                    return "stopping".to_owned();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return plain(&error),
        }
    }
}

/// Writes what is queued. An error ends it silently: the reader sees it as well, and what the peer said before it went
/// (its NOTIFICATION) must be read first.
async fn write(
    connection: ConnectionId,
    mut socket: OwnedWriteHalf,
    mut queue: mpsc::UnboundedReceiver<Bytes>,
    events: mpsc::Sender<Event>,
    closing: CancellationToken,
) {
    let write_all = async {
        while let Some(mut octets) = queue.recv().await {
            while !octets.is_empty() {
                let Ok(written) = socket.write(&octets).await else {
                    return;
                };
                let _ = octets.split_to(written);
                if !closing.is_cancelled()
                    && events
                        .send(Event::Written {
                            connection,
                            octets: written,
                        })
                        .await
                        .is_err()
                {
                    return;
                }
            }
        }
    };
    tokio::select! {
        () = write_all => {}
        () = async { closing.cancelled().await; sleep(CLOSE_LIMIT).await } => {}
    }
    let _ = socket.shutdown().await;
}

/// The system's words without the error number.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests;
