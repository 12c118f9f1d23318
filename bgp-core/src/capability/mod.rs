//! OPEN capabilities (RFC 5492): one file per family of capabilities, unknown ones kept.

use bytes::Bytes;

use crate::types::{Afi, Asn, Family};

/// One capability. Unknown ones are tolerated and kept (RFC 5492 section 3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Capability {
    /// 1, RFC 4760.
    Multiprotocol(Family),
    /// 2, RFC 2918.
    RouteRefresh,
    /// 5, RFC 8950: this family may have next hops of that AFI.
    ExtendedNextHop(Vec<(Family, Afi)>),
    /// 6, RFC 8654.
    ExtendedMessage,
    /// 9, RFC 9234.
    Role(Role),
    /// 64, RFC 4724 and 8538.
    GracefulRestart(GracefulRestart),
    /// 65, RFC 6793.
    FourOctetAs(Asn),
    /// 69, RFC 7911.
    AddPath(Vec<(Family, AddPathMode)>),
    /// 70, RFC 7313.
    EnhancedRouteRefresh,
    /// 71, RFC 9494: family, forwarding preserved, stale time in seconds.
    LongLivedGracefulRestart(Vec<(Family, bool, u32)>),
    /// 73: host name and domain name.
    Fqdn {
        /// Host name.
        host: String,
        /// Domain name.
        domain: String,
    },
    /// 75: software version.
    SoftwareVersion(String),
    /// Any other, or a known code whose value did not have its form.
    Unknown {
        /// Capability code.
        code: u8,
        /// Capability value.
        value: Bytes,
    },
}

/// BGP roles (RFC 9234 section 4.1): what the *sender* is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// 0
    Provider,
    /// 1
    RouteServer,
    /// 2
    RouteServerClient,
    /// 3
    Customer,
    /// 4
    Peer,
    /// A value that the RFC does not have.
    Unknown(u8),
}

/// The graceful restart capability (RFC 4724 section 3).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct GracefulRestart {
    /// R: the sender has restarted.
    pub restarting: bool,
    /// N: NOTIFICATION does not end it (RFC 8538).
    pub notification: bool,
    /// Seconds, 0 to 4095.
    pub restart_time: u16,
    /// Families, each with F (forwarding state preserved).
    pub families: Vec<(Family, bool)>,
}

/// RFC 7911 section 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddPathMode {
    /// 1
    Receive,
    /// 2
    Send,
    /// 3
    Both,
}
