//! A client that asks an address again and again and remembers each answer.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::clock::{now, poll};
use crate::lab::Host;

const LIMIT: Duration = Duration::from_secs(1);

/// One request: when it began, and the body, or why there is none.
pub type Visit = (Instant, Result<String, String>);

/// Asks `GET /` at a fixed pace until it is dropped or stopped.
#[derive(Debug)]
pub struct Visitor {
    visits: Arc<Mutex<Vec<Visit>>>,
    /// Held during each request.
    turn: Arc<Mutex<()>>,
    leaving: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Visitor {
    /// From `host` to port 80 of `address`, one request each `pace`, each on a connection of its own.
    #[track_caller]
    pub fn start(host: &Host, address: IpAddr, pace: Duration) -> Self {
        let visits = Arc::new(Mutex::new(Vec::new()));
        let turn = Arc::new(Mutex::new(()));
        let leaving = Arc::new(AtomicBool::new(false));
        let (seen, leave, entry) = (Arc::clone(&visits), Arc::clone(&leaving), host.entry());
        let own_turn = Arc::clone(&turn);
        let thread = std::thread::spawn(move || {
            entry.enter();
            let mut next = now();
            while !leave.load(Ordering::Relaxed) {
                let held = own_turn.lock().unwrap_or_else(PoisonError::into_inner);
                let begin = now();
                let answer = ask(address);
                drop(held);
                seen.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((begin, answer));
                next += pace;
                let _: Result<(), ()> = poll(next.saturating_duration_since(now()), || Err(()));
            }
        });
        Self {
            visits,
            turn,
            leaving,
            thread: Some(thread),
        }
    }

    /// Does something while no request is open. A router that gains or loses one of several ways spreads its connections
    /// anew, and one that is open at that very moment may go on at a node that does not know it, which resets it.
    pub fn between_requests<T>(&self, action: impl FnOnce() -> T) -> T {
        let _held = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        action()
    }

    /// How many requests there were so far.
    pub fn count(&self) -> usize {
        self.visits
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Ends it and returns all that it saw.
    pub fn stop(mut self) -> Vec<Visit> {
        self.end();
        std::mem::take(&mut self.visits.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn end(&mut self) {
        self.leaving.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        self.end();
    }
}

/// `GET http://ADDRESS/` from the namespace of this thread.
pub(crate) fn ask(address: IpAddr) -> Result<String, String> {
    let fetch = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::new(address, 80), LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut response = String::new();
        stream.read_to_string(&mut response)?;
        Ok(response)
    };
    let response = fetch().map_err(|error| error.to_string())?;
    match response.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
        _ => Err(format!("no answer but {response:?}")),
    }
}
