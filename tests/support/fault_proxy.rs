//! A door before the real API server at which a test can make trouble: wrong answers, delays, cut connections, silence.
//!
//! It shows the API server's own certificate and speaks HTTP/1.1 only. Watches stream through it.

use std::collections::HashMap;
use std::io::{self, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustls::ServerConfig;

use crate::api_server::ControlPlane;
use crate::clock::now;
use crate::http::{Body, Framing, Head, write_chunk};
use crate::place::Place;
use crate::tls::{TlsServerStream, TlsStream, identity, receive, secure};

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It is answered with this code, and with `Retry-After: SECONDS`; the API server never sees it.
    Answer(u16, Option<u32>),
    /// It is passed on this much later.
    Delay(Duration),
    /// It is not passed on, and the connection ends.
    Cut,
    /// It is passed on, but the connection ends before the answer.
    LoseAnswer,
    /// Nothing happens until the trouble is over.
    Silence,
}

/// Trouble for some requests.
#[derive(Clone, Debug)]
pub struct Fault {
    trouble: Trouble,
    method: Option<&'static str>,
    target: String,
    watches: Option<bool>,
    left: Option<u32>,
}

impl Fault {
    /// For all requests.
    pub fn new(trouble: Trouble) -> Self {
        Self {
            trouble,
            method: None,
            target: String::new(),
            watches: None,
            left: None,
        }
    }

    /// Only for those whose path and query contain this.
    #[must_use]
    pub fn on(mut self, target: &str) -> Self {
        target.clone_into(&mut self.target);
        self
    }

    /// Only for this method.
    #[must_use]
    pub fn method(mut self, method: &'static str) -> Self {
        self.method = Some(method);
        self
    }

    /// Only for watches (`true`), or only for others.
    #[must_use]
    pub fn watches(mut self, watches: bool) -> Self {
        self.watches = Some(watches);
        self
    }

    /// Only so many times.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.left = Some(times);
        self
    }

    fn concerns(&self, head: &Head) -> bool {
        self.left != Some(0)
            && self.method.is_none_or(|method| method == head.method())
            && head.target().contains(&self.target)
            && self
                .watches
                .is_none_or(|watches| watches == is_watch(head.target()))
    }
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Request {
    /// When.
    pub at: Instant,
    /// `GET`, `PATCH`, ...
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The code it was answered with; 0 where it was not.
    pub code: u16,
}

/// The door. Dropping it closes it and cuts what goes through it.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    place: Place,
    server: SocketAddr,
    identity: Arc<ServerConfig>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    faults: Vec<Fault>,
    requests: Vec<Request>,
    open: HashMap<usize, Open>,
    count: usize,
    closing: bool,
}

/// The two sockets of a connection, to cut it from outside.
#[derive(Debug)]
struct Open {
    sockets: Vec<TcpStream>,
    is_watch: bool,
}

impl FaultProxy {
    /// Opens it on loopback, beside the API server.
    ///
    /// # Panics
    /// When no port can be had.
    #[track_caller]
    pub fn start(plane: &ControlPlane) -> Self {
        let place = plane.place().clone();
        let listener = place
            .inside(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .expect("a port on loopback");
        let address = listener.local_addr().expect("a listener has an address");
        let pki = plane.directory().join("pki");
        let shared = Arc::new(Shared {
            place,
            server: plane.address(),
            identity: identity(&pki.join("apiserver.crt"), &pki.join("apiserver.key")),
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for connection in listener.incoming() {
                if accepting.state().closing {
                    return;
                }
                let shared = Arc::clone(&accepting);
                if let Ok(connection) = connection {
                    std::thread::spawn(move || {
                        let number = shared.enter(&connection);
                        // Its end, for whatever reason, is what the test wanted or is the client's.
                        let _ = shared.serve(connection, number);
                        shared.leave(number);
                    });
                }
            }
        });
        Self {
            address,
            shared,
            thread: Some(thread),
        }
    }

    /// Where a kubeconfig has to point to.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Makes trouble from now on.
    pub fn make(&self, fault: Fault) {
        self.shared.state().faults.push(fault);
    }

    /// Ends all trouble.
    pub fn calm(&self) {
        self.shared.state().faults.clear();
        self.shared.changed.notify_all();
    }

    /// Cuts all connections that stand.
    pub fn cut(&self) {
        self.cut_where(|_| true);
    }

    /// Cuts all connections on which a watch stands; how many there were.
    pub fn cut_watches(&self) -> usize {
        self.cut_where(|open| open.is_watch)
    }

    fn cut_where(&self, which: impl Fn(&Open) -> bool) -> usize {
        let state = self.shared.state();
        let cut = state.open.values().filter(|open| which(open));
        cut.inspect(|open| open.cut()).count()
    }

    /// How many watches stand.
    pub fn watches(&self) -> usize {
        let state = self.shared.state();
        state.open.values().filter(|open| open.is_watch).count()
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.state().requests.clone()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.state().closing = true;
        self.calm();
        self.cut();
        // Its own connection wakes the listener.
        let _ = self
            .shared
            .place
            .inside(|| TcpStream::connect_timeout(&self.address, Duration::from_secs(1)));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Open {
    fn cut(&self) {
        for socket in &self.sockets {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, connection: &TcpStream) -> usize {
        let mut state = self.state();
        state.count += 1;
        let number = state.count;
        let sockets = connection.try_clone().into_iter().collect();
        state.open.insert(
            number,
            Open {
                sockets,
                is_watch: false,
            },
        );
        number
    }

    fn leave(&self, number: usize) {
        if let Some(open) = self.state().open.remove(&number) {
            open.cut();
        }
    }

    /// The requests of one connection, one after the other.
    fn serve(&self, connection: TcpStream, number: usize) -> io::Result<()> {
        connection.set_nodelay(true)?;
        let mut client = BufReader::new(receive(connection, &self.identity)?);
        let mut server = None;
        while let Some(mut head) = Head::read(&mut client)? {
            let body = Body::new(head.request_framing()).rest(&mut client)?;
            let entry = self.note(&head);
            match self.trouble(&head) {
                Some(Trouble::Answer(code, retry_after)) => {
                    self.answered(entry, code);
                    refuse(client.get_mut(), code, retry_after)?;
                    continue;
                }
                Some(Trouble::Cut) => return Ok(()),
                Some(Trouble::LoseAnswer) => {
                    let server = self.server(&mut server, number)?;
                    forward(&mut head, &body, server)?;
                    Head::read(server)?;
                    return Ok(());
                }
                Some(Trouble::Delay(_) | Trouble::Silence) | None => {}
            }
            let server = self.server(&mut server, number)?;
            forward(&mut head, &body, server)?;
            let answer = Head::read(server)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            self.answered(entry, answer.status());
            let is_watch = is_watch(head.target()) && answer.status() == 200;
            self.set_watch(number, is_watch);
            relay(&answer, head.method(), server, client.get_mut())?;
            self.set_watch(number, false);
        }
        Ok(())
    }

    fn note(&self, head: &Head) -> usize {
        let mut state = self.state();
        state.requests.push(Request {
            at: now(),
            method: head.method().to_owned(),
            target: head.target().to_owned(),
            code: 0,
        });
        state.requests.len() - 1
    }

    fn answered(&self, entry: usize, code: u16) {
        if let Some(request) = self.state().requests.get_mut(entry) {
            request.code = code;
        }
    }

    fn set_watch(&self, number: usize, is_watch: bool) {
        if let Some(open) = self.state().open.get_mut(&number) {
            open.is_watch = is_watch;
        }
    }

    /// What is to happen to this request, after the wait where it has to wait.
    fn trouble(&self, head: &Head) -> Option<Trouble> {
        let mut state = self.state();
        let begin = now();
        loop {
            let fault = state.faults.iter_mut().find(|fault| fault.concerns(head))?;
            match fault.trouble {
                Trouble::Silence => {
                    state = self
                        .changed
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner);
                }
                Trouble::Delay(delay) => {
                    let left = delay.saturating_sub(now().duration_since(begin));
                    if left.is_zero() {
                        return None;
                    }
                    state = self
                        .changed
                        .wait_timeout(state, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0;
                }
                _ => {
                    fault.left = fault.left.map(|left| left - 1);
                    return Some(fault.trouble.clone());
                }
            }
        }
    }

    /// The connection's own connection to the API server.
    fn server<'a>(
        &self,
        kept: &'a mut Option<BufReader<TlsStream>>,
        number: usize,
    ) -> io::Result<&'a mut BufReader<TlsStream>> {
        if kept.is_none() {
            let limit = Duration::from_secs(5);
            let socket = self
                .place
                .inside(|| TcpStream::connect_timeout(&self.server, limit))?;
            socket.set_nodelay(true)?;
            if let Some(open) = self.state().open.get_mut(&number) {
                open.sockets.push(socket.try_clone()?);
            }
            *kept = Some(BufReader::new(secure(socket)?));
        }
        kept.as_mut()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

fn is_watch(target: &str) -> bool {
    target.contains("watch=1") || target.contains("watch=true")
}

fn forward(head: &mut Head, body: &[u8], server: &mut BufReader<TlsStream>) -> io::Result<()> {
    head.set("Transfer-Encoding", None);
    head.set("Content-Length", Some(&body.len().to_string()));
    let mut octets = Vec::new();
    head.write(&mut octets)?;
    octets.extend_from_slice(body);
    server.get_mut().write_all(&octets)?;
    server.get_mut().flush()
}

fn relay(
    answer: &Head,
    method: &str,
    server: &mut BufReader<TlsStream>,
    client: &mut TlsServerStream,
) -> io::Result<()> {
    answer.write(client)?;
    let framing = answer.response_framing(method);
    let mut body = Body::new(framing);
    while let Some(piece) = body.piece(server)? {
        if framing == Framing::Chunked {
            write_chunk(client, &piece)?;
        } else {
            client.write_all(&piece)?;
        }
    }
    match framing {
        Framing::Chunked => client.write_all(b"0\r\n\r\n")?,
        Framing::Length(_) => {}
        Framing::UntilEnd => return Err(io::ErrorKind::ConnectionAborted.into()),
    }
    client.flush()
}

/// As the API server refuses: a `Status`.
fn refuse(client: &mut TlsServerStream, code: u16, retry_after: Option<u32>) -> io::Result<()> {
    let reason = match code {
        401 => "Unauthorized",
        403 => "Forbidden",
        410 => "Expired",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    let status = serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code,
        "message": "the lab makes trouble",
    })
    .to_string();
    let mut head = Head {
        line: format!("HTTP/1.1 {code} {reason}"),
        fields: Vec::new(),
    };
    head.set("Content-Type", Some("application/json"));
    head.set("Content-Length", Some(&status.len().to_string()));
    if let Some(seconds) = retry_after {
        head.set("Retry-After", Some(&seconds.to_string()));
    }
    head.write(client)?;
    client.write_all(status.as_bytes())?;
    client.flush()
}
