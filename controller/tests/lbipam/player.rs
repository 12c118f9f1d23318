//! A cluster on paper: the few things an API server does to Services and pools, the planner, and a clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use controller::cluster::{Document, Objects, RecordedStatuses, Store};
use controller::plan::Settings;
use controller::plan::addresses::{AddressBook, Memory};
use controller::plan::status::{pool_status_json, service_status_json};
use serde_json::{Map, Value, json};

const POOL: &str = "CiliumLoadBalancerIPPool";
/// Rounds of planning and writing after which nothing may change any more.
const MOST_ROUNDS: usize = 20;

/// How often the planner looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// After every object.
    OneByOne,
    /// Only when the scenario looks, or waits.
    Together,
}

/// All objects when the scenario looked, and what was written meanwhile.
pub(crate) struct Snapshot {
    pub(crate) label: String,
    pub(crate) objects: BTreeMap<Key, Value>,
    pub(crate) no_writes: Value,
    pub(crate) written: BTreeSet<Key>,
}

/// Kind, namespace (empty where there is none), name.
pub(crate) type Key = (String, String, String);

pub(crate) fn play(scenario: &Value, arrival: Arrival) -> Vec<Snapshot> {
    let mut cluster = Cluster::new();
    let mut snapshots = Vec::new();
    for step in scenario["steps"].as_array().unwrap() {
        if let Some(text) = step["apply"].as_str() {
            let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
            for document in documents {
                cluster.apply(&document);
                if arrival == Arrival::OneByOne {
                    cluster.settle();
                }
            }
            continue;
        }
        if let Some(target) = step["delete"].as_str() {
            cluster.delete(&key(target));
        } else if let Some(target) = step["patch"].as_str() {
            cluster.patch(&key(target), &step["body"], step["status"] == true);
        } else if let Some(seconds) = step["wait"].as_f64() {
            cluster.pass(Duration::from_secs_f64(seconds));
        } else if step["stop"] == true {
            cluster.stop();
        } else if step["start"] == true {
            cluster.start();
        } else if step["restart"] == true {
            cluster.stop();
            cluster.start();
        } else if !step["snapshot"].is_null() {
            snapshots.push(cluster.look(&step["snapshot"]));
            continue;
        } else {
            panic!("unknown step {step}");
        }
        if arrival == Arrival::OneByOne {
            cluster.settle();
        }
    }
    snapshots
}

struct Cluster {
    objects: BTreeMap<Key, Value>,
    /// `None` while the planner is stopped.
    planner: Option<(Store, AddressBook)>,
    /// What another process knows, which looks on and takes over.
    follower: Memory,
    settings: Settings,
    epoch: Instant,
    passed: Duration,
    made: u64,
    written: BTreeSet<Key>,
}

impl Cluster {
    fn new() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "where virtual time begins does not matter"
        )]
        let epoch = Instant::now();
        Self {
            objects: BTreeMap::new(),
            planner: Some(Default::default()),
            follower: Memory::default(),
            settings: Settings {
                node: "n1".into(),
                no_service_endpoints_routable: true,
                default_ipam: true,
                ipv4: true,
                ipv6: true,
                bgp_enabled: true,
                l2_enabled: true,
                address_memory: Duration::from_secs(3600),
            },
            epoch,
            passed: Duration::from_secs(100),
            made: 0,
            written: BTreeSet::new(),
        }
    }

    fn stop(&mut self) {
        let now = self.epoch + self.passed;
        let mut store = Store::default();
        store.update(&objects(&self.objects), &RecordedStatuses::new());
        self.follower
            .observe(&store.snapshot(), &self.settings, now);
        self.planner = None;
    }

    fn start(&mut self) {
        let book = AddressBook::with_memory(std::mem::take(&mut self.follower));
        self.planner = Some((Store::default(), book));
    }

    /// Applies as the one field manager there is: what the document does not name any more goes.
    fn apply(&mut self, document: &Value) {
        let mut document = document.clone();
        let status = document.as_object_mut().unwrap().remove("status");
        let key = self.key_of(&document);
        let time = self.time();
        if key.0 == "Service" {
            default_service(&mut document["spec"]);
        }
        self.made += 1;
        let object = self.objects.entry(key.clone()).or_insert_with(|| {
            let meta = json!({"name": key.2, "uid": self.made.to_string(), "generation": 0, "creationTimestamp": time});
            json!({"metadata": meta, "spec": null})
        });
        object["apiVersion"] = document["apiVersion"].clone();
        object["kind"] = document["kind"].clone();
        if !key.1.is_empty() {
            object["metadata"]["namespace"] = json!(key.1);
        }
        for field in ["labels", "annotations", "finalizers"] {
            object["metadata"][field] =
                document["metadata"].get(field).cloned().unwrap_or_default();
        }
        replace_spec(object, document["spec"].clone());
        if let Some(status) = status {
            merge(&mut object["status"], &status);
            default_status(object);
        }
    }

    fn patch(&mut self, key: &Key, body: &Value, status: bool) {
        let object = self.objects.get_mut(key).unwrap();
        if status {
            merge(&mut object["status"], &body["status"]);
            default_status(object);
        } else {
            let mut patched = object.clone();
            merge(&mut patched, body);
            let spec = patched["spec"].take();
            object["metadata"] = patched["metadata"].take();
            replace_spec(object, spec);
            if !object["metadata"]["deletionTimestamp"].is_null()
                && object["metadata"]["finalizers"].is_null()
            {
                self.objects.remove(key);
            }
        }
    }

    fn delete(&mut self, key: &Key) {
        let time = self.time();
        let meta = &mut self.objects.get_mut(key).unwrap()["metadata"];
        if meta["finalizers"].is_array() {
            meta["deletionTimestamp"] = json!(time);
        } else {
            self.objects.remove(key);
        }
    }

    fn look(&mut self, step: &Value) -> Snapshot {
        self.settle();
        self.pass(Duration::from_secs(1));
        Snapshot {
            label: step
                .as_str()
                .or_else(|| step["label"].as_str())
                .unwrap()
                .to_owned(),
            objects: self.objects.clone(),
            no_writes: step.get("no_writes").cloned().unwrap_or_default(),
            written: std::mem::take(&mut self.written),
        }
    }

    /// Lets time pass, planning whenever the planner asked for it.
    fn pass(&mut self, time: Duration) {
        let end = self.passed + time;
        loop {
            let again_at = self
                .settle()
                .map(|at| at - self.epoch)
                .filter(|&at| at <= end);
            let Some(at) = again_at else { break };
            self.passed = at;
        }
        self.passed = end;
        self.settle();
    }

    /// Plans and writes until nothing changes; says when the planner wants to look again.
    fn settle(&mut self) -> Option<Instant> {
        let (time, now) = (self.time(), self.epoch + self.passed);
        let (store, book) = self.planner.as_mut()?;
        for _ in 0..MOST_ROUNDS {
            store.update(&objects(&self.objects), &RecordedStatuses::new());
            let plan = book.plan(&store.snapshot(), &self.settings, now);
            let mut changed = false;
            for (key, object) in &mut self.objects {
                let written = if key.0 == POOL {
                    plan.pools
                        .get(&key.2)
                        .map(|conditions| pool_status_json(object, conditions, &time))
                } else {
                    let name = controller::cluster::ObjectName {
                        namespace: key.1.as_str().into(),
                        name: key.2.as_str().into(),
                    };
                    plan.services
                        .get(&name)
                        .map(|status| service_status_json(object, status, &time))
                };
                if let Some(written) = written.filter(|written| written != object) {
                    *object = written;
                    self.written.insert(key.clone());
                    changed = true;
                }
            }
            if !changed {
                return plan.again_at.filter(|at| *at > now);
            }
        }
        panic!("the planner does not come to rest");
    }

    fn time(&self) -> String {
        let seconds = self.passed.as_secs();
        format!(
            "2026-01-01T{:02}:{:02}:{:02}Z",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        )
    }

    fn key_of(&self, document: &Value) -> Key {
        let kind = document["kind"].as_str().unwrap();
        let namespace = document["metadata"]["namespace"]
            .as_str()
            .unwrap_or("default");
        let namespace = if kind == POOL { "" } else { namespace };
        (
            kind.into(),
            namespace.into(),
            document["metadata"]["name"].as_str().unwrap().into(),
        )
    }
}

fn objects(values: &BTreeMap<Key, Value>) -> Objects {
    let mut objects = Objects::default();
    for value in values.values() {
        for (key, object) in Document::read(value.clone(), None, "kube-system").objects {
            objects.insert(key, object);
        }
    }
    objects
}

fn key(target: &str) -> Key {
    let parts: Vec<&str> = target.split('/').collect();
    match parts[..] {
        [kind, name] => (kind.into(), String::new(), name.into()),
        [kind, namespace, name] => (kind.into(), namespace.into(), name.into()),
        _ => panic!("not an object: {target}"),
    }
}

fn replace_spec(object: &mut Value, spec: Value) {
    if object["spec"] != spec {
        object["spec"] = spec;
        let generation = object["metadata"]["generation"].as_i64().unwrap();
        object["metadata"]["generation"] = json!(generation + 1);
    }
    let is_load_balancer = object["spec"]["type"] == "LoadBalancer";
    if object["kind"] == "Service" && !is_load_balancer && object["status"].is_object() {
        object["status"]["loadBalancer"] = json!({});
    }
}

/// The defaults of a cluster with both families, IPv4 first.
fn default_service(spec: &mut Value) {
    let policy = spec["ipFamilyPolicy"]
        .as_str()
        .unwrap_or("SingleStack")
        .to_owned();
    let families = if policy == "SingleStack" {
        json!(["IPv4"])
    } else {
        json!(["IPv4", "IPv6"])
    };
    let spec = spec.as_object_mut().unwrap();
    spec.insert("ipFamilyPolicy".into(), json!(policy));
    spec.entry("ipFamilies").or_insert(families);
    spec.retain(|_, value| !value.is_null());
}

fn default_status(object: &mut Value) {
    let ingress = object
        .pointer_mut("/status/loadBalancer/ingress")
        .and_then(Value::as_array_mut);
    for entry in ingress
        .into_iter()
        .flatten()
        .filter(|entry| entry.get("ip").is_some())
    {
        entry
            .as_object_mut()
            .unwrap()
            .entry("ipMode")
            .or_insert(json!("VIP"));
    }
}

/// JSON merge patch, RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let target = target.as_object_mut().unwrap();
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name.as_str()).or_insert(Value::Null), value);
        }
    }
}
