//! Answers that are wrong, slow, lost or missing.

use std::time::{Duration, Instant};

use serde_json::json;
use support::clock::{holds, now, throughout};
use support::fault_proxy::{Fault, Trouble};
use support::observer::SERVICES;

use super::{LATER, QUIET, Stage};

#[test]
fn wrong_slow_and_lost_answers_lose_nothing_and_repeat_nothing() {
    const COUNT: usize = 30;
    let stage = Stage::new();
    let troubles = [
        ("500", Trouble::Answer(500, None)),
        ("503", Trouble::Answer(503, None)),
        ("429", Trouble::Answer(429, Some(1))),
        ("slow", Trouble::Delay(Duration::from_secs(1))),
        ("cut", Trouble::Cut),
        ("lost", Trouble::LoseAnswer),
    ];
    for (name, trouble) in troubles {
        let mark = stage.cluster.observer().mark();
        let names: Vec<String> = (0..COUNT)
            .map(|number| format!("{name}-{number}"))
            .collect();
        let fault = Fault::new(trouble)
            .method("PATCH")
            .on("/services/")
            .times(20);
        stage.proxy.make(fault);
        let begin = now();
        stage.cluster.make_services("default", &names);
        stage.until_served("default", &names);
        let took = begin.elapsed();
        stage.proxy.calm();
        stage
            .cluster
            .observer()
            .until_quiet(&[SERVICES], QUIET, LATER);
        let written = stage.cluster.observer().written_by_fairway(mark, SERVICES);
        let most = written.values().max().copied().unwrap_or_default();
        println!(
            "{name}: {COUNT} Services were served after {took:?}, each written at most {most} times"
        );
        assert_eq!(written.len(), COUNT);
        assert_eq!(most, 1, "{written:?}");
    }
    stage.check_distinct();
}

#[test]
fn services_that_others_change_all_the_time_are_served_all_the_same() {
    const COUNT: usize = 20;
    const CHANGES: usize = 25;
    let stage = Stage::new();
    let names: Vec<String> = (0..COUNT).map(|number| format!("s{number}")).collect();
    let mark = stage.cluster.observer().mark();
    let path = |name: &str| format!("/api/v1/namespaces/default/services/{name}");
    std::thread::scope(|scope| {
        stage.cluster.make_services("default", &names);
        let (admin, names) = (stage.cluster.admin.clone(), &names);
        scope.spawn(move || {
            for change in 0..CHANGES {
                for name in names {
                    let note = json!({ "metadata": { "annotations": { "example.com/change": change.to_string() } } });
                    admin.merge(&path(name), &note).expect("a note can be made");
                }
            }
        });
        stage.until_served("default", names);
    });
    stage
        .cluster
        .observer()
        .until_quiet(&[SERVICES], QUIET, LATER);
    let conflicts = stage
        .proxy
        .requests()
        .iter()
        .filter(|request| request.code == 409)
        .count();
    let written = stage.cluster.observer().written_by_fairway(mark, SERVICES);
    println!(
        "{} changes by others beside {} allocations: {conflicts} conflicts",
        COUNT * CHANGES,
        written.len()
    );
    assert!(
        written.len() == COUNT && written.values().all(|count| *count == 1),
        "{written:?}"
    );
    for name in &names {
        let service = stage.cluster.service("default", name);
        let note = &service["metadata"]["annotations"]["example.com/change"];
        assert_eq!(*note, (CHANGES - 1).to_string(), "their changes stay");
    }
    stage.check_distinct();
}

#[test]
fn a_retry_after_is_waited_for() {
    const WAIT: Duration = Duration::from_secs(3);
    let stage = Stage::new();
    let fault = Fault::new(Trouble::Answer(429, Some(3)))
        .method("PATCH")
        .on("/services/busy")
        .times(1);
    stage.proxy.make(fault);
    stage.cluster.make_services("default", &["busy".into()]);
    stage.until_served("default", &["busy".into()]);
    let requests = stage.proxy.requests();
    let writes: Vec<(Instant, u16)> = requests
        .iter()
        .filter(|request| request.method == "PATCH" && request.target.contains("/services/busy"))
        .map(|request| (request.at, request.code))
        .collect();
    let codes: Vec<u16> = writes.iter().map(|(_, code)| *code).collect();
    assert_eq!(codes, [429, 200]);
    let waited = writes[1].0.duration_since(writes[0].0);
    println!("told to wait {WAIT:?}, waited {waited:?}");
    assert!((WAIT..WAIT * 2).contains(&waited), "{waited:?}");
}

#[test]
fn a_bad_quarter_of_a_minute_for_every_request_is_survived() {
    let stage = Stage::new();
    let names = |prefix: &str| -> Vec<String> {
        (0..10).map(|number| format!("{prefix}-{number}")).collect()
    };
    stage.cluster.make_services("default", &names("before"));
    stage.until_served("default", &names("before"));
    let before = stage.cluster.all_addresses();
    let mark = stage.cluster.observer().mark();
    for trouble in [
        Trouble::Answer(500, None),
        Trouble::Answer(429, Some(1)),
        Trouble::Silence,
    ] {
        stage.proxy.make(Fault::new(trouble.clone()));
        stage.proxy.cut();
        let name = format!("{trouble:?}")
            .to_lowercase()
            .replace(|c: char| !c.is_alphanumeric(), "");
        stage.cluster.make_services("default", &names(&name));
        throughout(
            "what it knows stays, and it runs",
            Duration::from_secs(5),
            || {
                let known = stage.fairway.addresses();
                let kept = before.iter().all(|entry| known.contains(entry));
                holds(kept, known)
            },
        );
        stage.proxy.calm();
        let begin = now();
        stage.until_served("default", &names(&name));
        println!(
            "{trouble:?} for all requests: served {:?} after it ended",
            begin.elapsed()
        );
    }
    stage
        .cluster
        .observer()
        .until_quiet(&[SERVICES], QUIET, LATER);
    let written = stage.cluster.observer().written_by_fairway(mark, SERVICES);
    let again: Vec<_> = written
        .iter()
        .filter(|(name, count)| name.contains("before") || **count > 2)
        .collect();
    assert!(again.is_empty(), "{again:?}");
    stage.check_distinct();
}
