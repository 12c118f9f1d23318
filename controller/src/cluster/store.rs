//! From raw objects to the [`Snapshot`]: each object is converted once, and an invalid one stays as it was last valid.
//!
//! A source either shows all objects there are ([`Store::update`]) or tells of each change ([`Store::apply`]); then what a
//! change costs does not grow with the conversions of all the others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;

use super::objects::{Kind, Object, ObjectKey, Objects, Place};
use super::{
    EndpointSlice, Fault, L2Policy, Name, Node, ObjectName, Password, PeeringPolicy, PodIpPool,
    Pool, Problem, Service, Snapshot, advice, endpoints, l2_policy, node, peering_policy,
    pod_ip_pool, pool, service,
};

/// Statuses on record for objects whose own status does not count (see [`Store::update`]).
pub type RecordedStatuses = BTreeMap<ObjectKey, Arc<Value>>;

/// The converted objects.
#[derive(Debug, Default)]
pub struct Store {
    entries: BTreeMap<ObjectKey, Entry>,
    /// The keys of entries with faults.
    faulty: BTreeSet<ObjectKey>,
    /// The snapshot as the entries say, but for its problems.
    snapshot: Snapshot,
    /// Whether the snapshot's problems are still those of the entries.
    problems_are_current: bool,
    /// Problems that belong to no object.
    problems: Vec<Problem>,
    /// Objects that came by [`apply`](Self::apply) and are kept as they were given.
    objects: Objects,
}

#[derive(Debug)]
struct Entry {
    /// `None` where nobody wants it as it was given.
    object: Option<Arc<Object>>,
    status: Option<Arc<Value>>,
    /// As last valid; `None` for an object that never was.
    converted: Option<Converted>,
    /// What is wrong with it, and whether the last valid version stays in force for that.
    faults: Vec<(Fault, bool)>,
}

impl Entry {
    /// Whether this is what became of such an object with such a status, wherever the object stands now.
    fn is_of(&self, object: &Arc<Object>, status: Option<&Arc<Value>>) -> bool {
        let same_object = self
            .object
            .as_ref()
            .is_some_and(|own| Arc::ptr_eq(own, object) || own.says_the_same(object));
        let same_status = match (&self.status, status) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one == other,
            _ => false,
        };
        same_object && same_status
    }

    fn place(&self) -> Option<&Place> {
        self.object.as_ref()?.place.as_ref()
    }
}

/// One converted object of any kind.
#[derive(Clone, Debug, PartialEq)]
enum Converted {
    Node(Arc<Node>),
    CiliumNode(Arc<Node>),
    Service(Arc<Service>),
    EndpointSlice(Option<Arc<EndpointSlice>>),
    Secret(Option<Password>),
    Pool(Arc<Pool>),
    PeeringPolicy(Arc<PeeringPolicy>),
    L2Policy(Arc<L2Policy>),
    PodIpPool(Arc<PodIpPool>),
}

impl Store {
    /// Takes all objects there are now. Only those that changed since the last call are converted; what is not among
    /// them is forgotten. A status in `recorded` counts in place of the object's own. With that, everything is there.
    pub fn update(&mut self, objects: &Objects, recorded: &RecordedStatuses) {
        let gone: Vec<_> = self
            .entries
            .keys()
            .filter(|key| objects.find(key).is_none())
            .cloned()
            .collect();
        for key in gone {
            self.put(&key, None);
        }
        for (key, object) in objects.iter() {
            let status = recorded.get(key);
            match self.entries.get_mut(key) {
                Some(entry) if entry.is_of(object, status) => entry.object = Some(object.clone()),
                former => {
                    let last_valid = former.and_then(|entry| entry.converted.clone());
                    let entry = convert(key, object, status, last_valid);
                    self.put(key, Some(entry));
                }
            }
        }
        self.problems = objects.problems().to_vec();
        // Objects may have moved within their files.
        self.problems_are_current = false;
        self.snapshot.complete = true;
    }

    /// Takes one object as it is now, or that it is gone. Returns whether anybody can see a difference.
    ///
    /// The object is kept [in little memory](Object::into_compact), or, where [nobody wants it](Kind::is_kept) as it was
    /// given, not at all.
    pub fn apply(&mut self, key: &ObjectKey, object: Option<Object>) -> bool {
        let Some(object) = object else {
            self.objects.remove(key);
            return self.put(key, None);
        };
        let key = &self.own_key(key);
        let former = self.entries.get(key);
        let object = Arc::new(object);
        let last_valid = former.and_then(|entry| entry.converted.clone());
        let mut entry = convert(key, &object, None, last_valid);
        if matches!(key.kind, Kind::Node | Kind::Service | Kind::EndpointSlice) {
            // The API server knows its own kinds better than we do: it may be newer.
            entry
                .faults
                .retain(|(fault, _)| !fault.is_of_unknown_field());
        }
        let mut news = false;
        // With this one dropped, the object is ours alone.
        entry.object = None;
        if key.kind.is_kept() {
            let mut object = Arc::unwrap_or_clone(object);
            object.forget_managers();
            let object = Arc::new(object.into_compact());
            news = former
                .and_then(|former| former.object.as_ref())
                .is_none_or(|former| !former.says_the_same(&object));
            if news {
                self.objects.replace(key.clone(), object.clone());
            }
            entry.object = Some(object);
        }
        self.put(key, Some(entry)) | news
    }

    /// The keys of all objects of a kind.
    pub fn keys(&self, kind: Kind) -> impl Iterator<Item = &ObjectKey> {
        let first = ObjectKey {
            kind,
            name: ObjectName::default(),
        };
        self.entries
            .range(first..)
            .map(|(key, _)| key)
            .take_while(move |key| key.kind == kind)
    }

    /// Says that every kind was listed in full at least once.
    pub fn set_complete(&mut self) {
        self.snapshot.complete = true;
        // Filled in order, as lists are, a map is half empty; built at once it is full.
        self.entries = std::mem::take(&mut self.entries).into_iter().collect();
        self.snapshot.services.pack();
        self.snapshot.endpoints.pack();
        self.objects.pack();
    }

    /// Says why a kind cannot be read, or that it can. Returns whether that is new.
    pub fn set_unreadable(&mut self, kind: Kind, reason: Option<String>) -> bool {
        let news = self.snapshot.unreadable.get(&kind) != reason.as_ref();
        if news {
            match reason {
                Some(reason) => drop(self.snapshot.unreadable.insert(kind, reason)),
                None => drop(self.snapshot.unreadable.remove(&kind)),
            }
            self.problems_are_current = false;
        }
        news
    }

    /// The cluster as the objects say.
    pub fn snapshot(&mut self) -> Snapshot {
        if !self.problems_are_current {
            self.snapshot.problems = self.all_problems();
            self.problems_are_current = true;
        }
        self.snapshot.clone()
    }

    /// The objects that came by [`apply`](Self::apply) and are kept as they were given.
    pub fn objects(&self) -> Objects {
        self.objects.clone()
    }

    /// The key with a name that is one in memory with its entry's, or at least a namespace that is one with its
    /// neighbours'.
    fn own_key(&self, key: &ObjectKey) -> ObjectKey {
        if let Some((own, _)) = self.entries.get_key_value(key) {
            return own.clone();
        }
        let first = ObjectKey {
            kind: key.kind,
            name: ObjectName {
                namespace: key.name.namespace.clone(),
                name: Name::default(),
            },
        };
        let neighbour = self.entries.range(first..).next();
        let namespace = neighbour
            .map(|(neighbour, _)| &neighbour.name.namespace)
            .filter(|namespace| **namespace == key.name.namespace)
            .unwrap_or(&key.name.namespace);
        ObjectKey {
            kind: key.kind,
            name: ObjectName {
                namespace: namespace.clone(),
                name: key.name.name.clone(),
            },
        }
    }

    /// Puts an entry in the place of the former one and brings the snapshot up to date. Returns whether anything in the
    /// snapshot is different now.
    fn put(&mut self, key: &ObjectKey, entry: Option<Entry>) -> bool {
        let (converted, faults) = match &entry {
            Some(entry) => (entry.converted.clone(), entry.faults.clone()),
            None => (None, vec![]),
        };
        let former = match entry {
            Some(entry) => self.entries.insert(key.clone(), entry),
            None => self.entries.remove(key),
        };
        let (former, former_faults) = match former {
            Some(former) => (former.converted, former.faults),
            None => (None, vec![]),
        };
        let other_faults = faults != former_faults;
        if other_faults {
            self.problems_are_current = false;
            if faults.is_empty() {
                self.faulty.remove(key);
            } else {
                self.faulty.insert(key.clone());
            }
        }
        let other_form = converted != former;
        if other_form {
            // Advice is on pools and nodes seen together.
            self.problems_are_current &= !matches!(
                key.kind,
                Kind::Node | Kind::CiliumNode | Kind::CiliumLoadBalancerIPPool
            );
            self.show(key, former, converted);
        }
        other_faults || other_form
    }

    /// Brings the snapshot up to date with one object.
    fn show(&mut self, key: &ObjectKey, former: Option<Converted>, converted: Option<Converted>) {
        let snapshot = &mut self.snapshot;
        let name = || String::from(&key.name.name);
        match (key.kind, converted) {
            (Kind::Node | Kind::CiliumNode, _) => self.show_node(&key.name),
            (_, Some(Converted::Service(service))) => {
                snapshot.services.insert(key.name.clone(), service);
            }
            (_, Some(Converted::Secret(password))) => {
                snapshot.passwords.insert(name(), password);
            }
            (_, Some(Converted::Pool(pool))) => {
                snapshot.pools.insert(name(), (*pool).clone());
            }
            (_, Some(Converted::PeeringPolicy(policy))) => {
                snapshot.peering_policies.insert(name(), (*policy).clone());
            }
            (_, Some(Converted::L2Policy(policy))) => {
                snapshot.l2_policies.insert(name(), (*policy).clone());
            }
            (_, Some(Converted::PodIpPool(pool))) => {
                snapshot.pod_ip_pools.insert(name(), (*pool).clone());
            }
            (Kind::EndpointSlice, converted) => {
                if let Some(Converted::EndpointSlice(Some(slice))) = former {
                    let others = |other: &Arc<EndpointSlice>| other.meta.name != key.name;
                    regroup(snapshot, &slice.service, others, None);
                }
                if let Some(Converted::EndpointSlice(Some(slice))) = converted {
                    let service = slice.service.clone();
                    regroup(snapshot, &service, |_| true, Some(slice));
                }
            }
            (Kind::Service, _) => drop(snapshot.services.remove(&key.name)),
            (Kind::Secret, _) => drop(snapshot.passwords.remove(&*key.name.name)),
            (Kind::CiliumLoadBalancerIPPool, _) => {
                drop(snapshot.pools.remove(&*key.name.name));
            }
            (Kind::CiliumBGPPeeringPolicy, _) => {
                drop(snapshot.peering_policies.remove(&*key.name.name));
            }
            (Kind::CiliumL2AnnouncementPolicy, _) => {
                drop(snapshot.l2_policies.remove(&*key.name.name));
            }
            (Kind::CiliumPodIPPool, _) => drop(snapshot.pod_ip_pools.remove(&*key.name.name)),
        }
    }

    /// Brings the snapshot up to date with one node, which is two objects.
    fn show_node(&mut self, name: &ObjectName) {
        let converted = |kind| {
            let name = name.clone();
            let entry = self.entries.get(&ObjectKey { kind, name })?;
            match &entry.converted {
                Some(Converted::Node(node) | Converted::CiliumNode(node)) => Some(&**node),
                _ => None,
            }
        };
        let merged = node::merge(converted(Kind::Node), converted(Kind::CiliumNode));
        if self.snapshot.nodes.get(&*name.name) == merged.as_ref() {
            return;
        }
        match merged {
            Some(node) => drop(self.snapshot.nodes.insert((&name.name).into(), node)),
            None => drop(self.snapshot.nodes.remove(&*name.name)),
        }
    }

    fn all_problems(&self) -> Vec<Problem> {
        let unreadable = self.snapshot.unreadable.iter();
        let unreadable = unreadable.map(|(kind, reason)| Problem {
            object: kind.name().to_owned(),
            place: None,
            field: String::new(),
            message: reason.clone(),
            last_valid_in_force: false,
        });
        let of_entry = |key, fault: &Fault, in_force| {
            let entry = self.entries.get(key)?;
            Some(problem(key, entry.place(), fault.clone(), in_force))
        };
        let faults = self.faulty.iter().flat_map(|key| {
            let faults = self.entries.get(key).map(|entry| &entry.faults);
            let faults = faults.into_iter().flatten();
            faults.filter_map(move |(fault, in_force)| of_entry(key, fault, *in_force))
        });
        let advice = advice::on(&self.snapshot);
        let advice = advice
            .iter()
            .filter_map(|(key, fault)| of_entry(key, fault, false));
        let own = self.problems.iter().cloned();
        own.chain(unreadable).chain(faults).chain(advice).collect()
    }
}

/// Makes the slices of a Service those that are to stay and one more, by their names.
fn regroup(
    snapshot: &mut Snapshot,
    service: &ObjectName,
    stays: impl Fn(&Arc<EndpointSlice>) -> bool,
    one_more: Option<Arc<EndpointSlice>>,
) {
    let former = snapshot.endpoints.get(service);
    let staying = former.iter().flat_map(|slices| slices.iter());
    let mut slices: Vec<_> = staying
        .filter(|slice| stays(slice))
        .cloned()
        .chain(one_more)
        .collect();
    slices.sort_unstable_by(|one, other| one.meta.name.cmp(&other.meta.name));
    if slices.is_empty() {
        snapshot.endpoints.remove(service);
    } else {
        snapshot.endpoints.insert(service.clone(), slices.into());
    }
}

/// Converts one object; `last_valid` is what it was before.
fn convert(
    key: &ObjectKey,
    object: &Arc<Object>,
    recorded: Option<&Arc<Value>>,
    last_valid: Option<Converted>,
) -> Entry {
    let (name, value) = (&key.name, &*object.value());
    let own_status = value.get("status").unwrap_or(&Value::Null);
    let status = recorded.map_or(own_status, |status| status);
    let result = match key.kind {
        Kind::Node => {
            node::convert(name, value).map(|(node, notes)| (Converted::Node(Arc::new(node)), notes))
        }
        Kind::CiliumNode => node::convert_cilium(name, value)
            .map(|(node, notes)| (Converted::CiliumNode(Arc::new(node)), notes)),
        Kind::Service => service::convert(name, value, status)
            .map(|(service, notes)| (Converted::Service(Arc::new(service)), notes)),
        Kind::EndpointSlice => endpoints::convert(name, value)
            .map(|(slice, notes)| (Converted::EndpointSlice(slice.map(Arc::new)), notes)),
        Kind::Secret => match &object.password {
            Ok(password) => Ok((Converted::Secret(password.clone()), vec![])),
            Err(fault) => Err(vec![fault.clone()]),
        },
        Kind::CiliumLoadBalancerIPPool => {
            return convert_pool(key, object, recorded, status, last_valid);
        }
        Kind::CiliumBGPPeeringPolicy => peering_policy::convert(name, value)
            .map(|(policy, notes)| (Converted::PeeringPolicy(Arc::new(policy)), notes)),
        Kind::CiliumL2AnnouncementPolicy => l2_policy::convert(name, value)
            .map(|(policy, notes)| (Converted::L2Policy(Arc::new(policy)), notes)),
        Kind::CiliumPodIPPool => pod_ip_pool::convert(name, value)
            .map(|(pool, notes)| (Converted::PodIpPool(Arc::new(pool)), notes)),
    };
    let (converted, faults, in_force) = match result {
        Ok((converted, notes)) => (Some(converted), notes, false),
        Err(faults) => {
            let mut converted = last_valid;
            if let Some(Converted::Service(service)) = &mut converted {
                Arc::make_mut(service).take_status(status);
            }
            let in_force = !matches!(converted, None | Some(Converted::Secret(None)));
            (converted, faults, in_force)
        }
    };
    // A Secret that cannot be read is there all the same: it is its password that is missing.
    let converted =
        converted.or_else(|| (key.kind == Kind::Secret).then_some(Converted::Secret(None)));
    let faults = faults.into_iter().map(|fault| (fault, in_force)).collect();
    Entry {
        object: Some(object.clone()),
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
    } = pool::convert(&key.name, &object.value(), status);
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
        object: Some(object.clone()),
        status: recorded.cloned(),
        converted: Some(Converted::Pool(Arc::new(pool))),
        faults,
    }
}

fn problem(
    key: &ObjectKey,
    place: Option<&Place>,
    fault: Fault,
    last_valid_in_force: bool,
) -> Problem {
    Problem {
        object: key.to_string(),
        place: place.map(|place| place.of(&fault.field)),
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
            .map(|entry| Arc::as_ptr(entry.object.as_ref().unwrap()))
            .collect();
        store.update(&all.clone(), &RecordedStatuses::new());
        let second: Vec<_> = store
            .entries
            .values()
            .map(|entry| Arc::as_ptr(entry.object.as_ref().unwrap()))
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

    fn apply(store: &mut Store, value: &Value) -> bool {
        let (key, object) = Document::read(value.clone(), None, "kube-system")
            .objects
            .remove(0);
        store.apply(&key, Some(Arc::unwrap_or_clone(object)))
    }

    fn slice(name: &str, service: &str, address: &str) -> Value {
        json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": name, "namespace": "a",
            "labels": {"kubernetes.io/service-name": service}}, "addressType": "IPv4", "endpoints": [{"addresses": [address]}]})
    }

    fn service(changes: Value) -> Value {
        let mut service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "a", "resourceVersion": "1"},
            "spec": {"type": "LoadBalancer"}});
        for (path, value) in changes.as_object().unwrap() {
            *service.pointer_mut(path).unwrap() = value.clone();
        }
        service
    }

    #[test]
    fn changes_one_by_one_give_what_all_at_once_gives() {
        let values = [
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}),
            json!({"apiVersion": "cilium.io/v2", "kind": "CiliumNode", "metadata": {"name": "n"},
                "spec": {"addresses": [{"type": "InternalIP", "ip": "10.0.0.9"}]}}),
            service(json!({})),
            slice("web-2", "web", "10.1.0.2"),
            slice("web-1", "web", "10.1.0.1"),
            pool(json!({"blocks": [{"cidr": "10.0.0.0/24"}]})),
            policy(-1),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bad", "namespace": "kube-system"}, "data": {"password": "?"}}),
        ];
        let expected = update(&mut Store::default(), &values);
        assert!(expected.problems.len() >= 3, "{:?}", expected.problems);
        let (mut forward, mut backward) = (Store::default(), Store::default());
        for value in &values {
            assert!(apply(&mut forward, value));
            assert!(
                !apply(&mut forward, value),
                "nothing is new the second time: {value}"
            );
        }
        for value in values.iter().rev() {
            apply(&mut backward, value);
        }
        for store in [&mut forward, &mut backward] {
            assert!(!store.snapshot().complete);
            store.set_complete();
            assert_eq!(store.snapshot(), expected);
        }
        for kind in Kind::all() {
            for key in forward.keys(kind).cloned().collect::<Vec<_>>() {
                assert!(forward.apply(&key, None));
                assert!(!forward.apply(&key, None));
            }
        }
        let nothing = Snapshot {
            complete: true,
            ..Snapshot::default()
        };
        assert_eq!(forward.snapshot(), nothing);
        assert_eq!(forward.objects().iter().count(), 0);
    }

    #[test]
    fn slices_are_grouped_by_their_service_in_the_order_of_their_names() {
        let mut store = Store::default();
        for (name, service) in [("b", "web"), ("a", "web"), ("c", "web"), ("b", "dns")] {
            apply(&mut store, &slice(name, service, "10.0.0.1"));
        }
        let snapshot = store.snapshot();
        let names = |service: &str| {
            let name = ObjectName {
                namespace: "a".into(),
                name: service.into(),
            };
            let slices = &snapshot.endpoints[&name];
            slices
                .iter()
                .map(|slice| slice.meta.name.name.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(names("web"), ["a", "c"]);
        assert_eq!(names("dns"), ["b"]);
    }

    #[test]
    fn a_change_leaves_the_maps_of_other_kinds_shared() {
        let mut store = Store::default();
        apply(&mut store, &service(json!({})));
        apply(&mut store, &slice("a", "web", "10.0.0.1"));
        let before = store.snapshot();
        apply(&mut store, &slice("a", "web", "10.0.0.2"));
        let after = store.snapshot();
        assert!(before.services.is_same(&after.services));
        assert!(!before.endpoints.is_same(&after.endpoints));
        assert_ne!(before, after);
    }

    #[test]
    fn a_new_resource_version_is_news_of_objects_that_are_written_only() {
        let mut store = Store::default();
        apply(&mut store, &service(json!({})));
        let newer = service(json!({"/metadata/resourceVersion": "2"}));
        assert!(apply(&mut store, &newer));
        let objects = store.objects();
        let object = objects.of_kind(Kind::Service).next().unwrap().1;
        assert_eq!(object.value()["metadata"]["resourceVersion"], "2");
        let node = |version: &str| json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "resourceVersion": version}});
        assert!(apply(&mut store, &node("1")));
        assert!(!apply(&mut store, &node("2")));
    }

    #[test]
    fn who_wrote_the_addresses_is_known_and_a_newer_api_servers_fields_are_no_mistakes() {
        let mut store = Store::default();
        let entry = |manager: &str, time: &str, fields: Value| {
            json!({"manager": manager, "operation": "Update", "apiVersion": "v1", "time": time,
            "fieldsType": "FieldsV1", "fieldsV1": fields, "subresource": "status"})
        };
        let ingress = json!({"f:status": {"f:loadBalancer": {"f:ingress": {}}}});
        let managed = json!([
            entry("k3s", "2026-01-01T00:00:01Z", ingress.clone()),
            entry("metallb", "2026-01-01T00:00:02Z", ingress),
            entry("kubectl", "2026-01-01T00:00:03Z", json!({"f:spec": {}})),
        ]);
        let mut value = service(json!({}));
        value["metadata"]["managedFields"] = managed;
        value["spec"]["fieldOfTomorrow"] = json!(1);
        apply(&mut store, &value);
        let snapshot = store.snapshot();
        assert_eq!(snapshot.problems, []);
        let writer = snapshot
            .services
            .values()
            .next()
            .unwrap()
            .ingress_writer
            .clone();
        let writer = writer.unwrap();
        assert_eq!(
            (&*writer.manager, writer.time),
            ("metallb", Some(1_767_225_602))
        );
        // Objects of a list come in little memory already.
        value["metadata"]["resourceVersion"] = json!("2");
        let (key, object) = Document::read(value, None, "").objects.remove(0);
        let listed = Arc::unwrap_or_clone(object).into_compact();
        for object in [None, Some(listed)] {
            if object.is_some() {
                assert!(store.apply(&key, object));
            }
            let objects = store.objects();
            let object = objects.iter().next().unwrap().1.value().into_owned();
            assert_eq!(object.pointer("/metadata/managedFields"), None);
            assert_eq!(object["spec"]["fieldOfTomorrow"], 1);
        }
    }

    #[test]
    fn a_kind_that_cannot_be_read_is_told_once() {
        let mut store = Store::default();
        assert!(store.set_unreadable(Kind::Secret, Some("no".to_owned())));
        assert!(!store.set_unreadable(Kind::Secret, Some("no".to_owned())));
        let snapshot = store.snapshot();
        assert_eq!(snapshot.unreadable[&Kind::Secret], "no");
        assert_eq!(snapshot.problems[0].object, "Secret");
        assert!(store.set_unreadable(Kind::Secret, None));
        assert_eq!(store.snapshot(), Snapshot::default());
    }
}
