use std::fmt;
use std::str::FromStr;

/// An autonomous system number of four octets (RFC 6793).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asn(pub u32);

impl Asn {
    /// AS_TRANS, which stands for a number that does not fit two octets (RFC 6793 section 9).
    pub const TRANS: Self = Self(23456);

    /// Whether the number fits the two octets of the OPEN message and of an old peer's AS_PATH.
    pub const fn is_two_octet(self) -> bool {
        self.0 <= 0xFFFF
    }

    /// The number as a speaker of two-octet numbers sees it: itself where it fits, AS_TRANS otherwise.
    pub const fn two_octet(self) -> u16 {
        let [high, mid, low @ ..] = self.0.to_be_bytes();
        if high == 0 && mid == 0 {
            u16::from_be_bytes(low)
        } else {
            23456
        }
    }

    /// Whether the number is for private use (RFC 6996).
    pub const fn is_private(self) -> bool {
        matches!(self.0, 64512..=65534 | 4_200_000_000..=4_294_967_294)
    }
}

impl fmt::Display for Asn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<u32> for Asn {
    fn from(number: u32) -> Self {
        Self(number)
    }
}

impl FromStr for Asn {
    type Err = ParseAsnError;

    /// Reads `4200000001` and the dotted `64086.59905` (RFC 5396), with or without a leading `AS`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ParseAsnError {
            text: text.to_owned(),
        };
        let number = text.strip_prefix("AS").unwrap_or(text);
        let parsed = match number.split_once('.') {
            None => digits::<u32>(number),
            Some((high, low)) => digits::<u16>(high)
                .zip(digits::<u16>(low))
                .map(|(high, low)| u32::from(high) << 16 | u32::from(low)),
        };
        parsed.map(Self).ok_or_else(refuse)
    }
}

/// A number without the sign that the standard library's parser would take.
fn digits<T: FromStr>(text: &str) -> Option<T> {
    text.bytes()
        .all(|octet| octet.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

/// The text is not an AS number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an AS number (0 to 4294967295, or dotted as in 1.10)")]
pub struct ParseAsnError {
    text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_and_dotted_numbers_parse() {
        assert_eq!("64512".parse(), Ok(Asn(64512)));
        assert_eq!("AS4200000001".parse(), Ok(Asn(4_200_000_001)));
        assert_eq!("1.10".parse(), Ok(Asn(65546)));
        for bad in ["", "AS", "-1", "+1", "4294967296", "1.65536", "1.2.3", "x"] {
            assert!(bad.parse::<Asn>().is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_above_two_octets_turn_into_as_trans() {
        assert_eq!(Asn(65535).two_octet(), 65535);
        assert_eq!(Asn(65536).two_octet(), 23456);
        assert_eq!(Asn(0x0100_0001).two_octet(), 23456);
        assert_eq!(u32::from(Asn(u32::MAX).two_octet()), Asn::TRANS.0);
    }
}
