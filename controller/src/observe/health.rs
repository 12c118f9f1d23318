//! Health and metrics, for kubelets and Prometheus: `/healthz`, `/readyz`, `/metrics`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use super::http::{self, Answer, Handler, Listener, Question};
use super::metrics;
use super::state::State;

/// Connections that the kernel may hold for us before we take them.
const BACKLOG: i32 = 128;

/// A bound endpoint that is not served yet.
#[derive(Debug)]
pub struct Health {
    listener: TcpListener,
}

impl Health {
    /// Takes the address; `[::]` takes IPv4 as well, and is IPv4 alone on a machine without IPv6.
    ///
    /// # Errors
    /// The system's.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        match listen(address) {
            Err(error)
                if address.ip().is_unspecified()
                    && address.is_ipv6()
                    && error.raw_os_error() == Some(libc::EAFNOSUPPORT) =>
            {
                listen(SocketAddr::new(
                    std::net::Ipv4Addr::UNSPECIFIED.into(),
                    address.port(),
                ))
            }
            result => result,
        }
        .map(|listener| Self { listener })
    }

    /// Where it is bound.
    ///
    /// # Errors
    /// The system's.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until dropped.
    pub async fn serve(self, state: Arc<State>) {
        http::serve(Listener::Tcp(self.listener), Arc::new(Questions { state })).await;
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

struct Questions {
    state: Arc<State>,
}

impl Handler for Questions {
    async fn wait(&self, _: &Question) {}

    async fn answer(&self, question: &Question) -> Answer {
        match question.path.as_str() {
            // Whoever answers is alive; a task that fails ends the whole process.
            "/healthz" => Answer::text(StatusCode::OK, "ok\n"),
            "/readyz" if self.state.view().ready => Answer::text(StatusCode::OK, "ok\n"),
            "/readyz" => Answer::text(
                StatusCode::SERVICE_UNAVAILABLE,
                "the objects are not complete yet\n",
            ),
            "/metrics" => Answer {
                status: StatusCode::OK,
                content_type: metrics::CONTENT_TYPE,
                version: None,
                body: Bytes::from(metrics::metrics(&self.state).await),
            },
            _ => Answer::text(
                StatusCode::NOT_FOUND,
                "there are /healthz, /readyz and /metrics\n",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::state::ClusterView;
    use super::*;
    use crate::net::changes::Changes;

    async fn ask(state: &Arc<State>, path: &str) -> (u16, String) {
        let questions = Questions {
            state: Arc::clone(state),
        };
        let question = Question {
            path: path.to_owned(),
            query: String::new(),
        };
        let answer = questions.answer(&question).await;
        (
            answer.status.as_u16(),
            String::from_utf8(answer.body.to_vec()).unwrap(),
        )
    }

    #[tokio::test]
    async fn ready_means_that_a_complete_plan_was_applied() {
        let state = Arc::new(State::new("k3s1".to_owned(), Changes::default()));
        assert_eq!(ask(&state, "/healthz").await.0, 200);
        assert_eq!(ask(&state, "/readyz").await.0, 503);
        state.set_view(ClusterView {
            ready: true,
            ..ClusterView::default()
        });
        assert_eq!(ask(&state, "/readyz").await.0, 200);
    }

    #[tokio::test]
    async fn metrics_end_as_openmetrics_wants() {
        let state = Arc::new(State::new("k3s1".to_owned(), Changes::default()));
        let (status, text) = ask(&state, "/metrics").await;
        assert_eq!(status, 200);
        assert!(text.ends_with("# EOF\n"), "{text}");
        assert!(
            text.contains("cilium_operator_lbipam_services_unsatisfied 0\n"),
            "{text}"
        );
    }
}
