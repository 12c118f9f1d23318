//! A cluster of Services and pools for tests, with statuses written back as planned.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::ask::Ask;
use super::super::{AddressBook, AddressPlan, Memory, ServiceStatus};
use crate::cluster::{
    Block, IngressEntry, IngressIpMode, ObjectName, Pool, PoolFaults, PoolSpec, RecordedCondition,
    Requirement, Service, ServicePort, Snapshot,
};
use crate::plan::Settings;

pub(super) struct World {
    pub(super) snapshot: Snapshot,
    pub(super) book: AddressBook,
    pub(super) now: Instant,
    pub(super) settings: Settings,
    /// Whether a write may never add an address that another status shows, unless the two may share it.
    pub(super) strict: bool,
    uids: u64,
    /// What a process knows that looks on.
    follower: Memory,
    /// Writes under way, at most one for each Service: the Service as it was, and what it is to become.
    under_way: BTreeMap<ObjectName, (Arc<Service>, ServiceStatus)>,
    /// Services whose terms were edited while writes were under way: what was right when it was sent may not be any more.
    edited: Vec<ObjectName>,
}

pub(super) struct ServiceBuilder(pub(super) Service);
pub(super) struct PoolBuilder(pub(super) Pool);

pub(super) fn name(text: &str) -> ObjectName {
    let (namespace, name) = text.split_once('/').unwrap();
    ObjectName {
        namespace: namespace.into(),
        name: name.into(),
    }
}

pub(super) fn service(text: &str) -> ServiceBuilder {
    let mut service = Service {
        is_load_balancer: true,
        ip_families: vec!["IPv4".into()],
        ports: vec![ServicePort {
            name: String::new(),
            port: 80,
            protocol: "TCP".into(),
        }],
        ..Service::default()
    };
    service.meta.name = name(text);
    service.meta.created = Some(1);
    ServiceBuilder(service)
}

pub(super) fn pool(name: &str, blocks: &[&str]) -> PoolBuilder {
    let block = |text: &&str| {
        let range: ipam::Range = text.parse().unwrap();
        Block {
            first: range.first(),
            last: range.last(),
            is_cidr: text.contains('/'),
        }
    };
    let spec = PoolSpec {
        blocks: blocks.iter().map(block).collect(),
        ..PoolSpec::default()
    };
    let mut pool = Pool {
        meta: Default::default(),
        spec: Ok(spec),
        last_valid: None,
        recorded_conditions: vec![],
    };
    pool.meta.name.name = name.into();
    pool.meta.created = Some(1);
    PoolBuilder(pool)
}

impl ServiceBuilder {
    pub(super) fn created(mut self, seconds: i64) -> Self {
        self.0.meta.created = Some(seconds);
        self
    }

    pub(super) fn naming(mut self, addresses: &str) -> Self {
        self.0
            .meta
            .annotations
            .insert("lbipam.cilium.io/ips".into(), addresses.into());
        self
    }

    pub(super) fn sharing(mut self, key: &str, port: u16) -> Self {
        self.0
            .meta
            .annotations
            .insert("lbipam.cilium.io/sharing-key".into(), key.into());
        self.0.ports[0].port = port;
        self
    }

    pub(super) fn label(mut self, key: &str, value: &str) -> Self {
        self.0.meta.labels.insert(key.into(), value.into());
        self
    }

    pub(super) fn class(mut self, class: &str) -> Self {
        self.0.class = Some(class.into());
        self
    }

    pub(super) fn dual_stack(mut self) -> Self {
        self.0.ip_family_policy = Some("PreferDualStack".into());
        self.0.ip_families = vec!["IPv4".into(), "IPv6".into()];
        self
    }

    pub(super) fn carrying(mut self, addresses: &[&str]) -> Self {
        self.0.ingress = entries(addresses);
        self
    }

    pub(super) fn with_true_condition(mut self) -> Self {
        self.0.recorded_condition = Some((
            "True".into(),
            "satisfied".into(),
            String::new(),
            "then".into(),
        ));
        self
    }
}

impl PoolBuilder {
    pub(super) fn created(mut self, seconds: i64) -> Self {
        self.0.meta.created = Some(seconds);
        self
    }

    pub(super) fn reserving(mut self) -> Self {
        self.spec().reserve_first_last = true;
        self
    }

    pub(super) fn disabled(mut self) -> Self {
        self.spec().disabled = true;
        self
    }

    pub(super) fn selecting(mut self, key: &str, value: &str) -> Self {
        self.spec().selector.requirements = vec![Requirement::In(key.into(), vec![value.into()])];
        self
    }

    /// The blocks can be read, and there are others that cannot.
    pub(super) fn broken(mut self, faults: &[&str]) -> Self {
        let spec = self.0.spec.unwrap();
        self.0.spec = Err(PoolFaults {
            blocks: faults.iter().map(|fault| (*fault).into()).collect(),
            selector: None,
            readable: spec.blocks,
            readable_selector: Some(spec.selector),
            reserve_first_last: spec.reserve_first_last,
            disabled: spec.disabled,
        });
        self
    }

    pub(super) fn blue(self) -> Self {
        self.selecting("color", "blue")
    }

    /// The blocks are in order, the selector is not.
    pub(super) fn with_broken_selector(mut self) -> Self {
        if let Ok(spec) = self.0.spec {
            self.0.spec = Err(PoolFaults {
                blocks: vec![],
                selector: Some("spec.serviceSelector: no".into()),
                readable: spec.blocks,
                readable_selector: None,
                reserve_first_last: spec.reserve_first_last,
                disabled: spec.disabled,
            });
        }
        self
    }

    fn spec(&mut self) -> &mut PoolSpec {
        self.0.spec.as_mut().unwrap()
    }
}

impl World {
    pub(super) fn new() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "where virtual time begins does not matter"
        )]
        let now = Instant::now();
        let settings = Settings {
            node: "n1".into(),
            no_service_endpoints_routable: true,
            default_ipam: true,
            ipv4: true,
            ipv6: true,
            bgp_enabled: true,
            l2_enabled: true,
            address_memory: Duration::from_secs(3600),
        };
        let snapshot = Snapshot {
            complete: true,
            ..Snapshot::default()
        };
        Self {
            snapshot,
            book: AddressBook::default(),
            now,
            settings,
            strict: false,
            uids: 0,
            follower: Memory::default(),
            under_way: BTreeMap::new(),
            edited: Vec::new(),
        }
    }

    /// Adds a Service, or edits the one of that name: its status and identity stay.
    pub(super) fn add(&mut self, ServiceBuilder(mut service): ServiceBuilder) {
        let name = service.meta.name.clone();
        if let Some(before) = self.snapshot.services.get(&name) {
            service.meta.uid.clone_from(&before.meta.uid);
            service.meta.created = before.meta.created;
            service.ingress.clone_from(&before.ingress);
            service
                .recorded_condition
                .clone_from(&before.recorded_condition);
        } else {
            self.uids += 1;
            service.meta.uid = self.uids.to_string();
        }
        if !self.under_way.is_empty() {
            self.edited.push(name.clone());
        }
        self.snapshot.services.insert(name, service.into());
    }

    pub(super) fn remove(&mut self, text: &str) {
        self.snapshot.services.remove(&name(text));
    }

    /// Adds a pool, or edits the one of that name; what it was while valid stays in force.
    pub(super) fn add_pool(&mut self, PoolBuilder(mut pool): PoolBuilder) {
        let name = pool.meta.name.name.to_string();
        if let Some(before) = self.snapshot.pools.remove(&name) {
            pool.meta = before.meta;
            pool.recorded_conditions = before.recorded_conditions;
            pool.last_valid = pool
                .spec
                .is_err()
                .then(|| before.spec.ok().or(before.last_valid))
                .flatten();
        } else {
            self.uids += 1;
            pool.meta.uid = self.uids.to_string();
        }
        self.snapshot.pools.insert(name, pool);
    }

    pub(super) fn remove_pool(&mut self, name: &str) {
        self.snapshot.pools.remove(name);
    }

    /// Whether anything may be planned.
    pub(super) fn sees(&self) -> bool {
        self.snapshot.complete && self.snapshot.unreadable.is_empty()
    }

    /// A new process: nothing is remembered, and what was valid once is unknown. What its predecessor had under way fails.
    pub(super) fn restart(&mut self) {
        self.become_leader(Memory::default());
    }

    /// Another process leads, that looked on.
    pub(super) fn change_leader(&mut self) {
        let memory = std::mem::take(&mut self.follower);
        self.become_leader(memory);
    }

    fn become_leader(&mut self, memory: Memory) {
        self.book = AddressBook::with_memory(memory);
        self.under_way.clear();
        self.follower
            .observe(&self.snapshot, &self.settings, self.now);
        for pool in self.snapshot.pools.values_mut() {
            pool.last_valid = None;
        }
    }

    pub(super) fn plan(&mut self) -> AddressPlan {
        self.book.plan(&self.snapshot, &self.settings, self.now)
    }

    /// Sends a status, unless another one is under way for that Service.
    pub(super) fn send(&mut self, name: &ObjectName, status: &ServiceStatus) {
        let service = &self.snapshot.services[name];
        let write = || (Arc::clone(service), status.clone());
        self.under_way.entry(name.clone()).or_insert_with(write);
    }

    /// What is under way for a Service lands, or fails because the Service is not as it was.
    pub(super) fn land(&mut self, name: &ObjectName) {
        let Some((service, status)) = self.under_way.remove(name) else {
            return;
        };
        let now = self.snapshot.services.get(name);
        if now.is_some_and(|now| Arc::ptr_eq(now, &service)) {
            drop(service);
            let edited = std::mem::take(&mut self.edited);
            self.write_unless_edited(name, &status, &edited);
            self.edited = edited;
        }
        if self.under_way.is_empty() {
            self.edited.clear();
        }
    }

    /// Plans, and writes the status of one Service.
    pub(super) fn write_planned(&mut self, name: &ObjectName) {
        let plan = self.plan();
        if let Some(status) = plan.services.get(name) {
            self.write(name, status);
        }
    }

    /// Plans and writes until nothing changes; the number of Service writes.
    pub(super) fn settle(&mut self) -> usize {
        let mut writes = 0;
        for _ in 0..20 {
            let plan = self.plan();
            self.write_pools(&plan);
            let mut changed = false;
            for (name, status) in &plan.services {
                if self.write(name, status) {
                    writes += 1;
                    changed = true;
                }
            }
            if !changed {
                return writes;
            }
        }
        panic!("the planner does not come to rest");
    }

    /// Lets time pass, planning whenever the planner asked for it.
    pub(super) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.settle();
        while let Some(at) = self
            .plan()
            .again_at
            .filter(|&at| at > self.now && at <= end)
        {
            self.now = at;
            self.settle();
        }
        self.now = end;
        self.settle();
    }

    /// Writes a status; false where there was nothing to write.
    pub(super) fn write(&mut self, name: &ObjectName, status: &ServiceStatus) -> bool {
        self.write_unless_edited(name, status, &[])
    }

    fn write_unless_edited(
        &mut self,
        name: &ObjectName,
        status: &ServiceStatus,
        edited: &[ObjectName],
    ) -> bool {
        if self.strict {
            self.check_write(name, status, edited);
        }
        let Some(service) = self.snapshot.services.get_mut(name) else {
            return false;
        };
        let condition = status.condition.as_ref().map(|condition| {
            let status = if condition.satisfied { "True" } else { "False" };
            (
                status.to_owned(),
                condition.reason.to_owned(),
                condition.message.clone(),
                "now".to_owned(),
            )
        });
        let three = |condition: &Option<(String, String, String, String)>| {
            condition.as_ref().map(|(status, reason, message, _)| {
                (status.clone(), reason.clone(), message.clone())
            })
        };
        let same = service.ingress == status.ingress
            && three(&service.recorded_condition) == three(&condition);
        if !same {
            let service = Arc::make_mut(service);
            service.ingress.clone_from(&status.ingress);
            service.recorded_condition = condition;
        }
        !same
    }

    fn check_write(&self, name: &ObjectName, status: &ServiceStatus, edited: &[ObjectName]) {
        let service = &self.snapshot.services[name];
        for entry in status
            .ingress
            .iter()
            .filter(|entry| !service.ingress.contains(entry))
        {
            for (other_name, other) in self
                .snapshot
                .services
                .iter()
                .filter(|(other, _)| *other != name && !edited.contains(other))
            {
                let shown = other.ingress.iter().any(|theirs| theirs.ip == entry.ip);
                assert!(
                    !shown || self.may_share(service, other),
                    "{name} is given {entry:?}, which {other_name} shows"
                );
            }
        }
    }

    pub(super) fn may_share(&self, one: &Service, other: &Service) -> bool {
        let terms = |service| Ask::of(service, &self.settings).sharing;
        matches!((terms(one), terms(other)), (Some(one), Some(other)) if one.compatible_with(&other).is_ok())
    }

    pub(super) fn write_pools(&mut self, plan: &AddressPlan) {
        for (name, conditions) in &plan.pools {
            let pool = self.snapshot.pools.get_mut(name).unwrap();
            pool.recorded_conditions = conditions
                .iter()
                .map(|condition| RecordedCondition {
                    kind: condition.kind.into(),
                    status: condition.status.into(),
                    reason: condition.reason.into(),
                    message: condition.message.clone(),
                    observed_generation: None,
                    last_transition_time: "now".into(),
                })
                .collect();
        }
    }

    pub(super) fn write_ingress(&mut self, text: &str, addresses: &[&str]) {
        self.edit(text, |service| service.ingress = entries(addresses));
    }

    pub(super) fn forge_condition(
        &mut self,
        text: &str,
        condition: Option<(String, String, String, String)>,
    ) {
        self.edit(text, |service| service.recorded_condition = condition);
    }

    pub(super) fn edit(&mut self, text: &str, edit: impl FnOnce(&mut Service)) {
        let service = self.snapshot.services.get_mut(&name(text)).unwrap();
        edit(Arc::make_mut(service));
    }

    pub(super) fn service(&self, text: &str) -> &Service {
        &self.snapshot.services[&name(text)]
    }

    pub(super) fn ingress(&self, text: &str) -> Vec<String> {
        self.service(text)
            .ingress
            .iter()
            .map(|entry| entry.ip.unwrap().to_string())
            .collect()
    }

    pub(super) fn reason(&self, text: &str) -> String {
        self.service(text)
            .recorded_condition
            .as_ref()
            .map_or(String::new(), |condition| condition.1.clone())
    }

    pub(super) fn message(&self, text: &str) -> String {
        self.service(text)
            .recorded_condition
            .as_ref()
            .map_or(String::new(), |condition| condition.2.clone())
    }

    pub(super) fn counter(&self, pool: &str, kind: &str) -> String {
        let conditions = &self.snapshot.pools[pool].recorded_conditions;
        conditions
            .iter()
            .find(|condition| condition.kind == kind)
            .unwrap()
            .message
            .clone()
    }

    pub(super) fn conflict(&self, pool: &str) -> Option<String> {
        let mut conditions = self.snapshot.pools[pool].recorded_conditions.iter();
        let conflict = conditions
            .find(|condition| condition.kind == "cilium.io/PoolConflict")
            .unwrap();
        (conflict.status == "True").then(|| conflict.message.clone())
    }
}

pub(super) fn entries(addresses: &[&str]) -> Vec<IngressEntry> {
    let entry = |text: &&str| IngressEntry {
        ip: Some(text.parse().unwrap()),
        hostname: None,
        ip_mode: IngressIpMode::Vip,
    };
    addresses.iter().map(entry).collect()
}
