//! etcd: one member that keeps its data over crashes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use std::io::{self, BufReader, Write};

use serde_json::{Value, json};

use crate::clock::eventually;
use crate::http::{Body, Head};
use crate::place::Place;
use crate::process::Process;

const START: Duration = Duration::from_secs(30);

/// One etcd on loopback.
#[derive(Debug)]
pub struct Etcd {
    program: PathBuf,
    place: Place,
    directory: PathBuf,
    port: u16,
    process: Option<Process>,
}

impl Etcd {
    /// Starts it, serving clients on `port` and peers on the next one; its data lives below `directory`.
    ///
    /// # Panics
    /// When it does not come up.
    #[track_caller]
    pub fn start(program: &Path, place: &Place, directory: &Path, port: u16) -> Self {
        let mut etcd = Self {
            program: program.to_owned(),
            place: place.clone(),
            directory: directory.to_owned(),
            port,
            process: None,
        };
        etcd.restart();
        etcd
    }

    /// Its URL for clients.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Kills it as the kernel would.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again on the same data, and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn restart(&mut self) {
        self.kill();
        let peers = format!("http://127.0.0.1:{}", self.port + 1);
        let mut command = Command::new(&self.program);
        command
            .arg("--data-dir")
            .arg(self.directory.join("etcd"))
            .args(["--listen-client-urls", &self.url()])
            .args(["--advertise-client-urls", &self.url()])
            .args(["--listen-peer-urls", &peers])
            .args(["--initial-advertise-peer-urls", &peers])
            .args(["--initial-cluster", &format!("default={peers}")])
            .args(["--unsafe-no-fsync", "--log-level", "warn"]);
        self.process = Some(self.place.start("etcd", command, &self.directory));
        eventually("etcd answers", START, || self.revision().map(|_| ()));
    }

    /// The revision of its store.
    ///
    /// # Errors
    /// It does not answer.
    pub fn revision(&self) -> Result<i64, String> {
        let answer = self.ask("range", &json!({ "key": "AA==" }))?;
        answer["header"]["revision"]
            .as_str()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| format!("no revision in {answer}"))
    }

    /// Forgets all former versions of everything: whoever watches from one of them is told 410 Gone.
    ///
    /// # Panics
    /// When it refuses.
    #[track_caller]
    pub fn compact(&self) -> i64 {
        let revision = self.revision().expect("etcd answers");
        let body = json!({ "revision": revision.to_string(), "physical": true });
        let answer = self.ask("compaction", &body).expect("etcd compacts");
        assert!(answer["error"].is_null(), "{answer}");
        revision
    }

    fn ask(&self, operation: &str, body: &Value) -> Result<Value, String> {
        let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), self.port);
        let fetch = || -> io::Result<Value> {
            let connection = self
                .place
                .inside(|| TcpStream::connect_timeout(&address, START))?;
            connection.set_read_timeout(Some(START))?;
            let text = body.to_string();
            let head = Head {
                line: format!("POST /v3/kv/{operation} HTTP/1.1"),
                fields: vec![
                    ("Host".into(), address.to_string()),
                    ("Content-Length".into(), text.len().to_string()),
                ],
            };
            let mut connection = BufReader::new(connection);
            head.write(connection.get_mut())?;
            connection.get_mut().write_all(text.as_bytes())?;
            let head = Head::read(&mut connection)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let octets = Body::new(head.response_framing("POST")).rest(&mut connection)?;
            serde_json::from_slice(&octets).map_err(io::Error::other)
        };
        fetch().map_err(|error| format!("etcd {operation}: {error}"))
    }
}
