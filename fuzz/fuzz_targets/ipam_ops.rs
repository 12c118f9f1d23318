//! Whatever is asked of the allocator, no address has two holders that may not share it, and its books agree.
#![cfg_attr(fuzzing, no_main)]

use std::net::IpAddr;

use arbitrary::{Result, Unstructured};
use ipam::{
    Allocator, Consent, Exposure, Family, Pool, PoolKey, PoolRange, Port, Range, Request, Sharing,
    Wanted,
};

const OWNERS: u8 = 8;

fuzz_support::target!(|octets: &[u8]| {
    let mut allocator = Allocator::default();
    let mut input = Unstructured::new(octets);
    while !input.is_empty() && operate(&mut allocator, &mut input).is_ok() {
        check(&allocator);
    }
});

fn operate(allocator: &mut Allocator<u8>, input: &mut Unstructured<'_>) -> Result<()> {
    let owner = input.int_in_range(0..=OWNERS - 1)?;
    let keys = [PoolKey(0), PoolKey(1)];
    match input.int_in_range(0..=6)? {
        0 => {
            let pools = [pool(input)?, pool(input)?];
            allocator.set_pools(keys.into_iter().zip(pools));
        }
        1 | 2 => {
            let wanted = match input.arbitrary()? {
                0u8 => Wanted::Any(Family::V6),
                1..=127 => Wanted::Any(Family::V4),
                _ => Wanted::Address(address(input)?),
            };
            let (pools, join) = (&keys[input.int_in_range(0..=2)?..], &keys);
            let request = Request {
                owner,
                wanted,
                pools,
                join,
            };
            if let Ok(address) = allocator.assign(&request) {
                assert!(allocator.held_by(owner).contains(&address));
            }
        }
        3 => {
            let _ = allocator.restore(
                owner,
                address(input)?,
                keys.get(input.int_in_range(0..=2)?).copied(),
            );
        }
        4 => {
            allocator.release(owner, address(input)?);
        }
        5 => allocator.forget(owner),
        _ => {
            let sharing = sharing(input)?;
            allocator.set_sharing(owner, sharing);
            separate(allocator, owner);
        }
    }
    Ok(())
}

/// New terms take nothing away: whoever changed them gives up what does not suit any more.
fn separate(allocator: &mut Allocator<u8>, owner: u8) {
    for address in allocator.held_by(owner).to_vec() {
        let suits = |other: &u8| *other == owner || allocator.compatible(owner, *other).is_ok();
        if !allocator
            .holding(address)
            .is_some_and(|holding| holding.owners().all(suits))
        {
            allocator.release(owner, address);
        }
    }
}

fn check(allocator: &Allocator<u8>) {
    let mut held = std::collections::BTreeSet::new();
    for owner in 0..OWNERS {
        for address in allocator.held_by(owner) {
            held.insert(*address);
            let holding = allocator.holding(*address).expect("what is held is in use");
            for other in holding.owners().filter(|other| **other != owner) {
                assert_eq!(allocator.compatible(owner, *other), Ok(()));
            }
        }
    }
    assert_eq!(held.len(), allocator.len());
    for usage in [PoolKey(0), PoolKey(1)]
        .iter()
        .filter_map(|key| allocator.usage(*key))
    {
        assert!(usage.available() <= usage.total);
    }
}

fn address(input: &mut Unstructured<'_>) -> Result<IpAddr> {
    let last = input.int_in_range(0..=31)?;
    Ok(if input.ratio(1, 8)? {
        [0xfd00, 0, 0, 0, 0, 0, 0, u16::from(last)].into()
    } else {
        [10, 0, 0, last].into()
    })
}

fn pool(input: &mut Unstructured<'_>) -> Result<Pool> {
    let ranges = (0..input.int_in_range(0..=3)?).filter_map(|_| {
        let (first, last) = (address(input).ok()?, address(input).ok()?);
        let range = Range::new(first, last).ok()?;
        Some(PoolRange {
            range,
            reserve_ends: input.arbitrary().ok()?,
        })
    });
    Ok(Pool::new(ranges.collect()))
}

fn sharing(input: &mut Unstructured<'_>) -> Result<Option<Sharing>> {
    if input.ratio(1, 4)? {
        return Ok(None);
    }
    let mut sharing = Sharing {
        key: ["k", "l"][usize::from(input.arbitrary::<bool>()?)].to_owned(),
        group: ["t", "u"][usize::from(input.arbitrary::<bool>()?)].to_owned(),
        consent: if input.arbitrary()? {
            Consent::Everybody
        } else {
            Consent::Groups(vec!["t".into()])
        },
        ports: vec![Port {
            number: input.int_in_range(80..=83)?,
            protocol: "TCP".into(),
        }],
        exposure: Exposure::Everywhere,
    };
    sharing.sort_ports();
    Ok(Some(sharing))
}
