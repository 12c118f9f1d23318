//! What the fuzz targets share: how they are run, and where their contexts come from.
//!
//! `cargo fuzz run decode_message` looks for crashes. Without cargo-fuzz a target is an ordinary program that takes the
//! files named on its command line (a crash, a corpus) one after the other: `cargo run -p fuzz --bin decode_message -- FILE`.

use arbitrary::{Result, Unstructured};
use bgp_core::message::{Message, WireContext};
use bgp_core::types::{Afi, Family, Safi};
use bytes::Bytes;

#[cfg(fuzzing)]
pub use libfuzzer_sys;

/// Makes a function of octets the body of a fuzz target.
#[cfg(fuzzing)]
#[macro_export]
macro_rules! target {
    ($body:expr) => {
        $crate::libfuzzer_sys::fuzz_target!(|octets: &[u8]| $body(octets));
    };
}

/// Makes a function of octets the body of a fuzz target.
#[cfg(not(fuzzing))]
#[macro_export]
macro_rules! target {
    ($body:expr) => {
        fn main() -> std::io::Result<()> {
            std::env::args_os()
                .skip(1)
                .try_for_each(|file| std::fs::read(file).map(|octets| $body(&octets)))
        }
    };
}

/// Any combination of what two peers can negotiate.
///
/// # Errors
/// The input is used up.
pub fn context(input: &mut Unstructured<'_>) -> Result<WireContext> {
    let families = [
        Family::IPV4_UNICAST,
        Family::IPV6_UNICAST,
        Family {
            afi: Afi::IPV4,
            safi: Safi::MULTICAST,
        },
        Family {
            afi: Afi(input.arbitrary()?),
            safi: Safi(input.arbitrary()?),
        },
    ];
    let mut some = || -> Result<Vec<Family>> {
        let chosen: u8 = input.arbitrary()?;
        let chosen = families
            .iter()
            .enumerate()
            .filter(|(index, _)| chosen >> index & 1 == 1);
        Ok(chosen.map(|(_, family)| *family).collect())
    };
    let (spoken, add_path, extended_next_hop) = (some()?, some()?, some()?);
    Ok(WireContext {
        four_octet_as: input.arbitrary()?,
        external: input.arbitrary()?,
        families: spoken,
        add_path,
        extended_next_hop,
        max_message: if input.arbitrary()? {
            Message::MAX_EXTENDED
        } else {
            Message::MAX
        },
    })
}

/// A message of that type around the body, so that no time is spent on guessing headers.
pub fn message(kind: u8, body: &[u8]) -> Bytes {
    let length = u16::try_from(19 + body.len()).unwrap_or(u16::MAX);
    [&[0xFF; 16], length.to_be_bytes().as_slice(), &[kind], body]
        .concat()
        .into()
}
