use crate::types::Family;

/// What this session negotiated, as far as the wire form depends on it. One value per direction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WireContext {
    /// Four-octet AS numbers in AS_PATH and AGGREGATOR (RFC 6793).
    pub four_octet_as: bool,
    /// Whether the session is external: decides what LOCAL_PREF, ORIGINATOR_ID and CLUSTER_LIST mean (RFC 7606).
    pub external: bool,
    /// The families negotiated by multiprotocol capabilities (IPv4 unicast where the peer sent none).
    pub families: Vec<Family>,
    /// The families whose NLRI carry path identifiers in this direction (RFC 7911).
    pub add_path: Vec<Family>,
    /// The families whose next hop may be of another AFI (RFC 8950).
    pub extended_next_hop: Vec<Family>,
    /// The largest message of this direction in octets: 4096, or 65535 (RFC 8654).
    pub max_message: usize,
}

impl WireContext {
    /// Before the OPENs: two-octet AS numbers, IPv4 unicast, 4096 octets.
    pub fn initial() -> Self {
        Self {
            four_octet_as: false,
            external: true,
            families: vec![Family::IPV4_UNICAST],
            add_path: vec![],
            extended_next_hop: vec![],
            max_message: 4096,
        }
    }

    /// Whether routes of the family may be exchanged.
    pub fn speaks(&self, family: Family) -> bool {
        self.families.contains(&family)
    }

    /// Whether entries of the family carry path identifiers in this direction.
    pub fn has_path_ids(&self, family: Family) -> bool {
        self.add_path.contains(&family)
    }

    /// Whether routes of the family may have a next hop of another AFI.
    pub fn has_extended_next_hop(&self, family: Family) -> bool {
        self.extended_next_hop.contains(&family)
    }
}
