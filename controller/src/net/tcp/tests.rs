use tokio::net::TcpListener as PeerListener;

use super::*;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const DEADLINE: Duration = Duration::from_secs(20);

fn transport(remote: SocketAddr) -> Transport {
    Transport {
        remote,
        source: None,
        ttl: 1,
        password: None,
    }
}

fn callers(addresses: &[(&str, u8)]) -> watch::Receiver<Callers> {
    watch::channel(Arc::new(
        addresses
            .iter()
            .map(|(address, ttl)| (address.parse().unwrap(), *ttl))
            .collect(),
    ))
    .1
}

/// A connection of ours and the peer's end of it.
async fn connected(events: mpsc::Sender<Event>) -> (Connection, TcpStream) {
    let listener = PeerListener::bind((LOOPBACK, 0)).await.unwrap();
    let ours = dial(&transport(listener.local_addr().unwrap()))
        .await
        .unwrap();
    let (peer, _) = listener.accept().await.unwrap();
    (
        Connection::start(ConnectionId(7), ours.socket, events),
        peer,
    )
}

async fn within_deadline<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future)
        .await
        .expect("it did not happen in time")
}

#[tokio::test]
async fn a_dialled_connection_has_the_wanted_source_ttl_and_class() {
    let listener = PeerListener::bind((LOOPBACK, 0)).await.unwrap();
    let remote = listener.local_addr().unwrap();
    let source = "127.0.0.21".parse().unwrap();
    let stream = dial(&Transport {
        source: Some(source),
        ttl: 3,
        ..transport(remote)
    })
    .await
    .unwrap();
    assert_eq!(stream.local.ip(), source);
    assert_eq!(stream.remote, remote);
    let socket = socket2::SockRef::from(&stream.socket);
    assert_eq!(socket.ttl_v4().unwrap(), 3);
    assert_eq!(socket.tos_v4().unwrap(), 0xC0);
    assert!(socket.tcp_nodelay().unwrap());
}

#[tokio::test]
async fn a_refused_dial_says_who_refused_in_one_line() {
    let listener = PeerListener::bind((LOOPBACK, 0)).await.unwrap();
    let remote = listener.local_addr().unwrap();
    drop(listener);
    assert_eq!(
        dial(&transport(remote)).await.unwrap_err(),
        format!("connecting to {remote}: Connection refused")
    );
}

#[tokio::test]
async fn a_known_neighbour_is_accepted_with_its_ttl_and_a_stranger_is_closed() {
    let (events, mut received) = mpsc::channel(4);
    let listeners =
        Listeners::open(Some(LOOPBACK), 0, &callers(&[("127.0.0.2", 5)]), &events).unwrap();
    let ours = listeners.addresses()[0];
    let from = |source: &str| {
        let transport = Transport {
            source: Some(source.parse().unwrap()),
            ..transport(ours)
        };
        async move { dial(&transport).await.unwrap() }
    };
    let mut stranger = from("127.0.0.3").await;
    let end = within_deadline(stranger.socket.read_u8()).await;
    assert!(end.is_err(), "a stranger is closed without a word");
    let _known = from("127.0.0.2").await;
    let Some(Event::Accepted(stream)) = within_deadline(received.recv()).await else {
        panic!("not accepted")
    };
    assert_eq!(stream.remote.ip(), "127.0.0.2".parse::<IpAddr>().unwrap());
    assert_eq!(socket2::SockRef::from(&stream.socket).ttl_v4().unwrap(), 5);
}

#[tokio::test]
async fn both_families_are_listened_on_and_the_port_in_use_is_named() {
    let (events, _received) = mpsc::channel(4);
    let callers = callers(&[]);
    let first = Listeners::open(Some(LOOPBACK), 0, &callers, &events).unwrap();
    let port = first.addresses()[0].port();
    let error = Listeners::open(Some(LOOPBACK), port, &callers, &events).unwrap_err();
    assert_eq!(
        error,
        format!("listening on 127.0.0.1:{port}: Address already in use")
    );
    let both = Listeners::open(None, 0, &callers, &events).unwrap();
    assert!(both.addresses().iter().any(SocketAddr::is_ipv4));
    drop(first);
}

#[tokio::test]
async fn what_was_sent_last_arrives_although_the_peers_octets_lie_unread() {
    // Room for one event only: the reader hangs on the second chunk, the rest lies in the kernel.
    let (events, mut received) = mpsc::channel(1);
    let (mut connection, mut peer) = connected(events).await;
    let flood = vec![1; 200 * 1024];
    within_deadline(peer.write_all(&flood)).await.unwrap();
    within_deadline(async {
        while received.is_empty() {
            tokio::task::yield_now().await
        }
    })
    .await;
    assert!(connection.send(Bytes::from_static(b"the last word")));
    let closed = tokio::spawn(connection.close());
    let mut heard = vec![];
    within_deadline(peer.read_to_end(&mut heard))
        .await
        .expect("no reset overtakes it");
    assert_eq!(heard, b"the last word");
    drop(peer);
    within_deadline(closed).await.unwrap();
    received.close();
}

#[tokio::test]
async fn closing_takes_a_known_time_even_if_the_peer_neither_reads_nor_closes() {
    let (events, _received) = mpsc::channel(1);
    let (mut connection, _peer) = connected(events).await;
    let _ = connection.send(Bytes::from(vec![0; 64 * 1024 * 1024]));
    timeout(CLOSE_LIMIT * 3, connection.close())
        .await
        .expect("closing takes too long");
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_given_up_at_a_stated_limit() {
    let (events, mut received) = mpsc::channel(64);
    let (mut connection, _peer) = connected(events).await;
    let chunk = Bytes::from(vec![0; 64 * 1024]);
    let mut waiting = 0;
    let given_up = within_deadline(async {
        loop {
            if !connection.send(chunk.clone()) {
                break true;
            }
            waiting += chunk.len();
            while let Ok(event) = received.try_recv() {
                if let Event::Written { octets, .. } = event {
                    connection.written(octets);
                    waiting -= octets;
                }
            }
            assert!(waiting <= QUEUE_LIMIT, "more is queued than is allowed");
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(given_up);
    connection.abandon();
}

#[tokio::test]
async fn a_flooding_peer_is_slowed_by_its_own_window() {
    let (events, mut received) = mpsc::channel(2);
    let (connection, peer) = connected(events).await;
    let chunk = vec![0; 64 * 1024];
    let mut taken = 0;
    // The kernel's buffers and three chunks fill; after that nothing is taken any more.
    loop {
        match timeout(Duration::from_millis(500), peer.writable()).await {
            Ok(_) => match peer.try_write(&chunk) {
                Ok(octets) => taken += octets,
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            },
            Err(_) => break,
        }
        assert!(taken < 256 * 1024 * 1024, "nothing slows the peer down");
    }
    let Some(Event::Received { octets, .. }) = received.recv().await else {
        panic!("no octets")
    };
    assert!(octets.len() <= CHUNK);
    let taken_on = async { while received.recv().await.is_some() {} };
    within_deadline(async {
        tokio::select! {
            () = taken_on => panic!("the connection ended"),
            writable = peer.writable() => writable.unwrap(),
        }
    })
    .await;
    connection.abandon();
}

#[tokio::test]
async fn what_the_peer_said_before_it_closed_is_delivered_before_the_end() {
    let (events, mut received) = mpsc::channel(4);
    let (_connection, mut peer) = connected(events).await;
    peer.write_all(b"goodbye").await.unwrap();
    drop(peer);
    let Some(Event::Received { octets, .. }) = within_deadline(received.recv()).await else {
        panic!("no octets")
    };
    assert_eq!(&octets[..], b"goodbye");
    let Some(Event::Closed { error, .. }) = within_deadline(received.recv()).await else {
        panic!("no end")
    };
    assert_eq!(error, "closed by peer");
}

#[tokio::test]
async fn only_who_knows_the_password_gets_through() {
    let password = |text: &str| Some(Password(text.as_bytes().to_vec()));
    let (events, mut received) = mpsc::channel(4);
    let neighbour: IpAddr = "127.0.0.4".parse().unwrap();
    let listeners =
        Listeners::open(Some(LOOPBACK), 0, &callers(&[("127.0.0.4", 64)]), &events).unwrap();
    if let Err(error) = listeners.set_password(neighbour, password("secret").as_ref()) {
        assert!(error.contains("no TCP MD5"), "{error}");
        eprintln!("skipped: {error}");
        return;
    }
    let from = Transport {
        source: Some(neighbour),
        ttl: 64,
        ..transport(listeners.addresses()[0])
    };
    let wrong = Transport {
        password: password("other"),
        ..from.clone()
    };
    assert!(
        timeout(Duration::from_millis(300), dial(&wrong))
            .await
            .is_err(),
        "a wrong password gets no answer"
    );
    assert!(
        timeout(Duration::from_millis(300), dial(&from))
            .await
            .is_err(),
        "no password gets no answer"
    );
    let right = Transport {
        password: password("secret"),
        ..from
    };
    within_deadline(dial(&right)).await.unwrap();
    assert!(matches!(
        within_deadline(received.recv()).await,
        Some(Event::Accepted(_))
    ));
    listeners.set_password(neighbour, None).unwrap();
    listeners
        .set_password(neighbour, None)
        .expect("removing what is not there is no error");
}

#[tokio::test]
async fn a_password_that_no_kernel_takes_is_refused_in_words() {
    let (events, _received) = mpsc::channel(4);
    let listeners = Listeners::open(Some(LOOPBACK), 0, &callers(&[]), &events).unwrap();
    let error = listeners
        .set_password(LOOPBACK, Some(&Password(vec![b'x'; 81])))
        .unwrap_err();
    assert!(
        error.contains("1 to 80 octets") && !error.contains("xxx"),
        "{error}"
    );
}

#[tokio::test]
async fn what_was_sent_from_further_away_than_allowed_is_not_heard() {
    let listener = PeerListener::bind((LOOPBACK, 0)).await.unwrap();
    let remote = listener.local_addr().unwrap();
    let mut near = dial(&Transport {
        ttl: 255,
        ..transport(remote)
    })
    .await
    .unwrap();
    let (mut accepted, _) = listener.accept().await.unwrap();
    socket_options::least_ttl(&accepted, LOOPBACK, 255).unwrap();
    near.socket.write_all(b"x").await.unwrap();
    assert_eq!(within_deadline(accepted.read_u8()).await.unwrap(), b'x');
    socket_options::ttl(&near.socket, LOOPBACK, 254).unwrap();
    near.socket.write_all(b"y").await.unwrap();
    let silence = timeout(Duration::from_millis(300), accepted.read_u8()).await;
    assert!(silence.is_err(), "it was sent from two hops away");
}
