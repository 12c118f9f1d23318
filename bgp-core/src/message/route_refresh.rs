use crate::types::Family;

/// ROUTE-REFRESH (RFC 2918, RFC 7313).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteRefresh {
    /// The family.
    pub family: Family,
    /// The subtype octet.
    pub kind: RefreshKind,
}

/// RFC 7313 section 3.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshKind {
    /// 0: please send all again.
    Request,
    /// 1: beginning of a refresh.
    Begin,
    /// 2: end of a refresh.
    End,
    /// Any other: to be ignored.
    Unknown(u8),
}
