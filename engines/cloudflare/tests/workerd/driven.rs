//! workerd as the suites drive it, by the doors of `.ci/drive.js`: with a clock that stands still, a disk that
//! can be broken, and sleep whenever they want it.

use std::{sync::Arc, time::Duration};

use dokit_client::ObjectId;
use dokit_conformance::{Engine, SocketEngine};
use dokit_object::{Request, Response};

use crate::{peer::Tcp, process::Workerd};

/// workerd, whose clock stands still.
pub(crate) struct Platform(Arc<Workerd>);

impl Platform {
    pub(crate) fn start() -> Self {
        let platform = Self(Arc::new(Workerd::start("probe")));
        platform.told("/-start", "[]");
        platform
    }

    fn told(&self, path: &str, body: &str) {
        let (status, answer) = self.0.send("POST", path, body);
        assert_eq!(status, 200, "{path}: {answer}");
    }

    async fn ask(&self, request: Request) -> Response {
        let workerd = Arc::clone(&self.0);
        let asked = tokio::task::spawn_blocking(move || workerd.request(&request));
        asked.await.unwrap().map(Into::into)
    }

    /// Asks one of the doors for tests, without holding up what runs beside.
    async fn tell(&self, path: &str) {
        let mut request = Request::default();
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = path.parse().unwrap();
        let answer = self.ask(request).await;
        assert_eq!(answer.status(), 200, "{path}: {:?}", answer.body());
    }
}

impl Engine for Platform {
    async fn request(&self, request: Request) -> Response {
        self.ask(request).await
    }

    async fn crash(&mut self) {
        let (_, before) = self.0.json("GET", "/-known", "");
        Arc::get_mut(&mut self.0).unwrap().crash();
        let start = format!("/-start?now={}", before["now"]);
        self.told(&start, &before["known"].to_string());
    }

    async fn advance(&self, by: Duration) {
        self.tell(&format!("/-advance?by={}", by.as_millis())).await;
    }

    async fn sleep(&self) {
        self.tell("/sleep").await;
    }

    async fn break_disk(&self) {
        self.tell("/-disk?broken=true").await;
    }

    async fn mend_disk(&self) {
        self.tell("/-disk?broken=false").await;
    }

    async fn settle(&self) {
        self.tell("/-advance?by=0").await;
    }
}

impl SocketEngine for Platform {
    type Peer = Tcp;

    async fn connect(&self, path: &str) -> Result<Tcp, Response> {
        Tcp::connect(self.0.address(), path).map_err(|refused| *refused)
    }

    async fn break_disk_of(&self, _: &ObjectId) {
        self.break_disk().await;
    }

    async fn mend_disk_of(&self, _: &ObjectId) {
        self.mend_disk().await;
    }
}
