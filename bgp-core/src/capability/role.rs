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

impl Role {
    pub(super) const fn from_octet(octet: u8) -> Self {
        match octet {
            0 => Self::Provider,
            1 => Self::RouteServer,
            2 => Self::RouteServerClient,
            3 => Self::Customer,
            4 => Self::Peer,
            _ => Self::Unknown(octet),
        }
    }

    pub(super) const fn octet(self) -> u8 {
        match self {
            Self::Provider => 0,
            Self::RouteServer => 1,
            Self::RouteServerClient => 2,
            Self::Customer => 3,
            Self::Peer => 4,
            Self::Unknown(octet) => octet,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_octet_survives() {
        assert!((0..=255).all(|octet| Role::from_octet(octet).octet() == octet));
    }
}
