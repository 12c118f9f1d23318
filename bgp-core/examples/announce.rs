//! Announces one address to one router, with nothing but the standard library around the speaker:
//!
//! `cargo run -p bgp-core --example announce -- 192.0.2.1:179 64513 64512 192.0.2.10 203.0.113.1/32`
//! (router, its AS, our AS, our BGP Identifier, what to announce). Ends when the peer is unwanted: with Ctrl-C.

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bgp_core::attribute::Attributes;
use bgp_core::peer::ConnectionId;
use bgp_core::rib::Origination;
use bgp_core::speaker::{PeerId, PeerSettings};
use bgp_core::{Asn, Input, Output, PeerConfig, Policy, Prefix, RouterId, Speaker, SpeakerConfig};
use bytes::Bytes;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [router, peer_asn, asn, router_id, prefix] = &arguments[..] else {
        return Err("usage: announce ROUTER:PORT PEER-AS OUR-AS OUR-ID PREFIX".into());
    };
    let router: SocketAddr = router.parse()?;
    let router_id =
        RouterId::new(router_id.parse()?).ok_or("the identifier must not be 0.0.0.0")?;
    let asn = Asn(asn.parse()?);
    let mut speaker = Speaker::new(SpeakerConfig {
        asn,
        router_id,
        seed: 1,
        transit: false,
    });
    let origination = Origination {
        prefix: Prefix::new(prefix.parse()?),
        attributes: Arc::new(Attributes::default()),
        next_hop: None,
    };
    speaker.handle(now(), Input::Originate(origination));
    let settings = PeerSettings {
        session: PeerConfig::new(router.ip(), Asn(peer_asn.parse()?)),
        export: Arc::new(Policy::accept_all()),
        import: Arc::new(Policy::reject_all()),
        max_prefixes: None,
    };
    speaker.handle(now(), Input::SetPeer(PeerId(1), settings));
    run(&mut speaker, router)
}

/// The run loop: drain, wait for whatever comes first, handle exactly that.
fn run(speaker: &mut Speaker, router: SocketAddr) -> Result<(), Box<dyn Error>> {
    let mut stream: Option<(ConnectionId, TcpStream)> = None;
    loop {
        while let Some(output) = speaker.poll_output(now()) {
            let answer = match output {
                Output::Connect { connection, .. } => match TcpStream::connect(router) {
                    Ok(connected) => {
                        let (local, remote) = (connected.local_addr()?, connected.peer_addr()?);
                        stream = Some((connection, connected));
                        Some(Input::Connected {
                            connection,
                            local,
                            remote,
                        })
                    }
                    Err(error) => Some(Input::ConnectFailed {
                        connection,
                        error: error.to_string(),
                    }),
                },
                Output::Send { connection, octets } => {
                    stream
                        .as_mut()
                        .map(|(_, stream)| match stream.write_all(&octets) {
                            Ok(()) => Input::Written {
                                connection,
                                octets: octets.len(),
                            },
                            Err(error) => Input::Closed {
                                connection,
                                error: error.to_string(),
                            },
                        })
                }
                Output::Close { .. } => {
                    stream = None;
                    None
                }
                Output::Event(_, event) => {
                    println!("{event:?}");
                    None
                }
            };
            if let Some(input) = answer {
                speaker.handle(now(), input);
            }
        }
        let due = speaker
            .next_deadline()
            .unwrap_or_else(|| now() + Duration::from_secs(60));
        let wait = due
            .saturating_duration_since(now())
            .max(Duration::from_millis(1));
        let input = wait_for_input(&mut stream, wait)?;
        speaker.handle(now(), input);
    }
}

fn wait_for_input(
    stream: &mut Option<(ConnectionId, TcpStream)>,
    wait: Duration,
) -> Result<Input, Box<dyn Error>> {
    let Some((connection, socket)) = stream else {
        std::thread::park_timeout(wait);
        return Ok(Input::Tick);
    };
    let connection = *connection;
    let mut chunk = vec![0; 65_536];
    socket.set_read_timeout(Some(wait))?;
    let error = match socket.read(&mut chunk) {
        Ok(0) => "closed by peer".to_owned(),
        Ok(length) => {
            chunk.truncate(length);
            return Ok(Input::Received {
                connection,
                octets: Bytes::from(chunk),
            });
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            return Ok(Input::Tick);
        }
        Err(error) => error.to_string(),
    };
    *stream = None;
    Ok(Input::Closed { connection, error })
}

#[expect(
    clippy::disallowed_methods,
    reason = "the example is the shell, which owns the clock"
)]
fn now() -> Instant {
    Instant::now()
}
