//! From raw objects to the [`Snapshot`]: each object is converted once, and an invalid one stays as it was last valid.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::objects::{Kind, Object, ObjectKey, Objects};
use super::{
    EndpointSlice, Fault, L2Policy, Node, ObjectName, Password, PeeringPolicy, PodIpPool, Pool,
    Problem, Service, Snapshot, advice, endpoints, l2_policy, node, peering_policy, pod_ip_pool,
    pool, service,
};

/// Statuses on record for objects whose own status does not count (see [`Store::update`]).
pub type RecordedStatuses = BTreeMap<ObjectKey, Arc<Value>>;

/// The converted objects.
#[derive(Debug, Default)]
pub struct Store {
    entries: BTreeMap<ObjectKey, Entry>,
    problems: Vec<Problem>,
}

#[derive(Debug)]
struct Entry {
    object: Arc<Object>,
    status: Option<Arc<Value>>,
    /// As last valid; `None` for an object that never was.
    converted: Option<Converted>,
    /// What is wrong with it, and whether the last valid version stays in force for that.
    faults: Vec<(Fault, bool)>,
}

impl Entry {
    /// Whether this is what became of such an object with such a status, wherever the object stands now.
    fn is_of(&self, object: &Arc<Object>, status: Option<&Arc<Value>>) -> bool {
        let same_object = Arc::ptr_eq(&self.object, object)
            || (self.object.value == object.value && self.object.password == object.password);
        let same_status = match (&self.status, status) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one == other,
            _ => false,
        };
        same_object && same_status
    }
}

/// One converted object of any kind.
#[derive(Clone, Debug)]
enum Converted {
    Node(Node),
    CiliumNode(Node),
    Service(Service),
    EndpointSlice(Option<EndpointSlice>),
    Secret(Option<Password>),
    Pool(Pool),
    PeeringPolicy(PeeringPolicy),
    L2Policy(L2Policy),
    PodIpPool(PodIpPool),
}

impl Store {
    /// Takes all objects there are now. Only those that changed since the last call are converted; what is not among
    /// them is forgotten. A status in `recorded` counts in place of the object's own.
    pub fn update(&mut self, objects: &Objects, recorded: &RecordedStatuses) {
        let mut former = std::mem::take(&mut self.entries);
        for (key, object) in objects.iter() {
            let status = recorded.get(key);
            let entry = match former.remove(key) {
                Some(entry) if entry.is_of(object, status) => Entry {
                    object: object.clone(),
                    ..entry
                },
                former => convert(
                    key,
                    object,
                    status,
                    former.and_then(|entry| entry.converted),
                ),
            };
            self.entries.insert(key.clone(), entry);
        }
        self.problems = objects.problems().to_vec();
    }

    /// The cluster as the objects say; complete, for whoever reads files has them all.
    pub fn snapshot(&self) -> Snapshot {
        let mut snapshot = Snapshot {
            complete: true,
            problems: self.problems.clone(),
            ..Snapshot::default()
        };
        let (mut nodes, mut cilium_nodes) = (BTreeMap::new(), BTreeMap::new());
        for (key, entry) in &self.entries {
            let problem = |(fault, in_force): &(Fault, bool)| {
                problem(key, &entry.object, fault.clone(), *in_force)
            };
            snapshot.problems.extend(entry.faults.iter().map(problem));
            let ObjectName { name, .. } = &key.name;
            match &entry.converted {
                None | Some(Converted::EndpointSlice(None)) => {}
                Some(Converted::Node(node)) => drop(nodes.insert(name, node)),
                Some(Converted::CiliumNode(node)) => drop(cilium_nodes.insert(name, node)),
                Some(Converted::Service(service)) => {
                    drop(snapshot.services.insert(key.name.clone(), service.clone().into()))
                }
                Some(Converted::EndpointSlice(Some(slice))) => {
                    snapshot
                        .endpoints
                        .entry(slice.service.clone())
                        .or_default()
                        .push(slice.clone());
                }
                Some(Converted::Secret(password)) => {
                    drop(snapshot.passwords.insert(name.clone(), password.clone()))
                }
                Some(Converted::Pool(pool)) => {
                    drop(snapshot.pools.insert(name.clone(), pool.clone()))
                }
                Some(Converted::PeeringPolicy(policy)) => {
                    snapshot
                        .peering_policies
                        .insert(name.clone(), policy.clone());
                }
                Some(Converted::L2Policy(policy)) => {
                    drop(snapshot.l2_policies.insert(name.clone(), policy.clone()))
                }
                Some(Converted::PodIpPool(pool)) => {
                    drop(snapshot.pod_ip_pools.insert(name.clone(), pool.clone()))
                }
            }
        }
        for name in nodes.keys().chain(cilium_nodes.keys()) {
            if let Some(node) =
                node::merge(nodes.get(name).copied(), cilium_nodes.get(name).copied())
            {
                snapshot.nodes.insert((*name).clone(), node);
            }
        }
        let advice = advice::on(&snapshot)
            .into_iter()
            .filter_map(|(key, fault)| {
                self.entries
                    .get(&key)
                    .map(|entry| problem(&key, &entry.object, fault, false))
            });
        snapshot.problems.extend(advice.collect::<Vec<_>>());
        snapshot
    }
}

/// Converts one object; `last_valid` is what it was before.
fn convert(
    key: &ObjectKey,
    object: &Arc<Object>,
    recorded: Option<&Arc<Value>>,
    last_valid: Option<Converted>,
) -> Entry {
    let (name, value) = (&key.name, &object.value);
    let own_status = value.get("status").unwrap_or(&Value::Null);
    let status = recorded.map_or(own_status, |status| status);
    let result = match key.kind {
        Kind::Node => {
            node::convert(name, value).map(|(node, notes)| (Converted::Node(node), notes))
        }
        Kind::CiliumNode => node::convert_cilium(name, value)
            .map(|(node, notes)| (Converted::CiliumNode(node), notes)),
        Kind::Service => service::convert(name, value, status)
            .map(|(service, notes)| (Converted::Service(service), notes)),
        Kind::EndpointSlice => endpoints::convert(name, value)
            .map(|(slice, notes)| (Converted::EndpointSlice(slice), notes)),
        Kind::Secret => match &object.password {
            Ok(password) => Ok((Converted::Secret(password.clone()), vec![])),
            Err(fault) => Err(vec![fault.clone()]),
        },
        Kind::CiliumLoadBalancerIPPool => {
            return convert_pool(key, object, recorded, status, last_valid);
        }
        Kind::CiliumBGPPeeringPolicy => peering_policy::convert(name, value)
            .map(|(policy, notes)| (Converted::PeeringPolicy(policy), notes)),
        Kind::CiliumL2AnnouncementPolicy => l2_policy::convert(name, value)
            .map(|(policy, notes)| (Converted::L2Policy(policy), notes)),
        Kind::CiliumPodIPPool => pod_ip_pool::convert(name, value)
            .map(|(pool, notes)| (Converted::PodIpPool(pool), notes)),
    };
    let (converted, faults, in_force) = match result {
        Ok((converted, notes)) => (Some(converted), notes, false),
        Err(faults) => {
            let mut converted = last_valid;
            if let Some(Converted::Service(service)) = &mut converted {
                service.take_status(status);
            }
            let in_force = converted.is_some();
            (converted, faults, in_force)
        }
    };
    // A Secret that cannot be read is there all the same: it is its password that is missing.
    let converted =
        converted.or_else(|| (key.kind == Kind::Secret).then_some(Converted::Secret(None)));
    let faults = faults.into_iter().map(|fault| (fault, in_force)).collect();
    Entry {
        object: object.clone(),
        status: recorded.cloned(),
        converted,
        faults,
    }
}

fn convert_pool(
    key: &ObjectKey,
    object: &Arc<Object>,
    recorded: Option<&Arc<Value>>,
    status: &Value,
    last_valid: Option<Converted>,
) -> Entry {
    let pool::ConvertedPool {
        mut pool,
        faults,
        notes,
    } = pool::convert(&key.name, &object.value, status);
    if pool.spec.is_err() {
        pool.last_valid = match last_valid {
            Some(Converted::Pool(former)) => former.spec_in_force().cloned(),
            _ => None,
        };
    }
    let in_force = pool.last_valid.is_some();
    let faults = faults.into_iter().map(|fault| (fault, in_force));
    let faults = faults
        .chain(notes.into_iter().map(|note| (note, false)))
        .collect();
    Entry {
        object: object.clone(),
        status: recorded.cloned(),
        converted: Some(Converted::Pool(pool)),
        faults,
    }
}

fn problem(key: &ObjectKey, object: &Object, fault: Fault, last_valid_in_force: bool) -> Problem {
    let place = object.place.as_ref().map(|place| place.of(&fault.field));
    Problem {
        object: key.to_string(),
        place,
        field: fault.field,
        message: fault.message,
        last_valid_in_force,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Document;
    use super::*;

    fn objects(values: &[Value]) -> Objects {
        let mut objects = Objects::default();
        for value in values {
            for (key, object) in Document::read(value.clone(), None, "kube-system").objects {
                objects.insert(key, object);
            }
        }
        objects
    }

    fn pool(spec: Value) -> Value {
        json!({"apiVersion": "cilium.io/v2", "kind": "CiliumLoadBalancerIPPool", "metadata": {"name": "p"}, "spec": spec})
    }

    fn policy(asn: i64) -> Value {
        json!({"apiVersion": "cilium.io/v2alpha1", "kind": "CiliumBGPPeeringPolicy", "metadata": {"name": "b"}, "spec":
            {"virtualRouters": [{"localASN": asn, "serviceSelector": {}, "neighbors": [{"peerAddress": "10.0.0.1/32", "peerASN": 1}]}]}})
    }

    fn update(store: &mut Store, values: &[Value]) -> Snapshot {
        store.update(&objects(values), &RecordedStatuses::new());
        store.snapshot()
    }

    #[test]
    fn a_pool_that_turns_invalid_stays_in_force_as_it_was() {
        let mut store = Store::default();
        let good = json!({"blocks": [{"cidr": "10.0.0.0/28"}]});
        let snapshot = update(&mut store, &[pool(good.clone())]);
        let valid = snapshot.pools["p"].spec.clone().unwrap();
        for _ in 0..2 {
            let snapshot = update(
                &mut store,
                &[pool(json!({"blocks": [{"cidr": "10.0.0.0/99"}]}))],
            );
            assert!(snapshot.pools["p"].spec.is_err());
            assert_eq!(snapshot.pools["p"].last_valid.as_ref(), Some(&valid));
            assert!(snapshot.problems[0].last_valid_in_force);
            assert_eq!(snapshot.problems[0].field, "spec.blocks[0]");
        }
        let snapshot = update(&mut store, &[pool(good)]);
        assert_eq!(snapshot.pools["p"].spec.as_ref(), Ok(&valid));
        assert!(snapshot.problems.is_empty());
        update(&mut store, &[]);
        let snapshot = update(&mut store, &[pool(json!({"blocks": [{}]}))]);
        assert_eq!(
            snapshot.pools["p"].last_valid, None,
            "a deleted pool is forgotten"
        );
    }

    #[test]
    fn a_policy_that_turns_invalid_stays_in_force_as_it_was() {
        let mut store = Store::default();
        let valid = update(&mut store, &[policy(64512)]).peering_policies;
        let snapshot = update(&mut store, &[policy(-1)]);
        assert_eq!(snapshot.peering_policies, valid);
        assert!(snapshot.problems[0].last_valid_in_force);
        let mut fresh = Store::default();
        let snapshot = update(&mut fresh, &[policy(-1)]);
        assert!(snapshot.peering_policies.is_empty());
        assert!(!snapshot.problems[0].last_valid_in_force);
    }

    #[test]
    fn a_recorded_status_counts_in_place_of_the_objects_own() {
        let service = |kind: &str| {
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"type": kind},
            "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}]}}})
        };
        let first_ip = |snapshot: &Snapshot| {
            snapshot.services.values().next().unwrap().ingress[0]
                .ip
                .unwrap()
                .to_string()
        };
        let mut store = Store::default();
        assert_eq!(
            first_ip(&update(&mut store, &[service("LoadBalancer")])),
            "10.0.0.1"
        );
        let key = ObjectKey {
            kind: Kind::Service,
            name: ObjectName {
                namespace: "default".into(),
                name: "s".into(),
            },
        };
        let recorded = |ip: &str| {
            RecordedStatuses::from([(
                key.clone(),
                Arc::new(json!({"loadBalancer": {"ingress": [{"ip": ip}]}})),
            )])
        };
        store.update(&objects(&[service("LoadBalancer")]), &recorded("10.0.0.2"));
        assert_eq!(first_ip(&store.snapshot()), "10.0.0.2");
        store.update(&objects(&[service("nonsense")]), &recorded("10.0.0.3"));
        let snapshot = store.snapshot();
        assert_eq!(
            first_ip(&snapshot),
            "10.0.0.3",
            "an invalid Service keeps its spec, not its old status"
        );
        assert!(snapshot.services.values().next().unwrap().is_load_balancer);
    }

    #[test]
    fn only_what_changed_is_converted_again() {
        let mut store = Store::default();
        let all = objects(&[policy(1), pool(json!({}))]);
        store.update(&all, &RecordedStatuses::new());
        let first: Vec<_> = store
            .entries
            .values()
            .map(|entry| std::ptr::from_ref(entry.object.as_ref()))
            .collect();
        store.update(&all.clone(), &RecordedStatuses::new());
        let second: Vec<_> = store
            .entries
            .values()
            .map(|entry| std::ptr::from_ref(entry.object.as_ref()))
            .collect();
        assert_eq!(first, second);
    }

    #[test]
    fn nodes_are_there_with_either_object_and_secrets_even_when_unreadable() {
        let mut store = Store::default();
        let snapshot = update(
            &mut store,
            &[
                json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}}),
                json!({"apiVersion": "cilium.io/v2", "kind": "CiliumNode", "metadata": {"name": "b"}}),
                json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "good", "namespace": "kube-system"}, "stringData": {"password": "x"}}),
                json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bad", "namespace": "kube-system"}, "data": {"password": "?"}}),
            ],
        );
        assert_eq!(snapshot.nodes.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(snapshot.passwords["bad"], None);
        assert!(snapshot.passwords["good"].is_some());
        assert_eq!(snapshot.problems[0].object, "Secret kube-system/bad");
    }
}
