//! Heartbeats from the leader to whoever connects, so that its end is noticed without asking the API server.
//!
//! What is heard here is a hint: safety rests on the Lease alone. So there is no secret, and whoever connects learns the
//! leader's name and that it leads, which the Lease says too. Nothing that a peer sends is read.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::Uri;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream, UdpSocket, lookup_host};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::warn;

use super::Leadership;

/// How often the leader says that it leads.
const HEARTBEAT: Duration = Duration::from_millis(300);
/// What it says.
const BEAT: u8 = b'.';
/// How many may listen. Every node does, once.
const MOST_LISTENERS: usize = 1_024;
/// The longest greeting: an identity is a node name (253 octets) and a number.
const MOST_GREETING: u64 = 300;
/// How often the address is looked up that others reach us under, and how often while there is none.
const ADDRESS_CHECK: Duration = Duration::from_secs(30);
const ADDRESS_RETRY: Duration = Duration::from_secs(2);
/// A connection that neither takes nor gives anything for so long is given up.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a follower hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The leader leads.
    Heartbeat,
    /// The connection ended, could not be made, or is with somebody else.
    Lost,
}

/// A task that ends with this value.
pub(super) struct Running(JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sends heartbeats to whoever connects while `leadership` is valid. The receiver tells where to connect, once it is
/// known and when it changes.
pub(super) fn listen(
    api_server: Uri,
    identity: String,
    leadership: watch::Receiver<Leadership>,
) -> (watch::Receiver<String>, Running) {
    let (told, reachable) = watch::channel(String::new());
    let task = tokio::spawn(async move {
        let greeting: Arc<str> = format!("{identity}\n").into();
        let mut listening: Option<(IpAddr, Running)> = None;
        let mut complained = false;
        loop {
            match try_listen(&api_server, &greeting, &leadership, &mut listening).await {
                Ok(Some(local)) => told.send_modify(|target| *target = local.to_string()),
                Ok(None) => {}
                Err(error) if !complained => {
                    complained = true;
                    warn!(
                        "cannot listen for those who follow us: {error}; tried again; a crash is noticed late until then"
                    );
                }
                Err(_) => {}
            }
            let pause = if listening.is_some() {
                ADDRESS_CHECK
            } else {
                ADDRESS_RETRY
            };
            tokio::time::sleep(pause).await;
        }
    });
    (reachable, Running(task))
}

/// Listens on the address that others reach us under, if that is not done yet.
async fn try_listen(
    api_server: &Uri,
    greeting: &Arc<str>,
    leadership: &watch::Receiver<Leadership>,
    listening: &mut Option<(IpAddr, Running)>,
) -> io::Result<Option<SocketAddr>> {
    let address = local_address(api_server).await?;
    if matches!(listening, Some((old, _)) if *old == address) {
        return Ok(None);
    }
    let listener = TcpListener::bind((address, 0)).await?;
    let local = listener.local_addr()?;
    let accepting = tokio::spawn(accept(listener, Arc::clone(greeting), leadership.clone()));
    *listening = Some((address, Running(accepting)));
    Ok(Some(local))
}

/// The address that others reach this machine under: the one it has towards the API server, as they do. Sends nothing.
async fn local_address(api_server: &Uri) -> io::Result<IpAddr> {
    let host = api_server.host().unwrap_or("").trim_matches(['[', ']']);
    let port = api_server.port_u16().unwrap_or(443);
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
    for remote in lookup_host((host, port)).await? {
        let any = match remote {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let found = async {
            let socket = UdpSocket::bind(any).await?;
            socket.connect(remote).await?;
            socket.local_addr()
        };
        match found.await {
            Ok(local) => return Ok(local.ip()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn accept(
    listener: TcpListener,
    greeting: Arc<str>,
    leadership: watch::Receiver<Leadership>,
) {
    let places = Arc::new(Semaphore::new(MOST_LISTENERS));
    loop {
        // Out of file descriptors, or a connection that ended before it was taken: neither lasts.
        let Ok((connection, _)) = listener.accept().await else {
            tokio::time::sleep(HEARTBEAT).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let (greeting, leadership) = (Arc::clone(&greeting), leadership.clone());
        tokio::spawn(async move {
            // However it ends, the other side notices by itself.
            let _ended = beat(connection, &greeting, leadership).await;
            drop(place);
        });
    }
}

async fn beat(
    mut connection: TcpStream,
    greeting: &str,
    mut leadership: watch::Receiver<Leadership>,
) -> io::Result<()> {
    connection.set_nodelay(true)?;
    send(&mut connection, greeting.as_bytes()).await?;
    loop {
        let current = leadership.borrow_and_update().clone();
        if current.lead.is_none() {
            return Ok(());
        }
        // A leader that may not write is silent: its followers are to wonder.
        if current.may_write(now()) {
            send(&mut connection, &[BEAT]).await?;
        }
        if let Ok(Err(_)) = timeout(HEARTBEAT, leadership.changed()).await {
            return Ok(());
        }
    }
}

async fn send(connection: &mut TcpStream, octets: &[u8]) -> io::Result<()> {
    timeout(PATIENCE, connection.write_all(octets)).await?
}

/// Listens to `holder`, said to be at `target`. The last thing heard is [`Heard::Lost`].
pub(super) fn follow(holder: String, target: String) -> (mpsc::Receiver<Heard>, Running) {
    let (sender, receiver) = mpsc::channel(4);
    let task = tokio::spawn(async move {
        let _ended = hear(&holder, &target, &sender).await;
        // Fails when nobody wants to know any more.
        let _told = sender.send(Heard::Lost).await;
    });
    (receiver, Running(task))
}

async fn hear(holder: &str, target: &str, sender: &mpsc::Sender<Heard>) -> io::Result<()> {
    let target: SocketAddr = target.parse().map_err(io::Error::other)?;
    let mut connection =
        BufReader::with_capacity(512, timeout(PATIENCE, TcpStream::connect(target)).await??);
    let mut greeting = String::new();
    timeout(
        PATIENCE,
        (&mut connection)
            .take(MOST_GREETING)
            .read_line(&mut greeting),
    )
    .await??;
    if greeting.strip_suffix('\n') != Some(holder) {
        return Err(io::Error::other("somebody else answers"));
    }
    let mut octets = [0; 64];
    loop {
        let count = timeout(PATIENCE, connection.read(&mut octets)).await??;
        let beats = &octets[..count];
        if beats.is_empty() || beats.iter().any(|octet| *octet != BEAT) {
            return Err(io::Error::other("these are no heartbeats"));
        }
        if sender.send(Heard::Heartbeat).await.is_err() {
            return Ok(());
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a heartbeat says that leadership is valid now"
)]
fn now() -> Instant {
    Instant::now()
}
