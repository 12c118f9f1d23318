//! Which of two connections to one peer survives (RFC 4271 section 6.8, RFC 6286 section 2.3); a pure decision.
//!
//! It is made when an OPEN arrives on the *new* connection while the *old* one has had its OPEN already. A connection
//! without an OPEN takes part in nothing: anybody can open one and stay silent.

use crate::types::{Asn, RouterId};

/// Who made a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Initiator {
    /// We called.
    Local,
    /// The peer called.
    Remote,
}

/// One end of the session, as far as the comparison goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Speaker {
    pub(crate) router_id: RouterId,
    /// Decides between equal identifiers, which only speakers of different AS may have (RFC 6286).
    pub(crate) asn: Asn,
}

/// The connection that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Old {
    /// Its OPEN was good, its KEEPALIVE is due.
    OpenConfirm(Initiator),
    /// It carries the session. `restartable`: both sides agreed on graceful restart (RFC 4724), and the new connection
    /// came when the session stood already, so that it can mean that the peer has restarted.
    Established { restartable: bool },
}

/// What becomes of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The new one goes on, the old one gets Cease/7.
    KeepNew,
    /// The new one goes on, the old one is closed without a word (RFC 4724 section 4.2: the peer has restarted).
    Replace,
    /// The new one gets Cease/7.
    KeepOld,
}

pub(crate) fn resolve(local: Speaker, remote: Speaker, new: Initiator, old: Old) -> Verdict {
    match old {
        Old::Established { restartable } => {
            if restartable && new == Initiator::Remote {
                Verdict::Replace
            } else {
                Verdict::KeepOld
            }
        }
        // Not crossed: the same side called twice, so it has given up the first one.
        Old::OpenConfirm(old) if old == new => Verdict::KeepNew,
        Old::OpenConfirm(_) => {
            let winner = if local > remote {
                Initiator::Local
            } else {
                Initiator::Remote
            };
            if new == winner {
                Verdict::KeepNew
            } else {
                Verdict::KeepOld
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn speaker(router_id: u32, asn: u32) -> Speaker {
        let router_id = RouterId::new(Ipv4Addr::from(router_id)).expect("not zero");
        Speaker {
            router_id,
            asn: Asn(asn),
        }
    }

    /// The connection of two crossed ones that `local` keeps, whichever of them is the new one.
    fn kept(local: Speaker, remote: Speaker) -> Initiator {
        let local_is_new = resolve(
            local,
            remote,
            Initiator::Local,
            Old::OpenConfirm(Initiator::Remote),
        );
        let remote_is_new = resolve(
            local,
            remote,
            Initiator::Remote,
            Old::OpenConfirm(Initiator::Local),
        );
        match (local_is_new, remote_is_new) {
            (Verdict::KeepNew, Verdict::KeepOld) => Initiator::Local,
            (Verdict::KeepOld, Verdict::KeepNew) => Initiator::Remote,
            other => panic!("the order of arrival decided: {other:?}"),
        }
    }

    #[test]
    fn the_connection_of_the_higher_identifier_is_kept() {
        assert_eq!(
            kept(speaker(0x0A00_0002, 1), speaker(0x0A00_0001, 9)),
            Initiator::Local
        );
        assert_eq!(
            kept(speaker(0x0A00_0001, 9), speaker(0x0A00_0002, 1)),
            Initiator::Remote
        );
    }

    #[test]
    fn identifiers_compare_as_unsigned_numbers() {
        assert_eq!(
            kept(speaker(0xC0A8_0001, 1), speaker(0x0A00_0001, 1)),
            Initiator::Local
        );
    }

    #[test]
    fn between_equal_identifiers_the_larger_as_decides() {
        assert_eq!(kept(speaker(1, 64513), speaker(1, 64512)), Initiator::Local);
        assert_eq!(
            kept(speaker(1, 64512), speaker(1, 64513)),
            Initiator::Remote
        );
    }

    #[test]
    fn both_ends_keep_the_same_connection() {
        for (a, b) in [
            (speaker(1, 2), speaker(2, 1)),
            (speaker(7, 1), speaker(7, 2)),
        ] {
            assert_ne!(kept(a, b), kept(b, a));
        }
    }

    #[test]
    fn an_established_session_outlives_every_new_connection() {
        let old = Old::Established { restartable: false };
        for new in [Initiator::Local, Initiator::Remote] {
            for (local, remote) in [
                (speaker(1, 1), speaker(2, 2)),
                (speaker(2, 2), speaker(1, 1)),
            ] {
                assert_eq!(resolve(local, remote, new, old), Verdict::KeepOld);
            }
        }
    }

    #[test]
    fn a_restarted_peer_replaces_its_established_session() {
        let old = Old::Established { restartable: true };
        let (local, remote) = (speaker(2, 2), speaker(1, 1));
        assert_eq!(
            resolve(local, remote, Initiator::Remote, old),
            Verdict::Replace
        );
        assert_eq!(
            resolve(local, remote, Initiator::Local, old),
            Verdict::KeepOld
        );
    }

    #[test]
    fn of_two_calls_of_one_side_the_later_is_kept() {
        let old = Old::OpenConfirm(Initiator::Remote);
        assert_eq!(
            resolve(speaker(9, 1), speaker(1, 1), Initiator::Remote, old),
            Verdict::KeepNew
        );
    }
}
