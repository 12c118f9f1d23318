//! Communities in the text form of Cilium's objects.

use bgp_core::attribute::{Community, LargeCommunity};

const WELL_KNOWN: [(&str, u32); 14] = [
    ("internet", 0),
    ("planned-shut", 0xFFFF_0000),
    ("accept-own", 0xFFFF_0001),
    ("route-filter-translated-v4", 0xFFFF_0002),
    ("route-filter-v4", 0xFFFF_0003),
    ("route-filter-translated-v6", 0xFFFF_0004),
    ("route-filter-v6", 0xFFFF_0005),
    ("llgr-stale", 0xFFFF_0006),
    ("no-llgr", 0xFFFF_0007),
    ("blackhole", 0xFFFF_029A),
    ("no-export", 0xFFFF_FF01),
    ("no-advertise", 0xFFFF_FF02),
    ("no-export-subconfed", 0xFFFF_FF03),
    ("no-peer", 0xFFFF_FF04),
];

/// `65000:100` or a decimal number.
pub(super) fn standard(text: &str) -> Result<Community, String> {
    let read = || -> Option<u32> {
        match text.split_once(':') {
            Some((high, low)) => {
                Some(u32::from(number::<u16>(high)?) << 16 | u32::from(number::<u16>(low)?))
            }
            None => number(text),
        }
    };
    read().map(Community).ok_or_else(|| {
        format!("{text:?} is no community: write a:b, each 0 to 65535, or one number")
    })
}

/// A name of the registry.
pub(super) fn well_known(text: &str) -> Result<Community, String> {
    WELL_KNOWN
        .iter()
        .find(|(name, _)| *name == text)
        .map(|(_, value)| Community(*value))
        .ok_or_else(|| {
            let names: Vec<_> = WELL_KNOWN.iter().map(|(name, _)| *name).collect();
            format!("{text:?} is not one of {}", names.join(", "))
        })
}

/// `64512:1:2`.
pub(super) fn large(text: &str) -> Result<LargeCommunity, String> {
    let mut parts = text.split(':').map(number::<u32>);
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(Some(global)), Some(Some(local1)), Some(Some(local2)), None) => Ok(LargeCommunity {
            global,
            local1,
            local2,
        }),
        _ => Err(format!(
            "{text:?} is no large community: write a:b:c, each 0 to 4294967295"
        )),
    }
}

/// A decimal number without sign.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|octet| octet.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn communities_are_read_in_each_form() {
        assert_eq!(standard("65000:100"), Ok(Community(65000 << 16 | 100)));
        assert_eq!(standard("4294967295"), Ok(Community(u32::MAX)));
        assert_eq!(well_known("no-export"), Ok(Community(0xFFFF_FF01)));
        assert_eq!(well_known("blackhole"), Ok(Community(0xFFFF_0000 + 666)));
        assert_eq!(
            large("1:2:4294967295"),
            Ok(LargeCommunity {
                global: 1,
                local1: 2,
                local2: u32::MAX
            })
        );
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "",
            "1:",
            ":1",
            "1:65536",
            "4294967296",
            "+1:2",
            "1:2:3",
            "a:b",
            " 1:2",
        ] {
            assert!(standard(bad).is_err(), "{bad}");
        }
        for bad in ["", "1:2", "1:2:3:4", "1:2:4294967296", "1:-2:3"] {
            assert!(large(bad).is_err(), "{bad}");
        }
        assert!(well_known("No-Export").is_err());
    }
}
