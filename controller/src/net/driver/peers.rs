//! The peers of an instance as planned, and what the speaker and the sockets are told of them.

use std::net::SocketAddr;
use std::sync::Arc;

use bgp_core::capability::{Capability, GracefulRestart};
use bgp_core::peer::{Local, PeerConfig, Shutdown};
use bgp_core::rib::Policy;
use bgp_core::speaker::{Input, PeerId, PeerSettings};
use bgp_core::types::CeaseSubcode;
use tracing::{info, warn};

use super::super::tcp::{Listeners, Transport};
use super::{Driver, LISTEN_RETRY, MAX_RECEIVED, PeerState, now};
use crate::plan::PeerPlan;
use crate::plan::action::Identity;

impl Driver {
    pub(super) fn set_peer(&mut self, name: String, plan: PeerPlan) {
        if let Some(known) = self.names.get(&name).map(|state| &state.plan) {
            let another = known.address != plan.address || known.asn != plan.asn;
            if another {
                self.remove_peer(
                    &name,
                    CeaseSubcode::PeerDeconfigured,
                    "the peer's address or AS changed",
                );
            } else if transport(&self.identity, known) != transport(&self.identity, &plan)
                || plan.blocked.is_some()
            {
                self.remove_peer(
                    &name,
                    CeaseSubcode::OtherConfigurationChange,
                    "Peer configuration changed",
                );
            }
        }
        let id = self.names.get(&name).and_then(|state| state.id);
        let id = match &plan.blocked {
            // The plan's notes say so, and why.
            Some(_) => None,
            None => Some(id.unwrap_or_else(|| {
                self.next_peer += 1;
                PeerId(self.next_peer)
            })),
        };
        let former = self.names.remove(&name);
        let restarting = match &former {
            Some(former) => former.restarting,
            None => self.context.restarted,
        };
        let settings = self.role.apply(settings(
            &self.identity,
            &self.context.node,
            &plan,
            restarting,
        ));
        let fault = match &self.listeners {
            Some(listeners) if id.is_some() => listeners
                .set_password(plan.address, plan.password.as_ref())
                .err(),
            _ => None,
        };
        if let Some(fault) = &fault {
            warn!(instance = self.context.name, peer = name, "{fault}");
        }
        let local = Local {
            asn: self.identity.local_asn,
            router_id: self.identity.router_id,
        };
        let offered = settings.session.offered_capabilities(local);
        let logged = former.map(|state| state.logged).unwrap_or_default();
        self.names.insert(
            name.clone(),
            PeerState {
                plan,
                restarting,
                offered,
                id,
                fault,
                logged,
                objection: None,
            },
        );
        self.update_callers();
        if let Some(id) = id {
            self.peers.insert(id, name);
            self.speaker.handle(now(), Input::SetPeer(id, settings));
        }
    }

    pub(super) fn remove_peer(&mut self, name: &str, subcode: CeaseSubcode, text: &str) {
        let Some(state) = self.names.remove(name) else {
            return;
        };
        self.update_callers();
        if let Some(listeners) = &self.listeners {
            // Without the peer its calls are closed at once, with or without a password.
            let _ = listeners.set_password(state.plan.address, None);
        }
        if let Some(id) = state.id {
            info!(
                instance = self.context.name,
                peer = name,
                "peer removed: {text}"
            );
            self.drain();
            self.speaker.handle(
                now(),
                Input::RemovePeer(id, Shutdown::Cease(subcode, text.to_owned())),
            );
            self.drain();
            self.peers.remove(&id);
        }
    }

    fn update_callers(&self) {
        let callers = self
            .names
            .values()
            .filter(|state| state.id.is_some())
            .map(|state| (state.plan.address, state.plan.ttl))
            .collect();
        self.callers.send_replace(Arc::new(callers));
    }

    /// Opens the listening sockets where they are wanted. A failure concerns nobody but those who would call us: peers are
    /// dialled all the same, and it is tried again.
    pub(super) fn listen(&mut self) {
        self.listen_again = None;
        let Some(port) = self.identity.listen_port else {
            return;
        };
        match Listeners::open(
            self.identity.bind_address,
            port,
            &self.callers.subscribe(),
            &self.events,
        ) {
            Ok(listeners) => {
                info!(instance = self.context.name, addresses = ?listeners.addresses(), "listening");
                for state in self.names.values_mut().filter(|state| state.id.is_some()) {
                    state.fault = listeners
                        .set_password(state.plan.address, state.plan.password.as_ref())
                        .err();
                }
                self.listeners = Some(listeners);
                self.listen_error = None;
            }
            Err(error) => {
                if self.listen_error.as_ref() != Some(&error) {
                    warn!(
                        instance = self.context.name,
                        "{error}; peers are dialled but cannot call: free the port or choose another with local-port"
                    );
                }
                self.listen_error = Some(error);
                self.listen_again = Some(now() + LISTEN_RETRY);
            }
        }
    }
}

/// How a peer is reached. A node that is known by a loopback address connects from it, as far as loopback goes.
pub(super) fn transport(identity: &Identity, plan: &PeerPlan) -> Transport {
    let own = identity.bind_address.filter(|own| {
        own.is_ipv4() == plan.address.is_ipv4() && own.is_loopback() == plan.address.is_loopback()
    });
    Transport {
        remote: SocketAddr::new(plan.address, plan.port),
        source: plan.local_address.or(own),
        ttl: plan.ttl,
        password: plan.password.clone(),
    }
}

fn settings(identity: &Identity, node: &str, plan: &PeerPlan, restarting: bool) -> PeerSettings {
    let mut extra_capabilities = vec![Capability::Fqdn {
        host: node.to_owned(),
        domain: String::new(),
    }];
    if plan.asn == Some(identity.local_asn) {
        extra_capabilities.push(Capability::SoftwareVersion(
            concat!("fairway/", env!("CARGO_PKG_VERSION")).to_owned(),
        ));
    }
    PeerSettings {
        session: PeerConfig {
            asn: plan.asn,
            hold_time: plan.hold_time,
            keepalive: Some(plan.keepalive),
            connect_retry: plan.connect_retry,
            families: plan.families.clone(),
            graceful_restart: plan.graceful_restart.map(|restart_time| GracefulRestart {
                restarting,
                notification: true,
                restart_time,
                families: plan.families.iter().map(|family| (*family, true)).collect(),
            }),
            extra_capabilities,
            ..PeerConfig::new(plan.address, identity.local_asn)
        },
        export: Arc::clone(&plan.export),
        import: Arc::new(Policy::reject_all()),
        max_prefixes: Some(MAX_RECEIVED),
    }
}
