use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::super::state::ClusterView;
use super::*;
use crate::net::changes::Changes;

const DEADLINE: Duration = Duration::from_secs(20);

async fn within_deadline<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future)
        .await
        .expect("it did not happen in time")
}

fn state() -> Arc<State> {
    Arc::new(State::new("k3s1".to_owned(), Changes::default()))
}

async fn serve(address: &Address) -> (Arc<State>, Address, tokio::task::JoinHandle<()>) {
    let state = state();
    let api = Api::bind(address).await.unwrap();
    let address = api.address().unwrap();
    let task = tokio::spawn(api.serve(Arc::clone(&state)));
    (state, address, task)
}

/// Status code, version and body.
async fn ask(path: &Path, target: &str) -> (u16, Option<String>, Value) {
    let mut stream = UnixStream::connect(path).await.unwrap();
    stream
        .write_all(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    within_deadline(stream.read_to_string(&mut answer))
        .await
        .unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let version = head
        .lines()
        .find_map(|line| line.strip_prefix("x-fairway-version: "))
        .map(str::to_owned);
    (status, version, serde_json::from_str(body).unwrap())
}

fn socket(directory: &tempfile::TempDir) -> (PathBuf, Address) {
    let path = directory.path().join("below/api.sock");
    (path.clone(), Address::Unix(path))
}

#[tokio::test]
async fn documents_are_given_with_their_version_and_mistakes_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let (path, address) = socket(&directory);
    let (state, _, _task) = serve(&address).await;
    state.set_view(ClusterView {
        notes: vec!["a note".to_owned()],
        ..ClusterView::default()
    });
    assert_eq!(ask(&path, "/v1/peers").await.2, json!({"k3s1": []}));
    assert_eq!(
        ask(&path, "/v1/routes?kind=advertised&afi=ipv6&safi=unicast")
            .await
            .2,
        json!({"k3s1": []})
    );
    let (status, version, pools) = ask(&path, "/v1/pools").await;
    assert_eq!(
        (status, version),
        (200, Some(state.changes().version().to_string()))
    );
    assert_eq!(
        (&pools["kind"], &pools["items"]),
        (&json!("List"), &json!([]))
    );
    assert_eq!(ask(&path, "/v1/notes").await.2, json!(["a note"]));
    for (target, status, word) in [
        ("/v1/peer", 404, "/v1/peers"),
        ("/v1/routes?afi=l2vpn", 400, "afi=l2vpn"),
        ("/v1/peers?after=x", 400, "x-fairway-version"),
    ] {
        let answer = ask(&path, target).await;
        assert_eq!(answer.0, status, "{target}");
        assert!(
            answer.2["error"].as_str().unwrap().contains(word),
            "{target}: {}",
            answer.2
        );
    }
}

#[tokio::test]
async fn a_client_that_waits_is_answered_when_something_changes_and_not_before() {
    let directory = tempfile::tempdir().unwrap();
    let (path, address) = socket(&directory);
    let (state, _, _task) = serve(&address).await;
    let seen = state.changes().version();
    let mut waiting =
        tokio::spawn(async move { ask(&path, &format!("/v1/notes?after={seen}")).await });
    assert!(
        timeout(Duration::from_millis(200), &mut waiting)
            .await
            .is_err(),
        "nothing changed yet"
    );
    state.set_view(ClusterView {
        notes: vec!["news".to_owned()],
        ..ClusterView::default()
    });
    let (_, version, notes) = within_deadline(waiting).await.unwrap();
    assert_eq!(notes, json!(["news"]));
    assert!(version.unwrap().parse::<u64>().unwrap() > seen);
}

#[tokio::test]
async fn a_dead_socket_is_replaced_and_a_live_one_and_a_file_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let (path, address) = socket(&directory);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a dead socket stays behind");
    let (_, _, task) = serve(&address).await;
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, SOCKET_MODE);
    let error = Api::bind(&address).await.unwrap_err();
    assert!(
        matches!(error, BindError::InUse(_)) && error.to_string().contains("--api"),
        "{error}"
    );
    task.abort();
    let _ = task.await;
    assert!(!path.exists(), "it goes with the process");
    std::fs::write(&path, "a file").unwrap();
    assert!(matches!(
        Api::bind(&address).await.unwrap_err(),
        BindError::NotASocket(_)
    ));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "a file");
}

#[tokio::test]
async fn a_thousand_idle_clients_and_some_that_never_read_do_not_stop_others_for_long() {
    let directory = tempfile::tempdir().unwrap();
    let (path, address) = socket(&directory);
    let (state, _, _task) = serve(&address).await;
    let large = "x".repeat(4 * 1024 * 1024);
    state.set_view(ClusterView {
        notes: vec![large],
        ..ClusterView::default()
    });
    let mut never_reads = vec![];
    for _ in 0..4 {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream
            .write_all(b"GET /v1/notes HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await
            .unwrap();
        never_reads.push(stream);
    }
    let mut idle = vec![];
    for _ in 0..1000 {
        // The kernel's queue may be full for a moment; the server empties it by closing.
        idle.push(within_deadline(UnixStream::connect(&path)).await);
    }
    let answered = within_deadline(async {
        loop {
            // While all places are taken, further clients are closed at once; idle ones lose theirs after some seconds.
            let mut stream = UnixStream::connect(&path).await.unwrap();
            let _ = stream
                .write_all(b"GET /v1/peers HTTP/1.1\r\nHost: localhost\r\n\r\n")
                .await;
            let mut answer = String::new();
            if stream.read_to_string(&mut answer).await.is_ok()
                && answer.starts_with("HTTP/1.1 200")
            {
                break true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert!(answered);
}

#[tokio::test]
async fn over_tcp_a_name_from_the_web_is_refused() {
    let (_, address, _task) = serve(&Address::Tcp("127.0.0.1:0".parse().unwrap())).await;
    let Address::Tcp(address) = address else {
        panic!("{address}")
    };
    for (host, status) in [("127.0.0.1", "200"), ("evil.example", "403")] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(format!("GET /v1/peers HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        within_deadline(stream.read_to_string(&mut answer))
            .await
            .unwrap();
        assert_eq!(answer.split(' ').nth(1), Some(status), "{host}");
    }
}
