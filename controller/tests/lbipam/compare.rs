//! Facts of a run against the recorded facts, as the recording's README says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipam::Range;
use serde_json::{Map, Value, json};

use crate::player::Snapshot;

const SATISFIED: &str = "cilium.io/IPAMRequestSatisfied";
const REQUESTS: [&str; 2] = ["lbipam.cilium.io/ips", "io.cilium/lb-ipam-ips"];
const KEYS: [&str; 2] = [
    "lbipam.cilium.io/sharing-key",
    "io.cilium/lb-ipam-sharing-key",
];

/// The differences that the scenario allows, or, as an error, those that it does not.
pub(crate) fn judge(
    scenario: &Value,
    golden: &Value,
    snapshots: &[Snapshot],
) -> Result<Vec<String>, Vec<String>> {
    let broken = broken_invariants(snapshots);
    if !broken.is_empty() {
        return Err(broken);
    }
    let mut best: Option<Vec<String>> = None;
    for want in expectations(scenario, golden) {
        for renamed in permutations(scenario) {
            let got = loosen(scenario, facts(scenario, snapshots, &renamed));
            let found = differences(&loosen(scenario, want.clone()), &got);
            if best.as_ref().is_none_or(|best| found.len() < best.len()) {
                best = Some(found);
            }
        }
    }
    let found = best.expect("there are recorded facts");
    let may_differ =
        !scenario["fairway_may_differ"].is_null() && scenario["better_expect"].is_null();
    let places = scenario["may_differ_at"].as_array();
    let allowed = |difference: &String| {
        places.is_none_or(|places| {
            places
                .iter()
                .any(|place| difference.starts_with(&format!("{}/", place.as_str().unwrap())))
        })
    };
    if found.is_empty() || (may_differ && found.iter().all(allowed)) {
        Ok(found)
    } else {
        Err(found)
    }
}

/// What Cilium did, each recorded outcome, and the better outcome where the scenario states one.
fn expectations(scenario: &Value, golden: &Value) -> Vec<Value> {
    let recorded = golden["facts"]
        .as_array()
        .expect("the scenario is recorded");
    let mut all = recorded.clone();
    if let Some(better) = scenario.get("better_expect") {
        for run in recorded {
            let laid_over = |fact: &Value| match better.get(fact["label"].as_str().unwrap()) {
                Some(over) => lay_over(fact, over),
                None => fact.clone(),
            };
            all.push(run.as_array().unwrap().iter().map(laid_over).collect());
        }
    }
    all
}

fn lay_over(base: &Value, over: &Value) -> Value {
    let (Value::Object(base), Value::Object(over)) = (base, over) else {
        return over.clone();
    };
    let mut result = base.clone();
    for (name, value) in over {
        if value.is_null() {
            result.remove(name);
        } else {
            let merged = base
                .get(name)
                .map_or_else(|| value.clone(), |base| lay_over(base, value));
            result.insert(name.clone(), merged);
        }
    }
    Value::Object(result)
}

fn permutations(scenario: &Value) -> Vec<BTreeMap<String, String>> {
    let mut all = vec![BTreeMap::new()];
    for group in scenario["symmetric"].as_array().into_iter().flatten() {
        let names: Vec<&str> = group
            .as_array()
            .unwrap()
            .iter()
            .map(|name| name.as_str().unwrap())
            .collect();
        let [a, b] = names[..] else {
            panic!("only pairs are alike so far")
        };
        let swapped = [(a.to_owned(), b.to_owned()), (b.to_owned(), a.to_owned())];
        let both = |renamed: BTreeMap<String, String>| {
            let mut more = renamed.clone();
            more.extend(swapped.clone());
            [renamed, more]
        };
        all = all.into_iter().flat_map(both).collect();
    }
    all
}

/// The message of a refusal is our own business where the scenario says so.
fn loosen(scenario: &Value, mut facts: Value) -> Value {
    if scenario["free_text"] != true {
        return facts;
    }
    for fact in facts.as_array_mut().unwrap() {
        for service in fact
            .get_mut("services")
            .and_then(Value::as_object_mut)
            .into_iter()
            .flatten()
        {
            for row in service.1["conditions"].as_array_mut().into_iter().flatten() {
                if row[0] == SATISFIED && row[1] == "False" {
                    row[3] = json!("*");
                }
            }
        }
    }
    facts
}

fn differences(want: &Value, got: &Value) -> Vec<String> {
    let (want, got) = (want.as_array().unwrap(), got.as_array().unwrap());
    let mut found = Vec::new();
    for index in 0..want.len().max(got.len()) {
        let nothing = json!({});
        let (want, got) = (
            want.get(index).unwrap_or(&nothing),
            got.get(index).unwrap_or(&nothing),
        );
        let label = want
            .get("label")
            .or_else(|| got.get("label"))
            .and_then(Value::as_str)
            .unwrap_or("?");
        compare(want, got, label, &mut found);
    }
    found
}

fn compare(want: &Value, got: &Value, path: &str, found: &mut Vec<String>) {
    let (Value::Object(want), Value::Object(got)) = (want, got) else {
        if want != got {
            found.push(format!("{path}: want {want}, got {got}"));
        }
        return;
    };
    let names: BTreeSet<&String> = want.keys().chain(got.keys()).collect();
    for name in names {
        let (want, got) = (
            want.get(name).unwrap_or(&Value::Null),
            got.get(name).unwrap_or(&Value::Null),
        );
        compare(want, got, &format!("{path}/{name}"), found);
    }
}

/// Services of one snapshot as the comparison sees them.
struct Seen<'a> {
    name: String,
    uid: &'a str,
    ingress: Vec<(IpAddr, &'a Value)>,
    hostnames: Vec<&'a Value>,
    conditions: &'a Value,
    /// As written: another spelling of an address is not the address asked for.
    asked: BTreeSet<String>,
    sharing_key: &'a str,
    written: bool,
}

fn services(snapshot: &Snapshot) -> Vec<Seen<'_>> {
    let mut seen = Vec::new();
    for (key, object) in snapshot
        .objects
        .iter()
        .filter(|(key, _)| key.0 == "Service")
    {
        let meta = &object["metadata"];
        let annotation = |names: [&str; 2]| {
            let found = names.iter().find_map(|name| meta["annotations"].get(name));
            found.and_then(Value::as_str).unwrap_or_default()
        };
        let field = object["spec"]["loadBalancerIP"]
            .as_str()
            .unwrap_or_default();
        let all = REQUESTS
            .iter()
            .filter_map(|name| meta["annotations"].get(name))
            .filter_map(Value::as_str);
        let asked = all
            .flat_map(|texts| texts.split(','))
            .chain([field])
            .map(|text| text.trim().to_owned());
        let entries = object
            .pointer("/status/loadBalancer/ingress")
            .and_then(Value::as_array);
        let entries = entries.into_iter().flatten();
        let (with_ip, without): (Vec<_>, Vec<_>) =
            entries.partition(|entry| entry.get("ip").is_some());
        let mut ingress: Vec<(IpAddr, &Value)> = with_ip
            .into_iter()
            .map(|entry| (entry["ip"].as_str().unwrap().parse().unwrap(), entry))
            .collect();
        ingress.sort_by_key(|(ip, _)| *ip);
        seen.push(Seen {
            name: format!("{}/{}", key.1, key.2),
            uid: meta["uid"].as_str().unwrap(),
            ingress,
            hostnames: without,
            conditions: object.pointer("/status/conditions").unwrap_or(&Value::Null),
            asked: asked.collect(),
            sharing_key: annotation(KEYS),
            written: snapshot.written.contains(key),
        });
    }
    seen
}

fn facts(scenario: &Value, snapshots: &[Snapshot], renamed: &BTreeMap<String, String>) -> Value {
    let rename = |name: &str| {
        renamed
            .get(name)
            .cloned()
            .unwrap_or_else(|| name.to_owned())
    };
    let planted = planted(scenario);
    let exact = scenario["choice"] == "exact";
    let mut symbols = Symbols::default();
    let mut all = Vec::new();
    for snapshot in snapshots {
        let mut services = services(snapshot);
        services.sort_by_key(|service| rename(&service.name));
        symbols.meet(snapshot, &services);
        let literal: BTreeSet<IpAddr> = services
            .iter()
            .flat_map(|service| {
                let planted = planted.get(&service.name);
                service.ingress.iter().map(|(ip, _)| *ip).filter(move |ip| {
                    service.asked.contains(&ip.to_string())
                        || planted.is_some_and(|planted| planted.contains(ip))
                })
            })
            .collect();
        let mut facts = Map::new();
        for service in &services {
            let mut rows: Vec<String> = Vec::new();
            for (ip, entry) in &service.ingress {
                let mut row = if exact || literal.contains(ip) {
                    symbols.literal(*ip)
                } else {
                    symbols.of(*ip)
                };
                if entry["ipMode"] != "VIP" {
                    row.push_str(&format!(
                        " ipMode={}",
                        entry["ipMode"].as_str().unwrap_or("None")
                    ));
                }
                if entry.get("ports").is_some() {
                    row.push_str(" ports");
                }
                rows.push(row);
            }
            rows.extend(
                service
                    .hostnames
                    .iter()
                    .map(|entry| format!("hostname {}", entry["hostname"].as_str().unwrap())),
            );
            let mut fact = json!({"ingress": rows, "conditions": conditions(service.conditions)});
            let watched = snapshot
                .no_writes
                .as_array()
                .is_some_and(|names| names.contains(&json!(service.name)));
            if snapshot.no_writes == true || watched {
                fact["untouched"] = json!(!service.written);
            }
            facts.insert(rename(&service.name), fact);
        }
        symbols.remember();
        let pools = snapshot
            .objects
            .iter()
            .filter(|(key, _)| key.0 != "Service");
        let pools: Map<String, Value> = pools
            .map(|(key, object)| {
                (
                    key.2.clone(),
                    conditions(object.pointer("/status/conditions").unwrap_or(&Value::Null)),
                )
            })
            .collect();
        let mut fact = json!({"label": snapshot.label});
        if !facts.is_empty() {
            fact["services"] = Value::Object(facts);
        }
        if !pools.is_empty() {
            fact["pools"] = Value::Object(pools);
        }
        all.push(fact);
    }
    Value::Array(all)
}

fn conditions(conditions: &Value) -> Value {
    let row = |condition: &Value| {
        ["type", "status", "reason", "message"]
            .map(|field| condition[field].as_str().unwrap_or_default().to_owned())
    };
    let mut rows: Vec<[String; 4]> = conditions
        .as_array()
        .into_iter()
        .flatten()
        .map(row)
        .collect();
    rows.sort();
    json!(rows)
}

/// Names for addresses that do not matter themselves: `pool/family#n`, kept while a holder stays.
#[derive(Default)]
struct Symbols {
    labels: BTreeMap<IpAddr, String>,
    holders: BTreeMap<IpAddr, BTreeSet<String>>,
    now: BTreeMap<IpAddr, String>,
    current: BTreeMap<IpAddr, BTreeSet<String>>,
    pools: BTreeMap<String, Vec<Range>>,
    present: Vec<(bool, String)>,
    counters: BTreeMap<String, u32>,
}

impl Symbols {
    fn meet(&mut self, snapshot: &Snapshot, services: &[Seen<'_>]) {
        self.now.clear();
        self.current.clear();
        for service in services {
            for (ip, _) in &service.ingress {
                self.current
                    .entry(*ip)
                    .or_default()
                    .insert(format!("{} {}", service.name, service.uid));
            }
        }
        self.present.clear();
        for (key, object) in snapshot
            .objects
            .iter()
            .filter(|(key, _)| key.0 != "Service")
        {
            let blocks = object["spec"]["blocks"].as_array().into_iter().flatten();
            self.pools
                .insert(key.2.clone(), blocks.filter_map(range).collect());
            let conflicting =
                conditions(object.pointer("/status/conditions").unwrap_or(&Value::Null));
            let conflicting = conflicting
                .as_array()
                .unwrap()
                .iter()
                .any(|row| row[0] == "cilium.io/PoolConflict" && row[1] == "True");
            self.present.push((conflicting, key.2.clone()));
        }
        self.present.sort();
    }

    fn literal(&mut self, ip: IpAddr) -> String {
        self.now.insert(ip, ip.to_string());
        ip.to_string()
    }

    fn of(&mut self, ip: IpAddr) -> String {
        if let Some(name) = self.now.get(&ip) {
            return name.clone();
        }
        let same_holder = self
            .holders
            .get(&ip)
            .is_some_and(|holders| !holders.is_disjoint(&self.current[&ip]));
        let known = self.labels.get(&ip).filter(|_| same_holder).cloned();
        let name = known.unwrap_or_else(|| self.new_name(ip));
        self.now.insert(ip, name.clone());
        name
    }

    fn new_name(&mut self, ip: IpAddr) -> String {
        let contains = |name: &&String| self.pools[*name].iter().any(|range| range.contains(ip));
        let present = self.present.iter().map(|(_, name)| name).find(contains);
        let Some(pool) = present.or_else(|| self.pools.keys().find(contains)) else {
            return format!("outside:{ip}");
        };
        let prefix = format!("{pool}/{}", if ip.is_ipv4() { 4 } else { 6 });
        let counter = self.counters.entry(prefix.clone()).or_default();
        *counter += 1;
        format!("{prefix}#{counter}")
    }

    fn remember(&mut self) {
        self.labels = self.now.clone();
        self.holders = self.current.clone();
    }
}

fn range(block: &Value) -> Option<Range> {
    if let Some(cidr) = block["cidr"].as_str() {
        return cidr.parse().ok();
    }
    let first = block["start"].as_str()?.parse().ok()?;
    let last = block["stop"]
        .as_str()
        .map_or(Some(first), |last| last.parse().ok())?;
    Range::new(first, last).ok()
}

/// Addresses that the scenario itself writes into a status, by Service.
fn planted(scenario: &Value) -> BTreeMap<String, BTreeSet<IpAddr>> {
    let mut planted: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
    let mut plant = |name: String, status: &Value| {
        let entries = status
            .pointer("/loadBalancer/ingress")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let addresses = entries
            .filter_map(|entry| entry["ip"].as_str())
            .map(|ip| ip.parse::<IpAddr>().unwrap());
        planted.entry(name).or_default().extend(addresses);
    };
    for step in scenario["steps"].as_array().unwrap() {
        if let Some(text) = step["apply"].as_str() {
            let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
            for document in documents
                .iter()
                .filter(|document| document["kind"] == "Service")
            {
                let namespace = document["metadata"]["namespace"]
                    .as_str()
                    .unwrap_or("default");
                plant(
                    format!(
                        "{namespace}/{}",
                        document["metadata"]["name"].as_str().unwrap()
                    ),
                    &document["status"],
                );
            }
        } else if let Some(name) = step["patch"]
            .as_str()
            .and_then(|target| target.strip_prefix("Service/"))
        {
            plant(name.to_owned(), &step["body"]["status"]);
        }
    }
    planted
}

/// Holds whatever is recorded: our condition at most once, and an address on two Services only where they share a key.
fn broken_invariants(snapshots: &[Snapshot]) -> Vec<String> {
    let mut broken = Vec::new();
    for snapshot in snapshots {
        let mut users: BTreeMap<IpAddr, Vec<(String, &str)>> = BTreeMap::new();
        for service in services(snapshot) {
            let conditions = service.conditions.as_array().into_iter().flatten();
            let ours = conditions
                .filter(|condition| condition["type"] == SATISFIED)
                .count();
            if ours > 1 {
                broken.push(format!(
                    "{}: {} has our condition {ours} times",
                    snapshot.label, service.name
                ));
            }
            for (ip, _) in service.ingress.iter().filter(|_| ours > 0) {
                users
                    .entry(*ip)
                    .or_default()
                    .push((service.name.clone(), service.sharing_key));
            }
        }
        for (ip, users) in users.iter().filter(|(_, users)| users.len() > 1) {
            let key = users[0].1;
            if key.is_empty() || users.iter().any(|(_, other)| *other != key) {
                broken.push(format!(
                    "{}: {ip} is held by {users:?}, which do not share",
                    snapshot.label
                ));
            }
        }
    }
    broken
}
