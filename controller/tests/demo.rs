//! `fairway demo` as a user runs it: the story comes true, and nothing is left behind however it ends.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(90);

fn fairway(temporary: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fairway"));
    command
        .env("TMPDIR", temporary.path())
        .env_remove("FAIRWAY_API")
        .kill_on_drop(true);
    command
}

async fn output(mut command: Command) -> Output {
    timeout(LIMIT, command.output())
        .await
        .expect("it ends")
        .expect("it starts")
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).unwrap().next().is_none()
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waited = timeout(LIMIT, async {
        while !holds() {
            sleep(Duration::from_millis(20)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// A demo that stays up, read as far as its last line.
struct Staying {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    told: Vec<String>,
}

impl Staying {
    async fn start(temporary: &TempDir) -> Self {
        let mut child = fairway(temporary)
            .arg("demo")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut staying = Self {
            child,
            lines,
            told: vec![],
        };
        timeout(LIMIT, staying.read_until("Ctrl-C ends it all"))
            .await
            .expect("it stays up");
        staying
    }

    async fn read_until(&mut self, last: &str) {
        while let Some(line) = self.lines.next_line().await.unwrap() {
            self.told.push(line);
            if self.told.last().is_some_and(|line| line.contains(last)) {
                return;
            }
        }
        panic!("it ended early:\n{}", self.told.join("\n"));
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// The nodes' processes that were named at the beginning and are not said to be killed.
    fn nodes(&self) -> Vec<u32> {
        let named = self.told.iter().filter_map(|line| {
            line.split_once("fairway run, process ")?
                .1
                .trim()
                .parse()
                .ok()
        });
        named.collect()
    }

    /// What follows `--api` in the first command that may be tried.
    fn api(&self) -> String {
        let line = self
            .told
            .iter()
            .find(|line| line.contains(" peers --api "))
            .unwrap();
        line.split_once("--api ").unwrap().1.to_owned()
    }
}

fn runs(id: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // The state stands behind the name in parentheses; Z is a process that nobody has waited for yet.
    status
        .rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[tokio::test]
async fn the_story_comes_true_within_a_hundred_columns_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let mut command = fairway(&temporary);
    command.args(["demo", "--once"]);
    let output = output(command).await;
    let story = text(&output.stdout);
    assert!(output.status.success(), "{story}\n{}", text(&output.stderr));
    for said in [
        "192.168.10.224",
        "127.0.0.21",
        "127.0.0.23",
        "127.0.0.31",
        "established",
        "kept their addresses",
        "7. In short",
    ] {
        assert!(story.contains(said), "{said} is missing in\n{story}");
    }
    assert!(
        story.lines().all(|line| line.chars().count() <= 100),
        "{story}"
    );
    assert!(
        !story
            .chars()
            .any(|character| character != '\n' && character.is_control()),
        "{story:?}"
    );
    assert!(is_empty(temporary.path()));
}

#[tokio::test]
async fn a_network_that_stays_up_can_be_asked_and_ends_with_the_demo() {
    let temporary = tempfile::tempdir().unwrap();
    let mut demo = Staying::start(&temporary).await;
    let mut command = fairway(&temporary);
    command.args(["peers", "-o", "json", "--api", &demo.api()]);
    let peers: serde_json::Value = serde_json::from_slice(&output(command).await.stdout).unwrap();
    assert_eq!(peers["k3s1"][0]["session-state"], "established");
    assert_eq!(peers["k3s1"][0]["peer-asn"], 64513);
    demo.signal(Signal::TERM);
    let status = timeout(LIMIT, demo.child.wait())
        .await
        .expect("it ends")
        .unwrap();
    assert!(status.success());
    assert!(is_empty(temporary.path()));
    assert!(!demo.nodes().is_empty() && !demo.nodes().into_iter().any(runs));
}

#[tokio::test]
async fn the_nodes_end_even_where_the_demo_is_killed() {
    if !Path::new("/usr/bin/setpriv").exists() {
        eprintln!("skipped: util-linux's setpriv is not installed");
        return;
    }
    let temporary = tempfile::tempdir().unwrap();
    let mut demo = Staying::start(&temporary).await;
    assert!(demo.nodes().into_iter().any(runs));
    demo.child.kill().await.unwrap();
    until("all nodes are gone", || !demo.nodes().into_iter().any(runs)).await;
}
