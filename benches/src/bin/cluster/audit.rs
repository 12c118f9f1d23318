//! What the API server says it was asked, from its audit log.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::control_plane::MEASURED;
use crate::process::{Outcome, now};

/// A reader that goes on where it has stopped.
pub(crate) struct Audit {
    path: PathBuf,
    offset: u64,
    /// The requests of the measured program, in the order in which they were answered.
    requests: Vec<Request>,
    last_write: Instant,
}

/// A request that was answered.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Request {
    verb: String,
    #[serde(rename = "requestURI")]
    path: String,
    user: User,
    #[serde(default)]
    object_ref: Object,
    #[serde(default)]
    response_status: Status,
}

#[derive(Debug, Deserialize)]
struct User {
    username: String,
}

#[derive(Debug, Default, Deserialize)]
struct Object {
    #[serde(default)]
    resource: String,
    #[serde(default)]
    name: String,
}

#[derive(Debug, Default, Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
}

impl Request {
    pub(crate) fn is_write(&self) -> bool {
        ["create", "update", "patch", "delete", "deletecollection"].contains(&self.verb.as_str())
    }

    /// The resource, or the path of what is none (discovery).
    fn subject(&self) -> &str {
        match self.object_ref.resource.as_str() {
            "" => self.path.split('?').next().unwrap_or_default(),
            resource => resource,
        }
    }

    pub(crate) fn is_about(&self, resource: &str) -> bool {
        self.object_ref.resource == resource
    }

    pub(crate) fn is_about_object(&self, resource: &str, name: &str) -> bool {
        self.is_about(resource) && self.object_ref.name == name
    }

    pub(crate) fn succeeded(&self) -> bool {
        (200..300).contains(&self.response_status.code)
    }
}

impl Audit {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            offset: 0,
            requests: Vec::new(),
            last_write: now(),
        }
    }

    /// Where the log stands now, for [`since`](Self::since).
    pub(crate) fn mark(&mut self) -> Outcome<usize> {
        self.read_on()?;
        Ok(self.requests.len())
    }

    /// All requests of the measured program that were answered after the mark.
    pub(crate) fn since(&mut self, mark: usize) -> Outcome<&[Request]> {
        self.read_on()?;
        Ok(&self.requests[mark..])
    }

    /// Waits until it has written nothing but its lease for `quiet`; false when it is still at it after `limit`.
    pub(crate) async fn wait_until_quiet(
        &mut self,
        quiet: Duration,
        limit: Duration,
    ) -> Outcome<bool> {
        let deadline = now() + limit;
        self.last_write = now();
        loop {
            self.read_on()?;
            let now = now();
            if now.duration_since(self.last_write) >= quiet {
                return Ok(true);
            }
            if now > deadline {
                return Ok(false);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn read_on(&mut self) -> Outcome<()> {
        let Ok(mut file) = File::open(&self.path) else {
            // It comes into being with the first line.
            return Ok(());
        };
        file.seek(SeekFrom::Start(self.offset))?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        // The last line may still be in the writing.
        let complete = text
            .iter()
            .rposition(|&octet| octet == b'\n')
            .map_or(0, |last| last + 1);
        self.offset += complete as u64;
        for line in text[..complete]
            .split(|&octet| octet == b'\n')
            .filter(|line| !line.is_empty())
        {
            let request: Request = serde_json::from_slice(line)?;
            if request.user.username != MEASURED {
                continue;
            }
            if request.is_write() && !request.is_about("leases") {
                self.last_write = now();
            }
            self.requests.push(request);
        }
        Ok(())
    }
}

/// "4 patch services, 2 create events (1 refused)": for people.
pub(crate) fn summary<'a>(requests: impl Iterator<Item = &'a Request>) -> String {
    let mut counts: BTreeMap<(&str, &str), (usize, usize)> = BTreeMap::new();
    for request in requests {
        let count = counts
            .entry((request.subject(), &request.verb))
            .or_default();
        count.0 += 1;
        count.1 += usize::from(!request.succeeded());
    }
    let parts: Vec<String> = counts
        .iter()
        .map(|((resource, verb), (all, refused))| match refused {
            0 => format!("{all} {verb} {resource}"),
            _ => format!("{all} {verb} {resource} ({refused} refused)"),
        })
        .collect();
    if parts.is_empty() {
        "none".into()
    } else {
        parts.join(", ")
    }
}
