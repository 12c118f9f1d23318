use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;

use crate::{Count, RangeError};

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6. IPv4-mapped addresses belong here; they are never the IPv4 address they spell.
    V6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() {
            Self::V4
        } else {
            Self::V6
        }
    }
}

/// An inclusive range of addresses of one family.
///
/// Spelled as `first-last`, as a prefix (host bits are cleared) or as one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Range {
    first: IpAddr,
    last: IpAddr,
}

impl Range {
    /// A range from its ends.
    ///
    /// # Errors
    /// The ends are of two families, or the last lies before the first.
    pub fn new(first: IpAddr, last: IpAddr) -> Result<Self, RangeError> {
        if Family::of(first) != Family::of(last) {
            return Err(RangeError::MixedFamilies { first, last });
        }
        if last < first {
            return Err(RangeError::Reversed { first, last });
        }
        Ok(Self { first, last })
    }

    /// The lowest address.
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// The highest address, part of the range.
    pub fn last(&self) -> IpAddr {
        self.last
    }

    /// The family of both ends.
    pub fn family(&self) -> Family {
        Family::of(self.first)
    }

    /// How many addresses it has.
    pub fn size(&self) -> Count {
        Count::up_to(position(self.last) - position(self.first))
    }

    /// Whether the address lies inside.
    pub fn contains(&self, address: IpAddr) -> bool {
        // Addresses of different families never compare as lying between: all of IPv4 orders before all of IPv6.
        self.first <= address && address <= self.last
    }

    /// Whether the two have an address in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// The range without its two ends; `None` where nothing would remain.
    pub fn inner(&self) -> Option<Self> {
        let (first, last) = (position(self.first), position(self.last));
        if last - first < 2 {
            return None;
        }
        let family = self.family();
        Some(Self {
            first: at(family, first + 1),
            last: at(family, last - 1),
        })
    }

    /// Its addresses in ascending order.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let family = self.family();
        (position(self.first)..=position(self.last)).map(move |position| at(family, position))
    }
}

impl From<IpNet> for Range {
    fn from(prefix: IpNet) -> Self {
        Self {
            first: prefix.network(),
            last: prefix.broadcast(),
        }
    }
}

impl From<IpAddr> for Range {
    fn from(address: IpAddr) -> Self {
        Self {
            first: address,
            last: address,
        }
    }
}

impl FromStr for Range {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let address = |part: &str| {
            part.trim()
                .parse::<IpAddr>()
                .map_err(|_| RangeError::NotAnAddress {
                    text: part.trim().to_owned(),
                })
        };
        if text.contains('/') {
            let prefix: IpNet = text.trim().parse().map_err(|_| RangeError::NotAPrefix {
                text: text.trim().to_owned(),
            })?;
            return Ok(prefix.into());
        }
        match text.split_once('-') {
            Some((first, last)) => Self::new(address(first)?, address(last)?),
            None => Ok(address(text)?.into()),
        }
    }
}

/// `first - last`, as conditions spell it.
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} - {}", self.first, self.last)
    }
}

/// The address as a number, within its family.
pub(crate) fn position(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// The address at a position of a family. Positions of IPv4 come from IPv4 addresses and fit.
pub(crate) fn at(family: Family, position: u128) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from(u32::try_from(position).unwrap_or(u32::MAX))),
        Family::V6 => IpAddr::V6(Ipv6Addr::from(position)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Range {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_prefix_loses_its_host_bits() {
        assert_eq!(range("10.0.0.12/24"), range("10.0.0.0 - 10.0.0.255"));
        assert_eq!(range("10.0.0.7").to_string(), "10.0.0.7 - 10.0.0.7");
    }

    #[test]
    fn ends_must_be_of_one_family_and_in_order() {
        assert!(matches!(
            "10.0.0.9-10.0.0.1".parse::<Range>(),
            Err(RangeError::Reversed { .. })
        ));
        assert!(matches!(
            "10.0.0.9-fd00::1".parse::<Range>(),
            Err(RangeError::MixedFamilies { .. })
        ));
        assert!(matches!(
            "10.0.300.1".parse::<Range>(),
            Err(RangeError::NotAnAddress { .. })
        ));
        assert!(matches!(
            "10.0.0.0/33".parse::<Range>(),
            Err(RangeError::NotAPrefix { .. })
        ));
    }

    #[test]
    fn both_ends_belong_to_it() {
        let block = range("10.0.0.4-10.0.0.6");
        assert!(block.contains(ip("10.0.0.4")) && block.contains(ip("10.0.0.6")));
        assert!(!block.contains(ip("10.0.0.3")) && !block.contains(ip("10.0.0.7")));
        assert!(!range("0.0.0.0/0").contains(ip("::ffff:10.0.0.1")));
        assert!(!range("::/0").contains(ip("10.0.0.1")));
        assert_eq!(block.addresses().count(), 3);
    }

    #[test]
    fn neighbours_do_not_overlap() {
        assert!(!range("10.0.0.0-10.0.0.9").overlaps(&range("10.0.0.10-10.0.0.19")));
        assert!(range("10.0.0.0-10.0.0.9").overlaps(&range("10.0.0.9-10.0.0.19")));
        assert!(!range("0.0.0.0/0").overlaps(&range("::/0")));
    }

    #[test]
    fn sizes_reach_beyond_128_bits() {
        assert_eq!(
            range("fd00::/64").size().to_string(),
            "18446744073709551616"
        );
        assert_eq!(
            range("::/0").size().to_string(),
            "340282366920938463463374607431768211456"
        );
    }

    #[test]
    fn only_more_than_two_addresses_have_something_between_the_ends() {
        assert_eq!(
            range("10.0.0.0/30").inner(),
            Some(range("10.0.0.1-10.0.0.2"))
        );
        assert_eq!(range("10.0.0.0/31").inner(), None);
        assert_eq!(range("fd00::/128").inner(), None);
    }
}
