//! The router at the other end: Fairway's own BGP core, GoBGP or FRR. All are asked the same: which ways do you know?

mod builtin;
mod frr;
mod gobgp;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::timeout;

use crate::args::DemoRouter;

use super::view::Ways;
use super::{Failure, eventually};

/// How long a router may take until it can be called.
const START_LIMIT: Duration = Duration::from_secs(20);
/// How long a router's own tool may take.
const TOOL_LIMIT: Duration = Duration::from_secs(10);

/// A running router.
#[derive(Debug)]
pub(super) struct Router {
    address: SocketAddr,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Builtin(builtin::Builtin),
    Gobgp(gobgp::Gobgp),
    Frr(frr::Frr),
}

/// What all kinds are told: where to listen, and who will call.
#[derive(Clone, Copy, Debug)]
struct Setting<'a> {
    address: SocketAddr,
    nodes: &'a [(&'a str, IpAddr)],
    directory: &'a Path,
}

impl Router {
    /// Starts a router and waits until it can be called.
    pub(super) async fn start(
        kind: DemoRouter,
        address: IpAddr,
        port: u16,
        nodes: &[(&str, IpAddr)],
        directory: &Path,
    ) -> Result<Self, Failure> {
        let address = SocketAddr::new(address, port);
        let setting = Setting {
            address,
            nodes,
            directory,
        };
        let kind = match kind {
            DemoRouter::Builtin => Kind::Builtin(builtin::Builtin::start(setting).await?),
            DemoRouter::Gobgp => Kind::Gobgp(gobgp::Gobgp::start(setting)?),
            DemoRouter::Frr => Kind::Frr(frr::Frr::start(setting)?),
        };
        let router = Self { address, kind };
        let listening = eventually(START_LIMIT, "the router's listening socket", || async {
            TcpStream::connect(address)
                .await
                .map(drop)
                .map_err(|error| format!("{address}: {error}"))
        });
        match listening.await {
            Ok(()) => Ok(router),
            Err(failure) => Err(router.ended().map_or(failure, |how| {
                Failure::Unreachable(format!("the router: {how}"))
            })),
        }
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it is, for people.
    pub(super) fn describe(&self) -> String {
        match &self.kind {
            Kind::Builtin(_) => "built in: Fairway's own BGP core".to_owned(),
            Kind::Gobgp(gobgp) => {
                format!("GoBGP, process {}", gobgp.process.id().unwrap_or_default())
            }
            Kind::Frr(frr) => format!(
                "FRR's bgpd, process {}",
                frr.process.id().unwrap_or_default()
            ),
        }
    }

    /// All ways to all prefixes.
    ///
    /// # Errors
    /// The router did not answer, or not understandably.
    pub(super) async fn ways(&self) -> Result<Ways, String> {
        match &self.kind {
            Kind::Builtin(builtin) => builtin.ways().await,
            Kind::Gobgp(gobgp) => gobgp.ways().await,
            Kind::Frr(frr) => frr.ways().await,
        }
    }

    /// The router's own command to look at its table.
    pub(super) fn try_this(&self) -> Option<String> {
        match &self.kind {
            Kind::Builtin(_) => None,
            Kind::Gobgp(gobgp) => Some(gobgp.try_this()),
            Kind::Frr(frr) => Some(frr.try_this()),
        }
    }

    /// Its log, where it is a process.
    pub(super) fn log(&self) -> Option<(&'static str, &PathBuf)> {
        match &self.kind {
            Kind::Builtin(_) => None,
            Kind::Gobgp(gobgp) => Some(("gobgpd", &gobgp.log)),
            Kind::Frr(frr) => Some(("bgpd", &frr.log)),
        }
    }

    /// How its process ended, if it did.
    pub(super) fn ended(&self) -> Option<String> {
        match &self.kind {
            Kind::Builtin(_) => None,
            Kind::Gobgp(gobgp) => gobgp.process.ended(),
            Kind::Frr(frr) => frr.process.ended(),
        }
    }

    /// Ends it.
    pub(super) async fn shut_down(self) {
        match self.kind {
            Kind::Builtin(builtin) => builtin.shut_down().await,
            Kind::Gobgp(gobgp::Gobgp { process, .. }) | Kind::Frr(frr::Frr { process, .. }) => {
                process.end().await
            }
        }
    }
}

/// What a router's tool prints.
async fn output_of(mut command: Command) -> Result<String, String> {
    let name = command
        .as_std()
        .get_program()
        .to_string_lossy()
        .into_owned();
    let run = timeout(TOOL_LIMIT, command.kill_on_drop(true).output()).await;
    let output = run
        .map_err(|_| format!("{name} does not end"))?
        .map_err(|error| format!("{name}: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "{name} failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
