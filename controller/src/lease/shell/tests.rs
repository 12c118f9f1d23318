use std::sync::Mutex;

use http_body_util::BodyExt as _;
use hyper::{Method, Response, StatusCode};
use kube::client::Body;
use serde_json::{Value, json};

use super::*;

/// One Lease that nobody else writes; what was written to it, newest last.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<Vec<Value>>>);

impl Shelf {
    fn client(&self) -> Client {
        let shelf = self.clone();
        let service = tower::service_fn(move |request: hyper::Request<Body>| {
            let shelf = shelf.clone();
            async move {
                if request
                    .uri()
                    .query()
                    .unwrap_or("")
                    .contains("fieldSelector")
                {
                    pending::<()>().await;
                }
                let is_read = *request.method() == Method::GET;
                let body = request.into_body().collect().await?.to_bytes();
                let written = serde_json::from_slice::<Value>(&body).ok();
                let (code, answer) = shelf.answer(written.filter(|_| !is_read));
                let answer = Body::from(answer.to_string().into_bytes());
                Ok::<_, tower::BoxError>(Response::builder().status(code).body(answer)?)
            }
        });
        Client::new(service, "default")
    }

    fn answer(&self, written: Option<Value>) -> (StatusCode, Value) {
        let mut writes = self.0.lock().unwrap();
        writes.extend(written);
        let Some(mut lease) = writes.first().cloned() else {
            let absent = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound", "message": "none"});
            return (StatusCode::NOT_FOUND, absent);
        };
        for write in writes.iter() {
            for part in ["spec", "metadata"] {
                for (name, value) in write[part].as_object().into_iter().flatten() {
                    lease[part][name] = value.clone();
                }
            }
        }
        if let Some(annotations) = lease["metadata"]["annotations"].as_object_mut() {
            annotations.retain(|_, value| !value.is_null());
        }
        lease["metadata"]["uid"] = json!("u");
        lease["metadata"]["resourceVersion"] = json!(writes.len().to_string());
        (StatusCode::OK, lease)
    }
}

#[tokio::test]
async fn what_is_remembered_just_before_the_release_goes_with_it() {
    let shelf = Shelf::default();
    let config = ElectionConfig {
        namespace: "default".into(),
        node: "k3s1".into(),
        api_server: Uri::from_static("http://127.0.0.1:1"),
        timing: Timing::default(),
    };
    let (election, mut leadership) = Election::start(shelf.client(), config);
    let leads = leadership.wait_for(|leadership| leadership.may_write(now()));
    let leads = timeout(Duration::from_secs(20), leads).await;
    drop(leads.expect("it leads").unwrap());
    election.remember("default/web 192.0.2.1").unwrap();
    let released = election.release(Release::Settled);
    let released = timeout(Duration::from_secs(20), released).await;
    released.expect("it is released");
    let last = shelf.0.lock().unwrap().last().cloned().unwrap();
    assert_eq!(last["spec"]["holderIdentity"], "");
    let annotations = &last["metadata"]["annotations"];
    assert_eq!(
        annotations["fairway.dev/released-addresses"],
        "default/web 192.0.2.1"
    );
}
