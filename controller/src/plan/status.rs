//! What an object looks like once its desired status is written into it.
//!
//! Works on the whole object as JSON, so that conditions and fields of others, and whatever an ingress entry carries
//! besides its address, survive untouched. An object that needs no write comes back equal: comparing is the caller's way
//! to know that nothing is to be done.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::addresses::{PoolCondition, ServiceStatus};
use crate::cluster::{IngressEntry, IngressIpMode, Pool, Service};

/// The condition that says whether a Service got what it asks for.
pub const REQUEST_SATISFIED: &str = "cilium.io/IPAMRequestSatisfied";
/// The condition that says why an object cannot be taken as it stands. It exists only while that is so.
pub const INVALID: &str = "fairway.dev/Invalid";
/// The condition that names another controller which keeps writing a Service's addresses. It exists only while that is so.
pub const FOREIGN_CONTROLLER: &str = "fairway.dev/ForeignController";
/// The mark that a new leader sets so that nothing its predecessor may still have under way can succeed. It goes with the
/// next write.
pub const TAKEN_OVER: &str = "fairway.dev/TakenOver";
/// Who we are among the managers of fields.
pub const FIELD_MANAGER: &str = "fairway";

/// The Service with its desired status.
///
/// [`FOREIGN_CONTROLLER`] comes and goes with [`ServiceStatus::foreign`]; [`TAKEN_OVER`] goes always. `now` is the time in
/// RFC 3339 form, taken as `lastTransitionTime` where the condition is new or changes between True and
/// False. Ingress entries that stay keep everything they carry; a new one is written with `ipMode: VIP`.
pub fn service_status_json(object: &Value, desired: &ServiceStatus, now: &str) -> Value {
    let mut object = object.clone();
    let recorded = object
        .pointer("/status/loadBalancer/ingress")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let ingress = ingress_json(&recorded, &desired.ingress);
    if ingress != recorded {
        let Some(balancer) =
            member(&mut object, "status").and_then(|status| member(status, "loadBalancer"))
        else {
            return object;
        };
        if ingress.is_empty() {
            remove_key(balancer, "ingress");
        } else {
            balancer["ingress"] = Value::Array(ingress);
        }
    }
    let wanted = desired.condition.as_ref().map(|condition| Wanted {
        kind: REQUEST_SATISFIED,
        status: if condition.satisfied { "True" } else { "False" },
        reason: condition.reason,
        message: &condition.message,
        observed_generation: None,
    });
    set_condition(&mut object, REQUEST_SATISFIED, wanted.as_ref(), now);
    let message = desired.foreign.as_deref().map(foreign_message);
    let wanted = message.as_deref().map(|message| Wanted {
        kind: FOREIGN_CONTROLLER,
        status: "True",
        reason: "ForeignController",
        message,
        observed_generation: None,
    });
    set_condition(&mut object, FOREIGN_CONTROLLER, wanted.as_ref(), now);
    set_condition(&mut object, TAKEN_OVER, None, now);
    object
}

/// Whether a Service carries already what is wanted, as far as a look without its object can tell.
pub fn is_as_desired(service: &Service, desired: &ServiceStatus) -> bool {
    let addresses_match = service.ingress.len() == desired.ingress.len()
        && service
            .ingress
            .iter()
            .zip(&desired.ingress)
            .all(|(is, wanted)| is.ip == wanted.ip && is.hostname == wanted.hostname);
    let condition_matches = match (&service.recorded_condition, &desired.condition) {
        (None, None) => true,
        (Some((status, reason, message, _)), Some(wanted)) => {
            (status == "True") == wanted.satisfied
                && (status == "True" || status == "False")
                && reason == wanted.reason
                && *message == wanted.message
        }
        _ => false,
    };
    let foreign_matches = match (&service.recorded_foreign, &desired.foreign) {
        (None, None) => true,
        (Some(recorded), Some(wanted)) => *recorded == foreign_message(wanted),
        _ => false,
    };
    addresses_match && condition_matches && foreign_matches && !service.taken_over
}

/// Whether a pool carries already the conditions that are wanted.
pub fn is_pool_as_desired(pool: &Pool, conditions: &[PoolCondition]) -> bool {
    let recorded = |kind: &str| {
        pool.recorded_conditions
            .iter()
            .find(|recorded| recorded.kind == kind)
    };
    let generation = (pool.meta.generation != 0).then_some(pool.meta.generation);
    let is_recorded = |wanted: &PoolCondition| {
        recorded(wanted.kind).is_some_and(|recorded| {
            recorded.status == wanted.status
                && recorded.reason == wanted.reason
                && recorded.message == wanted.message
                && (generation.is_none() || recorded.observed_generation == generation)
        })
    };
    let invalid = conditions.iter().any(|wanted| wanted.kind == INVALID);
    conditions.iter().all(is_recorded) && (invalid || recorded(INVALID).is_none())
}

/// What is said to a Service that another controller keeps writing.
pub fn foreign_message(manager: &str) -> String {
    format!(
        "{manager} keeps writing addresses into this Service, so Fairway leaves them as they are: set spec.loadBalancerClass \
         so that one of the two serves it, or switch {manager} off for it"
    )
}

/// The pool with its desired conditions.
///
/// `observedGeneration` is the object's generation, left out where it has none. Of our types, [`INVALID`] goes when it is
/// not listed; the others are then left as they stand, which is what a pool deserves whose blocks cannot be read.
pub fn pool_status_json(object: &Value, conditions: &[PoolCondition], now: &str) -> Value {
    let mut object = object.clone();
    let generation = object
        .pointer("/metadata/generation")
        .and_then(Value::as_i64);
    for condition in conditions {
        let wanted = Wanted {
            kind: condition.kind,
            status: condition.status,
            reason: condition.reason,
            message: &condition.message,
            observed_generation: generation,
        };
        set_condition(&mut object, condition.kind, Some(&wanted), now);
    }
    if conditions.iter().all(|condition| condition.kind != INVALID) {
        set_condition(&mut object, INVALID, None, now);
    }
    object
}

struct Wanted<'a> {
    kind: &'static str,
    status: &'static str,
    reason: &'static str,
    message: &'a str,
    observed_generation: Option<i64>,
}

impl Wanted<'_> {
    fn is_recorded_as(&self, condition: &Value) -> bool {
        let field = |name| {
            condition
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        field("status") == self.status
            && field("reason") == self.reason
            && field("message") == self.message
            && (self.observed_generation.is_none()
                || condition.get("observedGeneration").and_then(Value::as_i64)
                    == self.observed_generation)
    }

    fn to_json(&self, last_transition_time: &str) -> Value {
        let mut condition = json!({ "type": self.kind, "status": self.status });
        if let Some(generation) = self.observed_generation {
            condition["observedGeneration"] = json!(generation);
        }
        condition["lastTransitionTime"] = json!(last_transition_time);
        condition["reason"] = json!(self.reason);
        condition["message"] = json!(self.message);
        condition
    }
}

fn ingress_json(recorded: &[Value], desired: &[IngressEntry]) -> Vec<Value> {
    let mut taken = vec![false; recorded.len()];
    desired
        .iter()
        .map(|entry| {
            let stays = (0..recorded.len())
                .find(|&index| !taken[index] && carries(&recorded[index], entry));
            match stays {
                Some(index) => {
                    taken[index] = true;
                    recorded[index].clone()
                }
                None => new_entry(entry),
            }
        })
        .collect()
}

fn carries(recorded: &Value, entry: &IngressEntry) -> bool {
    let text = |name| {
        recorded
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    };
    match entry.ip {
        Some(ip) => text("ip").and_then(|text| text.parse::<IpAddr>().ok()) == Some(ip),
        None => text("ip").is_none() && text("hostname") == entry.hostname.as_deref(),
    }
}

fn new_entry(entry: &IngressEntry) -> Value {
    let mut json = Map::new();
    if let Some(ip) = entry.ip {
        json.insert("ip".into(), json!(ip.to_string()));
    }
    if let Some(hostname) = &entry.hostname {
        json.insert("hostname".into(), json!(hostname));
    }
    if entry.ip.is_some() {
        let mode = if entry.ip_mode == IngressIpMode::Other {
            "Proxy"
        } else {
            "VIP"
        };
        json.insert("ipMode".into(), json!(mode));
    }
    Value::Object(json)
}

/// Sets, replaces or removes the one condition of a type; a second one of that type always goes.
fn set_condition(object: &mut Value, kind: &str, wanted: Option<&Wanted<'_>>, now: &str) {
    let is_ours = |condition: &Value| condition.get("type").and_then(Value::as_str) == Some(kind);
    let recorded = object
        .pointer("/status/conditions")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let ours: Vec<&Value> = recorded
        .iter()
        .filter(|condition| is_ours(condition))
        .collect();
    let as_wanted = match wanted {
        None => ours.is_empty(),
        Some(wanted) => ours.len() == 1 && wanted.is_recorded_as(ours[0]),
    };
    if as_wanted {
        return;
    }
    let replacement = wanted.map(|wanted| {
        let since = ours.first().filter(|condition| {
            condition.get("status").and_then(Value::as_str) == Some(wanted.status)
        });
        let since = since
            .and_then(|condition| condition.get("lastTransitionTime"))
            .and_then(Value::as_str);
        wanted.to_json(since.filter(|time| !time.is_empty()).unwrap_or(now))
    });
    let place = recorded.iter().position(is_ours).unwrap_or(recorded.len());
    let mut conditions: Vec<Value> = recorded
        .iter()
        .filter(|condition| !is_ours(condition))
        .cloned()
        .collect();
    if let Some(replacement) = replacement {
        conditions.insert(place.min(conditions.len()), replacement);
    }
    let Some(status) = member(object, "status") else {
        return;
    };
    if conditions.is_empty() {
        remove_key(status, "conditions");
    } else {
        status["conditions"] = Value::Array(conditions);
    }
}

/// The member of an object, made an empty object where it is missing or null; `None` where something else stands there.
fn member<'a>(object: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    let member = object.as_object_mut()?.entry(name).or_insert(Value::Null);
    if member.is_null() {
        *member = Value::Object(Map::new());
    }
    member.is_object().then_some(member)
}

/// Removes a key, leaving the others in their order.
fn remove_key(object: &mut Value, name: &str) {
    if let Some(map) = object.as_object_mut() {
        map.shift_remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::super::addresses::ServiceCondition;
    use super::*;

    const NOW: &str = "2026-02-03T04:05:06Z";

    fn entry(ip: &str) -> IngressEntry {
        IngressEntry {
            ip: Some(ip.parse().unwrap()),
            hostname: None,
            ip_mode: IngressIpMode::Vip,
        }
    }

    fn satisfied(ips: &[&str]) -> ServiceStatus {
        ServiceStatus {
            ingress: ips.iter().map(|ip| entry(ip)).collect(),
            condition: Some(ServiceCondition {
                satisfied: true,
                reason: "satisfied",
                message: String::new(),
            }),
            foreign: None,
        }
    }

    fn refused(ips: &[&str], reason: &'static str) -> ServiceStatus {
        ServiceStatus {
            condition: Some(ServiceCondition {
                satisfied: false,
                reason,
                message: "text".into(),
            }),
            ..satisfied(ips)
        }
    }

    #[test]
    fn a_service_gets_its_first_address_and_condition() {
        let object = json!({"kind": "Service", "metadata": {"name": "a"}});
        let written = service_status_json(&object, &satisfied(&["10.0.10.1"]), NOW);
        assert_eq!(
            written,
            json!({"kind": "Service", "metadata": {"name": "a"}, "status": {
                "loadBalancer": {"ingress": [{"ip": "10.0.10.1", "ipMode": "VIP"}]},
                "conditions": [{"type": REQUEST_SATISFIED, "status": "True", "lastTransitionTime": NOW, "reason": "satisfied", "message": ""}],
            }})
        );
        assert_eq!(
            service_status_json(&written, &satisfied(&["10.0.10.1"]), "later"),
            written
        );
    }

    #[test]
    fn what_an_entry_carries_survives_when_the_entry_stays() {
        let kept = json!({"ip": "fd00:0::1", "ipMode": "Proxy", "ports": [{"port": 80, "protocol": "TCP"}]});
        let object = json!({"status": {"loadBalancer": {"ingress": [{"hostname": "host.example"}, kept, kept]}}});
        let written = service_status_json(&object, &satisfied(&["fd00::1", "10.0.10.1"]), NOW);
        assert_eq!(
            written["status"]["loadBalancer"]["ingress"],
            json!([kept, {"ip": "10.0.10.1", "ipMode": "VIP"}])
        );
    }

    #[test]
    fn conditions_of_others_are_left_alone_and_ours_exists_once() {
        let other = json!({"type": "example.com/Other", "status": "True", "x": 1});
        let ours = json!({"type": REQUEST_SATISFIED, "status": "False", "reason": "no_pool", "message": "text", "lastTransitionTime": "2020-01-01T00:00:00Z"});
        let object = json!({"status": {"conditions": [ours, other, ours]}});
        let written = service_status_json(&object, &refused(&[], "out_of_ips"), NOW);
        assert_eq!(written["status"]["conditions"][1], other);
        assert_eq!(written["status"]["conditions"].as_array().unwrap().len(), 2);
        assert_eq!(written["status"]["conditions"][0]["reason"], "out_of_ips");
        assert_eq!(
            written["status"]["conditions"][0]["lastTransitionTime"], "2020-01-01T00:00:00Z",
            "False stays False"
        );
        let flipped = service_status_json(&written, &satisfied(&["10.0.10.1"]), NOW);
        assert_eq!(
            flipped["status"]["conditions"][0]["lastTransitionTime"],
            NOW
        );
    }

    #[test]
    fn a_service_that_is_not_ours_any_more_is_cleaned() {
        let object = json!({"spec": {}, "status": {"loadBalancer": {"ingress": [{"ip": "10.0.10.1"}]}, "conditions": [{"type": REQUEST_SATISFIED, "status": "True"}]}});
        let written = service_status_json(
            &object,
            &ServiceStatus {
                ingress: vec![],
                condition: None,
                foreign: None,
            },
            NOW,
        );
        assert_eq!(written, json!({"spec": {}, "status": {"loadBalancer": {}}}));
        assert_eq!(
            service_status_json(
                &written,
                &ServiceStatus {
                    ingress: vec![],
                    condition: None,
                    foreign: None
                },
                NOW
            ),
            written
        );
        let untouched = json!({"spec": {}});
        assert_eq!(
            service_status_json(
                &untouched,
                &ServiceStatus {
                    ingress: vec![],
                    condition: None,
                    foreign: None
                },
                NOW
            ),
            untouched
        );
    }

    #[test]
    fn a_foreign_controller_is_named_for_as_long_as_it_is_there_and_a_mark_of_takeover_goes() {
        let mark = json!({"type": TAKEN_OVER, "status": "True"});
        let other = json!({"type": "example.com/Other", "status": "True"});
        let object = json!({"status": {"conditions": [other, mark]}});
        let desired = ServiceStatus {
            ingress: vec![],
            condition: None,
            foreign: Some("metallb-controller".into()),
        };
        let written = service_status_json(&object, &desired, NOW);
        let conditions = written["status"]["conditions"].as_array().unwrap();
        assert_eq!(conditions[0], other);
        assert_eq!(conditions[1]["type"], FOREIGN_CONTROLLER);
        assert_eq!(conditions[1]["status"], "True");
        let message = conditions[1]["message"].as_str().unwrap();
        assert!(message.contains("metallb-controller"), "{message}");
        assert_eq!(conditions.len(), 2);
        let alone = ServiceStatus {
            foreign: None,
            ..desired
        };
        let cleaned = service_status_json(&written, &alone, NOW);
        assert_eq!(cleaned["status"]["conditions"], json!([other]));
    }

    #[test]
    fn a_pool_condition_observes_the_generation_and_invalid_goes_when_it_is_over() {
        let total = |message: &str| PoolCondition {
            kind: "cilium.io/IPsTotal",
            status: "Unknown",
            reason: "noreason",
            message: message.into(),
        };
        let invalid = PoolCondition {
            kind: INVALID,
            status: "True",
            reason: "invalid_block",
            message: "spec.blocks[0]: bad".into(),
        };
        let object = json!({"metadata": {"name": "p", "generation": 3}});
        let written = pool_status_json(&object, &[total("256"), invalid], NOW);
        let conditions = written["status"]["conditions"].as_array().unwrap();
        assert_eq!(conditions.len(), 2);
        assert_eq!(conditions[0]["observedGeneration"], 3);
        assert_eq!(
            pool_status_json(&written, &[], "later")["status"]["conditions"],
            json!([conditions[0]]),
            "counters stay as they stand"
        );
        let mut edited = pool_status_json(&written, &[total("256")], "later");
        assert_eq!(edited["status"]["conditions"], json!([conditions[0]]));
        edited["metadata"]["generation"] = json!(4);
        let observed = pool_status_json(&edited, &[total("256")], "later");
        assert_eq!(observed["status"]["conditions"][0]["observedGeneration"], 4);
        assert_eq!(
            observed["status"]["conditions"][0]["lastTransitionTime"],
            NOW
        );
        assert_eq!(
            pool_status_json(&observed, &[total("256")], "later"),
            observed
        );
    }

    #[test]
    fn an_object_with_a_status_of_the_wrong_shape_is_left_as_it_is() {
        let object = json!({"status": "nonsense"});
        assert_eq!(
            service_status_json(&object, &satisfied(&["10.0.10.1"]), NOW),
            object
        );
    }
}
