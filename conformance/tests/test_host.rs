//! The suite of all engines, over the test kit.

use std::time::Duration;

use dokit_conformance::{Engine, Plain, Probe, Session, engine, for_each_engine_case};
use dokit_object::{
    Request, Response,
    testing::{TestHost, block_on},
};

struct Kit(TestHost);

impl Kit {
    fn new() -> Self {
        Self(TestHost::new().object::<Probe>().object::<Plain>())
    }
}

impl Engine for Kit {
    async fn request(&self, request: Request) -> Response {
        self.0.handle(request).await
    }

    async fn advance(&self, by: Duration) {
        self.0.advance(by).await;
    }

    async fn sleep(&self) {
        self.0.sleep();
    }

    async fn crash(&mut self) {
        self.0.crash();
    }

    async fn break_disk(&self) {
        let id = self.0.namespace::<Probe>().id_from_name("a");
        self.0.disk::<Probe>(&id).fail_commits_from(1);
    }

    async fn mend_disk(&self) {
        let id = self.0.namespace::<Probe>().id_from_name("a");
        self.0.disk::<Probe>(&id).heal();
    }

    async fn settle(&self) {
        self.0.settle().await;
    }
}

macro_rules! tests {
    ($($case:ident,)*) => {
        $(
            mod $case {
                use super::*;

                #[test]
                fn awake() {
                    block_on(engine::$case(&mut Session::new(Kit::new(), false)));
                }

                #[test]
                fn with_sleep_between_any_two_calls() {
                    block_on(engine::$case(&mut Session::new(Kit::new(), true)));
                }
            }
        )*
    };
}

for_each_engine_case!(tests);
