use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bgp_core::attribute::Attributes;
use bgp_core::capability::Capability;
use bgp_core::fsm::StateName;
use bgp_core::message::{Framer, Message, Open, Update, WireContext};
use bgp_core::rib::{Origination, Policy};
use bgp_core::types::Reason;
use bgp_core::{Asn, Family, HoldTime, RouterId};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::*;

const OURS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 21));
const THEIRS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 10);
const DEADLINE: Duration = Duration::from_secs(20);

async fn within_deadline<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future)
        .await
        .expect("it did not happen in time")
}

/// A scripted router: it says what the test tells it to say.
struct Router {
    stream: TcpStream,
    framer: Framer,
    context: WireContext,
}

impl Router {
    fn new(stream: TcpStream) -> Self {
        let context = WireContext {
            four_octet_as: true,
            ..WireContext::initial()
        };
        Self {
            stream,
            framer: Framer::new(4096),
            context,
        }
    }

    async fn call(listener: &TcpListener) -> Self {
        let (stream, _) = within_deadline(listener.accept()).await.unwrap();
        Self::new(stream)
    }

    async fn say(&mut self, message: Message) {
        self.stream
            .write_all(&message.encode(&self.context).unwrap())
            .await
            .unwrap();
    }

    /// The next message; `None` once the connection was closed.
    async fn hear(&mut self) -> Option<Message> {
        within_deadline(async {
            loop {
                if let Some(octets) = self.framer.next_message().unwrap() {
                    return Some(Message::decode(octets, &self.context).unwrap());
                }
                let mut chunk = [0; 4096];
                match self.stream.read(&mut chunk).await.unwrap() {
                    0 => return None,
                    octets => self.framer.push(&chunk[..octets]),
                }
            }
        })
        .await
    }

    /// The handshake as AS 64513.
    async fn establish(&mut self) {
        assert!(matches!(self.hear().await, Some(Message::Open(_))));
        let capabilities = vec![
            Capability::Multiprotocol(Family::IPV4_UNICAST),
            Capability::FourOctetAs(Asn(64513)),
        ];
        let open = Open::new(
            Asn(64513),
            HoldTime::DEFAULT,
            RouterId::new(THEIRS).unwrap(),
            capabilities,
        );
        self.say(Message::Open(open)).await;
        self.say(Message::Keepalive).await;
        assert_eq!(self.hear().await, Some(Message::Keepalive));
    }

    async fn hear_update(&mut self) -> Update {
        loop {
            match self.hear().await {
                Some(Message::Update(update)) => return update,
                Some(Message::Keepalive) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// All that is announced up to the End-of-RIB.
    async fn hear_routes(&mut self) -> Vec<String> {
        let mut prefixes = vec![];
        loop {
            let update = self.hear_update().await;
            if update.is_end_of_rib().is_some() {
                return prefixes;
            }
            prefixes.extend(update.announced.iter().map(|nlri| nlri.prefix.to_string()));
        }
    }

    /// The NOTIFICATION that ends the session, and the end.
    async fn hear_notification(&mut self) -> bgp_core::message::Notification {
        loop {
            match self.hear().await {
                Some(Message::Notification(notification)) => {
                    assert_eq!(self.hear().await, None);
                    return notification;
                }
                Some(_) => {}
                None => panic!("closed without a NOTIFICATION"),
            }
        }
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind((THEIRS, 0)).await.unwrap()
}

fn start(listen_port: Option<u16>) -> (InstanceHandle, tokio::task::JoinHandle<()>) {
    let identity = Identity {
        local_asn: Asn(64512),
        router_id: RouterId::new(Ipv4Addr::new(192, 168, 10, 21)).unwrap(),
        listen_port,
        bind_address: Some(OURS),
    };
    let context = Context {
        name: "64512".to_owned(),
        node: "k3s1".to_owned(),
        seed: 1,
        restarted: false,
        changes: Changes::default(),
    };
    let (handle, run) = instance(identity, context);
    (handle, tokio::spawn(run))
}

fn plan(remote: SocketAddr) -> PeerPlan {
    PeerPlan {
        address: remote.ip(),
        port: remote.port(),
        asn: Some(Asn(64513)),
        local_address: None,
        ttl: 1,
        password: None,
        blocked: None,
        hold_time: HoldTime::DEFAULT,
        keepalive: Duration::from_secs(30),
        connect_retry: Duration::from_secs(120),
        graceful_restart: None,
        families: vec![Family::IPV4_UNICAST],
        export: Arc::new(Policy::accept_all()),
    }
}

fn set_peer(plan: PeerPlan) -> Change {
    Change::SetPeer {
        name: "router".to_owned(),
        plan,
    }
}

fn originate(address: &str) -> Change {
    let prefix = Prefix::host(address.parse().unwrap());
    let origination = Origination {
        prefix,
        attributes: Arc::new(Attributes::default()),
        next_hop: None,
    };
    Change::Originate(RoutePlan {
        origination,
        because: vec![],
    })
}

/// An instance with one route and an established router.
async fn established(
    listen_port: Option<u16>,
    change: impl FnOnce(&mut PeerPlan),
) -> (InstanceHandle, Router, TcpListener) {
    let listener = listener().await;
    let mut plan = plan(listener.local_addr().unwrap());
    change(&mut plan);
    let (handle, _task) = start(listen_port);
    handle
        .change(vec![originate("192.168.10.224"), set_peer(plan)])
        .await
        .unwrap();
    let mut router = Router::call(&listener).await;
    router.establish().await;
    assert_eq!(router.hear_routes().await, ["192.168.10.224/32"]);
    (handle, router, listener)
}

async fn peer(handle: &InstanceHandle) -> PeerView {
    handle
        .status()
        .await
        .unwrap()
        .peers
        .into_iter()
        .next()
        .unwrap()
}

#[tokio::test]
async fn a_route_reaches_the_router_from_the_nodes_own_address() {
    let (handle, router, _listener) = established(None, |_| {}).await;
    assert_eq!(router.stream.peer_addr().unwrap().ip(), OURS);
    let view = peer(&handle).await;
    assert_eq!(view.status.as_ref().unwrap().state, StateName::Established);
    assert_eq!(view.error, None);
    let sent = handle.advertised(Family::IPV4_UNICAST).await.unwrap();
    assert_eq!(sent.len(), 1);
    assert_eq!(
        (sent[0].peer.as_str(), sent[0].neighbor),
        ("router", THEIRS.into())
    );
    assert_eq!(sent[0].route.prefix.to_string(), "192.168.10.224/32");
    assert_eq!(
        handle.available(Family::IPV4_UNICAST).await.unwrap().len(),
        1
    );
}

#[tokio::test]
async fn garbage_on_a_second_connection_leaves_the_first_session_up() {
    let port = TcpListener::bind((OURS, 0))
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let (handle, mut router, _listener) = established(Some(port), |_| {}).await;
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 4096], &[0xFF; 19]] {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((THEIRS, 0).into()).unwrap();
        let mut second = within_deadline(socket.connect((OURS, port).into()))
            .await
            .unwrap();
        let _ = second.write_all(garbage).await;
        let mut sink = vec![];
        // It may be closed at once, or after an OPEN and a NOTIFICATION.
        let _ = timeout(Duration::from_millis(300), second.read_to_end(&mut sink)).await;
    }
    handle
        .change(vec![originate("192.168.10.225")])
        .await
        .unwrap();
    let update = router.hear_update().await;
    assert_eq!(
        update
            .announced
            .iter()
            .map(|nlri| nlri.prefix.to_string())
            .collect::<Vec<_>>(),
        ["192.168.10.225/32"]
    );
    assert_eq!(
        peer(&handle).await.status.unwrap().state,
        StateName::Established
    );
}

#[tokio::test]
async fn a_stopping_process_says_so() {
    let (handle, mut router, _listener) = established(None, |_| {}).await;
    let stop = tokio::spawn(async move { handle.stop(Ending::ProcessStops).await });
    let notification = router.hear_notification().await;
    assert_eq!(
        notification.reason,
        Reason::Cease(CeaseSubcode::AdministrativeShutdown)
    );
    assert_eq!(
        notification.communication().as_deref(),
        Some("Fairway on k3s1 is stopping")
    );
    drop(router);
    within_deadline(stop).await.unwrap();
}

#[tokio::test]
async fn with_graceful_restart_a_stopping_process_leaves_without_a_word() {
    let (handle, mut router, _listener) =
        established(None, |plan| plan.graceful_restart = Some(120)).await;
    let stop = tokio::spawn(async move { handle.stop(Ending::ProcessStops).await });
    assert_eq!(router.hear().await, None);
    drop(router);
    within_deadline(stop).await.unwrap();
}

#[tokio::test]
async fn an_instance_that_is_removed_withdraws_first_and_then_says_goodbye() {
    let (handle, mut router, _listener) =
        established(None, |plan| plan.graceful_restart = Some(120)).await;
    let stop = tokio::spawn(async move { handle.stop(Ending::Stopped(StopReason::Removed)).await });
    let update = router.hear_update().await;
    assert_eq!(
        update
            .withdrawn
            .iter()
            .map(|nlri| nlri.prefix.to_string())
            .collect::<Vec<_>>(),
        ["192.168.10.224/32"]
    );
    assert_eq!(
        router.hear_notification().await.reason,
        Reason::Cease(CeaseSubcode::AdministrativeShutdown)
    );
    drop(router);
    within_deadline(stop).await.unwrap();
}

#[tokio::test]
async fn a_changed_port_ends_the_session_and_makes_a_new_one() {
    let (handle, mut router, _old) = established(None, |_| {}).await;
    let other = listener().await;
    handle
        .change(vec![set_peer(plan(other.local_addr().unwrap()))])
        .await
        .unwrap();
    assert_eq!(
        router.hear_notification().await.reason,
        Reason::Cease(CeaseSubcode::OtherConfigurationChange)
    );
    let mut router = Router::call(&other).await;
    router.establish().await;
    assert_eq!(router.hear_routes().await, ["192.168.10.224/32"]);
}

#[tokio::test]
async fn a_blocked_peer_is_idle_and_says_why_until_it_is_free() {
    let listener = listener().await;
    let free = plan(listener.local_addr().unwrap());
    let blocked = PeerPlan {
        blocked: Some("Secret kube-system/bgp is missing".to_owned()),
        ..free.clone()
    };
    let (handle, _task) = start(None);
    handle.change(vec![set_peer(blocked)]).await.unwrap();
    let view = peer(&handle).await;
    assert!(view.status.is_none());
    assert_eq!(
        view.error.as_deref(),
        Some("Secret kube-system/bgp is missing")
    );
    assert!(
        timeout(Duration::from_millis(200), listener.accept())
            .await
            .is_err(),
        "it must not be dialled"
    );
    handle.change(vec![set_peer(free)]).await.unwrap();
    Router::call(&listener).await.establish().await;
}

#[tokio::test]
async fn a_peer_that_never_reads_does_not_keep_routes_from_another() {
    let (handle, _frozen, _listener) = established(None, |_| {}).await;
    let other = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 11), 0))
        .await
        .unwrap();
    let change = Change::SetPeer {
        name: "other".to_owned(),
        plan: plan(other.local_addr().unwrap()),
    };
    handle.change(vec![change]).await.unwrap();
    let mut router = Router::call(&other).await;
    router.establish().await;
    router.hear_routes().await;
    let routes = 50_000;
    let address = |index: u32| Ipv4Addr::from(0x0A00_0000 + index).to_string();
    handle
        .change(
            (0..routes)
                .map(|index| originate(&address(index)))
                .collect(),
        )
        .await
        .unwrap();
    let mut heard = 0;
    while heard < routes {
        heard += u32::try_from(router.hear_update().await.announced.iter().count()).unwrap();
    }
    within_deadline(handle.status()).await.unwrap();
}
