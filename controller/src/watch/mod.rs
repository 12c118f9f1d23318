//! Where objects come from: a source keeps the newest view of them in a channel.

pub mod cilium_operator;
pub mod directory;
mod files;
pub mod kubernetes;
mod yaml;

use std::sync::Arc;

use serde_json::{Value, json};

use crate::cluster::{Kind, Object, ObjectKey, Objects, RecordedStatuses, Snapshot};

/// What a source sees at one moment: three views of the same.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// In our own words.
    pub snapshot: Arc<Snapshot>,
    /// As they were given.
    pub objects: Arc<Objects>,
    /// The statuses that count in place of the objects' own.
    pub recorded: Arc<RecordedStatuses>,
}

impl Observed {
    /// The whole object of a key with the status that counts; `None` where there is no such object.
    pub fn object(&self, key: &ObjectKey) -> Option<Value> {
        self.objects
            .find(key)
            .map(|object| self.with_status(key, object))
    }

    /// All Services as a Kubernetes `List` of whole objects.
    pub fn services_list(&self) -> Value {
        self.list(Kind::Service)
    }

    /// All CiliumLoadBalancerIPPools as a Kubernetes `List` of whole objects.
    pub fn pools_list(&self) -> Value {
        self.list(Kind::CiliumLoadBalancerIPPool)
    }

    fn list(&self, kind: Kind) -> Value {
        let items: Vec<_> = self
            .objects
            .of_kind(kind)
            .map(|(key, object)| self.with_status(key, object))
            .collect();
        json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items})
    }

    fn with_status(&self, key: &ObjectKey, object: &Object) -> Value {
        let mut value = object.value().into_owned();
        if let (Some(status), Some(fields)) = (self.recorded.get(key), value.as_object_mut()) {
            fields.insert("status".to_owned(), (**status).clone());
        }
        value
    }
}
