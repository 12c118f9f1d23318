use std::fmt;
use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::str::FromStr;

/// A BGP Identifier: four octets, never zero, compared as an unsigned number (RFC 6286).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouterId(NonZeroU32);

impl RouterId {
    /// Refuses `0.0.0.0`.
    pub fn new(octets: Ipv4Addr) -> Option<Self> {
        NonZeroU32::new(u32::from(octets)).map(Self)
    }

    /// In the dotted form that routers print.
    pub fn as_ipv4(self) -> Ipv4Addr {
        Ipv4Addr::from(self.0.get())
    }
}

impl fmt::Display for RouterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ipv4().fmt(f)
    }
}

impl FromStr for RouterId {
    type Err = ParseRouterIdError;

    /// Reads the dotted form.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse()
            .ok()
            .and_then(Self::new)
            .ok_or_else(|| ParseRouterIdError {
                text: text.to_owned(),
            })
    }
}

/// The text is not a BGP Identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a BGP Identifier (an IPv4 address other than 0.0.0.0)")]
pub struct ParseRouterIdError {
    text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_no_identifier() {
        assert!("0.0.0.0".parse::<RouterId>().is_err());
        assert!("10.0.0".parse::<RouterId>().is_err());
        assert_eq!(
            "10.0.0.1".parse::<RouterId>().unwrap().to_string(),
            "10.0.0.1"
        );
    }

    #[test]
    fn identifiers_compare_as_unsigned_numbers() {
        let id = |text: &str| text.parse::<RouterId>().unwrap();
        assert!(id("200.0.0.1") > id("100.255.255.255"));
    }
}
