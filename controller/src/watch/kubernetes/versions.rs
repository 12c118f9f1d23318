//! In which version the API server serves a kind, if in any.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tokio::sync::Mutex;

use crate::cluster::Kind;
use crate::kubernetes_client::KubernetesClient;

use super::failure::Failure;
use super::{now, request};

/// A kind that was never there has to be absent that long, for a server that just started does not know all at once.
const NEVER_THERE: Duration = Duration::from_millis(100);
/// A kind that was there has to be absent that long before its objects are gone.
const GONE: Duration = Duration::from_secs(10);

/// The plurals of the kinds of one group that are served, by version.
pub(super) type Served = BTreeMap<&'static str, BTreeSet<String>>;

/// Asks which kinds of `cilium.io` are served; one for all kinds.
#[derive(Debug)]
pub(super) struct Discovery {
    client: KubernetesClient,
    answer: Mutex<Option<(Instant, Served)>>,
}

impl Discovery {
    pub(super) fn new(client: KubernetesClient) -> Self {
        Self {
            client,
            answer: Mutex::new(None),
        }
    }

    /// What is served in the group of a kind. Of several who ask within `fresh` only the first is heard by the server.
    ///
    /// # Errors
    ///
    /// The server does not say.
    pub(super) async fn ask(&self, kind: Kind, fresh: Duration) -> Result<Served, Failure> {
        let mut answer = self.answer.lock().await;
        if let Some((at, served)) = &*answer
            && now().duration_since(*at) < fresh
        {
            return Ok(served.clone());
        }
        let group = kind.group();
        let mut served = Served::new();
        let versions = Kind::all().filter(|kind| kind.group() == group);
        let versions: BTreeSet<_> = versions.flat_map(Kind::versions).collect();
        for version in versions {
            match request::get(&self.client, &format!("/apis/{group}/{version}")).await {
                Ok(document) => drop(served.insert(version, plurals(&document)?)),
                Err(Failure::Absent(_)) => {}
                Err(failure) => return Err(failure),
            }
        }
        *answer = Some((now(), served.clone()));
        Ok(served)
    }

    /// Whether the server has started as far as it says; one that does not tell us counts as ready.
    pub(super) async fn is_ready(&self) -> bool {
        match request::get(&self.client, "/readyz").await {
            Ok(_) => true,
            Err(failure) => matches!(
                failure,
                Failure::Refused(_) | Failure::Unauthorized(_) | Failure::Absent(_)
            ),
        }
    }
}

#[derive(Deserialize)]
struct Resources {
    #[serde(default)]
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
struct Resource {
    name: String,
}

fn plurals(document: &[u8]) -> Result<BTreeSet<String>, Failure> {
    let read: Resources = serde_json::from_slice(document)
        .map_err(|error| Failure::Garbage(format!("a list of kinds: {error}")))?;
    Ok(read.resources.into_iter().map(|kind| kind.name).collect())
}

/// The first version of our table in which the server has the kind.
pub(super) fn choose(kind: Kind, served: &Served) -> Option<&'static str> {
    kind.versions().iter().copied().find(|version| {
        served
            .get(version)
            .is_some_and(|plurals| plurals.contains(kind.plural()))
    })
}

/// How long a kind has been absent without a doubt.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Absence {
    since: Option<Instant>,
}

impl Absence {
    /// Takes that the kind is absent now; `server_is_ready` is whether that can be trusted. Returns whether it means that
    /// there are no objects of the kind.
    pub(super) fn is_certain(
        &mut self,
        now: Instant,
        server_is_ready: bool,
        was_there: bool,
    ) -> bool {
        if !server_is_ready {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        now.duration_since(since) >= if was_there { GONE } else { NEVER_THERE }
    }

    /// The kind is there, or nobody knows.
    pub(super) fn end(&mut self) {
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(entries: &[(&'static str, &str)]) -> Served {
        let mut served = Served::new();
        for (version, plural) in entries {
            served
                .entry(version)
                .or_default()
                .insert((*plural).to_owned());
        }
        served
    }

    #[test]
    fn the_first_version_of_the_table_that_is_served_is_taken() {
        let kind = Kind::CiliumLoadBalancerIPPool;
        let plural = kind.plural();
        assert_eq!(choose(kind, &served(&[])), None);
        assert_eq!(choose(kind, &served(&[("v2", "ciliumnodes")])), None);
        let both = served(&[("v2alpha1", plural), ("v2", plural)]);
        assert_eq!(choose(kind, &both), Some("v2"));
        assert_eq!(
            choose(kind, &served(&[("v2alpha1", plural)])),
            Some("v2alpha1")
        );
        assert_eq!(choose(kind, &served(&[("v3", plural)])), None);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn absence_has_to_last_on_a_server_that_is_ready() {
        let start = Instant::now();
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let mut absence = Absence::default();
        assert!(!absence.is_certain(at(0.0), true, false));
        assert!(absence.is_certain(at(0.5), true, false));
        let mut absence = Absence::default();
        for (second, ready, certain) in [
            (0.0, true, false),
            (9.0, true, false),
            (9.5, false, false),
            (10.5, true, false),
            (20.0, true, false),
            (20.6, true, true),
        ] {
            assert_eq!(
                absence.is_certain(at(second), ready, true),
                certain,
                "{second}"
            );
        }
        absence.end();
        assert!(!absence.is_certain(at(30.0), true, true));
    }

    #[test]
    fn a_list_of_kinds_is_read() {
        let document = br#"{"kind": "APIResourceList", "resources": [{"name": "ciliumnodes", "kind": "CiliumNode"}, {"name": "ciliumnodes/status"}]}"#;
        assert!(plurals(document).unwrap().contains("ciliumnodes"));
        assert!(plurals(b"<html>").is_err());
    }
}
