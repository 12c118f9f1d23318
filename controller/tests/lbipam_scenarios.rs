//! Plays the recorded LB-IPAM scenarios against the planner, without an API server: steps change objects, the planner's
//! statuses are written into them, time is virtual. What comes out is compared with what a real Cilium operator did.
//!
//! Each scenario is played twice: once as if every object arrived alone, once as if all that stands between two looks
//! arrived together.

#[path = "lbipam/compare.rs"]
mod compare;
#[path = "lbipam/player.rs"]
mod player;

use std::path::PathBuf;

use serde_json::Value;

use player::{Arrival, play};

#[test]
fn recorded_scenarios_end_as_recorded_or_better() {
    let Some(folder) = vectors() else {
        eprintln!("skipped: no recorded scenarios beside the repository (set FAIRWAY_SHARED)");
        return;
    };
    let golden = std::fs::read_to_string(folder.join("golden.json")).unwrap();
    let golden: Value = serde_json::from_str(&golden).unwrap();
    let (mut played, mut skipped, mut failures) = (0, 0, Vec::new());
    for scenario in scenarios(&folder) {
        let name = scenario["name"].as_str().unwrap();
        if let Some(reason) = reason_to_skip(&scenario) {
            eprintln!("skipped {name}: {reason}");
            skipped += 1;
            continue;
        }
        for arrival in [Arrival::OneByOne, Arrival::Together] {
            let snapshots = play(&scenario, arrival);
            let verdict = compare::judge(&scenario, &golden["scenarios"][name], &snapshots);
            match verdict {
                Ok(allowed) => {
                    played += 1;
                    for difference in allowed {
                        eprintln!("{name} ({arrival:?}) differs as it may: {difference}");
                    }
                }
                Err(differences) => {
                    failures.push(format!(
                        "{name} ({arrival:?}):\n    {}",
                        differences.join("\n    ")
                    ));
                }
            }
        }
    }
    eprintln!(
        "{played} played as they should, {} not, {skipped} skipped",
        failures.len()
    );
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(played > 0);
}

fn reason_to_skip(scenario: &Value) -> Option<&'static str> {
    match scenario["name"].as_str().unwrap() {
        name if name.starts_with("bgp-") => Some("about the BGP objects"),
        _ => scenario
            .get("cilium_options")
            .map(|_| "needs options of the Cilium operator"),
    }
}

fn vectors() -> Option<PathBuf> {
    let shared = std::env::var_os("FAIRWAY_SHARED").map(PathBuf::from);
    let shared =
        shared.unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared").into());
    let folder = shared.join("vectors/lbipam");
    folder.is_dir().then_some(folder)
}

fn scenarios(folder: &std::path::Path) -> Vec<Value> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder.join("scenarios"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let read = |file: &PathBuf| {
        let text = std::fs::read_to_string(file).unwrap();
        serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    };
    files
        .iter()
        .filter(|file| file.extension().is_some_and(|ending| ending == "yaml"))
        .map(read)
        .collect()
}
