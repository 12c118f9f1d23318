//! Where the reference network stands: on loopback, or in network namespaces of its own with the addresses it has at home.
//!
//! Loopback needs nothing at all. But a router may refuse next hops in 127.0.0.0/8 (GoBGP before 3.20 does), so for such
//! a one each node gets a namespace and a cable to the router's. An ordinary user may make those on most systems.

use std::ffi::{OsStr, OsString};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::args::DemoRouter;

use super::Failure;
use super::process::{find, words};

/// Tells the demo that it already runs in its namespace.
const MARK: &str = "FAIRWAY_DEMO_NAMESPACE";
/// The router's address at home.
pub(super) const HOME_ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 10, 1);
/// How a namespace can be had, the unprivileged way first.
const WAYS_IN: [&[&str]; 2] = [&["--user", "--map-root-user", "--net"], &["--net"]];
/// Makes the namespace that the router will live in, then becomes what follows.
const ROUTER_SIDE: &str =
    "ip link set lo up && ip address add \"$1\"/32 dev lo && shift && exec \"$@\"";
/// Lays a node's cable from inside its fresh namespace, then becomes what follows. Arguments: the router's address, the
/// node's, the name of the cable's end at the router, a process in the router's namespace.
const NODE_SIDE: &str = r#"set -e
router() { nsenter --net="/proc/$pid/ns/net" "$@"; }
there=$1 here=$2 cable=$3 pid=$4; shift 4
ip link set lo up
router ip link delete "$cable" 2>/dev/null || true
ip link add name eth0 type veth peer name "$cable" netns "$pid"
ip address add "$here" peer "$there" dev eth0
ip link set eth0 up
router ip address add "$there" peer "$here" dev "$cable"
router ip link set "$cable" up
exec "$@""#;

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Everything on 127.0.0.0/8.
    Loopback,
    /// The router in this process's network namespace, each node in one of its own.
    Namespaces,
}

impl Place {
    /// The place that suits a router. May start this program again inside a namespace, and then does not return.
    pub(super) fn choose(router: DemoRouter) -> Result<Self, Failure> {
        if router != DemoRouter::Gobgp {
            return Ok(Self::Loopback);
        }
        if std::env::var_os(MARK).is_some() {
            return Ok(Self::Namespaces);
        }
        // Where no namespace can be had, loopback is tried: a newer GoBGP takes it.
        let (Some(unshare), Some(_), Some(_)) = (
            find("unshare", &[]),
            find("nsenter", &[]),
            find("ip", &SYSTEM),
        ) else {
            return Ok(Self::Loopback);
        };
        match WAYS_IN.into_iter().find(|options| works(&unshare, options)) {
            Some(options) => Err(start_again(&unshare, options)),
            None => Ok(Self::Loopback),
        }
    }

    /// The address here of what has the address `home` at home and would have `loopback` on loopback.
    pub(super) fn address(self, home: Ipv4Addr, loopback: Ipv4Addr) -> Ipv4Addr {
        match self {
            Self::Loopback => loopback,
            Self::Namespaces => home,
        }
    }

    /// The program and its arguments, wrapped into what a node of this name and address needs here.
    pub(super) fn command(
        self,
        name: &str,
        address: Ipv4Addr,
        program: &Path,
        arguments: Vec<OsString>,
    ) -> (PathBuf, Vec<OsString>) {
        match self {
            Self::Loopback => (program.to_path_buf(), arguments),
            Self::Namespaces => {
                let cable = format!("to-{name}");
                let mut all = words([
                    &"--net" as &dyn AsRef<OsStr>,
                    &"--",
                    &"sh",
                    &"-c",
                    &NODE_SIDE,
                    &"sh",
                    &HOME_ROUTER.to_string(),
                    &address.to_string(),
                    &cable,
                    &std::process::id().to_string(),
                    &program,
                ]);
                all.extend(arguments);
                (
                    find("unshare", &[]).unwrap_or_else(|| PathBuf::from("unshare")),
                    all,
                )
            }
        }
    }

    /// How a command that is to be typed elsewhere gets to the router.
    pub(super) fn enter(self) -> String {
        match self {
            Self::Loopback => String::new(),
            Self::Namespaces => format!(
                "nsenter --preserve-credentials -U -n -t {} ",
                std::process::id()
            ),
        }
    }
}

/// Administrators' programs are not in every user's path.
const SYSTEM: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Whether a namespace can be had this way, and cables in it.
fn works(unshare: &Path, options: &[&str]) -> bool {
    let mut command = inside(unshare, options);
    command.args([
        "ip", "link", "add", "name", "try0", "type", "veth", "peer", "name", "try1",
    ]);
    let tried = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
}

/// Becomes this very command in a namespace. Returns only where that failed.
fn start_again(unshare: &Path, options: &[&str]) -> Failure {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("fairway"));
    let mut command = inside(unshare, options);
    command
        .arg(program)
        .args(std::env::args_os().skip(1))
        .env(MARK, "1");
    Failure::Unreachable(format!(
        "cannot start {} again in a network namespace: {}",
        unshare.display(),
        command.exec()
    ))
}

fn inside(unshare: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(unshare);
    command
        .args(options)
        .args(["--", "sh", "-c", ROUTER_SIDE, "sh"])
        .arg(HOME_ROUTER.to_string());
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    for directory in SYSTEM {
        path.push(":");
        path.push(directory);
    }
    command.env("PATH", path);
    command
}
