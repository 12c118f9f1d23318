//! The benchmark of the cluster figures in its quick form: what it counts holds for Fairway, and it notices a controller
//! that gets it wrong. Nothing here depends on how fast the machine is.

use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

/// One at a time: they measure.
static ALONE: Mutex<()> = Mutex::new(());

fn cluster(arguments: &[&str]) -> Output {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let output = Command::new(env!("CARGO_BIN_EXE_cluster"))
        .arg("--quick")
        .args(arguments)
        .output()
        .expect("the benchmark can be started");
    print!("{}", String::from_utf8_lossy(&output.stdout));
    output
}

/// The rows of the table that say so.
#[track_caller]
fn missed(arguments: &[&str]) -> Vec<String> {
    let output = cluster(arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let missed: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|line| line.ends_with("MISSED"))
        .map(str::to_owned)
        .collect();
    let expected = if missed.is_empty() { 0 } else { 1 };
    assert_eq!(output.status.code(), Some(expected), "{errors}");
    missed
}

#[track_caller]
fn assert_notices(mistake: &str, scenario: &str, row: &str) {
    let missed = missed(&[scenario, "--stand-in", "--mistake", mistake]);
    assert!(
        missed.iter().any(|line| line.contains(row)),
        "{row} is not among the missed: {missed:?}"
    );
}

#[test]
fn fairway_writes_once_and_never_unasked() {
    assert_eq!(missed(&["all"]), [""; 0]);
}

#[test]
fn a_controller_that_writes_twice_is_noticed() {
    assert_notices("twice", "backlog", "writes to Services");
}

#[test]
fn a_controller_that_writes_one_after_the_other_is_noticed() {
    assert_notices("slow", "backlog", "of the plain loop's rate");
}

#[test]
fn a_controller_that_writes_when_it_starts_is_noticed() {
    assert_notices("restless", "restart", "writes to the others");
}

#[test]
fn a_controller_that_writes_while_nothing_happens_is_noticed() {
    assert_notices("restless", "idle", "writes but the lease's");
}

#[test]
fn a_controller_that_keeps_too_much_is_noticed() {
    assert_notices("greedy", "memory", "20 Services");
}
