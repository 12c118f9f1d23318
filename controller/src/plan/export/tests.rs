use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::testing::{merged, node, policy as peering_policy, router, snapshot};
use super::*;

/// What a policy does to a route: what is added, and the preference, as text.
fn effect(policy: &Policy, prefix: &str) -> (Vec<u32>, usize, Option<u32>) {
    let net: IpNet = prefix.parse().unwrap();
    let matches = |statement: &&Statement| {
        statement.matches.iter().all(|condition| match condition {
            Match::Prefix(list) => list.iter().any(|it| {
                it.prefix.net().contains(&net) && (it.ge..=it.le).contains(&net.prefix_len())
            }),
            _ => false,
        })
    };
    let (mut communities, mut large, mut preference) = (vec![], 0, None);
    for action in policy
        .statements
        .iter()
        .find(matches)
        .into_iter()
        .flat_map(|statement| &statement.actions)
    {
        match action {
            Action::AddCommunities(added) => {
                communities.extend(added.iter().map(|community| community.0))
            }
            Action::AddLargeCommunities(added) => large += added.len(),
            Action::SetLocalPref(value) => preference = Some(*value),
            other => panic!("{other:?}"),
        }
    }
    (communities, large, preference)
}

fn pool(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "cilium.io/v2", "kind": "CiliumLoadBalancerIPPool", "metadata": {"name": name, "labels": {"pool": name}}, "spec": spec})
}

fn policy_of(objects: Vec<Value>, entries: Value, internal: bool) -> Policy {
    let neighbor = json!({"peerAddress": "192.168.10.1/32", "peerASN": 64513, "advertisedPathAttributes": entries});
    let policy = peering_policy("p", json!([router(json!({"neighbors": [neighbor]}))]));
    let snapshot = snapshot(
        objects
            .into_iter()
            .chain([node("k3s1", &["192.168.10.21"]), policy]),
    );
    let entries = &snapshot.peering_policies["p"].virtual_routers[0].neighbors[0].path_attributes;
    super::policy(&snapshot, &snapshot.nodes["k3s1"], entries, internal)
}

fn of_pool(name: &str, more: Value) -> Value {
    merged(
        json!({"selectorType": "CiliumLoadBalancerIPPool", "selector": {"matchLabels": {"pool": name}}}),
        more,
    )
}

#[test]
fn without_entries_everything_passes_unchanged() {
    assert_eq!(policy_of(vec![], json!([]), true), Policy::accept_all());
    let empty = policy_of(vec![], json!([{"selectorType": "PodCIDR"}]), true);
    assert_eq!(
        empty,
        Policy::accept_all(),
        "an entry that adds nothing is no statement"
    );
}

#[test]
fn host_routes_inside_a_pool_are_decorated_and_others_are_not() {
    let pools = vec![pool(
        "a",
        json!({"blocks": [{"cidr": "10.0.0.0/28"}, {"start": "10.0.1.5", "stop": "10.0.1.9"}, {"cidr": "fd00::/64"}]}),
    )];
    let policy = policy_of(
        pools,
        json!([of_pool(
            "a",
            json!({"communities": {"standard": ["1"], "wellKnown": ["no-export"], "large": ["1:2:3"]}, "localPreference": 150})
        )]),
        true,
    );
    let decorated = (vec![1, 0xFFFF_FF01], 1, Some(150));
    for inside in [
        "10.0.0.0/32",
        "10.0.0.15/32",
        "10.0.1.5/32",
        "10.0.1.9/32",
        "fd00::1/128",
    ] {
        assert_eq!(effect(&policy, inside), decorated, "{inside}");
    }
    for outside in [
        "10.0.0.16/32",
        "10.0.1.4/32",
        "10.0.1.10/32",
        "10.0.0.0/28",
        "fd00:1::/128",
        "fd00::/64",
    ] {
        assert_eq!(effect(&policy, outside), (vec![], 0, None), "{outside}");
    }
    assert_eq!(policy.default, Verdict::Accept);
    assert_eq!(policy.statements.len(), 1);
}

#[test]
fn local_preference_is_for_internal_peers_alone() {
    let pools = vec![pool("a", json!({"blocks": [{"cidr": "10.0.0.0/28"}]}))];
    let policy = policy_of(
        pools,
        json!([of_pool("a", json!({"localPreference": 150}))]),
        false,
    );
    assert_eq!(policy, Policy::accept_all());
}

#[test]
fn entries_that_match_together_add_up_and_the_higher_preference_wins() {
    let pools = vec![
        pool("a", json!({"blocks": [{"cidr": "10.0.0.0/24"}]})),
        pool(
            "b",
            json!({"blocks": [{"cidr": "10.0.0.128/25"}, {"cidr": "10.0.1.0/24"}]}),
        ),
    ];
    let entries = json!([of_pool("a", json!({"communities": {"standard": ["1", "2"]}, "localPreference": 300})), of_pool("b", json!({"communities": {"standard": ["2", "3"]}, "localPreference": 200})),
        {"selectorType": "CiliumLoadBalancerIPPool", "communities": {"standard": ["9"]}}]);
    let policy = policy_of(pools, entries, true);
    assert_eq!(
        effect(&policy, "10.0.0.1/32"),
        (vec![1, 2, 9], 0, Some(300))
    );
    assert_eq!(
        effect(&policy, "10.0.0.200/32"),
        (vec![1, 2, 3, 9], 0, Some(300))
    );
    assert_eq!(
        effect(&policy, "10.0.1.1/32"),
        (vec![2, 3, 9], 0, Some(200))
    );
    assert_eq!(effect(&policy, "10.0.2.1/32"), (vec![], 0, None));
}

#[test]
fn disabled_and_broken_pools_decorate_nothing() {
    let pools = vec![
        pool(
            "a",
            json!({"blocks": [{"cidr": "10.0.0.0/24"}], "disabled": true}),
        ),
        pool("b", json!({"blocks": [{"cidr": "10.0.1.0/24"}, {}]})),
    ];
    let policy = policy_of(
        pools,
        json!([{"selectorType": "CiliumLoadBalancerIPPool", "communities": {"standard": ["1"]}}]),
        true,
    );
    assert_eq!(policy, Policy::accept_all());
}

#[test]
fn pod_cidrs_are_decorated_at_their_exact_length_if_the_node_matches() {
    let of = |selector: Value| {
        policy_of(
            vec![],
            json!([{"selectorType": "PodCIDR", "selector": selector, "communities": {"standard": ["7"]}}]),
            false,
        )
    };
    let policy = of(json!({"matchLabels": {"bgp": "enabled"}}));
    assert_eq!(effect(&policy, "10.42.1.0/24").0, [7]);
    assert_eq!(effect(&policy, "fd00:42:1::/64").0, [7]);
    assert!(effect(&policy, "10.42.1.1/32").0.is_empty());
    assert_eq!(
        of(json!({"matchLabels": {"bgp": "off"}})),
        Policy::accept_all()
    );
    assert_eq!(
        effect(&of(Value::Null), "10.42.1.0/24").0,
        [7],
        "an absent selector matches"
    );
}

#[test]
fn pod_pools_are_decorated_at_the_pools_own_length() {
    let cilium_node = json!({"apiVersion": "cilium.io/v2", "kind": "CiliumNode", "metadata": {"name": "k3s1"}, "spec": {"ipam": {"pools": {"allocated": [
        {"pool": "blue", "cidrs": ["10.10.0.0/26", "10.11.0.0/28"]}]}}}});
    let blue = json!({"apiVersion": "cilium.io/v2alpha1", "kind": "CiliumPodIPPool", "metadata": {"name": "blue"}, "spec": {"ipv4": {"maskSize": 26}}});
    let policy = policy_of(
        vec![cilium_node, blue],
        json!([{"selectorType": "CiliumPodIPPool", "communities": {"standard": ["7"]}}]),
        false,
    );
    assert_eq!(effect(&policy, "10.10.0.0/26").0, [7]);
    assert!(effect(&policy, "10.11.0.0/28").0.is_empty());
}

#[test]
fn the_policy_does_not_change_with_the_services() {
    let pools = || vec![pool("a", json!({"blocks": [{"cidr": "10.0.0.0/28"}]}))];
    let entries = || json!([of_pool("a", json!({"communities": {"large": ["1:2:3"]}}))]);
    let with_service = pools()
        .into_iter()
        .chain([super::super::testing::service("s", "10.0.0.1", json!({}))])
        .collect();
    assert_eq!(
        policy_of(pools(), entries(), false),
        policy_of(with_service, entries(), false)
    );
}

proptest! {
    /// The cut ranges say of every address exactly which entries have a block around it.
    #[test]
    fn ranges_are_cut_where_blocks_begin_and_end(blocks in proptest::collection::vec((0..60_u8, 0..20_u8, 0..4_usize), 0..12)) {
        let blocks: Vec<(u128, u128, usize)> = blocks.into_iter().map(|(first, length, entry)| (first.into(), u128::from(first) + u128::from(length), entry)).collect();
        let mut ranges = vec![];
        cut(&blocks, true, &mut ranges);
        for address in 0..100_u128 {
            let expected: Together = blocks.iter().filter(|(first, last, _)| (*first..=*last).contains(&address)).map(|(_, _, entry)| *entry).collect();
            let found: Vec<_> = ranges.iter().filter(|range| (range.first..=range.last).contains(&address)).collect();
            prop_assert!(found.len() <= 1);
            prop_assert_eq!(&expected, &found.first().map(|range| range.together.clone()).unwrap_or_default());
            let matched = ranges.iter().filter(|range| {
                let address = IpAddr::V4(Ipv4Addr::from(u32::try_from(address).unwrap()));
                range.host_routes().any(|it| it.prefix.net().contains(&address))
            });
            prop_assert_eq!(matched.count(), found.len());
        }
    }
}

#[test]
fn the_ends_of_the_address_space_are_no_special_case() {
    let pools = vec![pool(
        "a",
        json!({"blocks": [{"start": "255.255.255.254", "stop": "255.255.255.255"}, {"start": "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", "stop": "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}, {"start": "0.0.0.0"}, {"start": "::"}]}),
    )];
    let policy = policy_of(
        pools,
        json!([of_pool("a", json!({"communities": {"standard": ["1"]}}))]),
        false,
    );
    for inside in [
        "255.255.255.255/32",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
        "0.0.0.0/32",
        "::/128",
    ] {
        assert_eq!(effect(&policy, inside).0, [1], "{inside}");
    }
    assert!(effect(&policy, "128.0.0.0/32").0.is_empty());
}
