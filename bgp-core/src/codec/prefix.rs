use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{Truncated, Writer};
use crate::types::Prefix;

impl Prefix {
    /// Appends the prefix as NLRI (RFC 4271 section 4.3): the length octet and what is significant of the address.
    #[inline]
    pub fn write(&self, writer: &mut Writer) {
        let length = self.length();
        let octets = 1 + usize::from(length).div_ceil(8);
        match self.net() {
            IpNet::V4(net) => {
                let [a, b, c, d] = net.addr().octets();
                writer.leading([length, a, b, c, d], octets);
            }
            IpNet::V6(net) => {
                writer.u8(length);
                writer.leading(net.addr().octets(), octets - 1);
            }
        }
    }

    /// The IPv4 prefix at the start of the octets, and what follows it.
    #[inline]
    pub(crate) fn read_v4<'a>(
        octets: &'a [u8],
        run: &mut Run,
    ) -> Result<(Self, &'a [u8]), Truncated> {
        let (&length, rest) = octets.split_first().ok_or(Truncated)?;
        let (address, rest) = address(rest, run.significant(length))?;
        let bits = u32::from(Ipv4Addr::from(address));
        Ok((Self::from_v4_bits(bits, length).ok_or(Truncated)?, rest))
    }

    /// The IPv6 prefix at the start of the octets, and what follows it.
    #[inline]
    pub(crate) fn read_v6<'a>(
        octets: &'a [u8],
        run: &mut Run,
    ) -> Result<(Self, &'a [u8]), Truncated> {
        let (&length, rest) = octets.split_first().ok_or(Truncated)?;
        let (address, rest) = address(rest, run.significant(length))?;
        let bits = u128::from(Ipv6Addr::from(address));
        Ok((Self::from_v6_bits(bits, length).ok_or(Truncated)?, rest))
    }
}

/// A run of entries of one size.
///
/// Where the next entry starts depends on the length of this one, which makes a walk over entries a chain of loads. But
/// sizes mostly stay the same: as long as one is the expected one, which a processor predicts, the step does not wait
/// for it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Run {
    significant: usize,
}

impl Run {
    /// Octets of the address that an entry of that length in bits has.
    #[inline]
    pub(crate) fn significant(&mut self, length: u8) -> usize {
        let significant = usize::from(length).div_ceil(8);
        if significant != self.significant {
            *self = Self::starting(significant);
        }
        self.significant
    }

    /// Hidden from the optimizer, which would see that both sides of the branch are equal and make one chain of them.
    #[inline(never)]
    fn starting(significant: usize) -> Self {
        Self {
            significant: black_box(significant),
        }
    }
}

/// The address of an entry, as far as it matters, and what follows it.
#[inline]
fn address<const N: usize>(
    octets: &[u8],
    significant: usize,
) -> Result<([u8; N], &[u8]), Truncated> {
    match octets.first_chunk::<N>() {
        Some(whole) => Ok((*whole, octets.get(significant..).ok_or(Truncated)?)),
        None => padded(octets, significant),
    }
}

/// The last entry of a list has fewer octets behind it than an address: what is there, then zeros.
fn padded<const N: usize>(
    octets: &[u8],
    significant: usize,
) -> Result<([u8; N], &[u8]), Truncated> {
    let (there, rest) = octets.split_at_checked(significant).ok_or(Truncated)?;
    let mut address = [0; N];
    address
        .get_mut(..significant)
        .ok_or(Truncated)?
        .copy_from_slice(there);
    Ok((address, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_v4(octets: &[u8]) -> Result<(Prefix, &[u8]), Truncated> {
        Prefix::read_v4(octets, &mut Run::default())
    }

    fn read_v6(octets: &[u8]) -> Result<(Prefix, &[u8]), Truncated> {
        Prefix::read_v6(octets, &mut Run::default())
    }

    #[test]
    fn a_prefix_reads_back_as_it_was_written() {
        for text in [
            "0.0.0.0/0",
            "10.0.0.0/7",
            "10.0.0.0/8",
            "10.128.0.0/9",
            "192.0.2.1/32",
        ] {
            let prefix: Prefix = text.parse().unwrap();
            let mut writer = Writer::new();
            prefix.write(&mut writer);
            assert_eq!(writer.len(), prefix.wire_length());
            assert_eq!(read_v4(&writer.finish()), Ok((prefix, &[][..])));
        }
        for text in [
            "::/0",
            "2001:db8::/32",
            "2001:db8:8000::/33",
            "2001:db8::1/128",
        ] {
            let prefix: Prefix = text.parse().unwrap();
            let mut writer = Writer::new();
            prefix.write(&mut writer);
            writer.slice(&[0xFF; 20]);
            assert_eq!(read_v6(&writer.finish()), Ok((prefix, &[0xFF; 20][..])));
        }
    }

    #[test]
    fn noise_behind_the_length_is_masked() {
        let (prefix, rest) = read_v4(&[9, 10, 0xFF, 1]).unwrap();
        assert_eq!(
            (prefix.to_string().as_str(), rest),
            ("10.128.0.0/9", &[1][..])
        );
    }

    #[test]
    fn lengths_beyond_the_address_or_the_octets_are_refused() {
        for octets in [
            &[33, 1, 2, 3, 4, 5][..],
            &[255, 1, 2, 3, 4],
            &[32, 1, 2, 3],
            &[33],
            &[],
        ] {
            assert_eq!(read_v4(octets), Err(Truncated), "{octets:?}");
        }
        assert_eq!(read_v6(&[129; 18]), Err(Truncated));
        assert_eq!(read_v6(&[128; 16]), Err(Truncated));
    }
}
