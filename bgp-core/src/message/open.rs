use crate::capability::Capability;
use crate::types::{Asn, RouterId};

/// OPEN (RFC 4271 section 4.2). Validated as far as it needs no knowledge of our own configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The two-octet field as it stands on the wire (AS_TRANS where the number does not fit).
    pub my_as: u16,
    /// Hold time in seconds as offered.
    pub hold_time: crate::types::HoldTime,
    /// The sender's identifier.
    pub router_id: RouterId,
    /// All capabilities in order, over all optional parameters.
    pub capabilities: Vec<Capability>,
}

impl Open {
    /// The sender's AS: the four-octet capability where present, the field otherwise.
    pub fn asn(&self) -> Asn {
        self.capabilities
            .iter()
            .find_map(|capability| match capability {
                Capability::FourOctetAs(asn) => Some(*asn),
                _ => None,
            })
            .unwrap_or(Asn(u32::from(self.my_as)))
    }
}
