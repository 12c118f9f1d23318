//! The reference network: a UDM-SE-like router with two VLANs, the homelab's nodes on one, a client on the other.
//!
//! ```text
//! client .20.10 --- vlan20 --- .20.1 router .10.1 --- lan --- k3s1 .21, k3s2 .23, k3s3 .31, k3s-master1 .30
//! ```

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock::poll;
use crate::lab::{Host, Lab};

/// The address of the main gateway's Service.
pub const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 10, 224));
/// The same as the router's tables write it.
pub const GATEWAY_ROUTE: &str = "192.168.10.224/32";
/// The router on the nodes' LAN.
pub const ROUTER: &str = "192.168.10.1";
/// The speaking nodes and their addresses.
pub const NODES: [(&str, &str); 3] = [
    ("k3s1", "192.168.10.21"),
    ("k3s2", "192.168.10.23"),
    ("k3s3", "192.168.10.31"),
];

/// The hosts of the reference network.
#[derive(Debug)]
pub struct ReferenceNetwork {
    /// The lab it stands in.
    pub lab: Lab,
    /// 192.168.10.1 and 192.168.20.1, forwarding.
    pub router: Host,
    /// 192.168.20.10, behind the router.
    pub client: Host,
    /// In the order of [`NODES`].
    pub nodes: Vec<Host>,
    /// The node without the label.
    pub master: Host,
}

impl ReferenceNetwork {
    /// Builds it in `lab`.
    #[track_caller]
    pub fn in_lab(lab: Lab) -> Self {
        let router = lab.host("router");
        lab.plug(
            &router,
            "lan",
            "br10",
            &["192.168.10.1/24", "fd00:10::1/64"],
        );
        lab.plug(
            &router,
            "vlan20",
            "br20",
            &["192.168.20.1/24", "fd00:20::1/64"],
        );
        router.set_sysctl("net/ipv4/ip_forward", "1");
        router.set_sysctl("net/ipv6/conf/all/forwarding", "1");
        // Of a client's many connections each takes its own way, not all of them one.
        router.set_sysctl("net/ipv4/fib_multipath_hash_policy", "1");

        let client = lab.host("client");
        lab.plug(
            &client,
            "vlan20",
            "eth0",
            &["192.168.20.10/24", "fd00:20::10/64"],
        );
        client.ip("route add default via 192.168.20.1");

        let on_lan = |name: &str, last: &str| {
            let host = lab.host(name);
            lab.plug(
                &host,
                "lan",
                "eth0",
                &[
                    &format!("192.168.10.{last}/24"),
                    &format!("fd00:10::{last}/64"),
                ],
            );
            host.ip("route add default via 192.168.10.1");
            host
        };
        let nodes = NODES
            .iter()
            .map(|(name, address)| on_lan(name, address.rsplit('.').next().unwrap_or_default()))
            .collect();
        let master = on_lan("k3s-master1", "30");
        Self {
            lab,
            router,
            client,
            nodes,
            master,
        }
    }
}

/// The router's FRR file, in the form UniFi gateways take: one peer group for the nodes, the pool let in, nothing let out.
pub fn udm_configuration() -> String {
    "frr defaults traditional
hostname udm
log stdout
log timestamp precision 6
router bgp 64513
 bgp router-id 192.168.10.1
 bgp log-neighbor-changes
 no bgp default ipv4-unicast
 neighbor K8S peer-group
 neighbor K8S remote-as 64512
 neighbor K8S timers 3 9
 neighbor K8S timers connect 5
 bgp listen range 192.168.10.0/24 peer-group K8S
 bgp listen limit 16
 address-family ipv4 unicast
  neighbor K8S activate
  neighbor K8S soft-reconfiguration inbound
  neighbor K8S maximum-prefix 64
  neighbor K8S route-map K8S-IN in
  neighbor K8S route-map K8S-OUT out
  maximum-paths 8
 exit-address-family
exit
ip prefix-list K8S-VIPS seq 10 permit 192.168.10.224/28 ge 32 le 32
route-map K8S-IN permit 10
 match ip address prefix-list K8S-VIPS
exit
route-map K8S-OUT deny 10
exit
"
    .to_owned()
}

/// An HTTP server on a node that answers every request with the node's name, at an address the node takes as its own.
#[derive(Debug)]
pub struct HttpServer {
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl HttpServer {
    /// Puts `address` on the node's loopback interface (where ARP does not answer for it) and serves port 80 of it.
    ///
    /// # Panics
    /// When the port is taken.
    #[track_caller]
    pub fn start(node: &Host, address: IpAddr) -> Self {
        Self::start_on(node, address, 80)
    }

    /// The same on another port.
    ///
    /// # Panics
    /// When it is taken.
    #[track_caller]
    pub fn start_on(node: &Host, address: IpAddr, port: u16) -> Self {
        node.set_sysctl("net/ipv4/conf/all/arp_ignore", "1");
        node.set_sysctl("net/ipv4/conf/all/arp_announce", "2");
        // Without `nodad` an IPv6 address is tentative for a moment, even on the loopback, and cannot be bound.
        node.ip(&match address {
            IpAddr::V4(_) => format!("addr add {address}/32 dev lo"),
            IpAddr::V6(_) => format!("addr add {address}/128 dev lo nodad"),
        });
        let listener = node
            .inside(|| TcpListener::bind((address, port)))
            .expect("the port is free in a fresh namespace");
        listener
            .set_nonblocking(true)
            .expect("a socket can be non-blocking");
        let stopping = Arc::new(AtomicBool::new(false));
        let (stop, name) = (Arc::clone(&stopping), node.name().to_owned());
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let accepted = poll(Duration::from_secs(1), || {
                    if stop.load(Ordering::Relaxed) {
                        Ok(None)
                    } else {
                        listener.accept().map(Some)
                    }
                });
                if let Ok(Some((stream, _))) = accepted {
                    let _ = answer(stream, &name);
                }
            }
        });
        Self {
            stopping,
            thread: Some(thread),
        }
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(mut stream: TcpStream, name: &str) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut request = Vec::new();
    let mut chunk = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < 16_384 {
        match stream.read(&mut chunk)? {
            0 => return Ok(()),
            length => request.extend_from_slice(chunk.get(..length).unwrap_or_default()),
        }
    }
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{name}",
        name.len()
    )
}

/// `GET http://ADDRESS/` from a host: the body, or why there is none.
///
/// # Errors
/// Connection refused, time-out (one second), no HTTP 200.
pub fn http_get(from: &Host, address: IpAddr) -> Result<String, String> {
    from.inside(|| crate::visitor::ask(address))
}
