use std::net::IpAddr;

use crate::{Incompatible, PoolKey};

/// Why a text or two addresses are not a range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// The ends belong to different families.
    #[error("{first} and {last} are of different address families")]
    MixedFamilies {
        /// As given.
        first: IpAddr,
        /// As given.
        last: IpAddr,
    },
    /// The end lies before the beginning.
    #[error("{last} is before {first}")]
    Reversed {
        /// As given.
        first: IpAddr,
        /// As given.
        last: IpAddr,
    },
    /// Not an address.
    #[error("'{text}' is not an IP address")]
    NotAnAddress {
        /// As given, trimmed.
        text: String,
    },
    /// Not a prefix.
    #[error("'{text}' is not a prefix such as 10.0.0.0/24")]
    NotAPrefix {
        /// As given, trimmed.
        text: String,
    },
}

/// Why a request is refused. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// None of the pools that may serve the request has a range of the family, or contains the address.
    #[error("no pool that may serve the request has such an address")]
    NoPool,
    /// Such ranges exist, and every address of them is in use or reserved.
    #[error("every address of the pools that may serve the request is in use")]
    Exhausted,
    /// The address is kept back as the first or last one of a range.
    #[error("the address is reserved as the first or last one of its range")]
    Reserved(PoolKey),
    /// The address is in use, and the owner that asks does not share.
    #[error("the address is in use")]
    InUse,
    /// The address is in use, and the two may not share.
    #[error("the address is in use by an owner that cannot share it: {0}")]
    Incompatible(Incompatible),
}
