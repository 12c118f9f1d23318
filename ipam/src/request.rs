use std::net::IpAddr;

use crate::{Family, PoolKey};

/// Who asks, what for, and where it may come from. On which terms the owner shares is told to the allocator beforehand.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a, O> {
    /// Who will hold the address.
    pub owner: O,
    /// What is wanted.
    pub wanted: Wanted,
    /// The pools that may give an address to this owner, the preferred one first.
    pub pools: &'a [PoolKey],
    /// The pools on whose addresses this owner may join others that hold them under its sharing key: `pools`, and those
    /// that give out nothing new any more. An address that is booked nowhere is not joined.
    pub join: &'a [PoolKey],
}

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// This address and no other.
    Address(IpAddr),
    /// Some address of the family: one to share if the owner can share, else the lowest free one.
    Any(Family),
}
